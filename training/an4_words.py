# SPDX-License-Identifier: MIT
"""Single words of AN4, and strings put together of them as cepstra.

Words are added as energies in the smoothed log-mel spectrum that thirteen cepstra are (see
`training.cepstral`), and what is between them is the quiet of the same speaker.
"""

import functools
from dataclasses import dataclass, field

import numpy as np

from training.align import an4_alignment
from training.bank import Voice
from training.cepstral import LN_PER_DB, cepstrum_matrices, stretch
from training.corpus import training_set
from training.labels import BLANK, UNKNOWN, label_of

FRAMES_PER_S = 100

# A word is left out if its score is below this, or its length relative to the median of the word
# outside these; medians of rare words are not relied upon.
LEAST_SCORE = -5.0
LENGTHS = (0.5, 2.0)
LENGTHS_RARE = (8, 100)  # frames
RARE = 6

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
    """

    cepstra: np.ndarray = field(repr=False)
    word: str
    label: int
    begin: int
    end: int
    first: int
    last: int
    gain: float


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
    edges = [0, *(word.end for word in aligned)], [*(word.begin for word in aligned), len(utterance.cepstra)]
    for index, found in enumerate(aligned):
        loudness = _energies(utterance.cepstra[found.begin : found.end]).mean(axis=1)
        yield (
            found,
            CepstralWord(
                utterance.cepstra,
                found.word,
                label_of(found.word),
                found.begin,
                found.end,
                edges[0][index],
                edges[1][index + 1],
                float(1 / np.percentile(loudness, 90)),
            ),
        )


def _is_usable(found, lengths):
    length = found.end - found.begin
    low, high = LENGTHS_RARE
    if len(lengths) >= RARE:
        low, high = np.array(LENGTHS) * np.median(lengths)
    return low <= length <= high and found.score >= LEAST_SCORE


def _quiet_of(utterances, alignments):
    kept = []
    for utterance, aligned in zip(utterances, alignments, strict=True):
        between = np.ones(len(utterance.cepstra), bool)
        for word in aligned:
            between[max(0, word.begin - _QUIET_MARGIN) : word.end + _QUIET_MARGIN] = False
        kept.append(utterance.cepstra[between])
    frames = np.concatenate(kept)
    if len(frames) < _LEAST_QUIET:
        frames = np.concatenate([utterance.cepstra for utterance in utterances])
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
def load_an4_words():
    """Cut out the words of AN4; once per process, after `an4_alignment`.

    Returns
    -------
    CepstralWords
    """
    utterances, alignments = training_set("an4_mfcc"), an4_alignment()
    lengths = {}
    for found in (word for aligned in alignments for word in aligned):
        lengths.setdefault(found.word, []).append(found.end - found.begin)
    said = {}
    for utterance, aligned in zip(utterances, alignments, strict=True):
        words = [
            word for found, word in _words_of(utterance, aligned) if _is_usable(found, lengths[found.word])
        ]
        rows = said.setdefault(utterance.speaker, ([], [], []))
        rows[0].append(utterance)
        rows[1].append(aligned)
        rows[2].extend(words)
    speakers_of = {}
    for _, _, words in said.values():
        for label in {word.label for word in words}:
            speakers_of[label] = speakers_of.get(label, 0) + 1
    speakers, everything = [], []
    for rows in said.values():
        words, quiet = rows[2], _quiet_of(*rows[:2])
        everything.extend(words)
        if len({word.label for word in words}) >= 4 and UNKNOWN in {word.label for word in words}:
            speakers.append(_voice(words, quiet, speakers_of))
    quiet = np.concatenate([voice.quiet for voice in speakers])
    return CepstralWords(speakers, _voice(everything, quiet, dict.fromkeys(speakers_of, 1)))


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
    bank = load_an4_words()
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
