# SPDX-License-Identifier: MIT
"""`exporters.graph`: what a network refuses, and that it computes what the formulas of its layers say."""

import dataclasses
import math

import numpy as np
import pytest
from float_networks import float_network

from edge_runtime.format import GATES
from exporters.graph import (
    ACTIVATE,
    Dense,
    ImportRefusedError,
    Network,
    Recurrent,
    printable,
    same_network,
    sigmoid,
)

KINDS = [
    ("rnn", {"activation": "tanh"}),
    ("rnn", {"activation": "relu"}),
    ("gru", {}),
    ("gru", {"reset_before": True}),
    ("lstm", {}),
]


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def recurrent(kind="gru", units=3, inputs=2, **fields):
    rows = GATES[kind] * units
    arrays = {"w_x": uniform(rows, inputs), "w_h": uniform(rows, units, seed=1)}
    arrays |= {"b_x": uniform(rows, seed=2), "b_h": uniform(rows, seed=3)}
    if kind == "rnn":
        fields = {"activation": "tanh", **fields}
    return Recurrent(kind, **(arrays | fields))


def refusal(function):
    with pytest.raises(ImportRefusedError) as error:
        function()
    return str(error.value)


@pytest.mark.parametrize(
    "text, line",
    [("plain ü", "plain ü"), ("a\nb", r"a\nb"), ("\x1b[0m\t", r"\x1b[0m\t"), ("\u2028", r"\u2028")],
)
def test_messages_are_one_line(text, line):
    assert printable(text) == str(ImportRefusedError(text)) == line
    assert str(ImportRefusedError(7)) == "7"


# ---------------------------------------------------------------------------------- what is refused

