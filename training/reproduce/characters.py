# SPDX-License-Identifier: MIT
"""Character language models: a network reads a text and guesses the next character.

One recurrent layer and a float output layer, as Hou et al. 2019 have them, whose figures are the mark: War and Peace,
LSTM of 512 units, 1.72 bits per character in float and in ternary with weight normalization, after 200 epochs. Training
here is shorter: `BUDGETS`.

Truncated backpropagation through time: the text is cut into as many streams as the batch has, each read in windows from
its beginning to its end, the state carried from window to window. A network that hardly ever saw the zero state can stay
in a state that tells nothing of the text when it starts there (float32, 512 units: 3 instead of 1.6 bits, for good), so
larger ones do in the end. Scores on dev come from 32 streams, those on test from
the whole text in one, by torch in float32 and by the C runtime with the packed file.
"""

import contextlib
import functools
import math

import numpy as np
import torch
from torch.nn import functional

import edge_runtime
from edge_runtime.format import ModelFile
from edge_runtime.reference import ReferenceStream
from training import packed, texts
from training.reproduce.row import Row
from training.reproduce.trainer import Trainer, network_of

#: What all rows of a text and size train with: 6, 3, 6, 6 epochs, and one.
BUDGETS = {
    ("warandpeace", 512): {"steps": 19500, "batch": 16, "window": 50, "rate": 1e-2, "anew": 0.05},
    ("warandpeace", 256): {"steps": 9800, "batch": 16, "window": 50, "rate": 1.5e-2},
    ("shakespeare", 128): {"steps": 6700, "batch": 16, "window": 50, "rate": 2e-2},
    ("ptb", 512): {"steps": 37600, "batch": 16, "window": 50, "rate": 1e-2, "anew": 0.05},
    ("text8", 2000): {"steps": 112000, "batch": 16, "window": 50, "rate": 3e-3, "anew": 0.05},
}

_WARM_UP = 200  # steps until the full learning rate
_MASTERS_RATE = 0.3  # share of the learning rate that masters of quantized matrices take
_DEV_STREAMS = 32
_WINDOW = 500  # steps of an evaluation that are computed together
_ANEW = 1 / 8  # of the steps, at the end, in which streams begin anew with the budget's probability "anew"
_SCORES = 10  # on dev, over the training
_CALIBRATION = (8, 500)  # sequences of the training text, and their characters
_EXACT = 3000  # characters of test that edge_runtime.reference is run on


# Method, normalization, stochastic: what is compared with one budget, the most telling first.
_TREATMENTS = (
    ("float", "none", False),
    ("ternary", "weight", False),
    ("ternary", "none", False),
    ("binary", "weight", False),
    ("binary", "none", False),
    ("binary-glorot", "none", False),
    ("sparse", "weight", False),
    ("pow2-ternary", "none", False),
    ("exponential", "none", False),
    ("ternary", "weight", True),
    ("ternary", "none", True),
    ("sparse", "none", False),
    ("pow2", "none", False),
)


def rows():
    """Return the rows of this task, the most important first: list of Row."""
    pair, four = _TREATMENTS[:2], _TREATMENTS[:4]
    found = [_row("warandpeace", "lstm", 512, treatment) for treatment in pair]
    found += [_row("warandpeace", "lstm", 256, treatment) for treatment in _TREATMENTS]
    found += [_row("shakespeare", "lstm", 128, treatment) for treatment in four]
    found += [_row("warandpeace", cell, 256, treatment) for cell in ("gru", "rnn") for treatment in pair]
    found += [_row("warandpeace", "lstm", 256, treatment, seed) for seed in (1, 2) for treatment in pair]
    found += [_row("warandpeace", "lstm", 512, treatment, 1) for treatment in pair]
    return found


def own_rows():
    """Return rows on texts that their owners have, of the sizes of Hou et al. 2019: list of Row."""
    texts_of_owners = (("ptb", 512), ("text8", 2000))
    treatments = _TREATMENTS[:2] + _TREATMENTS[3:4]
    return [_row(text, "lstm", units, t) for text, units in texts_of_owners for t in treatments]


