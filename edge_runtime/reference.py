# SPDX-License-Identifier: MIT
"""Both numeric profiles in NumPy: what the C library computes, exactly, and slowly.

This is the executable form of exporters/FORMAT.md, sections 4, 7 and 8 (decoder); every function cites its
rule. All arithmetic is on int64 arrays, of values that the format bounds to 32 bits, so nothing overflows
and nothing rounds except where a rule says so. The descriptions of models are those of
`edge_runtime.format`: ``ModelFile``, ``Layer``, ``Matrix``, ``DecoderConfig``.

Primitives         sat16, rounding_shift, chain, tanh, sigmoid
Matrices           operand, matrix_sums, scale_sums, matrix_output, preactivation
Layers             rnn_step, gru_step, lstm_step, dense_step
Profile 2          the same with fine_ before the name, and clip, part, mix
Models             quantize_input, logit_unit, ReferenceStream, decode
"""

import typing

import numpy as np

from edge_runtime import activation_table, fine_table
from edge_runtime._format_parts import state_size

_BASE = np.array(activation_table.BASE, np.int64)
_SHIFT1 = np.array(activation_table.SHIFT1, np.int64)
_SHIFT2 = np.array(activation_table.SHIFT2, np.int64)
_SHIFT3 = np.array(activation_table.SHIFT3, np.int64)
_FINE_TANH = np.array(fine_table.TANH, np.int64)
_FINE_BOUND = 1 << 26

SAMPLE_RATE = 16000
NO_UNKNOWN = 0xFFFF


# ---------------------------------------------------------------------------------------- primitives


def sat16(a):
    """Saturate to int16 (section 1)."""
    return np.clip(a, -32768, 32767)


def rounding_shift(a, s):
    """rs(a, s): a / 2^s rounded half up (section 1)."""
    return (a + (1 << (s - 1))) >> s if s > 0 else a


def chain(b, p, q):
    """N7: the gate b, meaning (b + 1) / 256, mixes p and q by eight averages.

    Parameters
    ----------
    b : int array
        0 to 255.
    p, q : int array
        int16 values.

    Returns
    -------
    int64 array
        ``ceil(((b + 1) p + (255 - b) q) / 256)``.

    Examples
    --------
    >>> [int(chain(b, 1000, -1000)) for b in (0, 127, 255)]
    [-992, 0, 1000]
    """
    b, p, q = (np.asarray(v, np.int64) for v in (b, p, q))
    a = p
    for k in range(8):
        a = (a + np.where(b >> k & 1, p, q) + 1) >> 1
    return a


def _segment(i, f):
    """seg(i, F) of section 7.4."""
    return _BASE[i] + (f >> _SHIFT1[i]) + (f >> _SHIFT2[i]) - (f >> _SHIFT3[i])


def tanh(p):
    """N13: int16 values in units of 2^-11 to units of 2^-15."""
    p = np.asarray(p, np.int64)
    a = np.minimum(np.abs(p), 8191)
    t = _segment(a >> 7, ((a & 127) << 9) - 32768)
    return np.where(p < 0, -t, t)


def sigmoid(p):
    """N14: int16 values in units of 2^-11 to gates b, 0 to 255, meaning (b + 1) / 256."""
    p = np.asarray(p, np.int64)
    a = np.minimum(np.abs(p), 16383)
    t = _segment(a >> 8, ((a & 255) << 8) - 32768)
    b = (np.where(p < 0, -t, t) - 128 + 32768) >> 8
    return np.maximum(b, 0)


# ------------------------------------------------------------------------------------------ matrices


def operand(matrix, v):
    """N1: the operands of a matrix for its input values v (int16 values)."""
    v = np.asarray(v, np.int64)
    t = v - (v >> 2) if matrix.three_quarters else v
    return np.clip(rounding_shift(t, matrix.operand_shift), -matrix.clamp, matrix.clamp)


