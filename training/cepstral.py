# SPDX-License-Identifier: MIT
"""Augmentation of cepstra, for speech that exists only as cepstra (AN4) and for cheap changes.

Thirteen cepstra are a smoothed log-mel spectrum. The pseudo-inverse of the cosine transform gives
that spectrum back; it is changed there and transformed again, which loses nothing: transforming
the pseudo-inverse is the identity.
"""

import math

import numpy as np

from training.features import CEPSTRUM_COUNT, FILTER_COUNT

LOW_HZ, HIGH_HZ = 130.0, 6800.0
LOG_FLOOR = math.log(1e-4)
LN_PER_DB = math.log(10) / 10  # natural logarithm of an energy per decibel


def _mel(hz):
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


class FilterBank:
    """The mel filters of a front end, and its transform to cepstra.

    Parameters
    ----------
    filter_count, cepstrum_count : int
    low_hz, high_hz : float
        Outer edges of the filters.

    Attributes
    ----------
    centers_hz : numpy.ndarray
        float64 [shape=(filters,)]; only augmentation uses them, so rounding to the FFT grid (which the front end
        does) is left out.
    octaves : numpy.ndarray
        float32 [shape=(filters,)], above 1 kHz.
    white : numpy.ndarray
        float32 [shape=(filters,)]: energy response of the pre-emphasis 1 - 0.97 / z, natural logarithm: what white
        noise looks like.
    to_cepstra : numpy.ndarray
        float32 [shape=(filters, cepstra)]: log_mel @ to_cepstra are cepstra. The first filter is halved, as in the
        "legacy" transform of CMU Sphinx.
    to_log_mel : numpy.ndarray
        float32 [shape=(cepstra, filters)], its pseudo-inverse.
    """

    def __init__(self, filter_count, cepstrum_count, low_hz, high_hz):
        self._low, self._high = _mel(low_hz), _mel(high_hz)
        mels = np.linspace(self._low, self._high, filter_count + 2)[1:-1]
        self.centers_hz = 700 * (10 ** (mels / 2595) - 1)
        self.octaves = np.log2(self.centers_hz / 1000).astype(np.float32)
        angle = 2 * np.pi * self.centers_hz / 16000
        self.white = np.log(1 + 0.97**2 - 2 * 0.97 * np.cos(angle)).astype(np.float32)
        filters = np.arange(filter_count)[:, None]
        orders = np.arange(cepstrum_count)[None]
        to_cepstra = np.cos(np.pi * orders * (filters + 0.5) / filter_count) / filter_count
        to_cepstra[0] *= 0.5
        self.to_cepstra = to_cepstra.astype(np.float32)
        self.to_log_mel = np.linalg.pinv(to_cepstra).astype(np.float32)

    def position(self, hz):
        """Return where frequencies lie among the filters: float64, 0 for the first center, 1 for the second."""
        spacing = (self._high - self._low) / (len(self.centers_hz) + 1)
        return (_mel(hz) - self._low) / spacing - 1

    def resampling_matrix(self, hz):
        """Return the matrix that reads a log-mel spectrum at other frequencies, linearly.

        Parameters
        ----------
        hz : numpy.ndarray
            [shape=(n,)]; beyond the outer centers, these count.

        Returns
        -------
        numpy.ndarray
            float32 [shape=(filters, n)]: log_mel @ matrix is the spectrum there.
        """
        count = len(self.centers_hz)
        position = np.clip(self.position(hz), 0, count - 1)
        left = np.minimum(position.astype(int), count - 2)
        fraction = position - left
        matrix = np.zeros((count, len(position)), np.float32)
        columns = np.arange(len(position))
        matrix[left, columns] = 1 - fraction
        matrix[left + 1, columns] = fraction
        return matrix

    def warp_matrix(self, factor):
        """Return the matrix that moves a log-mel spectrum along the frequency axis; see the function `warp_matrix`."""
        return self.resampling_matrix(self.centers_hz / factor)


STANDARD = FilterBank(FILTER_COUNT, CEPSTRUM_COUNT, LOW_HZ, HIGH_HZ)
CENTERS_HZ = STANDARD.centers_hz


def cepstrum_matrices():
    """Return `to_cepstra` and `to_log_mel` of the recognizer's front end: float32 [shape=(40, 13)] and (13, 40)."""
    return STANDARD.to_cepstra, STANDARD.to_log_mel


def warp_matrix(factor):
    """Return the matrix that moves a log-mel spectrum along the frequency axis.

    Parameters
    ----------
    factor : float
        Above 1 moves everything up, as a shorter vocal tract does.

    Returns
    -------
    numpy.ndarray
        float32 [shape=(40, 40)]: log_mel @ matrix is warped; the ends are repeated.
    """
    return STANDARD.warp_matrix(factor)


