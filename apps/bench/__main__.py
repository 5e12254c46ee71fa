# SPDX-License-Identifier: MIT
"""Command line of the bench."""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import random
import sys
import tempfile

from apps.bench import contenders, measure, native, plot, report, workloads
from edge_runtime import EdgeRuntimeError, Model
from edge_runtime.model import DEFAULT_MODEL

_EXIT_BAD_INPUT = 2
_EXIT_WRONG = 1
_SHIPPED = "digits"


class BenchError(ValueError):
    """Nothing can be measured; the message is one line."""


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.bench",
        description="Time this runtime, kernel by kernel, against ONNX Runtime and LiteRT where they are "
        "installed: one step at a time with warm and with cold caches, whole sequences, several streams; one "
        "thread, all interleaved in one run in random order.",
        epilog="Peers: python -m pip install onnx onnxruntime ai-edge-litert flatbuffers. Others join with "
        "--extra; apps/bench/README.md describes the protocol, and what is compared with what.",
    )
    parser.add_argument(
        "--workloads",
        metavar="W1,W2",
        help=f"of {', '.join(workloads.WORKLOADS)}, {_SHIPPED} (all; {_SHIPPED} is the shipped model)",
    )
    parser.add_argument("-m", "--model", metavar="FILE", help=f"model file of the workload {_SHIPPED}")
    parser.add_argument("--kernel", metavar="NAME", help="only this kernel of ours, such as scalar (all)")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of the run (%(default)s)")
    parser.add_argument("--core", type=int, help="CPU core to pin the workers to (the last allowed one)")
    parser.add_argument("--quick", action="store_true", help="a short look: W1, 3 rounds, no instructions")
    parser.add_argument("--no-peers", action="store_true", help="only this runtime")
    parser.add_argument("--no-instructions", action="store_true", help="do not count instructions")
    parser.add_argument(
        "--extra",
        action="append",
        default=[],
        metavar="FILE.json",
        help="further contenders; may be repeated",
    )
    parser.add_argument(
        "--write-models",
        metavar="DIR",
        help="write models, worker and extra.json for another bench, and stop",
    )
    parser.add_argument("--plot", metavar="FILE.svg", help="draw the streaming steps")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on standard error")
    return parser


def choose_workloads(names, model_path, quick):
    """The workloads to run.

    Parameters
    ----------
    names : str or None
        Comma-separated.
    model_path : str or None
        Of the workload "digits"; None: the model in the package, if there.
    quick : bool

    Returns
    -------
    list of apps.bench.workloads.Workload

    Raises
    ------
    BenchError
    """
    known = dict(workloads.WORKLOADS)
    path = DEFAULT_MODEL if model_path is None else pathlib.Path(model_path)
    if model_path is not None or path.is_file():
        found = workloads.workload_of_model(_SHIPPED, Model.load(path).file)
        if found is None:
            raise BenchError(f"{path}: the peers have no such network; leave out {_SHIPPED}")
        known[_SHIPPED] = found
    if names is None:
        return [known["W1"]] if quick else list(known.values())
    chosen = []
    for name in names.split(","):
        if name == _SHIPPED and name not in known:
            raise BenchError(f"{path}: no such file; name a model with --model")
        if name not in known:
            raise BenchError(f"--workloads: no workload {name!r}; known: {', '.join(known)}")
        chosen.append(known[name])
    return chosen


def choose_kernels(wanted):
    """The kernels to run, and the one that a user gets.

    Raises
    ------
    BenchError
    """
    data = workloads.ternary_model(workloads.WORKLOADS["W1"]).to_bytes()
    kernels = contenders.available_kernels(data)
    if wanted is None:
        return kernels, Model.from_bytes(data).kernel
    if wanted not in kernels:
        raise BenchError(f"--kernel {wanted}: not offered here; there are: {', '.join(kernels)}")
    return [wanted], wanted


def write_models(chosen, folder, kernels):
    """Write what another bench needs: files, the worker, ``extra.json``.

    Parameters
    ----------
    chosen : sequence of apps.bench.workloads.Workload
    folder : path
    kernels : sequence of str
        One entry of ``extra.json`` for each.
    """
    folder = pathlib.Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    program = native.build_peer_worker(folder)
    extra = []
    for kernel in kernels:
        name = f"edge_runtime_{kernel}"
        commands = {
            workload.name: contenders.peer_worker_command(
                program, folder / workload.name, workload, kernel, name
            )
            for workload in chosen
        }
        extra.append({"name": name, "workloads": commands})
    for workload in chosen:
        workloads.write_files(workload, folder / workload.name)
    (folder / "extra.json").write_text(json.dumps(extra, indent=1) + "\n", encoding="utf-8")


