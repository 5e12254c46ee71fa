# SPDX-License-Identifier: MIT
"""Words said alone, in the band of a telephone: the front end of isolated digits, and augmentation for it.

Free Spoken Digit is recorded at 8 kHz and cut at the first and last sound. So that no network can tell a recording by
its background, every word is brought to one level, put between digital silence, and heard by filters up to 3.7 kHz whose
energies have a floor 36 dB below that of the word: what is quieter looks like silence.

The level is that of the whole word, hence known at its end alone; all else streams.
"""

import dataclasses
import functools

import numpy as np

from apps.evaluate.endpoints import find_word
from edge_runtime.frontend import Frontend, FrontendConfig
from training import augment
from training.bank import NOISE_BANK_SAMPLES
from training.cepstral import LN_PER_DB, FilterBank, random_curve_db, reverberate, stretch
from training.corpus import training_set

LEVEL = 0.05  # RMS of a word; 1 is full scale
LEAD_SAMPLES, TAIL_SAMPLES = 800, 3200  # of silence around it
CONFIG = FrontendConfig(filter_count=32, high_hz=3700.0, log_floor=1000.0, delta_order=2, stack=2)
FEATURE_SIZE = CONFIG.feature_size

_CEPSTRA_CONFIG = dataclasses.replace(CONFIG, delta_order=0, stack=1)
_FILTERS = FilterBank(CONFIG.filter_count, CONFIG.cepstrum_count, CONFIG.low_hz, CONFIG.high_hz)
_WORD_ENERGY = 4.6e6  # mean over filters and frames of a word at LEVEL, as measured
_SILENCE = np.zeros((1, CONFIG.filter_count), np.float32)


@dataclasses.dataclass(frozen=True)
class Changes:
    """How words are changed. Probabilities, unless a unit is named; ranges are (least, most).

    Attributes
    ----------
    speed : (float, float)
        Factor on tempo, pitch and resonances together.
    warped, warp : float
        Words whose spectrum is moved by up to a factor, as another vocal tract does, apart from their pitch.
    stretched, tempo
        Words whose tempo changes by a factor, and nothing else.
    equalized, tilt_db, ripple_db
        Words with another frequency response; its slope (dB per octave) and ripple.
    low_pass : float
        Telephone-like channel.
    room, room_db
        Words in a room; its energy relative to the direct sound.
    noise, snr_db
        Words in noise, white, pink or recorded; speech to noise ratio.
    gain_db : float
        Greatest change of level.
    """

    speed: tuple = (0.85, 1.2)
    warped: float = 0.6
    warp: float = 1.12
    stretched: float = 0.6
    tempo: tuple = (0.75, 1.3)
    equalized: float = 0.7
    tilt_db: float = 3.0
    ripple_db: float = 5.0
    low_pass: float = 0.5
    room: float = 0.3
    room_db: tuple = (-18.0, -2.0)
    noise: float = 0.7
    snr_db: tuple = (8.0, 45.0)
    gain_db: float = 3.0


@functools.cache
def _frontend(config):
    return Frontend(config)


def _cepstra(samples):
    frontend = _frontend(_CEPSTRA_CONFIG)
    frontend.reset()
    samples = np.clip(samples, -1, 1).astype(np.float32)
    return np.concatenate([frontend.push(samples), frontend.flush(0)])


def _features(cepstra):
    frontend = _frontend(CONFIG)
    frontend.reset()
    cepstra = np.ascontiguousarray(cepstra, np.float32)
    return np.concatenate([frontend.push_cepstra(cepstra), frontend.flush(0)])


def _between_silence(samples, lead, tail):
    return np.concatenate([np.zeros(lead, np.float32), samples, np.zeros(tail, np.float32)])


def word_features(samples, trim):
    """Return the network inputs of a recorded word.

    Parameters
    ----------
    samples : numpy.ndarray
        float32 [shape=(samples,)] at 16 kHz.
    trim : bool
        There is silence around the word; it is cut off first.

    Returns
    -------
    numpy.ndarray
        float32 [shape=(steps, 78)], 50 steps per second.
    """
    if trim:
        begin, end, _ = find_word(samples)
        samples = samples[begin:end]
    samples = samples * np.float32(LEVEL / augment.rms(samples))
    return _features(_cepstra(_between_silence(samples, LEAD_SAMPLES, TAIL_SAMPLES)))


@functools.cache
def noise_bank():
    """Return noises by kind: dict of str to list of arrays [shape=(samples,)], those recorded of int16."""
    return {
        "white": [augment.colored_noise(1, NOISE_BANK_SAMPLES, 0)],
        "pink": [augment.colored_noise(2, NOISE_BANK_SAMPLES, -1)],
        "background": [u.pcm for u in training_set("sc_background_noise")],
        "environment": [u.pcm for u in training_set("esc10_noise")],
    }


