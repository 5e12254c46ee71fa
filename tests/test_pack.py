# SPDX-License-Identifier: MIT
"""From a float network to a proven model: the steps of the search, bounds, drift, calibration files, reports."""

import dataclasses
import re

import numpy as np
import pytest
from float_networks import float_network

from edge_runtime import Stream
from exporters import agreement, pack, planes, quantize, report, search, trade
from exporters._stages import Signal, Stages
from exporters.agreement import Agreement
from exporters.graph import Dense, Network
from exporters.pack import read_inputs
from exporters.quantize import Precision, QuantizeError, Quantizer, generated_inputs
from exporters.verify import MismatchError


@pytest.fixture(scope="module")
def network():
    return float_network("gru", units=4, inputs=3, outputs=2)


@pytest.fixture(scope="module")
def inputs():
    return [np.random.default_rng(seed).standard_normal((steps, 3)) for seed, steps in ((1, 60), (2, 40))]


# ------------------------------------------------------------------------------------------ search


class Steps:
    """In place of packing: errors, and bytes over 100, told for each choice of planes and operand bits."""

    def __init__(self, errors, sizes=(1, 1, 1)):
        self.errors, self.sizes, self.tried = errors, sizes, []

    def __call__(self, planes, bits):
        key = tuple(planes)
        if (key, bits) not in self.tried:
            self.tried.append((key, bits))
        error = self.errors(key, bits)
        largest, rms = error if isinstance(error, tuple) else (error, error)
        size = 100 + sum(count * each for count, each in zip(key, self.sizes, strict=True))
        return search.Found(key, bytes(size), [bits], Agreement(500, largest, rms, 1.0, 1.0))


@pytest.fixture
def searching(network, inputs, monkeypatch):
    """A search with `Steps` in place of packing, made by searching(errors[, sizes])."""

    def made(*arguments, **options):
        found = search.Search(Quantizer(network, inputs), **options)
        monkeypatch.setattr(found, "try_planes", Steps(*arguments))
        return found

    return made


def test_one_plane_everywhere_is_enough_where_it_reaches_the_bound(searching):
    found = searching(lambda planes, bits: 0.5)
    best = found.smallest(0.5)
    assert (best.model_file, best.reports) == ((1, 1, 1), [8])
    assert found.try_planes.tried == [((1, 1, 1), 8)]


def test_the_plane_that_lowers_the_error_most_per_byte_comes_next(searching):
    """The first matrix gains more, but for ten bytes a plane; the third only as much as the second."""
    found = searching(lambda planes, bits: 9 - 0.5 * planes[0] - 0.2 * (planes[1] + planes[2]), (10, 2, 2))
    assert found._grow(7.75, 8) == [1, 3, 1]
    assert [planes for planes, _ in found.try_planes.tried] == [
        *((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)),
        *((2, 2, 1), (1, 3, 1), (1, 2, 2)),
    ]
    equal = searching(lambda planes, bits: 9 - 0.5 * planes[0] - 0.2 * planes[1], (0, 1, -5))
    assert equal._grow(7.8, 8) == [2, 1, 1]  # no byte more counts as one


def test_a_matrix_has_no_more_planes_than_can_be_fitted(searching):
    found = searching(lambda planes, bits: 30 - planes[1], encoding="pow2")
    assert found._grow(27, 8) == [1, 3, 1]
    assert found._grow(26, 8) == [1, 3, 1]
    assert max(max(planes) for planes, _ in found.try_planes.tried) == 3
    assert ((3, 3, 3), 8) not in found.try_planes.tried


def test_all_are_raised_where_no_single_plane_helps(searching):
    found = searching(lambda planes, bits: 10 - min(planes), encoding="pow2")
    assert found._grow(8, 8) == [2, 2, 2]
    assert found._grow(1, 8) == [3, 3, 3]
    assert found._everywhere([1, 3, 2], 3, 1, 8) == [3, 3, 3]
    level = searching(lambda planes, bits: (5, 3))
    assert level._grow(4, 8) == [1, 1, 1] and level.try_planes.tried[-1] == ((2, 2, 2), 8)
    better = searching(lambda planes, bits: (5, 10 - sum(planes) + 2 * max(planes)))
    assert better._everywhere([1, 1, 1], 2, 4, 8) == [2, 2, 2]
    assert better._everywhere([1, 1, 1], 8, 5, 8) == [2, 2, 2]


