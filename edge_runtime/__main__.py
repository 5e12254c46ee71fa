# SPDX-License-Identifier: MIT
"""``python -m edge_runtime``: describe, run or time a model, or describe this installation."""

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import sys
import time
import warnings

import cffi
import numpy as np

import edge_runtime
from edge_runtime._native import library_path
from edge_runtime.model import DEFAULT_MODEL, Model
from edge_runtime.packing import entropy

#: ISA words of all kernels, slowest first; those that a machine cannot run are refused there.
KERNELS = ("scalar", "neon", "avx2", "avx512bw", "avx512")
_EXIT_BAD_INPUT = 2
_WEIGHT_BITS = {"binary": 1, "ternary": 1.6, "pow2": 4}


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(prog="python -m edge_runtime", description=__doc__.partition(": ")[2])
    parser.add_argument("--version", action="version", version=edge_runtime.__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    info = commands.add_parser("info", help="describe a model: layers, bits, bytes, labels, kernel")
    run = commands.add_parser("run", help="run a model on features: logits, a line a step")
    bench = commands.add_parser("bench", help="time a model from Python, with every kernel or one")
    for command in (info, run, bench):
        command.add_argument("model", nargs="?", metavar="MODEL", help="model file (the one in the package)")
        command.add_argument("--kernel", metavar="NAME", help="such as scalar (the best for this CPU)")
    for command in (info, bench):
        command.add_argument("--json", action="store_true", help="one JSON object")
    run.add_argument(
        "-i",
        "--input",
        required=True,
        metavar="FILE",
        help="features, a step a row: .npy, or CSV; - for CSV on stdin",
    )
    run.add_argument("-o", "--output", metavar="FILE", help=".npy or CSV (CSV on stdout)")
    bench.add_argument("--steps", type=_count, default=2000, metavar="N", help="that are timed (2000)")
    doctor = commands.add_parser("doctor", help="describe this installation: library, versions, audio")
    doctor.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def _count(text):
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def describe_model(model):
    """What ``info`` shows.

    Parameters
    ----------
    model : Model

    Returns
    -------
    dict
        The fields of `Model.info`; labels, metadata, layers, front end and decoder; state_bytes, repacked_bytes (of the
        kernel's own weights and tables); additions (of a step, weight by weight: one for each weight that is not
        zero) and multiplies (0).
    """
    file = model.file
    layers = [
        {
            "kind": layer.kind,
            "activation": layer.activation,
            "input_size": layer.input_size,
            "output_size": layer.output_size,
            "matrices": [
                {
                    "encoding": matrix.encoding,
                    "planes": len(matrix.weights),
                    "rows": matrix.rows,
                    "columns": matrix.columns,
                    "weights": matrix.rows * matrix.columns,
                    "bits_per_weight": _WEIGHT_BITS[matrix.encoding] * len(matrix.weights),
                    "entropy": entropy(matrix.weights) * len(matrix.weights),
                    "zero_weights": int((matrix.weights == 0).all(axis=0).sum()),
                    "additions": int(np.count_nonzero(matrix.weights)),
                }
                for matrix in layer.matrices
            ],
        }
        for layer in file.layers
    ]
    frontend = None
    if file.frontend is not None:
        frontend = {
            "cepstrum_count": file.frontend.cepstrum_count,
            "delta_order": file.frontend.delta_order,
            "stack": file.frontend.stack,
            "step_s": file.frontend.step_samples / 16000,
        }
    decoder = None
    if file.decoder is not None:
        decoder = {"threshold": file.decoder.threshold, "delay_ms": file.decoder.delay_ms}
    return {
        **model.info,
        "labels": list(model.labels),
        "layers": layers,
        "frontend": frontend,
        "decoder": decoder,
        "metadata": model.metadata,
        "state_bytes": 2 * model.info["state_size"],
        "repacked_bytes": model.info["model_bytes"] - _bytes_without_kernel(model),
        "additions": sum(m["additions"] for layer in layers for m in layer["matrices"]),
        "multiplies": 0,
    }


def _bytes_without_kernel(model):
    with Model.from_bytes(model.file.to_bytes(), "scalar") as plain:
        return plain.info["model_bytes"]


def _print_model(name, facts):
    print(f"model      {name}")
    print(f"sizes      {facts['file_bytes']} bytes file, {facts['model_bytes']} loaded, ", end="")
    print(
        f"{facts['repacked_bytes']} of these repacked for the kernel; {facts['stream_bytes']} per stream, ",
        end="",
    )
    print(f"{facts['state_bytes']} of these state")
    print(f"inputs     {facts['input_size']} per step")
    print(f"numerics   profile {facts['profile']}{', fine' if facts['profile'] == 2 else ''}")
    for number, layer in enumerate(facts["layers"], start=1):
        kind = layer["kind"] if layer["activation"] == "none" else f"{layer['kind']} {layer['activation']}"
        print(f"layer {number:<4} {kind} {layer['input_size']} -> {layer['output_size']}")
        for matrix in layer["matrices"]:
            zeros = 100 * matrix["zero_weights"] / matrix["weights"]
            print(
                f"           {matrix['rows']} x {matrix['columns']} {matrix['encoding']}, "
                f"{matrix['bits_per_weight']:g} bits per weight (entropy {matrix['entropy']:.2f}), {zeros:.0f} % zeros"
            )
    weights = sum(m["weights"] for layer in facts["layers"] for m in layer["matrices"])
    print(
        f"weights    {weights}; a step {facts['additions']} additions of weights, {facts['multiplies']} multiplies"
    )
    print(f"labels     {' '.join(facts['labels']) or '(none)'}")
    if facts["frontend"] is not None:
        frontend = facts["frontend"]
        print(
            f"front end  {frontend['cepstrum_count']} cepstra, delta order {frontend['delta_order']}, "
            f"{frontend['stack']} frames per step of {1000 * frontend['step_s']:g} ms"
        )
    if facts["decoder"] is not None:
        decoder = facts["decoder"]
        print(f"decoder    threshold {decoder['threshold']:g}, delay {decoder['delay_ms']} ms")
    print(f"kernel     {facts['kernel']}")
    for key, value in facts["metadata"].items():
        print(f"{key:<10} {value}")


def read_features(path, input_size):
    """Read the input of ``run``.

    Parameters
    ----------
    path : str
        A .npy file of numbers, or CSV: a step a row. "-": CSV on standard input.
    input_size : int

    Returns
    -------
    float32 [shape=(steps, input_size)]

    Raises
    ------
    ValueError
        Names the file, what was expected and what was found.
    """
    try:
        if path.endswith(".npy"):
            x = np.load(path, allow_pickle=False)
        else:
            with contextlib.nullcontext(sys.stdin) if path == "-" else open(path, encoding="ascii") as file:
                warnings.simplefilter("ignore")  # of an empty file, which is refused below
                x = np.loadtxt(file, np.float32, delimiter=",", ndmin=2)
        x = x.astype(np.float32, casting="same_kind") if x.dtype.kind == "f" else x.astype(np.float32)
    except (ValueError, TypeError, EOFError) as error:
        raise ValueError(f"{path}: no array of numbers: {error}") from error
    if x.ndim != 2 or x.shape[1] != input_size:
        raise ValueError(f"{path}: expected {input_size} features a step, found an array of shape {x.shape}")
    return x


def _run(model, options):
    logits = model.stream().run(read_features(options.input, model.input_size))
    if options.output is not None and options.output.endswith(".npy"):
        np.save(options.output, logits)
        return
    with contextlib.nullcontext(sys.stdout) if options.output is None else open(options.output, "w") as file:
        np.savetxt(file, logits, "%.9g", delimiter=",")


def time_model(model, steps):
    """Time a model from Python on standard normal inputs.

    Parameters
    ----------
    model : Model
    steps : int

    Returns
    -------
    dict
        kernel; step_us_p50, step_us_p90, step_us_p99: of single steps, the call from Python included;
        run_us: of a step in one call of all steps, median of five.
    """
    x = np.random.default_rng(0).standard_normal((steps, model.input_size)).astype(np.float32)
    stream = model.stream()
    stream.run(x[:100])
    times = np.empty(steps)
    for i, row in enumerate(x):
        start = time.perf_counter_ns()
        stream.step(row)
        times[i] = time.perf_counter_ns() - start
    runs = []
    for _ in range(5):
        start = time.perf_counter_ns()
        stream.run(x)
        runs.append((time.perf_counter_ns() - start) / steps)
    p50, p90, p99 = np.percentile(times, (50, 90, 99)) / 1e3
    return {
        "kernel": model.kernel,
        "step_us_p50": float(p50),
        "step_us_p90": float(p90),
        "step_us_p99": float(p99),
        "run_us": float(np.median(runs)) / 1e3,
    }


def _bench(name, model, options):
    """Print the times of a model; without a kernel named, with all that this machine runs."""
    data = model.file.to_bytes()
    rows = []
    for kernel in [options.kernel] if options.kernel else KERNELS:
        try:
            timed = Model.from_bytes(data, kernel)
        except edge_runtime.EdgeRuntimeStateError:
            continue
        rows.append(time_model(timed, options.steps))
    if options.json:
        print(json.dumps({"model": os.fspath(name), "steps": options.steps, "kernels": rows}))
        return
    print(f"{'us per step':<12}  step p50     p90     p99  in a run")
    for row in rows:
        print(
            f"{row['kernel']:<12} {row['step_us_p50']:9.2f} {row['step_us_p90']:7.2f} {row['step_us_p99']:7.2f} "
            f"{row['run_us']:9.2f}"
        )


def describe_installation():
    """What ``doctor`` shows; a problem is a value that begins with "missing".

    Returns
    -------
    dict of str to str
    """
    try:
        with Model.default() as model:
            default_model = f"{DEFAULT_MODEL} ({model.info['file_bytes']} bytes)"
            kernel = model.kernel
    except (edge_runtime.EdgeRuntimeError, OSError) as error:
        default_model, kernel = f"missing: {error}", "unknown without a model"
    return {
        "edge_runtime": edge_runtime.__version__,
        "library": os.fspath(library_path),
        "kernel": kernel,
        "default_model": default_model,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cffi": cffi.__version__,
        "machine": platform.platform(),
        "audio": _describe_audio(),
    }


def _describe_audio():
    """Whether a microphone can be heard; only the demo needs it."""
    if importlib.util.find_spec("sounddevice") is None:
        return "missing: python -m pip install sounddevice (only for the microphone)"
    try:
        import sounddevice

        inputs = [d["name"] for d in sounddevice.query_devices() if d["max_input_channels"] > 0]
    except OSError:
        return "missing: sudo apt install libportaudio2 (only for the microphone)"
    except Exception as error:  # PortAudioError, known only once it is imported
        problem = str(error).partition("\n")[0]
        return f"missing: {problem} (only for the microphone)"
    if not inputs:
        return "missing: no input device; check `arecord -l` and group audio (only for the microphone)"
    return f"{len(inputs)} input devices: {', '.join(inputs)}"


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        if options.command == "doctor":
            facts = describe_installation()
            if options.json:
                print(json.dumps(facts))
            else:
                for key, value in facts.items():
                    print(f"{key:<14} {value}")
            return 1 if facts["default_model"].startswith("missing") else 0
        path = DEFAULT_MODEL if options.model is None else options.model
        model = Model.default(options.kernel) if options.model is None else Model.load(path, options.kernel)
        if options.command == "run":
            _run(model, options)
        elif options.command == "bench":
            _bench(path, model, options)
        elif options.json:
            print(json.dumps(describe_model(model)))
        else:
            _print_model(path, describe_model(model))
    except (edge_runtime.EdgeRuntimeError, OSError, ValueError) as error:
        print(f"edge_runtime: {error}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
