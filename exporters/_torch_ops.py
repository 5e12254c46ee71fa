"""PyTorch operators that compute: recurrent and dense layers, constants that scale and shift, activations.

Each takes the walk, the node and the node's arguments, and returns what the operator does, with signals in
place of tensors.
"""

import numpy as np
import torch

from exporters._stages import Signal, dense_weights, refuse

# Operators that move elements and compute nothing: applied to ids as to values.
MOVING = frozenset(
    "_reshape_alias _unsafe_view alias cat chunk clone concat concatenate contiguous detach detach_ expand "
    "expand_as flatten flip index_select lift_fresh_copy movedim mT narrow numpy_T permute reshape select "
    "select_copy slice slice_copy split split_copy split_with_sizes split_with_sizes_copy squeeze squeeze_copy "
    "stack sym_size swapaxes swapdims t t_copy tensor_split transpose transpose_copy unbind unbind_copy "
    "unflatten unsafe_chunk unsafe_split unsqueeze unsqueeze_copy view view_copy".split()
)
# Constants of the shape of a signal.
COUNTING = frozenset("full_like new_full new_ones new_zeros ones_like zeros_like".split())
# Applied to a constant, a layer is not folded: the constant may be the state before the first step.
LAYERS = frozenset("addmm bmm linear matmul mm".split())
# Assertions about shapes and types.
IGNORED = frozenset(
    "_assert_async _assert_scalar _assert_tensor_metadata sym_constrain_range sym_constrain_range_for_size".split()
)


def operator_name(node):
    """Name of the operator without namespace and overload: "gru", "add", "getitem"."""
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.name.removeprefix("aten::")
    return getattr(node.target, "__name__", str(node.target))


