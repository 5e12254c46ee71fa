# SPDX-License-Identifier: MIT
"""Networks of the fast path: levels and probabilities of the rules, gradients, and the packed network's equality."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edge_runtime  # noqa: E402
from edge_runtime import reference  # noqa: E402
from training import packed, quantizers  # noqa: E402
from training.quantizers import METHODS  # noqa: E402
from training.recurrent import GATES, Network, NetworkSpec, nearest_row_scale  # noqa: E402

DRAWS = 200_000


def expected(rule, value, **options):
    """Mean of a rule's draws for one master."""
    generator = torch.Generator().manual_seed(1)
    masters = torch.full((DRAWS,), value)
    return rule(masters, draw=torch.rand(DRAWS, generator=generator), **options)


def test_binarize():
    assert quantizers.binarize(torch.tensor([-1.0, -0.01, 0.0, 0.3, 1.0])).tolist() == [-1, -1, 1, 1, 1]
    drawn = expected(quantizers.binarize, 0.3)
    assert set(drawn.tolist()) == {-1, 1}
    assert float((drawn > 0).float().mean()) == pytest.approx(0.65, abs=0.005)
    assert (expected(quantizers.binarize, 1.0) == 1).all()
    assert (expected(quantizers.binarize, -1.0) == -1).all()


def test_ternarize():
    ratios = torch.tensor([-1.0, -0.5, -0.49, 0.0, 0.49, 0.5, 1.0])
    assert quantizers.ternarize(ratios).tolist() == [-1, -1, 0, 0, 0, 1, 1]
    drawn = expected(quantizers.ternarize, -0.3)
    assert set(drawn.tolist()) == {-1, 0}
    assert float(drawn.mean()) == pytest.approx(-0.3, abs=0.005)
    assert (expected(quantizers.ternarize, 0.0) == 0).all()


def test_pow2_ternarize():
    weights = torch.tensor([-3.0, -0.26, -0.24, 0.0, 0.24, 0.26, 0.5])
    assert quantizers.pow2_ternarize(weights).tolist() == [-0.5, -0.5, 0, 0, 0, 0.5, 0.5]
    wide = quantizers.pow2_ternarize(torch.linspace(-3, 3, 601), integer_bits=1, fractional_bits=2)
    assert sorted(set(wide.tolist())) == [k / 4 for k in range(-7, 8)]


def test_pow2_ternary_method_is_dual_copy_rounding():
    masters = torch.linspace(-0.5, 0.5, 1001)
    masters = masters[masters.abs() != 0.25]
    levels = METHODS["pow2-ternary"].levels(masters, 0.5) * 0.5
    assert torch.equal(levels, quantizers.pow2_ternarize(masters))


def test_exponentiate():
    weights = torch.tensor([-2.0, -0.76, 0.74, 0.5, 0.37, 1e-6, -1e-6, 0.0])
    levels = quantizers.exponentiate(weights, highest=0, octaves=14)
    smallest = 2.0**-13
    assert levels.tolist() == [-1, -1, 0.5, 0.5, 0.25, smallest, -smallest, smallest]
    drawn = expected(quantizers.exponentiate, 0.35, highest=0)
    assert set(drawn.tolist()) == {0.25, 0.5}
    assert float(drawn.mean()) == pytest.approx(0.35, abs=0.002)


def test_octaves_or_zero():
    ratios = torch.tensor([0.0, 0.4, 0.6, 1.3, 1.5, 40.0, 64.0, -64.0]) / 64
    assert quantizers.octaves_or_zero(ratios).tolist() == [0, 0, 1, 1, 2, 32, 64, -64]
    drawn = expected(quantizers.octaves_or_zero, 5.0 / 64)
    assert set(drawn.tolist()) == {4, 8}
    assert float(drawn.mean()) == pytest.approx(5.0, abs=0.02)


