# SPDX-License-Identifier: MIT
"""The bench: its files, its workers' protocol, its arithmetic, its command line. No test looks at a time."""

import importlib.util
import json
import os
import subprocess
import sys
import xml.etree.ElementTree

import numpy as np
import pytest

import edge_runtime as er
from apps.bench import contenders, measure, native, plot, report, skipping, workloads
from apps.bench.__main__ import main
from apps.bench.workloads import FRAMES, STREAMS, Workload
from edge_runtime.format import ModelFile

TINY = (
    Workload("tiny_gru", (("gru", 5, 8),), 3),
    Workload("tiny_lstm", (("lstm", 5, 8),)),
    Workload("tiny_both", (("lstm", 4, 6), ("gru", 6, 7)), 2),
)
READY = (
    "ready peer workload version maxerr load_ms import_ms rss_stream_kb rss_numpy_kb rss_now_kb file_bytes "
    "timer_us commands"
).split()
RATIOS = [
    f"{phase}_best_peer_over_ours" for phase in ("streaming", "cold", "sequence", "streams", "together")
] + ["streaming_best_peer_over_ours_int8_input", "streaming_best_peer_less_empty_call_over_ours"]

needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="no C compiler")


def peers_present():
    return {"onnxruntime", "litert"} - set(contenders.missing_peers())


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    built = contenders.Programs(tmp_path_factory.mktemp("programs"))
    assert built.problems == []
    return built


@pytest.fixture(scope="module", params=TINY, ids=lambda w: w.name)
def tiny(request, tmp_path_factory):
    """A small workload and the folder with its files."""
    folder = tmp_path_factory.mktemp(request.param.name)
    contenders.write_files(request.param, folder, peers_present())
    return request.param, folder


# --------------------------------------------------------------------------------- workloads


def test_workloads_have_the_published_sizes():
    sizes = {name: workload.macs for name, workload in workloads.WORKLOADS.items()}
    assert sizes == {"W1": 145600, "W2": 623616, "W3": 1176576, "W4L": 4399104, "W4G": 6291456}


@pytest.mark.parametrize("workload", TINY, ids=lambda w: w.name)
def test_ternary_model_has_the_shape_of_the_workload(workload):
    file = workloads.ternary_model(workload)
    same = workloads.workload_of_model(workload.name, ModelFile.from_bytes(file.to_bytes()))
    assert (same.layers, same.outputs) == (workload.layers, workload.outputs)
    assert same.macs == sum(m.weights[0].size for layer in file.layers for m in layer.matrices)


def test_ternary_outputs_are_alive():
    """Logits that vanish or saturate would time something that no model does."""
    for name in ("W1", "W3"):
        workload = workloads.WORKLOADS[name]
        model = er.Model.from_bytes(workloads.ternary_model(workload).to_bytes())
        y = model.stream().run(workloads.frames(workload))
        assert 0.05 < y.std() < 5
        assert (np.abs(y) >= 15.9).mean() < 0.01


def test_model_that_the_peers_lack_is_no_workload():
    file = workloads.ternary_model(TINY[0])
    dense = ModelFile(np.ones(8, np.float32), np.zeros(8, np.float32), file.layers[1:])
    assert workloads.workload_of_model("dense", dense) is None


# --------------------------------------------------------------------------------- workers


def check_protocol(worker, workload, exact):
    info = worker.info
    assert set(READY) <= set(info)
    assert info["workload"] == workload.name
    assert info["file_bytes"] > 0 and info["load_ms"] > 0
    if exact:
        assert info["maxerr"] == 0
    assert len(worker.ask("stream 7")) == 7
    assert len(worker.ask("cold 2")) == 2
    assert all(us > 0 for us in worker.ask("stream 3"))
    for command in ("int8", "streams", "together"):
        answer = worker.ask(f"{command} 3")
        assert answer is None if command not in info["commands"] else len(answer) == 3
    sequence = worker.ask("seq 2")
    if "seq" in info["commands"]:
        assert len(sequence["us"]) == 2
        assert not exact or sequence["maxerr"] == 0
    else:
        assert sequence is None
    assert worker.ask("mark 1") == 1
    assert worker.ask("what") is None
    assert worker.close() == 0


@needs_compiler
def test_peer_worker_speaks_the_protocol(tiny, programs):
    workload, folder = tiny
    for kernel in (None, *contenders.available_kernels((folder / "model.ernn").read_bytes())):
        command = contenders.peer_worker_command(programs.peer_worker, folder, workload, kernel, "us")
        with measure.Worker(command) as worker:
            assert worker.info["peer"] == "us"
            assert kernel is None or worker.info["version"].endswith(f" {kernel}")
            check_protocol(worker, workload, exact=True)


