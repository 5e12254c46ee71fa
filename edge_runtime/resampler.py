# SPDX-License-Identifier: MIT
"""Sample-rate conversion to 16 kHz, and the conversion of samples to float."""

import numpy as np

from edge_runtime._native import ffi, lib
from edge_runtime._native_object import NativeObject, checked_u32, collect, push_all
from edge_runtime.errors import _check

_OUT_SHAPE = (65536,)  # of one C call


def _to_float(samples):
    """Contiguous float32 [shape=(n,)] of int16 or float32 samples; int16 is divided by 32768.

    Nothing else is converted: a float64 or stereo array is more often a mistake than a wish.
    """
    if not isinstance(samples, np.ndarray):
        raise TypeError("samples: expected a 1-D int16 or float32 array, got " + type(samples).__name__)
    if samples.ndim != 1 or samples.dtype not in (np.int16, np.float32):
        raise ValueError(
            f"samples: expected a 1-D int16 or float32 array, got {samples.dtype} of shape {samples.shape}"
        )
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(32768)
    return np.ascontiguousarray(samples)


def _checked_rate(sample_rate):
    """`sample_rate` as an int; the C library decides which rates are supported."""
    return checked_u32("sample_rate", sample_rate, "an integer in Hz", "8000 to 192000 Hz")


class Resampler(NativeObject):
    """Streaming conversion of one signal to 16 kHz.

    A polyphase windowed-sinc filter: flat to about 0.9 of the lower Nyquist frequency, stop band
    below -80 dB, no delay (output sample k belongs to time k / 16000 s; the filter's look-ahead
    is waited for). The chunks in which the signal arrives do not change a bit of the result.

    Parameters
    ----------
    sample_rate : int
        Rate of the input in Hz, 8000 to 192000. Its reduced ratio to 16000 may have at most 640
        phases, which all usual rates have. At 16000 the samples pass through.
    """

    def __init__(self, sample_rate):
        sample_rate = _checked_rate(sample_rate)
        out = ffi.new("er_resampler **")
        _check(lib.er_resampler_create(sample_rate, out), f"resampler for {sample_rate} Hz")
        super().__init__(out[0], lib.er_resampler_destroy)
        self._sample_rate = sample_rate

    def __repr__(self):
        return f"Resampler(sample_rate={self._sample_rate})"

    @property
    def sample_rate(self):
        """int : rate of the input in Hz."""
        return self._sample_rate

    def push(self, samples):
        """Convert a chunk.

        Parameters
        ----------
        samples : int16 or float32 [shape=(n,)]
            Float has full scale 1.0.

        Returns
        -------
        float32 [shape=(m,)]
            What the filter can compute so far, at 16 kHz, full scale 1.0.
        """
        x = _to_float(samples)
        with self._exclusive() as handle:
            return push_all(
                lib.er_resampler_push, handle, x, 1, _OUT_SHAPE, "resampler push (after flush, reset first)"
            )

    def flush(self):
        """End of the signal: the samples still in the filter.

        The total output is then ``ceil(n * 16000 / sample_rate)`` samples. Call `reset` before
        another signal.

        Returns
        -------
        float32 [shape=(m,)]
        """
        with self._exclusive() as handle:
            return collect(lambda *out: lib.er_resampler_flush(handle, *out), _OUT_SHAPE, "resampler flush")

    def reset(self):
        """Forget the signal so far."""
        with self._exclusive() as handle:
            lib.er_resampler_reset(handle)


def resample(samples, sample_rate):
    """Convert a whole signal to 16 kHz.

    Parameters
    ----------
    samples : int16 or float32 [shape=(n,)]
        Float has full scale 1.0.
    sample_rate : int
        In Hz, see `Resampler`.

    Returns
    -------
    float32 [shape=(ceil(n * 16000 / sample_rate),)]
        Full scale 1.0.
    """
    resampler = Resampler(sample_rate)
    return np.concatenate([resampler.push(samples), resampler.flush()])
