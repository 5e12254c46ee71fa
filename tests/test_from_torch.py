# SPDX-License-Identifier: MIT
"""PyTorch modules, exported programs and checkpoints to networks, also by way of both ONNX exporters."""

import contextlib
import copy
import io
import itertools
import json
import os
import pathlib
import warnings
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from torch import nn  # noqa: E402

from exporters import from_torch  # noqa: E402
from exporters.graph import ImportRefusedError  # noqa: E402

KINDS = ("RNN tanh", "RNN relu", "GRU", "LSTM")


def layer(kind, size, units, layers=1, **options):
    """nn.RNN, nn.GRU or nn.LSTM of one of `KINDS`."""
    name, _, nonlinearity = kind.partition(" ")
    options |= {"nonlinearity": nonlinearity} if nonlinearity else {}
    return getattr(nn, name)(size, units, layers, **options)


class Tagger(nn.Module):
    """Recurrent layers and a dense one, which is registered first and runs last."""

    def __init__(self, recurrent):
        super().__init__()
        self.dense = nn.Linear(recurrent.hidden_size, 3)
        self.recurrent = recurrent

    def forward(self, x):
        return self.dense(self.recurrent(x)[0])


def make_tagger(kind, layers, batch_first):
    torch.manual_seed(layers)
    return Tagger(layer(kind, 5, 8, layers, batch_first=batch_first)).eval()


def sequences(steps, size=5, batch=2):
    return np.random.default_rng(steps).standard_normal((steps, batch, size))


def run_module(module, x, batch_first=False):
    """A module in float64, [time, batch, feature] in and out."""
    x = torch.from_numpy(x)
    with torch.no_grad():
        y = copy.deepcopy(module).double()(x.transpose(0, 1) if batch_first else x)
    y = y[0] if isinstance(y, tuple) else y
    return (y.transpose(0, 1) if batch_first else y).numpy()


@pytest.fixture(autouse=True)
def nothing_dispatched():
    """torch.onnx replaces the kernels of these for a while, in vain where torch remembers that it has called others."""
    for op in (torch.ops.aten.lstm.input, torch.ops.aten.gru.input):
        op._dispatch_cache.clear()


def run_network(network, x):
    return np.stack([network.run(x[:, b]) for b in range(x.shape[1])], 1)


def assert_equal(network, module, batch_first, tolerance=1e-9, size=5):
    x = sequences(500, size)
    np.testing.assert_allclose(run_network(network, x), run_module(module, x, batch_first), atol=tolerance)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_equals_torch_for_500_steps(kind, layers, batch_first):
    module = make_tagger(kind, layers, batch_first)
    network = from_torch(module)
    assert [found.name for found in network.layers][-1] == "dense (linear)"
    assert len(network.layers) == layers + 1
    assert_equal(network, module, batch_first)


