# SPDX-License-Identifier: MIT
"""The data sets of the digit recognizer: which, under which license, and what is trained on.

Nothing of a test split is ever read here: training asks only for the splits in `TRAINING_SPLITS`,
and sets without a development split give up a fixed part of their training rows (`apps.corpus.held_out`).
"""

import collections
import functools
import zlib
from dataclasses import dataclass

from apps.corpus import HELD_OUT_SETS, CorpusError, held_out, read_set
from training.labels import DIGITS

TRAINING_SPLITS = ("train",)

# The dev splits of Speech Commands hold four of the ten digits and five of the 25 other words, all of them
# frequent in training. What a network does with the other words in a voice it never heard is measured on
# training rows: half of the speakers who said one of the rare words can be withheld from a run.
CROWD_SETS = ("sc_digits", "sc_words")
RARE_CLIPS = 20
WITHHELD_PERCENT = 50

# Where the crowd was silent, or the microphone clipped: see the README of sc_digits.
SC_QUIETEST_DBFS = -60
MOST_CLIPPED_SAMPLES = 20


@dataclass(frozen=True)
class Source:
    """Provenance of a set, as a model card states it.

    Attributes
    ----------
    corpus : str
        Folder name.
    voices : tuple of str
        The speakers it is about; empty: the whole set.
    title, address, license, credit : str
        What it is, where it came from, license as stated upstream, and whom to name.
    role : str
        What it is used for.
    """

    corpus: str
    voices: tuple
    title: str
    address: str
    license: str
    credit: str
    role: str


SOURCES = (
    Source(
        "fsdd",
        (),
        "Free Spoken Digit Dataset",
        "github.com/Jakobovski/free-spoken-digit-dataset",
        "CC BY-SA 4.0",
        "Zohar Jackson and contributors",
        "digits: training, dev",
    ),
    Source(
        "sc_digits",
        (),
        "Speech Commands, digit words",
        "arXiv:1804.03209",
        "CC BY 4.0",
        "Pete Warden / Google",
        "digits: training, dev",
    ),
    Source(
        "audiomnist_subset",
        (),
        "AudioMNIST, part",
        "github.com/soerenab/AudioMNIST",
        "MIT",
        "Soeren Becker and others",
        "digits: training, dev",
    ),
    Source(
        "an4_mfcc",
        (),
        "CMU AN4 (Census), cepstra",
        "www.speech.cs.cmu.edu/databases/an4",
        "AN4 license of Carnegie Mellon University (free for any use, BSD-like)",
        "Carnegie Mellon University",
        "connected words: training, dev",
    ),
    Source(
        "prompt_digits",
        ("callie",),
        "FreeSWITCH US English Callie prompts",
        "github.com/freeswitch/freeswitch-sounds",
        "CC BY 3.0 or MPL 1.1",
        "Michael Collins, FreeSWITCH Solutions",
        "digits: training",
    ),
    Source(
        "prompt_digits",
        ("enjoypa",),
        "digits of the PEBL test battery",
        "github.com/stmueller/pebl",
        "CC0 1.0",
        "EnjoyPA (freesound.org)",
        "digits: training",
    ),
    Source(
        "prompt_digits",
        ("dchest",),
        "digits of the captcha package",
        "github.com/dchest/captcha",
        "MIT",
        "Dmitry Chestnykh",
        "digits: training",
    ),
    Source(
        "prompt_digits",
        ("ipspeak",),
        "digits of ipspeak",
        "github.com/mcguiganj/ipspeak",
        "ISC",
        "John McGuigan",
        "digits: training",
    ),
    Source(
        "prompt_digits",
        ("securimage",),
        "digits of Securimage",
        "github.com/dapphp/securimage",
        "BSD",
        "Drew Phillips",
        "digits: training",
    ),
    Source(
        "sc_words",
        (),
        "Speech Commands, other words",
        "arXiv:1804.03209",
        "CC BY 4.0",
        "Pete Warden / Google",
        "rejected words: training, dev",
    ),
    Source(
        "nondigit_speech",
        (),
        "wake-word and speech-to-intent benchmarks",
        "github.com/Picovoice/wake-word-benchmark, github.com/Picovoice/speech-to-intent-benchmark",
        "Apache-2.0",
        "Picovoice",
        "rejected speech: training, dev",
    ),
    Source(
        "sc_background_noise",
        (),
        "Speech Commands, background noise",
        "arXiv:1804.03209",
        "CC BY 4.0 (single files CC0 / CC BY)",
        "Pete Warden / Google",
        "noise: training",
    ),
    Source(
        "esc10_noise",
        (),
        "ESC-10 environmental sounds",
        "github.com/karolpiczak/ESC-10",
        "CC BY 3.0 (single clips CC0 / CC BY / CC Sampling+)",
        "Karol J. Piczak and the freesound.org authors named in the set",
        "noise: training, dev",
    ),
)

