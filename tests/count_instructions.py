# SPDX-License-Identifier: MIT
"""Instructions and multiplies executed in a recognition: ``python tests/count_instructions.py``.

Each target of tests/targets.py runs native/tests/recognize.c under qemu with the plugin
tests/count_multiplies.c. Every executed instruction is counted and booked on the source file it was compiled
from, by the linker's map. Twice: for a whole recording, and for its first half; the difference
over the difference in steps is what a step costs, without what loading the model costs.

``--write docs/instructions.md`` puts the table into that file between its markers.
"""

import argparse
import bisect
import collections
import dataclasses
import functools
import pathlib
import pickle
import re
import subprocess
import tempfile
import wave

import builds
import targets
from targets import NATIVE, ROOT, TARGETS
from test_no_multiply import MULTIPLY, PREFIX

MODEL = ROOT / "edge_runtime" / "models" / "digits.ernn"
RECORDING = ROOT / "apps" / "demo_samples" / "british.wav"
#: Emulator and processor model for the target that needs none to run.
EMULATED_HOST = ("qemu-x86_64", "max")
#: Sources of a stage; the sources of inference come from CMake.
STAGES = {
    "front end": {
        "frontend.c",
        "filterbank.c",
        "gate.c",
        "fft.c",
        "mathf.c",
        "stream.c",
        "floats_scalar.c",
        "floats_avx2.c",
        "floats_avx512.c",
        "floats_neon.c",
    },  # the last quantize the features
    "decoder": {"decoder.c"},
    "resampler": {"resampler.c"},
}
#: What the C library clears and copies memory with, with its variants for instruction sets.
MEMORY = re.compile(r"(__)?mem(set|cpy|move)(_\w+)?")
MARKERS = ("<!-- table: begin -->\n", "<!-- table: end -->\n")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction of a program and how often it ran."""

    address: int
    count: int
    symbol: str
    text: str
    source: str  #: "dense.c"; outside this library, the object it comes from

    @property
    def multiplies(self):
        words = self.text.split()
        while words and PREFIX.fullmatch(words[0]):
            words.pop(0)
        return bool(words) and MULTIPLY.fullmatch(words[0].split(".")[0]) is not None


def inference_files():
    """Names of the sources between quantized input and logits, kernels of all instruction sets included."""
    text = (NATIVE / "CMakeLists.txt").read_text(encoding="utf-8")
    lists = re.findall(r"set\(ER_(\w+_)?SOURCES\s+(.*?)\)", text, re.DOTALL)
    names = [name for prefix, items in lists if prefix for name in items.split()]
    return {pathlib.PurePath(name).name for name in names}


def stage_of(source):
    """Name of the stage that a source file belongs to."""
    if source in inference_files():
        return "inference"
    return next((stage for stage, files in STAGES.items() if source in files), "other")


@functools.cache
def plugin():
    """The compiled plugin."""
    source = ROOT / "tests" / "count_multiplies.c"
    options = "-O2 -std=gnu11 -shared -fPIC".split()
    command = ["gcc", *options, *targets.WARNINGS, source, "-o"]
    return builds.once("count_multiplies.so", lambda path: targets.run([*command, path]))


def code_ranges(map_path):
    """Where the linker put the code of each object: sorted list of (begin, end, file name)."""
    text = map_path.read_text(encoding="utf-8")
    pattern = re.compile(r"^ \.text\S*\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+(\S+)$", re.MULTILINE)
    ranges = []
    for begin, size, name in pattern.findall(text):
        member = re.search(r"\((\S+)\)$", name)
        file = member.group(1) if member else pathlib.PurePath(name).name
        if int(size, 16) > 0:
            ranges.append((int(begin, 16), int(begin, 16) + int(size, 16), file.removesuffix(".o")))
    return sorted(ranges)


def emulation(target):
    """(emulator, processor model) to count on."""
    return (target.emulator, target.models[0]) if target.emulator else EMULATED_HOST


def needs_counting(target):
    """Skip or fail the test unless a target can be counted."""
    targets.needs_target(target)
    targets.needs("gcc", emulation(target)[0])


def count(target, program, *arguments):
    """As `count_command`, of a program for a target."""
    emulator, model = emulation(target)
    return count_command([emulator, "-cpu", model], program, program, *arguments, text=True)


def count_command(emulator, program, *arguments, **options):
    """Run a program under the plugin.

    Parameters
    ----------
    emulator : list of str
        Emulator and its options, which the plugin's follow, and then the arguments.
    program : pathlib.Path
        The program, or whose link map is beside it.
    options
        Of subprocess.run.

    Returns
    -------
    instructions : list of Instruction
    result : subprocess.CompletedProcess
    """
    with tempfile.TemporaryDirectory(dir=builds.folder()) as folder:
        out = pathlib.Path(folder) / "counts.txt"
        command = [*emulator, "-plugin", f"{plugin()},out={out}", *arguments]
        result = subprocess.run([str(word) for word in command], capture_output=True, check=True, **options)
        counts = out.read_text(encoding="utf-8")
    ranges = code_ranges(program.with_name(program.name + ".map"))
    begins = [begin for begin, _, _ in ranges]
    instructions = []
    for line in counts.splitlines():
        address, executed, symbol, *rest = line.split(" ", 3)
        address = int(address, 16)
        at = bisect.bisect_right(begins, address) - 1
        source = ranges[at][2] if at >= 0 and address < ranges[at][1] else ""
        instructions.append(Instruction(address, int(executed, 16), symbol, "".join(rest), source))
    return instructions, result


def half_of(recording):
    """Path of the first half of a WAV file's samples, as bare samples."""
    with wave.open(str(recording)) as file:
        data = file.readframes(file.getnframes() // 2)
    return builds.once(f"half_of_{recording.stem}.raw", lambda path: path.write_bytes(data))


@dataclasses.dataclass(frozen=True)
class Totals:
    """What a run executed, stage by stage."""

    kernel: str
    steps: int  #: of the network
    instructions: collections.Counter
    multiplies: collections.Counter


def totals(counted):
    """Totals of what `count` returns."""
    instructions, result = counted
    executed, multiplied = collections.Counter(), collections.Counter()
    for instruction in instructions:
        stage = stage_of(instruction.source)
        if stage == "other" and MEMORY.fullmatch(instruction.symbol):
            stage = "memory"
        executed[stage] += instruction.count
        multiplied[stage] += instruction.count * instruction.multiplies
    entry = [i for i in instructions if i.symbol == "er_stream_step_quantized"]
    kernel = re.search(r"^kernel (\S+)$", result.stderr, re.MULTILINE).group(1)
    return Totals(kernel, min(entry, key=lambda i: i.address).count, executed, multiplied)


@functools.cache
def recognition(target, kernel=""):
    """Totals of recognizing the recording, and of its first half."""
    program = targets.build_program(target, "recognize")
    choice = ["--kernel", kernel] if kernel else []
    recordings = (RECORDING, half_of(RECORDING))

    def make(path):
        counts = (count(target, program, *choice, MODEL, name, "--no-resampling") for name in recordings)
        path.write_bytes(pickle.dumps([totals(counted) for counted in counts]))

    return pickle.loads(builds.once(f"counts_{target.name}_{kernel or 'chosen'}", make).read_bytes())


def per_step(target, kernel=""):
    """(kernel, instructions, multiplies) of a step, the last two as dict: stage to number. Who clears
    and copies memory is not counted, so all of that is booked on inference, which does the most."""
    whole, half = recognition(target, kernel)
    steps = whole.steps - half.steps

    def difference(field):
        cost = collections.Counter(getattr(whole, field))
        cost.subtract(getattr(half, field))
        cost["inference"] += cost.pop("memory", 0)
        return {stage: cost[stage] / steps for stage in ("inference", "front end", "decoder")}

    return whole.kernel, difference("instructions"), difference("multiplies")


def nm_of(target):
    """The lister of symbols that belongs to a target's compiler."""
    return target.compiler.removesuffix("gcc") + "nm"


def calls_of_inference(target):
    """Functions and data that the inference objects of the library use and do not hold themselves."""
    archive = targets.build_library(target)
    defined, used, member = set(), set(), None
    for line in targets.run([nm_of(target), archive]).splitlines():
        words = line.split()
        if line.endswith(":"):
            member = line.removesuffix(":").removesuffix(".o")
        elif words and member in inference_files():
            (used if words[-2] == "U" else defined).add(words[-1])
    return used - defined


def rows():
    """Lines of the table."""
    lines = [
        "| target | emulated | kernel | network | its multiplies | front end | its multiplies | decoder | its multiplies |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for target in TARGETS.values():
        seen = set()
        for wanted in ("", "scalar"):
            kernel, executed, multiplied = per_step(target, wanted)
            if kernel in seen:
                continue
            seen.add(kernel)
            cells = [target.name, emulation(target)[1], kernel]
            for stage in executed:
                cells += [f"{executed[stage]:.0f}", f"{multiplied[stage]:.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def write_table(path, table):
    """Put a table into a document, between its markers."""
    before, rest = path.read_text(encoding="utf-8").split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    path.write_text(before + MARKERS[0] + table + MARKERS[1] + after, encoding="utf-8")


def print_table(description, rows):
    """Run the command line of a program that measures: print its table, and with --write put it into a document.

    Parameters
    ----------
    description : str
        The program's docstring; its first line is shown by --help.
    rows : callable
        Returns the lines of the table; called after the command line was read.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE", help="put the table into this file")
    arguments = parser.parse_args()
    table = "\n".join(rows()) + "\n"
    print(table, end="")
    if arguments.write:
        write_table(arguments.write, table)


if __name__ == "__main__":
    print_table(__doc__, rows)
