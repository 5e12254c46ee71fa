# SPDX-License-Identifier: MIT
"""The comparison with ONNX Runtime: its two sides, its arithmetic, its command line. No test looks at a time."""

import csv
import dataclasses
import html.parser
import json
import xml.etree.ElementTree

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

from float_networks import float_network
from word_models import tone_model, tone_signal

import edge_runtime as er
from apps.bench import contenders, measure, native, workloads
from apps.bench.workloads import FRAMES
from apps.onnx_compare import inputs, outputs, page, pair, speed
from apps.onnx_compare.__main__ import main, wrong_outputs
from exporters.graph import Dense, Network
from exporters.quantize import Precision, Quantizer, generated_inputs
from exporters.to_onnx import to_onnx

QUICK = ("--quick", "--rounds", "1", "--live-s", "0.05", "--step-ms", "5", "--json")
needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="no C compiler")


def sandwich():
    """A network with dense layers before, between and behind recurrent ones."""
    rng = np.random.default_rng(3)

    def dense(outputs, count, activation):
        return Dense(rng.uniform(-1, 1, (outputs, count)), rng.uniform(-1, 1, outputs), activation)

    first, second = (float_network(kind, inputs=8, units=8).layers[0] for kind in ("gru", "lstm"))
    return Network((dense(8, 6, "tanh"), first, dense(8, 8, "relu"), second, dense(3, 8, "sigmoid")))


NETWORKS = {
    "rnn_tanh": float_network("rnn", layers=2),
    "rnn_relu": float_network("rnn", activation="relu"),
    "gru": float_network("gru", layers=2),
    "gru_reset_before": float_network("gru", layers=2, reset_before=True),
    "lstm": float_network("lstm", layers=2),
    "bare_gru": Network(float_network("gru").layers[:1]),
    "sandwich": sandwich(),
    "dense": Network((Dense(np.eye(3, 6), np.ones(3), "tanh"),)),
}


def packed(network, planes=3):
    """A model of a network: edge_runtime.format.ModelFile."""
    quantizer = Quantizer(network, generated_inputs(network.input_size, steps=100, runs=1))
    return quantizer.model_file([Precision("ternary", planes, 8)] * len(quantizer.matrices))[0]


@pytest.fixture(scope="module", params=NETWORKS)
def written(request, tmp_path_factory):
    """A network, its workload, and the folder with its files."""
    network = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    x = generated_inputs(network.input_size, steps=150, runs=1)[0]
    workload = workloads.workload_of_pair(request.param, packed(network), network, x)
    contenders.write_files(workload, folder, {"onnxruntime"})
    return network, workload, folder, x.astype(np.float32)


# --------------------------------------------------------------------------------- both sides


def test_onnx_side_is_the_network(written):
    network, workload, folder, x = written
    expected = network.run(x)
    np.testing.assert_allclose(pair.OnnxSide(workload, folder, "f32").run(x), expected, atol=1e-5)
    assert np.abs(pair.OnnxSide(workload, folder, "int8").run(x) - expected).max() < 0.2


def test_workload_of_a_pair_describes_the_network(written):
    network, workload, _, x = written
    assert (workload.input_size, workload.output_size) == (network.input_size, network.output_size)
    np.testing.assert_array_equal(workloads.frames(workload), x[:FRAMES])
    weights = [
        v
        for layer in network.layers
        for v in ([layer.w] if isinstance(layer, Dense) else [layer.w_x, layer.w_h])
    ]
    assert workload.macs == sum(w.size for w in weights)


@needs_compiler
def test_every_worker_computes_the_network(written, tmp_path):
    """Steps and whole sequences, initial states, node and cell: in the workers themselves."""
    network, workload, folder, _ = written
    programs = contenders.Programs(tmp_path)
    found = contenders.contenders(workload, folder, ["scalar"], "scalar", {"onnxruntime"}, programs, True)
    assert {"onnxruntime_f32", "onnxruntime_f32_spin", "onnxruntime_int8_spin_python"} <= {
        c.name for c in found
    }
    found += contenders._onnxruntime(workload, folder, programs, "cell", "f32", "cell")
    bound = {"ternary": 0, "f32": 1e-5, "int8": 0.2}
    for contender in found:
        if contender.via == "python" and network is not NETWORKS["sandwich"]:
            continue  # starting Python takes half a second
        with measure.Worker(contender.command) as worker:
            if contender.form != "null":
                assert worker.info["maxerr"] <= bound[contender.form], contender.name
                assert worker.ask("seq 1")["maxerr"] <= bound[contender.form], contender.name
            live = worker.ask("live 3 2000")
            assert len(live["us"]) == 3 and live["wall_us"] >= 6000 and live["cpu_us"] > 0
            assert worker.info["peak_kb"] >= worker.info["rss_stream_kb"] > 0