@needs_compiler
def test_every_contender_speaks_the_protocol(tiny, programs):
    workload, folder = tiny
    found = contenders.contenders(workload, folder, ["scalar"], "scalar", peers_present(), programs)
    bound = {"f32": 1e-5, "int8": 0.1, "ternary": 0}
    assert {c.form for c in found} >= {"ternary"}
    for contender in found:
        with measure.Worker(contender.command) as worker:
            assert worker.info["peer"] == contender.name
            if contender.form != "null":
                assert worker.info["maxerr"] <= bound[contender.form], contender.name
            check_protocol(worker, workload, exact=contender.form == "ternary")


@needs_compiler
@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda command: command[:1], "usage"),
        (lambda command: (*command, "--kernel", "abacus"), "kernel"),
        (lambda command: (*command, "--colour", "red"), "no such option"),
        (lambda command: (command[0], "/nowhere.ernn", *command[2:]), "/nowhere.ernn"),
        (lambda command: (command[0], command[1], command[1]), "100 frames"),
    ],
)
def test_peer_worker_refuses(tmp_path, programs, spoil, message):
    workloads.write_files(TINY[0], tmp_path)
    command = contenders.peer_worker_command(programs.peer_worker, tmp_path, TINY[0])
    with pytest.raises(measure.WorkerError, match=f"status 2: peer_worker: .*{message}"):
        measure.Worker(spoil(command))


@needs_compiler
def test_worker_that_computes_something_else_is_found(tmp_path, programs):
    workloads.write_files(TINY[0], tmp_path)
    logits = np.fromfile(tmp_path / "logits.bin", np.float32)
    logits[-1] += 1 / 2048
    logits.tofile(tmp_path / "logits.bin")
    command = contenders.peer_worker_command(programs.peer_worker, tmp_path, TINY[0])
    with measure.Worker(command) as worker:
        assert worker.info["maxerr"] == pytest.approx(1 / 2048)
        assert worker.ask("seq 1")["maxerr"] == pytest.approx(1 / 2048)


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="needs ptrace")
def test_instructions_grow_with_the_network(tmp_path, programs):
    counts = []
    for units in (4, 16):
        workload = Workload(f"gru{units}", (("gru", 3, units),))
        workloads.write_files(workload, tmp_path / workload.name)
        command = contenders.peer_worker_command(
            programs.peer_worker, tmp_path / workload.name, workload, "scalar"
        )
        counts.append(measure.count_instructions(programs.count_instructions, command))
    if counts[0] is None:
        pytest.skip("ptrace is not permitted here")
    assert 100 < counts[0] < counts[1] < 100000
    assert measure.count_instructions(programs.count_instructions, command, limit=50) is None


# --------------------------------------------------------------------------------- arithmetic


def record(family, via, form, kernel=None, **medians):
    """A contender's record; medians in microseconds."""
    empty = dict.fromkeys(measure.PHASES)
    summaries = {phase: measure.summarize([us]) for phase, us in medians.items()}
    return {"family": family, "via": via, "form": form, "kernel": kernel, **empty, **summaries}


def test_summary_has_median_and_percentiles():
    values = list(range(1, 101))
    summary = measure.summarize([*values[50:], *values[:50]])
    assert summary == {"median_us": 50.5, "p10_us": 11, "p90_us": 91, "p99_us": 100, "count": 100}
    assert measure.summarize([5.0])["p99_us"] == 5
    assert measure.summarize([]) is None


