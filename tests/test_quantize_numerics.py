# SPDX-License-Identifier: MIT
"""Packing of float networks, number for number: units, ranges, operands, biases, states, and what does not fit."""

import dataclasses
import re

import numpy as np
import pytest
from float_networks import float_network

from edge_runtime.format import row_scale_value
from exporters import planes, quantize
from exporters.graph import Dense, Network, Recurrent
from exporters.quantize import NUMERICS, MatrixReport, Numerics, Precision, QuantizeError, Quantizer

ACTIVATIONS = ("none", "relu", "tanh", "sigmoid")
COARSE, FINE = NUMERICS[1], NUMERICS[2]


def same(shape, **values):
    """A recurrent layer of kind and sizes (kind, inputs, units) with every weight the same."""
    kind, inputs, units = shape
    rows = {"rnn": 1, "gru": 3, "lstm": 4}[kind] * units
    arrays = {"w_x": (rows, inputs), "w_h": (rows, units), "b_x": (rows,), "b_h": (rows,)}
    filled = {name: np.full(size, values.pop(name, 0.0)) for name, size in arrays.items()}
    return Recurrent(kind, **filled, **values)


def dense(weights, biases=0.0, activation="none", name="dense"):
    weights = np.asarray(weights, float)
    return Dense(weights, np.broadcast_to(biases, len(weights)), activation, name)


def test_numbers_of_the_format():
    """FORMAT.md, sections 7.1 and 7.5."""
    assert NUMERICS == {
        1: Numerics(1, 127, 2.0**-11, 32767, 2.0**-12, np.int16),
        2: Numerics(2, 32767, 2.0**-16, 2**26, 2.0**-16, np.int32),
    }
    assert quantize.CLAMPS == {4: 7, 5: 12, 6: 31, 8: 127, 16: 32767}
    assert (quantize.STATE_UNIT, quantize.UNBOUNDED_UNIT) == (2.0**-15, 2.0**-11)
    assert Precision() == Precision("ternary", 1, 8)


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"encoding": "int8"}, "encoding 'int8': expected one of binary, ternary, pow2"),
        ({"planes": 0}, "ternary: expected 1 to 8 planes, found 0"),
        ({"encoding": "binary", "planes": 9}, "binary: expected 1 to 8 planes, found 9"),
        ({"encoding": "pow2", "planes": 4}, "pow2: expected 1 to 3 planes, found 4"),
        ({"operand_bits": 7}, "operand bits: expected one of 4, 5, 6, 8, 16, found 7"),
    ],
)
def test_precisions_that_are_none_are_refused(options, reason):
    with pytest.raises(QuantizeError, match=f"^{re.escape(reason)}$"):
        Precision(**options)


@pytest.mark.parametrize("encoding, most", [("binary", 8), ("ternary", 8), ("pow2", 3)])
def test_precisions_up_to_the_most_planes_are_taken(encoding, most):
    assert [Precision(encoding, planes).planes for planes in (1, most)] == [1, most]


@pytest.mark.parametrize(
    "shape, value, reason",
    [
        ((10, 5), 0, "expected sequences of shape (steps, 6), found (10, 5)"),
        ((0, 6), 0, "expected sequences of shape (steps, 6), found (0, 6)"),
        ((2, 10, 6), 0, "expected sequences of shape (steps, 6), found (2, 10, 6)"),
        ((10, 6), np.nan, "a value is not a finite number"),
        ((10, 6), -np.inf, "a value is not a finite number"),
    ],
)
def test_calibrations_that_do_not_fit_are_refused(shape, value, reason):
    good, bad = np.ones((10, 6)), np.zeros(shape)
    bad[..., -1:] = value
    for inputs in ([bad], [good, bad]):
        with pytest.raises(QuantizeError, match=f"^calibration: {re.escape(reason)}$"):
            Quantizer(float_network("gru"), inputs)


