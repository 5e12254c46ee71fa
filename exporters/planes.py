"""Fit weight planes: a real matrix as a sum of small-integer matrices with shift-add row scales.

Row i of a matrix becomes ``sum over planes p of scale[p, i] * weights[p, i, :]``, with weights of one encoding
and scales ±2^-k1 ± 2^-k2 times a left shift of the whole matrix (FORMAT.md, sections 5.1, 5.2 and N4). More planes,
less error: P ternary planes whose scales fall by three make 3^P levels. Related: residual binarization,
Guo et al. 2017, "Network Sketching", and Xu et al. 2018, "Alternating Multi-bit Quantization for Recurrent
Neural Networks", section 3, whose alternation between scales and codes is the one used here.
"""

import dataclasses
import itertools

import numpy as np

from edge_runtime.format import row_scale_code

#: Integer weights of an encoding.
VALUES = {
    "binary": np.array([-1, 1]),
    "ternary": np.array([-1, 0, 1]),
    "pow2": np.array(sorted([0] + [s << e for e in range(7) for s in (1, -1)])),
}
_MOST_PLANES = {"binary": 8, "ternary": 8, "pow2": 3}  # all combinations of their weights are searched
_LEAST_IMPORTANCE = 1e-12  # of a column that calibration does not use, against the most important one's 1
_FEW_MAGNITUDES = 8  # 0 and seven powers of two
_SUM_MARGIN = 1.5
_MOST_RAISED = 4
_LADDERS = (0.9, 0.95, 1.0, 1.05, 1.1, 1.2)  # reaches of evenly spaced levels that are tried, too
_CHUNK = 256  # rows quantized together
_DAMPING = 0.01  # of the mean square of operands, added to all: calibration is only a sample
_ROUNDS = 8  # of refining scales and weights in turn, at most
_REACHES = (
    1.0,
    0.8,
    0.6,
    0.4,
)  # first levels end at this share of the largest weight; with many planes, near it


def most_planes(encoding):
    """Return how many planes of an encoding can be fitted."""
    return _MOST_PLANES[encoding]


@dataclasses.dataclass(frozen=True, eq=False)
class Planes:
    """A fitted matrix.

    Attributes
    ----------
    weights : int8 [shape=(planes, rows, columns)]
    scales : uint8 [shape=(planes, rows, 2)]
        Row scale codes (FORMAT.md, section 5.2).
    left_shift : int
    values : float64 [shape=(rows, columns)]
        What the planes add up to.
    error : float
        RMS error of the row sums over their RMS, on the operands given.
    """

    weights: np.ndarray
    scales: np.ndarray
    left_shift: int
    values: np.ndarray
    error: float


def _scale_table():
    """All row scales above zero in rising order, and their codes."""
    terms = 2.0 ** -np.arange(16)
    values = np.unique([terms + terms[:, None], terms - terms[:, None], np.diag(terms)])
    values = values[values > 0]
    return values, row_scale_code(values)


_SCALES, _CODES = _scale_table()


def legal_scales():
    """Return all row scales above zero in rising order, float64, and their codes, uint8 [shape=(scales, 2)]."""
    return _SCALES, _CODES


def nearest_scale(scale):
    """Return the index into the table of row scales nearest to each value: int array."""
    upper = np.clip(np.searchsorted(_SCALES, scale), 1, len(_SCALES) - 1)
    return upper - (scale - _SCALES[upper - 1] < _SCALES[upper] - scale)


def is_low_precision(matrix):
    """Whether each row has so few magnitudes that the network was trained with low-precision weights."""
    most = min(_FEW_MAGNITUDES, np.shape(matrix)[1] / 3)
    return all(len(np.unique(np.abs(row))) <= most for row in matrix)


