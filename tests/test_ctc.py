# SPDX-License-Identifier: MIT
"""Decoding of CTC outputs: letter by letter, and words of a dictionary against every path there is."""

import itertools

import numpy as np
import pytest

from training import ctc

LABELS = ("blank", " ", "a", "b")


def _collapsed(path):
    return [index for index, _ in itertools.groupby(path) if index != ctc.BLANK]


def _logits(seed, steps):
    return np.random.default_rng(seed).normal(0, 2, (steps, len(LABELS))).astype(np.float32)


@pytest.mark.parametrize("seed", range(20))
def test_greedy_is_the_best_output_of_each_step(seed):
    logits = _logits(seed, 30)
    assert ctc.greedy(logits) == _collapsed(logits.argmax(axis=1))


def test_greedy_of_nothing():
    assert ctc.greedy(np.zeros((0, 4), np.float32)) == []
    assert ctc.greedy(np.eye(4, dtype=np.float32)[[2, 2, 0, 2, 3, 3, 0, 0]]) == [2, 2, 3]


def _best_words(logits, dictionary):
    """By trying every path: the likeliest that spells words of the dictionary with one separator between them."""
    best, words = -np.inf, None
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        text = "".join(LABELS[index] for index in _collapsed(path))
        said = text.split(" ") if text else []
        if all(word in dictionary for word in said):
            score = sum(logits[step, index] for step, index in enumerate(path))
            if score > best:
                best, words = score, tuple(said)
    return words


@pytest.mark.parametrize("dictionary", [("a",), ("ab", "b"), ("aa", "abb", "a", "ba")])
@pytest.mark.parametrize("seed", range(4))
def test_the_likeliest_words_are_found(seed, dictionary):
    logits = _logits(seed, 7).astype(np.float64)
    assert ctc.WordLoop(dictionary, LABELS).decode(logits) == _best_words(logits, dictionary)


def test_words_and_silence():
    search = ctc.WordLoop(("ab", "ba"), LABELS)
    spoken = np.log(np.eye(4) * 0.9 + 0.025)
    assert search.decode(spoken[[0, 2, 3, 0, 1, 3, 0, 2, 2, 0]]) == ("ab", "ba")
    assert search.decode(spoken[[0, 0, 0, 0]]) == ()
    assert search.decode(spoken[[2, 2, 2, 1, 3, 2]]) == ("ab", "ba")  # what is no word becomes the nearest
    assert search.decode(np.zeros((0, 4))) == ()
