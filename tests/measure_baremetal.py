# SPDX-License-Identifier: MIT
"""Flash, memory and instructions of the firmware in native/baremetal/: ``python tests/measure_baremetal.py``.

The shipped models on a Cortex-M0 and a Cortex-M4 under qemu: network.elf on the quantized features of a recording,
recognizer.elf on its samples. Every executed instruction is counted and booked on its source file, as in
tests/count_instructions.py; what a step costs is the difference between the whole recording and its first half.

``--write docs/microcontroller.md`` puts the table into that file between its markers.
"""

import collections
import dataclasses
import functools
import pickle
import sys
import wave

import baremetal
import builds
import numpy as np
from baremetal import M0, M4
from count_instructions import MEMORY, RECORDING, print_table, stage_of
from targets import ROOT
from test_no_multiply import HELPER

from edge_runtime import Frontend, Model

SMALL, LARGE = (ROOT / "edge_runtime" / "models" / f"{name}.ernn" for name in ("digits_small", "digits"))
STEPS_A_SECOND = 50
#: What is measured: board, program, model.
MEASURED = tuple(
    (board, program, model)
    for board, program in ((M0, "network"), (M4, "network"), (M4, "recognizer"))
    for model in (SMALL, LARGE)
)


@functools.cache
def quantized_features(path):
    """Those of the recording for a model file: int8 [shape=(steps, input_size)]."""
    model = Model.load(path)
    return model.quantize_input(Frontend(model.file.frontend).push(pcm() / np.float32(32768)))


@functools.cache
def pcm():
    """The recording's samples, int16."""
    with wave.open(str(RECORDING)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@dataclasses.dataclass(frozen=True)
class Counts:
    """What a run executed."""

    instructions: collections.Counter  #: by stage
    multiplies: collections.Counter
    helpers: int  #: instructions of the compiler's functions that multiply or divide
    steps: int  #: of the network


def counts_of(instructions):
    """Counts of a list of Instruction. The C library's copying is the network's; what helpers of the compiler do with
    floats is the front end's and the decoder's, and stays "other"."""
    executed, multiplied = collections.Counter(), collections.Counter()
    for i in instructions:
        stage = stage_of(i.source.removesuffix(".obj"))
        if stage == "other" and MEMORY.fullmatch(i.symbol):
            stage = "inference"
        executed[stage] += i.count
        multiplied[stage] += i.count * i.multiplies
    helpers = sum(i.count for i in instructions if HELPER.search(i.symbol))
    entry = [i for i in instructions if i.symbol == "er_stream_advance"]
    return Counts(executed, multiplied, helpers, min(entry, key=lambda i: i.address).count)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a program of a board needs for a model, and what it wrote. Sizes in bytes."""

    flash: int  #: code, constants and model
    static: int  #: memory of data and of the library's objects
    stack: int
    whole: Counts
    half: Counts
    output: bytes  #: for the whole recording

    def per_step(self, stage=None):
        """Instructions of a stage, or of all, in a step."""
        whole, half = (
            counts.instructions.total() if stage is None else counts.instructions[stage]
            for counts in (self.whole, self.half)
        )
        return (whole - half) / (self.whole.steps - self.half.steps)


@functools.cache
def measure(board, program, model):
    """The Measurement of a program on a board, for a model file."""

    def make(path):
        elf = baremetal.build(board, model) / f"{program}.elf"
        data = quantized_features(model) if program == "network" else pcm()
        instructions, run = baremetal.count(board, elf, data.tobytes())
        half = baremetal.count(board, elf, data[: len(data) // 2].tobytes())[0]
        sizes = baremetal.sections(elf)
        objects = sum(
            run.report.get(f"{name}_bytes", 0) for name in ("model", "stream", "buffer", "recognizer")
        )
        measurement = Measurement(
            flash=sum(sizes.get(name, 0) for name in (".text", ".ARM", ".data")),
            static=sizes.get(".data", 0) + sizes.get(".bss", 0) + objects,
            stack=run.report["stack_bytes"],
            whole=counts_of(instructions),
            half=counts_of(half),
            output=run.output,
        )
        path.write_bytes(pickle.dumps(measurement))

    return pickle.loads(builds.once(f"measured_{board}_{program}_{model.stem}", make).read_bytes())


def rows(measured=MEASURED):
    """Lines of the table."""
    lines = [
        "| core | program | model | flash | memory: objects | stack | together | network, instructions a step | its multiplies "
        "| all, a second of audio |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for board, program, model in measured:
        try:
            m = measure(board, program, model)
        except MemoryError as error:
            print(f"{board}, {model.name} does not fit: {error}", file=sys.stderr)
            continue
        cells = [board.core, program, model.name, m.flash, m.static, m.stack, m.static + m.stack]
        cells += [round(m.per_step("inference")), m.whole.multiplies["inference"]]
        cells.append(round(m.per_step() * STEPS_A_SECOND))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


if __name__ == "__main__":
    print_table(__doc__, rows)