def test_a_calibration_of_one_step_is_one():
    assert len(Quantizer(float_network("gru", units=3), [np.ones((1, 6))]).matrices) == 3


def test_generated_inputs_are_the_same_every_time():
    runs = quantize.generated_inputs(3)
    assert [x.shape for x in runs] == [(600, 3)] * 2
    rng = np.random.default_rng(20261122)
    for x in runs:
        drawn = rng.standard_normal((600, 3))
        np.testing.assert_array_equal(x[:, 1], drawn[:, 1])
        np.testing.assert_array_equal(x[0], drawn[0])
        innovations = (x[1:] - 0.95 * x[:-1]) / (1 - 0.95**2) ** 0.5
        np.testing.assert_allclose(innovations[:, ::2], drawn[1:, ::2])


# ------------------------------------------------------------------------------------------ operands


def test_operands_are_values_shifted_and_clamped():
    """FORMAT.md, N1."""
    values = np.array([-100, -7, -6, 0, 5, 6, 7, 100])
    whole, quarters = quantize._Operand(12, 2, False), quantize._Operand(19, 2, True)
    assert whole.unit == 4 and quarters.unit == 16 / 3
    np.testing.assert_array_equal(whole.of(values), [-12, -2, -1, 0, 1, 2, 2, 12])
    np.testing.assert_array_equal(quarters.of(values), [-19, -1, -1, 0, 1, 1, 2, 19])
    np.testing.assert_array_equal(quantize._Operand(99, 0, True).of(values), [-75, -5, -4, 0, 4, 5, 6, 75])
    assert whole.saturation(values) == 2 / 8 and quarters.saturation(values) == 0
    assert dataclasses.replace(quarters, clamp=18).saturation(values) == 2 / 8


@pytest.mark.parametrize(
    "largest, clamp, low_precision, shift, three_quarters",
    [
        (100, 127, False, 0, False),
        (127, 127, False, 0, False),
        (160, 127, False, 0, True),
        (160, 127, True, 1, False),
        (254, 127, False, 1, False),
        (21000, 127, False, 7, True),
        (21000, 127, True, 8, False),
        (32767, 32767, False, 0, False),
        (32767, 127, False, 8, False),
        (32767, 1, False, 14, True),
        (32767, 1, True, 14, False),
        (0, 7, False, 0, False),
    ],
)
def test_the_operand_of_the_least_error(largest, clamp, low_precision, shift, three_quarters):
    values = np.linspace(-largest, largest, 4001).round().astype(np.int64)
    found = quantize._best_operand(values, clamp, low_precision)
    assert found == quantize._Operand(clamp, shift, three_quarters)
    assert quantize._best_operand(np.array([32767, -32768]), 1, True).shift == 15


def test_statistics_are_of_a_sample_where_there_are_many_operands():
    values = np.zeros(40000, np.int64)
    values[1::2] = 32767
    assert quantize._best_operand(values.reshape(2, -1), 7, True).shift == 0
    assert quantize._best_operand(values[:-1].reshape(3, -1), 7, True).shift == 13


# ------------------------------------------------------------------------------------------ biases


def test_biases_make_up_for_what_right_shifts_take():
    scales = np.array([[[0x83, 0xC5], [0x80, 0]], [[0x84, 0], [0x81, 0x82]]], np.uint8)

    def lost(left_shift):
        return quantize._lost_by_shifts(planes.Planes(None, scales, left_shift, None, 0.0)).tolist()

    def half(*bits):
        return sum((1 - 2.0**-n) / 2 for n in bits)

    assert lost(0) == lost(-3) == [half(3, 4) - half(5), half(1, 2)]
    assert lost(2) == [half(1, 2) - half(3), 0]
    assert lost(15) == [0, 0]