def export_onnx(module, x, dynamo, open_axes=()):
    """torch.onnx.export without its remarks; returns a ModelProto."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if dynamo:
            pytest.importorskip("onnxscript", reason="onnxscript is not installed")
            axes = [{axis: torch.export.Dim(name) for axis, name in open_axes}] + [None] * (len(x) - 1)
            dynamic = tuple(axes) if open_axes else None
            return torch.onnx.export(
                module, x, dynamo=True, verbose=False, dynamic_shapes=dynamic
            ).model_proto
        file = io.BytesIO()
        dynamic = {"x": dict(open_axes)} if open_axes else None
        torch.onnx.export(module, x, file, dynamo=False, input_names=["x"], dynamic_axes=dynamic)
        return onnx.load_from_string(file.getvalue())


def run_onnxruntime(model, x):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


# The dynamo exporter takes a second each time: one arrangement for each number of layers.
@pytest.mark.parametrize(
    "dynamo, kind, layers, batch_first",
    [(False, *case) for case in itertools.product(KINDS, (1, 2, 3), (False, True))]
    + [(True, kind, layers, layers % 2 == i % 2) for layers in (1, 2, 3) for i, kind in enumerate(KINDS)],
)
def test_both_onnx_exporters_for_500_steps(dynamo, kind, layers, batch_first):
    module = make_tagger(kind, layers, batch_first)
    axes = [(0, "batch"), (1, "time")] if batch_first else [(0, "time"), (1, "batch")]
    # The dynamo exporter unrolls nn.RNN, and fixes the time axis of other layers unless it is the second.
    fixed = dynamo and (kind.startswith("RNN") or not batch_first)
    example = torch.zeros(5, 5, 5) if fixed else torch.zeros(3, 4, 5)
    open_axes = [axis for axis in axes if not fixed or axis[1] == "batch"]
    model = export_onnx(module, (example,), dynamo, open_axes)

    from exporters import from_onnx

    network = from_onnx(model)
    assert len(network.layers) == layers + 1
    assert_equal(network, module, batch_first, tolerance=1e-5)
    x = sequences(5 if fixed else 500).astype(np.float32)
    want = run_onnxruntime(model, x.swapaxes(0, 1) if batch_first else x)
    np.testing.assert_allclose(
        run_network(network, x), want.swapaxes(0, 1) if batch_first else want, atol=1e-5
    )


class Everything(nn.Module):
    """Normalized input, dense layers before and after, two kinds of recurrent layers, learned states."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.randn(5))
        self.head = nn.Sequential(
            nn.Linear(6, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 4), nn.LogSoftmax(-1)
        )
        self.lstm = nn.LSTM(8, 6, batch_first=True)
        self.norm = nn.BatchNorm1d(8)
        self.state = nn.Parameter(torch.randn(2, 1, 8))
        self.gru = nn.GRU(7, 8, 2, batch_first=True, dropout=0.3)
        self.first = nn.Linear(5, 7, bias=False)
        for value in (self.norm.running_mean, self.norm.weight.data, self.norm.bias.data):
            value.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = torch.relu_(self.first((x - self.mean) / 3))
        x, state = self.gru(x, self.state.expand(-1, len(x), -1).contiguous())
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.head(self.lstm(x)[0]), state


def test_order_of_layers_is_the_one_in_which_they_run():
    torch.manual_seed(0)
    module = Everything().eval()
    network = from_torch(module)
    names = [found.name.split()[0] for found in network.layers]
    assert names == ["first", "gru", "gru", "lstm", "head.0", "head.3"]
    assert [getattr(found, "activation", "none") for found in network.layers] == ["relu"] + ["none"] * 3 + [
        "tanh",
        "none",
    ]
    assert network.softmax
    x = sequences(500)
    logits = torch.from_numpy(run_network(network, x))
    np.testing.assert_allclose(logits.log_softmax(-1).numpy(), run_module(module, x, True), atol=1e-9)


def test_training_mode_and_the_module_itself_are_left_alone():
    module = Everything().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    from_torch(module)
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


class Last(nn.Module):
    """The last step goes to a softmax."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 8)
        self.dense = nn.Linear(8, 3)

    def forward(self, x):
        return self.dense(self.gru(x)[1][0]).softmax(-1)


def test_head_on_the_last_step_runs_at_every_step():
    module = Last().eval()
    network = from_torch(module)
    x = sequences(40)
    found = torch.from_numpy(run_network(network, x)[-1]).softmax(-1).numpy()
    np.testing.assert_allclose(found, run_module(module, x), atol=1e-9)


class Squeezed(Last):
    """Its squeeze becomes an If in ONNX, where an axis is open."""

    def forward(self, x):
        return self.dense(self.gru(x)[1].squeeze(0)).softmax(-1)


def test_branches_on_shapes_are_decided():
    module = Squeezed().eval()
    model = export_onnx(module, (torch.zeros(3, 4, 5),), False, [(0, "time"), (1, "batch")])

    from exporters import from_onnx

    x = sequences(40)
    found = torch.from_numpy(run_network(from_onnx(model), x)[-1]).softmax(-1).numpy()
    np.testing.assert_allclose(found, run_module(module, x), atol=1e-5)


class Loop(nn.Module):
    """Cells in a Python loop over steps, and a dense layer at each step."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first = nn.GRUCell(5, 8)
        self.second = getattr(nn, f"{kind.split()[0]}Cell")(8, 8)
        self.dense = nn.Linear(8, 3)

    def forward(self, x):
        h, state, outputs = x.new_zeros(len(x), 8), None, []
        for t in range(x.shape[1]):
            h = self.first(x[:, t], h)
            state = self.second(h, state)
            outputs.append(self.dense(state[0] if self.kind == "LSTM" else state))
        return torch.stack(outputs, 1)


