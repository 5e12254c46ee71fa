# SPDX-License-Identifier: MIT
"""The live view in a browser: ``python -m apps.digit_demo --web``.

`feed` keeps what is to be seen, `server` hands it to pages, `page/` is the page.
"""
