# SPDX-License-Identifier: MIT
import csv
import doctest
import hashlib
import os
import pathlib

import frontend_reference as reference
import librosa
import numpy as np
import pytest

import edge_runtime.frontend
from edge_runtime._native import ffi, lib
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.frontend import Frontend, FrontendConfig

# C computes in float32, the reference in float64: greatest difference of a feature (natural
# logarithms, unit 1). The AN4 features, made by other float32 software, are held to the same.
TOLERANCE = 1e-4

CEPSTRA = FrontendConfig(delta_order=0)
CONFIGS = {
    "default": FrontendConfig(),
    "cepstra": CEPSTRA,
    "deltas": FrontendConfig(delta_order=1, stack=3),
    "recognizer": FrontendConfig(stack=2, subtract_mean=True, mean=tuple(range(8, -5, -1))),
    "small": FrontendConfig(
        window_samples=64,
        hop_samples=64,
        fft_size=64,
        filter_count=8,
        cepstrum_count=8,
        low_hz=0,
        high_hz=8000,
        preemphasis=0,
        stack=4,
    ),
    "odd": FrontendConfig(
        window_samples=333,
        hop_samples=101,
        fft_size=1024,
        filter_count=32,
        cepstrum_count=32,
        delta_order=1,
        preemphasis=0.5,
        log_floor=1.0,
    ),
    "large": FrontendConfig(
        window_samples=2048, hop_samples=512, fft_size=2048, filter_count=80, cepstrum_count=32
    ),
}


def _noise(count, amplitude=0.1, seed=0):
    return (np.random.default_rng(seed).standard_normal(count) * amplitude).astype(np.float32)


def _signals():
    # A tone so pure that most filters hear only the rounding of float32 says nothing about the
    # rules; 60 dB below full scale there is some noise, as in any recording.
    n = np.arange(8000)
    hiss = _noise(8000, 1e-3, seed=9)
    impulses = np.zeros(8000, np.float32)
    impulses[[0, 409, 410, 3000, 7999]] = [1, -1, 0.5, -0.25, 1]
    return {
        "silence": np.zeros(8000, np.float32),
        "noise": _noise(8000),
        "faint noise": _noise(8000, 1e-5),
        "sine": (0.9 * np.sin(2 * np.pi * 440.7 / 16000 * n)).astype(np.float32) + hiss,
        "chirp": (0.5 * np.sin(np.pi * 0.45 * n * n / 8000)).astype(np.float32) + hiss,
        "impulses": impulses,
        "direct current": np.full(8000, 0.25, np.float32) + hiss,
    }


SIGNALS = _signals()


def _run(frontend, x, quiet_frames=0):
    frontend.reset()
    return np.concatenate([frontend.push(x), frontend.flush(quiet_frames)])


def _data():
    """Folder of the data sets; its absence is shown as a skip."""
    folder = os.environ.get("EDGE_RUNTIME_DATA")
    if not folder:
        pytest.skip("EDGE_RUNTIME_DATA is not set: no AN4 reference features")
    return pathlib.Path(folder)


def test_defaults_are_the_library_s():
    config = ffi.new("er_frontend_config *")
    lib.er_frontend_config_default(config)
    assert (config.window_samples, config.hop_samples, config.fft_size) == (410, 160, 512)
    assert (config.filter_count, config.cepstrum_count) == (40, 13)
    assert (config.delta_order, config.stack, config.subtract_mean) == (2, 1, 0)
    assert (config.low_hz, config.high_hz) == (130, 6800)
    ours = FrontendConfig()._to_c()
    assert bytes(ffi.buffer(ours)) == bytes(ffi.buffer(config))
    assert lib.er_frontend_feature_size(config) == FrontendConfig().feature_size == 39


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_feature_size_and_step(config):
    c = config._to_c()
    assert lib.er_frontend_feature_size(c) == config.feature_size
    assert Frontend(config).feature_size == config.feature_size
    assert config.step_samples == config.hop_samples * config.stack


# ------------------------------------------------------------------------------ against references


