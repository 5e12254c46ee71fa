# SPDX-License-Identifier: MIT
"""``--save-audio``: what was heard and recognized is heard and recognized again from the files."""

import datetime
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from test_session import LosingSource, Source
from word_models import babble_audio, babble_model, tone_model, tone_signal

import edge_runtime
from apps.audio import open_audio, read_audio
from apps.digit_demo import recording
from apps.digit_demo.display import word_json
from apps.digit_demo.recording import Recording
from apps.digit_demo.session import Observer, Session
from apps.digit_demo.sources import FileSource

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


class Lines(Observer):
    """The lines of --json, and the notes."""

    def __init__(self):
        self.words = []
        self.notes = []

    def on_word(self, word):
        self.words.append(word_json(word))

    def on_note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def model():
    return edge_runtime.Model.from_bytes(babble_model())


def record(model, source, folder, *observers, **options):
    with Session(model, source, observers=[*observers, Recording(folder, **options)]) as session:
        session.run()
    return sorted(folder.glob("*.wav"), key=lambda path: path.stat().st_mtime_ns)


def heard_again(model, path):
    lines = Lines()
    with open_audio(path) as audio, Session(model, FileSource(audio), observers=[lines]) as session:
        session.run()
    return lines.words


@pytest.mark.parametrize("rate, block", [(16000, 1600), (44100, 997)])
def test_every_file_gives_its_words_again(model, tmp_path, monkeypatch, rate, block):
    monkeypatch.setattr(recording, "_FILE_S", 2.5)
    audio = np.concatenate(
        [np.concatenate([babble_audio(1.4, i, rate), np.zeros(rate, np.float32)]) for i in range(8)]
    )
    lines = Lines()
    files = record(model, Source(audio, rate, block), tmp_path, lines)
    assert len(files) > 4
    np.testing.assert_array_equal(np.concatenate([read_audio(path)[0] for path in files]), audio)
    kept = []
    for path in files:
        about, *words = path.with_suffix(".jsonl").read_text().splitlines()
        about = json.loads(about)
        assert about["audio"] == path.name
        assert (about["device"], about["sample_rate"]) == ("samples", rate)
        assert about["model_sha256"] == model.sha256
        assert words == heard_again(model, path)
        kept += words
    assert len(kept) > 20
    label_of = [[json.loads(line)["word"] for line in some] for some in (kept, lines.words)]
    assert label_of[0] == label_of[1]


def test_pauses_are_where_files_end(tmp_path, monkeypatch):
    model = edge_runtime.Model.from_bytes(tone_model(threshold=0.5))
    monkeypatch.setattr(recording, "_FILE_S", 0.3)
    monkeypatch.setattr(recording, "_LATE", 100.0)
    said = ["one", "two", "three", "four"]
    files = record(model, Source(tone_signal(said, gap_s=1.0), block=160), tmp_path)
    words = [
        json.loads(line)["word"]
        for path in files
        for line in path.with_suffix(".jsonl").read_text().splitlines()[1:]
    ]
    assert words == said
    assert len(files) >= 4


def test_a_gap_begins_a_file_at_the_new_rate(model, tmp_path):
    first, second = babble_audio(2, 1), babble_audio(2, 2, 48000)
    files = record(model, LosingSource(first, (second, 48000)), tmp_path)
    for path, (audio, rate) in zip(files, [(first, 16000), (second, 48000)], strict=True):
        samples, sample_rate = read_audio(path)
        assert sample_rate == rate
        np.testing.assert_array_equal(samples, audio)
        assert path.with_suffix(".jsonl").read_text().splitlines()[1:] == heard_again(model, path)