def _row(text, cell, units, treatment, seed=0):
    method, normalization, stochastic = treatment
    return Row(
        "characters",
        text,
        cell=cell,
        units=(units,),
        method=method,
        normalization=normalization,
        stochastic=stochastic,
        seed=seed,
        budget=dict(BUDGETS[text, units]),
    )


def _streams(codes, count):
    """Cut a text into contiguous streams: int64 tensor [shape=(steps, count)]."""
    steps = len(codes) // count
    return torch.from_numpy(np.ascontiguousarray(codes[: steps * count].reshape(count, steps).T))


class _Windows:
    """Windows of the training text by the number of the step, so that a run which was interrupted goes on the same.

    Every epoch cuts the text, taken as a ring, at another place.
    """

    def __init__(self, codes, budget, seed):
        self._codes, self._batch, self._window, self._seed = codes, budget["batch"], budget["window"], seed
        self.count = (len(codes) // self._batch - 1) // self._window
        if self.count < 1:
            least = self._batch * (self._window + 1)
            raise ValueError(
                f"text of {len(codes)} characters: expected at least {least}, a window of each stream"
            )
        self._epoch, self._cut = -1, None

    def at(self, step):
        """Return (characters, those that follow, whether a new epoch begins): int64 tensors [shape=(window, batch)]."""
        epoch, place = divmod(step, self.count)
        if epoch != self._epoch:
            shift = np.random.default_rng([self._seed, epoch]).integers(len(self._codes))
            self._epoch, self._cut = epoch, _streams(np.roll(self._codes, shift), self._batch)
        begin = place * self._window
        part = self._cut[begin : begin + self._window + 1]
        return part[:-1], part[1:], place == 0


@functools.cache
def _fast_products():
    """Whether this CPU multiplies bfloat16 faster than float32."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_avx512_bf16_supported()


def _products():
    """Context in which matrix products of training take bfloat16, where that is faster; sums stay float32."""
    return torch.autocast("cpu", torch.bfloat16) if _fast_products() else contextlib.nullcontext()


def _bits(logits, following):
    """Sum over characters of what each costs, in bits: float."""
    logits, following = logits.float().flatten(0, -2), following.flatten()
    return float(functional.cross_entropy(logits, following, reduction="sum").double()) / math.log(2)


@torch.no_grad()
def bits_per_character(network, codes, streams=_DEV_STREAMS):
    """Score a text, cut into streams.

    Parameters
    ----------
    network : training.recurrent.Network
    codes : int64 [shape=(characters,)]
    streams : int

    Returns
    -------
    float
        Mean over all characters but each stream's first.
    """
    x = _streams(codes, streams)
    total = sum(
        _bits(logits, x[begin + 1 : begin + 1 + len(logits)]) for begin, logits in _logits(network, x)
    )
    return total / x[1:].numel()


@torch.no_grad()
def _logits(network, x):
    """Logits of all but the last character: yields (first step, float32 tensor [shape=(steps, streams, outputs)])."""
    network.eval()
    weights, state = network.weights(), None
    for begin in range(0, len(x) - 1, _WINDOW):
        logits, state = network(x[begin : min(begin + _WINDOW, len(x) - 1)], weights, state)
        yield begin, logits
    network.train()


def _parameter_groups(network):
    """Masters whose levels flip are moved more slowly than lengths of rows, biases and float matrices."""
    masters = [matrix.weight for matrix in network.matrices() if matrix.method.rule != "float"]
    kept = {id(parameter) for parameter in masters}
    others = [parameter for parameter in network.parameters() if id(parameter) not in kept]
    groups = [{"params": others, "share": 1.0}, {"params": masters, "share": _MASTERS_RATE}]
    return [group for group in groups if group["params"]]


def _begun_anew(state, probability, generator):
    """The state of streams, each put back to the zero state with a probability."""
    kept = torch.rand((state[0][0].shape[1], 1), generator=generator) >= probability
    return [tuple(part * kept for part in layer) for layer in state]


def _fit(trainer, text, report):
    budget, network = trainer.row.budget, trainer.network
    windows = _Windows(text.train, budget, trainer.row.seed)

    def loss_of(step, generator):
        x, following, new_epoch = windows.at(step)
        if new_epoch:
            trainer.state = None
        elif budget["steps"] - step <= budget["steps"] * _ANEW and "anew" in budget:
            trainer.state = _begun_anew(trainer.state, budget["anew"], generator)
        weights = network.weights(generator)
        with _products():
            logits, state = network(x, weights, trainer.state, generator)
        trainer.state = [tuple(part.float() for part in layer) for layer in state]
        return functional.cross_entropy(logits.float().flatten(0, 1), following.flatten())

    trainer.fit(
        loss_of,
        lambda: bits_per_character(network, text.dev),
        report,
        warm_up=_WARM_UP,
        scores=_SCORES,
        unit=math.log(2),
    )


def train(row, folder, data, report):
    """Train, pack and score a row; see `training.reproduce`.

    Parameters
    ----------
    row : Row
    folder : pathlib.Path
        Keeps checkpoint.pt and model.ernn.
    data : pathlib.Path
        Folder of the data sets; see `training.texts`.
    report : training.reproduce.row.Report

    Returns
    -------
    dict
        `training.reproduce.row.RESULT`, and "skipped": steps whose gradient was not finite. Decisions are the most
        probable next characters.
    """
    torch.set_num_threads(1)
    text = texts.load(row.variant, data)
    size, dropout = len(text.alphabet), row.budget.get("dropout", 0.0)
    network = network_of(row, size, size, dropout=dropout, one_hot=True)
    optimizer = torch.optim.Adam(_parameter_groups(network), fused=True)
    trainer = Trainer(row, network, folder / "checkpoint.pt", optimizer)
    _fit(trainer, text, report)
    return _evaluate(trainer, folder / "model.ernn", text)


def _pack(network, row, text, path):
    count, length = _CALIBRATION
    begins = np.linspace(0, len(text.train) - length, count).astype(int)
    calibration = [text.train[begin : begin + length] for begin in begins]
    metadata = {"name": row.name, "task": f"next character of {text.name}"}
    network.model_file(calibration, text.labels, metadata).save(path)
    return edge_runtime.Model.load(path)


def _packed_logits(stream, scale, network, codes):
    """Logits of a packed network for a text: yields (first step, float32 [shape=(steps, outputs)])."""
    for begin in range(0, len(codes), _WINDOW):
        x = packed.inputs_of(network, codes[begin : begin + _WINDOW])
        yield begin, stream.run(x) * np.float32(scale)


def _evaluate(trainer, path, text):
    network = trainer.network
    model = _pack(network, trainer.row, text, path)
    scale = float(model.metadata.get("output_scale", "1"))
    following = torch.from_numpy(text.test[1:])
    by_torch, torch_bits = [], 0.0
    for begin, logits in _logits(network, torch.from_numpy(text.test)[:, None]):
        torch_bits += _bits(logits, following[begin : begin + len(logits)])
        by_torch.append(logits[:, 0].argmax(1).numpy())
    by_c, c_bits = [], 0.0
    for begin, logits in _packed_logits(model.stream(), scale, network, text.test[:-1]):
        c_bits += _bits(torch.from_numpy(logits), following[begin : begin + len(logits)])
        by_c.append(logits.argmax(1))
    by_torch, by_c = np.concatenate(by_torch), np.concatenate(by_c)
    reference = ReferenceStream(ModelFile.load(path))
    by_reference = [
        logits.argmax(1) for _, logits in _packed_logits(reference, scale, network, text.test[:-1][:_EXACT])
    ]
    by_reference = np.concatenate(by_reference)
    result = trainer.result(
        path,
        "bits per character",
        (torch_bits / len(following), c_bits / len(following)),
        (by_torch, by_c),
        (by_reference, by_c[: len(by_reference)]),
    )
    return result | {"skipped": trainer.skipped}