def test_an4_features_are_reproduced():
    folder = _data()
    soundfile = pytest.importorskip("soundfile", reason="soundfile reads the FLAC files of the data")
    mfcc = np.load(folder / "an4_mfcc" / "features.npz")["mfcc"]
    with open(folder / "an4_mfcc" / "index.csv", newline="") as file:
        expected = {row["source"]: row for row in csv.DictReader(file)}
    frontend = Frontend(CEPSTRA)
    pairs = 0
    with open(folder / "strings_misc" / "index.csv", newline="") as file:
        for row in csv.DictReader(file):
            name = row["source"].rsplit("/", 1)[-1]
            if name not in expected:
                continue
            start, count = int(row["start_sample"]), int(row["num_samples"])
            x, rate = soundfile.read(
                folder / "strings_misc" / row["file"], frames=count, start=start, dtype="int16"
            )
            first, frames = int(expected[name]["start_frame"]), int(expected[name]["num_frames"])
            assert rate == 16000
            np.testing.assert_allclose(
                _run(frontend, x), mfcc[first : first + frames], rtol=0, atol=TOLERANCE, err_msg=name
            )
            pairs += 1
    assert pairs == 12


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_features_equal_the_float64_reference(config, signal):
    x = SIGNALS[signal]
    cepstra = reference.cepstra(config, x.astype(np.float64) * 32768)
    frontend = Frontend(config)
    for quiet_frames in (0, 5):
        expected = reference.features(config, cepstra, quiet_frames)
        np.testing.assert_allclose(_run(frontend, x, quiet_frames), expected, rtol=0, atol=TOLERANCE)


# A Frontend that gives as many cepstra as filters can be undone: mel power from cepstra.
INVERTIBLE = FrontendConfig(filter_count=32, cepstrum_count=32, delta_order=0, preemphasis=0)


def _mel_power(config, x):
    log_mel = _run(Frontend(config), x) @ np.linalg.inv(reference.transform(config)).T
    return np.exp(log_mel) - config.log_floor


def test_mel_power_equals_numpy_fft():
    x = SIGNALS["noise"]
    expected = reference.power_spectra(INVERTIBLE, x * 32768.0) @ reference.filters(INVERTIBLE).T
    np.testing.assert_allclose(_mel_power(INVERTIBLE, x), expected, rtol=TOLERANCE)


def test_mel_power_equals_librosa():
    # librosa centers the window in the FFT; a shift does not change magnitudes.
    config = INVERTIBLE
    x = SIGNALS["noise"].astype(np.float64) * 32768
    margin = (config.fft_size - config.window_samples) // 2
    power = (
        np.abs(
            librosa.stft(
                np.concatenate([np.zeros(margin), x, np.zeros(margin)]),
                n_fft=config.fft_size,
                hop_length=config.hop_samples,
                win_length=config.window_samples,
                window=np.hamming(config.window_samples),
                center=False,
            )
        ).T
        ** 2
    )
    grid = 16000 / config.fft_size
    points = librosa.mel_frequencies(
        config.filter_count + 2, fmin=config.low_hz, fmax=config.high_hz, htk=True
    )
    points = np.round(points / grid) * grid
    f = librosa.fft_frequencies(sr=16000, n_fft=config.fft_size)
    triangles = [
        np.interp(f, points[i : i + 3], [0, 2 / (points[i + 2] - points[i]), 0], 0, 0)
        for i in range(config.filter_count)
    ]
    expected = power @ np.array(triangles).T
    np.testing.assert_allclose(
        _mel_power(config, SIGNALS["noise"])[: len(expected)], expected, rtol=TOLERANCE
    )


DIGESTS = {
    "default": "19ade5d97d8ae139",
    "recognizer": "0899c65fb74c85c6",
    "odd": "76ef365675d95bda",
    "large": "c0886b4960473497",
}


