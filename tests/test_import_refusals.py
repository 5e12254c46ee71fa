# SPDX-License-Identifier: MIT
"""ONNX graphs by hand: what the importer must refuse by the name of a node, and unusual forms that it must take."""

import gc

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_graphs import assert_equals_onnxruntime, floats, graph_of, value_info, with_weight  # noqa: E402
from test_from_onnx import TOLERANCE, refusal, stack  # noqa: E402

from exporters import from_onnx  # noqa: E402
from exporters._provenance import Tracer  # noqa: E402
from exporters._stages import Stage  # noqa: E402
from exporters.graph import ImportRefusedError  # noqa: E402


def with_input(model, position, name, array):
    """Give the recurrent node a constant input at a position."""
    model.graph.initializer.append(numpy_helper.from_array(array, name))
    node = model.graph.node[0]
    node.input.extend([""] * (position - len(node.input)) + [name])
    return model


def gru():
    return stack("GRU", 1, np.random.default_rng(0))


def shaped(model, *dims):
    """Fix axes of the input: a number each, None to leave it open."""
    for dim, n in zip(model.graph.input[0].type.tensor_type.shape.dim, dims, strict=False):
        if n is not None:
            dim.dim_value = n
    return model


def rank_2():
    model = gru()
    del model.graph.input[0].type.tensor_type.shape.dim[1]
    return model


RECURRENT = [
    (rank_2, "layer0 (GRU): expected an input of 3 dimensions, found (11, 5)"),
    (lambda: stack("GRU", 1, np.random.default_rng(0), clip=0.0), "layer0 (GRU): attribute clip"),
    (
        lambda: with_weight(gru(), 1, floats(1, 24, 7)),
        "R: expected shape (1, 3 * hidden, hidden), found (1, 24, 7)",
    ),
    (lambda: with_weight(gru(), 1, floats(2, 24, 8)), "R: expected shape"),
    (lambda: with_weight(gru(), 1, floats(24, 8)), "R: expected shape"),
    (
        lambda: with_weight(gru(), 0, floats(1, 23, 5)),
        "weights W: expected shape (1, 24, inputs), found (1, 23, 5)",
    ),
    (lambda: with_weight(gru(), 0, floats(24, 5)), "weights W: expected shape"),
    (lambda: with_weight(gru(), 0, floats(1, 24, 4)), "weights (24, 4) do not fit 5 features"),
    (lambda: with_weight(gru(), 2, floats(1, 47)), "biases B: expected shape (1, 48), found (1, 47)"),
    (lambda: with_input(gru(), 5, "h", floats(2, 8)), "initial state of shape (2, 8)"),
    (lambda: with_input(gru(), 5, "h", floats(2, 2, 8)), "initial state of shape (2, 2, 8)"),
    (
        lambda: with_input(shaped(gru(), None, 2), 5, "h", floats(1, 3, 8)),
        "initial h: expected (batch, units) = (2, 8)",
    ),
    (
        lambda: with_input(shaped(gru(), None, 2), 5, "h", floats(1, 2, 8)),
        "initial h is not finite or differs",
    ),
    (
        lambda: with_input(shaped(gru(), 3), 4, "lengths", np.array([3, 2, 3], np.int32)),
        "sequence_lens that end",
    ),
]


@pytest.mark.parametrize("make, reason", RECURRENT)
def test_recurrent_layers_that_do_not_fit_are_refused(make, reason):
    message = refusal(make())
    assert reason in message and "layer0 (GRU)" in message


