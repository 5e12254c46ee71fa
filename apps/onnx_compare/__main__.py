# SPDX-License-Identifier: MIT
"""Command line of the comparison with ONNX Runtime."""

import argparse
import contextlib
import dataclasses
import datetime
import importlib.util
import json
import os
import pathlib
import sys
import tempfile

from apps.bench import contenders, measure, native
from apps.bench import report as bench_report
from apps.bench.__main__ import Progress, default_core
from apps.corpus import CorpusError
from edge_runtime import EdgeRuntimeError

_EXIT_WRONG = 1
_EXIT_BAD_INPUT = 2
_FLOAT_BOUND = 1e-3  # of ONNX Runtime's f32 outputs from float64, for outputs with a spread of 1 or less


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.onnx_compare",
        description="Compare a packed model with a float network in ONNX Runtime, f32 and int8: accuracy, "
        "agreement of the outputs, file size, load time, memory, latency step by step and of whole sequences, CPU of "
        "a live stream. Without --onnx the network is the model's fp32 twin: the same weights in float.",
        epilog="Needs: python -m pip install onnx onnxruntime. apps/onnx_compare/README.md says what is compared.",
    )
    parser.add_argument("-m", "--model", metavar="MODEL.ernn", help="model file (the one in the package)")
    parser.add_argument("--onnx", metavar="MODEL.onnx", help="network (the fp32 twin of the model)")
    parser.add_argument(
        "--data",
        nargs="+",
        action="extend",
        metavar="DIR",
        help="recordings: folders with an index.csv, or of such folders",
    )
    parser.add_argument("--split", default="test", help="value of the column 'split', or all (%(default)s)")
    parser.add_argument(
        "--spelled-o", action="store_true", help="count the letter 'o' of a label as the word 'oh'"
    )
    parser.add_argument(
        "--inputs",
        metavar="DATA.npz",
        help="arrays (steps, inputs) or (sequences, steps, inputs) instead of recordings",
    )
    parser.add_argument("--kernel", metavar="NAME", help="kernel of this runtime, such as scalar")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of the latency run (%(default)s)")
    parser.add_argument(
        "--live-s",
        type=float,
        default=10,
        metavar="S",
        help="length of each live stream; 0: none (%(default)s)",
    )
    parser.add_argument(
        "--step-ms",
        type=float,
        metavar="MS",
        help="signal per step of a live stream (the front end's, or 10)",
    )
    parser.add_argument("--core", type=int, help="CPU core to pin the workers to (the last allowed one)")
    parser.add_argument("--quick", action="store_true", help="a short look: 3 rounds, live streams of 1 s")
    parser.add_argument("--keep", metavar="DIR", help="leave the ONNX files, inputs and references in DIR")
    parser.add_argument("--html", metavar="FILE", help="write a page with plots")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object on standard output, the table on standard error"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on standard error")
    return parser


def compare(
    pair, inputs, plan, folder, live_s=10.0, step_ms=None, spelled_o=False, progress=lambda text: None
):
    """Run the comparison.

    Parameters
    ----------
    pair : apps.onnx_compare.pair.Pair
    inputs : apps.onnx_compare.inputs.Inputs
    plan : apps.bench.measure.Plan
    folder : path
        Receives the files of the workers.
    live_s : float
        0: no live streams.
    step_ms : float, optional
    spelled_o : bool
    progress : callable

    Returns
    -------
    dict
        What ``--json`` prints.
    """
    from apps.onnx_compare import outputs, speed
    from apps.onnx_compare.pair import OnnxSide, distance_of_file

    progress("ONNX files")
    folder = pathlib.Path(folder)
    workload = pair.workload(inputs.sequences[0])
    contenders.write_files(workload, folder, {"onnxruntime"})
    programs = contenders.Programs(folder)
    facts = bench_report.machine()

    progress("outputs")
    logits = {"edge_runtime": outputs.logits_of_model(pair.model, inputs.sequences)}
    sequences = [pair.onnx_inputs(x) for x in inputs.sequences]
    changed = sum(int((a != b).sum()) for a, b in zip(sequences, inputs.sequences, strict=True))
    for form in ("f32", "int8"):
        side = OnnxSide(workload, folder, form)
        logits[f"onnxruntime_{form}"] = [side.run(x) for x in sequences]
    steps, largest = outputs.distance_from_network(pair.network, sequences, logits["onnxruntime_f32"])
    agreement = outputs.agreements(logits)
    scores = None
    if inputs.utterances is not None:
        progress("words")
        scores = outputs.scores(pair.model, inputs.utterances, logits, spelled_o)

    chosen = speed.taking_part(pair, workload, folder, programs)
    records, problems = speed.latencies(chosen, plan, progress)
    lives = {}
    if live_s > 0:
        called = [c for c in chosen if c.form != "null" and c.name in records]
        from_c = [c for c in called if c.via == "c"]
        step_us = speed.step_of_signal_us(pair.model, step_ms)
        lives = speed.live(from_c or called, plan.core, step_us, live_s, progress)
    int8_bytes = min(path.stat().st_size for path in folder.glob("*_int8_stream.onnx"))
    onnx_bytes = {"f32": pair.onnx_bytes, "int8": int8_bytes}
    return {
        "onnx_compare": 1,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": facts,
        "versions": contenders.versions(),
        "plan": dataclasses.asdict(plan),
        "notes": bench_report.notes(facts, pair.model.kernel),
        "problems": programs.problems + problems,
        "model": {"path": os.fspath(pair.path), "file_bytes": pair.model_bytes, "kernel": pair.model.kernel},
        "onnx": {
            "name": pair.onnx_name,
            "description": workload.description,
            "weights": workload.macs,
            "file_bytes": onnx_bytes,
        },
        "inputs": {
            "what": inputs.what,
            "sequences": len(inputs.sequences),
            "steps": inputs.steps,
            "clamped_for_onnx": changed / (inputs.steps * pair.model.input_size),
        },
        "exact": {"steps": steps, "largest": largest, "file": distance_of_file(pair, sequences[0])},
        "scores": scores,
        "agreement": agreement,
        "speed": records,
        "live": lives,
        "ratios": speed.ratios(records, lives, pair.model_bytes, onnx_bytes),
    }