LAYERS = {
    "rows of w_x": ({"w_x": uniform(8, 2)}, "w_x: expected shape (9, 'any'), found (8, 2)"),
    "axes of w_x": ({"w_x": uniform(9)}, "w_x: expected shape (9, 'any'), found (9,)"),
    "no inputs": ({"w_x": uniform(9, 0)}, "w_x: a dimension of size 0: (9, 0)"),
    "rows of w_h": ({"w_h": uniform(10, 3)}, "w_h: expected shape (9, 3), found (10, 3)"),
    "columns of w_h": ({"w_h": uniform(9, 4)}, "w_x: expected shape (12, 'any'), found (9, 2)"),
    "a vector for w_h": ({"w_h": uniform(9)}, "w_x: expected shape (27, 'any'), found (9, 2)"),
    "b_x": ({"b_x": uniform(8)}, "b_x: expected shape (9,), found (8,)"),
    "axes of b_x": ({"b_x": uniform(9, 1)}, "b_x: expected shape (9,), found (9, 1)"),
    "b_h": ({"b_h": uniform(10)}, "b_h: expected shape (9,), found (10,)"),
    "state": ({"initial_state": uniform(6)}, "initial_state: expected shape (3,), found (6,)"),
    "state of an lstm": (
        {"kind": "lstm", "initial_state": uniform(3)},
        "initial_state: expected shape (6,), found (3,)",
    ),
    "no number": (
        {"b_h": np.array([0, 1, 2, 3, np.nan, 5, np.nan, 7, 8])},
        "b_h: not a finite number at (4,): nan",
    ),
    "infinite": (
        {"w_x": np.where(np.arange(18).reshape(9, 2) == 13, -np.inf, 1)},
        "w_x: not a finite number at (6, 1): -inf",
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layers_are_checked(name):
    fields, reason = LAYERS[name]
    assert refusal(lambda: recurrent(**fields)) == f"Recurrent: {reason}"
    assert refusal(lambda: recurrent(**fields, name="first")) == f"first: {reason}"


def test_dense_layers_are_checked():
    w, b = uniform(3, 5), uniform(3)
    assert refusal(lambda: Dense(w, uniform(4), name="head")) == "head: b: expected shape (3,), found (4,)"
    assert refusal(lambda: Dense(w[0], b)) == "Dense: w: expected shape ('any', 'any'), found (5,)"
    assert refusal(lambda: Dense(w[:, :0], b)) == "Dense: w: a dimension of size 0: (3, 0)"
    assert refusal(lambda: Dense(w, b * np.inf)).startswith("Dense: b: not a finite number at (0,): ")


def test_chains_of_layers_are_checked():
    one, two = Dense(uniform(4, 5), uniform(4), name="one"), Dense(uniform(3, 4), uniform(3), name="two")
    assert refusal(lambda: Network([], source="by hand")) == "by hand: no layer found"
    assert (
        refusal(lambda: Network([one, two, one], source="file"))
        == "file: one: expected 3 inputs, as two has outputs, found 5"
    )
    network = Network([one, recurrent("gru", 6, 4), recurrent("lstm", 4, 6), two])
    assert isinstance(network.layers, tuple) and len(network.layers) == 4
    assert (network.input_size, network.output_size) == (5, 3)
    assert (network.layers[1].input_size, network.layers[1].output_size) == (4, 6)
    assert (network.softmax, network.source) == (False, "")


def test_layers_are_frozen_and_in_float64():
    layer = recurrent("rnn", b_h=[1, 2, 3], initial_state=np.float32([1, 2, 3]))
    assert {getattr(layer, f).dtype for f in ("w_x", "w_h", "b_x", "b_h", "initial_state")} == {
        np.dtype("float64")
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.kind = "gru"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Network([layer]).softmax = True
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dense([[1]], [1]).activation = "tanh"
    dense = Dense([[1, 2]], [3])
    assert (dense.activation, dense.name, layer.reset_before, layer.name) == ("none", "", False, "")
    assert recurrent("gru").activation == "none" and recurrent().initial_state is None


# ---------------------------------------------------------------------------------- what is computed


def logistic(x):
    return 1 / (1 + math.exp(-x))


def by_formula(layer, sequence):
    """A recurrent layer, number by number, and the vectors that W_h was applied to."""
    units = layer.output_size
    state = np.zeros(2 * units) if layer.initial_state is None else layer.initial_state
    h, c = list(state[:units]), list(state[units:])
    outputs, products = [], []

    def of(row, x, h):
        """The products of a row with the input and with the state, each with its bias."""
        a = sum(w * v for w, v in zip(layer.w_x[row], x, strict=True)) + layer.b_x[row]
        return a, sum(w * v for w, v in zip(layer.w_h[row], h, strict=True)) + layer.b_h[row]

    for x in sequence:
        products.append(h)
        sums = [sum(of(row, x, h)) for row in range(len(layer.w_x))]
        if layer.kind == "rnn":
            h = [math.tanh(v) if layer.activation == "tanh" else max(v, 0.0) for v in sums]
        elif layer.kind == "lstm":
            i, f, g, o = (sums[k * units : (k + 1) * units] for k in range(4))
            c = [logistic(f[j]) * c[j] + logistic(i[j]) * math.tanh(g[j]) for j in range(units)]
            h = [logistic(o[j]) * math.tanh(c[j]) for j in range(units)]
        else:
            r, z = ([logistic(v) for v in sums[k * units : (k + 1) * units]] for k in range(2))
            if layer.reset_before:
                inner = [sum(of(2 * units + j, x, np.multiply(r, h))) for j in range(units)]
            else:
                pairs = [of(2 * units + j, x, h) for j in range(units)]
                inner = [a + r[j] * b for j, (a, b) in enumerate(pairs)]
            h = [z[j] * h[j] + (1 - z[j]) * math.tanh(inner[j]) for j in range(units)]
        outputs.append(h)
    return np.array(outputs), np.array(products)


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("kind, fields", KINDS)
def test_recurrent_layers_compute_their_formulas(kind, fields, start):
    state = 2 * uniform(6 if kind == "lstm" else 3, seed=5) if start else None
    layer = recurrent(kind, initial_state=state, **fields)
    x = 2 * uniform(7, 2, seed=4)
    outputs, products = by_formula(layer, x)
    record = []
    found = Network([layer]).run(x, record)
    np.testing.assert_allclose(found, outputs, rtol=1e-12, atol=1e-12)
    [seen] = record
    np.testing.assert_array_equal(seen["x"], x)
    np.testing.assert_allclose(seen["h"], products, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(Network([layer]).run(x.tolist()), found)


@pytest.mark.parametrize(
    "activation, f",
    [
        ("none", lambda v: v),
        ("tanh", math.tanh),
        ("relu", lambda v: max(v, 0.0)),
        ("sigmoid", logistic),
    ],
)
def test_dense_layers_compute_their_formula(activation, f):
    layer = Dense(uniform(3, 4), uniform(3, seed=1), activation)
    x = uniform(5, 4, seed=2)
    want = [[f(sum(layer.w[j] * row) + layer.b[j]) for j in range(3)] for row in x]
    record = []
    np.testing.assert_allclose(Network([layer]).run(x, record), want, rtol=1e-12, atol=1e-12)
    assert list(record[0]) == ["x"] and list(ACTIVATE) == ["none", "tanh", "relu", "sigmoid"]


def test_each_layer_takes_what_the_one_before_gives():
    network = float_network("lstm", layers=2)
    x = uniform(9, network.input_size)
    record = []
    y = network.run(x, record)
    assert [sorted(seen) for seen in record] == [["h", "x"], ["h", "x"], ["x"]]
    for k, layer in enumerate(network.layers):
        after = Network([layer]).run(record[k]["x"])
        np.testing.assert_array_equal(after, record[k + 1]["x"] if k < 2 else y)


def test_layers_and_networks_are_themselves_only():
    """So that they can be keys of a dict."""
    for make in (recurrent, lambda: Dense([[1.0]], [1.0]), lambda: Network([Dense([[1.0]], [1.0])])):
        one, other = make(), make()
        assert len({one, other, one}) == 2 and one != other


def test_sigmoid_does_not_overflow():
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(sigmoid(np.array([-1e9, 0, 1e9])), [0, 0.5, 1])


# ---------------------------------------------------------------------------------- equal networks


def test_networks_are_equal_in_every_weight():
    base = float_network("gru", layers=2)
    assert same_network(base, float_network("gru", layers=2))
    first, *others, dense = base.layers
    named = dataclasses.replace(first, name="another")
    assert same_network(base, Network([named, *others, dense], source="elsewhere"))
    assert not same_network(base, Network(base.layers, softmax=True))
    assert not same_network(base, Network(base.layers[:-1]))
    assert not same_network(base, Network([first, *others, first.__class__(**{**vars(others[0])})]))
    for field in ("w_x", "w_h", "b_x", "b_h", "initial_state"):
        value = getattr(first, field).copy()
        value.flat[-1] += 1e-9
        assert not same_network(base, Network([dataclasses.replace(first, **{field: value}), *others, dense]))
    for changed in (
        dataclasses.replace(first, initial_state=None),
        dataclasses.replace(first, reset_before=True),
    ):
        assert not same_network(base, Network([changed, *others, dense]))
    for changed in (dataclasses.replace(dense, activation="tanh"), dataclasses.replace(dense, b=dense.b + 1)):
        assert not same_network(base, Network([first, *others, changed]))


def test_layers_of_another_kind_are_not_equal():
    rnn = recurrent("rnn", 3, 2)
    other = Dense(uniform(3, 2), uniform(3))
    assert not same_network(Network([rnn]), Network([other]))
    assert not same_network(Network([other]), Network([rnn]))
