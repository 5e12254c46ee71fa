# SPDX-License-Identifier: MIT
"""docs/cycles.md holds what tests/estimate_cycles.py estimates."""

import re

import count_instructions
import estimate_cycles
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
