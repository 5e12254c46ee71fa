# SPDX-License-Identifier: MIT
"""Float networks packed without training: error against precision, ranges, search, drift, refusals."""

import dataclasses

import numpy as np
import pytest
from float_networks import float_network

from edge_runtime import Model
from exporters import agreement, pack, report, verify
from exporters.dequantize import dequantize
from exporters.graph import Dense, ImportRefusedError, Network
from exporters.pack import read_inputs
from exporters.quantize import Precision, QuantizeError, Quantizer, generated_inputs
from exporters.search import Search
from exporters.verify import MismatchError

CASES = [("rnn", False), ("gru", False), ("gru", True), ("lstm", False)]


def search(network, **options):
    return Search(Quantizer(network, generated_inputs(network.input_size, steps=500)), **options)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("kind", "reset_before"), CASES)
def test_many_planes_and_wide_operands_come_close(kind, reset_before, layers):
    network = float_network(kind, layers=layers, reset_before=reset_before)
    packed = search(network)
    fine = packed.try_planes([6] * len(packed.quantizer.matrices), 16).agreement
    assert fine.relative < 0.005
    coarse = packed.try_planes([1] * len(packed.quantizer.matrices), 4).agreement
    assert coarse.rms > 3 * fine.rms and coarse.relative < 1


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(("kind", "reset_before"), CASES)
def test_the_fine_profile_comes_within_a_thousandth(kind, reset_before, layers):
    """Outputs of about 1, in steps of 2^-11, over 500 steps; most of it is the rounding of the outputs."""
    network = float_network(kind, layers=layers, units=12, reset_before=reset_before)
    packed = search(network)
    found = packed.try_planes([8] * len(packed.quantizer.matrices), 16)
    assert found.model_file.profile == 2 and found.agreement.steps >= 500
    assert found.agreement.largest <= 1e-3


def test_profile_follows_the_operand_bits_unless_it_is_given():
    quantizer = Quantizer(float_network("lstm", units=4), generated_inputs(6, steps=100))
    count = len(quantizer.matrices)
    for bits, given, profile in ((8, None, 1), (16, None, 2), (16, 1, 1), (8, 2, 2)):
        precisions = [Precision(planes=2, operand_bits=bits)] * count
        model_file, _ = quantizer.model_file(precisions, profile=given)
        assert model_file.profile == profile
        assert model_file.layers[0].matrices[1].clamp == {8: 127, 16: 32767}[bits]
        assert model_file.layers[0].matrices[0].clamp == (127 if profile == 1 else {8: 127, 16: 32767}[bits])
        Model.from_bytes(model_file.to_bytes())


@pytest.mark.parametrize(("profile", "stored_as", "unit"), [(1, "<i2", 2.0**-12), (2, "<i4", 2.0**-16)])
def test_initial_states_are_stored_in_the_units_of_their_profile(profile, stored_as, unit):
    """FORMAT.md, sections 7.1 and 7.5; h ends at what 16 bits hold."""
    h, c = [1.0, -1.0, 0.5, -0.25], [3.0, -7.5, 0.125, 1.0]
    network = float_network("lstm", units=4)
    first = dataclasses.replace(network.layers[0], initial_state=np.array(h + c))
    quantizer = Quantizer(Network((first, *network.layers[1:])), generated_inputs(6, steps=100))
    model_file, _ = quantizer.model_file([Precision()] * 3, profile=profile)
    stored = model_file.layers[0].initial_state
    np.testing.assert_array_equal(stored[:4], [32767, -32768, 16384, -8192])
    np.testing.assert_array_equal(stored[4:].astype("<i2").view(stored_as), np.array(c) / unit)
    real = dequantize(model_file).layers[0].initial_state
    np.testing.assert_allclose(real, h + c, rtol=0, atol=2.0**-15)