@pytest.mark.parametrize("profile, bound", [(1, 32767), (2, 2**26)])
def test_biases_up_to_the_greatest_are_taken(profile, bound):
    """Weights of ±1 whose sums are not shifted to the right: the bias is rounded, and nothing else."""
    unit = NUMERICS[profile].pre_unit
    x = np.tile([[1.0, -1.0], [-1.0, 1.0]], (4, 1))

    def packed(bias):
        first = dense(np.eye(2), name="first", activation="tanh")
        quantizer = Quantizer(Network((first, dense(np.eye(2), bias, "tanh"))), [x])
        model_file, _ = quantizer.model_file([Precision(planes=1)] * 2, profile=profile)
        return model_file.layers[1].matrices[0].bias

    for bias in ([bound * unit, -bound * unit], [(bound + 0.4) * unit, 0.6 * unit]):
        found = packed(bias)
        assert found.dtype == NUMERICS[profile].bias_type
        np.testing.assert_array_equal(found, np.floor(np.array(bias) / unit + 0.5))
    limit = {1: 16, 2: 1024}[profile]
    for bias in ([0.0, (bound + 0.6) * unit], [0.0, -(bound + 0.6) * unit]):
        reason = f"dense W: bias of row 1 is {bias[1]:.4g}; the format holds ±{limit}"
        with pytest.raises(QuantizeError, match=f"^{re.escape(reason)}$"):
            packed(bias)


def test_sums_that_do_not_fit_are_refused_by_name():
    """520 columns of the greatest weight, 64, times the greatest operand of 16 bits."""
    network = Network((dense(np.ones((1, 520)), name="first"),))
    x = np.random.default_rng(1).uniform(-1, 1, (20, 520))
    quantizer = Quantizer(network, [x])
    reason = r"^first W: sums of up to (\d+) do not fit 2\^30: fewer operand bits$"
    with pytest.raises(QuantizeError, match=reason) as error:
        quantizer.model_file([Precision("pow2", 1, 16)])
    assert int(re.match(reason, str(error.value))[1]) == 64 * 520 * 32767
    quantizer.model_file([Precision("pow2", 1, 8)])


# ------------------------------------------------------------------------------------------ inputs


def test_inputs_are_spread_over_the_range():
    """Two hundredths more than was seen; what is constant keeps its own size, or 1."""
    columns = {
        (-1.0, 3.0): (2.04, 1),
        (-1e-20, 1e-20): (1.02e-20, 0),
        (5.0, 5.0): (5, 5),
        (-5.0, -5.0): (5, -5),
        (0.2, 0.2): (1, 0.2),
        (0.0, 0.0): (1, 0),
        (1e6, 1e6 - 1): (1e6, 1e6 - 0.5),
        (1e6, 1e6 - 3): (1.53, 1e6 - 1.5),
    }
    x = np.array(list(columns)).T
    rng = np.random.default_rng(3)
    for bound in (127, 32767):
        network = Network((dense(rng.standard_normal((2, 8))),))
        scale, offset = quantize._input_affine(network, x, bound)
        half, middle = np.array(list(columns.values())).T
        assert scale.dtype == offset.dtype == np.float32
        np.testing.assert_allclose(scale, bound / half, rtol=1e-6)
        np.testing.assert_allclose(offset, -middle * bound / half, rtol=1e-6)
        low_precision = Network((dense(0.25 * rng.integers(-1, 2, (2, 8))),))
        scale, offset = quantize._input_affine(low_precision, x, bound)
        np.testing.assert_allclose(scale, [bound / 1e6] * 8, rtol=1e-6)
        np.testing.assert_allclose(offset, -middle * bound / 1e6, rtol=1e-6)
    recurrent = Network((same(("gru", 8, 2), w_x=0.5, w_h=0.25),))
    np.testing.assert_allclose(quantize._input_affine(recurrent, x, 127)[0], [127e-6] * 8, rtol=1e-6)


# ------------------------------------------------------------------------------------------ values between layers


