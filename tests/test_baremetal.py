# SPDX-License-Identifier: MIT
"""Firmware without an operating system, a heap or a multiply: native/baremetal/ on a Cortex-M0 and M4 under qemu."""

import re

import baremetal
import builds
import measure_baremetal
import numpy as np
import pytest
import targets
from baremetal import M0, M4, M4_SOFT
from count_instructions import MARKERS
from make_golden import GOLDEN
from measure_baremetal import LARGE, SMALL, measure, pcm, quantized_features
from sanitizers import library_sources
from targets import NATIVE, ROOT

from edge_runtime import Model
from edge_runtime._native import ffi

#: What a heap needs; none of it may be linked.
HEAP = re.compile(r"_?_?(malloc|free|calloc|realloc|_malloc_r|_free_r|_?sbrk(_r)?)")
DOCUMENT = (ROOT / "docs" / "microcontroller.md").read_text(encoding="utf-8")
#: What is built here; measure_baremetal.py measures more. The large model on the Cortex-M0, if the document says it fits.
PROGRAMS = [(M0, "network", SMALL), (M4, "network", SMALL), (M4, "recognizer", SMALL)]
if f"| {M0.core} | network | {LARGE.name} |" in DOCUMENT:
    PROGRAMS.append((M0, "network", LARGE))
#: Figures in the document may differ by this much from those measured, since compilers do.
DOCUMENT_TOLERANCE = 0.1


@pytest.fixture(autouse=True)
def tools():
    baremetal.needed()


def names(programs):
    return [f"{board}-{program}-{model.stem}" for board, program, model in programs]


NETWORKS = [entry for entry in PROGRAMS if entry[1] == "network"]


@pytest.mark.parametrize(("board", "program", "model"), NETWORKS, ids=names(NETWORKS))
def test_logits_are_those_of_the_desk(board, program, model):
    logits = np.frombuffer(measure(board, program, model).output, "<i2")
    expected = Model.load(model).stream().run_quantized(quantized_features(model))
    np.testing.assert_array_equal(logits.reshape(expected.shape), expected)
    assert len(np.unique(expected)) > 100


@pytest.mark.parametrize("board", (M4, M4_SOFT), ids=str)
def test_words_are_those_of_the_desk(board):
    """From samples on, floats included, by the processor's own unit for them or by the compiler's helpers."""
    if board == M4:
        output = measure(board, "recognizer", SMALL).output
    else:
        program = baremetal.build(board, SMALL) / "recognizer.elf"
        output = baremetal.run(board, program, pcm().tobytes()).output
    words = ffi.from_buffer("er_word[]", output)
    model = Model.load(SMALL)
    recognizer = model.recognizer(sample_rate=16000)
    expected = [*recognizer.accept_waveform(pcm()), *recognizer.finish()]
    assert len(expected) > 0
    assert [
        (model.labels[w.label], w.start_s, w.end_s, w.heard_s, w.confidence, w.string) for w in words
    ] == [(w.label, w.start_s, w.end_s, w.heard_s, w.confidence, w.string) for w in expected]


@pytest.mark.parametrize(("board", "program", "model"), PROGRAMS, ids=names(PROGRAMS))
def test_network_executes_no_multiply(board, program, model):
    m = measure(board, program, model)
    assert m.whole.steps > m.half.steps > 0
    assert m.whole.multiplies["inference"] == 0
    assert m.whole.instructions["inference"] > 10000 * m.whole.steps
    if (
        program == "network"
    ):  # nor does anything else; dividing, too, is for reading the model and for the report
        assert m.whole.multiplies.total() == m.half.multiplies.total()
        assert m.whole.helpers == m.half.helpers > 0
    else:  # the front end does multiply, so it would be seen
        assert m.whole.multiplies["front end"] > 1000 * m.whole.steps


@pytest.mark.parametrize(("board", "program", "model"), PROGRAMS, ids=names(PROGRAMS))
def test_nothing_is_allocated_and_weights_stay_in_flash(board, program, model):
    elf = baremetal.build(board, model) / f"{program}.elf"
    linked = baremetal.symbols(elf)
    assert {name for name in linked if HEAP.fullmatch(name)} == set()
    assert "er_stream_init" in linked and "er_plan_matrix" not in linked
    sizes = baremetal.sections(elf)
    assert sizes.get(".data", 0) + sizes.get(".bss", 0) < 2048
    assert sizes[".text"] > model.stat().st_size


def test_the_small_model_fits_a_microcontroller_of_16_kb():
    m = measure(M0, "network", SMALL)
    assert m.flash <= 256 * 1024 and m.static + m.stack <= 16 * 1024


def test_small_tables_give_the_same_logits():
    """ER_SMALL_MEMORY at the desk: the golden files, of every encoding and kind of layer."""
    options = '-std=c11 -O2 -ffp-contract=off -DER_SMALL_MEMORY -DER_VERSION="0"'.split()
    command = ["gcc", *options, *(f"-I{NATIVE / part}" for part in ("include", "src", "tests"))]
    objects = builds.objects("small_memory", command, dict.fromkeys(library_sources(), ()))
    sources = [NATIVE / "tests" / f"{name}.c" for name in ("check_golden", "files")]
    program = builds.once(
        "small_memory_check_golden", lambda path: targets.run([*command, *sources, *objects, "-o", path])
    )
    paths = sorted(GOLDEN.glob("*.ernn"))
    lines = targets.run([program, *paths]).splitlines()
    assert len(lines) == len(paths) > 20
    assert all(line.endswith(" 6 steps equal") for line in lines)


def test_what_is_no_model_is_refused(tmp_path):
    """By the status that the library gives at a desk: the checksum."""
    model = SMALL.read_bytes()
    program = (baremetal.build(M0, SMALL) / "network.elf").read_bytes()
    assert program.count(model) == 1
    damaged = tmp_path / "damaged.elf"
    damaged.write_bytes(program.replace(model, model[:-1] + bytes([model[-1] ^ 1])))
    with pytest.raises(RuntimeError, match=r"exit status 2\ner_model_init: status -14\n"):
        baremetal.run(M0, damaged, b"")


def test_document_holds_the_figures():
    """docs/microcontroller.md; written anew by: python tests/measure_baremetal.py --write docs/microcontroller.md"""
    begin, end = (DOCUMENT.index(marker) for marker in MARKERS)

    def parse(lines):
        cells = [re.split(r"\s*\|\s*", line.strip("| \n")) for line in lines[2:]]
        return {tuple(row[:3]): [int(cell) for cell in row[3:]] for row in cells}

    written = parse(DOCUMENT[begin:end].splitlines()[1:])
    measured = parse(measure_baremetal.rows(PROGRAMS))
    assert len(measured) == len(PROGRAMS) < len(written)
    for key, figures in measured.items():
        assert written[key] == pytest.approx(figures, rel=DOCUMENT_TOLERANCE), key
