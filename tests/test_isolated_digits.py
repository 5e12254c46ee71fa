# SPDX-License-Identifier: MIT
"""Isolated digits: the telephone-band front end, changed copies, and a row of the grid from clips to a packed model."""

import dataclasses
import os

import numpy as np
import pytest

pytest.importorskip("torch")

import edge_runtime
from edge_runtime.format import ModelFile
from edge_runtime.frontend import Frontend
from training import isolated_digits, packed, telephone
from training.an4_words import CepstralWord
from training.cepstral import STANDARD, FilterBank
from training.features import cepstra_of
from training.isolated_digits import FSDD_SPEAKERS, WORDS, DigitClip, changed_copies, read_clips
from training.quantizers import METHODS
from training.reproduce import digits, trainer
from training.reproduce.row import check_name, checked

needs_data = pytest.mark.skipif(
    not os.environ.get("EDGE_RUNTIME_DATA"), reason="EDGE_RUNTIME_DATA is not set"
)
UNCHANGED = telephone.Changes(
    warped=0, warp=1, stretched=0, equalized=0, low_pass=0, room=0, noise=0, gain_db=0
)


def word(digit, seed=0):
    """Half a second of a gliding vowel, other for each digit: float32 samples at 16 kHz."""
    rng = np.random.default_rng([digit, seed])
    time = np.arange(8000) / 16000
    pitch = rng.uniform(100, 130)
    formant = np.linspace(400 + 150 * digit, 2400 - 150 * digit, len(time))
    harmonics = np.arange(1, 30)[:, None] * pitch
    heights = np.exp(-(((harmonics - formant) / 300) ** 2))
    sound = (heights * np.sin(2 * np.pi * harmonics * time)).sum(axis=0)
    return (0.1 * np.hanning(len(time)) * sound + rng.normal(0, 1e-4, len(time))).astype(np.float32)


def some_clips():
    """Every digit of all speakers of Free Spoken Digit, and of a speaker of dev."""
    clips = [
        DigitClip("fsdd", speaker, digit, "train", word(digit, number), trim=False)
        for number, speaker in enumerate(FSDD_SPEAKERS)
        for digit in range(10)
    ]
    return clips + [DigitClip("sc_digits", "dev", digit, "dev", word(digit, 99)) for digit in range(10)]