def matrix_sums(matrix, v):
    """N2: exact sums of products of weights and operands: int64 [shape=(planes, rows)]."""
    return np.asarray(matrix.weights, np.int64) @ operand(matrix, v)


def scale_sums(matrix, acc):
    """N3, N4: what sums contribute to the output of a matrix, before the bias.

    Parameters
    ----------
    matrix : Matrix
    acc : int64 [shape=(planes, rows)]

    Returns
    -------
    int64 [shape=(rows)]
    """
    return _terms(matrix, sat16(_shifted(acc, matrix.left_shift)))


def _shifted(a, left_shift):
    """a * 2^left_shift, rounded."""
    return a << left_shift if left_shift >= 0 else rounding_shift(a, -left_shift)


def _terms(matrix, v):
    """N4: the terms of the row scales of v [shape=(planes, rows)], added up over the planes."""
    total = np.zeros(v.shape[1], np.int64)
    for term in range(2):
        code = np.asarray(matrix.scales, np.int64)[:, :, term]
        t = v >> (code & 15)
        t = np.where(code & 0x40, -t, t)
        total += np.where(code & 0x80, t, 0).sum(axis=0)
    return total


def _bias(matrix):
    """Bias [shape=(rows)], zeros without one."""
    if matrix.bias is None:
        return np.zeros(np.shape(matrix.weights)[1], np.int64)
    return np.asarray(matrix.bias, np.int64)


def matrix_output(matrix, v):
    """N1 to N5: output a [shape=(rows)] of a matrix on input values v."""
    return sat16(_bias(matrix) + scale_sums(matrix, matrix_sums(matrix, v)))


def preactivation(layer, x, h):
    """N6: p of all rows of a recurrent layer on its input x and state h.

    Meaningful only for the rows in which W_x and W_h are added: not for n of a gru.
    """
    w_x, w_h = layer.matrices
    if layer.shared_scale:
        acc = matrix_sums(w_x, x) + matrix_sums(w_h, h)
        return sat16(_bias(w_x) + _bias(w_h) + scale_sums(w_x, acc))
    return sat16(matrix_output(w_x, x) + matrix_output(w_h, h))


# -------------------------------------------------------------------------------------------- layers


def rnn_step(layer, x, h):
    """N8: the new h of an rnn layer."""
    p = preactivation(layer, x, h)
    return tanh(p) if layer.activation == "tanh" else np.maximum(p, 0)


def gru_step(layer, x, h):
    """N9: the new h of a gru layer. Rows of both matrices: r, z, n."""
    w_x, w_h = layer.matrices
    p_r, p_z, _ = np.split(preactivation(layer, x, h), 3)
    r, z = sigmoid(p_r), sigmoid(p_z)
    a_x = np.split(matrix_output(w_x, x), 3)[2]
    if layer.reset_before:
        a_h = np.split(matrix_output(w_h, chain(r, h, 0)), 3)[2]
    else:
        a_h = chain(r, np.split(matrix_output(w_h, h), 3)[2], 0)
    n = tanh(sat16(a_x + a_h))
    return chain(z, h, n)


def lstm_step(layer, x, h, c):
    """N10: the new (h, c) of an lstm layer. Rows of both matrices: i, f, g, o."""
    p_i, p_f, p_g, p_o = np.split(preactivation(layer, x, h), 4)
    i, f, o = sigmoid(p_i), sigmoid(p_f), sigmoid(p_o)
    g = tanh(p_g)
    c = sat16(chain(f, c, 0) + rounding_shift(chain(i, g, 0), 3))
    h = chain(o, tanh(rounding_shift(c, 1)), 0)
    return h, c


def dense_step(layer, x):
    """N11: the output of a dense layer."""
    p = matrix_output(layer.matrices[0], x)
    if layer.activation == "tanh":
        return tanh(p)
    if layer.activation == "relu":
        return np.maximum(p, 0)
    if layer.activation == "sigmoid":
        return np.minimum((sigmoid(p) + 1) << 7, 32767)
    return p


