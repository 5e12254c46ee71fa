# SPDX-License-Identifier: MIT
"""Rows trained on this machine, each in a process of its own with one thread."""

import collections
import dataclasses
import importlib.metadata
import multiprocessing
import multiprocessing.connection
import os
import platform
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Protocol

import edge_runtime
from apps.bench.report import machine
from apps.corpus import DATA_VARIABLE
from training.reproduce import grid
from training.reproduce.row import Row, checked

_ROOT = Path(__file__).resolve().parents[2]
_REPORT_S = 0.5  # Least time between two reports of a row.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Watch(Protocol):
    """Who is told of the rows' progress."""

    def begun(self, row: Row, where: str) -> None: ...
    def progress(self, row: Row, step: int, steps: int, figures: dict[str, float]) -> None: ...
    def done(self, row: Row, result: dict[str, Any]) -> None: ...
    def failed(self, row: Row, reason: str) -> None: ...
    def busy(self, row: Row) -> None: ...
    def say(self, line: str) -> None: ...


def commit():
    """The tree's commit, "+changes" where files differ from it; None outside a repository."""
    try:
        git = ["git", "-C", str(_ROOT)]
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changed else "")


def versions():
    """Versions of what a result depends on."""
    return {
        "python": platform.python_version(),
        "edge_runtime": edge_runtime.__version__,
        **{name: importlib.metadata.version(name) for name in ("torch", "numpy")},
    }


def train_row(row, folder, data, report, tree):
    """Train a row in this process, with one thread, and write its result.json.

    Parameters
    ----------
    row : Row
    folder : pathlib.Path
        The row's own, made by `grid.claim`; training goes on from the checkpoint in it.
    data : pathlib.Path
        The folder of the data sets.
    report : Report
    tree : str or None
        `commit` of the tree that the code comes from.

    Returns
    -------
    dict
        What was written.
    """
    import torch

    torch.set_num_threads(1)
    os.environ[DATA_VARIABLE] = str(data)
    result = checked(grid.task(row.task).train(row, folder, data, report))
    facts = machine()
    result |= {
        "row": row.as_json(),
        "machine": {key: facts[key] for key in ("cpu", "cores", "features", "load_average", "system")},
        "threads": 1,
        "versions": versions(),
        "commit": tree,
    }
    grid.write_json(folder / "result.json", result)
    return result


def throttled(report):
    """A report that passes on at most two calls a second, and the last step."""
    last = float("-inf")

    def passed(step, steps, figures):
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_S or step >= steps:
            last = now
            report(step, steps, {key: float(value) for key, value in figures.items()})

    return passed


def reason(error):
    """One line for an exception."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _child(row, folder, data, tree, connection):
    """The process of one row. What it prints goes to the row's log, as would a crash of the interpreter."""
    with open(folder / "log.txt", "ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        report = throttled(lambda *said: connection.send(("progress", *said)))
        connection.send(("done", train_row(row, folder, data, report, tree)))
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        connection.send(("failed", f"{reason(error)} ({folder / 'log.txt'})"))


@dataclasses.dataclass
class _Running:
    row: Row
    process: Any
    lock: Any
    ended: bool = False


def train_locally(rows, runs, data, jobs, watch):
    """Train rows in up to `jobs` processes; a row that fails does not stop the others.

    Parameters
    ----------
    rows : list of Row
        None of them done.
    runs, data : pathlib.Path
    jobs : int
        At least 1.
    watch : Watch
    """
    for name in THREADS:  # inherited by the processes, whose libraries read it when they are loaded
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")
    waiting, running = collections.deque(rows), {}
    tree = commit()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                row = waiting.popleft()
                lock = grid.claim(row, runs)
                if lock is None:
                    watch.busy(row)
                    continue
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=_child, args=(row, Path(runs) / row.name, data, tree, theirs)
                )
                process.start()
                theirs.close()
                running[ours] = _Running(row, process, lock)
                watch.begun(row, f"process {process.pid}")
            if running:
                for connection in multiprocessing.connection.wait(list(running)):
                    _hear(connection, running, watch)
    finally:
        for item in running.values():
            item.process.terminate()
        for item in running.values():
            item.process.join()
            item.lock.close()


def _hear(connection, running, watch):
    """Take one message of a process, or its end."""
    item = running[connection]
    try:
        kind, *said = connection.recv()
    except (EOFError, OSError):
        item.process.join()
        item.lock.close()
        connection.close()
        del running[connection]
        if not item.ended:
            code = item.process.exitcode
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            watch.failed(item.row, f"its process {how}")
        return
    item.ended = kind in ("done", "failed")
    {"progress": watch.progress, "done": watch.done, "failed": watch.failed}[kind](item.row, *said)