def test_features_do_not_tell_level_nor_background():
    loud, quiet = word(3), word(3) / 64
    features = telephone.word_features(loud, trim=False)
    assert features.shape == (50 * (8000 + 4000) // 16000, telephone.FEATURE_SIZE)
    assert np.array_equal(features, telephone.word_features(quiet, trim=False))
    with_hiss = loud + np.random.default_rng(0).normal(0, 3e-5, len(loud)).astype(np.float32)
    assert np.abs(features - telephone.word_features(with_hiss, trim=False)).max() < 0.5
    assert np.ptp(features[-2:], axis=0).max() < 1e-3, "ends in silence"


def test_silence_around_a_word_is_cut_off():
    hiss = np.random.default_rng(1).normal(0, 1e-4, 16000).astype(np.float32)
    around = hiss.copy()
    around[4000:12000] += word(5)
    assert len(telephone.word_features(around, trim=True)) < 45
    assert len(telephone.word_features(around, trim=False)) > 60


def test_changed_copies_of_a_word_differ_and_repeat():
    changes = dataclasses.replace(telephone.Changes(), noise=0)  # recorded noise needs the data

    def copy(seed):
        return telephone.changed_features(np.random.default_rng(seed), word(1), True, changes)

    assert np.array_equal(copy(0), copy(0))
    lengths = {len(copy(seed)) for seed in range(20)}
    assert len(lengths) > 5
    assert min(lengths) >= digits.DECIDING_STEPS
    assert all(np.isfinite(copy(seed)).all() for seed in range(20))


def test_a_word_of_cepstra_looks_like_its_recording():
    # What AN4 has are cepstra of the recognizer's front end; read at the telephone's filters they are as if recorded.
    for digit in (0, 4, 8):
        cepstra = cepstra_of(telephone.LEVEL / 0.03 * word(digit))
        said = CepstralWord(cepstra, "x", 0, 4, len(cepstra) - 4, 4, len(cepstra) - 4, 1.0, 0.0)
        changes = dataclasses.replace(UNCHANGED, tempo=(1 / 0.85, 1 / 0.9))
        ours = telephone.changed_cepstral_features(np.random.default_rng(0), said, STANDARD, changes)
        theirs = telephone.word_features(word(digit), trim=False)
        middle = [part[len(part) // 2 - 8 : len(part) // 2 + 2, :3].mean(axis=0) for part in (ours, theirs)]
        assert np.abs(middle[0] - middle[1]).max() < 1.0, middle


def test_filters_are_read_at_other_frequencies():
    bank = FilterBank(32, 13, 130.0, 3700.0)
    assert np.allclose(bank.resampling_matrix(bank.centers_hz), np.eye(32), atol=1e-6)
    spectrum = np.log(STANDARD.centers_hz)
    read = spectrum @ STANDARD.resampling_matrix(bank.centers_hz)
    assert np.allclose(read[2:], np.log(bank.centers_hz)[2:], atol=0.02)
    assert np.allclose(bank.to_log_mel @ bank.to_cepstra, np.eye(13), atol=1e-5)


@needs_data
def test_clips_of_other_sets_are_no_test_clips():
    clips = read_clips()
    assert sum(clip.source == "fsdd" for clip in clips) == 3000
    assert {clip.split for clip in clips if clip.source != "fsdd"} == {"train", "dev"}
    assert {clip.digit for clip in clips if clip.source == "an4_mfcc"} == set(range(10))


def test_copies_are_made_once_and_only_of_training_clips(tmp_path, monkeypatch):
    monkeypatch.setitem(isolated_digits.COPIES, "fsdd", 2)
    made = changed_copies(tmp_path, some_clips(), UNCHANGED)
    assert len(made.digits) == 2 * 60
    assert set(made.sources) == {"fsdd"}
    assert np.array_equal(np.unique(made.digits), range(10))
    assert len(made.frames) == made.ends[-1] == made.lengths.sum()
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    before = (folder / "frames.npy").stat().st_mtime_ns
    again = changed_copies(tmp_path, some_clips(), UNCHANGED)
    assert np.array_equal(again.inputs(7), made.inputs(7))
    assert (folder / "frames.npy").stat().st_mtime_ns == before
    changed_copies(tmp_path, some_clips(), dataclasses.replace(UNCHANGED, gain_db=1.0))
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


def test_rows_have_three_seeds_of_every_method():
    rows = digits.rows()
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    for row in rows:
        check_name(row)
        assert row.method in METHODS
    compared = {(row.method, row.normalization) for row in rows if row.cell == "gru" and not row.stochastic}
    assert {
        ("float", "none"),
        ("ternary", "none"),
        ("pow2-ternary", "none"),
        ("exponential", "none"),
        ("binary", "none"),
        ("binary", "weight"),
    } <= compared
    for method, normalization in compared - {("binary", "batch")}:  # of that, one seed
        folds = {
            (row.variant, row.seed)
            for row in rows
            if (row.cell, row.method, row.normalization, row.stochastic)
            == ("gru", method, normalization, False)
        }
        some = FSDD_SPEAKERS if (method, normalization) != ("binary", "none") else ("george", "theo")
        assert folds == {(speaker, seed) for speaker in some for seed in range(3)}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A row of a few steps on ten made-up words."""
    monkeypatch.setattr(digits, "read_clips", lambda speech: some_clips())
    monkeypatch.setattr(
        digits, "changed_copies", lambda folder, clips: changed_copies(folder, clips, UNCHANGED)
    )
    monkeypatch.setitem(isolated_digits.COPIES, "fsdd", 1)
    monkeypatch.setattr(digits, "_SCORES", 2)
    monkeypatch.setattr(digits, "_WARM_UP", 1)
    budget = {**digits.BUDGET, "steps": 100, "batch": 20, "rate": 0.02}
    row = dataclasses.replace(digits.rows()[0], variant="theo", method="ternary", units=(16,), budget=budget)

    def train(name, report=lambda *_: None, **changes):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return folder, checked(digits.train(dataclasses.replace(row, **changes), folder, tmp_path, report))

    return train


def test_a_batch_never_holds_the_speaker_who_is_left_out(tmp_path, small, monkeypatch):
    copies = changed_copies(tmp_path / "cache", some_clips(), UNCHANGED)
    row = dataclasses.replace(digits.rows()[0], variant="theo")
    draw = digits._Draw(copies, row)
    assert {copies.speakers[w] for w in draw.some(2000)} == set(FSDD_SPEAKERS) - {"theo"}


@pytest.mark.parametrize(
    "changes",
    [{}, {"method": "exponential", "stochastic": True}, {"cell": "lstm", "normalization": "weight"}],
)
def test_a_row_ends_with_a_model_that_decides_the_same(small, changes):
    folder, result = small("row", **changes)
    assert result["metric"] == "accuracy"
    assert result["decisions"] == 10
    assert result["differing"] == result["exact_differing"] == 0
    assert result["score"] == result["packed_score"]
    assert [step for step, _, _ in result["curve"]] == [50, 100]
    assert result["curve"][-1][1] < result["curve"][0][1]
    # A device hears sound: front end and network of the file say what the result says.
    model = edge_runtime.Model.load(folder / "model.ernn")
    config = ModelFile.load(folder / "model.ernn").frontend
    assert config == telephone.CONFIG
    right = 0
    for clip in some_clips():
        if (clip.source, clip.speaker) == ("fsdd", "theo"):
            sound = clip.samples * np.float32(telephone.LEVEL / np.sqrt(np.mean(clip.samples**2)))
            frontend = Frontend(config)
            silence = [np.zeros(n, np.float32) for n in (telephone.LEAD_SAMPLES, telephone.TAIL_SAMPLES)]
            heard = [frontend.push(part) for part in (silence[0], sound, silence[1])]
            logits = packed.logits_of(model, np.concatenate([*heard, frontend.flush(0)]))
            right += WORDS[digits._decide(logits)] == WORDS[clip.digit]
    assert right / 10 == result["packed_score"]


def test_an_interrupted_row_goes_on_as_if_it_had_not_been(small, monkeypatch):
    monkeypatch.setattr(trainer, "_CHECKPOINT_S", 0)
    whole, _ = small("whole")

    class Stop(Exception):
        pass

    def stop(step, steps, values):
        if step == 50:
            raise Stop

    with pytest.raises(Stop):
        small("parts", stop)
    folder, result = small("parts")
    assert [step for step, _, _ in result["curve"]] == [50, 100]
    assert (folder / "model.ernn").read_bytes() == (whole / "model.ernn").read_bytes()


def test_weights_of_plus_and_minus_one_do_not_end_training(small):
    _, result = small("binary", method="binary")
    assert result["steps"] == 100
    assert result["differing"] == 0
