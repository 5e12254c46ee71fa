# SPDX-License-Identifier: MIT
"""The walk through an ONNX graph: open axes, what is used, branches, casts, and how much it may take."""

import math

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_graphs import assert_equals_onnxruntime, floats, graph_of, value_info  # noqa: E402
from test_from_onnx import refusal, single_step_cell, stack  # noqa: E402

from exporters import from_onnx, import_onnx  # noqa: E402

FLAT = {"x": ("a", 5)}
W = floats(5, 3)
X = floats(20, 5, seed=9)
TYPES = {
    "float": TensorProto.FLOAT,
    "double": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}


def dense(*before, after=(), weights=(), **options):
    """x, some nodes up to "p", a product with w, some nodes from "q" on to "y"."""
    ends = [("MatMul", "p w" if before else "x w", "q" if after else "y"), *after]
    options = {"inputs": FLAT, "rank": 2, **options}
    return graph_of([*before, *ends], {"w": W, **dict(weights)}, **options)


# ---------------------------------------------------------------------------------- open axes


SIX = {"x": (*"abcdef", 5)}


def test_open_axes_are_of_sizes_unlike_each_other():
    """Those of one walk, and those of an axis in both, so that no mix-up fits both walks."""
    first, second = import_onnx._SIZES
    assert len(first) == len(second) == len(set(first)) == len(set(second)) == 6
    assert all(a != b for a, b in zip(first, second, strict=True))
    shapes = {"shape": np.array([*first, 5]), "flat": np.array([-1, 5])}
    model = dense(("Reshape", "x shape", "r"), ("Reshape", "r flat", "p"), weights=shapes, inputs=SIX)
    # What fits the first walk alone is refused by the second.
    assert refusal(model).startswith(
        f"ONNX model: n0 (Reshape): cannot reshape array of size {5 * math.prod(second)} into shape"
    )
    assert (math.prod(first), math.prod(second)) == (11 * 3 * 5 * 2 * 7 * 13, 4 * 7 * 3 * 5 * 13 * 2)
    channels = dict.fromkeys("somv", np.ones(9, np.float32))
    model = graph_of([("BatchNormalization", "x s o m v", "y")], channels, SIX, rank=7)
    assert "channels of input (11, 3, 5, 2, 7, 13, 5)" in refusal(model)


@pytest.mark.parametrize(
    "x, h",
    [
        (("n", 3), ("n", 4)),
        (("n", 3), ("another", 4)),
        (("n", 3), (None, 4)),
        ((None, 3), (None, 4)),
        ((1, 3), (1, 4)),
    ],
)
def test_batches_of_steps_and_states_are_one(x, h):
    model = single_step_cell()
    for value, shape in zip(model.graph.input, (x, h), strict=True):
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shape))
    assert [layer.kind for layer in from_onnx(model).layers] == ["gru"]


@pytest.mark.parametrize("name", ["b", "n", None])
@pytest.mark.parametrize("layout", [0, 1])
def test_batches_of_sequences_and_states_are_one(name, layout):
    """The open axis of the sequence that is its batch, the second or the first, by its name or another one."""
    model = stack("GRU", 2, np.random.default_rng(0), layout=layout)
    for value, shape in zip(model.graph.input, [("b", "t", 5) if layout else ("t", "b", 5)], strict=True):
        value.CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))
    for i in range(2):
        shape = (name, 1, 8) if layout else (1, name, 8)
        model.graph.input.append(helper.make_tensor_value_info(f"h{i}", TensorProto.FLOAT, shape))
        node = model.graph.node[2 * i]
        node.input.extend(["", f"h{i}"])
        node.output.append(f"last{i}")
        model.graph.output.append(value_info(f"last{i}"))
    names = [layer.name for layer in from_onnx(model).layers]
    assert names == ["layer0 (GRU)", "layer1 (GRU)", "dense (MatMul)"]


def test_what_is_said_of_two_inputs_is_said_of_axes_of_their_names():
    """Not of the attempts after it, in which the axes are taken for one."""
    nodes = [("Concat", "x u", "p", {"axis": 0}), ("Relu", "p", "r"), ("MatMul", "r w", "y")]
    message = refusal(graph_of(nodes, {"w": W}, {"x": ("a", 5), "u": ("b", 5)}, rank=2))
    assert message == "ONNX model: n1 (Relu): its input mixes several tensors"
    nodes = [("Add", "x u", "p"), ("MatMul", "p w", "y")]
    message = refusal(graph_of(nodes, {"w": W}, {"x": ("a", 5), "u": ("b", 5)}, rank=2))
    assert message == (
        "ONNX model: n0 (Add): shape mismatch: objects cannot be broadcast to a single shape.  "
        "Mismatch is between arg 0 with shape (11, 5) and arg 1 with shape (3, 5)."
    )


