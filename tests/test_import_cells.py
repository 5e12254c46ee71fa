# SPDX-License-Identifier: MIT
"""Recurrent cells of single ONNX operators: found for what they are, or refused for what they are not."""

import re

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_graphs import assert_equals_onnxruntime, floats, graph_of, value_info, with_weight  # noqa: E402
from test_from_onnx import TOLERANCE, refusal, run_steps, session, single_step_cell  # noqa: E402

from exporters import from_onnx  # noqa: E402

UNITS, INPUTS = 4, 3  # of single_step_cell


def change(model, name, **fields):
    """Change the operator or the inputs of a node of a model."""
    node = next(node for node in model.graph.node if node.name == name)
    if "op" in fields:
        node.op_type = fields["op"]
    if "inputs" in fields:
        node.input[:] = fields["inputs"].split()
    if "output" in fields:
        node.output[0] = fields["output"]
    node.name = fields.get("rename", name)


def insert(model, before, op, inputs, output, **attributes):
    """Put a node before another one."""
    index = next(i for i, node in enumerate(model.graph.node) if node.name == before)
    made = helper.make_node(op, inputs.split(), [output], name=f"new_{output}", **attributes)
    model.graph.node.insert(index, made)


def add_weights(model, **arrays):
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in arrays.items())


def steps_equal(model, units=UNITS, seed=4):
    x = np.random.default_rng(seed).standard_normal((300, INPUTS)).astype(np.float32)
    network = from_onnx(model)
    np.testing.assert_allclose(network.run(x), run_steps(model, x, units), atol=TOLERANCE)
    return network


def reset_before_cell():
    """single_step_cell with the candidate tanh(W x + R (r h))."""
    model = single_step_cell()
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    add_weights(model, Rn=weights["R"][2 * UNITS :].T.copy())
    change(model, "mul_r", inputs="h r")
    insert(model, "add_n", "MatMul", "rn Rn", "product")
    change(model, "add_n", inputs="an product")
    return model


def test_cell_that_resets_before_its_product_is_a_gru():
    network = steps_equal(reset_before_cell())
    assert network.layers[0].kind == "gru" and network.layers[0].reset_before


@pytest.mark.parametrize("make", [single_step_cell, reset_before_cell])
def test_gates_may_be_made_together(make):
    """One sum and one sigmoid for all rows, split afterwards."""
    model = make()
    insert(model, "mul_r", "Add", "a b", "sums")
    insert(model, "mul_r", "Sigmoid", "sums", "opened")
    split = helper.make_node("Split", ["opened"], ["r", "z", "neither"], name="split_gates", axis=1)
    model.graph.node.insert([node.name for node in model.graph.node].index("mul_r"), split)
    for name in ("add_r", "add_z", "r", "z"):
        model.graph.node.remove(next(node for node in model.graph.node if node.name == name))
    steps_equal(model)


def test_product_of_the_reset_state_may_be_part_of_a_greater_one():
    model = reset_before_cell()
    [narrow] = [tensor for tensor in model.graph.initializer if tensor.name == "Rn"]
    wide = np.hstack([numpy_helper.to_array(narrow), np.zeros((UNITS, 2), np.float32)])
    model.graph.initializer.remove(narrow)
    add_weights(model, wide=wide, start=np.array([0]), stop=np.array([UNITS]), along=np.array([1]))
    change(model, "new_product", inputs="rn wide", output="wide_product", rename="wider")
    insert(model, "add_n", "Slice", "wide_product start stop along", "product")
    steps_equal(model)


def test_ones_in_a_gate_are_a_bias():
    model = single_step_cell()
    add_weights(model, ones=np.ones(UNITS, np.float32), some=floats(UNITS, seed=8))
    insert(model, "r", "Add", "cr ones", "cr1")
    change(model, "r", inputs="cr1")
    insert(model, "z", "Sub", "cz some", "cz1")
    change(model, "z", inputs="cz1")
    steps_equal(model)


def test_bias_within_the_reset_may_be_a_term_of_its_own():
    """W x + r (R h) + r c."""
    model = single_step_cell()
    add_weights(model, c=floats(UNITS, seed=8))
    insert(model, "add_n", "Mul", "r c", "rc")
    insert(model, "add_n", "Add", "rn rc", "both")
    change(model, "add_n", inputs="an both")
    steps_equal(model)


