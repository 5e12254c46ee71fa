# SPDX-License-Identifier: MIT
"""Sessions of the digit demo: what observers are told, in which order, and that all are ended."""

import numpy as np
import pytest
from word_models import tone_model, tone_signal

from apps.audio import open_audio
from apps.demo_samples import samples
from apps.digit_demo import sources
from apps.digit_demo.listen import listen
from apps.digit_demo.microphone import DeviceLost
from apps.digit_demo.session import Observer, Session
from apps.digit_demo.sources import FileSource
from edge_runtime import Model

SAID = ["one", "two", "three", "four"]


class Source:
    """Ready samples as a source."""

    name = "samples"
    description = "samples in memory"

    def __init__(self, signal, rate=16000, block=1600):
        self.sample_rate = rate
        self.dropped_samples = 0
        self._signal = signal
        self._block = block

    def blocks(self):
        for start in range(0, len(self._signal), self._block):
            yield self._signal[start : start + self._block]


class Diary(Observer):
    """Keeps everything it is told."""

    def __init__(self, watches_steps=False):
        self.watches_steps = watches_steps
        self.told = []

    def __getattribute__(self, name):
        if name.startswith("on_"):
            return lambda about=None: self.told.append((name, about))
        return super().__getattribute__(name)

    def of(self, kind):
        return [about for name, about in self.told if name == kind]


@pytest.fixture(scope="module")
def model():
    return Model.from_bytes(tone_model(threshold=0.5))


def test_events_come_in_the_order_of_the_audio(model):
    diary = Diary()
    with Session(model, Source(tone_signal(SAID)), observers=[diary]) as session:
        session.run()
    kinds = [name for name, _ in diary.told]
    assert kinds[0] == "on_start" and kinds[-1] == "on_end"
    assert kinds.count("on_start") == kinds.count("on_end") == 1
    assert kinds.count("on_audio") == kinds.count("on_update")
    assert [word.label for word in diary.of("on_word")] == SAID
    totals = diary.of("on_end")[0]
    assert totals.words == 4
    assert totals.heard_s == pytest.approx(len(tone_signal(SAID)) / 16000)
    assert 0 < totals.real_time_factor < 1
    updates = diary.of("on_update")
    assert {update.posteriors.shape for update in updates} == {(0, model.output_size)}
    assert {update.log_mel.shape for update in updates} == {(0, 40)}
    assert {update.partial.label for update in updates if update.partial is not None} == set(SAID)
    first = next(i for i, (name, _) in enumerate(diary.told) if name == "on_word")
    before, after = (
        next(u for n, u in part if n == "on_update") for part in (diary.told, diary.told[first:])
    )
    assert before.latency_s is None
    assert 0 < after.latency_s < 0.4
    assert all(-100 <= update.rms_db <= update.peak_db <= 0 for update in updates)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_steps_do_not_depend_on_the_blocks(model, rate):
    signal = tone_signal(SAID, rate=rate)
    seen = []
    for block in (len(signal), 1764, 1001, 37):
        diary = Diary(watches_steps=True)
        with Session(model, Source(signal, rate, block), observers=[diary]) as session:
            session.run()
        updates = diary.of("on_update")
        steps = [np.hstack([update.posteriors, update.log_mel]) for update in updates]
        seen.append(np.concatenate(steps))
        assert [word.label for word in diary.of("on_word")] == SAID
    assert len(seen[0]) == int(len(signal) / rate / session.step_s)
    assert seen[0][:, : model.output_size].max() > 0.9
    assert seen[0].shape[1] == model.output_size + 40
    for other in seen[1:]:
        np.testing.assert_array_equal(seen[0], other)


@pytest.mark.parametrize("block", [160, 7001, 10**6])
def test_strings_end_with_a_silence_and_with_the_audio(model, block):
    silence = np.zeros(24000, np.float32)
    signal = np.concatenate([tone_signal(SAID), silence, tone_signal(["two"]), silence, tone_signal(["one"])])
    diary = Diary()
    with Session(model, Source(signal, block=block), observers=[diary]) as session:
        session.run()
    strings = [[word.label for word in words] for words in diary.of("on_string")]
    assert strings == [SAID, ["two"], ["one"]]
    order = [name for name, _ in diary.told if name in ("on_word", "on_string", "on_end")]
    assert order == ["on_word"] * 4 + ["on_string", "on_word"] * 2 + ["on_string", "on_end"]


