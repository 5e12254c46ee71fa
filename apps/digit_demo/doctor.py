# SPDX-License-Identifier: MIT
"""``--doctor``: can this computer hear digits, and if not, what is to be done?"""

import importlib.metadata
import sys
import time

import numpy as np

from apps.audio import AudioError
from apps.demo_samples import samples
from apps.digit_demo import sound_system
from apps.digit_demo.arecord import arecord_program
from apps.digit_demo.level import Level
from apps.digit_demo.microphone import Microphone, MicrophoneError, list_devices
from apps.digit_demo.portaudio import load_sounddevice
from apps.digit_demo.samples import recognize_sample
from apps.digit_demo.sources import check_rate
from edge_runtime.__main__ import describe_installation

_LISTEN_S = 2.0
_CLIPPED = 1e-3
_LOUD_DB = -20.0
_FAINT_DB = -70.0
_OFFSET = 0.02
_RATE_TOLERANCE = 0.1
_LOW_VOLUME_PERCENT = 20
_GAIN_ADVICE = (
    "`alsamixer`, F6 for the card, F4 for capture; or `pactl set-source-volume @DEFAULT_SOURCE@ 80%`"
)
_MUTE_ADVICE = (
    "`alsamixer`, F6, F4, space or M; or `pactl set-source-mute @DEFAULT_SOURCE@ 0`; or a switch on it"
)


class Report:
    """Findings, one a line on standard output, each with what to do about it.

    Attributes
    ----------
    problems : int
        Findings that keep the demo from hearing well.
    """

    def __init__(self):
        self.problems = 0

    def ok(self, text):
        """Nothing to do."""
        self._line("OK", text)

    def note(self, text, advice=None):
        """It works, but."""
        self._line("note", text, advice)

    def problem(self, text, advice=None):
        """It does not work."""
        self.problems += 1
        self._line("PROBLEM", text, advice)

    def _line(self, kind, text, advice=None):
        print(f"{kind:<8} {text}", flush=True)
        if advice is not None:
            print(f"         do: {advice}", flush=True)


def examine(model, device=None, sample_rate=None, verbose=False, arecord=False):
    """Check everything between a microphone and a word, and print what is found.

    Parameters
    ----------
    model : edge_runtime.Model
    device, sample_rate, verbose, arecord
        As `Microphone`.

    Returns
    -------
    int
        Number of problems.
    """
    report = Report()
    _examine_library(report, model)
    _examine_programs(report)
    _examine_cards(report)
    _examine_server(report)
    _examine_devices(report, arecord)
    _examine_microphone(report, device, sample_rate, verbose, arecord)
    if report.problems == 0:
        report.ok("nothing keeps digits from being heard")
    return report.problems


def _examine_library(report, model):
    about = describe_installation()
    report.ok(f"edge_runtime {about['edge_runtime']}, {about['library']}")
    wrong = sum(recognize_sample(model, path) != said for path, said in samples())
    said = f"{model!r}: {len(samples()) - wrong} of {len(samples())} bundled recordings recognized"
    if wrong:
        report.note(said, "expected with another model; else `python -m apps.digit_demo.samples` shows which")
    else:
        report.ok(said)
    report.ok(f"Python {about['python']}, numpy {about['numpy']}, cffi {about['cffi']}, {about['machine']}")


def _examine_programs(report):
    worse = report.problem if arecord_program() is None else report.note
    try:
        version = load_sounddevice().get_portaudio_version()[1]
    except MicrophoneError as error:
        worse(str(error))
    else:
        report.ok(f"sounddevice {importlib.metadata.version('sounddevice')}, {version}")
    if arecord_program() is None:
        report.note("arecord is missing, which hears where PortAudio does not", "sudo apt install alsa-utils")
    else:
        report.ok(f"arecord, {arecord_program()}")


def _examine_cards(report):
    cards = sound_system.cards()
    nodes = sound_system.capture_nodes()
    if not nodes:
        what = f"sound cards without an input: {'; '.join(cards)}" if cards else "no sound card"
        report.note(
            f"{what} (nothing to record from in /dev/snd)",
            "plug a microphone in; `arecord -l` lists it then. A virtual machine or container must be given one",
        )
        return
    report.ok(f"sound cards: {'; '.join(cards)}")
    if sound_system.may_open(nodes):
        report.ok(f"this user may open {', '.join(node.name for node in nodes)}")
        return
    in_session, on_file = sound_system.audio_group()
    if on_file and not in_session:
        advice = "log out and in again: your user is in group audio since the last time"
    else:
        advice = "sudo usermod -aG audio $USER; then log out and in again"
    report.problem(f"this user may not open {', '.join(node.name for node in nodes)}", advice)