def test_the_oldest_go_when_the_limit_is_reached(model, tmp_path):
    old = tmp_path / "digits-20200101-000000.wav"
    old.write_bytes(bytes(3_000_000))
    os.utime(old, (0, 0))
    mine = tmp_path / "mine.wav"
    mine.write_bytes(bytes(9_000_000))
    lines = Lines()
    second = np.zeros(192000, np.float32)
    files = record(model, Source(np.tile(second, 16), 192000, 19200), tmp_path, lines, limit_bytes=10_000_000)
    assert mine.exists()
    assert not old.exists()
    assert sum(str(old) in note for note in lines.notes) == 1
    sizes = [path.stat().st_size for path in files if path != mine]
    assert 5_000_000 < sum(sizes) < 10_000_000
    assert {path.stem for path in tmp_path.glob("*.jsonl")} == {path.stem for path in files if path != mine}
    for limit in (9_999_999, float("nan")):
        with pytest.raises(ValueError, match=r"save limit: expected 0\.01 GB or more"):
            Recording(tmp_path, limit)


def test_nothing_heard_leaves_no_file(model, tmp_path):
    assert record(model, Source(np.zeros(0, np.float32)), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def demo(tmp_path):
    """Starts the demo on a pipe, saving audio."""
    path = tmp_path / "tone.ernn"
    path.write_bytes(tone_model(threshold=0.5))

    def start(*arguments, **options):
        command = [
            sys.executable,
            "-m",
            "apps.digit_demo",
            "-m",
            path,
            "-q",
            "--save-audio",
            tmp_path / "kept",
        ]
        return subprocess.Popen(
            [*map(str, command), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=REPOSITORY,
            **options,
        )

    return start


def endless_wav(samples):
    """A WAV for a pipe: its length is not stated."""
    data = np.rint(samples * 32767).astype("<i2").tobytes()
    head = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0" + np.array([16000, 32000], "<u4").tobytes()
    return head + b"\x02\0\x10\0data\xff\xff\xff\xff" + data


def test_full_disk_ends_the_recording_only(demo, tmp_path):
    limits = resource.RLIMIT_FSIZE, (100_000, 100_000)
    process = demo("-i", "-", preexec_fn=lambda: resource.setrlimit(*limits))
    out, err = process.communicate(endless_wav(tone_signal(["one", "two", "three", "four"] * 2)), timeout=60)
    assert process.returncode == 0, err
    assert out.split() == [b"1", b"2", b"3", b"4"] * 2
    assert err.count(b"\n") == 1, err
    assert b"audio is not kept any more" in err
    (kept,) = (tmp_path / "kept").glob("*.wav")
    assert 16000 <= len(read_audio(kept)[0]) <= 25000


def test_killed_program_leaves_audio_that_can_be_read(demo, tmp_path):
    process = demo("-i", "-")
    process.stdin.write(endless_wav(tone_signal(["one", "two", "three"] * 2)))
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    (kept,) = (tmp_path / "kept").glob("*.wav")
    assert len(read_audio(kept)[0]) >= 16000
    lines = kept.with_suffix(".jsonl").read_text().splitlines()
    # The fifth word was printed; whether it was kept before the end is chance.
    assert [json.loads(line)["word"] for line in lines[1:5]] == ["one", "two", "three", "one"]


def test_what_lies_in_the_folder_is_not_overwritten_or_followed(model, tmp_path, monkeypatch):
    """A stranger who can write to the folder knows the names to come: links and folders of that name."""
    folder, treasure = tmp_path / "shared", tmp_path / "treasure"
    folder.mkdir()
    treasure.write_text("gold")

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(recording.datetime, "datetime", Clock)
    stem = folder / "digits-20260102-030405"
    stem.with_suffix(".jsonl").symlink_to(treasure)
    pathlib.Path(f"{stem}-2.wav").symlink_to(tmp_path / "nowhere")
    pathlib.Path(f"{stem}-3.wav").mkdir()
    pathlib.Path(f"{stem}-4.jsonl").write_text("mine")
    audio = babble_audio(1)
    with Session(model, Source(audio), observers=[Recording(folder)]) as session:
        session.run()
    assert treasure.read_text() == "gold" and not (tmp_path / "nowhere").exists()
    assert pathlib.Path(f"{stem}-4.jsonl").read_text() == "mine"
    np.testing.assert_array_equal(read_audio(f"{stem}-5.wav")[0], audio)
    assert pathlib.Path(f"{stem}-5.jsonl").read_text().count("\n") > 1
