"""ONNX operators that compute: recurrent and dense layers, constants that scale and shift, activations.

Each takes the walk, the node and its attributes, and returns the node's outputs.
"""

import numpy as np

from edge_runtime.format import GATES
from exporters._onnx_glue import MOVING
from exporters._stages import Signal, dense_weights, refuse

_ACTIVATIONS = {
    "RNN": (["tanh"], ["relu"]),
    "GRU": (["sigmoid", "tanh"],),
    "LSTM": (["sigmoid", "tanh", "tanh"],),
}
# Where the gates of the model file (gru r, z, n; lstm i, f, g, o) stand in ONNX: gru z, r, h; lstm i, o, f, c.
_GATES = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 2, 3, 1]}


def node_name(node):
    """What messages call a node: its name, else its first output, and its operator."""
    return f"{node.name or next((o for o in node.output if o), '')} ({node.op_type})"


def _recurrent(walk, node, attributes):
    name, op = node_name(node), node.op_type
    activation = _check_recurrent(name, op, attributes)
    batch_first = bool(attributes.get("layout", False))
    x = walk.signal(node)
    if len(x.shape) != 3:
        refuse(name, f"expected an input of 3 dimensions, found {x.shape}")
    if batch_first:
        x = Signal(x.ids.swapaxes(0, 1))
    w_x, w_h, b_x, b_h = _weights(walk, node, attributes)
    lengths = walk.constant(node, 4)
    if lengths is not None and (lengths != x.shape[0]).any():
        refuse(name, "sequence_lens that end a sequence early")
    if op == "LSTM" and (peepholes := walk.constant(node, 7)) is not None and peepholes.any():
        refuse(name, "peepholes (input P)")
    y, h, c = walk.tracer.recurrent(
        name,
        op.lower(),
        x,
        w_x,
        w_h,
        b_x,
        b_h,
        h=_state(walk, node, 5, batch_first),
        c=_state(walk, node, 6, batch_first),
        activation=activation,
        reset_before=op == "GRU" and not attributes.get("linear_before_reset", False),
    )
    if batch_first:
        return [Signal(y.ids.swapaxes(0, 1)[:, :, None]), *(s and Signal(s.ids[:, None]) for s in (h, c))]
    return [Signal(y.ids[:, None]), *(s and Signal(s.ids[None]) for s in (h, c))]


def _check_recurrent(name, op, attributes):
    """Refuse what a layer cannot do; returns the activation of its `Recurrent`."""
    direction = attributes.get("direction", b"forward").decode()
    if direction != "forward":
        refuse(name, f"direction {direction}: a stream runs forward")
    for attribute in ("clip", "activation_alpha", "activation_beta", "input_forget"):
        if attributes.get(attribute):
            refuse(name, f"attribute {attribute} is not supported")
    if "clip" in attributes:
        refuse(name, "attribute clip is not supported")
    activations = [a.decode().lower() for a in attributes.get("activations", [])] or _ACTIVATIONS[op][0]
    if activations not in _ACTIVATIONS[op]:
        refuse(name, f"activations {', '.join(activations)} are not supported")
    return activations[0] if op == "RNN" else "none"


def _weights(walk, node, attributes):
    """w_x, w_h, b_x and b_h with rows in the order of the model file."""
    name, op = node_name(node), node.op_type
    w, r, b = (walk.constant(node, i) for i in (1, 2, 3))
    gates = GATES[op.lower()]
    if r.ndim != 3 or r.shape[0] != 1 or r.shape[1] != gates * r.shape[2]:
        refuse(name, f"recurrent weights R: expected shape (1, {gates} * hidden, hidden), found {r.shape}")
    units = r.shape[2]
    if w.ndim != 3 or w.shape[:2] != r.shape[:2]:
        refuse(name, f"weights W: expected shape (1, {gates * units}, inputs), found {w.shape}")
    if attributes.get("hidden_size", units) != units:
        refuse(name, f"hidden_size {attributes['hidden_size']}, but weights of {units} units")
    b = np.zeros((1, 2 * gates * units)) if b is None else b
    if b.shape != (1, 2 * gates * units):
        refuse(name, f"biases B: expected shape (1, {2 * gates * units}), found {b.shape}")
    rows = np.arange(gates * units).reshape(gates, units)[_GATES[op]].ravel()
    [w], [r], [b] = w, r, b
    b_x, b_h = np.split(b, 2)
    return w[rows], r[rows], b_x[rows], b_h[rows]


