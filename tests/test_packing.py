# SPDX-License-Identifier: MIT
"""Weights and row scales in the file's bits: one-hot rows, round trips, closest codes."""

import numpy as np
import pytest
import random_models
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime import format as codec
from edge_runtime import packing

# --------------------------------------------------------------------------------------- packing


@pytest.mark.parametrize("columns", [1, 2, 4, 5, 6, 7, 8, 9, 16, 17])
def test_binary_packs_column_j_into_bit_j(columns):
    for j in range(columns):
        row = np.full(columns, -1, np.int8)
        row[j] = 1
        expected = (1 << j).to_bytes(-(-columns // 8), "little")
        assert packing.pack_binary(row).tobytes() == expected
        assert packing.unpack_binary(packing.pack_binary(row), columns).tolist() == row.tolist()


@pytest.mark.parametrize("columns", [1, 2, 4, 5, 6, 9, 10, 11])
@pytest.mark.parametrize(("weight", "digit"), [(1, 1), (-1, 2)])
def test_ternary_packs_column_j_into_digit_j(columns, weight, digit):
    for j in range(columns):
        row = np.zeros(columns, np.int8)
        row[j] = weight
        expected = bytearray(-(-columns // 5))
        expected[j // 5] = digit * 3 ** (j % 5)
        assert packing.pack_ternary(row).tobytes() == bytes(expected)
        assert packing.unpack_ternary(packing.pack_ternary(row), columns).tolist() == row.tolist()


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("exponent", range(7))
@pytest.mark.parametrize("sign", [1, -1])
def test_pow2_packs_column_j_into_nibble_j(columns, exponent, sign):
    for j in range(columns):
        row = np.zeros(columns, np.int8)
        row[j] = sign << exponent
        code = exponent + 1 | (8 if sign < 0 else 0)
        expected = (code << 4 * j).to_bytes(-(-columns // 2), "little")
        assert packing.pack_pow2(row).tobytes() == expected
        assert packing.unpack_pow2(packing.pack_pow2(row), columns).tolist() == row.tolist()


@pytest.mark.parametrize(
    ("pack", "bad"),
    [
        (packing.pack_binary, 0),
        (packing.pack_ternary, 2),
        (packing.pack_ternary, -128),
        (packing.pack_pow2, 3),
    ],
)
def test_weight_without_a_code_is_refused(pack, bad):
    with pytest.raises(ValueError, match=str(bad)):
        pack(np.array([1, bad], np.int8))


@given(
    encoding=st.sampled_from(list(codec.ENCODINGS)),
    seed=st.integers(0, 2**32 - 1),
    columns=st.integers(1, 40),
)
def test_packing_round_trip(encoding, seed, columns):
    weights = random_models.random_weights(np.random.default_rng(seed), encoding, (3, 4, columns))
    packed = packing.PACK[encoding](weights)
    assert packed.dtype == np.uint8
    unpacked = packing.UNPACK[encoding](packed, columns)
    assert unpacked.dtype == np.int8
    np.testing.assert_array_equal(unpacked, weights)


# ------------------------------------------------------------------------------------ row scales


def all_scale_codes():
    terms = [0x80 | sign | k for sign in (0, 0x40) for k in range(16)]
    return [(0, 0), *((a, b) for a in terms for b in [0, *terms])]


def test_row_scale_code_is_the_closest():
    values = np.unique(codec.row_scale_value(np.array(all_scale_codes(), np.uint8)))
    targets = np.concatenate([np.linspace(-2, 2, 2001), [1e-6, -3e-5, 0.0]])
    best = np.abs(values[None] - targets[:, None]).min(axis=1)
    codes = codec.row_scale_code(targets)
    assert codes.shape == (len(targets), 2)
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(np.abs(codec.row_scale_value(codes) - targets), best)


def test_row_scale_code_returns_representable_values():
    values = codec.row_scale_value(np.array(all_scale_codes(), np.uint8))
    np.testing.assert_array_equal(codec.row_scale_value(codec.row_scale_code(values)), values)


def test_row_scale_code_prefers_fewer_terms_and_small_shifts():
    assert codec.row_scale_code(1.0).tolist() == [0x80, 0]
    assert codec.row_scale_code(-0.5).tolist() == [0xC1, 0]
    assert codec.row_scale_code(0.75).tolist() == [0x80, 0xC2]
    assert codec.row_scale_code(0.0).tolist() == [0, 0]
    assert codec.row_scale_code(-1.5).tolist() == [0xC0, 0xC1]


def test_row_scale_code_with_one_term():
    targets = np.linspace(-1, 1, 401)
    codes = codec.row_scale_code(targets, terms=1)
    assert (codes[:, 1] == 0).all()
    singles = np.array([0.0] + [s * 2.0**-k for k in range(16) for s in (1, -1)])
    best = np.abs(singles[None] - targets[:, None]).min(axis=1)
    np.testing.assert_array_equal(np.abs(codec.row_scale_value(codes) - targets), best)


@pytest.mark.parametrize("value", [2.1, -2.1, np.nan, np.inf])
def test_row_scale_code_refuses_what_it_cannot_reach(value):
    with pytest.raises(ValueError, match="row scale"):
        codec.row_scale_code([0.5, value])
