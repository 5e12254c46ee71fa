# SPDX-License-Identifier: MIT
"""Small models with labels and decoder settings for tests, made without training.

`tone_model` tells pure tones apart: a nearest-neighbor classifier on cepstra as one dense layer.
`babble_model` has random GRU weights: its words mean nothing, but every bit of its past matters.
"""

import dataclasses
import functools

import numpy as np

from edge_runtime import Frontend, FrontendConfig
from edge_runtime.format import DecoderConfig, Layer, Matrix, ModelFile, row_scale_code

RATE = 16000
TONE_LEVEL = 0.1
TONES_HZ = {"one": 400, "two": 900, "three": 1800, "four": 3200, "unknown": 5000}
TONE_LABELS = ("blank", *TONES_HZ)
DELAY_MS = 20
LENGTH_MS = 150


def tone(label, duration_s, rate=RATE, level=TONE_LEVEL):
    """Faint noise with a tone, faded over 10 ms, that `tone_model` hears as `label`.

    Without the noise (label "blank") a pure tone would have less mean log energy than silence, and
    the recognizer takes the frame with the least for the quietest.

    Returns
    -------
    float32 [shape=(round(duration_s * rate),)]
    """
    count = round(duration_s * rate)
    signal = 1e-3 * np.random.default_rng(count).standard_normal(count)
    if label != "blank":
        edge = np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.01 * rate)
        phase = 2 * np.pi * TONES_HZ[label] * np.arange(count) / rate
        signal += level * np.minimum(edge, 1) * np.sin(phase)
    return signal.astype(np.float32)


def tone_signal(labels, word_s=0.25, gap_s=0.2, rate=RATE):
    """Tones with faint noise before, between and after.

    Returns
    -------
    float32 [shape=(n,)]
    """
    parts = [tone("blank", gap_s, rate)]
    for label in labels:
        parts += [tone(label, word_s, rate), tone("blank", gap_s, rate)]
    return np.concatenate(parts)


@functools.cache
def tone_model(threshold=0.0, delay_ms=DELAY_MS):
    """Bytes of the tone classifier: 13 cepstra, two frames per step.

    The score of a class with centroid 2w is w.x - |w|^2, its distance but for a common term. The
    weights are powers of two in two planes.

    Returns
    -------
    bytes
    """
    config = FrontendConfig(delta_order=0, stack=2)
    features = {label: Frontend(config).push(tone(label, 0.5))[2:-2] for label in TONE_LABELS}
    centroids = np.stack([f.mean(axis=0) for f in features.values()])
    center = centroids.mean(axis=0)
    scale = np.full(config.feature_size, 100 / np.abs(centroids - center).max(), np.float32)
    offset = (-center * scale).astype(np.float32)
    wanted = (centroids - center) * scale / 2
    planes = []
    rest = wanted
    for _ in range(2):
        plane = _nearest_power(rest)
        planes.append(plane)
        rest = rest - plane
    weights = np.stack(planes)
    norm = np.square(weights.sum(axis=0, dtype=np.int64)).sum(axis=1)
    shift = 0
    bias = -np.rint(norm * 2.0**shift).astype(np.int16)
    outputs = len(TONE_LABELS)
    scales = np.broadcast_to(row_scale_code(1.0), (2, outputs, 2))
    matrix = Matrix("pow2", weights, scales, bias, clamp=127, left_shift=shift)
    layer = Layer("dense", "none", config.feature_size, outputs, (matrix,))
    return _file(config, scale, offset, (layer,), TONE_LABELS, threshold, delay_ms)


def in_profile_2(data):
    """The same model of one dense layer in numeric profile 2: inputs 256 times as fine, pre-activations 32 times."""
    file = ModelFile.from_bytes(data)
    (layer,) = file.layers
    (matrix,) = layer.matrices
    bias = matrix.bias.astype(np.int32) * 32
    matrix = dataclasses.replace(matrix, bias=bias, clamp=32767, left_shift=matrix.left_shift - 3)
    return dataclasses.replace(
        file,
        input_scale=file.input_scale * 256,
        input_offset=file.input_offset * 256,
        layers=(dataclasses.replace(layer, matrices=(matrix,)),),
        profile=2,
    ).to_bytes()


@functools.cache
def babble_model(seed=1, hidden=24, stack=2):
    """Bytes of a random ternary GRU with all of the front end in use.

    Returns
    -------
    bytes
    """
    rng = np.random.default_rng(seed)
    config = FrontendConfig(delta_order=2, stack=stack, subtract_mean=True, mean=(6.0,) + (0.0,) * 12)
    labels = ("blank", "one", "two", "three", "four", "five", "six", "unknown")

    def matrix(rows, columns, scale, bias, shift, **operand):
        weights = rng.choice(np.array([-1, 0, 1], np.int8), (1, rows, columns))
        scales = np.broadcast_to(row_scale_code(scale), (1, rows, 2))
        biases = rng.integers(-bias, bias + 1, rows).astype(np.int16) if bias else None
        return Matrix("ternary", weights, scales, biases, left_shift=shift, **operand)

    gru = Layer(
        "gru",
        "none",
        config.feature_size,
        hidden,
        (
            matrix(3 * hidden, config.feature_size, 0.75, 600, 3, clamp=127),
            matrix(3 * hidden, hidden, 1.0, 600, 4, clamp=127, operand_shift=8),
        ),
        initial_state=rng.integers(-5000, 5000, hidden).astype(np.int16),
    )
    output = matrix(len(labels), hidden, 1.0, 300, 5, clamp=127, operand_shift=8)
    dense = Layer("dense", "none", hidden, len(labels), (output,))
    scale = np.full(config.feature_size, 20, np.float32)
    return _file(config, scale, np.zeros_like(scale), (gru, dense), labels, 0.2, 60)


def babble_audio(duration_s, seed=0, rate=RATE):
    """Noise of changing color and level, which keeps `babble_model` talking.

    Returns
    -------
    float32 [shape=(n,)]
    """
    rng = np.random.default_rng(seed)
    parts = []
    left = round(duration_s * rate)
    while left > 0:
        count = min(left, int(rng.integers(rate // 50, rate // 5)))
        t = np.arange(count) / rate
        sweep = np.sin(2 * np.pi * (rng.uniform(100, 3000) + rng.uniform(-3000, 3000) * t) * t)
        parts.append(10 ** rng.uniform(-3, -0.7) * (sweep + 0.3 * rng.standard_normal(count)))
        left -= count
    return np.concatenate(parts).astype(np.float32)


def _nearest_power(values):
    """int8 array of 0 and plus or minus 1, 2, ... 64 nearest to real numbers."""
    choices = np.array([0, 1, 2, 4, 8, 16, 32, 64])
    index = np.abs(np.abs(values)[..., None] - choices).argmin(axis=-1)
    return (np.sign(values) * choices[index]).astype(np.int8)


def _file(config, scale, offset, layers, labels, threshold, delay_ms):
    outputs = len(labels)
    decoder = DecoderConfig(
        blank=0,
        unknown=labels.index("unknown"),
        threshold=threshold,
        delay_ms=delay_ms,
        bias=np.zeros(outputs, np.int16),
        length_ms=np.full(outputs, LENGTH_MS, np.uint16),
    )
    metadata = {"name": "made by tests/word_models.py"}
    return ModelFile(scale, offset, layers, labels, config, decoder, metadata).to_bytes()
