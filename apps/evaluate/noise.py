# SPDX-License-Identifier: MIT
"""Noise to mix with speech: white, babble of voices that say no digit, household sounds."""

import functools

import numpy as np

from apps.corpus import SAMPLE_RATE, read_split
from apps.evaluate.endpoints import find_word

BABBLE_VOICES = 6

# Recordings of steady noise: these are no household sounds.
_STEADY = ("white_noise", "pink_noise")
# Quieter stretches of a recording are padding, not noise.
_QUIETEST_RMS = 1e-4


def rms(samples):
    """Return the root mean square of a float array, never zero."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) + 1e-20))


def white(rng, count):
    """Make white noise.

    Parameters
    ----------
    rng : numpy.random.Generator
    count : int
        Samples.

    Returns
    -------
    float32 [shape=(count,)]
        RMS 1.
    """
    return rng.standard_normal(count, dtype=np.float32)


class NoiseRecordings:
    """Recordings of one split to draw noise from.

    Parameters
    ----------
    data : pathlib.Path
        Folder of all sets: sc_words, nondigit_speech, esc10_noise and sc_background_noise are used.
    split : str
        As `apps.corpus.read_split`.
    """

    def __init__(self, data, split):
        self._data = data
        self._split = split

    @functools.cached_property
    def speech(self):
        """list of float32 arrays : words and phrases that are no digits, without the pauses around, RMS 1."""
        clips = []
        for name in ("sc_words", "nondigit_speech"):
            for utterance in read_split(self._data / name, self._split):
                samples = utterance.samples
                begin, end, _ = find_word(samples)
                clips.append(samples[begin:end] / np.float32(rms(samples[begin:end])))
        return clips

    @functools.cached_property
    def _sounds(self):
        utterances = []
        for name in ("esc10_noise", "sc_background_noise"):
            utterances += read_split(self._data / name, self._split)
        return [u.samples for u in utterances if u.words[0] not in _STEADY]

    def babble(self, rng, count):
        """Mix voices that talk without end; parameters and result as `white`."""
        mixed = np.zeros(count, np.float32)
        for _ in range(BABBLE_VOICES):
            # Each begins somewhere within its first clip.
            at = -int(rng.integers(SAMPLE_RATE))
            while at < count:
                clip = self.speech[rng.integers(len(self.speech))]
                begin, end = max(0, at), min(count, at + len(clip))
                if begin < end:
                    mixed[begin:end] += clip[begin - at : end - at]
                at += len(clip) + int(rng.uniform(0.0, 0.2) * SAMPLE_RATE)
        return mixed / np.float32(rms(mixed))

    def household(self, rng, count):
        """Take a stretch of one recording, repeated if it is too short; parameters and result as `white`."""
        while True:
            sound = self._sounds[rng.integers(len(self._sounds))]
            noise = np.take(sound, np.arange(count) + rng.integers(len(sound)), mode="wrap")
            level = rms(noise)
            if level > _QUIETEST_RMS:
                return noise / np.float32(level)
