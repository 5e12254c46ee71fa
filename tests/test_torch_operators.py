# SPDX-License-Identifier: MIT
"""Operators of PyTorch one by one: what each becomes is what torch computes, or it is refused in these words."""

import math
import operator
import os
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from torch import nn  # noqa: E402

from exporters import _torch_walk, from_torch, import_torch  # noqa: E402
from exporters.graph import Dense, ImportRefusedError  # noqa: E402

F = nn.functional


def refusal(source, *arguments, **options):
    with pytest.raises(ImportRefusedError) as error:
        from_torch(source, *arguments, **options)
    return str(error.value)


class Apply(nn.Module):
    """A function of the module and of its inputs."""

    def __init__(self, function, **layers):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.function = function
        sizes = {"c": (5,), "d": (3,), "w": (5, 3), "v": (3, 5), "var": (5,), "like": (20, 3)}
        for name, size in sizes.items():
            setattr(self, name, torch.rand(size, generator=generator) + 0.5)  # what is not used is no weight
        for name, layer in layers.items():
            setattr(self, name, layer)
            if isinstance(layer, nn.Module):
                for parameter in layer.parameters():
                    nn.init.uniform_(parameter, -1, 1, generator=generator)
        self.eval()

    def forward(self, *inputs):
        return self.function(self, *inputs)


ROWS = torch.zeros(7, 5)


def run(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x.astype(np.float32))).numpy()


