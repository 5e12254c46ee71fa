# SPDX-License-Identifier: MIT
"""The digit demo hears a microphone: a virtual one, in real time."""

import itertools
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
from virtual_microphone import Listener, VirtualMicrophone, missing
from word_models import tone_signal

from apps.audio import read_audio
from apps.demo_samples import samples
from apps.evaluate.metrics import align
from apps.evaluate.strings import StringMaker
from edge_runtime.model import DEFAULT_MODEL

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SAID = ["one", "two", "three", "four", "two"]
DIGITS_S = float(os.environ.get("EDGE_RUNTIME_MICROPHONE_S", "8"))


@pytest.fixture(scope="module")
def microphone():
    lack = missing()
    if lack is not None:
        if os.environ.get("EDGE_RUNTIME_REQUIRE_MICROPHONE") == "1":
            pytest.fail(lack)
        pytest.skip(lack)
    with VirtualMicrophone() as running:
        yield running


def write_wav(path, signal_samples, rate):
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, rate, 0, "NONE", None))
        sound.writeframes(np.rint(signal_samples * 32767).astype("<i2").tobytes())
    return path


def listen(microphone, *arguments):
    """The demo in a process of its own, listening."""
    process = subprocess.Popen(
        [sys.executable, "-m", "apps.digit_demo", *map(str, arguments)],
        env=microphone.environment,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    listener = Listener(process, 90 + DIGITS_S)
    listener.wait_for_message("listening to")
    return listener


def run(program, microphone):
    """Run Python to its end."""
    return subprocess.run(
        [sys.executable, *map(str, program)],
        env=microphone.environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )


def demo(microphone, *arguments):
    return run(["-m", "apps.digit_demo", *arguments], microphone)


def test_devices_are_listed(microphone):
    result = demo(microphone, "-l")
    assert result.returncode == 0, result.stderr
    (default,) = [line for line in result.stdout.splitlines() if line.startswith("*")]
    assert "default" in default
    assert result.stderr == ""
    result = demo(microphone, "-l", "--arecord")
    assert result.returncode == 0, result.stderr
    assert "  desk  (Microphone on the desk)\n" in result.stdout
    assert "null" not in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    "arguments", [["-d", "pulse"], ["--arecord", "-d", "on the Desk", "-r", "48000"], ["-r", "16000"]]
)
def test_tones_are_heard(microphone, model_path, tmp_path, arguments):
    played = write_wav(tmp_path / "a.wav", tone_signal(SAID), 16000)
    listener = listen(microphone, "-m", model_path, "--json", "--save-audio", tmp_path / "kept", *arguments)
    microphone.play(played)
    assert [json.loads(listener.next_line())["word"] for _ in SAID] == SAID
    out, err = listener.stop()
    assert listener.process.returncode == 0, err
    assert out == ""
    assert "5 words" in err
    assert "0 samples dropped" in err
    assert "Traceback" not in err
    assert "ALSA" not in err
    (kept,) = (tmp_path / "kept").glob("*.wav")
    heard, rate = read_audio(kept)
    assert rate == (int(arguments[-1]) if "-r" in arguments else rate)
    assert len(heard) / rate > 2.4


def test_words_come_while_listening_and_sigterm_ends(microphone, model_path, tmp_path):
    played = write_wav(tmp_path / "a.wav", tone_signal(["three"]), 16000)
    listener = listen(microphone, "-m", model_path)
    microphone.play(played)
    assert listener.next_line() == "3\n"
    assert listener.process.poll() is None
    _, err = listener.stop(signal.SIGTERM)
    assert listener.process.returncode == 0, err
    assert "heard" in err


@pytest.mark.parametrize("arguments", [["-d", "no such device"], ["-d", "99"], ["-r", "15999"]])
def test_unknown_device_or_rate_is_one_line(microphone, model_path, arguments):
    for through in [], ["--arecord"]:
        result = demo(microphone, "-m", model_path, *arguments, *through)
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert arguments[1] in result.stderr
        assert "-r" in arguments or "--device" in result.stderr


