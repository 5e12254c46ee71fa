"""Command line: a trained network in, a verified model file out."""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.format import ModelFile
from exporters import pack, report, verify
from exporters.agreement import DRIFT_STEPS
from exporters.dequantize import dequantize
from exporters.graph import ImportRefusedError
from exporters.planes import VALUES
from exporters.quantize import CLAMPS
from exporters.to_c_header import c_header, identifier

_MISMATCH = 1
_BAD_INPUT = 2


class MissingPackageError(ImportError):
    """A package that a source needs is not installed; the message says how to install it."""


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(
        prog="python -m exporters",
        description="Pack a trained network into a model file. Source and packed network are run on the same "
        "vectors, and nothing is written unless they agree: a network of training.train on every bit, any other "
        "within --max-error.",
    )
    parser.add_argument(
        "source",
        type=Path,
        help="model.onnx, module.pt2 (torch.export), checkpoint.pt (of training.train, or a state_dict), or model.ernn (for --c-header)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="MODEL.ernn", help="model file to write")
    parser.add_argument("--c-header", type=Path, metavar="MODEL.h", help="write the model as a C array, too")
    parser.add_argument(
        "--onnx",
        type=Path,
        metavar="NET.onnx",
        help="write the network in float32 as ONNX, too: of a checkpoint its masters, of model.ernn what its integers stand for",
    )
    parser.add_argument(
        "--onnx-step",
        type=Path,
        metavar="STEP.onnx",
        help="the same as a graph of one step, states in and out",
    )
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.add_argument("-q", "--quiet", action="store_true", help="no report")
    parser.add_argument(
        "--decoder",
        type=Path,
        metavar="TOML",
        help="checkpoint: decoder settings of training.operating_point",
    )
    floats = parser.add_argument_group("networks trained in float")
    floats.add_argument(
        "--calibrate",
        type=Path,
        metavar="DATA.npz",
        help="typical inputs, arrays (steps, inputs) or (sequences, steps, inputs); without, standard normal numbers",
    )
    floats.add_argument(
        "--max-error",
        type=_positive,
        metavar="X",
        help="bound on the greatest difference of an output (a tenth of the outputs' standard deviation)",
    )
    floats.add_argument(
        "--planes",
        type=_planes,
        metavar="N|auto",
        help="planes of weights (auto: as few as the bound allows)",
    )
    floats.add_argument("--encoding", choices=VALUES, default="ternary", help="of the weights (ternary)")
    floats.add_argument(
        "--operand-bits",
        type=int,
        choices=CLAMPS,
        help="of the values that matrices are applied to (8; auto also tries 16, with the finer numeric profile 2)",
    )
    floats.add_argument(
        "--drift-steps",
        type=int,
        default=DRIFT_STEPS,
        metavar="N",
        help=f"length of the run without a reset ({DRIFT_STEPS}: 10 minutes of 10 ms steps; 0: none)",
    )
    floats.add_argument(
        "--layers",
        metavar="NAME:ACTIVATION,...",
        help="of a checkpoint with a bare state_dict: its layers in the order in which they run",
    )
    floats.add_argument("--labels", type=Path, metavar="TXT", help="a label per output, a line each")
    floats.add_argument(
        "--metadata", action="append", type=_pair, metavar="KEY=TEXT", help="such as licence=MIT"
    )
    return parser


def _positive(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def _planes(text):
    return None if text == "auto" else int(text)


def _pair(text):
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise argparse.ArgumentTypeError(f"{text!r}: expected KEY=TEXT")
    return key, value


def main(arguments=None):
    """Run the command line; returns the exit status: 0, 1 for a mismatch, 2 for bad input."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if not any((options.output, options.c_header, options.onnx, options.onnx_step)):
        parser.error(
            "nothing to write: -o MODEL.ernn, --c-header MODEL.h, --onnx NET.onnx or --onnx-step STEP.onnx"
        )
    try:
        model_file, data, network, facts = _convert(options)
        graphs = _graphs(options, network, model_file.metadata)
    except verify.MismatchError as error:
        print(f"exporters: {options.source}: nothing written: {error}", file=sys.stderr)
        return _MISMATCH
    except MissingPackageError as error:
        return _fail(error)
    except (ValueError, EdgeRuntimeError, OSError) as error:
        return _fail(_named(options.source, error))
    try:
        written = _write(options, model_file, data, graphs)
    except OSError as error:
        return _fail(f"{error.filename or options.output}: {error.strerror or error}")
    if options.json:
        print(json.dumps({**facts, "written": written}))
    elif not options.quiet:
        print(report.text(facts))
        for path in written:
            print(f"wrote {path}")
    return 0


def _convert(options):
    """The packed model of the source, its bytes, the float network, and what the report says of them."""
    suffix = options.source.suffix.lower()
    if suffix == ".ernn":
        model_file = ModelFile.load(options.source)
        data = options.source.read_bytes()
        network = dequantize(model_file, os.fspath(options.source))
        return model_file, data, network, report.facts(model_file, len(data))
    if suffix not in (".onnx", ".pt2") and options.layers is None:
        _need("torch", "train")
        from exporters import from_checkpoint

        if from_checkpoint.is_checkpoint(options.source):
            return _from_checkpoint(options)
    return _from_float(options)


def _from_checkpoint(options):
    from exporters import from_checkpoint

    decoder = from_checkpoint.read_decoder(options.decoder)
    network, state = from_checkpoint.load_source(options.source)
    model_file = from_checkpoint.model_file(network, decoder, from_checkpoint.describe(state))
    data = model_file.to_bytes()
    steps = verify.verify(network, data, model_file)
    facts = {**report.facts(model_file, len(data)), "equal_steps": steps}
    return model_file, data, from_checkpoint.master_network(network), facts


def load_network(source, layers=None):
    """Load a float network of any kind.

    Parameters
    ----------
    source : path
        ONNX file, exported program of PyTorch, or a checkpoint with a state_dict.
    layers : str, optional
        Of a checkpoint, as for `exporters.from_torch`.

    Returns
    -------
    exporters.graph.Network
    """
    import exporters

    if source.suffix.lower() == ".onnx":
        _need("onnx", "onnx")
        return exporters.from_onnx(source)
    _need("torch", "train")
    return exporters.from_torch(source, layers=layers)


def _from_float(options):
    network = load_network(options.source, options.layers)
    inputs = None if options.calibrate is None else pack.read_inputs(options.calibrate, network.input_size)
    labels = None
    if options.labels is not None:
        labels = options.labels.read_text(encoding="utf-8").splitlines()
    packed = pack.pack(
        network,
        inputs,
        encoding=options.encoding,
        planes=options.planes,
        operand_bits=options.operand_bits,
        max_error=options.max_error,
        drift_steps=options.drift_steps,
        labels=labels,
        metadata=dict(options.metadata or ()),
        on_progress=_progress if sys.stderr.isatty() and not options.quiet else None,
    )
    found = packed.found
    facts = report.facts(found.model_file, len(found.data))
    facts["matrices"] = [
        {**row, "scale_error": one.scale_error, "saturation": one.saturation}
        for row, one in zip(facts["matrices"], found.reports, strict=True)
    ]
    facts["agreement"] = {
        **dataclasses.asdict(found.agreement),
        "max_error": packed.max_error,
        "inputs": "standard normal" if packed.generated else os.fspath(options.calibrate),
    }
    if "output_scale" in found.model_file.metadata:
        facts["output_scale"] = float(found.model_file.metadata["output_scale"])
    if packed.drift is not None:
        first, last = packed.drift
        facts["drift"] = {"steps": options.drift_steps, "first_rms": first.rms, "last_rms": last.rms}
    return found.model_file, found.data, network, facts


def _need(package, extra):
    try:
        __import__(package)
    except ImportError as error:
        raise MissingPackageError(f"{package} is missing: pip install 'edge-runtime[{extra}]'") from error


def _graphs(options, network, metadata):
    """The ONNX files to write: list of (path, bytes)."""
    paths = [(options.onnx, False), (options.onnx_step, True)]
    if not any(path for path, _ in paths):
        return []
    _need("onnx", "onnx")
    from exporters.to_onnx import to_onnx

    return [(path, to_onnx(network, step, metadata).SerializeToString()) for path, step in paths if path]


def _write(options, model_file, data, graphs):
    written = []
    if options.output is not None:
        model_file.save(options.output)
        written.append(os.fspath(options.output))
    if options.c_header is not None:
        options.c_header.write_text(c_header(data, identifier(options.c_header)), encoding="ascii")
        written.append(os.fspath(options.c_header))
    for path, graph in graphs:
        path.write_bytes(graph)
        written.append(os.fspath(path))
    return written


def _progress(line):
    print(f"exporters: {line}", file=sys.stderr)


def _named(source, error):
    """An error's text, with the source's name unless it says it itself."""
    text = (
        f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    )
    named = isinstance(error, ImportRefusedError | OSError) or os.fspath(source) in text
    return text if named else f"{source}: {text}"


def _fail(message):
    print(f"exporters: {message}", file=sys.stderr)
    return _BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
