# SPDX-License-Identifier: MIT
"""Cycles of a step on ARM cores, estimated by llvm-mca: ``python tests/estimate_cycles.py``.

There is no ARM machine to time. native/tests/bench_step.c runs under qemu with the plugin tests/count_multiplies.c,
which says what instructions a step executes how often. Each stretch of instructions that are executed equally often
goes as a loop through llvm-mca, LLVM's model of a processor core, and its cycles count as often as it is executed.
Beside it the same for an int8 product, native/tests/int8_gemv.c.

The model knows pipelines and latencies, as far as LLVM has them. It does not know caches (all loads hit the first level),
branch prediction, or what one stretch has to wait for from another. It is good for comparing loops, not for predicting times.

``--write docs/cycles.md`` puts the tables into that file between its markers.
"""

import argparse
import dataclasses
import functools
import itertools
import pathlib
import re
import shutil
import tempfile

import builds
import count_instructions
import targets
from count_instructions import inference_files, write_table
from targets import TARGETS

#: Names of the model, the newest first.
MODELS = ("llvm-mca-19", "llvm-mca")
#: Turns of a loop that are modelled.
TURNS = 100
#: Steps of the two runs whose difference is looked at, as options of bench_step.
STEPS = (100, 300)
WORKLOADS = ("W1", "W3")
#: Weights of their ternary matrices.
WEIGHTS = {"W1": 600 * 39 + 600 * 200 + 11 * 200, "W3": 2048 * 50 + 2048 * 512 + 50 * 512}
INT8_WEIGHTS = 608 * 208
#: Parts of a step, by what the functions in them are called; what is left is "rest".
PARTS = {
    "product": r"triples_\w+|run_tiles|er_ternary_triples_(single|three)_neon",
    "tables": r"er_\w+_tables_neon|er_operands_neon",
    "gates": r"\w*(gru|lstm|dense|rnn)_(shared|apart|gates_neon)|gru|lstm|dense|rnn|run_units",
}


@dataclasses.dataclass(frozen=True)
class Core:
    """A processor core that llvm-mca has a model of."""

    name: str
    model: (
        str  #: of llvm-mca, which takes a Cortex-A76 for a Cortex-A57, and its sibling Neoverse N1 for itself
    )
    target: str  #: of tests/targets.py, that is run
    triple: str
    emulated: str  #: by qemu
    int8: str  #: options for native/tests/int8_gemv.c
    int8_by: str


CORES = (
    Core(
        "cortex-a53",
        "cortex-a53",
        "aarch64",
        "aarch64-linux-gnu",
        "cortex-a53",
        "-mcpu=cortex-a53",
        "smull, smlal2, sadalp",
    ),
    Core(
        "cortex-a72",
        "cortex-a72",
        "aarch64",
        "aarch64-linux-gnu",
        "cortex-a72",
        "-mcpu=cortex-a72",
        "smull, smlal2, sadalp",
    ),
    Core(
        "cortex-a76", "neoverse-n1", "aarch64", "aarch64-linux-gnu", "cortex-a76", "-mcpu=cortex-a76", "sdot"
    ),
    Core(
        "cortex-a72",
        "cortex-a72",
        "armv7",
        "armv7-linux-gnueabihf",
        "cortex-a15",
        "-march=armv7-a -mfpu=neon -mfloat-abi=hard",
        "vmull, vmlal, vpadal",
    ),
)


def model_program():
    """Name of the llvm-mca in use; the test is skipped, or fails, without."""
    for name in MODELS:
        if shutil.which(name):
            return name
    targets.needs(MODELS[0])
    raise AssertionError


def model_version():
    return re.search(r"LLVM version (\S+)", targets.run([model_program(), "--version"])).group(1)


