# SPDX-License-Identifier: MIT
"""ONNX files as they are read: every refusal of `load_model` word for word, and what it hands on."""

import copy
import re

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

from onnx import TensorProto, external_data_helper, helper, numpy_helper  # noqa: E402
from onnx_graphs import floats, graph_of  # noqa: E402
from test_from_onnx import refusal  # noqa: E402

from exporters import _onnx_load, from_onnx  # noqa: E402
from exporters.graph import ImportRefusedError  # noqa: E402


def dense():
    """y = x w, 5 inputs and 3 outputs."""
    return graph_of([("MatMul", "x w", "y")], {"w": floats(5, 3)}, {"x": ("a", 5)}, rank=2)


def changed(function):
    model = dense()
    function(model)
    return model


def raw(data_type, *dims, size):
    """Let the weight claim a type and a shape, and hold so many bytes."""

    def change(model):
        tensor = model.graph.initializer[0]
        tensor.data_type, tensor.raw_data = data_type, bytes(size)
        tensor.dims[:] = dims

    return change


def sparse(model):
    values, indices = (
        numpy_helper.from_array(floats(2), "few"),
        numpy_helper.from_array(np.array([0, 3]), "i"),
    )
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [5, 3]))


REFUSED = {
    "no graph": (
        lambda m: m.ClearField("graph"),
        "not an ONNX file, or a truncated one: no graph or no opset",
    ),
    "no opset": (
        lambda m: m.ClearField("opset_import"),
        "not an ONNX file, or a truncated one: no graph or no opset",
    ),
    "another opset alone": (
        lambda m: setattr(m.opset_import[0], "domain", "other"),
        "not an ONNX file, or a truncated one: no graph or no opset",
    ),
    "opset 6": (lambda m: setattr(m.opset_import[0], "version", 6), "opset 6: expected 7 to 28"),
    "opset 29": (lambda m: setattr(m.opset_import[0], "version", 29), "opset 29: expected 7 to 28"),
    "sparse": (sparse, "few: a sparse tensor"),
    "a size of 0": (raw(TensorProto.FLOAT, 5, 0, size=0), "w: a dimension of size 0: (5, 0)"),
    "a negative size": (raw(TensorProto.FLOAT, -1, 3, size=60), "w: a dimension of size 0: (-1, 3)"),
    "a size too great": (raw(TensorProto.FLOAT, 5, 4, size=60), "w: (5, 4) needs 80 bytes, found 60"),
    "a size too small": (raw(TensorProto.FLOAT, 5, 2, size=60), "w: (5, 2) needs 40 bytes, found 60"),
    "halves": (raw(TensorProto.FLOAT16, 5, 3, size=31), "w: (5, 3) needs 30 bytes, found 31"),
    "doubles": (raw(TensorProto.DOUBLE, 5, 3, size=60), "w: (5, 3) needs 120 bytes, found 60"),
    "no type of ours": (raw(99, 5, 3, size=60), "w: unknown data type 99"),
    "no operator": (
        lambda m: setattr(m.graph.node[0], "op_type", "MatMuh"),
        "not a valid ONNX model: No Op registered for MatMuh with domain_version of 17",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_cannot_be_are_refused(name):
    change, reason = REFUSED[name]
    with pytest.raises(ImportRefusedError, match=f"^{re.escape(reason)}$"):
        _onnx_load.load_model(changed(change))
    assert refusal(changed(change)) == f"ONNX model: {reason}"


@pytest.mark.parametrize("opset", [7, 28])
def test_first_and_last_opset_are_read(opset):
    model = dense()
    model.opset_import[0].version = opset
    if opset <= onnx.defs.onnx_opset_version():
        assert _onnx_load.load_model(model)[1] == opset
    assert list(_onnx_load.OPSETS) == list(range(7, 29))


def test_opset_is_that_of_onnx_itself():
    model = dense()
    model.opset_import.insert(0, helper.make_opsetid("other", 99))
    assert _onnx_load.load_model(model)[1] == 17
    model.opset_import[1].domain = "ai.onnx"
    assert _onnx_load._opset(model) == 17
    model.opset_import.insert(2, helper.make_opsetid("", 6))  # the first one counts
    assert _onnx_load._opset(model) == 17


def test_a_given_model_is_not_changed():
    model = dense()
    before = model.SerializeToString()
    loaded, _ = _onnx_load.load_model(model)
    assert loaded is not model and loaded == model
    loaded.graph.node[0].name = "another"
    assert model.SerializeToString() == before


def test_weights_may_have_fewer_bits_than_a_byte():
    """Their size in bytes is not that of their elements."""
    model = dense()
    packed = helper.make_tensor(
        "q", TensorProto.INT4, [3], np.array([0x21, 0x03], np.uint8).tobytes(), raw=True
    )
    assert len(packed.raw_data) == 2
    model.graph.initializer.append(packed)
    _onnx_load._check_tensors(model.graph)


def test_weights_that_are_no_raw_bytes_are_not_counted():
    model = dense()
    del model.graph.initializer[0]
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, [5, 3], floats(15).tolist()))
    np.testing.assert_array_equal(from_onnx(model).layers[0].w, floats(15).reshape(5, 3).T)


