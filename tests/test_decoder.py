# SPDX-License-Identifier: MIT
"""The decoder: rule D8 of exporters/FORMAT.md."""

import dataclasses

import numpy as np
import pytest
from word_models import DELAY_MS, LENGTH_MS, babble_model, tone_model

import edge_runtime as er
from edge_runtime._native import ffi, lib
from edge_runtime.format import ModelFile

LABELS = ("blank", "one", "two", "three", "four", "unknown")
STEP_S = 0.02


def make_model(**changes):
    """The tone model with other decoder settings; the network does not matter here."""
    file = ModelFile.from_bytes(tone_model())
    return er.Model.from_bytes(
        dataclasses.replace(file, decoder=dataclasses.replace(file.decoder, **changes)).to_bytes()
    )


def make_logits(text, high=4 * 2048):
    """One step per character: the output with this index wins; "." is blank."""
    logits = np.zeros((len(text), len(LABELS)), np.int16)
    for step, character in enumerate(text):
        logits[step, 0 if character == "." else int(character)] = high
    return logits


def decode(model, logits, **settings):
    decoder = model.decoder()
    for name, value in settings.items():
        getattr(decoder, name)(*value)
    return decoder.push(logits) + decoder.finish()


def reference_decode(file, logits, threshold=None):
    """D8 in words, floats in double precision."""
    config = file.decoder
    threshold = config.threshold if threshold is None else threshold
    scores = logits.astype(int) + config.bias
    step_s = file.frontend.step_samples / 16000
    words, previous_end = [], 0.0
    run, confidence = None, 0.0
    for step in range(len(scores) + 1):
        best = int(scores[step].argmax()) if step < len(scores) else None
        if run is not None and best != run:
            end = max(step * step_s - config.delay_ms / 1000, previous_end)
            start = max(end - config.length_ms[run] / 1000, previous_end)
            previous_end = end
            if run != config.unknown and confidence >= threshold:
                words.append((run, start, end, confidence))
            run, confidence = None, 0.0
        if best is not None and best != config.blank:
            real = np.exp((scores[step] - scores[step].max()) / 2048)
            run, confidence = best, max(confidence, 1 / real.sum())
    return words


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", []),
        ("....", []),
        ("1", ["one"]),
        ("..11..", ["one"]),
        ("11.11", ["one", "one"]),
        ("1122", ["one", "two"]),
        ("121", ["one", "two", "one"]),
        ("55", []),
        ("1551", ["one", "one"]),
        (".1.2.3.4.5.", ["one", "two", "three", "four"]),
    ],
)
def test_runs_become_words(text, expected):
    assert [word.label for word in decode(make_model(), make_logits(text))] == expected


def test_word_is_reported_when_its_run_ends():
    decoder = make_model().decoder()
    assert decoder.push(make_logits("..111")) == []
    (word,) = decoder.push(make_logits("."))
    assert (word.label, word.index) == ("one", 1)
    assert decoder.finish() == []


def test_finish_reports_the_word_in_progress_once():
    decoder = make_model().decoder()
    assert decoder.push(make_logits("..111")) == []
    assert [word.label for word in decoder.finish()] == ["one"]
    assert decoder.finish() == []


@pytest.mark.parametrize("text, count", [("..55", 0), ("..", 0), ("..11", 1)])
def test_finish_writes_no_word_but_those_it_counts(text, count):
    decoder = make_model().decoder()
    assert decoder.push(make_logits(text)) == []
    words, found = ffi.new("er_word[2]"), ffi.new("size_t *")
    untouched = b"\xa5" * ffi.sizeof("er_word")
    ffi.buffer(words)[:] = 2 * untouched
    assert lib.er_decoder_finish(decoder._handle, words, 2, found) == 0
    assert found[0] == count
    assert ffi.buffer(words)[count * len(untouched) :] == (2 - count) * untouched


def test_times_are_end_of_run_less_delay_and_typical_length():
    (word,) = decode(make_model(), make_logits("." * 20 + "1111" + "." * 5))
    assert word.end_s == pytest.approx(24 * STEP_S - DELAY_MS / 1000, abs=1e-12)
    assert word.start_s == pytest.approx(word.end_s - LENGTH_MS / 1000, abs=1e-12)


def test_start_is_not_before_previous_word_or_zero():
    first, second = decode(make_model(), make_logits("..11..22"))
    assert first.start_s == 0
    assert first.end_s == pytest.approx(0.06)
    assert second.start_s == first.end_s
    assert second.end_s == pytest.approx(0.14)


def test_unknown_takes_its_time():
    (word,) = decode(make_model(), make_logits("." * 10 + "55511"))
    assert word.start_s == pytest.approx(13 * STEP_S - DELAY_MS / 1000)


