# SPDX-License-Identifier: MIT
"""Speech that is spelled letter by letter: which sets, the network's inputs and outputs, and batches of examples.

Features are the runtime's own (`edge_runtime.Frontend`): 13 cepstra with deltas and delta-deltas, three frames a step
(30 ms), no mean subtracted but that of the training set. Utterances are changed anew each time they are trained on:
tempo, warped frequency axis, equalization, some reverberation and noise (`training.cepstral`), masked bands and times.
"""

import functools
import itertools
import string
from dataclasses import dataclass

import numpy as np

from edge_runtime.frontend import Frontend, FrontendConfig
from training import ctc, wsj
from training.cepstral import augment_cepstra, mask_band
from training.strings import StringsConfig

FRONTEND = FrontendConfig(delta_order=2, stack=3)

_CHANGES = StringsConfig(
    speed=(0.85, 1.2),
    an4_warp=1.15,
    equalizer=0.5,
    tilt_db=2.0,
    ripple_db=3.0,
    an4_reverberation=0.15,
    an4_noise=0.3,
    an4_snr_db=(15.0, 45.0),
    an4_gain_db=(-6.0, 6.0),
    low_pass=0.0,
    rounding=0.0,
)
_MASKED = 0.5  # of utterances
_MASK_FILTERS, _MASK_FRAMES = 10, 8
_SHORT_STEPS, _SHORT_FRAMES = 150, 220  # the first steps are on short utterances, which CTC can begin with
_BUCKET = 8  # batches that are sorted by length together


@dataclass(frozen=True)
class Spelling:
    """A set of cepstra, and the outputs of a network that spells it.

    Attributes
    ----------
    folder : str
        The set's, among all sets.
    labels : tuple of str
        Of the outputs: blank, then characters.
    dictionary : str
        File of the set that lists its words, as CMU Sphinx has them; none if empty.
    """

    folder: str
    labels: tuple
    dictionary: str = ""

    @functools.cached_property
    def _output_of(self):
        return {label: index for index, label in enumerate(self.labels) if index != ctc.BLANK}

    def outputs_of(self, words):
        """Return the outputs that spell words, gaps between them: list of int."""
        return [self._output_of[character] for character in " ".join(words)]

    def text_of(self, outputs):
        """Return what outputs spell: str."""
        return "".join(self.labels[output] for output in outputs)

    def words(self, data):
        """Return the words of the dictionary, lower case, each once: list of str; `data` holds all sets."""
        lines = (data / self.folder / self.dictionary).read_text(encoding="ascii").lower().splitlines()
        return list(dict.fromkeys(line.split()[0].split("(")[0] for line in lines if line.strip()))


#: By variant of a row.
SPELLINGS = {
    "letters": Spelling("an4_mfcc", ("blank", " ", *string.ascii_lowercase), "an4.dic"),
    "wsj": Spelling("wsj_mfcc", wsj.LABELS),
}


@functools.cache
def _frontend():
    return Frontend(FRONTEND)


def features_of(cepstra):
    """Return the network's inputs: float32 [shape=(steps, 117)] of cepstra [shape=(frames, 13)]."""
    frontend = _frontend()
    frontend.reset()
    return np.concatenate([frontend.push_cepstra(cepstra), frontend.flush()])


def _mask_time(rng, cepstra):
    width = int(rng.integers(1, _MASK_FRAMES + 1))
    begin = int(rng.integers(max(1, len(cepstra) - width)))
    masked = cepstra.copy()
    masked[begin : begin + width] = cepstra.mean(axis=0)
    return masked


def _example(rng, utterance, spelling):
    cepstra = augment_cepstra(rng, utterance.cepstra, _CHANGES)
    if rng.random() < _MASKED:
        cepstra = mask_band(rng, cepstra, _MASK_FILTERS)
    if rng.random() < _MASKED:
        cepstra = _mask_time(rng, cepstra)
    return features_of(cepstra.astype(np.float32)), spelling.outputs_of(utterance.words)


def _is_possible(features, labels):
    # Equal labels need a blank between them.
    return len(features) >= len(labels) + sum(a == b for a, b in itertools.pairwise(labels))


class Batches:
    """Batches by the number of the step, so that a run which goes on after an interruption sees the same.

    Parameters
    ----------
    utterances : sequence of apps.corpus.Utterance
    spelling : Spelling
    size : int
    seed : int
    """

    def __init__(self, utterances, spelling, size, seed):
        self._utterances, self._spelling, self._size, self._seed = utterances, spelling, size, seed
        self._lengths = np.array([len(utterance.cepstra) for utterance in utterances])
        self._short = np.flatnonzero(self._lengths < _SHORT_FRAMES)
        if len(self._short) < size:
            self._short = np.argsort(self._lengths, kind="stable")[: size * _BUCKET]
        self._epoch, self._order = -1, []

    def _indices(self, step, rng):
        if step < _SHORT_STEPS:
            return rng.choice(self._short, self._size)
        epoch, place = divmod(step - _SHORT_STEPS, len(self._utterances) // self._size)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(np.random.default_rng([self._seed, 1, epoch]))
        return self._order[place]

    def _shuffled(self, rng):
        mixed = rng.permutation(len(self._utterances))
        mixed = mixed[: len(mixed) // self._size * self._size]
        batches = []
        for begin in range(0, len(mixed), self._size * _BUCKET):
            bucket = mixed[begin : begin + self._size * _BUCKET]
            batches.extend(bucket[np.argsort(self._lengths[bucket])].reshape(-1, self._size))
        return [batches[place] for place in rng.permutation(len(batches))]

    def examples(self, step):
        """Return list of (features, labels)."""
        rng = np.random.default_rng([self._seed, 0, step])
        drawn = [_example(rng, self._utterances[index], self._spelling) for index in self._indices(step, rng)]
        return [example for example in drawn if _is_possible(*example)]


def padded(sequences):
    """Return features of several utterances side by side: float32 [shape=(steps, utterances, 117)], zeros at the ends."""
    together = np.zeros((max(map(len, sequences)), len(sequences), FRONTEND.feature_size), np.float32)
    for column, sequence in enumerate(sequences):
        together[: len(sequence), column] = sequence
    return together