def test_planes_that_turn_out_to_be_unnecessary_are_taken_away(searching):
    """One at a time, as long as the bound holds and the file becomes shorter, until none can go."""
    found = searching(lambda planes, bits: 1.0 if planes[0] + planes[1] >= 4 and planes[2] >= 2 else 2.0)
    best = found._prune([3, 3, 4], 1.0, 8)
    assert best.model_file == (2, 2, 2) and len(best.data) == 106
    free = searching(lambda planes, bits: 1.0, (0, 0, 1))
    assert free._prune([2, 2, 2], 1.0, 8).model_file == (2, 2, 1)
    assert free._prune([2, 2, 2], 0.5, 8).model_file == (2, 2, 2)
    later = searching(lambda planes, bits: 2.0 if planes[0] < 2 and planes[2] > 1 else 1.0)
    assert later._prune([2, 1, 3], 1.0, 8).model_file == (1, 1, 1)


def test_wider_operands_are_tried_where_8_bits_do_not_reach_the_bound(searching):
    found = searching(lambda planes, bits: 1.0 / bits)
    best = found.smallest(1 / 16)
    assert (best.model_file, best.reports) == ((1, 1, 1), [16])
    assert {bits for _, bits in found.try_planes.tried} == {8, 16}
    for bits in (8, 16):
        only = searching(lambda planes, bits: 1.0 / bits)
        with pytest.raises(
            QuantizeError, match=f"^a largest difference of 0.01 .* difference {1 / bits:.3g},"
        ):
            only.smallest(0.01, operand_bits=bits)
        assert {tried for _, tried in only.try_planes.tried} == {bits}


@pytest.mark.parametrize("errors", [{8: 0.25, 16: 0.5}, {8: 0.5, 16: 0.25}, {8: 0.25, 16: (0.25, 0.2)}])
def test_what_came_closest_is_told(searching, errors):
    found = searching(lambda planes, bits: errors[bits])
    closest = Agreement(500, 0.25, 0.25, 1.0, 1.0)
    reason = f"a largest difference of 0.123 cannot be reached; the closest was {closest}"
    with pytest.raises(QuantizeError, match=f"^{re.escape(reason)}$"):
        found.smallest(0.12345)


def test_what_was_packed_once_is_not_packed_again(network, inputs):
    found = search.Search(Quantizer(network, inputs), labels=["a", "b"], metadata={"c": "d"})
    assert [len(x) for x in found.inputs] == [540, 360]
    one = found.try_planes([2, 1, 3], 8)
    assert found.try_planes((2, 1, 3), 8) is one and found.try_planes((2, 1, 3), 6) is not one
    assert [report.precision for report in one.reports] == [Precision("ternary", n, 8) for n in (2, 1, 3)]
    assert one.data == one.model_file.to_bytes() and one.model_file.labels == ("a", "b")
    assert one.model_file.metadata == {"c": "d"}
    assert one.agreement == agreement.measure([network.run(x) for x in found.inputs], one.data, found.inputs)


# ------------------------------------------------------------------------------------------ bounds and drift


def test_the_default_bound_is_a_tenth_of_the_spread_of_the_outputs(network, inputs):
    packed = pack.pack(network, inputs, planes=6, drift_steps=0)
    outputs = np.concatenate([network.run(np.concatenate([x] * 9)) for x in inputs])
    assert packed.max_error == pytest.approx(0.1 * outputs.std(), rel=1e-12)
    assert packed.drift is None and not packed.generated
    assert {r.precision for r in packed.found.reports} == {Precision("ternary", 6, 8)}


def test_without_inputs_they_are_generated(network):
    packed = pack.pack(network, planes=3, max_error=5.0, drift_steps=0, operand_bits=16, encoding="pow2")
    assert packed.generated and packed.max_error == 5.0
    assert {r.precision for r in packed.found.reports} == {Precision("pow2", 3, 16)}
    for found, want in zip(pack.inputs_or_generated(network, None), generated_inputs(3), strict=True):
        np.testing.assert_array_equal(found, want)


