# SPDX-License-Identifier: MIT
"""Eight threads of Python with one model: ``python tests/python_threads.py [ROUNDS]``; exit status 1 if one gets other results.

Each has streams and recognizers of its own and loads models, with any kernel, while the others run; tests/test_sanitizers.py
runs it with the library under the thread sanitizer.
"""

import concurrent.futures
import sys
import threading

import numpy as np

from edge_runtime import Model
from edge_runtime.errors import EdgeRuntimeStateError
from edge_runtime.model import SMALL_MODEL

THREADS = 8


def kernels():
    """Words of the kernels of this machine."""
    for kernel in ("scalar", "avx2", "avx512bw", "avx512", "neon"):
        try:
            yield Model.small(kernel).kernel
        except EdgeRuntimeStateError:
            continue


def use(model):
    """What a stream and a recognizer of a model give, as bytes."""
    rng = np.random.default_rng(1)
    x = rng.normal(0, 10, (12, model.input_size)).astype(np.float32)
    samples = rng.normal(0, 0.1, 8000).astype(np.float32)
    recognizer = model.recognizer(sample_rate=48000)
    words = [*recognizer.accept_waveform(samples), *recognizer.finish()]
    stream = model.stream()
    steps = [stream.step(row) for row in x]
    stream.reset()
    return np.concatenate(steps).tobytes() + stream.run(x).tobytes() + repr((words, model.labels)).encode()


def main(rounds=3):
    """Run the threads; returns how many results differed."""
    models = [Model.small(kernel) for kernel in kernels()]
    expected = use(models[0])
    begin = threading.Barrier(THREADS)

    def work(number):
        begin.wait()
        wrong = 0
        for turn in range(rounds):
            model = models[(number + turn) % len(models)]
            if number % 4 == 3:
                with Model.load(SMALL_MODEL, model.kernel) as own:
                    wrong += use(own) != expected
            else:
                wrong += use(model) != expected
        return wrong

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        wrong = sum(pool.map(work, range(THREADS)))
    print(f"{THREADS} threads, {rounds} rounds, {len(models)} kernels, {wrong} differ")
    return wrong


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])) > 0)
