# SPDX-License-Identifier: MIT
"""Stages become layers: what folds into which layer, and what they compute then."""

import numpy as np
import pytest
from float_networks import float_network

from exporters._chain import chain_layers
from exporters._stages import Stage
from exporters.graph import ACTIVATE, Dense, ImportRefusedError, Network, Recurrent

SIZE = 4
RNG = np.random.default_rng(0)
W, V = RNG.uniform(-1, 1, (2, SIZE, SIZE))
B, C = RNG.uniform(-1, 1, (2, SIZE))
SCALE, SHIFT = RNG.uniform(0.5, 2, SIZE), RNG.uniform(-1, 1, SIZE)
AGAIN = SCALE[::-1], SHIFT[::-1] + 1
NARROW = RNG.uniform(-1, 1, (2, SIZE)), RNG.uniform(-1, 1, 2)


def gru():
    return float_network("gru", inputs=SIZE, units=SIZE, reset_before=True).layers[0]


def stages(*parts):
    """Features of SIZE, and parts (kind, value) behind them, named after their place; "recurrent" is the layer of `gru`."""
    made = [Stage("features", "x", 0, 10, SIZE, None, (10,))]
    for i, (kind, value) in enumerate(parts):
        value = gru() if kind == "recurrent" else value
        made.append(Stage(kind, f"{kind}{i}", 0, 10, SIZE, made[-1], value))
    return made


def computed(parts, x):
    """What the stages say, one after the other."""
    for kind, value in parts:
        if kind == "affine":
            x = x * value[0] + value[1]
        elif kind == "dense":
            x = x @ value[0].T + value[1]
        elif kind == "activation":
            x = ACTIVATE[value](x)
        elif kind == "recurrent":
            x = Network([gru()]).run(x)
    return x


AFFINE, OTHER, DENSE, SECOND = (
    ("affine", (SCALE, SHIFT)),
    ("affine", AGAIN),
    ("dense", (W, B)),
    ("dense", (V, C)),
)
TANH, RELU, CELL = ("activation", "tanh"), ("activation", "relu"), ("recurrent", None)
#: Stages, and the layers that they become: kind, activation, name.
CHAINS = [
    ([DENSE], ["dense none dense0"]),
    ([DENSE, TANH], ["dense tanh dense0"]),
    ([DENSE, AFFINE], ["dense none dense0"]),
    ([DENSE, AFFINE, OTHER, TANH], ["dense tanh dense0"]),
    ([DENSE, SECOND], ["dense none dense0", "dense none dense1"]),
    ([DENSE, TANH, RELU], ["dense tanh dense0", "dense relu activation2"]),
    ([DENSE, TANH, AFFINE, RELU], ["dense tanh dense0", "dense relu activation3"]),
    ([DENSE, TANH, AFFINE], ["dense tanh dense0", "dense none affine2"]),
    ([DENSE, TANH, AFFINE, OTHER], ["dense tanh dense0", "dense none affine2"]),
    ([DENSE, TANH, AFFINE, OTHER, SECOND], ["dense tanh dense0", "dense none dense4"]),
    ([AFFINE, DENSE], ["dense none dense1"]),
    ([AFFINE, OTHER, CELL], ["gru none gru0"]),
    ([CELL, AFFINE], ["gru none gru0", "dense none affine1"]),
    ([CELL, TANH], ["gru none gru0", "dense tanh activation1"]),
    ([CELL, AFFINE, CELL, DENSE], ["gru none gru0", "gru none gru0", "dense none dense3"]),
    ([AFFINE, TANH], ["dense tanh activation1"]),
    ([TANH, SECOND], ["dense tanh activation0", "dense none dense1"]),
    ([AFFINE], ["dense none affine0"]),
    (
        [DENSE, ("dense", NARROW), TANH, RELU],
        ["dense none dense0", "dense tanh dense1", "dense relu activation3"],
    ),
]


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("parts, names", CHAINS, ids=[" ".join(p[0] for p in parts) for parts, _ in CHAINS])
def test_constants_fold_into_the_layers_beside_them(parts, names, softmax):
    layers, ended = chain_layers(stages(*parts, *([("softmax", None)] if softmax else [])))
    assert ended is softmax
    assert [f"{getattr(a, 'kind', 'dense')} {a.activation} {a.name}" for a in layers] == names
    assert {type(layer) for layer in layers} <= {Dense, Recurrent}
    x = np.random.default_rng(1).standard_normal((10, SIZE))
    np.testing.assert_allclose(Network(layers).run(x), computed(parts, x), rtol=1e-10, atol=1e-12)


def test_all_of_a_recurrent_layer_but_its_inputs_stays():
    [layer], _ = chain_layers(stages(AFFINE, CELL))
    source = gru()
    for field in ("kind", "activation", "reset_before", "name"):
        assert getattr(layer, field) == getattr(source, field)
    for field in ("w_h", "b_h", "initial_state"):
        np.testing.assert_array_equal(getattr(layer, field), getattr(source, field))
    np.testing.assert_allclose(layer.w_x, source.w_x * SCALE)
    np.testing.assert_allclose(layer.b_x, source.b_x + source.w_x @ SHIFT)


@pytest.mark.parametrize(
    "parts, reason",
    [
        ([DENSE, ("softmax", None), TANH], "activation2: follows a softmax"),
        ([("softmax", None), ("softmax", None)], "softmax1: follows a softmax"),
        ([CELL, ("cell", None)], "cell1: its cell state goes into a layer: only its output can"),
    ],
)
def test_what_no_chain_can_be(parts, reason):
    with pytest.raises(ImportRefusedError) as error:
        chain_layers(stages(*parts))
    assert str(error.value) == reason


def test_no_stage_is_no_layer():
    assert chain_layers(stages()) == ([], False)
    assert chain_layers(stages(("softmax", None))) == ([], True)
