"""ONNX operators that move or count elements, and arithmetic on constants, in numpy.

Each function takes the inputs as arrays (None where one is left out) and the attributes as a dict, and
returns a list of outputs. Those of `MOVING` are also applied to the ids of a signal.
"""

import math

import numpy as np

MAX_ELEMENTS = 2**24  # that a tensor may be expanded to
MAX_GROWTH = 2**25  # elements of all tensors of a graph, beyond what its file holds


class GlueError(ValueError):
    """Inputs that an operator cannot take; the message is the reason only."""


def _axes(inputs, attributes, position):
    axes = inputs[position] if len(inputs) > position else attributes.get("axes")
    return None if axes is None else [int(a) for a in np.ravel(axes)]


def _squeeze(inputs, attributes):
    axes = _axes(inputs, attributes, 1)
    return [np.squeeze(inputs[0], None if axes is None else tuple(axes))]


def _unsqueeze(inputs, attributes):
    return [np.expand_dims(inputs[0], tuple(_axes(inputs, attributes, 1)))]


def _transpose(inputs, attributes):
    [x] = inputs
    return [np.transpose(x, attributes.get("perm"))]


def _reshape(inputs, attributes):
    shape = [int(n) for n in inputs[1]]
    if not attributes.get("allowzero", False):
        shape = [inputs[0].shape[i] if n == 0 else n for i, n in enumerate(shape)]
    return [inputs[0].reshape(shape)]


def _flatten(inputs, attributes):
    [x] = inputs
    axis = attributes.get("axis", 1)
    return [x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))]


def _slice(inputs, attributes):
    if "starts" in attributes:
        [x] = inputs
        starts, ends, axes, steps = attributes["starts"], attributes["ends"], attributes.get("axes"), None
    else:
        x, starts, ends, axes, steps = [*inputs, None, None][:5]
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    return [x[tuple(index)]]


def _concat(inputs, attributes):
    _check_size(sum(v.size for v in inputs))
    return [np.concatenate(inputs, attributes["axis"])]


def _split(inputs, attributes):
    x, axis = inputs[0], attributes.get("axis", 0)
    sizes = inputs[1] if len(inputs) > 1 else attributes.get("split")
    if sizes is None:
        count = attributes["outputs"]
        size = -(-x.shape[axis] // count)
        sizes = [size] * (count - 1) + [x.shape[axis] - size * (count - 1)]
    if min(sizes) < 0 or sum(sizes) != x.shape[axis]:
        raise GlueError(f"parts {[int(n) for n in sizes]} of an axis of size {x.shape[axis]}")
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _gather(inputs, attributes):
    x, indices = inputs
    axis = attributes.get("axis", 0)
    _check_size(x.size // max(1, x.shape[axis]) * indices.size)
    return [np.take(x, indices, axis)]


def _expand(inputs, attributes):
    shape = np.broadcast_shapes(inputs[0].shape, _checked_shape(inputs[1]))
    return [np.broadcast_to(inputs[0], _checked_shape(shape)).copy()]


def _shape(inputs, attributes):
    [x] = inputs
    return [np.array(x.shape[attributes.get("start", 0) : attributes.get("end")], np.int64)]


def _size(inputs, attributes):
    [x] = inputs
    return [np.array(x.size, np.int64)]


def _constant_of_shape(inputs, attributes):
    [shape], [value] = inputs, attributes.get("value", [np.float32(0)])
    return [np.full(_checked_shape(shape), value)]


def _range(inputs, attributes):
    start, limit, delta = (v.item() for v in inputs)
    _check_size(math.ceil((limit - start) / delta))
    return [np.arange(start, limit, delta, dtype=np.result_type(*inputs))]


def _div(inputs, attributes):
    a, b = inputs
    _check_size(math.prod(np.broadcast_shapes(a.shape, b.shape)))
    if np.issubdtype(a.dtype, np.integer):
        return [np.trunc(a / b).astype(a.dtype)]
    return [a / b]


def _reduce_prod(inputs, attributes):
    axes = _axes(inputs, attributes, 1)
    keep = bool(attributes.get("keepdims", True))
    return [np.prod(inputs[0], None if axes is None else tuple(axes), keepdims=keep, dtype=inputs[0].dtype)]


def _dequantize(inputs, attributes):
    x, scale, zero = [*inputs, None][:3]
    zero = np.zeros((), x.dtype) if zero is None else zero
    if attributes.get("block_size", False):
        raise GlueError("scales of blocks")
    if scale.ndim:
        along = [1] * x.ndim
        along[attributes.get("axis", 1)] = scale.size
        scale, zero = scale.reshape(along), np.broadcast_to(zero, scale.shape).reshape(along)
    return [(x.astype(np.float64) - zero.astype(np.float64)) * scale]


def _checked_shape(shape):
    shape = [int(n) for n in shape]
    if any(n < 0 for n in shape):
        raise GlueError(f"a tensor of shape {shape}")
    _check_size(math.prod(shape), shape)
    return shape


def _check_size(elements, shape=None):
    if elements > MAX_ELEMENTS:
        raise GlueError(f"a tensor of {elements} elements" if shape is None else f"a tensor of shape {shape}")


def _elementwise(function):
    def apply(inputs, attributes):
        _check_size(math.prod(np.broadcast_shapes(*(v.shape for v in inputs))))
        return [function(*inputs)]

    return apply


MOVING = {
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": lambda inputs, attributes: list(inputs),
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

COUNTING = {"Shape": _shape, "Size": _size}

CONSTANT = {
    "Add": _elementwise(np.add),
    "And": _elementwise(np.logical_and),
    "ConstantOfShape": _constant_of_shape,
    "DequantizeLinear": _dequantize,
    "Div": _div,
    "Equal": _elementwise(np.equal),
    "Exp": _elementwise(np.exp),
    "Greater": _elementwise(np.greater),
    "Less": _elementwise(np.less),
    "Max": _elementwise(lambda *x: np.maximum.reduce(np.broadcast_arrays(*x))),
    "Min": _elementwise(lambda *x: np.minimum.reduce(np.broadcast_arrays(*x))),
    "Mul": _elementwise(np.multiply),
    "Neg": _elementwise(np.negative),
    "Not": _elementwise(np.logical_not),
    "Or": _elementwise(np.logical_or),
    "Pow": _elementwise(lambda a, b: np.power(a, b).astype(a.dtype)),
    "Range": _range,
    "Reciprocal": _elementwise(np.reciprocal),
    "ReduceProd": _reduce_prod,
    "Sqrt": _elementwise(np.sqrt),
    "Sub": _elementwise(np.subtract),
    "Where": _elementwise(np.where),
}
