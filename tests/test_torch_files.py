# SPDX-License-Identifier: MIT
"""Files of PyTorch: state_dicts, layer by layer, and what an archive of an exported program may hold."""

import io
import json
import os
import re
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from edge_runtime.format import ModelFile  # noqa: E402
from exporters import _torch_archive, _torch_checkpoint, from_torch, import_torch  # noqa: E402
from exporters.__main__ import main  # noqa: E402
from exporters._torch_checkpoint import from_state_dict  # noqa: E402
from exporters.graph import Dense, ImportRefusedError  # noqa: E402


def refusal(function, *arguments, **options):
    with pytest.raises(ImportRefusedError) as error:
        function(*arguments, **options)
    return str(error.value)


def numbers(*shape):
    return torch.arange(float(np.prod(shape))).reshape(shape) / 8


def recurrent(rows, units=2, inputs=3, suffix="_l0", prefix="", biases=True):
    """The tensors of a layer of so many rows for each unit."""
    shapes = {"weight_ih": (rows * units, inputs), "weight_hh": (rows * units, units)}
    shapes |= {"bias_ih": (rows * units,), "bias_hh": (rows * units,)} if biases else {}
    return {f"{prefix}{name}{suffix}": numbers(*shape) + k for k, (name, shape) in enumerate(shapes.items())}


def dense(prefix="", outputs=4, inputs=2, bias=True):
    tensors = {f"{prefix}weight": numbers(outputs, inputs)}
    return tensors | ({f"{prefix}bias": numbers(outputs) + 1} if bias else {})


# ------------------------------------------------------------------------------------------ state_dicts


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize(
    "kind, rows, layers, activation",
    [
        ("rnn", 1, "rnn:tanh", "tanh"),
        ("rnn", 1, "rnn:relu", "relu"),
        ("gru", 3, None, "none"),
        ("lstm", 4, None, "none"),
    ],
)
def test_layers_are_told_by_their_shapes(kind, rows, layers, activation, biases):
    tensors = recurrent(rows, biases=biases) | recurrent(rows, inputs=2, suffix="_l1", biases=biases)
    network = from_state_dict(tensors, layers, "there")
    assert network.source == "there" and [layer.name for layer in network.layers] == ["rnn.l0", "rnn.l1"]
    for number, layer in enumerate(network.layers):
        assert (layer.kind, layer.activation, layer.reset_before) == (kind, activation, False)
        assert layer.initial_state is None and layer.w_x.dtype == np.float64
        for field, name in (
            ("w_x", "weight_ih"),
            ("w_h", "weight_hh"),
            ("b_x", "bias_ih"),
            ("b_h", "bias_hh"),
        ):
            want = tensors.get(f"{name}_l{number}", torch.zeros(rows * 2))
            np.testing.assert_array_equal(getattr(layer, field), want)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["none", "tanh", "relu", "sigmoid"])
def test_linear_layers_have_the_activation_that_is_told(activation, bias):
    tensors = dense("a.b.", bias=bias)
    [layer] = from_state_dict(tensors, f" a.b:{activation} ", "there").layers
    assert isinstance(layer, Dense) and (layer.activation, layer.name) == (activation, "a.b")
    np.testing.assert_array_equal(layer.w, tensors["a.b.weight"])
    np.testing.assert_array_equal(layer.b, tensors.get("a.b.bias", torch.zeros(4)))


def test_layers_run_in_the_order_that_is_told():
    tensors = dense("out.", 5, 2) | recurrent(3, prefix="deep.gru.") | dense("in.", 3, 6)
    network = from_state_dict(tensors, "in:relu, deep.gru,out:none", "there")
    assert [layer.name for layer in network.layers] == ["in", "deep.gru.l0", "out"]
    assert from_state_dict(tensors, "in:relu, deep.gru:none,out:none", "there").layers[1].kind == "gru"
    cell = from_state_dict(recurrent(4, suffix="", prefix="cell."), None, "there")
    assert [(layer.kind, layer.name) for layer in cell.layers] == [("lstm", "cell")]
    alone = from_state_dict(recurrent(3, suffix="") | dense(), "rnn,dense:none", "there")
    assert [layer.name for layer in alone.layers] == ["rnn", "dense"]