def test_twin_of_the_model_in_the_package():
    sides = pair.load_pair()
    assert sides.network.input_size == sides.model.input_size
    assert sides.onnx_bytes > 4 * 653056 > sides.model_bytes
    assert sides.workload(np.zeros((1, 78))).description == "GRU 78-256, GRU 256-256, dense 13"


def test_file_as_it_is_computes_the_network(tmp_path):
    """Steps first, batch first, a softmax; another network is seen, single steps are left out."""
    network = NETWORKS["gru_reset_before"]
    x = generated_inputs(6, steps=40, runs=1)[0].astype(np.float32)
    path = tmp_path / "y.onnx"
    packed(network).save(tmp_path / "x.ernn")
    models = [to_onnx(network), to_onnx(Network(network.layers, softmax=True)), batch_first(to_onnx(network))]
    for model in models:
        path.write_bytes(model.SerializeToString())
        sides = pair.load_pair(tmp_path / "x.ernn", path)
        assert pair.distance_of_file(sides, x) < 1e-5
    assert pair.distance_of_file(dataclasses.replace(sides, network=NETWORKS["gru"]), x) > 0.01
    path.write_bytes(to_onnx(network, single_step=True).SerializeToString())
    assert pair.distance_of_file(pair.load_pair(tmp_path / "x.ernn", path), x) is None


def batch_first(model):
    """The same graph behind and before a transposition."""
    from onnx import helper

    graph = model.graph
    for value, name in ((graph.input[0], "x_steps"), (graph.output[0], "y_steps")):
        old = value.name
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [name if n == old else n for n in names]
        steps, batch = value.type.tensor_type.shape.dim[:2]
        batch.dim_param, steps.dim_value = "steps", 1
    graph.node.insert(0, helper.make_node("Transpose", ["x"], ["x_steps"], perm=[1, 0, 2]))
    graph.node.append(helper.make_node("Transpose", ["y_steps"], ["y"], perm=[1, 0, 2]))
    return model


def test_inputs_of_the_twin_are_clamped_as_the_models_are():
    sides = pair.load_pair()
    model = sides.model
    assert model.file.layers[0].matrices[0].clamp == 31
    x = inputs._generated(model)[0]
    integers = model.quantize_input(x)
    assert (np.abs(integers) > 31).mean() > 0.2
    clamped = sides.onnx_inputs(x)
    np.testing.assert_array_equal(model.quantize_input(clamped), np.clip(integers, -31, 31))
    inside = np.abs(integers) < 31
    np.testing.assert_array_equal(clamped[inside], x[inside])
    given = dataclasses.replace(sides, onnx_path="y.onnx")
    assert given.onnx_inputs(x) is x


# --------------------------------------------------------------------------------- inputs and outputs


def test_features_and_decoder_are_those_of_the_recognizer():
    model = er.Model.default()
    found = inputs.read(model)
    assert found.steps == sum(map(len, found.sequences)) and len(found.utterances) == 4
    logits = outputs.logits_of_model(model, found.sequences)
    decoder, recognizer = model.decoder(), model.recognizer()
    for utterance, y in zip(found.utterances, logits, strict=True):
        recognizer.reset()
        decoder.reset()
        expected = recognizer.accept_waveform(utterance.pcm) + recognizer.finish()
        integers = outputs.to_integers(y, 1 / 2048)
        np.testing.assert_array_equal(integers / np.float32(2048), y)
        assert decoder.push(integers) + decoder.finish() == expected
        assert tuple(word.label for word in expected) == utterance.words


def test_scores_count_sides_and_sets():
    model = er.Model.default()
    found = inputs.read(model)
    y = outputs.logits_of_model(model, found.sequences)
    silent = [
        np.where(np.arange(part.shape[1]) == 0, 20, np.zeros_like(part)) for part in y
    ]  # blank throughout
    scores = outputs.scores(model, found.utterances, {"edge_runtime": y, "onnxruntime_f32": silent})
    assert set(scores["edge_runtime"]) == {"all", "demo_samples"}
    assert scores["edge_runtime"]["all"]["wer"] == 0
    assert scores["onnxruntime_f32"]["all"]["deletions"] == 16