W53 = {"w": floats(5, 3)}
FLAT = {"x": ("a", 5)}  # of networks without a recurrent layer
OF_ROWS = ("after a softmax", "its own length")
CASES = {
    "transposed input": ([("Gemm", "x w", "y", {"transA": 1})], W53, "n0 (Gemm): transA"),
    "computed divisor": (
        [("Sigmoid", "x", "s"), ("Div", "x s", "y")],
        {},
        "n1 (Div): division by a computed tensor",
    ),
    "constant over computed": (
        [("Div", "w x", "y")],
        {"w": floats(5)},
        "n0 (Div): division by a computed tensor",
    ),
    "computed weights": ([("MatMul", "x x", "y")], {}, "n0 (MatMul): input 1 (x) is computed"),
    "weights along batches": (
        [("MatMul", "x w", "y")],
        {"w": floats(3, 5, 3)},
        "n0 (MatMul): weights of shape (3, 5, 3): expected two dimensions",
    ),
    "vector of weights": ([("MatMul", "x w", "y")], {"w": floats(5)}, "n0 (MatMul): weights of shape (5,)"),
    "weights of another size": (
        [("MatMul", "x w", "y")],
        {"w": floats(4, 3)},
        "weights (3, 4) do not fit 5 features",
    ),
    "weights of another size, after a product": (
        [("Sigmoid", "x", "s"), ("Mul", "x s", "p"), ("MatMul", "p w", "y")],
        {"w": floats(4, 3)},
        "weights (3, 4) do not fit 5 features",
    ),
    "activation of a constant": (
        [("Relu", "w", "c"), ("MatMul", "c v", "y")],
        {"w": floats(2, 5), "v": floats(5, 3)},
        "n0",
    ),
    "layer of a constant only": (
        [("MatMul", "c w", "y")],
        {"c": floats(2, 5), "w": floats(5, 3)},
        "at a constant",
    ),
    "output of a constant": ([("Identity", "w", "y")], W53, "y: an output that does not depend on an input"),
    "no layer": ([("Identity", "x", "y")], {}, "no layer found"),
    "no output": (
        [("MatMul", "x w", "p"), ("Slice", "p begin begin", "y")],
        {**W53, "begin": np.array([0])},
        "y: an output of size 0",
    ),
    "no input": (
        [("Slice", "x begin begin", "p"), ("MatMul", "p w", "y")],
        {**W53, "begin": np.array([0])},
        "n1 (MatMul): its input is empty",
    ),
    "two tensors side by side": (
        [("Tanh", "x", "t"), ("Concat", "x t", "p", {"axis": 2}), ("MatMul", "p w", "y")],
        {"w": floats(10, 3)},
        "n2 (MatMul): its input mixes several tensors",
    ),
    "a tensor beside a constant": (
        [("Concat", "x c", "p", {"axis": 0}), ("MatMul", "p w", "y")],
        {**W53, "c": floats(1, 3, 5)},
        "n0 (Concat): Concat mixes computed and constant tensors",
    ),
    "taken by a computed index": ([("Gather", "w x", "y")], W53, "n0 (Gather): Gather mixes computed"),
    "a second branch": (
        [("Relu", "x", "r"), ("Tanh", "x", "t"), ("MatMul", "r w", "p"), ("MatMul", "t w", "q")],
        W53,
        "a second branch beside",
    ),
    "parts that do not add up": (
        [("Split", "x sizes", "p q", {"axis": 2}), ("MatMul", "p w", "y")],
        {"w": floats(3, 3), "sizes": np.array([3, 4])},
        "n0 (Split): parts [3, 4] of an axis of size 5",
    ),
    "a text": (
        [("Constant", "", "c", {"value_string": b"a"}), ("Mul", "x c", "y")],
        {},
        "n0 (Constant): a Constant that",
    ),
    "whole numbers": (
        [("Cast", "x", "i", {"to": TensorProto.INT64}), ("MatMul", "i w", "y")],
        W53,
        "n0 (Cast): a cast of a signal to a type",
    ),
    "like whole numbers": (
        [("CastLike", "x c", "i"), ("MatMul", "i w", "y")],
        {**W53, "c": np.array(1)},
        "n0 (CastLike): a cast of a signal to a type",
    ),
    "dropout in training": (
        [("Dropout", "x ratio training", "d"), ("MatMul", "d w", "y")],
        {**W53, "ratio": np.float32(0.5), "training": np.array(True)},
        "n0 (Dropout): dropout in training mode",
    ),
    "softmax over time": (
        [("MatMul", "x w", "p"), ("Softmax", "p", "y", {"axis": 0})],
        W53,
        "n1 (Softmax): a softmax that is not over the 3 features",
    ),
    "after a softmax": (
        [("Softmax", "x", "s", {"axis": 1}), ("MatMul", "s w", "y")],
        W53,
        "n1 (MatMul): follows a softmax",
    ),
    "an operator on constants": (
        [("Sin", "w", "v"), ("MatMul", "x v", "y")],
        W53,
        "n0 (Sin): operator Sin on constants",
    ),
    "too many numbers": (
        [("Range", "zero most one", "r"), ("MatMul", "x r", "y")],
        {"zero": np.array(0), "most": np.array(2**40), "one": np.array(1)},
        "n0 (Range): a tensor of 1099511627776 elements",
    ),
    "scales of blocks": (
        [("DequantizeLinear", "q s", "w", {"block_size": 2}), ("MatMul", "x w", "y")],
        {"q": np.ones((5, 3), np.int8), "s": np.ones((5, 3), np.float32)},
        "n0 (DequantizeLinear): scales of blocks",
    ),
    "its own length": (
        [
            ("Shape", "x", "shape"),
            ("Gather", "shape first", "n"),
            ("Cast", "n", "f", {"to": TensorProto.FLOAT}),
            ("Mul", "x f", "p"),
            ("MatMul", "p w", "y"),
        ],
        {**W53, "first": np.array(0)},
        "the network depends on the length of its input",
    ),
    "too many products": (
        [
            ("Split", "x", " ".join(f"p{i}" for i in range(18)), {"axis": 2}),
            *(("Add", f"{'p0' if i == 1 else f's{i - 1}'} p{i}", f"s{i}") for i in range(1, 9)),
            *(("Add", f"{'p9' if i == 10 else f's{i - 1}'} p{i}", f"s{i}") for i in range(10, 18)),
            ("Mul", "s8 s17", "y"),
        ],
        {"x": None},
        "a formula of computed tensors that is too long",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_graphs_that_are_no_network_are_refused(name):
    nodes, weights, reason = CASES[name]
    inputs = {"x": ("a", "b", 18)} if "x" in weights else FLAT if name in OF_ROWS else None
    outputs = ("p", "q") if name == "a second branch" else ("y",)
    weights = {key: value for key, value in weights.items() if value is not None}
    opset = 21 if name == "scales of blocks" else 17
    assert reason in refusal(graph_of(nodes, weights, inputs, outputs, opset))


def test_batch_normalization_must_be_that_of_a_trained_network():
    channels = {name: np.ones(5, np.float32) for name in ("s", "o", "m", "v")}
    for attributes, shape, opset, reason in (
        ({"training_mode": 1}, ("a", 5), 17, "in training mode or not per channel"),
        ({"spatial": 0}, ("a", 5), 8, "in training mode or not per channel"),
        ({}, ("a", 4), 17, "channels of input (11, 4) and of its constants (5,) differ"),
        ({}, (5,), 17, "channels of input (5,) and of its constants (5,) differ"),
    ):
        nodes = [("BatchNormalization", "x s o m v", "y", attributes)]
        message = refusal(graph_of(nodes, channels, {"x": shape}, opset=opset))
        assert "n0 (BatchNormalization)" in message and reason in message


def test_constants_must_be_the_same_at_every_step():
    nodes = [("Add", "x c", "s"), ("MatMul", "s w", "y")]
    for c, reason in (
        (floats(4, 1, 5), "a constant that differs from step to step"),
        (np.float32(np.nan), "finite"),
    ):
        message = refusal(graph_of(nodes, {**W53, "c": c}, {"x": (4, 1, 5)}))
        assert "n0 (Add)" in message and reason in message


def test_inputs_must_have_shapes_of_sense():
    nodes = [("MatMul", "x w", "y")]
    model = graph_of(nodes, W53)
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, ("a", 5)))
    assert "x: an input without a shape" in refusal(model)
    assert "x: a negative dimension: (-3, 5)" in refusal(graph_of(nodes, W53, {"x": (-3, 5)}))
    axes = tuple("abcdefg")
    assert "x: too many open axes" in refusal(graph_of(nodes, W53, {"x": (*axes, 5)}))
    wide = {"w": floats(5, 64)}
    assert "n0 (MatMul): 262144 steps of 64 features" in refusal(graph_of(nodes, wide, {"x": (2**18, 5)}))


