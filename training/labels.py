# SPDX-License-Identifier: MIT
"""Outputs of the network, in order: the single place they are listed."""

import itertools

BLANK = 0
LABELS = (
    "blank",
    "zero",
    "oh",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "unknown",
)
UNKNOWN = len(LABELS) - 1
DIGITS = LABELS[1:UNKNOWN]

_INDEX = {word: index for index, word in enumerate(LABELS)}


def label_of(word):
    """Return the output that stands for a spoken word.

    Parameters
    ----------
    word : str
        Lower-case word of a transcript. The spelled letter "o" sounds like the digit "oh" and
        counts as it.

    Returns
    -------
    int
        Index into `LABELS`; `UNKNOWN` for any word that is not a digit.
    """
    if word == "o":
        word = "oh"
    return _INDEX[word] if word in DIGITS else UNKNOWN


def digits_of(words):
    """Return the digit words among `words`, as a recognizer that drops `unknown` reports them.

    Parameters
    ----------
    words : iterable of str

    Returns
    -------
    list of str
    """
    return [LABELS[label] for label in map(label_of, words) if label != UNKNOWN]


def ctc_steps(labels):
    """Return the fewest steps in which CTC can emit `labels` (a blank between equal neighbors).

    Parameters
    ----------
    labels : sequence of int

    Returns
    -------
    int
    """
    return len(labels) + sum(a == b for a, b in itertools.pairwise(labels))
