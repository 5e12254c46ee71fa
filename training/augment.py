# SPDX-License-Identifier: MIT
"""Augmentation of waveforms: speed, frequency response, room, noise, level.

One forward and one inverse transform per string do speed, response and room together; that is
what keeps an example at a few milliseconds.
"""

import functools

import numpy as np

from training import rooms
from training.cepstral import random_curve_db

SAMPLE_RATE = 16000
GRID = 257  # points of a frequency response, 0 .. 8000 Hz
_GRID_HZ = np.linspace(0, SAMPLE_RATE / 2, GRID)
_GRID_OCTAVES = np.log2(np.maximum(_GRID_HZ, 80) / 1000).astype(np.float32)


@functools.cache
def _smooth_lengths():
    # Products of 2, 3 and 5: lengths whose transform is fast, under 5 % apart from 2000 on.
    limit = 1 << 20
    lengths = [
        2**a * 3**b * 5**c
        for a in range(1, 21)
        for b in range(13)
        for c in range(9)
        if 2**a * 3**b * 5**c <= limit
    ]
    return np.array(sorted(lengths))


def fast_length(count):
    """Return the least fast and even transform length that is not below `count`."""
    lengths = _smooth_lengths()
    return int(lengths[np.searchsorted(lengths, count)])


def nearest_fast_length(count):
    """Return the fast and even transform length nearest to `count`."""
    lengths = _smooth_lengths()
    at = np.searchsorted(lengths, count)
    pair = lengths[max(at - 1, 0) : at + 1]
    return int(pair[np.argmin(np.abs(pair - count))])


def rms(samples):
    """Return the root mean square of a float32 array, never zero."""
    return float(np.sqrt(np.dot(samples, samples) / max(len(samples), 1) + 1e-20))