def spoken_digits(duration_s):
    """Strings of digits of that length together, at least: float32 at 16 kHz, and the words.

    Of recorded voices where recordings are at hand, else of the bundled recordings.
    """
    data = os.environ.get("EDGE_RUNTIME_DATA")
    if data is not None:
        strings = ((made.samples, made.words) for made in StringMaker(data, "dev").strings("clean", 1000))
    else:
        strings = itertools.cycle((read_audio(path)[0], said) for path, said in samples())
    parts, words, count = [], [], 0
    while count < 16000 * duration_s:
        audio, said = next(strings)
        parts += [audio, np.zeros(8000, np.float32)]
        words += said
        count += len(audio) + 8000
    return np.concatenate(parts), words


def word_errors(said, output):
    heard = [json.loads(line)["word"] for line in output.splitlines()]
    return sum(one != other for one, other in align(said, heard))


def test_alsa_device_unknown_to_portaudio_needs_arecord(microphone, model_path, monkeypatch):
    arguments = ["-m", model_path, "-d", "plughw:CARD=Webcam,DEV=0"]
    with_arecord = demo(microphone, *arguments)
    monkeypatch.setitem(microphone.environment, "PATH", "")
    without = demo(microphone, *arguments)
    for result, reason in ((with_arecord, "(arecord: main:"), (without, "sudo apt install alsa-utils")):
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert "'plughw:CARD=Webcam,DEV=0'" in result.stderr
        assert reason in result.stderr


@pytest.mark.skipif(not DEFAULT_MODEL.is_file(), reason="the default model is not trained yet")
def test_as_many_spoken_digits_are_heard_as_from_the_file(microphone, tmp_path, record_property):
    """A few seconds; with EDGE_RUNTIME_MICROPHONE_S=120, as by `make test-microphone`, two minutes."""
    audio, said = spoken_digits(DIGITS_S)
    path = write_wav(tmp_path / "a.wav", np.clip(audio, -1, 1), 16000)
    from_file = demo(microphone, "-i", path, "--json")
    listener = listen(microphone, "--json", "--save-audio", tmp_path / "kept")
    microphone.play(path, timeout_s=60 + DIGITS_S)
    time.sleep(1.0)
    out, err = listener.stop()
    assert listener.process.returncode == 0, err
    assert "0 samples dropped" in err
    errors = word_errors(said, from_file.stdout), word_errors(said, out)
    record_property(
        "figures",
        f"virtual microphone: {len(audio) / 16000:.0f} s, {len(said)} words, "
        f"{errors[0]} errors from the file, {errors[1]} from the microphone",
    )
    assert abs(errors[0] - errors[1]) <= 1
    assert errors[1] < len(said) / 2
    (kept,) = (tmp_path / "kept").glob("*.wav")
    assert demo(microphone, "-i", kept, "--json").stdout == out


@pytest.mark.parametrize("arguments", [["--no-reconnect"], ["--arecord", "--reconnect", "1"]])
def test_vanished_device_is_one_line_and_keeps_the_audio(microphone, model_path, tmp_path, arguments):
    with microphone.unplugged_at_the_end():
        listener = listen(microphone, "-m", model_path, "--save-audio", tmp_path, *arguments)
        microphone.play(write_wav(tmp_path / "a.wav", tone_signal(["one"]), 16000))
        assert listener.next_line() == "1\n"
        microphone.unplug()
        _, err = listener.wait()
    assert listener.process.returncode == 2
    lines = [line for line in err.splitlines() if not line.startswith(("heard", "audio "))]
    if "--no-reconnect" not in arguments:
        assert "stopped delivering audio" in lines.pop(0)
    (last,) = lines
    assert last.startswith("digit_demo: ")
    assert "not come back within 1 s" in last or "stopped delivering audio" in last
    (kept,) = tmp_path.glob("digits-*.wav")
    assert len(read_audio(kept)[0]) > 0


@pytest.mark.parametrize("arguments", [[], ["--arecord"]])
def test_device_that_comes_back_is_heard_again(microphone, model_path, tmp_path, arguments):
    played = [write_wav(tmp_path / f"{word}.wav", tone_signal([word]), 16000) for word in ("one", "two")]
    listener = listen(microphone, "-m", model_path, "--json", *arguments)
    microphone.play(played[0])
    first = json.loads(listener.next_line())
    microphone.unplug()
    listener.wait_for_message("stopped delivering audio")
    time.sleep(1.5)  # attempts that find nothing
    microphone.plug_in(rate=44100, channels=2)
    listener.wait_for_message("is back")
    microphone.play(played[1])
    second = json.loads(listener.next_line())
    _, err = listener.stop()
    assert listener.process.returncode == 0, err
    assert (first["word"], second["word"]) == ("one", "two")
    assert second["start_s"] > first["end_s"]
    assert len(err.splitlines()) == 1, err  # the summary
    assert "2 words" in err


