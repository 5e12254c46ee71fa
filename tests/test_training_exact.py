# SPDX-License-Identifier: MIT
"""The network in training computes the integers of the packed model, and the gradients of the real one."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edge_runtime import reference  # noqa: E402
from edge_runtime.format import ModelFile  # noqa: E402
from training.fakequant import (  # noqa: E402
    PRE_UNIT,
    STATE_UNIT,
    MatrixIntegers,
    Operand,
    RoundInput,
)
from training.network import STATE_OPERAND, DigitNet, NetworkConfig  # noqa: E402
from training.quantizers import LARGEST, Quantizer, RowScale, nearest_scale  # noqa: E402

SMALL = NetworkConfig(input_size=11, output_size=5, units=(24, 24))


def make_network(config, seed, bias_deviation):
    """A network with random masters, biases and input statistics."""
    network = DigitNet(config, seed, torch.float32)
    generator = torch.Generator().manual_seed(seed)
    features = 3 * torch.randn(4, 50, config.input_size, generator=generator) + 1
    network.observe(features, torch.tensor([50, 40, 30, 20]))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter += bias_deviation * torch.randn(parameter.shape, generator=generator)
        network.gamma += 0.2 * torch.randn(config.input_size, generator=generator)
        network.beta += 0.2 * torch.randn(config.input_size, generator=generator)
    network.clip()
    return network


def integers_of(network, features):
    """Logits of the reference: int16 [shape=(batch, steps, outputs)]."""
    with torch.no_grad():
        scale, offset = network.input_affine()
    model = ModelFile(scale.numpy(), offset.numpy(), network.integer_layers())
    rows = []
    for signal in features.numpy():
        rows.append(reference.ReferenceStream(model).run_quantized(reference.quantize_input(model, signal)))
    return np.array(rows)


@pytest.mark.parametrize("bias_deviation", [0.1, 2.5])
@pytest.mark.parametrize("encoding", ["binary", "ternary", "pow2"])
def test_training_forward_equals_reference(encoding, bias_deviation):
    for seed in range(3):
        network = make_network(dataclasses.replace(SMALL, encoding=encoding), seed, bias_deviation)
        features = 5 * torch.randn(3, 40, 11, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            logits = network(features, network.quantize())[0].permute(1, 0, 2).numpy()
        assert np.array_equal(logits, logits.astype(np.int16))
        assert np.array_equal(logits.astype(np.int16), integers_of(network, features))


def test_training_forward_of_full_size_equals_reference():
    network = make_network(NetworkConfig(), 5, 1.0)
    features = 4 * torch.randn(2, 25, 78, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        logits = network(features, network.quantize())[0].permute(1, 0, 2).numpy()
    assert np.array_equal(logits.astype(np.int16), integers_of(network, features))


def test_training_forward_of_saturating_sums_equals_reference():
    """Rows so full that their scaled sums pass int16 before the second term of the scale, or the bias, is added."""
    network = make_network(NetworkConfig(input_size=40, output_size=5, units=(96, 96)), 5, 2.5)
    with torch.no_grad():
        for masters in network.layers:
            masters.h.weight[:, :90] = masters.h.w0 * masters.h.weight[:, :1].sign()
            masters.x.weight[:, :36] = masters.x.w0 * masters.x.weight[:, :1].sign()
    integers = network.quantize()
    matrices = [matrix for pair in integers[0] for matrix in pair]
    assert any(m.largest > 32767 and not m.saturates_together for m in matrices)
    assert all(masters.shared for masters in network.layers[1:])
    features = 9 * torch.randn(3, 40, 40, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        logits = network(features, integers)[0].permute(1, 0, 2).numpy()
    assert np.array_equal(logits.astype(np.int16), integers_of(network, features))


@pytest.mark.parametrize("bias", [-30000, -9000, 0, 9000, 30000])
@pytest.mark.parametrize("shifts", [(0,), (0, 2), (1, 3)])
def test_matrix_output_saturates_like_reference(shifts, bias):
    # Sums far beyond int16 in both directions, so that every saturation of N3 and N5 takes part.
    weights = torch.ones(2, 40, dtype=torch.int8)
    matrix = MatrixIntegers(weights, torch.tensor([bias, -bias]).float(), RowScale(5, shifts), STATE_OPERAND)
    packed = DigitNet(SMALL).dense.packed()
    packed = dataclasses.replace(
        packed,
        encoding="ternary",
        weights=weights.numpy()[None],
        scales=np.tile(np.array(matrix.scale.codes, np.uint8), (1, 2, 1)),
        bias=np.array([bias, -bias], np.int16),
        left_shift=5,
    )
    for value in range(-32768, 32768, 997):
        acc = (weights.float() @ STATE_OPERAND.of(torch.full((40,), float(value))))[None]
        expected = reference.matrix_output(packed, np.full(40, value))
        assert np.array_equal(matrix.output(acc)[0].numpy().astype(int), expected)


@pytest.mark.parametrize("operand", [STATE_OPERAND, Operand(31, 0, False, 1.0), Operand(7, 12, True, 1.0)])
def test_operand_equals_reference(operand):
    matrix = dataclasses.replace(
        DigitNet(SMALL).dense.packed(),
        clamp=operand.clamp,
        operand_shift=operand.shift,
        three_quarters=operand.three_quarters,
    )
    values = np.arange(-32768, 32768)
    ours = operand.of(torch.from_numpy(values).float()).numpy()
    assert np.array_equal(ours.astype(int), reference.operand(matrix, values))


class Through(torch.autograd.Function):
    """A value of the forward pass with the gradient of another: straight-through in general."""

    @staticmethod
    def forward(ctx, real, quantized):
        return quantized

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def autograd_network(network, features, matrices):
    """Logits step by step in plain autograd on real values (float64), rounded where DigitNet rounds."""
    (gru_integers, dense), config = matrices, network.config
    scale, offset = network.input_affine()
    real = features.transpose(0, 1) * scale + offset
    x = torch.floor(real.detach() + 0.5).clamp(-config.input_clamp, config.input_clamp)
    real = real * (x.abs() < config.input_clamp)
    x = Through.apply(real.double(), x.double()) / config.levels_per_deviation

    def parameters_of(masters, matrix):
        weights = Through.apply(masters.weight.double(), matrix.weights.double() * matrix.real_step)
        return weights.t(), Through.apply(masters.bias.double(), matrix.bias.double() * PRE_UNIT)

    def operand_of(h):
        u = STATE_OPERAND.of(torch.round(h.detach() / STATE_UNIT)) * STATE_OPERAND.unit
        return Through.apply(h, u)

    def chain(value, unit):
        return Through.apply(value, torch.ceil(value.detach() / unit - 1e-6) * unit)

    def table(function, p):
        return torch.from_numpy(function(np.rint(p.detach().numpy() / PRE_UNIT))).double()

    for masters, (mx, mh) in zip(network.layers, gru_integers, strict=True):
        (wx, bx), (wh, bh) = parameters_of(masters.x, mx), parameters_of(masters.h, mh)
        rows = 2 * masters.units
        h, states = torch.zeros(x.shape[1], masters.units, dtype=torch.float64), []
        for t in range(len(x)):
            ax = (x[t] if masters is network.layers[0] else operand_of(x[t])) @ wx + bx
            ah = operand_of(h) @ wh + bh
            p = (ax + ah)[:, :rows]
            gate = (table(reference.sigmoid, p) + 1) / 256
            r, z = Through.apply(p * (gate * (1 - gate)), gate).chunk(2, 1)
            p = ax[:, rows:] + chain(r * ah[:, rows:], PRE_UNIT)
            n = table(reference.tanh, p) * STATE_UNIT
            n = Through.apply(p * (1 - n * n), n)
            h = chain(z * h + (1 - z) * n, STATE_UNIT)
            states.append(h)
        x = torch.stack(states)
    weights, bias = parameters_of(network.dense, dense)
    return operand_of(x) @ weights + bias


@pytest.mark.parametrize("encoding", ["binary", "ternary", "pow2"])
def test_training_backward_equals_autograd(encoding):
    network = make_network(dataclasses.replace(SMALL, encoding=encoding, dropout=0.0), 1, 0.3)
    generator = torch.Generator().manual_seed(2)
    features = 4 * torch.randn(3, 20, 11, generator=generator)
    towards = torch.randn(20, 3, 5, generator=generator)
    matrices = network.quantize()
    gradients = []
    outputs = []
    for run in (lambda *x: DigitNet.forward(*x)[0] * PRE_UNIT, autograd_network):
        network.zero_grad()
        logits = run(network, features, matrices)
        (logits * towards).sum().backward()
        outputs.append(logits.detach())
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters()})
    assert torch.equal(outputs[0], torch.round(outputs[1] / PRE_UNIT).float() * PRE_UNIT)
    for name, expected in gradients[1].items():
        error = (gradients[0][name] - expected).norm() / expected.norm()
        assert error < 1e-4, f"{name}: {error}"


def test_carried_state_continues_a_signal():
    network = make_network(SMALL, 4, 0.5)
    features = 4 * torch.randn(3, 30, 11, generator=torch.Generator().manual_seed(4))
    integers = network.quantize()
    with torch.no_grad():
        whole, _ = network(features, integers)
        first, states = network(features[:, :12], integers)
        second, _ = network(features[:, 12:], integers, start=[h[-1] for h in states])
    assert torch.equal(whole, torch.cat([first, second]))


def test_phones_are_read_from_the_first_layer_and_leave_the_logits_alone():
    config = NetworkConfig(input_size=6, output_size=5, units=(8, 8), dropout=0.0)
    plain, network = DigitNet(config, 3), DigitNet(dataclasses.replace(config, phones=True), 3)
    features = torch.randn(2, 7, 6)
    for each in (plain, network):
        each.observe(features, torch.tensor([7, 7]))
    logits, states = network(features, network.quantize())
    assert torch.equal(logits, plain(features, plain.quantize())[0])
    network.phone_logits(states).square().sum().backward()
    assert network.layers[0].h.weight.grad.abs().sum() > 0
    assert network.layers[1].x.weight.grad is None


def test_bfloat16_products_change_gradients_little():
    features = torch.randn(4, 30, 78, generator=torch.Generator().manual_seed(3))
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        network = make_network(NetworkConfig(), 0, 0.3)
        network.product_dtype = dtype
        (network(features, network.quantize())[0] * PRE_UNIT).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert (gradients[0] - gradients[1]).norm() / gradients[0].norm() < 0.02


def test_dropout_masks_and_scales():
    network = make_network(SMALL, 0, 0.0)
    u = torch.ones(50, 40, 24, dtype=torch.int8)
    dropped, mask, gain = network._drop(u, 20, torch.Generator().manual_seed(0))
    assert gain == Fraction(24, 20)
    assert torch.equal(dropped, mask)
    assert abs(float(mask.float().mean() * float(gain)) - 1) < 0.01
    assert network._drop(u, 20, None) == (u, None, 1)


def test_input_rounds_half_up_and_passes_gradient_inside_the_clamp():
    x = torch.tensor([[[-0.5, 0.5, 1.49, 1.5, 99.0]]])
    scale, offset = torch.ones(5, requires_grad=True), torch.zeros(5, requires_grad=True)
    q = RoundInput.apply(x, scale, offset, 31)
    q.sum().backward()
    assert q.flatten().tolist() == [0, 1, 1, 2, 31]
    assert offset.grad.tolist() == [1, 1, 1, 1, 0]
    assert torch.allclose(scale.grad, torch.tensor([-0.5, 0.5, 1.49, 1.5, 0.0]))


def test_nearest_scale_loses_no_bit():
    for units in (0.7, 1.0, 3.2, 20.9, 37.6, 1000.0):
        scale = nearest_scale(units)
        assert max(scale.shifts) <= scale.left_shift
        assert scale.units == sum(2 ** (scale.left_shift - k) for k in scale.shifts)
        assert abs(scale.units / units - 1) < 0.45 if units < 1 else abs(scale.units / units - 1) < 0.15


@pytest.mark.parametrize("encoding", ["binary", "ternary", "pow2"])
def test_stochastic_weights_have_the_mean_of_the_master(encoding):
    generator = torch.Generator().manual_seed(0)
    masters = torch.tensor([-0.9, -0.31, 0.0, 0.02, 0.5, 0.77])
    quantizer = Quantizer(encoding, stochastic=True)
    drawn = quantizer.integers(masters.repeat(40000, 1), 1.0, generator).float() * quantizer.step(1.0)
    assert torch.allclose(drawn.mean(0), masters, atol=0.02)
    assert torch.equal(quantizer.integers(masters, 1.0), Quantizer(encoding).integers(masters, 1.0))


def test_deterministic_weights():
    masters = torch.tensor([-2.0, -0.6, -0.4, 0.0, 0.1, 0.5, 0.7, 1.0])
    assert Quantizer("ternary").integers(masters, 1.0).tolist() == [-1, -1, 0, 0, 0, 1, 1, 1]
    assert Quantizer("binary").integers(masters, 1.0).tolist() == [-1, -1, -1, 1, 1, 1, 1, 1]
    # 0.7 is 44.8 / 64: log2 is nearest to 5 (32) below 45.25, to 6 (64) above.
    assert Quantizer("pow2").integers(masters, 1.0).tolist() == [-64, -32, -32, 0, 8, 32, 32, 64]
    assert LARGEST == {"binary": 1, "ternary": 1, "pow2": 64}
