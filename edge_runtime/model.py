# SPDX-License-Identifier: MIT
"""A parsed model file."""

import functools
import hashlib
import os
import pathlib

import numpy as np

from edge_runtime._format_parts import read_file
from edge_runtime._native import ffi, lib
from edge_runtime._native_object import NativeObject, checked_array, pointer_to
from edge_runtime.decoder import Decoder
from edge_runtime.errors import EdgeRuntimeFileError, _check
from edge_runtime.format import FormatError, ModelFile
from edge_runtime.recognizer import Recognizer
from edge_runtime.stream import Stream

DEFAULT_MODEL = pathlib.Path(__file__).resolve().parent / "models" / "digits.ernn"
SMALL_MODEL = DEFAULT_MODEL.with_name("digits_small.ernn")


class Model(NativeObject):
    """A parsed model. Immutable: any number of threads may share one.

    Made by `load`, `from_bytes` or `default`.

    Examples
    --------
    >>> model = Model.default()
    >>> stream = model.stream()
    >>> stream.step(np.zeros(model.input_size, np.float32)).shape == (model.output_size,)
    True
    """

    _c_types = ("char **",)

    def __init__(self, data, name, kernel):
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data: expected bytes, got {type(data).__name__}")
        data = bytes(data)
        if not isinstance(kernel, (str, type(None))):
            raise TypeError(f"kernel: expected a str or None, got {type(kernel).__name__}")
        if kernel is not None and "\0" in kernel:
            raise ValueError(f"kernel: expected an ISA word, got {kernel!r}")
        options = ffi.new("er_model_options *")
        kernel_text = ffi.new("char[]", kernel.encode("utf-8")) if kernel is not None else ffi.NULL
        options.kernel = kernel_text
        out = ffi.new("er_model **")
        error = ffi.new("er_error *")
        status = lib.er_model_create(data, len(data), options, out, error)
        if status <= lib.ER_ERROR_TRUNCATED:
            raise FormatError(name, error.rule, error.offset, error.expected, error.found)
        what = name if kernel is None else f"{name} with kernel {kernel!r}"
        _check(status, what)
        super().__init__(out[0], lib.er_model_destroy)
        self._data = data
        self._name = name
        self._info = self._describe()
        self._labels = tuple(
            _text(lib.er_model_label(self._handle, i)) for i in range(self._info["label_count"])
        )

    @classmethod
    def load(cls, path, kernel=None):
        """Read a model file, which is not mapped and may change afterwards.

        Parameters
        ----------
        path : str or path-like
        kernel : str, optional
            ISA word such as "scalar"; default: the best that this CPU runs.

        Returns
        -------
        Model

        Raises
        ------
        OSError
            The file cannot be read.
        FormatError (also a ValueError)
            The file breaks a rule of the format; the message names rule, file offset, what was
            expected and what was found.
        EdgeRuntimeStateError (also a RuntimeError)
            The kernel is unknown, or this CPU cannot run it.
        """
        return cls(read_file(path), os.fspath(path), kernel)

    @classmethod
    def from_bytes(cls, data, kernel=None):
        """Parse the bytes of a model file; otherwise as `load`.

        Parameters
        ----------
        data : bytes, bytearray or memoryview
            Copied.
        kernel : str, optional
        """
        return cls(data, "model bytes", kernel)

    @classmethod
    def default(cls, kernel=None):
        """Load the spoken-digit model that comes with the package; otherwise as `load`."""
        return cls._load_bundled(DEFAULT_MODEL, kernel)

    @classmethod
    def small(cls, kernel=None):
        """Load the spoken-digit model of less than 32 KB that comes with the package; otherwise as `load`."""
        return cls._load_bundled(SMALL_MODEL, kernel)

    @classmethod
    def _load_bundled(cls, path, kernel):
        if not path.is_file():
            raise EdgeRuntimeFileError(
                f"{path}: this model of the package is missing; name a model file instead",
                lib.ER_ERROR_IO,
            )
        return cls.load(path, kernel)

    def __repr__(self):
        return (
            f"Model({self._name!r}, input_size={self.input_size}, "
            f"output_size={self.output_size}, kernel={self.kernel!r})"
        )

    def _describe(self):
        info = ffi.new("er_model_info *")
        _check(lib.er_model_describe(self._handle, info), self._name)
        names = [name for name, _ in ffi.typeof(info[0]).fields]
        values = {name: getattr(info, name) for name in names}
        values["kernel"] = _text(info.kernel)
        return values

    @property
    def input_size(self):
        """int : inputs per step."""
        return self._info["input_size"]

    @property
    def output_size(self):
        """int : logits per step."""
        return self._info["output_size"]

    @property
    def profile(self):
        """int : numeric profile: 1, with inputs of 8 bits, or 2 ("fine"), with inputs of 16 bits."""
        return self._info["profile"]

    @property
    def labels(self):
        """tuple of str : a label per output; empty if the model has none."""
        return self._labels

    @property
    def kernel(self):
        """str : ISA word of the kernels in use."""
        return self._info["kernel"]

    @property
    def info(self):
        """dict : the fields of ``er_model_info`` in the C header (a copy)."""
        return dict(self._info)

    @property
    def metadata(self):
        """dict : the file's metadata, str to str (a copy)."""
        handle = self._open_handle()
        pairs = {}
        key = ffi.new("char **")
        value = ffi.new("char **")
        for index in range(self._info["metadata_count"]):
            _check(lib.er_model_metadata(handle, index, key, value), self._name)
            pairs[_text(key[0])] = _text(value[0])
        return pairs

    @functools.cached_property
    def sha256(self):
        """str : SHA-256 of the file, in hexadecimal, as the program sha256sum prints it."""
        return hashlib.sha256(self._data).hexdigest()

    @functools.cached_property
    def file(self):
        """ModelFile : the decoded file, for inspection; made at the first use."""
        return ModelFile.from_bytes(self._data, self._name)

    def quantize_input(self, x):
        """Round real-valued inputs to the network's integers.

        ``clamp(floor(x * scale + offset + 0.5), -127, 127)`` with the file's scale and offset
        per input; not-a-number becomes 0. In numeric profile 2 the bounds are -32767 and 32767.

        Parameters
        ----------
        x : float32 [shape=(steps, input_size)] or [shape=(input_size,)]

        Returns
        -------
        int8, in numeric profile 2 int16 [shape of x]
        """
        one_step = isinstance(x, np.ndarray) and x.ndim == 1
        shape = (self.input_size,) if one_step else ("steps", self.input_size)
        x = checked_array("x", x, np.float32, shape)
        fine = self.profile == 2
        quantized = np.empty(x.shape, np.int16 if fine else np.int8)
        function = lib.er_model_quantize_input16 if fine else lib.er_model_quantize_input
        handle = self._open_handle()
        for row, row_out in zip(np.atleast_2d(x), np.atleast_2d(quantized), strict=True):
            status = function(handle, pointer_to(row, "float"), pointer_to(row_out, f"{quantized.dtype}_t"))
            _check(status, "quantize input")
        return quantized

    def stream(self, skipping=False):
        """Make a `Stream`: the recurrent state of one input.

        Parameters
        ----------
        skipping : bool, optional
            Leave out what did not change since the last step: `Stream.skipping`.

        Returns
        -------
        Stream
        """
        return Stream(self, skipping)

    def decoder(self):
        """Make a `Decoder`: logits to words."""
        return Decoder(self)

    def recognizer(self, sample_rate=16000, threshold=None):
        """Make a `Recognizer`: audio to words. Parameters as there."""
        return Recognizer(self, sample_rate, threshold)


def _text(pointer):
    return ffi.string(pointer).decode("utf-8")
