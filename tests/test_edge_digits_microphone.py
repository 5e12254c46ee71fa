# SPDX-License-Identifier: MIT
"""edge-digits hears a microphone: an arecord that does as it is told, and a virtual one in real time."""

import json
import os
import signal
import subprocess
import time

import edge_digits
import numpy as np
import pytest
from edge_digits import HERE, expected_lines
from test_digit_demo import make_wav
from test_microphone import SAID, microphone, noise_wav, write_wav  # noqa: F401
from virtual_microphone import Listener
from word_models import tone_signal

from apps.audio import read_audio
from apps.demo_samples import samples
from edge_runtime import Model

RATE = 48000  # that is asked for first

# Each call takes the next number: NUMBER.err is what it says, NUMBER.pcm what it delivers, NUMBER.stay that it then goes
# on without delivering more.
ARECORD = """\
#!/bin/sh
cd '{folder}'
if [ "$1" = -L ]; then cat list; exit; fi
echo "$@" >> calls
number=$(wc -l < calls)
if [ -e $number.err ]; then cat $number.err >&2; [ -e $number.pcm ] || exit 1; fi
if [ ! -e $number.pcm ]; then echo 'arecord: main:831: audio open error: No such device' >&2; exit 1; fi
cat $number.pcm
if [ -e $number.stay ]; then exec sleep 60; fi
"""
LIST = """\
plughw:CARD=Desk,DEV=0
    Desk microphone, USB Audio
null
    Discard all samples (playback) or generate zero samples (capture)
default
    Playback/recording through the PulseAudio sound server
plughw:CARD=Webcam,DEV=0
    HD Webcam, USB Audio
    Hardware device with all software conversions
hw:CARD=Webcam,DEV=0
    HD Webcam, USB Audio
    Direct hardware device without any conversions
"""


@pytest.fixture(scope="module", params=[HERE, "aarch64", "armv6"])
def program(request):
    """edge-digits on this machine and, under qemu, on ARM; there it starts this machine's arecord."""
    return edge_digits.program(request.param)


@pytest.fixture(scope="module")
def here():
    return edge_digits.program(HERE)