@pytest.mark.parametrize("kind, activation", [("gru", "none"), ("lstm", "none"), ("rnn", "tanh")])
def test_states_are_bounded(kind, activation):
    assert quantize.value_unit(same((kind, 1, 1), activation=activation)) == 2.0**-15


def test_units_of_values_follow_their_bounds():
    units = {name: quantize.value_unit(dense([[1]], activation=name)) for name in ACTIVATIONS}
    assert units == {"none": 2.0**-11, "relu": 2.0**-11, "tanh": 2.0**-15, "sigmoid": 2.0**-15}
    assert quantize.value_unit(same(("rnn", 1, 1), activation="relu")) == 2.0**-11


@pytest.mark.parametrize(
    "peak, factor",
    [(3.0, 2.0), (4.0, 2.0), (4.1, 1.0), (8.0, 1.0), (8.1, 0.5), (0.3, 16.0), (0.0, 1.0)],
)
def test_hidden_values_are_brought_to_half_of_the_range(peak, factor):
    """A power of two that the next layer undoes, of dense layers and of a relu rnn with its state."""
    x = np.array([[1.0], [-1.0]])
    network = Network((dense([[peak]], 0.0, "relu"), dense([[0.5]], 0.25)))
    scaled, output_scale, seen = quantize._normalized(network, [x, x])
    first, second = scaled.layers
    assert (first.w.item(), second.w.item(), second.b.item()) == (peak * factor, 0.5 / factor, 0.25)
    assert output_scale == 1
    np.testing.assert_array_equal(seen[1]["x"].ravel(), [peak * factor, 0, peak * factor, 0])
    np.testing.assert_array_equal(seen[0]["x"].ravel(), [1, -1, 1, -1])
    # From half of the peak to the peak and then to three quarters of it.
    rnn = same(("rnn", 1, 1), activation="relu", w_h=-0.5, b_x=peak / 2, b_h=peak * 0.75)
    rnn = dataclasses.replace(rnn, initial_state=np.array([peak / 2]))
    scaled, _, seen = quantize._normalized(Network((rnn, same(("gru", 1, 1), w_x=0.5))), [x])
    first, second = scaled.layers
    assert first.w_h.item() == -0.5 and first.initial_state.item() == peak / 2 * factor
    assert (first.b_x.item(), first.b_h.item()) == (peak / 2 * factor, peak * 0.75 * factor)
    np.testing.assert_array_equal(second.w_x, [[0.5 / factor]] * 3)


