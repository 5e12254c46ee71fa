# SPDX-License-Identifier: MIT
"""Dense layer (N11), matrices (N1 to N5) and the packing of weights (section 5.1)."""

import numpy as np
import pytest
from random_models import (
    CLAMPS,
    ENCODINGS,
    PROFILES,
    SIZES,
    assert_library_equals_reference,
    random_inputs,
    random_model,
    random_weights,
)

import edge_runtime
from edge_runtime.format import Layer, Matrix, ModelFile


def dense_layer(matrix, activation="none"):
    """A dense layer of a matrix."""
    return Layer("dense", activation, matrix.columns, matrix.rows, (matrix,))


def model_of(*layers):
    """A model of layers; inputs are rounded only."""
    size = layers[0].input_size
    return ModelFile(np.ones(size, np.float32), np.zeros(size, np.float32), layers)


def dense_model(matrix):
    """A model of one dense layer without activation."""
    return model_of(dense_layer(matrix))


def matrix_of(encoding, weights, scales=None, bias=None, **numbers):
    """A matrix on plain operands whose outputs are its sums, unless told otherwise."""
    if scales is None:
        scales = np.tile(np.array([0x80, 0], np.uint8), (*weights.shape[:2], 1))
    return Matrix(encoding, weights, scales, bias, **{"clamp": 127, **numbers})


def outputs(model, x):
    """Outputs of the C library from a fresh stream."""
    return edge_runtime.Model.from_bytes(model.to_bytes()).stream().run_quantized(np.asarray(x, np.int8))


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 6, 7, 8, 9, 39, 40, 41, 63, 64, 65, 66, 127, 200])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_hot_inputs_read_back_every_weight(encoding, columns):
    rng = np.random.default_rng([11, columns])
    weights = random_weights(rng, encoding, (1, 21, columns))
    got = outputs(dense_model(matrix_of(encoding, weights)), np.eye(columns))
    np.testing.assert_array_equal(got.T, weights[0])


@pytest.mark.parametrize(
    ("encoding", "code"),
    [("binary", c) for c in (-1, 1)]
    + [("ternary", c) for c in (-1, 0, 1)]
    + [("pow2", s << e) for e in range(7) for s in (-1, 1)]
    + [("pow2", 0)],
)
def test_every_weight_value_in_every_place_of_a_byte(encoding, code):
    other = -1 if encoding == "binary" else 0
    weights = np.where(np.eye(17), code, other).astype(np.int8)[np.newaxis]
    got = outputs(dense_model(matrix_of(encoding, weights)), np.eye(17) * 100)
    np.testing.assert_array_equal(got, np.clip(weights[0].T.astype(int) * 100, -32768, 32767))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("activation", ["none", "tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_dense_equals_reference(profile, encoding, size, activation):
    rng = np.random.default_rng([12, ENCODINGS.index(encoding), size])
    model = random_model(rng, "dense", encoding, output_size=size, activation=activation, profile=profile)
    assert_library_equals_reference(model, random_inputs(rng, 24, model.layers[0].input_size, profile))


@pytest.mark.parametrize("three_quarters", [False, True])
@pytest.mark.parametrize("clamp", CLAMPS)
def test_operands_equal_reference_at_every_shift(clamp, three_quarters):
    """Second of two dense layers: its operands come from 16-bit values."""
    rng = np.random.default_rng([13, clamp])
    for shift in range(16):
        first = random_model(rng, "dense", input_size=9, output_size=64, activation="none").layers[0]
        second = dense_layer(
            matrix_of(
                "ternary",
                random_weights(rng, "ternary", (1, 8, 64)),
                clamp=clamp,
                operand_shift=shift,
                three_quarters=three_quarters,
                left_shift=-4,
            )
        )
        assert_library_equals_reference(model_of(first, second), random_inputs(rng, 16, 9))


@pytest.mark.parametrize("left_shift", range(-24, 16))
def test_sums_equal_reference_at_every_left_shift(left_shift):
    rng = np.random.default_rng([14, left_shift + 24])
    for encoding in ENCODINGS:
        weights = random_weights(rng, encoding, (1, 9, 127))
        model = dense_model(matrix_of(encoding, weights, left_shift=left_shift))
        assert_library_equals_reference(model, random_inputs(rng, 24, 127))


def test_row_scales_equal_reference_in_every_code():
    codes = [0x80 | negative << 6 | shift for negative in (0, 1) for shift in range(16)]
    pairs = [(0, 0)] + [(c, 0) for c in codes] + [(c, d) for c in codes for d in codes]
    rng = np.random.default_rng(15)
    weights = np.ones((1, len(pairs), 3), np.int8)
    matrix = matrix_of("binary", weights, scales=np.array([pairs], np.uint8), left_shift=7)
    assert_library_equals_reference(dense_model(matrix), random_inputs(rng, 40, 3))


def test_output_saturates_once_after_the_sum_of_planes():
    """Two planes cancel although each alone would pass int16: N5 saturates the sum, not the terms."""
    weights = np.stack([np.ones((1, 4), np.int8), -np.ones((1, 4), np.int8)])
    scales = np.full((2, 1, 2), 0x80, np.uint8)
    matrix = matrix_of("binary", weights, scales=scales, bias=np.array([5], np.int16), left_shift=6)
    assert outputs(dense_model(matrix), [[127] * 4])[0, 0] == 5
    matrix = matrix_of("binary", weights[:1], scales=scales[:1], bias=np.array([5], np.int16), left_shift=6)
    assert outputs(dense_model(matrix), [[127] * 4])[0, 0] == 32767


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_worst_case_sums_are_exact(encoding):
    """The largest sums R27 allows: 511 weights of 64, or 8192 of 1, times the largest operand."""
    columns, value = {"pow2": (511, 64), "ternary": (8192, 1), "binary": (8192, 1)}[encoding]
    weights = np.full((1, 2, columns), value, np.int8)
    weights[0, 1] = -value
    first = matrix_of("binary", np.ones((1, columns, 1), np.int8), left_shift=15)
    second = matrix_of(encoding, weights, clamp=32767, left_shift=-16)
    model = model_of(dense_layer(first), dense_layer(second))
    assert_library_equals_reference(model, np.array([[127], [-127], [0], [1]], np.int8))
