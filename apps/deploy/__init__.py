# SPDX-License-Identifier: MIT
"""From the desk to the device: ``python -m apps.deploy USER@HOST``."""