@pytest.mark.parametrize("kind", ["dense", "rnn"])
def test_scaled_layers_compute_the_same(kind):
    rng = np.random.default_rng(4)
    first = dense(rng.standard_normal((4, 6)), 30.0, "relu")
    if kind == "rnn":
        first = float_network("rnn", units=4, activation="relu").layers[0]
        first = dataclasses.replace(first, w_x=300 * first.w_x, initial_state=np.ones(4))
    network = Network((first, float_network("gru", inputs=4, units=3).layers[0]))
    x = rng.standard_normal((50, 6))
    scaled, output_scale, _ = quantize._normalized(network, [x])
    assert output_scale == 1 and not np.array_equal(scaled.layers[1].w_x, network.layers[1].w_x)
    np.testing.assert_allclose(scaled.run(x), network.run(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "peak, output_scale", [(0.3, 1), (15.0, 1), (15.1, 2), (30.0, 2), (30.1, 4), (1000.0, 128), (0.0, 1)]
)
def test_outputs_are_scaled_into_the_range_of_the_format(peak, output_scale):
    network = Network((dense([[peak]], peak / 4),), softmax=True, source="there")
    x = np.array([[0.75], [-1.0]])
    scaled, found, _ = quantize._normalized(network, [x])
    assert found == output_scale and scaled.softmax and scaled.source == "there"
    assert (scaled.layers[0].w.item(), scaled.layers[0].b.item()) == (
        peak / output_scale,
        peak / 4 / output_scale,
    )
    quantizer = Quantizer(network, [x])
    model_file, _ = quantizer.model_file([Precision()], metadata={"a": "b", "output_scale": "7"})
    said = {} if output_scale == 1 else {"output_scale": str(output_scale)}
    assert model_file.metadata == {"a": "b", "output_scale": "7"} | said
    assert quantizer.source is network and quantizer.output_scale == output_scale


def test_bounded_outputs_are_left_alone():
    network = Network((dense([[90.0]], 0.0, "tanh"), same(("gru", 1, 1), w_x=90.0)))
    scaled, output_scale, _ = quantize._normalized(network, [np.ones((2, 1))])
    assert output_scale == 1 and scaled.layers[0].w.item() == 90 and scaled.layers[1].w_x[0, 0] == 90


def test_states_end_where_the_format_does():
    h = [2.0, -2.0, 0.5 + 0.6 * 2**-15, 0.5 - 0.6 * 2**-15]
    c = [5000.0, -5000.0, 0.6 / 4096, -0.4 / 65536]
    layer = same(("lstm", 1, 4), initial_state=np.array(h + c))
    coarse = quantize._integer_state(layer, COARSE)
    assert coarse.dtype == np.int16
    assert coarse.tolist() == [32767, -32768, 16385, 16383, 32767, -32767, 1, 0]
    fine = quantize._integer_state(layer, FINE)
    assert fine.dtype == np.int16 and fine[:4].tolist() == [32767, -32768, 16385, 16383]
    assert fine[4:].view("<i4").tolist() == [2**26, -(2**26), 10, 0]
    relu = same(("rnn", 1, 2), activation="relu", initial_state=np.array([20.0, 0.6 / 2048]))
    assert quantize._integer_state(relu, COARSE).tolist() == [32767, 1]


# ------------------------------------------------------------------------------------------ the whole


def test_matrices_progress_and_reports_are_in_file_order():
    lines = []
    network = Network(
        (dense(np.eye(6), activation="tanh", name="first"), *float_network("lstm", units=4, layers=2).layers)
    )
    x = np.random.default_rng(1).standard_normal((40, 6))
    quantizer = Quantizer(network, [x], lines.append)
    assert quantizer.matrices == ((0, "W"), (1, "W_x"), (1, "W_h"), (2, "W_x"), (2, "W_h"), (3, "W"))
    precisions = [Precision(planes=1 + k % 3, operand_bits=(4, 5, 6, 8)[k % 4]) for k in range(6)]
    model_file, reports = quantizer.model_file(precisions, labels=["a", "b", "c", "d"])
    assert model_file.labels == ("a", "b", "c", "d") and model_file.metadata == {} and model_file.profile == 1
    named = [
        ("first", "W"),
        ("lstm0", "W_x"),
        ("lstm0", "W_h"),
        ("lstm1", "W_x"),
        ("lstm1", "W_h"),
        ("out", "W"),
    ]
    assert [(report.layer, report.matrix) for report in reports] == named
    assert [report.precision for report in reports] == precisions
    assert lines == [
        f"{layer} {name}: {p.planes} x ternary, {p.operand_bits} bits"
        for (layer, name), p in zip(named, precisions, strict=True)
    ]
    matrices = [matrix for layer in model_file.layers for matrix in layer.matrices]
    assert [m.clamp for m in matrices] == [7, 12, 31, 127, 7, 12]
    assert [len(m.weights) for m in matrices] == [1, 2, 3] * 2
    for report, matrix in zip(reports, matrices, strict=True):
        assert isinstance(report, MatrixReport) and report.zeros == (matrix.weights == 0).mean()
    again, _ = quantizer.model_file([*precisions[:5], Precision(planes=4)])
    assert lines[6:] == ["out W: 4 x ternary, 8 bits"]  # what was packed is known
    assert again.layers[1].matrices[0] is matrices[1]
    quantizer.model_file(precisions, profile=2)
    assert len(lines) == 13
    kinds = [
        (layer.kind, layer.activation, layer.input_size, layer.output_size) for layer in model_file.layers
    ]
    assert kinds == [
        ("dense", "tanh", 6, 6),
        ("lstm", "none", 6, 4),
        ("lstm", "none", 4, 4),
        ("dense", "none", 4, 4),
    ]
    assert model_file.layers[1].initial_state is not None and model_file.layers[2].initial_state is None


def test_operands_are_chosen_for_values_as_they_are_stored(monkeypatch):
    """Of 16 bits, rounded; those of the inputs have the bits of the profile."""
    seen, real = [], quantize._best_operand
    monkeypatch.setattr(quantize, "_best_operand", lambda *given: seen.append(given) or real(*given))
    h = np.array([1.0, -1.0, 0.5 + 0.6 * 2**-15, 0.5 + 0.4 * 2**-15])
    layer = dataclasses.replace(float_network("gru", units=4).layers[0], initial_state=h)
    quantizer = Quantizer(Network((layer,)), [np.linspace([-1.0] * 6, [1.0] * 6, 9)])
    for profile, clamp in ((1, 127), (2, 32767)):
        seen.clear()
        quantizer.model_file([Precision(operand_bits=16)] * 2, profile=profile)
        (inputs, input_clamp, low), (states, state_clamp, _) = seen
        assert (input_clamp, state_clamp, low) == (clamp, 32767, False)
        assert inputs.max() == -inputs.min() == round(clamp / 1.02)
        assert states.shape == (9, 4) and states[0].tolist() == [32767, -32768, 16385, 16384]


@pytest.mark.parametrize("profile, bits, unit", [(1, 8, 2.0**-11), (2, 16, 2.0**-16)])
def test_a_matrix_is_fitted_in_units_of_operands_and_sums(profile, bits, unit):
    """What the row scales stand for, from the integers of the file back to real weights and biases."""
    rng = np.random.default_rng(8)
    first = dense(rng.uniform(-1, 1, (4, 3)), rng.uniform(-1, 1, 4), "tanh", "first")
    last = dense(rng.uniform(-1, 1, (2, 4)), rng.uniform(-1, 1, 2), "none", "last")
    x = rng.uniform([-2, -1, -7], [2, 3, -3], (400, 3))
    quantizer = Quantizer(Network((first, last)), [x[:200], x[200:]])
    model_file, reports = quantizer.model_file([Precision(planes=8, operand_bits=bits)] * 2)
    assert model_file.profile == profile
    for number, (layer, real) in enumerate(zip(model_file.layers, (first, last), strict=True)):
        [matrix] = layer.matrices
        scales = (row_scale_value(matrix.scales) * 2.0**matrix.left_shift)[..., None]
        operand = 2.0**matrix.operand_shift * (4 / 3 if matrix.three_quarters else 1)
        per_value = (scales * matrix.weights).sum(axis=0) / operand * unit
        bias = matrix.bias * unit
        if number == 0:
            weights = per_value * model_file.input_scale
            bias = bias + per_value @ model_file.input_offset
            np.testing.assert_allclose(
                np.abs(x * model_file.input_scale + model_file.input_offset).max(axis=0),
                NUMERICS[profile].input_bound / 1.02,
                rtol=1e-3,
            )
        else:
            weights = per_value / 2.0**-15
            lost = quantize._lost_by_shifts(planes.Planes(None, matrix.scales, matrix.left_shift, None, 0))
            np.testing.assert_array_equal(matrix.bias, np.floor(real.b / unit + lost + 0.5))
            assert np.abs(lost).min() > 1
        np.testing.assert_allclose(weights, real.w, atol=1e-2)
        np.testing.assert_allclose(bias, real.b, atol=0.03)
        assert reports[number].scale_error < 1e-2 and reports[number].saturation < 0.01
