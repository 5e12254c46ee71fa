# SPDX-License-Identifier: MIT
"""Logits to words."""

import dataclasses

import numpy as np

from edge_runtime._native import ffi, lib
from edge_runtime._native_object import (
    NativeObject,
    checked_array,
    checked_integer,
    checked_number,
    handle_of,
    pointer_to,
)
from edge_runtime.errors import _check

_CAPACITY = 16  # words per C call
_STEPS_PER_CALL = 65536  # between which signals are handled


@dataclasses.dataclass(frozen=True)
class Word:
    """One recognized word.

    Attributes
    ----------
    label : str
        Label of the output.
    index : int
        Index of the output.
    start_s, end_s : float
        Estimated beginning and end in seconds since the first sample (decoder alone: since the
        first step).
    confidence : float
        Greatest posterior probability of the word over its steps, 0 to 1.
    heard_s : float
        When it was reported: the time at which the last sample that this took had arrived. Its latency is
        ``heard_s - end_s``, by the estimated end; networks decide early, so it may be negative.
    string : int
        Number of the string of words it belongs to, from 0; a string ends with a silence.
    """

    label: str
    index: int
    start_s: float
    end_s: float
    confidence: float
    heard_s: float = 0.0
    string: int = 0


class _Room:
    """Memory for what one C call puts out."""

    def __init__(self):
        self.words = ffi.new(f"er_word[{_CAPACITY}]")
        self.count = ffi.new("size_t *")
        self.consumed = ffi.new("size_t *")


class WordBuffer:
    """Room for the words of a C call, and their conversion.

    Parameters
    ----------
    labels : tuple of str
    """

    #: C types that it uses, see `NativeObject`.
    C_TYPES = (f"er_word[{_CAPACITY}]", "size_t *", "er_word *", "uint32_t *")

    def __init__(self, labels):
        self._labels = labels
        self._room = _Room()

    def _take_room(self):
        """A room for one call, put back behind it: a signal handler or finalizer that calls in between gets another."""
        room, self._room = self._room or _Room(), None
        return room

    def push(self, function, handle, data, item_size, count, most, what):
        """Call an ``er_*_push`` function until it has used up its input.

        Parameters
        ----------
        function, handle
            C function and object.
        data : cdata
            Array of the input.
        item_size : int
            Elements per item of the input.
        count : int
            Items.
        most : int
            Items of one C call.
        what : str
            Beginning of an error message.

        Returns
        -------
        list of Word
        """
        words = []
        start = 0
        room = self._take_room()
        try:
            while True:
                status = function(
                    handle,
                    data + start * item_size,
                    min(count - start, most),
                    room.words,
                    _CAPACITY,
                    room.count,
                    room.consumed,
                )
                _check(status, what)
                self._take(words, room)
                start += room.consumed[0]
                if start == count:
                    return words
        finally:
            self._room = room

    def finish(self, function, handle, what):
        """Call an ``er_*_finish`` function until no more words come; parameters as `push`."""
        words = []
        room = self._take_room()
        try:
            while True:
                _check(function(handle, room.words, _CAPACITY, room.count), what)
                self._take(words, room)
                if room.count[0] < _CAPACITY:
                    return words
        finally:
            self._room = room

    def partial(self, function, handle, what):
        """Call an ``er_*_partial`` function; returns a Word or None."""
        word = ffi.new("er_word *")
        found = ffi.new("uint32_t *")
        _check(function(handle, word, found), what)
        return self._word(word) if found[0] else None

    def _take(self, words, room):
        words += [self._word(room.words[i]) for i in range(room.count[0])]

    def _word(self, word):
        return Word(
            self._labels[word.label],
            word.label,
            word.start_s,
            word.end_s,
            word.confidence,
            word.heard_s,
            word.string,
        )