@pytest.mark.parametrize("kind", ["RNN tanh", "GRU", "LSTM"])
def test_loop_of_cells_is_a_layer_each(kind):
    module = Loop(kind).eval()
    network = from_torch(module)
    assert [found.name.split()[0] for found in network.layers] == ["first", "second", "dense"]
    assert_equal(network, module, batch_first=True)
    model = export_onnx(module, (torch.zeros(2, 6, 5),), dynamo=False)

    from exporters import from_onnx

    assert_equal(from_onnx(model), module, batch_first=True, tolerance=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_decomposed_programs_are_recognized(kind):
    module = make_tagger(kind, 2, True)
    with torch.no_grad():
        program = torch.export.export(module, (torch.zeros(2, 3, 5),)).run_decompositions()
    assert not any(kind.split()[0].lower() in str(node.target) for node in program.graph.nodes)
    assert_equal(from_torch(program), module, batch_first=True)


class Step(nn.Module):
    """One step of two cells, all states in one tensor."""

    def __init__(self):
        super().__init__()
        self.gru, self.lstm, self.dense = nn.GRUCell(5, 8), nn.LSTMCell(8, 8), nn.Linear(8, 3)

    def forward(self, x, states):
        h = self.gru(x, states[0])
        after = self.lstm(h, (states[1], states[2]))
        return self.dense(after[0]), torch.stack((h, *after))


def test_single_step_with_packed_states_carries_them():
    torch.manual_seed(0)
    module, example = Step().eval(), (torch.zeros(2, 5), torch.zeros(3, 2, 8))
    networks = [from_torch(module, example)]
    pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
    from exporters import from_onnx

    networks.append(from_onnx(export_onnx(module, example, dynamo=False)))
    networks.append(from_onnx(export_onnx(module, example, dynamo=True)))
    x, states, want = sequences(500), torch.zeros(3, 2, 8, dtype=torch.float64), []
    with torch.no_grad():
        for step in torch.from_numpy(x):
            y, states = module.double()(step, states)
            want.append(y.numpy())
    for network in networks:
        np.testing.assert_allclose(run_network(network, x), want, atol=1e-5)


def test_exported_program_file_equals_its_module(tmp_path):
    module = make_tagger("LSTM", 2, True)
    path = tmp_path / "module.pt2"
    axes = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(module, (torch.zeros(3, 7, 5),), dynamic_shapes=axes), path)
    assert_equal(from_torch(path), module, batch_first=True)


def test_checkpoint_of_one_layer_needs_nothing_else(tmp_path):
    path = tmp_path / "checkpoint.pt"
    module = nn.GRU(5, 8, 3)
    torch.save({"state_dict": module.state_dict(), "step": 7}, path)
    assert_equal(from_torch(path), module, batch_first=False)


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_with_its_layers_told(kind, tmp_path):
    path = tmp_path / "checkpoint.pt"
    module = make_tagger(kind, 2, False)
    torch.save(module.state_dict(), path)
    recurrent = "recurrent:" + kind.split()[1] if " " in kind else "recurrent"
    assert_equal(from_torch(path, layers=f"{recurrent}, dense:none"), module, batch_first=False)