@pytest.mark.parametrize("name", METHODS)
def test_methods_give_their_levels(name):
    method = METHODS[name]
    network = Network(NetworkSpec(30, 4, units=(24,), method=name))
    for matrix in network.matrices()[:2]:
        levels = matrix._levels(None)
        assert float(levels.abs().max()) <= 1
        found = set(levels.abs().unique().tolist())
        allowed = {
            "binary": {1.0},
            "ternary": {0.0, 1.0},
            "pow2": {0.0, *(2.0**-k for k in range(7))},
            "exponential": {2.0**-k for k in range(14)},
        }.get(method.rule, found)
        assert found <= allowed
        if method.bound:
            assert matrix.w0 == method.bound
    zeros = network.sizes()["zeros"]
    assert (0.7 < zeros < 0.95) if name in ("pow2-ternary", "sparse") else zeros < 0.6


def test_row_scales_are_nearest_and_legal():
    values = torch.tensor([1.0, 1.3, 0.7, 0.001, 0.9, 1.6])
    rounded = nearest_row_scale(values)
    assert (rounded / values - 1).abs()[[0, 1, 2, 4, 5]].max() < 0.08
    assert rounded[3] == 2.0**-7  # as far below the largest as a matrix can hold
    legal = packed.plane_fit.legal_scales()[0]
    assert set(rounded.tolist()) <= set(legal.tolist())


SPECS = [
    dict(cell=cell, method=method, normalization=normalization)
    for cell, method, normalization in itertools.product(GATES, METHODS, ("none", "weight", "batch"))
    if method != "float" and not (method == "exponential" and normalization != "none")
] + [
    dict(cell="lstm", method="ternary", one_hot=True),
    dict(cell="lstm", method="binary", one_hot=True, normalization="weight"),
    dict(cell="gru", method="ternary", learned_scale=True, units=(20, 17)),
    dict(cell="gru", method="ternary", quantize_biases=True),
    dict(cell="gru", method="ternary", hidden=(19,), output_method="ternary"),
    dict(cell="lstm", method="sparse", hidden=(19,), output_method="pow2"),
]


