# SPDX-License-Identifier: MIT
"""Single words of AN4, and strings put together of them as cepstra.

Words are added as energies in the smoothed log-mel spectrum that thirteen cepstra are (see
`training.cepstral`), and what is between them is the quiet of the same speaker.
"""

import collections
import functools
import itertools
from dataclasses import dataclass, field

import numpy as np

from training.align import an4_alignment
from training.bank import Voice
from training.cepstral import LN_PER_DB, cepstrum_matrices, stretch
from training.corpus import training_set
from training.labels import BLANK, UNKNOWN, label_of
from training.mined import read_mined

FRAMES_PER_S = 100

# A word is left out if its length is outside these, relative to the median of that word, or its score
# this far below its median. Cut out and recognized alone, digits that score 2 or more below zero are
# missed three times as often as the others. Medians of rare words are not relied upon.
LENGTHS = (0.5, 2.0)
LEAST_SCORE = -3.0
RARE = 6
LENGTHS_OF_RARE = (8, 100)  # frames
LEAST_SCORE_OF_RARE = -6.0
LEAST_LABELS = 4  # different ones, of a speaker who speaks strings alone

_QUIET_PERCENTILE = 50  # of the level of a speaker's frames between words
_QUIET_MARGIN = 4  # frames from the nearest word
_LEAST_QUIET = 20  # frames


@dataclass(frozen=True, eq=False)
class CepstralWord:
    """A word in the cepstra of an utterance.

    Attributes
    ----------
    cepstra : numpy.ndarray
        float32 [shape=(frames, 13)], of the whole utterance.
    word : str
    label : int
        Output.
    begin, end : int
        Frames of the word.
    first, last : int
        Frames that may be cut out with it: up to the words beside it.
    gain : float
        Factor on energies that brings the loudest tenth of the word to 1.
    score : float
        Of the alignment; see `training.phone_models.AlignedWord`.
    key : str
        Of the utterance, and the place of the word in it.
    """

    cepstra: np.ndarray = field(repr=False)
    word: str
    label: int
    begin: int
    end: int
    first: int
    last: int
    gain: float
    score: float
    key: str = ""


@dataclass(frozen=True, eq=False)
class CepstralVoice:
    """Words of one speaker, or of all.

    Attributes
    ----------
    digits : Voice
        `CepstralWord` per digit; `weights` make digits alike in number over all speakers.
    unknown : Voice
        Other words.
    quiet : numpy.ndarray
        float32 [shape=(frames, 13)], cepstra between words.
    """

    digits: Voice
    unknown: Voice
    quiet: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class CepstralWords:
    """What strings of AN4 words are made of: `speakers` (list of CepstralVoice), `pool` (all)."""

    speakers: list
    pool: CepstralVoice


def _energies(cepstra):
    return np.exp(cepstra @ cepstrum_matrices()[1])


def _words_of(utterance, aligned):
    # Neighbors bound what may be cut out; without a pause between them that is the word itself.
    ends = [0, *(word.end for word in aligned)]
    begins = [*(word.begin for word in aligned), len(utterance.cepstra)]
    for index, found in enumerate(aligned):
        loudness = _energies(utterance.cepstra[found.begin : found.end]).mean(axis=1)
        yield CepstralWord(
            utterance.cepstra,
            found.word,
            label_of(found.word),
            found.begin,
            found.end,
            ends[index],
            begins[index + 1],
            float(1 / np.percentile(loudness, 90)),
            found.score,
            f"{utterance.key}:{index}",
        )


def _usable(words):
    """Return those of all words that are worth cutting out, as a list."""
    usable = []
    for group in _grouped(words, lambda word: word.word).values():
        lengths = np.array([word.end - word.begin for word in group])
        scores = np.array([word.score for word in group])
        if len(group) < RARE:
            (low, high), least = LENGTHS_OF_RARE, LEAST_SCORE_OF_RARE
        else:
            low, high = np.array(LENGTHS) * np.median(lengths)
            least = np.median(scores) + LEAST_SCORE
        kept = (low <= lengths) & (lengths <= high) & (scores >= least)
        usable.extend(itertools.compress(group, kept))
    return usable


def _quiet_of(recordings):
    kept = []
    for utterance, aligned in recordings:
        between = np.ones(len(utterance.cepstra), bool)
        for word in aligned:
            between[max(0, word.begin - _QUIET_MARGIN) : word.end + _QUIET_MARGIN] = False
        kept.append(utterance.cepstra[between])
    frames = np.concatenate(kept)
    if len(frames) < _LEAST_QUIET:
        frames = np.concatenate([utterance.cepstra for utterance, _ in recordings])
        return frames[np.sort(np.argsort(frames[:, 0])[:_LEAST_QUIET])]
    return frames[frames[:, 0] <= np.percentile(frames[:, 0], _QUIET_PERCENTILE)]


def _grouped(words, key):
    groups = {}
    for word in words:
        groups.setdefault(key(word), []).append(word)
    return groups


def _voice(words, quiet, speakers_of):
    digits = _grouped((w for w in words if w.label != UNKNOWN), lambda w: w.label)
    unknown = _grouped((w for w in words if w.label == UNKNOWN), lambda w: w.word)
    # A digit that few speakers said is drawn the more often from these.
    weights = np.array([1 / speakers_of[label] for label in digits])
    balanced = Voice(list(digits.values()), np.cumsum(weights) / weights.sum())
    return CepstralVoice(balanced, Voice.of(unknown.values()), quiet)


