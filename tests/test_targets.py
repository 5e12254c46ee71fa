# SPDX-License-Identifier: MIT
"""The same bits on x86-64, AArch64, ARMv7 and ARMv6: words, times, posteriors, features, logits.

What this machine's library prints for a recording (native/tests/recognize.c) is what each target must print,
with the kernels it would choose and with the scalar ones; and the golden models give their logits there.
"""

import platform

import numpy as np
import pytest
import targets
from make_golden import GOLDEN
from targets import ROOT, TARGETS

from apps.audio import read_audio
from apps.demo_samples import samples as demo_samples
from edge_runtime import Frontend, Model
from edge_runtime.reference import ReferenceStream

MODEL = ROOT / "edge_runtime" / "models" / "digits.ernn"
RECORDINGS = [path for path, _ in demo_samples()]
PROCESSORS = [(name, model) for name, target in TARGETS.items() for model in target.models]
KERNELS = ("", "scalar")


def recognize(target, model, recording, *, kernel="", options=()):
    """Lines that native/tests/recognize.c prints on a processor model."""
    program = targets.build_program(target, "recognize")
    choice = ["--kernel", kernel] if kernel else []
    command = [*target.command(model), program, *choice, MODEL, recording, *options]
    return targets.run(command).splitlines()


@pytest.fixture(scope="module")
def expected():
    """dict: recording to the lines of this machine with scalar kernels."""
    here = next((t for t in TARGETS.values() if not t.emulator and t.processor == platform.machine()), None)
    if here is None:
        targets.missing(f"no target for {platform.machine()} to compare with")
    targets.needs_target(here)
    return {path: recognize(here, None, path, kernel="scalar") for path in RECORDINGS}


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel or "chosen")
@pytest.mark.parametrize(("name", "model"), PROCESSORS)
def test_recognition_is_equal_bit_for_bit(name, model, kernel, expected):
    target = TARGETS[name]
    targets.needs_target(target)
    for path, lines in expected.items():
        assert recognize(target, model, path, kernel=kernel) == lines, path.name


def test_what_is_compared_is_a_recognition(expected):
    """The lines hold the words said, and the logits are those that Python gets from the library."""
    for path, said in demo_samples():
        lines = [line.split() for line in expected[path]]
        assert tuple(line[1] for line in lines if line[0] == "word") == said
        fields = {line[0]: line for line in lines}
        assert {"samples", "posteriors", "spectra", "features", "inputs", "logits", "state"} <= set(fields)
        assert int(fields["idle"][1]) > 0
        assert sum(line[0] == "resampled" for line in lines) == 4


def test_logits_are_those_of_the_reference(expected):
    """With --logits they are printed: those of edge_runtime/reference.py on Python's features."""
    path = RECORDINGS[0]
    here = next(t for t in TARGETS.values() if t.processor == platform.machine())
    lines = recognize(here, None, path, options=["--logits"])
    assert lines[: len(expected[path])] == expected[path]
    logits = np.array([line.split() for line in lines[len(expected[path]) :]], np.int64)
    model = Model.load(MODEL)
    frontend = Frontend(model.file.frontend)
    features = np.concatenate([frontend.push(read_audio(path)[0]), frontend.flush(quiet_frames=30)])
    x = model.quantize_input(features)
    np.testing.assert_array_equal(ReferenceStream(model.file).run_quantized(x), logits)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel or "chosen")
@pytest.mark.parametrize(("name", "model"), PROCESSORS)
def test_golden_models_give_their_logits(name, model, kernel):
    target = TARGETS[name]
    targets.needs_target(target)
    program = targets.build_program(target, "check_golden")
    paths = sorted(GOLDEN.glob("*.ernn"))
    choice = ["--kernel", kernel] if kernel else []
    lines = targets.run([*target.command(model), program, *choice, *paths]).splitlines()
    assert len(lines) == len(paths) > 20
    assert all(line.endswith(" 6 steps equal") for line in lines)
