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


def test_levels_that_are_as_near_are_the_lower_ones():
    levels = np.array([[-3.0, -1.0, 0.0, 0.0, 4.0]] * 7)
    values = np.array([-9.0, -2.0, -0.5, 0.0, 2.0, 2.5, 9.0])
    np.testing.assert_array_equal(planes._nearest(levels, values), [0, 0, 1, 3, 3, 4, 4])
    order = np.array([4, 0, 2, 1])
    chosen = planes._choose(values, levels[0, order])
    np.testing.assert_array_equal(levels[0, order][chosen], [-3, -3, -1, 0, 0, 4, 4])
    for count in (1, 2, 3, 4, 5, 8, 9):
        rising = np.arange(count, dtype=float)
        np.testing.assert_array_equal(planes._nearest(np.array([rising] * count), rising), rising)


def test_scale_table_is_every_scale_of_the_format():
    codes = [(0x80 | a, 0) for a in range(16)]
    codes += [
        (0x80 | a, sign | b) for a, b in itertools.product(range(16), repeat=2) for sign in (0x80, 0xC0)
    ]
    values = row_scale_value(np.array(codes))
    assert set(values[values > 0].tolist()) == set(planes._SCALES.tolist())
    scales, of = planes.legal_scales()
    assert (np.diff(scales) > 0).all() and scales[0] == 2.0**-15 and scales[-1] == 2
    np.testing.assert_array_equal(row_scale_value(of), scales)
    single = np.isin(scales, 2.0 ** -np.arange(16))
    np.testing.assert_array_equal(of[:, 1] == 0, single)


def test_nearest_scale():
    scales, _ = planes.legal_scales()
    values = np.concatenate([RNG.uniform(0, 2, 100), scales, 10.0 ** RNG.uniform(-6, 1, 100)])
    want = np.abs(scales - values[:, None]).argmin(axis=1)
    np.testing.assert_array_equal(planes.nearest_scale(values), want)
    between = (scales[:-1] + scales[1:]) / 2
    np.testing.assert_array_equal(planes.nearest_scale(between), np.arange(1, len(scales)))
    assert planes.nearest_scale(0.0) == 0 and planes.nearest_scale(2.5) == len(scales) - 1


def test_weights_of_encodings_and_how_many_planes_they_may_have():
    assert {name: values.tolist() for name, values in planes.VALUES.items()} == {
        "binary": [-1, 1],
        "ternary": [-1, 0, 1],
        "pow2": [-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64],
    }
    assert [planes.most_planes(name) for name in planes.VALUES] == [8, 8, 3]


@pytest.mark.parametrize(
    "columns, magnitudes, low", [(24, 8, True), (24, 9, False), (23, 8, False), (23, 7, True), (3, 1, True)]
)
def test_low_precision_is_few_magnitudes_in_every_row(columns, magnitudes, low):
    row = np.resize(np.arange(magnitudes), columns) * np.where(np.arange(columns) % 2, 1, -1)
    assert planes.is_low_precision(np.array([row, 0 * row])) == low
    assert not planes.is_low_precision(np.array([row, np.arange(columns)]))


def test_error_is_that_of_the_sums_on_the_operands():
    matrix, operands = random_matrix(), RNG.standard_normal((200, 40)) @ RNG.standard_normal((40, 40))
    for count in (1, 3):
        fitted = planes.fit(matrix, "ternary", count, operands)
        lost, whole = operands @ (fitted.values - matrix).T, operands @ matrix.T
        assert fitted.error == pytest.approx((np.square(lost).mean() / np.square(whole).mean()) ** 0.5)
    assert planes.fit(matrix, "ternary", 1, np.zeros((9, 40))).error == 0
    nothing = planes.fit(np.zeros((2, 40)), "ternary", 1, operands)
    assert nothing.error == 0 and nothing.left_shift == 0 and not nothing.scales.any()


