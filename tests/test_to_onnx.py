# SPDX-License-Identifier: MIT
"""Networks as ONNX files: ONNX Runtime computes what `Network.run` computes, and the importer reads them back."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

import onnx  # noqa: E402
from float_networks import float_network  # noqa: E402
from onnx import TensorProto, numpy_helper  # noqa: E402

import exporters  # noqa: E402
from edge_runtime import Model  # noqa: E402
from edge_runtime.format import ModelFile  # noqa: E402
from edge_runtime.model import DEFAULT_MODEL  # noqa: E402
from exporters.dequantize import dequantize  # noqa: E402
from exporters.graph import Dense, Network  # noqa: E402
from exporters.quantize import Precision, Quantizer, generated_inputs  # noqa: E402
from exporters.to_onnx import OPSET, to_onnx  # noqa: E402

CASES = [
    ("rnn", {}),
    ("rnn", {"activation": "relu"}),
    ("gru", {}),
    ("gru", {"reset_before": True}),
    ("lstm", {}),
]


def session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def inputs_of(network, steps=60):
    return np.random.default_rng(1).standard_normal((steps, network.input_size)).astype(np.float32)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_sequences(kind, options, layers):
    network = float_network(kind, layers=layers, **options)
    x = inputs_of(network)
    found = session(to_onnx(network)).run(["y"], {"x": x[:, None]})[0][:, 0]
    np.testing.assert_allclose(found, network.run(x), atol=2e-6)


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_single_steps_carry_their_state(kind, options):
    network = float_network(kind, layers=2, **options)
    x = inputs_of(network, 30)
    run = session(to_onnx(network, single_step=True))
    names = [value.name for value in run.get_inputs()][1:]
    first = network.layers[0].initial_state
    units = network.layers[0].output_size
    states = {name: np.zeros((1, 1, units), np.float32) for name in names}
    states["h0"][0, 0] = first[:units]
    if kind == "lstm":
        states["c0"][0, 0] = first[units:]
    outputs = []
    for frame in x:
        y, *rest = run.run(["y", *[f"{name}_next" for name in names]], {"x": frame[None], **states})
        states = dict(zip(names, rest, strict=True))
        outputs.append(y[0])
    np.testing.assert_allclose(outputs, network.run(x), atol=2e-6)


@pytest.mark.parametrize("single_step", [False, True])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_the_importer_reads_them_back(kind, options, single_step):
    network = float_network(kind, layers=2, **options)
    again = exporters.from_onnx(to_onnx(network, single_step))
    assert len(again.layers) == len(network.layers)
    for before, after in zip(network.layers, again.layers, strict=True):
        assert type(before) is type(after)
        fields = ("w", "b") if hasattr(before, "w") else ("w_x", "w_h", "b_x", "b_h")
        for field in fields:
            np.testing.assert_array_equal(getattr(after, field), getattr(before, field).astype(np.float32))


def test_softmax_opset_and_metadata():
    network = float_network("gru")
    network = Network(network.layers, softmax=True)
    model = to_onnx(network, metadata={"licence": "MIT"})
    assert model.opset_import[0].version == OPSET
    assert {p.key: p.value for p in model.metadata_props} == {"licence": "MIT"}
    y = session(model).run(["y"], {"x": inputs_of(network)[:, None]})[0]
    np.testing.assert_allclose(y.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_dequantized_weights_are_those_of_the_file(kind, options):
    network = float_network(kind, layers=2, **options)
    inputs = generated_inputs(network.input_size, steps=300)
    quantizer = Quantizer(network, inputs)
    model_file, _ = quantizer.model_file([Precision(planes=2, operand_bits=16)] * len(quantizer.matrices))
    twin = dequantize(model_file)
    packed = Model.from_bytes(model_file.to_bytes()).stream().run(inputs[0].astype(np.float32))
    # Two planes lose much of the source's weights and nothing of the file's.
    to_file = np.square(twin.run(inputs[0]) - packed).mean()
    to_source = np.square(network.run(inputs[0]) - packed).mean()
    assert to_file < 0.05 * to_source


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_network_in_the_fine_profile_is_within_a_thousandth_of_onnx_runtime(kind, options):
    network = float_network(kind, layers=2, units=12, **options)
    inputs = generated_inputs(network.input_size, steps=500, runs=1)
    quantizer = Quantizer(network, inputs)
    model_file, _ = quantizer.model_file([Precision(planes=8, operand_bits=16)] * len(quantizer.matrices))
    x = inputs[0].astype(np.float32)
    expected = session(to_onnx(network)).run(["y"], {"x": x[:, None]})[0][:, 0]
    packed = Model.from_bytes(model_file.to_bytes()).stream().run(x)
    assert np.abs(packed - expected).max() <= 1e-3


def test_the_shipped_model_and_its_float_twin_choose_alike():
    model_file = ModelFile.load(DEFAULT_MODEL)
    twin = dequantize(model_file, "digits")
    x = generated_inputs(model_file.input_size, steps=200, runs=1)[0]
    found = session(to_onnx(twin)).run(["y"], {"x": x[:, None].astype(np.float32)})[0][:, 0]
    np.testing.assert_allclose(found, twin.run(x), atol=1e-4)


def test_files_are_valid(tmp_path):
    path = tmp_path / "network.onnx"
    onnx.save(to_onnx(float_network("lstm")), path)
    onnx.checker.check_model(str(path), full_check=True)


# --------------------------------------------------------------------------------- the file, node by node


def described(values):
    """Name and shape of inputs and outputs, all of them float32."""
    assert {value.type.tensor_type.elem_type for value in values} == {TensorProto.FLOAT}
    return [
        (value.name, *(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim))
        for value in values
    ]


def nodes_of(model):
    """Operator, name, inputs ("-" for one that is left out) and outputs."""
    return [
        " ".join([node.op_type, node.name, *(key or "-" for key in node.input), "->", *node.output])
        for node in model.graph.node
    ]


def attributes_of(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def test_nodes_of_a_sequence():
    network = float_network("lstm", inputs=2, units=3, outputs=4, layers=2)
    network = Network((*network.layers, Dense(np.ones((5, 4)), np.ones(5), "relu")), softmax=True)
    model = to_onnx(network)
    assert described(model.graph.input) == [("x", "steps", 1, 2)]
    assert described(model.graph.output) == [("y", "steps", 1, 5)]
    assert nodes_of(model) == [
        "LSTM lstm0 x w0 r0 b0 - h0 c0 -> sequence0",
        "Squeeze squeeze_1 sequence0 axis1 -> squeeze_1",
        "LSTM lstm1 squeeze_1 w1 r1 b1 - h1 c1 -> sequence1",
        "Squeeze squeeze_3 sequence1 axis1 -> squeeze_3",
        "MatMul matmul_4 squeeze_3 w2 -> matmul_4",
        "Add add_5 matmul_4 b2 -> add_5",
        "MatMul matmul_6 add_5 w3 -> matmul_6",
        "Add add_7 matmul_6 b3 -> add_7",
        "Relu relu_8 add_7 -> relu_8",
        "Softmax softmax_9 relu_8 -> y",
    ]
    assert attributes_of(model.graph.node[0]) == {"hidden_size": 3}
    assert attributes_of(model.graph.node[-1]) == {"axis": -1}
    names = "w0 r0 b0 h0 c0 axis1 w1 r1 b1 h1 c1 w2 b2 w3 b3".split()
    assert [tensor.name for tensor in model.graph.initializer] == names
    assert (model.ir_version, model.opset_import[0].version, len(model.opset_import)) == (8, 17, 1)
    assert (model.producer_name, model.graph.name, len(model.metadata_props)) == (
        "edge_runtime",
        "network",
        0,
    )


def test_nodes_of_a_single_step():
    network = float_network("lstm", inputs=2, units=3, outputs=4)
    model = to_onnx(Network(network.layers, softmax=True), single_step=True)
    assert described(model.graph.input) == [("x", 1, 2), ("h0", 1, 1, 3), ("c0", 1, 1, 3)]
    assert described(model.graph.output) == [("y", 1, 4), ("h0_next", 1, 1, 3), ("c0_next", 1, 1, 3)]
    assert nodes_of(model) == [
        "Unsqueeze unsqueeze_0 x step_axis -> unsqueeze_0",
        "LSTM lstm0 unsqueeze_0 w0 r0 b0 - h0 c0 -> sequence0 h0_next c0_next",
        "Squeeze squeeze_2 sequence0 axis1 -> squeeze_2",
        "MatMul matmul_3 squeeze_2 w1 -> matmul_3",
        "Add add_4 matmul_3 b1 -> add_4",
        "Softmax softmax_5 add_4 -> softmax_5",
        "Squeeze squeeze_6 softmax_5 step_axis -> y",
    ]
    axes = {t.name: numpy_helper.to_array(t).tolist() for t in model.graph.initializer if "axis" in t.name}
    assert axes == {"step_axis": [0], "axis1": [1]}


def test_states_are_numbered_among_recurrent_layers():
    first, dense = float_network("gru", inputs=4, units=3, outputs=4).layers
    second = float_network("rnn", inputs=4, units=3, outputs=4).layers[0]
    model = to_onnx(Network((Dense(np.eye(4), np.ones(4)), first, dense, second)), single_step=True)
    assert [name for name, *_ in described(model.graph.input)] == ["x", "h0", "h1"]
    assert [name for name, *_ in described(model.graph.output)] == ["y", "h0_next", "h1_next"]
    assert [node.name for node in model.graph.node if node.op_type in ("GRU", "RNN")] == ["gru0", "rnn1"]
    assert [list(n.output) for n in model.graph.node if n.op_type == "RNN"] == [["sequence3", "h1_next"]]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_weights_are_in_the_order_of_onnx(kind, options):
    """Gates z, r, h and i, o, f, c; float32, W and R with an axis of directions, both biases in one row."""
    network = float_network(kind, inputs=2, units=3, **options)
    [layer, dense] = network.layers
    model = to_onnx(network)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    order = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}[kind]
    rows = [3 * gate + unit for gate in order for unit in range(3)]
    assert tensors.pop("axis1").tolist() == [1]
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype("float32")}
    expected = {
        "w0": layer.w_x[None, rows],
        "r0": layer.w_h[None, rows],
        "b0": np.concatenate([layer.b_x[rows], layer.b_h[rows]])[None],
        "h0": layer.initial_state[None, None, :3],
        "w1": dense.w.T,
        "b1": dense.b,
    }
    if kind == "lstm":
        expected["c0"] = layer.initial_state[None, None, 3:]
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(tensors[name], value.astype(np.float32))
    forms = {
        "rnn": {"activations": [options.get("activation", "tanh").capitalize().encode()]},
        "gru": {"linear_before_reset": 0 if options else 1},
    }
    assert attributes_of(model.graph.node[0]) == {"hidden_size": 3, **forms.get(kind, {})}


def test_a_layer_without_an_initial_state_begins_at_zero():
    network = float_network("lstm", layers=2)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in to_onnx(network).graph.initializer}
    for name in ("h1", "c1"):
        np.testing.assert_array_equal(tensors[name], np.zeros((1, 1, 16), np.float32))


@pytest.mark.parametrize("activation", ["none", "tanh", "relu", "sigmoid"])
def test_dense_layers_alone(activation):
    network = Network([Dense(np.eye(3, 2), [0.5, -0.5, 0.25], activation)])
    x = inputs_of(network, 9)
    for single_step in (False, True):
        run = session(to_onnx(network, single_step))
        found = [
            run.run(["y"], {"x": frame[None] if single_step else frame[None, None]})[0].ravel() for frame in x
        ]
        np.testing.assert_allclose(found, network.run(x), atol=2e-6)
