# SPDX-License-Identifier: MIT
"""The program edge-digits under test, and what Python makes of the same audio."""

import dataclasses
import functools
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import zlib

import builds
import numpy as np
import targets

from apps.digit_demo.display import word_json
from apps.digit_demo.session import Observer, Session
from edge_runtime import Frontend, Model, __version__
from edge_runtime.resampler import resample

ROOT = targets.ROOT
#: Names of programs: of this machine, and of processors under qemu.
HERE = "x86-64"
NAMES = (HERE, "aarch64", "armv7", "armv6")
MACHINES = {"x86-64": "x86_64", "aarch64": "aarch64", "armv7": "armv7l", "armv6": "armv6l"}
#: Built with the address, leak and undefined-behavior sanitizers, for this machine.
SANITIZED = "sanitized"
#: A folder with the static programs as they are shipped, to test instead: `make test-static`.
STATIC = os.environ.get("EDGE_RUNTIME_STATIC")


def interruptible():
    """For a new process: Ctrl-C reaches it, however the tests were started."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclasses.dataclass(frozen=True)
class Program:
    """Words of a command that run edge-digits."""

    command: tuple

    def run(self, *arguments, **options):
        """Run it to its end."""
        options = {"capture_output": True, "timeout": 120, **options}
        return subprocess.run([*self.command, *map(str, arguments)], **options)

    def start(self, *arguments, **options):
        """Start it; its streams are pipes."""
        streams = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        options = {**streams, "bufsize": 0, "preexec_fn": interruptible, **options}
        return subprocess.Popen([*self.command, *map(str, arguments)], **options)


def shipped(machine):
    """The static program as it is shipped; skips or fails the test without EDGE_RUNTIME_STATIC."""
    if STATIC is None:
        targets.missing("EDGE_RUNTIME_STATIC does not name the folder of the static programs")
    return pathlib.Path(STATIC) / f"edge-digits-{__version__}-{machine}"


@functools.cache
def _build_sanitized():
    def make(where):
        definitions = {
            "CMAKE_BUILD_TYPE": "Debug",
            "ER_SANITIZE": "address,undefined",
            "ER_AVX512": "OFF",
            "ER_BUILD_CLI": "ON",
        }
        options = [f"-D{name}={value}" for name, value in definitions.items()]
        targets.run(["cmake", "-S", targets.NATIVE, "-B", where, "-G", "Unix Makefiles", *options])
        build = ["cmake", "--build", where, "--target", "edge-digits", "--parallel", os.cpu_count()]
        targets.run(build)

    return builds.once("edge_digits_sanitized", make) / "edge-digits"


def path(name):
    """The program for a target: shipped, or built for the test."""
    if STATIC is not None:
        return shipped(MACHINES[name])
    return targets.build_edge_digits(targets.TARGETS[name])


def program(name, model=None):
    """Program for a target, on a processor model of the emulator; skips or fails the test if it cannot be built."""
    if name == SANITIZED:
        targets.needs("cmake", "make", "gcc")
        return Program((str(_build_sanitized()),))
    target = targets.TARGETS[name]
    if STATIC is None:
        targets.needs_target(target)
    else:
        targets.needs(target.emulator)
    if not target.emulator and platform.machine() != target.processor:
        targets.missing(f"not on {target.processor}")
    emulator = target.command(model)
    # By its path, for tests that set PATH.
    return Program((*map(shutil.which, emulator[:1]), *emulator[1:], str(path(name))))


class Lines(Observer):
    """The lines of --json."""

    def __init__(self):
        self.words = []

    def on_word(self, word):
        self.words.append(word_json(word) + "\n")


class _Source:
    """Blocks of samples as the file they were read from."""

    name = "samples"
    dropped_samples = 0
    reconnects = False

    def __init__(self, samples, rate):
        self._samples = samples
        self.sample_rate = rate

    def blocks(self):
        yield self._samples


def expected_lines(model, samples, rate, threshold=None):
    """What the digit demo prints with --json for float32 samples."""
    lines = Lines()
    with Session(model, _Source(samples, rate), threshold, [lines]) as session:
        session.run()
    return "".join(lines.words)


def expected_logits(model, samples, rate):
    """int16 [shape=(steps, outputs)] for a whole recording, float32 samples."""
    frontend = Frontend(model.file.frontend)
    features = [frontend.push(resample(samples, rate)), frontend.flush(quiet_frames=30)]
    return model.stream().run_quantized(model.quantize_input(np.concatenate(features)))


def checksum(logits):
    """As --self-test prints it."""
    return f"{zlib.crc32(logits.astype('<i2').tobytes()):08x}"


def load(small=False):
    """The model that is built in."""
    return Model.small() if small else Model.default()
