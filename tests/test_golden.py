# SPDX-License-Identifier: MIT
"""Golden files: made again byte for byte, loaded with the logits they had, or refused by their rule."""

import re

import make_golden
import numpy as np
import pytest

from edge_runtime import FormatError, Model
from edge_runtime.format import RULE_STATUS, ModelFile
from edge_runtime.reference import ReferenceStream

GOOD = sorted(make_golden.GOLDEN.glob("*.ernn"))
BAD = sorted((make_golden.GOLDEN / "bad").glob("*.ernn"))


def name_of(path):
    return path.stem


def test_folder_holds_what_make_golden_writes():
    files = {
        path.relative_to(make_golden.GOLDEN).as_posix(): path.read_bytes()
        for path in make_golden.GOLDEN.rglob("*.*")
    }
    assert files == make_golden.all_files(), "python tests/make_golden.py writes other files"


@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_good_file_gives_its_logits(path):
    table = np.loadtxt(path.with_suffix(".csv"), delimiter=",", skiprows=1, dtype=np.int64)
    model = Model.load(path)
    x = table[:, : model.input_size].astype(np.int8 if model.profile == 1 else np.int16)
    y = table[:, model.input_size :]
    np.testing.assert_array_equal(model.stream().run_quantized(x), y)
    np.testing.assert_array_equal(ReferenceStream(ModelFile.load(path)).run_quantized(x), y)


@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_good_file_is_canonical(path):
    data = path.read_bytes()
    assert ModelFile.from_bytes(data).to_bytes() == data


@pytest.mark.parametrize("path", BAD, ids=name_of)
def test_bad_file_is_refused_by_its_rule(path):
    rule = int(re.match(r"R(\d\d)_", path.name)[1])
    with pytest.raises(FormatError) as by_python:
        ModelFile.load(path)
    with pytest.raises(FormatError) as by_c:
        Model.load(path)
    assert by_python.value.rule == rule
    assert str(by_c.value) == str(by_python.value)
    for field in ("status", "rule", "offset", "expected", "found"):
        assert getattr(by_c.value, field) == getattr(by_python.value, field), field
    assert str(by_c.value).startswith(f"{path}: offset ")
    assert f"(rule R{rule})" in str(by_c.value)


def test_every_rule_has_a_bad_file():
    rules = {int(path.name[1:3]) for path in BAD}
    assert rules == set(RULE_STATUS)


def test_files_are_small():
    sizes = {path: path.stat().st_size for path in GOOD}
    assert max(sizes.values()) < 2048
