# SPDX-License-Identifier: MIT
"""``python -m exporters`` on float networks, and C headers."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")

from float_networks import float_network  # noqa: E402

import exporters  # noqa: E402
from edge_runtime import Model  # noqa: E402
from edge_runtime.model import DEFAULT_MODEL  # noqa: E402
from exporters.__main__ import main  # noqa: E402
from exporters.graph import Network  # noqa: E402
from exporters.to_c_header import c_header, identifier  # noqa: E402
from exporters.to_onnx import to_onnx  # noqa: E402


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "gru.onnx"
    onnx.save(to_onnx(float_network("gru", units=8)), path)
    return path


def test_one_command_from_onnx_to_a_model(source, tmp_path, capsys):
    output = tmp_path / "gru.ernn"
    assert main([str(source), "-o", str(output), "--drift-steps", "1000"]) == 0
    text = capsys.readouterr().out
    assert "verified: largest difference" in text and "drift: over 1000 steps" in text
    assert "standard normal" in text and f"wrote {output}" in text
    network = float_network("gru", units=8)
    x = np.random.default_rng(8).standard_normal((200, 6))
    found = Model.load(output).stream().run(x.astype(np.float32))
    assert np.abs(found - network.run(x)).max() < 0.3


@pytest.mark.parametrize("terminal, quiet", [(True, False), (True, True), (False, False)])
def test_progress_is_told_to_terminals_unless_quiet(source, tmp_path, capsys, monkeypatch, terminal, quiet):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    command = [str(source), "-o", str(tmp_path / "gru.ernn"), "--planes", "2", "--max-error", "9"]
    assert main([*command, "--drift-steps", "0", *(["--quiet"] if quiet else [])]) == 0
    assert ("W_h: 2 x ternary" in capsys.readouterr().err) == (terminal and not quiet)


def test_json_report(source, tmp_path, capsys):
    output, data = tmp_path / "gru.ernn", tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(9).standard_normal((3, 80, 6)))
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\n")
    command = [
        str(source),
        "-o",
        str(output),
        "--json",
        "--planes",
        "3",
        "--operand-bits",
        "16",
        "--max-error",
        "1",
    ]
    command += [
        "--calibrate",
        str(data),
        "--drift-steps",
        "0",
        "--labels",
        str(labels),
        "--metadata",
        "licence=MIT",
    ]
    assert main(command) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bytes"] == output.stat().st_size and facts["written"] == [str(output)]
    assert {m["planes"] for m in facts["matrices"]} == {3}
    assert [m["clamp"] for m in facts["matrices"]] == [32767] * 3
    assert facts["profile"] == 2
    assert all(0 < m["scale_error"] < 0.2 and m["saturation"] <= 0.05 for m in facts["matrices"])
    assert facts["agreement"]["steps"] >= 500 and facts["agreement"]["inputs"] == str(data)
    model = Model.load(output)
    assert model.labels == tuple("abcd") and model.metadata["licence"] == "MIT"


def test_scaled_outputs_are_told(tmp_path, capsys):
    network = float_network("gru", units=8)
    last = dataclasses.replace(network.layers[-1], w=network.layers[-1].w * 100)
    source = tmp_path / "large.onnx"
    onnx.save(to_onnx(Network((*network.layers[:-1], last))), source)
    assert (
        main(
            [
                str(source),
                "-o",
                str(tmp_path / "x.ernn"),
                "--planes",
                "4",
                "--max-error",
                "9",
                "--drift-steps",
                "0",
            ]
        )
        == 0
    )
    scale = Model.load(tmp_path / "x.ernn").metadata["output_scale"]
    assert f"multiply those of the model by {float(scale)}" in capsys.readouterr().out


def test_nothing_is_written_beyond_the_bound(source, tmp_path, capsys):
    output = tmp_path / "gru.ernn"
    output.write_bytes(b"what was there before")
    assert main([str(source), "-o", str(output), "--planes", "1", "--max-error", "1e-6"]) == 1
    error = capsys.readouterr().err
    assert "nothing written" in error and "bound 1e-06" in error and str(source) in error
    assert output.read_bytes() == b"what was there before"


def _with_nan(network):
    model = to_onnx(network)
    array = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    array.flat[3] = np.nan
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(array, model.graph.initializer[0].name))
    return model


@pytest.mark.parametrize("damage", ["truncated", "text", "missing", "nan"])
def test_bad_files_are_one_line(damage, source, tmp_path, capsys):
    if damage == "truncated":
        source.write_bytes(source.read_bytes()[:1000])
    elif damage == "text":
        source.write_text("no model")
    elif damage == "nan":
        onnx.save(_with_nan(float_network("gru", units=8)), source)
    else:
        source.unlink()
    assert main([str(source), "-o", str(tmp_path / "x.ernn")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(source) in error
    assert not (tmp_path / "x.ernn").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-o", "x.ernn", "--planes", "many"],
        ["-o", "x.ernn", "--operand-bits", "7"],
        ["-o", "x.ernn", "--max-error", "-1"],
        ["-o", "x.ernn", "--metadata", "licence"],
    ],
)
def test_bad_options_exit_with_2(arguments, source, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(source), *arguments])
    assert stop.value.code == 2


@pytest.mark.parametrize("option", ["--planes=9", "--labels=missing.txt", "--calibrate=missing.npz"])
def test_bad_values_exit_with_2(option, source, tmp_path, capsys):
    assert main([str(source), "-o", str(tmp_path / "x.ernn"), option]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_shipped_model_as_a_c_header(tmp_path, capsys):
    header = tmp_path / "digits_model.h"
    assert main([str(DEFAULT_MODEL), "--c-header", str(header)]) == 0
    text = header.read_text()
    numbers = [int(n) for n in re.findall(r"(\d+),", text)]
    assert bytes(numbers) == DEFAULT_MODEL.read_bytes() and "digits_model_size" in text
    assert f"wrote {header}" in capsys.readouterr().out


def test_the_shipped_model_and_a_float_source_as_onnx(source, tmp_path, capsys):
    whole, step = tmp_path / "whole.onnx", tmp_path / "step.onnx"
    assert main([str(DEFAULT_MODEL), "--onnx", str(whole), "--onnx-step", str(step)]) == 0
    model = onnx.load(whole)
    onnx.checker.check_model(model, full_check=True)
    assert {p.key: p.value for p in model.metadata_props} == Model.default().metadata
    assert [v.name for v in onnx.load(step).graph.input] == ["x", "h0", "h1"]
    again = tmp_path / "again.onnx"
    assert (
        main([str(source), "--onnx", str(again), "--planes", "2", "--max-error", "9", "--drift-steps", "0"])
        == 0
    )
    before, after = (exporters.from_onnx(path) for path in (source, again))
    np.testing.assert_array_equal(before.layers[0].w_h, after.layers[0].w_h)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_header_compiles_and_holds_the_bytes(tmp_path):
    data = bytes(range(256)) * 3
    (tmp_path / "blob.h").write_text(c_header(data, "blob"))
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "blob.h"\n'
        "int main(void) { return fwrite(blob, 1, blob_size, stdout) == blob_size ? (int)((size_t)blob & 63) : 99; }\n"
    )
    program = tmp_path / "main"
    subprocess.run(["cc", "-std=c11", "-Wall", "-Werror", tmp_path / "main.c", "-o", program], check=True)
    assert subprocess.run([program], check=True, capture_output=True).stdout == data


def test_identifiers(tmp_path):
    assert identifier(tmp_path / "my-model.v2.h") == "my_model_v2"
    assert identifier(tmp_path / "9.h") == "_9"
    with pytest.raises(ValueError, match="not a C identifier"):
        c_header(b"", "a b")