def test_the_operand_bits_that_are_given_are_those_of_the_search(network, inputs):
    packed = pack.pack(network, inputs, max_error=5.0, drift_steps=0, operand_bits=5)
    assert {r.precision for r in packed.found.reports} == {Precision("ternary", 1, 5)}


def test_an_error_at_the_bound_is_within_it(network, inputs):
    largest = pack.pack(network, inputs, planes=1, max_error=9, drift_steps=0).found.agreement.largest
    pack.pack(network, inputs, planes=1, max_error=largest, drift_steps=0)
    with pytest.raises(MismatchError) as error:
        pack.pack(network, inputs, planes=1, max_error=largest * 0.999, drift_steps=0)
    message = str(error.value)
    assert message.startswith(f"bound {largest * 0.999:.3g}: largest difference {largest:.3g}, rms ")
    assert message.endswith(", 900 steps; more planes or operand bits lower it")


@pytest.mark.parametrize(
    "first, found, last", [(0.25, 0.125, 0.375), (0.125, 0.25, 0.375), (0.125, 0.125, 0.0)]
)
def test_errors_may_grow_by_half(network, inputs, monkeypatch, first, found, last):
    """Over those of the first tenth, or of the comparison if they are greater."""

    def ends(network, data, given, steps, output_scale):
        assert given is inputs and steps == 400 and output_scale == 1
        return tuple(Agreement(40, rms, rms, 1.0, 1.0) for rms in (first, ends.last))

    ends.last = last
    monkeypatch.setattr(agreement, "drift", ends)
    monkeypatch.setattr(agreement, "measure", lambda *_: Agreement(500, found, found, 1.0, 1.0))
    lines = []
    options = dict(planes=1, max_error=1, drift_steps=400, on_progress=lines.append)
    packed = pack.pack(network, inputs, **options)
    assert [one.rms for one in packed.drift] == [first, last]
    assert lines[-1] == "400 steps without a reset" and lines[0] == "gru0 W_x: 1 x ternary, 8 bits"
    ends.last = 1.501 * max(first, found)
    reason = f"drifts away: rms {first:.3g} over the first tenth of 400 steps, {ends.last:.3g} over the last"
    with pytest.raises(MismatchError, match=f"^{re.escape(reason)}$"):
        pack.pack(network, inputs, **options)
    assert pack.pack(network, inputs, planes=1, max_error=1, drift_steps=0).drift is None


def test_one_step_is_enough_to_look_for_drift(network, inputs, monkeypatch):
    end = Agreement(1, 0.0, 0.0, 1.0, 1.0)
    monkeypatch.setattr(agreement, "drift", lambda *_: (end, end))
    assert pack.pack(network, inputs, planes=1, max_error=9, drift_steps=1).drift == (end, end)


# ------------------------------------------------------------------------------------------ calibration files


def test_calibration_files_hold_sequences_of_numbers(tmp_path):
    path = tmp_path / "data.npz"
    numbers = {
        "a": np.ones((5, 3), np.float32),
        "b": np.arange(24).reshape(2, 4, 3),
        "c": np.ones((1, 3), np.uint8),
    }
    np.savez(path, **numbers)
    found = read_inputs(path, 3)
    assert [x.dtype for x in found] == [np.float64] * 4
    for x, want in zip(found, [numbers["a"], *numbers["b"], numbers["c"]], strict=True):
        np.testing.assert_array_equal(x, want)


@pytest.mark.parametrize(
    "name, array, reason",
    [
        ("x.npy", np.zeros(3), "array: expected shape (steps, 3) or (sequences, steps, 3), found (3,)"),
        ("x.npy", np.zeros((1, 2, 2, 3)), "found (1, 2, 2, 3)"),
        ("x.npy", np.zeros((5, 4)), "found (5, 4)"),
        ("x.npz", np.zeros((0, 3)), "one: expected shape"),
        ("x.npz", np.zeros((2, 0, 3)), "found (2, 0, 3)"),
        ("x.npy", np.zeros((5, 3), bool), "array: expected numbers, found bool"),
        ("x.npz", np.zeros((5, 3), complex), "one: expected numbers, found complex128"),
        ("x.npy", np.array([["a"] * 3]), "array: expected numbers, found <U1"),
        ("x.npz", None, "no array"),
        (
            "x.npy",
            np.array([[None] * 3]),
            "not a .npy or .npz file of numbers: Object arrays cannot be loaded",
        ),
    ],
)
def test_calibration_files_that_do_not_fit_are_refused(name, array, reason, tmp_path):
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        np.savez(path, **({} if array is None else {"one": array}))
    with pytest.raises(QuantizeError) as error:
        read_inputs(path, 3)
    assert str(error.value).startswith(f"{path}: ") and reason in str(error.value)


