# SPDX-License-Identifier: MIT
"""``python -m exporters`` on float networks, and C headers."""

import dataclasses
import json
import os
import pathlib
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
from exporters import __main__ as command  # noqa: E402
from exporters import pack  # noqa: E402
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


def test_header_of_a_few_bytes():
    assert c_header(bytes(range(21)), "Few_1") == (
        "/* A packed model for edge_runtime: er_model_create(Few_1, Few_1_size, ...). */\n"
        "#ifndef FEW_1_H\n#define FEW_1_H\n\n#include <stddef.h>\n\n"
        "static const size_t Few_1_size = 21;\nstatic const unsigned char Few_1[21]\n"
        "#if defined(__GNUC__)\n    __attribute__((aligned(64)))\n#endif\n    = {\n"
        "      0,   1,   2,   3,   4,   5,   6,   7,   8,   9,  10,  11,  12,  13,  14,  15,  16,  17,  18,  19,\n"
        "     20,\n};\n\n#endif\n"
    )


# ------------------------------------------------------------------------------------------ options


def test_options_have_these_defaults():
    options = vars(command.build_parser().parse_args(["net.onnx"]))
    assert options.pop("source") == pathlib.Path("net.onnx")
    assert options.pop("encoding") == "ternary" and options.pop("drift_steps") == 60000
    assert options.pop("json") is False and options.pop("quiet") is False
    assert set(options) == {
        *("output", "c_header", "onnx", "onnx_step", "decoder", "calibrate", "max_error", "planes"),
        *("operand_bits", "layers", "labels", "metadata"),
    }
    assert set(options.values()) == {None}


def test_options_are_read():
    words = "net.onnx -o a --c-header b --onnx c --onnx-step d --json -q --decoder e --calibrate f --max-error 1e-9"
    words += " --planes 3 --encoding pow2 --operand-bits 16 --drift-steps 7 --layers g:h --labels i --metadata j=k=l"
    options = vars(command.build_parser().parse_args([*words.split(), "--metadata", "m=n"]))
    paths = {name: str(value) for name, value in options.items() if isinstance(value, pathlib.Path)}
    assert paths == dict(
        source="net.onnx",
        output="a",
        c_header="b",
        onnx="c",
        onnx_step="d",
        decoder="e",
        calibrate="f",
        labels="i",
    )
    assert {name: value for name, value in options.items() if name not in paths} == {
        "json": True,
        "quiet": True,
        "max_error": 1e-9,
        "planes": 3,
        "encoding": "pow2",
        "operand_bits": 16,
        "drift_steps": 7,
        "layers": "g:h",
        "metadata": [("j", "k=l"), ("m", "n")],
    }
    assert command.build_parser().parse_args(["x", "--planes", "auto"]).planes is None


@pytest.mark.parametrize(
    "arguments, reason",
    [
        ([], "nothing to write: -o MODEL.ernn, --c-header MODEL.h, --onnx NET.onnx or --onnx-step STEP.onnx"),
        (["--max-error", "0"], "argument --max-error: invalid _positive value: '0'"),
        (["--max-error", "inf"], "argument --max-error: invalid _positive value: 'inf'"),
        (["--max-error", "nan"], "argument --max-error: invalid _positive value: 'nan'"),
        (["--planes", "some"], "argument --planes: invalid _planes value: 'some'"),
        (["--metadata", "=MIT"], "argument --metadata: '=MIT': expected KEY=TEXT"),
        (["--metadata", "licence"], "argument --metadata: 'licence': expected KEY=TEXT"),
        (["--encoding", "int8"], "argument --encoding: invalid choice: 'int8'"),
    ],
)
def test_options_that_make_no_sense_are_named(arguments, reason, source, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(source), *arguments, *(["-o", "x.ernn"] if arguments else [])])
    assert stop.value.code == 2
    usage, _, message = capsys.readouterr().err.rpartition("python -m exporters: error: ")
    assert usage.startswith("usage: python -m exporters ") and message.startswith(reason)


@pytest.mark.parametrize("option", ["-o", "--c-header", "--onnx", "--onnx-step"])
def test_any_of_the_outputs_is_enough(option, tmp_path, capsys):
    path = tmp_path / "written"
    assert main([str(DEFAULT_MODEL), option, str(path)]) == 0
    assert path.exists() and capsys.readouterr().out.splitlines()[-1] == f"wrote {path}"


