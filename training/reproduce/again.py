# SPDX-License-Identifier: MIT
"""Rows trained anew beside what was published of them."""

from training.reproduce import grid, results, summary


def compare(row, before, result, published):
    """Whether a row that was trained again is as it was.

    Parameters
    ----------
    row : Row
    before, result : dict
        Published, and of the new run.
    published : list of (Row, dict)
        All that is published.

    Returns
    -------
    good : bool
        Both scores differ by no more than `allowed`.
    allowed : float
        The standard error of one run: the standard deviation over the seeds of the row's treatment, or of its
        experiment's float32 runs where that has one run only. 0 where there is neither.
    """
    allowed = summary.row_error(row, published) or 0.0
    pairs = [(before[key], result[key]) for key in ("score", "packed_score")]
    return all(a == b or (None not in (a, b) and abs(a - b) <= allowed) for a, b in pairs), allowed


def compare_all(rows, runs, published):
    """Compare all rows that are done in `runs`, and keep their scores in ``published.again``.

    Parameters
    ----------
    rows : list of Row
    runs : pathlib.Path
    published : results.Published

    Returns
    -------
    int
        0; 1 where a row is not as it was, or is not done.
    """
    status = 0
    for row in rows:
        result = grid.read_result(row, runs)
        if result is None:
            status = 1
            continue
        good, _ = compare(row, published.rows[row.name][1], result, list(published.rows.values()))
        status |= not good
        published.again[row.name] = {
            key: result[key] for key in ("score", "packed_score", "seconds", *results.PLACE)
        }
    return int(status)