def _examine_server(report):
    server = sound_system.SoundServer()
    if server.name is None:
        socket = sound_system.server_socket()
        if socket is None:
            report.note(
                "no sound server (PulseAudio or PipeWire) answers: devices are ALSA's own",
                "nothing, on a computer without a desktop; a service of the system should name its -d plughw:...",
            )
        elif sound_system.pactl_program() is None:
            report.note(
                f"a sound server listens at {socket}", "sudo apt install pulseaudio-utils to see more"
            )
        else:
            report.problem(
                f"the sound server at {socket} does not answer", "systemctl --user restart pipewire"
            )
        return
    report.ok(f"sound server: {server.name}, default source {server.source or 'none'}")
    if not sound_system.has_server_plugin():
        report.note(
            "ALSA cannot reach the sound server", "sudo apt install libasound2-plugins (or pipewire-alsa)"
        )
    if server.source.endswith(".monitor"):
        report.note(
            "the default source is a monitor: it hears what this computer plays",
            "`pactl list short sources`, then `pactl set-default-source NAME`",
        )
    if server.muted:
        report.problem("the default source is muted", _MUTE_ADVICE)
    elif server.volume_percent is not None and server.volume_percent < _LOW_VOLUME_PERCENT:
        report.note(f"the default source's volume is {server.volume_percent} %", _GAIN_ADVICE)


def _examine_devices(report, arecord):
    for through in [True] if arecord else [False, True]:
        name = "arecord" if through else "PortAudio"
        try:
            lines = list_devices(arecord=through)
        except MicrophoneError:
            report.note(f"{name} lists no input device")
            continue
        listed = "; ".join(" ".join(line.lstrip("* ").split()) for line in lines)
        report.ok(f"{name} lists {len(lines)}: {listed}")


def _examine_microphone(report, device, sample_rate, verbose, arecord):
    parts = []
    try:
        with Microphone(device, sample_rate, verbose, arecord) as microphone:
            check_rate(microphone.sample_rate, microphone.name)
            print(f"listening for {_LISTEN_S:.0f} s: say something", file=sys.stderr, flush=True)
            parts.append(microphone.read())  # from here on, so that opening it does not count
            began = time.monotonic()
            while time.monotonic() - began < _LISTEN_S:
                parts.append(microphone.read())
            passed_s = time.monotonic() - began
            lost = microphone.dropped_samples, microphone.overflows
    except (MicrophoneError, AudioError) as error:
        report.problem(str(error))
        return
    report.ok(
        f"{microphone.name!r} opened through {microphone.through}: {microphone.sample_rate} Hz, "
        f"{microphone.channels} channels"
    )
    rate = sum(map(len, parts[1:])) / passed_s
    if abs(rate / microphone.sample_rate - 1) > _RATE_TOLERANCE:
        report.note(
            f"it delivered {rate:.0f} samples a second", "again, when the computer is idle; then -r HZ"
        )
    if any(lost):
        report.note(
            f"{lost[0]} samples dropped, {lost[1]} overflows in the system",
            "close what keeps the computer busy",
        )
    else:
        report.ok("nothing dropped")
    _judge(report, Level.of(np.concatenate(parts)))


def _judge(report, level):
    """Say what a level means."""
    if level.is_silent:
        report.problem("digital silence: it is muted, or the wrong device", f"{_MUTE_ADVICE}; or -d another")
        return
    text = f"level: peak {level.peak_db:.0f} dBFS, RMS {level.rms_db:.0f} dBFS, DC offset {level.offset:+.4f}"
    if level.clipped > _CLIPPED:
        report.problem(
            f"{text}; {100 * level.clipped:.1f} % of it is clipped", f"lower the gain: {_GAIN_ADVICE}"
        )
    elif level.rms_db > _LOUD_DB:
        report.note(f"{text}: very loud", f"lower the gain: {_GAIN_ADVICE}")
    elif level.peak_db < _FAINT_DB:
        report.note(f"{text}: very faint", f"if you spoke, raise the gain: {_GAIN_ADVICE}")
    else:
        report.ok(text)
    if abs(level.offset) > _OFFSET:
        report.note("the DC offset is large: harmless here, but a sign of bad hardware")