@functools.cache
def load_an4_words(hard="", hard_weight=0.0):
    """Cut out the words of AN4; once per process, after `an4_alignment`.

    Parameters
    ----------
    hard, hard_weight
        As for `training.bank.load_bank`.

    Returns
    -------
    CepstralWords
    """
    recordings = list(zip(training_set("an4_mfcc"), an4_alignment(), strict=True))
    speaker_of = {id(utterance.cepstra): utterance.speaker for utterance, _ in recordings}
    words = _usable([word for recording in recordings for word in _words_of(*recording)])
    keyed = read_mined(hard).repeated(((word.key, word) for word in words), hard_weight)
    words = [word for _, word in keyed]
    words_by = _grouped(words, lambda word: speaker_of[id(word.cepstra)])
    speakers_of = collections.Counter(
        label for said in words_by.values() for label in {word.label for word in said}
    )
    speakers = []
    for name, said in words_by.items():
        labels = {word.label for word in said}
        if len(labels) >= LEAST_LABELS and UNKNOWN in labels:
            quiet = _quiet_of([recording for recording in recordings if recording[0].speaker == name])
            speakers.append(_voice(said, quiet, speakers_of))
    quiet = np.concatenate([voice.quiet for voice in speakers])
    return CepstralWords(speakers, _voice(words, quiet, dict.fromkeys(speakers_of, 1)))


def draw_words(rng, config):
    """Draw the words of a string.

    Parameters
    ----------
    rng : numpy.random.Generator
    config : training.strings.StringsConfig

    Returns
    -------
    words : list of CepstralWord
    quiet : numpy.ndarray
        float32 [shape=(frames, 13)], of the first speaker.
    """
    bank = load_an4_words(config.hard, config.hard_weight)
    voice = speaker = bank.speakers[rng.integers(len(bank.speakers))]
    if rng.random() >= config.an4_words_one_voice:
        voice = bank.pool
    draw = rng.random()
    unknown = 0.0
    if draw < config.an4_words_unknown:
        unknown = 1.0
    elif draw < config.an4_words_unknown + config.an4_words_mixed:
        unknown = config.an4_words_mixed_word
    count = 1 if rng.random() < config.an4_words_isolated else int(rng.integers(2, config.most_words + 1))
    words = [(voice.unknown if rng.random() < unknown else voice.digits).draw(rng) for _ in range(count)]
    return words, speaker.quiet


def join_words(rng, words, quiet, config):
    """Put words one after the other.

    Parameters
    ----------
    rng : numpy.random.Generator
    words : list of CepstralWord
    quiet : numpy.ndarray
        float32 [shape=(frames, 13)]: what is heard between them, in order.
    config : training.strings.StringsConfig

    Returns
    -------
    cepstra : numpy.ndarray
        float32 [shape=(frames, 13)].
    frame_targets : numpy.ndarray
        int8 [shape=(frames,)]: label from the middle of a word to 50 ms after its end.
    quiet_frames : int
        Frames behind the last word.
    """
    alone = len(words) == 1
    level = words[0].gain  # all words are brought to the loudness of the first
    overlapping = rng.random() < config.overlapping
    at = 0 if rng.random() < config.abrupt else int(rng.uniform(0.03, 0.5) * FRAMES_PER_S)
    pieces, spans = [], []
    for index, word in enumerate(words):
        context = 3 if rng.random() < config.tight else 20
        first = max(word.first, word.begin - int(rng.integers(context + 1)))
        last = min(word.last, word.end + int(rng.integers(context + 1)))
        piece = _energies(word.cepstra[first:last])
        begin, end = word.begin - first, word.end - first
        if alone:
            # People say a single word more slowly than the words of a string.
            piece = stretch(piece, rng.uniform(*config.an4_words_tempo))
            factor = len(piece) / (last - first)
            begin, end = int(begin * factor), max(int(end * factor), int(begin * factor) + 1)
        piece = piece * np.float32(word.gain / level * np.exp(LN_PER_DB * rng.uniform(-3, 3)))
        if index:
            if overlapping and rng.random() < 0.7:
                at -= int(rng.uniform(0, config.overlap_s) * FRAMES_PER_S)
                at = max(at, spans[-1][0] + 5)  # not before the word ahead of it
            else:
                at += int(rng.uniform(*config.gap_s) * FRAMES_PER_S)
        pieces.append((at, piece))
        spans.append((at + begin, at + end, word.label))
        at += len(piece)
    longest = 0.05 if rng.random() < 0.35 else 0.5
    frames = max(at + len(piece) for at, piece in pieces) + int(rng.uniform(0, longest) * FRAMES_PER_S)
    energy = np.zeros((frames, pieces[0][1].shape[1]), np.float32)
    covered = np.zeros(frames, np.float32)
    for at, piece in pieces:
        fade = _fade(len(piece))
        energy[at : at + len(piece)] += piece * fade[:, None]
        covered[at : at + len(piece)] += fade
    around = np.take(quiet, np.arange(frames) + rng.integers(len(quiet)), axis=0, mode="wrap")
    energy += _energies(around) * np.maximum(1 - covered, 0)[:, None]
    targets = np.full(frames, BLANK, np.int8)
    for begin, end, label in spans:
        targets[(begin + end) // 2 : end + 5] = label
    cepstra = np.log(energy) @ cepstrum_matrices()[0]
    return cepstra, targets, frames - max(end for _, end, _ in spans)


def _fade(count):
    # Two frames at each end, so that the edges of a cut do not show in the deltas.
    fade = np.ones(count, np.float32)
    for index, share in enumerate((1 / 3, 2 / 3)[: count // 2]):
        fade[index] = fade[count - 1 - index] = share
    return fade
