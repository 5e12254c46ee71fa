# SPDX-License-Identifier: MIT
"""Applications that use the installed package; run from a checkout."""
