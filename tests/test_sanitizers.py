# SPDX-License-Identifier: MIT
"""The library's C programs and its Python tests in the builds of tests/sanitizers.py.

Here a quick part: threads under the thread sanitizer, golden models under that of addresses and undefined behavior.
With EDGE_RUNTIME_SANITIZE=full (``make sanitize``) all programs in all builds, and the tests of Python; docs/sanitizers.md has the last
figures.
"""

import os
import re
import time

import make_golden
import pytest
import sanitizers
from sanitizers import BUILDS, ROOT
from test_allocations import FULL, WRAP

RECORDING = ROOT / "apps" / "demo_samples" / "robot.wav"
GOLDEN = sorted(make_golden.GOLDEN.glob("*.ernn"))
IS_FULL = os.environ.get("EDGE_RUNTIME_SANITIZE", "") == "full"
#: Modules of the tests that call the library.
CORE = (
    "activation decoder dense fine format_damage frontend golden gru lstm model model_native reference "
    "recognizer resampler rnn stream"
).split()
#: Program: its other sources, options of the linker, arguments.
PROGRAMS = {
    "check_golden": (("files",), (), GOLDEN),
    "check_threads": (("files",), ("-pthread",), (FULL, RECORDING, 10)),
    "check_allocations": (("files",), WRAP, ()),
    "check_kernels": (("check_networks", "random_network"), (), ()),
    "check_corruption": ((), (), ("--stride", 64, *GOLDEN)),
}
#: What an emulator or valgrind makes too slow.
LESS = {"check_threads": (FULL, RECORDING, 1), "check_corruption": ("--stride", 251, GOLDEN[-1])}
QUICK = {("address", "check_golden"), ("address", "check_threads"), ("thread", "check_threads")}


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """Arguments of check_allocations: models that differ and are equally long."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("one", "two"):
        layer = make_golden.layer(make_golden.Numbers(name), "gru", ["ternary"], 3, 2)
        (folder / f"{name}.ernn").write_bytes(make_golden.model([layer]).to_bytes())
    return FULL, folder / "one.ernn", folder / "two.ernn"


def build_of(name):
    """A build; skips the test where it is not to be had."""
    sanitizers.needs(BUILDS[name])
    return BUILDS[name]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("name", BUILDS)
def test_program_runs_clean(name, program, arguments, record_property):
    if not IS_FULL and (name, program) not in QUICK:
        pytest.skip("make sanitize")
    if (name, program) == ("thread", "check_kernels"):
        pytest.skip("has one thread")
    build = build_of(name)
    sources, options, words = PROGRAMS[program]
    if build.command or name == "thread":
        words = LESS.get(program, words)
    if program == "check_allocations":
        words = arguments
    path = sanitizers.program(build, program, sources, options)
    begin = time.monotonic()
    result = sanitizers.run(build, path, *words)
    assert result.returncode == 0, result.stdout[-1000:] + result.stderr[-4000:]
    record_property("figures", f"{name}, {program}: clean, {time.monotonic() - begin:.1f} s")


def test_two_threads_on_one_stream_are_caught():
    build = build_of("thread")
    path = sanitizers.program(build, "check_threads", ("files",), ("-pthread",))
    result = sanitizers.run(build, path, FULL, RECORDING, "control")
    assert result.returncode != 0
    assert "data race" in result.stderr


@pytest.mark.skipif(not IS_FULL, reason="make sanitize")
@pytest.mark.parametrize("module", CORE)
def test_python_module_runs_clean_under_the_address_sanitizer(module, record_property):
    build = build_of("address")
    begin = time.monotonic()
    words = "-m pytest -q -p no:cacheprovider -p no:xdist".split()
    result = sanitizers.run_python(build, *words, ROOT / "tests" / f"test_{module}.py")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    passed = re.search(r"(\d+) passed", result.stdout)[1]
    record_property(
        "figures", f"address, test_{module}.py: {passed} passed, {time.monotonic() - begin:.1f} s"
    )


@pytest.mark.skipif(not IS_FULL, reason="make sanitize")
def test_python_threads_run_clean(record_property):
    build = build_of("thread")
    result = sanitizers.run_python(build, ROOT / "tests" / "python_threads.py")
    assert result.returncode == 0, result.stdout[-1000:] + result.stderr[-4000:]
    record_property("figures", f"thread, Python: {result.stdout.strip()}")


def test_python_threads_agree():
    import python_threads

    assert python_threads.main() == 0