def test_layers_may_follow_a_cell_of_single_operators():
    model = single_step_cell()
    add_weights(model, half=np.float32(0.5), offset=floats(UNITS, seed=9))
    for op, inputs, output in (("Mul", "y half", "m"), ("Add", "m offset", "s"), ("Relu", "s", "out")):
        model.graph.node.append(helper.make_node(op, inputs.split(), [output], name=f"new_{output}"))
    model.graph.output.insert(0, value_info("out", 2))
    network = from_onnx(model)
    x = np.random.default_rng(4).standard_normal((300, INPUTS)).astype(np.float32)
    run, h, want = session(model), np.zeros((1, UNITS), np.float32), []
    for step in x:
        out, h = run.run(None, {"x": step[None], "h": h})
        want.append(out[0])
    np.testing.assert_allclose(network.run(x), want, atol=TOLERANCE)
    assert [type(layer).__name__ for layer in network.layers] == ["Recurrent", "Dense"]


def test_states_of_two_cells_may_lie_side_by_side():
    """One state input, of which each cell takes a part."""
    first, second = single_step_cell(), single_step_cell(UNITS, UNITS, np.random.default_rng(2))
    for node in second.graph.node:
        node.name = f"second_{node.name}"
        for names in (node.input, node.output):
            names[:] = ["y" if name == "x" else f"second_{name}" for name in names]
    for tensor in second.graph.initializer:
        tensor.name = f"second_{tensor.name}"
    model = first
    model.graph.node.extend(second.graph.node)
    model.graph.initializer.extend(second.graph.initializer)
    model.graph.input[1].CopyFrom(
        helper.make_tensor_value_info("states", TensorProto.FLOAT, ("n", 2 * UNITS))
    )
    split = helper.make_node("Split", ["states"], ["h", "second_h"], name="split_states", axis=1)
    model.graph.node.insert(0, split)
    model.graph.node.append(helper.make_node("Concat", ["y", "second_y"], ["after"], name="join", axis=1))
    del model.graph.output[:]
    ends = [value_info(name, 2) for name in ("second_y", "after")]
    model.graph.output.extend(ends)
    network = from_onnx(model)
    assert [layer.kind for layer in network.layers] == ["gru", "gru"]
    x = np.random.default_rng(4).standard_normal((300, INPUTS)).astype(np.float32)
    run, states, want = session(model), np.zeros((1, 2 * UNITS), np.float32), []
    for step in x:
        y, states = run.run(None, {"x": step[None], "states": states})
        want.append(y[0])
    np.testing.assert_allclose(network.run(x), want, atol=TOLERANCE)


def with_rows(model, n):
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = n
    return model


def gate_of(op, inputs, **weights):
    """The reset gate's sum goes through another node first."""
    model = single_step_cell()
    add_weights(model, **weights)
    insert(model, "r", op, inputs, "changed")
    change(model, "r", inputs="changed")
    return model


def rows_differ():
    return with_rows(gate_of("Add", "cr c", c=floats(2, UNITS)), 2)


def scaled_activation():
    model = single_step_cell()
    add_weights(model, two=np.float32(2))
    insert(model, "split_x", "Relu", "a", "relu")
    insert(model, "split_x", "Mul", "relu two", "twice")
    change(model, "split_x", inputs="twice")
    return model


def transposed():
    model = with_rows(single_step_cell(), UNITS)
    insert(model, "add_r", "Transpose", "ar", "at", perm=[1, 0])
    change(model, "add_r", inputs="at br")
    return model


