# SPDX-License-Identifier: MIT
"""Recordings through a recognizer into a score."""

import time

from apps.corpus import read_folder, read_split
from apps.evaluate.metrics import Errors, Score, align, digit_words


class EvaluationError(ValueError):
    """Nothing can be evaluated; the message is one line."""


def read_utterances(folders, split, digits_only):
    """Read the recordings to score.

    Parameters
    ----------
    folders : sequence of str
    split : str
        As `apps.corpus.read_split`, or "all".
    digits_only : bool
        Leave out recordings with any other word in their label.

    Returns
    -------
    list of apps.corpus.Utterance

    Raises
    ------
    CorpusError, EvaluationError
        A folder cannot be read, or nothing is left.
    """
    utterances = []
    for folder in folders:
        utterances += read_folder(folder) if split == "all" else read_split(folder, split)
    where = ", ".join(folders)
    if not utterances:
        raise EvaluationError(f"{where}: no recordings in split {split!r}; try --split all")
    if digits_only:
        utterances = [u for u in utterances if u.words and len(digit_words(u.words)) == len(u.words)]
        if not utterances:
            raise EvaluationError(f"{where}: no label consists of digit words alone; omit --digits-only")
    return utterances


def recognize(recognizer, utterance):
    """Recognize one recording from a fresh start.

    Parameters
    ----------
    recognizer : edge_runtime.Recognizer
        At 16 kHz.
    utterance : apps.corpus.Utterance

    Returns
    -------
    words : list of edge_runtime.Word
    seconds : float
        Wall time of the recognition alone.
    """
    start = time.perf_counter()
    recognizer.reset()
    if utterance.pcm is None:
        words = recognizer.accept_cepstra(utterance.cepstra)
    else:
        words = recognizer.accept_waveform(utterance.pcm)
    words += recognizer.finish()
    return words, time.perf_counter() - start


def evaluate(model, utterances, threshold=None, on_result=None, spelled_o=False):
    """Score a model.

    Parameters
    ----------
    model : edge_runtime.Model
    utterances : sequence of apps.corpus.Utterance
    threshold : float, optional
        As `edge_runtime.Model.recognizer`.
    on_result : callable, optional
        Called as ``on_result(utterance, words, right)`` after each recording.
    spelled_o : bool
        As `apps.evaluate.metrics.digit_words`.

    Returns
    -------
    apps.evaluate.metrics.Score
    """
    recognizer = model.recognizer(threshold=threshold)
    score = Score(spelled_o)
    for utterance in utterances:
        words, seconds = recognize(recognizer, utterance)
        hypothesis = [word.label for word in words]
        right = score.add(utterance.words, hypothesis, utterance.speaker, utterance.duration_s, seconds)
        if on_result is not None:
            on_result(utterance, words, right)
    return score


def word_errors(recognizer, recordings):
    """Count word errors of signals, each recognized from a fresh start.

    Parameters
    ----------
    recognizer : edge_runtime.Recognizer
    recordings : iterable of (tuple of str, int16 or float32 [shape=(n,)])
        Digit words, and samples at the recognizer's rate.

    Returns
    -------
    apps.evaluate.metrics.Errors
    """
    errors = Errors()
    for words, samples in recordings:
        recognizer.reset()
        heard = recognizer.accept_waveform(samples) + recognizer.finish()
        errors.add(align(words, [word.label for word in heard]))
    return errors
