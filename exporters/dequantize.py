"""A packed model as a float network: what its integers stand for in real numbers."""

import numpy as np

from edge_runtime.format import row_scale_value
from exporters.graph import Dense, Network, Recurrent
from exporters.quantize import NUMERICS, STATE_UNIT, UNBOUNDED_UNIT, value_unit


def dequantize(model_file, source="model"):
    """Make the float network that a packed model approximates.

    Its weights are exactly those of the file; what it lacks is the rounding of inputs, operands, gates and
    activations, and the clamps.

    Parameters
    ----------
    model_file : edge_runtime.format.ModelFile
    source : str
        For messages.

    Returns
    -------
    exporters.graph.Network
        On the model's real inputs: their scale and offset are folded into the first layer.
    """
    numerics = NUMERICS[model_file.profile]
    layers = []
    for number, layer in enumerate(model_file.layers):
        name = f"layer {number}"
        if number == 0:
            w_x, b_x = _real(layer.matrices[0], 1.0, numerics)
            b_x = b_x + w_x @ model_file.input_offset.astype(np.float64)
            w_x = w_x * model_file.input_scale.astype(np.float64)
        else:
            w_x, b_x = _real(layer.matrices[0], value_unit(layers[-1]), numerics)
        if layer.kind == "dense":
            layers.append(Dense(w_x, b_x, layer.activation, name))
        else:
            layers.append(_recurrent(layer, w_x, b_x, name, numerics))
    return Network(tuple(layers), source=source)


def _recurrent(layer, w_x, b_x, name, numerics):
    unit = UNBOUNDED_UNIT if layer.activation == "relu" else STATE_UNIT
    w_h, b_h = _real(layer.matrices[1], unit, numerics)
    state = layer.initial_state
    if state is not None:
        h, c = np.split(state, [layer.output_size])
        c = c.astype("<i2").view("<i2" if numerics.profile == 1 else "<i4")
        state = np.concatenate([h * unit, c * numerics.cell_unit])
    return Recurrent(layer.kind, w_x, w_h, b_x, b_h, layer.activation, layer.reset_before, state, name)


def _real(matrix, unit, numerics):
    """A matrix for values of this unit, and its bias, in real numbers."""
    scales = np.ldexp(row_scale_value(matrix.scales), matrix.left_shift)
    total = np.einsum("pr,prc->rc", scales, matrix.weights.astype(np.float64))
    operand = 2.0**matrix.operand_shift * (4 / 3 if matrix.three_quarters else 1)
    bias = np.zeros(matrix.rows) if matrix.bias is None else matrix.bias * numerics.pre_unit
    return total * (numerics.pre_unit / (operand * unit)), bias