@pytest.mark.parametrize("encoding", ["binary", "pow2"])
def test_other_encodings(encoding):
    packed = search(float_network("gru"), encoding=encoding)
    few = packed.try_planes([1, 1, 1], 8)
    more = packed.try_planes([3, 3, 3], 8)
    assert {m.encoding for layer in more.model_file.layers for m in layer.matrices} == {encoding}
    assert more.agreement.rms < 0.5 * few.agreement.rms


@pytest.mark.parametrize("activation", ["none", "relu", "tanh", "sigmoid"])
def test_dense_activations(activation):
    network = float_network("gru")
    rng = np.random.default_rng(2)
    last = Dense(rng.standard_normal((5, 4)), rng.standard_normal(5), activation, "last")
    found = search(Network((*network.layers, last))).try_planes([6] * 4, 16)
    assert found.agreement.relative < 0.02


@pytest.mark.parametrize("factor", [1e-3, 1.0, 300.0])
def test_hidden_relu_layers_of_any_size_are_brought_into_range(factor):
    rng = np.random.default_rng(3)
    first = Dense(rng.standard_normal((12, 6)) * factor, rng.standard_normal(12) * factor, "relu", "first")
    last = Dense(rng.standard_normal((3, 12)) / factor / 4, rng.standard_normal(3), "none", "last")
    found = search(Network((first, last))).try_planes([6, 6], 16)
    assert found.agreement.relative < 0.02


def test_relu_rnn():
    network = float_network("rnn", activation="relu", units=12)
    assert search(network).try_planes([6] * 3, 16).agreement.relative < 0.02


def test_inputs_of_any_range_and_constant_inputs():
    network = float_network("gru")
    spread, centre = 10.0 ** np.arange(-3, 3), np.array([0, 5, 0, -300, 0, 7.0])
    x = np.random.default_rng(4).standard_normal((600, 6)) * spread + centre
    x[:, 1] = 5
    w_x = network.layers[0].w_x / spread
    first = dataclasses.replace(network.layers[0], w_x=w_x, b_x=network.layers[0].b_x - w_x @ centre)
    network = Network((first, *network.layers[1:]))
    found = Search(Quantizer(network, [x])).try_planes([6, 6, 6], 16)
    assert found.agreement.relative < 0.02


def test_outputs_beyond_the_range_of_the_format_are_scaled_down_and_it_is_said():
    network = float_network("gru")
    last = network.layers[-1]
    network = Network((network.layers[0], dataclasses.replace(last, w=last.w * 50, b=last.b * 50)))
    packed = search(network)
    found = packed.try_planes([6, 6, 6], 16)
    assert packed.quantizer.output_scale > 1 and found.agreement.relative < 0.02
    assert float(found.model_file.metadata["output_scale"]) == packed.quantizer.output_scale
    packed = pack.pack(network, planes=6, operand_bits=16, drift_steps=1000)
    assert packed.drift[1].relative < 0.02


def test_search_finds_a_small_file_within_the_bound():
    network = float_network("gru", inputs=8, units=32)
    files = {}
    for bound in (0.3, 0.1, 0.03):
        packed = pack.pack(network, max_error=bound, drift_steps=0)
        assert packed.found.agreement.largest <= bound
        files[bound] = len(packed.found.data)
    assert files[0.3] < files[0.1] < files[0.03]


def test_a_bound_out_of_reach_is_refused_with_what_was_reached():
    with pytest.raises(QuantizeError, match="cannot be reached; the closest was largest difference"):
        pack.pack(float_network("gru", units=8), max_error=1e-9, drift_steps=0)
    with pytest.raises(MismatchError, match="bound 1e-09"):
        pack.pack(float_network("gru", units=8), planes=1, max_error=1e-9, drift_steps=0)