@pytest.mark.parametrize(
    "data, reason",
    [
        (None, "No such file or directory"),
        (b"", "not a .npy or .npz file of numbers: "),
        (b"PK\x03\x04 neither", "not a .npy or .npz file of numbers: "),
        (b"text", "not a .npy or .npz file of numbers: "),
    ],
)
def test_calibration_files_that_are_none_are_refused(data, reason, tmp_path):
    path = tmp_path / "x.npz"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(QuantizeError, match=f"^{re.escape(f'{path}: {reason}')}"):
        read_inputs(path, 3)


# ------------------------------------------------------------------------------------------ reports


def test_facts_of_a_model_file():
    rng = np.random.default_rng(3)
    layer = float_network("gru", units=2, inputs=3).layers[0]
    tail = Dense(rng.standard_normal((2, 2)), np.zeros(2), name="out")
    quantizer = Quantizer(Network((layer, tail)), [rng.standard_normal((50, 3))])
    precisions = [Precision("binary", 3, 8), Precision("ternary", 2, 6), Precision("pow2", 1, 4)]
    model_file, _ = quantizer.model_file(precisions)
    facts = report.facts(model_file, 500)
    matrices = facts.pop("matrices")
    assert facts == {"bytes": 500, "profile": 1, "weights": 18 + 12 + 4, "bits_per_weight": 8 * 500 / 34}
    want = [
        (0, "gru", "W_x", 6, 3, "binary", 3, 3.0, 127),
        (0, "gru", "W_h", 6, 2, "ternary", 2, 3.2, 31),
        (1, "dense", "W", 2, 2, "pow2", 1, 4.0, 7),
    ]
    keys = "layer kind matrix rows columns encoding planes bits_per_weight clamp".split()
    packed = [matrix for layer in model_file.layers for matrix in layer.matrices]
    for row, values, matrix in zip(matrices, want, packed, strict=True):
        assert row == {
            **dict(zip(keys, values, strict=True)),
            "entropy": report.entropy(matrix.weights),
            "zeros": np.mean(matrix.weights == 0),
        }


ROW = {
    "layer": 1,
    "kind": "gru",
    "matrix": "W_h",
    "rows": 12,
    "columns": 34,
    "encoding": "ternary",
    "planes": 2,
    "bits_per_weight": 3.2,
    "entropy": 1.4567,
    "zeros": 0.256,
    "clamp": 127,
}
FACTS = {"bytes": 1234, "weights": 408, "bits_per_weight": 24.196, "profile": 2, "matrices": [ROW]}
LINES = [
    "layer  kind   matrix  shape        encoding  planes  bits/weight  entropy  zeros  operands",
    "1      gru    W_h     12 x 34      ternary   2       3.2          1.46      26 %  ±127",
    "1234 bytes, 408 weights, 24.20 bits per weight everything included, numeric profile 2",
]


def test_text_of_facts():
    assert report.text(FACTS).splitlines() == LINES
    fitted = {**FACTS, "matrices": [{**ROW, "scale_error": 0.01234, "saturation": 0.005678}]}
    heading, line, total = report.text(fitted).splitlines()
    assert heading == LINES[0] + "  error   clipped"
    assert line == LINES[1] + "       1.23 %  0.57 %" and total == LINES[2]


@pytest.mark.parametrize(
    "more, lines",
    [
        ({"equal_steps": 600}, ["verified: source and packed network agree on every logit of 600 steps"]),
        (
            {"output_scale": 4.0},
            ["outputs pass ±16: multiply those of the model by 4.0 (its metadata say so)"],
        ),
        (
            {"drift": {"steps": 900, "first_rms": 0.012345, "last_rms": 0.5}},
            ["drift: over 900 steps without a reset, rms 0.0123 in the first tenth, 0.5 in the last"],
        ),
    ],
)
def test_text_of_further_facts(more, lines):
    assert report.text({**FACTS, **more}).splitlines()[3:] == lines


