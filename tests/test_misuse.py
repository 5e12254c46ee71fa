# SPDX-License-Identifier: MIT
"""Wrong arguments to every public class and function of the package: a named exception and nothing changed, or the right
result. Arrays of every wrong kind go to every call that takes one; a call that is not listed here fails a test."""

import copy
import dataclasses
import inspect
import math
import os
import pathlib
import pickle
import tempfile

import numpy as np
import pytest
from word_models import babble_audio, babble_model, in_profile_2, tone_model

import edge_runtime as er
from edge_runtime import format as er_format
from edge_runtime import packing, reference
from edge_runtime._native import ffi
from edge_runtime._native_object import NativeObject

RNG = np.random.default_rng(5)


def model_1():
    return er.Model.from_bytes(babble_model())


def model_2():
    return er.Model.from_bytes(in_profile_2(tone_model()))


class Call:
    """A call that takes an array: how to make its object, what the array is, and what comes out."""

    def __init__(self, make, call, dtypes, shape, value=None):
        self.make, self.call, self.dtypes, self.shape = make, call, dtypes, shape
        self._value = value

    def value(self, dtype):
        if self._value is not None:
            return self._value().astype(dtype)
        if dtype == np.float32:
            return RNG.standard_normal(self.shape).astype(np.float32)
        least = np.iinfo(dtype)
        return RNG.integers(least.min, least.max, self.shape, dtype, endpoint=True)

    def result(self, thing, array):
        """What comes out, and all that the object shows afterwards."""
        out = self.call(thing, array)
        state = thing.state if isinstance(thing, er.Stream) else None
        return [np.asarray(out) if isinstance(out, np.ndarray) else repr(out), state]


def with_state(stream, state):
    stream.state = state
    return stream.step_quantized(np.zeros(78, np.int8))


def loud():
    return babble_audio(0.7)


def loud_16():
    return (babble_audio(0.7) * 32767).astype(np.int16)


def pair(model):
    return [model.stream(), model.stream()]


def plain(thing):
    return thing


f4, i2, i1 = np.dtype(np.float32), np.dtype(np.int16), np.dtype(np.int8)
CALLS = {
    "quantize_input": Call(model_1, lambda m, x: m.quantize_input(x), [f4], (5, 78)),
    "quantize_input of a step": Call(model_1, lambda m, x: m.quantize_input(x), [f4], (78,)),
    "quantize_input in profile 2": Call(model_2, lambda m, x: m.quantize_input(x), [f4], (5, 26)),
    "step": Call(lambda: model_1().stream(), lambda s, x: s.step(x), [f4], (78,)),
    "run": Call(lambda: model_1().stream(), lambda s, x: s.run(x), [f4], (9, 78)),
    "run skipping": Call(lambda: model_1().stream(skipping=True), lambda s, x: s.run(x), [f4], (9, 78)),
    "run in profile 2": Call(lambda: model_2().stream(), lambda s, x: s.run(x), [f4], (9, 26)),
    "step_quantized": Call(lambda: model_1().stream(), lambda s, x: s.step_quantized(x), [i1], (78,)),
    "run_quantized": Call(lambda: model_1().stream(), lambda s, x: s.run_quantized(x), [i1], (9, 78)),
    "run_quantized in profile 2": Call(
        lambda: model_2().stream(), lambda s, x: s.run_quantized(x), [i2], (9, 26)
    ),
    "state": Call(lambda: model_1().stream(), with_state, [i2], (24,)),
    "step_many": Call(lambda: pair(model_1()), er.Stream.step_many, [f4], (2, 78)),
    "step_many_quantized": Call(lambda: pair(model_1()), er.Stream.step_many_quantized, [i1], (2, 78)),
    "step_many_quantized in profile 2": Call(
        lambda: pair(model_2()), er.Stream.step_many_quantized, [i2], (2, 26)
    ),
    "decoder": Call(lambda: model_1().decoder(), lambda d, x: d.push(x) + d.finish(), [i2], (40, 8)),
    "recognizer": Call(
        lambda: model_1().recognizer(threshold=0),
        lambda r, x: r.accept_waveform(x) + r.finish(),
        [f4],
        (11200,),
        loud,
    ),
    "recognizer of integers": Call(
        lambda: model_1().recognizer(48000, 0),
        lambda r, x: r.accept_waveform(x) + r.finish(),
        [i2],
        (11200,),
        loud_16,
    ),
    "accept_cepstra": Call(
        lambda: model_1().recognizer(threshold=0),
        lambda r, x: r.accept_cepstra(x) + r.finish(),
        [f4],
        (30, 13),
    ),
    "resampler": Call(lambda: er.Resampler(44100), lambda r, x: r.push(x), [f4], (11200,), loud),
    "resampler of integers": Call(
        lambda: er.Resampler(8000), lambda r, x: r.push(x), [i2], (11200,), loud_16
    ),
    "resample": Call(lambda: 48000, lambda rate, x: er.resample(x, rate), [f4], (11200,), loud),
    "front end": Call(er.Frontend, lambda f, x: f.push(x), [f4], (11200,), loud),
    "front end of integers": Call(er.Frontend, lambda f, x: f.push(x), [i2], (11200,), loud_16),
    "push_cepstra": Call(er.Frontend, lambda f, x: f.push_cepstra(x), [f4], (30, 13)),
}


