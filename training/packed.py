# SPDX-License-Identifier: MIT
"""Model files of the networks of `training.recurrent`: the levels and row scales of training, bit for bit.

Numeric profile 2 with operands of 16 bits keeps activations as fine as the format can, so that a packed network decides
what the network in training does. Matrices in float are fitted in eight ternary planes.
"""

import numpy as np

from edge_runtime.format import MAX_SUM, Layer, Matrix, ModelFile
from exporters import planes as plane_fit

_PRE_UNIT = 2.0**-16  # of profile 2
_STATE_UNIT = 2.0**-15
_UNBOUNDED_UNIT = 2.0**-11  # of normalized inputs, hidden units and logits
_CODE_UNIT = 2.0**-6  # of a one-hot input
_LARGEST_LOGIT = 15.0
_OPERANDS = 4000  # that planes of float matrices are fitted to, at most


class PackError(ValueError):
    """A network that the model file cannot hold."""


def model_file(network, calibration, labels=None, metadata=None):
    """Pack a network.

    Parameters
    ----------
    network : training.recurrent.Network
    calibration : list of float32 array [shape=(steps, input_size)], or with `one_hot` int array [shape=(steps,)]
        Typical inputs, of the training data: what matrices in float are fitted to, and where the range of the logits
        comes from.
    labels : sequence of str, optional
    metadata : dict of str to str, optional

    Returns
    -------
    edge_runtime.format.ModelFile
        Its logits are the network's divided by its metadata's `output_scale` (1 if there is none), a power of two.

    Raises
    ------
    PackError
        A bias, or a sum, beyond what the format holds.
    """
    spec = network.spec
    layers, values, unit = [], *_input_values(network, calibration)
    quantized = network.weights()
    seen = _Activations(network, calibration)
    for number, units in enumerate(spec.units):
        pair = network.recurrent[number]
        h = seen.states[number]
        x_matrix = _matrix(pair[0], quantized[2 * number], values, unit, f"layer {number} W_x")
        h_matrix = _matrix(
            pair[1], quantized[2 * number + 1], h / _STATE_UNIT, _STATE_UNIT, f"layer {number} W_h"
        )
        activation = "tanh" if spec.cell == "rnn" else "none"
        size = x_matrix.weights.shape[2]
        layers.append(Layer(spec.cell, activation, size, units, (x_matrix, h_matrix)))
        values, unit = h / _STATE_UNIT, _STATE_UNIT
    rest = zip(network.dense, quantized[2 * len(spec.units) :], strict=True)
    for number, (masters, matrix) in enumerate(rest):
        last = number == len(spec.hidden)
        gain = 1 / seen.output_scale if last else 1.0
        packed = _matrix(masters, matrix, values, unit, "output" if last else f"hidden {number}", gain)
        rows, size = packed.weights.shape[1:]
        layers.append(Layer("dense", "none" if last else "relu", size, rows, (packed,)))
        if not last:
            values, unit = seen.hidden[number] / _UNBOUNDED_UNIT, _UNBOUNDED_UNIT
    scale, offset = _input_affine(network)
    metadata = dict(metadata or {})
    if seen.output_scale != 1:
        metadata["output_scale"] = f"{seen.output_scale:g}"
    return ModelFile(scale, offset, tuple(layers), labels=labels, metadata=metadata, profile=2)


def inputs_of(network, x):
    """Return what the packed model takes for a sequence of the network's inputs: float32 [shape=(steps, input_size)]."""
    if network.spec.one_hot:
        return np.eye(network.spec.input_size, dtype=np.float32)[np.asarray(x)]
    return np.asarray(x, np.float32)


def logits_of(model, x):
    """Run a packed model on one sequence from its initial state.

    Parameters
    ----------
    model : edge_runtime.Model
    x : result of `inputs_of`

    Returns
    -------
    float32 [shape=(steps, output_size)]
        Logits as in training.
    """
    logits = model.stream().run(x)
    return np.asarray(logits, np.float32) * np.float32(model.metadata.get("output_scale", "1"))


class _Activations:
    """What the layers of a network put out on the calibration: float64 arrays, all sequences one after the other."""

    def __init__(self, network, calibration):
        import exporters.graph as graph

        spec = network.spec
        effective = network.effective()
        layers = []
        for number in range(len(spec.units)):
            (w_x, b_x), (w_h, b_h) = effective[2 * number : 2 * number + 2]
            activation = "tanh" if spec.cell == "rnn" else "none"
            layers.append(graph.Recurrent(spec.cell, w_x, w_h, b_x, b_h, activation))
        for number, (w, b) in enumerate(effective[2 * len(spec.units) :]):
            layers.append(graph.Dense(w, b, "relu" if number < len(spec.hidden) else "none"))
        float_network = graph.Network(tuple(layers), source="network in training")
        outputs, logits = [[] for _ in layers], []
        for x in calibration:
            record = []
            logits.append(float_network.run(_normalized(network, x), record))
            for number, seen in enumerate(record[1:]):
                outputs[number].append(seen["x"])
        self.states = [np.concatenate(o) for o in outputs[: len(spec.units)]]
        self.hidden = [np.concatenate(o) for o in outputs[len(spec.units) : -1]]
        largest = max(float(np.abs(part).max()) for part in logits)
        self.output_scale = max(1.0, 2.0 ** np.ceil(np.log2(max(largest, 1e-9) / _LARGEST_LOGIT)))


