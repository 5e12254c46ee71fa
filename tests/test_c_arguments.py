# SPDX-License-Identifier: MIT
"""Every function of the C interface without each of its pointers; objects in the caller's memory."""

import make_golden
import numpy as np
import pytest
from word_models import tone_model, tone_signal

from edge_runtime._native import ffi, lib

#: Pointers that may be left out, by their place among the arguments.
OPTIONAL = {
    "er_model_create": (2, 4),
    "er_model_create_from_file": (1, 3),
    "er_model_init": (4, 6),
    "er_model_size": (2, 4),
    "er_crc32": (0,),
}
FULL = tone_model(threshold=0.5)
FINE = (make_golden.GOLDEN / "lstm_ternary_fine.ernn").read_bytes()
TOLD = (make_golden.GOLDEN / "stack_mixed_full.ernn").read_bytes()  # with metadata
DENSE = (make_golden.GOLDEN / "dense_ternary_small.ernn").read_bytes()


def model_of(data):
    out = ffi.new("er_model **")
    assert lib.er_model_create(data, len(data), ffi.NULL, out, ffi.NULL) == lib.ER_OK
    return ffi.gc(out[0], lib.er_model_destroy)


def create(kind, *arguments):
    """An object, which keeps its model."""
    out = ffi.new(f"er_{kind} **")
    assert getattr(lib, f"er_{kind}_create")(*arguments, out) == lib.ER_OK
    destroy = getattr(lib, f"er_{kind}_destroy")
    return ffi.gc(out[0], lambda made, kept=arguments: destroy(made))


def frontend_config():
    config = ffi.new("er_frontend_config *")
    lib.er_frontend_config_default(config)
    return config


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """Function to arguments that are right, each function's in its order."""
    full, fine, told = model_of(FULL), model_of(FINE), model_of(TOLD)
    path = tmp_path_factory.mktemp("c") / "full.ernn"
    path.write_bytes(FULL)
    size = ffi.new("size_t *")
    assert lib.er_model_size(FULL, len(FULL), ffi.NULL, size, ffi.NULL) == lib.ER_OK
    keep = []

    def new(kind, value=None):
        keep.append(ffi.new(kind, value) if value is not None else ffi.new(kind))
        return keep[-1]

    def memory(count):
        block = new("char[]", count + 64)
        return block + -int(ffi.cast("uintptr_t", block)) % 64, count

    config = frontend_config()
    stream, fine_stream = create("stream", full), create("stream", fine)
    decoder, frontend = create("decoder", full), create("frontend", config)
    recognizer, resampler = create("recognizer", full, 16000), create("resampler", 8000)
    floats, bytes_, shorts = new("float[]", 4096), new("int8_t[]", 4096), new("int16_t[]", 4096)
    states = new("int16_t[]", 4096)
    words, one, other = new("er_word[]", 4), new("size_t *"), new("size_t *")
    many, fine_many = new("er_stream *[]", [stream]), new("er_stream *[]", [fine_stream])
    found = {
        "er_model_create": (FULL, len(FULL), ffi.NULL, new("er_model **"), ffi.NULL),
        "er_model_create_from_file": (str(path).encode(), ffi.NULL, new("er_model **"), ffi.NULL),
        "er_model_size": (FULL, len(FULL), ffi.NULL, size, ffi.NULL),
        "er_model_init": (*memory(size[0]), FULL, len(FULL), ffi.NULL, new("er_model **"), ffi.NULL),
        "er_model_describe": (full, new("er_model_info *")),
        "er_model_metadata": (told, 0, new("char **"), new("char **")),
        "er_stream_init": (*memory(lib.er_stream_size(full)), full, new("er_stream **")),
        "er_stream_create": (full, new("er_stream **")),
        "er_model_quantize_input": (full, floats, bytes_),
        "er_model_quantize_input16": (fine, floats, shorts),
        "er_stream_step_quantized": (stream, bytes_, shorts),
        "er_stream_step_quantized16": (fine_stream, shorts, states),
        "er_stream_step": (stream, floats, floats),
        "er_stream_run": (stream, floats, 1, floats),
        "er_stream_run_quantized": (stream, bytes_, 1, shorts),
        "er_stream_run_quantized16": (fine_stream, shorts, 1, states),
        "er_stream_step_many": (many, 1, floats, floats),
        "er_stream_step_many_quantized": (many, 1, bytes_, shorts),
        "er_stream_step_many_quantized16": (fine_many, 1, shorts, states),
        "er_stream_set_skipping": (stream, 0),
        "er_stream_get_state": (fine_stream, shorts),
        "er_stream_set_state": (fine_stream, shorts),
        "er_resampler_init": (*memory(lib.er_resampler_size(8000)), 8000, new("er_resampler **")),
        "er_resampler_create": (8000, new("er_resampler **")),
        "er_resampler_push": (resampler, floats, 1, floats, 64, one, other),
        "er_frontend_init": (*memory(lib.er_frontend_size(config)), config, new("er_frontend **")),
        "er_frontend_create": (config, new("er_frontend **")),
        "er_frontend_push": (frontend, floats, 1, floats, 4, one, other),
        "er_frontend_flush": (frontend, 0, floats, 4, one),
        "er_decoder_init": (*memory(lib.er_decoder_size(full)), full, new("er_decoder **")),
        "er_decoder_create": (full, new("er_decoder **")),
        "er_decoder_set_threshold": (decoder, 0.5),
        "er_decoder_set_bias": (decoder, 0, 0),
        "er_decoder_set_string_silence": (decoder, 500),
        "er_decoder_partial": (decoder, words, new("uint32_t *")),
        "er_decoder_push": (decoder, shorts, 1, words, 4, one, other),
        "er_decoder_finish": (decoder, words, 4, one),
        "er_recognizer_init": (
            *memory(lib.er_recognizer_size(full, 16000)),
            full,
            16000,
            new("er_recognizer **"),
        ),
        "er_recognizer_create": (full, 16000, new("er_recognizer **")),
        "er_recognizer_set_threshold": (recognizer, 0.5),
        "er_recognizer_set_string_silence": (recognizer, 500),
        "er_recognizer_set_gate": (recognizer, 500),
        "er_recognizer_partial": (recognizer, words, new("uint32_t *")),
        "er_recognizer_push": (recognizer, floats, 1, words, 4, one, other),
        "er_recognizer_finish": (recognizer, words, 4, one),
        "er_recognizer_posteriors": (recognizer, floats),
        "er_recognizer_log_mel": (recognizer, floats),
    }
    yield found
    for name, values in found.items():  # what was made while the test called it rightly
        kind = name.removesuffix("_from_file").removesuffix("_create")
        if name != kind and name.startswith(kind) and "create" in name:
            out = next(v for v in values if isinstance(v, ffi.CData) and ffi.typeof(v).cname.endswith("* *"))
            getattr(lib, f"{kind}_destroy")(out[0])