def expand(response, bins):
    """Stretch a frequency response over the bins of a transform.

    Parameters
    ----------
    response : numpy.ndarray
        float32 [shape=(257,)].
    bins : int

    Returns
    -------
    numpy.ndarray
        float32 [shape=(bins,)]; in steps, which are small where the response is smooth.
    """
    repeats = -(-bins // GRID)
    position = np.arange(bins // repeats + 1) * repeats * (GRID - 1) // max(bins - 1, 1)
    return np.repeat(response[np.minimum(position, GRID - 1)], repeats)[:bins]


def random_response(rng, tilt_db, ripple_db):
    """Draw the response of a microphone: float32 [shape=(257,)], factor per frequency."""
    curve = np.clip(random_curve_db(rng, _GRID_OCTAVES, tilt_db, ripple_db), -30, 30)
    return (10 ** (curve / 20)).astype(np.float32)


def random_low_pass(rng):
    """Draw the response of a telephone-like channel: float32 [shape=(257,)]."""
    edge = rng.uniform(3300, 3900)
    width = rng.uniform(100, 500)
    depth = rng.uniform(50, 110)
    attenuation = np.clip((_GRID_HZ - edge) / width, 0, 1) * depth
    return (10 ** (-attenuation / 20)).astype(np.float32)


def reshape(rng, samples, speed, response=None, reverberation_db=None, reflecting=False):
    """Change speed and pitch together, the frequency response, and the room.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the room.
    samples : numpy.ndarray
        float32 [shape=(samples,)].
    speed : float
        Above 1 is faster and higher.
    response : numpy.ndarray, optional
        float32 [shape=(257,)], factors on the frequencies of the result.
    reverberation_db : float, optional
        Energy of the room relative to the direct sound; no room by default.
    reflecting : bool
        The room has early reflections, rather than a tail alone.

    Returns
    -------
    samples : numpy.ndarray
        float32 [shape=(round(samples / speed),)].
    speed : float
        The speed that was reached: transform lengths are rounded to fast ones.
    """
    tail = 0 if reverberation_db is None else rooms.ROOM_SAMPLES
    before = fast_length(len(samples) + tail)
    after = nearest_fast_length(before / speed)
    spectrum = np.fft.rfft(samples, before)
    if reverberation_db is not None:
        choice = rooms.reflecting_rooms() if reflecting else rooms.tails()
        room = np.fft.rfft(choice[rng.integers(len(choice))], before)
        room *= np.float32(10 ** (reverberation_db / 20))
        room += 1
        spectrum *= room
    spectrum = spectrum[: after // 2 + 1]
    if response is not None:
        spectrum = spectrum * expand(response, len(spectrum))
    result = np.fft.irfft(spectrum, after)
    result *= np.float32(after / before)
    return result[: round(len(samples) * after / before)], before / after


def filter_response(samples, response):
    """Apply a frequency response to a signal; same length, float32."""
    length = fast_length(len(samples) + 800)
    spectrum = np.fft.rfft(samples, length)
    spectrum *= expand(response, len(spectrum))
    return np.fft.irfft(spectrum, length)[: len(samples)]


def colored_noise(seed, count, slope):
    """Make a bank of noise.

    Parameters
    ----------
    seed, count : int
    slope : float
        Exponent of the power spectrum over frequency: 0 white, -1 pink.

    Returns
    -------
    numpy.ndarray
        float32 [shape=(count,)], RMS 1.
    """
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(count, dtype=np.float32))
    frequency = np.maximum(np.arange(len(spectrum)) * SAMPLE_RATE / count, 40)
    noise = np.fft.irfft(spectrum * frequency ** (slope / 2), count).astype(np.float32)
    return noise / np.float32(rms(noise))


def bursts(rng, count):
    """Make the envelope of sounds as long as words.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws lengths, pauses, how fast each sound comes and goes, and how loud the pauses are.
    count : int

    Returns
    -------
    numpy.ndarray
        float32 [shape=(count,)], factors from 0.001 to 1.
    """
    floor = 10 ** (rng.uniform(-60, -15) / 20)
    envelope = np.full(count, floor, np.float32)
    at = int(rng.uniform(0, 0.4) * SAMPLE_RATE)
    while at < count:
        length = int(rng.uniform(0.08, 0.8) * SAMPLE_RATE)
        rise, fall = (max(1, int(length * rng.uniform(0.02, 0.5))) for _ in range(2))
        gain = 10 ** (rng.uniform(-12, 0) / 20)
        time = np.arange(length)
        burst = np.minimum(np.minimum(time / rise, (length - time) / fall), 1) ** 2
        end = min(at + length, count)
        envelope[at:end] = np.maximum(envelope[at:end], gain * burst[: end - at])
        at += length + int(rng.uniform(0.05, 0.8) * SAMPLE_RATE)
    return envelope


def _harmonics(coefficients, turn):
    """Sum the multiples of a turning pointer, by Horner's scheme on the unit circle: float32 [shape of turn]."""
    turn = turn.astype(np.complex64)
    total = np.zeros(turn.shape, np.complex64)
    for coefficient in coefficients[::-1]:
        total = (total + np.complex64(coefficient)) * turn
    return total.imag


def mains_hum(rng, count):
    """Make the hum of the mains, as transformers, lamps and badly shielded cables add it.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws frequency, harmonics and the hiss that comes with them.
    count : int

    Returns
    -------
    numpy.ndarray
        float32 [shape=(count,)], RMS 1.
    """
    fundamental_hz = rng.choice((50, 60)) * rng.uniform(0.99, 1.01)
    orders = np.arange(1, rng.integers(2, 41))
    amplitudes = rng.uniform(0.2, 1, len(orders)) / orders ** rng.uniform(0.3, 1.5)
    amplitudes[1::2] *= rng.choice((1.0, 3.0))  # a transformer hums at twice the frequency of the mains
    angle = 2 * np.pi * fundamental_hz / SAMPLE_RATE * np.arange(count)
    coefficients = amplitudes * np.exp(2j * np.pi * rng.random(len(orders)))
    hum = _harmonics(coefficients, np.exp(1j * angle))
    hum = hum / np.float32(rms(hum))
    hiss_db = rng.uniform(-60, -15)
    hum += np.float32(10 ** (hiss_db / 20)) * rng.standard_normal(count, dtype=np.float32)
    return hum / np.float32(rms(hum))


def calls(rng, count):
    """Make voiced calls, as infants, birds and dogs give them: a pitch that glides far, through resonances.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws pitch, harmonics, resonances, breath and when the calls come.
    count : int

    Returns
    -------
    numpy.ndarray
        float32 [shape=(count,)], RMS 1.
    """
    center = rng.uniform(np.log(250), np.log(900))
    spread = rng.uniform(0.05, 0.45)
    times = np.cumsum(rng.uniform(0.04, 0.35, 2 + count * 25 // SAMPLE_RATE)) * SAMPLE_RATE
    pitch_hz = np.exp(np.clip(center + spread * rng.standard_normal(len(times)), np.log(180), np.log(1600)))
    pitch_hz = np.exp(np.interp(np.arange(count), times, np.log(pitch_hz)))
    orders = np.arange(1, 1 + max(1, int(0.48 * SAMPLE_RATE / pitch_hz.max())))
    coefficients = np.exp(2j * np.pi * rng.random(len(orders))) / orders ** rng.uniform(0.0, 1.2)
    voice = _harmonics(coefficients, np.exp(2j * np.pi / SAMPLE_RATE * np.cumsum(pitch_hz)))
    breath = 10 ** (rng.uniform(-40, 0) / 20)
    sound = voice / rms(voice) + breath * rng.standard_normal(count)
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    response = np.full(len(frequency), 10 ** (rng.uniform(-30, -10) / 20))
    for _ in range(rng.integers(1, 5)):
        width = rng.uniform(60, 500)
        response += 1 / (1 + ((frequency - rng.uniform(300, 5000)) / width) ** 2)
    sound = np.fft.irfft(np.fft.rfft(sound) * response, count) * bursts(rng, count)
    return (sound / rms(sound)).astype(np.float32)