def test_floats_become_integers_of_the_decoder():
    y = np.array([[0.4, 0.6, -1.4, 99.0, -99.0]], np.float32) / 2048 * np.float32([1, 1, 1, 1e4, 1e4])
    np.testing.assert_array_equal(outputs.to_integers(y, 1 / 2048), [[0, 1, -1, 32767, -32768]])


def test_generated_inputs_cover_the_range_of_the_model():
    file = packed(NETWORKS["gru"])
    file = dataclasses.replace(
        file, input_scale=file.input_scale * 100, input_offset=np.full(6, 20, np.float32)
    )
    model = er.Model.from_bytes(file.to_bytes())
    integers = np.concatenate([model.quantize_input(x) for x in inputs.read(model).sequences])
    assert 25 < integers.std() < 35 and abs(integers.mean()) < 3


def test_agreement_by_hand():
    source = [np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[3.0, 0.0], [0.0, 3.0]])]
    other = [source[0] + np.array([[0, 0.5], [1.25, 0]]), source[1]]
    (found,) = outputs.agreements({"onnxruntime_f32": source, "edge_runtime": other}).values()
    assert (found["steps"], found["largest"], found["same_choice"]) == (4, 1.25, 0.75)
    assert found["rms"] == pytest.approx(((0.25 + 1.25**2) / 8) ** 0.5)
    shares = dict(zip(outputs.EDGES, found["distribution"], strict=True))
    assert (shares[0.25], shares[0.5], shares[1.0], shares[2.0]) == (0.5, 0.75, 0.75, 1)


# --------------------------------------------------------------------------------- arithmetic


def record(family, form, via="c", load_ms=1.0, peak_kb=1000, **medians):
    empty = dict.fromkeys(measure.PHASES)
    summaries = {phase: measure.summarize([us]) for phase, us in medians.items()}
    return {
        "family": family, "via": via, "form": form, "load_ms": load_ms, "peak_kb": peak_kb, **empty, **summaries
    }  # fmt: skip


def test_ratios_take_the_quickest_of_a_form_called_alike():
    records = {
        "us": record("edge_runtime", "ternary", streaming=2, sequence=3, cold=4),
        "us_python": record("edge_runtime", "ternary", "python", streaming=1),
        "f32": record("onnxruntime", "f32", load_ms=30, streaming=20, sequence=8, cold=50),
        "f32_spin": record("onnxruntime", "f32", load_ms=20, peak_kb=9000, streaming=18, sequence=9, cold=60),
        "int8": record("onnxruntime", "int8", streaming=8, sequence=12),
        "int8_python": record("onnxruntime", "int8", "python", streaming=1),
        "null": record("onnxruntime", "null", streaming=1),
    }
    lives = {"us": {"cpu_percent": 0.5}, "f32": {"cpu_percent": 2.0}, "f32_spin": {"cpu_percent": 3.0}}
    found = speed.ratios(records, lives, 100, {"f32": 1600, "int8": 400})
    assert found["f32"] == {
        "size": 16, "streaming": 9, "sequence": 4, "cold": 12.5, "streaming_p99": 9, "load": 20,
        "peak_memory": 1, "live_cpu": 4,
    }  # fmt: skip
    int8 = found["int8"]
    assert (int8["size"], int8["streaming"], int8["sequence"], int8["cold"]) == (4, 4, 4, None)
    assert int8["live_cpu"] is None
    none = speed.ratios({}, {}, 100, {"f32": 1600, "int8": 400})
    assert none == {"f32": {"size": 16}, "int8": {"size": 4}}


def test_step_of_a_signal():
    assert speed.step_of_signal_us(er.Model.default()) == 20000
    assert speed.step_of_signal_us(er.Model.default(), 2.5) == 2500
    model = er.Model.from_bytes(packed(NETWORKS["dense"]).to_bytes())
    assert speed.step_of_signal_us(model) == 10000


def test_wrong_outputs_are_said():
    right = {
        "speed": {
            "us": {"family": "edge_runtime", "maxerr": 0},
            "f32": {"family": "onnxruntime", "maxerr": 1},
        },
        "agreement": {"edge_runtime": {"spread": 0.5}},
        "exact": {"largest": 1e-5, "file": None},
    }
    assert wrong_outputs(right) == []
    assert len(wrong_outputs({**right, "exact": {"largest": 0.1, "file": 1e-6}})) == 1
    assert len(wrong_outputs({**right, "exact": {"largest": float("nan"), "file": None}})) == 1
    assert len(wrong_outputs({**right, "exact": {"largest": 1e-5, "file": 0.1}})) == 1
    assert len(wrong_outputs({**right, "speed": {"us": {"family": "edge_runtime", "maxerr": 1e-4}}})) == 1


