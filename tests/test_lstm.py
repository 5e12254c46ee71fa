# SPDX-License-Identifier: MIT
"""Long short-term memory (N10)."""

import numpy as np
import pytest
from random_models import (
    CLAMPS,
    ENCODINGS,
    PROFILES,
    SIZES,
    assert_library_equals_reference,
    plain_matrix,
    random_inputs,
    random_int16,
    random_model,
)

from edge_runtime import reference
from edge_runtime.format import Layer

GATE_STEP = 2.0**-8


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_lstm_equals_reference(profile, encoding, size):
    rng = np.random.default_rng([10, ENCODINGS.index(encoding), size])
    model = random_model(rng, "lstm", encoding, output_size=size, profile=profile)
    x = random_inputs(rng, 24, model.layers[0].input_size, profile)
    assert_library_equals_reference(model, x)
    assert_library_equals_reference(model, x, random_int16(rng, (1 + profile) * size))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("clamp", CLAMPS)
@pytest.mark.parametrize("shared_scale", [False, True])
def test_lstm_scale_variants_equal_reference(profile, shared_scale, clamp):
    for planes in (1,) if shared_scale else (1, 2, 3):
        rng = np.random.default_rng([101, clamp, planes])
        model = random_model(
            rng, "lstm", planes=planes, clamp=clamp, shared_scale=shared_scale, profile=profile
        )
        assert_library_equals_reference(model, random_inputs(rng, 24, model.layers[0].input_size, profile))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("value", [-32768, 32767])
def test_lstm_cell_saturates_as_the_reference_does(profile, value):
    rng = np.random.default_rng(102)
    model = random_model(rng, "lstm", output_size=65, initial_state=False, profile=profile)
    x = random_inputs(rng, 24, model.layers[0].input_size, profile)
    assert_library_equals_reference(model, x, np.full(65 * (1 + profile), value, np.int16))


def test_lstm_follows_the_real_equations():
    """Against float64, within a few steps of the gates."""
    rng = np.random.default_rng(103)
    units, inputs = 12, 9
    w_x, w_h = (
        plain_matrix(rng, "ternary", 4 * units, columns, shift, bias=1000)
        for columns, shift in ((inputs, 3), (units, -5))
    )
    layer = Layer("lstm", "none", inputs, units, (w_x, w_h))

    def sigmoid(p):
        return 1 / (1 + np.exp(-p))

    for _ in range(50):
        x = rng.integers(-127, 128, inputs)
        h_int = rng.integers(-32768, 32768, units)
        c_int = rng.integers(-12000, 12001, units)
        p = (w_x.weights[0] @ (x * 8.0) + w_x.bias + w_h.weights[0] @ (h_int / 32) + w_h.bias) / 2048
        i, f, g, o = np.split(p, 4)
        c = sigmoid(f) * c_int / 4096 + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        got_h, got_c = reference.lstm_step(layer, x, h_int, c_int)
        # f and i are off by a gate step and a half each, on |c| <= 3 and |g| <= 1.
        assert np.abs(got_c / 4096 - c).max() <= 6 * GATE_STEP
        assert np.abs(got_h / 32768 - h).max() <= 8 * GATE_STEP