def wrong_outputs(result):
    """What makes the comparison void: list of str."""
    found = [
        f"{name}: differs from the reference by {record['maxerr']:g}"
        for name, record in result["speed"].items()
        if record["family"] == "edge_runtime" and record["maxerr"] != 0
    ]
    spread = max((a["spread"] for a in result["agreement"].values()), default=1)
    for key, what in (("largest", "ONNX Runtime f32"), ("file", "the ONNX file")):
        distance = result["exact"][key]
        if distance is not None and not distance <= _FLOAT_BOUND * max(1, spread):
            found.append(f"{what}: differs from the network by {distance:g}")
    return found


def _run(options, progress):
    """The result of the command line's options."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"missing: python -m pip install {' '.join(missing)}")
    from apps.onnx_compare import inputs
    from apps.onnx_compare.pair import CompareError, load_pair

    if options.rounds < 1:
        raise CompareError("--rounds: expected at least 1")
    if options.live_s < 0 or (options.step_ms is not None and options.step_ms <= 0):
        raise CompareError("--live-s, --step-ms: expected a positive time")
    if options.data is not None and options.inputs is not None:
        raise CompareError("--data and --inputs: expected one of them")
    pair = load_pair(options.model, options.onnx, options.kernel)
    progress("inputs")
    found = inputs.read(pair.model, options.data, options.split, options.inputs)
    plan = measure.Plan(
        rounds=options.rounds,
        core=default_core() if options.core is None else options.core,
        instructions=False,
    )
    live_s = options.live_s
    if options.quick:
        plan = dataclasses.replace(plan, rounds=min(3, plan.rounds), budget_us=500, starts=1)
        live_s = min(1.0, live_s)
    with contextlib.ExitStack() as stack:
        folder = options.keep
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edge_runtime_compare_"))
        return compare(pair, found, plan, folder, live_s, options.step_ms, options.spelled_o, progress)


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = build_parser().parse_args(arguments)
    progress = Progress(options.quiet)
    try:
        result = _run(options, progress)
        if options.html is not None:
            from apps.onnx_compare.page import page

            pathlib.Path(options.html).write_text(page(result), encoding="utf-8")
    except (native.BuildError, CorpusError, EdgeRuntimeError, OSError, ValueError) as error:
        progress.clear()
        print(f"onnx_compare: {_one_line(error)}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("\nonnx_compare: interrupted", file=sys.stderr)
        return 130
    progress.clear()
    wrong = wrong_outputs(result)
    for line in result["notes"] + result["problems"] + wrong:
        print(f"onnx_compare: {line}", file=sys.stderr)
    from apps.onnx_compare import report

    with contextlib.suppress(BrokenPipeError):
        print(report.text(result), file=sys.stderr if options.json else sys.stdout)
        if options.json:
            print(json.dumps(result))
    return _EXIT_WRONG if wrong else 0


def _one_line(error):
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error).splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