def test_files_are_written_in_this_order(tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("a.ernn", "b.h", "c.onnx", "d.onnx")]
    options = [
        word
        for pair in zip(("-o", "--c-header", "--onnx", "--onnx-step"), paths, strict=True)
        for word in pair
    ]
    assert main([str(DEFAULT_MODEL), *options, "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert main([str(DEFAULT_MODEL), *options, "--json", "-q"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["written"] == paths
    assert set(facts) == {"bytes", "profile", "weights", "bits_per_weight", "matrices", "written"}
    assert pathlib.Path(paths[0]).read_bytes() == DEFAULT_MODEL.read_bytes()
    assert pathlib.Path(paths[1]).read_text() == c_header(DEFAULT_MODEL.read_bytes(), "b")
    whole, step = (onnx.load(path).graph for path in paths[2:])
    assert [len(graph.input) for graph in (whole, step)] == [1, 3]


# ------------------------------------------------------------------------------------------ what is handed on


@pytest.fixture
def packing(monkeypatch):
    """How pack.pack was called, and what it returned."""
    calls = []
    real = pack.pack

    def noted(*arguments, **options):
        calls.append((arguments, options, real(*arguments, **options)))
        return calls[-1][2]

    monkeypatch.setattr(pack, "pack", noted)
    return calls


def test_the_report_is_that_of_the_packing(source, tmp_path, capsys, packing):
    data = tmp_path / "data.npz"
    x = np.random.default_rng(9).standard_normal((1, 90, 6))
    np.savez(data, x=x)
    options = "--planes 2 --max-error 7 --drift-steps 600 --json --operand-bits 6 --encoding binary".split()
    assert main([str(source), "-o", str(tmp_path / "x.ernn"), "--calibrate", str(data), *options]) == 0
    facts = json.loads(capsys.readouterr().out)
    [((network, inputs), given, packed)] = packing
    assert given == dict(
        encoding="binary",
        planes=2,
        operand_bits=6,
        max_error=7.0,
        drift_steps=600,
        labels=None,
        metadata={},
        on_progress=None,
    )
    assert network.layers[0].kind == "gru"
    np.testing.assert_array_equal(inputs, x)
    for row, one in zip(facts["matrices"], packed.found.reports, strict=True):
        assert (row["scale_error"], row["saturation"]) == (one.scale_error, one.saturation)
    agreed = dataclasses.asdict(packed.found.agreement)
    assert facts["agreement"] == {**agreed, "max_error": 7.0, "inputs": str(data)}
    first, last = packed.drift
    assert facts["drift"] == {"steps": 600, "first_rms": first.rms, "last_rms": last.rms}
    assert facts["written"] == [str(tmp_path / "x.ernn")] and "output_scale" not in facts


def test_without_options_everything_is_searched_for(source, tmp_path, capsys, packing, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    labels = tmp_path / "labels.txt"
    labels.write_text("null\neins\nzwei\ndrei", encoding="utf-8")
    options = [
        "--labels",
        str(labels),
        "--metadata",
        "a=b",
        "--metadata",
        "c=d",
        "--drift-steps",
        "0",
        "--json",
    ]
    assert main([str(source), "-o", str(tmp_path / "x.ernn"), *options]) == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    [((_, inputs), given, packed)] = packing
    assert inputs is None and given.pop("on_progress") is command._progress
    assert given == dict(
        encoding="ternary",
        planes=None,
        operand_bits=None,
        max_error=None,
        drift_steps=0,
        labels=["null", "eins", "zwei", "drei"],
        metadata={"a": "b", "c": "d"},
    )
    assert facts["agreement"]["inputs"] == "standard normal" and "drift" not in facts
    assert facts["agreement"]["max_error"] == packed.max_error
    assert err.splitlines()[0] == "exporters: gru0 (GRU) W_x: 1 x ternary, 8 bits"


def test_scaled_outputs_are_a_number_in_the_report(tmp_path, capsys):
    network = float_network("gru", units=4)
    last = dataclasses.replace(network.layers[-1], w=network.layers[-1].w * 100)
    source = tmp_path / "large.onnx"
    onnx.save(to_onnx(Network((*network.layers[:-1], last))), source)
    command = f"{source} -o {tmp_path / 'x.ernn'} --planes 1 --max-error 999 --drift-steps 0 --json"
    assert main(command.split()) == 0
    scale = json.loads(capsys.readouterr().out)["output_scale"]
    assert scale == float(Model.load(tmp_path / "x.ernn").metadata["output_scale"]) > 1


# ------------------------------------------------------------------------------------------ errors


def error_of(capsys, *words, status=2):
    """The one line that the command says on stderr."""
    assert main(list(map(str, words))) == status
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err.rstrip("\n")


def test_errors_name_the_file_once(source, tmp_path, capsys):
    output = ("-o", tmp_path / "x.ernn")
    missing = tmp_path / "missing.ernn"
    assert error_of(capsys, missing, *output) == f"exporters: {missing}: No such file or directory"
    source.write_text("no model")
    assert error_of(capsys, source, *output).count(str(source)) == 1
    damaged = tmp_path / "damaged.ernn"
    damaged.write_bytes(DEFAULT_MODEL.read_bytes()[:-9])
    assert error_of(capsys, damaged, *output).startswith(f"exporters: {damaged}: ")


def test_errors_of_values_name_the_source(source, tmp_path, capsys):
    output = ("-o", tmp_path / "x.ernn")
    found = error_of(capsys, source, *output, "--planes=9")
    assert found == f"exporters: {source}: ternary: expected 1 to 8 planes, found 9"
    labels = tmp_path / "labels.txt"
    found = error_of(capsys, source, *output, f"--labels={labels}")
    assert found == f"exporters: {labels}: No such file or directory"
    data = tmp_path / "data.npz"
    np.savez(data, x=np.zeros((5, 7)))
    found = error_of(capsys, source, *output, f"--calibrate={data}")
    assert (
        found
        == f"exporters: {source}: {data}: x: expected shape (steps, 6) or (sequences, steps, 6), found (5, 7)"
    )
    found = error_of(capsys, source, *output, "--planes=1", "--max-error=1e-9", status=1)
    assert found.startswith(f"exporters: {source}: nothing written: bound 1e-09: largest difference ")


@pytest.mark.parametrize("option", ["-o", "--c-header", "--onnx", "--onnx-step"])
def test_outputs_that_cannot_be_written_are_named(option, tmp_path, capsys):
    path = tmp_path / "missing" / "written"
    found = error_of(capsys, DEFAULT_MODEL, option, path)
    assert found.startswith(f"exporters: {path}") and found.endswith(": No such file or directory")


def test_errors_without_a_file_name_name_the_output(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError("no room")

    monkeypatch.setattr(command, "_write", full)
    assert error_of(capsys, DEFAULT_MODEL, "-o", tmp_path / "x") == f"exporters: {tmp_path / 'x'}: no room"


@pytest.mark.parametrize(
    "error, text",
    [
        (OSError(2, "Gone", "a/b"), "a/b: Gone"),
        (OSError("no room"), "no room"),
        (ValueError("net.onnx: too large"), "net.onnx: too large"),
        (ValueError("too large"), "net.onnx: too large"),
    ],
)
def test_errors_have_the_name_of_a_file(error, text):
    assert command._named(pathlib.Path("net.onnx"), error) == text
    assert (
        command._named(pathlib.Path("net.onnx"), exporters.graph.ImportRefusedError("n0: why")) == "n0: why"
    )


@pytest.mark.parametrize(
    "name, package, extra",
    [("net.onnx", "onnx", "onnx"), ("net.pt2", "torch", "train"), ("net.pt", "torch", "train")],
)
def test_packages_that_are_missing_are_named(name, package, extra, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    want = f"exporters: {package} is missing: pip install 'edge-runtime[{extra}]'"
    assert error_of(capsys, tmp_path / name, "-o", tmp_path / "x") == want
    if package == "onnx":
        assert error_of(capsys, DEFAULT_MODEL, "--onnx", tmp_path / "x") == want
    assert not os.listdir(tmp_path)


def test_the_package_names_what_it_has():
    assert exporters.from_onnx.__module__ == "exporters.import_onnx"
    with pytest.raises(AttributeError, match=r"^module 'exporters' has no attribute 'from_keras'$"):
        _ = exporters.from_keras
