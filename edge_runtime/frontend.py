# SPDX-License-Identifier: MIT
"""Features: 16 kHz PCM to mel cepstra with deltas, streaming."""

import dataclasses

import numpy as np

from edge_runtime._native import ffi, lib
from edge_runtime._native_object import NativeObject, checked_array, checked_u32, collect, push_all
from edge_runtime.errors import _check
from edge_runtime.resampler import _to_float

_CHUNK_FRAMES = 1024


def _default_fields():
    """Field values of er_frontend_config_default."""
    config = ffi.new("er_frontend_config *")
    lib.er_frontend_config_default(config)
    return {name: getattr(config, name) for name, _ in ffi.typeof(config[0]).fields if name != "mean"}


_DEFAULTS = _default_fields()
_INTEGERS = tuple(name for name, value in _DEFAULTS.items() if isinstance(value, int))


@dataclasses.dataclass(frozen=True)
class FrontendConfig:
    """Parameters of the front end; the defaults are those of the AN4 features of CMU Sphinx.

    Numbers that are not integers are rounded to float32, as the C library and the model file hold
    them. The C library checks the ranges when a `Frontend` is made.

    Attributes
    ----------
    window_samples : int
        Length of a frame, 32 to `fft_size`.
    hop_samples : int
        Distance of frames, 16 to `window_samples`.
    fft_size : int
        A power of two, 64 to 2048.
    filter_count : int
        Mel filters, 8 to 80.
    cepstrum_count : int
        1 to 32, at most `filter_count`.
    delta_order : int
        2: cepstra, deltas, delta-deltas; 1: no delta-deltas; 0: cepstra only.
    stack : int
        Consecutive frames per feature vector, 1 to 4.
    subtract_mean : bool
        Subtract a causal running mean from the cepstra.
    preemphasis : float
        0 to 1.
    low_hz, high_hz : float
        Outer edges of the filters, 0 <= `low_hz` < `high_hz` <= 8000.
    log_floor : float
        Added to each filter's energy before the logarithm, > 0.
    mean : tuple of float
        Initial mean, `cepstrum_count` values; empty means zeros.
    """

    window_samples: int = _DEFAULTS["window_samples"]
    hop_samples: int = _DEFAULTS["hop_samples"]
    fft_size: int = _DEFAULTS["fft_size"]
    filter_count: int = _DEFAULTS["filter_count"]
    cepstrum_count: int = _DEFAULTS["cepstrum_count"]
    delta_order: int = _DEFAULTS["delta_order"]
    stack: int = _DEFAULTS["stack"]
    subtract_mean: bool = bool(_DEFAULTS["subtract_mean"])
    preemphasis: float = _DEFAULTS["preemphasis"]
    low_hz: float = _DEFAULTS["low_hz"]
    high_hz: float = _DEFAULTS["high_hz"]
    log_floor: float = _DEFAULTS["log_floor"]
    mean: tuple = ()

    def __post_init__(self):
        for name in _DEFAULTS:
            value = getattr(self, name)
            if name == "subtract_mean":
                if value not in (0, 1):
                    raise ValueError(f"subtract_mean: expected True or False, got {value!r}")
                value = bool(value)
            elif name in _INTEGERS:
                value = checked_u32(name, value)
            else:
                value = float(np.float32(value))
            object.__setattr__(self, name, value)
        mean = np.asarray(self.mean, dtype=np.float32)
        if mean.shape not in ((0,), (self.cepstrum_count,)):
            raise ValueError(
                f"mean: expected cepstrum_count = {self.cepstrum_count} values or none, "
                f"got shape {mean.shape}"
            )
        mean = mean if len(mean) else np.zeros(self.cepstrum_count, np.float32)
        object.__setattr__(self, "mean", tuple(map(float, mean)))

    @property
    def feature_size(self):
        """int : length of a feature vector."""
        return self.cepstrum_count * (1 + self.delta_order) * self.stack

    @property
    def step_samples(self):
        """int : 16 kHz samples per feature vector."""
        return self.hop_samples * self.stack

    def _to_c(self):
        """The er_frontend_config of this configuration."""
        config = ffi.new("er_frontend_config *")
        for name in _DEFAULTS:
            setattr(config, name, getattr(self, name))
        for i, value in enumerate(self.mean[: lib.ER_MAX_CEPSTRA]):
            config.mean[i] = value
        return config


