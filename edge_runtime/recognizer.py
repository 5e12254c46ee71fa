# SPDX-License-Identifier: MIT
"""Audio in, words out."""

import numpy as np

from edge_runtime._native import ffi, lib
from edge_runtime._native_object import NativeObject, checked_array, pointer_to
from edge_runtime.decoder import WordBuffer, checked_threshold
from edge_runtime.errors import _check
from edge_runtime.resampler import _checked_rate, _to_float

_MODEL_RATE = lib.ER_SAMPLE_RATE


class Recognizer(NativeObject):
    """Resampler, front end, network and decoder on one audio stream; made by `Model.recognizer`.

    The chunks in which the audio arrives do not change the words. A recognizer belongs to one
    thread at a time; any number of recognizers share a model.

    Parameters
    ----------
    model : Model
        With front end, labels and decoder settings.
    sample_rate : int or None
        Rate of the audio in Hz, 8000 to 192000. None: the first `accept_waveform` fixes it.
    threshold : float or None
        Words below this confidence, 0 to 1, are dropped. None: the value in the model file.

    Raises
    ------
    EdgeRuntimeStateError (also a RuntimeError)
        The model has no front end, labels or decoder settings.
    ValueError
        The sample rate is not supported, or the threshold is not in 0 to 1.

    Examples
    --------
    >>> recognizer = Model.default().recognizer()
    >>> silence = np.zeros(16000, np.int16)
    >>> recognizer.accept_waveform(silence) + recognizer.finish()
    []
    """

    def __init__(self, model, sample_rate=_MODEL_RATE, threshold=None):
        self._model = model
        self._model_handle = model._open_handle()
        self._labels = model.labels
        self._output_size = model.output_size
        self._threshold = None if threshold is None else checked_threshold(threshold)
        self._sample_rate = None
        # A recognizer without a rate yet is made for the model's own, so that a model that cannot
        # recognize is refused now; it is replaced when the rate is known.
        self._create(_MODEL_RATE if sample_rate is None else _checked_rate(sample_rate))
        if sample_rate is None:
            self._sample_rate = None
        self._buffer = WordBuffer(self._labels)

    def __repr__(self):
        return f"Recognizer(sample_rate={self._sample_rate}, labels={self._labels})"

    def _create(self, sample_rate):
        out = ffi.new("er_recognizer **")
        _check(
            lib.er_recognizer_create(self._model_handle, sample_rate, out),
            f"recognizer for {sample_rate} Hz",
        )
        super().__init__(out[0], lib.er_recognizer_destroy, self._model_handle)
        self._sample_rate = sample_rate
        if self._threshold is not None:
            _check(
                lib.er_recognizer_set_threshold(self._handle, self._threshold),
                "recognizer threshold",
            )

    @property
    def sample_rate(self):
        """int or None : rate of the audio in Hz; None until it is known."""
        return self._sample_rate

    def accept_waveform(self, samples, sample_rate=None):
        """Hear a chunk of audio.

        Parameters
        ----------
        samples : int16 or float32 [shape=(n,)]
            Mono. Float has full scale 1.0 and is clamped to it; not-a-number counts as 0.
        sample_rate : int, optional
            In Hz. Must be the recognizer's; fixes it if the recognizer was made without one.

        Returns
        -------
        list of Word
            Words that have ended.

        Raises
        ------
        ValueError
            Another dtype, shape or sample rate; or samples after `accept_cepstra` or `finish`
            without a `reset`.
        """
        samples = _to_float(samples)
        self._settle_rate(sample_rate)
        data = ffi.cast("float *", pointer_to(samples, "float"))
        with self._exclusive() as handle:
            return self._buffer.push(
                lib.er_recognizer_push,
                handle,
                data,
                1,
                len(samples),
                "recognizer (after cepstra or finish, reset first)",
            )

    def _settle_rate(self, sample_rate):
        if sample_rate is not None:
            sample_rate = _checked_rate(sample_rate)
        if self._sample_rate is None:
            if sample_rate is None:
                raise ValueError(
                    "sample_rate: the recognizer was made without one, so the first chunk needs it"
                )
            self._open_handle()
            self._create(sample_rate)
        elif sample_rate is not None and sample_rate != self._sample_rate:
            raise ValueError(
                f"sample_rate: expected {self._sample_rate} Hz, got {sample_rate} Hz; "
                "a recognizer hears one rate"
            )

    def accept_cepstra(self, cepstra):
        """Hear ready cepstra instead of audio; not to be mixed with `accept_waveform`.

        Parameters
        ----------
        cepstra : float32 [shape=(frames, cepstrum_count)]
            As the model's front end computes them, before deltas and mean subtraction.

        Returns
        -------
        list of Word
        """
        width = self._model.file.frontend.cepstrum_count
        cepstra = checked_array("cepstra", cepstra, np.float32, ("frames", width))
        data = ffi.cast("float *", pointer_to(cepstra, "float"))
        with self._exclusive() as handle:
            return self._buffer.push(
                lib.er_recognizer_push_cepstra,
                handle,
                data,
                width,
                len(cepstra),
                "recognizer (after samples or finish, reset first)",
            )

    def finish(self):
        """End of the signal: hear 0.3 s of quiet and report the words still due.

        Call `reset` before another signal.

        Returns
        -------
        list of Word
        """
        with self._exclusive() as handle:
            return self._buffer.finish(lib.er_recognizer_finish, handle, "recognizer finish")

    def reset(self):
        """Forget everything heard: filters, features, network state, pending word, clock."""
        with self._exclusive() as handle:
            lib.er_recognizer_reset(handle)

    def set_threshold(self, threshold):
        """Drop words below this confidence from now on.

        Parameters
        ----------
        threshold : float
            0 to 1.
        """
        self._threshold = checked_threshold(threshold)
        with self._exclusive() as handle:
            _check(lib.er_recognizer_set_threshold(handle, self._threshold), "recognizer threshold")

    @property
    def posteriors(self):
        """float32 [shape=(output_size,)] : probabilities of the outputs at the last step.

        Softmax of the biased logits, for displays; all zero before the first step.
        """
        posteriors = np.empty(self._output_size, np.float32)
        with self._exclusive() as handle:
            _check(
                lib.er_recognizer_posteriors(handle, pointer_to(posteriors, "float")),
                "recognizer posteriors",
            )
        return posteriors
