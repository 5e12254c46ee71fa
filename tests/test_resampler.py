# SPDX-License-Identifier: MIT
import hashlib

import numpy as np
import pytest

from edge_runtime._native import ffi, lib
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.resampler import Resampler, resample

RATES = [8000, 11025, 22050, 32000, 44100, 48000, 96000]
EDGE = 400  # output samples at either end where the signal's own start and stop are heard


def _sine(rate, hz, seconds=1.0, amplitude=0.9):
    n = np.arange(round(rate * seconds))
    return (amplitude * np.sin(2 * np.pi * hz / rate * n)).astype(np.float32)


def _noise(count, seed=0):
    return (np.random.default_rng(seed).standard_normal(count) * 0.1).astype(np.float32)


def _decibels(power_ratio):
    return 10 * np.log10(power_ratio)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.3, 0.5, 0.7, 0.85, 0.9])
def test_sine_in_the_pass_band_keeps_time_and_amplitude(rate, fraction):
    hz = fraction * min(rate, 16000) / 2
    y = resample(_sine(rate, hz), rate)
    expected = _sine(16000, hz, len(y) / 16000).astype(np.float64)
    error = (y - expected)[EDGE:-EDGE]
    assert _decibels(np.mean(expected[EDGE:-EDGE] ** 2) / np.mean(error**2)) > 70


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate > 16000])
@pytest.mark.parametrize("hz", [8800, 9300, 10000, 15000, 20000, 40000])
def test_sine_above_the_new_nyquist_frequency_is_rejected(rate, hz):
    if hz >= rate / 2:
        hz = rate / 2 - 400
    x = _sine(rate, hz)
    y = resample(x, rate).astype(np.float64)[EDGE:-EDGE]
    assert _decibels(np.mean(y**2) / np.mean(x.astype(np.float64) ** 2)) < -70