def test_feedback_is_that_of_the_inverse_of_what_is_left():
    """Column by column, the most important first, with the inverse computed anew for each (Frantar et al., equation 2)."""
    matrix, operands = random_matrix(300, 9), RNG.standard_normal((50, 9)) @ RNG.standard_normal((9, 9))
    gram = operands.T @ operands / 50
    combinations = np.array(list(itertools.product([-1.0, 0, 1], repeat=2)))
    scales = np.abs(matrix).max(axis=1, keepdims=True) * [0.6, 0.2]
    found = planes._with_feedback(matrix, scales, combinations, gram)
    damped = gram + np.eye(9) * (0.01 * np.diag(gram).mean() + 1e-9)
    left, open_columns, want = matrix.copy(), list(np.argsort(-np.diag(gram))), np.empty((2, 300, 9))
    while open_columns:
        inverse = np.linalg.inv(damped[np.ix_(open_columns, open_columns)])
        column = open_columns[0]
        levels = scales @ combinations.T
        nearest = np.abs(levels - left[:, [column]]).argmin(axis=1)
        want[:, :, column] = combinations[nearest].T
        lost = left[:, column] - levels[np.arange(300), nearest]
        left[:, open_columns] -= np.outer(lost, inverse[0] / inverse[0, 0])
        open_columns.pop(0)
    np.testing.assert_array_equal(found, want)
    assert found.dtype == np.int8


@pytest.mark.parametrize(
    "scale, operand, shift",
    [
        (1.0, 0.5, 4),  # four bits more than the scale needs
        (0.75, 0.5, 4),
        (1.1, 0.5, 5),
        (1.0, 1365.0, 4),  # 16 times 1.5 times the sum is not above 32767
        (1.0, 1365.29, 4),
        (1.0, 1365.3, 3),
        (1.0, 1e9, -1),  # the scale is 2 then
        (2.0**-20, 1.0, -16),
        (2.0**-27, 1.0, -23),
        (2.0**-30, 1.0, -24),
        (2.0**-22, 1e15, -23),
        (2.0**-25, 1e15, -24),
        (2.0**14, 0.5, 14),
        (2.0**14, 1.9, 13),
        (2.0**16, 1e9, 15),
        (2.0**20, 0.5, 15),
        (0.0, 1.0, 0),
    ],
)
def test_left_shift_leaves_room_for_sums_and_scales(scale, operand, shift):
    """One row of one weight, or of two of which the first row knows nothing."""
    combinations = np.array([[-1.0], [0.0], [1.0]])
    rows, matrix = [np.array([scale])], np.array([[scale]])
    assert planes._left_shift(rows, matrix, combinations, np.array([[0.0], [-operand]])) == shift
    rows, matrix = [np.zeros(1), np.array([scale])], np.array([[0.0], [scale]])
    assert planes._left_shift(rows, matrix, combinations, np.array([[operand]])) == shift
    assert isinstance(planes._left_shift(rows, matrix, combinations, np.array([[operand]])), int)


def test_first_scales_are_evenly_spaced_levels():
    for encoding, ratio in (("binary", 2), ("ternary", 3), ("pow2", 32)):
        combinations = np.array(list(itertools.product(planes.VALUES[encoding], repeat=3)))
        np.testing.assert_array_equal(
            planes._first_scales(combinations), [1, pytest.approx(1 / ratio), pytest.approx(ratio**-2)]
        )


#: Operands and matrix, encoding, left shift, error, and the scale codes of three rows for each plane.
FITS = """
independent binary 5 0.576041 868a8c8f8186
independent binary 5 0.0537454 86888bcd80c2 86c98c008284 87ca8d0082c5 88ca8e008386
independent binary 5 0.00982999 86888bce8183 86c88ccf81c3 87c98d0082c5 88ca8e0083c5 89cc8f008486 8acc8f008587
independent ternary 6 0.301436 86c98c8f81c4
independent ternary 6 0.0985722 86ca8c8e81c4 87c98dcf8287
independent ternary 6 0.0110611 86ca8c8f81c6 888a8dcf8385 89cb8f0084c7 8b8d8f008689
independent ternary 5 0.00452539 85c98b8e80c5 87898cce8284 88ca8e0083c6 8a8c8f008588 8c8f000086c8
independent pow2 0 0.125882 868a8bcd80c2
independent pow2 0 0.0255353 86ca8bce81c3 87c98dcf8284
dependent binary 4 0.0356761 85c88acd8081 85c78bcd8183 86888ccf81c4 86c98d008286
dependent ternary 5 0.206709 858a8b8f80c3
dependent ternary 5 0.0642823 85c98b8d80c3 86c88cce8186
dependent pow2 -1 0.0171902 85cb8b8d80c2 86c88cce8183
few ternary 3 0.0135135 84c684c684c6
few ternary 2 0.000316723 83c583c583c5 8a8c8a8c8a8c
powers binary 5 0.0159105 84c6858884c6 85c7868885c7 878986c98789 888b87cc888a
powers ternary 5 0.0961002 84c784c984c6 868a86c9858a
powers ternary 5 0.0051631 84c78488848a 86c98789868a 888a878a87cb 89cb8789898c
narrow binary 6 0.0151891 87ca8dcf81c3 888b8e0082ca 898c8f008486 8c8e0000868a
narrow binary 6 0.0108717 87ca8d8f8286 898b8dcf83c8 898c8f0083c6 8a8d8f0083c5 8a8c8f00848a 8d8f8f008488
narrow ternary 6 0.0603226 87898d8f81c7 888b8e0082c5
narrow ternary 6 0.00710404 87898d0081c5 898e8e0082c4 898c8f0084c8 8bcf000085c7
narrow ternary 6 0.00150028 87898dcf81c6 88cb8dcf8486 8a8d8e0083c5 8bcd8f0084ca 8d000000878a
narrow pow2 1 0.00405847 888b8e0081c3 898b8f008588
unused binary 5 0.030653 868b8c8e80c2 86c98cce8284 87ca8e0082c7 87c98f0083c6
unused ternary 6 0.0738967 86ca8ccf81c3 87c98dcf8284
unused ternary 5 0.00379044 85c78bcd80c6 87898d0081c3 87c98dcf83c6 89cc8e008588 8a8c000086c8
unused pow2 1 0.0893682 878a8cce81c3
loud binary 4 0.576041 85898b8e8085
loud ternary 4 0.1096 84c88a8c8080 85c78bcd80c2
loud pow2 -1 0.125882 85898acc8081
"""


