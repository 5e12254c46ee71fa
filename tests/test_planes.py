# SPDX-License-Identifier: MIT
"""Weight planes: levels, legal scales, error against the number of planes."""

import itertools

import numpy as np
import pytest

from edge_runtime.format import row_scale_value
from exporters import planes

RNG = np.random.default_rng()


@pytest.fixture(autouse=True)
def same_numbers_whatever_ran_before():
    RNG.bit_generator.state = np.random.default_rng(5).bit_generator.state


def random_matrix(rows=12, columns=40):
    return RNG.standard_normal((rows, columns)) * np.exp(RNG.normal(0, 1, (rows, 1)))


def dequantized(fitted):
    """What FORMAT.md makes of weights and scale codes, in real numbers."""
    total = np.zeros(fitted.weights.shape[1:])
    for weights, codes in zip(fitted.weights, fitted.scales, strict=True):
        total += (row_scale_value(codes) * 2.0**fitted.left_shift)[:, None] * weights
    return total


@pytest.mark.parametrize("encoding", planes.VALUES)
def test_values_are_what_the_file_says(encoding):
    matrix = random_matrix()
    for count in (1, 2, 3):
        fitted = planes.fit(matrix, encoding, count, np.eye(40))
        assert fitted.weights.shape == (count, 12, 40)
        assert np.isin(fitted.weights, planes.VALUES[encoding]).all()
        np.testing.assert_allclose(fitted.values, dequantized(fitted), rtol=1e-12, atol=1e-12)


def test_every_plane_lowers_the_error_by_half_at_least():
    matrix = random_matrix()
    power = np.square(matrix).mean()
    errors = [
        np.square(planes.fit(matrix, "ternary", n, np.eye(40)).values - matrix).mean() / power
        for n in range(1, 7)
    ]
    ratios = [after / before for before, after in itertools.pairwise(errors)]
    assert errors[0] < 0.25 and max(ratios) < 0.5**2 and errors[-1] < 1e-4


@pytest.mark.parametrize("scale", [0.37, 1.0, 0.001, 700.0])
def test_a_ternary_matrix_keeps_its_weights(scale):
    weights = RNG.integers(-1, 2, (9, 33))
    weights[:, 0] = 1
    fitted = planes.fit(weights * scale, "ternary", 1, np.eye(33))
    np.testing.assert_array_equal(fitted.weights[0], weights)
    assert np.abs(fitted.values / np.where(weights == 0, 1, weights * scale) - (weights != 0)).max() < 0.1
    two = planes.fit(weights * scale, "ternary", 2, np.eye(33))
    assert np.abs(two.values - weights * scale).max() < 0.01 * scale


def test_a_power_of_two_scale_is_exact():
    for encoding in planes.VALUES:
        weights = RNG.choice(planes.VALUES[encoding], (5, 21))
        weights[:, 0] = planes.VALUES[encoding].max()
        fitted = planes.fit(weights * 0.25, encoding, 1, np.eye(21))
        np.testing.assert_array_equal(fitted.values, weights * 0.25)


def test_a_zero_row_and_a_zero_matrix():
    matrix = random_matrix()
    matrix[3] = 0
    assert np.abs(planes.fit(matrix, "ternary", 2, np.eye(40)).values[3]).max() == 0
    assert np.abs(planes.fit(np.zeros((4, 7)), "ternary", 2, np.eye(7)).values).max() == 0


@pytest.mark.parametrize("count", [1, 2, 4])
def test_columns_whose_operands_are_always_zero_cost_the_others_nothing(count):
    matrix = random_matrix()
    matrix[:, ::7] *= 1000
    operands = np.eye(40)
    operands[:, ::7] = 0
    used = np.arange(40) % 7 != 0
    together = planes.fit(matrix, "ternary", count, operands).values[:, used] - matrix[:, used]
    alone = planes.fit(matrix[:, used], "ternary", count, np.eye(used.sum())).values - matrix[:, used]
    assert np.square(together).mean() < 1.1 * np.square(alone).mean()


def test_refining_fitted_scales_further_gains_little():
    combinations = np.array(list(itertools.product(planes.VALUES["ternary"], repeat=2)), float)
    importance = np.ones(60)
    errors = []
    for row in RNG.standard_normal((50, 60)):
        scales = planes._refine(row, np.array([1.5, 0.5]), combinations, importance)
        again = scales
        for _ in range(8):
            again = planes._refine(row, again, combinations, importance)
        errors.append([planes._error(row, combinations @ s, importance) for s in (scales, again)])
    before, after = np.sum(errors, axis=0)
    assert after > 0.97 * before


def test_dependent_operands_make_up_for_each_other():
    matrix = random_matrix(30, 40)
    mixing = RNG.standard_normal((40, 8))

    def operands():
        return 50 * (RNG.standard_normal((500, 8)) @ mixing.T + 0.1 * RNG.standard_normal((500, 40)))

    seen = operands()
    shuffled = np.stack([RNG.permutation(column) for column in seen.T], axis=1)
    together, alone = (planes.fit(matrix, "ternary", 1, x) for x in (seen, shuffled))
    fresh = operands()
    errors = [np.square(fresh @ (f.values - matrix).T).mean() for f in (together, alone)]
    assert errors[0] < 0.5 * errors[1]
    relative = (errors[0] / np.square(fresh @ matrix.T).mean()) ** 0.5
    assert 0.9 * together.error < relative < 1.15 * together.error


@pytest.mark.parametrize("size", [1, 100, 30000])
def test_sums_of_typical_operands_do_not_saturate(size):
    operands = RNG.integers(-size, size + 1, (300, 40)).astype(float)
    fitted = planes.fit(random_matrix() / size, "ternary", 3, operands)
    sums = np.abs(operands @ fitted.weights.astype(float).transpose(0, 2, 1)).max()
    assert sums * 2.0**fitted.left_shift <= 32767


def test_nearest_level():
    levels = np.sort(RNG.standard_normal((20, 27)), axis=1)
    values = RNG.standard_normal(20) * 2
    want = np.abs(levels - values[:, None]).argmin(axis=1)
    np.testing.assert_array_equal(planes._nearest(levels, values), want)


def test_scale_table_is_every_scale_of_the_format():
    codes = [(0x80 | a, 0) for a in range(16)]
    codes += [
        (0x80 | a, sign | b) for a, b in itertools.product(range(16), repeat=2) for sign in (0x80, 0xC0)
    ]
    values = row_scale_value(np.array(codes))
    assert set(values[values > 0].tolist()) == set(planes._SCALES.tolist())