def _state(walk, node, position, batch_first):
    """An initial state without its axis of directions: array or Signal [shape=(batch, units)], or None."""
    state = walk.value(node, position)
    if state is None:
        return None
    axis = int(batch_first)
    if len(state.shape) != 3 or state.shape[axis] != 1:
        refuse(node_name(node), f"initial state of shape {state.shape}")
    return Signal(state.ids.squeeze(axis)) if isinstance(state, Signal) else state.squeeze(axis)


def _gemm(walk, node, attributes):
    if attributes.get("transA", False):
        refuse(node_name(node), "transA")
    w = walk.constant(node, 1)
    w = w if attributes.get("transB", False) else w.T
    y = walk.tracer.dense(node_name(node), walk.held(node), w * attributes.get("alpha", 1.0))
    c = walk.constant(node, 2)
    return [y if c is None else walk.tracer.affine(node_name(node), y, 1, c * attributes.get("beta", 1.0))]


def _matmul(walk, node, attributes):
    w = dense_weights(node_name(node), walk.constant(node, 1))
    return [walk.tracer.dense(node_name(node), walk.held(node), w)]


def _arithmetic(walk, node, attributes):
    """Add, Sub, Mul, Div of a signal and a constant."""
    values = [walk.value(node, i) for i in (0, 1)]
    if all(isinstance(v, Signal) for v in values):
        if node.op_type == "Div":
            refuse(node_name(node), "division by a computed tensor")
        return [walk.tracer.combine(node_name(node), node.op_type.lower(), *values)]
    first = isinstance(values[0], Signal)
    x, c = values if first else values[::-1]
    op = node.op_type
    if op == "Div" and not first:
        refuse(node_name(node), "division by a computed tensor")
    with np.errstate(all="ignore"):
        scale = {"Add": 1.0, "Sub": 1.0 if first else -1.0, "Mul": c}.get(op)
        scale = 1 / c if scale is None else scale
    offset = {"Add": c, "Sub": -c if first else c}.get(op, 0.0)
    return [walk.tracer.affine(node_name(node), x, scale, offset)]


def _batch_normalization(walk, node, attributes):
    if attributes.get("training_mode", False) or not attributes.get("spatial", True):
        refuse(node_name(node), "batch normalization in training mode or not per channel")
    x = walk.signal(node)
    scale, offset, mean, var = (walk.constant(node, i) for i in range(1, 5))
    if len(x.shape) < 2 or any(v.shape != x.shape[1:2] for v in (scale, offset, mean, var)):
        refuse(node_name(node), f"channels of input {x.shape} and of its constants {scale.shape} differ")
    along = (-1,) + (1,) * (len(x.shape) - 2)
    with np.errstate(all="ignore"):
        scale = scale / np.sqrt(var + attributes.get("epsilon", 1e-5))
    offset = offset - mean * scale
    return [walk.tracer.affine(node_name(node), x, scale.reshape(along), offset.reshape(along))]


def _activation(walk, node, attributes):
    return [walk.tracer.activation(node_name(node), walk.signal(node), node.op_type.lower())]


def _softmax(walk, node, attributes):
    x = walk.signal(node)
    axis = attributes.get("axis", -1 if walk.opset >= 13 else 1)
    positions = np.arange(x.ids.size).reshape(x.shape)
    if walk.opset >= 13:
        positions, axis = np.moveaxis(positions, axis, -1), -1
    [groups] = MOVING["Flatten"]([positions], {"axis": axis})
    return [walk.tracer.softmax(node_name(node), x, groups)]


HANDLERS = {
    "Add": _arithmetic,
    "BatchNormalization": _batch_normalization,
    "Div": _arithmetic,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "Mul": _arithmetic,
    "RNN": _recurrent,
    "Relu": _activation,
    "Sigmoid": _activation,
    "Softmax": _softmax,
    "Sub": _arithmetic,
    "Tanh": _activation,
}
