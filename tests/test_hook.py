# SPDX-License-Identifier: MIT
"""--exec: hostile words stay one argument, nothing waits for the command, nothing is left behind."""

import dataclasses
import json
import os
import pathlib
import sys
import threading
import time

import pytest
from test_digit_demo import REPOSITORY, demo, make_wav
from word_models import TONE_LABELS, tone_model, tone_signal

from apps.digit_demo.hook import ExecHook, HookError, arguments_for, parse_command
from edge_runtime import Word
from edge_runtime.format import ModelFile

HOSTILE = ["a b", "'; touch pwned; '", '$(touch pwned)`touch pwned`"', "--help", "-rf\n/ {digit} \\ %s *"]
KEEP = """\
import json, os, sys
values = {name: value for name, value in os.environ.items() if name.startswith("DIGIT_DEMO_")}
with open(sys.argv[1], "a") as out:
    print(json.dumps([sys.argv[2:], values, sys.stdin.read()]), file=out)
print("said by the command")
"""


@pytest.fixture
def keep(tmp_path):
    """A program that appends its arguments to a file, and that file."""
    script = tmp_path / "keep it.py"
    script.write_text(KEEP)
    kept = tmp_path / "kept.jsonl"
    return f"'{sys.executable}' '{script}' '{kept}'", kept


def hostile_model(path):
    """The tone model with labels as an enemy would choose them."""
    file = ModelFile.from_bytes(tone_model(threshold=0.5))
    labels = ("blank", *HOSTILE[: len(TONE_LABELS) - 2], "unknown")
    path.write_bytes(dataclasses.replace(file, labels=labels).to_bytes())
    return labels[1:-1]


@pytest.mark.parametrize("placeholder", ["", " --", " --said={word} {confidence}"])
def test_hostile_words_are_one_argument_unchanged(tmp_path, keep, placeholder):
    command, kept = keep
    labels = hostile_model(tmp_path / "hostile.ernn")
    wav = tmp_path / "a.wav"
    wav.write_bytes(make_wav(tone_signal(TONE_LABELS[1:-1]), 16000))
    before = set(tmp_path.iterdir())
    result = demo("-i", wav, "-m", tmp_path / "hostile.ernn", "--json", "--exec", command + placeholder)
    assert result.returncode == 0, result.stderr
    words = [json.loads(line) for line in result.stdout.splitlines()]
    assert tuple(word["word"] for word in words) == labels
    runs = [json.loads(line) for line in kept.read_text().splitlines()]
    if placeholder == "":  # what could be an option is not run
        words = [word for word in words if not word["word"].startswith("-")]
        assert len(words) == len(labels) - 1
        assert result.stderr.count(b"is not run for words that begin with a dash") == 1
    for (arguments, values, stdin), word in zip(runs, words, strict=True):
        confidence = f"{word['confidence']:.4f}"
        expected = [f"--said={word['word']}", confidence] if "=" in placeholder else [word["word"]]
        assert arguments == [*placeholder.split()[: placeholder == " --"], *expected]
        assert values["DIGIT_DEMO_WORD"] == word["word"]
        assert values["DIGIT_DEMO_CONFIDENCE"] == confidence
        assert float(values["DIGIT_DEMO_END"]) == word["end_s"]
        assert values["DIGIT_DEMO_DIGIT"] == "" and stdin == ""
    assert set(tmp_path.iterdir()) == before | {kept}
    assert not (REPOSITORY / "pwned").exists()
    assert result.stderr.count(b"said by the command") == len(words)


@pytest.mark.parametrize("label", HOSTILE)
def test_words_are_not_expanded_twice(label):
    word = Word(label, 1, 0.5, 1.0, 0.9)
    assert arguments_for(["say", "--", "{word}{digit}", "x"], word) == ["say", "--", label, "x"]
    assert arguments_for(["say", "{start}-{end}"], word) == ["say", "0.500-1.000"]
    assert arguments_for(["say", "--", "{other}"], word) == ["say", "--", "{other}", label]


@pytest.mark.parametrize(
    "template", [[], ["{word}"], ["{digit}{word}"], ["a", "{word}x", "--"], ["-x", "{word}"]]
)
def test_words_do_not_become_options(template):
    with pytest.raises(HookError, match="begin with a dash"):
        arguments_for(["say", *template], Word("-x", 1, 0.5, 1.0, 0.9))
    assert arguments_for(["say", *template], Word("x", 1, 0.5, 1.0, 0.9))


def test_what_the_user_writes_may_be_an_option():
    word = Word("-x", 1, 0.5, 1.0, 0.9)
    for template in (["--", "{word}"], ["--say={word}"], ["-s{word}"], ["a{word}"], ["-x", "{start}"]):
        assert arguments_for(["say", *template], word)


@pytest.mark.parametrize(
    "text, message", [("", "nothing"), ("say 'x", "quotation"), ("no-such-program x", "no-such")]
)
def test_bad_commands_are_refused(text, message):
    with pytest.raises(HookError, match=f"^--exec: .*{message}"):
        parse_command(text)


def test_bad_command_is_one_line_and_status_2(tmp_path):
    result = demo("-i", tmp_path / "missing.wav", "--exec", "say 'x")
    assert result.returncode == 2
    assert result.stderr.count(b"\n") == 1 and b"--exec" in result.stderr


class Session:
    """What a hook needs of a session."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def run_hook(command, words, **options):
    """Feed words to a hook; returns its notes and for how long words and the end held the caller up."""
    session = Session()
    hook = ExecHook(parse_command(command), silent=True, **options)
    hook.on_start(session)
    began = time.monotonic()
    for label in words:
        hook.on_word(Word(label, 1, 0.0, 0.5, 0.9))
    words_s = time.monotonic() - began
    hook.on_update(None)
    began = time.monotonic()
    hook.on_end(None)
    assert threading.active_count() == 1
    return session.notes, words_s, time.monotonic() - began


def children():
    """Process ids of this process's children, zombies included: set of str. Other tests of it may have left some."""
    return set(pathlib.Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


def test_exit_statuses_are_reported_once_per_kind():
    notes, _, _ = run_hook("sh -c 'case $0 in k) kill -15 $$;; *) exit $0;; esac'", "2030k0k2")
    assert [note.rpartition("sh ")[2] for note in notes] == [
        "ended with status 2",
        "ended with status 3",
        "was ended by signal 15",
    ]


def is_running(pid):
    """Whether a process is neither gone nor dead; a dead one waits for init, not for us."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_slow_command_holds_nothing_up_and_leaves_nothing(tmp_path):
    """It starts a child of its own, which is killed with it."""
    pid_file = tmp_path / "pid"
    command = f"sh -c 'sleep 60 & echo $! > {pid_file}; wait'"
    before = children()
    notes, words_s, end_s = run_hook(command, "1" * 40, timeout_s=0.4)
    assert words_s < 5  # 40 words, not 16 s
    assert end_s < 30  # not 60 s
    assert "faster" in notes[0]
    assert any(
        "longer than 0.4 s" in note or "signal 9" in note for note in notes
    )  # by its time, or the end's
    dropped = int(notes[-1].split()[1])
    assert 40 - 17 <= dropped < 40
    assert children() <= before
    end = time.monotonic() + 30  # a busy machine takes its time to carry a signal out
    while is_running(pid_file.read_text().strip()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_lossless_waits_instead_of_dropping(tmp_path):
    counter = tmp_path / "count"
    notes, _, _ = run_hook(f"sh -c 'echo $0 >> {counter}'", "0123456789" * 5, lossless=True)
    assert notes == []
    assert counter.read_text().split() == list("0123456789" * 5)
