# SPDX-License-Identifier: MIT
"""The front end in float64 NumPy, a whole signal at a time.

Written from the rules, not from the C source, and without regard to speed:

1. y[0] = x[0], y[n] = x[n] - preemphasis x[n - 1], over the whole signal, x at int16 scale.
2. Frame t = y[hop t ... hop t + window - 1], times 0.54 - 0.46 cos(2 pi i / (window - 1)), zeros to
   the size of the FFT. There is a frame for every whole window, and one more for the samples after
   the last hop, from the signal continued with zeros before rule 1.
3. P[k] = |FFT|^2, k = 0 ... fft_size / 2.
4. mel(f) = 2595 log10(1 + f / 700); filters + 2 points equally spaced in mel, each rounded to the
   nearest FFT bin; filter i is the triangle on points i, i + 1, i + 2 with an area of 1 Hz.
5. L[i] = ln(sum of filter i times P + floor).
6. C[m] = 1/filters (0.5 L[0] cos(...) + sum over j >= 1 of L[j] cos(pi m (j + 0.5) / filters)).
7. Frames beyond the ends repeat the first and the last one (or the quietest one at the end).
   delta[t] = C[t+2] - C[t-2]; delta-delta[t] = (C[t+3] - C[t-1]) - (C[t+1] - C[t-3]).
8. Running mean: m += (C[t] - m) max(1 / (51 + t), 1 / 400), then C[t] - m.
9. Vectors of `stack` frames, the oldest first.
"""

import numpy as np


def window(config):
    i = np.arange(config.window_samples)
    return 0.54 - 0.46 * np.cos(2 * np.pi * i / (config.window_samples - 1))


def frame_count(config, samples):
    """Number of frames of a signal, the last started one included."""
    if samples == 0:
        return 0
    if samples < config.window_samples:
        return 1
    full = 1 + (samples - config.window_samples) // config.hop_samples
    return full + (samples > full * config.hop_samples)


def power_spectra(config, x):
    """float64 [shape=(frames, fft_size / 2 + 1)] of x at int16 scale."""
    frames = frame_count(config, len(x))
    x = np.concatenate([x, np.zeros(config.window_samples)])
    y = x.copy()
    y[1:] -= config.preemphasis * x[:-1]
    cut = [y[config.hop_samples * t :][: config.window_samples] for t in range(frames)]
    cut = np.array(cut).reshape(frames, config.window_samples)
    return np.abs(np.fft.rfft(cut * window(config), config.fft_size)) ** 2


def filters(config):
    """float64 [shape=(filter_count, fft_size / 2 + 1)]"""
    spacing = 16000 / config.fft_size
    mel = 2595 * np.log10(1 + np.array([config.low_hz, config.high_hz]) / 700)
    points = 700 * (10 ** (np.linspace(*mel, config.filter_count + 2) / 2595) - 1)
    points = np.floor(points / spacing + 0.5) * spacing
    f = np.arange(config.fft_size // 2 + 1) * spacing
    rows = []
    for left, center, right in zip(points[:-2], points[1:-1], points[2:], strict=True):
        triangle = np.minimum((f - left) / (center - left), (right - f) / (right - center))
        rows.append(np.maximum(triangle, 0) * 2 / (right - left))
    return np.array(rows)


def transform(config):
    """float64 [shape=(cepstrum_count, filter_count)]"""
    m = np.arange(config.cepstrum_count)[:, None]
    j = np.arange(config.filter_count)
    matrix = np.cos(np.pi * m * (j + 0.5) / config.filter_count) / config.filter_count
    matrix[:, 0] /= 2
    return matrix


def cepstra(config, x):
    """float64 [shape=(frames, cepstrum_count)] of x at int16 scale."""
    log_mel = np.log(power_spectra(config, x) @ filters(config).T + config.log_floor)
    return log_mel @ transform(config).T


def features(config, c, quiet_frames=0):
    """float64 [shape=(vectors, feature_size)] of all cepstra of a signal."""
    c = np.asarray(c, np.float64)
    if len(c) == 0:
        return np.zeros((0, config.feature_size))
    frames = -(-(len(c) + quiet_frames) // config.stack) * config.stack
    pad = c[np.argmin(c[:, 0])] if quiet_frames else c[-1]
    padded = np.concatenate([np.repeat(c[:1], 3, 0), c, np.repeat(pad[None], frames + 3 - len(c), 0)])

    def shifted(by):
        return padded[3 + by : 3 + by + frames]

    static = shifted(0).copy()
    if config.subtract_mean:
        mean = np.array(config.mean, np.float64)
        for t in range(frames):
            mean += (static[t] - mean) * max(1 / (51 + t), 1 / 400)
            static[t] -= mean
    parts = [
        static,
        shifted(2) - shifted(-2),
        (shifted(3) - shifted(-1)) - (shifted(1) - shifted(-3)),
    ]
    return np.concatenate(parts[: 1 + config.delta_order], axis=1).reshape(-1, config.feature_size)
