# SPDX-License-Identifier: MIT
"""Detection error trade-off: words missed against digits heard where there are none.

Along a curve the threshold on confidence rises; each curve has another bias on the output `unknown`. All of it is
recognized by the recognizer itself: the bias is written into a copy of the model, and the threshold only drops words.
"""

import dataclasses
import functools

import numpy as np

from apps.evaluate.metrics import align, digit_words
from edge_runtime import Model

# Beside the bias of the file, in units of 2^-11 of log-probability: two steps of 2 below, two above.
BIAS_STEPS = (-8192, -4096, 0, 4096, 8192)
THRESHOLDS = (*np.round(np.arange(0.0, 0.95, 0.05), 2).tolist(), 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
# The points of the table.
STATED_THRESHOLDS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclasses.dataclass(frozen=True)
class Heard:
    """What was heard in one recording, whatever its confidence.

    Attributes
    ----------
    reference : tuple of str
        Digit words said.
    duration_s : float
    words : tuple of (str, float)
        Label and confidence.
    """

    reference: tuple
    duration_s: float
    words: tuple


def hear(model, utterances, bias_step=0):
    """Recognize recordings without a threshold.

    Parameters
    ----------
    model : edge_runtime.Model
    utterances : iterable of apps.corpus.Utterance
    bias_step : int
        Added to the bias of the output `unknown`.

    Returns
    -------
    list of Heard
    """
    recognizer = biased(model, bias_step).recognizer(threshold=0.0)
    heard = []
    for utterance in utterances:
        recognizer.reset()
        if utterance.pcm is None:
            words = recognizer.accept_cepstra(utterance.cepstra)
        else:
            words = recognizer.accept_waveform(utterance.pcm)
        words += recognizer.finish()
        pairs = tuple((word.label, word.confidence) for word in words)
        heard.append(Heard(digit_words(utterance.words), utterance.duration_s, pairs))
    return heard


def biased(model, bias_step):
    """Return the model with another bias on the output of rejected words; itself if `bias_step` is 0."""
    if bias_step == 0:
        return model
    file = model.file
    bias = np.array(file.decoder.bias, np.int64)
    bias[file.decoder.unknown] += bias_step
    bias = np.clip(bias, -32768, 32767).astype(np.int16)
    decoder = dataclasses.replace(file.decoder, bias=bias)
    return Model.from_bytes(dataclasses.replace(file, decoder=decoder).to_bytes())


@functools.lru_cache(maxsize=1 << 16)
def _right(reference, labels):
    # Cached: most words stay over many thresholds.
    return sum(a == b for a, b in align(reference, labels))


def miss_rate(heard, threshold):
    """Share of the words said that were not heard as they are."""
    words = sum(len(item.reference) for item in heard)
    right = 0
    for item in heard:
        right += _right(item.reference, tuple(label for label, c in item.words if c >= threshold))
    return (words - right) / words if words else None


def false_per_minute(heard, threshold):
    """Digits heard per minute of recordings that hold none."""
    minutes = sum(item.duration_s for item in heard) / 60
    count = sum(confidence >= threshold for item in heard for _, confidence in item.words)
    return count / minutes if minutes else None


def accepted(heard, threshold):
    """Share of recordings that hold no digit in which one was heard."""
    count = sum(any(confidence >= threshold for _, confidence in item.words) for item in heard)
    return count / len(heard) if heard else None


def curves(model, digits, others, own_threshold, on_step=None):
    """Measure the curves.

    Parameters
    ----------
    model : edge_runtime.Model
    digits : sequence of apps.corpus.Utterance
        Recordings of digits.
    others : dict of str to sequence of apps.corpus.Utterance
        Recordings without, by set.
    own_threshold : float
        A point of the curves beside `THRESHOLDS`.
    on_step : callable, optional
        Called without arguments before each curve.

    Returns
    -------
    list of dict
        bias_step : int; points : list of dict with threshold, miss_rate, and per set of `others` false_per_minute and
        accepted.
    """
    thresholds = sorted({*THRESHOLDS, round(float(own_threshold), 6)})
    results = []
    for bias_step in BIAS_STEPS:
        if on_step is not None:
            on_step()
        said = hear(model, digits, bias_step)
        rejected = {name: hear(model, utterances, bias_step) for name, utterances in others.items()}
        points = [
            {
                "threshold": threshold,
                "miss_rate": miss_rate(said, threshold),
                "false_per_minute": {n: false_per_minute(heard, threshold) for n, heard in rejected.items()},
                "accepted": {n: accepted(heard, threshold) for n, heard in rejected.items()},
            }
            for threshold in thresholds
        ]
        results.append({"bias_step": bias_step, "points": points})
    return results


def table(results, own_threshold):
    """Lines of text: the file's own bias at the stated thresholds, then the other biases at the threshold in use."""
    own = round(float(own_threshold), 6)
    sets = list(results[0]["points"][0]["accepted"])
    heads = "".join(f"{name:>24}" for name in sets)
    lines = [f"{'threshold':>9}{'missed':>9}{heads}"]
    curve = next(curve for curve in results if curve["bias_step"] == 0)
    for point in curve["points"]:
        if point["threshold"] in {*STATED_THRESHOLDS, own}:
            mark = "*" if point["threshold"] == own else " "
            lines.append(f"{point['threshold']:>8.3g}{mark}{_cells(point, sets)}")
    lines.append(f"{'bias':>8} {'missed':>8}{heads}")
    for curve in results:
        point = next(point for point in curve["points"] if point["threshold"] == own)
        mark = "*" if curve["bias_step"] == 0 else " "
        lines.append(f"{curve['bias_step'] / 2048:>+8g}{mark}{_cells(point, sets)}")
    lines.append(
        "* in use; bias on `unknown` beside the file's, in natural logarithms; shares are of recordings in which a digit "
        "was heard"
    )
    return "\n".join(lines)


def _cells(point, sets):
    cells = "".join(
        f"{point['false_per_minute'][name]:>10.2f}/min{100 * point['accepted'][name]:>8.1f} %"
        for name in sets
    )
    return f"{100 * point['miss_rate']:>7.2f} %{cells}"
