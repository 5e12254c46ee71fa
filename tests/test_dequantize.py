# SPDX-License-Identifier: MIT
"""Packed models as float networks: each number of the file becomes the real number that FORMAT.md gives it."""

import numpy as np
import pytest

from edge_runtime._format_parts import BIAS_TYPES
from edge_runtime.format import GATES, Layer, Matrix, ModelFile
from exporters.dequantize import dequantize
from exporters.graph import Dense

#: Term codes and what they stand for: 1 + 1/4, -1/8, 1/2, 0 and 1 - 2^-15.
SCALES = (
    ((0x80, 0x82), 1.25),
    ((0xC3, 0), -0.125),
    ((0x81, 0), 0.5),
    ((0, 0), 0.0),
    ((0x80, 0xCF), 1 - 2.0**-15),
)
#: Of each profile: pre-activations and biases, and the cell of an lstm.
UNITS = {1: (2.0**-11, 2.0**-12), 2: (2.0**-16, 2.0**-16)}


def matrix(rng, rows, columns, planes=2, bias=True, profile=1, **fields):
    codes = [[SCALES[(p + row) % len(SCALES)][0] for row in range(rows)] for p in range(planes)]
    return Matrix(
        "pow2",
        rng.choice(np.array([-64, -2, -1, 0, 1, 4, 32], np.int8), (planes, rows, columns)),
        np.array(codes, np.uint8),
        rng.integers(-900, 900, rows).astype(BIAS_TYPES[profile]) if bias else None,
        **fields,
    )


def real(packed, profile, unit):
    """A matrix and its bias, number by number."""
    pre_unit = UNITS[profile][0]
    planes, rows, columns = packed.weights.shape
    w = np.zeros((rows, columns))
    for p in range(planes):
        for row in range(rows):
            scale = SCALES[(p + row) % len(SCALES)][1] * 2.0**packed.left_shift
            for column in range(columns):
                w[row, column] += int(packed.weights[p, row, column]) * scale
    operand = 2**packed.operand_shift * (4 / 3 if packed.three_quarters else 1)
    bias = np.zeros(rows) if packed.bias is None else packed.bias.astype(float) * pre_unit
    return w * pre_unit / (operand * unit), bias


@pytest.mark.parametrize("profile", [1, 2])
def test_dense_layers_are_those_of_the_file(profile):
    """Of the first one the inputs' scale and offset are a part; the unit of the next one's inputs is that of its outputs."""
    rng = np.random.default_rng(1)
    first = matrix(rng, 4, 3, profile=profile, operand_shift=2, three_quarters=True, left_shift=3)
    scale, offset = np.float32([2, 0.5, -4]), np.float32([1, -3, 0.25])
    for activation, unit in (
        ("none", 2.0**-11),
        ("relu", 2.0**-11),
        ("tanh", 2.0**-15),
        ("sigmoid", 2.0**-15),
    ):
        second = matrix(rng, 2, 4, planes=1, bias=False, profile=profile, operand_shift=1, left_shift=-2)
        layers = (Layer("dense", activation, 3, 4, (first,)), Layer("dense", "none", 4, 2, (second,)))
        network = dequantize(ModelFile(scale, offset, layers, profile=profile))
        assert [type(layer) for layer in network.layers] == [Dense, Dense] and network.source == "model"
        assert [layer.name for layer in network.layers] == ["layer 0", "layer 1"]
        assert [layer.activation for layer in network.layers] == [activation, "none"]
        w, b = real(first, profile, 1)
        np.testing.assert_allclose(network.layers[0].w, w * scale, rtol=1e-12)
        np.testing.assert_allclose(network.layers[0].b, b + w @ offset.astype(float), rtol=1e-12)
        w, b = real(second, profile, unit)
        np.testing.assert_allclose(network.layers[1].w, w, rtol=1e-12)
        np.testing.assert_array_equal(network.layers[1].b, b)


KINDS = [
    ("rnn", "tanh", False),
    ("rnn", "relu", False),
    ("gru", "none", False),
    ("gru", "none", True),
    ("lstm", "none", False),
]


@pytest.mark.parametrize("profile", [1, 2])
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("kind, activation, reset_before", KINDS)
def test_recurrent_layers_are_those_of_the_file(kind, activation, reset_before, start, profile):
    rng = np.random.default_rng(2)
    units, rows = 3, 3 * GATES[kind]
    state = None
    if start:
        h = rng.integers(-32768, 32768, units)
        c = rng.integers(-30000, 30000, units if kind == "lstm" else 0)
        stored = c.astype("<i2" if profile == 1 else "<i4")
        state = np.concatenate([h.astype("<i2"), stored.view("<i2")]).astype(np.int16)
    matrices = (
        matrix(rng, rows, 2, profile=profile, operand_shift=1, left_shift=1),
        matrix(rng, rows, units, planes=3, profile=profile, three_quarters=True, operand_shift=3),
    )
    layer = Layer(kind, activation, 2, units, matrices, reset_before=reset_before, initial_state=state)
    ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
    network = dequantize(ModelFile(ones, zeros, (layer,), profile=profile), "a file")
    assert network.source == "a file"
    [found] = network.layers
    assert (found.kind, found.activation, found.reset_before, found.name) == (
        kind,
        activation,
        reset_before,
        "layer 0",
    )
    unit = 2.0**-11 if activation == "relu" else 2.0**-15
    for names, packed, of in ((("w_x", "b_x"), matrices[0], 1.0), (("w_h", "b_h"), matrices[1], unit)):
        for name, value in zip(names, real(packed, profile, of), strict=True):
            np.testing.assert_allclose(getattr(found, name), value, rtol=1e-12)
    if start:
        want = np.concatenate([h * unit, c * UNITS[profile][1]])
        np.testing.assert_allclose(found.initial_state, want, rtol=1e-12)
    else:
        assert found.initial_state is None


@pytest.mark.parametrize(
    "kind, activation, unit",
    [
        ("rnn", "relu", 2.0**-11),
        ("rnn", "tanh", 2.0**-15),
        ("gru", "none", 2.0**-15),
        ("lstm", "none", 2.0**-15),
    ],
)
@pytest.mark.parametrize("first", ["none", "tanh"])
def test_layers_take_what_the_ones_before_give(kind, activation, unit, first):
    """An rnn of relu gives numbers without bounds, a gru such below 1."""
    rng = np.random.default_rng(3)
    ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
    rows = 3 * GATES[kind]
    w_x, dense = matrix(rng, rows, 2), matrix(rng, 2, 3)
    layers = (
        Layer("dense", first, 2, 2, (matrix(rng, 2, 2),)),
        Layer(kind, activation, 2, 3, (w_x, matrix(rng, rows, 3))),
        Layer("dense", "none", 3, 2, (dense,)),
    )
    network = dequantize(ModelFile(ones, zeros, layers))
    before = 2.0**-11 if first == "none" else 2.0**-15
    np.testing.assert_allclose(network.layers[1].w_x, real(w_x, 1, before)[0], rtol=1e-12)
    np.testing.assert_allclose(network.layers[2].w, real(dense, 1, unit)[0], rtol=1e-12)
