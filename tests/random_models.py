# SPDX-License-Identifier: MIT
"""Random models and inputs, and the comparison of the C library with `edge_runtime.reference`.

The models are legal (exporters/FORMAT.md, rules R15 to R27), awkward in size, and scaled so that
pre-activations use their range: some saturate, few vanish.
"""

import dataclasses

import numpy as np

import edge_runtime
from edge_runtime import reference
from edge_runtime._format_parts import BIAS_TYPES, MAX_FINE_BIAS, state_size
from edge_runtime.format import CLAMPS, GATES, MAX_SUM, Layer, Matrix, ModelFile
from edge_runtime.format import ENCODINGS as ENCODING_CODES
from edge_runtime.format import KINDS as KIND_CODES

KINDS = tuple(KIND_CODES)
PROFILES = (1, 2)
ENCODINGS = tuple(ENCODING_CODES)
SIZES = (1, 4, 5, 6, 8, 9, 63, 64, 65, 127)
ACTIVATIONS = {
    "rnn": ("tanh", "relu"),
    "gru": ("none",),
    "lstm": ("none",),
    "dense": ("none", "tanh", "relu", "sigmoid"),
}


def _available_kernels():
    """ISA words of the kernels that this machine runs, "scalar" first."""
    probe = ModelFile(
        np.ones(1, np.float32),
        np.zeros(1, np.float32),
        (Layer("dense", "none", 1, 1, (plain_matrix(np.random.default_rng(0), "ternary", 1, 1),)),),
    ).to_bytes()
    words = []
    for word in ("scalar", "avx2", "avx512bw", "avx512", "neon"):
        try:
            words.append(edge_runtime.Model.from_bytes(probe, kernel=word).kernel)
        except edge_runtime.EdgeRuntimeStateError:
            continue
    return tuple(words)


def random_weights(rng, encoding, shape):
    """Weights of an encoding: int8 [shape]."""
    if encoding == "binary":
        return rng.choice(np.array([-1, 1], np.int8), shape)
    if encoding == "ternary":
        return rng.integers(-1, 2, shape, np.int8)
    values = np.array([0] + [s << e for e in range(7) for s in (1, -1)], np.int8)
    return rng.choice(values, shape)


def plain_matrix(rng, encoding, rows, columns, left_shift=0, bias=0, profile=1):
    """One plane on full 16-bit operands with row scale 1: the matrix is weights * 2^left_shift."""
    return Matrix(
        encoding=encoding,
        weights=random_weights(rng, encoding, (1, rows, columns)),
        scales=np.tile(np.array([0x80, 0], np.uint8), (1, rows, 1)),
        bias=rng.integers(-bias, bias + 1, rows).astype(BIAS_TYPES[profile]),
        clamp=32767,
        left_shift=left_shift,
    )


def random_scales(rng, planes, rows):
    """Row scale codes (section 5.2): uint8 [shape=(planes, rows, 2)]."""
    shift = np.minimum(rng.geometric(0.4, (planes, rows, 2)) - 1, 15)
    code = 0x80 | rng.integers(0, 2, shift.shape) << 6 | shift
    present = rng.random(shift.shape) < [0.95, 0.5]
    present[:, :, 1] &= present[:, :, 0]
    return np.where(present, code, 0).astype(np.uint8)


def random_int16(rng, size):
    """int16 values, extremes among them."""
    values = rng.integers(-32768, 32768, size)
    extreme = rng.choice([-32768, -32767, -1, 0, 1, 32767], size)
    return np.where(rng.random(size) < 0.1, extreme, values).astype(np.int16)


def random_bias(rng, rows, profile):
    """Biases of all magnitudes, int16 or in numeric profile 2 int32."""
    bias = random_int16(rng, rows).astype(np.int64) >> rng.integers(0, 6)
    if profile == 2:
        bias = np.clip(bias << rng.integers(0, 13), -MAX_FINE_BIAS, MAX_FINE_BIAS)
    return bias.astype(BIAS_TYPES[profile])


def random_matrix(rng, encoding, rows, columns, input_bits, planes=1, clamp=None, bias=None, profile=1):
    """A matrix for inputs of up to `input_bits` bits and sign.

    Parameters
    ----------
    rng : numpy.random.Generator
    encoding : str
    rows, columns, input_bits, planes : int
    clamp : int, optional
        Default: any.
    bias : bool, optional
        Default: either.
    profile : int
        Numeric profile.
    """
    weights = random_weights(rng, encoding, (planes, rows, columns))
    if clamp is None:
        clamp = int(rng.choice(CLAMPS))
    largest = max(int(np.abs(weights.astype(np.int64)).sum(axis=2).max()), 1)
    while 2 * clamp * largest > MAX_SUM:  # R27; twice: a shared row adds two matrices
        clamp = CLAMPS[CLAMPS.index(clamp) - 1]
    fitting = max(input_bits - clamp.bit_length(), 0)
    operand_shift = int(np.clip(fitting + rng.integers(-1, 2), 0, 15))
    if rng.random() < 0.1:
        operand_shift = int(rng.integers(0, 16))
    power = (weights.astype(float) ** 2).mean() * columns
    typical = min(clamp, 2**input_bits >> operand_shift) * np.sqrt(power)
    wanted = 6000 if profile == 1 else 6000 << 5
    left_shift = int(np.round(np.log2(wanted / max(typical, 1)))) + int(rng.integers(-2, 3))
    if bias is None:
        bias = rng.random() < 0.5
    return Matrix(
        encoding=encoding,
        weights=weights,
        scales=random_scales(rng, planes, rows),
        bias=random_bias(rng, rows, profile) if bias else None,
        clamp=clamp,
        operand_shift=operand_shift,
        three_quarters=bool(rng.random() < 0.3),
        left_shift=int(np.clip(left_shift, -24, 15)),
    )


