# SPDX-License-Identifier: MIT
"""Rows trained anew beside what was published of them."""

from training.reproduce import grid, report, results, summary


def read_published(out):
    """The rows of results.json.

    Returns
    -------
    dict of str to (Row, dict)

    Raises
    ------
    GridError
        There is no such file.
    """
    if not (out / results.FILE).exists():
        raise grid.GridError(f"{out / results.FILE}: no such file; --results writes it")
    return results.read(out)


def compare(rows, runs, published):
    """Print each row's score beside the published one, on standard output.

    A row is as it was if it differs by no more than the standard error of one run: the standard deviation over the seeds
    of its treatment in the published results, or of the experiment's float32 runs where it has one run only. Where there
    is neither, it must be equal.

    Parameters
    ----------
    rows : list of Row
    runs : pathlib.Path
    published : dict of str to (Row, dict)

    Returns
    -------
    int
        0; 1 where a row is not as it was or was not trained.
    """
    lines, status = [], 0
    for row in rows:
        result, (_, before) = grid.read_result(row, runs), published[row.name]
        if result is None:
            status = 1
            continue
        metric, allowed = before["metric"], summary.row_error(row, list(published.values())) or 0.0
        cells = [f"`{row.name}`"]
        good = True
        for key in ("score", "packed_score"):
            old, new = before[key], result[key]
            cells += [report.number(old, metric), report.number(new, metric)]
            good &= old == new or (None not in (old, new) and abs(old - new) <= allowed)
        lines.append([*cells, report.number(allowed, metric), "yes" if good else "**no**"])
        status |= not good
    head = [
        "row",
        "published",
        "again",
        "published, C runtime",
        "again, C runtime",
        "standard error",
        "within",
    ]
    print(report.table(head, lines), end="")
    return int(status)