# ----------------------------------------------------------------------------------------- profile 2


def clip(a):
    """Bound of pre-activations and cells (section 7.5)."""
    return np.clip(a, -_FINE_BOUND, _FINE_BOUND)


def part(d, f, s):
    """N17: the fraction f / 2^s of d, f from 0 to 2^s."""
    return rounding_shift(np.asarray(d, np.int64) * f, s)


def mix(g, p, q):
    """N18: the gate g, in units of 2^-16, mixes p and q.

    Examples
    --------
    >>> [int(mix(g, 1000, -1000)) for g in (0, 32768, 65536)]
    [-1000, 0, 1000]
    """
    return q + part(np.asarray(p, np.int64) - q, g, 16)


def _interpolate(a, s):
    """N19."""
    i = a >> s
    return _FINE_TANH[i] + part(_FINE_TANH[i + 1] - _FINE_TANH[i], a & ((1 << s) - 1), s)


def fine_tanh(p):
    """N20: values in units of 2^-16 to units of 2^-15, -32768 to 32768."""
    p = np.asarray(p, np.int64)
    t = _interpolate(np.minimum(np.abs(p), (1 << 19) - 1), 10)
    return np.where(p < 0, -t, t)


def fine_sigmoid(p):
    """N21: values in units of 2^-16 to gates in units of 2^-16, 0 to 65536."""
    p = np.asarray(p, np.int64)
    t = _interpolate(np.minimum(np.abs(p), (1 << 20) - 1), 11)
    return 32768 + np.where(p < 0, -t, t)


def _fine_scale_sums(matrix, acc):
    """N15, without the bias."""
    return _terms(matrix, clip(_shifted(acc, matrix.left_shift)))


def fine_matrix_output(matrix, v):
    """N15: output a [shape=(rows)] of a matrix on input values v."""
    return clip(_bias(matrix) + _fine_scale_sums(matrix, matrix_sums(matrix, v)))


def fine_preactivation(layer, x, h):
    """N16: as `preactivation`."""
    w_x, w_h = layer.matrices
    if layer.shared_scale:
        acc = matrix_sums(w_x, x) + matrix_sums(w_h, h)
        return clip(_bias(w_x) + _bias(w_h) + _fine_scale_sums(w_x, acc))
    return clip(fine_matrix_output(w_x, x) + fine_matrix_output(w_h, h))


def _fine_unbounded(p):
    """What relu and none make of p: units of 2^-11."""
    return sat16(rounding_shift(p, 5))


def fine_rnn_step(layer, x, h):
    """N22: the new h of an rnn layer."""
    p = fine_preactivation(layer, x, h)
    return sat16(fine_tanh(p)) if layer.activation == "tanh" else _fine_unbounded(np.maximum(p, 0))


def fine_gru_step(layer, x, h):
    """N23: the new h of a gru layer."""
    w_x, w_h = layer.matrices
    p_r, p_z, _ = np.split(fine_preactivation(layer, x, h), 3)
    r, z = fine_sigmoid(p_r), fine_sigmoid(p_z)
    a_x = np.split(fine_matrix_output(w_x, x), 3)[2]
    if layer.reset_before:
        a_h = np.split(fine_matrix_output(w_h, mix(r, h, 0)), 3)[2]
    else:
        a_h = mix(r, np.split(fine_matrix_output(w_h, h), 3)[2], 0)
    n = fine_tanh(clip(a_x + a_h))
    return sat16(mix(z, h, n))


def fine_lstm_step(layer, x, h, c):
    """N24: the new (h, c) of an lstm layer."""
    p_i, p_f, p_g, p_o = np.split(fine_preactivation(layer, x, h), 4)
    i, f, o = fine_sigmoid(p_i), fine_sigmoid(p_f), fine_sigmoid(p_o)
    g = fine_tanh(p_g)
    c = clip(mix(f, clip(c), 0) + mix(i, 2 * g, 0))
    return sat16(mix(o, fine_tanh(c), 0)), c


