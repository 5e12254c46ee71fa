# SPDX-License-Identifier: MIT
"""Logits of both sides on the same inputs: how far they agree, and the words they lead to."""

import dataclasses

import numpy as np

from apps.evaluate.metrics import Score
from edge_runtime import reference
from exporters import agreement

#: Edges of the distribution of differences: a unit of the logits to 32.
EDGES = tuple(float(v) for v in 2.0 ** np.arange(-11, 5.25, 0.25))
_CHECKED_STEPS = 2000
_SCORES = (
    "utterances",
    "words",
    "wer",
    "substitutions",
    "deletions",
    "insertions",
    "string_error",
    "single_words",
    "accuracy",
    "false_words",
    "false_words_per_minute",
    "minutes_without_digits",
)


def logits_of_model(model, sequences):
    """Outputs of the packed model: list of float32 [shape=(steps, output_size)]."""
    stream = model.stream()
    found = []
    for x in sequences:
        stream.reset()
        found.append(stream.run(x))
    return found


def agreements(logits):
    """How far the sides agree.

    Parameters
    ----------
    logits : dict of str to list of float array
        By side; "onnxruntime_f32" is what the others are compared with.

    Returns
    -------
    dict of str to dict
        By side: the fields of `exporters.agreement.Agreement`, `relative`, and `distribution`: share of steps whose
        greatest difference is at most `EDGES`.
    """
    whole = {side: np.concatenate(parts) for side, parts in logits.items()}
    source = whole.pop("onnxruntime_f32").astype(np.float64)
    found = {}
    for side, outputs in whole.items():
        measured = agreement.between(source, outputs)
        worst = np.sort(np.abs(outputs - source).max(axis=1))
        shares = np.searchsorted(worst, EDGES, side="right") / len(worst)
        found[side] = {
            **dataclasses.asdict(measured),
            "relative": measured.relative,
            "distribution": [round(float(share), 5) for share in shares],
        }
    return found


def distance_from_network(network, sequences, outputs):
    """Greatest difference of ONNX Runtime's float outputs from the network in float64.

    Over whole sequences, at least one and at most as many as have 2000 steps.

    Returns
    -------
    steps : int
    largest : float
    """
    steps, largest = 0, 0.0
    for x, y in zip(sequences, outputs, strict=True):
        part = x[:_CHECKED_STEPS]
        if steps and steps + len(part) > _CHECKED_STEPS:
            break
        largest = max(largest, float(np.abs(network.run(part) - y[: len(part)]).max()))
        steps += len(part)
    return steps, largest


def to_integers(logits, unit):
    """Float logits in the unit that the decoder takes, rounded and saturated: int16 [shape of logits]."""
    return np.clip(np.rint(logits / unit), -32768, 32767).astype(np.int16)


def scores(model, utterances, logits, spelled_o=False):
    """Decode and count.

    Parameters
    ----------
    model : edge_runtime.Model
        Its decoder settings are used for every side.
    utterances : sequence of apps.corpus.Utterance
    logits : dict of str to list of float array [shape=(steps, output_size)]
        By side, one per utterance.
    spelled_o : bool
        As `apps.evaluate.metrics.digit_words`.

    Returns
    -------
    dict of str to dict
        By side: ``all`` and each set of recordings; see `apps.evaluate.metrics.Score.summary`.
    """
    unit = reference.logit_unit(model.file)
    decoder = model.decoder()
    found = {}
    for side, parts in logits.items():
        counted = {}
        for utterance, y in zip(utterances, parts, strict=True):
            decoder.reset()
            words = decoder.push(to_integers(y, unit)) + decoder.finish()
            for name in ("all", utterance.corpus):
                counted.setdefault(name, Score(spelled_o)).add(
                    utterance.words, [w.label for w in words], utterance.speaker, utterance.duration_s, 0
                )
        found[side] = {
            name: {key: summary[key] for key in _SCORES}
            for name, summary in ((n, score.summary()) for n, score in counted.items())
        }
    return found
