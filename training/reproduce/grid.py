# SPDX-License-Identifier: MIT
"""The grid of rows: what there is to train, and the folder of each row.

A runs folder holds one folder per row, of the row's name: ``row.json`` (the row that is trained there), ``log.txt``
(what the training process printed), what the task keeps (``checkpoint.pt``, ``model.ernn``) and at last ``result.json``.
"""

import dataclasses
import fcntl
import fnmatch
import importlib
import json
import os
from pathlib import Path

from training.reproduce.row import Row, check_name

TASKS = ("digits", "characters", "an4")


class GridError(ValueError):
    """Rows cannot be chosen or trained as asked; the message is one line."""


def task(name):
    """The module of a task.

    Raises
    ------
    GridError
        There is no such task, or a package that it needs is missing.
    """
    if name not in TASKS:
        raise GridError(f"no task {name!r}, only {', '.join(TASKS)}")
    try:
        return importlib.import_module(f"training.reproduce.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("training", "apps", "edge_runtime"):
            raise
        raise GridError(f"training needs {error.name}: pip install -e '.[train]'") from error


def all_rows(own=False):
    """Every row of every task, in the order in which they are trained.

    Parameters
    ----------
    own : bool
        Also those on data that only its owners have: `own_rows` of a task.

    Returns
    -------
    list of Row
    """
    tasks = [task(name) for name in TASKS]
    rows = [row for module in tasks for row in module.rows()]
    if own:
        rows += [row for module in tasks if hasattr(module, "own_rows") for row in module.own_rows()]
    seen = set()
    for row in rows:
        check_name(row)
        if row.name in seen:
            raise ValueError(f"two rows of the name {row.name}")
        seen.add(row.name)
    return rows


def choose(rows, patterns):
    """The rows of which a pattern is the name.

    Parameters
    ----------
    rows : list of Row
    patterns : list of str
        Shell patterns, such as ``digits-*-ternary-*``; none: all rows.

    Returns
    -------
    list of Row
        In the order of `rows`.

    Raises
    ------
    GridError
        A pattern is the name of no row.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(row.name, pattern) for row in rows):
            raise GridError(f"no row is named {pattern!r}; --list prints the names")
    if not patterns:
        return rows
    return [row for row in rows if any(fnmatch.fnmatchcase(row.name, pattern) for pattern in patterns)]


def with_steps(rows, steps):
    """The rows with another number of steps: to see that everything works, not to measure."""
    return [dataclasses.replace(row, budget={**row.budget, "steps": steps}) for row in rows]


def read_result(row, runs):
    """The result in a row's folder; None where it has none.

    Raises
    ------
    GridError
        The folder is another row's, such as one of the same name with another budget.
    """
    folder = Path(runs) / row.name
    kept = _read(folder / "row.json")
    if kept is not None and kept != json.loads(json.dumps(row.as_json())):
        ours = row.as_json()
        differing = sorted(key for key in ours if kept.get(key) != ours[key])
        raise GridError(
            f"{folder}: has a row with another {' and '.join(differing) or 'form'}; name another --runs folder"
        )
    return _read(folder / "result.json")


def state(row, runs):
    """ "done", "begun" or "new"."""
    if read_result(row, runs) is not None:
        return "done"
    return "begun" if (Path(runs) / row.name / "checkpoint.pt").exists() else "new"


def claim(row, runs):
    """Make the row's folder and lock it, so that no other run of the grid trains the row at the same time.

    Returns
    -------
    file object or None
        To be closed when the row is trained, or has failed; None: another process holds it.
    """
    folder = Path(runs) / row.name
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / "lock", "w", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    write_json(folder / "row.json", row.as_json())
    return lock


def write_json(path, value):
    """Write a JSON file whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_bytes(path, data):
    """Write a file whole or not at all."""
    part = Path(path).with_name(Path(path).name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def _read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise GridError(f"{path}: not JSON: {error}") from error


def from_folder(path):
    """The row and the result in a row's folder, whatever the grid is now; None where nothing is done."""
    kept, result = _read(Path(path) / "row.json"), _read(Path(path) / "result.json")
    return None if kept is None or result is None else (Row.from_json(kept), result)