def test_a_low_precision_network_is_packed_without_loss():
    network = float_network("gru", units=20)
    first = network.layers[0]
    rng = np.random.default_rng(6)
    w_x = rng.integers(-1, 2, first.w_x.shape) * 0.25
    w_h = rng.integers(-1, 2, first.w_h.shape) * 0.125
    w_x[:, 0], w_h[:, 0] = 0.25, 0.125
    network = Network((dataclasses.replace(first, w_x=w_x, w_h=w_h), *network.layers[1:]))
    x = np.random.default_rng(7).uniform(-1, 1, (500, 6))
    x[:2] = [[-1] * 6, [1] * 6]
    quantizer = Quantizer(network, [x])
    model_file, reports = quantizer.model_file([Precision(planes=1)] * 3)
    np.testing.assert_array_equal(model_file.layers[0].matrices[1].weights[0], np.sign(w_h))
    np.testing.assert_array_equal(model_file.layers[0].matrices[0].weights[0], np.sign(w_x))
    assert reports[1].scale_error < 1e-6


def test_drift_is_measured_and_refused(monkeypatch):
    packed = pack.pack(float_network("lstm", units=8), drift_steps=2000)
    first, last = packed.drift
    assert first.steps == last.steps == 200 and last.rms < 1.5 * max(first.rms, packed.found.agreement.rms)
    worse = dataclasses.replace(last, rms=last.rms * 100)
    monkeypatch.setattr(agreement, "drift", lambda *arguments: (first, worse))
    with pytest.raises(MismatchError, match="drifts away"):
        pack.pack(float_network("lstm", units=8), drift_steps=2000)


def test_agreement_counts_what_differs():
    source = np.array([[0.0, 1.0], [2.0, 1.0], [0.0, 4.0], [0.0, 0.5]])
    packed = source + np.array([[0, 0], [0, 1.5], [0, 0], [0, -0.5]])
    found = agreement.between(source, packed)
    assert found.steps == 4 and found.largest == 1.5 and found.same_choice == 0.5
    assert found.rms == pytest.approx((2.5 / 8) ** 0.5)
    assert "same greatest output in 50.0 %" in str(found)
    for steps in (1, 4):
        assert "same greatest output" not in str(agreement.between(source[:steps], source[:steps]))


def test_short_calibration_is_repeated():
    assert len(agreement.long_enough([np.zeros((7, 2))])[0]) >= agreement.LEAST_STEPS


def slowness(x):
    """Correlation of each channel [shape=(steps, channels)] with itself a step before."""
    return (x[1:] * x[:-1]).mean(axis=0) / (x * x).mean(axis=0)


def test_generated_inputs_are_standard_normal_and_half_of_them_slow():
    runs = generated_inputs(5, steps=20000)
    assert len(runs) == 2 and not np.array_equal(*runs)
    for x in runs:
        np.testing.assert_allclose(x.std(axis=0), 1, atol=0.1)
        np.testing.assert_allclose(slowness(x), [0.95, 0, 0.95, 0, 0.95], atol=0.03)
    # From the first step on, so that short calibrations know both ends.
    short = np.concatenate(generated_inputs(2, steps=2, runs=5000))
    np.testing.assert_allclose(short.std(axis=0), 1, atol=0.05)
    pairs = short.reshape(-1, 2, 2)
    np.testing.assert_allclose((pairs[:, 0] * pairs[:, 1]).mean(axis=0), [0.95, 0], atol=0.05)


def test_test_vectors_spread_twice_as_far_from_run_to_run(monkeypatch):
    monkeypatch.setattr(verify, "STEPS", 20000)
    quantizer = Quantizer(float_network("gru"), generated_inputs(6, steps=100))
    model_file, _ = quantizer.model_file([Precision()] * 3)
    scale, offset = model_file.input_scale, model_file.input_offset
    vectors = verify.test_vectors(model_file)
    assert vectors.shape == (4, 20000, 6) and vectors.dtype == np.float32
    for run, levels in enumerate(vectors * scale + offset):
        spread = 12 * 2**run
        slow = spread * 0.3 / (1 - 0.9**2) ** 0.5
        np.testing.assert_allclose(levels.std(axis=0), [slow, spread] * 3, rtol=0.1)
        np.testing.assert_allclose(slowness(levels), [0.9, 0] * 3, atol=0.03)
    constant = dataclasses.replace(model_file, input_scale=np.zeros_like(scale))
    assert np.isfinite(verify.test_vectors(constant, runs=1)).all()


