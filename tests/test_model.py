# SPDX-License-Identifier: MIT
"""Model and Stream from Python: what is refused, how long things live, threads."""

import copy
import gc
import hashlib
import json
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from word_models import babble_audio, babble_model, tone_model

import edge_runtime as er
from edge_runtime._native import library_path
from edge_runtime.format import ModelFile


@pytest.fixture
def model():
    return er.Model.from_bytes(babble_model())


def random_features(model, steps, seed=0):
    return np.random.default_rng(seed).standard_normal((steps, model.input_size)).astype(np.float32)


# --------------------------------------------------------------------------------- loading


def test_from_bytes_and_load_describe_the_file(tmp_path):
    path = tmp_path / "babble.ernn"
    path.write_bytes(babble_model())
    same = er.Model.from_bytes(bytearray(babble_model()))
    for model in (er.Model.load(path), er.Model.load(str(path)), same):
        assert (model.input_size, model.output_size) == (78, 8)
        assert model.labels == ("blank", "one", "two", "three", "four", "five", "six", "unknown")
        assert model.metadata == {"name": "made by tests/word_models.py"}
        assert model.info["file_bytes"] == len(babble_model())
        assert model.info["state_size"] == 24
        assert model.info["step_samples"] == 320
        assert model.info["kernel"] == model.kernel
        assert model.sha256 == hashlib.sha256(babble_model()).hexdigest()
    assert str(path) in repr(er.Model.load(path))


def test_model_without_labels_has_none():
    file = ModelFile.from_bytes(babble_model())
    bare = ModelFile(file.input_scale, file.input_offset, file.layers)
    model = er.Model.from_bytes(bare.to_bytes())
    assert model.labels == ()
    assert model.metadata == {}


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.ernn"):
        er.Model.load(tmp_path / "nothing.ernn")


def test_damaged_file_is_named_with_rule_and_offset(tmp_path):
    data = bytearray(babble_model())
    data[200] ^= 1
    path = tmp_path / "damaged.ernn"
    path.write_bytes(data)
    with pytest.raises(
        er.FormatError, match=r"damaged\.ernn: offset 12: checksum mismatch.*rule R5"
    ) as caught:
        er.Model.load(path)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, er.EdgeRuntimeError)
    assert (caught.value.rule, caught.value.offset, caught.value.status) == (5, 12, -14)
    assert caught.value.expected != caught.value.found


def test_foreign_and_short_files_are_refused():
    with pytest.raises(er.FormatError, match=r"rule R2\)"):
        er.Model.from_bytes(b"RIFF" + bytes(1000))
    with pytest.raises(er.FormatError, match=r"rule R1\)"):
        er.Model.from_bytes(b"")
    with pytest.raises(er.FormatError, match=r"rule R1\)"):
        er.Model.from_bytes(babble_model()[:-64])


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="data: expected bytes, got str"):
        er.Model.from_bytes("digits.ernn")
    with pytest.raises(er.EdgeRuntimeStateError, match=r"kernel 'turbo'.*unknown"):
        er.Model.from_bytes(babble_model(), kernel="turbo")


def test_kernel_can_be_chosen():
    assert er.Model.from_bytes(babble_model(), kernel="scalar").kernel == "scalar"


def test_bundled_models_recognize_digits():
    large, small = er.Model.default(), er.Model.small()
    assert large.labels == small.labels and "seven" in large.labels
    sizes = [len(model.file.to_bytes()) for model in (large, small)]
    assert sizes[1] < 32 * 1024 < sizes[0] < 160_000


def test_missing_bundled_model_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("edge_runtime.model.SMALL_MODEL", tmp_path / "digits_small.ernn")
    with pytest.raises(
        er.EdgeRuntimeFileError, match=r"digits_small\.ernn: this model of the package is missing"
    ):
        er.Model.small()


def test_version_is_the_library_s():
    from edge_runtime._native import ffi, lib

    assert ffi.string(lib.er_version()).decode() == er.__version__


# --------------------------------------------------------------------------------- streams


def test_run_equals_steps_and_state_can_be_carried(model):
    x = random_features(model, 40)
    whole = model.stream().run(x)
    assert whole.dtype == np.float32
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([stream.step(row) for row in x]), whole)
    first, second = model.stream(), model.stream()
    first.run(x[:17])
    second.state = first.state
    np.testing.assert_array_equal(second.run(x[17:]), whole[17:])
    stream.reset()
    np.testing.assert_array_equal(stream.run(x), whole)


