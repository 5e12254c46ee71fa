# SPDX-License-Identifier: MIT
"""What skipping gains: steps of a stream that leaves out what did not change, against plain ones.

    python -m apps.bench.skipping --data DIR/nondigit_speech DIR/fsdd [--kernel NAME] [--core N]

For the shipped model and the random networks W1, W2, W3 and W4L of the bench, on features of the recordings, of digital
silence and of noise of two units of 16 bits: share of the operands, alone and in groups of five, that are not those of
the last step; microseconds a step, plain and skipping, and their ratio. Plain and skipping runs take turns. Outputs are
compared; exit status 1 if one differs.
"""

import argparse
import os
import statistics
import sys
import time

import numpy as np

from apps.bench import workloads
from apps.corpus import read_folder
from edge_runtime import Frontend, FrontendConfig, Model, reference

_SECONDS = 20
_ROUNDS = 15
_GROUP = 5
_SHAPES = {"W1": (13, 2), "W2": (20, 1), "W3": (25, 1), "W4L": (25, 1)}  # cepstra and orders of differences


def _signals(folders):
    """Name and int16 samples of each drive."""
    size = _SECONDS * 16000
    pcm = np.concatenate([u.pcm for u in read_folder(folders[0], None) if u.pcm is not None][:40])[
        : size // 2
    ]
    for folder in folders[1:]:
        more = [u.pcm for u in read_folder(folder, None) if u.pcm is not None][:40]
        pcm = np.concatenate([pcm, *more])[:size]
    rng = np.random.default_rng(3)
    yield "speech", pcm[:size]
    yield "faint noise", rng.integers(-2, 3, size // 4).astype(np.int16)
    yield "digital silence", np.zeros(size // 4, np.int16)


def _changed(model, file, x):
    """Shares of operands and of groups that change from step to step, over all matrices by their weights."""
    stream = model.stream()
    inputs, states = [], []
    for row in x:
        inputs.append(row.astype(np.int64))
        stream.step_quantized(row)
        states.append(stream.state.astype(np.int64))
    inputs, states = np.array(inputs), np.array(states)
    alone = groups = weights = 0
    start = 0
    for layer in file.layers:
        vectors = [inputs]
        if layer.kind != "dense":
            vectors.append(states[:, start : start + layer.output_size])
            start += layer.output_size * (2 if layer.kind == "lstm" else 1)
        for matrix, vector in zip(layer.matrices, vectors, strict=True):
            moved = np.diff(np.array([reference.operand(matrix, row) for row in vector]), axis=0) != 0
            count = matrix.weights[0].size
            whole = moved.shape[1] // _GROUP * _GROUP
            alone += count * moved.mean()
            groups += count * moved[:, :whole].reshape(len(moved), -1, _GROUP).any(axis=2).mean()
            weights += count
        inputs = vectors[-1] if layer.kind != "dense" else inputs
    return alone / weights, groups / weights


def _measure(model, x):
    """Microseconds a step, plain and skipping; and whether the outputs are the same."""
    streams = [model.stream(), model.stream(skipping=True)]
    times = ([], [])
    outputs = [None, None]
    for _ in range(_ROUNDS):
        for k, stream in enumerate(streams):
            stream.reset()
            start = time.perf_counter()
            outputs[k] = stream.run_quantized(x)
            times[k].append((time.perf_counter() - start) / len(x) * 1e6)
    return *map(statistics.median, times), np.array_equal(*outputs)


def main(arguments=None):
    """Measure and print a table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.bench.skipping", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", nargs="+", required=True, metavar="DIR", help="folders of recordings")
    parser.add_argument("--kernel", metavar="NAME", help="kernel to use (the best for this CPU)")
    parser.add_argument("--core", type=int, help="CPU core to stay on")
    options = parser.parse_args(arguments)
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    networks = [("digits", Model.default(options.kernel).file, None)]
    for name, shape in _SHAPES.items():
        networks.append((name, workloads.ternary_model(workloads.WORKLOADS[name]), shape))
    same = True
    print(
        f"{'network':8}{'input':17}{'changed':>9}{'fives':>8}{'plain us':>11}{'skipping us':>13}{'ratio':>7}"
    )
    for name, file, shape in networks:
        model = Model.from_bytes(file.to_bytes(), kernel=options.kernel)
        config = file.frontend
        if shape is not None:
            config = FrontendConfig(cepstrum_count=shape[0], delta_order=shape[1], mean=(0.0,) * shape[0])
        mean, deviation = 0, 1
        for signal, pcm in _signals(options.data):
            frontend = Frontend(config)
            features = np.concatenate([frontend.push(pcm), frontend.flush()])
            if shape is not None and signal == "speech":
                mean, deviation = features.mean(axis=0), features.std(axis=0)
            x = model.quantize_input(((features - mean) / deviation).astype(np.float32))
            alone, fives = _changed(model, file, x)
            plain, skipping, equal = _measure(model, x)
            same &= equal
            print(
                f"{name:8}{signal:17}{alone:9.2f}{fives:8.2f}{plain:11.3f}{skipping:13.3f}{plain / skipping:7.2f}"
                + ("" if equal else "   DIFFERENT")
            )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