def test_report_counts_the_whole_file():
    network = float_network("gru", units=4)
    found = search(network).try_planes([2, 1, 3], 8)
    facts = report.facts(found.model_file, len(found.data))
    assert facts["bytes"] == len(found.data) and facts["weights"] == 12 * 6 + 12 * 4 + 4 * 4
    assert facts["bits_per_weight"] == pytest.approx(8 * len(found.data) / facts["weights"])
    assert [(row["matrix"], row["planes"]) for row in facts["matrices"]] == [("W_x", 2), ("W_h", 1), ("W", 3)]
    line = report.text(facts).splitlines()[-1]
    assert line.startswith(
        f"{len(found.data)} bytes, 136 weights, {facts['bits_per_weight']:.2f} bits per weight"
    )


def test_progress_is_told():
    lines = []
    pack.pack(
        float_network("rnn", units=4), planes=2, max_error=10, drift_steps=600, on_progress=lines.append
    )
    assert any("rnn0 W_h: 2 x ternary" in line for line in lines) and "without a reset" in lines[-1]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((10, 5)), "expected sequences of shape"),
        (np.zeros((0, 6)), "expected sequences of shape"),
        (np.full((10, 6), np.nan), "not a finite number"),
    ],
)
def test_bad_calibration_is_refused(bad, message):
    with pytest.raises(QuantizeError, match=message):
        Quantizer(float_network("gru"), [bad])


@pytest.mark.parametrize("options", [{"encoding": "int8"}, {"planes": 0}, {"planes": 9}, {"operand_bits": 7}])
def test_bad_precision_is_refused(options):
    with pytest.raises(QuantizeError):
        Precision(**options)


def test_a_bias_out_of_range_is_refused_by_name():
    network = float_network("gru")
    layer = network.layers[0]
    bias = layer.b_h.copy()
    bias[40] = 99
    network = Network((dataclasses.replace(layer, b_h=bias), *network.layers[1:]))
    with pytest.raises(QuantizeError, match="gru0 W_h: bias of row 40 is 99"):
        search(network).try_planes([1, 1, 1], 8)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value):
    layer = float_network("gru").layers[0]
    w_h = layer.w_h.copy()
    w_h[3, 5] = value
    with pytest.raises(ImportRefusedError, match=r"gru0: w_h: not a finite number at \(3, 5\)"):
        dataclasses.replace(layer, w_h=w_h)


def test_calibration_files(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, a=np.zeros((5, 3), np.float32), b=np.ones((2, 4, 3)))
    assert [x.shape for x in read_inputs(path, 3)] == [(5, 3), (4, 3), (4, 3)]
    with pytest.raises(QuantizeError, match=r"data.npz: a: expected shape \(steps, 7\)"):
        read_inputs(path, 7)
    np.save(tmp_path / "one.npy", np.zeros((5, 3)))
    assert len(read_inputs(tmp_path / "one.npy", 3)) == 1
    np.save(tmp_path / "text.npy", np.array([["a"] * 3]))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 neither")
    for name in ("text.npy", "broken.npz", "missing.npz"):
        with pytest.raises(QuantizeError, match=name):
            read_inputs(tmp_path / name, 3)


def test_labels_and_metadata_are_stored():
    packed = pack.pack(
        float_network("gru", units=4),
        planes=2,
        max_error=10,
        drift_steps=0,
        labels=list("abcd"),
        metadata={"licence": "MIT"},
    )
    model = Model.from_bytes(packed.found.data)
    assert model.labels == tuple("abcd") and model.metadata == {"licence": "MIT"}