# ---------------------------------------------------------------------------------- files


def test_files_that_are_none_are_named(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(ImportRefusedError, match=r"^No such file or directory$"):
        _onnx_load.load_model(path)
    with pytest.raises(ImportRefusedError, match=r"^Is a directory$"):
        _onnx_load.load_model(tmp_path)
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(
        ImportRefusedError, match=r"^not an ONNX file, or a truncated one: Error parsing message"
    ):
        _onnx_load.load_model(str(path))


def test_errors_of_the_system_may_have_no_number(monkeypatch):
    def load(path, load_external_data):
        assert load_external_data is False
        raise OSError("the tape is torn")

    monkeypatch.setattr(onnx, "load", load)
    with pytest.raises(ImportRefusedError, match=r"^the tape is torn$"):
        _onnx_load.load_model("model.onnx")


def external(folder, location="weights.bin", data=None):
    """dense() with the weights in a file of their own, its path, and the model."""
    model = dense()
    tensor = model.graph.initializer[0]
    (folder / "weights.bin").write_bytes(tensor.raw_data if data is None else data)
    external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path, model


def test_weights_beside_a_file_are_read(tmp_path):
    path, _ = external(tmp_path)
    model, _ = _onnx_load.load_model(path)
    [tensor] = model.graph.initializer
    assert tensor.data_location == TensorProto.DEFAULT and not tensor.external_data
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), floats(5, 3))


