# SPDX-License-Identifier: MIT
"""Isolated digits of speakers that the network never heard (paper, section 3.3, on what is freely available).

Each fold leaves one of the six speakers of Free Spoken Digit out: all 500 of his recordings are the test. The other five,
speakers of other sets and synthetic voices are trained on; see `training.isolated_digits`. Dev, of which curves and
choices are made, are the speakers of the dev splits of two other sets.

A word is recognized by the mean of the logits of its last 0.3 s, silence after the word included: from the packed model
that takes what from the one in training. `python -m training.synthesize` makes the synthetic voices, in the user's cache
folder; where there are none, training goes on without and the result says so.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

import edge_runtime
from edge_runtime import reference
from training import packed, telephone
from training.isolated_digits import (
    DEV_SETS,
    FSDD_SPEAKERS,
    WORDS,
    changed_copies,
    read_clips,
    recorded_features,
)
from training.reproduce.row import Row
from training.reproduce.trainer import Trainer, network_of
from training.synthetic_speech import default_folder

DECIDING_STEPS = 15  # at the end of a word, 0.3 s

# What shares of a batch come from where.
SHARES = {
    "fsdd": 0.50,
    "sc_digits": 0.15,
    "an4_mfcc": 0.13,
    "synthetic": 0.10,
    "audiomnist_subset": 0.07,
    "prompt_digits": 0.05,
}
UNITS = 200
BUDGET = {"steps": 600, "batch": 64, "rate": 3e-3}
_CHUNK = 8  # batches that are drawn together and divided by length
_WARM_UP = 60  # steps
_SMOOTHING = 0.1  # of labels
_INPUT_DROPOUT = 0.2
_MASK_STEPS = 6  # most that are masked at one place
_SCORES = 6  # on dev, over the training
_SEEDS = 1_000_003  # of `Trainer.fit`
_CALIBRATION = 64  # words
_EXACT = 20  # words that the NumPy reference runs too
_EVALUATION_BATCH = 125


def rows():
    """The grid, what matters most first."""
    found, two = [], ("george", "theo")  # the hardest speaker and the easiest

    def add(seed, speakers=FSDD_SPEAKERS, **options):
        for speaker in speakers:
            found.append(Row("digits", speaker, units=(UNITS,), seed=seed, budget=BUDGET, **options))

    for seed in range(3):
        add(seed, method="float")
        add(seed, method="ternary")
    for seed in range(3):
        add(seed, method="exponential")
        add(seed, method="pow2-ternary")
        add(seed, method="binary", normalization="weight")
        add(seed, method="binary-glorot")
        add(seed, two, method="binary")
    for cell in ("lstm", "rnn"):
        for method in ("float", "ternary"):
            add(0, two, cell=cell, method=method)
    for method in ("ternary", "exponential", "binary-glorot"):
        add(0, two, method=method, stochastic=True)
    for seed in range(3):
        add(seed, method="sparse")
    add(0, method="binary", normalization="batch")
    add(0, method="ternary", learned_scale=True)
    add(0, method="ternary", quantize_biases=True)
    return found


def train(row, folder, data, report):
    """Train a row; see `training.reproduce.row`."""
    torch.set_num_threads(1)
    folder = Path(folder)
    speech = default_folder()
    if not (speech / "index.csv").exists():
        print(
            f"{speech}: no synthetic speech, training without (python -m training.synthesize)",
            file=sys.stderr,
        )
        speech = None
    clips = read_clips(speech)
    copies = changed_copies(folder.parent / "cache", clips)
    draw = _Draw(copies, row)
    dev = recorded_features([clip for clip in clips if clip.split == "dev" and clip.source in DEV_SETS])
    test = recorded_features([clip for clip in clips if (clip.source, clip.speaker) == ("fsdd", row.variant)])

    network = network_of(row, telephone.FEATURE_SIZE, len(WORDS), dropout=0.2)
    network.set_input_statistics(*draw.statistics())
    optimizer = torch.optim.Adam(network.parameters())
    trainer = Trainer(row, network, folder / "checkpoint.pt", optimizer)
    trainer.fit(
        lambda step, generator: _loss(network, *draw.at(step, network.input_mean), generator),
        lambda: _accuracy(network, dev),
        report,
        warm_up=_WARM_UP,
        scores=_SCORES,
        seeds=_SEEDS,
    )

    calibration = [copies.inputs(word) for word in draw.some(_CALIBRATION)]
    file = network.model_file(calibration, WORDS, {"task": row.name})
    file = dataclasses.replace(file, frontend=telephone.CONFIG)
    file.save(folder / "model.ernn")
    model = edge_runtime.Model.load(folder / "model.ernn")
    inputs, digits = test
    ours = _decisions(network, inputs)
    theirs = np.array([_decide(packed.logits_of(model, x)) for x in inputs])
    some = range(0, len(inputs), max(1, len(inputs) // _EXACT))
    exact = np.array([_decide(reference.ReferenceStream(file).run(inputs[word])) for word in some])
    result = trainer.result(
        folder / "model.ernn",
        "accuracy",
        (np.mean(ours == digits), np.mean(theirs == digits)),
        (ours, theirs),
        (exact, theirs[some]),
    )
    return result | {"refused_steps": trainer.skipped, "synthetic_speech": speech is not None}


def _decide(logits):
    """The digit of a word's logits [shape=(steps, 10)]."""
    return int(np.argmax(np.sum(logits[-DECIDING_STEPS:], axis=0, dtype=np.float64)))


