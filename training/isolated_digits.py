# SPDX-License-Identifier: MIT
"""Digits said alone by many voices, each in several changed copies: network inputs that all runs share.

Free Spoken Digit has six speakers. Whom a network is to recognize it must not have heard, so that five are left to train
on, and those who said a digit in other sets: few of them all ten. Digits cut out of AN4 and synthetic voices fill in.
"""

import dataclasses
import fcntl
import functools
import hashlib
import json
import shutil

import numpy as np

from apps.corpus import read_set
from apps.evaluate.endpoints import find_word
from training import telephone
from training.bank import LEAST_CONTRAST_DB
from training.cepstral import STANDARD
from training.corpus import PROMPT_VOICES, is_usable
from training.synthesize import worker_pool
from training.synthetic_speech import read_speech

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FSDD_SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")

# Changed copies of each recording, by set: the more the fewer there are.
COPIES = {
    "fsdd": 6,
    "audiomnist_subset": 6,
    "sc_digits": 4,
    "prompt_digits": 30,
    "an4_mfcc": 4,
    "synthetic": 3,
}
DEV_SETS = ("sc_digits", "audiomnist_subset")  # speakers of their dev splits are never trained on
_SEED = 7


@dataclasses.dataclass(frozen=True, eq=False)
class DigitClip:
    """A recording of one digit.

    Attributes
    ----------
    source : str
        Set, or "synthetic".
    speaker : str
    digit : int
    split : str
        "train", "dev" or "test".
    sound : numpy.ndarray or training.an4_words.CepstralWord
        Samples [shape=(samples,)] at 16 kHz, int16 or float32; AN4 exists as cepstra alone.
    trim : bool
        There may be silence around the word.
    """

    source: str
    speaker: str
    digit: int
    split: str
    sound: object = dataclasses.field(repr=False)
    trim: bool = True

    @property
    def samples(self):
        """float32 [shape=(samples,)], full scale 1."""
        if self.sound.dtype == np.int16:
            return self.sound.astype(np.float32) * np.float32(1 / 32768)
        return self.sound


def read_clips(synthetic=None):
    """Read all recordings of single digits but the test splits of sets other than Free Spoken Digit.

    Parameters
    ----------
    synthetic : path, optional
        Folder of synthetic speech (`python -m training.synthesize`); without by default.

    Returns
    -------
    list of DigitClip
        Those of Free Spoken Digit are all of it: which are a test is the business of who leaves a speaker out.

    Raises
    ------
    apps.corpus.CorpusError
    """
    from training.an4_words import load_an4_words

    clips = []
    for name in ("fsdd", "audiomnist_subset", "sc_digits", "prompt_digits"):
        splits = ("train", "dev", "test") if name == "fsdd" else ("train", "dev")
        for u in read_set(name, splits):
            if u.words[0] not in WORDS or (name == "prompt_digits" and u.speaker not in PROMPT_VOICES):
                continue
            if name == "sc_digits" and u.split == "train":
                if not is_usable(u) or find_word(u.samples)[2] < LEAST_CONTRAST_DB:
                    continue
            clips.append(
                DigitClip(name, u.speaker, WORDS.index(u.words[0]), u.split, u.pcm, trim=name != "fsdd")
            )
    for group in load_an4_words().pool.digits.clips:
        for word in group:
            if word.word in WORDS:
                clips.append(DigitClip("an4_mfcc", "", WORDS.index(word.word), "train", word))
    for said in read_speech(synthetic) if synthetic else ():
        if said.kind == "digit" and said.words[0] in WORDS:
            clips.append(DigitClip("synthetic", said.voice, WORDS.index(said.words[0]), "train", said.pcm))
    return clips


@dataclasses.dataclass(frozen=True, eq=False)
class DigitFeatures:
    """Network inputs of many changed copies of words.

    Attributes
    ----------
    frames : numpy.ndarray
        float16 [shape=(frames, 78)], all words one after the other; a read-only map of a file.
    ends : numpy.ndarray
        int64 [shape=(words + 1,)]: word i has the frames from ends[i] to ends[i + 1].
    digits : numpy.ndarray
        int64 [shape=(words,)].
    sources, speakers : numpy.ndarray
        str [shape=(words,)].
    """

    frames: np.ndarray
    ends: np.ndarray
    digits: np.ndarray
    sources: np.ndarray
    speakers: np.ndarray

    @property
    def lengths(self):
        """int64 [shape=(words,)], steps."""
        return np.diff(self.ends)

    def inputs(self, word):
        """Return the network inputs of a word: float32 [shape=(steps, 78)]."""
        return self.frames[self.ends[word] : self.ends[word + 1]].astype(np.float32)


def recorded_features(clips):
    """Return the network inputs of recordings as they are.

    Parameters
    ----------
    clips : list of DigitClip
        None of AN4.

    Returns
    -------
    inputs : list of numpy.ndarray
        float32 [shape=(steps, 78)].
    digits : numpy.ndarray
        int64 [shape=(clips,)].
    """
    inputs = [telephone.word_features(clip.samples, clip.trim) for clip in clips]
    return inputs, np.array([clip.digit for clip in clips], np.int64)


def _changed(numbered, changes):
    number, clip = numbered
    rngs = [np.random.default_rng([_SEED, number, copy]) for copy in range(COPIES[clip.source])]
    if clip.source == "an4_mfcc":
        features = [telephone.changed_cepstral_features(rng, clip.sound, STANDARD, changes) for rng in rngs]
    else:
        features = [telephone.changed_features(rng, clip.samples, clip.trim, changes) for rng in rngs]
    return number, [part.astype(np.float16) for part in features]


def _write(folder, clips, changes, processes):
    with worker_pool(processes) as run:
        tasks = list(enumerate(clips))
        made = dict(run(functools.partial(_changed, changes=changes), tasks))
    copies = [(clip, features) for number, clip in enumerate(clips) for features in made[number]]
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    np.save(part / "frames.npy", np.concatenate([features for _, features in copies]))
    np.savez(
        part / "words.npz",
        ends=np.cumsum([0, *(len(features) for _, features in copies)]),
        digits=np.array([clip.digit for clip, _ in copies], np.int64),
        sources=np.array([clip.source for clip, _ in copies]),
        speakers=np.array([clip.speaker for clip, _ in copies]),
    )
    part.rename(folder)


def changed_copies(folder, clips, changes=None, processes=0):
    """Return changed copies of all recordings that may be trained on; made once, by the first process that asks.

    Parameters
    ----------
    folder : pathlib.Path
        Made if need be. The copies are kept in a folder in it whose name tells what they were made of.
    clips : list of DigitClip
    changes : training.telephone.Changes, optional
    processes : int
        That make them; 0: this one.

    Returns
    -------
    DigitFeatures
    """
    changes = changes or telephone.Changes()
    clips = [clip for clip in clips if clip.source == "fsdd" or clip.split == "train"]
    made_of = [[clip.source, clip.speaker, clip.digit] for clip in clips]
    settings = [_SEED, COPIES, dataclasses.astuple(changes), dataclasses.astuple(telephone.CONFIG), made_of]
    name = "digits-" + hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / name).exists():
            _write(folder / name, clips, changes, processes)
    frames = np.load(folder / name / "frames.npy", mmap_mode="r")
    with np.load(folder / name / "words.npz") as words:
        return DigitFeatures(frames, **words)