def test_features_are_the_same_bits_everywhere():
    # Samples by integer arithmetic alone. The digests were made by gcc on x86-64; another compiler,
    # option or processor that changes one rounding changes them.
    state, samples = 1, []
    for n in range(16000):
        state = (state * 1103515245 + 12345) % 2**31
        samples.append((state >> 16) % 2001 - 1000 + (n % 100 - 50) * (n // 100))
    x = np.array(samples, np.int16)
    digests = {
        name: hashlib.sha256(_run(Frontend(CONFIGS[name]), x, 3).astype("<f4").tobytes()).hexdigest()[:16]
        for name in ("default", "recognizer", "odd", "large")
    }
    assert digests == DIGESTS


# -------------------------------------------------------------------------------------- streaming


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 161, 409, 410, 411, 569, 570, 571, 729, 730, 731, 8000])
def test_frame_count(samples):
    frames = 0 if samples == 0 else 1 if samples < 410 else 2 + (samples - 410) // 160
    x = _noise(samples)
    assert reference.frame_count(CEPSTRA, samples) == frames
    assert _run(Frontend(CEPSTRA), x).shape == (frames, 13)
    assert _run(Frontend(), x).shape == (frames, 39)
    assert _run(Frontend(FrontendConfig(stack=2)), x).shape == ((frames + 1) // 2, 78)
    np.testing.assert_allclose(
        _run(Frontend(CEPSTRA), x), reference.cepstra(CEPSTRA, x * 32768.0), rtol=0, atol=TOLERANCE
    )


def test_frame_count_without_overlap_has_no_empty_last_frame():
    frontend = Frontend(CONFIGS["small"])
    assert len(_run(frontend, _noise(64 * 8))) == 2
    assert len(_run(frontend, _noise(64 * 8 + 1))) == 3


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("chunk", [1, 7, 160, 161, 4096, "random"])
def test_any_chunking_gives_the_same_bits(config, chunk):
    x = _noise(9001)
    frontend = Frontend(config)
    whole = _run(frontend, x, 3)
    rng = np.random.default_rng(1)
    frontend.reset()
    parts, start = [], 0
    while start < len(x):
        size = int(rng.integers(0, 700)) if chunk == "random" else chunk
        parts.append(frontend.push(x[start : start + size]))
        start += size
    parts.append(frontend.flush(3))
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def _run_with_capacity(config, function, x, item_floats, quiet_frames, capacity):
    """Through the C interface, with room for few vectors; checks the bounds of the output."""
    out = ffi.new("er_frontend **")
    assert lib.er_frontend_create(config._to_c(), out) == lib.ER_OK
    frontend = ffi.gc(out[0], lib.er_frontend_destroy)
    size = config.feature_size
    buffer = ffi.new("float[]", capacity * size + 1)
    buffer[capacity * size] = 12345
    source = ffi.cast("const float *", ffi.from_buffer(x))
    frames, consumed = ffi.new("size_t *"), ffi.new("size_t *")
    parts, start = [], 0
    while start < len(x):
        status = function(
            frontend, source + start * item_floats, len(x) - start, buffer, capacity, frames, consumed
        )
        assert status == lib.ER_OK and frames[0] <= capacity
        assert frames[0] == capacity or consumed[0] == len(x) - start
        start += consumed[0]
        parts.append(bytes(ffi.buffer(buffer, frames[0] * size * 4)))
    while True:
        assert lib.er_frontend_flush(frontend, quiet_frames, buffer, capacity, frames) == lib.ER_OK
        parts.append(bytes(ffi.buffer(buffer, frames[0] * size * 4)))
        if frames[0] < capacity:
            break
    assert buffer[capacity * size] == 12345
    assert lib.er_frontend_flush(frontend, quiet_frames, buffer, capacity, frames) == lib.ER_OK
    assert frames[0] == 0
    return b"".join(parts)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("capacity", [1, 2, 5, 1000])
@pytest.mark.parametrize("quiet_frames", [0, 6])
def test_any_capacity_gives_the_same_bits(config, capacity, quiet_frames):
    x = _noise(4001)
    whole = _run(Frontend(config), x, quiet_frames).tobytes()
    push = lib.er_frontend_push
    assert _run_with_capacity(config, push, x, 1, quiet_frames, capacity) == whole

    width = config.cepstrum_count
    c = _noise(23 * width).reshape(23, width)
    frontend = Frontend(config)
    whole = np.concatenate([frontend.push_cepstra(c), frontend.flush(quiet_frames)]).tobytes()
    push = lib.er_frontend_push_cepstra
    assert _run_with_capacity(config, push, c, width, quiet_frames, capacity) == whole


def test_push_takes_all_input_when_the_output_just_fits():
    config = FrontendConfig(delta_order=0)
    out = ffi.new("er_frontend **")
    lib.er_frontend_create(config._to_c(), out)
    frontend = ffi.gc(out[0], lib.er_frontend_destroy)
    frames, consumed = ffi.new("size_t *"), ffi.new("size_t *")
    buffer = ffi.new("float[13]")
    for count, used in ((569, 569), (570, 569), (800, 569)):
        lib.er_frontend_reset(frontend)
        x = ffi.new("float[]", count)
        assert lib.er_frontend_push(frontend, x, count, buffer, 1, frames, consumed) == lib.ER_OK
        assert (frames[0], consumed[0]) == (1, used)


def test_reset_gives_the_same_bits():
    frontend = Frontend(CONFIGS["recognizer"])
    x = _noise(5000)
    first = _run(frontend, x, 4)
    frontend.reset()
    frontend.push(_noise(3333, 1.0, seed=5))
    assert _run(frontend, x, 4).tobytes() == first.tobytes()
    frontend.reset()
    frontend.push_cepstra(np.ones((3, 13), np.float32))
    assert _run(frontend, x, 4).tobytes() == first.tobytes()


# ------------------------------------------------------------------------- deltas, mean, the end


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("frames", [0, 1, 2, 3, 4, 7, 8, 9, 500])
def test_push_cepstra_equals_the_float64_reference(config, frames):
    c = _noise(frames * config.cepstrum_count, 3.0).reshape(frames, -1 if frames else config.cepstrum_count)
    for quiet_frames in (0, 1, 7):
        frontend = Frontend(config)
        got = np.concatenate([frontend.push_cepstra(c), frontend.flush(quiet_frames)])
        expected = reference.features(config, c, quiet_frames)
        np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("delta_order, lookahead", [(0, 0), (1, 2), (2, 3)])
def test_lookahead(delta_order, lookahead):
    frontend = Frontend(FrontendConfig(delta_order=delta_order))
    c = _noise(20 * 13).reshape(20, 13)
    assert len(frontend.push_cepstra(c)) == 20 - lookahead


def test_samples_and_their_cepstra_give_the_same_bits():
    x = _noise(8000)
    c = _run(Frontend(CEPSTRA), x)
    frontend = Frontend(CONFIGS["recognizer"])
    through = np.concatenate([frontend.push_cepstra(c), frontend.flush(9)])
    assert through.tobytes() == _run(frontend, x, 9).tobytes()


def test_flush_appends_the_quietest_frame():
    x = np.concatenate([_noise(8000, 0.2), _noise(8000, 0.001, 1), _noise(8000, 0.2, 2)])
    c = _run(Frontend(CEPSTRA), x)
    got = _run(Frontend(CEPSTRA), x, 30)
    assert len(got) == len(c) + 30
    assert 50 <= np.argmin(c[:, 0]) < 100
    assert (got[len(c) :] == c[np.argmin(c[:, 0])]).all()


def test_flush_without_signal_gives_nothing():
    for quiet_frames in (0, 25):
        assert Frontend().flush(quiet_frames).shape == (0, 39)


# ---------------------------------------------------------------------------------- odd samples


def test_int16_equals_float_of_full_scale_one():
    x = np.array([-32768, 32767, 0, 1, -1, 1234] * 500, np.int16)
    frontend = Frontend()
    assert _run(frontend, x).tobytes() == _run(frontend, x.astype(np.float32) / 32768).tobytes()
    assert _run(frontend, x).tobytes() == _run(frontend, np.repeat(x, 2)[::2]).tobytes()


def test_bad_samples_are_made_harmless():
    x = _noise(4000)
    bad, good = x.copy(), x.copy()
    for at, value, instead in (
        (100, np.nan, 0),
        (1000, np.inf, 1),
        (1500, -np.inf, -1),
        (2000, 7.5, 1),
        (2500, -1e30, -1),
    ):
        bad[at], good[at] = value, instead
    frontend = Frontend(CONFIGS["recognizer"])
    assert _run(frontend, bad).tobytes() == _run(frontend, good).tobytes()


def test_bad_cepstra_do_not_stay_in_the_mean():
    c = _noise(1000 * 13).reshape(1000, 13)
    c[3, 0], c[4, 1], c[5, 2] = np.nan, np.inf, -np.inf
    assert np.isfinite(Frontend(CONFIGS["recognizer"]).push_cepstra(c)).all()


@pytest.mark.parametrize(
    "samples, error, words",
    [
        ([0.0] * 100, TypeError, "list"),
        (np.zeros(100), ValueError, "float64 of shape (100,)"),
        (np.zeros(100, np.int32), ValueError, "int32 of shape (100,)"),
        (np.zeros(100, ">i2"), ValueError, ">i2 of shape (100,)"),
        (np.zeros((100, 2), np.int16), ValueError, "int16 of shape (100, 2)"),
    ],
)
def test_wrong_samples_are_refused(samples, error, words):
    with pytest.raises(error, match="expected a 1-D int16 or float32 array") as caught:
        Frontend().push(samples)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "cepstra, error",
    [
        ([[0.0] * 13], TypeError),
        (np.zeros((5, 13)), ValueError),
        (np.zeros((5, 12), np.float32), ValueError),
        (np.zeros(13, np.float32), ValueError),
    ],
)
def test_wrong_cepstra_are_refused(cepstra, error):
    with pytest.raises(error, match="expected"):
        Frontend().push_cepstra(cepstra)