@pytest.mark.parametrize("line", FITS.strip().splitlines())
def test_fits_are_what_they_were(line):
    """What the steps of the search arrive at; who changes them on purpose brings these up to date."""
    kind, encoding, left_shift, error, *codes = line.split()
    rng = np.random.default_rng(7)
    matrix = rng.standard_normal((3, 14)) * np.array([[1.0], [0.01], [30.0]])
    operands = np.round(40 * rng.standard_normal((60, 14)))
    if kind == "dependent":
        operands = np.round(operands @ (np.eye(14) + 0.3 * rng.standard_normal((14, 14))))
    elif kind == "few":
        matrix = 0.37 * rng.integers(-1, 2, (3, 14))
    elif kind == "powers":
        matrix = 0.3 * 2.0 ** rng.integers(0, 4, (3, 14)) * rng.choice([-1, 1], (3, 14))
    elif kind == "narrow":
        matrix, operands = matrix[:, :4], operands[:, :4]
    elif kind == "unused":
        operands[:, ::3] = 0
        matrix[:, ::3] *= 50
    elif kind == "loud":
        operands *= 700
    fitted = planes.fit(matrix, encoding, len(codes), operands)
    assert [plane.tobytes().hex() for plane in fitted.scales] == codes
    assert fitted.left_shift == int(left_shift)
    assert fitted.error == pytest.approx(float(error), rel=1e-5)
    np.testing.assert_allclose(fitted.values, dequantized(fitted), rtol=1e-12, atol=1e-12)


#: One row: its seed, encoding, columns, left shift, error, codes. Each has scales that one trial alone arrives at.
TRIALS = """
0 ternary 4 4 0.0303548 858a 87cc
0 ternary 5 4 0.0110338 858b 87ca 89cb
0 binary 14 5 0.378983 858b 8688
0 pow2 4 -2 0.00142731 8589 87ca
5 ternary 5 4 0.0248684 848b 8688 87ca
6 pow2 3 0 0.171934 8587
10 ternary 5 3 0.0281008 83c5 8589 86c8
22 ternary 5 4 0.0205511 848d 8688 87ca
22 ternary 6 5 0.0836756 8589 86c8
60 ternary 6 4 0.00742046 84c7 868a 87c9 89ce
66 ternary 6 4 0.00600752 8488 85c7 87cb 898b
"""


@pytest.mark.parametrize("line", TRIALS.strip().splitlines())
def test_every_beginning_and_every_ladder_is_tried(line):
    seed, encoding, columns, left_shift, error, *codes = line.split()
    columns = int(columns)
    row = np.random.default_rng(int(seed)).standard_normal((1, columns))
    fitted = planes.fit(row, encoding, len(codes), np.eye(columns))
    assert [plane.tobytes().hex() for plane in fitted.scales] == codes
    assert fitted.left_shift == int(left_shift) and fitted.error == pytest.approx(float(error), rel=1e-5)
