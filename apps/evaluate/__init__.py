# SPDX-License-Identifier: MIT
"""Score a digit recognizer on folders of recordings: ``python -m apps.evaluate --help``."""