def test_all_functions_that_can_fail_are_here(arguments):
    failing = {name for name in dir(lib) if name.startswith("er_") and callable(getattr(lib, name))}
    failing = {name for name in failing if ffi.typeof(getattr(lib, name)).result.cname == "er_status"}
    others = {"er_resampler_flush", "er_frontend_push_cepstra", "er_recognizer_push_cepstra"}  # below
    assert failing == set(arguments) | others


def test_no_pointer_may_be_left_out(arguments):
    """Nothing is done without one; and with all of them it is."""
    for name, values in arguments.items():
        function = getattr(lib, name)
        for place, kind in enumerate(ffi.typeof(function).args):
            if kind.kind == "pointer" and place not in OPTIONAL.get(name, ()):
                call = [*values[:place], ffi.NULL, *values[place + 1 :]]
                assert function(*call) == lib.ER_ERROR_ARGUMENT, (name, place)
    for name, values in arguments.items():
        assert getattr(lib, name)(*values) == lib.ER_OK, name


def test_functions_that_cannot_fail_take_no_object(arguments):
    for kind in ("stream", "resampler", "frontend", "decoder", "recognizer"):
        getattr(lib, f"er_{kind}_destroy")(ffi.NULL)
        getattr(lib, f"er_{kind}_reset")(ffi.NULL)
    lib.er_model_destroy(ffi.NULL)
    lib.er_frontend_config_default(ffi.NULL)
    assert lib.er_stream_size(ffi.NULL) == lib.er_decoder_size(ffi.NULL) == 0
    assert lib.er_recognizer_size(ffi.NULL, 16000) == lib.er_frontend_size(ffi.NULL) == 0
    assert lib.er_frontend_feature_size(ffi.NULL) == lib.er_resampler_size(0) == 0
    assert lib.er_decoder_ended_strings(ffi.NULL) == lib.er_recognizer_ended_strings(ffi.NULL) == 0
    assert lib.er_recognizer_is_idle(ffi.NULL) == 0
    assert lib.er_model_label(ffi.NULL, 0) == ffi.NULL


