# SPDX-License-Identifier: MIT
"""Decoder settings are chosen for their cost, and the trade-off keeps its limits."""

import itertools
import os
import re
import tomllib

import numpy as np
import pytest

pytest.importorskip("soundfile")

from edge_runtime import Model
from edge_runtime.format import ModelFile
from edge_runtime.model import SMALL_MODEL
from training import devset, operating_point
from training.labels import LABELS

needs_data = pytest.mark.skipif(
    not os.environ.get("EDGE_RUNTIME_DATA"), reason="EDGE_RUNTIME_DATA is not set"
)


@pytest.fixture
def few(monkeypatch):
    """Twelve recordings of each development set, and a grid of 24 settings."""
    sets = {
        "fsdd": devset.digit_words("fsdd")[::25],
        "sc_digits": devset.digit_words("sc_digits")[::15],
        "strings_10db": devset.strings("10db", 12),
    }
    for name in ("sc_words", "nondigit_speech", "esc10_noise"):
        sets[f"reject_{name}"] = devset.rejected(name)[:12]
    monkeypatch.setattr(devset, "all_sets", lambda withheld, speeds: sets)
    monkeypatch.setattr(operating_point, "BLANK_BIASES", (0, 4096))
    monkeypatch.setattr(operating_point, "UNKNOWN_BIASES", (-8192, 0, 4096))
    monkeypatch.setattr(operating_point, "RARE_BIASES", (0, 3072))
    monkeypatch.setattr(operating_point, "THRESHOLDS", (0.0, 0.9))
    return sets


@needs_data
def test_the_chosen_point_costs_least(few):
    model = Model.from_bytes(operating_point.neutral(Model.default().file).to_bytes())
    every = list(operating_point.points(model))
    grid = itertools.product((0, 4096), (-8192, 0, 4096), (0, 3072), (0.0, 0.9))
    assert [point[:4] for point in every] == list(grid)
    *setting, scores = min(every, key=lambda point: point[4].cost)
    assert scores.cost < max(point[4].cost for point in every)
    assert scores.cost == pytest.approx(scores.mean_wer + operating_point.CHARGE * scores.excess)
    table = tomllib.loads(operating_point.settings_text(Model.default().file))["decoder"]
    rare = {table["bias"][LABELS.index(word)] for word in ("two", "three", "four", "six", "seven", "nine")}
    assert [table["bias"][0], table["bias"][-1], *rare, table["threshold"]] == setting
    assert {table["bias"][LABELS.index(word)] for word in ("zero", "oh", "one", "five", "eight")} == {0}
    assert len(table["bias"]) == len(table["length_ms"]) == len(LABELS)


@needs_data
def test_a_twin_is_asked_too(few):
    file, twin = Model.default().file, ModelFile.load(SMALL_MODEL)
    costs = [
        [
            point[4].cost
            for point in operating_point.points(Model.from_bytes(operating_point.neutral(f).to_bytes()))
        ]
        for f in (file, twin)
    ]
    best = int(np.argmin(np.sum(costs, axis=0)))
    grid = list(itertools.product((0, 4096), (-8192, 0, 4096), (0, 3072), (0.0, 0.9)))
    table = tomllib.loads(operating_point.settings_text(file, twin=twin))["decoder"]
    assert (table["bias"][0], table["bias"][-1], table["bias"][4], table["threshold"]) == grid[best]


@needs_data
def test_fewer_errors_the_more_is_accepted(few):
    text = operating_point.tradeoff_text(Model.default().file)
    lines = re.findall(r"at most (\d+)% accepted .* sc_digits ([\d.]+)%.* reject_sc_words ([\d.]+)%", text)
    assert len(lines) == text.count("\n") >= 2
    errors = [float(error) for _, error, _ in lines]
    assert errors == sorted(errors, reverse=True)
    assert all(float(accepted) <= float(most) for most, _, accepted in lines)


def test_what_is_no_model_is_one_line_and_status_2(tmp_path, capsys):
    file = tmp_path / "model.ernn"
    file.write_bytes(b"no model")
    for path in (file, tmp_path / "none.ernn"):
        assert operating_point.main([str(path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("operating_point: ") and str(path) in error and error.count("\n") == 1