class Arecord:
    """A program arecord in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        script = folder / "bin" / "arecord"
        script.parent.mkdir()
        script.write_text(ARECORD.format(folder=folder))
        script.chmod(0o755)
        (folder / "list").write_text(LIST)
        self.environment = {**os.environ, "PATH": f"{script.parent}:{os.environ['PATH']}"}

    def deliver(self, number, signal_samples=None, message=None, stay=False):
        """What the call of this number shall do."""
        if signal_samples is not None:
            pcm = np.rint(signal_samples * 32767).astype("<i2").tobytes()
            (self.folder / f"{number}.pcm").write_bytes(pcm)
        if message is not None:
            (self.folder / f"{number}.err").write_text(message + "\n")
        if stay:
            (self.folder / f"{number}.stay").touch()

    def calls(self):
        """Arguments of each call."""
        return [line.split() for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def arecord(tmp_path):
    folder = tmp_path / "arecord"
    folder.mkdir()
    return Arecord(folder)


def listen(program, environment, *arguments):
    """edge-digits in the background, listening."""
    return Listener(program.start(*arguments, env=environment, stdin=subprocess.DEVNULL))


def test_device_that_comes_back_is_heard_again(program, arecord, model_path):
    arecord.deliver(1, tone_signal(["one", "two"], rate=RATE), "Recording raw data 'stdin'")
    arecord.deliver(3, tone_signal(["three"], rate=RATE), stay=True)
    listener = listen(program, arecord.environment, "--arecord", "-m", model_path, "--json")
    listener.wait_for_message("listening to 'default' at 48000 Hz through arecord; Ctrl-C ends")
    words = [json.loads(listener.next_line()) for _ in range(2)]
    loss = listener.wait_for_message("stopped delivering audio")
    assert loss.endswith(
        "(arecord ended with status 0): was it unplugged? See --list-devices; waiting for it\n"
    )
    assert "'default' is back at 48000 Hz" in listener.wait_for_message("is back")
    words.append(json.loads(listener.next_line()))
    _, err = listener.stop()
    assert [word["word"] for word in words] == ["one", "two", "three"]
    assert words[2]["start_s"] > words[1]["end_s"]
    assert words[2]["string"] > words[1]["string"]
    assert listener.process.returncode == 0
    assert "3 words" in err
    assert "0 samples dropped" in err
    wanted = "-D default -t raw -f S16_LE -r 48000 -c 1 --period-time=20000 --buffer-time=500000"
    assert arecord.calls() == [wanted.split()] * 3


def test_audio_of_a_device_gives_the_lines_of_a_file(program, arecord, model_path, tmp_path):
    """To the last sample, in whatever pieces it came."""
    arecord.deliver(1, tone_signal(SAID, rate=RATE))
    arguments = ["--arecord", "-m", model_path, "--json", "--no-reconnect", "--save-audio", tmp_path / "kept"]
    result = program.run(*arguments, env=arecord.environment)
    assert result.returncode == 2
    assert (
        result.stderr.decode().splitlines()[-1].startswith("edge-digits: 'default' stopped delivering audio")
    )
    (tmp_path / "a.wav").write_bytes(make_wav(tone_signal(SAID, rate=RATE), RATE))
    expected = read_audio(tmp_path / "a.wav")
    assert result.stdout.decode() == expected_lines(Model.load(model_path), *expected)
    (kept,) = (tmp_path / "kept").glob("*.wav")
    np.testing.assert_array_equal(read_audio(kept)[0], expected[0])


def test_lost_audio_is_counted(program, arecord, model_path):
    arecord.deliver(1, tone_signal(["one"], rate=RATE), "overrun!!! (at least 12.500 ms long)")
    result = program.run("--arecord", "-m", model_path, "--no-reconnect", env=arecord.environment)
    assert b"audio was dropped" in result.stderr
    assert b", 1 overflows in the system, 600 samples dropped\n" in result.stderr


def test_rates_and_channels_are_tried(program, arecord, model_path):
    inaccurate = "Warning: rate is not accurate (requested = 48000Hz, got = 44100Hz)"
    arecord.deliver(1, tone_signal(["one"], rate=RATE), inaccurate)
    arecord.deliver(2, message="arecord: set_params:1416: Unable to install hw params:")
    stereo = np.repeat(tone_signal(["two"], rate=44100), 2)
    arecord.deliver(3, message="arecord: set_params:1352: Channels count non available")
    arecord.deliver(4, stereo)
    result = program.run("--arecord", "-m", model_path, "--no-reconnect", env=arecord.environment)
    assert result.stdout == b"2\n"
    assert b"at 44100 Hz through arecord" in result.stderr
    tried = [(call[call.index("-r") + 1], call[call.index("-c") + 1]) for call in arecord.calls()]
    assert tried == [("48000", "1"), ("48000", "2"), ("44100", "1"), ("44100", "2")]


def test_device_that_stays_away(program, arecord, model_path):
    arecord.deliver(1, tone_signal(["one"], rate=RATE))
    arguments = ["--arecord", "-m", model_path, "--reconnect", "1", "-r", "48000", "-d", "hw:7"]
    result = program.run(*arguments, env=arecord.environment)
    assert result.returncode == 2
    assert result.stdout == b"1\n"
    assert result.stderr.decode().splitlines()[-1] == "edge-digits: 'hw:7' did not come back within 1 s"
    assert 2 <= len(arecord.calls()) <= 4


def test_device_that_delivers_no_more_is_lost(here, arecord, model_path):
    arecord.deliver(1, tone_signal(["one"], rate=RATE), stay=True)
    result = here.run("--arecord", "-m", model_path, "--no-reconnect", env=arecord.environment)
    assert result.returncode == 2
    assert b"stopped delivering audio (nothing for 3 s)" in result.stderr


def test_ctrl_c_while_waiting_ends_quietly(program, arecord, model_path):
    arecord.deliver(1, tone_signal(["one"], rate=RATE))
    listener = listen(program, arecord.environment, "--arecord", "-m", model_path)
    listener.wait_for_message("waiting for it")
    out, err = listener.stop(signal.SIGTERM)
    assert listener.process.returncode == 0
    assert out == "1\n"
    assert err.startswith("heard ")
    assert err.count("\n") == 1


def test_no_device_is_one_line(program, arecord, model_path, tmp_path):
    arguments = ["--arecord", "-m", model_path, "-d"]
    result = program.run(*arguments, "plughw:CARD=Webcam,DEV=0", env=arecord.environment)
    message = "cannot record from 'plughw:CARD=Webcam,DEV=0' (arecord: main:831: audio open error: No such device): "
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode().startswith(f"edge-digits: {message}")
    assert result.stderr.count(b"\n") == 1
    without = {**arecord.environment, "PATH": str(tmp_path)}
    result = program.run(*arguments, "default", env=without)
    assert result.stderr == b"edge-digits: arecord is missing: sudo apt install alsa-utils\n"


def test_devices_have_numbers_and_names(program, arecord, model_path):
    result = program.run("-l", "--arecord", env=arecord.environment)
    assert result.stdout.decode().splitlines() == [
        "   0  plughw:CARD=Desk,DEV=0  (Desk microphone, USB Audio)",
        "*  1  default  (Playback/recording through the PulseAudio sound server)",
        "   2  plughw:CARD=Webcam,DEV=0  (HD Webcam, USB Audio, Hardware device with all software conversions)",
        "   3  hw:CARD=Webcam,DEV=0  (HD Webcam, USB Audio, Direct hardware device without any conversions)",
    ]
    for wanted, chosen in (
        ("1", "default"),
        ("3", "hw:CARD=Webcam,DEV=0"),
        ("webcam", "plughw:CARD=Webcam,DEV=0"),
        ("pulseaudio", "default"),
    ):
        program.run("--arecord", "-m", model_path, "-d", wanted, env=arecord.environment)
        assert arecord.calls()[-1][1] == chosen
    for wanted, problem in (("4", "none is"), ("usb", "several are"), ("nothing", "none is")):
        result = program.run("--arecord", "-m", model_path, "-d", wanted, env=arecord.environment)
        assert result.returncode == 2
        assert result.stderr.decode().startswith(
            f"edge-digits: {problem} called '{wanted}' by ALSA: choose one"
        )


def test_doctor_says_what_to_do(here, arecord, tmp_path):
    arecord.deliver(1, 0.1 * np.sin(np.arange(RATE * 3) * 0.03), stay=True)
    arecord.deliver(2, np.zeros(RATE * 3), stay=True)
    good = here.run("--doctor", "--arecord", env=arecord.environment)
    assert b"'default' opened through arecord: 48000 Hz, 1 channels" in good.stdout
    assert b"level: peak -20 dBFS, RMS -23 dBFS" in good.stdout
    silent = here.run("--doctor", "--arecord", env=arecord.environment)
    assert silent.returncode == 1
    assert b"PROBLEM  digital silence" in silent.stdout
    gone = here.run("--doctor", "--arecord", env=arecord.environment)
    assert gone.returncode == 1
    assert b"PROBLEM  cannot record from 'default'" in gone.stdout


# ------------------------------------------------------------------------------ in real time


WAYS = {"libasound": [], "arecord": ["--arecord"], "named": ["-d", "on the desk", "-r", "16000"]}


@pytest.mark.parametrize("way", WAYS)
def test_virtual_microphone(here, microphone, model_path, tmp_path, way):  # noqa: F811
    played = write_wav(tmp_path / "a.wav", tone_signal(SAID), 16000)
    kept = tmp_path / "kept"
    arguments = ["-m", model_path, "--json", "--save-audio", kept, *WAYS[way]]
    listener = listen(here, microphone.environment, *arguments)
    line = listener.wait_for_message("listening to")
    assert ("through arecord" in line) == (way == "arecord" or edge_digits.STATIC is not None)
    microphone.play(played)
    out = [listener.next_line() for _ in SAID]
    assert [json.loads(line)["word"] for line in out] == SAID
    rest, err = listener.stop()
    assert listener.process.returncode == 0, err
    assert rest == ""
    assert "5 words" in err
    assert "0 samples dropped" in err
    assert "ALSA" not in err
    (path,) = kept.glob("*.wav")
    assert "".join(out) == expected_lines(Model.load(model_path), *read_audio(path))


@pytest.mark.parametrize("way", ["libasound", "arecord"])
def test_virtual_microphone_is_unplugged(here, microphone, model_path, tmp_path, way):  # noqa: F811
    played = [write_wav(tmp_path / f"{word}.wav", tone_signal([word]), 16000) for word in ("one", "two")]
    listener = listen(here, microphone.environment, "-m", model_path, *WAYS[way])
    listener.wait_for_message("listening to")
    microphone.play(played[0])
    assert listener.next_line() == "1\n"
    microphone.unplug()
    listener.wait_for_message("stopped delivering audio")
    time.sleep(1.5)  # attempts that find nothing
    microphone.plug_in(rate=44100, channels=2)
    listener.wait_for_message("is back")
    microphone.play(played[1])
    assert listener.next_line() == "2\n"
    _, err = listener.stop()
    assert listener.process.returncode == 0, err
    microphone.unplug()
    microphone.plug_in()


def test_emulated_processor_hears_the_virtual_microphone(microphone, tmp_path):  # noqa: F811
    """AArch64 under qemu hears this machine's sound server through arecord, in real time."""
    program = edge_digits.program("aarch64")
    path, said = samples()[0]
    listener = listen(program, microphone.environment, "--arecord", "--json")
    listener.wait_for_message("listening to")
    microphone.play(path)
    time.sleep(1.0)
    out, err = listener.stop()
    assert listener.process.returncode == 0, err
    heard = [json.loads(line)["word"] for line in out.splitlines()]
    assert abs(len(heard) - len(said)) <= 1
    assert sum(word in said for word in heard) >= len(said) - 1
    assert "0 samples dropped" in err


def test_doctor_measures_the_virtual_microphone(here, microphone, tmp_path):  # noqa: F811
    player = subprocess.Popen(["paplay", noise_wav(tmp_path / "a.wav", 30)], env=microphone.environment)
    try:
        result = here.run("--doctor", env=microphone.environment)
    finally:
        player.terminate()
        player.wait()
    assert result.returncode == 0, result.stdout
    assert b"RMS -40 dBFS" in result.stdout or b"RMS -41 dBFS" in result.stdout