def make_network(options, seed=3):
    """A network with random masters, and inputs for it."""
    spec = NetworkSpec(input_size=13, output_size=6, **({"units": (24,)} | options))
    network = Network(spec, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for matrix in network.matrices():
            matrix.bias += 0.3 * torch.randn(matrix.bias.shape, generator=generator)
            if matrix.length is not None:
                matrix.length *= torch.exp(0.5 * torch.randn(matrix.length.shape, generator=generator))
            if matrix.log2_scale is not None:
                matrix.log2_scale += torch.randn(matrix.log2_scale.shape, generator=generator)
            if matrix.normalization == "batch":
                matrix.mean += torch.randn(matrix.mean.shape, generator=generator)
                matrix.variance *= torch.exp(torch.randn(matrix.mean.shape, generator=generator))
    network.clip()
    if spec.one_hot:
        x = torch.randint(13, (60, 2), generator=generator)
    else:
        network.set_input_statistics(torch.full((13,), 0.5), torch.linspace(0.5, 2.0, 13))
        x = 2 * torch.randn(60, 2, 13, generator=generator) + 0.5
    return network.eval(), x


@pytest.mark.parametrize("options", SPECS, ids=str)
def test_packed_network_is_the_trained_one(options):
    network, x = make_network(options)
    with torch.no_grad():
        logits = network(x, network.weights())[0].numpy()
    model_file = network.model_file([x[:, k].numpy() for k in range(2)])
    model = edge_runtime.Model.from_bytes(model_file.to_bytes())
    quantized = [matrix for layer in model_file.layers for matrix in layer.matrices]
    for masters, matrix in zip(network.matrices()[:-1], quantized, strict=False):
        levels = masters._levels(None).numpy()
        assert np.array_equal(np.sign(matrix.weights.sum(0)), np.sign(levels))
    for k in range(2):
        inputs = packed.inputs_of(network, x[:, k].numpy())
        ours = packed.logits_of(model, inputs)
        assert np.abs(ours - logits[:, k]).max() < 0.02 * max(1, np.abs(logits).max())
        integers = reference.ReferenceStream(model_file).run(inputs)
        assert np.array_equal(model.stream().run(inputs), integers)


@pytest.mark.parametrize("cell", GATES)
def test_float_network_packed(cell):
    network, x = make_network(dict(cell=cell, method="float"))
    with torch.no_grad():
        logits = network(x, network.weights())[0].numpy()
    model = edge_runtime.Model.from_bytes(network.model_file([x[:, 0].numpy()]).to_bytes())
    ours = packed.logits_of(model, packed.inputs_of(network, x[:, 1].numpy()))
    assert np.abs(ours - logits[:, 1]).max() < 0.01


def test_gradient_is_that_of_the_levels():
    """Masters receive the gradient that plain autograd gives the quantized weights."""
    network, x = make_network(dict(cell="gru", method="ternary"))
    weights = network.weights()
    network(x, weights)[0].square().sum().backward()
    got = network.recurrent[0][1].weight.grad
    fixed = [(levels.detach(), scale, bias.detach()) for levels, scale, bias in weights]
    effective = (fixed[1][0] * fixed[1][1]).requires_grad_()
    fixed[1] = (effective, 1.0, fixed[1][2])
    network(x, fixed)[0].square().sum().backward()
    assert torch.allclose(got, effective.grad, rtol=1e-4, atol=1e-5)


def test_stochastic_levels_are_drawn_in_training_only():
    spec = NetworkSpec(13, 6, units=(24,), stochastic=True)
    network = Network(spec)
    first, second = (network.weights(torch.Generator().manual_seed(k))[1][0] for k in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(network.weights()[1][0], network.weights()[1][0])


def test_state_goes_on():
    network, x = make_network(dict(cell="lstm", method="ternary"))
    weights = network.weights()
    whole = network(x, weights)[0]
    first, state = network(x[:25], weights)
    second, _ = network(x[25:], weights, state)
    assert torch.allclose(torch.cat([first, second]), whole, atol=1e-5)


@pytest.mark.parametrize(
    "options", [dict(normalization="weight"), dict(normalization="batch"), dict()], ids=str
)
@pytest.mark.parametrize("cell", GATES)
def test_learns(cell, options):
    """Tell which of two symbols came four steps ago."""
    spec = NetworkSpec(2, 2, cell=cell, units=(40,), one_hot=True, method="ternary", **options)
    network = Network(spec, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(2)
    for _ in range(600):
        x = torch.randint(2, (24, 32), generator=generator)
        logits, _ = network(x, network.weights(generator))
        loss = torch.nn.functional.cross_entropy(logits[4:].flatten(0, 1), x[:-4].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        network.clip()
        if loss < 0.05:
            break
    network.eval()
    with torch.no_grad():
        logits, _ = network(x, network.weights())
    assert float((logits[4:].argmax(2) == x[:-4]).float().mean()) > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(cell="lru"), "cell 'lru': expected one of rnn, gru, lstm"),
        (dict(method="int8"), "method 'int8': expected one of float"),
        (dict(normalization="layer"), "normalization 'layer': expected one of none, weight, batch"),
        (dict(normalization="weight", learned_scale=True), "normalization: has row scales"),
    ],
)
def test_refused_specs(options, message):
    with pytest.raises(ValueError, match=message):
        NetworkSpec(3, 3, **options)


def test_statistics():
    network, _ = make_network(dict(cell="lstm", method="ternary", units=(24, 20)))
    norms = network.spectral_norms()
    w = network.effective()[3][0]
    assert len(norms) == 2
    assert norms[1] == pytest.approx(max(np.linalg.norm(g, 2) for g in w.reshape(4, 20, 20)), rel=1e-6)
    counts, edges = network.histograms()["W_h 1 quantized"]
    assert sum(counts) == w.size and len(edges) == len(counts) + 1
    sizes = network.sizes()
    assert sizes["bits_per_weight"] == 1.6 and 1 < sizes["entropy"] < 1.6
