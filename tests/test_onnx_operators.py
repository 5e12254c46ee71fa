# SPDX-License-Identifier: MIT
"""Layers, constants and activations of ONNX, one operator at a time: equal to ONNX Runtime, or refused in these words."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

from onnx import helper  # noqa: E402
from onnx_graphs import assert_equals_onnxruntime, floats, graph_of  # noqa: E402
from test_from_onnx import TOLERANCE, refusal, run_network, session  # noqa: E402

from exporters import from_onnx  # noqa: E402
from exporters._onnx_ops import node_name  # noqa: E402
from exporters.graph import same_network  # noqa: E402

FLAT = {"x": ("a", 5)}
W, V, B = floats(5, 3), floats(3, 5, seed=1), floats(3, seed=2)
FIVE = floats(5, seed=3)


def test_nodes_are_called_by_name_or_first_output():
    for name, outputs, called in (("first", ["y"], "first"), ("", ["", "z", "y"], "z"), ("", [], "")):
        node = helper.make_node("Relu", ["x"], outputs, name=name)
        assert node_name(node) == f"{called} (Relu)"


# ---------------------------------------------------------------------------------- dense layers and constants

FLAT_GRAPHS = {
    "gemm": ([("Gemm", "x w", "y")], {"w": W}),
    "gemm with bias": ([("Gemm", "x w b", "y")], {"w": W, "b": B}),
    "gemm, a row of biases": ([("Gemm", "x w b", "y")], {"w": W, "b": B[None]}),
    "gemm, one bias": ([("Gemm", "x w b", "y")], {"w": W, "b": np.float32(0.5)}),
    "gemm, transposed": ([("Gemm", "x w b", "y", {"transB": 1})], {"w": V, "b": B}),
    "gemm, not transposed": ([("Gemm", "x w b", "y", {"transA": 0, "transB": 0})], {"w": W, "b": B}),
    "gemm, factors": ([("Gemm", "x w b", "y", {"alpha": 0.25, "beta": 3.0})], {"w": W, "b": B}),
    "gemm, factor of the bias": ([("Gemm", "x w b", "y", {"beta": 0.5})], {"w": W, "b": B}),
    "gemm, factor of the weights": ([("Gemm", "x w b", "y", {"alpha": -2.0})], {"w": W, "b": B}),
    "matmul": ([("MatMul", "x w", "y")], {"w": W}),
    "add": ([("Add", "x c", "y")], {"c": FIVE}),
    "add, constant first": ([("Add", "c x", "y")], {"c": FIVE}),
    "add a number": ([("Add", "c x", "y")], {"c": np.float32(0.75)}),
    "sub": ([("Sub", "x c", "y")], {"c": FIVE}),
    "sub, constant first": ([("Sub", "c x", "y")], {"c": FIVE}),
    "mul": ([("Mul", "x c", "y")], {"c": FIVE}),
    "mul, constant first": ([("Mul", "c x", "y")], {"c": FIVE}),
    "div": ([("Div", "x c", "y")], {"c": FIVE}),
    "all of them": (
        [
            ("Sub", "c x", "p"),
            ("Mul", "p c", "q"),
            ("MatMul", "q w", "r"),
            ("Div", "r b", "s"),
            ("Add", "b s", "y"),
        ],
        {"c": FIVE, "w": W, "b": B},
    ),
    "tanh": ([("Tanh", "x", "y")], {}),
    "relu": ([("Relu", "x", "y")], {}),
    "sigmoid": ([("Sigmoid", "x", "y")], {}),
    "normalized": ([("BatchNormalization", "x s o m v", "y")], {}),
    "normalized with an epsilon": ([("BatchNormalization", "x s o m v", "y", {"epsilon": 0.25})], {}),
    "normalized, not in training": (
        [("BatchNormalization", "x s o m v", "y", {"training_mode": 0, "momentum": 0.5})],
        {},
    ),
}
#: Scale, offset, mean and variance of 5 channels, of which the first hardly varies.
CHANNELS = {"s": FIVE, "o": FIVE[::-1].copy(), "m": floats(5, seed=4), "v": np.float32([1e-6, 0.5, 1, 2, 3])}


@pytest.mark.parametrize("name", FLAT_GRAPHS)
def test_operators_on_one_signal(name):
    nodes, weights = FLAT_GRAPHS[name]
    if "normalized" in name:
        weights = CHANNELS
    x = floats(20, 5, seed=9)
    model = graph_of(nodes, weights, FLAT, rank=2)
    [want] = session(model).run(None, {"x": x})
    np.testing.assert_allclose(from_onnx(model).run(x), want, rtol=1e-5, atol=2e-6)


def test_normalized_channels_may_lie_before_others():
    """As after a transpose to what convolutions take: sequence, channel, step."""
    nodes = [
        ("MatMul", "x w", "p"),
        ("RNN", "p W R", "Y", {"hidden_size": 5}),
        ("Squeeze", "Y one", "h"),
        ("Transpose", "h", "t", {"perm": [1, 2, 0]}),
        ("BatchNormalization", "t s o m v", "n"),
        ("Transpose", "n", "y", {"perm": [2, 0, 1]}),
    ]
    weights = {
        **CHANNELS,
        "w": floats(4, 3),
        "W": floats(1, 5, 3),
        "R": floats(1, 5, 5),
        "one": np.array([1]),
    }
    x = floats(9, 2, 4, seed=9)
    model = graph_of(nodes, weights, {"x": ("t", "b", 4)})
    [want] = session(model).run(None, {"x": x})
    np.testing.assert_allclose(run_network(from_onnx(model), x), want, rtol=1e-5, atol=1e-4)


def test_normalization_of_old_files_is_per_channel():
    nodes = [("BatchNormalization", "x s o m v", "y", {"spatial": 1})]
    found = from_onnx(graph_of(nodes, CHANNELS, FLAT, opset=8, rank=2))
    plain = from_onnx(graph_of([nodes[0][:3]], CHANNELS, FLAT, rank=2))
    for one, two in zip(found.layers, plain.layers, strict=True):
        np.testing.assert_array_equal(one.w, two.w)
        np.testing.assert_array_equal(one.b, two.b)


NORMALIZED = "n0 (BatchNormalization): batch normalization in training mode or not per channel"
REFUSED = {
    "transA": ([("Gemm", "x w", "y", {"transA": 1})], {"w": W}, "n0 (Gemm): transA"),
    "computed weights": (
        [("Gemm", "x x", "y")],
        {},
        "n0 (Gemm): input 1 (x) is computed: expected a constant",
    ),
    "computed bias": (
        [("Relu", "x", "r"), ("Gemm", "x w r", "y")],
        {"w": floats(5, 5)},
        "n1 (Gemm): input 2 (r) is computed: expected a constant",
    ),
    "a signal over a signal": (
        [("Tanh", "x", "t"), ("Div", "x t", "y")],
        {},
        "n1 (Div): division by a computed tensor",
    ),
    "a constant over a signal": (
        [("Div", "c x", "y")],
        {"c": FIVE},
        "n0 (Div): division by a computed tensor",
    ),
    "nothing over zero": (
        [("Div", "x c", "y")],
        {"c": np.float32([1, 1, 0, 1, 1])},
        "n0 (Div): a constant is not a finite number: inf",
    ),
    "no variance": (
        [("BatchNormalization", "x s o m v", "y", {"epsilon": 0.0})],
        {**CHANNELS, "v": np.float32([1, 1, 0, 1, 1])},
        "n0 (BatchNormalization): a constant is not a finite number: inf",
    ),
    "in training": (
        [("BatchNormalization", "x s o m v", "y i j", {"training_mode": 1})],
        CHANNELS,
        NORMALIZED,
    ),
    "other channels": (
        [("BatchNormalization", "x s o m v", "y")],
        {key: value[:4] for key, value in CHANNELS.items()},
        "n0 (BatchNormalization): channels of input (11, 5) and of its constants (4,) differ",
    ),
    **{
        f"other channels of {key}": (
            [("BatchNormalization", "x s o m v", "y")],
            {**CHANNELS, key: CHANNELS[key][:4]},
            f"n0 (BatchNormalization): channels of input (11, 5) and of its constants ({4 if key == 's' else 5},) differ",
        )
        for key in CHANNELS
    },
    "softmax over a part": (
        [("MatMul", "x w", "p"), ("Softmax", "p", "y", {"axis": 0})],
        {"w": W},
        "n1 (Softmax): a softmax that is not over the 3 features of n0 (MatMul)",
    ),
    "an operator": ([("Erf", "x", "y")], {}, "n0 (Erf): operator Erf is not supported"),
    "an activation of a constant": (
        [("Relu", "c", "r"), ("Add", "x r", "y")],
        {"c": FIVE},
        "n0 (Relu): operator Relu on constants is not supported",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_operators_are_refused_in_these_words(name):
    nodes, weights, reason = REFUSED[name]
    assert refusal(graph_of(nodes, weights, FLAT, rank=2)) == f"ONNX model: {reason}"


# ---------------------------------------------------------------------------------- softmax

#: Opset, axis if any, shape of the input, whether it is a softmax over the features.
SOFTMAX = [
    (17, None, ("a", 5), True),
    (17, -1, ("a", 5), True),
    (17, 1, ("a", 5), True),
    (17, 0, ("a", 5), False),
    (17, None, ("a", "b", 5), True),
    (17, 2, ("a", "b", 5), True),
    (17, 1, ("a", "b", 5), False),
    (13, None, ("a", "b", 5), True),
    (12, None, ("a", 5), True),
    (12, 1, ("a", 5), True),
    (12, -1, ("a", 5), True),
    (12, 0, ("a", 5), False),
    (12, None, ("a", "b", 5), False),
    (12, 1, ("a", 1, 5), True),
    (12, 2, ("a", "b", 5), True),
    (12, 0, (1, 5), True),
]


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset, axis, shape, right", SOFTMAX)
def test_softmax_is_over_the_features(op, opset, axis, shape, right):
    nodes = [("MatMul", "x w", "p"), (op, "p", "y", {} if axis is None else {"axis": axis})]
    weights = {"w": W}
    if len(shape) == 3:  # a layer over time gives the axes their meaning
        nodes = [
            ("RNN", "x W R", "h", {"hidden_size": 3}),
            ("Squeeze", "h one" if opset >= 13 else "h", "p", {}),
            nodes[1],
        ]
        weights = {"W": floats(1, 3, 5, seed=5), "R": floats(1, 3, 3, seed=6)}
        if opset >= 13:
            weights["one"] = np.array([1])
        else:
            nodes[1][3]["axes"] = [1]
    model = graph_of(nodes, weights, {"x": shape}, opset=opset, rank=len(shape))
    if not right:
        assert "a softmax that is not over the 3 features of n0" in refusal(model)
        return
    network = from_onnx(model)
    assert network.softmax
    x = floats(*(n if isinstance(n, int) else {"a": 6, "b": 2}[n] for n in shape), seed=9)
    [want] = session(model).run(None, {"x": x})
    found = network.run(x) if x.ndim == 2 else run_network(from_onnx(model), x)
    if x.ndim == 2:
        found = np.exp(found) / np.exp(found).sum(-1, keepdims=True)
    np.testing.assert_allclose(found, np.exp(want) if op == "LogSoftmax" else want, atol=TOLERANCE)


# ---------------------------------------------------------------------------------- recurrent layers

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
UNITS = 3
BATCH_FIRST = {"layout": 1}


def layer(op, seed=0, bias=True, **arrays):
    """Weights of a layer of 3 units on 5 inputs."""
    rows = GATES[op] * UNITS
    weights = {"W": floats(1, rows, 5, seed=seed), "R": floats(1, rows, UNITS, seed=seed + 1)}
    if bias:
        weights["B"] = floats(1, 2 * rows, seed=seed + 2)
    return weights | arrays


def recurrent(op, takes, gives, weights, attributes=None, steps="a", batch="b", **options):
    """One layer; its output Y without the axis of directions is y."""
    attributes = {"hidden_size": UNITS, **(attributes or {})}
    first = attributes.get("layout", 0) == 1
    nodes = [(op, takes, gives, attributes), ("Squeeze", "Y axis", "y")]
    x = (batch, steps, 5) if first else (steps, batch, 5)
    sizes = {"x": x, **options.pop("states", {})}
    weights = {**weights, "axis": np.array([2 if first else 1])}
    return graph_of(nodes, weights, sizes, **options)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize(
    "attributes",
    [{}, {"direction": "forward"}, {"hidden_size": UNITS}, {"layout": 0}],
    ids=["plain", "direction", "size", "layout"],
)
def test_attributes_may_say_what_is_so_anyway(op, attributes):
    if op == "LSTM":
        attributes = {**attributes, "input_forget": 0}
    x = floats(20, 2, 5, seed=9)
    for bias in (True, False):
        inputs = "x W R B" if bias else "x W R"
        model = recurrent(op, inputs, "Y", layer(op, bias=bias), {"hidden_size": UNITS, **attributes})
        network = assert_equals_onnxruntime(model, x, ["Recurrent"])
        assert network.layers[0].name == f"n0 ({op})"
        assert network.layers[0].reset_before == (op == "GRU")
        assert network.layers[0].activation == ("tanh" if op == "RNN" else "none")
        assert bias or not network.layers[0].b_x.any()


@pytest.mark.parametrize(
    "reset, before", [({}, True), ({"linear_before_reset": 0}, True), ({"linear_before_reset": 1}, False)]
)
def test_linear_before_reset_is_reset_after_the_product(reset, before):
    model = recurrent("GRU", "x W R B", "Y", layer("GRU"), {"hidden_size": UNITS, **reset})
    network = assert_equals_onnxruntime(model, floats(20, 2, 5, seed=9), ["Recurrent"])
    assert network.layers[0].reset_before is before


def test_reset_is_of_a_gru_alone():
    """In others the attribute is none of theirs, and not looked at by the layer."""
    for op in ("RNN", "LSTM"):
        found = from_onnx(recurrent(op, "x W R B", "Y", layer(op), {"hidden_size": UNITS}))
        assert found.layers[0].reset_before is False


@pytest.mark.parametrize(
    "op, names, activation",
    [
        ("RNN", ["Tanh"], "tanh"),
        ("RNN", ["tanh"], "tanh"),
        ("RNN", ["RELU"], "relu"),
        ("GRU", ["SIGMOID", "tanh"], "none"),
        ("LSTM", ["Sigmoid", "Tanh", "Tanh"], "none"),
    ],
)
def test_activations_are_named_in_any_letters(op, names, activation):
    """ONNX Runtime wants the letters of the standard."""
    model, other = (
        recurrent(op, "x W R B", "Y", layer(op), {"activations": names})
        for names in ([name.capitalize() for name in names], names)
    )
    network = assert_equals_onnxruntime(model, floats(20, 2, 5, seed=9))
    assert network.layers[0].activation == activation and same_network(network, from_onnx(other))


ATTRIBUTES = [
    ("RNN", {"direction": "reverse"}, "direction reverse: a stream runs forward"),
    ("GRU", {"direction": "bidirectional"}, "direction bidirectional: a stream runs forward"),
    ("RNN", {"clip": 3.0}, "attribute clip is not supported"),
    ("RNN", {"clip": 0.0}, "attribute clip is not supported"),
    ("GRU", {"activation_alpha": [1.0]}, "attribute activation_alpha is not supported"),
    ("GRU", {"activation_beta": [1.0, 2.0]}, "attribute activation_beta is not supported"),
    ("LSTM", {"input_forget": 1}, "attribute input_forget is not supported"),
    ("RNN", {"activations": ["Sigmoid"]}, "activations sigmoid are not supported"),
    ("RNN", {"activations": ["Tanh", "Tanh"]}, "activations tanh, tanh are not supported"),
    ("GRU", {"activations": ["Tanh", "Tanh"]}, "activations tanh, tanh are not supported"),
    (
        "LSTM",
        {"activations": ["Sigmoid", "Tanh", "Relu"]},
        "activations sigmoid, tanh, relu are not supported",
    ),
    ("GRU", {"hidden_size": 4}, "hidden_size 4, but weights of 3 units"),
]


@pytest.mark.parametrize("op, attributes, reason", ATTRIBUTES)
def test_attributes_are_refused_in_these_words(op, attributes, reason):
    model = recurrent(op, "x W R B", "Y", layer(op), attributes)
    assert refusal(model) == f"ONNX model: n0 ({op}): {reason}"


SHAPES = [
    ("RNN", "R", (1, 3, 4), "recurrent weights R: expected shape (1, 1 * hidden, hidden), found (1, 3, 4)"),
    ("GRU", "R", (1, 8, 3), "recurrent weights R: expected shape (1, 3 * hidden, hidden), found (1, 8, 3)"),
    ("GRU", "R", (2, 9, 3), "recurrent weights R: expected shape (1, 3 * hidden, hidden), found (2, 9, 3)"),
    ("LSTM", "R", (12, 3), "recurrent weights R: expected shape (1, 4 * hidden, hidden), found (12, 3)"),
    (
        "LSTM",
        "R",
        (1, 12, 3, 1),
        "recurrent weights R: expected shape (1, 4 * hidden, hidden), found (1, 12, 3, 1)",
    ),
    ("GRU", "W", (1, 10, 5), "weights W: expected shape (1, 9, inputs), found (1, 10, 5)"),
    ("GRU", "W", (2, 9, 5), "weights W: expected shape (1, 9, inputs), found (2, 9, 5)"),
    ("RNN", "W", (3, 5), "weights W: expected shape (1, 3, inputs), found (3, 5)"),
    ("RNN", "W", (1, 3, 5, 1), "weights W: expected shape (1, 3, inputs), found (1, 3, 5, 1)"),
    ("RNN", "W", (1, 3, 4), "weights (3, 4) do not fit 5 features of x"),
    ("LSTM", "B", (1, 12), "biases B: expected shape (1, 24), found (1, 12)"),
    ("GRU", "B", (18,), "biases B: expected shape (1, 18), found (18,)"),
    ("RNN", "B", (2, 6), "biases B: expected shape (1, 6), found (2, 6)"),
]


@pytest.mark.parametrize("op, name, shape, reason", SHAPES)
def test_shapes_are_refused_in_these_words(op, name, shape, reason):
    model = recurrent(op, "x W R B", "Y", layer(op, **{name: floats(*shape)}))
    assert refusal(model) == f"ONNX model: n0 ({op}): {reason}"


@pytest.mark.parametrize("op", GATES)
def test_inputs_have_three_axes(op):
    model = graph_of([(op, "x W R", "y")], layer(op, bias=False), FLAT)
    assert refusal(model) == f"ONNX model: n0 ({op}): expected an input of 3 dimensions, found (11, 5)"


@pytest.mark.parametrize(
    "lengths, right", [([7, 7], True), ([7, 6], False), ([6, 6], False), ([8, 7], False)]
)
@pytest.mark.parametrize("attributes", [{}, BATCH_FIRST])
def test_lengths_are_those_of_the_sequence(lengths, right, attributes):
    weights = layer("GRU", lengths=np.array(lengths, np.int32))
    model = recurrent("GRU", "x W R B lengths", "Y", weights, attributes, steps=7, batch=2)
    if right:
        assert from_onnx(model).layers[0].kind == "gru"
    else:
        assert refusal(model) == "ONNX model: n0 (GRU): sequence_lens that end a sequence early"


def test_peepholes_of_zero_are_none():
    for value in (0, 0.5):
        peepholes = np.zeros((1, 3 * UNITS), np.float32)
        peepholes[0, -1] = value
        model = recurrent("LSTM", "x W R B    p", "Y", layer("LSTM", p=peepholes))
        if value:
            assert refusal(model) == "ONNX model: n0 (LSTM): peepholes (input P)"
        else:
            assert_equals_onnxruntime(model, floats(20, 2, 5, seed=9))


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("attributes", [{}, BATCH_FIRST])
def test_constant_initial_states(op, attributes):
    """Equal for all sequences of a batch; ONNX Runtime does not run layout 1, which arranges them otherwise."""
    h, c = np.repeat(floats(2, 1, UNITS, seed=7), 2, axis=1)
    states = {"h": h, "c": c} if op == "LSTM" else {"h": h}
    x = floats(20, 2, 5, seed=9)
    inputs = f"x W R B  {' '.join(states)}"
    plain = recurrent(op, inputs, "Y", layer(op, **{k: v[None] for k, v in states.items()}), batch=2)
    [want] = session(plain).run(None, {"x": x})
    if attributes:
        arranged = {key: value[:, None] for key, value in states.items()}
        network = from_onnx(recurrent(op, inputs, "Y", layer(op, **arranged), attributes, batch=2))
    else:
        network = from_onnx(plain)
    np.testing.assert_allclose(run_network(network, x), want, atol=TOLERANCE)
    np.testing.assert_array_equal(
        network.layers[0].initial_state, np.concatenate([v[0] for v in states.values()])
    )


@pytest.mark.parametrize(
    "shape, attributes, reason",
    [
        ((2, 3), {}, "initial state of shape (2, 3)"),
        ((1, 2, 3, 1), {}, "initial state of shape (1, 2, 3, 1)"),
        ((2, 2, 3), {}, "initial state of shape (2, 2, 3)"),
        ((1, 2, 3), BATCH_FIRST, "initial state of shape (1, 2, 3)"),
        ((1, 2, 4), {}, "initial h: expected (batch, units) = (2, 3), found (2, 4)"),
        ((1, 3, 3), {}, "initial h: expected (batch, units) = (2, 3), found (3, 3)"),
        ((1, 2, 3), {}, "initial h is not finite or differs between the sequences of a batch"),
    ],
)
def test_initial_states_are_refused_in_these_words(shape, attributes, reason):
    model = recurrent("GRU", "x W R B  h", "Y", layer("GRU", h=floats(*shape)), attributes, batch=2)
    assert refusal(model) == f"ONNX model: n0 (GRU): {reason}"


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("attributes", [{}, BATCH_FIRST])
def test_states_are_handed_on_from_call_to_call(op, attributes):
    """Inputs h and c, outputs Y_h and Y_c; each call has some steps of two sequences."""
    states = ["h", "c"] if op == "LSTM" else ["h"]
    size = ("b", 1, UNITS) if attributes else (1, "b", UNITS)
    model = recurrent(
        op,
        f"x W R B  {' '.join(states)}",
        f"Y {' '.join(f'{s}_next' for s in states)}",
        layer(op),
        attributes,
        states={name: size for name in states},
        outputs=("y", *(f"{name}_next" for name in states)),
    )
    network = from_onnx(model)
    assert network.layers[0].initial_state is None
    plain = recurrent(op, "x W R B", "Y", layer(op))
    x = floats(20, 2, 5, seed=9)
    np.testing.assert_allclose(run_network(network, x), session(plain).run(None, {"x": x})[0], atol=TOLERANCE)


def test_sequences_first_are_handed_on_so():
    """From a layer of layout 1 to one of layout 0, which has its batch where the first has its steps."""
    second = {
        f"{name}2": value
        for name, value in zip("WR", (floats(1, 9, 3), floats(1, 9, 3, seed=1)), strict=True)
    }
    size = {"hidden_size": UNITS}
    networks = []
    for attributes, axis, perm in (({}, 1, [0, 1, 2]), (BATCH_FIRST, 2, [1, 0, 2])):
        nodes = [
            ("GRU", "x W R B", "Y", {**size, **attributes}),
            ("Squeeze", "Y axis", "s"),
            ("Transpose", "s", "t", {"perm": perm}),
            ("GRU", "t W2 R2", "Z", size),
            ("Squeeze", "Z one", "y"),
        ]
        weights = {**layer("GRU"), **second, "axis": np.array([axis]), "one": np.array([1])}
        networks.append(from_onnx(graph_of(nodes, weights)))
    assert same_network(*networks)


@pytest.mark.parametrize("attributes", [{}, BATCH_FIRST])
def test_the_last_state_may_be_the_output(attributes):
    """Y_h, with the axis of directions, is the last step of y."""
    weights = {**layer("GRU"), "w": floats(UNITS, 2)}
    models = [
        graph_of([("GRU", "x W R B", "Y h", {"hidden_size": UNITS, **more}), ("MatMul", "h w", "y")], weights)
        for more in ({}, attributes)
    ]
    x = floats(20, 2, 5, seed=9)
    [want] = session(models[0]).run(None, {"x": x})
    np.testing.assert_allclose(run_network(from_onnx(models[1]), x)[-1], want[0], atol=TOLERANCE)