def test_calls_out_of_order_are_refused():
    frontend = Frontend()
    frontend.push(_noise(10))
    with pytest.raises(EdgeRuntimeError):
        frontend.push_cepstra(np.zeros((1, 13), np.float32))
    frontend.flush(2)
    with pytest.raises(EdgeRuntimeError):
        frontend.push(_noise(10))
    with pytest.raises(EdgeRuntimeError):
        frontend.flush(3)
    frontend.reset()
    assert frontend.push_cepstra(np.zeros((4, 13), np.float32)).shape == (1, 39)


# ------------------------------------------------------------------------------- configurations


@pytest.mark.parametrize(
    "change",
    [
        {"window_samples": 31},
        {"window_samples": 513},
        {"hop_samples": 15},
        {"hop_samples": 411},
        {"fft_size": 32, "window_samples": 32, "hop_samples": 16},
        {"fft_size": 500},
        {"fft_size": 4096},
        {"filter_count": 7, "cepstrum_count": 7},
        {"filter_count": 81, "fft_size": 2048},
        {"filter_count": 80},  # corner points coincide at 512
        {"cepstrum_count": 0},
        {"cepstrum_count": 33},
        {"filter_count": 12},
        {"delta_order": 3},
        {"stack": 0},
        {"stack": 5},
        {"preemphasis": -0.1},
        {"preemphasis": 1.1},
        {"preemphasis": float("nan")},
        {"low_hz": -1},
        {"low_hz": 6800},
        {"low_hz": float("nan")},
        {"high_hz": 8001},
        {"high_hz": float("inf")},
        {"high_hz": float("nan")},
        {"log_floor": 0},
        {"log_floor": float("inf")},
        {"log_floor": float("nan")},
        {"mean": (float("nan"),) * 13},
        {"mean": (float("inf"),) * 13},
    ],
    ids=str,
)
def test_illegal_configuration_is_refused(change):
    config = FrontendConfig(**change)
    c = config._to_c()
    assert lib.er_frontend_size(c) == 0
    assert lib.er_frontend_feature_size(c) == 0
    out = ffi.new("er_frontend **")
    assert lib.er_frontend_create(c, out) == lib.ER_ERROR_FRONTEND
    assert out[0] == ffi.NULL
    with pytest.raises(EdgeRuntimeError) as caught:
        Frontend(config)
    assert isinstance(caught.value, ValueError)
    assert caught.value.status == lib.ER_ERROR_FRONTEND


