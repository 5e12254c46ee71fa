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
import math
import sys
import time
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
from training.recurrent import Network, NetworkSpec
from training.reproduce.row import Row
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
_FINAL_FRACTION = 0.01  # of the learning rate
_LARGEST_GRADIENT = 1.0
_SMOOTHING = 0.1  # of labels
_INPUT_DROPOUT = 0.2
_MASK_STEPS = 6  # most that are masked at one place
_REPORT_STEPS = 100
_CHECKPOINT_S = 30
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

    spec = NetworkSpec(
        telephone.FEATURE_SIZE,
        len(WORDS),
        cell=row.cell,
        units=row.units,
        method=row.method,
        stochastic=row.stochastic,
        normalization=row.normalization,
        learned_scale=row.learned_scale,
        quantize_biases=row.quantize_biases,
        dropout=0.2,
    )
    network = Network(spec, row.seed)
    network.set_input_statistics(*draw.statistics())
    trainer = _Trainer(network, row, draw, folder / "checkpoint.pt")
    trainer.run(lambda: _accuracy(network, dev), report)

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
    sizes = network.sizes()
    return {
        "metric": "accuracy",
        "score": np.mean(ours == digits),
        "packed_score": np.mean(theirs == digits),
        "decisions": len(digits),
        "differing": int(np.sum(ours != theirs)),
        "exact_checked": len(exact),
        "exact_differing": int(np.sum(exact != theirs[some])),
        "dev_score": _accuracy(network, dev),
        "bytes": (folder / "model.ernn").stat().st_size,
        "float_bytes": sizes["float_bytes"],
        "bits_per_weight": sizes["bits_per_weight"],
        "zeros": sizes["zeros"],
        "seconds": trainer.seconds,
        "steps": trainer.step,
        "curve": trainer.curve,
        "spectral_norm": trainer.spectral_norm,
        "histograms": {"before": trainer.before, "after": network.histograms()},
        "refused_steps": trainer.refused,
        "synthetic_speech": speech is not None,
    }


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

    def chunk(self, number, mean):
        """Batches of words of like length.

        Parameters
        ----------
        number : int
        mean : float32 [shape=(inputs,)]
            What a masked step holds.

        Returns
        -------
        list of (inputs float32 tensor [shape=(steps, batch, inputs)], lengths, digits int64 [shape=(batch,)])
        """
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


def _loss(logits, lengths, digits):
    steps = torch.arange(len(logits))[:, None]
    deciding = (steps < lengths) & (steps >= lengths - DECIDING_STEPS)
    mean = (logits * deciding[..., None]).sum(0) / DECIDING_STEPS
    return functional.cross_entropy(mean, digits, label_smoothing=_SMOOTHING)


class _Trainer:
    """The loop over steps, and what it must keep to be resumed."""

    def __init__(self, network, row, draw, path):
        self.network, self.row, self.draw, self.path = network, row, draw, path
        self.optimizer = torch.optim.Adam(network.parameters(), lr=row.budget["rate"])
        self.step, self.refused, self.seconds = 0, 0, 0.0
        self.curve, self.spectral_norm = [], []
        self.before = network.histograms()
        if path.exists():
            kept = torch.load(path, weights_only=True)
            network.load_state_dict(kept["network"])
            self.optimizer.load_state_dict(kept["optimizer"])
            for name in self._NUMBERS:
                setattr(self, name, kept[name])

    _NUMBERS = ("step", "refused", "seconds", "curve", "spectral_norm", "before")

    def _keep(self):
        kept = {name: getattr(self, name) for name in self._NUMBERS}
        kept |= {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        part = self.path.with_suffix(".part")
        torch.save(kept, part)
        part.replace(self.path)

    def _rate(self):
        steps = self.row.budget["steps"]
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / steps))
        warm = min(1, (self.step + 1) / _WARM_UP)
        return self.row.budget["rate"] * warm * (_FINAL_FRACTION + (1 - _FINAL_FRACTION) * cosine)

    def run(self, dev_score, report):
        """Train to the end of the budget, from the checkpoint if there was one."""
        steps, generator = self.row.budget["steps"], torch.Generator()
        losses, kept_at = [], time.monotonic()
        begin = time.monotonic() - self.seconds
        mean = self.network.input_mean.numpy()
        batches, chunk = [], None
        while self.step < steps:
            if self.step // _CHUNK != chunk:
                chunk = self.step // _CHUNK
                batches = self.draw.chunk(chunk, mean)
            generator.manual_seed(self.row.seed * 1_000_003 + self.step)
            losses.append(self._one(*batches[self.step % _CHUNK], generator))
            self.step += 1
            if self.step % _REPORT_STEPS == 0 or self.step == steps:
                loss, dev = float(np.mean(losses)), dev_score()
                self.curve.append([self.step, loss, dev])
                self.spectral_norm.append([self.step, max(self.network.spectral_norms())])
                report(self.step, steps, {"loss": loss, "dev": dev})
                losses = []
            self.seconds = time.monotonic() - begin
            if self.step == steps or time.monotonic() - kept_at > _CHECKPOINT_S:
                self._keep()
                kept_at = time.monotonic()

    def _one(self, x, lengths, digits, generator):
        keep = 1 - _INPUT_DROPOUT
        dropped = torch.rand(x.shape, generator=generator) >= keep
        x = torch.where(dropped, self.network.input_mean, x / keep + (1 - 1 / keep) * self.network.input_mean)
        logits, _ = self.network(x, self.network.weights(generator), generator=generator)
        loss = _loss(logits, lengths, digits)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        if not torch.isfinite(
            norm
        ):  # +-1 makes gradients explode: a step into nowhere is not taken, but counted
            self.refused += 1
            return loss.item()
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.step()
        self.network.clip()
        return loss.item()