def test_as_many_axes_may_be_open_as_there_are_sizes():
    def model(n):
        axes = tuple("abcdefg"[:n])
        shape = ("Reshape", "x flat", "p")
        return dense(shape, weights={"flat": np.array([-1, 5])}, inputs={"x": (*axes, 5)})

    assert from_onnx(model(6)).input_size == 5
    assert refusal(model(7)) == "ONNX model: x: too many open axes"


def test_axes_of_one_name_are_one_open_axis():
    """Seven axes of six names, of inputs that are otherwise none of the network's."""
    model = dense()
    for name in "bcdefa":
        model.graph.input.append(helper.make_tensor_value_info(f"u{name}", TensorProto.FLOAT, (name,)))
    assert refusal(model) == "ONNX model: ub: an input that is not used as sequence or as state of a layer"


def test_shapes_of_inputs():
    model = dense()
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, ("a", 5)))
    assert refusal(model) == "ONNX model: x: an input without a shape"
    assert refusal(dense(inputs={"x": (-1, 5)})) == "ONNX model: x: a negative dimension: (-1, 5)"
    assert refusal(dense(inputs={"x": (0, 5)})) == "ONNX model: x: a dimension of size 0: (0, 5)"


# ---------------------------------------------------------------------------------- what is used


@pytest.mark.parametrize("kind", TYPES)
def test_weights_of_every_type_are_used(kind):
    """Numbers of other types may be of no use."""
    values = floats(3)
    model = dense()
    model.graph.initializer.append(helper.make_tensor("spare", TYPES[kind], [3], values))
    assert refusal(model) == "ONNX model: spare: a weight that is not used"
    model = dense()
    model.graph.initializer.append(numpy_helper.from_array(np.array([3]), "whole"))
    assert from_onnx(model).output_size == 3


@pytest.mark.parametrize("kind", TYPES)
def test_weights_and_signals_of_every_type_are_taken(kind):
    before = [("Cast", "x", "p", {"to": TYPES[kind]})]
    network = from_onnx(dense(*before, after=[("Cast", "q", "y", {"to": TensorProto.FLOAT})]))
    np.testing.assert_array_equal(network.layers[0].w, W.T)
    constant = [("Cast", "c", "d", {"to": TYPES[kind]}), ("Add", "x d", "p")]
    network = from_onnx(dense(*constant, weights={"c": np.array(2)}))
    np.testing.assert_allclose(network.layers[0].b, 2 * W.astype(float).sum(axis=0))


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL])
def test_signals_are_not_rounded(kind):
    message = "a cast of a signal to a type that is not floating point"
    assert refusal(dense(("Cast", "x", "p", {"to": kind}))) == f"ONNX model: n0 (Cast): {message}"
    like = {"c": np.zeros(1, helper.tensor_dtype_to_np_dtype(kind))}
    assert refusal(dense(("CastLike", "x c", "p"), weights=like)) == f"ONNX model: n0 (CastLike): {message}"


def test_casts_of_constants():
    """To whole numbers they are rounded; like a signal they stay what they are."""
    nodes = [
        ("Cast", "c", "i", {"to": TensorProto.INT64}),
        ("CastLike", "i f", "j"),
        ("CastLike", "c whole", "k"),
        ("CastLike", "k x", "l"),
        ("Mul", "j l", "m"),
        ("CastLike", "x f", "s"),
        ("CastLike", "s x", "t"),
        ("Add", "t m", "p"),
    ]
    numbers = {"c": np.float32([2.75, -1.25, 0.5, 3, 4]), "f": np.float32(1), "whole": np.array(1)}
    network = from_onnx(dense(*nodes, weights=numbers))
    np.testing.assert_allclose(network.layers[0].b, np.array([4, 1, 0, 9, 16]) @ W.astype(float))