def _noise(rng, count):
    kinds = list(noise_bank().values())
    kind = kinds[rng.integers(len(kinds))]
    recording = kind[rng.integers(len(kind))]
    start = rng.integers(max(1, len(recording) - count))
    noise = np.resize(recording[start : start + count].astype(np.float32), count)
    level = augment.rms(noise)
    if recording.dtype == np.int16:
        # Pauses of a recording must not be blown up to the level of its sounds.
        level = max(level, 0.3 * augment.rms(recording[::7].astype(np.float32)), 1.0)
    return noise / np.float32(level)


def changed_features(rng, samples, trim, changes):
    """Return the network inputs of a word as another voice, microphone and room would give it.

    Parameters
    ----------
    rng : numpy.random.Generator
    samples, trim
        As for `word_features`.
    changes : Changes

    Returns
    -------
    numpy.ndarray
        float32 [shape=(steps, 78)].
    """
    if trim:
        begin, end, _ = find_word(samples, int(rng.integers(800)), int(rng.integers(1600)))
        samples = samples[begin:end]
    response, room_db = np.ones(augment.GRID, np.float32), None
    if rng.random() < changes.equalized:
        response = response * augment.random_response(rng, changes.tilt_db, changes.ripple_db)
    if rng.random() < changes.low_pass:
        response = response * augment.random_low_pass(rng)
    if rng.random() < changes.room:
        room_db = rng.uniform(*changes.room_db)
        samples = _between_silence(samples, 0, int(rng.integers(1600)))
    speed, reflecting = rng.uniform(*changes.speed), bool(rng.random() < 0.5)
    samples, _ = augment.reshape(rng, samples, speed, response, room_db, reflecting)
    if rng.random() < changes.noise:
        ratio = 10 ** (-rng.uniform(*changes.snr_db) / 20)
        samples = samples + _noise(rng, len(samples)) * np.float32(augment.rms(samples) * ratio)
    gain = 10 ** (rng.uniform(-1, 1) * changes.gain_db / 20)
    samples = samples * np.float32(gain * LEVEL / augment.rms(samples))
    samples = _between_silence(samples, int(rng.integers(160, 1600)), int(rng.integers(1600, 4000)))
    cepstra = _cepstra(samples)
    if rng.random() < changes.warped:
        warp = _FILTERS.warp_matrix(changes.warp ** rng.uniform(-1, 1))
        cepstra = cepstra @ (_FILTERS.to_log_mel @ warp @ _FILTERS.to_cepstra)
    if rng.random() < changes.stretched:
        cepstra = stretch(cepstra, rng.uniform(*changes.tempo))
    return _features(cepstra)


def changed_cepstral_features(rng, word, bank, changes):
    """The same for a word that is known as cepstra of another front end: its smoothed spectrum is read at other places.

    Parameters
    ----------
    rng : numpy.random.Generator
    word : training.an4_words.CepstralWord
    bank : training.cepstral.FilterBank
        Of these cepstra.
    changes : Changes

    Returns
    -------
    numpy.ndarray
        float32 [shape=(steps, 78)].
    """
    before, after = (int(n) for n in rng.integers(5, size=2))
    cepstra = word.cepstra[max(word.first, word.begin - before) : min(word.last, word.end + after)]
    hz = _FILTERS.centers_hz / changes.warp ** rng.uniform(-1, 1)
    # Words said alone are slower than those of an utterance.
    tempo = rng.uniform(0.85 * changes.tempo[0], 0.9 * changes.tempo[1])
    log_mel = stretch(cepstra @ (bank.to_log_mel @ bank.resampling_matrix(hz)), tempo)
    if rng.random() < changes.equalized:
        curve = random_curve_db(rng, _FILTERS.octaves, changes.tilt_db, changes.ripple_db)
        log_mel = log_mel + LN_PER_DB * curve
    energy = np.exp(log_mel)
    if rng.random() < changes.room:
        seconds = rng.uniform(0.1, 0.5)
        energy = reverberate(energy, 1e-6 ** (0.01 / seconds), 10 ** rng.uniform(-1.5, -0.3))
    if rng.random() < changes.noise:
        shape = np.exp(_FILTERS.white + LN_PER_DB * rng.uniform(-6, 1) * _FILTERS.octaves)
        level = np.percentile(energy.mean(axis=1), 90) * 10 ** (-rng.uniform(*changes.snr_db) / 10)
        # A filter sums few bins, so its noise energy fluctuates from frame to frame.
        flutter = np.exp(0.35 * rng.standard_normal(energy.shape, dtype=np.float32))
        energy = energy + level / shape.mean() * shape * flutter
    gain = 10 ** (rng.uniform(-1, 1) * (changes.gain_db + 1) / 10)
    energy = energy * (gain * _WORD_ENERGY / energy.mean())
    lead, tail = rng.integers(1, 10), rng.integers(10, 25)
    energy = np.concatenate([np.repeat(_SILENCE, lead, 0), energy, np.repeat(_SILENCE, tail, 0)])
    return _features(np.log(energy + CONFIG.log_floor) @ _FILTERS.to_cepstra)