def some_calls(condition):
    chosen = {name: call for name, call in CALLS.items() if condition(call)}
    return pytest.mark.parametrize("call", chosen.values(), ids=chosen)


def takes_any_length(call):
    """Not a step, of one stream or of several."""
    return (len(call.shape) == 2 and call.shape[0] > 2) or call.shape[0] > 100


each_call = some_calls(lambda _: True)


def equal(results, others):
    for one, other in zip(results, others, strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other


def wrong_arrays(value):
    """What must be refused in place of `value`."""
    samples = value.dtype in (f4, i2) and value.ndim == 1 and len(value) > 100
    for (
        dtype
    ) in "float16 float64 longdouble complex64 int8 int16 int32 uint8 uint16 bool object U3 S2 M8[s]".split():
        if np.dtype(dtype) == value.dtype or (samples and np.dtype(dtype) in (f4, i2)):
            continue
        yield np.zeros(value.shape, dtype)
    yield np.zeros(value.shape, [("a", value.dtype)])
    if value.dtype.itemsize > 1:
        yield value.astype(value.dtype.newbyteorder())
    yield value[None, None]
    yield value.reshape(-1)[0]  # a scalar of NumPy
    yield np.array(value.reshape(-1)[0])
    if value.ndim == 2:
        yield value.reshape(-1)
        yield value[:, :-1]
        yield np.pad(value, ((0, 0), (0, 1)))
        yield value.T
        yield value[:, :0]
    elif not samples:
        yield value[:-1]
        yield np.pad(value, (0, 1))
        yield value[:0]
    yield value.tolist()
    yield value.tobytes()
    yield memoryview(value.tobytes())
    yield from (None, 0, 1.5, "0", iter(()), np.dtype(value.dtype))


@each_call
def test_wrong_arrays_are_refused_and_change_nothing(call):
    for dtype in call.dtypes:
        value = call.value(dtype)
        thing = call.make()
        expected = call.result(call.make(), value)
        for wrong in wrong_arrays(value):
            with pytest.raises((TypeError, ValueError), match="expected"):
                call.call(thing, wrong)
        equal(call.result(thing, value), expected)


def unaligned(value):
    room = np.zeros(value.nbytes + 1, np.uint8)[1:]
    result = room[: value.nbytes].view(value.dtype).reshape(value.shape)
    result[...] = value
    assert value.dtype.itemsize == 1 or not result.flags.aligned
    return result


def strided(value):
    room = np.zeros([2 * n for n in value.shape], value.dtype)
    result = room[tuple(slice(None, None, 2) for _ in value.shape)]
    result[...] = value
    return result


def backwards(value):
    return np.flip(np.flip(value).copy())


def read_only(value):
    value = value.copy()
    value.flags.writeable = False
    return value


def mapped(value):
    with tempfile.TemporaryFile() as file:
        result = np.memmap(file, value.dtype, "w+", shape=value.shape)
    result[...] = value
    return result


class Subclass(np.ndarray):
    pass


@each_call
@pytest.mark.parametrize(
    "layout",
    [unaligned, strided, backwards, read_only, mapped, np.asfortranarray, lambda v: v.view(Subclass)],
    ids=["unaligned", "strided", "backwards", "read only", "mapped", "Fortran", "subclass"],
)
def test_layout_in_memory_does_not_matter(call, layout):
    for dtype in call.dtypes:
        value = call.value(dtype)
        other = layout(value)
        np.testing.assert_array_equal(other, value)
        equal(call.result(call.make(), other), call.result(call.make(), value))


@each_call
def test_repeated_element_is_taken(call):
    """An array of stride 0, as np.broadcast_to makes them."""
    for dtype in call.dtypes:
        value = np.broadcast_to(dtype.type(3), call.shape)
        equal(call.result(call.make(), value), call.result(call.make(), value.copy()))


@some_calls(lambda call: f4 in call.dtypes)
def test_special_floats_give_finite_numbers(call):
    tiny, huge = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    for special in (np.nan, -np.nan, np.inf, -np.inf, huge, -huge, tiny, -tiny, -0.0):
        value = call.value(f4)
        value[..., ::3] = special
        out, _ = call.result(call.make(), value)
        if isinstance(out, np.ndarray):
            assert np.isfinite(out.astype(float)).all(), special
        else:
            assert "nan" not in out and "inf" not in out


@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer ends the process instead"
)
@some_calls(takes_any_length)
def test_more_than_fits_into_memory_is_refused(call):
    thing = call.make()
    for dtype in call.dtypes:
        value = np.broadcast_to(dtype.type(0), (1 << 45, *call.shape[1:]))
        with pytest.raises(MemoryError):
            call.call(thing, value)
        value = call.value(dtype)
        equal(call.result(thing, value), call.result(call.make(), value))


