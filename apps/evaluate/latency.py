# SPDX-License-Identifier: MIT
"""How late words are reported, and how long a frame of audio takes to compute."""

import gc
import os
import time

import numpy as np

from apps.corpus import SAMPLE_RATE
from apps.evaluate.metrics import align

CHUNK = SAMPLE_RATE // 100  # 10 ms
COMPUTE_S = 60.0


def word_latencies(recognizer, strings):
    """Time from the end of each word heard right to its event.

    The audio arrives in chunks of 10 ms; an event belongs to the last sample of the chunk that brought it, so
    that computation does not count. Words end where their energy does: `apps.evaluate.endpoints`.

    Parameters
    ----------
    recognizer : edge_runtime.Recognizer
        At 16 kHz.
    strings : iterable of apps.evaluate.strings.DigitString

    Returns
    -------
    numpy.ndarray
        float64 [shape=(words,)], seconds. Words that come only at the end of a signal do not count.
    """
    latencies = []
    for string in strings:
        samples = string.utterance().pcm
        recognizer.reset()
        labels, times = [], []
        for start in range(0, len(samples), CHUNK):
            for word in recognizer.accept_waveform(samples[start : start + CHUNK]):
                labels.append(word.label)
                times.append(min(start + CHUNK, len(samples)))
        said, event = 0, 0
        for expected, heard in align(string.words, labels):
            if expected is not None and expected == heard:
                latencies.append((times[event] - string.ends[said]) / SAMPLE_RATE)
            said += expected is not None
            event += heard is not None
    return np.array(latencies)


def compute_times(recognizer, strings):
    """Time that each 10 ms of audio takes to recognize, the Python call included.

    Processor time of one thread on one core: what else the machine does meanwhile does not count.

    Parameters
    ----------
    recognizer : edge_runtime.Recognizer
        At 16 kHz.
    strings : sequence of apps.evaluate.strings.DigitString
        Repeated until there is a minute.

    Returns
    -------
    numpy.ndarray
        float64 [shape=(chunks,)], seconds.
    """
    signals = [string.utterance().pcm for string in strings]
    wanted = round(COMPUTE_S * SAMPLE_RATE)
    samples = np.concatenate(signals)
    samples = np.resize(samples, wanted)
    chunks = [samples[start : start + CHUNK] for start in range(0, wanted, CHUNK)]
    recognizer.reset()
    recognizer.accept_waveform(samples[: 100 * CHUNK])
    times = np.empty(len(chunks))
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    collecting = gc.isenabled()
    gc.disable()
    try:
        if cores is not None:
            os.sched_setaffinity(0, {max(cores)})
        for index, chunk in enumerate(chunks):
            start = time.thread_time_ns()
            recognizer.accept_waveform(chunk)
            times[index] = time.thread_time_ns() - start
    finally:
        if cores is not None:
            os.sched_setaffinity(0, cores)
        if collecting:
            gc.enable()
    return times * 1e-9


def quantiles(values, **wanted):
    """Return quantiles by name.

    Parameters
    ----------
    values : numpy.ndarray
    **wanted : float
        Name to share, 0 to 1.

    Returns
    -------
    dict of str to float
        And `count`; the quantiles are None without values.
    """
    if not len(values):
        return {**dict.fromkeys(wanted), "count": 0}
    return {**{k: float(np.quantile(values, q)) for k, q in wanted.items()}, "count": len(values)}
