# SPDX-License-Identifier: MIT
"""Base of the classes that hold an object of the C library."""

import threading

import numpy as np

from edge_runtime._native import ffi
from edge_runtime.errors import _check

#: Flags of an array that C may read: C-contiguous and aligned.
_READY = 0x0001 | 0x0100


#: Array types by element type.
_ARRAY_TYPES = {c_type: ffi.typeof(f"{c_type}[]") for c_type in ("float", "int8_t", "int16_t")}


def _owned(pointer, destroy, made_from):
    """`pointer`, destroyed when Python no longer needs it.

    The destructor holds made_from, so the order of destruction is right even when Python clears a reference cycle.
    """

    def destructor(handle, made_from=made_from):
        destroy(handle)

    return ffi.gc(pointer, destructor)


class NativeObject:
    """Owner of one C object: released by `close`, at the end of a ``with`` block, or by Python.

    What the object was made from is kept alive as long as the object: closing a model while its
    streams are in use is harmless, and so is closing an object that another thread is using, whose call ends well.
    Such objects cannot be copied or pickled.

    Threads. An object may move from thread to thread, but serves one at a time: a call that comes while another thread
    is inside raises RuntimeError and changes nothing. (A `Model` never changes, and any number of threads use one.) C
    calls run without the interpreter lock.

    Interruption. Python runs signal handlers and finalizers between the C calls of a method, each of which is short: a
    KeyboardInterrupt ends the method there, with the object in a state that some whole part of the input has led to;
    `reset` makes it as new. A handler or finalizer that uses the object which it interrupted is the same thread and is
    let in, as if called between two parts of the input; it should not make objects, for which cffi may need a lock
    that the interrupted code holds.

    Fork. A child process may go on with its copy of an object, unless another thread was inside it at the fork: that
    one stays refused there.

    Parameters
    ----------
    pointer : cdata
        Result of an ``er_*_create`` function.
    destroy : C function
        The ``er_*_destroy`` function that belongs to it.
    made_from : cdata, optional
        Handle of the object that must outlive this one.
    """

    #: C types that methods use. cffi parses each at its first use, under a lock that a signal handler could not take.
    _c_types = ("size_t *",)

    def __init__(self, pointer, destroy, made_from=None):
        for c_type in self._c_types:
            ffi.typeof(c_type)
        self._handle = _owned(pointer, destroy, made_from)
        # Who is inside. Re-entrant: a KeyboardInterrupt that comes just after it was taken, before the with statement
        # knows, leaves it taken, and the same thread must still be able to finish; only other threads stay refused.
        self._busy = threading.RLock()

    def __enter__(self):
        self._open_handle()
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __reduce_ex__(self, protocol):
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")

    def close(self):
        """Release the C object now. Using this object afterwards raises ValueError."""
        self._handle = None

    def _replace(self, pointer, destroy, made_from):
        """Own another C object instead; the caller is inside `_exclusive`, which goes on to hold."""
        self._handle = _owned(pointer, destroy, made_from)

    def _open_handle(self):
        """The C object, or ValueError if it was released."""
        handle = getattr(self, "_handle", None)
        if handle is None:
            raise ValueError(f"this {type(self).__name__} is closed")
        return handle

    def _exclusive(self):
        """Context manager: the C object for one thread.

        The C calls run without the interpreter lock; two of them on one object at the same time
        would corrupt it.
        """
        return _Exclusive(self)


class _Exclusive:
    __slots__ = ("_owner",)

    def __init__(self, owner):
        self._owner = owner

    def __enter__(self):
        handle = self._owner._open_handle()
        if not self._owner._busy.acquire(False):
            raise RuntimeError(
                f"two threads use one {type(self._owner).__name__} at the same time; make one per thread"
            )
        return handle

    def __exit__(self, *exc_info):
        self._owner._busy.release()