def test_flushing_and_cepstra_check_their_arguments():
    resampler, recognizer = create("resampler", 8000), create("recognizer", model_of(FULL), 16000)
    frontend = create("frontend", frontend_config())
    floats, words = ffi.new("float[]", 4096), ffi.new("er_word[]", 4)
    one, other = ffi.new("size_t *"), ffi.new("size_t *")
    for function, values in (
        (lib.er_frontend_push_cepstra, (frontend, floats, 2, floats, 4, one, other)),
        (lib.er_recognizer_push_cepstra, (recognizer, floats, 2, words, 4, one, other)),
        (lib.er_resampler_flush, (resampler, floats, 64, one)),
    ):
        for place, value in enumerate(values):
            if isinstance(value, ffi.CData):
                assert function(*values[:place], ffi.NULL, *values[place + 1 :]) == lib.ER_ERROR_ARGUMENT
        assert function(*values) == lib.ER_OK
    # After a flush has begun, no samples; none are no mistake.
    assert lib.er_resampler_push(resampler, floats, 1, floats, 64, one, other) == lib.ER_ERROR_ARGUMENT
    assert lib.er_resampler_push(resampler, ffi.NULL, 0, floats, 64, one, other) == lib.ER_OK
    # Samples after cepstra need a reset.
    assert lib.er_recognizer_push(recognizer, floats, 8, words, 4, one, other) == lib.ER_ERROR_ARGUMENT
    lib.er_recognizer_reset(recognizer)
    assert lib.er_recognizer_push(recognizer, floats, 8, words, 4, one, other) == lib.ER_OK


def test_nothing_to_do_needs_no_arrays():
    stream, fine = create("stream", model_of(DENSE)), create("stream", model_of(FINE))
    null = ffi.NULL
    assert lib.er_stream_run(stream, null, 0, null) == lib.ER_OK
    assert lib.er_stream_run_quantized(stream, null, 0, null) == lib.ER_OK
    assert lib.er_stream_run_quantized16(fine, null, 0, null) == lib.ER_OK
    for function in (
        lib.er_stream_step_many,
        lib.er_stream_step_many_quantized,
        lib.er_stream_step_many_quantized16,
    ):
        assert function(null, 0, null, null) == lib.ER_OK
    # A model of dense layers has no state.
    assert lib.er_stream_get_state(stream, null) == lib.er_stream_set_state(stream, null) == lib.ER_OK


def test_limits_of_settings():
    """Each bound is allowed, what lies beyond is not and changes nothing."""
    decoder, recognizer = create("decoder", model_of(FULL)), create("recognizer", model_of(FULL), 16000)
    model, outputs = model_of(FULL), ffi.new("er_model_info *")
    assert lib.er_model_describe(model, outputs) == lib.ER_OK
    good, bad = lib.ER_OK, lib.ER_ERROR_ARGUMENT
    for set_one in (
        lambda value: lib.er_decoder_set_string_silence(decoder, value),
        lambda value: lib.er_recognizer_set_string_silence(recognizer, value),
    ):
        assert [set_one(value) for value in (19, 20, 60000, 60001, 0)] == [bad, good, good, bad, bad]
    for set_one in (
        lambda value: lib.er_decoder_set_threshold(decoder, value),
        lambda value: lib.er_recognizer_set_threshold(recognizer, value),
    ):
        assert [set_one(value) for value in (0, 1, -1e-6, 1.00001, np.nan)] == [good, good, bad, bad, bad]
    assert lib.er_decoder_set_bias(decoder, outputs.output_size - 1, -32768) == good
    assert lib.er_decoder_set_bias(decoder, outputs.output_size, 0) == bad
    gate = [lib.er_recognizer_set_gate(recognizer, value) for value in (0, 499, 500, 60000, 60001)]
    assert gate == [good, bad, good, good, bad]


