# SPDX-License-Identifier: MIT
"""Numeric profile 2 (FORMAT.md, section 7.5): its primitives, its activations, and how close it stays to real numbers.

That the library computes what the reference does is tested with the layers (test_gru.py and so on), streams and files.
"""

import pathlib
import subprocess
import sys
import zlib

import numpy as np
import pytest
from random_models import random_weights

import edge_runtime
from edge_runtime import fine_table, reference
from edge_runtime.format import GATES, Layer, Matrix, ModelFile, row_scale_value

ROOT = pathlib.Path(__file__).resolve().parents[1]
TANH_ERROR = 1.6  # units of 2^-15, as section 7.5 states
GATE_ERROR = 1.6  # units of 2^-16, likewise
#: Pre-activations of `library_outputs`.
P = np.arange(-32767 * 32, 32767 * 32 + 32)


def library_outputs(activation):
    """Output of a dense layer at every pre-activation of P: 32 times the input plus a bias per row."""
    matrix = Matrix(
        "ternary",
        np.ones((1, 32, 1), np.int8),
        np.tile(np.array([0x80, 0], np.uint8), (1, 32, 1)),
        np.arange(32, dtype=np.int32),
        clamp=32767,
        left_shift=5,
    )
    layer = Layer("dense", activation, 1, 32, (matrix,))
    model = ModelFile(np.ones(1, np.float32), np.zeros(1, np.float32), (layer,), profile=2)
    x = np.arange(-32767, 32768, dtype=np.int16)[:, None]
    return edge_runtime.Model.from_bytes(model.to_bytes()).stream().run_quantized(x).ravel().astype(int)


def test_library_activations_equal_reference_everywhere():
    expected = {
        "none": reference.sat16(reference.rounding_shift(P, 5)),
        "relu": reference.sat16(reference.rounding_shift(np.maximum(P, 0), 5)),
        "tanh": reference.sat16(reference.fine_tanh(P)),
        "sigmoid": np.minimum(reference.rounding_shift(reference.fine_sigmoid(P), 1), 32767),
    }
    for activation, values in expected.items():
        np.testing.assert_array_equal(library_outputs(activation), values, activation)


def test_tanh_is_within_the_stated_error_monotone_and_odd():
    t = reference.fine_tanh(P)
    assert np.abs(t - 32768 * np.tanh(P / 65536)).max() <= TANH_ERROR
    assert np.diff(t).min() >= 0
    np.testing.assert_array_equal(reference.fine_tanh(-P), -t)
    assert reference.fine_tanh([-(1 << 26), 0, 1 << 26]).tolist() == [-32768, 0, 32768]


def test_gate_is_within_the_stated_error_monotone_and_symmetric():
    g = reference.fine_sigmoid(P)
    assert np.abs(g - 65536 / (1 + np.exp(-P / 65536))).max() <= GATE_ERROR
    assert np.diff(g).min() >= 0
    np.testing.assert_array_equal(reference.fine_sigmoid(-P), 65536 - g)
    assert reference.fine_sigmoid([-(1 << 26), 0, 1 << 26]).tolist() == [0, 32768, 65536]


def test_part_without_a_product_is_the_rounded_product():
    """The loop of N17 against rs(d * f, s), in 32 bits."""
    rng = np.random.default_rng(1)
    extremes = np.array([-(1 << 27), -(1 << 27) + 1, -1, 0, 1, (1 << 27) - 1, 1 << 27])
    d = np.concatenate([extremes, rng.integers(-(1 << 27), (1 << 27) + 1, 400)])[:, None]
    for s in (1, 10, 11, 16):
        f = np.concatenate([[0, 1, (1 << s) - 1, 1 << s], rng.integers(0, (1 << s) + 1, 200)])
        a = np.zeros((len(d), len(f)), np.int64)
        for k in range(s):
            a = (a + np.where(f >> k & 1, d, 0) + (k == s - 1)) >> 1
            assert np.abs(a).max() <= 1 << 27
        a = a + np.where(f == 1 << s, d, 0)
        np.testing.assert_array_equal(a, reference.part(d, f, s))


