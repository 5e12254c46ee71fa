# SPDX-License-Identifier: MIT
"""The AN4 task of the grid: batches, scores, and a whole training on a small corpus made in the set's format."""

import csv
import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import edge_runtime
from apps.corpus import read_folder
from training import ctc, wsj
from training.reproduce import an4, spelling, trainer
from training.reproduce.row import RESULT, checked

WORDS = ("yes", "no", "go")
LETTERS = spelling.SPELLINGS["letters"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of sets with one: 30 utterances of three words, every letter a spectrum of its own."""
    folder = tmp_path_factory.mktemp("sets") / "an4_mfcc"
    folder.mkdir()
    rng = np.random.default_rng(5)
    shape = {letter: rng.normal(0, 1, 13) for letter in "yesnog"}
    frames, rows = [], []
    for number in range(30):
        words = list(rng.choice(WORDS, rng.integers(1, 3)))
        spoken = [np.full((12, 13), -1.0)]
        for word in words:
            spoken += [np.tile(shape[letter], (8, 1)) for letter in word] + [np.full((9, 13), -1.0)]
        cepstra = np.concatenate(spoken) + rng.normal(0, 0.1, (sum(map(len, spoken)), 13))
        split = ("train", "train", "train", "dev", "test")[number % 5]
        begin = sum(map(len, frames))
        fields = [
            "features.npz",
            split,
            "f",
            " ".join(words),
            f"an{number}",
            begin,
            len(cepstra),
            split,
            "made",
        ]
        rows.append(fields)
        frames.append(cepstra.astype(np.float32))
    np.savez(folder / "features.npz", mfcc=np.concatenate(frames))
    with open(folder / "index.csv", "w", newline="") as stream:
        columns = "file,speaker,gender,label,take,start_frame,num_frames,split,source"
        csv.writer(stream).writerows([columns.split(","), *rows])
    (folder / "an4.dic").write_text("GO   G OW\nNO   N OW\nYES   Y EH S\nYES(2)   Y EH Z\n")
    return folder.parent


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(an4, "_WARM_UP", 4)


def _row(**changes):
    budget = {"steps": 36, "batch": 6, "rate": 2e-2, "dropout": 0.1}
    return dataclasses.replace(an4.rows()[0], units=(20, 16), budget=budget, **changes)


def test_rows_are_of_the_task_and_differ():
    rows = an4.rows()
    assert len({row.name for row in rows}) == len(rows)
    assert {row.task for row in rows} == {"an4"}
    for method in ("float", "ternary"):
        assert {row.seed for row in rows if row.method == method} >= {0, 1, 2}


def test_rows_of_wsj_are_there_where_its_set_is(data, monkeypatch, tmp_path):
    (tmp_path / "wsj_mfcc").symlink_to(data / "an4_mfcc")
    monkeypatch.setenv("EDGE_RUNTIME_DATA", str(data))
    assert all(row.variant == "letters" for row in an4.rows())
    monkeypatch.setenv("EDGE_RUNTIME_DATA", str(tmp_path))
    rows = [row for row in an4.rows() if row.variant == "wsj"]
    assert {row.method for row in rows} == {"float", "ternary"}
    budget = {**rows[0].budget, "steps": 3, "batch": 4}
    row = dataclasses.replace(rows[1], units=(8, 8), budget=budget)
    result = checked(an4.train(row, tmp_path, tmp_path, lambda *_: None))
    assert result["exact_differing"] == 0 and "dictionary_word_error_rate" not in result
    assert edge_runtime.Model.load(tmp_path / "model.ernn").output_size == len(wsj.LABELS)


def test_text_is_spelled_and_scored():
    assert LETTERS.text_of(LETTERS.outputs_of(("go", "x"))) == "go x"
    assert ctc.BLANK not in LETTERS.outputs_of(("zebra", "quilt"))
    assert an4.error_rate([("a", "b", "c", "d"), ("x",)], [("a", "c", "d", "e"), ("x",)]) == 2 / 5


def test_dictionary_holds_every_word_once(data):
    assert LETTERS.words(data) == ["go", "no", "yes"]


def test_epochs_hold_all_utterances_once_the_short_ones_first(data):
    speech = read_folder(data / "an4_mfcc", ("train",))
    batches = spelling.Batches(speech, LETTERS, 3, 7)
    batches._short = batches._short[:2]
    first = [batches._indices(step, np.random.default_rng(step)) for step in range(3)]
    assert set(np.concatenate(first)) <= set(batches._short)
    epoch = [batches._indices(spelling._SHORT_STEPS + step, None) for step in range(len(speech) // 3)]
    assert sorted(np.concatenate(epoch)) == list(range(len(speech)))
    again = spelling.Batches(speech, LETTERS, 3, 7)
    np.testing.assert_array_equal(again._indices(spelling._SHORT_STEPS + 4, None), epoch[4])


def test_examples_differ_by_step_and_can_be_spelled(data):
    speech = read_folder(data / "an4_mfcc", ("train",))
    batches = spelling.Batches(speech, LETTERS, 4, 0)
    (x, _), *_ = examples = batches.examples(0)
    assert x.shape[1] == spelling.FRONTEND.feature_size == 117 and x.dtype == np.float32
    assert all(len(x) >= len(labels) for x, labels in examples)
    np.testing.assert_array_equal(x, spelling.Batches(speech, LETTERS, 4, 0).examples(0)[0][0])
    assert not np.array_equal(x, batches.examples(1)[0][0])
    assert not spelling._is_possible(np.zeros((3, 117)), [4, 4, 4]) and spelling._is_possible(
        np.zeros((5, 117)), [4, 4, 4]
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "float"},
        {"method": "ternary"},
        {"method": "binary", "normalization": "weight", "cell": "lstm"},
    ],
)
def test_a_row_is_trained_packed_and_scored(tmp_path, data, changes):
    row = _row(**changes)
    reports = []
    result = checked(an4.train(row, tmp_path, data, lambda *figures: reports.append(figures)))
    assert set(RESULT) <= set(result)
    assert reports[-1][:2] == (36, 36) and result["steps"] == 36
    assert result["curve"][-1][1] < 0.6 * result["curve"][0][1]  # it learns
    assert result["decisions"] == 6 and result["differing"] <= 1  # best outputs may be as good as equal
    assert result["exact_checked"] == 6 and result["exact_differing"] == 0
    assert result["packed_score"] == pytest.approx(result["score"], abs=0.05)
    assert result["bytes"] == (tmp_path / "model.ernn").stat().st_size
    assert len(result["histograms"]["before"]) == len(result["histograms"]["after"]) == 8


def test_the_file_spells_by_itself(tmp_path, data):
    """The model file holds front end and decoder: the C recognizer takes audio with it."""
    an4.train(_row(method="ternary"), tmp_path, data, lambda *_: None)
    model = edge_runtime.Model.load(tmp_path / "model.ernn")
    assert model.labels == LETTERS.labels
    recognizer = model.recognizer(sample_rate=16000)
    recognizer.accept_waveform(np.zeros(16000, np.float32))
    assert all(word.label in LETTERS.labels[1:] for word in recognizer.finish())


@pytest.mark.parametrize("older", [False, True])
def test_an_interrupted_training_goes_on(tmp_path, data, monkeypatch, older):
    row = _row(method="ternary")
    (whole := tmp_path / "whole").mkdir()
    expected = an4.train(row, whole, data, lambda *_: None)
    (cut := tmp_path / "cut").mkdir()
    monkeypatch.setattr(trainer, "_CHECKPOINT_S", 0.0)

    def interrupt(step, steps, figures):
        if step == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        an4.train(row, cut, data, interrupt)
    if older:  # the checkpoint as it was written before the tasks had one trainer
        kept = torch.load(cut / "checkpoint.pt", weights_only=True)
        kept["norms"] = kept.pop("spectral_norm")
        del kept["skipped"], kept["state"]
        torch.save(kept, cut / "checkpoint.pt")
    seen = []
    result = an4.train(row, cut, data, lambda step, *_: seen.append(step))
    assert seen[0] == 11 and seen[-1] == 36
    assert (cut / "model.ernn").read_bytes() == (whole / "model.ernn").read_bytes()
    assert result["score"] == expected["score"] and len(result["curve"]) == len(expected["curve"])
    assert result["spectral_norm"] == expected["spectral_norm"]