@pytest.mark.parametrize("kind", ["stream", "decoder", "resampler", "frontend", "recognizer"])
def test_memory_of_the_caller_must_fit_and_be_aligned(kind):
    model = model_of(FULL)
    needs = {
        "stream": (model,),
        "decoder": (model,),
        "resampler": (44100,),
        "frontend": (frontend_config(),),
        "recognizer": (model, 44100),
    }[kind]
    size = getattr(lib, f"er_{kind}_size")(*needs)
    init, out = getattr(lib, f"er_{kind}_init"), ffi.new(f"er_{kind} **")
    assert size > 0
    block = ffi.new("char[]", size + 128)
    start = block + -int(ffi.cast("uintptr_t", block)) % 64
    ffi.memmove(block, b"\xa5" * (size + 128), size + 128)
    for place, length in ((start, size - 1), (start + 1, size), (start + 32, size), (start, 0)):
        assert init(place, length, *needs, out) == lib.ER_ERROR_MEMORY
        assert out[0] == ffi.NULL
    assert bytes(ffi.buffer(block)) == b"\xa5" * (size + 128)
    assert init(start, size, *needs, out) == lib.ER_OK
    assert out[0] == ffi.cast(f"er_{kind} *", start)
    behind = ffi.buffer(block)[int(ffi.cast("uintptr_t", start)) - int(ffi.cast("uintptr_t", block)) + size :]
    assert set(behind) == {0xA5}
    getattr(lib, f"er_{kind}_destroy")(out[0])  # releases nothing


@pytest.mark.parametrize("data", [FINE, DENSE])
def test_models_without_words_have_no_decoder_or_recognizer(data):
    model = model_of(data)
    assert lib.er_decoder_size(model) == lib.er_recognizer_size(model, 16000) == 0
    block = ffi.new("char[]", 1 << 16)
    for kind, more in (("decoder", ()), ("recognizer", (16000,))):
        out = ffi.new(f"er_{kind} **")
        assert getattr(lib, f"er_{kind}_create")(model, *more, out) == lib.ER_ERROR_MISSING
        assert getattr(lib, f"er_{kind}_init")(block, 1 << 16, model, *more, out) == lib.ER_ERROR_MISSING
        assert out[0] == ffi.NULL


def test_sample_rates_that_there_is_no_filter_for_are_refused():
    model, out = model_of(FULL), ffi.new("er_recognizer **")
    assert lib.er_recognizer_create(model, 7999, out) == lib.ER_ERROR_ARGUMENT
    assert lib.er_recognizer_size(model, 7999) == 0
    again = ffi.new("er_resampler **")
    assert lib.er_resampler_create(7999, again) == lib.ER_ERROR_ARGUMENT
    config = frontend_config()
    config.hop_samples = 0
    front = ffi.new("er_frontend **")
    assert lib.er_frontend_create(config, front) != lib.ER_OK
    assert lib.er_frontend_size(config) == 0


def test_words_one_at_a_time_are_those_all_at_once():
    """With room for a single word, what is left is taken in the next call."""
    model = model_of(FULL)
    samples = tone_signal(["one", "two", "three"] * 3)
    pcm = ffi.from_buffer("float[]", samples)

    def heard(capacity, chunk):
        recognizer, words = create("recognizer", model, 16000), ffi.new("er_word[]", capacity)
        count, consumed, found, at = ffi.new("size_t *"), ffi.new("size_t *"), [], 0
        while at < len(samples):
            take = min(chunk, len(samples) - at)
            status = lib.er_recognizer_push(recognizer, pcm + at, take, words, capacity, count, consumed)
            assert status == lib.ER_OK
            found += [(w.label, w.start_s, w.end_s, w.confidence) for w in words[0 : count[0]]]
            at += consumed[0]
        while True:
            assert lib.er_recognizer_finish(recognizer, words, capacity, count) == lib.ER_OK
            if count[0] == 0:
                return found
            found += [(w.label, w.start_s, w.end_s, w.confidence) for w in words[0 : count[0]]]

    want = heard(64, len(samples))
    assert len(want) == 9
    for capacity, chunk in ((1, len(samples)), (1, 1000), (2, 7919), (64, 160)):
        assert heard(capacity, chunk) == want
