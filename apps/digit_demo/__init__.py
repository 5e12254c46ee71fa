# SPDX-License-Identifier: MIT
"""Spoken digits from a microphone or a file: ``python -m apps.digit_demo --help``."""