def test_weights_may_serve_for_their_shape():
    """Of which a new shape is made, or of which only the size counts."""
    nodes = [("Shape", "v", "shape"), ("Reshape", "x shape", "p")]
    nodes = [("Shape", "v", "shape"), ("Gather", "shape last", "n"), ("Concat", "open n", "to", {"axis": 0})]
    numbers = {"v": floats(2, 5), "last": np.array([1]), "open": np.array([-1])}
    assert_equals_onnxruntime(dense(*nodes, ("Reshape", "x to", "p"), weights=numbers), X)
    numbers = {"v": floats(2, 5), "zeros": np.array(0)}
    nodes = [
        ("Size", "v", "n"),
        ("Mul", "n zeros", "none"),
        ("Gather", "list none", "k"),
        ("Mul", "x k", "p"),
    ]
    assert_equals_onnxruntime(dense(*nodes, weights={**numbers, "list": floats(4)}), X)


def test_weights_that_only_lead_nowhere_are_not_used():
    nodes = [("MatMul", "x w", "y"), ("Add", "y c", "z"), ("Mul", "z d", "nowhere")]
    model = graph_of(nodes, {"w": W, "c": floats(3), "d": floats(3)}, FLAT, outputs=("y",), rank=2)
    assert refusal(model) == "ONNX model: c: a weight that is not used"


def test_a_constant_without_a_place():
    model = graph_of([("Identity", "c", "y"), ("MatMul", "x w", "z")], {"c": floats(3), "w": W}, FLAT, rank=2)
    assert refusal(model) == "ONNX model: y: an output that does not depend on an input"
    model = dense()
    model.graph.output.append(value_info("x", 2))
    assert (
        refusal(model)
        == "ONNX model: x: an output that is not all features of n0 (MatMul) in order nor a state after the last step"
    )


def test_signals_are_no_constants_and_constants_no_signals():
    weights = {"s": floats(5), "o": floats(5), "m": floats(5)}
    nodes = [("BatchNormalization", "x s o m v", "y")]
    message = refusal(graph_of([("Relu", "x", "v"), *nodes], weights, FLAT, rank=2))
    assert message == "ONNX model: n1 (BatchNormalization): input 4 (v) is computed: expected a constant"
    model = graph_of(
        [("BatchNormalization", "c s x m v", "y")],
        {**weights, "c": floats(2, 5), "v": floats(5)},
        FLAT,
        rank=2,
    )
    assert refusal(model) == "ONNX model: n0 (BatchNormalization): input 0 (c) is constant: expected a signal"


def test_constants_are_real_and_of_numbers():
    model = dense(weights={"w": W.astype(np.complex64)})
    assert refusal(model) == "ONNX model: n0 (MatMul): input 1 (w) has complex numbers"
    model = dense(("Constant", "", "c", {"value_strings": [b"a", b"b"]}), ("Mul", "x x", "p"))
    model = graph_of([("Constant", "", "c", {"value_string": b"a"}), ("Mul", "x c", "y")], {}, FLAT, rank=2)
    assert refusal(model) == "ONNX model: n0 (Constant): a Constant that is no tensor of numbers"


@pytest.mark.parametrize(
    "attribute, value",
    [
        ("value", numpy_helper.from_array(np.float32([0.5, 1, 2, 3, 4]))),
        ("value_float", 2.5),
        ("value_floats", [0.5, 1.0, 2.0, 3.0, 4.0]),
        ("value_int", 3),
        ("value_ints", [1, 2, 3, 4, 5]),
    ],
)
def test_constants_by_attribute(attribute, value):
    nodes = [("Constant", "", "c", {attribute: value})]
    nodes += [("Cast", "c", "f", {"to": TensorProto.FLOAT}), ("Mul", "x f", "p")]
    assert_equals_onnxruntime(dense(*nodes), X, ["Dense"])


def test_whole_numbers_are_divided_as_such():
    """7 / 2 is 3 of numbers by attribute, unless they are floats."""
    for kind, values, want in (("ints", [7], 3.0), ("floats", [7.0], 3.5)):
        two = 2 if kind == "ints" else 2.0
        nodes = [
            ("Constant", "", "c", {f"value_{kind}": values}),
            ("Constant", "", "d", {f"value_{kind[:-1]}": two}),
            ("Div", "c d", "e"),
            ("Cast", "e", "f", {"to": TensorProto.FLOAT}),
            ("Mul", "x f", "p"),
        ]
        network = assert_equals_onnxruntime(dense(*nodes), X)
        np.testing.assert_allclose(network.layers[0].w, want * W.T.astype(float))


