# SPDX-License-Identifier: MIT
"""AN4: connected letters, digits and words, spelled letter by letter (CTC), of speakers who were not heard in training.

It stands for the paper's WSJ task, whose corpus cannot be passed on (`training.wsj` reads it), on what is free: CMU's
AN4 (Census), 0.75 h of names, addresses, dates and numbers, as cepstra (set an4_mfcc). 66 speakers train, 8 are for
choices (dev), 5 are the test.

Features are the runtime's own (`edge_runtime.Frontend`): 13 cepstra with deltas and delta-deltas, three frames a step
(30 ms), no mean subtracted but that of the training set. Two recurrent layers, one direction, so that the network
streams. Outputs: blank, the gap between words, a to z. Utterances are changed anew each time they are trained on: tempo,
warped frequency axis, equalization, some reverberation and noise (`training.cepstral`), masked bands and times.

Label error rate: edit distance of the spelled text, gaps between words included, over its length.
"""

import dataclasses
import functools
import itertools
import math
import os
import string
import time

import numpy as np
import torch
from torch.nn import functional

import edge_runtime
from apps.corpus import read_folder
from apps.evaluate.metrics import align
from edge_runtime.format import DecoderConfig
from edge_runtime.frontend import Frontend, FrontendConfig
from edge_runtime.reference import ReferenceStream
from training import ctc, packed
from training.cepstral import augment_cepstra, mask_band
from training.recurrent import Network, NetworkSpec
from training.reproduce.row import Row
from training.strings import StringsConfig

LABELS = ("blank", " ", *string.ascii_lowercase)
FRONTEND = FrontendConfig(delta_order=2, stack=3)
BUDGET = {"steps": 1600, "batch": 16, "rate": 6e-3, "dropout": 0.1}

_OUTPUT_OF = {label: index for index, label in enumerate(LABELS) if index != ctc.BLANK}
_CHANGES = StringsConfig(
    speed=(0.85, 1.2),
    an4_warp=1.15,
    equalizer=0.5,
    tilt_db=2.0,
    ripple_db=3.0,
    an4_reverberation=0.15,
    an4_noise=0.3,
    an4_snr_db=(15.0, 45.0),
    an4_gain_db=(-6.0, 6.0),
    low_pass=0.0,
    rounding=0.0,
)
_MASKED = 0.5  # of utterances
_MASK_FILTERS, _MASK_FRAMES = 10, 8
_WARM_UP = 100  # steps until the full learning rate
_SHORT_STEPS, _SHORT_FRAMES = 150, 220  # the first steps are on short utterances, which CTC can begin with
_BUCKET = 8  # batches that are sorted by length together
_SCORES = 12  # on dev, over the training
_CHECKPOINT_S = 60.0
_CALIBRATION = 60  # utterances of the training set
_EXACT = 20  # utterances of test that edge_runtime.reference is run on


def rows():
    """Return the rows of this task, the most important first: list of Row."""
    treatments = [("float", "none"), ("ternary", "none")]
    more = [("binary", "weight"), ("exponential", "none"), ("pow2-ternary", "none")]
    order = [(treatment, seed) for seed in range(3) for treatment in treatments]
    order += [(treatment, 0) for treatment in [*more, ("binary", "none")]]
    order += [(treatment, seed) for seed in (1, 2) for treatment in more]
    return [
        Row(
            "an4",
            "letters",
            units=(200, 200),
            method=method,
            normalization=normalization,
            seed=seed,
            budget=dict(BUDGET),
        )
        for (method, normalization), seed in order
    ]


@functools.cache
def _frontend():
    return Frontend(FRONTEND)


def features_of(cepstra):
    """Return the network's inputs: float32 [shape=(steps, 117)] of cepstra [shape=(frames, 13)]."""
    frontend = _frontend()
    frontend.reset()
    return np.concatenate([frontend.push_cepstra(cepstra), frontend.flush()])


def labels_of(words):
    """Return the outputs that spell words, gaps between them: list of int."""
    return [_OUTPUT_OF[character] for character in " ".join(words)]


def text_of(labels):
    """Return what outputs spell: str."""
    return "".join(LABELS[label] for label in labels)


def _mask_time(rng, cepstra):
    width = int(rng.integers(1, _MASK_FRAMES + 1))
    begin = int(rng.integers(max(1, len(cepstra) - width)))
    masked = cepstra.copy()
    masked[begin : begin + width] = cepstra.mean(axis=0)
    return masked


def _example(rng, utterance):
    cepstra = augment_cepstra(rng, utterance.cepstra, _CHANGES)
    if rng.random() < _MASKED:
        cepstra = mask_band(rng, cepstra, _MASK_FILTERS)
    if rng.random() < _MASKED:
        cepstra = _mask_time(rng, cepstra)
    return features_of(cepstra.astype(np.float32)), labels_of(utterance.words)


def _is_possible(features, labels):
    # Equal labels need a blank between them.
    return len(features) >= len(labels) + sum(a == b for a, b in itertools.pairwise(labels))


