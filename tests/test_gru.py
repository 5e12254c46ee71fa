# SPDX-License-Identifier: MIT
"""Gated recurrent unit (N9)."""

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
@pytest.mark.parametrize("reset_before", [False, True])
def test_gru_equals_reference(profile, reset_before, encoding, size):
    rng = np.random.default_rng([9, ENCODINGS.index(encoding), size])
    model = random_model(rng, "gru", encoding, output_size=size, reset_before=reset_before, profile=profile)
    x = random_inputs(rng, 24, model.layers[0].input_size, profile)
    assert_library_equals_reference(model, x)
    assert_library_equals_reference(model, x, random_int16(rng, size))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("clamp", CLAMPS)
@pytest.mark.parametrize("shared_scale", [False, True])
@pytest.mark.parametrize("reset_before", [False, True])
def test_gru_scale_variants_equal_reference(profile, reset_before, shared_scale, clamp):
    for planes in (1,) if shared_scale else (1, 2, 3):
        rng = np.random.default_rng([91, clamp, planes])
        model = random_model(
            rng,
            "gru",
            planes=planes,
            clamp=clamp,
            shared_scale=shared_scale,
            reset_before=reset_before,
            profile=profile,
        )
        assert_library_equals_reference(model, random_inputs(rng, 24, model.layers[0].input_size, profile))


@pytest.mark.parametrize("reset_before", [False, True])
def test_gru_follows_the_real_equations(reset_before):
    """Against float64, within two steps of the gates and the rounding of operands."""
    rng = np.random.default_rng(92)
    units, inputs = 12, 9
    w_x, w_h = (
        plain_matrix(rng, "ternary", 3 * units, columns, shift, bias=1000)
        for columns, shift in ((inputs, 3), (units, -5))
    )
    layer = Layer("gru", "none", inputs, units, (w_x, w_h), reset_before=reset_before)

    def sigmoid(p):
        return 1 / (1 + np.exp(-p))

    for _ in range(50):
        x = rng.integers(-127, 128, inputs)
        h_int = rng.integers(-32768, 32768, units)
        h = h_int / 32768
        a_x = (w_x.weights[0] @ (x * 8.0) + w_x.bias) / 2048
        a_h = (w_h.weights[0] @ (h * 1024) + w_h.bias) / 2048
        r, z = (sigmoid((a_x + a_h)[k * units : (k + 1) * units]) for k in (0, 1))
        if reset_before:
            a_n = ((w_h.weights[0] @ (r * h * 1024) + w_h.bias) / 2048)[2 * units :]
        else:
            a_n = r * a_h[2 * units :]
        n = np.tanh(a_x[2 * units :] + a_n)
        expected = z * h + (1 - z) * n
        got = reference.gru_step(layer, x, h_int) / 32768
        # r moves p_n by at most units / 2 gate steps (its weights are 1/2), z moves h by at most 2.
        assert np.abs(got - expected).max() <= (units / 2 + 2) * GATE_STEP