def test_quantized_path_equals_float_path(model):
    x = random_features(model, 20)
    quantized = model.quantize_input(x)
    assert quantized.dtype == np.int8
    np.testing.assert_array_equal(quantized[3], model.quantize_input(x[3]))
    logits = model.stream().run_quantized(quantized)
    assert logits.dtype == np.int16
    np.testing.assert_array_equal(logits / np.float32(2048), model.stream().run(x))
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([stream.step_quantized(row) for row in quantized]), logits)


def test_state_is_a_copy(model):
    stream = model.stream()
    state = stream.state
    assert state.dtype == np.int16
    state[:] = 0
    assert stream.state.any()  # the initial state of this model is not zero


def test_no_steps_is_fine(model):
    assert model.stream().run(np.zeros((0, 78), np.float32)).shape == (0, 8)
    assert model.stream().run_quantized(np.zeros((0, 78), np.int8)).shape == (0, 8)


def test_arrays_that_are_not_contiguous_are_taken(model):
    x = random_features(model, 20)
    wide = np.zeros((20, 156), np.float32)
    wide[:, ::2] = x
    np.testing.assert_array_equal(model.stream().run(wide[:, ::2]), model.stream().run(x))


@pytest.mark.parametrize(
    "method, value, message",
    [
        ("step", np.zeros(77, np.float32), r"float32 of shape \(78,\), got float32 of shape \(77,\)"),
        ("step", np.zeros((1, 78), np.float32), r"got float32 of shape \(1, 78\)"),
        ("step", np.zeros(78), "got float64"),
        ("step", np.zeros(78, ">f4"), "got >f4"),
        ("run", np.zeros(78, np.float32), r"expected float32 of shape \(steps, 78\)"),
        ("run", np.zeros((2, 79), np.float32), r"got float32 of shape \(2, 79\)"),
        ("run", np.zeros((2, 78), np.int8), "got int8"),
        ("step_quantized", np.zeros(78, np.uint8), r"expected int8 of shape \(78,\), got uint8"),
        ("run_quantized", np.zeros((2, 78), np.int16), "got int16"),
    ],
)
def test_wrong_arrays_are_refused(model, method, value, message):
    with pytest.raises(ValueError, match=message):
        getattr(model.stream(), method)(value)


def test_what_is_not_an_array_is_refused(model):
    with pytest.raises(TypeError, match=r"x: expected an array, float32 of shape \(78,\), got list"):
        model.stream().step([0.0] * 78)


@pytest.mark.parametrize(
    "value", [np.zeros(23, np.int16), np.zeros(24, np.int32), np.zeros((24, 1), np.int16)]
)
def test_wrong_state_is_refused(model, value):
    with pytest.raises(ValueError, match=r"state: expected int16 of shape \(24,\)"):
        model.stream().state = value


# ------------------------------------------------------------------------------- life times


def test_dependents_keep_the_model_alive():
    model = er.Model.from_bytes(babble_model())
    x = random_features(model, 5)
    expected = model.stream().run(x)
    gone = weakref.ref(model)
    stream, recognizer, decoder = model.stream(), model.recognizer(), model.decoder()
    model.close()
    del model
    gc.collect()
    np.testing.assert_array_equal(stream.run(x), expected)
    assert recognizer.accept_waveform(babble_audio(1)) is not None
    assert decoder.push(stream.run_quantized(np.zeros((5, 78), np.int8))) is not None
    del recognizer
    gc.collect()
    assert gone() is None


def test_closed_objects_say_so(model):
    with model.stream() as stream:
        stream.reset()
    with pytest.raises(ValueError, match="this Stream is closed"):
        stream.step(np.zeros(78, np.float32))
    with model.recognizer() as recognizer, model.decoder() as decoder:
        pass
    with pytest.raises(ValueError, match="this Recognizer is closed"):
        recognizer.finish()
    with pytest.raises(ValueError, match="this Decoder is closed"):
        decoder.finish()
    model.close()
    model.close()
    with pytest.raises(ValueError, match="this Model is closed"):
        model.stream()
    with pytest.raises(ValueError, match="this Model is closed"), model:
        pass


def test_objects_cannot_be_copied_or_pickled(model):
    for thing in (model, model.stream(), model.decoder(), model.recognizer()):
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match=f"a {type(thing).__name__} cannot be copied or pickled"):
                duplicate(thing)


def test_failed_construction_leaves_nothing_to_destroy():
    for _ in range(10):
        with pytest.raises(er.FormatError):
            er.Model.from_bytes(b"ERNN" + bytes(100))
    gc.collect()


