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
import os
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
from training.reproduce.row import Row
from training.reproduce.spelling import FRONTEND, SPELLINGS, Batches, features_of, padded
from training.reproduce.trainer import Trainer, network_of

BUDGET = {"steps": 1600, "batch": 16, "rate": 6e-3, "dropout": 0.1}
WSJ_BUDGET = {"steps": 40000, "batch": 16, "rate": 3e-3, "dropout": 0.1}

_WARM_UP = 100  # steps until the full learning rate
_SCORES = 12  # on dev, over the training
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
    labels = SPELLINGS[row.variant].labels
    network = network_of(row, FRONTEND.feature_size, len(labels), dropout=row.budget["dropout"])
    frames = np.concatenate(
        [features_of(utterance.cepstra) for utterance in _evenly(utterances, _STATISTICS)]
    )
    network.set_input_statistics(frames.mean(axis=0), frames.std(axis=0))
    return network


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
    network = _network(row, speech)
    optimizer = torch.optim.Adam(network.parameters())
    trainer = Trainer(row, network, folder / "checkpoint.pt", optimizer)
    _fit(trainer, speech, read_folder(corpus, ("dev",)), report)
    model = _pack(network, row, speech, folder / "model.ernn")
    return _evaluate(trainer, folder, model, data)


def _fit(trainer, speech, dev, report):
    row, network = trainer.row, trainer.network
    spelling = SPELLINGS[row.variant]
    batches = Batches(speech, spelling, row.budget["batch"], row.seed)
    features = [features_of(utterance.cepstra) for utterance in dev]
    labels = [spelling.outputs_of(utterance.words) for utterance in dev]
    trainer.fit(
        lambda step, generator: _loss(network, batches.examples(step), generator),
        lambda: error_rate(labels, map(ctc.greedy, _logits(network, features))),
        report,
        warm_up=_WARM_UP,
        scores=_SCORES,
    )


def _pack(network, row, speech, path):
    """Write the model file, front end and decoder in it, and return it as the C runtime loads it."""
    labels = SPELLINGS[row.variant].labels
    calibration = [features_of(utterance.cepstra) for utterance in _evenly(speech, _CALIBRATION)]
    file = network.model_file(
        calibration, labels, {"name": row.name, "task": "speech, spelled letter by letter"}
    )
    dataclasses.replace(file, frontend=FRONTEND, decoder=_decoder(len(labels))).save(path)
    return edge_runtime.Model.load(path)


def _evaluate(trainer, folder, model, data):
    spelling = SPELLINGS[trainer.row.variant]
    test = read_folder(data / spelling.folder, ("test",))
    features = [features_of(utterance.cepstra) for utterance in test]
    words = [utterance.words for utterance in test]
    outputs = list(map(spelling.outputs_of, words))
    by_torch = [ctc.greedy(logits) for logits in _logits(trainer.network, features)]
    by_c = [_spelled_by_c(model, x) for x in features]
    file = ModelFile.load(folder / "model.ernn")
    by_reference = [ctc.greedy(ReferenceStream(file).run(x)) for x in features[:_EXACT]]
    result = trainer.result(
        folder / "model.ernn",
        "label error rate",
        (error_rate(outputs, by_torch), error_rate(outputs, by_c)),
        (by_torch, by_c),
        (by_reference, by_c[: len(by_reference)]),
    )
    result["word_error_rate"] = error_rate(words, [spelling.text_of(spelled).split() for spelled in by_c])
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
