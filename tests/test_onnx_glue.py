# SPDX-License-Identifier: MIT
"""Glue and arithmetic on constants, operator by operator: what ONNX Runtime computes, and what is refused."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

from onnx import helper  # noqa: E402
from test_from_onnx import session  # noqa: E402

from exporters import _onnx_glue as glue  # noqa: E402

A = np.arange(24, dtype=np.float32).reshape(2, 3, 4) + 1
B = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
LOW = np.array([-9, 7, -1, 0, 5], np.int64)
TRUE = np.array([[True], [False], [True]])
SCALES = np.array([0.5, 0.25, 2], np.float32)
Q = np.arange(-12, 12, dtype=np.int8).reshape(2, 3, 4)


def ints(*values):
    return np.array(values, np.int64)


def number(value, dtype=np.int64):
    return np.array(value, dtype)


#: (operator, inputs, attributes, opset[, outputs])
MOVED = [
    ("Squeeze", [A[:1, :, :1]], {}, 12),
    ("Squeeze", [A[:1, :, :1]], {"axes": [0]}, 12),
    ("Squeeze", [A[:1, :, :1]], {}, 17),
    ("Squeeze", [A[:1, :, :1], ints(-1)], {}, 17),
    ("Squeeze", [A[:1, :, :1], ints(0, 2)], {}, 17),
    ("Unsqueeze", [A], {"axes": [1]}, 12),
    ("Unsqueeze", [A], {"axes": [0, 4]}, 12),
    ("Unsqueeze", [A, ints(-1)], {}, 17),
    ("Unsqueeze", [A, ints(0, 3)], {}, 17),
    ("Transpose", [A], {}, 17),
    ("Transpose", [A], {"perm": [1, 2, 0]}, 17),
    ("Reshape", [A, ints(4, 6)], {}, 17),
    ("Reshape", [A, ints(-1, 2)], {}, 17),
    ("Reshape", [A, ints(0, -1)], {}, 17),
    ("Reshape", [A, ints(0, 0, 2, -1)], {"allowzero": 0}, 17),
    ("Reshape", [A[:0], ints(5, 0)], {"allowzero": 1}, 17),
    ("Flatten", [A], {}, 17),
    ("Flatten", [A], {"axis": 0}, 17),
    ("Flatten", [A], {"axis": 2}, 17),
    ("Flatten", [A], {"axis": -1}, 17),
    ("Flatten", [A], {"axis": -3}, 17),
    ("Slice", [A], {"starts": [1], "ends": [3], "axes": [1]}, 9),
    ("Slice", [A], {"starts": [1, 0], "ends": [2, 2]}, 9),
    ("Slice", [A, ints(1), ints(3), ints(1)], {}, 17),
    ("Slice", [A, ints(0, 1), ints(1, 3)], {}, 17),
    ("Slice", [A, ints(3, 0), ints(0, 9), ints(2, 1), ints(-2, 2)], {}, 17),
    ("Slice", [A, ints(-1), ints(-99), ints(2), ints(-1)], {}, 17),
    ("Slice", [A, ints(-1), ints(-5), ints(2), ints(-1)], {}, 17),
    ("Slice", [A, ints(-1), ints(-4), ints(2), ints(-1)], {}, 17),
    ("Slice", [A, ints(-3), ints(-1), ints(2), ints(1)], {}, 17),
    ("Slice", [A, ints(0), ints(-5), ints(2), ints(1)], {}, 17),
    ("Slice", [A, ints(1, 1), ints(2, 2), None, ints(1, 1)], {}, 17),
    ("Slice", [A, ints(1, 0), ints(3, 4), ints(1, 2), None], {}, 17),
    ("Concat", [A, A[:1]], {"axis": 0}, 17),
    ("Concat", [A, A + 1, A[..., :1]], {"axis": -1}, 17),
    ("Split", [A, ints(1, 3)], {"axis": 2}, 17, 2),
    ("Split", [A, ints(0, 2)], {}, 17, 2),
    ("Split", [A], {"axis": 2, "split": [1, 2, 1]}, 12, 3),
    ("Split", [A], {"axis": 2}, 12, 2),
    ("Split", [np.arange(7, dtype=np.float32)], {"num_outputs": 3}, 18, 3),
    ("Split", [A], {}, 12, 2),
    ("Gather", [A, ints(1, 0, 1)], {}, 17),
    ("Gather", [A, number(-1)], {"axis": 1}, 17),
    ("Gather", [A, ints(2, 3).reshape(2, 1)], {"axis": 2}, 17),
    ("Expand", [B, ints(2, 1, 4)], {}, 17),
    ("Expand", [A[:, :, :1], ints(3, 4)], {}, 17),
    ("Expand", [A, ints(1)], {}, 17),
    ("Identity", [A], {}, 17),
]
COUNTED = [
    ("Shape", [A], {}, 17),
    ("Shape", [A], {"start": 1}, 17),
    ("Shape", [A], {"start": -2, "end": -1}, 17),
    ("Shape", [A], {"end": 2}, 17),
    ("Size", [A], {}, 17),
]
COMPUTED = [
    ("Add", [A, B], {}, 17),
    ("Sub", [A, B], {}, 17),
    ("Mul", [A, B], {}, 17),
    ("Div", [A, B], {}, 17),
    ("Div", [LOW, ints(2)], {}, 17),
    ("Div", [LOW.astype(np.int32), LOW.astype(np.int32)[:1]], {}, 17),
    ("Pow", [A, number(2)], {}, 17),
    ("Pow", [ints(2, 3), ints(3, 2)], {}, 17),
    ("Exp", [B], {}, 17),
    ("Sqrt", [A], {}, 17),
    ("Neg", [B], {}, 17),
    ("Reciprocal", [A], {}, 17),
    ("Max", [A, B, number(3, np.float32)], {}, 17),
    ("Max", [B], {}, 17),
    ("Min", [A, B, number(-1, np.float32)], {}, 17),
    ("And", [TRUE, B > 0], {}, 17),
    ("Or", [TRUE, B > 0], {}, 17),
    ("Not", [TRUE], {}, 17),
    ("Equal", [A, A[:1]], {}, 17),
    ("Greater", [A, B], {}, 17),
    ("Less", [A, A[0, ::-1]], {}, 17),
    ("Where", [TRUE, A, B], {}, 17),
    ("Range", [number(2), number(9), number(3)], {}, 17),
    ("Range", [number(4), number(-5), number(-2)], {}, 17),
    ("Range", [number(4), number(-5), number(2)], {}, 17),
    ("Range", [number(0.5, np.float32), number(2, np.float32), number(0.25, np.float32)], {}, 17),
    ("ConstantOfShape", [ints(2, 3)], {}, 17),
    ("ConstantOfShape", [ints(4)], {"value": helper.make_tensor("value", 7, [1], [5])}, 17),
    ("ReduceProd", [A[:, :, :2]], {}, 12),
    ("ReduceProd", [A], {"axes": [1, -1], "keepdims": 0}, 12),
    ("ReduceProd", [A, ints(1)], {"keepdims": 1}, 18),
    ("ReduceProd", [A, ints(-1)], {"keepdims": 0}, 18),
    ("ReduceProd", [LOW[:2]], {"keepdims": 0}, 18),
    ("DequantizeLinear", [Q, number(0.5, np.float32)], {}, 17),
    ("DequantizeLinear", [Q, number(0.5, np.float32), number(3, np.int8)], {}, 17),
    ("DequantizeLinear", [Q[0, 0], number(0.5, np.float32)], {}, 17),
    ("DequantizeLinear", [Q, SCALES, None], {}, 17),
    ("DequantizeLinear", [Q, SCALES], {}, 17),
    ("DequantizeLinear", [Q, SCALES, number([1, -2, 3], np.int8)], {"axis": 1}, 17),
    ("DequantizeLinear", [Q, SCALES[:2], number([9, -9], np.int8)], {"axis": 0}, 17),
    ("DequantizeLinear", [Q, SCALES[[0, 1, 2, 0]]], {"axis": -1, "block_size": 0}, 21),
]


def computed_by_onnxruntime(op, inputs, attributes, opset, outputs):
    names = ["" if v is None else f"i{i}" for i, v in enumerate(inputs)]
    ends = [f"o{i}" for i in range(outputs)]
    element = onnx.helper.np_dtype_to_tensor_dtype
    values = [
        helper.make_tensor_value_info(name, element(v.dtype), v.shape)
        for name, v in zip(names, inputs, strict=True)
        if name
    ]
    outs = [helper.make_empty_tensor_value_info(name) for name in ends]
    node = helper.make_node(op, names, ends, **attributes)
    graph = helper.make_graph([node], "test", values, outs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model) if opset < 21 else model
    feed = {name: v for name, v in zip(names, inputs, strict=True) if name}
    return session(model).run(None, feed)


def name_of(case):
    return f"{case[0]}-{case[3]}-{'-'.join(case[2]) or 'plain'}"


@pytest.mark.parametrize("case", MOVED + COUNTED + COMPUTED, ids=name_of)
def test_operators_give_what_onnxruntime_gives(case):
    op, inputs, attributes, opset, *rest = case
    outputs = rest[0] if rest else 1
    table = glue.MOVING.get(op) or glue.COUNTING.get(op) or glue.CONSTANT[op]
    given = {k: onnx.numpy_helper.to_array(v) if k == "value" else v for k, v in attributes.items()}
    with np.errstate(all="ignore"):
        found = table(inputs, {**given, "outputs": outputs})
    want = computed_by_onnxruntime(op, inputs, attributes, opset, outputs)
    assert len(found) == len(want) == outputs
    for one, two in zip(found, want, strict=True):
        assert one.shape == two.shape and one.dtype.kind == two.dtype.kind
        np.testing.assert_allclose(one, two, rtol=1e-6)


def test_every_operator_is_among_the_cases():
    seen = {case[0] for case in MOVED + COUNTED + COMPUTED}
    assert seen == {*glue.MOVING, *glue.COUNTING, *glue.CONSTANT}
    assert {case[0] for case in MOVED} == set(glue.MOVING)
    assert {case[0] for case in COUNTED} == set(glue.COUNTING)


MOST = 2**24  # elements of a tensor


def like(*shape):
    """An array of such a shape that takes no memory."""
    return np.broadcast_to(np.zeros((), np.int8), shape)


def test_limits_of_sizes():
    assert glue.MAX_ELEMENTS == MOST and glue.MAX_GROWTH == 2 * MOST
    glue._check_size(MOST)
    with pytest.raises(glue.GlueError, match=rf"^a tensor of {MOST + 1} elements$"):
        glue._check_size(MOST + 1)
    assert glue._checked_shape(ints(2, MOST // 2)) == [2, MOST // 2]
    assert glue._checked_shape(ints(0, 5)) == [0, 5]


TOO_MUCH = [
    ("Concat", [like(MOST), like(1)], {"axis": 0}, f"a tensor of {MOST + 1} elements"),
    ("Gather", [like(2, 2**12), like(2**12 + 1)], {}, f"a tensor of {2**12 * (2**12 + 1)} elements"),
    ("Gather", [like(1, 2**12), like(2**12 + 1)], {}, f"a tensor of {2**12 * (2**12 + 1)} elements"),
    ("Gather", [like(2, 0), like(5)], {"axis": 1}, "cannot do a non-empty take from an empty axes"),
    ("Expand", [like(3, 1), ints(2**23)], {}, f"a tensor of shape [3, {2**23}]"),
    ("Expand", [like(1), ints(2**25)], {}, f"a tensor of shape [{2**25}]"),
    ("Expand", [like(1), ints(2, -1)], {}, "a tensor of shape [2, -1]"),
    ("ConstantOfShape", [ints(5, -2)], {}, "a tensor of shape [5, -2]"),
    ("ConstantOfShape", [ints(MOST + 1)], {}, f"a tensor of shape [{MOST + 1}]"),
    ("Range", [number(0), number(MOST + 1), number(1)], {}, f"a tensor of {MOST + 1} elements"),
    ("Range", [number(1), number(2 * MOST + 2), number(2)], {}, f"a tensor of {MOST + 1} elements"),
    (
        "Range",
        [number(0.0, float), number(MOST + 0.5, float), number(1.0, float)],
        {},
        f"a tensor of {MOST + 1} elements",
    ),
    ("Div", [like(2**12, 1), like(2**12 + 1)], {}, f"a tensor of {2**12 * (2**12 + 1)} elements"),
    ("Add", [like(2**12, 1), like(2**12 + 1)], {}, f"a tensor of {2**12 * (2**12 + 1)} elements"),
    ("Where", [like(2, 1, 1), like(2**12, 1), like(2**12)], {}, f"a tensor of {2 * MOST} elements"),
    ("Split", [A, ints(1, 4)], {"axis": 2}, "parts [1, 4] of an axis of size 4"),
    ("Split", [A, ints(-1, 5)], {"axis": 2}, "parts [-1, 5] of an axis of size 4"),
    ("Split", [A], {"split": [1, 2]}, "parts [1, 2] of an axis of size 2"),
    ("Split", [np.zeros(2)], {"outputs": 4}, "parts [1, 1, 1, -1] of an axis of size 2"),
    ("DequantizeLinear", [Q, SCALES], {"block_size": 1}, "scales of blocks"),
    ("Slice", [A, ints(0, 0), ints(1)], {}, "zip() argument"),
]


@pytest.mark.parametrize("op, inputs, attributes, reason", TOO_MUCH)
def test_what_an_operator_cannot_take_is_refused(op, inputs, attributes, reason):
    with pytest.raises((ValueError, IndexError)) as error:
        (glue.MOVING.get(op) or glue.CONSTANT[op])(inputs, {"outputs": 2, **attributes})
    assert reason in str(error.value)


def test_largest_tensors_are_made():
    [taken] = glue.MOVING["Gather"]([like(2**20, 16), ints(3)], {})
    assert taken.shape == (1, 16)  # of a large tensor only what is taken counts
    assert glue.MOVING["Gather"]([like(3, 0), ints(1)], {})[0].shape == (1, 0)
    assert glue.MOVING["Concat"]([like(MOST - 1), like(1)], {"axis": 0})[0].size == MOST
    assert glue.MOVING["Gather"]([like(2, 2**12), like(2**12)], {})[0].size == MOST
