# SPDX-License-Identifier: MIT
"""AN4: connected letters, digits and words, spelled letter by letter (CTC), of speakers who were not heard in training.

It stands for the paper's WSJ task, whose corpus cannot be passed on, on what is free: CMU's AN4 (Census), 0.75 h of
names, addresses, dates and numbers, as cepstra (set an4_mfcc). 66 speakers train, 8 are for choices (dev), 5 are the
test. Who has WSJ makes the set wsj_mfcc of it by `training.wsj`, and the grid has rows for it, too; what these give is
not known here.

Two recurrent layers, one direction, so that the network streams; inputs and outputs are in `spelling`. The model file
holds front end and decoder: a recognizer made of it spells what it hears.

Label error rate: edit distance of the spelled text, gaps between words included, over its length.
"""

import dataclasses
import itertools
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

import edge_runtime
from apps.corpus import DATA_VARIABLE, read_folder
from apps.evaluate.metrics import align
from edge_runtime.format import DecoderConfig, ModelFile
from edge_runtime.reference import ReferenceStream
from training import ctc, packed
from training.recurrent import Network, NetworkSpec
from training.reproduce.row import Row
from training.reproduce.spelling import FRONTEND, SPELLINGS, Batches, features_of, padded

BUDGET = {"steps": 1600, "batch": 16, "rate": 6e-3, "dropout": 0.1}
WSJ_BUDGET = {"steps": 40000, "batch": 16, "rate": 3e-3, "dropout": 0.1}

_WARM_UP = 100  # steps until the full learning rate
_SCORES = 12  # on dev, over the training
_CHECKPOINT_S = 60.0
_STATISTICS = 2000  # utterances of the training set, at most, of which inputs have mean 0 and variance 1
_CALIBRATION = 60
_EXACT = 20  # utterances of test that edge_runtime.reference is run on


def rows():
    """Return the rows of this task, the most important first: list of Row."""
    treatments = [("float", "none"), ("ternary", "none")]
    more = [("binary", "weight"), ("exponential", "none"), ("pow2-ternary", "none")]
    order = [(treatment, seed) for seed in range(3) for treatment in treatments]
    order += [(treatment, 0) for treatment in [*more, ("binary", "none")]]
    order += [(treatment, seed) for seed in (1, 2) for treatment in more]
    found = [_row("letters", (200, 200), *chosen, BUDGET) for chosen in order]
    if Path(os.environ.get(DATA_VARIABLE, ""), SPELLINGS["wsj"].folder, "index.csv").is_file():
        found += [_row("wsj", (320, 320), treatment, 0, WSJ_BUDGET) for treatment in treatments]
    return found


def _row(variant, units, treatment, seed, budget):
    method, normalization = treatment
    return Row(
        "an4",
        variant,
        units=units,
        method=method,
        normalization=normalization,
        seed=seed,
        budget=dict(budget),
    )


def _loss(network, examples, generator):
    features, labels = zip(*examples, strict=True)
    logits, _ = network(torch.from_numpy(padded(features)), network.weights(generator), generator=generator)
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
        logits, _ = network(torch.from_numpy(padded([features[index] for index in part])), weights)
        for column, index in enumerate(part):
            found[index] = logits[: len(features[index]), column].numpy()
    network.train()
    return found


def error_rate(references, hypotheses):
    """Return the edit distance of all sequences over the length of the references."""
    errors = sum(a != b for pair in zip(references, hypotheses, strict=True) for a, b in align(*pair))
    return errors / sum(map(len, references))


def _decoder(count):
    return DecoderConfig(ctc.BLANK, None, 0.0, 0, np.zeros(count, np.int16), np.full(count, 90, np.uint16))


def _evenly(utterances, most):
    places = np.linspace(0, len(utterances) - 1, min(most, len(utterances)))
    return [utterances[int(place)] for place in places]


def _network(row, utterances):
    spec = NetworkSpec(
        FRONTEND.feature_size,
        len(SPELLINGS[row.variant].labels),
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
    frames = np.concatenate(
        [features_of(utterance.cepstra) for utterance in _evenly(utterances, _STATISTICS)]
    )
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
        Holds the set.
    report : training.reproduce.row.Report

    Returns
    -------
    dict
        `training.reproduce.row.RESULT`, and of the C runtime's outputs on the test split "word_error_rate", of words as
        spelled, and "dictionary_word_error_rate", as the dictionary allows, if there is one. Decisions are utterances.
    """
    torch.set_num_threads(1)
    corpus = data / SPELLINGS[row.variant].folder
    speech = read_folder(corpus, ("train",))
    run = _Run(_network(row, speech), folder / "checkpoint.pt")
    _fit(run, row, speech, read_folder(corpus, ("dev",)), report)
    model = _pack(run.network, row, speech, folder / "model.ernn")
    return _evaluate(run, row, folder, model, data)


def _fit(run, row, speech, dev, report):
    steps = row.budget["steps"]
    spelling = SPELLINGS[row.variant]
    batches = Batches(speech, spelling, row.budget["batch"], row.seed)
    dev_features = [features_of(utterance.cepstra) for utterance in dev]
    dev_labels = [spelling.outputs_of(utterance.words) for utterance in dev]
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
    labels = SPELLINGS[row.variant].labels
    calibration = [features_of(utterance.cepstra) for utterance in _evenly(speech, _CALIBRATION)]
    file = network.model_file(
        calibration, labels, {"name": row.name, "task": "speech, spelled letter by letter"}
    )
    dataclasses.replace(file, frontend=FRONTEND, decoder=_decoder(len(labels))).save(path)
    return edge_runtime.Model.load(path)


def _evaluate(run, row, folder, model, data):
    network, spelling = run.network, SPELLINGS[row.variant]
    test = read_folder(data / spelling.folder, ("test",))
    features = [features_of(utterance.cepstra) for utterance in test]
    words = [utterance.words for utterance in test]
    outputs = list(map(spelling.outputs_of, words))
    by_torch = [ctc.greedy(logits) for logits in _logits(network, features)]
    by_c = [_spelled_by_c(model, x) for x in features]
    file = ModelFile.load(folder / "model.ernn")
    by_reference = [ctc.greedy(ReferenceStream(file).run(x)) for x in features[:_EXACT]]
    sizes = network.sizes()
    result = {
        "metric": "label error rate",
        "score": error_rate(outputs, by_torch),
        "packed_score": error_rate(outputs, by_c),
        "decisions": len(test),
        "differing": sum(a != b for a, b in zip(by_torch, by_c, strict=True)),
        "exact_checked": len(by_reference),
        "exact_differing": sum(a != b for a, b in zip(by_reference, by_c, strict=False)),
        "dev_score": run.curve[-1][2],
        "word_error_rate": error_rate(words, [spelling.text_of(spelled).split() for spelled in by_c]),
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
    if spelling.dictionary:
        search = ctc.WordLoop(spelling.words(data), spelling.labels)
        found = [search.decode(packed.logits_of(model, x)) for x in features]
        result["dictionary_word_error_rate"] = error_rate(words, found)
    return result


def _spelled_by_c(model, features):
    """Network and greedy decoder of the C library: list of int."""
    decoder = model.decoder()
    words = decoder.push(model.stream().run_quantized(model.quantize_input(features))) + decoder.finish()
    return [word.index for word in words]
