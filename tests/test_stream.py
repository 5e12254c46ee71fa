# SPDX-License-Identifier: MIT
"""Streams: steps, runs, state, reset, floats, threads, memory of the caller."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import (
    ENCODINGS,
    KERNELS,
    KINDS,
    PROFILES,
    assert_library_equals_reference,
    random_inputs,
    random_int16,
    random_model,
)

import edge_runtime
from edge_runtime import reference
from edge_runtime._native import ffi, lib

STACKS = [
    ("gru", "gru", "dense"),
    ("lstm", "dense", "dense"),
    ("dense", "rnn", "lstm"),
    ("rnn", "gru", "lstm", "dense"),
    ("dense", "dense", "gru"),
]


def stack_of(seed, kinds, **options):
    """A model of several layers, its stream, and a generator."""
    rng = np.random.default_rng([16, seed])
    model_file = random_model(rng, kinds, **options)
    return model_file, edge_runtime.Model.from_bytes(model_file.to_bytes()), rng


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
    encoding=st.sampled_from((None, *ENCODINGS)),
    profile=st.sampled_from(PROFILES),
)
def test_any_model_equals_reference(seed, kinds, encoding, profile):
    rng = np.random.default_rng(seed)
    model_file = random_model(rng, kinds, encoding, profile=profile)
    x = random_inputs(rng, 12, model_file.layers[0].input_size, profile)
    assert_library_equals_reference(model_file, x)
    state = reference.ReferenceStream(model_file).state
    if state.size:
        assert_library_equals_reference(model_file, x, random_int16(rng, state.size))


@pytest.mark.parametrize("profile", PROFILES)
def test_sixteen_layers_equal_reference(profile):
    rng = np.random.default_rng(160)
    model_file = random_model(rng, [KINDS[k % 4] for k in range(16)], profile=profile)
    assert_library_equals_reference(model_file, random_inputs(rng, 24, model_file.input_size, profile))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kinds", STACKS, ids="-".join)
def test_run_equals_steps_equals_split_runs(kinds, profile):
    _, model, rng = stack_of(1, kinds, profile=profile)
    x = random_inputs(rng, 61, model.input_size, profile)
    whole = model.stream().run_quantized(x)
    stream = model.stream()
    np.testing.assert_array_equal(np.array([stream.step_quantized(row) for row in x]), whole)
    for size in (1, 2, 7, 9, 60):
        stream = model.stream()
        parts = [stream.run_quantized(x[k : k + size]) for k in range(0, len(x), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    stream = model.stream()  # steps and runs in turn
    parts = [
        stream.run_quantized(x[k : k + 5]) if k % 2 else stream.step_quantized(x[k])[None]
        for k in (0, 1, 6, 7, 12, 13)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole[:18])


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kinds", STACKS, ids="-".join)
def test_float_run_equals_steps_equals_reference(kinds, profile):
    model_file, model, rng = stack_of(2, kinds, profile=profile)
    x = rng.normal(0, 3, (40, model.input_size)).astype(np.float32)
    x[3] = np.nan
    x[4], x[5] = np.inf, -np.inf
    x[6] = rng.choice(np.array([3e38, -3e38, 1e-45], np.float32), model.input_size)
    whole = model.stream().run(x)
    stream = model.stream()
    np.testing.assert_array_equal(np.array([stream.step(row) for row in x]), whole)
    np.testing.assert_array_equal(whole, reference.ReferenceStream(model_file).run(x))


@pytest.mark.parametrize(("profile", "most"), [(1, 127), (2, 32767)])
def test_quantized_inputs_equal_reference_at_ties_and_limits(profile, most):
    model_file, model, rng = stack_of(3, ("dense",), input_size=64, profile=profile)
    x = rng.normal(0, 4, (500, 64)).astype(np.float32)
    scale, offset = model_file.input_scale, model_file.input_offset
    ties = (rng.integers(-most - 3, most + 4, (500, 64)) + 0.5 - offset) / scale
    x = np.concatenate([x, ties.astype(np.float32), np.nextafter(ties.astype(np.float32), np.float32(0))])
    got = model.quantize_input(x)
    np.testing.assert_array_equal(got, reference.quantize_input(model_file, x))
    assert got.min() == -most and got.max() == most


def test_empty_run_changes_nothing():
    _, model, rng = stack_of(4, ("gru", "dense"))
    stream = model.stream()
    stream.run_quantized(random_inputs(rng, 12, model.input_size))
    before = stream.state
    assert stream.run_quantized(np.empty((0, model.input_size), np.int8)).shape == (0, model.output_size)
    assert stream.run(np.empty((0, model.input_size), np.float32)).shape == (0, model.output_size)
    np.testing.assert_array_equal(stream.state, before)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kinds", STACKS, ids="-".join)
def test_reset_returns_to_the_initial_state(kinds, profile):
    model_file, model, rng = stack_of(5, kinds, profile=profile, initial_state=True)
    x = random_inputs(rng, 24, model.input_size, profile)
    stream = model.stream()
    initial = stream.state
    np.testing.assert_array_equal(initial, reference.ReferenceStream(model_file).state)
    assert initial.any()
    first = stream.run_quantized(x)
    stream.reset()
    np.testing.assert_array_equal(stream.state, initial)
    np.testing.assert_array_equal(stream.run_quantized(x), first)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kinds", STACKS, ids="-".join)
def test_state_moves_to_another_stream(kinds, profile):
    _, model, rng = stack_of(6, kinds, profile=profile)
    x = random_inputs(rng, 48, model.input_size, profile)
    whole = model.stream().run_quantized(x)
    one, other = model.stream(), model.stream()
    one.run_quantized(x[:20])
    other.run_quantized(x[5:9])
    other.state = one.state
    np.testing.assert_array_equal(other.run_quantized(x[20:]), whole[20:])


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    clamp=st.sampled_from([7, 12, 31]),
    moving=st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    profile=st.sampled_from(PROFILES),
)
def test_skipping_changes_no_bit(seed, kinds, clamp, moving, profile):
    """Inputs of which a share moves; resets, states that move a little, runs and steps in turn."""
    rng = np.random.default_rng(seed)
    model_file = random_model(rng, kinds, "ternary", planes=1, clamp=clamp, profile=profile)
    x = random_inputs(rng, 30, model_file.layers[0].input_size, profile)
    for t in range(1, len(x)):
        x[t] = np.where(rng.random(x.shape[1]) < moving, x[t], x[t - 1])
    for kernel in KERNELS:
        model = edge_runtime.Model.from_bytes(model_file.to_bytes(), kernel=kernel)
        stream, expected = model.stream(skipping=True), reference.ReferenceStream(model_file)
        assert stream.skipping
        t = 0
        while t < len(x):
            what = rng.integers(0, 12)
            if what == 0:
                stream.reset()
                expected.reset()
            elif what < 4:
                state = np.where(
                    rng.random(stream.state.size) < 0.1, random_int16(rng, stream.state.size), stream.state
                )
                stream.state = expected.state = state
            elif what == 4:
                stream.skipping = not stream.skipping
            count = int(rng.integers(1, 6))
            part = x[t : t + count]
            got = stream.run_quantized(part) if what % 2 else [stream.step_quantized(row) for row in part]
            np.testing.assert_array_equal(got, expected.run_quantized(part))
            t += count
        np.testing.assert_array_equal(stream.state, expected.state)


def test_streams_that_skip_step_with_others():
    _, model, rng = stack_of(22, ("gru", "lstm", "dense"))
    x = random_inputs(rng, 20, model.input_size)
    streams = [model.stream(skipping=k == 5) for k in range(9)]
    for row in np.repeat(x, 3, axis=0):
        y = edge_runtime.Stream.step_many_quantized(streams, np.tile(row, (9, 1)))
        assert (y == y[0]).all()
    with pytest.raises(TypeError, match="bool"):
        streams[0].skipping = 1
    assert lib.er_stream_set_skipping(ffi.NULL, 1) == lib.ER_ERROR_ARGUMENT
    assert lib.er_stream_set_skipping(streams[0]._open_handle(), 2) == lib.ER_ERROR_ARGUMENT


def test_streams_of_one_model_do_not_touch_each_other():
    _, model, rng = stack_of(7, ("gru", "lstm", "dense"))
    a, b = (random_inputs(rng, 40, model.input_size) for _ in range(2))
    want_a, want_b = model.stream().run_quantized(a), model.stream().run_quantized(b)
    one, other = model.stream(), model.stream()
    got = [(one.step_quantized(p), other.step_quantized(q)) for p, q in zip(a, b, strict=True)]
    np.testing.assert_array_equal(np.array([p for p, _ in got]), want_a)
    np.testing.assert_array_equal(np.array([q for _, q in got]), want_b)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kinds", STACKS, ids="-".join)
@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_step_of_many_streams_equals_their_own_steps(kinds, profile, count):
    model_file, model, rng = stack_of(20, kinds, profile=profile)
    x = random_inputs(rng, 15 * count, model.input_size, profile).reshape(15, count, model.input_size)
    streams = [model.stream() for _ in range(count)]
    streams[0].run_quantized(x[:, 0])  # one is elsewhere already
    got = np.array([edge_runtime.Stream.step_many_quantized(streams, row) for row in x])
    for k in range(count):
        expected = reference.ReferenceStream(model_file)
        if k == 0:
            expected.run_quantized(x[:, 0])
        np.testing.assert_array_equal(got[:, k], expected.run_quantized(x[:, k]))
        np.testing.assert_array_equal(streams[k].state, expected.state)
    features = rng.normal(0, 3, (count, model.input_size)).astype(np.float32)
    features[0, 0] = np.nan
    copies = [model.stream() for _ in range(count)]
    for copy, stream in zip(copies, streams, strict=True):
        copy.state = stream.state
    expected = [copy.step(row) for copy, row in zip(copies, features, strict=True)]
    np.testing.assert_array_equal(edge_runtime.Stream.step_many(streams, features), expected)


def test_streams_that_do_not_belong_together_are_refused():
    _, model, rng = stack_of(21, ("gru", "dense"))
    _, other, _ = stack_of(21, ("gru", "dense"))
    x = random_inputs(rng, 2, model.input_size)
    stream, second = model.stream(), model.stream()
    stream.step_quantized(x[0])
    before = stream.state
    step_many = edge_runtime.Stream.step_many_quantized
    with pytest.raises(ValueError, match="twice"):
        step_many([stream, stream], x)
    with pytest.raises(ValueError, match="one model"):
        step_many([stream, other.stream()], x)
    with pytest.raises(ValueError, match="none"):
        step_many([], x[:0])
    with pytest.raises(ValueError, match="shape"):
        step_many([stream], x)
    with pytest.raises(ValueError, match="float32"):
        edge_runtime.Stream.step_many([stream, second], x)
    with pytest.raises(TypeError, match="Stream"):
        step_many([stream, model], x)
    closed = model.stream()
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        step_many([stream, closed], x)
    np.testing.assert_array_equal(stream.state, before)
    y = np.empty((2, model.output_size), np.int16)
    handles = [s._open_handle() for s in (stream, second, other.stream())]

    def call(*chosen, x=x, count=None):
        array = ffi.new("er_stream *[]", [ffi.NULL if k is None else handles[k] for k in chosen])
        x = ffi.NULL if x is None else ffi.from_buffer("int8_t[]", x)
        return lib.er_stream_step_many_quantized(
            array, len(chosen) if count is None else count, x, ffi.from_buffer("int16_t[]", y)
        )

    bad = lib.ER_ERROR_ARGUMENT
    assert [call(0, 0), call(0, 2), call(0, None), call(None, 0), call(0, 1, x=None)] == [bad] * 5
    assert lib.er_stream_step_many(ffi.NULL, 1, ffi.NULL, ffi.NULL) == bad
    assert lib.er_stream_step_many(ffi.NULL, 0, ffi.NULL, ffi.NULL) == lib.ER_OK
    np.testing.assert_array_equal(stream.state, before)
    assert call(0, 1) == lib.ER_OK  # refusals left no trace
    expected = model.stream()
    expected.step_quantized(x[0])
    np.testing.assert_array_equal(y[0], expected.step_quantized(x[0]))


def test_two_threads_on_two_streams_give_the_same_bits():
    _, model, rng = stack_of(8, ("gru", "gru", "dense"), input_size=127, output_size=65)
    x = random_inputs(rng, 400, model.input_size)
    expected = model.stream().run_quantized(x)
    results = [[], []]

    def work(mine):
        for _ in range(20):
            mine.append(model.stream().run_quantized(x))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine in results:
        assert len(mine) == 20
        for got in mine:
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("profile", "value"), [(1, -128), (1, -127), (1, 127), (2, -32768), (2, -32767), (2, 32767)]
)
def test_constant_extreme_input_for_long_equals_reference(kind, profile, value):
    rng = np.random.default_rng([17, KINDS.index(kind)])
    model_file = random_model(rng, kind, input_size=127, clamp=32767, profile=profile)
    dtype = np.int8 if profile == 1 else np.int16
    assert_library_equals_reference(model_file, np.full((60, 127), value, dtype))


@pytest.mark.parametrize("profile", PROFILES)
def test_least_integer_is_read_as_the_one_above_it(profile):
    _, model, rng = stack_of(9, ("gru", "dense"), profile=profile)
    x = random_inputs(rng, 24, model.input_size, profile)
    least = np.iinfo(x.dtype).min
    expected = model.stream().run_quantized(np.maximum(x, least + 1))
    x[x == least + 1] = least
    np.testing.assert_array_equal(model.stream().run_quantized(x), expected)


@pytest.mark.parametrize("profile", PROFILES)
def test_stream_in_the_callers_memory(profile):
    """Placed where told, nothing written outside, and the same bits as one from er_stream_create."""
    _, model, rng = stack_of(10, ("lstm", "gru", "dense"), profile=profile)
    x = random_inputs(rng, 24, model.input_size, profile)
    handle = model._open_handle()
    size = lib.er_stream_size(handle)
    assert size == model.info["stream_bytes"]
    guard = 256
    block = ffi.new("uint8_t[]", size + 64 + 2 * guard)
    ffi.buffer(block)[:] = b"\xa5" * len(block)
    start = guard + -(int(ffi.cast("uintptr_t", block)) + guard) % 64
    out = ffi.new("er_stream **")
    assert lib.er_stream_init(block + start, size, handle, out) == lib.ER_OK
    assert int(ffi.cast("uintptr_t", out[0])) == int(ffi.cast("uintptr_t", block + start))
    logits = np.empty((len(x), model.output_size), np.int16)
    function = lib.er_stream_run_quantized if profile == 1 else lib.er_stream_run_quantized16
    inputs = ffi.from_buffer(f"{x.dtype}_t[]", x)
    assert function(out[0], inputs, len(x), ffi.from_buffer("int16_t[]", logits)) == lib.ER_OK
    np.testing.assert_array_equal(logits, model.stream().run_quantized(x))
    content = bytes(ffi.buffer(block))
    assert set(content[:start]) == {0xA5}
    assert set(content[start + size :]) == {0xA5}
    lib.er_stream_destroy(out[0])  # owns nothing: does nothing


def test_stream_memory_that_does_not_fit_is_refused():
    _, model, _ = stack_of(11, ("gru",))
    handle = model._open_handle()
    size = lib.er_stream_size(handle)
    block = ffi.new("uint8_t[]", size + 128)
    start = -int(ffi.cast("uintptr_t", block)) % 64
    out = ffi.new("er_stream **", ffi.NULL)
    assert lib.er_stream_init(block + start, size - 1, handle, out) == lib.ER_ERROR_MEMORY
    assert lib.er_stream_init(block + start + 8, size, handle, out) == lib.ER_ERROR_MEMORY
    assert out[0] == ffi.NULL


@pytest.mark.parametrize("profile", PROFILES)
def test_functions_of_the_other_profile_are_refused(profile):
    _, model, _ = stack_of(22, ("gru",), input_size=4, output_size=4, profile=profile)
    handle, own = model._open_handle(), model.stream()
    stream = own._open_handle()
    streams = ffi.new("er_stream *[]", [stream])
    before = own.state
    features = ffi.new("float[4]", [1.0] * 4)
    space = ffi.new("int16_t[4]", [7] * 4)
    bytes_of = ffi.cast("int8_t *", ffi.new("int16_t[4]"))
    x, end, other = (bytes_of, "16", "") if profile == 1 else (ffi.new("int16_t[4]"), "", "16")
    wrong = {name: getattr(lib, f"er_stream_{name}_quantized{end}") for name in ("step", "run", "step_many")}
    right = {
        name: getattr(lib, f"er_stream_{name}_quantized{other}") for name in ("step", "run", "step_many")
    }
    wrong_x = ffi.cast("int16_t *" if profile == 1 else "int8_t *", x)
    bad = lib.ER_ERROR_ARGUMENT
    assert wrong["step"](stream, wrong_x, space) == bad
    assert wrong["run"](stream, wrong_x, 1, space) == bad
    assert wrong["step_many"](streams, 1, wrong_x, space) == bad
    quantize = getattr(lib, f"er_model_quantize_input{end}")
    assert quantize(handle, features, wrong_x) == bad
    assert list(space) == [7] * 4
    np.testing.assert_array_equal(own.state, before)
    assert right["step"](stream, x, space) == lib.ER_OK
    assert right["run"](stream, x, 1, space) == lib.ER_OK
    assert right["step_many"](streams, 1, x, space) == lib.ER_OK
    for wrong_type in (np.int16, np.int32) if profile == 1 else (np.int8, np.int32):
        with pytest.raises(ValueError, match=f"x: expected int{8 * profile}"):
            own.step_quantized(np.zeros(4, wrong_type))
        with pytest.raises(ValueError, match=f"x: expected int{8 * profile}"):
            own.run_quantized(np.zeros((3, 4), wrong_type))


@pytest.mark.parametrize("profile", PROFILES)
def test_null_arguments_are_refused(profile):
    _, model, _ = stack_of(12, ("gru",), profile=profile)
    end = "" if profile == 1 else "16"
    step, run = (getattr(lib, f"er_stream_{name}_quantized{end}") for name in ("step", "run"))
    many = getattr(lib, f"er_stream_step_many_quantized{end}")
    handle = model._open_handle()
    stream = model.stream()._open_handle()
    bad = lib.ER_ERROR_ARGUMENT
    out = ffi.new("er_stream **")
    block = ffi.new("uint8_t[]", 64)
    assert lib.er_stream_size(ffi.NULL) == 0
    assert lib.er_stream_create(ffi.NULL, out) == bad
    assert lib.er_stream_create(handle, ffi.NULL) == bad
    assert lib.er_stream_init(ffi.NULL, 0, handle, out) == bad
    assert lib.er_stream_init(block, 64, ffi.NULL, out) == bad
    for function in (step, lib.er_stream_step):
        assert function(ffi.NULL, ffi.NULL, ffi.NULL) == bad
        assert function(stream, ffi.NULL, ffi.NULL) == bad
    for function in (run, lib.er_stream_run):
        assert function(ffi.NULL, ffi.NULL, 0, ffi.NULL) == bad
        assert function(stream, ffi.NULL, 1, ffi.NULL) == bad
        assert function(stream, ffi.NULL, 0, ffi.NULL) == lib.ER_OK
    assert lib.er_stream_get_state(stream, ffi.NULL) == bad
    assert lib.er_stream_set_state(stream, ffi.NULL) == bad
    assert lib.er_stream_set_state(ffi.NULL, ffi.NULL) == bad
    streams = ffi.new("er_stream *[]", [stream])
    assert many(ffi.NULL, 1, ffi.NULL, ffi.NULL) == many(streams, 1, ffi.NULL, ffi.NULL) == bad
    assert many(ffi.NULL, 0, ffi.NULL, ffi.NULL) == lib.ER_OK
    assert getattr(lib, f"er_model_quantize_input{end}")(handle, ffi.NULL, ffi.NULL) == bad
    lib.er_stream_reset(ffi.NULL)
    lib.er_stream_destroy(ffi.NULL)
