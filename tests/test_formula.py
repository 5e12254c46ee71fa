# SPDX-License-Identifier: MIT
"""Formulas of tensors: equal ones have equal keys, and what is too long is refused."""

import numpy as np
import pytest

from exporters import _formula
from exporters._formula import Atom, Formula

ROWS, SIZE = 2, 3


def signal(first=0, rows=ROWS, size=SIZE):
    return Formula.signal(first + np.arange(rows * size).reshape(rows, size))


def constant(*row):
    """Rows that are alike."""
    return Formula.constant(np.tile(row, (ROWS, 1)))


def evaluate(formula, values):
    """The numbers of a formula, if element i of the signals is values[i]."""
    functions = {
        "tanh": np.tanh,
        "relu": lambda v: np.maximum(v, 0),
        "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    }

    def of(atom):
        if atom.kind == "signal":
            return values[atom.value]
        if atom.kind == "constant":
            return atom.value
        if atom.kind == "dense":
            return evaluate(atom.value[1], values) @ atom.value[0].T
        return functions[atom.kind](evaluate(atom.value, values))

    total = np.zeros((formula.rows, formula.size))
    for coefficient, atoms in formula.terms:
        total = total + coefficient * np.prod([of(atom) for atom in atoms] or [1.0], axis=0)
    return total


VALUES = np.random.default_rng(0).standard_normal(64)
A, B, C = (VALUES[k * 6 : k * 6 + 6].reshape(ROWS, SIZE) for k in range(3))
W = np.random.default_rng(1).standard_normal((4, SIZE))


def gru_step(x, h):
    one = constant(1.0, 1.0, 1.0)
    z = x.plus(h).apply("sigmoid")
    return one.plus(z, -1.0).times(x.apply("tanh")).plus(z.times(h))


def test_formulas_are_what_they_say():
    a, b, c = signal(0), signal(6), signal(12)
    for formula, want in (
        (a, A),
        (a.plus(b), A + B),
        (a.plus(b, -2.0), A - 2 * B),
        (a.plus(b).times(b.plus(c, -1.0)), (A + B) * (B - C)),
        (a.times(a), A * A),
        (a.plus(a), 2 * A),
        (a.plus(b.plus(b), 3.0), A + 6 * B),
        (a.plus(a).times(b.plus(b, 2.0)), 6 * A * B),
        (a.apply("tanh"), np.tanh(A)),
        (a.plus(b).dense(W), (A + B) @ W.T),
        (a.plus(constant(0.5, 0.5, 0.5)), A + 0.5),
        (gru_step(a, b), np.tanh(A) + (B - np.tanh(A)) / (1 + np.exp(-A - B))),
    ):
        assert (formula.rows, formula.size) == want.shape
        np.testing.assert_allclose(evaluate(formula, VALUES), want, rtol=1e-12, atol=1e-12)


def test_a_signal_has_its_features_last():
    ids = np.arange(24).reshape(2, 3, 4)
    formula = Formula.signal(ids)
    assert (formula.rows, formula.size, formula.depth) == (6, 4, 1)
    [(coefficient, [atom])] = formula.terms
    assert (coefficient, atom.kind) == (1.0, "signal")
    np.testing.assert_array_equal(atom.value, ids.reshape(6, 4))


@pytest.mark.parametrize("value", [1.0, -1.0])
@pytest.mark.parametrize("shape", [(1, 1), (ROWS, SIZE), (2, 3, 4)])
def test_rows_of_ones_are_a_number(value, shape):
    formula = Formula.constant(np.full(shape, value))
    assert formula.terms == [(value, [])]
    assert (formula.rows, formula.size) == (np.prod(shape[:-1]), shape[-1])


@pytest.mark.parametrize("row", [[2.0, 2.0, 2.0], [1.0, -1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
def test_other_constants_are_arrays(row):
    [(coefficient, [atom])] = constant(*row).terms
    assert (coefficient, atom.kind) == (1.0, "constant")
    np.testing.assert_array_equal(atom.value, [row] * ROWS)
    assert atom.value.dtype == np.float64 and atom.value.flags.c_contiguous
    [(_, [atom])] = Formula.constant(np.broadcast_to(np.float32(row), (4, ROWS, SIZE))).terms
    np.testing.assert_array_equal(atom.value, [row] * 4 * ROWS)
    assert atom.value.dtype == np.float64 and atom.value.flags.c_contiguous


def test_equal_formulas_have_equal_keys():
    a, b, c = signal(0), signal(6), signal(12)
    one = constant(1.0, 1.0, 1.0)
    for left, right in (
        (a.plus(b), b.plus(a)),
        (a.times(b).times(c), c.times(a).times(b)),
        (a.plus(b).times(c), a.times(c).plus(c.times(b))),
        (a.plus(b).plus(c).plus(b, -1.0), c.plus(a)),
        (one.plus(a, -1.0).times(b), b.plus(a.times(b), -1.0)),
        (a.plus(b).apply("tanh"), b.plus(a).apply("tanh")),
        (a.plus(b).dense(W), b.plus(a).dense(W)),
        (one.times(a), a),
    ):
        assert left.key == right.key


def test_other_formulas_have_other_keys():
    a, b = signal(0), signal(6)
    ones, twos = (constant(v, v, v) for v in (1.0, 2.0))
    formulas = [
        *(a, b, a.plus(b), a.plus(b, -1.0), b.plus(a, -1.0), a.plus(a), a.times(a), a.times(b)),
        *(a.apply("tanh"), a.apply("relu"), a.apply("sigmoid"), b.apply("tanh"), a.plus(b).apply("tanh")),
        *(a.dense(W), a.dense(W + 1), b.dense(W), a.dense(W).dense(W[:, [0, 1, 2, 0]])),
        *(ones, ones.plus(ones), twos, a.plus(ones), a.plus(ones, -1.0), a.plus(b, 0.5), a.plus(a, -1.0)),
        *(signal(0, 3, 2), signal(0, 1, 6), a.columns(0, 2), a.columns(1, 3)),
        *(constant(*[2.0] * n) for n in (2, 6)),
    ]
    assert len({formula.key for formula in formulas}) == len(formulas)
    assert {len(formula.key) for formula in formulas} == {32}


def test_keys_tell_where_their_parts_end():
    assert _formula._digest(b"ab", b"c") != _formula._digest(b"a", b"bc")
    assert _formula._array_digest(np.zeros((2, 3))) != _formula._array_digest(np.zeros((3, 2)))
    array = np.arange(6.0).reshape(2, 3)
    assert _formula._array_digest(array.T) == _formula._array_digest(np.ascontiguousarray(array.T))
    assert len(_formula._digest(b"x" * 300)) == len(_formula._digest()) == 32


def test_terms_that_cancel_are_none():
    a, b = signal(0), signal(6)
    assert a.plus(b).plus(b, -1.0).terms == a.terms or a.plus(b).plus(b, -1.0).key == a.key
    assert a.plus(a, -1.0).terms == [] and a.plus(a, -1.0).depth == 1
    assert [c for c, _ in a.plus(a).plus(b, 0.5).terms] == [2.0, 0.5]


def test_columns_are_those_of_every_factor():
    a, b = signal(0), signal(6)
    row, ones = constant(1.0, 2.0, 3.0), constant(1.0, 1.0, 1.0)
    formula = a.plus(b).apply("tanh").times(a).plus(row).plus(a.dense(W[:3])).plus(ones)
    whole = evaluate(formula, VALUES)
    for first, end in ((0, 2), (1, 3), (1, 2), (2, 3), (0, 1)):
        part = formula.columns(first, end)
        assert (part.rows, part.size) == (ROWS, end - first)
        np.testing.assert_allclose(evaluate(part, VALUES), whole[:, first:end], rtol=1e-12)
    assert formula.columns(0, SIZE) is formula


# ---------------------------------------------------------------------------------- limits

TOO_LONG = r"^a formula of computed tensors that is too long for a recurrent layer$"


def sum_of(count):
    return Formula(ROWS, SIZE, [(1.0, signal(6 * i).terms[0][1]) for i in range(count)])


def test_limits_of_length():
    assert len(sum_of(64).terms) == 64
    with pytest.raises(ValueError, match=TOO_LONG):
        sum_of(65)
    with pytest.raises(ValueError, match=TOO_LONG):
        sum_of(8).times(Formula(ROWS, SIZE, sum_of(20).terms[8:17]))
    product = signal()
    for _ in range(15):
        product = product.times(signal())
    assert len(product.terms[0][1]) == 16
    with pytest.raises(ValueError, match=TOO_LONG):
        product.times(signal())
    with pytest.raises(ValueError, match=TOO_LONG):  # in any of the terms
        signal(6).plus(product).times(signal(6))


def test_limits_of_depth():
    """Counted are the functions and products that lie within each other."""
    formula = signal()
    for k in range(63):
        assert formula.depth == k + 1
        formula = formula.apply("tanh") if k % 2 else formula.dense(np.eye(SIZE))
    assert formula.depth == 64 and formula.plus(signal()).depth == 64
    with pytest.raises(ValueError, match=TOO_LONG):
        formula.apply("tanh")
    with pytest.raises(ValueError, match=TOO_LONG):
        formula.dense(np.eye(SIZE))
    assert Atom("signal", np.zeros((1, 1), int)).depth == 0
    assert constant(1.0, 1.0).depth == 1
    assert Atom("dense", (W, signal().apply("tanh"))).depth == 2