def test_numbers_of_any_precision_are_read():
    tensors = {key: value.to(torch.bfloat16).requires_grad_() for key, value in recurrent(3).items()}
    np.testing.assert_array_equal(from_state_dict(tensors, None, "").layers[0].w_x, numbers(6, 3))
    tensors = {"weight": torch._neg_view(numbers(4, 2))}
    np.testing.assert_array_equal(from_state_dict(tensors, "dense:none", "").layers[0].w, -numbers(4, 2))


GIVE = "a state_dict does not tell the order of layers and their activations: give layers, for example "
MODULE = "a tensor that only the module can explain: give the module or an exported program"
REFUSED_DICTS = {
    "two layers": (recurrent(3) | dense("head."), None, f'{GIVE}"rnn:none,head:none"'),
    "an rnn": (recurrent(1, prefix="a."), None, f'{GIVE}"a:tanh"'),
    "a linear layer": (dense(), None, f'{GIVE}"dense:none"'),
    "a name that is none": (dense("a.") | dense("b."), "a:none,c", "layers: no module 'c'; there are b"),
    "a layer twice": (dense("a.") | dense("b."), "a:none,a:none", "layers: no module 'a'; there are b"),
    "a layer too few": (
        dense("a.") | dense("b."),
        "a:none",
        "b: a weight that is not used: not among the layers",
    ),
    "no activation of an rnn": (
        recurrent(1),
        "rnn",
        "layers: rnn (rnn): expected an activation of tanh, relu, found ''",
    ),
    "an activation of a gru": (
        recurrent(3),
        "rnn:tanh",
        "layers: rnn (gru): expected an activation of none, found 'tanh'",
    ),
    "an activation of an lstm": (
        recurrent(4),
        "rnn:relu",
        "layers: rnn (lstm): expected an activation of none, found 'relu'",
    ),
    "an activation that is none": (
        dense("a."),
        "a:gelu",
        "layers: a (dense): expected an activation of none, tanh, relu, sigmoid, found 'gelu'",
    ),
    "an rnn with the activation of a dense layer": (
        recurrent(1),
        "rnn:sigmoid",
        "layers: rnn (rnn): expected an activation of tanh, relu, found 'sigmoid'",
    ),
    "both directions": (
        recurrent(3) | recurrent(3, suffix="_l0_reverse"),
        None,
        "weight_ih_l0_reverse: bidirectional: a stream runs forward",
    ),
    "a projection": (
        recurrent(4) | {"weight_hr_l0": numbers(3, 2)},
        None,
        "weight_hr_l0: a projection (proj_size) is not supported",
    ),
    "a name of no tensor": ({7: numbers(2, 2)}, None, "expected names of tensors, found 7"),
    "running statistics": (dense("a.") | {"a.running_mean": numbers(4)}, None, f"a.running_mean: {MODULE}"),
    "whole numbers": ({"a.weight": torch.ones(2, 2, dtype=torch.int64)}, None, f"a.weight: {MODULE}"),
    "whole numbers of a gru": (
        recurrent(3) | {"bias_hh_l0": torch.ones(6, dtype=torch.int8)},
        None,
        f"bias_hh_l0: {MODULE}",
    ),
    "a sparse tensor": (
        {"a.weight": torch.eye(2).to_sparse()},
        None,
        "a.weight: sparse, empty or without values",
    ),
    "an empty tensor": ({"a.weight": torch.ones(2, 0)}, None, "a.weight: sparse, empty or without values"),
    "a tensor without values": (
        {"a.weight": torch.ones(2, 2, device="meta")},
        None,
        "a.weight: sparse, empty or without values",
    ),
    "a tensor greater than its storage": (
        {"a.weight": torch.ones(3).expand(2, 3)},
        None,
        "a.weight: (2, 3) needs more bytes than there are",
    ),
    "weights of a convolution": (
        {"a.weight": numbers(2, 2, 2)},
        None,
        "a.weight: expected the weights of a linear layer, found shape (2, 2, 2)",
    ),
    "weights of one axis": (
        {"a.weight": numbers(2)},
        None,
        "a.weight: expected the weights of a linear layer, found shape (2,)",
    ),
    "rows of no kind of layer": (
        recurrent(2),
        None,
        "rnn: no weights of a layer: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0",
    ),
    "a bias alone": ({"a.bias": numbers(2)}, None, "a: no weights of a layer: bias"),
    "recurrent weights of one axis": (
        recurrent(3, biases=False) | {"weight_hh_l0": numbers(6)},
        None,
        "rnn: no weights of a layer: weight_ih_l0, weight_hh_l0",
    ),
    "recurrent weights of one axis in a second layer": (
        recurrent(3, biases=False)
        | recurrent(3, suffix="_l1", inputs=2, biases=False)
        | {"weight_hh_l1": numbers(6)},
        None,
        "rnn.weight_hh_l1: expected a matrix, found shape (6,)",
    ),
    "a layer of which one is missing": (
        recurrent(3, biases=False) | recurrent(3, suffix="_l2", inputs=2, biases=False),
        None,
        "rnn.weight_ih_l2: a weight that is not used",
    ),
    "a layer without input weights": (
        {"weight_hh_l0": numbers(6, 2)},
        None,
        "rnn.weight_hh_l0: a weight that is not used",
    ),
    "a linear layer and a recurrent one of one name": (
        recurrent(3, prefix="a.") | dense("a."),
        "a:none",
        "a.weight_ih_l0: a weight that is not used",
    ),
}