def _normalized(network, x):
    x = inputs_of(network, x).astype(np.float64)
    if network.spec.one_hot:
        return x
    return (x - network.input_mean.double().numpy()) / network.input_deviation.double().numpy()


def _input_values(network, calibration):
    """Integer inputs on the calibration, and their unit."""
    unit = _CODE_UNIT if network.spec.one_hot else _UNBOUNDED_UNIT
    return np.concatenate([_normalized(network, x) for x in calibration]) / unit, unit


def _input_affine(network):
    if network.spec.one_hot:
        size = network.spec.input_size
        return np.full(size, 1 / _CODE_UNIT, np.float32), np.zeros(size, np.float32)
    deviation = network.input_deviation.double().numpy()
    scale = 1 / (deviation * _UNBOUNDED_UNIT)
    return scale.astype(np.float32), (-network.input_mean.double().numpy() * scale).astype(np.float32)


def _matrix(masters, quantized, values, unit, name, gain=1.0):
    """Pack one matrix.

    Parameters
    ----------
    masters : training.recurrent.LowPrecisionMatrix
    quantized : what its `quantized` returns
    values : float64 [shape=(steps, columns)]
        Its inputs, in integers of `unit`.
    unit : float
    name : str
    gain : float
        A power of two on its outputs.
    """
    levels, scale, bias = (
        (part.detach().double().numpy() if hasattr(part, "detach") else part) for part in quantized
    )
    scale = np.broadcast_to(np.asarray(scale, np.float64) * gain, levels.shape[:1])
    bias = bias * gain / _PRE_UNIT
    clamp = 127 if unit == _CODE_UNIT else 32767
    if masters.method.rule == "float":
        values = np.clip(np.round(values[:: len(values) // _OPERANDS + 1]), -clamp, clamp)
        per_unit = levels * scale[:, None] * (unit / _PRE_UNIT)
        fitted = plane_fit.fit(per_unit, masters.method.encoding, masters.method.planes, values)
        weights, codes, left_shift = fitted.weights, fitted.scales, fitted.left_shift
    else:
        weights, factors = _planes(masters.method, levels)
        codes, left_shift = _codes(scale * (unit / _PRE_UNIT), factors, name)
    sums = int(np.abs(weights.astype(np.int64)).sum(axis=2).max()) * clamp
    if sums > MAX_SUM:
        raise PackError(f"{name}: sums of up to {sums}, expected at most {MAX_SUM}: fewer or smaller weights")
    integer_bias = np.floor(bias + 0.5)
    if np.abs(integer_bias).max() > 1 << 26:
        raise PackError(f"{name}: a bias of {np.abs(bias).max() * _PRE_UNIT:.4g}, expected at most 1024")
    return Matrix(
        encoding=masters.method.encoding,
        weights=weights,
        scales=codes,
        bias=integer_bias.astype(np.int32),
        clamp=clamp,
        operand_shift=0,
        three_quarters=False,
        left_shift=left_shift,
    )


def _planes(method, levels):
    """Integer weights int8 [shape=(planes, rows, columns)] of levels over w0, and the value of each plane's 1."""
    if method.rule in ("binary", "ternary"):
        return levels.astype(np.int8)[None], (1.0,)
    if method.rule == "pow2":
        return np.round(levels * 64).astype(np.int8)[None], (1 / 64,)
    octaves = (
        np.where(np.abs(levels) >= 2.0**-6, levels * 64, 0),
        np.where(np.abs(levels) < 2.0**-6, levels * 2.0**13, 0),
    )
    return np.round(np.stack(octaves)).astype(np.int8), (2.0**-6, 2.0**-13)


def _codes(scale, factors, name):
    """Row scale codes uint8 [shape=(planes, rows, 2)] and the left shift of positive scales, exactly."""
    wanted = np.stack([scale * factor for factor in factors])
    left_shift = int(np.clip(np.ceil(np.log2(wanted.max())), -24, 15))
    index = plane_fit.nearest_scale(wanted / 2.0**left_shift)
    values, codes = plane_fit.legal_scales()
    if not np.array_equal(values[index] * 2.0**left_shift, wanted):
        raise PackError(f"{name}: a row scale is not ±2^-a ± 2^-b")
    return codes[index], left_shift
