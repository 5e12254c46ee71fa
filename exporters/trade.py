"""``python -m exporters.trade SOURCE``: size against error against speed of a float network's packed forms.

A row per number of planes (all matrices alike), and one per bound that the search is given.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from edge_runtime import Model
from edge_runtime.errors import EdgeRuntimeError
from exporters import pack
from exporters.__main__ import load_network
from exporters.planes import VALUES, most_planes
from exporters.quantize import CLAMPS, QuantizeError, Quantizer
from exporters.search import Search

_RUNS = 9  # timed; the median counts
_COLUMNS = "planes           bytes   of fp32   error    largest  rms      same choice   us/step"


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(prog="python -m exporters.trade", description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="model.onnx or module.pt2")
    parser.add_argument("--calibrate", type=Path, metavar="DATA.npz", help="typical inputs")
    parser.add_argument("--encoding", choices=VALUES, default="ternary")
    parser.add_argument("--operand-bits", type=int, choices=CLAMPS, default=8)
    parser.add_argument(
        "--planes", default="1,2,3,4,5,6", metavar="N,N", help="numbers of planes (1,2,3,4,5,6)"
    )
    parser.add_argument(
        "--max-error", default="", metavar="X,X", help="bounds to search for, as `python -m exporters` does"
    )
    parser.add_argument("--json", action="store_true", help="a JSON object per row")
    return parser


def row(name, network, found):
    """What the table says of a packed form.

    Parameters
    ----------
    name : str
    network : exporters.graph.Network
    found : exporters.search.Found

    Returns
    -------
    dict
    """
    floats = 4 * sum(
        array.size
        for layer in network.layers
        for array in vars(layer).values()
        if isinstance(array, np.ndarray)
    )
    agreement = found.agreement
    return {
        "planes": name,
        "bytes": len(found.data),
        "share_of_fp32": len(found.data) / floats,
        "relative_error": agreement.relative,
        "largest": agreement.largest,
        "rms": agreement.rms,
        "same_choice": agreement.same_choice,
        "us_per_step": _us_per_step(found.data),
    }


def _us_per_step(data):
    """Median time of a step of a whole-sequence call: the call from Python hardly counts."""
    model = Model.from_bytes(data)
    stream = model.stream()
    x = np.random.default_rng(0).standard_normal((1000, model.input_size)).astype(np.float32)
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        stream.run(x)
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times) / len(x)


def _line(facts):
    return (
        f"{facts['planes']:<16} {facts['bytes']:>8} {100 * facts['share_of_fp32']:7.1f} %  {100 * facts['relative_error']:6.2f} %  "
        f"{facts['largest']:<8.3g} {facts['rms']:<8.3g} {100 * facts['same_choice']:6.1f} %      {facts['us_per_step']:8.2f}"
    )


def main(arguments=None):
    """Run the command line; returns the exit status: 0, or 2 for bad input."""
    options = build_parser().parse_args(arguments)
    try:
        counts = [int(text) for text in options.planes.split(",") if text]
        bounds = [float(text) for text in options.max_error.split(",") if text]
        if not all(1 <= count <= most_planes(options.encoding) for count in counts):
            raise ValueError(
                f"--planes: expected 1 to {most_planes(options.encoding)}, found {options.planes}"
            )
        network = load_network(options.source)
        inputs = (
            None if options.calibrate is None else pack.read_inputs(options.calibrate, network.input_size)
        )
        search = Search(Quantizer(network, pack.inputs_or_generated(network, inputs)), options.encoding)
        if not options.json:
            print(_COLUMNS, flush=True)
        for name, found in _rows(search, counts, bounds, options.operand_bits):
            facts = row(name, network, found)
            print(json.dumps(facts) if options.json else _line(facts), flush=True)
    except (ValueError, EdgeRuntimeError, OSError, ImportError) as error:
        print(f"exporters.trade: {options.source}: {error}", file=sys.stderr)
        return 2
    return 0


def _rows(search, counts, bounds, bits):
    for count in counts:
        yield str(count), search.try_planes([count] * len(search.quantizer.matrices), bits)
    for bound in bounds:
        try:
            found = search.smallest(bound)
        except QuantizeError as error:
            print(f"exporters.trade: {error}", file=sys.stderr)
            continue
        planes = " ".join(str(report.precision.planes) for report in found.reports)
        yield f"{bound:g}: {planes}", found


if __name__ == "__main__":
    sys.exit(main())