class Decoder(NativeObject):
    """Greedy CTC decoder of one stream of logits; made by `Model.decoder`.

    The best output per step, after adding the file's bias per output; runs of one label are one
    word; blank separates; `unknown` is heard but not reported. A word is reported when its run
    ends.

    Parameters
    ----------
    model : Model
        With labels, front end and decoder settings.

    Raises
    ------
    EdgeRuntimeStateError (also a RuntimeError)
        The model has no decoder settings.
    """

    _c_types = ("int16_t *", *WordBuffer.C_TYPES)

    def __init__(self, model):
        handle = handle_of(model)
        out = ffi.new("er_decoder **")
        _check(lib.er_decoder_create(handle, out), "decoder")
        super().__init__(out[0], lib.er_decoder_destroy, handle)
        self._labels = model.labels
        self._output_size = model.output_size
        self._buffer = WordBuffer(model.labels)

    def __repr__(self):
        return f"Decoder(labels={self._labels})"

    def push(self, logits):
        """Decode steps.

        Parameters
        ----------
        logits : int16 [shape=(steps, output_size)]
            As `Stream.run_quantized` returns them.

        Returns
        -------
        list of Word
            Words that ended in these steps.
        """
        logits = checked_array("logits", logits, np.int16, ("steps", self._output_size))
        data = ffi.cast("int16_t *", pointer_to(logits, "int16_t"))
        with self._exclusive() as handle:
            return self._buffer.push(
                lib.er_decoder_push,
                handle,
                data,
                self._output_size,
                len(logits),
                _STEPS_PER_CALL,
                "decoder push",
            )

    def finish(self):
        """End of the signal: the word in progress, if any. Call `reset` before another signal.

        Returns
        -------
        list of Word
        """
        with self._exclusive() as handle:
            return self._buffer.finish(lib.er_decoder_finish, handle, "decoder finish")

    def reset(self):
        """Forget the signal; threshold and biases stay."""
        with self._exclusive() as handle:
            lib.er_decoder_reset(handle)

    def set_threshold(self, threshold):
        """Drop words below this confidence; the default is in the model file.

        Parameters
        ----------
        threshold : float
            0 to 1.
        """
        with self._exclusive() as handle:
            _check(
                lib.er_decoder_set_threshold(handle, checked_threshold(threshold)),
                "decoder threshold",
            )

    @property
    def partial(self):
        """Word or None : the word in progress, see `Recognizer.partial`."""
        with self._exclusive() as handle:
            return self._buffer.partial(lib.er_decoder_partial, handle, "decoder partial")

    @property
    def ended_strings(self):
        """int : strings that have ended, see `Recognizer.ended_strings`."""
        with self._exclusive() as handle:
            return lib.er_decoder_ended_strings(handle)

    def set_string_silence(self, silence_s):
        """Time without a word after which a string ends; 0.8 s at first.

        Parameters
        ----------
        silence_s : float
            0.02 to 60.
        """
        with self._exclusive() as handle:
            _check(
                lib.er_decoder_set_string_silence(handle, silence_ms(silence_s)),
                "decoder string silence",
            )

    def set_bias(self, label, bias):
        """Replace the file's bias of one output, for choosing an operating point.

        Parameters
        ----------
        label : str or int
            Label or index of the output.
        bias : int
            Unit 1/2048, -32768 to 32767.
        """
        if isinstance(label, str):
            if label not in self._labels:
                raise ValueError(f"label: expected one of {', '.join(self._labels)}, got {label!r}")
            label = self._labels.index(label)
        label = checked_integer(
            "label",
            label,
            0,
            self._output_size - 1,
            "a label or its index",
            f"an index below {self._output_size}",
        )
        bias = checked_integer("bias", bias, -32768, 32767, "an integer", "-32768 to 32767")
        with self._exclusive() as handle:
            _check(lib.er_decoder_set_bias(handle, label, bias), "decoder bias")


def silence_ms(silence_s):
    """The silence that ends a string in milliseconds, or ValueError if it is not in 0.02 to 60 s."""
    return round(1000 * checked_number("string silence", silence_s, 0.02, 60.0, "0.02 to 60 s"))


def checked_threshold(threshold):
    """`threshold` as a float, or ValueError if it is not in 0 to 1."""
    return checked_number("threshold", threshold, 0.0, 1.0, "0 to 1")