@pytest.mark.parametrize("same", [1.0, 0.984])
@pytest.mark.parametrize("given", ["data.npz", "standard normal"])
@pytest.mark.parametrize("spread, relative", [(2.0, "1.2"), (0.0, "0")])
def test_text_of_agreement(same, given, spread, relative):
    agreed = dict(largest=0.12345, max_error=0.25, rms=0.0249, spread=spread, steps=700, same_choice=same)
    found = report.text({**FACTS, "agreement": {**agreed, "inputs": given}}).splitlines()[3:]
    want = (
        f"verified: largest difference 0.123 (bound 0.25), rms 0.0249, {relative} % of the outputs' spread; "
    )
    want += "" if same == 1 else "same greatest output in 98.4 % of "
    advice = "calibrated on standard normal numbers: with --calibrate DATA.npz ranges fit your inputs"
    assert found == [f"{want}700 steps", *([advice] if given == "standard normal" else [])]


# ------------------------------------------------------------------------------------------ speed


def test_a_step_takes_the_median_of_runs(network, inputs, monkeypatch):
    found = search.Search(Quantizer(network, inputs)).try_planes([1, 1, 1], 8)
    times = iter(
        [t for k, length in enumerate((9, 1, 8, 2, 5, 7, 3, 6, 4)) for t in (100 * k, 100 * k + length)]
    )
    monkeypatch.setattr(trade.time, "perf_counter", lambda: next(times))
    run, given = Stream.run, []
    monkeypatch.setattr(Stream, "run", lambda stream, x: given.append(x) or run(stream, x))
    assert trade._us_per_step(found.data) == pytest.approx(1e6 * 5 / 1000)
    assert next(times, None) is None
    assert [(x.shape, x.dtype) for x in given] == [((1000, 3), np.float32)] * 9


def test_row_of_the_table(network, monkeypatch):
    monkeypatch.setattr(trade, "_us_per_step", len)
    agreed = Agreement(500, 0.5, 0.02, 4.0, 0.75)
    found = search.Found(None, bytes(79), [], agreed)
    row = trade.row("3", network, found)
    floats = 4 * (12 * 3 + 12 * 4 + 12 + 12 + 4 + 2 * 4 + 2)
    assert row == {
        "planes": "3",
        "bytes": 79,
        "share_of_fp32": 79 / floats,
        "relative_error": 0.005,
        "largest": 0.5,
        "rms": 0.02,
        "same_choice": 0.75,
        "us_per_step": 79,
    }
    line = "3                      79    16.2 %    0.50 %  0.5      0.02       75.0 %         79.00"
    assert trade._line(row) == line


def test_options_of_the_table():
    parser = trade.build_parser()
    assert parser.description == trade.__doc__.splitlines()[0]
    options = vars(parser.parse_args(["net.onnx"]))
    assert str(options.pop("source")) == "net.onnx"
    assert options == {
        "calibrate": None,
        "encoding": "ternary",
        "operand_bits": 8,
        "planes": "1,2,3,4,5,6",
        "max_error": "",
        "json": False,
    }


def test_results_are_fixed_and_equal_only_to_themselves(network, inputs):
    """What holds arrays is compared as an object; what holds numbers is compared by them."""
    packed = pack.pack(network, inputs, planes=1, max_error=9, drift_steps=0)
    fitted = planes.fit(np.eye(2), "ternary", 1, np.eye(2))
    stage = Stages().add("dense", "a", 1, 1)
    for one in (packed, packed.found, fitted, stage, Signal(np.zeros(1))):
        assert one != dataclasses.replace(one) and one in {one}
    for one in (packed.found.reports[0], Precision(), quantize.NUMERICS[1], quantize._Operand(7, 0, True)):
        assert one == dataclasses.replace(one) and one in {one}
    everything = (packed, packed.found, packed.found.reports[0], fitted, stage, Signal(np.zeros(1)))
    for one in (*everything, Precision(), quantize.NUMERICS[1], quantize._Operand(7, 0, True)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, dataclasses.fields(one)[0].name, None)