def test_configuration_refuses_wrong_types():
    for change in ({"stack": 2.0}, {"stack": True}, {"window_samples": "410"}):
        with pytest.raises(TypeError, match="expected an integer"):
            FrontendConfig(**change)
    for change in ({"stack": -1}, {"subtract_mean": 2}, {"mean": (1.0, 2.0)}):
        with pytest.raises(ValueError, match="expected"):
            FrontendConfig(**change)
    with pytest.raises(TypeError, match="expected a FrontendConfig"):
        Frontend({"stack": 2})
    with pytest.raises(TypeError, match="quiet_frames: expected an integer"):
        Frontend().flush(2.5)
    with pytest.raises(ValueError, match="quiet_frames: expected an integer from 0"):
        Frontend().flush(-1)


def test_mean_values_behind_the_cepstra_are_refused():
    c = FrontendConfig()._to_c()
    c.mean[13] = 1.0
    assert lib.er_frontend_size(c) == 0
    c.mean[13] = 0.0
    c.subtract_mean = 2
    assert lib.er_frontend_size(c) == 0


# ---------------------------------------------------------------------------------- C interface


def _aligned(size, offset=0):
    """A 64-byte aligned address in fresh memory; the first value keeps the memory alive."""
    memory = ffi.new("char[]", size + 128)
    address = int(ffi.cast("uintptr_t", memory))
    return memory, ffi.cast("void *", (address + 63) // 64 * 64 + offset)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_callers_memory(config):
    c = config._to_c()
    size = lib.er_frontend_size(c)
    out = ffi.new("er_frontend **")
    keep, memory = _aligned(size)
    assert lib.er_frontend_init(memory, size - 1, c, out) == lib.ER_ERROR_MEMORY
    assert lib.er_frontend_init(memory + 32, size, c, out) == lib.ER_ERROR_MEMORY
    assert lib.er_frontend_init(ffi.NULL, size, c, out) == lib.ER_ERROR_ARGUMENT
    assert out[0] == ffi.NULL
    ffi.memmove(memory, b"\xff" * size, size)
    assert lib.er_frontend_init(memory, size, c, out) == lib.ER_OK
    x = _noise(3000)
    buffer = np.empty((100, config.feature_size), np.float32)
    frames, consumed = ffi.new("size_t *"), ffi.new("size_t *")
    status = lib.er_frontend_push(
        out[0],
        ffi.cast("const float *", ffi.from_buffer(x)),
        len(x),
        ffi.cast("float *", ffi.from_buffer(buffer)),
        100,
        frames,
        consumed,
    )
    assert status == lib.ER_OK
    assert buffer[: frames[0]].tobytes() == Frontend(config).push(x).tobytes()
    lib.er_frontend_destroy(out[0])
    del keep


def test_null_arguments_are_refused():
    c = FrontendConfig()._to_c()
    out = ffi.new("er_frontend **")
    assert lib.er_frontend_create(ffi.NULL, out) == lib.ER_ERROR_ARGUMENT
    assert lib.er_frontend_create(c, ffi.NULL) == lib.ER_ERROR_ARGUMENT
    assert lib.er_frontend_size(ffi.NULL) == 0
    lib.er_frontend_config_default(ffi.NULL)
    lib.er_frontend_reset(ffi.NULL)
    lib.er_frontend_destroy(ffi.NULL)
    assert lib.er_frontend_create(c, out) == lib.ER_OK
    frontend = ffi.gc(out[0], lib.er_frontend_destroy)
    x, y = ffi.new("float[13]"), ffi.new("float[39]")
    n = ffi.new("size_t *")
    for push in (lib.er_frontend_push, lib.er_frontend_push_cepstra):
        assert push(ffi.NULL, x, 1, y, 1, n, n) == lib.ER_ERROR_ARGUMENT
        assert push(frontend, ffi.NULL, 1, y, 1, n, n) == lib.ER_ERROR_ARGUMENT
        assert push(frontend, x, 1, ffi.NULL, 1, n, n) == lib.ER_ERROR_ARGUMENT
        assert push(frontend, x, 1, y, 0, n, n) == lib.ER_ERROR_ARGUMENT
        assert push(frontend, x, 1, y, 1, ffi.NULL, n) == lib.ER_ERROR_ARGUMENT
        assert push(frontend, x, 1, y, 1, n, ffi.NULL) == lib.ER_ERROR_ARGUMENT
        assert push(frontend, ffi.NULL, 0, y, 1, n, n) == lib.ER_OK
    assert lib.er_frontend_flush(ffi.NULL, 0, y, 1, n) == lib.ER_ERROR_ARGUMENT
    assert lib.er_frontend_flush(frontend, 0, ffi.NULL, 1, n) == lib.ER_ERROR_ARGUMENT
    assert lib.er_frontend_flush(frontend, 0, y, 0, n) == lib.ER_ERROR_ARGUMENT
    assert lib.er_frontend_flush(frontend, 0, y, 1, ffi.NULL) == lib.ER_ERROR_ARGUMENT


def test_docstring_examples():
    assert doctest.testmod(edge_runtime.frontend).failed == 0
