# SPDX-License-Identifier: MIT
"""Signals in which there is nothing at all: silence, and the hum of the mains."""

import numpy as np

from apps.corpus import SAMPLE_RATE
from apps.evaluate.strings import to_16_bits

SEED = 20261122
DURATION_S = 20
HUM_HZ = (50, 60)
HUM_DBFS = (-60, -40, -20)
HARMONICS = 12
NOISE_DBFS = -80  # of the converter, under the hum


def _noise(rng, dbfs):
    return 10 ** (dbfs / 20) * rng.standard_normal(DURATION_S * SAMPLE_RATE)


def signals():
    """Make the signals.

    Yields
    ------
    name : str
    samples : int16 [shape=(320000,)]
        At 16 kHz.
    """
    yield "digital silence", np.zeros(DURATION_S * SAMPLE_RATE, np.int16)
    rng = np.random.default_rng(SEED)
    for dbfs in (-90, -70, -50):
        yield f"white noise {dbfs} dBFS", to_16_bits(_noise(rng, dbfs))
    time_s = np.arange(DURATION_S * SAMPLE_RATE) / SAMPLE_RATE
    for hertz in HUM_HZ:
        for dbfs in HUM_DBFS:
            # Transformers and lamps hum at twice the frequency of the mains most.
            hum = sum(
                (3.0 if k == 2 else 1.0) / k * np.sin(2 * np.pi * (hertz * k * time_s + rng.random()))
                for k in range(1, HARMONICS + 1)
            )
            hum *= 10 ** (dbfs / 20) / np.sqrt(np.mean(np.square(hum)))
            yield f"hum {hertz} Hz {dbfs} dBFS", to_16_bits(hum + _noise(rng, NOISE_DBFS))


def false_digits(recognizer):
    """Count the words heard in each signal.

    Parameters
    ----------
    recognizer : edge_runtime.Recognizer
        At 16 kHz.

    Returns
    -------
    dict of str to int
    """
    counts = {}
    for name, samples in signals():
        recognizer.reset()
        counts[name] = len(recognizer.accept_waveform(samples) + recognizer.finish())
    return counts