def fit(matrix, encoding, planes, operands):
    """Fit planes to a matrix.

    Row scales are fitted with the columns taken as independent; then the columns are quantized one after the
    other, and what each one loses is made up for by those still to come, as far as their operands go
    together (Frantar et al. 2023, "GPTQ", section 3; Hassibi and Stork 1993).

    Parameters
    ----------
    matrix : float array [shape=(rows, columns)]
        What one unit of each operand adds to the pre-activation, in its units.
    encoding : str
    planes : int
        1 .. most_planes(encoding).
    operands : float array [shape=(steps, columns)]
        What the matrix is applied to, typically. Errors of row sums count by how they come about there, and the
        left shift is such that sums of one and a half times the largest one do not saturate.

    Returns
    -------
    Planes
    """
    matrix = np.asarray(matrix, np.float64)
    combinations = np.array(list(itertools.product(VALUES[encoding], repeat=planes)), np.float64)
    gram = operands.T @ operands / len(operands)
    gram = gram / max(np.diag(gram).max(), 1e-30)
    importance = np.diag(gram) + _LEAST_IMPORTANCE
    rows = [_fit_row(row, combinations, importance) for row in matrix]
    left_shift = _left_shift(rows, matrix, combinations, operands)
    codes = np.zeros((planes, len(matrix), 2), np.uint8)
    scales = np.empty((len(matrix), planes))
    for i, row in enumerate(matrix):
        scales[i], codes[:, i] = _legal_row(row, rows[i], combinations, importance, left_shift)
    # Low-precision weights are to stay what they are.
    together = np.diag(importance) if is_low_precision(matrix) else gram
    weights = _with_feedback(matrix, scales, combinations, together)
    values = np.einsum("prc,rp->rc", weights.astype(np.float64), scales)
    error = _mean_square(values - matrix, gram) / max(_mean_square(matrix, gram), 1e-30)
    return Planes(weights, codes, left_shift, values, float(error**0.5))


def _mean_square(weights, gram):
    """Mean square of the sums that rows of weights make of operands with these mean products."""
    return float(np.einsum("rc,cd,rd->r", weights, gram, weights, optimize=True).mean())


