# SPDX-License-Identifier: MIT
"""PyTorch modules, programs and checkpoints that the importer must refuse by name, and unusual ones that it must take."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from test_from_torch import assert_equal, make_tagger, run_network, sequences  # noqa: E402
from torch import nn  # noqa: E402

from exporters import from_torch  # noqa: E402
from exporters.graph import ImportRefusedError  # noqa: E402


class Layer(nn.Module):
    """A gru, then a function of its output and of the module."""

    def __init__(self, function, **layers):
        super().__init__()
        self.gru = nn.GRU(5, 8, batch_first=True)
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.register_buffer("scale", torch.full((8,), 0.5))

    def forward(self, x):
        return self.function(self, self.gru(x)[0])


def refusal(source, *arguments, **options):
    with pytest.raises(ImportRefusedError) as error:
        from_torch(source, *arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


REFUSED = {
    "a computed divisor": (
        lambda m, y: y / (y + 1),
        {},
        "(div): division by a computed tensor, or with rounding",
    ),
    "a rounding division": (
        lambda m, y: torch.div(y, 2.0, rounding_mode="floor"),
        {},
        "(div): division by a computed tensor, or with rounding",
    ),
    "statistics of the batch": (
        lambda m, y: m.norm(y.transpose(1, 2)).transpose(1, 2),
        {"norm": nn.BatchNorm1d(8, track_running_stats=False)},
        "norm (batch_norm): batch normalization",
    ),
    "dropout that stays": (
        lambda m, y: nn.functional.dropout(y, 0.5, training=True),
        {},
        "(dropout): dropout in training mode",
    ),
    "whole numbers": (
        lambda m, y: y.to(torch.int64),
        {},
        "a cast of a signal to a type that is not floating point",
    ),
    "a product of two signals": (lambda m, y: y @ y.transpose(1, 2), {}, "(matmul): an argument is computed"),
    "a constant beside a signal": (
        lambda m, y: torch.cat((y, m.scale.expand(*y.shape[:2], 8)), 2),
        {},
        "(cat): cat mixes computed and constant tensors",
    ),
    "a constant as output": (lambda m, y: (y, m.scale), {}, "an output that is constant"),
    "an absurd constant": (
        lambda m, y: y + torch.zeros(2**14, 2**13).sum(),
        {},
        "a constant of shape (16384, 8192)",
    ),
    "chance": (lambda m, y: y + torch.rand(8), {}, "operator aten.rand"),
    "an operator that is not known": (lambda m, y: torch.erf(y), {}, "(erf): operator erf is not supported"),
    "a step of its length": (
        lambda m, y: y * m.scale * y.shape[1],
        {},
        "the network depends on the length of its input",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_functions_that_no_layer_can_be_are_refused_by_name(name):
    function, layers, reason = REFUSED[name]
    assert reason in refusal(Layer(function, **layers).eval())


def test_branches_are_refused_by_name():
    module = Layer(lambda m, y: torch.cond(m.flag, torch.tanh, torch.relu, (y,)))
    module.register_buffer("flag", torch.tensor(True))
    assert refusal(module.eval()) == "Layer: true_graph_0: get_attr true_graph_0 is not supported"


class Sum(nn.Module):
    """b and x w, each times a factor."""

    def __init__(self, **factors):
        super().__init__()
        torch.manual_seed(2)
        self.w, self.b = nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(3))
        self.factors = factors

    def forward(self, x):
        return torch.addmm(self.b, x, self.w, **self.factors)


@pytest.mark.parametrize("factors", [{}, {"alpha": 2}, {"beta": 0.5}, {"alpha": -1.5, "beta": 3}])
def test_sums_of_products_have_the_factors_of_torch(factors):
    module = Sum(**factors)
    x = np.random.default_rng(3).standard_normal((20, 5))
    with torch.no_grad():
        want = module(torch.from_numpy(x.astype(np.float32))).numpy()
    np.testing.assert_allclose(from_torch(module, (torch.zeros(7, 5),)).run(x), want, atol=1e-5)


def test_programs_with_much_json_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(nn.GRU(5, 8), (torch.zeros(7, 1, 5),)), path)
    assert from_torch(path).layers[0].kind == "gru"
    monkeypatch.setattr("exporters._torch_archive._LARGEST_JSON", 1000)
    assert ".json': expected at most 1000 bytes" in refusal(path)


def test_casts_and_dropout_of_nothing_are_transparent():
    module = Layer(
        lambda m, y: m.dense(
            nn.functional.dropout(y.to(torch.float64).to(y.dtype), 0.0, training=True) * m.scale
        ),
        dense=nn.Linear(8, 3),
    ).eval()
    x = sequences(50)
    with torch.no_grad():
        want = module(torch.from_numpy(x.astype(np.float32)).transpose(0, 1)).transpose(0, 1).numpy()
    np.testing.assert_allclose(run_network(from_torch(module), x), want, atol=1e-5)


class Counting(nn.Module):
    """Keeps a buffer that each call changes."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 8)
        self.register_buffer("calls", torch.zeros(8))

    def forward(self, x):
        self.calls.add_(1.0)
        return self.gru(x)[0] + self.calls