def test_long_delay_does_not_lead_before_zero():
    (word,) = decode(make_model(delay_ms=2000), make_logits(".11."))
    assert (word.start_s, word.end_s) == (0, 0)


def test_negative_delay_moves_words_back():
    (word,) = decode(make_model(delay_ms=-500), make_logits(".11."))
    assert word.end_s == pytest.approx(0.06 + 0.5)


def test_confidence_is_the_greatest_softmax_of_the_run():
    logits = make_logits("111")
    logits[0, 1], logits[1, 1], logits[2, 1] = 100, 6000, 2048
    (word,) = decode(make_model(), logits)
    expected = np.exp(6000 / 2048) / (np.exp(6000 / 2048) + len(LABELS) - 1)
    assert word.confidence == pytest.approx(expected, abs=1e-6)


def test_extreme_logits_give_probabilities_of_zero_and_one():
    logits = np.full((2, len(LABELS)), -32768, np.int16)
    logits[0, 1] = 32767
    (word,) = decode(make_model(), logits)
    assert word.confidence == pytest.approx(1.0, abs=1e-6)


def test_lowest_index_wins_ties():
    logits = np.zeros((1, len(LABELS)), np.int16)
    assert decode(make_model(), logits) == []  # blank is output 0
    logits[0, 2:5] = 1
    (word,) = decode(make_model(), logits)
    assert word.label == "two"


def test_bias_of_the_file_is_added():
    bias = np.array([0, -3000, 0, 0, 0, 0], np.int16)
    logits = make_logits("1", high=2500)
    assert decode(make_model(bias=bias), logits) == []
    assert len(decode(make_model(), logits)) == 1


def test_bias_can_be_replaced():
    logits = make_logits("1", high=2500)
    assert decode(make_model(), logits, set_bias=("one", -3000)) == []
    assert [w.label for w in decode(make_model(), logits, set_bias=(3, 3000))] == ["three"]


@pytest.mark.parametrize(
    "label, bias, message",
    [("ten", 0, "one of blank"), (6, 0, "index below 6"), (-1, 0, "index below"), ("one", 32768, "32767")],
)
def test_illegal_bias_is_refused(label, bias, message):
    with pytest.raises(ValueError, match=message):
        make_model().decoder().set_bias(label, bias)


def test_threshold_drops_words_below_it():
    logits = make_logits("1", high=2048)
    (word,) = decode(make_model(), logits)
    assert decode(make_model(threshold=word.confidence), logits) == [word]
    above = float(np.nextafter(np.float32(word.confidence), np.float32(1)))
    assert decode(make_model(threshold=above), logits) == []
    assert decode(make_model(threshold=1.0), logits, set_threshold=(0.0,)) == [word]
    assert decode(make_model(), logits, set_threshold=(above,)) == []


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_illegal_threshold_is_refused(threshold):
    with pytest.raises(ValueError, match="expected 0 to 1"):
        make_model().decoder().set_threshold(threshold)


