# SPDX-License-Identifier: MIT
"""``python -m exporters.trade``, and the search for a small file where single steps do not help."""

import json

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")

from float_networks import float_network  # noqa: E402

from exporters import search, trade  # noqa: E402
from exporters.agreement import Agreement  # noqa: E402
from exporters.quantize import QuantizeError, Quantizer  # noqa: E402
from exporters.report import _agreement_lines  # noqa: E402
from exporters.to_onnx import to_onnx  # noqa: E402


@pytest.fixture(scope="module")
def network():
    return float_network("gru", units=6)


@pytest.fixture(scope="module")
def source(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("trade") / "gru.onnx"
    onnx.save(to_onnx(network), path)
    return path


@pytest.fixture(autouse=True)
def few_runs(monkeypatch):
    monkeypatch.setattr(trade, "_RUNS", 1)


def test_table_has_a_row_for_each_number_of_planes(source, capsys):
    assert trade.main([str(source), "--planes", "1,3"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading == "planes           bytes   of fp32   error    largest  rms      same choice   us/step"
    assert [row.split()[0] for row in rows] == ["1", "3"]
    assert int(rows[0].split()[1]) < int(rows[1].split()[1])


def test_objects_of_each_row_and_bound(source, network, tmp_path, capsys):
    data = tmp_path / "inputs.npz"
    np.savez(data, x=np.random.default_rng(1).standard_normal((2, 300, network.input_size)))
    command = [
        str(source),
        "--json",
        "--planes",
        "1,2,4",
        "--max-error",
        "0.5,1e-9",
        "--calibrate",
        str(data),
    ]
    assert trade.main(command) == 0
    out, err = capsys.readouterr()
    one, two, four, bound = map(json.loads, out.splitlines())
    assert [one["planes"], two["planes"], four["planes"]] == ["1", "2", "4"]
    assert one["bytes"] < two["bytes"] < four["bytes"]
    assert one["relative_error"] > two["relative_error"] > four["relative_error"]
    floats = 4 * sum(
        v.size for layer in network.layers for v in vars(layer).values() if isinstance(v, np.ndarray)
    )
    assert one["share_of_fp32"] == pytest.approx(one["bytes"] / floats)
    assert one["us_per_step"] > 0
    assert bound["planes"].startswith("0.5: ") and bound["largest"] <= 0.5
    assert "a largest difference of 1e-09 cannot be reached; the closest was" in err


def test_rows_are_told_as_they_come(source, capsys, monkeypatch):
    events = []
    monkeypatch.setattr(trade, "print", lambda *_, **options: events.append(options), raising=False)
    assert trade.main([str(source), "--planes", "1"]) == 0
    assert events == [{"flush": True}] * 2


def test_bounds_are_searched_for_with_the_precision_that_is_given(source, capsys):
    assert trade.main([str(source), "--planes", ",", "--max-error", "9,8.5,", "--encoding", "binary"]) == 0
    _, *rows = capsys.readouterr().out.splitlines()
    assert [row[:16].rstrip() for row in rows] == ["9: 1 1 1", "8.5: 1 1 1"]
    for bits in ("4", "8"):
        assert trade.main([str(source), "--planes", "2", "--operand-bits", bits, "--json"]) == 0
    four, eight = map(json.loads, capsys.readouterr().out.splitlines())
    assert four["rms"] > 1.5 * eight["rms"]


def test_most_planes_are_those_of_the_encoding(source, capsys):
    assert trade.main([str(source), "--planes", "3", "--encoding", "pow2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert trade.main([str(source), "--planes", "1,4", "--encoding", "pow2"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == f"exporters.trade: {source}: --planes: expected 1 to 3, found 1,4\n"


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--planes", "0"], "--planes: expected 1 to 8, found 0"),
        (["--planes", "1,99"], "--planes: expected 1 to 8, found 1,99"),
        (["--max-error", "small"], "could not convert string to float"),
        (["--calibrate", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_bad_input_is_one_line(source, arguments, reason, capsys):
    assert trade.main([str(source), *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"exporters.trade: {source}: ") and reason in line


class Steps:
    """In place of a search's packing: errors that are told for every choice of planes."""

    def __init__(self, errors):
        self.errors, self.tried = errors, []

    def __call__(self, planes, bits):
        self.tried.append(tuple(planes))
        largest, rms = self.errors(tuple(planes))
        return search.Found(None, bytes(100 + sum(planes)), [], Agreement(500, largest, rms, 1.0, 1.0))


def search_with(network, monkeypatch, errors):
    inputs = [np.random.default_rng(2).standard_normal((500, network.input_size))]
    found = search.Search(Quantizer(network, inputs))
    monkeypatch.setattr(found, "try_planes", Steps(errors))
    return found


def test_errors_that_only_fall_together_are_searched_together(network, monkeypatch):
    """No single plane more helps; one more of all does, until the bound is met."""
    found = search_with(network, monkeypatch, lambda planes: (1.0 / min(planes), 1.0 / min(planes)))
    best = found.smallest(0.25, operand_bits=8)
    assert best.agreement.largest <= 0.25
    count = len(found.quantizer.matrices)
    assert count > 1 and (4,) * count in found.try_planes.tried
    assert len(best.data) == 100 + 4 * count


def test_search_ends_where_all_planes_do_not_help(network, monkeypatch):
    found = search_with(network, monkeypatch, lambda planes: (1.0, 1.0))
    with pytest.raises(QuantizeError, match=r"a largest difference of 0\.5 cannot be reached"):
        found.smallest(0.5)
    worse = search_with(network, monkeypatch, lambda planes: (1.0 / min(planes), 1.0 / min(planes)))
    with pytest.raises(QuantizeError, match="cannot be reached; the closest was largest difference 0"):
        worse.smallest(1e-9)


def test_agreement_says_what_differs():
    equal = Agreement(500, 0.01, 0.005, 1.0, 1.0)
    assert "same greatest output" not in str(equal) and str(equal).endswith(", 500 steps")
    assert "same greatest output in 98.0 % of steps" in str(Agreement(500, 0.01, 0.005, 1.0, 0.98))
    facts = {"largest": 0.01, "max_error": 0.1, "rms": 0.005, "spread": 1.0, "steps": 500, "same_choice": 1.0}
    [line] = _agreement_lines({**facts, "inputs": "data.npz"})
    assert line.endswith("spread; 500 steps")
    line, advice = _agreement_lines({**facts, "same_choice": 0.98, "inputs": "standard normal"})
    assert line.endswith("same greatest output in 98.0 % of 500 steps") and "--calibrate" in advice
    [line] = _agreement_lines({**facts, "spread": 0.0, "inputs": "data.npz"})
    assert ", 0 % of the outputs' spread" in line