def test_buffers_that_change_are_refused():
    reason = "a buffer that changes with each call: give the state as output"
    assert refusal(Counting()) == f"Counting: calls: {reason}"


class Optional(nn.Module):
    """Takes more than the sequence, and returns more than an output."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 8)

    def forward(self, x, scale, mode=None):
        y = self.gru(x)[0]
        return (y if mode is None else y * scale), None


def test_arguments_that_are_not_used_do_not_matter():
    torch.manual_seed(1)
    module = Optional().eval()
    example = (torch.zeros(7, 2, 5), 2)
    network = from_torch(module, example)
    x = sequences(50)
    with torch.no_grad():
        want = module(torch.from_numpy(x.astype(np.float32)), 2)[0].numpy()
    np.testing.assert_allclose(run_network(network, x), want, atol=1e-5)


def test_a_single_sequence_is_a_batch_of_one():
    torch.manual_seed(4)
    module = nn.GRU(5, 8).eval()
    network = from_torch(module, (torch.zeros(7, 5),))
    assert_equal(network, module, batch_first=False)


def test_packed_sequences_are_refused():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(5, 8)

        def forward(self, x):
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([7, 4]))
            return nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0])[0]

    assert refusal(Packed().eval(), (torch.zeros(7, 2, 5),))


def test_layers_are_for_checkpoints_only(tmp_path):
    module = make_tagger("GRU", 1, True)
    assert "layers is for checkpoints: a module tells the order" in refusal(
        module, layers="recurrent,dense:none"
    )
    path = tmp_path / "module.pt2"
    torch.export.save(torch.export.export(module, (torch.zeros(2, 3, 5),)), path)
    assert "layers is for checkpoints: an exported program tells" in refusal(
        path, layers="recurrent,dense:none"
    )


@pytest.mark.parametrize("span", [(2, 9), (100, 200)])
def test_open_axes_take_a_size_within_their_bounds(span):
    module = make_tagger("GRU", 1, True)
    batch = torch.export.Dim("batch", min=span[0], max=span[1])
    program = torch.export.export(module, (torch.zeros(span[0], 3, 5),), dynamic_shapes=({0: batch},))
    if span[0] > 13:
        assert "no size for its axis" in refusal(program)
    else:
        assert_equal(from_torch(program), module, batch_first=True)


def test_axes_of_two_inputs_that_are_one():
    """The second input's open axis is that of the first."""

    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(5, 8)

        def forward(self, x, h):
            return self.cell(x, h)

    torch.manual_seed(2)
    module = Step().eval()
    batch = torch.export.Dim("batch")
    example = (torch.zeros(2, 5), torch.zeros(2, 8))
    program = torch.export.export(module, example, dynamic_shapes=({0: batch}, {0: batch}))
    network = from_torch(program)
    h, x, want = torch.zeros(2, 8), sequences(40), []
    with torch.no_grad():
        for step in torch.from_numpy(x.astype(np.float32)):
            h = module(step, h)
            want.append(h.numpy())
    np.testing.assert_allclose(run_network(network, x), want, atol=1e-5)


CHECKPOINTS = [
    ([torch.zeros(3)], None, "expected a state_dict, found list"),
    ({"weight_ih_l0": torch.zeros(24, 5)}, None, "rnn: no weights of a layer: weight_ih_l0"),
    (
        {"weight_ih_l0": torch.zeros(24, 5), "weight_hh_l0": torch.zeros(8)},
        None,
        "rnn: no weights of a layer",
    ),
    (
        {"weight_ih_l0": torch.zeros(16, 5), "weight_hh_l0": torch.zeros(16, 8)},
        None,
        "rnn: no weights of a layer",
    ),
    (
        {
            "weight_ih": torch.zeros(24, 5),
            "weight_hh": torch.zeros(24, 8),
            "weight_ih_l1": torch.zeros(24, 8),
        },
        None,
        "rnn.weight_ih_l1: a weight that is not used",
    ),
    (
        {"head.weight": torch.zeros(3, 5, 2)},
        "head:none",
        "head.weight: expected the weights of a linear layer",
    ),
    (
        {"a.weight": torch.zeros(3, 5), "b.weight": torch.zeros(3, 5)},
        "a:none",
        "b: a weight that is not used",
    ),
    ({"a.weight": torch.zeros(3, 5)}, "c", "layers: no module 'c'; there are a"),
]


@pytest.mark.parametrize("tensors, layers, reason", CHECKPOINTS)
def test_checkpoints_that_make_no_network_are_refused(tensors, layers, reason, tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save(tensors, path)
    assert reason in refusal(path, layers=layers)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_checkpoint_of_a_cell_is_a_layer(kind, tmp_path):
    torch.manual_seed(3)
    cell = getattr(nn, f"{kind}Cell")(5, 8)
    path = tmp_path / "cell.pt"
    torch.save(cell.state_dict(), path)
    layer = getattr(nn, kind)(5, 8)
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    assert_equal(from_torch(path), layer, batch_first=False)