def random_logits(rng, steps):
    """Logits in which outputs win for a few steps each."""
    walk = rng.integers(-800, 801, (steps, len(LABELS))).cumsum(axis=0)
    return np.clip(walk - walk.mean(axis=1, keepdims=True), -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("seed", range(20))
def test_random_logits_equal_the_reference(seed):
    rng = np.random.default_rng(seed)
    model = make_model(
        threshold=float(rng.uniform(0, 1)),
        delay_ms=int(rng.integers(-2000, 2001)),
        bias=rng.integers(-4000, 4000, 6).astype(np.int16),
        length_ms=rng.integers(0, 1000, 6).astype(np.uint16),
    )
    logits = random_logits(rng, 400)
    words = decode(model, logits)
    expected = reference_decode(model.file, logits)
    assert [w.index for w in words] == [e[0] for e in expected]
    got = np.array([(w.start_s, w.end_s, w.confidence) for w in words]).reshape(-1, 3)
    np.testing.assert_allclose(got, np.array([e[1:] for e in expected]).reshape(-1, 3), rtol=0, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
def test_any_chunking_gives_the_same_words(chunk):
    logits = random_logits(np.random.default_rng(5), 600)
    whole = decode(make_model(), logits)
    decoder = make_model().decoder()
    parts = []
    for start in range(0, len(logits), chunk):
        parts += decoder.push(logits[start : start + chunk])
    assert parts + decoder.finish() == whole
    assert len(whole) > 16  # more than fit in one call of the C function


def test_reset_equals_fresh():
    logits = random_logits(np.random.default_rng(6), 300)
    decoder = make_model().decoder()
    fresh = decoder.push(logits) + decoder.finish()
    decoder.reset()
    decoder.push(logits[:50])
    decoder.reset()
    assert decoder.push(logits) + decoder.finish() == fresh


def test_reset_forgets_a_string_that_is_open():
    decoder = make_model().decoder()
    assert len(decoder.push(make_logits("11."))) == 1
    decoder.reset()
    assert decoder.finish() == [] and decoder.ended_strings == 0


def test_bias_counts_in_its_own_unit_after_a_bounded_output():
    """Without a dense layer at the end the logits have the unit 2^-15, the bias still 2^-11."""
    file = ModelFile.from_bytes(babble_model())
    gru = file.layers[0]
    labels = ("blank", *(f"word{i}" for i in range(1, gru.output_size)))
    outputs = len(labels)
    decoder = dataclasses.replace(
        file.decoder,
        bias=np.zeros(outputs, np.int16),
        length_ms=np.zeros(outputs, np.uint16),
        unknown=None,
        threshold=0,
    )
    model = er.Model.from_bytes(
        dataclasses.replace(file, layers=(gru,), labels=labels, decoder=decoder).to_bytes()
    )
    logits = np.zeros((1, outputs), np.int16)
    logits[0, 1] = 16000  # 0.488
    (word,) = decode(model, logits)
    best = np.exp(16000 / 32768)
    assert word.confidence == pytest.approx(best / (best + outputs - 1), abs=1e-6)
    assert len(decode(model, logits, set_bias=("blank", 999))) == 1
    assert decode(model, logits, set_bias=("blank", 1001)) == []


@pytest.mark.parametrize(
    "logits, message",
    [
        (np.zeros((3, 5), np.int16), r"expected int16 of shape \(steps, 6\), got int16 of shape \(3, 5\)"),
        (np.zeros(6, np.int16), r"got int16 of shape \(6,\)"),
        (np.zeros((3, 6), np.float32), "got float32"),
        (np.zeros((3, 6), np.int32), "got int32"),
    ],
)
def test_wrong_logits_are_refused(logits, message):
    with pytest.raises(ValueError, match=message):
        make_model().decoder().push(logits)


def test_model_without_decoder_settings_is_refused():
    file = dataclasses.replace(ModelFile.from_bytes(tone_model()), decoder=None)
    with pytest.raises(er.EdgeRuntimeStateError, match="decoder settings"):
        er.Model.from_bytes(file.to_bytes()).decoder()


def test_partial_is_the_word_to_come():
    rng = np.random.default_rng(7)
    logits = np.repeat(rng.normal(0, 2000, (80, 6)), rng.integers(1, 6, 80, np.intp), axis=0).astype(np.int16)
    model = make_model(threshold=0.5)
    decoder = model.decoder()
    reported, dropped = 0, 0
    assert decoder.partial is None
    for step in logits:
        before = decoder.partial
        words = decoder.push(step[None])
        now = decoder.partial
        if now is None:
            assert step.argmax() in (0, 5)
        else:
            assert now.index == step.argmax()
        if words:
            (word,) = words
            assert dataclasses.replace(before, heard_s=word.heard_s) == word
            reported += 1
        elif before is not None and (now is None or now.index != before.index):
            assert before.confidence < 0.5
            dropped += 1
    assert reported > 5 and dropped > 3
    before = decoder.partial
    assert decoder.finish() == ([before] if before and before.confidence >= 0.5 else [])
    assert decoder.partial is None


def test_strings_end_with_silence():
    decoder = make_model().decoder()
    decoder.set_string_silence(0.1)  # five steps
    text = "..11....22.....33....5...5..1"
    strings, ended = [], []
    for character in text:
        strings += [(word.label, word.string) for word in decoder.push(make_logits(character))]
        ended.append(decoder.ended_strings)
    strings += [(word.label, word.string) for word in decoder.finish()]
    assert strings == [("one", 0), ("two", 0), ("three", 1), ("one", 2)]
    assert ended == [0] * 14 + [1] * 7 + [2] * 8
    assert decoder.ended_strings == 3
    decoder.finish()
    assert decoder.ended_strings == 3
    decoder.reset()
    assert decoder.ended_strings == 0


def test_word_in_progress_keeps_a_string_from_ending():
    decoder = make_model(threshold=0.9).decoder()
    decoder.set_string_silence(0.1)
    low = np.array([[0, 0, 100, 0, 0, 0]], np.int16)  # a word that will be dropped
    assert len(decoder.push(make_logits("11..."))) == 1
    for _ in range(5):
        decoder.push(low)
        assert decoder.ended_strings == 0
    decoder.push(make_logits("."))
    assert decoder.ended_strings == 1


@pytest.mark.parametrize("silence_s", [0, 0.019, 60.1, float("nan")])
def test_illegal_string_silence_is_refused(silence_s):
    with pytest.raises(ValueError, match=r"expected 0\.02 to 60 s"):
        make_model().decoder().set_string_silence(silence_s)


def test_words_do_not_change():
    (word,) = decode(make_model(), make_logits("1"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        word.label = "two"