@some_calls(takes_any_length)
def test_nothing_is_taken(call):
    for dtype in call.dtypes:
        thing = call.make()
        for empty in (np.zeros((0, *call.shape[1:]), dtype), np.zeros((8, *call.shape[1:]), dtype)[5:5]):
            out = call.call(thing, empty)
            assert len(out) == 0
            if hasattr(thing, "reset"):
                thing.reset()


# ----------------------------------------------------------------------------------------- other arguments

MODEL = model_1()
WRONG = {
    "Model.from_bytes": (
        er.Model.from_bytes,
        [(None,), ("x",), (5,), ([1],), (np.zeros(4),), (b"",), (b"ERNN",), (bytes(1000),)],
    ),
    "kernel": (
        lambda kernel: er.Model.from_bytes(babble_model(), kernel),
        [(1,), (b"scalar",), ("",), ("scalar\0",), ("SCALAR",), ("\ud800",), ("x" * 100000,)],
    ),
    "Model.load": (er.Model.load, [(None,), (1.5,), ("\0",)]),
    "Model": (er.Model, [(None, "x", None), ("", "", None)]),
    "Model.stream": (MODEL.stream, [(1,), ("",), (None,), ([],)]),
    "Stream": (er.Stream, [(None,), (5,), (MODEL.stream(),), (er.Resampler(8000),)]),
    "Decoder": (er.Decoder, [(None,), ("digits.ernn",), (MODEL.stream(),)]),
    "Recognizer": (er.Recognizer, [(None,), (MODEL.decoder(),)]),
    "Recognizer rate": (
        lambda rate: MODEL.recognizer(rate),
        [(0,), (-1,), (7999,), (192001,), (2**32,), (2**70,), (16000.0,), ("16000",), (True,), (math.nan,)],
    ),
    "Recognizer threshold": (
        lambda threshold: MODEL.recognizer(threshold=threshold),
        [(-0.1,), (1.1,), (math.nan,), (math.inf,), ("0.5",), ([0.5],), (10**400,), (1j,)],
    ),
    "Recognizer.set_threshold": (MODEL.recognizer().set_threshold, [(None,), ("1",), (math.nan,), (2,)]),
    "Recognizer.set_string_silence": (
        MODEL.recognizer().set_string_silence,
        [(None,), ("1",), (math.nan,), (0.019,), (60.1,), (math.inf,)],
    ),
    "Recognizer.set_gate": (
        MODEL.recognizer().set_gate,
        [("2",), (b"2",), (math.nan,), (0,), (0.49,), (60.1,), (-math.inf,), ({},)],
    ),
    "Recognizer.accept_waveform rate": (
        lambda rate: MODEL.recognizer().accept_waveform(np.zeros(9, np.int16), rate),
        [(8000,), (0,), (16000.0,), ("16000",), (2**64,)],
    ),
    "Decoder.set_bias": (
        MODEL.decoder().set_bias,
        [("ten", 0), (8, 0), (-1, 0), (1.0, 0), (None, 0), (True, 0), (1, 32768), (1, 0.5), (1, math.nan)],
    ),
    "Decoder.set_threshold": (MODEL.decoder().set_threshold, [(None,), ("1",), (math.nan,)]),
    "Decoder.set_string_silence": (MODEL.decoder().set_string_silence, [(None,), ("1",), (math.nan,)]),
    "Resampler": (er.Resampler, [(None,), (0,), (44100.0,), ("8000",), (8001,), (2**32,), (-8000,)]),
    "resample": (er.resample, [(np.zeros(9, np.int16), None), (np.zeros(9, np.int16), 1), (None, 8000)]),
    "Frontend": (er.Frontend, [({},), (5,), ("",), (er.FrontendConfig,)]),
    "Frontend.flush": (er.Frontend().flush, [(-1,), (2**32,), (1.0,), ("1",), (None,), (True,)]),
    "FrontendConfig": (
        lambda changes: er.Frontend(er.FrontendConfig(**changes)),
        [
            ({"fft_size": 500},),
            ({"fft_size": 512.0},),
            ({"stack": -1},),
            ({"stack": 2**32},),
            ({"hop_samples": "160"},),
            ({"low_hz": math.nan},),
            ({"high_hz": math.inf},),
            ({"log_floor": 0},),
            ({"preemphasis": "x"},),
            ({"low_hz": [1, 2]},),
            ({"subtract_mean": 2},),
            ({"mean": (math.nan,) * 13},),
            ({"mean": (0,) * 12},),
            ({"mean": "x"},),
            ({"cepstrum_count": 2**20, "mean": (0,) * 2**20},),
        ],
    ),
    "step_many": (
        er.Stream.step_many,
        [
            (None, np.zeros((0, 78), np.float32)),
            ([], np.zeros((0, 78), np.float32)),
            ([MODEL], np.zeros((1, 78), np.float32)),
            (5, np.zeros((1, 78), np.float32)),
            (2 * [MODEL.stream()], np.zeros((2, 78), np.float32)),
            ([MODEL.stream(), model_1().stream()], np.zeros((2, 78), np.float32)),
        ],
    ),
    "ModelFile.from_bytes": (er_format.ModelFile.from_bytes, [(b"",), (b"ERNN" * 99,), (None,), ("x",)]),
    "ModelFile": (
        er_format.ModelFile,
        [(None, None, ()), (np.zeros(3), np.zeros(3), ()), (np.zeros(3, "f4"), np.zeros(2, "f4"), ())],
    ),
    "Matrix": (
        er_format.Matrix,
        [("ternary", [1.0], None), ("?", np.zeros((1, 2, 2), "i1"), np.zeros((1, 2, 2), "u1")), (1, 2, 3)],
    ),
    "Layer": (
        er_format.Layer,
        [("cnn", "none", 1, 1, ()), ("gru", "swish", 1, 1, ()), ("gru", "none", 1, 1, 5)],
    ),
    "DecoderConfig": (
        er_format.DecoderConfig,
        [(0, None, "x", 0, None, None), (0, None, 0.5, 0, [0.5], [1])],
    ),
    "row_scale_code": (packing.row_scale_code, [(3,), (math.nan,), ("x",), (0.5, 3), (None,)]),
    "pack_ternary": (packing.pack_ternary, [([0.5],), ([2],), ([300],), (["1"],), (None,)]),
    "pack_binary": (packing.pack_binary, [([0],), ([1.0],), ([257],)]),
    "pack_pow2": (packing.pack_pow2, [([3],), ([128],), ([math.nan],)]),
    "ReferenceStream": (
        lambda x: reference.ReferenceStream(MODEL.file).step_quantized(x),
        [(np.zeros(77, np.int8),), (np.zeros(78),), (None,), (np.zeros((1, 78), np.int8),)],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_refused(name):
    function, cases = WRONG[name]
    for arguments in cases:
        with pytest.raises((TypeError, ValueError, er.EdgeRuntimeError)) as caught:
            function(*arguments)
        assert str(caught.value), arguments


# ------------------------------------------------------------------------------------------ closed objects

#: Arguments of public methods, for calls that are not about them.
ARGUMENTS = {
    "accept_cepstra": (np.zeros((1, 13), np.float32),),
    "accept_waveform": (np.zeros(1, np.int16),),
    "flush": (),
    "push_cepstra": (np.zeros((1, 13), np.float32),),
    "quantize_input": (np.zeros((1, 78), np.float32),),
    "run": (np.zeros((1, 78), np.float32),),
    "run_quantized": (np.zeros((1, 78), np.int8),),
    "set_bias": (0, 0),
    "set_gate": (1,),
    "set_string_silence": (1,),
    "set_threshold": (0.5,),
    "step": (np.zeros(78, np.float32),),
    "step_quantized": (np.zeros(78, np.int8),),
}
#: What goes on to work when the C object is gone, or does not concern it.
NEEDS_NOTHING = {
    "Model": "close default file from_bytes info input_size kernel labels load output_size profile sha256 small".split(),
    "Stream": "close skipping step_many step_many_quantized".split(),
    "Decoder": ["close"],
    "Recognizer": ["close", "sample_rate"],
    "Frontend": ["close", "config", "feature_size"],
    "Resampler": ["close", "sample_rate"],
}
MAKERS = {
    "Model": model_1,
    "Stream": lambda: model_1().stream(),
    "Decoder": lambda: model_1().decoder(),
    "Recognizer": lambda: model_1().recognizer(),
    "Frontend": er.Frontend,
    "Resampler": lambda: er.Resampler(8000),
}
each_class = pytest.mark.parametrize("name", MAKERS)


def use(thing, name):
    """Get an attribute, and call it if it is a method."""
    if name == "push":
        dtype, shape = (np.int16, (1, 8)) if isinstance(thing, er.Decoder) else (np.float32, (1,))
        return thing.push(np.zeros(shape, dtype))
    attribute = getattr(thing, name)
    return attribute(*ARGUMENTS.get(name, ())) if callable(attribute) else attribute


def test_every_class_is_here():
    public = {name for name in er.__all__ if inspect.isclass(getattr(er, name))}
    assert set(MAKERS) == {name for name in public if issubclass(getattr(er, name), NativeObject)}


@each_class
def test_closed_objects_say_so_in_every_method(name):
    thing = MAKERS[name]()
    public = [attribute for attribute in dir(type(thing)) if not attribute.startswith("_")]
    for attribute in public:
        if attribute not in NEEDS_NOTHING[name]:
            use(MAKERS[name](), attribute)
    thing.close()
    for attribute in public:
        if attribute in NEEDS_NOTHING[name]:
            if not callable(getattr(thing, attribute)):
                use(thing, attribute)
            continue
        with pytest.raises(ValueError, match=f"this {name} is closed"):
            use(thing, attribute)
    with pytest.raises(ValueError, match="is closed"), thing:
        pass
    repr(thing)


@each_class
def test_object_that_was_never_made_says_so(name):
    thing = object.__new__(getattr(er, name))
    with pytest.raises(ValueError, match=f"this {name} is closed"), thing:
        pass


@each_class
def test_methods_take_no_lock_of_cffi(name, monkeypatch):
    """cffi parses types and looks up functions under a lock. A signal handler that interrupts that must be able to use
    objects that exist."""
    thing = MAKERS[name]()
    things = {attribute: MAKERS[name]() for attribute in dir(type(thing)) if not attribute.startswith("_")}
    makers = {"decoder", "default", "from_bytes", "load", "recognizer", "small", "stream"}
    monkeypatch.setattr(ffi, "_lock", None)  # which cannot be entered
    monkeypatch.setattr(ffi, "_parsed_types", ffi._parsed_types.copy())
    for attribute, thing in things.items():
        if attribute not in makers and attribute not in ("step_many", "step_many_quantized"):
            use(thing, attribute)
    if name == "Stream":
        er.Stream.step_many([things["reset"]], np.zeros((1, 78), np.float32))
        er.Stream.step_many_quantized([things["reset"]], np.zeros((1, 78), np.int8))
    if name == "Recognizer":
        things["reset"].accept_waveform(np.zeros(1600, np.int16))


def test_closed_arguments_say_so():
    model, stream = model_1(), model_1().stream()
    model.close()
    stream.close()
    for make in (er.Stream, er.Decoder, er.Recognizer):
        with pytest.raises(ValueError, match="this Model is closed"):
            make(model)
    with pytest.raises(ValueError, match="this Stream is closed"):
        er.Stream.step_many([stream], np.zeros((1, 78), np.float32))
    with pytest.raises(ValueError, match="this Stream is closed"):
        stream.skipping = True
    with pytest.raises(ValueError, match="this Stream is closed"):
        stream.state = np.zeros(24, np.int16)


# -------------------------------------------------------------------------------------- copies and pickles


@each_class
def test_objects_refuse_to_be_copied_or_pickled(name):
    thing = MAKERS[name]()
    duplicates = [copy.copy, copy.deepcopy, lambda t: copy.deepcopy([t])]
    duplicates += [lambda t, p=p: pickle.dumps(t, p) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    for duplicate in duplicates:
        with pytest.raises(TypeError, match=f"a {name} cannot be copied or pickled"):
            duplicate(thing)
    use(thing, "close" if name == "Model" else "reset")


def same(one, other):
    if dataclasses.is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one)
        )
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other)


