# SPDX-License-Identifier: MIT
"""How outputs are compared, of a packed model and its source, and on what vectors; figure by figure."""

import dataclasses

import numpy as np
import pytest
from float_networks import float_network
from random_models import plain_matrix

from edge_runtime import Model
from edge_runtime.format import Layer, ModelFile
from exporters import agreement, verify
from exporters.agreement import Agreement
from exporters.graph import Dense, Network
from exporters.quantize import Precision, Quantizer

PACKED_AT_ALL = np.linspace(-1, 1, 70).reshape(35, 2)


def packed(network, inputs):
    quantizer = Quantizer(network, inputs)
    model_file, _ = quantizer.model_file([Precision(planes=2)] * len(quantizer.matrices))
    return model_file.to_bytes()


@pytest.fixture(scope="module")
def pair():
    """A dense network of two inputs, and its packed model."""
    network = Network([Dense([[0.7, -0.3], [0.1, 0.4], [-0.2, 0.6]], [0.1, -0.2, 0.3])])
    return network, packed(network, [PACKED_AT_ALL])


def figures(source, found):
    """The same by hand."""
    differences = [abs(a - b) for a, b in zip(source.ravel(), found.ravel(), strict=True)]
    mean = source.sum() / source.size
    return Agreement(
        steps=len(source),
        largest=max(differences),
        rms=pytest.approx((sum(d * d for d in differences) / len(differences)) ** 0.5),
        spread=pytest.approx((((source - mean) ** 2).sum() / source.size) ** 0.5),
        same_choice=sum(
            a.tolist().index(max(a)) == b.tolist().index(max(b)) for a, b in zip(source, found, strict=True)
        )
        / len(source),
    )


def test_agreement_is_measured_over_all_sequences(pair):
    network, data = pair
    inputs = [PACKED_AT_ALL, -PACKED_AT_ALL[:3]]
    sources = [network.run(x) for x in inputs]
    model = Model.from_bytes(data)
    outputs = np.concatenate([model.stream().run(x.astype(np.float32)) for x in inputs]).astype(float)
    expected = figures(np.concatenate(sources), outputs)
    found = agreement.measure(sources, data, inputs)
    assert found == expected and found.steps == 38 and 0 < found.rms < found.largest < 0.1
    assert agreement.measure(sources, data, inputs, 3.0) == figures(np.concatenate(sources), 3 * outputs)


def test_every_sequence_begins_at_the_initial_state():
    network = float_network("gru", inputs=2, units=4)
    data = packed(network, [PACKED_AT_ALL])
    once, twice = (
        agreement.measure([network.run(PACKED_AT_ALL)] * n, data, [PACKED_AT_ALL] * n) for n in (1, 2)
    )
    assert once.largest == twice.largest and twice.steps == 70


def test_relative_agreement_is_of_the_spread():
    some = Agreement(steps=9, largest=0.5, rms=0.1, spread=0.4, same_choice=1.0)
    assert some.relative == 0.25
    assert dataclasses.replace(some, spread=0.0).relative == 1.0
    assert dataclasses.replace(some, spread=0.0, rms=0.0).relative == 0.0
    assert type(dataclasses.replace(some, spread=0.0).relative) is float
    with pytest.raises(dataclasses.FrozenInstanceError):
        some.steps = 3


def test_agreement_in_words():
    some = Agreement(steps=9, largest=0.51234, rms=0.1, spread=0.4, same_choice=1.0)
    start = "largest difference 0.512, rms 0.1 (25 % of the outputs' spread)"
    assert str(some) == f"{start}, 9 steps"
    assert (
        str(dataclasses.replace(some, same_choice=0.875))
        == f"{start}, same greatest output in 87.5 % of steps, 9 steps"
    )
    assert (
        str(dataclasses.replace(some, steps=0))
        == f"{start}, same greatest output in 100.0 % of steps, 0 steps"
    )
    assert str(dataclasses.replace(some, steps=1)) == f"{start}, 1 steps"


@pytest.mark.parametrize(
    "lengths, times",
    [((500,), 1), ((499,), 2), ((250,), 2), ((249,), 3), ((7, 501, 3), 1), ((7, 167, 3), 3), ((1,), 500)],
)
def test_sequences_are_repeated_until_the_longest_is_long_enough(lengths, times):
    inputs = [np.arange(2 * n).reshape(n, 2) for n in lengths]
    found = agreement.long_enough(inputs)
    assert isinstance(found, list) and len(found) == len(inputs)
    for x, longer in zip(inputs, found, strict=True):
        np.testing.assert_array_equal(longer, np.tile(x, (times, 1)))


@pytest.mark.parametrize("steps, part", [(50, 5), (59, 5), (59_999, 5999), (60_000, 6000), (70_000, 6000)])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_drift_is_of_the_first_and_the_last_tenth(pair, steps, part, scale):
    network, data = pair
    inputs = [PACKED_AT_ALL[:20], PACKED_AT_ALL[20:]]
    x = np.tile(PACKED_AT_ALL, (-(-steps // 35), 1))[:steps]
    source = network.run(x)
    found = scale * Model.from_bytes(data).stream().run(x.astype(np.float32))
    first, last = agreement.drift(network, data, inputs, steps, output_scale=scale)
    assert first == agreement.between(source[:part], found[:part])
    assert last == agreement.between(source[steps - part :], found[steps - part :])
    if steps == 60_000 and scale == 1:
        assert agreement.drift(network, data, inputs) == (first, last)


def test_outputs_are_compared_in_double_precision():
    source = np.full((2, 2), 1 + 1e-9)
    found = agreement.between(source, np.ones((2, 2), np.float32))
    assert found.largest == found.rms == pytest.approx(1e-9) and found.same_choice == 1.0


# ---------------------------------------------------------------------------------- vectors of a proof


def test_vectors_reach_over_the_whole_range_of_the_inputs():
    """Standard normal times 12, 24, 48, ... integers; every other channel slow; back through scale and offset."""
    matrix = plain_matrix(np.random.default_rng(0), "ternary", 1, 4)
    scale, offset = np.float32([2, 4, 0, 0.5]), np.float32([1, -3, 2, 0])
    model_file = ModelFile(scale, offset, (Layer("dense", "none", 4, 1, (matrix,)),))
    for runs in (4, 2):
        drawn = np.random.default_rng(20261121).standard_normal((runs, 600, 4))
        want = np.empty_like(drawn)
        for run in range(runs):
            levels = drawn[run] * 12 * 2**run
            for channel in (0, 2):
                for t in range(1, 600):
                    levels[t, channel] = 0.9 * levels[t - 1, channel] + 0.3 * levels[t, channel]
            for channel in range(4):
                # A channel that the network does not look at has no scale.
                want[run, :, channel] = (levels[:, channel] - offset[channel]) / (scale[channel] or 1)
        found = verify.test_vectors(model_file, **({} if runs == 4 else {"runs": runs}))
        assert found.shape == (runs, 600, 4) and found.dtype == np.float32
        np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6)
