# SPDX-License-Identifier: MIT
"""Exceptions. Every failing call of the C library passes through `_check`.

The texts come from the C library. Each subclass also inherits the builtin exception that a caller
catches already.
"""

from edge_runtime._native import ffi, lib


class EdgeRuntimeError(Exception):
    """Failure reported by the C library.

    Attributes
    ----------
    status : int
        The negative ``er_status`` value.
    """

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status

    def __reduce__(self):
        return type(self), (str(self), self.status)


class EdgeRuntimeValueError(EdgeRuntimeError, ValueError):
    """An argument is illegal, or a model file or a configuration breaks a rule."""


class EdgeRuntimeStateError(EdgeRuntimeError, RuntimeError):
    """The model or this machine lacks what the call needs."""


class EdgeRuntimeFileError(EdgeRuntimeError, OSError):
    """A file could not be read."""

    def __init__(self, message, status):
        OSError.__init__(self, message)
        self.status = status


class EdgeRuntimeMemoryError(EdgeRuntimeError, MemoryError):
    """An allocation failed."""


_CLASSES = {
    lib.ER_ERROR_MEMORY: EdgeRuntimeMemoryError,
    lib.ER_ERROR_IO: EdgeRuntimeFileError,
    lib.ER_ERROR_MISSING: EdgeRuntimeStateError,
    lib.ER_ERROR_KERNEL: EdgeRuntimeStateError,
}


def _check(status, what):
    """Raise if a C call failed.

    Parameters
    ----------
    status : int
        Result of the call: negative is an error.
    what : str
        What was being done, the beginning of the message.

    Returns
    -------
    int
        `status`, if it is not negative.
    """
    if status >= 0:
        return status
    text = ffi.string(lib.er_status_text(status)).decode("utf-8")
    raise _CLASSES.get(status, EdgeRuntimeValueError)(f"{what}: {text}", status)
