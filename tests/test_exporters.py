# SPDX-License-Identifier: MIT
"""Checkpoint to model file: equality, refusal, and nothing written on failure."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from edge_runtime import Model  # noqa: E402
from edge_runtime.format import ModelFile  # noqa: E402
from exporters import from_checkpoint, report, verify  # noqa: E402
from exporters.__main__ import main  # noqa: E402
from exporters.dequantize import dequantize  # noqa: E402
from exporters.graph import Dense, Recurrent  # noqa: E402
from training.network import DigitNet, NetworkConfig  # noqa: E402
from training.train import save_checkpoint  # noqa: E402

CONFIG = """
[network]
units = [20, 24]
"""


def make_network(units=(20, 24), encoding="ternary"):
    network = DigitNet(NetworkConfig(units=units, encoding=encoding), seed=3)
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(8, 50, 78, generator=generator) * 3 + 1
    network.observe(features, torch.full((8,), 50))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    network.clip()
    return network


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    network = make_network()
    state = {
        "config": CONFIG,
        "seed": 3,
        "step": 0,
        "steps": 0,
        "network": network.state_dict(),
        "average": None,
    }
    save_checkpoint(path, state)
    return path


def test_export_writes_a_model_equal_to_the_network(checkpoint, tmp_path, capsys):
    output = tmp_path / "model.ernn"
    assert main([str(checkpoint), "-o", str(output)]) == 0
    text = capsys.readouterr().out
    assert f"{output.stat().st_size} bytes" in text and "verified" in text and "ternary" in text
    network, _ = from_checkpoint.load_source(checkpoint)
    x = np.random.default_rng(1).standard_normal((300, 78)).astype(np.float32) * 5
    with torch.no_grad():
        want = network(torch.from_numpy(x)[None], network.quantize())[0][:, 0].numpy()
    found = Model.load(output).stream().run(x) * 2048
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize(
    "config, reason",
    [
        ("seed = 0", "unknown sections: seed"),
        ("[network]\nunits = 5", "not iterable"),
        ("[network]\nunits = [90000, 90000]", "size mismatch"),  # 650 GB
    ],
    ids="section type size".split(),
)
def test_a_configuration_that_does_not_fit_is_refused(checkpoint, tmp_path, config, reason):
    path = tmp_path / "other.pt"
    torch.save({**torch.load(checkpoint, weights_only=True), "config": config}, path)
    with pytest.raises(from_checkpoint.CheckpointError) as error:
        from_checkpoint.load_source(path)
    assert str(error.value).startswith(f"{path}: not a checkpoint of training.train: ")
    assert "\n" not in str(error.value)
    assert reason in str(error.value) or reason in str(error.value.__cause__)


@pytest.mark.parametrize("encoding", ["ternary", "binary", "pow2"])
def test_every_encoding_verifies(encoding):
    network = make_network((20, 24), encoding)
    packed = from_checkpoint.model_file(network, from_checkpoint.read_decoder(None), {})
    assert packed.layers[0].matrices[0].encoding == encoding
    assert verify.verify(network, packed.to_bytes(), packed) >= 500


def test_one_changed_weight_is_a_mismatch():
    network = make_network()
    packed = from_checkpoint.model_file(network, from_checkpoint.read_decoder(None), {})
    dense = packed.layers[-1]
    weights = dense.matrices[0].weights.copy()
    weights[0, 3, 7] = 1 if weights[0, 3, 7] != 1 else 2
    matrix = dataclasses.replace(dense.matrices[0], weights=weights)
    layers = (*packed.layers[:-1], dataclasses.replace(dense, matrices=(matrix,)))
    changed = dataclasses.replace(packed, layers=layers)
    with pytest.raises(verify.MismatchError, match="output 3"):
        verify.verify(network, changed.to_bytes(), changed)


def test_a_mismatch_says_where_and_how_much():
    network = make_network()
    packed = from_checkpoint.model_file(network, from_checkpoint.read_decoder(None), {})
    vectors = verify.test_vectors(packed)
    assert verify.verify(network, packed.to_bytes(), packed) == vectors.shape[0] * vectors.shape[1] == 2400
    shifted = dataclasses.replace(packed, input_offset=packed.input_offset + np.float32(0.25))
    with torch.no_grad():
        logits = network(torch.from_numpy(vectors), network.quantize())[0].numpy().transpose(1, 0, 2)
    with pytest.raises(verify.MismatchError) as error:
        verify.verify(network, shifted.to_bytes(), packed)
    outputs = np.stack([Model.from_bytes(shifted.to_bytes()).stream().run(x) * 2048 for x in vectors])
    run = int(np.flatnonzero((outputs != logits).any(axis=(1, 2)))[0])
    differ = outputs[run] != logits[run]
    step, output = (int(i) for i in np.argwhere(differ)[0])
    assert str(error.value) == (
        f"run {run}, step {step}, output {output}: source {logits[run, step, output]:.0f}, "
        f"packed {outputs[run, step, output]:.0f}; {differ.sum()} of {600 * 13} logits differ"
    )


def test_the_masters_are_near_what_was_packed():
    network = make_network(encoding="pow2")
    masters = from_checkpoint.master_network(network)
    packed = dequantize(from_checkpoint.model_file(network, from_checkpoint.read_decoder(None), {}))
    pairs = [("w_x", "b_x"), ("w_h", "b_h")]
    for one, two in zip(masters.layers, packed.layers, strict=True):
        for weights, bias in pairs if hasattr(one, "w_h") else [("w", "b")]:
            exact, rounded = getattr(one, weights), getattr(two, weights)
            # Powers of two are off by a quarter at most, those below the least one by half of it.
            assert 0 < np.linalg.norm(exact - rounded) < 0.25 * np.linalg.norm(exact)
            if one is not masters.layers[0] or bias != "b_x":  # there the offset of the inputs is in it
                np.testing.assert_allclose(getattr(one, bias), getattr(two, bias), atol=2.0**-12 + 1e-9)


def test_mismatch_writes_nothing(checkpoint, tmp_path, monkeypatch, capsys):
    output = tmp_path / "model.ernn"
    output.write_bytes(b"what was there before")
    pack = from_checkpoint.model_file

    def pack_wrongly(*arguments):
        packed = pack(*arguments)
        return dataclasses.replace(packed, input_offset=packed.input_offset + np.float32(1))

    monkeypatch.setattr(from_checkpoint, "model_file", pack_wrongly)
    assert main([str(checkpoint), "-o", str(output)]) == 1
    assert "nothing written" in capsys.readouterr().err
    assert output.read_bytes() == b"what was there before"
    assert list(tmp_path.glob("*ernn*")) == [output]


@pytest.mark.parametrize(
    "data", [b"", b"not a checkpoint", b"PK\x03\x04 neither", None], ids=["empty", "text", "zip", "missing"]
)
def test_what_is_no_checkpoint_is_refused_by_name(data, tmp_path, capsys):
    source, output = tmp_path / "source.pt", tmp_path / "model.ernn"
    if data is not None:
        source.write_bytes(data)
    assert main([str(source), "-o", str(output)]) == 2
    assert str(source) in capsys.readouterr().err
    assert not output.exists()


def test_pickled_code_is_not_run(tmp_path, capsys):
    import pickle

    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    source = tmp_path / "evil.pt"
    torch.save({"config": CONFIG, "x": Evil()}, source, pickle_module=pickle)
    assert main([str(source), "-o", str(tmp_path / "model.ernn")]) == 2
    assert not marker.exists()


def test_decoder_settings_are_stored(checkpoint, tmp_path):
    settings, output = tmp_path / "decoder.toml", tmp_path / "model.ernn"
    bias = [-1024] + [0] * 11 + [-2048]
    settings.write_text(
        f"[decoder]\nthreshold = 0.5\ndelay_ms = 80\nbias = {bias}\nlength_ms = {list(range(0, 130, 10))}\n"
    )
    assert main([str(checkpoint), "-o", str(output), "--decoder", str(settings), "-q"]) == 0
    decoder = ModelFile.load(output).decoder
    assert decoder.threshold == 0.5 and decoder.delay_ms == 80
    assert decoder.bias.tolist() == bias and decoder.length_ms.tolist() == list(range(0, 130, 10))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[decoder]\nthreshold = 0.5\n",
        "[decoder\n",
        "[decoder]\nthreshold=0.5\ndelay_ms=0\nbias=[1]\nlength_ms=[2]\n",
    ],
)
def test_bad_decoder_settings_are_refused_by_name(text, checkpoint, tmp_path, capsys):
    settings, output = tmp_path / "decoder.toml", tmp_path / "model.ernn"
    settings.write_text(text)
    assert main([str(checkpoint), "-o", str(output), "--decoder", str(settings)]) == 2
    assert str(settings) in capsys.readouterr().err
    assert not output.exists()


def test_unwritable_output_is_refused_by_name(checkpoint, tmp_path, capsys):
    output = tmp_path / "missing" / "model.ernn"
    assert main([str(checkpoint), "-o", str(output)]) == 2
    assert str(output) in capsys.readouterr().err


def test_entropy_and_report():
    assert report.entropy(np.zeros(9)) == 0
    assert report.entropy(np.array([-1, 0, 1])) == pytest.approx(np.log2(3))
    packed = from_checkpoint.model_file(make_network(), from_checkpoint.read_decoder(None), {})
    text = report.text(report.facts(packed, len(packed.to_bytes())))
    assert "60 x 78" in text and "pow2" in text


# ------------------------------------------------------------------------------------------ checkpoints


def test_checkpoints_of_training_are_told_from_state_dicts(checkpoint, tmp_path):
    assert from_checkpoint.is_checkpoint(checkpoint) is True
    assert from_checkpoint.is_checkpoint(tmp_path / "missing.pt") is True
    path = tmp_path / "other.pt"
    for found, want in (({"a.weight": torch.ones(2)}, False), ([1], True), ({"config": 1}, True)):
        torch.save(found, path)
        assert from_checkpoint.is_checkpoint(path) is want
    path.write_bytes(b"text")
    assert from_checkpoint.is_checkpoint(path) is True


def test_the_average_is_what_is_loaded(checkpoint):
    network, state = from_checkpoint.load_source(checkpoint)
    assert (state["seed"], state["step"], state["config"]) == (3, 0, CONFIG)
    for name, value in make_network().state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value)


def test_reasons_are_one_line_that_names_the_file(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "missing.pt"
    with pytest.raises(from_checkpoint.CheckpointError) as error:
        from_checkpoint.load_source(path)
    assert str(error.value) == f"{path}: No such file or directory"
    for raised, reason in (
        (ValueError("\n  \nwhy\nmore"), "not a checkpoint of training.train: why"),
        (EOFError(), "not a checkpoint of training.train: EOFError"),
        (OSError("no more"), "no more"),
        (ValueError("a\tb"), "not a checkpoint of training.train: a\\tb"),
    ):

        def fail(*_, raised=raised, **__):
            raise raised

        monkeypatch.setattr(torch, "load", fail)
        with pytest.raises(from_checkpoint.CheckpointError) as error:
            from_checkpoint.load_source(checkpoint)
        assert str(error.value) == f"{checkpoint}: {reason}"


def test_decoder_settings_that_change_nothing():
    decoder = from_checkpoint.read_decoder(None)
    labels = from_checkpoint.LABELS
    assert (decoder.blank, decoder.unknown) == (0, 12) and len(labels) == 13
    assert (decoder.threshold, decoder.delay_ms) == (0.0, 0)
    assert decoder.bias.tolist() == decoder.length_ms.tolist() == [0] * len(labels)
    assert decoder.bias.dtype == np.int16 and decoder.length_ms.dtype == np.uint16


GOOD = {"threshold": 0.5, "delay_ms": 1, "bias": [1] * 13, "length_ms": [2] * 13}


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"delay_ms": None}, "[decoder]: missing or unknown: delay_ms"),
        ({"more": 1, "delay": 2}, "[decoder]: missing or unknown: delay, more"),
        ({"bias": [1] * 12}, "[decoder] bias: expected 13 values, found 12"),
        ({"length_ms": [1] * 14}, "[decoder] length_ms: expected 13 values, found 14"),
        ({"bias": 5}, "no decoder settings: TypeError("),
    ],
)
def test_decoder_settings_that_do_not_fit_are_named(changes, reason, tmp_path):
    path = tmp_path / "decoder.toml"
    settings = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    path.write_text("[decoder]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
    with pytest.raises(from_checkpoint.CheckpointError) as error:
        from_checkpoint.read_decoder(path)
    assert str(error.value).startswith(f"{path}: {reason}")
    if "TypeError" not in reason:
        assert str(error.value) == f"{path}: {reason}"


def test_metadata_of_a_checkpoint():
    state = {"seed": 3, "step": 40, "steps": 50, "config": "abc"}
    found = from_checkpoint.describe(state)
    licences = found.pop("data")
    assert found == {
        "name": "spoken digits",
        "task": "English digits zero, oh, one ... nine; 16 kHz; CTC",
        "licence": "MIT; trained on data under the licences named in `data`",
        "training": "seed 3, step 40 of 50",
        "config_sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
    assert licences.split("; ") == sorted({f"{s.title}: {s.license}" for s in from_checkpoint.SOURCES})


def test_the_model_file_has_everything_of_the_network():
    network = make_network()
    decoder = from_checkpoint.read_decoder(None)
    packed = from_checkpoint.model_file(network, decoder, {"a": "b"})
    scale, offset = (t.detach().numpy() for t in network.input_affine())
    assert packed.input_scale.dtype == packed.input_offset.dtype == np.float32
    np.testing.assert_array_equal(packed.input_scale, scale.astype(np.float32))
    np.testing.assert_array_equal(packed.input_offset, offset.astype(np.float32))
    assert packed.labels == from_checkpoint.LABELS and packed.frontend == from_checkpoint.CONFIG
    assert packed.decoder is decoder and packed.metadata == {"a": "b"} and packed.profile == 1
    assert [layer.kind for layer in packed.layers] == ["gru", "gru", "dense"]


def test_the_masters_are_those_of_training():
    network = make_network()
    masters = from_checkpoint.master_network(network)
    assert masters.source == "checkpoint" and not masters.softmax
    assert [layer.name for layer in masters.layers] == ["layer 0", "layer 1", "layer 2"]
    first, second, last = masters.layers
    assert [type(layer) for layer in masters.layers] == [Recurrent, Recurrent, Dense]
    scale, offset = (t.detach().double().numpy() for t in network.input_affine())
    levels = network.config.levels_per_deviation

    def master(matrix):
        return matrix.weight.detach().double().numpy(), matrix.bias.detach().double().numpy()

    w, b = master(network.layers[0].x)
    np.testing.assert_allclose(first.w_x, w * scale / levels, rtol=1e-12)
    np.testing.assert_allclose(first.b_x, b + w @ offset / levels, rtol=1e-9, atol=1e-12)
    for layer, matrices in ((first, network.layers[0]), (second, network.layers[1])):
        for name, value in zip(("w_h", "b_h"), master(matrices.h), strict=True):
            np.testing.assert_array_equal(getattr(layer, name), value)
        assert layer.kind == "gru" and not layer.reset_before and layer.initial_state is None
    for layer, names, matrix in (
        (second, ("w_x", "b_x"), network.layers[1].x),
        (last, ("w", "b"), network.dense),
    ):
        for name, value in zip(names, master(matrix), strict=True):
            np.testing.assert_array_equal(getattr(layer, name), value)
