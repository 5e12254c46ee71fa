# SPDX-License-Identifier: MIT
"""Firmware for boards without an operating system, native/baremetal/, built and run under qemu.

Packages of Debian: cmake qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi.
"""

import dataclasses
import functools
import re
import subprocess
import sys

import builds
import count_instructions
import targets
from targets import NATIVE, ROOT

COMPILER = "arm-none-eabi-gcc"
EMULATOR = "qemu-system-arm"


@dataclasses.dataclass(frozen=True)
class Board:
    """A board that qemu knows, and how floats are calculated on it."""

    name: str
    core: str
    float_abi: str = "soft"

    def __str__(self):
        return f"{self.core}-{self.float_abi}"

    @property
    def command(self):
        """Words before "-kernel" and a program; its streams are those of the emulator."""
        quiet = "-display none -serial none -monitor none".split()
        return [EMULATOR, "-M", self.name, *quiet, "-semihosting-config", "enable=on,target=native"]


M0 = Board("microbit", "cortex-m0")
M4 = Board("mps2-an386", "cortex-m4", "hard")
M4_SOFT = Board("mps2-an386", "cortex-m4", "soft")


def needed():
    """Skip or fail the test unless firmware can be built and run."""
    targets.needs("cmake", "make", COMPILER, EMULATOR)


@functools.cache
def build(board, model):
    """Folder with the programs network.elf and, but for a Cortex-M0, recognizer.elf for a model file."""

    def make(where):
        where.mkdir()
        header = where / "model.h"
        export = [sys.executable, "-m", "exporters", str(model), "--c-header", str(header), "--quiet"]
        subprocess.run(export, cwd=ROOT, check=True)
        toolchain = NATIVE / "baremetal" / "toolchain.cmake"
        definitions = [f"-DBOARD={board.name}", f"-DFLOAT_ABI={board.float_abi}", f"-DMODEL_HEADER={header}"]
        definitions += [f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", "-DER_WERROR=ON"]
        targets.run(["cmake", "-S", NATIVE / "baremetal", "-B", where, "-G", "Unix Makefiles", *definitions])
        targets.run(["cmake", "--build", where, "--parallel"])

    return builds.once(f"baremetal_{board}_{model.stem}", make)


@dataclasses.dataclass(frozen=True)
class Run:
    """What a program did."""

    output: bytes
    report: dict  #: name to number, of the lines on standard error that have one
    lines: list  #: the others


def result_of(completed):
    lines = completed.stderr.decode().splitlines()
    report = {m.group(1): int(m.group(2)) for line in lines if (m := re.fullmatch(r"(\w+) (\d+)", line))}
    return Run(completed.stdout, report, [line for line in lines if not re.fullmatch(r"\w+ \d+", line)])


def failure(program, completed):
    """What to raise for a program that failed; with status -2 of the library it is short of memory."""
    said = completed.stderr.decode()
    kind = MemoryError if "status -2\n" in said else RuntimeError
    return kind(f"{program.name}: exit status {completed.returncode}\n{said}")


def run(board, program, data):
    """Run a program on the bytes of its standard input."""
    command = [*board.command, "-kernel", str(program)]
    completed = subprocess.run(command, input=data, capture_output=True)
    if completed.returncode != 0:
        raise failure(program, completed)
    return result_of(completed)


def count(board, program, data):
    """The same with every instruction counted: (list of count_instructions.Instruction, Run)."""
    try:
        instructions, completed = count_instructions.count_command(
            board.command, program, "-kernel", program, input=data
        )
    except subprocess.CalledProcessError as error:
        raise failure(program, error) from None
    return instructions, result_of(completed)


def sections(program):
    """dict: name to size in bytes of the sections that lie in flash or memory."""
    listing = targets.run([COMPILER.replace("gcc", "size"), "-A", program])
    return {name: int(size) for name, size in re.findall(r"^(\.\w+)\s+(\d+)\s+\d+$", listing, re.MULTILINE)}


def symbols(program):
    """Names of all functions and data of a program."""
    listing = targets.run([COMPILER.replace("gcc", "nm"), program])
    return {line.split()[-1] for line in listing.splitlines()}
