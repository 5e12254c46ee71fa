# SPDX-License-Identifier: MIT
"""What came of the rows: results.json, and from it RESULTS.md and the pictures.

results.json holds all that the documents are made of, so that they can be made again without the runs: one line for each
row, curves thinned, histograms of one row of each kind only.
"""

import json
import sys
from pathlib import Path

from training.reproduce import grid, summary
from training.reproduce.row import Row

FILE = "results.json"
_POINTS = 40  # of a curve
_DIGITS = 5  # significant, of a number in a curve or histogram
_HISTOGRAM_SEED = 0


def write(runs, out, rows):
    """Bring results.json up to date with the runs, and write RESULTS.md and pictures/ from it.

    Parameters
    ----------
    runs : pathlib.Path
        A runs folder; rows of results.json that are not in it stay as they are.
    out : pathlib.Path
        Folder of results.json.
    rows : list of Row
        The grid: other rows of results.json are dropped, what has no result is listed.

    Returns
    -------
    int
        0.

    Raises
    ------
    GridError
        There is nothing to write of, or a file is not what it should be.
    """
    from training.reproduce import pictures, report

    by_name = {row.name: row for row in rows}
    kept = read(out) if (out / FILE).exists() else {}
    kept = {name: item for name, item in kept.items() if by_name.get(name) == item[0]}
    for path in sorted(Path(runs).glob("*/result.json")):
        row, result = grid.from_folder(path.parent)
        if by_name.get(row.name) == row:
            kept[row.name] = (row, thinned(row, result))
        else:
            what = "another budget" if row.name in by_name else "no row of this name"
            print(f"{path.parent}: left out, the grid has {what}", file=sys.stderr)
    kept = {name: kept[name] for name in by_name if name in kept}
    if not kept:
        raise grid.GridError(f"{runs}: no row is done, and {out / FILE} has none")
    absent = [name for name in by_name if name not in kept]
    found = list(kept.values())
    drawn = pictures.draw(summary.experiments(found))
    document = report.text(found, absent, sorted(drawn))
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    grid.write_bytes(out / FILE, _text(kept, absent).encode())
    grid.write_bytes(out / "RESULTS.md", document.encode())
    for name, svg in drawn.items():
        grid.write_bytes(out / "pictures" / f"{name}.svg", svg)
    for path in (out / "pictures").glob("*.svg"):
        if path.stem not in drawn:
            path.unlink()
    print(f"{out}: {len(kept)} rows, {len(absent)} absent", file=sys.stderr)
    return 0


def read(out):
    """The rows of results.json.

    Returns
    -------
    dict of str to (Row, dict)
        Results in the form of result.json, "machine", "versions", "threads" and "commit" in each.
    """
    path = Path(out) / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        places = content["places"]
        found = {}
        for result in content["rows"]:
            row = Row.from_json(result["row"])
            found[row.name] = (row, {**result, **places[result["place"]]})
            del found[row.name][1]["place"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise grid.GridError(f"{path}: expected what --results writes: {error!r}") from error
    return found


_PLACE = ("machine", "versions", "threads", "commit")


def _text(kept, absent):
    """results.json: a line for each row; machines, versions and commits once."""
    places, lines = [], []
    for _, result in kept.values():
        place = {key: result[key] for key in _PLACE}
        load = {"load_average": result.get("load_average", place["machine"].get("load_average"))}
        place["machine"] = {key: value for key, value in place["machine"].items() if key != "load_average"}
        if place not in places:
            places.append(place)
        rest = {key: value for key, value in result.items() if key not in _PLACE}
        lines.append(json.dumps({**rest, **load, "place": places.index(place)}, allow_nan=False))
    head = json.dumps({"places": places, "absent": absent}, indent=1, allow_nan=False)
    return head.removesuffix("\n}") + ',\n "rows": [\n' + ",\n".join(lines) + "\n]\n}\n"


def thinned(row, result):
    """A result as results.json keeps it."""
    kept = {**result, "curve": _thin(result["curve"]), "spectral_norm": _thin(result["spectral_norm"])}
    if row.seed == _HISTOGRAM_SEED and _is_shown(row):
        kept["histograms"] = _rounded(result["histograms"])
    else:
        del kept["histograms"]
    kept["seconds"] = round(result["seconds"], 1)
    return kept


def _is_shown(row):
    """Whether the histograms of the row are drawn: those of one fold."""
    return row.task not in summary.FOLD_TASKS or row.variant == summary.FOLD_TASKS[row.task]


def _thin(curve):
    count = len(curve)
    if count > _POINTS:
        curve = [curve[round(i * (count - 1) / (_POINTS - 1))] for i in range(_POINTS)]
    return _rounded(curve)


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        value = float(f"{value:.{_DIGITS}g}")
        return int(value) if value == int(value) and abs(value) < 1e15 else value
    return value