def two_states(name, inputs):
    """A node takes a state of two other inputs side by side."""

    def made():
        model = single_step_cell()
        for half in ("h1", "h2"):
            model.graph.input.append(
                helper.make_tensor_value_info(half, TensorProto.FLOAT, ("n", UNITS // 2))
            )
        model.graph.node.insert(0, helper.make_node("Concat", ["h1", "h2"], ["hh"], name="join", axis=1))
        change(model, name, inputs=inputs)
        return model

    return made


def third_term():
    model = single_step_cell()
    insert(model, "sum", "Add", "y3 rn", "y4")
    change(model, "sum", inputs="y2 y4")
    return model


def changed(make, name, **fields):
    def made():
        model = make()
        change(model, name, **fields)
        return model

    return made


def other_input(name, inputs):
    """One part of the cell is computed from relu(x)."""

    def made():
        model = single_step_cell()
        model.graph.node.insert(0, helper.make_node("Relu", ["x"], ["rx"], name="relu_x"))
        model.graph.node.insert(
            1, helper.make_node("Gemm", ["rx", "W", "Wb"], ["ra"], name="gemm_rx", transB=1)
        )
        split = helper.make_node("Split", ["ra"], ["rar", "raz", "ran"], name="split_rx", axis=1)
        model.graph.node.insert(2, split)
        change(model, name, inputs=inputs)
        return model

    return made


def candidate(op, inputs, **weights):
    """What is added to the candidate's part of x goes through another node first."""

    def made():
        model = single_step_cell()
        add_weights(model, **weights)
        insert(model, "add_n", op, inputs, "changed")
        change(model, "add_n", inputs="an changed")
        return model

    return made


def reset_of(inputs):
    """The product of the reset state takes other factors or terms."""

    def made():
        model = reset_before_cell()
        insert(model, "new_product", *inputs)
        change(model, "new_product", inputs="other Rn")
        return model

    return made


def from_x_alone():
    """Both parts of the gates come from the input, of as many features as there are units."""
    model = single_step_cell(UNITS, UNITS)
    model.graph.node[1].input[0] = "x"
    return model


#: What tells that there is no cell, or no input of one.
NOT_A_CELL = (
    r"ONNX model: \w+ \(\w+\): (combines computed tensors, but not as a gru, lstm or rnn does"
    r"|its input mixes several tensors|takes only some of the)"
)
NO_CELLS = {
    "a sum that differs between rows": rows_differ,
    "a difference of the parts": changed(single_step_cell, "add_r", op="Sub"),
    "the state itself in a gate": lambda: gate_of("Add", "cr h"),
    "an activation within a gate": scaled_activation,
    "features for rows": transposed,
    "a state of two inputs": two_states("old", "z hh"),
    "a product of two inputs": two_states("gemm_h", "hh R Rb"),
    "gates without the state": from_x_alone,
    "a gate of another input": other_input("add_r", "rar br"),
    "a candidate of another input": other_input("add_n", "ran rn"),
    "a candidate with twice the state": candidate("Mul", "rn c", c=np.float32(2)),
    "a candidate with the state beside": candidate("Add", "rn bz"),
    "a candidate with the other gate too": changed(candidate("Mul", "bz z"), "add_n", inputs="rn changed"),
    "a reset of a sum": changed(single_step_cell, "mul_r", inputs="cr r"),
    "a reset state and the state": reset_of(("Add", "rn h", "other")),
    "a reset of the gate": changed(reset_before_cell, "mul_r", inputs="z r"),
    "a reset without a gate": changed(reset_before_cell, "mul_r", inputs="h h"),
    "the update gate for the state": changed(single_step_cell, "old", inputs="z n"),
    "a third term": third_term,
}


@pytest.mark.parametrize("name", NO_CELLS)
def test_sums_that_are_no_gru_are_refused(name):
    assert re.match(NOT_A_CELL, refusal(NO_CELLS[name]()))


def single_step_lstm():
    """An lstm of single operators; rows i, f, g, o; states h and c, outputs y and next_c."""
    rng = np.random.default_rng(11)
    weights = {
        "W": rng.uniform(-1, 1, (4 * UNITS, INPUTS)),
        "R": rng.uniform(-1, 1, (4 * UNITS, UNITS)),
        "Wb": rng.uniform(-1, 1, 4 * UNITS),
        "Rb": rng.uniform(-1, 1, 4 * UNITS),
    }
    nodes = [
        ("Gemm", "x W Wb", "a", {"transB": 1}),
        ("Gemm", "h R Rb", "b", {"transB": 1}),
        ("Add", "a b", "s"),
        ("Split", "s", "si sf sg so", {"axis": 1}),
        ("Sigmoid", "si", "i"),
        ("Sigmoid", "sf", "f"),
        ("Tanh", "sg", "g"),
        ("Sigmoid", "so", "o"),
        ("Mul", "f c", "old"),
        ("Mul", "i g", "new"),
        ("Add", "old new", "next_c"),
        ("Tanh", "next_c", "t"),
        ("Mul", "o t", "y"),
    ]
    inputs = {"x": ("n", INPUTS), "h": ("n", UNITS), "c": ("n", UNITS)}
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    return graph_of(nodes, weights, inputs, ("y", "next_c"), opset=12, rank=2)


def test_lstm_of_single_operators_is_one():
    model = single_step_lstm()
    network = from_onnx(model)
    assert [layer.kind for layer in network.layers] == ["lstm"]
    x = np.random.default_rng(4).standard_normal((300, INPUTS)).astype(np.float32)
    run, h, c, want = session(model), *np.zeros((2, 1, UNITS), np.float32), []
    for step in x:
        h, c = run.run(None, {"x": step[None], "h": h, "c": c})
        want.append(h[0])
    np.testing.assert_allclose(network.run(x), want, atol=TOLERANCE)


NO_LSTM = {
    "three terms": ("n10", {"inputs": "new old2"}, [("Add", "old h", "old2")]),
    "two sigmoids": ("n6", {"op": "Sigmoid"}, []),
    "no forget gate": ("n5", {"op": "Tanh"}, []),
    "a computed state": ("n8", {"inputs": "f a2"}, [("Relu", "sf", "a2")]),
    "a gate without its state": ("n7", {"inputs": "a2"}, [("Slice", "a begin end along", "a2")]),
}


@pytest.mark.parametrize("name", NO_LSTM)
def test_sums_that_are_no_lstm_are_refused(name):
    at, fields, before = NO_LSTM[name]
    model = single_step_lstm()
    index = {"begin": np.array([0]), "end": np.array([UNITS]), "along": np.array([1])}
    if any("begin" in inputs for _, inputs, _ in before):
        add_weights(model, **index)
    for op, inputs, output in before:
        insert(model, at, op, inputs, output)
    change(model, at, **fields)
    assert re.match(NOT_A_CELL, refusal(model))


def rnn_of_two_inputs(inputs, used, features=UNITS):
    """One step, tanh(W x + R h + b); the order of the two inputs, that of their products, and the features of h."""
    weights = {
        "W": floats(UNITS, UNITS, seed=1),
        "R": floats(features, UNITS, seed=2),
        "b": floats(UNITS, seed=3),
    }
    products = {"x": ("MatMul", "x W", "a"), "h": ("MatMul", "h R", "p")}
    nodes = [
        *(products[name] for name in used),
        ("Add", "a p", "s"),
        ("Add", "s b", "sb"),
        ("Tanh", "sb", "y"),
    ]
    sizes = {"x": ("n", UNITS), "h": ("n", features)}
    return graph_of(nodes, weights, {name: sizes[name] for name in inputs}, rank=2)


@pytest.mark.parametrize("used", ["xh", "hx"])
@pytest.mark.parametrize("sequence, state", ["xh", "hx"])
def test_of_two_inputs_that_could_be_the_state_the_first_is_the_sequence(sequence, state, used):
    model = rnn_of_two_inputs((sequence, state), used)
    x = np.random.default_rng(4).standard_normal((50, UNITS)).astype(np.float32)
    run, h, want = session(model), np.zeros((1, UNITS), np.float32), []
    for step in x:
        [h] = run.run(None, {sequence: step[None], state: h})
        want.append(h[0])
    np.testing.assert_allclose(from_onnx(model).run(x), want, atol=TOLERANCE)


def test_sum_of_two_inputs_of_which_none_can_be_the_state_is_refused():
    model = rnn_of_two_inputs("xh", "xh", features=UNITS + 1)
    wide = floats(UNITS + 2, UNITS)  # nor is x of as many features as there are units
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = len(wide)
    assert re.match(NOT_A_CELL, refusal(with_weight(model, 0, wide)))


def unrolled_rnn(first="Tanh", bias=0.0, steps=5):
    """An rnn over a fixed number of steps, the product of its first, zero state folded into a bias."""
    rng = np.random.default_rng(12)
    w, r = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((8, 5), (8, 8)))
    b_x, b_h = rng.uniform(-1, 1, (2, 8)).astype(np.float32)
    weights = {"W": w.T.copy(), "R": r.T.copy(), "bx": b_x, "bh": b_h, "b0": b_x + b_h + np.float32(bias)}
    weights |= {"first": np.array([0])}
    nodes = [("Split", "x", " ".join(f"x{t}" for t in range(steps)), {"axis": 0})]
    for t in range(steps):
        nodes += [("Squeeze", f"x{t} first", f"s{t}"), ("MatMul", f"s{t} W", f"a{t}")]
        nodes.append(("Add", f"a{t} {'bx' if t else 'b0'}", f"c{t}"))
        if t:
            nodes += [
                ("MatMul", f"h{t - 1} R", f"p{t}"),
                ("Add", f"p{t} bh", f"q{t}"),
                ("Add", f"c{t} q{t}", f"d{t}"),
            ]
        nodes.append((first if t == 0 else "Tanh", f"{'d' if t else 'c'}{t}", f"h{t}"))
        nodes.append(("Unsqueeze", f"h{t} first", f"u{t}"))
    nodes.append(("Concat", " ".join(f"u{t}" for t in range(steps)), "y", {"axis": 0}))
    return graph_of(nodes, weights, {"x": (steps, "n", 5)})


def test_first_step_whose_state_was_folded_away_is_one_of_the_layer():
    network = assert_equals_onnxruntime(unrolled_rnn(), floats(5, 2, 5))
    assert [layer.kind for layer in network.layers] == ["rnn"]
    assert network.layers[0].initial_state is None


@pytest.mark.parametrize("options", [{"first": "Relu"}, {"bias": 0.1}])
def test_first_step_of_another_kind_is_refused(options):
    assert "combines computed tensors" in refusal(unrolled_rnn(**options))
