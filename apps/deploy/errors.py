# SPDX-License-Identifier: MIT
"""What ends a deployment, each with one line for the person at the desk."""


class DeployError(Exception):
    """The device, or the way to it, does not allow it; ends with status 1."""

    status = 1


class UsageError(DeployError):
    """The command line or a file at the desk is not as expected; ends with status 2."""

    status = 2
