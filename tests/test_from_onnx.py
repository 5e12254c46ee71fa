# SPDX-License-Identifier: MIT
"""ONNX files to networks: equal to ONNX Runtime, or refused by the name of a node."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from random_onnx import FLAWS, RandomGraph, rewired  # noqa: E402

from exporters import from_onnx  # noqa: E402
from exporters.graph import ImportRefusedError  # noqa: E402

KERAS = Path(__file__).parent / "keras"
TOLERANCE = 1e-5  # float32 in ONNX Runtime against float64


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    data = model if isinstance(model, str) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def run_network(network, x):
    """All sequences of a batch: [time, batch, feature] in and out."""
    y = np.stack([network.run(x[:, b]) for b in range(x.shape[1])], 1)
    return softmax(y) if network.softmax else y


def run_random(graph, x):
    """A random graph in ONNX Runtime, [time, batch, feature] in; step by step where it is one."""
    model = session(graph.model)
    single = 1 in model.get_inputs()[0].shape[:2]
    states = {name: np.zeros(shape, np.float32) for name, shape in graph.state_shapes.items()}
    outputs = []
    for part in np.split(x, len(x)) if single else [x]:
        feed = part.swapaxes(0, 1) if graph.batch_first else part
        found = dict(
            zip([o.name for o in model.get_outputs()], model.run(None, {"x": feed, **states}), strict=True)
        )
        states = {name: found[f"next_{name}"] for name in states}
        y = found["y"]
        outputs.append(y[None] if y.ndim == 2 else y.swapaxes(0, 1) if graph.batch_first else y)
    return np.concatenate(outputs)


def names_of(model):
    graph = model.graph
    values = [*graph.node, *graph.initializer, *graph.input, *graph.output]
    return {value.name for value in values}


@pytest.mark.parametrize("block", range(10))
def test_random_graphs_equal_onnxruntime_or_are_refused_by_name(block):
    refused = 0
    for seed in range(30 * block, 30 * block + 30):
        flaw = FLAWS[seed % len(FLAWS)] if seed % 2 else None
        graph = RandomGraph(seed, flaw)
        try:
            network = from_onnx(graph.model)
        except ImportRefusedError as error:
            assert flaw is not None, f"seed {seed}: {error}"
            message = str(error)
            assert "\n" not in message
            words = set(re.split(r"[ :()]+", message))
            assert words & names_of(graph.model), f"seed {seed}, {flaw}: {message}"
            refused += 1
            continue
        x = np.random.default_rng(seed).standard_normal((12, 2, graph.inputs)).astype(np.float32)
        want = run_random(graph, x)
        found = run_network(network, x)
        if graph.softmax:
            assert network.softmax
        np.testing.assert_allclose(
            found[-len(want) :], want, atol=TOLERANCE, err_msg=f"seed {seed}, flaw {flaw}"
        )
    assert refused >= 5


def test_rewired_graphs_equal_onnxruntime_or_are_refused():
    equal = refused = 0
    for seed in range(1000, 1400):
        graph, rng = RandomGraph(seed), np.random.default_rng(seed)
        model = rewired(graph.model, rng)
        try:
            session(model)
        except Exception:
            continue  # no valid graph, or nothing to rewire
        graph.model = model
        try:
            network = from_onnx(model)
        except ImportRefusedError:
            refused += 1
            continue
        x = rng.standard_normal((12, 2, graph.inputs)).astype(np.float32)
        want, found = run_random(graph, x), run_network(network, x)
        if want.shape[1] != found.shape[1]:  # the output is flattened
            want, found = want.ravel(), found.ravel()
        np.testing.assert_allclose(found[-len(want) :], want, atol=TOLERANCE, err_msg=f"seed {seed}")
        equal += 1
    assert equal > 10 and refused > 50


def stack(op, layers, rng, **attributes):
    """`layers` recurrent layers of 8 units on 5 inputs, each with biases, and a dense layer."""
    attributes = {"hidden_size": 8, **attributes}
    rows, nodes, weights, x, size = {"RNN": 8, "GRU": 24, "LSTM": 32}[op], [], [], "x", 5
    for i in range(layers):
        for name, shape in (("W", (1, rows, size)), ("R", (1, rows, 8)), ("B", (1, 2 * rows))):
            value = rng.uniform(-0.5, 0.5, shape).astype(np.float32)
            weights.append(numpy_helper.from_array(value, f"{name}{i}"))
        nodes.append(
            helper.make_node(op, [x, f"W{i}", f"R{i}", f"B{i}"], [f"Y{i}"], name=f"layer{i}", **attributes)
        )
        axis = 2 if attributes.get("layout") else 1
        weights.append(numpy_helper.from_array(np.array([axis]), f"axes{i}"))
        nodes.append(helper.make_node("Squeeze", [f"Y{i}", f"axes{i}"], [f"y{i}"], name=f"squeeze{i}"))
        x, size = f"y{i}", 8
    weights.append(numpy_helper.from_array(rng.uniform(-1, 1, (8, 3)).astype(np.float32), "dense"))
    nodes.append(helper.make_node("MatMul", [x, "dense"], ["y"], name="dense"))
    return make_model(nodes, weights)


def make_model(nodes, weights, x=("a", "b", 5), y=("a", "b", 3), opset=17):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)]
    graph = helper.make_graph(nodes, "test", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


FORMS = [
    ("RNN", {}),
    ("RNN", {"activations": ["Relu"]}),
    ("GRU", {"linear_before_reset": 0}),
    ("GRU", {"linear_before_reset": 1}),
    ("LSTM", {}),
]


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("op, attributes", FORMS)
def test_every_form_equals_onnxruntime_for_500_steps(op, attributes, layers):
    rng = np.random.default_rng(layers)
    model = stack(op, layers, rng, **attributes)
    x = rng.standard_normal((500, 2, 5)).astype(np.float32)
    [want] = session(model).run(None, {"x": x})
    np.testing.assert_allclose(run_network(from_onnx(model), x), want, atol=TOLERANCE)
    # ONNX Runtime does not run layout 1, which differs in the arrangement of tensors only.
    batch_first = from_onnx(stack(op, layers, np.random.default_rng(layers), layout=1, **attributes))
    np.testing.assert_allclose(run_network(batch_first, x), want, atol=TOLERANCE)


@pytest.mark.parametrize("op", ["GRU", "LSTM", "RNN"])
def test_backend_node_tests_are_equal_or_refused_by_name(op, monkeypatch):
    """The tests that ONNX brings for its own operators, their weights as constants."""
    module = pytest.importorskip(f"onnx.backend.test.case.node.{op.lower()}")
    cases = []
    monkeypatch.setattr(
        module, "expect", lambda node, inputs, outputs, name: cases.append((node, inputs, outputs, name))
    )
    exports = [f for f in vars(getattr(module, op)) if f.startswith("export")]
    for export in exports:
        getattr(getattr(module, op), export)()
    assert len(cases) == len(exports) > 3
    imported = 0
    for node, inputs, outputs, name in cases:
        names = [key for key in node.input if key]
        weights = [numpy_helper.from_array(v, k) for k, v in zip(names[1:], inputs[1:], strict=True)]
        keys = [key for key in node.output if key]
        values = [
            helper.make_tensor_value_info(k, TensorProto.FLOAT, np.shape(v))
            for k, v in zip(keys, outputs, strict=True)
        ]
        x = helper.make_tensor_value_info(names[0], TensorProto.FLOAT, inputs[0].shape)
        graph = helper.make_graph([node], name, [x], values, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
        try:
            network = from_onnx(model)
        except ImportRefusedError as error:
            assert f"({op})" in str(error)
            assert any(word in name for word in ("reverse", "bidirectional", "seq_length", "peepholes")), str(
                error
            )
            continue
        imported += 1
        layout = next((a.i for a in node.attribute if a.name == "layout"), 0)
        found = run_network(network, inputs[0].swapaxes(0, 1) if layout else inputs[0])
        for key, want in zip(keys, outputs, strict=True):
            if key == "Y":
                np.testing.assert_allclose(
                    found,
                    np.squeeze(want.swapaxes(0, 1) if layout else want, 2 if layout else 1).reshape(
                        found.shape
                    ),
                    atol=TOLERANCE,
                )
            else:
                np.testing.assert_allclose(found[-1], want.reshape(found[-1].shape), atol=TOLERANCE)
    assert imported >= 2


@pytest.mark.parametrize("name", ["keras_gru", "keras_lstm"])
def test_keras_files_equal_onnxruntime(name):
    path = str(KERAS / f"{name}.onnx")
    network = from_onnx(path)
    x = np.random.default_rng(1).standard_normal((500, 2, 3)).astype(np.float32)
    [want] = session(path).run(None, {"x": x.swapaxes(0, 1)})
    want = want.swapaxes(0, 1) if want.ndim == 3 else want[None]
    np.testing.assert_allclose(run_network(network, x)[-len(want) :], want, atol=TOLERANCE)


def test_keras_loop_is_refused_by_name():
    path = str(KERAS / "keras_rnn.onnx")
    with pytest.raises(ImportRefusedError, match=r"keras_rnn\.onnx: .*while_loop \(Loop\): operator Loop"):
        from_onnx(path)


def test_initial_states_are_those_of_the_file():
    rng = np.random.default_rng(3)
    model = stack("LSTM", 1, rng)
    states = rng.uniform(-1, 1, (2, 1, 1, 8)).astype(np.float32)
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in zip("hc", states, strict=True))
    model.graph.node[0].input.extend(["", "h", "c"])
    x = rng.standard_normal((20, 1, 5)).astype(np.float32)
    [want] = session(model).run(None, {"x": x})
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    network = from_onnx(model)
    np.testing.assert_array_equal(network.layers[0].initial_state, states.ravel())
    np.testing.assert_allclose(run_network(network, x), want, atol=TOLERANCE)


def single_step_cell(units=4, inputs=3, rng=None):
    """A gru of single operators, as exporters write nn.GRUCell; z and n in this order of rows: r, z, n."""
    rng = rng or np.random.default_rng(9)
    values = {
        "W": rng.uniform(-1, 1, (3 * units, inputs)),
        "R": rng.uniform(-1, 1, (3 * units, units)),
        "Wb": rng.uniform(-1, 1, 3 * units),
        "Rb": rng.uniform(-1, 1, 3 * units),
        "one": np.ones(()),
    }
    weights = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in values.items()]
    node = helper.make_node
    nodes = [
        node("Gemm", ["x", "W", "Wb"], ["a"], name="gemm_x", transB=1),
        node("Gemm", ["h", "R", "Rb"], ["b"], name="gemm_h", transB=1),
        node("Split", ["a"], ["ar", "az", "an"], name="split_x", axis=1),
        node("Split", ["b"], ["br", "bz", "bn"], name="split_h", axis=1),
        node("Add", ["ar", "br"], ["cr"], name="add_r"),
        node("Sigmoid", ["cr"], ["r"], name="r"),
        node("Add", ["bz", "az"], ["cz"], name="add_z"),
        node("Sigmoid", ["cz"], ["z"], name="z"),
        node("Mul", ["bn", "r"], ["rn"], name="mul_r"),
        node("Add", ["an", "rn"], ["cn"], name="add_n"),
        node("Tanh", ["cn"], ["n"], name="n"),
        node("Sub", ["one", "z"], ["y1"], name="one_minus_z"),
        node("Mul", ["y1", "n"], ["y2"], name="new"),
        node("Mul", ["z", "h"], ["y3"], name="old"),
        node("Add", ["y2", "y3"], ["y"], name="sum"),
    ]
    model = make_model(nodes, weights, ("n", inputs), ("n", units), opset=12)
    model.graph.input.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ("n", units)))
    return model


def run_steps(model, x, units):
    run, h, outputs = session(model), np.zeros((1, units), np.float32), []
    for step in x:
        [h] = run.run(None, {"x": step[None], "h": h})
        outputs.append(h[0])
    return np.array(outputs)


def test_cell_of_single_operators_is_a_gru():
    model = single_step_cell()
    network = from_onnx(model)
    assert network.layers[0].kind == "gru" and not network.layers[0].reset_before
    x = np.random.default_rng(4).standard_normal((500, 3)).astype(np.float32)
    np.testing.assert_allclose(network.run(x), run_steps(model, x, 4), atol=TOLERANCE)


def test_cell_with_the_update_gate_the_other_way_is_a_gru():
    model = single_step_cell()
    nodes = {node.name: node for node in model.graph.node}
    nodes["new"].input[0], nodes["old"].input[0] = "z", "y1"
    x = np.random.default_rng(4).standard_normal((500, 3)).astype(np.float32)
    np.testing.assert_allclose(from_onnx(model).run(x), run_steps(model, x, 4), atol=TOLERANCE)


def test_first_output_that_is_no_next_state_must_be_that_of_the_last_layer():
    graph = RandomGraph(20)  # one step of two rnn layers with states of their own
    nodes = {node.name: node for node in graph.model.graph.node}
    assert from_onnx(graph.model).layers[-1].kind == "rnn"
    nodes["Squeeze_5"].input[0], nodes["out_y"].input[0] = "t2_0", "t7_0"
    assert "y: an output that is not all features of RNN_4" in refusal(graph.model)


def test_local_functions_are_looked_into():
    model = stack("GRU", 1, np.random.default_rng(0))
    body = [helper.make_node("MatMul", ["a", "w"], ["m"]), helper.make_node("Tanh", ["m"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "Head", ["a", "w"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "Head", "local"
    network = from_onnx(model)
    assert network.layers[-1].activation == "tanh"
    x = np.random.default_rng(1).standard_normal((20, 2, 5)).astype(np.float32)
    [want] = session(model).run(None, {"x": x})
    np.testing.assert_allclose(run_network(network, x), want, atol=TOLERANCE)


def test_one_step_from_a_constant_is_no_layer_over_time():
    model = single_step_cell()
    model.graph.input.pop()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.initializer.append(numpy_helper.from_array(np.full((1, 4), 0.5, np.float32), "h"))
    assert "sum (Add): one step from a constant state" in refusal(model)


def test_inputs_may_call_the_batch_by_different_names():
    model = single_step_cell()
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_param = "another"
    assert from_onnx(model).input_size == 3


@pytest.mark.parametrize(
    "change",
    [
        ("z", "Tanh", None),
        ("n", "Sigmoid", None),
        ("mul_r", "Add", None),
        ("sum", "Sub", None),
        ("old", "Mul", ("r", "h")),
    ],
)
def test_cell_that_is_no_gru_is_refused_by_name(change):
    name, op, inputs = change
    model = single_step_cell()
    node = next(node for node in model.graph.node if node.name == name)
    node.op_type = op
    if inputs:
        node.input[:] = inputs
    with pytest.raises(ImportRefusedError, match=r"ONNX model: \w+ \(\w+\): "):
        from_onnx(model)


def refusal(source):
    with pytest.raises(ImportRefusedError) as error:
        from_onnx(source)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_truncated_and_foreign_files_are_one_line(tmp_path):
    data = stack("GRU", 1, np.random.default_rng(0)).SerializeToString()
    path = tmp_path / "model.onnx"
    assert refusal(path) == f"{path}: No such file or directory"
    for cut in [*range(0, 400, 7), *range(400, len(data), 97)]:
        path.write_bytes(data[:cut])
        assert refusal(path).startswith(f"{path}: ")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert refusal(path).startswith(f"{path}: not ")
    assert refusal(tmp_path).startswith(f"{tmp_path}: ")


def test_damaged_bytes_never_end_in_a_traceback(tmp_path):
    rng = np.random.default_rng(6)
    data = bytearray(stack("LSTM", 1, rng).SerializeToString())
    path = tmp_path / "model.onnx"
    for _ in range(150):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 3):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            from_onnx(path)
        except ImportRefusedError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("opset", [1, 6, 29, 1000])
def test_opsets_outside_the_range_are_refused(opset):
    model = stack("GRU", 1, np.random.default_rng(0))
    model.opset_import[0].version = opset
    assert refusal(model) == f"ONNX model: opset {opset}: expected 7 to 28"


def test_external_data_is_read_or_missed_by_name(tmp_path):
    model = stack("GRU", 1, np.random.default_rng(0))
    path = tmp_path / "model.onnx"
    kept = copy.deepcopy(model)
    onnx.save(kept, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    np.testing.assert_array_equal(from_onnx(path).layers[0].w_x, from_onnx(model).layers[0].w_x)
    assert "W0: external data 'weights.bin' is not loaded" in refusal(
        onnx.load(path, load_external_data=False)
    )
    weights = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(weights[:50])
    assert "external data 'weights.bin'" in refusal(path)
    (tmp_path / "weights.bin").unlink()
    assert refusal(path) == f"{path}: W0: external data file 'weights.bin' is missing"


def test_external_data_outside_the_folder_is_refused(tmp_path):
    model = stack("GRU", 1, np.random.default_rng(0))
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../weights.bin")
    (tmp_path / "weights.bin").write_bytes(bytes(10000))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    assert "'../weights.bin' is not beside the file" in refusal(folder / "model.onnx")


@pytest.mark.parametrize("claim", [(1, 24, 2**40), (2**31, 2**31, 4), (1, 24, 6)])
def test_claims_of_size_are_checked_before_anything_is_allocated(claim):
    model = stack("GRU", 1, np.random.default_rng(0))
    model.graph.initializer[0].dims[:] = claim
    assert "W0: " in refusal(model) and "bytes, found 480" in refusal(model)


def test_fixed_axes_of_absurd_size_are_refused():
    model = stack("GRU", 1, np.random.default_rng(0))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2**40
    assert "dynamic time axis" in refusal(model)


def test_absurd_constants_are_refused():
    model = stack("GRU", 1, np.random.default_rng(0))
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**40, 1]), "size"))
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["size"], ["huge"], name="huge"))
    model.graph.node[1].input.extend(["", "huge"])
    assert "huge (ConstantOfShape): a tensor of shape [1099511627776, 1]" in refusal(model)


def chain(operators, weights=(), shape=("time", "batch", 3)):
    """A model of operators in turn: (name, inputs, attributes), where "" is the output of the one before."""
    nodes, last = [], "x"
    for i, (op, inputs, attributes) in enumerate(operators):
        name = "y" if i == len(operators) - 1 else f"t{i}"
        nodes.append(helper.make_node(op, [key or last for key in inputs], [name], **attributes))
        last = name
    x, y = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", [None] * 3))
    )
    weights = [numpy_helper.from_array(value, name) for name, value in weights]
    graph = helper.make_graph(nodes, "chain", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


@pytest.mark.parametrize(
    "operators, reason",
    [
        ([("Add", ["x", "x"], {})] + [("Tanh", [""], {})] * 2000, "too long for a recurrent layer"),
        ([("Add", ["x", "x"], {})] + [("Mul", ["", ""], {})] * 30, "too long for a recurrent layer"),
        ([("Add", ["x", "tanh"], {})] + [("Add", ["", "zero"], {})] * 2000, "nested too deeply"),
        ([("Concat", ["", ""], {"axis": 0})] * 30, "a tensor of"),
        ([("Concat", ["one"] * 4, {"axis": 0})] + [("Concat", [""] * 4, {"axis": 0})] * 15, "a tensor of"),
        ([("Mul", ["row", "column"], {})], "a tensor of 400000000 elements"),
        ([("Gather", ["row", "zeros"], {"axis": 0})], "a tensor of"),
        ([("Expand", ["one", "size"], {})] + [("Neg", [""], {})] * 9, "all tensors up to here"),
        ([("Unsqueeze", ["", "far"], {})], "too large"),
    ],
    ids="depth square pending double constant outer gather sum axis".split(),
)
def test_small_files_that_would_take_much_are_refused(operators, reason):
    weights = {
        "one": np.ones(1, np.float32),
        "zero": np.zeros(3, np.float32),
        "row": np.ones((1, 20000), np.float32),
        "column": np.ones((20000, 1), np.float32),
        "zeros": np.zeros(20000, np.int64),
        "size": np.array([2**23]),
        "far": np.array([2**40]),
    }
    used = {key for _, inputs, _ in operators for key in inputs}
    model = chain(operators, [(key, value) for key, value in weights.items() if key in used])
    model.graph.node.insert(0, helper.make_node("Tanh", ["x"], ["tanh"]))
    assert reason in refusal(model)


def test_complex_weights_are_refused():
    model = chain([("MatMul", ["", "w"], {})], [("w", np.eye(3, dtype=np.complex64))])
    assert "input 1 (w) has complex numbers" in refusal(model)


def test_functions_that_stand_for_too_much_are_refused():
    opsets = [helper.make_opsetid("", 14), helper.make_opsetid("local", 1)]
    model = chain([("Tanh", [""], {})])
    model.opset_import.append(opsets[1])
    model.graph.node[0].op_type, model.graph.node[0].domain = "f0", "local"
    for i in range(40):
        calls = [helper.make_node(f"f{i + 1}", [a], [b], domain="local") for a, b in (("a", "b"), ("b", "c"))]
        model.functions.append(helper.make_function("local", f"f{i}", ["a"], ["c"], calls, opsets))
    last = [helper.make_node("Tanh", ["a"], ["c"])]
    model.functions.append(helper.make_function("local", "f40", ["a"], ["c"], last, opsets))
    assert "stand for 100000 nodes or more" in refusal(model)
    model.graph.node[0].input.append("x")
    del model.functions[:40]
    model.functions[0].name = "f0"
    assert "its functions cannot be inlined" in refusal(model)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value):
    for position, node in ((0, "layer0"), (1, "layer0"), (2, "layer0"), (4, "dense")):
        model = stack("GRU", 1, np.random.default_rng(0))
        tensor = model.graph.initializer[position]
        array = numpy_helper.to_array(tensor).copy()
        array.flat[3] = value
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        message = refusal(model)
        assert node in message and "not a finite number" in message


def test_dimensions_of_size_0_are_refused():
    model = stack("GRU", 1, np.random.default_rng(0))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((1, 24, 0), np.float32), "W0"))
    assert "W0: a dimension of size 0: (1, 24, 0)" in refusal(model)
    model = stack("GRU", 1, np.random.default_rng(0))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 0
    assert "x: a dimension of size 0" in refusal(model)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"direction": "reverse"}, "layer0 (GRU): direction reverse"),
        ({"clip": 1.0}, "layer0 (GRU): attribute clip"),
        ({"activations": ["Sigmoid", "Relu"]}, "layer0 (GRU): activations sigmoid, relu"),
        ({"activation_alpha": [0.5]}, "layer0 (GRU): attribute activation_alpha"),
        ({"hidden_size": 7}, "layer0 (GRU): hidden_size 7"),
        ({"direction": "sideways"}, "layer0"),
    ],
)
def test_attributes_that_cannot_be_represented_are_named(changes, reason):
    assert reason in refusal(stack("GRU", 1, np.random.default_rng(0), **changes))


def test_operators_of_other_domains_are_named():
    model = stack("GRU", 1, np.random.default_rng(0))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node[-1].domain = "com.microsoft"
    assert "dense (MatMul): operator of domain com.microsoft" in refusal(model)


def test_weights_that_are_not_used_are_named():
    model = stack("GRU", 1, np.random.default_rng(0))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "spare"))
    assert "spare: a weight that is not used" in refusal(model)
    model.graph.node.append(helper.make_node("Add", ["y0", "spare"], ["nowhere"], name="dead"))
    assert "spare: a weight that is not used" in refusal(model)


def test_two_inputs_are_refused():
    model = stack("GRU", 1, np.random.default_rng(0))
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["a"]))
    assert "mask: an input that is not used" in refusal(model)
