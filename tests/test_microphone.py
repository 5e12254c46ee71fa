# SPDX-License-Identifier: MIT
"""The digit demo hears a microphone: a virtual one, in real time."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import wave

import numpy as np
import pytest
from virtual_microphone import VirtualMicrophone, missing
from word_models import tone_model, tone_signal

from apps.audio import read_audio
from apps.demo_samples import samples
from edge_runtime.model import DEFAULT_MODEL

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SAID = ["one", "two", "three", "four", "two"]


@pytest.fixture(scope="module")
def microphone():
    lack = missing()
    if lack is not None:
        if os.environ.get("EDGE_RUNTIME_REQUIRE_MICROPHONE") == "1":
            pytest.fail(lack)
        pytest.skip(lack)
    with VirtualMicrophone() as running:
        yield running


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tone.ernn"
    path.write_bytes(tone_model(threshold=0.5))
    return str(path)


def write_wav(path, signal_samples, rate):
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, rate, 0, "NONE", None))
        sound.writeframes(np.rint(signal_samples * 32767).astype("<i2").tobytes())
    return path


class Listener:
    """The demo in a process of its own, listening."""

    def __init__(self, microphone, *arguments):
        recorders = microphone.recorder_count()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apps.digit_demo", *map(str, arguments)],
            env=microphone.environment,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        end = time.monotonic() + 30
        while microphone.recorder_count() <= recorders:
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise AssertionError(f"the demo does not listen: {self.process.communicate()}")
            time.sleep(0.05)

    def stop(self, how=signal.SIGINT):
        """End it; returns its output."""
        self.process.send_signal(how)
        try:
            return self.process.communicate(timeout=30)
        finally:
            self.process.kill()


def test_devices_are_listed(microphone):
    result = subprocess.run(
        [sys.executable, "-m", "apps.digit_demo", "-l"],
        env=microphone.environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    (default,) = [line for line in result.stdout.splitlines() if line.startswith("*")]
    assert "default" in default
    assert result.stderr == ""


@pytest.mark.parametrize(
    "arguments", [[], ["-d", "pulse"], ["-d", "default", "-r", "48000"], ["-r", "16000"]]
)
def test_tones_are_heard(microphone, model_path, tmp_path, arguments):
    played = write_wav(tmp_path / "a.wav", tone_signal(SAID), 16000)
    listener = Listener(microphone, "-m", model_path, "--json", "--save-audio", tmp_path / "kept", *arguments)
    microphone.play(played)
    time.sleep(0.5)
    out, err = listener.stop()
    assert listener.process.returncode == 0, err
    assert [json.loads(line)["word"] for line in out.splitlines()] == SAID, err
    assert "5 words" in err
    assert "0 samples dropped" in err
    assert "Traceback" not in err
    assert "ALSA" not in err
    (kept,) = (tmp_path / "kept").iterdir()
    heard, rate = read_audio(kept)
    assert rate == (int(arguments[-1]) if "-r" in arguments else rate)
    assert len(heard) / rate > 2.4


def test_words_come_while_listening_and_sigterm_ends(microphone, model_path, tmp_path):
    played = write_wav(tmp_path / "a.wav", tone_signal(["three"]), 16000)
    listener = Listener(microphone, "-m", model_path)
    microphone.play(played)
    assert listener.process.stdout.readline() == "3\n"
    assert listener.process.poll() is None
    _, err = listener.stop(signal.SIGTERM)
    assert listener.process.returncode == 0, err
    assert "heard" in err


def test_unknown_device_is_one_line(microphone, model_path):
    for device in ("no such device", "99"):
        result = subprocess.run(
            [sys.executable, "-m", "apps.digit_demo", "-m", model_path, "-d", device],
            env=microphone.environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert device in result.stderr
        assert "--list-devices" in result.stderr


def test_unusual_rate_is_one_line(microphone, model_path):
    result = subprocess.run(
        [sys.executable, "-m", "apps.digit_demo", "-m", model_path, "-r", "15999"],
        env=microphone.environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "15999" in result.stderr


@pytest.mark.skipif(not DEFAULT_MODEL.is_file(), reason="the default model is not trained yet")
@pytest.mark.parametrize("path, said", samples(), ids=lambda value: getattr(value, "stem", ""))
def test_spoken_digits_are_heard_with_the_default_model(microphone, path, said):
    listener = Listener(microphone, "--json")
    microphone.play(path)
    time.sleep(1.0)
    out, err = listener.stop()
    assert listener.process.returncode == 0, err
    assert [json.loads(line)["word"] for line in out.splitlines()] == list(said), err


def test_vanished_device_is_one_line_and_keeps_the_audio(microphone, model_path, tmp_path):
    with VirtualMicrophone() as other:
        listener = Listener(other, "-m", model_path, "-q", "--save-audio", tmp_path)
        other.play(write_wav(tmp_path / "a.wav", tone_signal(["one"]), 16000))
        time.sleep(0.5)
        other.stop()
        out, err = listener.process.communicate(timeout=30)
    assert listener.process.returncode == 2
    assert out == "1\n"
    assert len(err.splitlines()) == 1, err
    assert "stopped delivering audio" in err
    (kept,) = tmp_path.glob("digits-*.wav")
    assert len(read_audio(kept)[0]) > 0