def refusal(source, *arguments, **options):
    with pytest.raises(ImportRefusedError) as error:
        from_torch(source, *arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "layers, reason",
    [
        (None, 'give layers, for example "dense:none,recurrent:tanh"'),
        ("recurrent,dense:none", "recurrent (rnn): expected an activation of tanh, relu"),
        ("recurrent:tanh,dense", "dense (dense): expected an activation of none"),
        ("recurrent:tanh", "dense: a weight that is not used"),
        ("recurrent:tanh,head:none", "no module 'head'; there are dense"),
        ("dense:none,recurrent:tanh", "recurrent.l0: expected 3 inputs"),
    ],
)
def test_what_a_state_dict_does_not_tell_is_asked_for(layers, reason, tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save(make_tagger("RNN tanh", 1, False).state_dict(), path)
    assert reason in refusal(path, layers=layers)


def test_checkpoints_that_only_the_module_explains_are_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    for module, key in (
        (nn.Sequential(nn.BatchNorm1d(5)), "0.running_mean"),
        (nn.GRU(5, 8, bidirectional=True), "weight_ih_l0_reverse"),
        (nn.LSTM(5, 8, proj_size=3), "weight_hr_l0"),
        (nn.Conv1d(3, 3, 3), "dense.weight"),
    ):
        torch.save(module.state_dict(), path)
        assert f"{path}: {key}" in refusal(path)
    torch.save({"model": nn.GRU(5, 8).state_dict(), "network": nn.GRU(5, 8).state_dict()}, path)
    assert "expected one state_dict, found a dict with keys model, network" in refusal(path)
    for key, shape in (
        ("weight_hh_l1", (24,)),
        ("weight_hh_l1", ()),
        ("weight_ih_l0", (24,)),
        ("weight_ih_l1", (24, 8, 1)),
    ):
        torch.save({**nn.GRU(5, 8, num_layers=2).state_dict(), key: torch.zeros(shape)}, path)
        assert f"{key}: expected a matrix, found shape {shape}" in refusal(path)
    torch.save(dict(nn.GRU(5, 8).named_parameters()), path)  # which still want gradients
    assert from_torch(path).output_size == 8
    torch.save({f"key\n\x1b[{i}": i for i in range(20)}, path)
    message = refusal(path)
    assert (
        message.isprintable()
        and r"keys key\n\x1b[0, key\n\x1b[1, " in message
        and message.endswith("[11 and 8 more")
    )


@pytest.mark.parametrize(
    "data", [b"", b"text", b"PK\x03\x04 neither", None], ids=["empty", "text", "zip", "missing"]
)
def test_files_that_are_neither_are_one_line(data, tmp_path):
    path = tmp_path / "module.pt2"
    if data is not None:
        path.write_bytes(data)
    assert refusal(path).startswith(f"{path}: ")


def test_truncated_programs_and_checkpoints_are_one_line(tmp_path):
    program, checkpoint = tmp_path / "module.pt2", tmp_path / "checkpoint.pt"
    torch.export.save(torch.export.export(nn.Linear(5, 3), (torch.zeros(2, 5),)), program)
    torch.save(nn.GRU(5, 8).state_dict(), checkpoint)
    for path in (program, checkpoint):
        data = path.read_bytes()
        for part in (0.1, 0.5, 0.9):
            path.write_bytes(data[: int(part * len(data))])
            assert refusal(path).startswith(f"{path}: ")


def test_archives_with_names_that_are_no_text_are_one_line(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save(nn.GRU(5, 8).state_dict(), path)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")  # the first entry of the directory
    data[at + 9] |= 8  # UTF-8
    data[at + 46] = 0x85
    path.write_bytes(data)
    assert refusal(path) == f"{path}: a truncated or damaged file"


@pytest.mark.parametrize(
    "key, tensor, reason",
    [
        ((1, 2), torch.zeros(2, 3), "expected names of tensors, found (1, 2)"),
        ("fc.weight", torch.eye(3).to_sparse(), "fc.weight: sparse, empty or without values"),
        ("fc.weight", torch.zeros(3, 0), "fc.weight: sparse, empty or without values"),
        ("fc.weight", torch.zeros(3, 3, device="meta"), "fc.weight: sparse, empty or without values"),
        (
            "fc.weight",
            torch.zeros(1).expand(10**5, 10**6),
            "(100000, 1000000) needs more bytes than there are",
        ),
        ("gru.weight", torch.zeros(3, 3), "gru.weight_ih_l0: a weight that is not used"),
    ],
    ids="key sparse empty meta expanded both".split(),
)
def test_tensors_that_no_module_has_are_refused(key, tensor, reason, tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({**{f"gru.{k}": v for k, v in nn.GRU(3, 2).state_dict().items()}, key: tensor}, path)
    layers = "gru:none,fc:none" if key != "gru.weight" else "gru:none"
    assert reason in refusal(path, layers=layers)


def test_pickled_code_and_torchscript_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Evil()}, path)
    assert "not a checkpoint of tensors" in refusal(path)
    assert not (tmp_path / "ran").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(nn.Linear(5, 3), torch.zeros(2, 5)).save(path)
    assert "a TorchScript file" in refusal(path)


def rewritten(path, changes, new=()):
    """Change members of a ZIP archive, by the ends of their names, and add others."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    folder = next(iter(members)).partition("/")[0]
    for end, change in changes.items():
        (name,) = (name for name in members if name.endswith(end))
        members[name] = change(members[name])
    members |= {f"{folder}/{name}": data for name, data in new}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    "what", "inputs weights constants size bound operator dunder compiled object custom_object".split()
)
def test_code_in_an_exported_program_is_not_run(tmp_path, what):
    """Each is something that torch.export.load, or what follows it, would run or look up."""
    ran = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(ran)!r}).touch()"

    class Evil:
        def __reduce__(self):
            return (pathlib.Path.touch, (ran,))

    def pickled(_=None):
        file = io.BytesIO()
        torch.save(Evil(), file)
        return file.getvalue()

    def in_graph(change):
        def changed(data):
            model = json.loads(data)
            change(model["graph_module"]["graph"], model)
            return json.dumps(model)

        return changed

    def size(graph, _):
        for tensor in graph["tensor_values"].values():
            tensor["sizes"] = [{"as_expr": {"expr_str": code, "hint": None}} for _ in tensor["sizes"]]

    def with_pickle(data):
        config = json.loads(data)
        for entry in config["config"].values():
            entry["use_pickle"] = True
        return json.dumps(config)

    def bound(_, model):
        model["range_constraints"] = {"s0": {"min_val": 0, "max_val": 5}}
        model["guards_code"] = [code]

    def target(text):
        return in_graph(lambda graph, _: graph["nodes"][0].update(target=text))

    path = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(nn.GRU(4, 4, batch_first=True), (torch.zeros(1, 5, 4),)), path)
    weights = {f"weights/weight_{i}": pickled for i in range(4)}
    changes, new = {
        "inputs": ({"sample_inputs/model.pt": pickled}, ()),
        "weights": ({"model_weights_config.json": with_pickle, **weights}, ()),
        "constants": (
            {
                "model_constants_config.json": lambda _: json.dumps(
                    {"config": {"c": {"path_name": "tensor_0", "is_param": False, "use_pickle": True}}}
                )
            },
            [("data/constants/tensor_0", pickled())],
        ),
        "size": ({"models/model.json": in_graph(size)}, ()),
        "bound": ({"models/model.json": in_graph(bound)}, ()),
        "operator": ({"models/model.json": target("torch.hub.load")}, ()),
        "dunder": ({"models/model.json": target("torch.ops.aten.__class__.__init__")}, ()),
        "compiled": ({}, [("data/aotinductor/model/code.so", b"")]),
        "object": ({}, [("data/anything.pkl", pickled())]),
        "custom_object": ({}, [("data/constants/custom_obj_0", pickled())]),
    }[what]
    rewritten(path, changes, new)
    if what == "bound":  # text that nobody needs
        from_torch(path)
    else:
        assert refusal(path).startswith(f"{path}: ")
    assert not ran.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


class Function(nn.Module):
    """A gru and a function of its output and the module."""

    def __init__(self, function, **options):
        super().__init__()
        self.gru = nn.GRU(8, 8, batch_first=True, **options)
        self.extra = nn.Linear(8, 8)
        self.function = function

    def forward(self, x):
        return self.function(self, self.gru(x)[0], x)


@pytest.mark.parametrize(
    "function, reason",
    [
        (lambda m, y, x: m.extra(y) + x, "add (add): combines computed tensors"),
        (lambda m, y, x: m.extra(y * torch.sigmoid(y)), "mul (mul): combines computed tensors"),
        (lambda m, y, x: nn.functional.gelu(m.extra(y)), "gelu (gelu): operator gelu is not supported"),
        (lambda m, y, x: y, "extra.weight: a weight that is not used"),
        (lambda m, y, x: (m.extra(y), y), "getitem: an output that is not all features of"),
        (lambda m, y, x: m.extra(y[:, 0]), "an output that is not all features of"),
        (lambda m, y, x: m.extra(y[:, :5]), "an output that is not all features of"),
        (
            lambda m, y, x: m.extra(y).reshape(y.shape[1], y.shape[0], 8),
            "an output that is not all features of",
        ),
        (lambda m, y, x: m.extra(y.flip(2)), "is not the 8 features of gru (gru) in order"),
        (lambda m, y, x: m.extra(y.mean(1)), "mean (mean): operator mean is not supported"),
        (lambda m, y, x: m.extra(m.gru(y.flip(1))[0]), "its steps are not those of gru (gru) in order"),
        (lambda m, y, x: m.extra(nn.functional.layer_norm(y, (8,))), "layer_norm is not supported"),
        (lambda m, y, x: m.extra(y).softmax(1), "a softmax that is not over the 8 features"),
        (lambda m, y, x: m.extra(m.extra(y).softmax(-1)), "extra (linear): follows a softmax"),
        (lambda m, y, x: m.extra(y) + torch.rand(8), "rand"),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(function, reason):
    message = refusal(Function(function))
    assert reason in message, message


@pytest.mark.parametrize(
    "options, reason", [({"bidirectional": True}, "gru (gru): bidirectional"), ({"bias": False}, None)]
)
def test_options_of_layers(options, reason):
    function = (lambda m, y, x: y[..., :8] + m.extra.weight[0]) if reason else (lambda m, y, x: m.extra(y))
    module = Function(function, **options).eval()
    if reason:
        assert reason in refusal(module)
    else:
        assert_equal(from_torch(module), module, batch_first=True, size=8)


def test_output_may_be_permuted_or_flattened():
    for function in (lambda m, y, x: m.extra(y).permute(2, 1, 0), lambda m, y, x: m.extra(y).reshape(-1, 8)):
        assert from_torch(Function(function)).output_size == 8


def test_projections_are_refused_by_name():
    assert "lstm (lstm): a projection" in refusal(nn.LSTM(5, 8, proj_size=3))


def test_weights_that_are_no_numbers_are_refused_by_name():
    module = make_tagger("GRU", 1, True)
    with torch.no_grad():
        module.recurrent.weight_hh_l0[3, 4] = float("nan")
    assert refusal(module) == "Tagger: recurrent (gru): w_h: not a finite number at (3, 4): nan"


def test_modules_with_several_arguments_need_an_example():
    assert "forward takes x, states: give example=(x, states)" in refusal(Step())
    broken = Function(lambda m, y, x: 1 / 0)
    assert "give example=(x,)" in refusal(broken)
    assert "torch.export failed: division by zero" in refusal(broken, (torch.zeros(2, 3, 8),))


def test_a_state_that_is_not_handed_on_is_refused():
    class Forgetful(Step):
        def forward(self, x, states):
            y, after = super().forward(x, states)
            return y, after.flip(0)

    message = refusal(Forgetful(), (torch.zeros(2, 5), torch.zeros(3, 2, 8)))
    assert "states: a state input, but no output is the state after the last step" in message