def node_name(node):
    """What messages call a node: the path of its module, else the node, and its operator."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next((path for path, _ in reversed(stack.values())), "")
    path = path.removeprefix("L['self'].")
    return f"{path or node.name} ({operator_name(node)})"


def _linear(walk, node, x, weight, bias=None):
    return _dense(walk, node, x, walk.constant(node, weight), bias)


def _matmul(walk, node, x, weight):
    return _dense(walk, node, x, dense_weights(node_name(node), walk.constant(node, weight)), None)


def _addmm(walk, node, bias, x, weight, *, beta=1, alpha=1):
    w, b = walk.constant(node, weight), walk.constant(node, bias)
    y = walk.tracer.dense(node_name(node), walk.held(node, x), w.T * alpha)
    return walk.tracer.affine(node_name(node), y, 1.0, b * beta)


def _dense(walk, node, x, w, bias):
    return walk.tracer.dense(node_name(node), walk.held(node, x), w, walk.constant(node, bias))


def _add(walk, node, a, b, *, alpha=1):
    a, b = walk.value(node, a), walk.value(node, b)
    if isinstance(a, Signal) and isinstance(b, Signal):
        b = b if abs(alpha) == 1 else walk.tracer.affine(node_name(node), b, abs(alpha), 0.0)
        return walk.tracer.combine(node_name(node), "add" if alpha > 0 else "sub", a, b)
    if isinstance(a, Signal):
        return walk.tracer.affine(node_name(node), a, 1.0, b * alpha)
    return walk.tracer.affine(node_name(node), b, alpha, a)


def _sub(walk, node, a, b, *, alpha=1):
    return _add(walk, node, a, b, alpha=-alpha)


def _rsub(walk, node, a, b, alpha=1):
    return _add(walk, node, b, a, alpha=-alpha)


def _mul(walk, node, a, b):
    a, b = walk.value(node, a), walk.value(node, b)
    if isinstance(a, Signal) and isinstance(b, Signal):
        return walk.tracer.combine(node_name(node), "mul", a, b)
    x, c = (a, b) if isinstance(a, Signal) else (b, a)
    return walk.tracer.affine(node_name(node), x, c, 0.0)


def _div(walk, node, a, b, *, rounding_mode=None):
    a, b = walk.value(node, a), walk.value(node, b)
    if isinstance(b, Signal) or rounding_mode is not None:
        refuse(node_name(node), "division by a computed tensor, or with rounding")
    with np.errstate(all="ignore"):
        return walk.tracer.affine(node_name(node), a, 1 / np.asarray(b), 0.0)


def _activation(walk, node, x):
    return walk.tracer.activation(node_name(node), walk.signal(node, x), operator_name(node))


def _softmax(walk, node, x, dim, *_):
    x = walk.signal(node, x)
    positions = np.moveaxis(np.arange(x.ids.size).reshape(x.shape), dim, -1)
    return walk.tracer.softmax(node_name(node), x, positions.reshape(-1, x.shape[dim]))


def _batch_norm(walk, node, x, weight, bias, mean, var, *rest):
    """batch_norm and its decomposed form; `rest`: [training,] momentum, eps [, cudnn_enabled]."""
    if rest[0] is True:
        refuse(node_name(node), "batch normalization in training mode")
    _, eps = (v for v in rest if not isinstance(v, bool))
    x = walk.signal(node, x)
    mean, var = walk.constant(node, mean), walk.constant(node, var)
    weight, bias = walk.constant(node, weight), walk.constant(node, bias)
    with np.errstate(all="ignore"):
        scale = (1.0 if weight is None else weight) / np.sqrt(var + eps)
    offset = (0.0 if bias is None else bias) - mean * scale
    along = (-1,) + (1,) * (len(x.shape) - 2)
    y = walk.tracer.affine(node_name(node), x, scale.reshape(along), offset.reshape(along))
    return y if operator_name(node) == "batch_norm" else (y, None, None)


def _dropout(walk, node, x, p, train):
    if train and p:
        refuse(node_name(node), "dropout in training mode")
    return walk.signal(node, x)


def _to(walk, node, x, *args, **kwargs):
    if not node.meta["val"].dtype.is_floating_point:
        refuse(node_name(node), "a cast of a signal to a type that is not floating point")
    return walk.signal(node, x)


def _sequence(walk, node, x, state, parameters, *options):
    """gru, lstm, rnn_tanh and rnn_relu; options: biases, layers, dropout, train, bidirectional, batch_first."""
    if not isinstance(parameters, (list, tuple)):
        refuse(node_name(node), "packed sequences are not supported")
    biases, layers, dropout, train, bidirectional, batch_first = options
    if bidirectional:
        refuse(node_name(node), "bidirectional: a stream runs forward")
    if train and dropout:
        refuse(node_name(node), "dropout in training mode")
    per_layer = 4 if biases else 2
    if len(parameters) != per_layer * layers:
        refuse(node_name(node), "a projection (proj_size) is not supported")
    x = walk.signal(node, x)
    y = Signal(x.ids.swapaxes(0, 1)) if batch_first else x
    states = [walk.value(node, s) for s in (state if isinstance(state, (list, tuple)) else [state])]
    after = []
    for layer in range(layers):
        name = node_name(node) if layers == 1 else f"{node_name(node)} layer {layer}"
        weights = parameters[per_layer * layer : per_layer * (layer + 1)]
        initial = [Signal(s.ids[layer]) if isinstance(s, Signal) else s[layer] for s in states]
        y, *end = _layer(walk, node, name, y, weights, initial)
        after.append(end)
    ends = [Signal(np.stack([end[i].ids for end in after])) for i in range(len(states))]
    return (Signal(y.ids.swapaxes(0, 1)) if batch_first else y, *ends)


def _cell(walk, node, x, state, w_x, w_h, b_x=None, b_h=None):
    """gru_cell, lstm_cell, rnn_tanh_cell and rnn_relu_cell: one step."""
    states = state if isinstance(state, (list, tuple)) else [state]
    initial = [walk.value(node, s) for s in states]
    x = Signal(walk.signal(node, x).ids[None])
    _, h, c = _layer(walk, node, node_name(node), x, (w_x, w_h, b_x, b_h), initial)
    return h if c is None else (h, c)


def _layer(walk, node, name, x, parameters, initial):
    """One layer of a recurrent operator: y, h and c."""
    kind, _, activation = operator_name(node).removesuffix("_cell").partition("_")
    w_x, w_h, *biases = (walk.constant(node, p) for p in parameters)
    biases = [np.zeros(len(w_x)) if b is None else b for b in biases] or [np.zeros(len(w_x))] * 2
    return walk.tracer.recurrent(
        name,
        kind,
        x,
        w_x,
        w_h,
        *biases,
        h=initial[0],
        c=initial[1] if kind == "lstm" else None,
        activation=activation or "none",
    )


HANDLERS = {
    "_log_softmax": _softmax,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "_softmax": _softmax,
    "_to_copy": _to,
    "add": _add,
    "addmm": _addmm,
    "alpha_dropout": _dropout,
    "batch_norm": _batch_norm,
    "bmm": _matmul,
    "div": _div,
    "dropout": _dropout,
    "feature_dropout": _dropout,
    "gru": _sequence,
    "gru_cell": _cell,
    "linear": _linear,
    "log_softmax": _softmax,
    "lstm": _sequence,
    "lstm_cell": _cell,
    "matmul": _matmul,
    "mm": _matmul,
    "mul": _mul,
    "relu": _activation,
    "rnn_relu": _sequence,
    "rnn_relu_cell": _cell,
    "rnn_tanh": _sequence,
    "rnn_tanh_cell": _cell,
    "rsub": _rsub,
    "sigmoid": _activation,
    "softmax": _softmax,
    "sub": _sub,
    "tanh": _activation,
    "to": _to,
}
