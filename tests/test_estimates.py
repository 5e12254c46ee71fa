# SPDX-License-Identifier: MIT
"""docs/cycles.md holds what tests/estimate_cycles.py estimates, docs/power.md what tests/estimate_power.py does."""

import re

import count_instructions
import estimate_cycles
import estimate_power
import pytest
import targets
from count_instructions import MARKERS
from targets import ROOT, TARGETS

#: Figures in the document may differ by this much from those estimated, since compilers and models do.
TOLERANCE = 0.15


def parse(lines):
    """dict: the words of a row of a table to its numbers."""
    found = {}
    for line in lines:
        cells = re.split(r"\s*\|\s*", line.strip("| \n"))
        numbers = [float(cell) for cell in cells if re.fullmatch(r"[\d.]+", cell)]
        if numbers:
            found[(*cells[: -len(numbers)], len(numbers))] = numbers
    return found


def test_document_holds_the_estimates():
    """Of W1, the quicker workload; written anew by: python tests/estimate_cycles.py --write docs/cycles.md"""
    for core in estimate_cycles.CORES:
        count_instructions.needs_counting(TARGETS[core.target])
    if estimate_cycles.model_version().split(".")[0] != "19":
        targets.missing("llvm-mca 19 is not installed")
    text = (ROOT / "docs" / "cycles.md").read_text(encoding="utf-8")
    begin, end = (text.index(marker) for marker in MARKERS)
    written = parse(text[begin:end].splitlines())
    estimated = parse(estimate_cycles.rows(workloads=("W1",)))
    assert len(estimated) == 3 * len(estimate_cycles.CORES)
    for key, figures in estimated.items():
        assert written[key] == pytest.approx(figures, rel=TOLERANCE), key


def test_what_is_estimated_is_the_step():
    """The parts that have names are nearly all of it, and none is missing."""
    core = estimate_cycles.CORES[0]
    count_instructions.needs_counting(TARGETS[core.target])
    costs = estimate_cycles.step_costs(core, "W1")
    total = sum(cost.instructions for cost in costs.values())
    assert costs["rest"].instructions < 0.1 * total
    assert all(cost.instructions > 0.02 * total for part, cost in costs.items() if part != "rest")


def test_document_holds_the_cost_of_a_second():
    """Of AArch64; written anew by: python tests/estimate_power.py --write docs/power.md"""
    count_instructions.needs_counting(TARGETS["aarch64"])
    text = (ROOT / "docs" / "power.md").read_text(encoding="utf-8")
    begin, end = (text.index(marker) for marker in MARKERS)

    def table(lines):
        """dict: a row's first two cells to the numbers of the others."""
        rows = [re.split(r"\s*\|\s*", line.strip("| \n")) for line in lines]
        return {
            tuple(row[:2]): [float(n) for n in re.findall(r"(?<![\w.])[\d.]+", " ".join(row[2:]))]
            for row in rows
            if re.search(r"\d", row[-1])
        }

    written = table(text[begin:end].splitlines())
    estimated = table(estimate_power.rows(("aarch64",), firmware=False))
    assert len(written) > len(estimated) > 3
    for key, figures in estimated.items():
        assert written[key] == pytest.approx(figures, rel=TOLERANCE, abs=0.2), key


def test_an_idle_second_costs_a_fraction_of_one_of_speech():
    target = TARGETS["aarch64"]
    count_instructions.needs_counting(target)
    speech, idle = (estimate_power.second_of_audio(target, sound, 16000) for sound in ("speech", "idle"))
    assert 0 < idle < 0.2 * speech
