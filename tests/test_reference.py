# SPDX-License-Identifier: MIT
"""The reference itself: examples worked by hand from FORMAT.md, and its decoder against the library's."""

import dataclasses
import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge_runtime
from edge_runtime import FrontendConfig, reference
from edge_runtime.format import DecoderConfig, Layer, Matrix, ModelFile

#: The library computes confidences in float32, the reference in float64.
CONFIDENCE_ERROR = 1e-5


def test_docstring_examples():
    assert doctest.testmod(reference).failed == 0


@pytest.mark.parametrize(
    ("a", "s", "expected"),
    [(5, 0, 5), (5, 1, 3), (-5, 1, -2), (6, 2, 2), (-6, 2, -1), (-7, 2, -2), (1, 15, 0), (16384, 15, 1)],
)
def test_rounding_shift_rounds_half_up(a, s, expected):
    assert reference.rounding_shift(a, s) == expected


def test_operand_by_hand():
    matrix = Matrix(
        "ternary",
        np.zeros((1, 1, 7), np.int8),
        np.zeros((1, 1, 2), np.uint8),
        clamp=7,
        operand_shift=2,
        three_quarters=True,
    )
    v = np.array([0, 10, -10, 9, -9, 100, -100])
    # 3/4 rounded up: 0, 8, -7, 7, -6, 75, -75; by 4 half up: 0, 2, -2 (-1.75), 2, -1 (-1.5); clamped
    assert reference.operand(matrix, v).tolist() == [0, 2, -2, 2, -1, 7, -7]


def test_matrix_output_by_hand():
    matrix = Matrix(
        "pow2",
        np.array([[[4, -1]], [[0, 64]]], np.int8),
        np.array([[[0x81, 0xC3]], [[0x80, 0]]], np.uint8),
        np.array([-100], np.int16),
        clamp=127,
        left_shift=1,
    )
    # plane 0: (4 * 20 - 3) * 2 = 154; 154 >> 1 = 77, minus 154 >> 3 = 19; plane 1: 64 * 3 * 2 = 384
    assert reference.matrix_output(matrix, [20, 3]).tolist() == [-100 + 77 - 19 + 384]


def test_negative_term_is_the_negative_of_the_shifted_value():
    """-(v >> k), not (-v) >> k: they differ by one for odd values."""
    matrix = Matrix("binary", np.array([[[1]]], np.int8), np.array([[[0xC1, 0]]], np.uint8), clamp=127)
    assert reference.matrix_output(matrix, [3]).tolist() == [-1]
    assert reference.matrix_output(matrix, [-3]).tolist() == [2]


def word_model(rng, outputs, activation, threshold, unknown):
    """A model with a decoder; its network does not matter, the unit of its logits does."""
    config = FrontendConfig(delta_order=0, stack=2)
    size = config.feature_size
    matrix = Matrix(
        "binary",
        rng.choice(np.array([-1, 1], np.int8), (1, outputs, size)),
        np.zeros((1, outputs, 2), np.uint8),
        clamp=127,
    )
    decoder = DecoderConfig(
        blank=int(rng.integers(outputs)),
        unknown=None,
        threshold=threshold,
        delay_ms=int(rng.integers(-300, 300)),
        bias=rng.integers(-1500, 1500, outputs).astype(np.int16),
        length_ms=rng.integers(0, 400, outputs).astype(np.uint16),
    )
    if unknown:
        others = [k for k in range(outputs) if k != decoder.blank]
        decoder = dataclasses.replace(decoder, unknown=int(rng.choice(others)))
    return ModelFile(
        np.ones(size, np.float32),
        np.zeros(size, np.float32),
        (Layer("dense", activation, size, outputs, (matrix,)),),
        tuple(f"w{k}" for k in range(outputs)),
        config,
        decoder,
    )


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    outputs=st.integers(2, 12),
    activation=st.sampled_from(["none", "tanh", "relu", "sigmoid"]),
    threshold=st.sampled_from([0.0, 0.4, 0.9]),
    unknown=st.booleans(),
    string_ms=st.sampled_from([20, 70, 300]),
)
def test_library_decoder_equals_reference(seed, outputs, activation, threshold, unknown, string_ms):
    rng = np.random.default_rng(seed)
    model_file = word_model(rng, outputs, activation, threshold, unknown)
    runs = rng.normal(0, 3000, (40, outputs))
    logits = np.repeat(runs, rng.integers(1, 6, 40), axis=0) + rng.normal(0, 500, (1, outputs))
    logits = np.clip(logits, -32768, 32767).astype(np.int16)
    logits[rng.random(len(logits)) < 0.05] = 0  # ties, but for the bias
    decoder = edge_runtime.Model.from_bytes(model_file.to_bytes()).decoder()
    decoder.set_string_silence(string_ms / 1000)
    got = decoder.push(logits) + decoder.finish()
    step_samples = model_file.frontend.stack * model_file.frontend.hop_samples
    unit = reference.logit_unit(model_file)
    expected = reference.decode(logits, model_file.decoder, step_samples, unit, string_ms)
    assert [(w.index, w.start_s, w.end_s, w.string) for w in got] == [
        (w.index, w.start_s, w.end_s, w.string) for w in expected
    ]
    assert [round(w.heard_s * 16000 - 410 + 160) // step_samples for w in got] == [
        w.heard_steps for w in expected
    ]
    np.testing.assert_allclose(
        [w.confidence for w in got], [w.confidence for w in expected], atol=CONFIDENCE_ERROR, rtol=0
    )


def test_decode_of_no_steps_is_empty():
    model_file = word_model(np.random.default_rng(0), 3, "none", 0.0, False)
    assert reference.decode(np.empty((0, 3), np.int16), model_file.decoder, 320, 2.0**-11) == []
