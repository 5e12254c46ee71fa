# SPDX-License-Identifier: MIT
"""Levels of audio in dBFS: 0 is full scale, for the peak as for the root mean square."""

import numpy as np

FLOOR_DB = -100.0  # below the least step of 16 bits


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