@pytest.mark.parametrize("ratio", [0.0, 0.5, None])
def test_dropout_is_none_unless_it_trains(ratio):
    for training in (False, True, None):
        numbers = {"ratio": np.float32(0 if ratio is None else ratio), "training": np.array(bool(training))}
        inputs = f"x {'' if ratio is None else 'ratio'}{'' if training is None else ' training'}"
        kept = {key: value for key, value in numbers.items() if key in inputs.split()}
        model = dense(("Dropout", inputs.rstrip(), "p"), weights=kept)
        if training:
            assert refusal(model) == "ONNX model: n0 (Dropout): dropout in training mode"
        else:
            np.testing.assert_array_equal(from_onnx(model).layers[0].w, W.T)


def test_attributes_have_values():
    model = dense(("Transpose", "x", "t", {"perm": [0, 1]}), ("Relu", "t", "p"))
    attribute = model.graph.node[0].attribute[0]
    with pytest.raises(
        import_onnx.ImportRefusedError, match=r"^n0 \(Transpose\): attribute perm has no value$"
    ):
        attribute.type = onnx.AttributeProto.UNDEFINED
        import_onnx._attribute(model.graph.node[0], attribute)
    attribute.type, attribute.ref_attr_name = onnx.AttributeProto.INTS, "order"
    with pytest.raises(
        import_onnx.ImportRefusedError, match=r"^n0 \(Transpose\): attribute perm has no value$"
    ):
        import_onnx._attribute(model.graph.node[0], attribute)
    attribute.ref_attr_name = ""
    assert import_onnx._attribute(model.graph.node[0], attribute) == [0, 1]


def test_operators_of_other_domains_are_none_of_these():
    model = dense()
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert refusal(model) == "ONNX model: n0 (MatMul): operator of domain com.microsoft is not supported"


# ---------------------------------------------------------------------------------- branches


def branch(name, nodes, weights=(), output="b"):
    made = [helper.make_node(op, i.split(), [o], name=f"{name}_{o}") for op, i, o in nodes]
    tensors = [numpy_helper.from_array(value, key) for key, value in dict(weights).items()]
    return helper.make_graph(made, name, [], [value_info(output, 2)], tensors)


def branching(condition, then, other, weights=(), outputs="p"):
    node = ("If", "yes", outputs, {"then_branch": then, "else_branch": other})
    return dense(node, weights={"yes": np.array(condition), **dict(weights)})


@pytest.mark.parametrize("condition", [True, False])
def test_one_branch_is_taken(condition):
    model = branching(
        condition,
        branch("then", [("Mul", "x c", "b")], {"c": floats(5)}),
        branch("else", [("Tanh", "x", "a"), ("Mul", "a c", "b")], {"c": floats(5, seed=1)}),
    )
    network = assert_equals_onnxruntime(model, X, ["Dense"] if condition else ["Dense", "Dense"])
    assert network.layers[0].activation == ("none" if condition else "tanh")


def test_branches_read_what_is_outside():
    """Nodes and weights that nothing else needs, from within a branch of a branch too."""
    inner = helper.make_node(
        "If",
        ["yes"],
        ["b"],
        name="inner",
        then_branch=branch("deep", [("Add", "t v", "e")], output="e"),
        else_branch=branch("deeper", [("Identity", "x", "d")], output="d"),
    )
    then = branch("then", [])
    then.node.append(inner)
    then.output[0].name = "b"
    node = ("If", "yes", "p", {"then_branch": then, "else_branch": branch("else", [("Identity", "x", "b")])})
    model = dense(("Tanh", "x", "t"), node, weights={"yes": np.array(True), "v": floats(5)})
    assert_equals_onnxruntime(model, X, ["Dense", "Dense"])


def test_all_that_a_node_reads_is_needed():
    then, other = branch("then", [("Mul", "t v", "b")]), branch("else", [("Relu", "u", "a")], output="a")
    node = helper.make_node("If", ["yes", ""], ["p"], then_branch=then, else_branch=other)
    assert sorted(import_onnx._reads(node)) == ["a", "b", "t", "u", "v", "yes"]
    nodes = [
        ("Tanh", "x", "t"),
        ("Relu", "x", "r"),
        ("Add", "r t", "s"),
        ("Neg", "t", "n"),
        ("Abs", "n", "y"),
    ]
    graph = graph_of(nodes, {}, FLAT, outputs=("y", "n"), rank=2).graph
    assert import_onnx._needed(graph) == {"y", "n", "t", "x"}


