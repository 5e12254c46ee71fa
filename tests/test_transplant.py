# SPDX-License-Identifier: MIT
"""training.transplant: a word goes into another recording. Runs without torch and without data."""

import dataclasses
import os

import numpy as np
import pytest

from training import augment
from training.bank import Clip
from training.strings import StringsConfig
from training.transplant import noise_of, power_spectrum, transplant

SECOND = 16000


def clip_with(rng, count, begin, end, slope, noise_rms, label, dtype=np.float32):
    """A clip of colored noise for a word, in white noise."""
    pcm = noise_rms * rng.standard_normal(count)
    pcm[begin:end] += 0.1 * augment.colored_noise(label, end - begin, slope)
    if dtype == np.int16:
        pcm = np.rint(pcm * 32767)
    pcm = pcm.astype(dtype)
    word = pcm[begin:end] * (1 / 32768 if dtype == np.int16 else 1.0)
    gain = (1 / 32768 if dtype == np.int16 else 1.0) / augment.rms(word.astype(np.float32))
    return Clip(pcm, (label,), begin, end, gain, words=(f"word{label}",))


def tilt_db(samples):
    """By how much more power is below 1 kHz than above 4 kHz."""
    power = power_spectrum(samples)
    return 10 * np.log10(power[2:32].mean() / power[128:250].mean())


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def donor(rng):
    return clip_with(rng, 12000, 3000, 9000, slope=0, noise_rms=1e-4, label=3)


@pytest.fixture
def place(rng):
    return clip_with(rng, SECOND, 4000, 12000, slope=-3, noise_rms=3e-3, label=7, dtype=np.int16)


def test_result_says_the_word_in_the_length_of_the_place(rng, donor, place):
    clip = transplant(rng, donor, place)
    assert clip.pcm.dtype == np.float32 and len(clip.pcm) == SECOND
    assert (clip.labels, clip.words, clip.narrow) == (donor.labels, donor.words, donor.narrow)
    assert clip.end - clip.begin == 6000
    assert (
        clip.begin == 5000
    )  # of 10,000 samples of pause, as many before the word as the place has, of 8,000
    assert augment.rms(clip.cut(clip.begin, clip.end)) == pytest.approx(1)


def test_pauses_are_those_of_the_place(rng, donor, place):
    clip = transplant(rng, donor, place)
    recorded = place.cut(0, len(place.pcm))
    # Up to the 10 ms in which recorded and continued noise meet, on either side.
    np.testing.assert_allclose(clip.pcm[1160:4840], recorded[160:3840], atol=1e-6)
    np.testing.assert_allclose(clip.pcm[11160:14840], recorded[12160:15840], atol=1e-6)


def test_what_no_pause_fills_is_noise_like_it(rng, donor, place):
    clip = transplant(rng, donor, place)
    level = augment.rms(place.cut(0, 4000))
    for part in (clip.pcm[:900], clip.pcm[15100:]):
        assert augment.rms(part) == pytest.approx(level, rel=0.15)
    silent = dataclasses.replace(
        donor, pcm=np.where(np.arange(12000) < 6000, donor.pcm, 0).astype(np.float32)
    )
    clip = transplant(rng, silent, place)
    assert augment.rms(clip.pcm[clip.begin + 3500 : clip.end - 200]) == pytest.approx(level, rel=0.15)


def test_word_takes_over_the_response_of_the_place(rng, donor, place):
    before = tilt_db(donor.cut(donor.begin, donor.end))
    wanted = tilt_db(place.cut(place.begin, place.end))
    clip = transplant(rng, donor, place)
    after = tilt_db(clip.cut(clip.begin, clip.end))
    assert abs(before) < 1 and wanted > 15
    assert 0.3 * wanted < after < 1.1 * wanted


def test_word_longer_than_the_place_is_kept_whole(rng, place):
    long = clip_with(rng, 30000, 500, 29500, slope=0, noise_rms=1e-4, label=2)
    clip = transplant(rng, long, place)
    assert (clip.begin, clip.end, len(clip.pcm)) == (0, 29000, 29000)


def test_place_without_pauses_is_silent_around_the_word(rng, donor):
    full = clip_with(rng, SECOND, 0, SECOND, slope=-1, noise_rms=1e-3, label=4)
    clip = transplant(rng, donor, full)
    assert (clip.begin, clip.end) == (0, 6000)
    assert not clip.pcm[6000:].any()


def test_noise_has_the_power_that_was_measured(rng):
    sample = augment.colored_noise(1, 64000, -1)
    power = power_spectrum(sample)
    assert power.shape == (257,) and power.dtype == np.float32
    again = noise_of(rng, power, 64000)
    assert again.dtype == np.float32 and again.shape == (64000,)
    difference = 10 * np.log10(power_spectrum(again)[4:] / power[4:])
    assert np.abs(difference).max() < 2.5 and abs(difference.mean()) < 0.3
    assert augment.rms(again) == pytest.approx(1, rel=0.1)


@pytest.mark.skipif(not os.environ.get("EDGE_RUNTIME_DATA"), reason="EDGE_RUNTIME_DATA is not set")
def test_guests_of_the_crowd_are_transplanted_as_configured(monkeypatch):
    from training import strings

    pytest.importorskip("soundfile")
    calls = []

    def count(rng, clip, place):
        calls.append((clip.labels, place.labels))
        return transplant(rng, clip, place)

    monkeypatch.setattr(strings, "transplant", count)
    base = {"an4": 0.0, "digits": 1.0, "unknown": 0.0, "sentence": 0.0, "noise": 0.0, "mixed": 0.0}
    voices = {"sc_pool": 1.0}
    config = StringsConfig(**base, voices=voices, guest=0.5, transplanted=0.5)
    words = 0
    for index in range(150):
        words += len(strings.make_example(np.random.default_rng([3, index]), config).labels)
    assert 0.18 < len(calls) / words < 0.32
    assert {labels[0] for labels, _ in calls} == set(range(1, 12))  # whatever the crowd says
    for change in ({"voices": {"fsdd": 1.0}}, {"transplanted": 0.0}, {"guest": 0.0}):
        calls.clear()
        config = StringsConfig(**base, **({"voices": voices, "guest": 0.5, "transplanted": 0.5} | change))
        for index in range(30):
            strings.make_example(np.random.default_rng([3, index]), config)
        assert not calls
