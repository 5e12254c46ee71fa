# SPDX-License-Identifier: MIT
"""`make test-wheels`: the wheels as a user installs them, in systems of their processors, and the core of the tests
run there; the least processor of all.

Minutes of emulation: skipped unless EDGE_RUNTIME_WHEELS is "full". Needs Linux 6.7 or later (tests/roots.py).
"""

import json
import os
import shutil

import builds
import pytest
import roots
import targets
import wheels
from make_golden import GOLDEN
from targets import NATIVE, ROOT, TARGETS
from wheels import PLATFORMS

from apps.demo_samples import samples
from edge_runtime.model import DEFAULT_MODEL

pytestmark = pytest.mark.skipif(
    os.environ.get("EDGE_RUNTIME_WHEELS") != "full", reason="minutes long: make test-wheels"
)

#: Tests that need the package, numpy and hypothesis only; those that start programs of their own find them there.
CORE = "decoder dense fine golden gru lstm model model_native recognizer resampler rnn stream".split()
#: Where another processor model of the same wheel runs all of them.
FEW = "decoder golden gru recognizer".split()

EMULATED = [(p.preset, model) for p in PLATFORMS.values() if p.root for model, _ in p.models]


def make_work(preset, folder):
    """What the root gets as /mnt: wheels, tests and what they read, but no source of the package."""
    folder.mkdir()
    shutil.copy(wheels.wheel(preset), folder)
    for name in ("tests", "apps", "exporters"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def work_in(preset, model):
    """Folder of a root, with a virtual environment in which pip of that root installed the wheel."""

    def make(folder):
        make_work(preset, folder)
        architecture = PLATFORMS[preset].root
        wheel = f"/mnt/{wheels.wheel(preset).name}"
        enter = [architecture, model, folder]
        # As on a Raspberry Pi: numpy and cffi are the system's.
        roots.enter(*enter, ["python3", "-m", "venv", "--system-site-packages", "--without-pip", "/mnt/venv"])
        options = ["--quiet", "--no-index", "--no-cache-dir", "--disable-pip-version-check"]
        if preset == "armv6l":  # which pip refuses where the processor is a later one
            options += ["--platform=linux_armv6l", "--only-binary=:all:", "--no-deps"]
            options += ["--target=/mnt/venv/lib/python3.11/site-packages"]
        roots.enter(*enter, ["python3", "-m", "pip", "--python", "/mnt/venv", "install", *options, wheel])

    return builds.once(f"root_{preset}_{model}", make)


@pytest.mark.parametrize(("preset", "model"), EMULATED)
def test_core_of_the_tests_passes_where_pip_installed_the_wheel(preset, model, record_property):
    work = work_in(preset, model)
    first = PLATFORMS[preset].models[0][0]
    files = [f"tests/test_{name}.py" for name in (CORE if model == first else FEW)]
    command = ["/mnt/venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    said = roots.enter(PLATFORMS[preset].root, model, work, ["env", "-C", "/mnt", *command])
    summary = said.strip().splitlines()[-1]
    record_property("figures", f"core of the tests, wheel {preset} on {model}: {summary}")
    assert "passed" in summary and "failed" not in summary and "error" not in summary


@pytest.mark.parametrize("preset", ("aarch64", "armv7l"))
def test_installed_package_is_found_and_says_where_it_runs(preset):
    model = PLATFORMS[preset].models[0][0]
    work = work_in(preset, model)
    said = roots.enter(
        PLATFORMS[preset].root, model, work, ["/mnt/venv/bin/python", "-m", "edge_runtime", "doctor"]
    )
    assert "/mnt/venv/lib/python3.11/site-packages/edge_runtime" in said
    assert "neon" in said


#: Static programs, on every processor that their preset is for.
STATIC = (
    ("aarch64-static", "aarch64", ("cortex-a53", "cortex-a72", "cortex-a76")),
    ("armv7l-static", "armv7", ("cortex-a7", "cortex-a7,neon=off")),
    ("armv6l-static", "armv6", ("arm1176", "cortex-a7")),
)


def static_program(preset, name):
    """Path of native/tests/<name>.c as a static program, with the library of a preset."""
    with open(NATIVE / "CMakePresets.json", encoding="utf-8") as stream:
        presets = {entry["name"]: entry for entry in json.load(stream)["configurePresets"]}
    variables = presets[preset]["cacheVariables"]

    def make_library(folder):
        zig = f"-DER_ZIG={wheels.zig()}"
        targets.run(["cmake", "-S", NATIVE, "--preset", preset, "-B", folder, "-DER_WERROR=ON", zig])
        targets.run(
            ["cmake", "--build", folder, "--target", "edge_runtime_static", "--parallel", os.cpu_count()]
        )

    def make(program):
        library = builds.once(f"zig_{preset}", make_library) / "libedge_runtime.a"
        compiler = [
            wheels.zig(),
            "cc",
            "-target",
            variables["ER_ZIG_TARGET"],
            f"-mcpu={variables['ER_ZIG_CPU']}",
        ]
        includes = [f"-I{NATIVE / part}" for part in ("include", "src", "tests")]
        sources = [NATIVE / "tests" / f"{source}.c" for source in (name, "files")]
        targets.run([*compiler, *includes, "-std=c11", "-O2", "-static", *sources, library, "-o", program])

    return builds.once(f"zig_{preset}_{name}", make)


@pytest.mark.parametrize("kernel", ("", "scalar"), ids=lambda kernel: kernel or "chosen")
@pytest.mark.parametrize(("preset", "name", "model"), [(p, n, m) for p, n, models in STATIC for m in models])
def test_static_library_computes_the_same(preset, name, model, kernel):
    """Golden logits, and all that recognize.c prints of a recording, equal to this machine's."""
    wheels.needs_tools()
    command = TARGETS[name].command(model)
    choice = ["--kernel", kernel] if kernel else []
    golden = sorted(GOLDEN.glob("*.ernn"))
    said = targets.run([*command, static_program(preset, "check_golden"), *choice, *golden])
    assert said.count(" 6 steps equal\n") == len(golden) > 20
    here = next(t for t in TARGETS.values() if not t.emulator)
    for recording, _ in samples():
        arguments = ["--kernel", "scalar", DEFAULT_MODEL, recording, "--logits"]
        expected = targets.run([*here.command(), targets.build_program(here, "recognize"), *arguments])
        arguments = [*choice, DEFAULT_MODEL, recording, "--logits"]
        assert targets.run([*command, static_program(preset, "recognize"), *arguments]) == expected