@pytest.mark.parametrize("arguments", [[], ["--arecord"]])
def test_ctrl_c_while_waiting_ends_quietly(microphone, model_path, arguments):
    with microphone.unplugged_at_the_end():
        listener = listen(microphone, "-m", model_path, *arguments)
        microphone.unplug()
        listener.wait_for_message("waiting for it")
        time.sleep(0.3)
        out, err = listener.stop()
    assert listener.process.returncode == 0, err
    assert out == ""
    assert err.startswith("heard "), err
    assert len(err.splitlines()) == 1, err


@pytest.mark.parametrize(
    "how, reason",
    [(signal.SIGTERM, "(arecord"), (signal.SIGKILL, "(arecord ended"), (signal.SIGSTOP, "(nothing for 3 s")],
)
def test_arecord_that_dies_or_hangs_is_noticed_and_collected(microphone, model_path, how, reason):
    listener = listen(microphone, "-m", model_path, "--arecord", "--no-reconnect")
    (child,) = children(listener.process.pid)
    assert "arecord" in pathlib.Path(f"/proc/{child}/cmdline").read_text()
    os.kill(child, how)
    _, err = listener.wait()
    assert listener.process.returncode == 2
    assert f"stopped delivering audio {reason}" in err
    assert not pathlib.Path(f"/proc/{child}").exists()


def children(process):
    """Numbers of a process's children."""
    return [
        int(number)
        for task in pathlib.Path(f"/proc/{process}/task").iterdir()
        for number in (task / "children").read_text().split()
    ]


@pytest.mark.parametrize("arecord", [False, True])
def test_audio_that_nobody_takes_is_dropped_and_counted(microphone, arecord):
    """The ring keeps the oldest; a device of 44.1 kHz and two channels is opened as it is."""
    program = (
        "import time\n"
        "from apps.digit_demo import microphone\n"
        "microphone._RING_S = 0.25\n"
        f"with microphone.Microphone(sample_rate=44100, arecord={arecord}) as listening:\n"
        "    listening.read()\n"
        "    began = time.monotonic()\n"
        "    time.sleep(1.25)\n"
        "    print(listening.sample_rate, len(listening.read()), listening.dropped_samples)\n"
        "    print(time.monotonic() - began)\n"
    )
    result = run(["-c", program], microphone)
    rate, kept, dropped, passed_s = map(float, result.stdout.split())
    assert (rate, kept) == (44100, 11025)
    assert dropped == pytest.approx(44100 * (passed_s - 0.25), abs=0.5 * 44100)


def noise_wav(path, duration_s, level=0.01):
    return write_wav(path, level * np.random.default_rng(1).standard_normal(round(16000 * duration_s)), 16000)


def test_doctor_measures_the_microphone(microphone, tmp_path):
    player = subprocess.Popen(["paplay", noise_wav(tmp_path / "a.wav", 30)], env=microphone.environment)
    try:
        heard = demo(microphone, "--doctor")
        microphone.mute(True)
        muted = demo(microphone, "--doctor", "--arecord")
    finally:
        microphone.mute(False)
        player.terminate()
        player.wait()
    assert "PROBLEM" not in heard.stdout
    assert heard.returncode == 0, heard.stdout
    assert "RMS -40 dBFS" in heard.stdout or "RMS -41 dBFS" in heard.stdout
    assert "opened through PortAudio: 44100 Hz, 2 channels" in heard.stdout
    assert muted.returncode == 1
    assert "opened through arecord: 48000 Hz" in muted.stdout
    problems = [line for line in muted.stdout.splitlines() if line.startswith("PROBLEM")]
    assert len(problems) == 2
    assert "the default source is muted" in problems[0]
    assert "digital silence" in problems[1]


def test_tuning_hears_the_microphone(microphone, model_path, tmp_path):
    player = subprocess.Popen(["paplay", noise_wav(tmp_path / "a.wav", 30)], env=microphone.environment)
    try:
        result = demo(microphone, "-m", model_path, "--tune", "5")
    finally:
        player.terminate()
        player.wait()
    assert result.returncode == 0, result.stderr
    assert 0.5 <= float(result.stdout.removeprefix("--threshold ")) <= 0.99
    assert "heard 5.0 s: noise -4" in result.stderr
