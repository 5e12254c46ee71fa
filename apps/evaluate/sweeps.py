# SPDX-License-Identifier: MIT
"""The same recordings at other levels and other sample rates."""

import numpy as np

from apps.corpus import SAMPLE_RATE
from apps.evaluate.scoring import EvaluationError, word_errors
from apps.evaluate.strings import to_16_bits

REFERENCE_DBFS = -20
PEAKS_DBFS = (-60, -50, -40, -30, -20, -10, -3)
RATES = (8000, 44100, 48000)


def at_peak(samples, dbfs):
    """Bring a signal to a peak level and round it to 16 bits.

    Parameters
    ----------
    samples : float32 [shape=(n,)]
    dbfs : float
        Level of the greatest sample, dB below full scale.

    Returns
    -------
    int16 [shape=(n,)]
    """
    peak = max(float(np.abs(samples).max()), 1e-9)
    return to_16_bits(samples * np.float32(10 ** (dbfs / 20) / peak))


def at_rate(samples, rate):
    """Convert a signal of 16 kHz with soxr, whose filters are not this project's.

    Parameters
    ----------
    samples : float32 [shape=(n,)]
    rate : int
        Hz.

    Returns
    -------
    int16 [shape=(about n * rate / 16000,)]

    Raises
    ------
    EvaluationError
        The package soxr is missing.
    """
    try:
        import soxr
    except ImportError as error:
        raise EvaluationError(
            "converting sample rates needs the package soxr: pip install edge-runtime[evaluate]"
        ) from error
    return to_16_bits(soxr.resample(samples, SAMPLE_RATE, rate, "VHQ"))


def levels(model, recordings, threshold=None):
    """Word error rate over the peak level.

    Parameters
    ----------
    model : edge_runtime.Model
    recordings : sequence of (tuple of str, float32 [shape=(n,)])
        Words and samples at 16 kHz, full scale 1.0.
    threshold : float, optional
        As `edge_runtime.Model.recognizer`.

    Returns
    -------
    dict
        wer : dict of str to float, by level in dBFS; change : its greatest distance from that at
        `REFERENCE_DBFS`.
    """
    recognizer = model.recognizer(threshold=threshold)
    wer = {
        dbfs: word_errors(recognizer, ((words, at_peak(samples, dbfs)) for words, samples in recordings)).wer
        for dbfs in PEAKS_DBFS
    }
    change = max(abs(value - wer[REFERENCE_DBFS]) for value in wer.values())
    return {"wer": {str(dbfs): value for dbfs, value in wer.items()}, "change": change}


def rates(model, recordings, threshold=None):
    """Word error rate over the sample rate; parameters as `levels`.

    Returns
    -------
    dict
        wer : dict of str to float, by rate in Hz, 16000 included; change : dict of str to float, by rate, the
        distance from 16000 Hz.
    """
    wer = {}
    for rate in (SAMPLE_RATE, *RATES):
        recognizer = model.recognizer(sample_rate=rate, threshold=threshold)
        convert = to_16_bits if rate == SAMPLE_RATE else lambda samples, rate=rate: at_rate(samples, rate)
        wer[rate] = word_errors(recognizer, ((words, convert(samples)) for words, samples in recordings)).wer
    change = {str(rate): abs(wer[rate] - wer[SAMPLE_RATE]) for rate in RATES}
    return {"wer": {str(rate): value for rate, value in wer.items()}, "change": change}