def default_core():
    """The last core that this process may use, or None where pinning is not offered."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


class Progress:
    """One line on standard error while it is a terminal."""

    def __init__(self, quiet):
        self._shown = sys.stderr.isatty() and not quiet

    def __call__(self, text):
        if self._shown:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self):
        self("")


def run(chosen, kernels, default_kernel, plan, families=(), extras=None, progress=lambda text: None):
    """Run the bench.

    Parameters
    ----------
    chosen : sequence of apps.bench.workloads.Workload
    kernels : sequence of str
    default_kernel : str
    plan : apps.bench.measure.Plan
    families : set of str
        Peers that take part.
    extras : dict of str to list of apps.bench.contenders.Contender, optional
        By workload.
    progress : callable

    Returns
    -------
    dict
        What ``--json`` prints.
    """
    rng = random.Random(7)
    result = {
        "bench": 1,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": report.machine(),
        "versions": contenders.versions(),
        "threads": 1,
        "plan": dataclasses.asdict(plan),
        "kernels": list(kernels),
        "default_kernel": default_kernel,
        "ratios": {},
        "workloads": {},
        "problems": [],
    }
    result["notes"] = report.notes(result["machine"], default_kernel)
    with tempfile.TemporaryDirectory(prefix="edge_runtime_bench_") as name:
        folder = pathlib.Path(name)
        programs = contenders.Programs(folder)
        result["problems"] += programs.problems
        for workload in chosen:
            progress(f"{workload.name}: models")
            files = folder / workload.name
            contenders.write_files(workload, files, families)
            taking_part = contenders.contenders(workload, files, kernels, default_kernel, families, programs)
            taking_part += (extras or {}).get(workload.name, [])
            records, failures = measure.run_workload(
                taking_part,
                plan,
                rng,
                programs.count_instructions,
                lambda text, of=workload.name: progress(f"{of}: {text}"),
            )
            result["problems"] += [f"{workload.name} {who}: {why}" for who, why in failures.items()]
            result["problems"] += [
                f"{workload.name} {who}: scatters (p90 above 1.5 medians); the machine was not quiet"
                for who in measure.noisy_contenders(records)
            ]
            result["workloads"][workload.name] = {
                "description": workload.description,
                "weights": workload.macs,
                "contenders": records,
            }
            result["ratios"][workload.name] = measure.ratios(records, default_kernel)
            for path in files.iterdir():
                path.unlink()
    return result


def wrong_outputs(result):
    """Contenders of ours whose outputs are not exactly the reference's: list of str."""
    return [
        f"{workload} {name}: differs from the reference by {record['maxerr']:g}"
        for workload, measured in result["workloads"].items()
        for name, record in measured["contenders"].items()
        if record["family"] == "edge_runtime" and record["maxerr"] != 0
    ]


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = build_parser().parse_args(arguments)
    progress = Progress(options.quiet)
    try:
        if options.rounds < 1:
            raise BenchError("--rounds: expected at least 1")
        chosen = choose_workloads(options.workloads, options.model, options.quick)
        kernels, default_kernel = choose_kernels(options.kernel)
        if options.write_models is not None:
            write_models(chosen, options.write_models, kernels)
            return 0
        missing = contenders.missing_peers()
        families = set() if options.no_peers else {"onnxruntime", "litert"} - set(missing)
        if not options.no_peers:
            for line in missing.values():
                print(f"bench: {line}", file=sys.stderr)
        extras = {}
        for path in options.extra:
            for workload, found in contenders.read_extra(path).items():
                extras.setdefault(workload, []).extend(found)
        core = default_core() if options.core is None else options.core
        plan = measure.Plan(rounds=options.rounds, core=core, instructions=not options.no_instructions)
        if options.quick:
            plan = dataclasses.replace(
                plan, rounds=min(3, plan.rounds), budget_us=500, starts=1, instructions=False
            )
        result = run(chosen, kernels, default_kernel, plan, families, extras, progress)
    except (BenchError, native.BuildError, EdgeRuntimeError, OSError, ValueError) as error:
        progress.clear()
        print(f"bench: {error}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("\nbench: interrupted", file=sys.stderr)
        return 130
    progress.clear()
    wrong = wrong_outputs(result)
    for line in result["notes"] + result["problems"] + wrong:
        print(f"bench: {line}", file=sys.stderr)
    with contextlib.suppress(BrokenPipeError):
        if options.plot is not None:
            pathlib.Path(options.plot).write_text(plot.svg(result), encoding="utf-8")
        print(report.text(result), file=sys.stderr if options.json else sys.stdout)
        if options.json:
            print(json.dumps(result))
    return _EXIT_WRONG if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