def _padded(inputs):
    longest = max(map(len, inputs))
    x = np.zeros((longest, len(inputs), inputs[0].shape[1]), np.float32)
    for word, part in enumerate(inputs):
        x[: len(part), word] = part
    return torch.from_numpy(x)


@torch.no_grad()
def _decisions(network, inputs):
    """The digits that the network in training hears: int array [shape=(words,)]."""
    network.eval()
    weights = network.weights()
    decisions = np.zeros(len(inputs), np.int64)
    order = np.argsort([len(x) for x in inputs], kind="stable")
    for words in np.array_split(order, -(-len(inputs) // _EVALUATION_BATCH)):
        logits = network(_padded([inputs[word] for word in words]), weights)[0].numpy()
        for place, word in enumerate(words):
            decisions[word] = _decide(logits[: len(inputs[word]), place])
    network.train()
    return decisions


def _accuracy(network, words):
    inputs, digits = words
    return float(np.mean(_decisions(network, inputs) == digits))


class _Draw:
    """Draws training batches. Batch s of a row depends on its seed and speaker alone."""

    def __init__(self, copies, row):
        self.copies, self.seed, self.batch = copies, row.seed, row.budget["batch"]
        self._chunk, self._batches = None, []
        self.sources = [name for name in SHARES if np.any(copies.sources == name)]
        shares = np.array([SHARES[name] for name in self.sources])
        self.shares = shares / shares.sum()
        self.words, self.chances = [], []
        for name in self.sources:
            words = np.flatnonzero((copies.sources == name) & (copies.speakers != row.variant))
            digits = copies.digits[words]
            # Four digits of Speech Commands, and those that AN4 has most of, must not be expected everywhere.
            weights = np.bincount(digits, minlength=len(WORDS))[digits] ** -0.75
            self.words.append(words)
            self.chances.append(np.cumsum(weights) / weights.sum())

    def some(self, count):
        """Words of training, always the same: int array."""
        return self._draw(np.random.default_rng([self.seed, 1]), count)

    def _draw(self, rng, count):
        drawn = []
        for number, words, chances in zip(
            rng.multinomial(count, self.shares), self.words, self.chances, strict=True
        ):
            drawn.append(words[np.searchsorted(chances, rng.random(number))])
        return np.concatenate(drawn)

    def statistics(self):
        """Mean and deviation of the inputs: float32 [shape=(inputs,)] each."""
        frames = np.concatenate([self.copies.inputs(word) for word in self.some(2000)])
        return frames.mean(axis=0), frames.std(axis=0) + np.float32(1e-3)

    def at(self, step, mean):
        """The batch of a step, words of like length.

        Parameters
        ----------
        step : int
        mean : float32 tensor [shape=(inputs,)]
            What a masked step of a word holds.

        Returns
        -------
        inputs : float32 tensor [shape=(steps, batch, inputs)]
        lengths : int64 tensor [shape=(batch,)]
        digits : int64 tensor [shape=(batch,)]
        """
        if step // _CHUNK != self._chunk:
            self._chunk = step // _CHUNK
            self._batches = self._drawn_together(self._chunk, mean.numpy())
        return self._batches[step % _CHUNK]

    def _drawn_together(self, number, mean):
        rng = np.random.default_rng([self.seed, 2, number])
        words = self._draw(rng, _CHUNK * self.batch)
        order = np.argsort(self.copies.lengths[words] + 4 * rng.random(len(words)))
        batches = []
        for part in rng.permutation(_CHUNK):
            chosen = words[order[part * self.batch : (part + 1) * self.batch]]
            inputs = [self._masked(rng, self.copies.inputs(word), mean) for word in chosen]
            lengths = torch.tensor([len(x) for x in inputs])
            batches.append((_padded(inputs), lengths, torch.from_numpy(self.copies.digits[chosen])))
        return batches

    def _masked(self, rng, inputs, mean):
        if rng.random() < 0.5:
            count = rng.integers(1, _MASK_STEPS)
            start = rng.integers(max(1, len(inputs) - count))
            inputs[start : start + count] = mean
        return inputs


def _loss(network, x, lengths, digits, generator):
    keep = 1 - _INPUT_DROPOUT
    dropped = torch.rand(x.shape, generator=generator) >= keep
    x = torch.where(dropped, network.input_mean, x / keep + (1 - 1 / keep) * network.input_mean)
    logits, _ = network(x, network.weights(generator), generator=generator)
    steps = torch.arange(len(logits))[:, None]
    deciding = (steps < lengths) & (steps >= lengths - DECIDING_STEPS)
    mean = (logits * deciding[..., None]).sum(0) / DECIDING_STEPS
    return functional.cross_entropy(mean, digits, label_smoothing=_SMOOTHING)