def test_drops_are_noted_once_and_counted(model):
    diary = Diary()
    source = Source(tone_signal(["one"]))
    with Session(model, source, observers=[diary]) as session:
        for dropped, samples_ in zip((0, 0, 5, 7, 7, 9), source.blocks(), strict=False):
            source.dropped_samples = dropped
            session.hear(samples_)
    assert len(diary.of("on_note")) == 1
    assert diary.of("on_end")[0].dropped_samples == diary.of("on_update")[-1].dropped_samples > 0


class LosingSource(Source):
    """A microphone that is unplugged, and comes back at another rate."""

    reconnects = True

    def __init__(self, signal, then):
        super().__init__(signal, 16000)
        self._then = then

    def blocks(self):
        yield from super().blocks()
        if self._then is not None:
            raise DeviceLost("it has gone")

    def reconnect(self):
        (self._signal, self.sample_rate), self._then = self._then, None


@pytest.mark.parametrize("rate", [16000, 44100])
def test_after_a_gap_the_recognizer_begins_anew_and_times_go_on(model, rate):
    first, second = tone_signal(["one", "two"])[:-3000], tone_signal(["three", "four"], rate=rate)
    alone = Diary()
    with Session(model, Source(second, rate), observers=[alone]) as session:
        session.run()
    diary = Diary(watches_steps=True)
    with Session(model, LosingSource(first, (second, rate)), observers=[diary]) as session:
        session.run()
    words = diary.of("on_word")
    assert [word.label for word in words] == ["one", "two", "three", "four"]
    assert [word.string for word in words] == [0, 0, 1, 1]
    for later, word in zip(words[2:], alone.of("on_word"), strict=True):
        for time_of in (lambda w: w.start_s, lambda w: w.end_s, lambda w: w.heard_s):
            assert time_of(later) == pytest.approx(len(first) / 16000 + time_of(word), abs=1e-9)
        assert later.confidence == word.confidence
    told = [name for name, _ in diary.told if name in ("on_word", "on_warning", "on_restart")]
    assert told == ["on_word"] * 2 + ["on_warning", "on_restart", "on_warning"] + ["on_word"] * 2
    assert "it has gone" in diary.of("on_warning")[0]
    assert diary.of("on_end")[0].heard_s == pytest.approx(len(first) / 16000 + len(second) / rate)


@pytest.mark.parametrize("method", ["on_start", "on_word", "on_update", "on_end"])
def test_all_observers_are_ended_whatever_one_raises(model, method):
    def fail(_about):
        raise OSError("full")

    failing = Observer()
    setattr(failing, method, fail)
    before, after = Diary(), Diary()
    with pytest.raises(OSError, match="full"):
        with Session(model, Source(tone_signal(SAID)), observers=[before, failing, after]) as session:
            session.run()
    assert len(before.of("on_end")) == 1
    assert len(after.of("on_end")) == len(after.of("on_start")) == (method != "on_start")


def test_file_at_the_pace_of_a_microphone(monkeypatch):
    """Blocks come when their last sample would have; what was late is caught up on."""
    now = 100.0

    def sleep(duration_s):
        nonlocal now
        now += duration_s

    monkeypatch.setattr(sources.time, "monotonic", lambda: now)
    monkeypatch.setattr(sources.time, "sleep", sleep)
    with open_audio(samples()[0][0]) as audio:
        heard = 0
        for block in FileSource(audio, real_time=True).blocks():
            heard += len(block)
            if len(block) < 320:  # the last: sooner than the work below takes
                break
            assert now == pytest.approx(100 + heard / audio.sample_rate)
            now += 0.019
    with open_audio(samples()[0][0]) as audio:
        blocks = FileSource(audio, real_time=True).blocks()
        heard = len(next(blocks))
        began, now = now, now + 1.0
        for _ in range(60):
            heard += len(next(blocks))
        assert now == pytest.approx(began + (heard - 320) / audio.sample_rate)


def test_listen_calls_for_every_word_and_ends_with_the_file(model, tmp_path):
    path, said = samples()[0]
    words = []
    totals = listen(words.append, path=path)
    assert tuple(word.label for word in words) == said
    assert totals.words == len(said)

    def stop(word):
        words.append(word)
        raise LookupError(word.label)

    for threshold in (0.0, None):  # at 0, more words are in progress when the first has been reported
        words.clear()
        with pytest.raises(LookupError, match=said[0]):
            listen(stop, path=path, threshold=threshold)
        assert len(words) == 1
    words.clear()

    def interrupt(word):
        words.append(word)
        raise KeyboardInterrupt

    assert listen(interrupt, path=path).words >= len(words) == 1