def fine_dense_step(layer, x):
    """N25: the output of a dense layer."""
    p = fine_matrix_output(layer.matrices[0], x)
    if layer.activation == "tanh":
        return sat16(fine_tanh(p))
    if layer.activation == "sigmoid":
        return np.minimum(rounding_shift(fine_sigmoid(p), 1), 32767)
    return _fine_unbounded(np.maximum(p, 0) if layer.activation == "relu" else p)


def _halves(c):
    """Cells as the int16 values of a state, low half first (N24)."""
    return np.asarray(c, "<i4").view("<i2").astype(np.int64)


def _cells(halves):
    """The reverse of `_halves`."""
    return np.asarray(halves, "<i2").view("<i4").astype(np.int64)


# -------------------------------------------------------------------------------------------- models


def quantize_input(model, x):
    """Section 4: real inputs to the integers of the network.

    Parameters
    ----------
    model : ModelFile
    x : float32 [shape=(..., input_size)]

    Returns
    -------
    int8, in profile 2 int16 [shape of x]
    """
    bound = 127 if model.profile == 1 else 32767
    scale = np.asarray(model.input_scale, np.float32)
    offset = np.asarray(model.input_offset, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        v = np.asarray(x, np.float32) * scale + offset + np.float32(0.5)
        q = np.clip(np.floor(v), -bound, bound)
    return np.where(np.isnan(q), 0, q).astype(np.int8 if model.profile == 1 else np.int16)


def logit_unit(model):
    """Section 7.1, N12: what one unit of the logits means, 2^-11 or 2^-15."""
    last = model.layers[-1]
    if last.kind in ("gru", "lstm") or last.activation in ("tanh", "sigmoid"):
        return 2.0**-15
    return 2.0**-11


def _lstm_state_step(layer, x, state):
    """The new state of an lstm layer as one array."""
    return np.concatenate(lstm_step(layer, x, *np.split(state, 2)))


def _fine_lstm_state_step(layer, x, state):
    h, halves = np.split(state, [layer.output_size])
    h, c = fine_lstm_step(layer, x, h, _cells(halves))
    return np.concatenate([h, _halves(c)])


class ReferenceStream:
    """The NumPy counterpart of `edge_runtime.Stream`.

    Parameters
    ----------
    model : ModelFile
    """

    def __init__(self, model):
        self.model = model
        self.reset()

    def reset(self):
        """Return to the model's initial state."""
        self._states = []
        for layer in self.model.layers:
            size = state_size(layer.kind, layer.output_size, self.model.profile)
            initial = np.zeros(size, np.int64) if layer.initial_state is None else layer.initial_state
            self._states.append(np.asarray(initial, np.int64))

    @property
    def state(self):
        """int16 [shape=(state_size,)] : the state, layers in order (h; lstm: h, then c); may be set.

        In profile 2 each c is two values, its low half first.
        """
        return np.concatenate(self._states).astype(np.int16)

    @state.setter
    def state(self, value):
        value = self._integers("state", value, sum(map(len, self._states)))
        ends = np.cumsum([len(state) for state in self._states])
        self._states = np.split(np.asarray(value, np.int64), ends[:-1])

    def step_quantized(self, x):
        """One step: integers [shape=(input_size,)] to int16 [shape=(output_size,)].

        Inputs are int8, in profile 2 int16; the least of them is read as the one above it.
        """
        x = self._integers("x", x, self.model.input_size)
        if self.model.profile == 1:
            values = np.maximum(np.asarray(x, np.int64), -127)
            steps = {"rnn": rnn_step, "gru": gru_step, "lstm": _lstm_state_step, "dense": dense_step}
        else:
            values = np.maximum(np.asarray(x, np.int64), -32767)
            steps = {
                "rnn": fine_rnn_step,
                "gru": fine_gru_step,
                "lstm": _fine_lstm_state_step,
                "dense": fine_dense_step,
            }
        for k, layer in enumerate(self.model.layers):
            if layer.kind == "dense":
                values = steps[layer.kind](layer, values)
            else:
                self._states[k] = steps[layer.kind](layer, values, self._states[k])
                values = self._states[k][: layer.output_size]
        return values.astype(np.int16)

    @staticmethod
    def _integers(name, value, size):
        """`value` as an array, or ValueError if it is not that many integers."""
        value = np.asarray(value)
        if value.dtype.kind not in "iu" or value.shape != (size,):
            raise ValueError(f"{name}: expected {size} integers, got {value.dtype} of shape {value.shape}")
        return value

    def run_quantized(self, x):
        """Many steps: [shape=(steps, input_size)] to int16 [shape=(steps, output_size)]."""
        rows = [self.step_quantized(row) for row in x]
        return np.array(rows, np.int16).reshape(len(rows), self.model.layers[-1].output_size)

    def step(self, x):
        """One step: float32 [shape=(input_size,)] to float32 [shape=(output_size,)]."""
        y = self.step_quantized(quantize_input(self.model, x))
        return y.astype(np.float32) * np.float32(logit_unit(self.model))

    def run(self, x):
        """Many steps: float32 [shape=(steps, input_size)] to float32 [shape=(steps, output_size)]."""
        y = self.run_quantized(quantize_input(self.model, x))
        return y.astype(np.float32) * np.float32(logit_unit(self.model))


class ReferenceWord(typing.NamedTuple):
    """One word of `decode`: output index, seconds, probability, steps heard when reported, number of its string."""

    index: int
    start_s: float
    end_s: float
    confidence: float
    heard_steps: int
    string: int


def decode(logits, decoder, step_samples, unit, string_ms=800):
    """D8: greedy CTC over a whole signal.

    Parameters
    ----------
    logits : int16 [shape=(steps, output_size)]
    decoder : DecoderConfig
    step_samples : int
        16 kHz samples per step: stack * hop.
    unit : float
        Of the logits, see `logit_unit`.
    string_ms : int
        Silence that ends a string.

    Returns
    -------
    list of ReferenceWord
        Confidences in float64. Decisions on them are exact but for a confidence within rounding of the
        threshold.
    """
    bias_unit = round(2.0**-11 / unit)
    scores = np.asarray(logits, np.int64) + np.asarray(decoder.bias, np.int64) * bias_unit
    unknown = NO_UNKNOWN if decoder.unknown is None else decoder.unknown
    words = []
    previous_end = 0  # in samples, like every time here
    string, string_steps = 0, None  # and the steps up to the end of its last run
    best = scores.argmax(axis=1) if len(scores) else np.zeros(0, np.int64)  # the first of equals
    step = 0
    while step < len(scores):
        index = int(best[step])
        end_step = step
        while end_step < len(scores) and best[end_step] == index:
            end_step += 1
        if index in (decoder.blank, unknown) and string_steps is not None:
            silence = (end_step - string_steps) * step_samples
            if silence >= string_ms * (SAMPLE_RATE // 1000):
                string, string_steps = string + 1, None
        if index != decoder.blank:
            run = (scores[step:end_step] - scores[step:end_step, index : index + 1]) * unit
            confidence = float((1.0 / np.exp(run).sum(axis=1)).max())
            end = max(end_step * step_samples - decoder.delay_ms * (SAMPLE_RATE // 1000), previous_end)
            length = int(decoder.length_ms[index]) * (SAMPLE_RATE // 1000)
            start = max(end - length, previous_end)
            previous_end = end
            if index != unknown and confidence >= decoder.threshold:
                heard_steps = min(end_step + 1, len(scores))
                words.append(
                    ReferenceWord(
                        index, start / SAMPLE_RATE, end / SAMPLE_RATE, confidence, heard_steps, string
                    )
                )
                string_steps = end_step
        step = end_step
    return words