def test_what_is_read_twice_is_looked_at_once():
    """Else 60 nodes would be looked at 2^60 times."""
    nodes = [("Mul", f"c{i} c{i}", f"c{i + 1}") for i in range(60)]
    model = dense(*nodes, ("Mul", "x c60", "p"), weights={"c0": np.ones(5, np.float32)})
    np.testing.assert_array_equal(from_onnx(model).layers[0].w, W.T)


def test_conditions_are_constant():
    both = branch("then", [("Tanh", "x", "b")]), branch("else", [("Relu", "x", "a")], output="a")
    model = dense(("Cast", "x", "yes", {"to": TensorProto.BOOL}), ("If", "yes", "p", {}), weights={})
    model.graph.node[1].attribute.extend(
        helper.make_attribute(key, value)
        for key, value in zip(("then_branch", "else_branch"), both, strict=True)
    )
    assert refusal(model).startswith("ONNX model: n0 (Cast): a cast of a signal to a type")
    model = branching([True, False], *both)
    assert refusal(model).startswith("ONNX model: n0 (If): ")


def test_weights_of_branches_are_read():
    """Of these the sizes are not looked at before; unused ones are no fault, since the other branch may use them."""
    other = branch("else", [("Relu", "x", "b")])
    bad = branch("then", [("Mul", "x c", "b")], {"c": floats(5)})
    bad.initializer[0].raw_data = bytes(24)
    assert refusal(branching(True, bad, other)).startswith("ONNX model: c: not readable: ")
    spare = branch("then", [("Mul", "x c", "b")], {"c": floats(5), "d": floats(5)})
    assert from_onnx(branching(True, spare, other)).input_size == 5


# ---------------------------------------------------------------------------------- how much it may take


def growth(model, monkeypatch):
    """The greatest MAX_GROWTH with which a model is refused, and the message then."""
    low, high = -10_000, 10_000
    while high - low > 1:
        middle = (low + high) // 2
        monkeypatch.setattr(import_onnx, "MAX_GROWTH", middle)
        try:
            from_onnx(model)
            high = middle
        except import_onnx.ImportRefusedError:
            low = middle
    monkeypatch.setattr(import_onnx, "MAX_GROWTH", low)
    return low, refusal(model)


def test_elements_of_all_tensors_are_counted(monkeypatch):
    """With 11 steps: those of the nodes, less 16 for each of the file; of a constant also the weights it is made of."""
    signals = 11 * 5 + 11 * 3 + 11 * 3
    model = dense(("Tanh", "x", "p"), after=[("Relu", "q", "y")])
    least = signals - 16 * W.size
    assert growth(model, monkeypatch) == (
        least - 1,
        f"ONNX model: n2 (Relu): all tensors up to here have more than {least - 1} elements",
    )
    nodes = [("Add", "c d", "e"), ("Neg", "e", "f"), ("Add", "x f", "p")]
    model = dense(*nodes, weights={"c": floats(5), "d": floats(5, seed=1)})
    least = (5 + 2) + (5 + 2) + 11 * 5 + 11 * 3 - 16 * (W.size + 10)
    assert growth(model, monkeypatch)[0] == least - 1


def test_errors_of_an_operator_name_the_node():
    message = refusal(dense(("Transpose", "x", "p", {"perm": [0, 5]})))
    assert message.startswith("ONNX model: n0 (Transpose): ") and len(message) > 30
    message = refusal(
        dense(
            ("Gather", "c far", "d", {"axis": 0}),
            ("Add", "x d", "p"),
            weights={"c": floats(5), "far": np.array([9])},
        )
    )
    assert message.startswith("ONNX model: n0 (Gather): index 9 is out of bounds")


def test_the_name_of_the_source_comes_first(tmp_path):
    path = tmp_path / "model.onnx"
    model = dense(("Erf", "x", "p"))
    path.write_bytes(model.SerializeToString())
    assert refusal(path) == f"{path}: n0 (Erf): operator Erf is not supported"
    assert refusal(model) == "ONNX model: n0 (Erf): operator Erf is not supported"
    assert from_onnx(dense()).source == "ONNX model"
    path.write_bytes(dense().SerializeToString())
    assert from_onnx(str(path)).source == str(path)
    for op in ("Identity", "Softmax"):
        assert refusal(graph_of([(op, "x", "y")], {}, FLAT, rank=2)) == "ONNX model: no layer found"
