# SPDX-License-Identifier: MIT
"""Networks as ONNX files: ONNX Runtime computes what `Network.run` computes, and the importer reads them back."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

import onnx  # noqa: E402
from float_networks import float_network  # noqa: E402

import exporters  # noqa: E402
from edge_runtime import Model  # noqa: E402
from edge_runtime.format import ModelFile  # noqa: E402
from edge_runtime.model import DEFAULT_MODEL  # noqa: E402
from exporters.dequantize import dequantize  # noqa: E402
from exporters.graph import Network  # noqa: E402
from exporters.quantize import Precision, Quantizer, generated_inputs  # noqa: E402
from exporters.to_onnx import OPSET, to_onnx  # noqa: E402

CASES = [
    ("rnn", {}),
    ("rnn", {"activation": "relu"}),
    ("gru", {}),
    ("gru", {"reset_before": True}),
    ("lstm", {}),
]


def session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def inputs_of(network, steps=60):
    return np.random.default_rng(1).standard_normal((steps, network.input_size)).astype(np.float32)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_sequences(kind, options, layers):
    network = float_network(kind, layers=layers, **options)
    x = inputs_of(network)
    found = session(to_onnx(network)).run(["y"], {"x": x[:, None]})[0][:, 0]
    np.testing.assert_allclose(found, network.run(x), atol=2e-6)


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_single_steps_carry_their_state(kind, options):
    network = float_network(kind, layers=2, **options)
    x = inputs_of(network, 30)
    run = session(to_onnx(network, single_step=True))
    names = [value.name for value in run.get_inputs()][1:]
    first = network.layers[0].initial_state
    units = network.layers[0].output_size
    states = {name: np.zeros((1, 1, units), np.float32) for name in names}
    states["h0"][0, 0] = first[:units]
    if kind == "lstm":
        states["c0"][0, 0] = first[units:]
    outputs = []
    for frame in x:
        y, *rest = run.run(["y", *[f"{name}_next" for name in names]], {"x": frame[None], **states})
        states = dict(zip(names, rest, strict=True))
        outputs.append(y[0])
    np.testing.assert_allclose(outputs, network.run(x), atol=2e-6)


@pytest.mark.parametrize("single_step", [False, True])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_the_importer_reads_them_back(kind, options, single_step):
    network = float_network(kind, layers=2, **options)
    again = exporters.from_onnx(to_onnx(network, single_step))
    assert len(again.layers) == len(network.layers)
    for before, after in zip(network.layers, again.layers, strict=True):
        assert type(before) is type(after)
        fields = ("w", "b") if hasattr(before, "w") else ("w_x", "w_h", "b_x", "b_h")
        for field in fields:
            np.testing.assert_array_equal(getattr(after, field), getattr(before, field).astype(np.float32))


def test_softmax_opset_and_metadata():
    network = float_network("gru")
    network = Network(network.layers, softmax=True)
    model = to_onnx(network, metadata={"licence": "MIT"})
    assert model.opset_import[0].version == OPSET
    assert {p.key: p.value for p in model.metadata_props} == {"licence": "MIT"}
    y = session(model).run(["y"], {"x": inputs_of(network)[:, None]})[0]
    np.testing.assert_allclose(y.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_dequantized_weights_are_those_of_the_file(kind, options):
    network = float_network(kind, layers=2, **options)
    inputs = generated_inputs(network.input_size, steps=300)
    quantizer = Quantizer(network, inputs)
    model_file, _ = quantizer.model_file([Precision(planes=2, operand_bits=16)] * len(quantizer.matrices))
    twin = dequantize(model_file)
    packed = Model.from_bytes(model_file.to_bytes()).stream().run(inputs[0].astype(np.float32))
    # Two planes lose much of the source's weights and nothing of the file's.
    to_file = np.square(twin.run(inputs[0]) - packed).mean()
    to_source = np.square(network.run(inputs[0]) - packed).mean()
    assert to_file < 0.05 * to_source


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_network_in_the_fine_profile_is_within_a_thousandth_of_onnx_runtime(kind, options):
    network = float_network(kind, layers=2, units=12, **options)
    inputs = generated_inputs(network.input_size, steps=500, runs=1)
    quantizer = Quantizer(network, inputs)
    model_file, _ = quantizer.model_file([Precision(planes=8, operand_bits=16)] * len(quantizer.matrices))
    x = inputs[0].astype(np.float32)
    expected = session(to_onnx(network)).run(["y"], {"x": x[:, None]})[0][:, 0]
    packed = Model.from_bytes(model_file.to_bytes()).stream().run(x)
    assert np.abs(packed - expected).max() <= 1e-3


def test_the_shipped_model_and_its_float_twin_choose_alike():
    model_file = ModelFile.load(DEFAULT_MODEL)
    twin = dequantize(model_file, "digits")
    x = generated_inputs(model_file.input_size, steps=200, runs=1)[0]
    found = session(to_onnx(twin)).run(["y"], {"x": x[:, None].astype(np.float32)})[0][:, 0]
    np.testing.assert_allclose(found, twin.run(x), atol=1e-4)


def test_files_are_valid(tmp_path):
    path = tmp_path / "network.onnx"
    onnx.save(to_onnx(float_network("lstm")), path)
    onnx.checker.check_model(str(path), full_check=True)
