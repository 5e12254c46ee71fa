# SPDX-License-Identifier: MIT
"""The clips that training examples are made of, loaded and measured once per process."""

import functools
import zlib
from dataclasses import dataclass, field

import numpy as np

from apps.corpus import read_folder
from apps.evaluate.endpoints import find_word
from training import augment
from training.corpus import is_sentence, training_set
from training.labels import UNKNOWN, label_of
from training.mined import read_mined
from training.synthetic_speech import read_speech

NOISE_SETS = ("sc_background_noise", "esc10_noise")
NOISE_BANK_SAMPLES = 60 * augment.SAMPLE_RATE
LEAST_CONTRAST_DB = 8  # a clip whose loudest frame stands out less holds no audible word


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip and where its word is.

    Attributes
    ----------
    pcm : numpy.ndarray
        int16 or float32 [shape=(samples,)] at 16 kHz.
    labels : tuple of int
        Outputs; several for a phrase.
    begin, end : int
        The word without the silence around it, samples.
    gain : float
        Factor that brings the word to RMS 1 (scale of int16 included).
    narrow : bool
        The recording holds nothing above 4 kHz or a little more.
    words : tuple of str
        What is said, one word per label; empty where no transcript is known.
    """

    pcm: np.ndarray
    labels: tuple
    begin: int
    end: int
    gain: float
    narrow: bool = False
    words: tuple = ()

    def cut(self, begin, end):
        """Return samples begin .. end as float32, the word at RMS 1."""
        return self.pcm[begin:end] * np.float32(self.gain)


@dataclass(frozen=True, eq=False)
class Voice:
    """Clips of one speaker, or of several that are drawn from as one.

    Attributes
    ----------
    clips : list of list of Clip
        Per word.
    weights : numpy.ndarray
        [shape=(words,)] cumulative probability of drawing the word: proportional to the fourth root of its
        count, so that rare words are neither lost nor worn out. A network that hears four of ten digits a
        hundred times as often from the crowd's microphones expects them there.
    """

    clips: list
    weights: np.ndarray

    @classmethod
    def of(cls, groups):
        weights = np.array([len(group) for group in groups]) ** 0.25
        return cls(list(groups), np.cumsum(weights) / np.sum(weights))

    def draw(self, rng):
        """Draw a clip."""
        word = min(int(np.searchsorted(self.weights, rng.random())), len(self.clips) - 1)
        group = self.clips[word]
        return group[rng.integers(len(group))]


@dataclass(frozen=True, eq=False)
class Bank:
    """Everything that examples are made of.

    Attributes
    ----------
    voices : dict of str to list of Voice
        Digits: set -> voices.
    guests : list of list of Clip
        Per digit word: clips of the sets that hold all words.
    donors : list of list of list of Clip
        Per digit word: its clips by who says them, the sets that hold all words, Kokoro or the crowd, to be
        put into a recording of the crowd; see `training.transplant`.
    unknown : Voice
        Words that are no digits.
    sentences : list of Clip
    noises : dict of str to list of numpy.ndarray
        Kind -> recordings, int16 or float32 [shape=(samples,)].
    cepstra : list of (numpy.ndarray, tuple of int, tuple of str)
        AN4: float32 [shape=(frames, 13)], labels and words.
    synthetic : list of Clip
        Synthetic words that are no digits, and phrases of such words.
    synthetic_strings : list of Clip
        Digits that a synthetic voice says in one breath.
    hard_digits, hard_words : list of Clip
        Synthetic digits, and words that are none, that a model mistook.
    talkers : list of list of Clip
        Speech without digits, by its source; see `training.babble`.
    foreign : list of Clip
        Phrases without an English digit, of `training.sounds`, whose other recordings are the noises "sounds".
    """

    voices: dict
    guests: list
    donors: list
    unknown: Voice
    sentences: list
    noises: dict
    cepstra: list = field(repr=False)
    synthetic: list = field(default_factory=list, repr=False)
    synthetic_strings: list = field(default_factory=list, repr=False)
    hard_digits: list = field(default_factory=list, repr=False)
    hard_words: list = field(default_factory=list, repr=False)
    talkers: list = field(default_factory=list, repr=False)
    foreign: list = field(default_factory=list, repr=False)


def clip_of(utterance, labels):
    """Find the word in a clip.

    Parameters
    ----------
    utterance : apps.corpus.Utterance
    labels : tuple of int

    Returns
    -------
    clip : Clip
    contrast_db : float
        How much the word stands out.
    """
    samples = utterance.samples
    begin, end, contrast = find_word(samples)
    scale = 1 / 32768 if utterance.pcm.dtype == np.int16 else 1.0
    gain = scale / augment.rms(samples[begin:end])
    narrow = utterance.pcm.dtype != np.int16  # resampled, hence recorded at 8 or 11.025 kHz
    words = () if is_sentence(utterance) else utterance.words
    return Clip(utterance.pcm, labels, begin, end, gain, narrow, words), contrast


def clips_of_set(name, withhold):
    """Yield the usable clips of a training set of single words.

    Parameters
    ----------
    name : str
    withhold : bool
        As for `load_bank`.

    Yields
    ------
    (apps.corpus.Utterance, Clip)
    """
    for utterance in training_set(name, withhold):
        labels = tuple(label_of(word) for word in utterance.words)
        clip, contrast = clip_of(utterance, labels)
        # Only the crowd's clips have silence around the word by which to judge them.
        if contrast >= LEAST_CONTRAST_DB or name not in ("sc_digits", "sc_words"):
            yield utterance, clip


def _grouped(pairs):
    groups = {}
    for key, clip in pairs:
        groups.setdefault(key, []).append(clip)
    return groups


def _voices_by_speaker(pairs, least_words):
    return _voices_by(lambda utterance: utterance.speaker, pairs, least_words)


def _voices_by(key, pairs, least_words):
    speakers = _grouped((key(u), c) for u, c in pairs)
    voices = []
    for clips in speakers.values():
        words = _grouped((clip.labels, clip) for clip in clips)
        if len(words) >= least_words:
            voices.append(Voice.of(words.values()))
    return voices


def _pooled(pairs):
    return Voice.of(_grouped((clip.labels, clip) for _, clip in pairs).values())


def clip_of_speech(said):
    """Return the Clip of a SyntheticClip."""
    labels = tuple(label_of(word) for word in said.words)
    return Clip(said.pcm, labels, said.begin, said.end, 1 / (32768 * said.rms), words=said.words)


@functools.cache
def load_bank(withhold=False, synthetic=(), hard="", hard_weight=0.0, crowd=1.0, sounds=""):
    """Load all training clips below EDGE_RUNTIME_DATA; takes some seconds, once per process.

    Parameters
    ----------
    withhold : bool
        Without the speakers of `training.corpus.withheld_set`.
    synthetic : tuple of str
        Folders of synthetic speech, for the voices "synthetic" (of programs) and "kokoro", and synthetic words.
    hard : str
        Folder of what a model mistook, see `training.mined`; empty: none.
    hard_weight : float
        By how much a recording that was mistaken in all trials is there more often than others.
    crowd : float
        Share of the speakers of Speech Commands.
    sounds : str
        Folder of `training.sounds`; empty: none.

    Returns
    -------
    Bank
    """
    mined = read_mined(hard)

    def of_the_crowd(name):
        pairs = clips_of_set(name, withhold)
        return (pair for pair in pairs if zlib.crc32(pair[0].speaker.encode()) < crowd * 2**32)

    def repeated(pairs):
        keyed = mined.repeated(((u.key, (u, clip)) for u, clip in pairs), hard_weight)
        return [pair for _, pair in keyed]

    digits = {
        name: repeated(clips_of_set(name, withhold))
        for name in ("fsdd", "audiomnist_subset", "prompt_digits")
    }
    digits["sc_digits"] = repeated(of_the_crowd("sc_digits"))
    # Most speakers of Speech Commands said only one or two words: the pool makes strings of
    # several voices, beside the strings of those who said three words or more.
    voices = {
        "sc_pool": [_pooled(digits["sc_digits"])],
        "sc_speaker": _voices_by_speaker(digits["sc_digits"], 3),
        "fsdd": _voices_by_speaker(digits["fsdd"], 1),
        "audiomnist_pool": [_pooled(digits["audiomnist_subset"])],
        "audiomnist_speaker": _voices_by_speaker(digits["audiomnist_subset"], 3),
        "prompt": _voices_by_speaker(digits["prompt_digits"], 1),
    }
    spoken = [(said, clip_of_speech(said)) for folder in synthetic for said in read_speech(folder)]
    for name in ("synthetic", "kokoro"):
        pairs = [
            (said, clip)
            for said, clip in spoken
            if said.kind == "digit" and said.voice.startswith("kokoro:") == (name == "kokoro")
        ]
        voices[name] = _voices_by(lambda said: said.voice, pairs, 3)
    guests = _grouped(
        (clip.labels, clip)
        for name in ("fsdd", "audiomnist_subset", "prompt_digits")
        for _, clip in digits[name]
    )
    sources = [guests]
    for name in ("kokoro", "sc_pool"):
        groups = (group for voice in voices[name] for group in voice.clips)
        sources.append(_grouped((clip.labels, clip) for group in groups for clip in group))
    speech = repeated((u, clip_of(u, (UNKNOWN,) * len(u.words))[0]) for u in training_set("nondigit_speech"))
    words = repeated(of_the_crowd("sc_words"))
    unknown = words + [(u, c) for u, c in speech if not is_sentence(u)]
    rejected = [clip for said, clip in spoken if said.kind not in ("digit", "string")]
    recordings = {u.key: u.pcm for name in NOISE_SETS for u in training_set(name)}
    noises = {
        "white": [augment.colored_noise(1, NOISE_BANK_SAMPLES, 0)],
        "pink": [augment.colored_noise(2, NOISE_BANK_SAMPLES, -1)],
        "background": [u.pcm for u in training_set("sc_background_noise")],
        "environment": [u.pcm for u in training_set("esc10_noise")],
        "hard": [recordings[key][begin:end] for key, begin, end in mined.cuts],
    }
    found = read_folder(sounds) if sounds else []
    noises["sounds"] = [u.pcm for u in found if u.words == ("sound",)]
    foreign = [clip_of(u, ())[0] for u in found if u.words == ("talk",)]
    mistaken = [(said.kind, clip_of_speech(said)) for said in mined.speech]
    return Bank(
        voices=voices,
        guests=list(guests.values()),
        donors=[[source[labels] for source in sources if labels in source] for labels in guests],
        unknown=Voice.of(_grouped((u.words, c) for u, c in unknown).values()),
        sentences=[c for u, c in speech if is_sentence(u)],
        noises=noises,
        cepstra=[
            (u.cepstra, tuple(label_of(word) for word in u.words), u.words) for u in training_set("an4_mfcc")
        ],
        synthetic=rejected,
        synthetic_strings=[clip for said, clip in spoken if said.kind == "string"],
        hard_digits=[clip for _, clip in mistaken if UNKNOWN not in clip.labels],
        # Without those that were chosen for sounding like a digit, many of them homophones.
        hard_words=[clip for kind, clip in mistaken if UNKNOWN in clip.labels and kind != "confusable"],
        talkers=[
            group for group in ([c for _, c in speech], [c for _, c in words], rejected, foreign) if group
        ],
        foreign=foreign,
    )
