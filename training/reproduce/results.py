# SPDX-License-Identifier: MIT
"""What came of the rows: results.json, and from it RESULTS.md and the pictures.

results.json holds all that the documents are made of, so that they can be made again without the runs: one line for each
row, curves thinned, histograms of one row of each kind only.
"""

import dataclasses
import json
import sys
from pathlib import Path

from training.reproduce import grid, summary
from training.reproduce.row import Row

FILE = "results.json"
_POINTS = 40  # of a curve
_DIGITS = 5  # significant, of a number in a curve or histogram
_HISTOGRAM_SEED = 0


@dataclasses.dataclass
class Published:
    """What results.json holds.

    Attributes
    ----------
    rows : dict of str to (Row, dict)
        Results in the form of result.json.
    absent : list of str
        Rows of the grid without a result.
    again : dict of str to dict
        Rows that were trained once more: "score", "packed_score", and `PLACE`.
    """

    rows: dict
    absent: list
    again: dict


def write(runs, out, rows, asked):
    """Bring results.json up to date with the runs, and write RESULTS.md and pictures/ from it.

    Parameters
    ----------
    runs : pathlib.Path
        A runs folder; rows of results.json that are not in it stay as they are.
    out : pathlib.Path
        Folder of results.json.
    rows : list of Row
        The grid: other rows of results.json are dropped.
    asked : set of str
        Names of the rows that are listed where they have no result.

    Raises
    ------
    GridError
        There is nothing to write of, or a file is not what it should be.
    """
    by_name = {row.name: row for row in rows}
    before = read(out) if (out / FILE).exists() else Published({}, [], {})
    kept = {name: item for name, item in before.rows.items() if by_name.get(name) == item[0]}
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
    absent = [name for name in by_name if name in asked and name not in kept]
    save(Published(kept, absent, {name: item for name, item in before.again.items() if name in kept}), out)


def save(published, out):
    """Write results.json, RESULTS.md and pictures/."""
    from training.reproduce import pictures, report

    drawn = pictures.draw(summary.experiments(list(published.rows.values())))
    document = report.text(published, sorted(drawn))
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    grid.write_bytes(out / FILE, _text(published).encode())
    grid.write_bytes(out / "RESULTS.md", document.encode())
    for name, svg in drawn.items():
        grid.write_bytes(out / "pictures" / f"{name}.svg", svg)
    for path in (out / "pictures").glob("*.svg"):
        if path.stem not in drawn:
            path.unlink()
    print(f"{out}: {len(published.rows)} rows, {len(published.absent)} absent", file=sys.stderr)


def read(out):
    """Read results.json of a folder.

    Returns
    -------
    Published

    Raises
    ------
    GridError
        The file is not there, or not what --results writes.
    """
    path = Path(out) / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        places = content["places"]
        found = {}
        for result in content["rows"]:
            row = Row.from_json(result["row"])
            found[row.name] = (row, _at_place(result, places))
        again = {name: _at_place(result, places) for name, result in content["again"].items()}
        return Published(found, content["absent"], again)
    except FileNotFoundError as error:
        raise grid.GridError(f"{path}: no such file; --results writes it") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise grid.GridError(f"{path}: expected what --results writes: {error!r}") from error


PLACE = ("machine", "versions", "threads", "commit")


def _at_place(result, places):
    return {**{key: value for key, value in result.items() if key != "place"}, **places[result["place"]]}


def _without_place(result, places):
    """A result with the number of its place among `places`, which grow."""
    place = {key: result[key] for key in PLACE}
    load = {"load_average": result.get("load_average", place["machine"].get("load_average"))}
    place["machine"] = {key: value for key, value in place["machine"].items() if key != "load_average"}
    if place not in places:
        places.append(place)
    rest = {key: value for key, value in result.items() if key not in PLACE}
    return {**rest, **load, "place": places.index(place)}


def _text(published):
    """results.json: a line for each row; machines, versions and commits once."""
    places = []
    rows = [_without_place(result, places) for _, result in published.rows.values()]
    again = {name: _without_place(result, places) for name, result in published.again.items()}
    lines = [json.dumps(row, allow_nan=False) for row in rows]
    head = {"places": places, "absent": published.absent, "again": again}
    head = json.dumps(head, indent=1, allow_nan=False)
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
