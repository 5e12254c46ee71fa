# SPDX-License-Identifier: MIT
"""Audio in, words out."""

import numpy as np

from edge_runtime._native import ffi, lib
from edge_runtime._native_object import NativeObject, checked_array, checked_number, handle_of, pointer_to
from edge_runtime.decoder import WordBuffer, checked_threshold, silence_ms
from edge_runtime.errors import _check
from edge_runtime.resampler import _checked_rate, _to_float

_MODEL_RATE = lib.ER_SAMPLE_RATE
# Of one C call, for signals: some ms here, less than a second on the slowest machine.
_SAMPLES_PER_CALL = 65536
_FRAMES_PER_CALL = 256


class Recognizer(NativeObject):
    """Resampler, front end, network and decoder on one audio stream; made by `Model.recognizer`.

    The chunks in which the audio arrives do not change the words. A recognizer belongs to one
    thread at a time: calls while another thread is inside raise RuntimeError. Any number of recognizers share a model.

    A long call may be interrupted (KeyboardInterrupt). It then has heard some first part of its samples, and the words
    that it would have returned are lost; the recognizer can go on, or be `reset`.

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

    _c_types = ("er_recognizer **", "float *", *WordBuffer.C_TYPES)

    def __init__(self, model, sample_rate=_MODEL_RATE, threshold=None):
        self._model_handle = handle_of(model)
        self._labels = model.labels
        self._output_size = model.output_size
        frontend = model.file.frontend
        self._filter_count = 0 if frontend is None else frontend.filter_count
        self._cepstrum_count = 0 if frontend is None else frontend.cepstrum_count
        self._threshold = None if threshold is None else checked_threshold(threshold)
        self._string_silence_ms = None
        self._idle_after_ms = None
        self._sample_rate = None
        # A recognizer without a rate yet is made for the model's own, so that a model that cannot
        # recognize is refused now; it is replaced when the rate is known.
        rate = _MODEL_RATE if sample_rate is None else _checked_rate(sample_rate)
        super().__init__(self._create(rate), lib.er_recognizer_destroy, self._model_handle)
        self._apply_settings()
        self._sample_rate = None if sample_rate is None else rate
        self._buffer = WordBuffer(self._labels)

    def __repr__(self):
        return f"Recognizer(sample_rate={self._sample_rate}, labels={self._labels})"

    def _create(self, sample_rate):
        out = ffi.new("er_recognizer **")
        _check(
            lib.er_recognizer_create(self._model_handle, sample_rate, out),
            f"recognizer for {sample_rate} Hz",
        )
        return out[0]

    def _apply_settings(self):
        if self._threshold is not None:
            _check(
                lib.er_recognizer_set_threshold(self._handle, self._threshold),
                "recognizer threshold",
            )
        if self._string_silence_ms is not None:
            _check(
                lib.er_recognizer_set_string_silence(self._handle, self._string_silence_ms),
                "recognizer string silence",
            )
        if self._idle_after_ms is not None:
            _check(lib.er_recognizer_set_gate(self._handle, self._idle_after_ms), "recognizer gate")

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
        if sample_rate is not None:
            sample_rate = _checked_rate(sample_rate)
        data = ffi.cast("float *", pointer_to(samples, "float"))
        with self._exclusive():
            self._settle_rate(sample_rate)
            return self._buffer.push(
                lib.er_recognizer_push,
                self._open_handle(),
                data,
                1,
                len(samples),
                _SAMPLES_PER_CALL,
                "recognizer (after cepstra or finish, reset first)",
            )

    def _settle_rate(self, sample_rate):
        if self._sample_rate is None:
            if sample_rate is None:
                raise ValueError(
                    "sample_rate: the recognizer was made without one, so the first chunk needs it"
                )
            self._replace(self._create(sample_rate), lib.er_recognizer_destroy, self._model_handle)
            self._apply_settings()
            self._sample_rate = sample_rate
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
        width = self._cepstrum_count
        cepstra = checked_array("cepstra", cepstra, np.float32, ("frames", width))
        data = ffi.cast("float *", pointer_to(cepstra, "float"))
        with self._exclusive() as handle:
            return self._buffer.push(
                lib.er_recognizer_push_cepstra,
                handle,
                data,
                width,
                len(cepstra),
                _FRAMES_PER_CALL,
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
        threshold = checked_threshold(threshold)
        with self._exclusive() as handle:
            self._threshold = threshold
            _check(lib.er_recognizer_set_threshold(handle, self._threshold), "recognizer threshold")

    def set_string_silence(self, silence_s):
        """Time without a word after which a string ends; 0.8 s at first.

        Measured in the recognizer's own steps, so that it does not depend on how the audio arrives.

        Parameters
        ----------
        silence_s : float
            0.02 to 60.
        """
        string_silence_ms = silence_ms(silence_s)
        with self._exclusive() as handle:
            self._string_silence_ms = string_silence_ms
            _check(
                lib.er_recognizer_set_string_silence(handle, self._string_silence_ms),
                "recognizer string silence",
            )

    def set_gate(self, idle_after_s):
        """Let the network rest while nothing but steady noise comes; after 2 s at first.

        The recognizer is idle from when, for so long, the network has been sure of hearing no word and the energy has
        stayed within 2.4 dB of the noise, at whatever level that is. When the energy rises it hears the last half second
        again from a fresh state, so that no beginning of a word is lost. Times and chunking are as without.

        Parameters
        ----------
        idle_after_s : float or None
            0.5 to 60; None: never.
        """
        idle_after_ms = 0
        if idle_after_s is not None:
            idle_after_ms = round(
                1000 * checked_number("idle_after_s", idle_after_s, 0.5, 60, "0.5 to 60, or None")
            )
        with self._exclusive() as handle:
            self._idle_after_ms = idle_after_ms
            _check(lib.er_recognizer_set_gate(handle, self._idle_after_ms), "recognizer gate")

    @property
    def ended_strings(self):
        """int : strings of words that have ended since the start or `reset`.

        A word is reported with the number of its string, `Word.string`; the strings before number
        `ended_strings` are complete. A string ends when `set_string_silence` has passed without a word after its
        last one, while no other word is in progress, or with `finish`::

            for word in recognizer.accept_waveform(samples):
                if word.string > line:  # a string has ended within these samples
                    ...
            if recognizer.ended_strings > line:  # the string shown is complete
                ...
        """
        with self._exclusive() as handle:
            return lib.er_recognizer_ended_strings(handle)

    @property
    def partial(self):
        """Word or None : the word in progress, as it would be reported if it ended now.

        None while nothing or an unknown word is heard. A word that is reported was in progress before, unless
        all of it was in one chunk, with the same label and beginning no later; but not every word in progress is
        reported: its confidence may stay below the threshold.
        """
        with self._exclusive() as handle:
            return self._buffer.partial(lib.er_recognizer_partial, handle, "recognizer partial")

    @property
    def is_idle(self):
        """bool : the network rests, see `set_gate`."""
        with self._exclusive() as handle:
            return bool(lib.er_recognizer_is_idle(handle))

    @property
    def log_mel(self):
        """float32 [shape=(filter_count,)] : spectrum of the last frame, for displays.

        Natural logarithms of the energies in the front end's mel filters (40 in the digit model), low to high:
        -9.2 is silence and some 25 the loudest. Silence before the first frame, and with `accept_cepstra`.
        """
        log_mel = np.empty(self._filter_count, np.float32)
        with self._exclusive() as handle:
            _check(lib.er_recognizer_log_mel(handle, pointer_to(log_mel, "float")), "recognizer spectrum")
        return log_mel

    @property
    def posteriors(self):
        """float32 [shape=(output_size,)] : probabilities of the outputs at the last step.

        Softmax of the biased logits, for displays; all zero before the first step. While idle those of the step
        before.
        """
        posteriors = np.empty(self._output_size, np.float32)
        with self._exclusive() as handle:
            _check(
                lib.er_recognizer_posteriors(handle, pointer_to(posteriors, "float")),
                "recognizer posteriors",
            )
        return posteriors