def _with_feedback(matrix, scales, combinations, gram):
    """Weights of all planes for given scales: int8 [shape=(planes, rows, columns)]."""
    columns = matrix.shape[1]
    damped = gram + np.eye(columns) * (_DAMPING * np.diag(gram).mean() + 1e-9)
    order = np.argsort(-np.diag(gram), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    weights = np.empty((scales.shape[1], *matrix.shape), np.int8)
    for first in range(0, len(matrix), _CHUNK):
        part = slice(first, first + _CHUNK)
        left = matrix[part][:, order].copy()
        levels = scales[part] @ combinations.T
        by_value = np.argsort(levels, axis=1, kind="stable")
        levels = np.take_along_axis(levels, by_value, axis=1)
        every = np.arange(len(left))
        for k, column in enumerate(order):
            nearest = _nearest(levels, left[:, k])
            weights[:, part, column] = combinations[by_value[every, nearest]].T
            lost = (left[:, k] - levels[every, nearest]) / upper[k, k]
            left[:, k + 1 :] -= lost[:, None] * upper[k, k + 1 :]
    return weights


def _nearest(levels, values):
    """Index of the level nearest to each value; levels [shape=(rows, count)], each row rising."""
    every = np.arange(len(values))
    count = levels.shape[1]
    low = np.zeros(len(values), np.int64)  # the last level not above the value, or the first
    for bit in reversed(range(count.bit_length())):
        ahead = np.minimum(low + (1 << bit), count - 1)
        low = np.where(levels[every, ahead] <= values, ahead, low)
    high = np.minimum(low + 1, count - 1)
    return np.where(values - levels[every, low] <= levels[every, high] - values, low, high)


def _choose(row, levels):
    """The index of the level nearest to each value."""
    order = np.argsort(levels, kind="stable")
    ordered = levels[order]
    upper = np.clip(np.searchsorted(ordered, row), 1, len(ordered) - 1)
    return order[upper - (row - ordered[upper - 1] <= ordered[upper] - row)]


def _error(row, levels, importance):
    return float(((row - levels[_choose(row, levels)]) ** 2 * importance).sum())


def _fit_row(row, combinations, importance):
    """Real scales of a row's planes, largest first: the best of several beginnings."""
    used = importance > 2 * _LEAST_IMPORTANCE
    largest = np.abs(row[used] if used.any() else row).max()
    base = _first_scales(combinations)
    best = None
    for reach in _REACHES if combinations.shape[1] <= 4 else _REACHES[:2]:
        scales = _refine(
            row, base * (reach * largest / (combinations @ base).max()), combinations, importance
        )
        error = _error(row, combinations @ scales, importance)
        if best is None or error < best[0]:
            best = error, scales
    return best[1]


def _first_scales(combinations):
    """Scales that make evenly spaced levels of the planes, the first plane's the largest."""
    planes = combinations.shape[1]
    ratio = {2: 2.0, 3: 3.0}.get(len(np.unique(combinations[:, 0])), 32.0)
    return ratio ** -np.arange(planes, dtype=np.float64)


def _refine(row, scales, combinations, importance):
    """Weights for the scales, scales for the weights, and again."""
    for _ in range(_ROUNDS):
        codes = combinations[_choose(row, combinations @ scales)]
        weighted = codes * importance[:, None]
        gram = weighted.T @ codes
        better = np.abs(np.linalg.lstsq(gram, weighted.T @ row, rcond=1e-9)[0])
        better = -np.sort(-better)
        settled = np.allclose(better, scales, rtol=1e-3)
        scales = better
        if settled:
            break
    return scales


def _legal_row(row, scales, combinations, importance, left_shift):
    """Legal scales of a row and their codes.

    The real scales of low-precision weights are not unique: those that begin with the best single plane
    lose least.
    """
    best = _legal(row, scales, combinations, importance, left_shift)
    if len(scales) > 1 and is_low_precision(row[None]):
        single = np.zeros(len(scales))
        single[0] = _fit_row(row, _distinct(combinations[:, :1]), importance)[0]
        other = _legal(row, single, combinations, importance, left_shift, afresh=True)
        if _error(row, combinations @ other[0], importance) < _error(row, combinations @ best[0], importance):
            best = other
    # Scales fitted to hardly more weights than planes are arbitrary: evenly spaced levels may lose less.
    trials = [best, *(_ladder(row, combinations, left_shift, reach) for reach in _LADDERS)]
    errors = [_error(row, combinations @ trial[0], importance) for trial in trials]
    return trials[int(np.argmin(errors))]


def _ladder(row, combinations, left_shift, reach):
    """Legal scales, and their codes, of levels that are evenly spaced up to `reach` times the largest weight."""
    base = _first_scales(combinations)
    scales = base * (reach * np.abs(row).max() / (combinations @ base).max())
    index = nearest_scale(scales / 2.0**left_shift)
    present = scales / 2.0**left_shift >= 0.5 * _SCALES[0]
    return np.where(present, _SCALES[index] * 2.0**left_shift, 0), np.where(
        present[:, None], _CODES[index], 0
    ).astype(np.uint8)


def _legal(row, scales, combinations, importance, left_shift, afresh=False):
    """Make scales legal one after the other, the largest first; those after it make up for what it lost.

    afresh: or those after it are fitted anew to what it lost, if that is better.
    """
    unit = 2.0**left_shift
    scales = scales.copy()
    codes = np.zeros((len(scales), 2), np.uint8)
    for p in range(len(scales)):
        if scales[p] / unit < 0.5 * _SCALES[0]:
            scales[p:] = 0
            break
        index = nearest_scale(scales[p] / unit)
        around = np.clip([index - 1, index, index + 1], 0, len(_SCALES) - 1)
        trials = [_remaining(row, scales, p, _SCALES[k] * unit, combinations, importance) for k in around]
        errors = [_error(row, combinations @ trial, importance) for trial in trials]
        best = int(np.argmin(errors))
        scales = trials[best]
        codes[p] = _CODES[around[best]]
        if afresh:
            trial = _afresh(row, scales, p, combinations, importance)
            if _error(row, combinations @ trial, importance) < errors[best]:
                scales = trial
    return scales, codes


def _afresh(row, scales, p, combinations, importance):
    """Scales up to plane p as they are, and those after it fitted to what these leave."""
    count = len(scales) - p - 1
    if count == 0:
        return scales
    first = _distinct(combinations[:, : p + 1])
    residual = row - (first @ scales[: p + 1])[_choose(row, first @ scales[: p + 1])]
    rest = _fit_row(residual, _distinct(combinations[:, p + 1 :]), importance)
    return np.concatenate([scales[: p + 1], rest])


def _distinct(combinations):
    """The rows that differ, each once."""
    return np.unique(combinations, axis=0)


def _remaining(row, scales, p, value, combinations, importance):
    """Scales with the one of plane p fixed to a value and those after it refitted."""
    scales = scales.copy()
    scales[p] = value
    if p + 1 < len(scales):
        codes = combinations[_choose(row, combinations @ scales)]
        rest = codes[:, p + 1 :]
        target = row - codes[:, : p + 1] @ scales[: p + 1]
        weighted = rest * importance[:, None]
        scales[p + 1 :] = np.abs(np.linalg.lstsq(weighted.T @ rest, weighted.T @ target, rcond=1e-9)[0])
    return scales


def _left_shift(rows, matrix, combinations, operands):
    """The left shift of a matrix, from the real scales of its rows.

    As high as sums leave room for, since each bit of it is one fewer lost in right shifts; but no row scale
    is above 2, and none far below 1, where few are legal.
    """
    largest = max(scales.max() for scales in rows)
    if largest == 0:
        return 0
    most = 1.0
    for row, scales in zip(matrix, rows, strict=True):
        weights = combinations[_choose(row, combinations @ scales)]
        most = max(most, np.abs(operands @ weights).max())
    exponent = int(np.ceil(np.log2(largest)))
    room = int(np.floor(np.log2(32767 / (_SUM_MARGIN * most))))
    return int(np.clip(min(room, exponent + _MOST_RAISED), max(exponent - 1, -24), 15))