def test_files_further_down_are_beside_it_too(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    path, _ = external(tmp_path, "weights/all.bin")
    (tmp_path / "weights.bin").rename(folder / "all.bin")
    np.testing.assert_array_equal(from_onnx(path).layers[0].w, floats(5, 3).T)


def test_weights_that_are_external_and_others_may_be_mixed(tmp_path):
    """What is in the file itself stays as it is, whatever comes first."""
    nodes = [("MatMul", "x v", "p"), ("MatMul", "p w", "y")]
    model = graph_of(nodes, {"v": floats(5, 4), "w": floats(4, 3)}, {"x": ("a", 5)}, rank=2)
    (tmp_path / "weights.bin").write_bytes(floats(4, 3).tobytes())
    external_data_helper.set_external_data(model.graph.initializer[1], "weights.bin")
    model.graph.initializer[1].ClearField("raw_data")
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    first, second = from_onnx(path).layers
    np.testing.assert_array_equal(first.w, floats(5, 4).T)
    np.testing.assert_array_equal(second.w, floats(4, 3).T)


def test_weights_beside_a_file_that_are_not_its(tmp_path):
    path, model = external(tmp_path)
    assert refusal(model) == "ONNX model: w: external data 'weights.bin' is not loaded: give the file's path"
    (tmp_path / "weights.bin").unlink()
    assert refusal(path) == f"{path}: w: external data file 'weights.bin' is missing"
    (tmp_path / "weights.bin").mkdir()
    assert refusal(path) == f"{path}: w: external data file 'weights.bin' is missing"
    path, _ = external(tmp_path / "weights.bin", "../model.onnx")
    assert refusal(path) == f"{path}: w: external data '../model.onnx' is not beside the file"
    path, _ = external(tmp_path / "weights.bin", "")
    assert refusal(path) == f"{path}: w: external data file '' is missing"
    path, model = external(tmp_path / "weights.bin")
    del model.graph.initializer[0].external_data[:]
    path.write_bytes(model.SerializeToString())
    assert refusal(path) == f"{path}: w: external data file '' is missing"


def test_bytes_beside_a_file_are_as_many_as_the_weights_claim(tmp_path):
    path, _ = external(tmp_path, data=bytes(56))
    assert refusal(path) == f"{path}: w: (5, 3) needs 60 bytes, found 56"
    path, model = external(tmp_path)
    model.graph.initializer[0].external_data.add(key="offset", value="8")
    model.graph.initializer[0].external_data.add(key="length", value="90")
    path.write_bytes(model.SerializeToString())
    assert refusal(path).startswith(f"{path}: w: external data 'weights.bin': ")


# ---------------------------------------------------------------------------------- functions


def function(name, calls, inputs="a", outputs="b"):
    """A function of nodes (operator, inputs, outputs); those with a name in small letters are functions."""
    nodes = [
        helper.make_node(op, takes.split(), gives.split(), domain="local" if op.islower() else "")
        for op, takes, gives in calls
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, inputs.split(), outputs.split(), nodes, opsets)


def calling(*functions, op="f"):
    """x -> MatMul -> f -> y."""
    model = graph_of([("MatMul", "x w", "p"), (op, "p", "y")], {"w": floats(5, 3)}, {"x": ("a", 5)}, rank=2)
    model.graph.node[1].domain = "local"
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.extend(functions)
    return model


def inlined(model):
    return [node.op_type for node in _onnx_load.load_model(model)[0].graph.node]


def test_functions_are_replaced_by_their_nodes():
    inner = function("g", [("Neg", "a", "n"), ("Neg", "n", "b")])
    outer = function("f", [("g", "a", "m"), ("Tanh", "m", "t"), ("g", "t", "b")])
    assert inlined(calling(outer, inner)) == ["MatMul", "Neg", "Neg", "Tanh", "Neg", "Neg"]


@pytest.mark.parametrize("most", [9, 10])
def test_nodes_of_functions_are_counted(monkeypatch, most):
    """Of a graph with two nodes: f of three, two of which are g of two; a call counts too."""
    inner = function("g", [("Neg", "a", "n"), ("Neg", "n", "b")])
    outer = function("f", [("g", "a", "m"), ("Tanh", "m", "t"), ("g", "t", "b")])
    monkeypatch.setattr(_onnx_load, "MAX_NODES", most)
    if most == 9:
        with pytest.raises(ImportRefusedError, match=r"^its functions stand for 9 nodes or more$"):
            inlined(calling(outer, inner))
    else:
        assert len(inlined(calling(outer, inner))) == 6


def test_nodes_of_branches_are_counted(monkeypatch):
    """Of which each has one node, beside those of the function: If, MatMul, f, and Tanh."""
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["p"], [f"{name}_out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)],
        )
        for name, op in (("then", "Relu"), ("else", "Tanh"))
    }
    model = calling(function("f", [("Tanh", "a", "b")]))
    model.graph.node[1].output[0] = "q"
    model.graph.node.append(helper.make_node("If", ["yes"], ["y"], **branches))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    for most, fits in ((6, False), (7, True)):
        monkeypatch.setattr(_onnx_load, "MAX_NODES", most)
        if fits:
            assert inlined(copy.deepcopy(model)) == ["MatMul", "Tanh", "If"]
        else:
            with pytest.raises(ImportRefusedError, match=r"^its functions stand for 6 nodes or more$"):
                inlined(copy.deepcopy(model))


def test_functions_that_call_themselves_have_no_end():
    assert _onnx_load.MAX_NODES == 100_000
    model = calling(function("f", [("g", "a", "b")]), function("g", [("f", "a", "b")]))
    with pytest.raises(ImportRefusedError, match=r"^its functions stand for 100000 nodes or more$"):
        _onnx_load._inline(model)


def test_functions_of_another_domain_are_others(monkeypatch):
    monkeypatch.setattr(_onnx_load, "MAX_NODES", 5)
    other = function("MatMul", [("Neg", "a", "c"), ("Neg", "c", "d"), ("Neg", "d", "b")])
    assert inlined(calling(function("f", [("Tanh", "a", "b")]), other)) == ["MatMul", "Tanh"]


def test_functions_that_cannot_be_inlined_are_refused():
    model = calling(function("f", [("Tanh", "a", "b")]))
    model.graph.node[1].input.append("x")
    with pytest.raises(ImportRefusedError, match=r"^its functions cannot be inlined: [^\n]+$"):
        _onnx_load._inline(model)


@pytest.mark.parametrize(
    "text, line", [("\n  \nhere\nthere", "here"), ("one", "one"), ("", "ValueError"), (" \n", "ValueError")]
)
def test_messages_are_thefirst_line_that_says_something(text, line):
    assert _onnx_load.first_line(ValueError(text)) == line
