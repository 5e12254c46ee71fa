# SPDX-License-Identifier: MIT
"""``python -m edge_runtime``: describe a model or this installation."""

import argparse
import importlib.util
import json
import os
import platform
import sys

import cffi
import numpy as np

import edge_runtime
from edge_runtime._native import library_path
from edge_runtime.model import DEFAULT_MODEL, Model

_EXIT_BAD_INPUT = 2
_WEIGHT_BITS = {"binary": 1, "ternary": 1.6, "pow2": 4}


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(prog="python -m edge_runtime", description=__doc__.partition(": ")[2])
    parser.add_argument("--version", action="version", version=edge_runtime.__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    info = commands.add_parser("info", help="describe a model: layers, bits, bytes, labels, kernel")
    info.add_argument("model", nargs="?", metavar="MODEL", help="model file (the one in the package)")
    info.add_argument("--kernel", metavar="NAME", help="such as scalar (the best for this CPU)")
    info.add_argument("--json", action="store_true", help="one JSON object")
    doctor = commands.add_parser("doctor", help="describe this installation: library, versions, audio")
    doctor.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def describe_model(model):
    """What ``info`` shows.

    Parameters
    ----------
    model : Model

    Returns
    -------
    dict
        The fields of `Model.info`, and labels, metadata, layers, front end and decoder.
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
                    "zero_weights": int((matrix.weights == 0).all(axis=0).sum()),
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
    }


def _print_model(name, facts):
    print(f"model      {name}")
    print(f"sizes      {facts['file_bytes']} bytes file, {facts['model_bytes']} loaded, ", end="")
    print(f"{facts['stream_bytes']} per stream; {facts['state_size']} int16 of state")
    print(f"inputs     {facts['input_size']} per step")
    print(f"numerics   profile {facts['profile']}{', fine' if facts['profile'] == 2 else ''}")
    for number, layer in enumerate(facts["layers"], start=1):
        kind = layer["kind"] if layer["activation"] == "none" else f"{layer['kind']} {layer['activation']}"
        print(f"layer {number:<4} {kind} {layer['input_size']} -> {layer['output_size']}")
        for matrix in layer["matrices"]:
            zeros = 100 * matrix["zero_weights"] / matrix["weights"]
            print(
                f"           {matrix['rows']} x {matrix['columns']} {matrix['encoding']}, "
                f"{matrix['bits_per_weight']:g} bits per weight, {zeros:.0f} % zeros"
            )
    weights = sum(m["weights"] for layer in facts["layers"] for m in layer["matrices"])
    print(f"weights    {weights}")
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
        return f"missing: {str(error).splitlines()[0]} (only for the microphone)"
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
        facts = describe_model(model)
        if options.json:
            print(json.dumps(facts))
        else:
            _print_model(path, facts)
    except (edge_runtime.EdgeRuntimeError, OSError) as error:
        print(f"edge_runtime: {error}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