@pytest.mark.parametrize(
    "value",
    [
        er.Word("one", 1, 0.25, 0.5, 0.9, 0.6, 2),
        er.FrontendConfig(stack=2, mean=(1.0,) * 13),
        MODEL.file,
        MODEL.file.layers[0],
        MODEL.file.layers[0].matrices[0],
        MODEL.file.decoder,
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_copied_and_pickled(value):
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert same(value, other)
        with pytest.raises(dataclasses.FrozenInstanceError):
            other.label = "two"
    if isinstance(value, er_format.ModelFile):
        assert pickle.loads(pickle.dumps(value)).to_bytes() == value.to_bytes()


@pytest.mark.parametrize("kind", [*er.EdgeRuntimeError.__subclasses__(), er.EdgeRuntimeError])
def test_errors_survive_a_pickle(kind):
    """As they must to come out of a process of a pool."""
    error = kind("what: why", -3)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is kind and str(other) == "what: why" and other.status == -3


# --------------------------------------------------------------------------------------------------- files


def test_endless_and_foreign_files_are_refused_soon(tmp_path):
    with pytest.raises(er.FormatError, match=r"/dev/zero.*R2"):
        er.Model.load("/dev/zero")
    with pytest.raises(er.FormatError, match="R2"):
        er_format.ModelFile.load(pathlib.Path("/dev/zero"))
    with pytest.raises(IsADirectoryError):
        er.Model.load(tmp_path)
    with pytest.raises(er.FormatError, match="R1"):
        er.Model.load("/dev/null")


def test_file_that_changes_after_loading_changes_nothing(tmp_path):
    path = tmp_path / "babble.ernn"
    path.write_bytes(babble_model())
    model = er.Model.load(path)
    expected = MODEL.stream().run(np.ones((20, 78), np.float32))
    path.write_bytes(b"\xff" * 100)
    os.truncate(path, 0)
    np.testing.assert_array_equal(model.stream().run(np.ones((20, 78), np.float32)), expected)
    assert model.file.to_bytes() == babble_model()
