# SPDX-License-Identifier: MIT
"""Damaged files: the codec in Python and the parser in C find the same fault in the same place."""

import dataclasses
import itertools

import make_golden
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime import FormatError
from edge_runtime._native import ffi, lib
from edge_runtime.format import Layer, Matrix, ModelFile, _join
from edge_runtime.packing import pack_pow2


def c_verdict(data):
    """What the C parser says: None, or (status, rule, offset, expected, found)."""
    error = ffi.new("er_error *")
    size = ffi.new("size_t *")
    status = lib.er_model_size(ffi.from_buffer(data) if data else b"", len(data), ffi.NULL, size, error)
    if status == 0:
        return None
    assert status == error.status
    return error.status, error.rule, error.offset, error.expected, error.found


def python_verdict(data):
    """What the Python codec says, in the same form."""
    try:
        ModelFile.from_bytes(data)
    except FormatError as error:
        return error.status, error.rule, error.offset, error.expected, error.found
    return None


def mutate(rng, data):
    """A damaged copy with the checksum made right, and seldom with another length."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        how = rng.integers(8)
        # Headers are short among padding and blocks: prefer bytes that are not zero.
        used = np.flatnonzero(np.frombuffer(bytes(data), np.uint8))
        at = int(rng.choice(used)) if rng.random() < 0.5 else int(rng.integers(len(data)))
        if how < 3:
            data[at] = int(rng.integers(256))
        elif how == 3:
            data[at] ^= 1 << int(rng.integers(8))
        elif how == 4:
            value = int(rng.choice([0, 1, 2, 16, 64, 127, 128, 8192, 8193, 2**31, 2**32 - 1, 2**32 - 64]))
            at &= ~3
            data[at : at + 4] = value.to_bytes(4, "little")
        elif how == 5:
            at &= ~3
            old = int.from_bytes(data[at : at + 4], "little")
            new = old + int(rng.choice([-64, -16, -1, 1, 16, 64]))
            data[at : at + 4] = (new % 2**32).to_bytes(4, "little")
        elif how == 6:
            other = int(rng.integers(len(data) // 64)) * 64
            at &= ~63
            data[at : at + 64], data[other : other + 64] = data[other : other + 64], data[at : at + 64]
        elif rng.random() < 0.2:
            size = int(rng.integers(2 * len(data)))
            data = data[:size] + bytes(max(size - len(data), 0))
            if len(data) >= 64 and rng.random() < 0.8:
                data[8:12] = len(data).to_bytes(4, "little")
        if len(data) < 64:
            return bytes(data)
    return make_golden.with_crc(bytes(data))


def check_mutations(rng, sources, count):
    """Compare both parsers on mutations; returns how many were accepted and the rules seen."""
    accepted, rules = 0, {}
    for _ in range(count):
        data = mutate(rng, sources[rng.integers(len(sources))])
        verdict = c_verdict(data)
        assert python_verdict(data) == verdict, data.hex()
        if verdict is None:
            accepted += 1
            assert ModelFile.from_bytes(data).to_bytes() == data, data.hex()
        else:
            rules[verdict[1]] = rules.get(verdict[1], 0) + 1
    return accepted, rules


def test_both_parsers_agree_on_damaged_files():
    sources = [path.read_bytes() for path in sorted(make_golden.GOLDEN.glob("*.ernn"))]
    sources += [sources[-1]] * len(sources)  # the one with all kinds of sections
    accepted, rules = check_mutations(np.random.default_rng(1), sources, 6000)
    assert accepted > 500
    assert len(rules) > 25, sorted(rules)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200))
def test_both_parsers_agree_on_noise(data):
    assert python_verdict(data) == c_verdict(data)
    data = b"ERNN\x01\0\0\0" + data
    assert python_verdict(data) == c_verdict(data)


# ---------------------------------------------------------------------------------------- sections

FULL = (make_golden.GOLDEN / "stack_mixed_full.ernn").read_bytes()
SECTIONS = make_golden.sections(FULL)
#: Index of a section; the layer has three inputs and outputs, so that it may follow itself, or be missing.
LAST_LAYER = 3


def refused_by(sections):
    """The rule by which both parsers refuse a file of these sections."""
    data = _join(sections)
    verdict = c_verdict(data)
    assert verdict is not None
    assert python_verdict(data) == verdict
    return verdict[1]


@pytest.mark.parametrize("index", range(len(SECTIONS)), ids=lambda i: f"{i}_{SECTIONS[i][0].decode()}")
def test_section_of_another_length_is_refused(index):
    section_type, contents = SECTIONS[index]

    def with_contents(new):
        return [*SECTIONS[:index], (section_type, new), *SECTIONS[index + 1 :]]

    assert refused_by(with_contents(b"")) == 10
    for length in range(1, len(contents)):
        assert refused_by(with_contents(contents[:length])) == 11, length
    for more in (b"\0", b"\1", bytes(64), b"\xff" * 64, contents):
        assert refused_by(with_contents(contents + more)) == 11, more


def test_section_left_out_is_refused():
    for index, (section_type, _) in enumerate(SECTIONS):
        sections = SECTIONS[:index] + SECTIONS[index + 1 :]
        if section_type in (b"DECO", b"META") or index == LAST_LAYER:  # makes another legal model
            assert c_verdict(_join(sections)) is None
        else:
            assert refused_by(sections) in (9, 18), section_type


def test_repeated_section_is_refused():
    for index, section in enumerate(SECTIONS):
        for place in range(len(SECTIONS) + 1):
            sections = [*SECTIONS[:place], section, *SECTIONS[place:]]
            if index == LAST_LAYER and place - index in (0, 1):
                assert c_verdict(_join(sections)) is None
            else:
                assert refused_by(sections) in (9, 17, 18), (index, place)


def test_reordered_sections_are_refused():
    for a, b in itertools.combinations(range(len(SECTIONS)), 2):
        sections = list(SECTIONS)
        sections[a], sections[b] = sections[b], sections[a]
        assert refused_by(sections) in (9, 17, 18), (a, b)


def test_exchanged_table_entries_are_refused():
    """The sections stay where they are; the table says otherwise."""
    for a, b in itertools.combinations(range(len(SECTIONS)), 2):
        for first, count in ((0, 4), (4, 4), (8, 4), (4, 8), (0, 16)):  # type, offset, size, place, all
            data = bytearray(FULL)
            one, other = (slice(64 + 16 * i + first, 64 + 16 * i + first + count) for i in (a, b))
            data[one], data[other] = data[other], data[one]
            if bytes(data) == FULL:
                continue
            data = make_golden.with_crc(bytes(data))
            assert c_verdict(data) is not None, (a, b, first)
            assert python_verdict(data) == c_verdict(data)


def test_every_other_length_is_refused():
    for size in range(len(FULL) + 130):
        cut = (FULL + bytes(130))[:size]
        if size == len(FULL):
            continue
        assert c_verdict(cut) is not None
        assert python_verdict(cut) == c_verdict(cut)
        if size >= 64:  # header and checksum say that it is right
            cut = make_golden.with_crc(cut[:8] + size.to_bytes(4, "little") + cut[12:])
            assert c_verdict(cut) is not None
            assert python_verdict(cut) == c_verdict(cut)


def assert_both_refuse(data, rule):
    verdict = c_verdict(make_golden.with_crc(bytes(data)))
    assert verdict == python_verdict(make_golden.with_crc(bytes(data)))
    assert verdict is not None and verdict[1] == rule


def test_any_two_equal_strings_are_found():
    """Not only a second one that equals the first; and a string of which another is the beginning is no other."""
    data = (make_golden.GOLDEN / "stack_mixed_full.ernn").read_bytes()
    file = ModelFile.from_bytes(data)
    assert len(file.labels) == 3
    for first, second in itertools.combinations(range(len(file.labels)), 2):
        # Unlike in length too, so that a search which loses its place meets another text.
        labels = [f"{'w' * (index + 1)}{index}" for index in range(len(file.labels))]
        labels[first] = labels[second][::-1]
        made = bytearray(dataclasses.replace(file, labels=tuple(labels)).to_bytes())
        assert c_verdict(bytes(made)) is None
        at = made.index(labels[first].encode() + b"\0")
        made[at : at + len(labels[first])] = labels[second].encode()
        assert_both_refuse(made, 28)
    keys = [f"key{index}" for index in range(4)]
    for first, second in itertools.combinations(range(4), 2):
        made = bytearray(dataclasses.replace(file, metadata=dict.fromkeys(keys, "v")).to_bytes())
        assert c_verdict(bytes(made)) is None
        at = made.index(keys[second].encode() + b"\0")
        made[at : at + 4] = keys[first].encode()
        assert_both_refuse(made, 32)


@pytest.mark.parametrize("kind, rule", [(b"LABL", 11), (b"META", 11)])
def test_strings_end_within_their_section(kind, rule):
    """The last zero byte is left to the padding."""
    data = bytearray((make_golden.GOLDEN / "stack_mixed_full.ernn").read_bytes())
    entry = next(at for at in range(64, 512, 16) if data[at : at + 4] == kind)
    size = int.from_bytes(data[entry + 8 : entry + 12], "little")
    data[entry + 8 : entry + 12] = (size - 1).to_bytes(4, "little")
    assert_both_refuse(data, rule)


def test_clamps_between_and_beyond_the_allowed_ones_are_refused():
    file = ModelFile.load(make_golden.GOLDEN / "dense_ternary_small.ernn")
    data = file.to_bytes()
    begin = next(at for at in range(0, len(data), 16) if data[at : at + 4] == b"LAYR")
    at = int.from_bytes(data[begin + 4 : begin + 8], "little") + 32 + 4  # of the first matrix header
    assert int.from_bytes(data[at : at + 2], "little") in (7, 12, 25, 31, 127, 32767)
    for clamp in (0, 6, 8, 13, 26, 32, 128, 32766, 32768, 40000, 65535):
        damaged = bytearray(data)
        damaged[at : at + 2] = clamp.to_bytes(2, "little")
        assert_both_refuse(damaged, 23)


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("term", [0, 1])
def test_row_scale_without_its_first_term_has_no_other_bit(term, bit):
    """In any row, of either term: the second is present only if the first is."""
    file = ModelFile.load(make_golden.GOLDEN / "dense_ternary_small.ernn")
    (layer,) = file.layers
    (matrix,) = layer.matrices
    marker = np.tile(np.array([0x8D, 0xCE], np.uint8), (1, matrix.rows, 1))
    layers = (dataclasses.replace(layer, matrices=(dataclasses.replace(matrix, scales=marker),)),)
    data = bytearray(dataclasses.replace(file, layers=layers).to_bytes())
    at = data.index(marker.tobytes())
    for place in range(at, at + 2 * matrix.rows, 2):
        damaged = bytearray(data)
        damaged[place : place + 2] = bytes(2)
        assert c_verdict(make_golden.with_crc(bytes(damaged))) is None
        damaged[place + term] = 1 << bit
        if (term, bit) == (0, 7):
            assert c_verdict(make_golden.with_crc(bytes(damaged))) is None
        else:
            assert_both_refuse(damaged, 26)


@pytest.mark.parametrize("magnitude", [1, 2, 4, 8, 16, 32, 64])
def test_sum_of_a_row_of_powers_of_two_is_bounded_by_its_magnitudes(magnitude):
    """At the greatest clamp a row may come to 32769; here the second one of the second plane does."""
    filling, rest = divmod(32769 - 62 * magnitude, 64)
    row = [-magnitude] * 62 + [64] * filling + [1 << bit for bit in range(6) if rest >> bit & 1]
    weights = np.zeros((2, 3, 640), np.int8)
    weights[1, 1, : len(row)] = row
    matrix = Matrix("pow2", weights, np.full((2, 3, 2), [0x80, 0], np.uint8), clamp=32767)
    data = bytearray(make_golden.model([Layer("dense", "none", 640, 3, (matrix,))]).to_bytes())
    assert c_verdict(bytes(data)) is None
    packed = pack_pow2(weights[1, 1]).tobytes()
    at = data.index(packed)
    assert data[at + len(packed) - 1] == 0
    data[at + len(packed) - 1] = 1
    assert_both_refuse(data, 27)
    assert c_verdict(make_golden.with_crc(bytes(data)))[2] == at
