# SPDX-License-Identifier: MIT
"""Damaged files: the codec in Python and the parser in C find the same fault in the same place."""

import make_golden
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime import FormatError
from edge_runtime._native import ffi, lib
from edge_runtime.format import ModelFile


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
