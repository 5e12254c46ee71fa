# SPDX-License-Identifier: MIT
"""Where a word begins and ends, by the energy of the signal alone."""

import numpy as np

# Faint beginnings and ends of words, in samples at 16 kHz.
MARGIN_BEFORE = 480
MARGIN_AFTER = 800


def find_word(samples, before=MARGIN_BEFORE, after=MARGIN_AFTER):
    """Find where a clip is loud: the word without the silence around it.

    Frames of 10 ms count that are less than 32 dB below the loudest and at least 6 dB above the
    quietest tenth; a margin around them is kept.

    Parameters
    ----------
    samples : numpy.ndarray
        float32 [shape=(samples,)] at 16 kHz.
    before, after : int
        Samples kept before and after the loud frames.

    Returns
    -------
    begin, end : int
        Samples; the whole clip if nothing stands out.
    contrast_db : float
        Loudest frame above the quietest tenth.
    """
    count = len(samples) // 160
    if count < 8:
        return 0, len(samples), 0.0
    frames = samples[: count * 160].reshape(count, 160)
    energy = np.einsum("ij,ij->i", frames, frames) / 160
    # Speech frames are never alone; the mean over three keeps clicks from counting.
    energy = np.convolve(energy, np.full(3, 1 / 3), "same")
    level = 10 * np.log10(energy + 1e-12)
    loudest, quietest = level.max(), np.percentile(level, 10)
    contrast = float(loudest - quietest)
    threshold = max(loudest - 32, min(quietest + 6, loudest - 10))
    loud = np.flatnonzero(level > threshold)
    # Of several loud stretches keep those with at least 5 % of the energy of the greatest.
    breaks = np.flatnonzero(np.diff(loud) > 12)
    starts = np.concatenate([[0], breaks + 1])
    ends = np.concatenate([breaks, [len(loud) - 1]])
    sums = np.array([energy[loud[a] : loud[b] + 1].sum() for a, b in zip(starts, ends, strict=True)])
    kept = np.flatnonzero(sums >= 0.05 * sums.max())
    first, last = loud[starts[kept[0]]], loud[ends[kept[-1]]]
    begin = max(0, first * 160 - before)
    end = min(len(samples), (last + 1) * 160 + after)
    return int(begin), int(end), contrast