# Voices of prompt_digits whose license is checked above; a voice added to the folder later is
# not trained on until it is listed.
PROMPT_VOICES = tuple(v for s in SOURCES if s.corpus == "prompt_digits" for v in s.voices)


def is_usable(utterance):
    """Tell whether a clip is worth training on, by the columns of its index.

    Parameters
    ----------
    utterance : Utterance

    Returns
    -------
    bool
    """
    if utterance.corpus in ("sc_digits", "sc_words"):
        return utterance.rms_dbfs >= SC_QUIETEST_DBFS and utterance.clipped_samples <= MOST_CLIPPED_SAMPLES
    return True


@functools.cache
def withheld_speakers():
    """Return the speakers of Speech Commands' training rows that `training_set` can leave out: frozenset of str."""
    speakers = set()
    for name in CROWD_SETS:
        rows = read_set(name, TRAINING_SPLITS)
        counts = collections.Counter(u.words for u in rows)
        speakers.update(u.speaker for u in rows if counts[u.words] < RARE_CLIPS)
    return frozenset(s for s in speakers if zlib.crc32(s.encode()) % 100 < WITHHELD_PERCENT)


@functools.cache
def withheld_set(name):
    """Return what the withheld speakers said: rows of "sc_digits" or "sc_words", as a tuple of Utterance."""
    return tuple(u for u in read_set(name, TRAINING_SPLITS) if u.speaker in withheld_speakers())


@functools.cache
def training_set(name, withhold=False):
    """Return the rows of a set that may be trained on.

    Parameters
    ----------
    name : str
    withhold : bool
        Without the speakers of `withheld_set`.

    Returns
    -------
    tuple of Utterance
    """
    rows = [u for u in read_set(name, TRAINING_SPLITS) if is_usable(u) and not held_out(u)]
    if withhold and name in CROWD_SETS:
        rows = [u for u in rows if u.speaker not in withheld_speakers()]
    if name == "prompt_digits":
        rows = [u for u in rows if u.speaker in PROMPT_VOICES]
    if not rows:
        raise CorpusError(f"{name}: no training rows")
    return tuple(rows)


@functools.cache
def dev_set(name):
    """Return the development rows of a set: its dev split, or what `held_out` takes from train.

    Nothing is filtered: development counts broken clips as the test splits do.

    Parameters
    ----------
    name : str

    Returns
    -------
    tuple of Utterance
    """
    if name in HELD_OUT_SETS:
        rows = tuple(u for u in read_set(name, TRAINING_SPLITS) if held_out(u))
    else:
        rows = read_set(name, ("dev",))
    if not rows:
        raise CorpusError(f"{name}: no development rows")
    return rows


def is_sentence(utterance):
    """Tell whether a clip of nondigit_speech is a sentence: its label is then no transcript."""
    return bool(utterance.words) and utterance.words[0] == "sentence:"


def is_digit_string(utterance):
    """Tell whether every word of a transcript is a digit word (spelled letters are not)."""
    return all(word in DIGITS for word in utterance.words)
