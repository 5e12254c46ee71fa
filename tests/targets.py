# SPDX-License-Identifier: MIT
"""Processors to build the library for, and to run it on: this one and, by qemu's user emulation, ARM.

A target is a compiler with its options, an emulator and the processor models to emulate. qemu enforces
the models' instruction sets, so a kernel chosen wrongly ends a program, but its speed means nothing.
Packages of Debian: cmake qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf
libc6-dev-armhf-cross gcc-arm-linux-gnueabi libc6-dev-armel-cross.
"""

import dataclasses
import functools
import os
import pathlib
import platform
import shutil
import subprocess

import builds
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"
WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Werror".split()


@dataclasses.dataclass(frozen=True)
class Target:
    """Where programs are built for."""

    name: str
    compiler: str
    options: str
    processor: str  #: CMAKE_SYSTEM_PROCESSOR
    emulator: str  #: "": none needed
    models: tuple  #: of the emulator; the first stands for the target where one is enough

    def command(self, model=None, *, emulator_options=()):
        """Words before a program of this target that run it on a processor model."""
        if not self.emulator:
            return []
        return [self.emulator, "-cpu", model or self.models[0], *emulator_options]


TARGETS = {
    target.name: target
    for target in (
        Target("x86-64", "gcc", "-m64", "x86_64", "", ("host",)),
        Target(
            "aarch64",
            "aarch64-linux-gnu-gcc",
            "",
            "aarch64",
            "qemu-aarch64",
            ("cortex-a53", "cortex-a72", "cortex-a76"),
        ),
        Target(
            "armv7",
            "arm-linux-gnueabihf-gcc",
            "-march=armv7-a -mfpu=vfpv3-d16 -mfloat-abi=hard",
            "armv7l",
            "qemu-arm",
            ("cortex-a7", "cortex-a7,neon=off"),
        ),
        Target(
            "armv6",
            "arm-linux-gnueabi-gcc",
            "-march=armv6kz -mtune=arm1176jzf-s -mfpu=vfp -mfloat-abi=softfp -marm",
            "armv6l",
            "qemu-arm",
            ("arm1176",),
        ),
    )
}
EMULATED = tuple(name for name, target in TARGETS.items() if target.emulator)


def missing(reason):
    """Skip the test, or fail it if EDGE_RUNTIME_REQUIRE_ARM says that nothing may be missing."""
    if os.environ.get("EDGE_RUNTIME_REQUIRE_ARM", "0") not in ("", "0"):
        pytest.fail(f"{reason} (EDGE_RUNTIME_REQUIRE_ARM is set)")
    pytest.skip(reason)


def needs(*tools):
    """Skip or fail the test unless all programs are there."""
    for tool in tools:
        if tool and shutil.which(tool) is None:
            missing(f"{tool} is not installed")


def needs_target(target):
    """Skip or fail the test unless programs can be built for a target and run."""
    needs("cmake", "make", target.compiler, target.emulator)
    if not target.emulator and platform.machine() != target.processor:
        pytest.skip(f"not on {target.processor}")


def run(command):
    """Output of a command; what it said if it fails."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(
            f"{' '.join(map(str, command))}\nexit status {result.returncode}\n"
            f"{result.stdout[-3000:]}{result.stderr[-3000:]}"
        )
    return result.stdout


@functools.cache
def build_library(target):
    """The static library for a target, built by CMake as it is shipped; returns its path."""

    def make(where):
        definitions = [
            "-DCMAKE_SYSTEM_NAME=Linux",
            f"-DCMAKE_SYSTEM_PROCESSOR={target.processor}",
            f"-DCMAKE_C_COMPILER={target.compiler}",
            f"-DCMAKE_C_FLAGS={target.options}",
            "-DER_WERROR=ON",
            "-DER_BUILD_CLI=ON",
            *(["-DCMAKE_EXE_LINKER_FLAGS=-static"] if target.emulator else []),
        ]
        run(["cmake", "-S", NATIVE, "-B", where, "-G", "Unix Makefiles", *definitions])
        run(["cmake", "--build", where, "--target", "edge_runtime_static", "--parallel", os.cpu_count()])

    return builds.once(target.name, make) / "libedge_runtime.a"


@functools.cache
def build_edge_digits(target):
    """The program edge-digits for a target, static where it is emulated; returns its path."""
    where = build_library(target).parent

    def make(_program):
        run(["cmake", "--build", where, "--target", "edge-digits", "--parallel", os.cpu_count()])

    builds.once(f"{target.name}_edge_digits", make)
    return where / "edge-digits"


@functools.cache
def build_program(target, name, link=("-static",), sources=("files",), folder=NATIVE / "tests"):
    """A program from native/tests/<name>.c, other sources there and the library, static unless said otherwise;
    returns its path. The link map is beside it, named <name>.map. folder: where else the sources are."""
    library = build_library(target)
    sources = [folder / f"{source}.c" for source in (name, *sources)]
    includes = [f"-I{NATIVE / part}" for part in ("include", "src", "tests")]
    flags = [*target.options.split(), "-std=c11", "-O2", "-ffp-contract=off", *WARNINGS]

    def make(program):
        map_option = f"-Wl,-Map={program}.map"
        run([target.compiler, *flags, *includes, *sources, library, *link, map_option, "-o", program])

    return builds.once(f"{target.name}_programs/{name}", make)
