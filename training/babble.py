# SPDX-License-Identifier: MIT
"""Babble: several people who talk at once, none of whom says a digit."""

import numpy as np

from training.augment import SAMPLE_RATE, rms

TALKERS = (3, 6)  # fewest, most
LEVEL_DB = 6.0  # talkers are louder or quieter than the mean by up to this
LONGEST_PAUSE_S = 0.3


def babble(rng, sources, count):
    """Mix speech of several talkers.

    Parameters
    ----------
    rng : numpy.random.Generator
    sources : list of list of Clip
        Each talker speaks clips of one of them, one after the other.
    count : int
        Samples.

    Returns
    -------
    numpy.ndarray
        float32 [shape=(count,)], RMS 1.
    """
    mixed = np.zeros(count, np.float32)
    for _ in range(rng.integers(TALKERS[0], TALKERS[1] + 1)):
        clips = sources[rng.integers(len(sources))]
        gain = np.float32(10 ** (rng.uniform(-LEVEL_DB, LEVEL_DB) / 20))
        # Who talks has mostly begun before.
        at = -int(rng.uniform(0, 0.5) * SAMPLE_RATE)
        while at < count:
            clip = clips[rng.integers(len(clips))]
            begin = clip.begin + max(0, -at)
            end = min(clip.end, clip.begin + count - at)
            if begin < end:
                start = at + begin - clip.begin
                mixed[start : start + end - begin] += clip.cut(begin, end) * gain
            at += clip.end - clip.begin + int(rng.uniform(0, LONGEST_PAUSE_S) * SAMPLE_RATE)
    return mixed / np.float32(rms(mixed))