@pytest.mark.parametrize("rate", RATES)
def test_delay_is_compensated(rate):
    # A smooth pulse at 0.25 s must have its center at 0.25 s.
    center, width = 0.25, 0.001
    n = np.arange(rate // 2) / rate
    y = resample(np.exp(-(((n - center) / width) ** 2)).astype(np.float32), rate)
    k = np.arange(len(y)) / 16000
    np.testing.assert_allclose(y, np.exp(-(((k - center) / width) ** 2)), rtol=0, atol=2e-4)


@pytest.mark.parametrize("rate", RATES)
def test_constant_stays_constant(rate):
    y = resample(np.full(rate // 4, 0.5, np.float32), rate)
    np.testing.assert_allclose(y[EDGE:-EDGE], 0.5, rtol=1e-6)


@pytest.mark.parametrize("rate", [*RATES, 16000, 192000, 12000])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 100, 441, 1000, 12345])
def test_length(rate, count):
    assert len(resample(_noise(count), rate)) == -(-count * 16000 // rate)


@pytest.mark.parametrize("rate", [*RATES, 16000, 192000])
@pytest.mark.parametrize("chunk", [1, 7, 160, 441, "random"])
def test_any_chunking_gives_the_same_bits(rate, chunk):
    x = _noise(5003)
    whole = resample(x, rate)
    rng = np.random.default_rng(1)
    resampler = Resampler(rate)
    parts, start = [], 0
    while start < len(x):
        size = int(rng.integers(0, 900)) if chunk == "random" else chunk
        parts.append(resampler.push(x[start : start + size]))
        start += size
    parts.append(resampler.flush())
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("rate", [*RATES, 16000, 192000])
@pytest.mark.parametrize("capacity", [1, 3, 1000])
def test_any_capacity_gives_the_same_bits(rate, capacity):
    x = _noise(2003)
    out = ffi.new("er_resampler **")
    assert lib.er_resampler_create(rate, out) == lib.ER_OK
    resampler = ffi.gc(out[0], lib.er_resampler_destroy)
    source = ffi.cast("const float *", ffi.from_buffer(x))
    buffer = ffi.new("float[]", capacity + 1)
    buffer[capacity] = 12345
    produced, consumed = ffi.new("size_t *"), ffi.new("size_t *")
    parts, start = [], 0
    while start < len(x):
        status = lib.er_resampler_push(
            resampler, source + start, len(x) - start, buffer, capacity, produced, consumed
        )
        assert status == lib.ER_OK
        assert produced[0] == capacity or consumed[0] == len(x) - start
        start += consumed[0]
        parts.append(bytes(ffi.buffer(buffer, 4 * produced[0])))
    while True:
        assert lib.er_resampler_flush(resampler, buffer, capacity, produced) == lib.ER_OK
        parts.append(bytes(ffi.buffer(buffer, 4 * produced[0])))
        if produced[0] < capacity:
            break
    assert buffer[capacity] == 12345
    assert b"".join(parts) == resample(x, rate).tobytes()


# Made by gcc on x86-64; another compiler, option or processor that changes one rounding changes them.
DIGESTS = {8000: "8316690b", 11025: "f2b71b3a", 44100: "24c72e43", 48000: "d676feb2", 192000: "aa13c3bc"}


@pytest.mark.parametrize("rate", DIGESTS)
def test_samples_are_the_same_bits_everywhere(rate):
    x = (np.arange(30000) * 7919 % 65536 - 32768).astype(np.int16)
    y = resample(x, rate).astype("<f4")
    assert hashlib.sha256(y.tobytes()).hexdigest()[:8] == DIGESTS[rate]


def test_16000_passes_through():
    x = _noise(1000)
    assert resample(x, 16000).tobytes() == x.tobytes()


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_reset_gives_the_same_bits(rate):
    x = _noise(3000)
    resampler = Resampler(rate)
    resampler.push(_noise(777, seed=3))
    resampler.flush()
    resampler.reset()
    again = np.concatenate([resampler.push(x), resampler.flush()])
    assert again.tobytes() == resample(x, rate).tobytes()


def test_samples_after_flush_are_refused():
    resampler = Resampler(48000)
    resampler.flush()
    with pytest.raises(EdgeRuntimeError, match="reset"):
        resampler.push(_noise(10))


@pytest.mark.parametrize("rate", [16000, 48000])
def test_bad_samples_leave_no_trace(rate):
    x = _noise(6000)
    x[[10, 20, 30]] = np.nan, np.inf, -np.inf
    good = x.copy()
    good[[10, 20, 30]] = 0, 1e6, -1e6
    y = resample(x, rate)
    assert np.isfinite(y).all()
    assert y.tobytes() == resample(good, rate).tobytes()


def test_int16_equals_float_of_full_scale_one():
    x = np.arange(-32768, 32768, 13).astype(np.int16)
    assert resample(x, 44100).tobytes() == resample(x.astype(np.float32) / 32768, 44100).tobytes()


@pytest.mark.parametrize("rate", [0, 1, 7999, 192001, 2**32 - 1, 44101, 15999])
def test_unsupported_rates_are_refused(rate):
    assert lib.er_resampler_size(rate) == 0
    with pytest.raises(EdgeRuntimeError, match=str(rate)) as caught:
        Resampler(rate)
    assert isinstance(caught.value, ValueError)
    assert caught.value.status == lib.ER_ERROR_ARGUMENT


def test_wrong_arguments_are_refused():
    for rate in (44100.0, "44100", True, None):
        with pytest.raises(TypeError, match="expected an integer in Hz"):
            Resampler(rate)
    for rate in (-8000, 2**32):
        with pytest.raises(ValueError, match="expected 8000 to 192000 Hz"):
            Resampler(rate)
    with pytest.raises(ValueError, match="float64 of shape"):
        Resampler(48000).push(np.zeros(10))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_callers_memory(rate):
    size = lib.er_resampler_size(rate)
    raw = ffi.new("char[]", size + 128)
    address = (int(ffi.cast("uintptr_t", raw)) + 63) // 64 * 64
    memory = ffi.cast("void *", address)
    out = ffi.new("er_resampler **")
    assert lib.er_resampler_init(memory, size - 1, rate, out) == lib.ER_ERROR_MEMORY
    assert lib.er_resampler_init(memory + 32, size, rate, out) == lib.ER_ERROR_MEMORY
    assert lib.er_resampler_init(ffi.NULL, size, rate, out) == lib.ER_ERROR_ARGUMENT
    assert lib.er_resampler_init(memory, size, 5, out) == lib.ER_ERROR_ARGUMENT
    assert out[0] == ffi.NULL
    ffi.memmove(memory, b"\xff" * size, size)
    assert lib.er_resampler_init(memory, size, rate, out) == lib.ER_OK
    x = _noise(3000)
    y = np.empty(10000, np.float32)
    produced, consumed = ffi.new("size_t *"), ffi.new("size_t *")
    status = lib.er_resampler_push(
        out[0],
        ffi.cast("const float *", ffi.from_buffer(x)),
        len(x),
        ffi.cast("float *", ffi.from_buffer(y)),
        len(y),
        produced,
        consumed,
    )
    assert status == lib.ER_OK and consumed[0] == len(x)
    assert y[: produced[0]].tobytes() == Resampler(rate).push(x).tobytes()
    lib.er_resampler_destroy(out[0])


def test_null_arguments_are_refused():
    out = ffi.new("er_resampler **")
    assert lib.er_resampler_create(8000, ffi.NULL) == lib.ER_ERROR_ARGUMENT
    lib.er_resampler_destroy(ffi.NULL)
    lib.er_resampler_reset(ffi.NULL)
    assert lib.er_resampler_create(8000, out) == lib.ER_OK
    resampler = ffi.gc(out[0], lib.er_resampler_destroy)
    x, n = ffi.new("float[4]"), ffi.new("size_t *")
    push, flush = lib.er_resampler_push, lib.er_resampler_flush
    assert push(ffi.NULL, x, 1, x, 1, n, n) == lib.ER_ERROR_ARGUMENT
    assert push(resampler, ffi.NULL, 1, x, 1, n, n) == lib.ER_ERROR_ARGUMENT
    assert push(resampler, x, 1, ffi.NULL, 1, n, n) == lib.ER_ERROR_ARGUMENT
    assert push(resampler, x, 1, x, 0, n, n) == lib.ER_ERROR_ARGUMENT
    assert push(resampler, x, 1, x, 1, ffi.NULL, n) == lib.ER_ERROR_ARGUMENT
    assert push(resampler, x, 1, x, 1, n, ffi.NULL) == lib.ER_ERROR_ARGUMENT
    assert push(resampler, ffi.NULL, 0, x, 1, n, n) == lib.ER_OK
    assert flush(ffi.NULL, x, 1, n) == lib.ER_ERROR_ARGUMENT
    assert flush(resampler, ffi.NULL, 1, n) == lib.ER_ERROR_ARGUMENT
    assert flush(resampler, x, 0, n) == lib.ER_ERROR_ARGUMENT
    assert flush(resampler, x, 1, ffi.NULL) == lib.ER_ERROR_ARGUMENT