class _Batches:
    """Batches by the number of the step, so that a run which goes on after an interruption sees the same.

    Parameters
    ----------
    utterances : sequence of apps.corpus.Utterance
    size : int
    seed : int
    """

    def __init__(self, utterances, size, seed):
        self._utterances, self._size, self._seed = utterances, size, seed
        self._lengths = np.array([len(utterance.cepstra) for utterance in utterances])
        self._short = np.flatnonzero(self._lengths < _SHORT_FRAMES)
        self._epoch, self._order = -1, []

    def _indices(self, step, rng):
        if step < _SHORT_STEPS:
            return rng.choice(self._short, self._size)
        epoch, place = divmod(step - _SHORT_STEPS, len(self._utterances) // self._size)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(np.random.default_rng([self._seed, 1, epoch]))
        return self._order[place]

    def _shuffled(self, rng):
        mixed = rng.permutation(len(self._utterances))
        mixed = mixed[: len(mixed) // self._size * self._size]
        batches = []
        for begin in range(0, len(mixed), self._size * _BUCKET):
            bucket = mixed[begin : begin + self._size * _BUCKET]
            batches.extend(bucket[np.argsort(self._lengths[bucket])].reshape(-1, self._size))
        return [batches[place] for place in rng.permutation(len(batches))]

    def examples(self, step):
        """Return list of (features, labels)."""
        rng = np.random.default_rng([self._seed, 0, step])
        drawn = [_example(rng, self._utterances[index]) for index in self._indices(step, rng)]
        return [example for example in drawn if _is_possible(*example)]


def _padded(sequences):
    padded = np.zeros((max(map(len, sequences)), len(sequences), FRONTEND.feature_size), np.float32)
    for column, sequence in enumerate(sequences):
        padded[: len(sequence), column] = sequence
    return torch.from_numpy(padded)


def _loss(network, examples, generator):
    features, labels = zip(*examples, strict=True)
    logits, _ = network(_padded(features), network.weights(generator), generator=generator)
    total = functional.ctc_loss(
        logits.log_softmax(-1),
        torch.tensor(list(itertools.chain(*labels))),
        torch.tensor(list(map(len, features))),
        torch.tensor(list(map(len, labels))),
        blank=ctc.BLANK,
        reduction="sum",
    )
    return total / sum(map(len, labels))


@torch.no_grad()
def _logits(network, features):
    """Logits of each sequence by torch: list of float32 arrays."""
    network.eval()
    weights = network.weights()
    order = sorted(range(len(features)), key=lambda index: len(features[index]))
    found = [None] * len(features)
    for begin in range(0, len(order), 32):
        part = order[begin : begin + 32]
        logits, _ = network(_padded([features[index] for index in part]), weights)
        for column, index in enumerate(part):
            found[index] = logits[: len(features[index]), column].numpy()
    network.train()
    return found


def error_rate(references, hypotheses):
    """Return the edit distance of all sequences over the length of the references."""
    errors = sum(a != b for pair in zip(references, hypotheses, strict=True) for a, b in align(*pair))
    return errors / sum(map(len, references))


def dictionary(folder):
    """Return the words of an4.dic in `folder`, lower case, each once: list of str."""
    lines = (folder / "an4.dic").read_text(encoding="ascii").lower().splitlines()
    return list(dict.fromkeys(line.split()[0].split("(")[0] for line in lines if line.strip()))


def _decoder():
    count = len(LABELS)
    return DecoderConfig(ctc.BLANK, None, 0.0, 0, np.zeros(count, np.int16), np.full(count, 90, np.uint16))


def _network(row, utterances):
    spec = NetworkSpec(
        FRONTEND.feature_size,
        len(LABELS),
        cell=row.cell,
        units=row.units,
        method=row.method,
        stochastic=row.stochastic,
        normalization=row.normalization,
        learned_scale=row.learned_scale,
        quantize_biases=row.quantize_biases,
        dropout=row.budget["dropout"],
    )
    network = Network(spec, row.seed)
    frames = np.concatenate([features_of(utterance.cepstra) for utterance in utterances])
    network.set_input_statistics(frames.mean(axis=0), frames.std(axis=0))
    return network


def _rate(step, budget):
    warm = min(1.0, (step + 1) / _WARM_UP)
    return budget["rate"] * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / budget["steps"])))


