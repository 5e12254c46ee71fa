# SPDX-License-Identifier: MIT
"""Over a whole recognition no multiply is executed between quantized input and logits.

Counted instruction by instruction under qemu (tests/count_instructions.py), on the library as CMake builds it.
tests/test_no_multiply.py looks at the code instead; each would see what the other may miss.
"""

import re

import count_instructions
import pytest
import targets
from count_instructions import inference_files
from targets import ROOT, TARGETS
from test_no_multiply import CONTROL, CONTROL_FUNCTIONS, HELPER

#: What inference may call outside its own objects: it is counted with it.
PLAIN_CALLS = {"memcpy", "memmove", "memset"}
#: Figures in the documents may differ by this much from those counted, since compilers do.
DOCUMENT_TOLERANCE = 0.1

#: In a file of its own, so that no call is inlined or saved.
CONTROL_MAIN = """
#include <stdint.h>
int32_t control_dot(const int16_t *a, const int16_t *b, int n);
uint32_t control_address(uint32_t row, uint32_t row_bytes);
int32_t control_quotient(int32_t a, int32_t b);
uint32_t control_third(uint32_t a);
float control_float(float a, float b);
int main(void)
{
    const int16_t a[3] = { 1, 2, 3 }, b[3] = { 4, 5, 6 };
    uint32_t i;
    for (i = 0; i < 100; i++) {
        control_dot(a, b, 3);
        control_address(i, 77);
        control_quotient(1000, (int32_t)i + 1);
        control_third(i);
        control_float(2.0f, 3.0f);
    }
    return 0;
}
"""


@pytest.mark.parametrize("kernel", ("", "scalar"), ids=lambda kernel: kernel or "chosen")
@pytest.mark.parametrize("name", TARGETS)
def test_inference_executes_no_multiply(name, kernel, record_property):
    target = TARGETS[name]
    count_instructions.needs_counting(target)
    whole, half = count_instructions.recognition(target, kernel)
    assert whole.multiplies["inference"] == 0
    assert whole.multiplies["memory"] == 0 and whole.instructions["memory"] > 0
    # It was inference that was counted, and the network did run on all of the recording.
    assert whole.steps == 254 and half.steps < whole.steps
    assert whole.instructions["inference"] > 1000 * whole.steps
    # The features are made with floats: their multiplies are counted, so others would be too.
    assert whole.multiplies["front end"] > 1000 * whole.steps
    _, executed, multiplied = count_instructions.per_step(target, kernel)
    figures = ", ".join(f"{stage} {executed[stage]:.0f} ({multiplied[stage]:.0f})" for stage in executed)
    record_property(
        "figures", f"{name}, kernel {whole.kernel}: instructions (multiplies) per step: {figures}"
    )


@pytest.mark.parametrize("name", TARGETS)
def test_fine_networks_execute_no_multiply(name):
    """Numeric profile 2: the golden files of it, every kind of layer and activation."""
    target = TARGETS[name]
    count_instructions.needs_counting(target)
    program = targets.build_program(target, "check_golden")
    paths = sorted((ROOT / "tests" / "golden").glob("*_fine*.ernn"))
    instructions, result = count_instructions.count(target, program, *paths)
    assert result.stdout.count("steps equal") == len(paths) > 10
    inference = [i for i in instructions if i.source in inference_files()]
    assert [i for i in inference if i.multiplies] == []
    assert {"fine.c", "fine_activation.c", "fine_step.c", "matrix.c"} <= {i.source for i in inference}


@pytest.mark.parametrize("name", TARGETS)
def test_inference_calls_nothing_that_could_multiply(name):
    """Soft multiplies and divisions hide in helpers of the compiler's library; other objects, too."""
    target = TARGETS[name]
    targets.needs_target(target)
    calls = count_instructions.calls_of_inference(target)
    assert {name for name in calls if HELPER.search(name)} == set()
    assert calls - PLAIN_CALLS - {"_GLOBAL_OFFSET_TABLE_"} == set()


def test_inference_files_are_those_of_the_build():
    files = inference_files()
    assert {"step.c", "gru.c", "matrix.c", "ternary_gemv_scalar.c"} <= files
    assert not files & set.union(*count_instructions.STAGES.values())


@pytest.mark.parametrize("name", TARGETS)
def test_control_is_counted(name, tmp_path):
    """Functions with multiplies: each is caught, as often as it ran; a division by its helper where the
    processor has no instruction for it."""
    target = TARGETS[name]
    count_instructions.needs_counting(target)
    command = [target.compiler, *target.options.split(), "-std=c11", "-O2"]
    for part, text in {"control": CONTROL, "main": CONTROL_MAIN}.items():
        (tmp_path / f"{part}.c").write_text(text)
        targets.run([*command, "-c", tmp_path / f"{part}.c", "-o", tmp_path / f"{part}.o"])
    objects = [tmp_path / "control.o", tmp_path / "main.o"]
    program = tmp_path / "control"
    targets.run([*command, "-static", f"-Wl,-Map={program}.map", *objects, "-o", program])
    instructions, _ = count_instructions.count(target, program)
    counted = {
        function: sum(i.count for i in instructions if i.symbol == function and i.multiplies)
        for function in CONTROL_FUNCTIONS
    }
    if HELPER.search(targets.run([count_instructions.nm_of(target), "-u", objects[0]])):
        assert counted.pop("control_quotient") == 0
    assert counted.pop("control_dot") == 300
    assert set(counted.values()) == {100}
    assert all(i.source == "control" for i in instructions if i.symbol in CONTROL_FUNCTIONS)


def test_document_holds_the_figures():
    """docs/instructions.md; written anew by: python tests/count_instructions.py --write docs/instructions.md"""
    for target in TARGETS.values():
        count_instructions.needs_counting(target)
    text = (ROOT / "docs" / "instructions.md").read_text(encoding="utf-8")
    begin, end = (text.index(marker) for marker in count_instructions.MARKERS)

    def parse(lines):
        cells = [re.split(r"\s*\|\s*", line.strip("| ")) for line in lines[2:]]
        return {tuple(row[:3]): [int(cell) for cell in row[3:]] for row in cells}

    written = parse(text[begin:end].splitlines()[1:])
    counted = parse(count_instructions.rows())
    assert set(written) == set(counted)
    for key, figures in counted.items():
        assert written[key] == pytest.approx(figures, rel=DOCUMENT_TOLERANCE), key
        assert written[key][1] == 0
