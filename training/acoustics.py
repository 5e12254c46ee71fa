# SPDX-License-Identifier: MIT
"""How a signal of training comes to be recorded: speed, room, noise, microphone, level."""

import numpy as np

from training import augment
from training.babble import babble
from training.features import HOP_SAMPLES

SAMPLE_RATE = augment.SAMPLE_RATE


def pick(rng, items):
    """Draw one of several."""
    return items[rng.integers(len(items))]


def _noise(rng, bank, count, config):
    """Draw noise: float32 [shape=(count,)], RMS 1 where it is loudest."""
    if config.hum and rng.random() < config.hum:
        noise = augment.mains_hum(rng, count)
    elif config.calls and rng.random() < config.calls:
        noise = augment.calls(rng, count)
    else:
        noise = _recorded_noise(rng, bank, count, config)
    if rng.random() < config.unsteady:
        times = np.sort(rng.integers(count, size=rng.integers(1, 4)))
        gains_db = rng.uniform(-40, 0, len(times) + 1)
        gains = 10 ** ((gains_db - gains_db.max()) / 20)
        noise *= np.repeat(gains.astype(np.float32), np.diff(times, prepend=0, append=count))
    return noise


def _recorded_noise(rng, bank, count, config):
    if config.hard_noise and bank.noises["hard"] and rng.random() < config.hard_noise:
        kind = "hard"
    elif config.sounds and rng.random() < config.sounds:
        return scene(rng, bank.noises["sounds"], count)
    else:
        kind = pick(rng, ("white", "pink", "background", "environment"))
    recording = pick(rng, bank.noises[kind])
    start = rng.integers(len(recording))
    noise = recording[start : start + count].astype(np.float32)
    while len(noise) < count:  # around the end, as often as it takes
        noise = np.concatenate([noise, recording[: count - len(noise)]])
    level = augment.rms(noise)
    if recording.dtype == np.int16:
        # Pauses of a recording must not be blown up to the level of its sounds.
        level = max(level, 0.3 * augment.rms(recording[::7].astype(np.float32)), 1.0)
    return noise * np.float32(1 / level)


def scene(rng, recordings, count):
    """Put sounds one after the other, each at RMS 1 or up to 6 dB from it, with pauses of up to 0.8 s.

    Parameters
    ----------
    rng : numpy.random.Generator
    recordings : list of numpy.ndarray
        int16 or float32 [shape=(samples,)].
    count : int

    Returns
    -------
    numpy.ndarray
        float32 [shape=(count,)].
    """
    samples = np.zeros(count, np.float32)
    at = -int(rng.uniform(0, 0.5) * SAMPLE_RATE)
    while at < count:
        sound = pick(rng, recordings)
        first = max(0, -at)
        piece = sound[first : max(first, count - at)].astype(np.float32)
        gain = 10 ** (rng.uniform(-6, 6) / 20) / augment.rms(sound.astype(np.float32))
        samples[at + first : at + first + len(piece)] = piece * np.float32(gain)
        at += len(sound) + int(rng.uniform(0, 0.8) * SAMPLE_RATE)
    return samples


def record(rng, samples, bank, config, clean, narrow):
    """Send a string through voice change, room, noise and microphone.

    Parameters
    ----------
    rng : numpy.random.Generator
    samples : numpy.ndarray
        float32 [shape=(samples,)], words at RMS 1.
    bank : training.bank.Bank
        Holds the noises.
    config : training.strings.StringsConfig
    clean : float
        Probability that no noise is added.
    narrow : bool
        The string holds nothing above 4 kHz or a little more.

    Returns
    -------
    samples : numpy.ndarray
        float32 [shape=(round(samples / speed),)] within full scale.
    speed : float
    """
    response = room_db = None
    reflecting = False
    if rng.random() < config.equalizer:
        response = augment.random_response(rng, config.tilt_db, config.ripple_db)
    if rng.random() < config.reverberation:
        room_db = rng.uniform(*config.reverberation_db)
        reflecting = bool(config.reflecting) and rng.random() < config.reflecting
    low_pass = None
    if rng.random() < (config.low_pass_narrow if narrow else config.low_pass):
        low_pass = augment.random_low_pass(rng)
        response = low_pass if response is None else response * low_pass
    speed = rng.uniform(*config.speed)
    samples, speed = augment.reshape(rng, samples, speed, response, room_db, reflecting)
    level = augment.rms(samples) / np.sqrt(_active(samples))
    if rng.random() >= clean:
        snr_db = config.snr_db
        if config.babble and rng.random() < config.babble:
            noise, snr_db = babble(rng, bank.talkers, len(samples)), config.babble_snr_db
        else:
            noise = _noise(rng, bank, len(samples), config)
        if low_pass is not None:
            noise = augment.filter_response(noise, low_pass)
        samples = samples + noise * np.float32(level * 10 ** (-rng.uniform(*snr_db) / 20))
    return _digitize(rng, samples, 1 / level, config), speed


def _active(samples):
    # Share of the signal that is not silence: gaps must not count in the level of the words.
    frames = samples[: len(samples) // HOP_SAMPLES * HOP_SAMPLES].reshape(-1, HOP_SAMPLES)
    energy = np.einsum("ij,ij->i", frames, frames)
    return max(np.mean(energy > 1e-4 * energy.max()), 0.01) if len(energy) else 1.0


def _digitize(rng, samples, gain, config):
    level_dbfs = rng.uniform(*config.level_dbfs)
    if rng.random() < 0.1:  # very quiet and very loud, clipped recordings
        level_dbfs = pick(rng, (config.level_dbfs[0], config.level_dbfs[1] + 8))
        level_dbfs += rng.uniform(-4, 0)
    samples = samples * np.float32(gain * 10 ** (level_dbfs / 20))
    np.clip(samples, -1, 1, out=samples)
    if rng.random() < config.rounding:
        samples = np.rint(samples * 32767) * np.float32(1 / 32768)
    return samples


def noise_alone(rng, bank, config):
    """Record noise of 0.8 to 4 s.

    Parameters
    ----------
    rng : numpy.random.Generator
    bank : training.bank.Bank
    config : training.strings.StringsConfig

    Returns
    -------
    samples : numpy.ndarray
        float32 [shape=(samples,)] within full scale.
    talk : bool
        It is people who talk.
    """
    count = int(rng.uniform(0.8, 4.0) * SAMPLE_RATE)
    talk = bool(config.babble) and rng.random() < config.babble
    noise = babble(rng, bank.talkers, count) if talk else _noise(rng, bank, count, config)
    if config.bursts and not talk and rng.random() < config.bursts:
        noise *= augment.bursts(rng, count)
    if rng.random() < 0.25:
        noise += _noise(rng, bank, count, config) * np.float32(rng.uniform(0.1, 1))
    response = None
    if rng.random() < config.equalizer:
        response = augment.random_response(rng, config.tilt_db, config.ripple_db)
    if rng.random() < config.low_pass:
        low_pass = augment.random_low_pass(rng)
        response = low_pass if response is None else response * low_pass
    if config.noise_speed != (1.0, 1.0):
        noise, _ = augment.reshape(rng, noise, rng.uniform(*config.noise_speed), response)
    elif response is not None:
        noise = augment.filter_response(noise, response)
    return _digitize(rng, noise, 10 ** (-rng.uniform(0, 20) / 20), config), talk
