# SPDX-License-Identifier: MIT
"""Push, step, run, flush, finish and reset neither allocate, lock nor make a system call: check_realtime.c."""

import re
import subprocess
import sys

import pytest
import targets
from targets import ROOT, TARGETS

MODEL = ROOT / "edge_runtime" / "models" / "digits.ernn"
RECORDING = ROOT / "apps" / "demo_samples" / "robot.wav"
FINE = ROOT / "tests" / "golden" / "lstm_ternary_fine.ernn"
#: The C library's functions that an object needs once, when it is made or released.
LIFE_CYCLE = {"malloc", "free"}
#: Those that are plain computations on memory.
PLAIN = {"memcpy", "memmove", "memset", "memcmp", "strcmp", "strlen"}
#: Sources that read files and parse: er_model_create and what it calls.
LOADING = {"model.c", "format.c", "format_layer.c", "utf8.c"}


@pytest.fixture(scope="module")
def here():
    """The target that is this machine."""
    if not sys.platform.startswith("linux"):
        pytest.skip("seccomp is Linux's")
    target = TARGETS["x86-64"]
    targets.needs_target(target)
    return target


@pytest.fixture(scope="module")
def program(here):
    """native/tests/check_realtime.c with the library as CMake builds it."""
    path = targets.build_program(here, "check_realtime", link=())
    result = subprocess.run([str(path), "--control", "syscall"], capture_output=True, text=True)
    if "seccomp is not to be had" in result.stderr:
        targets.missing("no seccomp on this system")
    return path


def test_real_time_functions_keep_their_promise(program):
    lines = targets.run([program, MODEL, RECORDING, FINE]).splitlines()
    expected = re.compile(r"(.*): 0 allocations or releases, 0 locks, 0 system calls \(work: [1-9]\d*\)")
    matches = [expected.fullmatch(line) for line in lines]
    assert all(matches), lines
    names = {match.group(1).split(" at ")[0] for match in matches}
    assert names == {"stream", "fine stream", "front end", "decoder", "resampler", "recognizer"}


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ("allocate", "2 allocations or releases"),
        ("release", "2 allocations or releases"),
        ("lock", "2 locks"),
        ("syscall", "made a system call"),
    ],
)
def test_control_is_caught(program, control, said):
    result = subprocess.run([str(program), "--control", control], capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    assert said in result.stdout.splitlines()[-1]


def test_objects_call_nothing_else(here):
    """No function that reads, writes, logs or waits is called by any source that runs after loading."""
    listing = targets.run(["nm", targets.build_library(here)]).splitlines()
    defined, used, member = set(), {}, None
    for line in listing:
        words = line.split()
        if line.endswith(":"):
            member = line.removesuffix(".o:")
        elif words and words[-2] == "U":
            used.setdefault(member, set()).add(words[-1])
        elif words:
            defined.add(words[-1])
    outside = {name: calls - defined - {"_GLOBAL_OFFSET_TABLE_"} for name, calls in used.items()}
    assert "fopen" in outside["model.c"]
    for name in LOADING:
        outside.pop(name, None)
    assert {
        name: calls - PLAIN - LIFE_CYCLE for name, calls in outside.items() if calls - PLAIN - LIFE_CYCLE
    } == {}
