# SPDX-License-Identifier: MIT
"""Plain recurrent layer (N8)."""

import numpy as np
import pytest
from random_models import (
    ENCODINGS,
    PROFILES,
    SIZES,
    assert_library_equals_reference,
    random_inputs,
    random_int16,
    random_model,
)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_rnn_equals_reference(profile, activation, encoding, size):
    rng = np.random.default_rng([8, ENCODINGS.index(encoding), size])
    model = random_model(rng, "rnn", encoding, output_size=size, activation=activation, profile=profile)
    x = random_inputs(rng, 24, model.layers[0].input_size, profile)
    assert_library_equals_reference(model, x)
    assert_library_equals_reference(model, x, random_int16(rng, size))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("planes", "shared_scale"), [(1, False), (2, False), (3, False), (1, True)])
def test_rnn_scale_variants_equal_reference(profile, planes, shared_scale):
    for seed in range(8):
        rng = np.random.default_rng([81, seed, planes])
        model = random_model(rng, "rnn", planes=planes, shared_scale=shared_scale, profile=profile)
        assert_library_equals_reference(model, random_inputs(rng, 24, model.layers[0].input_size, profile))
