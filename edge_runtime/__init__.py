# SPDX-License-Identifier: MIT
"""Recurrent networks with binary, ternary and power-of-two weights, run without multiplying.

Networks
    Model        a parsed model file: `Model.load`, `Model.from_bytes`, `Model.default`
    Stream       recurrent state of one input: features to logits, step by step

Speech
    Recognizer   audio to words
    Word         a recognized word: label, times, confidence
    Decoder      logits to words
    Frontend     16 kHz audio to features, configured by FrontendConfig
    Resampler    any sample rate to 16 kHz; resample() for a whole signal

Errors
    EdgeRuntimeError         with `.status`; each subclass is also a builtin exception:
    EdgeRuntimeValueError    (ValueError), of which
    FormatError              a file that breaks a rule of the model format
    EdgeRuntimeStateError    (RuntimeError) the model or this machine lacks what the call needs
    EdgeRuntimeFileError     (OSError)
    EdgeRuntimeMemoryError   (MemoryError)

>>> import edge_runtime as er                                               # doctest: +SKIP
>>> recognizer = er.Model.default().recognizer(sample_rate=48000)           # doctest: +SKIP
>>> words = recognizer.accept_waveform(samples) + recognizer.finish()       # doctest: +SKIP

`edge_runtime.format` reads and writes model files; `edge_runtime.reference` is the exact NumPy
reference of the arithmetic. ``python -m edge_runtime info`` describes a model, ``python -m
edge_runtime doctor`` this installation.
"""

from edge_runtime._native import ffi as _ffi
from edge_runtime._native import lib as _lib
from edge_runtime._native import library_path as _library_path
from edge_runtime.decoder import Decoder, Word
from edge_runtime.errors import (
    EdgeRuntimeError,
    EdgeRuntimeFileError,
    EdgeRuntimeMemoryError,
    EdgeRuntimeStateError,
    EdgeRuntimeValueError,
)
from edge_runtime.format import FormatError
from edge_runtime.frontend import Frontend, FrontendConfig
from edge_runtime.model import Model
from edge_runtime.recognizer import Recognizer
from edge_runtime.resampler import Resampler, resample
from edge_runtime.stream import Stream

__version__ = "0.1.0"

__all__ = [
    "Decoder",
    "EdgeRuntimeError",
    "EdgeRuntimeFileError",
    "EdgeRuntimeMemoryError",
    "EdgeRuntimeStateError",
    "EdgeRuntimeValueError",
    "FormatError",
    "Frontend",
    "FrontendConfig",
    "Model",
    "Recognizer",
    "Resampler",
    "Stream",
    "Word",
    "resample",
]


def _check_version():
    version = _ffi.string(_lib.er_version()).decode("ascii")
    if version != __version__:
        raise ImportError(
            f"edge_runtime {__version__} found the C library of version {version}: "
            f"{_library_path}; rebuild it: python -m pip install -e ."
        )


_check_version()