def test_ratios_are_those_of_medians_of_the_best_peer():
    records = {
        "slow": record("edge_runtime", "c", "ternary", "scalar", streaming=10, streaming_int8=8, sequence=5),
        "fast": record("edge_runtime", "c", "ternary", "avx2", streaming=2, streaming_int8=1, streams=2),
        "fast_python": record("edge_runtime", "python", "ternary", "avx2", streaming=4),
        "a_int8": record("a", "c", "int8", streaming=7, sequence=20, cold=50, streams=7, together=3),
        "a_f32": record("a", "c", "f32", streaming=8, sequence=6, cold=40),
        "a_null": record("a", "c", "null", streaming=1),
        "a_python": record("a", "python", "int8", streaming=12),
    }
    found = measure.ratios(records, "avx2")
    assert found["kernel"] == "avx2"
    assert found["ours"] == "fast"
    assert found["streaming_best_peer"] == "a_int8"
    assert found["streaming_best_peer_over_ours"] == 3.5
    assert found["streaming_best_peer_less_empty_call_over_ours"] == 3
    assert found["streaming_best_peer_over_ours_int8_input"] == 7
    assert found["cold_best_peer"] == "a_f32"
    assert found["cold_best_peer_over_ours"] is None
    # What has no call for many frames, or for many streams, is counted by its steps.
    assert found["sequence_best_peer"] == "a_f32"
    assert found["sequence_best_peer_over_ours"] == 3
    assert found["together_best_peer_over_ours"] == 1.5
    assert found["python_streaming_best_peer_over_ours"] == 3
    scalar = found["by_kernel"]["scalar"]
    assert scalar["streaming_best_peer_over_ours"] == 0.7
    assert scalar["sequence_best_peer_over_ours"] == 1.2
    assert scalar["sequence_over_streaming_of_ours"] == 0.5


def test_ratios_without_peers_are_null():
    records = {"us": record("edge_runtime", "c", "ternary", "scalar", streaming=10)}
    found = measure.ratios(records, "scalar")
    assert all(found[key] is None for key in RATIOS)


def test_scattering_empty_calls_are_reported():
    quiet, loud = ([1.0] * 20, [1.0] * 15 + [1.6] * 5)
    records = {"quiet": record("a", "c", "null"), "loud": record("a", "c", "null")}
    records["quiet"]["streaming"] = measure.summarize(quiet)
    records["loud"]["streaming"] = measure.summarize(loud)
    assert measure.noisy_contenders(records) == ["loud"]


# --------------------------------------------------------------------------------- command line

# Speaks the base protocol alone; each step "takes" 2, 1 and 3000 us in turn: median 2.
FAKE = """
import json, sys
print(json.dumps(dict(ready=1, peer="fake", workload="W1", version="0", maxerr=None, load_ms=1, import_ms=0,
                      rss_stream_kb=1, rss_numpy_kb=0, file_bytes=1)), flush=True)
for line in sys.stdin:
    command, *count = line.split()
    if command == "quit":
        break
    us = [(2, 1, 3000)[i % 3] for i in range(3 * int(count[0]))]
    print(json.dumps({"us": us, "maxerr": 0} if command == "seq" else us), flush=True)
"""


def run_bench(*arguments):
    command = [sys.executable, "-m", "apps.bench", "--quick", "--json", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1]), result.stderr


