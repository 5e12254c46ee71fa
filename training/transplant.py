# SPDX-License-Identifier: MIT
"""Words as if said where another clip was recorded: into its pause, through its microphone, in its noise.

A voice of the crowd said one word or two, most of them one of four digits. Others say what it did not, as its recording
would have sounded.
"""

import numpy as np

from training import augment
from training.bank import Clip

FRAME = 512
_WINDOW = np.hanning(FRAME).astype(np.float32)
_EDGE = np.linspace(
    0, 1, 160, dtype=np.float32
)  # 10 ms from the recorded pause to the noise that continues it
LEAST_QUIET = 2 * FRAME  # samples that tell the noise of a recording
MOST_DB = 18


def power_spectrum(samples):
    """Return the mean power spectrum of a signal: float32 [shape=(257,)]; zero-padded if shorter than a frame."""
    if len(samples) < FRAME:
        samples = np.pad(samples, (0, FRAME - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[:: FRAME // 2] * _WINDOW
    spectrum = np.fft.rfft(frames)
    return (np.mean(spectrum.real**2 + spectrum.imag**2, axis=0) / np.sum(_WINDOW**2)).astype(np.float32)


def noise_of(rng, power, count):
    """Draw Gaussian noise of a power spectrum: float32 [shape=(count,)]."""
    length = augment.fast_length(count)
    spectrum = np.fft.rfft(rng.standard_normal(length, dtype=np.float32))
    return np.fft.irfft(spectrum * augment.expand(np.sqrt(power), len(spectrum)), length)[:count].astype(
        np.float32
    )


def _smooth_db(power):
    # The mean over 1.4 octaves: a microphone's response, not the formants of a word.
    level = 10 * np.log10(power + 1e-9)
    total = np.concatenate([[0], np.cumsum(level)])
    at = np.arange(len(level))
    low, high = (at * 0.6).astype(int), np.minimum((at * 1.6).astype(int) + 3, len(level))
    return (total[high] - total[low]) / (high - low)


def transplant(rng, clip, place):
    """Replace the word of one clip by that of another.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the noise beneath the word, and how much of the microphone is taken over.
    clip : training.bank.Clip
        Who says what.
    place : training.bank.Clip
        Where: its word is what tells the frequency response, its pauses tell the noise.

    Returns
    -------
    training.bank.Clip
        As long as `place`, or as the word if that is longer; float32.
    """
    room = place.cut(0, len(place.pcm))
    word = clip.cut(clip.begin, clip.end)
    pauses = [room[: place.begin], room[place.end :]]
    heard = power_spectrum(room[place.begin : place.end])
    longest = max(pauses, key=len)
    quiet = power_spectrum(longest if len(longest) >= LEAST_QUIET else np.zeros(FRAME, np.float32))
    gain_db = _smooth_db(np.maximum(heard - quiet, 0.05 * heard)) - _smooth_db(power_spectrum(word))
    gain_db = np.clip((gain_db - np.median(gain_db)) * rng.uniform(0.4, 1), -MOST_DB, MOST_DB)
    word = augment.filter_response(word, (10 ** (gain_db / 20)).astype(np.float32))
    word = word / np.float32(augment.rms(word))
    word[: len(_EDGE)] *= _EDGE
    word[-len(_EDGE) :] *= _EDGE[::-1]
    count = max(len(room), len(word))
    spare = count - len(word)
    outside = place.begin + len(room) - place.end
    begin = round(spare * place.begin / outside) if outside else 0
    samples = noise_of(rng, quiet, count)
    _lay(samples, pauses[0], begin, before=True)
    _lay(samples, pauses[1], begin + len(word), before=False)
    samples[begin : begin + len(word)] += word
    gain = 1 / augment.rms(samples[begin : begin + len(word)])
    return Clip(samples, clip.labels, begin, begin + len(word), gain, clip.narrow, clip.words)


def _lay(samples, pause, at, before):
    """Put what was recorded in a pause over the noise, up to or from sample `at` on."""
    length = min(len(pause), at if before else len(samples) - at)
    if length <= 2 * len(_EDGE):
        return
    share = np.ones(length, np.float32)
    share[: len(_EDGE)], share[-len(_EDGE) :] = _EDGE, _EDGE[::-1]
    span = slice(at - length, at) if before else slice(at, at + length)
    recorded = pause[-length:] if before else pause[:length]
    samples[span] = share * recorded + np.sqrt(1 - share**2) * samples[span]