@pytest.mark.parametrize("name", REFUSED_DICTS)
def test_state_dicts_that_make_no_network_are_refused(name):
    tensors, layers, reason = REFUSED_DICTS[name]
    assert refusal(from_state_dict, tensors, layers, "there") == reason


def test_a_tensor_may_need_all_bytes_of_its_storage():
    assert len(from_state_dict({"weight": numbers(4, 2).T}, "dense:none", "").layers) == 1


# ------------------------------------------------------------------------------------------ checkpoints


def saved(found, path):
    torch.save(found, path)
    return path


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "network"])
def test_checkpoints_hold_one_state_dict(key, tmp_path):
    tensors = recurrent(3)
    nested = {"step": 7, key: tensors, "model" if key != "model" else "network": {}}
    for found in (tensors, nested):
        read = _torch_checkpoint.load_state_dict(saved(found, tmp_path / "x.pt"))
        assert list(read) == list(tensors)
    network = from_torch(tmp_path / "x.pt")
    assert network.source == str(tmp_path / "x.pt") and network.layers[0].kind == "gru"


@pytest.mark.parametrize(
    "found, reason",
    [
        ([1], "expected a state_dict, found list"),
        (torch.ones(3), "expected a state_dict, found Tensor"),
        ({}, "expected one state_dict, found a dict with keys (none)"),
        ({"a": 1, 2: dense()}, "expected one state_dict, found a dict with keys a, 2"),
        (
            {"model": dense(), "network": dense()},
            "expected one state_dict, found a dict with keys model, network",
        ),
        (
            {str(k): k for k in range(12)},
            "expected one state_dict, found a dict with keys 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        ),
        (
            {str(k): k for k in range(13)},
            "expected one state_dict, found a dict with keys 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 1 more",
        ),
        ({**dense(), "step": 1}, "expected one state_dict, found a dict with keys weight, bias, step"),
    ],
)
def test_checkpoints_of_other_things_are_refused(found, reason, tmp_path):
    path = saved(found, tmp_path / "x.pt")
    assert refusal(_torch_checkpoint.load_state_dict, path) == reason
    assert refusal(from_torch, path) == f"{path}: {reason}"


def test_layers_that_do_not_fit_are_refused_with_the_file_named_once(tmp_path):
    path = saved(dense("a.", 4, 2) | dense("b.", 4, 2), tmp_path / "x.pt")
    want = f"{path}: b: expected 4 inputs, as a has outputs, found 2"
    assert refusal(from_torch, path, layers="a:none,b:none") == want


@pytest.mark.parametrize("layers, activation", [(None, "none"), ("rnn,dense:tanh", "tanh")])
def test_the_command_takes_checkpoints(layers, activation, tmp_path):
    tensors = recurrent(3) | (dense() if layers else {})
    path, output = saved(tensors, tmp_path / "x.pt"), tmp_path / "x.ernn"
    options = "--planes 1 --max-error 99 --drift-steps 0 -q".split() + (
        ["--layers", layers] if layers else []
    )
    assert main([str(path), "-o", str(output), *options]) == 0
    packed = ModelFile.load(output).layers
    assert [layer.kind for layer in packed] == ["gru", "dense"][: len(packed)] and len(packed) == 1 + bool(
        layers
    )
    assert packed[-1].activation == activation


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    assert refusal(_torch_checkpoint.load_state_dict, path) == "No such file or directory"
    assert refusal(from_torch, path) == f"{path}: No such file or directory"
    path.write_bytes(b"text")
    message = refusal(_torch_checkpoint.load_state_dict, path)
    assert re.fullmatch(r"not a checkpoint of tensors \(weights_only=True\): \S.*", message)
    path.write_bytes(b"PK text")
    assert refusal(from_torch, path) == f"{path}: a truncated or damaged file"


def test_reasons_are_the_first_line_that_says_something(tmp_path, monkeypatch):
    for error, reason in (
        (ValueError("\n  \nwhy\nmore"), "why"),
        (ValueError(""), "ValueError"),
        (EOFError(), "EOFError"),
    ):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(torch, "load", fail)
        want = f"not a checkpoint of tensors (weights_only=True): {reason}"
        assert refusal(_torch_checkpoint.load_state_dict, tmp_path) == want
        assert import_torch._first_line(error) == reason


# ------------------------------------------------------------------------------------------ archives


def archive(path, *members):
    """A ZIP archive of members without content."""
    with zipfile.ZipFile(path, "w") as file:
        for name in members:
            file.writestr(name, "{}")
    return path


def test_scripts_are_told_from_programs(tmp_path):
    path = archive(tmp_path / "x.pt", "x/version", "x/constants.pkl")
    want = f"{path}: a TorchScript file: give the module, or torch.export.save an exported program"
    assert refusal(from_torch, path) == want
    assert refusal(from_torch, path, layers="rnn") == want


@pytest.mark.parametrize(
    "member",
    ["x/models/model.json", "serialized_exported_program.json", "x/serialized_exported_program.json"],
)
def test_programs_are_told_by_their_members(member, tmp_path):
    path = archive(tmp_path / "x.pt2", "x/version", member)
    assert refusal(from_torch, path).startswith(f"{path}: not a readable exported program: ")
    want = f"{path}: layers is for checkpoints: an exported program tells the order itself"
    assert refusal(from_torch, path, layers="rnn") == want


def test_layers_are_not_for_modules():
    want = "GRU: layers is for checkpoints: a module tells the order of its layers itself"
    assert refusal(from_torch, torch.nn.GRU(3, 2), layers="rnn") == want


def check_member(name, data="{}"):
    with zipfile.ZipFile(io.BytesIO(), "w") as file:
        file.writestr(name, data)
        _torch_archive._check_member(file, file.getinfo(name))


@pytest.mark.parametrize("folder", ["", "program/", "any name/"])
def test_members_that_programs_need(folder, monkeypatch):
    for name in (
        *("archive_format", "archive_version", "version", "byteorder", ".data/serialization_id"),
        *(
            "data/weights/weight_0",
            "data/constants/tensor_0",
            "data/sample_inputs/model.pt",
            "serialized_state_dict.pt",
        ),
        *("extra_files/anything/at.all",),
    ):
        check_member(folder + name)
    for name in ("models/model.json", "data/weights/model_weights_config.json", "data/constants/x.json"):
        check_member(folder + name)
        want = "an exported program with the size 'import os'"
        assert refusal(check_member, folder + name, json.dumps({"expr_str": "import os"})) == want
        with monkeypatch.context() as patch:
            patch.setattr(_torch_archive, "_LARGEST_JSON", 2)
            check_member(folder + name)
            want = f"{folder + name!r}: expected at most 2 bytes"
            assert refusal(check_member, folder + name, "{ }") == want
    assert _torch_archive._LARGEST_JSON == 2**27


@pytest.mark.parametrize(
    "name",
    [
        "data.pkl",
        "a/b/version",
        "models/model.so",
        "data/constants/custom_obj_0",
        "data/weights/a/b",
        "models/a.b.json",
        "x/y",
    ],
)
def test_members_that_programs_do_not_need_are_refused(name):
    want = f"an exported program that holds more than tensors and a graph: {name!r}"
    assert refusal(check_member, name) == want


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.add.Tensor",
        "torch.ops.prims.x",
        "torch.ops.higher_order.cond",
        "_operator.add",
        "math.ceil",
        "torch.sym_max",
    ],
)
def test_operators_of_programs(target):
    _torch_archive._check({"nodes": [{"target": target, "inputs": []}]})
    for bad in (f"{target}.__class__", f"x{target}", f"{target} x", "os.system"):
        value = [[{"a": {"target": bad, "inputs": []}}]]
        assert refusal(_torch_archive._check, value) == f"an exported program with the operator {bad!r}"
        _torch_archive._check([{"target": bad}, {"target": [bad], "inputs": []}])
    long = "os." + 200 * "x"
    want = f"an exported program with the operator {long[:100]!r}"
    assert refusal(_torch_archive._check, {"target": long, "inputs": 1}) == want