# --------------------------------------------------------------------------------- command line


class Page(html.parser.HTMLParser):
    """Checks that tags nest and that nothing is fetched or run."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "img", "iframe", "object")
        assert not {"src", "href", "onload", "onclick"} & {name for name, _ in attributes}
        self.seen.append(tag)
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        assert "url(" not in data and "@import" not in data
        self.words.append(data)


def run(capsys, *arguments):
    status = main([*QUICK, *map(str, arguments)])
    said = capsys.readouterr()
    assert status == 0, said.err
    return json.loads(said.out.splitlines()[-1]), said.err


def test_pair_of_files(tmp_path, capsys):
    network = NETWORKS["lstm"]
    packed(network).save(tmp_path / "x.ernn")
    (tmp_path / "y.onnx").write_bytes(to_onnx(network).SerializeToString())
    np.savez(tmp_path / "x.npz", a=np.random.default_rng(0).standard_normal((2, 80, 6)))
    report_path = tmp_path / "report.html"
    result, table = run(
        capsys,
        *("--model", tmp_path / "x.ernn", "--onnx", tmp_path / "y.onnx", "--inputs", tmp_path / "x.npz"),
        *("--html", report_path, "--keep", tmp_path / "kept"),
    )
    assert result["onnx_compare"] == 1
    assert [line for line in result["problems"] if "scatters" not in line] == []
    assert result["inputs"] == {
        "what": str(tmp_path / "x.npz"),
        "sequences": 2,
        "steps": 160,
        "clamped_for_onnx": 0,
    }
    assert result["exact"]["steps"] == 160 and result["exact"]["largest"] < 1e-5
    assert result["exact"]["file"] < 1e-5
    assert result["scores"] is None
    ours = result["agreement"]["edge_runtime"]
    assert ours["steps"] == 160 and 0 < ours["rms"] < ours["largest"] < 0.2
    assert result["onnx"]["file_bytes"]["f32"] == (tmp_path / "y.onnx").stat().st_size
    assert result["model"]["file_bytes"] == (tmp_path / "x.ernn").stat().st_size
    via_c = {n for n, r in result["speed"].items() if r["via"] == "c"}
    if native.compiler() is not None:
        kernel = result["model"]["kernel"]
        assert via_c == {f"edge_runtime_{kernel}", "onnxruntime_null"} | {
            f"onnxruntime_{form}{spin}" for form in ("f32", "int8", "int8_node") for spin in ("", "_spin")
        }
        assert set(result["live"]) == via_c - {"onnxruntime_null"}
        for found in result["live"].values():
            assert found["count"] == 9 and 0 < found["cpu_percent"] < 101 and found["late"] >= 0
    for r in result["speed"].values():
        assert set(r["streaming"]) == {"median_us", "p10_us", "p90_us", "p99_us", "count"}
        if r["form"] != "null":
            assert r["sequence"]["count"] > 0 and r["peak_kb"] > 0 and r["load_ms"] > 0
    for of_form in result["ratios"].values():
        assert all(value > 0 for value in of_form.values()) and len(of_form) == 8
    assert "edge_runtime" in table and "file size" in table
    text = report_path.read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.seen.count("svg") == 8 and parsed.seen.count("table") == 3
    assert {"Ratios", "ONNX Runtime int8"} <= set(parsed.words) and str(tmp_path / "x.ernn") in text
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert {"node_stream.onnx", "cell_int8_stream.onnx", "model.ernn", "input.bin", "ref.bin"} <= kept


def test_recordings_of_a_data_folder(tmp_path, capsys):
    """Folders below the one named; a network without any state."""
    soundfile = pytest.importorskip("soundfile")
    (tmp_path / "tone.ernn").write_bytes(tone_model(threshold=0.5))
    spoken = {"a": [("one two", "dev"), ("three", "dev"), ("four", "test")], "b": [("two", "dev")], "c": []}
    for name, rows in spoken.items():
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        if not rows:
            continue
        signals = [tone_signal(label.split()) for label, _ in rows]
        soundfile.write(folder / "all.flac", np.concatenate(signals), 16000, subtype="PCM_16")
        with open(folder / "index.csv", "w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            table.writerow("file speaker label take split source start_sample num_samples".split())
            start = 0
            for (label, split), signal in zip(rows, signals, strict=True):
                table.writerow(["all.flac", "x", label, "0", split, "here", start, len(signal)])
                start += len(signal)
    result, table = run(
        capsys,
        *("--model", tmp_path / "tone.ernn", "--data", tmp_path / "data", "--split", "dev"),
        *("--html", tmp_path / "r.html"),
    )
    assert result["inputs"]["sequences"] == 3
    for side in ("edge_runtime", "onnxruntime_f32", "onnxruntime_int8"):
        scores = result["scores"][side]
        assert [(name, s["words"]) for name, s in scores.items()] == [("all", 4), ("a", 3), ("b", 1)]
        assert scores["all"]["wer"] == 0
    assert result["agreement"]["edge_runtime"]["same_choice"] > 0.95
    assert "strings wrong" in table
    assert Page((tmp_path / "r.html").read_text(encoding="utf-8")).seen.count("table") == 4


def test_pictures_of_nothing_and_of_strange_names():
    assert page.bars("nothing", []) == ""
    text = page.bars("a < b", [("onnxruntime_x & y", 0.0, None), ("edge_runtime", 2.0, 3.0)])
    texts = [e.text for e in xml.etree.ElementTree.fromstring(text).iter("text")]
    assert texts == ["a < b", "onnxruntime_x & y", "0", "edge_runtime", "2 (p99 3)"]


@pytest.fixture(scope="module")
def bad_inputs(tmp_path_factory):
    """A folder of files that do not fit, or are none."""
    folder = tmp_path_factory.mktemp("bad")
    packed(NETWORKS["gru"]).save(folder / "six.ernn")
    (folder / "six.onnx").write_bytes(to_onnx(NETWORKS["gru"]).SerializeToString())
    for name, options in (("seven_in", {"inputs": 7}), ("five_out", {"outputs": 5})):
        (folder / f"{name}.onnx").write_bytes(to_onnx(float_network("gru", **options)).SerializeToString())
    (folder / "cut.onnx").write_bytes((folder / "six.onnx").read_bytes()[:-100])
    (folder / "cut.ernn").write_bytes((folder / "six.ernn").read_bytes()[:-100])
    np.save(folder / "wide.npy", np.zeros((5, 7)))
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--model {}/none.ernn", "none.ernn: No such file"),
        ("--model {}/cut.ernn", "cut.ernn: "),
        ("--model {}/six.ernn --onnx {}/none.onnx", "none.onnx: "),
        ("--model {}/six.ernn --onnx {}/cut.onnx", "cut.onnx: "),
        ("--model {}/six.ernn --onnx {}/seven_in.onnx", "six.ernn has 6 inputs, {}/seven_in.onnx has 7"),
        ("--model {}/six.ernn --onnx {}/five_out.onnx", "six.ernn has 4 outputs, {}/five_out.onnx has 5"),
        ("--onnx {}/six.onnx", "has 78 inputs"),
        ("--model {}/six.ernn --data {}", "--data: the model has no front end"),
        ("--model {}/six.ernn --inputs {}/wide.npy", "wide.npy: "),
        ("--model {}/six.ernn --inputs {}/none.npz", "none.npz: No such file"),
        ("--data {}/empty", "no index.csv"),
        ("--data {}/none", "none"),
        ("--data {} --inputs {}/wide.npy", "expected one of them"),
        ("--model {}/six.ernn --kernel abacus", "abacus"),
        ("--rounds 0", "at least 1"),
        ("--live-s -1", "positive time"),
    ],
)
def test_bad_input_ends_with_one_line(arguments, message, bad_inputs, capsys):
    assert main(["-q", *(word.format(bad_inputs) for word in arguments.split())]) == 2
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("onnx_compare: "), said.err
    assert message.format(bad_inputs) in lines[0] and said.out == ""


def test_missing_packages_are_named(monkeypatch, capsys):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main([]) == 2
    assert capsys.readouterr().err == "onnx_compare: missing: python -m pip install onnx onnxruntime\n"


def test_external_data_counts(tmp_path):
    import onnx

    model = to_onnx(NETWORKS["gru"])
    whole = len(model.SerializeToString())
    onnx.save_model(
        model, str(tmp_path / "y.onnx"), save_as_external_data=True, location="y.data", size_threshold=0
    )
    packed(NETWORKS["gru"]).save(tmp_path / "x.ernn")
    sides = pair.load_pair(tmp_path / "x.ernn", tmp_path / "y.onnx")
    weights = sum((tmp_path / name).stat().st_size for name in ("y.onnx", "y.data"))
    assert sides.onnx_bytes == weights > 0.9 * whole