def test_a_gate_of_one_or_zero_keeps_what_it_mixes():
    p = np.array([-(1 << 26), -32768, -1, 0, 1, 32767, 1 << 26])
    np.testing.assert_array_equal(reference.mix(65536, p, p[::-1]), p)
    np.testing.assert_array_equal(reference.mix(0, p, p[::-1]), p[::-1])


def test_table_crc_is_that_of_the_table():
    assert zlib.crc32(np.array(fine_table.TANH, "<u2").tobytes()) == fine_table.TABLE_CRC


def test_table_is_what_the_tool_makes():
    tool = ROOT / "native" / "tools" / "make_fine_table.py"
    if not tool.is_file():
        pytest.skip("no checkout: native/tools/make_fine_table.py is not here")
    result = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# -------------------------------------------------------------------------------- against real numbers

INPUT_SCALE = 6000
STEPS = 500
#: Greatest difference from float64 over STEPS steps, at h.
MOST_ERROR = 5e-4


def planes(rng, rows, columns, left_shift):
    """A matrix of three planes, each finer than the one before."""
    scales = np.array([[0x81, 0x83], [0x83, 0xC6], [0x85, 0x89]], np.uint8)
    return Matrix(
        "ternary",
        random_weights(rng, "ternary", (3, rows, columns)),
        np.tile(scales[:, None], (1, rows, 1)),
        rng.integers(-10000, 10001, rows).astype(np.int32),
        clamp=32767,
        left_shift=left_shift,
    )


def real(matrix, unit):
    """The matrix and the bias in real numbers, for values of this unit."""
    scales = np.ldexp(row_scale_value(matrix.scales), matrix.left_shift - 16)
    return np.einsum("pr,prc->rc", scales, matrix.weights.astype(float)) / unit, matrix.bias / 65536


def sigmoid(p):
    return 0.5 + 0.5 * np.tanh(0.5 * p)


def run_real(layer, unit, x):
    """A layer in float64."""
    (w_x, b_x), (w_h, b_h) = real(layer.matrices[0], unit), real(layer.matrices[1], 2.0**-15)
    h = c = np.zeros(layer.output_size)
    outputs = []
    for a in x @ w_x.T + b_x:
        if layer.kind == "rnn":
            h = np.tanh(a + w_h @ h + b_h)
        elif layer.kind == "lstm":
            i, f, g, o = np.split(a + w_h @ h + b_h, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            u_r, u_z, u_n = np.split(w_h, 3)
            (a_r, a_z, a_n), (b_r, b_z, b_n) = np.split(a, 3), np.split(b_h, 3)
            r, z = sigmoid(a_r + u_r @ h + b_r), sigmoid(a_z + u_z @ h + b_z)
            n = np.tanh(a_n + (u_n @ (r * h) + b_n if layer.reset_before else r * (u_n @ h + b_n)))
            h = z * h + (1 - z) * n
        outputs.append(h)
    return np.array(outputs)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    ("kind", "reset_before"), [("rnn", False), ("gru", False), ("gru", True), ("lstm", False)]
)
def test_recurrent_layers_stay_near_the_real_equations(kind, reset_before, count):
    rng = np.random.default_rng(2)
    inputs, units = 8, 64
    layers = tuple(
        Layer(
            kind,
            "tanh" if kind == "rnn" else "none",
            columns,
            units,
            tuple(planes(rng, GATES[kind] * units, n, shift) for n, shift in ((columns, first), (units, -2))),
            reset_before=reset_before,
        )
        for columns, first in [(inputs, 2), (units, -1), (units, -1)][:count]
    )
    scale = np.full(inputs, INPUT_SCALE, np.float32)
    model_file = ModelFile(scale, np.zeros(inputs, np.float32), layers, profile=2)
    x = np.cumsum(rng.normal(0, 0.2, (STEPS, inputs)), axis=0)
    x = np.clip(x - x.mean(axis=0), -5, 5).astype(np.float32)
    expected, unit = x.astype(float), 1 / INPUT_SCALE
    for layer in layers:
        expected, unit = run_real(layer, unit, expected), 2.0**-15
    got = edge_runtime.Model.from_bytes(model_file.to_bytes()).stream().run(x)
    assert expected.std() > 0.05
    assert np.abs(got - expected).max() <= MOST_ERROR
