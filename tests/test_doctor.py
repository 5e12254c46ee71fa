# SPDX-License-Identifier: MIT
"""``--doctor`` without a microphone, and its parts; with one it is tested in test_microphone.py."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from apps.digit_demo import devices, doctor, sound_system
from apps.digit_demo.devices import MicrophoneError, find_pcm, portaudio_name, same_device
from apps.digit_demo.level import Level

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def run_doctor(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "apps.digit_demo", "--doctor", *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        timeout=60,
    )


def test_without_anything_to_hear_through_it_says_what_to_install(tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise ImportError\n")
    result = run_doctor(PYTHONPATH=str(tmp_path), PATH=str(tmp_path), XDG_RUNTIME_DIR=str(tmp_path))
    assert result.returncode == 1, result.stderr
    lines = result.stdout.splitlines()
    assert all(line.startswith(("OK       ", "note     ", "PROBLEM  ", "         do: ")) for line in lines)
    problems = [line for line in lines if line.startswith("PROBLEM")]
    assert len(problems) == 2
    assert all("pip install sounddevice" in line for line in problems)
    assert "do: sudo apt install alsa-utils" in result.stdout
    assert "4 of 4 bundled recordings recognized" in result.stdout
    assert "numpy " + np.__version__ in result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [["-i", "a.wav"], ["-m", "missing.ernn"], ["-r", "x"], ["--kernel", "turbo"]]
)
def test_bad_arguments_have_status_2(arguments):
    result = run_doctor(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""


@pytest.mark.parametrize(
    "samples, kind, text",
    [
        (np.zeros(1000), "PROBLEM", "digital silence"),
        (np.full(1000, 0.1), "PROBLEM", "digital silence"),
        (np.sign(np.sin(np.arange(1000))), "PROBLEM", "99.9 % of it is clipped"),
        (0.3 * np.sin(np.arange(1000)), "note", "very loud"),
        (1e-4 * np.sin(np.arange(1000)), "note", "very faint"),
        (0.03 + 0.01 * np.sin(np.arange(1000)), "note", "DC offset is large"),
        (0.01 * np.sin(np.arange(1000)), "OK", "peak -40 dBFS, RMS -43 dBFS"),
    ],
)
def test_levels_are_judged(capsys, samples, kind, text):
    report = doctor.Report()
    doctor._judge(report, Level.of(samples.astype(np.float32)))
    last = [line for line in capsys.readouterr().out.splitlines() if "  do: " not in line][-1]
    assert last.startswith(kind)
    assert text in last
    assert report.problems == (kind == "PROBLEM")


def test_cards_of_the_kernel(tmp_path, monkeypatch):
    listed = tmp_path / "cards"
    listed.write_text(
        " 0 [PCH            ]: HDA-Intel - HDA Intel PCH\n"
        "                      HDA Intel PCH at 0xf7f10000 irq 31\n"
        "10 [Webcam         ]: USB-Audio - HD Webcam\n"
        "                      Maker HD Webcam at usb-0000:00:14.0-1, high speed\n"
    )
    monkeypatch.setattr(sound_system, "_CARDS", listed)
    assert sound_system.cards() == ["0 PCH: HDA-Intel - HDA Intel PCH", "10 Webcam: USB-Audio - HD Webcam"]
    listed.write_text("--- no soundcards ---\n")
    assert sound_system.cards() == []


def test_alsa_names_are_found_among_portaudios(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_CARDS", tmp_path)
    (tmp_path / "Webcam").symlink_to("card2")
    names = ["HDA Intel PCH: ALC (hw:0,0)", "HD Webcam: USB Audio (hw:2,0)", "pulse", "default"]
    for alsa in ("plughw:CARD=Webcam,DEV=0", "hw:CARD=Webcam", "hw:2,0", "plughw:2", "hw:Webcam,0"):
        assert portaudio_name(alsa, names) == names[1]
    for alsa in ("plughw:CARD=Webcam,DEV=1", "hw:CARD=Other", "hw:1,0", "sysdefault:CARD=Webcam", "dsnoop:2"):
        assert portaudio_name(alsa, names) is None


def test_a_device_is_the_same_under_another_card_number():
    names = ["HDA Intel PCH: ALC (hw:0,0)", "HD Webcam: USB Audio (hw:3,0)", "default"]
    assert same_device("default", names) == 2
    assert same_device("HD Webcam: USB Audio (hw:2,0)", names) == 1
    assert same_device("HD Webcam: USB Audio", names) is None
    assert same_device("Headset: USB Audio (hw:3,0)", names) is None


def test_arecords_devices_by_part_of_name_or_description():
    pcms = [
        ("default", "Default Audio Device"),
        ("hw:CARD=Webcam,DEV=0", "HD Webcam, USB Audio, Direct hardware device"),
        ("plughw:CARD=Webcam,DEV=0", "HD Webcam, USB Audio, Hardware device with all software conversions"),
        ("plughw:CARD=PCH,DEV=0", "HDA Intel PCH, ALC, Hardware device with all software conversions"),
    ]
    assert find_pcm("default", pcms) == "default"
    assert find_pcm("webcam", pcms) == find_pcm("usb audio", pcms) == "plughw:CARD=Webcam,DEV=0"
    with pytest.raises(MicrophoneError, match=r"several are called 'hardware' .* --device"):
        find_pcm("hardware", pcms)
    with pytest.raises(MicrophoneError, match=r"none is called 'headset'"):
        find_pcm("headset", pcms)
