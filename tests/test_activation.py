# SPDX-License-Identifier: MIT
"""tanh and sigmoid (N13, N14), averaging chain (N7), and their table."""

import pathlib
import subprocess
import sys
import zlib

import numpy as np
import pytest

import edge_runtime
from edge_runtime import activation_table, reference
from edge_runtime.format import Layer, Matrix, ModelFile

ROOT = pathlib.Path(__file__).resolve().parents[1]
TANH_ERROR = 26  # units of 2^-15, as FORMAT.md section 7.4 states
GATE_ERROR = 1  # units of 2^-8, likewise
P = np.arange(-32768, 32768)


def library_outputs(activation):
    """Output of a one-unit dense layer at every pre-activation -32768 .. 32767.

    p = 64 * (sum of five inputs) + the sixth input.
    """
    weights = np.array([[[64, 64, 64, 64, 64, 1]]], np.int8)
    matrix = Matrix("pow2", weights, np.array([[[0x80, 0]]], np.uint8), clamp=127)
    layer = Layer("dense", activation, 6, 1, (matrix,))
    model = ModelFile(np.ones(6, np.float32), np.zeros(6, np.float32), (layer,))
    rest, x = P >> 6, np.empty((len(P), 6), np.int8)
    for k in range(5):
        x[:, k] = np.clip(rest, -127, 127)
        rest = rest - x[:, k]
    x[:, 5] = P & 63
    assert not rest.any()
    stream = edge_runtime.Model.from_bytes(model.to_bytes()).stream()
    return stream.run_quantized(x)[:, 0].astype(int)


def test_library_preactivations_are_all_int16_values():
    np.testing.assert_array_equal(library_outputs("none"), P)


def test_library_relu_equals_reference_everywhere():
    np.testing.assert_array_equal(library_outputs("relu"), np.maximum(P, 0))


def test_library_tanh_equals_reference_everywhere():
    np.testing.assert_array_equal(library_outputs("tanh"), reference.tanh(P))


def test_library_sigmoid_equals_reference_everywhere():
    expected = np.minimum((reference.sigmoid(P) + 1) * 128, 32767)
    np.testing.assert_array_equal(library_outputs("sigmoid"), expected)


def test_tanh_is_within_the_stated_error():
    assert np.abs(reference.tanh(P) - 32768 * np.tanh(P / 2048)).max() <= TANH_ERROR


def test_tanh_is_monotone_and_odd():
    t = reference.tanh(P)
    assert np.diff(t).min() >= 0
    np.testing.assert_array_equal(t[1:], -t[1:][::-1])  # without -32768
    assert t[0] == t[1] and t[32768] == 0


def test_gate_is_within_the_stated_error():
    gate = (reference.sigmoid(P) + 1) / 256
    assert np.abs(gate - 1 / (1 + np.exp(-P / 2048))).max() <= GATE_ERROR / 256


def test_gate_is_monotone_from_0_to_255():
    b = reference.sigmoid(P)
    assert np.diff(b).min() >= 0
    assert (b[0], b[-1]) == (0, 255)


def test_chain_is_the_rounded_up_product():
    rng = np.random.default_rng(1)
    extremes = np.array([-32768, -32767, -1, 0, 1, 32766, 32767])
    values = np.concatenate([extremes, rng.integers(-32768, 32768, 57)])
    b, p, q = np.meshgrid(np.arange(256), values, values, indexing="ij")
    np.testing.assert_array_equal(reference.chain(b, p, q), -((-((b + 1) * p + (255 - b) * q)) // 256))


def test_table_crc_is_that_of_the_tables():
    tables = (
        activation_table.BASE,
        activation_table.SHIFT1,
        activation_table.SHIFT2,
        activation_table.SHIFT3,
    )
    assert zlib.crc32(np.array(tables, "<i2").tobytes()) == activation_table.TABLE_CRC


def test_tables_are_what_the_tool_finds():
    tool = ROOT / "native" / "tools" / "make_activation_table.py"
    if not tool.is_file():
        pytest.skip("no checkout: native/tools/make_activation_table.py is not here")
    result = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
