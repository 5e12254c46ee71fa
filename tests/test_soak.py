# SPDX-License-Identifier: MIT
"""After `reset` a recognizer is a new one, whatever it heard before; the soak notices what it is there to notice."""

import dataclasses
import functools
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from word_models import babble_audio, babble_model

from apps.evaluate import soak
from edge_runtime import Model

RATES = (8000, 16000, 44100)


@functools.cache
def model():
    return Model.from_bytes(babble_model())


@functools.cache
def audio(kind, rate):
    """Three seconds: babble, silence, noise, full scale, not-a-number, numbers too small to count."""
    count = 3 * rate
    noise = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    return {
        "babble": lambda: babble_audio(3, 11, rate),
        "other babble": lambda: babble_audio(3, 12, rate),
        "silence": lambda: np.zeros(count, np.float32),
        "noise": lambda: np.float32(0.01) * noise,
        "full scale": lambda: np.sign(noise),
        "nothing of sense": lambda: np.where(noise > 0, np.float32(np.nan), np.float32(3e38)),
        "denormals": lambda: noise * np.float32(1e-40),
    }[kind]()


kinds = st.sampled_from(
    ["babble", "other babble", "silence", "noise", "full scale", "nothing of sense", "denormals"]
)
heard = st.tuples(kinds, st.integers(0, 24000), st.integers(0, 24000), st.integers(1, 9000))
events = st.one_of(
    st.tuples(st.just("hear"), heard),
    st.tuples(st.just("finish"), st.none()),
    st.tuples(st.just("reset"), st.none()),
    st.tuples(st.just("cepstra"), st.integers(0, 99)),
)
settings = st.fixed_dictionaries(
    {},
    optional={
        "set_threshold": st.floats(0, 1, width=32),
        "set_string_silence": st.floats(0.02, 2),
        "set_gate": st.one_of(st.none(), st.floats(0.5, 2)),
    },
)


def hear(recognizer, kind, start, count, chunk):
    """Words, and all that is shown after each chunk."""
    samples = audio(kind, recognizer.sample_rate)[start : start + count]
    out = []
    for begin in range(0, len(samples), chunk):
        out.append(recognizer.accept_waveform(samples[begin : begin + chunk]))
        out.append((recognizer.partial, recognizer.is_idle, recognizer.ended_strings))
        out += [recognizer.posteriors.tobytes(), recognizer.log_mel.tobytes()]
    return out


def happen(recognizer, event, value):
    """An event; those that the present state refuses are refused, and that is all."""
    try:
        if event == "hear":
            hear(recognizer, *value)
        elif event == "cepstra":
            rows = np.random.default_rng(value).standard_normal((value, 13)).astype(np.float32)
            recognizer.accept_cepstra(rows)
        else:
            getattr(recognizer, event)()
    except ValueError as error:
        assert "reset first" in str(error)


@hypothesis.given(
    st.sampled_from(RATES), settings, st.lists(events, max_size=5), st.lists(heard, min_size=1, max_size=3)
)
@hypothesis.settings(max_examples=60)
def test_after_reset_the_next_words_are_those_of_a_new_recognizer(rate, chosen, past, future):
    used, new = model().recognizer(rate, threshold=0), model().recognizer(rate, threshold=0)
    for recognizer in (used, new):
        for name, value in chosen.items():
            getattr(recognizer, name)(value)
    for event, value in past:
        happen(used, event, value)
    used.reset()
    for part in future:
        assert hear(used, *part) == hear(new, *part)
    assert used.finish() == new.finish()


@hypothesis.given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=5), st.booleans())
@hypothesis.settings(max_examples=40)
def test_after_reset_a_stream_is_a_new_one(past, skipping):
    x = np.random.default_rng(1).standard_normal((60, 78)).astype(np.float32)
    stream = model().stream(skipping=skipping)
    for count, toggled in past:
        stream.run(x[:count])
        if toggled:
            stream.skipping = not stream.skipping
    stream.reset()
    new = model().stream()
    np.testing.assert_array_equal(stream.state, new.state)
    np.testing.assert_array_equal(stream.run(x), new.run(x))


# ------------------------------------------------------------------------------------------------ the soak

SHORT = ["--hours", "3", "--hour", "40", "--beyond", "2000000"]


def judged(text):
    """The result but for what is measured in time, which depends on what else the machine does."""
    result = json.loads(text)
    result["failures"] = [
        line for line in result["failures"] if " ns in hour" not in line and " s in hour" not in line
    ]
    return result


def test_short_soak(capsys):
    assert soak.main([*SHORT, "--rate", "16000", "44100", "--json"]) in (0, 1)
    result = judged(capsys.readouterr().out)
    assert result["failures"] == []
    assert [row["samples"] for row in result["recognizer"]] == [3 * 40 * 16000, 3 * 40 * 44100]
    assert all(row["words"] > 20 and row["beyond_samples"] >= 2000000 for row in result["recognizer"])
    assert len(result["stream"]["hour_s"]) == 3


class Bad:
    """A model whose recognizers have a fault."""

    def __init__(self, fault):
        self._fault = fault
        self._kept = []

    def recognizer(self, rate, threshold=None):
        recognizer = Model.default().recognizer(rate, threshold)
        hear, reset, fault, calls = recognizer.accept_waveform, recognizer.reset, self._fault, [0]

        def accept_waveform(samples):
            calls[0] += 1
            words = hear(samples)
            if fault == "times" and calls[0] > 8000:
                words = [dataclasses.replace(word, end_s=word.end_s + 1e-9) for word in words]
            elif fault == "confidences" and calls[0] > 8000:
                words = [dataclasses.replace(word, confidence=word.confidence / 2) for word in words]
            elif fault == "memory":
                self._kept.append(bytes(2000))
            return words

        recognizer.accept_waveform = accept_waveform
        if fault == "reset":  # something stays
            recognizer.reset = lambda: (reset(), hear(np.full(rate // 10, 0.1, np.float32)))
        return recognizer


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("times", "hour 3: a time is no whole sample"),
        ("confidences", "hour 3: other words than in hour 2"),
        ("memory", "memory has grown by"),
        ("reset", "after reset other words than a new recognizer's"),
    ],
)
def test_faults_are_noticed(fault, said):
    result = soak.soak_recognizer(Bad(fault), 16000, 3, 40.0, beyond=0)
    assert any(said in line for line in result["failures"]), result["failures"]