def assembly(text):
    """A disassembled instruction as llvm-mca reads it: branches and address constants lose their targets."""
    text = text.split(";")[0].strip().replace("\t", " ")
    name = text.split(" ")[0]
    if re.fullmatch(r"bl?|b\.?(eq|ne|hs|lo|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)(\.[nw])?|blx", name):
        return re.sub(r"(#?0x[0-9a-f]+)$", "#8", text)
    if name in ("cbz", "cbnz", "tbz", "tbnz", "adr", "adrp"):
        return re.sub(r"(#?-?0x[0-9a-f]+)$", "#4096" if name == "adrp" else "#8", text)
    return text


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Instructions one after the other that are executed equally often."""

    symbol: str
    count: float  #: executions per step
    instructions: tuple


def stretches(whole, less, steps):
    """Stretches that the difference of two counts, of `steps` steps, consists of."""
    before = {i.address: i.count for i in less}
    counted = []
    for i in sorted(whole, key=lambda i: i.address):
        count = i.count - before.get(i.address, 0)
        if count > 0:
            counted.append((i, count))
    found = []
    for (symbol, count), group in itertools.groupby(counted, key=lambda item: (item[0].symbol, item[1])):
        lines = [assembly(i.text) for i, _ in group]
        # An "it" makes what follows conditional, which the disassembler does not write.
        lines = [line for line in lines if not re.match(r"it[te]{0,3} ", line)]
        if lines:
            found.append(Stretch(symbol, count / steps, tuple(lines)))
    return found


def cycles_of(core, found):
    """Cycles of a turn of each stretch, were it a loop."""
    syntax = [".syntax unified", ".thumb"] if core.target == "armv7" else []
    regions = []
    for number, stretch in enumerate(found):
        regions += [f"# LLVM-MCA-BEGIN {number}", *stretch.instructions, f"# LLVM-MCA-END {number}"]
    attributes = ["-mattr=+neon"] if core.target == "armv7" else []
    options = [f"-mtriple={core.triple}", f"-mcpu={core.model}", *attributes, f"-iterations={TURNS}"]
    with tempfile.NamedTemporaryFile("w", suffix=".s", encoding="utf-8") as file:
        file.write("\n".join([*syntax, *regions, ""]))
        file.flush()
        output = targets.run([model_program(), *options, file.name])
    totals = [int(total) for total in re.findall(r"^Total Cycles:\s+(\d+)$", output, re.MULTILINE)]
    assert len(totals) == len(found)
    return [total / TURNS for total in totals]


def part_of(symbol):
    for part, pattern in PARTS.items():
        if re.fullmatch(pattern, symbol.split(".")[0]):
            return part
    return "rest"


@dataclasses.dataclass(frozen=True)
class Cost:
    instructions: float
    cycles: float

    def __add__(self, other):
        return Cost(self.instructions + other.instructions, self.cycles + other.cycles)


@functools.cache
def counted_step(target, workload):
    """Stretches of a step of a workload."""
    program = targets.build_program(target, "bench_step", sources=("random_network",))
    runs = []
    for steps in STEPS:
        arguments = f"--workload {workload} --kernel neon --way step --rounds 1 --steps {steps}".split()
        instructions, _ = count_instructions.count(target, program, *arguments)
        entry = [i for i in instructions if i.symbol == "er_stream_step_quantized"]
        number = min(entry, key=lambda i: i.address).count
        runs.append((number, [i for i in instructions if i.source in inference_files()]))
    (few, less), (many, whole) = runs
    return stretches(whole, less, many - few)


def step_costs(core, workload):
    """dict: part of a step to its Cost."""
    found = counted_step(TARGETS[core.target], workload)
    costs = dict.fromkeys((*PARTS, "rest"), Cost(0, 0))
    for stretch, cycles in zip(found, cycles_of(core, found), strict=True):
        costs[part_of(stretch.symbol)] += Cost(
            stretch.count * len(stretch.instructions), stretch.count * cycles
        )
    return costs


def int8_cost(core):
    """Cost of the int8 product."""
    target = TARGETS[core.target]
    source = targets.NATIVE / "tests" / "int8_gemv.c"
    flags = [*core.int8.split(), "-std=c11", "-O3", "-static", *targets.WARNINGS]

    def make(program):
        targets.run([target.compiler, *flags, f"-Wl,-Map={program}.map", source, "-o", program])

    program = builds.once(f"int8_{core.target}_{core.name}", make)
    runs = []
    for count in (1, 3):
        emulator = dataclasses.replace(target, models=(core.emulated,))
        instructions, _ = count_instructions.count(emulator, program, count)
        runs.append([i for i in instructions if i.symbol == "int8_gemv"])
    found = stretches(runs[1], runs[0], 2)
    cycles = cycles_of(core, found)
    return Cost(
        sum(s.count * len(s.instructions) for s in found),
        sum(s.count * c for s, c in zip(found, cycles, strict=True)),
    )


def rows(workloads=WORKLOADS):
    """Lines of the two tables."""
    products = [
        "| core | code | product | instructions a weight | weights a cycle | times int8 |",
        "|---|---|---|---|---|---|",
    ]
    steps = [
        "| core | code | step | product | tables | gates | rest | whole step | with the int8 product |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for core in CORES:
        int8 = int8_cost(core)
        int8_rate = INT8_WEIGHTS / int8.cycles
        where = f"| {core.name} | {core.target} |"
        instructions = int8.instructions / INT8_WEIGHTS
        products.append(f"{where} int8 ({core.int8_by}) | {instructions:.3f} | {int8_rate:.1f} | 1.0 |")
        for workload in workloads:
            weights = WEIGHTS[workload]
            costs = step_costs(core, workload)
            ours = costs["product"] + costs["tables"]
            rate = weights / ours.cycles
            instructions = ours.instructions / weights
            products.append(
                f"{where} {workload} | {instructions:.3f} | {rate:.1f} | {rate / int8_rate:.1f} |"
            )
            cycles = [cost.cycles for cost in costs.values()]
            cycles += [sum(cycles), costs["gates"].cycles + costs["rest"].cycles + weights / int8_rate]
            steps.append(f"{where} {workload} | {' | '.join(f'{cell:.0f}' for cell in cycles)} |")
    return [*products, "", *steps]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE", help="put the tables into this file")
    arguments = parser.parse_args()
    table = "\n".join(rows()) + "\n"
    print(f"{model_program()} {model_version()}\n{table}", end="")
    if arguments.write:
        write_table(arguments.write, table)


if __name__ == "__main__":
    main()