def share_scale(kind, w_x, w_h):
    """W_h with W_x's left shift, and its scales in the shared rows (section 7.3, N6)."""
    rows = w_x.weights.shape[1]
    shared = rows // 3 * 2 if kind == "gru" else rows
    scales = w_h.scales.copy()
    scales[:, :shared] = w_x.scales[:, :shared]
    return dataclasses.replace(w_h, scales=scales, left_shift=w_x.left_shift)


def random_layer(
    rng,
    kind,
    input_size,
    output_size,
    encoding=None,
    planes=None,
    clamp=None,
    bias=None,
    activation=None,
    shared_scale=None,
    reset_before=None,
    initial_state=None,
    input_bits=15,
    profile=1,
):
    """A layer; what is None is drawn."""

    def drawn(value, chance):
        return bool(rng.random() < chance) if value is None else value

    recurrent = kind != "dense"
    shared_scale = recurrent and drawn(shared_scale, 0.3 if planes in (None, 1) else 0)

    def matrix(columns, bits):
        return random_matrix(
            rng,
            encoding or str(rng.choice(ENCODINGS)),
            GATES[kind] * output_size,
            columns,
            bits,
            planes=1 if shared_scale else planes or int(rng.integers(1, 4)),
            clamp=clamp,
            bias=bias,
            profile=profile,
        )

    matrices = [matrix(input_size, input_bits)]
    if recurrent:
        w_h = matrix(output_size, 15)
        matrices.append(share_scale(kind, matrices[0], w_h) if shared_scale else w_h)
    values = state_size(kind, output_size, profile)
    return Layer(
        kind=kind,
        activation=activation or str(rng.choice(ACTIVATIONS[kind])),
        input_size=input_size,
        output_size=output_size,
        matrices=tuple(matrices),
        reset_before=kind == "gru" and drawn(reset_before, 0.5),
        shared_scale=shared_scale,
        initial_state=random_int16(rng, values) if recurrent and drawn(initial_state, 0.3) else None,
    )


def random_model(rng, kind, encoding=None, input_size=None, output_size=None, profile=1, **options):
    """A model.

    Parameters
    ----------
    rng : numpy.random.Generator
    kind : str or sequence of str
        Kind of the only layer, or of each layer.
    encoding, input_size, output_size
        Default: any.
    profile : int
        Numeric profile.
    **options
        As for `random_layer`, for every layer.

    Returns
    -------
    ModelFile
    """
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    sizes = [input_size or int(rng.choice(SIZES))]
    sizes += [int(rng.choice(SIZES)) for _ in kinds[1:]]
    sizes += [output_size or int(rng.choice(SIZES))]
    layers = tuple(
        random_layer(
            rng,
            k,
            sizes[i],
            sizes[i + 1],
            encoding,
            input_bits=7 if i == 0 and profile == 1 else 15,
            profile=profile,
            **options,
        )
        for i, k in enumerate(kinds)
    )
    spread = 1 if profile == 1 else 1 << 8
    return ModelFile(
        input_scale=(rng.normal(0, 30 * spread, sizes[0])).astype(np.float32),
        input_offset=rng.normal(0, 5 * spread, sizes[0]).astype(np.float32),
        layers=layers,
        profile=profile,
    )


def random_inputs(rng, steps, size, profile=1):
    """int8, in numeric profile 2 int16 [shape=(steps, size)]: noise, silence, and steps at both ends of the range."""
    most = 127 if profile == 1 else 32767
    x = rng.integers(-most - 1, most + 1, (steps, size))
    for value in (-most - 1, -most, most, 0):
        x[rng.permutation(steps)[: steps // 12], :] = value
    sign = rng.choice([-most, most], (steps, size))
    return np.where(rng.random((steps, 1)) < 0.15, sign, x).astype(np.int8 if profile == 1 else np.int16)


def assert_library_equals_reference(model_file, x, state=None):
    """Run the reference and every kernel of the library on x, from the state if given; all must be equal."""
    data = model_file.to_bytes()
    expected = reference.ReferenceStream(model_file)
    if state is not None:
        expected.state = state
    logits = expected.run_quantized(x)
    for kernel in KERNELS:
        stream = edge_runtime.Model.from_bytes(data, kernel=kernel).stream()
        if state is not None:
            stream.state = state
        np.testing.assert_array_equal(stream.run_quantized(x), logits, f"logits of kernel {kernel}")
        if stream.state.size:
            np.testing.assert_array_equal(stream.state, expected.state, f"state of kernel {kernel}")


#: Kernels of this machine.
KERNELS = _available_kernels()
