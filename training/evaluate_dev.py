# SPDX-License-Identifier: MIT
"""Score a network in training on the development sets: greedy decoding, word errors, false digits."""

from dataclasses import dataclass

import numpy as np
import torch

from apps.evaluate.metrics import Errors, align
from training import devset
from training.fakequant import PRE_UNIT
from training.labels import BLANK, LABELS, UNKNOWN

BATCH_SIZE = 64


@dataclass
class Score:
    """Result on one set.

    Attributes
    ----------
    words, substitutions, deletions, insertions : int
    items, wrong_items : int
    duration_s : float
    """

    words: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    items: int = 0
    wrong_items: int = 0
    duration_s: float = 0.0

    @property
    def error_percent(self):
        """Word errors in percent of the words spoken."""
        return 100 * (self.substitutions + self.deletions + self.insertions) / max(1, self.words)

    @property
    def false_per_minute(self):
        """Inserted digits per minute."""
        return 60 * self.insertions / max(1e-9, self.duration_s)


def greedy(outputs):
    """Return the digit labels of a sequence of best outputs.

    Parameters
    ----------
    outputs : int array [shape=(steps,)]

    Returns
    -------
    list of str
    """
    before = np.concatenate([[BLANK], outputs[:-1]])
    return [LABELS[o] for o in outputs[outputs != before] if o not in (BLANK, UNKNOWN)]


class DevSets:
    """The development sets, their features computed once.

    Parameters
    ----------
    withheld : bool
        With the speakers that were withheld from training.
    """

    def __init__(self, withheld=False):
        self.sets = {
            name: sorted(((item, item.features()) for item in items), key=lambda pair: len(pair[1]))
            for name, items in devset.all_sets(withheld).items()
        }

    @torch.no_grad()
    def scores(self, network, biases):
        """Score a network under decoder biases.

        Parameters
        ----------
        network : DigitNet
        biases : dict of str to (float, float)
            Name of an operating point: what is added to the logits of blank and unknown.

        Returns
        -------
        dict of str to dict of str to Score
            By operating point, then by set.
        """
        results = {name: {} for name in biases}
        integers = network.quantize()
        for set_name, pairs in self.sets.items():
            scores = {name: Score() for name in biases}
            for at in range(0, len(pairs), BATCH_SIZE):
                part = pairs[at : at + BATCH_SIZE]
                padded = np.zeros((len(part), len(part[-1][1]), part[0][1].shape[1]), np.float32)
                for row, (_, features) in zip(padded, part, strict=True):
                    row[: len(features)] = features
                logits = network(torch.from_numpy(padded), integers)[0].numpy() * PRE_UNIT
                for name, (blank, unknown) in biases.items():
                    biased = logits.copy()
                    biased[..., BLANK] += blank
                    biased[..., UNKNOWN] += unknown
                    best = biased.argmax(-1)
                    for column, (item, features) in enumerate(part):
                        _add(scores[name], item, greedy(best[: len(features), column]))
            for name in biases:
                results[name][set_name] = scores[name]
        return results


def _add(score, item, heard):
    errors = Errors()
    errors.add(align(item.digits, heard))
    score.words += errors.words
    score.substitutions += errors.substitutions
    score.deletions += errors.deletions
    score.insertions += errors.insertions
    score.items += 1
    score.wrong_items += errors.wrong_strings
    score.duration_s += item.duration_s


def summary(scores):
    """Return one line: word error in percent per set, false digits per minute for the reject sets."""
    parts = []
    for name, score in scores.items():
        if name.startswith("reject_"):
            parts.append(f"{name[7:]} {score.false_per_minute:.1f}/min")
        else:
            parts.append(f"{name} {score.error_percent:.1f}")
    return ", ".join(parts)