def test_nodes_must_come_in_order():
    model = graph_of([("Relu", "x", "r"), ("MatMul", "r w", "y")], W53)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])
    assert "not a valid ONNX model" in refusal(model)


def test_sparse_weights_are_refused():
    model = graph_of([("MatMul", "x w", "y")], W53)
    values = numpy_helper.from_array(floats(2), "sparse")
    indices = numpy_helper.from_array(np.array([0, 3]), "sparse_indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [5, 3]))
    assert "sparse: a sparse tensor" in refusal(model)


def test_weights_may_be_listed_as_inputs():
    """As files of the first IR versions do."""
    model = gru()
    for name, shape in (("W0", (1, 24, 5)), ("dense", (8, 3))):
        model.graph.input.insert(0, helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    x = floats(20, 2, 5)
    assert_equals_onnxruntime(model, x, ["Recurrent", "Dense"])


def test_dense_layers_alone_are_a_network():
    nodes = [("Relu", "x", "r"), ("MatMul", "r w", "p"), ("Tanh", "p", "y")]
    x = floats(20, 5)
    assert_equals_onnxruntime(graph_of(nodes, W53, FLAT, rank=2), x, ["Dense", "Dense"])
    nodes = [("Mul", "x two", "m"), ("Tanh", "m", "t"), ("Sigmoid", "t", "s"), ("MatMul", "s w", "y")]
    assert_equals_onnxruntime(
        graph_of(nodes, {**W53, "two": np.float32(2)}, FLAT, rank=2), x, ["Dense", "Dense", "Dense"]
    )


def test_equal_operations_on_one_tensor_are_one():
    nodes = [
        ("Relu", "x", "r"),
        ("Relu", "x", "s"),
        ("Slice", "r zero two last", "p"),
        ("Slice", "s two five last", "q"),
        ("Concat", "p q", "c", {"axis": 1}),
        ("MatMul", "c w", "y"),
    ]
    index = {name: np.array([value]) for name, value in (("zero", 0), ("two", 2), ("five", 5), ("last", 1))}
    assert_equals_onnxruntime(
        graph_of(nodes, {**W53, **index}, FLAT, rank=2), floats(20, 5), ["Dense", "Dense"]
    )


def test_casts_and_constants_by_attribute_are_transparent():
    nodes = [
        ("Constant", "", "two", {"value_float": 2.0}),
        ("Constant", "", "many", {"value_floats": [1.0, -1.0, 0.5]}),
        ("Constant", "", "axes", {"value_ints": [0]}),
        ("Cast", "x", "wide", {"to": TensorProto.DOUBLE}),
        ("CastLike", "wide many", "narrow"),
        ("CastLike", "count many", "three"),
        ("CastLike", "count x", "same"),
        ("CastLike", "narrow x", "alike"),
        ("Cast", "same", "float", {"to": TensorProto.FLOAT}),
        ("Mul", "alike two", "m"),
        ("MatMul", "m w", "p"),
        ("Unsqueeze", "many axes", "row"),
        ("Mul", "p row", "q"),
        ("Mul", "q three", "r"),
        ("Mul", "r float", "d"),
        ("Dropout", "d  off", "y"),
    ]
    more = {"count": np.array(3), "off": np.array(False)}
    assert_equals_onnxruntime(graph_of(nodes, {**W53, **more}, FLAT, rank=2), floats(20, 5), ["Dense"])


def test_constants_are_computed_as_onnxruntime_does():
    """Weights that come out of arithmetic, of every operator on constants."""
    nodes = [
        ("Exp", "w", "exp"),
        ("Sqrt", "exp", "root"),
        ("Reciprocal", "root", "inverse"),
        ("Neg", "w", "minus"),
        ("Greater", "w zero", "greater"),
        ("Less", "w half", "less"),
        ("And", "greater less", "between"),
        ("Not", "between", "beyond"),
        ("Equal", "w w", "equal"),
        ("Or", "beyond between", "either"),
        ("And", "either equal", "always"),
        ("Where", "between root inverse", "chosen"),
        ("Where", "always chosen zero", "kept"),
        ("Max", "kept minus half", "most"),
        ("Min", "most two exp", "least"),
        ("Pow", "least two", "square"),
        ("Div", "square three", "part"),
        ("Sub", "part half", "below"),
        ("Range", "start stop step", "range"),
        ("Div", "range minus_two", "signs"),
        ("Cast", "signs", "row", {"to": TensorProto.FLOAT}),
        ("Add", "below row", "sum"),
        ("ReduceProd", "shape", "count", {"keepdims": 1}),
        ("Size", "w", "size"),
        ("Div", "count size", "one"),
        ("Concat", "one one", "ones", {"axis": 0}),
        ("Expand", "sum ones", "same"),
        ("ConstantOfShape", "ones", "nothing"),
        ("Add", "same nothing", "all"),
        ("ReduceProd", "shape first", "five", {"keepdims": 0}),
        ("Reshape", "all shape", "final"),
        ("MatMul", "x final", "y"),
        ("Cast", "five", "unused", {"to": TensorProto.FLOAT}),
    ]
    numbers = {
        "zero": np.float32(0),
        "half": np.float32(0.5),
        "two": np.float32(2),
        "three": np.float32(3),
        "start": np.array(-3),
        "stop": np.array(6),
        "step": np.array(3),
        "minus_two": np.array(-2),
        "shape": np.array([5, 3]),
        "first": np.array([0]),
    }
    assert_equals_onnxruntime(
        graph_of(nodes, {"w": floats(5, 3, seed=3), **numbers}, FLAT, opset=18, rank=2), floats(20, 5)
    )


@pytest.mark.parametrize("axis, attributes", [(None, {}), (0, {"axis": 0}), (1, {"axis": 1}), (1, {})])
def test_quantized_weights_are_those_of_onnxruntime(axis, attributes):
    rng = np.random.default_rng(5)
    shape = () if axis is None else (5,) if axis == 0 else (3,)
    weights = {
        "q": rng.integers(-128, 128, (5, 3)).astype(np.int8),
        "s": rng.uniform(0.01, 0.02, shape).astype(np.float32),
        "z": rng.integers(-9, 9, shape).astype(np.int8),
    }
    for inputs in ("q s z", "q s"):
        nodes = [("DequantizeLinear", inputs, "w", attributes), ("MatMul", "x w", "y")]
        kept = {name: weights[name] for name in inputs.split()}
        model = graph_of(nodes, kept, FLAT, rank=2)
        x = floats(20, 5)
        options = onnxruntime.SessionOptions()
        # Optimized, it rounds the input of such a product to 8 bits.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        run = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        np.testing.assert_allclose(from_onnx(model).run(x), run.run(None, {"x": x})[0], atol=TOLERANCE)


def test_softmax_without_an_axis_is_over_the_last_one_since_opset_13():
    nodes = [("MatMul", "x w", "p"), ("Softmax", "p", "y")]
    for opset in (12, 13):
        assert from_onnx(graph_of(nodes, W53, FLAT, opset=opset, rank=2)).softmax
        message = refusal(graph_of(nodes, W53, opset=opset))  # nothing gives the order of the steps
        assert ("a softmax that is not over the 3 features" in message) == (opset == 12)


def test_network_of_one_number():
    model = graph_of([("MatMul", "x w", "y")], {"w": floats(1, 1)}, {"x": (1, 1)}, rank=2)
    assert_equals_onnxruntime(model, floats(1, 1, seed=2))


def test_dropout_that_does_not_train_is_none():
    weights = {**W53, "ratio": np.float32(0.5), "training": np.array(False)}
    for inputs in ("x", "x ratio", "x ratio training"):
        kept = {name: weights[name] for name in ("w", *inputs.split()[1:])}
        nodes = [("Dropout", inputs, "d"), ("MatMul", "d w", "y")]
        assert_equals_onnxruntime(graph_of(nodes, kept, FLAT, rank=2), floats(20, 5))


def test_sequences_may_be_said_to_have_all_steps():
    model = with_input(shaped(gru(), 7, 2), 4, "lengths", np.array([7, 7], np.int32))
    assert_equals_onnxruntime(model, floats(7, 2, 5))


def test_initial_states_must_not_be_computed():
    model = stack("GRU", 2, np.random.default_rng(0))
    model.graph.node[0].output.append("last")
    model.graph.node[2].input.extend(["", "last"])
    assert "layer1 (GRU): its initial state is computed" in refusal(model)


def test_layers_that_are_alike_are_not_one_after_the_other():
    model = stack("GRU", 1, np.random.default_rng(0))
    again = onnx.NodeProto.FromString(model.graph.node[0].SerializeToString())
    again.name, again.output[0] = "again", "other"
    model.graph.node.insert(1, again)
    model.graph.output.append(value_info("other", 4))
    assert "a second branch beside" in refusal(model)


def test_cell_state_alone_is_no_output():
    model = stack("LSTM", 1, np.random.default_rng(0))
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, (1, "b", 8)))
    node = model.graph.node[0]
    node.input.extend(["", "", "c"])
    node.output.extend(["", "next"])
    del model.graph.output[:]
    model.graph.output.append(value_info("next"))
    del model.graph.initializer[3:], model.graph.node[1:]
    assert "layer0 (LSTM): no output holds all of its features in order" in refusal(model)


def test_a_refused_graph_is_released_at_once():
    """By reference counts: what many large files leave to the garbage collector may exceed the memory before it runs."""
    model = with_weight(gru(), 2, floats(1, 47))

    def kept():
        return sum(isinstance(thing, (Tracer, Stage)) for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = kept()
        with pytest.raises(ImportRefusedError):
            from_onnx(model)
        assert kept() == before
    finally:
        gc.enable()
