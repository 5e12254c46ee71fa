# SPDX-License-Identifier: MIT
"""Levels of audio in dBFS: 0 is full scale, for the peak as for the root mean square."""

import dataclasses

import numpy as np

FLOOR_DB = -100.0  # below the least step of 16 bits
_FULL_SCALE = 32766 / 32768


def peak_db(samples):
    """Greatest magnitude.

    Parameters
    ----------
    samples : float32 [shape=(n,)]
        Full scale 1.0.

    Returns
    -------
    float
        dBFS, at least `FLOOR_DB`; that for no samples.
    """
    return _to_db(float(np.abs(samples).max()), 20) if len(samples) else FLOOR_DB


def rms_db(samples):
    """Root mean square.

    Parameters
    ----------
    samples : float32 [shape=(n,)]
        Full scale 1.0.

    Returns
    -------
    float
        dBFS (a full-scale square wave has 0, a sine -3), at least `FLOOR_DB`; that for no samples.
    """
    return _to_db(float(np.mean(np.square(samples, dtype=np.float64))), 10) if len(samples) else FLOOR_DB


def _to_db(value, factor):
    return max(FLOOR_DB, factor * float(np.log10(value))) if value > 0 else FLOOR_DB


@dataclasses.dataclass(frozen=True)
class Level:
    """What a recording says about a microphone.

    Attributes
    ----------
    peak_db, rms_db : float
        dBFS; the root mean square without the offset.
    offset : float
        Mean, full scale 1.0.
    clipped : float
        Share of the samples at full scale, 0 to 1.
    is_silent : bool
        Every sample is the same, which no microphone that is on delivers.
    """

    peak_db: float
    rms_db: float
    offset: float
    clipped: float
    is_silent: bool

    @classmethod
    def of(cls, samples):
        """Measure float32 [shape=(n,)], n at least 1."""
        offset = float(samples.mean(dtype=np.float64))
        return cls(
            peak_db(samples),
            rms_db(samples - np.float32(offset)),
            offset,
            float(np.mean(np.abs(samples) >= _FULL_SCALE)),
            bool(samples.min() == samples.max()),
        )