@needs_compiler
def test_quick_run_with_an_extra_peer(tmp_path):
    script = tmp_path / "fake.py"
    script.write_text(FAKE, encoding="ascii")
    extra = [{"name": "fake", "workloads": {"W1": [sys.executable, str(script)]}}]
    (tmp_path / "extra.json").write_text(json.dumps(extra), encoding="ascii")
    picture = tmp_path / "out.svg"
    result, table = run_bench(
        "--no-peers", "--kernel", "scalar", "--extra", str(tmp_path / "extra.json"), "--plot", str(picture)
    )
    assert result["threads"] == 1 and result["problems"] == []
    assert result["machine"]["cpu"] and result["versions"]["edge_runtime"] == er.__version__
    measured = result["workloads"]["W1"]["contenders"]
    assert set(measured) == {"edge_runtime_scalar", "edge_runtime_scalar_python", "fake"}
    ours = measured["edge_runtime_scalar"]
    for phase in ("streaming", "streaming_int8", "cold", "sequence", "streams", "together"):
        assert set(ours[phase]) == {"median_us", "p10_us", "p90_us", "p99_us", "count"}
    assert ours["maxerr"] == 0 and ours["instructions_per_step"] is None
    assert measured["fake"]["streaming"]["median_us"] == 2
    found = result["ratios"]["W1"]
    assert set(RATIOS) <= set(found)
    expected = measured["fake"]["streaming"]["median_us"] / ours["streaming"]["median_us"]
    assert found["streaming_best_peer_over_ours"] == expected
    assert found["streaming_best_peer"] == "fake"
    assert found["by_kernel"]["scalar"]["streaming_best_peer_over_ours"] == expected
    assert "edge_runtime_scalar" in table and "best peer / ours" in table
    texts = [e.text for e in xml.etree.ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert "fake" in texts and "edge_runtime_scalar" in texts


@needs_compiler
@pytest.mark.parametrize("family", ["onnxruntime", "litert"])
def test_quick_run_with_peers(family):
    if family not in peers_present():
        pytest.skip(contenders.missing_peers()[family])
    result, _ = run_bench("--workloads", "W1", "--kernel", "scalar")
    measured = result["workloads"]["W1"]["contenders"]
    forms = {r["form"]: r for r in measured.values() if r["family"] == family and r["via"] != "python"}
    assert set(forms) == {"f32", "int8", "null"}
    assert forms["f32"]["maxerr"] < 1e-5 and forms["int8"]["maxerr"] < 0.1
    assert result["ratios"]["W1"]["streaming_best_peer_over_ours"] > 0
    assert result["ratios"]["W1"]["python_streaming_best_peer_over_ours"] > 0


def test_skipping_is_measured_and_compared(monkeypatch, capsys):
    folder = os.path.join(os.environ.get("EDGE_RUNTIME_DATA", ""), "fsdd")
    if not os.path.isdir(folder):
        pytest.skip("EDGE_RUNTIME_DATA has no folder fsdd")
    monkeypatch.setattr(skipping, "_SECONDS", 4)
    monkeypatch.setattr(skipping, "_ROUNDS", 2)
    monkeypatch.setattr(skipping, "_SHAPES", {"W1": (13, 2)})
    assert skipping.main(["--data", folder]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == 3 * ["digits"] + 3 * ["W1"]
    shares = {(row[0], row[1]): float(row[-5]) for row in rows}
    assert shares["digits", "digital"] < 0.2 < shares["digits", "speech"]


@needs_compiler
def test_write_models_serves_another_bench(tmp_path):
    model = tmp_path / "tiny.ernn"
    workloads.ternary_model(TINY[2]).save(model)
    out = tmp_path / "out"
    assert main(["--write-models", str(out), "--workloads", "digits,W1", "-m", str(model)]) == 0
    entries = json.loads((out / "extra.json").read_text(encoding="utf-8"))
    assert entries[0]["name"] == "edge_runtime_scalar"
    for name in ("digits", "W1"):
        assert {p.name for p in (out / name).iterdir()} >= {
            "model.ernn",
            "input.bin",
            "logits.bin",
            "ref.bin",
        }
        with measure.Worker(entries[0]["workloads"][name]) as worker:
            assert worker.info["maxerr"] == 0
    assert np.fromfile(out / "W1" / "weights.bin", np.float32).size == 145600 + 4 * 3 * 200 // 2 + 11


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--workloads", "W9"], "no workload 'W9'"),
        (["--kernel", "abacus"], "there are: scalar"),
        (["--rounds", "0"], "at least 1"),
        (["-m", "/nowhere.ernn"], "/nowhere.ernn"),
        (["--extra", "/nowhere.json"], "/nowhere.json"),
    ],
)
def test_bad_arguments_end_with_one_line(arguments, message, capsys):
    assert main(["--no-peers", *arguments]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and errors[0].startswith("bench: ") and message in errors[0]


def test_extra_file_of_another_form_is_refused(tmp_path, capsys):
    path = tmp_path / "extra.json"
    path.write_text('[{"name": "x"}]', encoding="ascii")
    assert main(["--no-peers", "--extra", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_missing_peers_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert contenders.missing_peers() == {
        "onnxruntime": "onnxruntime takes no part: python -m pip install onnxruntime onnx",
        "litert": "litert takes no part: python -m pip install ai-edge-litert flatbuffers",
    }


def test_notes_name_what_slows():
    quiet = {"governor": None, "load_average": 0.5, "cores": 4, "features": ["avx2"]}
    assert report.notes(quiet, "avx2") == []
    busy = {**quiet, "governor": "powersave", "load_average": 3.0}
    assert [note.split()[0] for note in report.notes(busy, "scalar")] == ["CPU", "load", "this"]


def test_picture_of_no_results_is_a_picture():
    text = plot.svg({"machine": {"cpu": "a < b"}, "workloads": {}})
    assert xml.etree.ElementTree.fromstring(text).tag.endswith("svg")


def test_constants_of_the_workers_agree():
    """The protocol's sizes stand in C and in two Python files, one of which must not import the others."""
    from apps.bench import python_worker

    source = (native.FOLDER / "worker.h").read_text(encoding="ascii")
    assert f"WORKER_FRAMES = {FRAMES}," in source and python_worker.FRAMES == FRAMES
    assert f"WORKER_STREAMS = {STREAMS}," in source and python_worker.STREAMS == STREAMS
    assert f"WORKER_UNTIMED = {python_worker.UNTIMED}," in source