COMPUTED = {
    "sum": lambda m, x: x @ m.w + m.d,
    "sum the other way": lambda m, x: m.d + x @ m.w,
    "sum with a number": lambda m, x: 3 + (x + 2) @ m.w,
    "sum with a factor": lambda m, x: torch.add(x @ m.w, m.d, alpha=2),
    "sum with a factor of the signal": lambda m, x: torch.add(m.d, x @ m.w, alpha=3),
    "difference": lambda m, x: x @ m.w - m.d,
    "difference the other way": lambda m, x: m.d - x @ m.w,
    "difference with a factor": lambda m, x: torch.sub(x @ m.w, m.d, alpha=2),
    "difference with a factor of the signal": lambda m, x: torch.sub(m.d, x @ m.w, alpha=0.5),
    "difference from a number": lambda m, x: 1 - x @ m.w,
    "reversed difference": lambda m, x: torch.rsub(x @ m.w, m.d, alpha=2),
    "product": lambda m, x: (x @ m.w) * m.d,
    "product the other way": lambda m, x: m.d * (x @ m.w),
    "product with a number": lambda m, x: 0.25 * (x * m.c) @ m.w,
    "quotient": lambda m, x: (x / m.c) @ m.w / 4,
    "mm": lambda m, x: torch.mm(x, m.w),
    "bmm": lambda m, x: torch.bmm(x[None], m.w[None])[0],
    "matmul of a batch of weights": lambda m, x: torch.matmul(x[None], m.w[None])[0],
    "linear": lambda m, x: F.linear(x, m.v, m.d),
    "linear without bias": lambda m, x: F.linear(x, m.v),
    "addmm": lambda m, x: torch.addmm(m.d, x, m.w, beta=2, alpha=-3),
    "activations": lambda m, x: torch.tanh(torch.relu(x @ m.w) @ m.v).sigmoid(),
    "batch norm": lambda m, x: F.batch_norm(x, m.c, m.var, m.c * 2, m.c * 3, eps=0.3) @ m.w,
    "batch norm without weight": lambda m, x: F.batch_norm(x, m.c, m.var, None, m.c, eps=0.1) @ m.w,
    "batch norm without bias": lambda m, x: F.batch_norm(x, m.c, m.var, m.c) @ m.w,
    "batch norm of channels": lambda m, x: (
        F.batch_norm((x @ m.w @ m.v).t()[None], m.c, m.var, m.c)[0].t() @ m.w
    ),
    "casts": lambda m, x: x.to(torch.float64).to(x.dtype) @ m.w,
    "dropout": lambda m, x: F.dropout(F.dropout(x, 0.5, training=False), 0.0, training=True) @ m.w,
    "size of a weight": lambda m, x: (x @ m.w).expand_as(m.like[: len(x)]),
    "parts": lambda m, x: torch.cat(torch.split(x, [2, 3], dim=1), 1) @ m.w[torch.arange(5)],
    "weights of zeros": lambda m, x: x @ m.w + torch.zeros_like(x @ m.w)[0] + torch.ones_like(m.d),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_operators_compute_what_torch_does(name):
    module = Apply(COMPUTED[name])
    x = np.random.default_rng(1).standard_normal((20, 5))
    network = from_torch(module, (ROWS,))
    np.testing.assert_allclose(network.run(x), run(module, x), atol=1e-5)
    assert {type(layer) for layer in network.layers} == {Dense} and network.source == "Apply"
    assert not network.softmax


@pytest.mark.parametrize("name", ["batch norm", "batch norm of channels"])
def test_operators_are_the_same_when_decomposed(name):
    module = Apply(COMPUTED[name])
    with torch.no_grad():
        program = torch.export.export(module, (ROWS,)).run_decompositions()
    x = np.random.default_rng(1).standard_normal((20, 5))
    np.testing.assert_allclose(from_torch(program).run(x), run(module, x), atol=1e-5)


@pytest.mark.parametrize("function", [torch.softmax, torch.log_softmax])
@pytest.mark.parametrize("axis", [1, -1])
def test_a_softmax_at_the_end_is_told(function, axis):
    module = Apply(lambda m, x: function(x @ m.w, axis))
    network = from_torch(module, (ROWS,))
    assert network.softmax and len(network.layers) == 1
    turned = Apply(lambda m, x: function((x @ m.w).t(), axis - 1).t())
    assert from_torch(turned, (ROWS,)).softmax
    assert from_torch(Apply(lambda m, x: function(m.gru(x)[0], 2), gru=nn.GRU(5, 4)), (X,)).softmax
    reason = refusal(Apply(lambda m, x: function(x @ m.w, 0)), (ROWS,))
    name = function.__name__
    assert reason == f"Apply: {name} ({name}): a softmax that is not over the 3 features of matmul (matmul)"


def gru_step(mix):
    """A gru of sums and products, whose update gate z mixes the state h and the candidate n by a function."""

    def step(m, x, h):
        x_r, x_z, x_n = m.x(x).chunk(3, 1)
        h_r, h_z, h_n = m.h(h).chunk(3, 1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        return mix(h, torch.tanh(x_n + r * h_n), z)

    return step


MIXED = {
    "difference": lambda h, n, z: n + z * (h - n),
    "two products": lambda h, n, z: z * h + (1 - z) * n,
    "sum with a factor of -1": lambda h, n, z: n + z * torch.add(h, n, alpha=-1),
    "reversed difference": lambda h, n, z: n + torch.rsub(n, h) * z,
    "difference with a factor of -1": lambda h, n, z: torch.sub(n, z * (h - n), alpha=-1),
}


@pytest.mark.parametrize("name", MIXED)
def test_sums_and_products_of_signals_are_recognized(name):
    assert_step(Apply(gru_step(MIXED[name]), x=nn.Linear(5, 12), h=nn.Linear(4, 12)), "gru")


@pytest.mark.parametrize("factor", [1, 2, 0.5])
def test_sum_with_a_factor_is_a_layer(factor):
    def step(m, x, h):
        return torch.tanh(torch.add(m.x(x), m.h(h), alpha=factor))

    assert_step(Apply(step, x=nn.Linear(5, 4), h=nn.Linear(4, 4)), "rnn")


def assert_step(module, kind):
    """A module of one step h = f(x, h) is a layer of some kind, and computes the same."""
    network = from_torch(module, (torch.zeros(2, 5), torch.zeros(2, 4)))
    assert [layer.kind for layer in network.layers] == [kind]
    x, h, want = np.random.default_rng(2).standard_normal((30, 5)), torch.zeros(1, 4), []
    with torch.no_grad():
        for row in torch.from_numpy(x.astype(np.float32)):
            h = module(row[None], h)
            want.append(h[0].numpy())
    np.testing.assert_allclose(network.run(x), want, atol=1e-5)


X = torch.zeros(3, 2, 5)


def recurrent(kind, **options):
    made = getattr(nn, kind.partition(" ")[0])(5, 4, 2, **options)
    for k, parameter in enumerate(made.parameters()):
        nn.init.uniform_(parameter, -1, 1, generator=torch.Generator().manual_seed(k))
    return made.eval()


@pytest.mark.parametrize("batch_first, bias", [(True, False), (False, True)])
@pytest.mark.parametrize("kind", ["RNN", "RNN relu", "GRU", "LSTM"])
def test_layers_keep_their_order_biases_and_states(kind, batch_first, bias):
    """States are told apart by layer, and h from c."""
    options = {"nonlinearity": "relu"} if kind == "RNN relu" else {}
    layer = recurrent(kind, batch_first=batch_first, bias=bias, dropout=0.5, **options)
    states = [
        torch.rand(2, 1, 4, generator=torch.Generator().manual_seed(k)) - 0.5
        for k in range(1 + (kind == "LSTM"))
    ]

    def sequence(m, x):
        batch = x.shape[0 if batch_first else 1]
        begin = tuple(state.expand(2, batch, 4) for state in m.states)
        return m.layer(x, begin if kind == "LSTM" else begin[0])[0]

    module = Apply(sequence, layer=layer, states=states)
    network = from_torch(module, (X.transpose(0, 1) if batch_first else X,))
    name = {"RNN": "rnn_tanh", "RNN relu": "rnn_relu"}.get(kind, kind.lower())
    assert [found.name for found in network.layers] == [f"layer ({name}) layer {k}" for k in (0, 1)]
    x = np.random.default_rng(4).standard_normal((40, 5))
    given = torch.from_numpy(x.astype(np.float32)).unsqueeze(0 if batch_first else 1)
    with torch.no_grad():
        want = module(given).squeeze(0 if batch_first else 1).numpy()
    np.testing.assert_allclose(network.run(x), want, atol=1e-5)
    for number, found in enumerate(network.layers):
        np.testing.assert_allclose(
            found.initial_state, np.concatenate([s[number, 0] for s in states]), atol=1e-7
        )


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_states_of_layers_may_be_inputs(kind):
    def sequence(m, x, *states):
        y, after = m.layer(x, states if kind == "LSTM" else states[0])
        return y, *(after if kind == "LSTM" else (after,))

    layer = recurrent(kind)
    network = from_torch(Apply(sequence, layer=layer), (X, *torch.zeros(2 if kind == "LSTM" else 1, 2, 2, 4)))
    x = np.random.default_rng(4).standard_normal((40, 5))
    np.testing.assert_allclose(network.run(x), run(Apply(lambda m, x: layer(x)[0]), x), atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["RNN", "RNN relu", "GRU", "LSTM"])
def test_cells_hand_on_their_states(kind, bias):
    options = {"nonlinearity": "relu"} if kind == "RNN relu" else {}
    cell = getattr(nn, f"{kind.partition(' ')[0]}Cell")(5, 4, bias=bias, **options)

    def step(m, x, *states):
        return m.cell(x, states if kind == "LSTM" else states[0])

    count = 2 if kind == "LSTM" else 1
    module = Apply(step, cell=cell)
    network = from_torch(module, (torch.zeros(2, 5), *torch.zeros(count, 2, 4)))
    states = torch.zeros(count, 1, 4)
    x, want = np.random.default_rng(4).standard_normal((40, 5)), []
    with torch.no_grad():
        for row in torch.from_numpy(x.astype(np.float32)):
            after = module(row[None], *states)
            states = after if kind == "LSTM" else (after,)
            want.append(states[0][0].numpy())
    np.testing.assert_allclose(network.run(x), want, atol=1e-5)
    name = {"RNN": "rnn_tanh", "RNN relu": "rnn_relu"}.get(kind, kind.lower())
    assert network.layers[0].name == f"cell ({name}_cell)"


GRU = {"gru": nn.GRU(5, 4)}


def gru_of(*options):
    """torch.gru of one layer: biases, layers, dropout, train, bidirectional, batch_first."""
    return lambda m, x: torch.gru(x, x.new_zeros(1, x.shape[1], 4), list(m.gru.parameters()), *options)[0]


REFUSED = {
    "a divisor that is computed": (
        lambda m, x: m.c / x,
        {},
        "div (div): division by a computed tensor, or with rounding",
    ),
    "a quotient that is rounded": (
        lambda m, x: torch.div(x, 2.0, rounding_mode="trunc"),
        {},
        "div (div): division by a computed tensor, or with rounding",
    ),
    "statistics of the batch": (
        lambda m, x: F.batch_norm(x[0], m.c, m.var, training=True),
        {},
        "batch_norm (batch_norm): batch normalization in training mode",
    ),
    "whole numbers": (
        lambda m, x: x.to(torch.int32),
        {},
        "to (to): a cast of a signal to a type that is not floating point",
    ),
    "dropout": (
        lambda m, x: F.dropout(x, 0.5, training=True),
        {},
        "dropout (dropout): dropout in training mode",
    ),
    "dropout between layers": (
        gru_of(True, 1, 0.5, True, False, False),
        GRU,
        "gru (gru): dropout in training mode",
    ),
    "both directions": (
        lambda m, x: m.both(x)[0],
        {"both": nn.GRU(5, 4, bidirectional=True)},
        "both (gru): bidirectional: a stream runs forward",
    ),
    "a projection": (
        lambda m, x: m.lstm(x)[0],
        {"lstm": nn.LSTM(5, 4, proj_size=2)},
        "lstm (lstm): a projection (proj_size) is not supported",
    ),
    "computed weights": (
        lambda m, x: F.linear(x, x[0]),
        {},
        "linear (linear): an argument is computed that should be constant",
    ),
    "a layer of a constant": (
        lambda m, x: m.gru(m.w.t()[None])[0] + x.sum(),
        GRU,
        "gru (gru): operator aten.gru.input on constants is not supported",
    ),
    "a layer of a constant with a computed state": (
        lambda m, x: torch.gru(
            m.w[:, None, None, 0], x[:1, :1, :4], list(m.one.parameters()), True, 1, 0.0, False, False, False
        )[0],
        {"one": nn.GRU(1, 4)},
        "gru (gru): a layer of a constant input",
    ),
    "a constant beside a signal": (
        lambda m, x: torch.cat((x, m.c.expand(3, 2, 5)), 2),
        {},
        "cat (cat): cat mixes computed and constant tensors",
    ),
    "a computed size": (
        lambda m, x: (x @ m.w)[:1].expand_as(x @ m.w),
        {},
        "expand_as (expand_as): expand_as mixes computed and constant tensors",
    ),
    "a computed index": (
        lambda m, x: torch.index_select(m.c, 0, x[0, 0].to(torch.int64)),
        {},
        "to (to): a cast of a signal to a type that is not floating point",
    ),
    "chance": (
        lambda m, x: x + torch.rand(5),
        {},
        "rand (rand): operator aten.rand.default on constants is not supported",
    ),
    "an operator that is not known": (lambda m, x: x.erf(), {}, "erf (erf): operator erf is not supported"),
    "a weight that is not used": (lambda m, x: x @ m.w, GRU, "gru.weight_ih_l0: a weight that is not used"),
    "a number as output": (lambda m, x: (x @ m.w, 3), {}, "3: an output that is constant"),
    "a weight as output": (lambda m, x: (x @ m.w, m.d), {}, "Apply: c_d: an output that is constant"),
    "too large a constant": (
        lambda m, x: x + torch.zeros(2**14, 2**12 + 1).sum(),
        {},
        "zeros (zeros): a constant of shape (16384, 4097)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_operators_are_refused_in_these_words(name):
    function, layers, reason = REFUSED[name]
    message = refusal(Apply(function, **layers), (X,))
    assert message.startswith("Apply: ") and message.endswith(reason), message


@pytest.mark.parametrize("options", [(True, 1, 0.0, True, False, False), (True, 1, 0.5, False, False, False)])
def test_dropout_that_drops_nothing_is_none(options):
    assert from_torch(Apply(gru_of(*options), gru=nn.GRU(5, 4)), (X,)).layers[0].kind == "gru"


def test_constants_may_be_large(monkeypatch):
    """At the limit itself, which is lowered for that."""
    assert _torch_walk.MAX_ELEMENTS == 2**26
    monkeypatch.setattr(_torch_walk, "MAX_ELEMENTS", 15)
    assert len(from_torch(Apply(lambda m, x: x @ (m.w * 2)), (ROWS,)).layers) == 1
    monkeypatch.setattr(_torch_walk, "MAX_ELEMENTS", 14)
    message = refusal(Apply(lambda m, x: x @ (m.w * 2)), (ROWS,))
    assert message == "Apply: mul (mul): a constant of shape (5, 3)"


# ------------------------------------------------------------------------------------------ modules and programs


@pytest.mark.parametrize("error, reason", [(ValueError("why\nmore"), "why"), (KeyError(), "KeyError")])
def test_what_an_operator_stumbles_over_is_told_by_its_name(error, reason, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setitem(_torch_walk.HANDLERS, "mm", fail)
    assert refusal(Apply(COMPUTED["mm"]), (ROWS,)) == f"Apply: mm (mm): {reason}"


def test_nodes_that_are_no_calls_are_refused():
    graph = torch.fx.Graph()
    graph.output(graph.get_attr("branch.of"))
    program = types.SimpleNamespace(graph=graph, graph_signature=types.SimpleNamespace(input_specs=[]))
    with pytest.raises(ImportRefusedError, match=r"^branch_of: get_attr branch\.of is not supported$"):
        _torch_walk.walk_program(program, "there")


def applied(target, *arguments):
    """What a walk makes of one node whose arguments are constants."""
    return _torch_walk.Walk(None)._apply(torch.fx.Graph().call_function(target, arguments))


def test_constants_are_computed_by_operators_of_tensors_and_numbers_only():
    aten, x = torch.ops.aten, torch.ones(2)
    assert applied(operator.add, 2, 3) == 5 and applied(math.floor, 2.5) == 2
    assert applied(operator.getitem, (7, 8), 1) == 8
    assert applied(aten.add.Tensor, x, x).tolist() == [2, 2]
    assert applied(aten._assert_async.msg, torch.tensor(False), "not looked at") is None
    assert applied(aten.mul.Tensor, x.requires_grad_(), x).requires_grad is False
    for target, name, told in (
        (os.path.join, "join", os.path.join),
        (len, "len_1", len),
        (aten.rand.default, "rand_default", "aten.rand.default on constants"),
        (torch.ops.prims.add.default, "add_default", "prims.add.default on constants"),
    ):
        with pytest.raises(ImportRefusedError) as error:
            applied(target, "a")
        message = str(error.value)
        assert message.startswith(f"{name} (") and message.endswith(f": operator {told} is not supported")


def program_of(module, example, shapes):
    return torch.export.export(module, example, dynamic_shapes=shapes)


@pytest.mark.parametrize("least, most, fits", [(3, 4, True), (12, 13, True), (8, 10, False), (14, 20, False)])
def test_open_axes_take_a_size_that_fits(least, most, fits):
    rows = torch.export.Dim("rows", min=least, max=most)
    program = program_of(Apply(COMPUTED["mm"]), (torch.zeros(least, 5),), (({0: rows},),))
    if fits:
        assert from_torch(program).input_size == 5
    else:
        axis = program.graph_signature.user_inputs[0]
        message = refusal(program)
        assert message.startswith(f"ExportedProgram: {axis}: no size for its axis s"), message


def test_each_open_axis_has_bounds_of_its_own():
    steps, batch = torch.export.Dim("steps", min=12, max=13), torch.export.Dim("batch", min=3, max=4)
    module = Apply(lambda m, x: x.reshape(-1, 5) @ m.w)
    for axes in ((steps, batch), (batch, steps)):
        example = torch.zeros(*(dim.min for dim in axes), 5)
        assert from_torch(program_of(module, (example,), ((dict(enumerate(axes)),),))).input_size == 5


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: (x @ m.w).reshape(x.shape[0] * 3).reshape(-1, 3),
        lambda m, x: x @ m.w + torch.full((x.shape[0], 3), 0.5) * torch.ones_like(x[:, :1]),
    ],
    ids=["of a number", "of a constant"],
)
def test_sizes_of_open_axes_are_computed(function):
    program = program_of(Apply(function), (ROWS,), (({0: torch.export.Dim("rows")},),))
    x = np.random.default_rng(1).standard_normal((20, 5))
    np.testing.assert_allclose(from_torch(program).run(x), run(Apply(function), x), atol=1e-5)


def test_inputs_that_are_no_tensors_are_refused():
    module = Apply(lambda m, x, n: (x @ m.w) * n)
    program = program_of(module, (ROWS, 3), (({}, torch.export.Dim.DYNAMIC),))
    name = program.graph_signature.user_inputs[1]
    assert refusal(program) == f"ExportedProgram: {name}: an input that is no tensor"


class Model(nn.Module):
    """forward(x, ...) = head(x), with the weights that a test is about."""

    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x, scale=None, **options):
        return self.head(x)


class Counted(nn.Module):
    """A gru after a parameter that is a whole number."""

    def __init__(self, inputs):
        super().__init__()
        self.count = nn.Parameter(torch.tensor(3), requires_grad=False)
        self.gru = nn.GRU(inputs, 4)

    def forward(self, x):
        return self.gru(x)[0]


def head(*layers):
    return Model(head=nn.Sequential(*layers)).eval()


@pytest.mark.parametrize(
    "module, inputs",
    [
        (head(nn.BatchNorm1d(6), nn.Linear(6, 3)), 6),
        (nn.BatchNorm1d(4).eval(), 4),
        (nn.GRU(7, 3).double(), 7),
        (nn.GRU(7, 3, batch_first=True), 7),
        (Counted(7), 7),
        (Apply(lambda m, x: m.second(m.first(x)[0]), second=nn.Linear(4, 3), first=nn.GRU(5, 4)), 5),
    ],
    ids=["norm", "norm alone", "double", "batch first", "a whole number", "order"],
)
def test_examples_have_the_size_of_a_layer(module, inputs):
    network = from_torch(module)
    assert network.input_size == inputs and network.source == type(module).__name__


def test_examples_are_two_of_different_lengths():
    examples = import_torch._examples(nn.GRU(7, 3).double())
    assert [tuple(x.shape) for (x,) in examples] == [(11, 3, 7), (4, 7, 7)]
    assert {x.dtype for (x,) in examples} == {torch.float64}
    examples = import_torch._examples(nn.BatchNorm1d(4).eval())
    assert [tuple(x.shape) for (x,) in examples] == [(11, 4), (4, 4)]
    assert {x.dtype for (x,) in examples} == {torch.float32}


NO_EXAMPLE = "give example=(x,), a tensor of one call"


@pytest.mark.parametrize(
    "module, reason",
    [
        (
            nn.Bilinear(2, 3, 4),
            "forward takes input1, input2: give example=(input1, input2), tensors of one call",
        ),
        (nn.Tanh(), f"no size of input fits that its layers tell: {NO_EXAMPLE}"),
        (head(nn.Linear(5, 3), nn.Linear(4, 3)), f"no size of input fits that its layers tell: {NO_EXAMPLE}"),
    ],
    ids=["two inputs", "no layer", "layers that do not fit"],
)
def test_modules_whose_input_is_not_told_need_an_example(module, reason):
    message = refusal(module)
    assert message == f"{type(module).__name__}: {reason}"


def test_networks_that_depend_on_their_length_are_refused():
    module = Apply(lambda m, x: m.gru(x)[0] * x.shape[0], gru=nn.GRU(5, 4))
    assert refusal(module) == "Apply: the network depends on the length of its input"


def test_exports_that_fail_say_why():
    def fail(m, x):
        raise KeyError("no such\nthing")

    message = refusal(Apply(fail), (ROWS,))
    assert message.startswith("Apply: torch.export failed: ") and "no such" in message