class _Run:
    """The state of a training, and its checkpoint."""

    def __init__(self, network, path):
        self.network, self._path = network, path
        self.optimizer = torch.optim.Adam(network.parameters())
        self.step, self.seconds = 0, 0.0
        self.curve, self.norms, self.before = [], [], network.histograms()
        if path.exists():
            kept = torch.load(path, weights_only=True)
            network.load_state_dict(kept["network"])
            self.optimizer.load_state_dict(kept["optimizer"])
            for name in ("step", "seconds", "curve", "norms", "before"):
                setattr(self, name, kept[name])

    def save(self):
        """Write the checkpoint: all of it, or nothing."""
        kept = {name: getattr(self, name) for name in ("step", "seconds", "curve", "norms", "before")}
        kept |= {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        temporary = self._path.with_suffix(".part")
        torch.save(kept, temporary)
        os.replace(temporary, self._path)


def train(row, folder, data, report):
    """Train, pack and score a row; see `training.reproduce`.

    Parameters
    ----------
    row : Row
    folder : pathlib.Path
        Keeps checkpoint.pt and model.ernn.
    data : pathlib.Path
        Holds the set an4_mfcc.
    report : training.reproduce.row.Report

    Returns
    -------
    dict
        `training.reproduce.row.RESULT`, and "word_error_rate", "dictionary_word_error_rate": of the C runtime's outputs
        on the test split, words as spelled and as the dictionary allows. Decisions are utterances.
    """
    torch.set_num_threads(1)
    speech = read_folder(data / "an4_mfcc", ("train",))
    dev = read_folder(data / "an4_mfcc", ("dev",))
    run = _Run(_network(row, speech), folder / "checkpoint.pt")
    _fit(run, row, speech, dev, report)
    return _evaluate(run, row, folder, speech, data / "an4_mfcc")


def _fit(run, row, speech, dev, report):
    steps = row.budget["steps"]
    batches = _Batches(speech, row.budget["batch"], row.seed)
    dev_features = [features_of(utterance.cepstra) for utterance in dev]
    dev_labels = [labels_of(utterance.words) for utterance in dev]
    generator = torch.Generator()
    begun, saved, losses = time.monotonic() - run.seconds, time.monotonic(), []
    while run.step < steps:
        generator.manual_seed((row.seed << 32) + run.step)
        for group in run.optimizer.param_groups:
            group["lr"] = _rate(run.step, row.budget)
        loss = _loss(run.network, batches.examples(run.step), generator)
        run.optimizer.zero_grad()
        loss.backward()
        # Where gradients explode beyond all numbers, the network stays as it is.
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(run.network.parameters(), 1.0)):
            run.optimizer.step()
            run.network.clip()
        losses.append(loss.item())
        run.step += 1
        if run.step * _SCORES // steps > (run.step - 1) * _SCORES // steps:
            spelled = map(ctc.greedy, _logits(run.network, dev_features))
            run.curve.append([run.step, float(np.mean(losses)), error_rate(dev_labels, spelled)])
            run.norms.append([run.step, max(run.network.spectral_norms())])
            losses = []
        report(run.step, steps, {"loss": loss.item()} | ({"dev": run.curve[-1][2]} if run.curve else {}))
        run.seconds = time.monotonic() - begun
        if time.monotonic() - saved >= _CHECKPOINT_S or run.step == steps:
            saved = time.monotonic()
            run.save()


def _pack(network, row, speech, path):
    """Write the model file, front end and decoder in it, and return it as the C runtime loads it."""
    some = [speech[index] for index in np.linspace(0, len(speech) - 1, _CALIBRATION).astype(int)]
    file = network.model_file(
        [features_of(utterance.cepstra) for utterance in some],
        LABELS,
        {"name": row.name, "task": "AN4, spelled letter by letter"},
    )
    dataclasses.replace(file, frontend=FRONTEND, decoder=_decoder()).save(path)
    return edge_runtime.Model.load(path)


def _evaluate(run, row, folder, speech, corpus):
    network = run.network
    model = _pack(network, row, speech, folder / "model.ernn")
    test = read_folder(corpus, ("test",))
    features = [features_of(utterance.cepstra) for utterance in test]
    labels = [labels_of(utterance.words) for utterance in test]
    by_torch = [ctc.greedy(logits) for logits in _logits(network, features)]
    outputs = [packed.logits_of(model, x) for x in features]
    by_c = [_spelled_by_c(model, x) for x in features]
    file = edge_runtime.format.ModelFile.load(folder / "model.ernn")
    by_reference = [ctc.greedy(ReferenceStream(file).run(x)) for x in features[:_EXACT]]
    words = [utterance.words for utterance in test]
    search = ctc.WordLoop(dictionary(corpus), LABELS)
    sizes = network.sizes()
    return {
        "metric": "label error rate",
        "score": error_rate(labels, by_torch),
        "packed_score": error_rate(labels, by_c),
        "decisions": len(test),
        "differing": sum(a != b for a, b in zip(by_torch, by_c, strict=True)),
        "exact_checked": len(by_reference),
        "exact_differing": sum(a != b for a, b in zip(by_reference, by_c, strict=False)),
        "dev_score": run.curve[-1][2],
        "word_error_rate": error_rate(words, [text_of(spelled).split() for spelled in by_c]),
        "dictionary_word_error_rate": error_rate(words, list(map(search.decode, outputs))),
        "bytes": (folder / "model.ernn").stat().st_size,
        "float_bytes": sizes["float_bytes"],
        "bits_per_weight": sizes["bits_per_weight"],
        "zeros": sizes["zeros"],
        "seconds": run.seconds,
        "steps": run.step,
        "curve": run.curve,
        "spectral_norm": run.norms,
        "histograms": {"before": run.before, "after": network.histograms()},
    }


def _spelled_by_c(model, features):
    """Network and greedy decoder of the C library: list of int."""
    decoder = model.decoder()
    words = decoder.push(model.stream().run_quantized(model.quantize_input(features))) + decoder.finish()
    return [word.index for word in words]