def mask_band(rng, cepstra, most_filters):
    """Replace a band of the smoothed spectrum by its mean over time.

    Parameters
    ----------
    rng : numpy.random.Generator
    cepstra : numpy.ndarray
        float32 [shape=(frames, 13)].
    most_filters : int
        Width of the band, at most 40.

    Returns
    -------
    numpy.ndarray
        float32 [shape=(frames, 13)].
    """
    to_cepstra, to_log_mel = cepstrum_matrices()
    width = int(rng.integers(1, most_filters + 1))
    start = int(rng.integers(FILTER_COUNT - width + 1))
    band = to_log_mel[:, start : start + width] @ to_cepstra[start : start + width]
    return cepstra - (cepstra - cepstra.mean(axis=0)) @ band


def stretch(frames, factor):
    """Change the tempo by linear interpolation between frames; pitch and formants stay.

    Parameters
    ----------
    frames : numpy.ndarray
        float32 [shape=(frames, size)].
    factor : float
        Above 1 is faster, hence shorter.

    Returns
    -------
    numpy.ndarray
        float32 [shape=(round(frames / factor), size)].
    """
    count = max(1, round(len(frames) / factor))
    position = np.linspace(0, len(frames) - 1, count)
    left = np.minimum(position.astype(int), max(len(frames) - 2, 0))
    right = np.minimum(left + 1, len(frames) - 1)
    fraction = (position - left).astype(np.float32)[:, None]
    return frames[left] * (1 - fraction) + frames[right] * fraction


def random_curve_db(rng, octaves, tilt_db, ripple_db):
    """Draw a smooth frequency response: a slope and a slow ripple.

    Parameters
    ----------
    rng : numpy.random.Generator
    octaves : numpy.ndarray
        float32 [shape=(n,)], frequency in octaves above 1 kHz.
    tilt_db : float
        Greatest slope, dB per octave.
    ripple_db : float
        Greatest amplitude of the ripple, dB.

    Returns
    -------
    numpy.ndarray
        float32 [shape=(n,)], dB.
    """
    slope, ripple, period, phase = rng.random(4)
    angle = octaves * (2 * np.pi / (1.5 + 3 * period)) + 2 * np.pi * phase
    return (2 * slope - 1) * tilt_db * octaves + ripple * ripple_db * np.sin(angle)


def reverberate(energy, decay, gain):
    """Add the tail of a room, an exponential decay of the energy in every filter.

    Parameters
    ----------
    energy : numpy.ndarray
        [shape=(frames, filters)].
    decay : float
        Factor per frame.
    gain : float
        Of the tail, relative to the direct sound.

    Returns
    -------
    numpy.ndarray
        [shape=(frames, filters)].
    """
    tail = np.zeros_like(energy[0])
    wet = np.empty_like(energy)
    for t, direct in enumerate(energy):
        wet[t] = direct + gain * tail
        tail = decay * (tail + direct)
    return wet


def augment_cepstra(rng, cepstra, config):
    """Return a changed copy of the cepstra of an utterance: another voice, room, microphone.

    Parameters
    ----------
    rng : numpy.random.Generator
    cepstra : numpy.ndarray
        float32 [shape=(frames, 13)].
    config : training.strings.StringsConfig

    Returns
    -------
    numpy.ndarray
        float32 [shape=(new_frames, 13)].
    """
    to_cepstra, to_log_mel = cepstrum_matrices()
    frames = stretch(cepstra, rng.uniform(*config.speed))
    warp = warp_matrix(np.exp(rng.uniform(-1, 1) * np.log(config.an4_warp)))
    log_mel = frames @ (to_log_mel @ warp)
    if rng.random() < config.equalizer:
        curve = random_curve_db(rng, STANDARD.octaves, config.tilt_db, config.ripple_db)
        log_mel += curve * LN_PER_DB
    # Changes of level, room and noise act on energies. The reference is the loudest tenth.
    energy = np.exp(log_mel)
    loudness = energy.mean(axis=1)
    reference = np.percentile(loudness, 90)
    if rng.random() < config.an4_reverberation:
        seconds = rng.uniform(0.1, 0.5)
        energy = reverberate(energy, 1e-6 ** (0.01 / seconds), 10 ** rng.uniform(-1.5, -0.3))
    if rng.random() < config.an4_noise:
        # White to brownish, as the pre-emphasis of the front end shows it.
        shape = np.exp(STANDARD.white + LN_PER_DB * rng.uniform(-6, 1) * STANDARD.octaves)
        level = reference * 10 ** (-rng.uniform(*config.an4_snr_db) / 10) / shape.mean()
        # A filter sums few bins, so its noise energy fluctuates from frame to frame.
        flutter = np.exp(0.35 * rng.standard_normal(energy.shape, dtype=np.float32))
        energy = energy + (level * shape) * flutter
    energy = energy * 10 ** (rng.uniform(*config.an4_gain_db) / 10)
    if rng.random() < config.low_pass:
        edge = rng.uniform(3300, 3900)
        depth = rng.uniform(40, 100)
        attenuation = np.clip((CENTERS_HZ - edge) / 300, 0, 1) * depth
        energy = energy * 10 ** (-attenuation / 10)
    # The front end's own floor; above it the white noise of rounding to 16 bits, whose variance
    # of 1/12 comes to exp(-1) in a filter of unit area.
    floor = 1e-4 + (np.exp(STANDARD.white - 1) if rng.random() < config.rounding else 0)
    return (np.log(energy + floor) @ to_cepstra).astype(np.float32)
