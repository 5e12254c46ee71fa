# SPDX-License-Identifier: MIT
"""Command line: train the grid's rows, and write what came of them."""

import argparse
import os
import signal
import sys
from pathlib import Path

from apps.corpus import DATA_VARIABLE, CorpusError, data_folder
from edge_runtime import EdgeRuntimeError
from training.reproduce import engine, grid, progress

_EXIT_BAD_INPUT = 2
_EXIT_FAILED = 1
_EXIT_INTERRUPTED = 130
_HERE = Path(__file__).resolve().parents[1]


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(
        prog="python -m training.reproduce",
        description="Train the grid of cells, quantization methods, tasks and seeds; pack each network and score it "
        "with the C runtime too. Rows with a result are not trained again, and one that was interrupted goes on "
        "from its checkpoint.",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="rows of these names, such as 'digits-*-ternary-*'",
    )
    parser.add_argument(
        "--list", action="store_true", help="print the rows and what is done of them, and stop"
    )
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="(%(default)s)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="rows at a time, one thread each (1; ray: all CPUs)"
    )
    parser.add_argument(
        "--address", help="of a Ray cluster that this machine is a node of: HOST:PORT or auto (RAY_ADDRESS)"
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder of the data sets, on every machine that trains (EDGE_RUNTIME_DATA)",
    )
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        help="folder of the rows' folders, on this machine (runs/reproduce; with --again runs/again)",
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="so few steps for each row: a trial, no measurement"
    )
    parser.add_argument(
        "--results",
        action="store_true",
        help="write RESULTS.md, results.json and pictures/ of the rows that are done, and stop; those not in --runs "
        "are taken from results.json",
    )
    parser.add_argument(
        "--again",
        nargs="+",
        metavar="PATTERN",
        help="train these rows anew and compare them with results.json (--results: and write that there)",
    )
    parser.add_argument(
        "--out", type=Path, default=_HERE, metavar="DIR", help="folder of the results (that of this program)"
    )
    return parser


def main(argv=None):
    """Run the command line.

    Returns
    -------
    int
        0; 1 where a row failed or is not as it was; 2 for bad input; 130 after Ctrl-C.
    """
    options = build_parser().parse_args(argv)
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # the rows' processes end with this one
    try:
        return _run(options)
    except (grid.GridError, CorpusError, EdgeRuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED


def _run(options):
    if options.again and (options.only or options.list):
        raise grid.GridError("--again names its rows itself: no --only, no --list")
    for name, least in (("jobs", 1), ("steps", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise grid.GridError(f"--{name} {value}: expected {least} or more")
    runs = options.runs or Path("runs/again" if options.again else "runs/reproduce")
    # Where the tasks look, some of which have more rows for more data.
    if options.data is not None:
        os.environ[DATA_VARIABLE] = options.data
    rows = grid.all_rows(own=bool(options.only or options.again or options.results))
    if options.steps:
        rows = grid.with_steps(rows, options.steps)
    if options.again:
        return _again(rows, runs, options)
    if options.results:
        from training.reproduce import results

        results.write(runs, options.out, rows, asked={row.name for row in grid.all_rows()})
        return 0
    rows = grid.choose(rows, options.only)
    return _list(rows, runs) if options.list else _train(rows, runs, options)


def _again(rows, runs, options):
    """Train published rows in another folder, and print both scores of each."""
    from training.reproduce import again, report, results

    published = results.read(options.out)
    rows = grid.choose([row for row in rows if row.name in published.rows], options.again)
    status = _train(rows, runs, options)
    differing = again.compare_all(rows, runs, published)
    print(report.again(published, [row.name for row in rows if row.name in published.again]), end="")
    if options.results:
        results.save(published, options.out)
    return max(status, differing)


def _list(rows, runs):
    """One line per row on standard output."""
    for row in rows:
        result = grid.read_result(row, runs)
        print(f"{grid.state(row, runs):6} {progress.result_line(row, result) if result else row.name}")
    return 0


def _train(rows, runs, options):
    """Train the rows that are not done, and print those that are."""
    results = [(row, grid.read_result(row, runs)) for row in rows]
    left = [row for row, result in results if result is None]
    for row, result in results:
        if result is not None:
            print(progress.result_line(row, result), flush=True)
    if not left:
        return 0
    with progress.watch(len(left)) as watch:
        if options.engine == "ray":
            from training.reproduce.ray_engine import train_on_cluster

            address = options.address or os.environ.get("RAY_ADDRESS")
            train_on_cluster(left, runs, options.data, options.jobs, address, watch)
        else:
            engine.train_locally(left, runs, data_folder(), options.jobs or 1, watch)
    if watch.failures:
        print(f"{len(watch.failures)} of {len(left)} rows failed", file=sys.stderr)
    return _EXIT_FAILED if watch.failures else 0


if __name__ == "__main__":
    sys.exit(main())
