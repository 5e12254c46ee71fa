# SPDX-License-Identifier: MIT
"""Hidden Markov models of phones, and the forced alignment of utterances with their transcripts.

Three states per phone, with small mixtures of Gaussians on cepstra, are estimated from utterances
without times by Viterbi training: segment with the models so far, estimate them from the segments,
again. Nothing is drawn at random.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from training.lexicon import PHONES, pronunciations

STATES = 3  # per phone, one after the other, none skipped
SILENCE = len(PHONES)  # stands behind the phones; optional before, between and after words
STATE_COUNT = STATES * (len(PHONES) + 1)

# Gaussians per state in each iteration.
_SCHEDULE = (1,) * 6 + (2,) * 4 + (4,) * 4
_LEAST_FRAMES = 12  # a Gaussian with fewer frames keeps its parameters
_LEAST_VARIANCE = 0.05  # of that of all frames
_BATCH = 64  # utterances that are segmented side by side


@dataclass(frozen=True)
class AlignedWord:
    """A word of an utterance and where it is; frames of 10 ms, the end excluded.

    Attributes
    ----------
    word : str
    begin, end : int
    phones : tuple of (int, int, int)
        Index into `training.lexicon.PHONES`, begin, end: one after the other without a gap.
    score : float
        Log-likelihood per frame relative to the best state of any phone, at most 0: how well the
        sounds fit the word.
    log_likelihood : float
        Per frame, of cepstra of unit variance; comparable between alignments by the same models.
    """

    word: str
    begin: int
    end: int
    phones: tuple
    score: float
    log_likelihood: float


@dataclass(frozen=True, eq=False)
class PhoneModels:
    """Mixtures of Gaussians with diagonal covariance, one per state.

    Attributes
    ----------
    means, variances : numpy.ndarray
        float32 [shape=(120, mixture, 39)].
    log_weights : numpy.ndarray
        float32 [shape=(120, mixture)].
    scale : numpy.ndarray
        float32 [shape=(39,)]: factor that brings the features to variance 1.
    """

    means: np.ndarray
    variances: np.ndarray
    log_weights: np.ndarray
    scale: np.ndarray

    def log_likelihoods(self, frames):
        """Return that of every Gaussian: float32 [shape=(frames, 120, mixture)]."""
        precision = 1 / self.variances
        constant = self.log_weights - 0.5 * (
            np.log(2 * np.pi * self.variances) + self.means**2 * precision
        ).sum(axis=2)
        weights = np.concatenate([self.means * precision, -0.5 * precision], axis=2)
        weights = weights.reshape(-1, weights.shape[2])
        result = np.concatenate([frames, frames**2], axis=1) @ weights.T
        return (result + constant.ravel()).reshape(len(frames), *constant.shape)

    def split(self):
        """Return models with twice the Gaussians, moved apart."""
        offset = 0.2 * np.sqrt(self.variances)
        return PhoneModels(
            np.concatenate([self.means - offset, self.means + offset], axis=1),
            np.concatenate([self.variances] * 2, axis=1),
            np.concatenate([self.log_weights - np.float32(np.log(2))] * 2, axis=1),
            self.scale,
        )


def _deltas(frames):
    # Slope of a line through five frames.
    wide = np.pad(frames, ((2, 2), (0, 0)), mode="edge")
    return (2 * (wide[4:] - wide[:-4]) + wide[3:-1] - wide[1:-3]) / 10


def _features(utterances):
    """Return per utterance float32 [shape=(frames, 39)], the mean of each speaker at 0."""
    speakers = {}
    for utterance in utterances:
        speakers.setdefault(utterance.speaker, []).append(utterance.cepstra)
    means = {name: np.concatenate(cepstra).mean(axis=0) for name, cepstra in speakers.items()}
    features = []
    for utterance in utterances:
        frames = utterance.cepstra - means[utterance.speaker]
        slopes = _deltas(frames)
        features.append(np.concatenate([frames, slopes, _deltas(slopes)], axis=1))
    return features


class _Graph:
    """States through which an utterance may pass.

    Attributes
    ----------
    emits : numpy.ndarray
        int [shape=(states,)]: model state, 0 .. 119.
    sources : list of list of int
        Per state: the states that may come before it, itself first.
    starts, ends : list of int
    usual : list of int
        States of the first pronunciation of each word.
    words : numpy.ndarray
        int [shape=(states,)]: index of the word; -1 for silence.
    phones : numpy.ndarray
        int [shape=(states,)]: place in the list of states at which its phone begins.
    """

    def __init__(self, words):
        self.emits, self.sources, self.words, self.phones = [], [], [], []
        self.starts, self.usual = [], []
        before = None
        for index in range(len(words) + 1):
            silence = self._chain((SILENCE,), before, -1)
            before = [silence] if before is None else [*before, silence]
            if index == len(words):
                break
            variants = pronunciations(words[index])
            self.usual += range(len(self.emits), len(self.emits) + STATES * len(variants[0]))
            before = [self._chain(phones, before, index, opening=index == 0) for phones in variants]
        self.ends = before
        self.emits, self.words, self.phones = map(np.array, (self.emits, self.words, self.phones))

    def _chain(self, phones, before, word, opening=False):
        if before is None or opening:
            self.starts.append(len(self.emits))
        for phone in phones:
            first = len(self.emits)
            for state in range(STATES):
                at = len(self.emits)
                self.sources.append([at, *(before or ())])
                self.emits.append(STATES * phone + state)
                self.words.append(word)
                self.phones.append(first)
                before = [at]
        return before[0]


def _segment(graphs, log_likelihoods):
    """Find the best path through each utterance.

    Parameters
    ----------
    graphs : list of _Graph
    log_likelihoods : list of numpy.ndarray
        float32 [shape=(frames, 120)].

    Returns
    -------
    list of numpy.ndarray
        int [shape=(frames,)]: states of the graph.
    """
    count = len(graphs)
    lengths = np.array([len(frames) for frames in log_likelihoods])
    size = max(len(graph.emits) for graph in graphs) + 1  # the last state is never reached
    most = max(len(sources) for graph in graphs for sources in graph.sources)
    emits = np.zeros((count, size), int)
    sources = np.full((count, size, most), size - 1)
    chained = np.ones((count, size), bool)  # reached from the state ahead of it only; true of padding
    heard = np.zeros((lengths.max(), count, STATE_COUNT), np.float32)
    scores = np.full((count, size), -np.inf, np.float32)
    for row, (graph, frames) in enumerate(zip(graphs, log_likelihoods, strict=True)):
        emits[row, : len(graph.emits)] = graph.emits
        for state, before in enumerate(graph.sources):
            sources[row, state, : len(before)] = before
            chained[row, state] = before[1:] == [state - 1]
        heard[: len(frames), row] = frames
        scores[row, graph.starts] = frames[0, graph.emits[graph.starts]]
    rows = np.arange(count)
    emits += (rows * STATE_COUNT)[:, None]
    # First states of words and silences are few, but have several states before them.
    entered = np.flatnonzero(~chained)
    entered_from = (sources + (rows * size)[:, None, None]).reshape(-1, most)[entered, 1:].T
    back = np.zeros((lengths.max(), count, size), np.uint8)
    state = np.zeros(count, int)
    moved = np.full((count, size), -np.inf, np.float32)
    for t in range(lengths.max()):
        if t:
            moved[:, 1:] = scores[:, :-1]
            arriving = scores.ravel()[entered_from]
            moved.ravel()[entered] = arriving.max(axis=0)
            back[t] = moved > scores
            back[t].ravel()[entered] *= (1 + arriving.argmax(axis=0)).astype(np.uint8)
            scores = np.maximum(moved, scores) + heard[t].ravel()[emits]
            scores[:, -1] = -np.inf
        for row in np.flatnonzero(lengths == t + 1):
            ends = graphs[row].ends
            state[row] = ends[np.argmax(scores[row, ends])]
    paths = np.zeros((lengths.max(), count), int)
    for t in range(lengths.max() - 1, -1, -1):
        paths[t] = state
        state = np.where(t < lengths, sources[rows, state, back[t, rows, state]], state)
    return [paths[:length, row] for row, length in enumerate(lengths)]


def _first_states(graph, frames):
    """Divide the loud frames evenly among the usual pronunciations: model state per frame."""
    level = frames[:, 0]
    loud = level > 0.5 * (np.percentile(level, 5) + np.percentile(level, 95))
    count = np.count_nonzero(loud)
    states = np.full(len(frames), STATES * SILENCE + 1)
    states[loud] = graph.emits[graph.usual][np.arange(count) * len(graph.usual) // max(count, 1)]
    return states


def _estimate(frames, slots, old):
    """Estimate Gaussians from the frames of each.

    Parameters
    ----------
    frames : numpy.ndarray
        float32 [shape=(frames, 39)].
    slots : numpy.ndarray
        int [shape=(frames,)]: state * mixture + component.
    old : PhoneModels
        Whose parameters stay where frames are few.

    Returns
    -------
    PhoneModels
    """
    mixture = old.means.shape[1]
    order = np.argsort(slots, kind="stable")
    present, first, counts = np.unique(slots[order], return_index=True, return_counts=True)
    sorted_frames = frames[order].astype(np.float64)
    means = np.add.reduceat(sorted_frames, first) / counts[:, None]
    squares = np.add.reduceat(sorted_frames**2, first) / counts[:, None]
    enough = counts >= _LEAST_FRAMES
    at = np.divmod(present[enough], mixture)
    new = PhoneModels(old.means.copy(), old.variances.copy(), old.log_weights.copy(), old.scale)
    new.means[at] = means[enough]
    new.variances[at] = np.maximum((squares - means**2)[enough], _LEAST_VARIANCE)
    totals = np.bincount(slots, minlength=STATE_COUNT * mixture).reshape(STATE_COUNT, mixture) + 1
    new.log_weights[:] = np.log(totals / totals.sum(axis=1, keepdims=True))
    return new


def _align_states(models, graphs, features):
    """Segment every utterance.

    Returns
    -------
    paths : list of numpy.ndarray
        int [shape=(frames,)]: states of the graph.
    slots : list of numpy.ndarray
        int [shape=(frames,)]: state * mixture + component.
    own, best : list of numpy.ndarray
        float32 [shape=(frames,)]: log-likelihood of the state, and of the best state of all.
    """
    results = [None] * len(graphs)
    order = sorted(range(len(graphs)), key=lambda index: len(features[index]))
    for at in range(0, len(order), _BATCH):
        batch = order[at : at + _BATCH]
        every = models.log_likelihoods(np.concatenate([features[index] for index in batch]))
        edges = np.cumsum([len(features[index]) for index in batch])[:-1]
        states = np.split(every.max(axis=2), edges)
        paths = _segment([graphs[index] for index in batch], states)
        for index, gaussians, heard, path in zip(batch, np.split(every, edges), states, paths, strict=True):
            emits = graphs[index].emits[path]
            rows = np.arange(len(path))
            slots = emits * gaussians.shape[2] + gaussians[rows, emits].argmax(axis=1)
            results[index] = path, slots, heard[rows, emits], heard.max(axis=1)
    return tuple(zip(*results, strict=True))


def train_phone_models(utterances):
    """Estimate models of the phones from utterances and their transcripts.

    Parameters
    ----------
    utterances : sequence of apps.corpus.Utterance
        With cepstra. Half a minute for the training part of AN4.

    Returns
    -------
    PhoneModels
    """
    features = _features(utterances)
    frames = np.concatenate(features)
    scale = (1 / frames.std(axis=0)).astype(np.float32)
    features = [part * scale for part in features]
    frames *= scale
    graphs = [_Graph(utterance.words) for utterance in utterances]
    models = PhoneModels(
        np.zeros((STATE_COUNT, 1, frames.shape[1]), np.float32),
        np.ones((STATE_COUNT, 1, frames.shape[1]), np.float32),
        np.zeros((STATE_COUNT, 1), np.float32),
        scale,
    )
    slots = list(map(_first_states, graphs, features))
    models = _estimate(frames, np.concatenate(slots), models)
    for mixture in _SCHEDULE:
        if mixture > models.means.shape[1]:
            models = models.split()
        _, slots, _, _ = _align_states(models, graphs, features)
        models = _estimate(frames, np.concatenate(slots), models)
    return models


def align(models, utterances):
    """Find the words and phones of utterances.

    Parameters
    ----------
    models : PhoneModels
    utterances : sequence of apps.corpus.Utterance
        With cepstra and transcripts.

    Returns
    -------
    list of tuple of AlignedWord
        Per utterance, in the order of its words.
    """
    graphs = [_Graph(utterance.words) for utterance in utterances]
    features = [part * models.scale for part in _features(utterances)]
    paths, _, own, best = _align_states(models, graphs, features)
    return [
        _words(utterance.words, graph, *rest)
        for utterance, graph, *rest in zip(utterances, graphs, paths, own, best, strict=True)
    ]


def _words(words, graph, path, own, best):
    spoken, phone = graph.words[path], graph.phones[path]
    result = []
    for index, word in enumerate(words):
        frames = np.flatnonzero(spoken == index)
        begin, end = int(frames[0]), int(frames[-1]) + 1
        edges = [begin, *(begin + 1 + np.flatnonzero(np.diff(phone[begin:end]))), end]
        phones = tuple(
            (int(graph.emits[path[first]]) // STATES, int(first), int(last))
            for first, last in itertools.pairwise(edges)
        )
        score = float(np.mean(own[begin:end] - best[begin:end]))
        result.append(AlignedWord(word, begin, end, phones, score, float(np.mean(own[begin:end]))))
    return tuple(result)
