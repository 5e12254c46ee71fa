# SPDX-License-Identifier: MIT
"""Damaged files in C, under the address and undefined-behavior sanitizers: check_corruption.c."""

import pathlib
import re
import subprocess

import pytest
import sanitizers

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
#: Files of which every byte takes every value; of the others, every 16th value.
THOROUGH = ("stack_mixed_full", "gru_ternary_small", "lstm_pow2_shared")


@pytest.fixture(scope="module")
def check_corruption():
    """The program, built with sanitizers."""
    build = sanitizers.BUILDS["address"]
    sanitizers.needs(build)
    return sanitizers.program(build, "check_corruption", sources=())


def run(program, *arguments):
    """Counts (refused, accepted) per file; fails the test with what the program said."""
    result = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]
    found = re.findall(r"(\d+) refused, (\d+) accepted and run", result.stdout)
    return [(int(refused), int(accepted)) for refused, accepted in found]


@pytest.mark.parametrize("name", THOROUGH)
def test_every_value_of_every_byte(check_corruption, name):
    path = GOLDEN / f"{name}.ernn"
    ((refused, accepted),) = run(check_corruption, path)
    assert refused > 255 * path.stat().st_size
    assert accepted > 10000


def test_some_values_of_every_byte_of_every_file(check_corruption):
    paths = sorted(path for path in GOLDEN.glob("*.ernn") if path.stem not in THOROUGH)
    counts = run(check_corruption, "--stride", 16, *paths)
    assert len(counts) == len(paths)
    assert all(accepted > 0 for _, accepted in counts)


def test_check_refuses_a_bad_file(check_corruption):
    path = GOLDEN / "bad" / "R05_checksum.ernn"
    result = subprocess.run([str(check_corruption), str(path)], capture_output=True, text=True)
    assert result.returncode == 1
    assert "not a good file" in result.stderr