def checked_array(name, value, dtype, shape):
    """Return `value` C-contiguous and aligned after checking dtype and shape; nothing is cast.

    Parameters
    ----------
    name : str
        For the message.
    value : numpy.ndarray
    dtype : numpy dtype
    shape : tuple
        Lengths; a str stands for any length and names it in the message.

    Raises
    ------
    TypeError
        `value` is not an array.
    ValueError
        Wrong dtype or shape; the message has expected and got.
    """
    # The usual case first: it costs a step of a small network 0.3 us instead of 3.6.
    if (
        type(value) is np.ndarray
        and value.dtype == dtype
        and value.shape == shape
        and value.flags.num & _READY == _READY
    ):
        return value
    if isinstance(value, np.ndarray) and value.dtype == dtype and _fits(value.shape, shape):
        if type(value) is np.ndarray and value.flags.num & _READY == _READY:
            return value
        return np.require(value, requirements="CAE")
    wanted = f"{np.dtype(dtype)} of shape ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name}: expected an array, {wanted}, got {type(value).__name__}")
    raise ValueError(f"{name}: expected {wanted}, got {value.dtype} of shape {value.shape}")


def _fits(have, wanted):
    """Whether the lengths of an array are those wanted, a str being any."""
    return len(have) == len(wanted) and all(
        isinstance(want, str) or want == length for want, length in zip(wanted, have, strict=True)
    )


def checked_number(name, value, low, high, wanted):
    """Return `value` as a float after checking that it is a real number from low to high.

    Parameters
    ----------
    name : str
        For the message.
    value : number
        Also of NumPy.
    low, high : float
    wanted : str
        What the messages say was expected.

    Raises
    ------
    TypeError
        `value` is not a number.
    ValueError
        It is not in the range, or not-a-number.
    """
    if isinstance(value, (str, bytes, bytearray)):  # of which float() reads some
        raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}") from None
    except OverflowError:
        number = float("nan")
    if not low <= number <= high:
        raise ValueError(f"{name}: expected {wanted}, got {value}")
    return number


def checked_integer(name, value, low, high, kind, wanted):
    """Return `value` as an int after checking that it is one from low to high.

    Parameters
    ----------
    name : str
        For the message.
    value : int
        Also of NumPy; a bool is none.
    low, high : int
    kind, wanted : str
        What the messages about type and range say was expected.

    Raises
    ------
    TypeError
        `value` is not an integer.
    ValueError
        It is not in the range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected {kind}, got {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name}: expected {wanted}, got {value}")
    return int(value)


def checked_u32(name, value, kind="an integer", wanted="an integer from 0"):
    """Return `value` as an int that fits C's uint32_t; otherwise as `checked_integer`."""
    return checked_integer(name, value, 0, 2**32 - 1, kind, wanted)


def handle_of(model):
    """The C object of a Model; TypeError if it is none, ValueError if it is closed."""
    handle = model._open_handle() if isinstance(model, NativeObject) else None
    if handle is None or ffi.typeof(handle) is not ffi.typeof("er_model *"):
        raise TypeError(f"model: expected a Model, got {type(model).__name__}")
    return handle


def pointer_to(array, c_type):
    """Pointer to the data of a C-contiguous array, which the result keeps alive.

    Parameters
    ----------
    array : numpy.ndarray
    c_type : str
        Element type in C.
    """
    return ffi.from_buffer(_ARRAY_TYPES[c_type], array)


def push_all(function, handle, x, item_size, out_shape, what):
    """Call an ``er_*_push`` function from float to float until it has used up its input.

    Parameters
    ----------
    function, handle
        C function and object.
    x : float32 [shape=(n, ...)]
        C-contiguous input of n items.
    item_size : int
        Floats per item.
    out_shape : tuple of int
        Shape of the output of one call.
    what : str
        Beginning of an error message.

    Returns
    -------
    float32 [shape=(m, *out_shape[1:])]
    """
    source = pointer_to(x, "float")
    consumed = ffi.new("size_t *")
    start = 0

    def call(*out):
        nonlocal start
        status = function(handle, source + start * item_size, len(x) - start, *out, consumed)
        start += consumed[0]
        return status

    return collect(call, out_shape, what)


def collect(call, out_shape, what):
    """Call a C function until it no longer fills its output, and join the outputs.

    Parameters
    ----------
    call : callable
        Takes output, capacity and pointer to the count; returns the status.
    out_shape, what
        As `push_all`.

    Returns
    -------
    float32 [shape=(m, *out_shape[1:])]
    """
    count = ffi.new("size_t *")
    parts = []
    while True:
        out = np.empty(out_shape, np.float32)
        _check(call(pointer_to(out, "float"), len(out), count), what)
        parts.append(out[: count[0]])
        if count[0] < len(out):
            return np.concatenate(parts)