def test_graphs_may_be_nested_deep():
    value = {"expr_str": "open(1)"}
    for _ in range(5000):
        value = [value, {"a": 1}]
    assert refusal(_torch_archive._check, value) == "an exported program with the size 'open(1)'"
    _torch_archive._check({"expr_str": 3, "target": None})


@pytest.mark.parametrize(
    "text",
    [
        "s0",
        "2*s77 + 1",
        "Symbol('s0', positive=True, integer=True)",
        "Mod(s0, 4) // 2",
        "Max(1, u1) >= 3.5",
        "Eq(s0, s1)",
        "-s0 % ~2",
        "a" * 2 + "1",
        "s0" + " " * 498,
        "",
    ],
)
def test_sizes_of_programs(text):
    _torch_archive._check_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "s0.x",
        "s",
        "S0",
        "open",
        "Open(s0)",
        "'x'",
        "s0[1]",
        "2**3",
        "s0 ** 2",
        "s0;s1",
        "lambda: 0",
        "_s0",
        "s0" + " " * 499,
        "__import__",
    ],
)
def test_sizes_that_are_none_are_refused(text):
    want = f"an exported program with the size {text[:100]!r}"
    assert refusal(_torch_archive._check_expression, text) == want
    assert refusal(_torch_archive._check, {"as_expr": {"expr_str": text}}) == want


FORCED = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")


@pytest.mark.parametrize("before", [(None, None), ("0", None), (None, "1"), ("x", "y")])
def test_only_tensors_are_unpickled_for_a_while(before, monkeypatch):
    for name, value in zip(FORCED, before, strict=True):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    for error in (None, KeyError):
        try:
            with _torch_archive._tensors_only():
                assert [os.environ.get(name) for name in FORCED] == ["1", "0"]
                if error:
                    raise error
        except KeyError:
            pass
        assert tuple(os.environ.get(name) for name in FORCED) == before
