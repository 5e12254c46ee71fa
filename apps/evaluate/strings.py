# SPDX-License-Identifier: MIT
"""Strings of digits put together from single words of unknown speakers (sc_digits), clean and in noise.

The same strings in every condition and every run: each has a random generator of its own, seeded by
`SEED` and its number.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from apps.corpus import SAMPLE_RATE, CorpusError, Utterance, read_split
from apps.evaluate.endpoints import find_word
from apps.evaluate.noise import NoiseRecordings, rms, white

SEED = 20261122
COUNT = 150
SET = "sc_digits"
CONDITIONS = ("clean", "white", "babble", "household")
SNR_DB = 10.0  # of the noisy conditions

FEWEST_WORDS, MOST_WORDS = 3, 7
# A speaker is a voice of strings if there are this many different words of the speaker; every other string
# is of one such voice, the rest is drawn from all speakers word by word.
FEWEST_DIFFERENT = 3

_LEAD_S = (0.3, 0.6)
_GAP_S = (0.03, 0.4)  # beside the faint margins that a cut word keeps
_TAIL_S = 0.6  # an event later than this comes at the end of the signal
_FLOOR_DB = -50.0  # noise of the quiet room, below the speech
_LEVEL_DBFS = (-40.0, -20.0)  # root mean square of the speech
_FADE = np.linspace(0, 1, 80, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class DigitString:
    """A string.

    Attributes
    ----------
    number : int
    condition : str
        One of `CONDITIONS`.
    split, speaker : str
        `speaker`: "several" if it is of several voices.
    words : tuple of str
    ends : tuple of int
        Sample at which each word ends, by its energy.
    samples : numpy.ndarray
        float32 [shape=(n,)] at 16 kHz, full scale 1.0, not rounded to 16 bits.
    """

    number: int
    condition: str
    split: str
    speaker: str
    words: tuple
    ends: tuple
    samples: np.ndarray = field(repr=False)

    def utterance(self, samples=None):
        """Return it as a recording of 16 bits.

        Parameters
        ----------
        samples : float32 [shape=(n,)], optional
            Other samples, such as its own at another level.

        Returns
        -------
        apps.corpus.Utterance
        """
        return Utterance(
            corpus=f"strings_{self.condition}",
            row=self.number,
            words=self.words,
            speaker=self.speaker,
            split=self.split,
            source=f"seed {SEED}",
            take=str(self.number),
            pcm=to_16_bits(self.samples if samples is None else samples),
        )


def to_16_bits(samples):
    """Round float samples of full scale 1.0 to int16; what exceeds full scale is clipped."""
    return np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype(np.int16)


@dataclass(frozen=True, eq=False)
class _Clip:
    word: str
    samples: np.ndarray  # float32, root mean square 1, faded
    end: int  # of the loud part


def _clip(utterance):
    samples = utterance.samples
    begin, end, _ = find_word(samples)
    loud_end = find_word(samples, after=0)[1]
    cut = samples[begin:end] / np.float32(rms(samples[begin:end]))
    cut[: len(_FADE)] *= _FADE[: len(cut)]
    cut[-len(_FADE) :] *= _FADE[::-1][-len(cut) :]
    return _Clip(utterance.words[0], cut, min(loud_end, end) - begin)


def _by_word(clips):
    groups = {}
    for clip in clips:
        groups.setdefault(clip.word, []).append(clip)
    return [groups[word] for word in sorted(groups)]


class StringMaker:
    """Makes the strings of one split.

    Parameters
    ----------
    data : path
        Folder of all sets.
    split : str
        As `apps.corpus.read_split`.
    utterances : sequence of apps.corpus.Utterance, optional
        Single digit words to make strings of, instead of those of the split in sc_digits.

    Attributes
    ----------
    noise : apps.evaluate.noise.NoiseRecordings
        Of the same split.

    Raises
    ------
    apps.corpus.CorpusError
        Nothing to make strings of.
    """

    def __init__(self, data, split, utterances=None):
        self._split = split
        self.noise = NoiseRecordings(Path(data), split)
        speakers = {}
        for utterance in read_split(Path(data) / SET, split) if utterances is None else utterances:
            speakers.setdefault(utterance.speaker, []).append(_clip(utterance))
        self._crowd = _by_word(clip for clips in speakers.values() for clip in clips)
        voices = ((name, _by_word(speakers[name])) for name in sorted(speakers))
        self._voices = [(name, words) for name, words in voices if len(words) >= FEWEST_DIFFERENT]
        if not self._voices:
            raise CorpusError(
                f"{Path(data) / SET}: no speaker of split {split!r} said {FEWEST_DIFFERENT} different words; "
                "strings cannot be made"
            )

    def make(self, condition, number):
        """Make one string.

        Parameters
        ----------
        condition : str
            One of `CONDITIONS`.
        number : int

        Returns
        -------
        DigitString
        """
        rng = np.random.default_rng([SEED, number])
        speaker, words = "several", self._crowd
        if number % 2 == 0:
            speaker, words = self._voices[rng.integers(len(self._voices))]
        pieces = [np.zeros(round(rng.uniform(*_LEAD_S) * SAMPLE_RATE), np.float32)]
        at = len(pieces[0])
        spoken, ends = [], []
        for _ in range(rng.integers(FEWEST_WORDS, MOST_WORDS + 1)):
            group = words[rng.integers(len(words))]
            clip = group[rng.integers(len(group))]
            gap = np.zeros(round(rng.uniform(*_GAP_S) * SAMPLE_RATE), np.float32)
            pieces += [clip.samples, gap]
            spoken.append(clip.word)
            ends.append(at + clip.end)
            at += len(clip.samples) + len(gap)
        pieces.append(np.zeros(round(_TAIL_S * SAMPLE_RATE), np.float32))
        samples = np.concatenate(pieces)
        samples += white(rng, len(samples)) * np.float32(10 ** (_FLOOR_DB / 20))
        level_db = rng.uniform(*_LEVEL_DBFS)
        if condition != "clean":
            noise_rng = np.random.default_rng([SEED, number, CONDITIONS.index(condition)])
            draw = {"white": white, "babble": self.noise.babble, "household": self.noise.household}
            samples += draw[condition](noise_rng, len(samples)) * np.float32(10 ** (-SNR_DB / 20))
        samples *= np.float32(10 ** (level_db / 20))
        return DigitString(
            number, condition, self._split, speaker, tuple(spoken), tuple(ends), np.clip(samples, -1, 1)
        )

    def strings(self, condition, count=COUNT):
        """Make the first `count` strings of a condition; returns a list of DigitString."""
        return [self.make(condition, number) for number in range(count)]
