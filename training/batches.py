# SPDX-License-Identifier: MIT
"""Endless batches of training examples: reproducible, made ahead by worker processes.

Example k of step s depends on (seed, s, k) and the configuration alone. Training can therefore be
stopped and resumed at any step, with any number of workers, and sees the same batches.
"""

import multiprocessing
import os
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields

import numpy as np

from training.align import an4_alignment
from training.features import FEATURE_SIZE, STACK, network_features
from training.lexicon import phones_of
from training.strings import KINDS, NO_TARGET, StringsConfig, make_example

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class BatchesConfig:
    """How examples are put into batches.

    Attributes
    ----------
    batch_size : int
        Examples per step.
    chunk_steps : int
        Steps whose examples are sorted by length before they are divided, against padding.
    longest_steps : int
        Network steps; longer examples are drawn again, which bounds memory and time.
    strings : StringsConfig
        How examples are drawn.
    phones : bool
        Spell the words, for the auxiliary output of the network; as the network is configured.
    """

    batch_size: int = 16
    chunk_steps: int = 8
    longest_steps: int = 400
    strings: StringsConfig = field(default_factory=StringsConfig)
    phones: bool = False


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples of one training step, padded to the longest.

    Attributes
    ----------
    step : int
    features : numpy.ndarray
        float32 [shape=(B, T, 78)]; zeros behind the end.
    lengths : numpy.ndarray
        int64 [shape=(B,)], network steps per example.
    targets : numpy.ndarray
        int64 [shape=(B, L)], outputs; blanks behind the end.
    target_lengths : numpy.ndarray
        int64 [shape=(B,)].
    phones : numpy.ndarray
        int64 [shape=(B, P)], 1 + index into `training.lexicon.PHONES`; zeros behind the end.
    phone_lengths : numpy.ndarray
        int64 [shape=(B,)].
    frame_targets : numpy.ndarray
        int64 [shape=(B, T)]; -1 where no target is known, and behind the end.
    kinds : numpy.ndarray
        int64 [shape=(B,)], indices into `training.strings.KINDS`.
    """

    step: int
    features: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray
    target_lengths: np.ndarray
    phones: np.ndarray
    phone_lengths: np.ndarray
    frame_targets: np.ndarray
    kinds: np.ndarray

    def of_kind(self, name):
        """Return bool [shape=(B,)]: which examples are of that kind."""
        return self.kinds == KINDS.index(name)

    def tensors(self):
        """Return the arrays as a dict of torch tensors that share their memory."""
        import torch

        return {
            field.name: torch.from_numpy(getattr(self, field.name))
            for field in fields(self)
            if field.name != "step"
        }


def example_rng(seed, step, index):
    """Return the random generator of one example.

    Parameters
    ----------
    seed, step, index : int

    Returns
    -------
    numpy.random.Generator
    """
    return np.random.default_rng([seed, step, index])


def spell(words):
    """Return the phones of words: tuple of int, indices into `training.lexicon.PHONES`."""
    return tuple(phone for word in words for phone in phones_of(word))


def collate(step, rows, phones=False):
    """Pad examples to a batch.

    Parameters
    ----------
    step : int
    rows : list of (Example, numpy.ndarray)
        The example and its network inputs, float32 [shape=(steps, 78)].
    phones : bool
        Spell the words; otherwise no example has phones.

    Returns
    -------
    Batch
    """
    lengths = np.array([len(features) for _, features in rows], np.int64)
    target_lengths = np.array([len(example.labels) for example, _ in rows], np.int64)
    spelled = [spell(example.words) if phones else () for example, _ in rows]
    phone_lengths = np.array([len(phones) for phones in spelled], np.int64)
    count, longest = len(rows), int(lengths.max())
    features = np.zeros((count, longest, FEATURE_SIZE), np.float32)
    targets = np.zeros((count, max(1, int(target_lengths.max()))), np.int64)
    phone_targets = np.zeros((count, max(1, int(phone_lengths.max()))), np.int64)
    frame_targets = np.full((count, longest), NO_TARGET, np.int64)
    for i, (example, inputs) in enumerate(rows):
        features[i, : len(inputs)] = inputs
        targets[i, : len(example.labels)] = example.labels
        phone_targets[i, : len(spelled[i])] = np.array(spelled[i], np.int64) + 1
        # A step is judged by its last frame: then all of the step has been heard.
        last = np.arange(1, len(inputs) + 1) * STACK - 1
        last = np.minimum(last, len(example.frame_targets) - 1)
        frame_targets[i, : len(inputs)] = example.frame_targets[last]
    kinds = np.array([KINDS.index(example.kind) for example, _ in rows], np.int64)
    return Batch(
        step, features, lengths, targets, target_lengths, phone_targets, phone_lengths, frame_targets, kinds
    )


def make_row(config, seed, step, index):
    """Make one example and its network inputs; redrawn until it is not too long.

    Parameters
    ----------
    config : BatchesConfig
    seed, step, index : int

    Returns
    -------
    example : training.strings.Example
    features : numpy.ndarray
        float32 [shape=(steps, 78)].
    """
    rng = example_rng(seed, step, index)
    while True:
        example = make_example(rng, config.strings)
        if len(example.cepstra) <= config.longest_steps * STACK:
            return example, network_features(example.cepstra)


def make_chunk(config, seed, chunk):
    """Make the batches of steps chunk * chunk_steps and following.

    Parameters
    ----------
    config : BatchesConfig
    seed : int
    chunk : int

    Returns
    -------
    list of Batch
        chunk_steps batches. Examples of like length share one; the order of lengths is random.
    """
    first = chunk * config.chunk_steps
    rows = [
        make_row(config, seed, first + step, index)
        for step in range(config.chunk_steps)
        for index in range(config.batch_size)
    ]
    rows.sort(key=lambda row: len(row[1]))
    order = np.random.default_rng([seed, first]).permutation(config.chunk_steps)
    size = config.batch_size
    return [
        collate(first + step, rows[at * size : (at + 1) * size], config.phones)
        for step, at in enumerate(order)
    ]


def _start_worker():
    def watch():
        # Workers must not outlive a trainer that was killed.
        multiprocessing.parent_process().join()
        os._exit(1)

    # The clips are loaded by the first chunk, not here: only there can an error reach the trainer.
    threading.Thread(target=watch, daemon=True).start()


def batches(config, seed, start_step=0, workers=1, ahead=3):
    """Yield training batches without end.

    Parameters
    ----------
    config : BatchesConfig
    seed : int
    start_step : int
        Step of the first batch; a resumed run sees what an uninterrupted one would have.
    workers : int
        Processes that make batches, one thread each; 0 makes them in this process.
    ahead : int
        Chunks per worker that are made ahead.

    Yields
    ------
    Batch
    """
    chunk, skip = divmod(start_step, config.chunk_steps)
    if not workers:
        while True:
            yield from make_chunk(config, seed, chunk)[skip:]
            chunk, skip = chunk + 1, 0
    if config.strings.an4_words:
        an4_alignment()  # once and here: workers then find it ready
    for name in _THREAD_VARIABLES:  # read by the workers' libraries; this process has read it
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        pending = deque()
        while True:
            while len(pending) < workers * ahead:
                pending.append(pool.submit(make_chunk, config, seed, chunk))
                chunk += 1
            yield from pending.popleft().result()[skip:]
            skip = 0
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