# ----------------------------------------------------------------------------------- threads


def test_threads_share_a_model(model):
    x = random_features(model, 300)
    expected = model.stream().run(x)
    results = [None] * 4

    def work(i):
        stream = model.stream()
        results[i] = np.concatenate([stream.run(x[j : j + 10]) for j in range(0, 300, 10)])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_two_threads_on_one_stream_are_refused(model):
    stream = model.stream()
    raised = []

    def step():
        with pytest.raises(RuntimeError, match="two threads use one Stream"):
            stream.step(np.zeros(78, np.float32))
        raised.append(True)

    with stream._exclusive():
        other = threading.Thread(target=step)
        other.start()
        other.join()
    assert raised
    stream.step(np.zeros(78, np.float32))


# ------------------------------------------------------------------------------ command line


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "edge_runtime", *arguments], capture_output=True, text=True, timeout=60
    )


def test_info_describes_a_model(tmp_path):
    path = tmp_path / "tone.ernn"
    path.write_bytes(tone_model())
    text = command("info", str(path))
    assert text.returncode == 0, text.stderr
    assert "6 x 26 pow2, 8 bits per weight" in text.stdout
    assert "blank one two three four unknown" in text.stdout
    facts = json.loads(command("info", str(path), "--json").stdout)
    assert "numerics   profile 1" in text.stdout and facts["profile"] == 1
    assert facts["file_bytes"] == len(tone_model())
    assert facts["multiplies"] == 0 and 0 < facts["additions"] <= 6 * 26 * 2
    assert facts["state_bytes"] == 2 * facts["state_size"] and facts["repacked_bytes"] >= 0
    assert 0 < facts["layers"][0]["matrices"][0]["entropy"] <= 8
    assert facts["layers"][0]["kind"] == "dense"
    assert facts["labels"][1] == "one"


def test_run_gives_the_logits_of_a_stream(tmp_path):
    model = er.Model.from_bytes(tone_model())
    x = np.random.default_rng(3).standard_normal((20, model.input_size)).astype(np.float32)
    expected = model.stream().run(x)
    path = tmp_path / "tone.ernn"
    path.write_bytes(tone_model())
    np.save(tmp_path / "x.npy", x)
    np.savetxt(tmp_path / "x.csv", x, "%.9g", delimiter=",")
    for name in ("x.npy", "x.csv"):
        text = command("run", str(path), "-i", str(tmp_path / name), "--kernel", "scalar")
        assert text.returncode == 0, text.stderr
        found = np.loadtxt(text.stdout.splitlines(), np.float32, delimiter=",")
        np.testing.assert_array_equal(found, expected)
    output = tmp_path / "y.npy"
    assert command("run", str(path), "-i", str(tmp_path / "x.csv"), "-o", str(output)).stdout == ""
    np.testing.assert_array_equal(np.load(output), expected)


@pytest.mark.parametrize("text", ["", "1,2,3\n", "a,b\n"])
def test_run_refuses_bad_features_in_one_line(text, tmp_path):
    path, features = tmp_path / "tone.ernn", tmp_path / "x.csv"
    path.write_bytes(tone_model())
    features.write_text(text)
    result = command("run", str(path), "-i", str(features))
    assert result.returncode == 2 and "x.csv" in result.stderr and result.stderr.count("\n") == 1


def test_bench_times_every_kernel(tmp_path):
    path = tmp_path / "tone.ernn"
    path.write_bytes(tone_model())
    facts = json.loads(command("bench", str(path), "--steps", "50", "--json").stdout)
    assert facts["steps"] == 50 and facts["kernels"][0]["kernel"] == "scalar"
    assert all(0 < row["run_us"] and 0 < row["step_us_p50"] <= row["step_us_p99"] for row in facts["kernels"])
    text = command("bench", str(path), "--steps", "50", "--kernel", "scalar").stdout
    assert len(text.splitlines()) == 2 and "scalar" in text


def test_info_of_a_bad_file_is_one_line(tmp_path):
    path = tmp_path / "bad.ernn"
    path.write_bytes(b"not a model")
    for bad in (path, tmp_path / "missing.ernn"):
        result = command("info", str(bad))
        assert result.returncode == 2
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
        assert bad.name in result.stderr


def test_doctor_names_library_and_version():
    result = command("doctor", "--json")
    facts = json.loads(result.stdout)
    assert facts["edge_runtime"] == er.__version__
    assert facts["library"] == str(library_path)
    assert result.returncode == (1 if facts["default_model"].startswith("missing") else 0)
    assert "library" in command("doctor").stdout