class Frontend(NativeObject):
    """Streaming features of one signal.

    The chunks in which the signal arrives do not change a bit of the features.

    Parameters
    ----------
    config : FrontendConfig, optional
        Default: ``FrontendConfig()``.

    Raises
    ------
    EdgeRuntimeError (also a ValueError)
        A parameter is out of range, or two filters fall on one bin of the FFT.

    Examples
    --------
    >>> frontend = Frontend(FrontendConfig(stack=2))
    >>> silence = np.zeros(16000, np.int16)
    >>> np.concatenate([frontend.push(silence), frontend.flush()]).shape
    (50, 78)
    """

    def __init__(self, config=None):
        config = FrontendConfig() if config is None else config
        if not isinstance(config, FrontendConfig):
            raise TypeError(f"config: expected a FrontendConfig, got {type(config).__name__}")
        out = ffi.new("er_frontend **")
        _check(lib.er_frontend_create(config._to_c(), out), f"front end for {config}")
        super().__init__(out[0], lib.er_frontend_destroy)
        self._config = config
        self._out_shape = (_CHUNK_FRAMES, config.feature_size)

    @property
    def config(self):
        """FrontendConfig : the parameters."""
        return self._config

    @property
    def feature_size(self):
        """int : length of a feature vector."""
        return self._config.feature_size

    def push(self, samples):
        """Enter a chunk of the signal.

        Parameters
        ----------
        samples : int16 or float32 [shape=(n,)]
            16 kHz mono. Float has full scale 1.0 and is clamped to it; not-a-number counts as 0.

        Returns
        -------
        float32 [shape=(frames, feature_size)]
            The feature vectors that are complete, their look-ahead included.
        """
        return self._push(lib.er_frontend_push, _to_float(samples), 1, "front end push")

    def push_cepstra(self, cepstra):
        """Enter ready cepstra instead of samples; not to be mixed with `push`.

        Parameters
        ----------
        cepstra : float32 [shape=(frames, cepstrum_count)]
            Not-a-number counts as 0; values are clamped to +-1e6.

        Returns
        -------
        float32 [shape=(frames, feature_size)]
        """
        width = self._config.cepstrum_count
        cepstra = checked_array("cepstra", cepstra, np.float32, ("frames", width))
        return self._push(lib.er_frontend_push_cepstra, cepstra, width, "front end push_cepstra")

    def _push(self, function, x, item_floats, what):
        """Call er_frontend_push or er_frontend_push_cepstra until all items of x are used."""
        what += " (push and push_cepstra do not mix; after flush, reset)"
        with self._exclusive() as handle:
            return push_all(function, handle, x, item_floats, self._out_shape, what)

    def flush(self, quiet_frames=0):
        """End of the signal: complete the started frame and the look-ahead.

        Call `reset` before another signal.

        Parameters
        ----------
        quiet_frames : int
            Copies of the quietest frame so far to add. With 0, the look-ahead repeats the last
            frame instead.

        Returns
        -------
        float32 [shape=(frames, feature_size)]
        """
        quiet_frames = checked_u32("quiet_frames", quiet_frames)
        with self._exclusive() as handle:
            return collect(
                lambda *out: lib.er_frontend_flush(handle, quiet_frames, *out),
                self._out_shape,
                "front end flush (the same quiet_frames again, or reset first)",
            )

    def reset(self):
        """Forget the signal so far."""
        with self._exclusive() as handle:
            lib.er_frontend_reset(handle)
