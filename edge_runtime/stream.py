# SPDX-License-Identifier: MIT
"""Recurrent state of one input stream."""

import contextlib

import numpy as np

from edge_runtime._native import ffi, lib
from edge_runtime._native_object import NativeObject, checked_array, handle_of, pointer_to
from edge_runtime.errors import _check


class Stream(NativeObject):
    """State of a network on one input stream; made by `Model.stream`.

    A stream belongs to one thread at a time: calls while another thread is inside raise RuntimeError. Any number of
    streams share a model.

    A long run may be interrupted (KeyboardInterrupt). It then has made some whole number of its steps: `reset` the
    stream, or set its `state` to one that was kept.

    Parameters
    ----------
    model : Model
    skipping : bool, optional
        See the attribute.
    """

    _c_types = ("er_stream *[]",)

    def __init__(self, model, skipping=False):
        handle = handle_of(model)
        out = ffi.new("er_stream **")
        _check(lib.er_stream_create(handle, out), "stream")
        super().__init__(out[0], lib.er_stream_destroy, handle)
        self._model_handle = handle
        self._input_size = model.input_size
        self._output_size = model.output_size
        self._state_size = model.info["state_size"]
        if model.profile == 2:
            self._input_type, self._input_c_type = np.dtype(np.int16), "int16_t"
            self._step_quantized, self._run_quantized = (
                lib.er_stream_step_quantized16,
                lib.er_stream_run_quantized16,
            )
        else:
            self._input_type, self._input_c_type = np.dtype(np.int8), "int8_t"
            self._step_quantized, self._run_quantized = (
                lib.er_stream_step_quantized,
                lib.er_stream_run_quantized,
            )
        # Between the C calls of a run signals are handled: after 0.2 ms here, after a second on the slowest machine. A
        # multiple of 8, because the library takes eight steps at a time through a layer.
        self._steps_per_call = max(1, (1 << 24) // model.info["file_bytes"] // 8) * 8
        self._skipping = False
        self.skipping = skipping

    def __repr__(self):
        return f"Stream(input_size={self._input_size}, output_size={self._output_size})"

    def step(self, x):
        """Advance one step.

        Parameters
        ----------
        x : float32 [shape=(input_size,)]
            Features in real units; rounded to the network's integer inputs by the scale and offset
            in the model file. Not-a-number becomes 0.

        Returns
        -------
        float32 [shape=(output_size,)]
            Logits in real units.
        """
        x = checked_array("x", x, np.float32, (self._input_size,))
        y = np.empty(self._output_size, np.float32)
        with self._exclusive() as handle:
            status = lib.er_stream_step(handle, pointer_to(x, "float"), pointer_to(y, "float"))
        _check(status, "stream step")
        return y

    def run(self, x):
        """Advance many steps; equal to as many calls of `step`, bit for bit.

        Parameters
        ----------
        x : float32 [shape=(steps, input_size)]

        Returns
        -------
        float32 [shape=(steps, output_size)]
        """
        return self._run(lib.er_stream_run, x, np.float32, "float", np.float32, "float")

    def step_quantized(self, x):
        """Advance one step on integers only.

        Parameters
        ----------
        x : int8 [shape=(input_size,)]
            In -127 to 127; -128 is read as -127. In numeric profile 2 int16, likewise. See
            `Model.quantize_input`.

        Returns
        -------
        int16 [shape=(output_size,)]
            Logits; unit 1/2048, or 1/32768 if the last layer ends in tanh or sigmoid.
        """
        x = checked_array("x", x, self._input_type, (self._input_size,))
        y = np.empty(self._output_size, np.int16)
        with self._exclusive() as handle:
            status = self._step_quantized(handle, pointer_to(x, self._input_c_type), pointer_to(y, "int16_t"))
        _check(status, "stream step")
        return y

    def run_quantized(self, x):
        """Advance many steps on integers only.

        Parameters
        ----------
        x : int8, in numeric profile 2 int16 [shape=(steps, input_size)]

        Returns
        -------
        int16 [shape=(steps, output_size)]
        """
        return self._run(self._run_quantized, x, self._input_type, self._input_c_type, np.int16, "int16_t")

    def _run(self, function, x, dtype, c_type, out_dtype, out_c_type):
        """Check the input of a run and call the C function, for some steps at a time."""
        x = checked_array("x", x, dtype, ("steps", self._input_size))
        y = np.empty((len(x), self._output_size), out_dtype)
        source, target = pointer_to(x, c_type), pointer_to(y, out_c_type)
        with self._exclusive() as handle:
            for start in range(0, len(x), self._steps_per_call):
                status = function(
                    handle,
                    source + start * self._input_size,
                    min(len(x) - start, self._steps_per_call),
                    target + start * self._output_size,
                )
                _check(status, "stream run")
        return y

    @staticmethod
    def step_many(streams, x):
        """Advance several streams of one model by one step each, in one call.

        Parameters
        ----------
        streams : sequence of Stream
            Of one model, none twice.
        x : float32 [shape=(len(streams), input_size)]
            An input as of `step` for each stream.

        Returns
        -------
        float32 [shape=(len(streams), output_size)]
            What `step` of each stream would have returned, bit for bit.

        Raises
        ------
        ValueError
            The streams are not of one model, or one is there twice; nothing is changed.
        """
        return _step_many(streams, x, np.float32, "float", np.float32, "float", lib.er_stream_step_many)

    @staticmethod
    def step_many_quantized(streams, x):
        """As `step_many` on integers only.

        Parameters
        ----------
        streams : sequence of Stream
        x : int8, in numeric profile 2 int16 [shape=(len(streams), input_size)]

        Returns
        -------
        int16 [shape=(len(streams), output_size)]
        """
        streams = list(streams)
        if streams and isinstance(streams[0], Stream) and streams[0]._input_c_type == "int16_t":
            function, dtype, c_type = lib.er_stream_step_many_quantized16, np.int16, "int16_t"
        else:
            function, dtype, c_type = lib.er_stream_step_many_quantized, np.int8, "int8_t"
        return _step_many(streams, x, dtype, c_type, np.int16, "int16_t", function)

    def reset(self):
        """Return to the model's initial state."""
        with self._exclusive() as handle:
            lib.er_stream_reset(handle)

    @property
    def skipping(self):
        """bool : whether steps leave out what did not change since the last one; may be set.

        Weights of inputs and states that are, as rounded for a matrix, those of the last step are
        not read. Outputs and states are the same, bit for bit. It pays where inputs stand still, as
        in digital silence; with speech and its pauses a step takes a few percent longer.
        """
        return self._skipping

    @skipping.setter
    def skipping(self, value):
        if not isinstance(value, bool):
            raise TypeError(f"skipping: expected a bool, got {type(value).__name__}")
        with self._exclusive() as handle:
            _check(lib.er_stream_set_skipping(handle, value), "stream skipping")
        self._skipping = value

    @property
    def state(self):
        """int16 [shape=(state_size,)] : the recurrent state, a copy; may be set.

        Layers in order; a GRU or RNN layer contributes h, an LSTM layer h, then c (in numeric profile 2
        each c is two values, its low half first). Any values may be set.
        """
        state = np.empty(self._state_size, np.int16)
        with self._exclusive() as handle:
            _check(lib.er_stream_get_state(handle, pointer_to(state, "int16_t")), "stream state")
        return state

    @state.setter
    def state(self, value):
        value = checked_array("state", value, np.int16, (self._state_size,))
        with self._exclusive() as handle:
            _check(lib.er_stream_set_state(handle, pointer_to(value, "int16_t")), "stream state")


def _step_many(streams, x, dtype, c_type, out_dtype, out_c_type, function):
    """Check the arguments of `Stream.step_many` and its like, and call the C function."""
    streams = list(streams)
    for stream in streams:
        if not isinstance(stream, Stream):
            raise TypeError(f"streams: expected Stream objects, got {type(stream).__name__}")
    if len(set(map(id, streams))) < len(streams):
        raise ValueError("streams: one of them is there twice")
    if any(stream._model_handle != streams[0]._model_handle for stream in streams):
        raise ValueError("streams: they are not of one model")
    if not streams:
        raise ValueError("streams: there are none")
    x = checked_array("x", x, dtype, (len(streams), streams[0]._input_size))
    y = np.empty((len(streams), streams[0]._output_size), out_dtype)
    with contextlib.ExitStack() as stack:
        handles = [stack.enter_context(stream._exclusive()) for stream in streams]
        array = ffi.new("er_stream *[]", handles)
        status = function(array, len(streams), pointer_to(x, c_type), pointer_to(y, out_c_type))
    _check(status, "stream step")
    return y
