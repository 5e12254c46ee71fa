# SPDX-License-Identifier: MIT
"""What a training run is judged by: development utterances and strings, never test splits."""

import functools
from dataclasses import dataclass

import numpy as np

from apps.corpus import data_folder
from apps.evaluate.strings import CONDITIONS, StringMaker
from training import augment
from training.bank import clip_of
from training.corpus import dev_set, is_digit_string, is_sentence, withheld_set
from training.features import append_quiet, cepstra_of, network_features
from training.labels import LABELS, digits_of, label_of

STRINGS_SEED = 20261121
STRINGS_COUNT = 150
SNR_DB = {"clean": None, "20db": 20.0, "10db": 10.0}


@dataclass(frozen=True, eq=False)
class DevItem:
    """One signal to recognize.

    Attributes
    ----------
    name : str
        For messages.
    digits : list of str
        What a recognizer should report: the digit words, others left out.
    cepstra : numpy.ndarray
        float32 [shape=(frames, 13)], without the quiet frames of the end.
    """

    name: str
    digits: list
    cepstra: np.ndarray

    @property
    def duration_s(self):
        """Length in seconds."""
        return len(self.cepstra) / 100

    def features(self):
        """Return float32 [shape=(steps, 78)] as the recognizer sees it, end included."""
        return network_features(append_quiet(self.cepstra))


def _item(utterance, digits=None, speed=1.0):
    cepstra = utterance.cepstra
    if cepstra is None:
        samples = utterance.samples
        if speed != 1.0:
            samples, _ = augment.reshape(None, samples, speed)
        cepstra = cepstra_of(samples)
    return DevItem(utterance.key, digits_of(utterance.words) if digits is None else digits, cepstra)


def digit_words(name, speeds=(1.0,)):
    """Return single words.

    Parameters
    ----------
    name : str
        "fsdd", "sc_digits" or "audiomnist_subset".
    speeds : tuple of float
        Each recording is there once at every speed (and pitch), which makes more of few recordings.

    Returns
    -------
    list of DevItem
    """
    return [_item(utterance, speed=speed) for speed in speeds for utterance in dev_set(name)]


def an4(digits_only):
    """Return AN4 development utterances: all, or those of digit words only.

    Parameters
    ----------
    digits_only : bool

    Returns
    -------
    list of DevItem
    """
    return [_item(u) for u in dev_set("an4_mfcc") if is_digit_string(u) or not digits_only]


def rejected(name, speeds=(1.0,)):
    """Return signals in which no digit should be heard.

    Parameters
    ----------
    name : str
        "sc_words" (other words), "nondigit_speech" (key words; its sentences may hold number
        words and are left out) or "esc10_noise".
    speeds : tuple of float
        As for `digit_words`.

    Returns
    -------
    list of DevItem
    """
    return [_item(u, [], speed) for speed in speeds for u in dev_set(name) if not is_sentence(u)]


@functools.cache
def _string_voices():
    voices = {}
    for utterance in dev_set("fsdd"):
        voices.setdefault("fsdd " + utterance.speaker, []).append(utterance)
    # Speakers of Speech Commands said few words each: one voice of all of them.
    voices["sc_digits"] = list(dev_set("sc_digits"))
    return [[clip_of(u, tuple(label_of(w) for w in u.words))[0] for u in clips] for clips in voices.values()]


@functools.cache
def strings(condition, count=STRINGS_COUNT):
    """Return strings of three to seven digits put together from development clips.

    The same strings in every condition and every run; half from FSDD (whose speakers are known
    from training), half from unknown speakers of Speech Commands.

    Parameters
    ----------
    condition : str
        "clean", "20db" or "10db": speech to noise ratio; the noise is pink or white by turns.
    count : int

    Returns
    -------
    list of DevItem
    """
    *fsdd, crowd = _string_voices()
    items = []
    for index in range(count):
        rng = np.random.default_rng([STRINGS_SEED, index])
        clips = crowd if index % 2 else fsdd[rng.integers(len(fsdd))]
        chosen = [clips[rng.integers(len(clips))] for _ in range(rng.integers(3, 8))]
        pieces = [np.zeros(int(rng.uniform(0.05, 0.3) * 16000), np.float32)]
        for clip in chosen:
            pieces.append(clip.cut(clip.begin, clip.end))
            pieces.append(np.zeros(int(rng.uniform(0.03, 0.4) * 16000), np.float32))
        samples = np.concatenate(pieces)
        if SNR_DB[condition] is not None:
            noise = augment.colored_noise([STRINGS_SEED, index], len(samples), -(index // 2 % 2))
            samples += noise * np.float32(10 ** (-SNR_DB[condition] / 20))
        samples *= np.float32(10 ** (rng.uniform(-40, -20) / 20))
        np.clip(samples, -1, 1, out=samples)
        samples = np.rint(samples * 32767) * np.float32(1 / 32768)
        digits = [LABELS[label] for clip in chosen for label in clip.labels]
        items.append(DevItem(f"strings:{condition}:{index}", digits, cepstra_of(samples)))
    return items


@functools.cache
def crowd_strings(condition):
    """Return strings of all ten digits in unknown voices: those of dev and the withheld ones of Speech Commands.

    Parameters
    ----------
    condition : str
        One of `apps.evaluate.strings.CONDITIONS`.

    Returns
    -------
    list of DevItem
    """
    maker = StringMaker(data_folder(), "dev", dev_set("sc_digits") + withheld_set("sc_digits"))
    utterances = [string.utterance() for string in maker.strings(condition)]
    return [_item(utterance) for utterance in utterances]


def all_sets(withheld=False, speeds=(1.0,)):
    """Return every development set.

    Parameters
    ----------
    withheld : bool
        With what withheld speakers said: for networks that were trained without them.
    speeds : tuple of float
        Of the words and noises of the crowd, whose sets are small; see `digit_words`.

    Returns
    -------
    dict of str to list of DevItem
        Names beginning with "reject_" hold signals without digits.
    """
    sets = {
        "fsdd": digit_words("fsdd"),
        "sc_digits": digit_words("sc_digits", speeds),
        "audiomnist": digit_words("audiomnist_subset"),
        "an4": an4(digits_only=False),
        "an4_digits": an4(digits_only=True),
    }
    sets.update({f"strings_{name}": strings(name) for name in SNR_DB})
    for name in ("sc_words", "nondigit_speech", "esc10_noise"):
        sets[f"reject_{name}"] = rejected(name, speeds)
    if withheld:
        sets["withheld"] = [_item(u, speed=v) for v in speeds for u in withheld_set("sc_digits")]
        sets.update({f"crowd_{name}": crowd_strings(name) for name in CONDITIONS})
        sets["reject_withheld"] = [_item(u, [], v) for v in speeds for u in withheld_set("sc_words")]
    return sets
