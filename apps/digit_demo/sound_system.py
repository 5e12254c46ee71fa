# SPDX-License-Identifier: MIT
"""What a Linux computer has for recording: cards, permissions, sound servers."""

import grp
import os
import pathlib
import pwd
import re
import shutil
import subprocess

_CARDS = pathlib.Path("/proc/asound/cards")
_CARD = re.compile(r"^ *(\d+) \[(\S+) *\]: (.*)$", re.MULTILINE)
_TIMEOUT_S = 5.0
_SERVER_SOCKETS = ("pulse/native", "pipewire-0")
_PLUGINS = ("libasound_module_pcm_pulse.so", "libasound_module_pcm_pipewire.so")


def cards():
    """The kernel's sound cards.

    Returns
    -------
    list of str
        As "0 Webcam: USB Audio".
    """
    try:
        text = _CARDS.read_text()
    except OSError:
        return []
    return [f"{number} {name}: {about}" for number, name, about in _CARD.findall(text)]


def capture_nodes():
    """The kernel's devices to record from, as paths below /dev/snd."""
    return sorted(pathlib.Path("/dev/snd").glob("pcmC*D*c"))


def may_open(nodes):
    """May this process record from all of them?"""
    return all(os.access(node, os.R_OK | os.W_OK) for node in nodes)


def audio_group():
    """Membership in the group audio.

    Returns
    -------
    in_session, on_file : bool
        Of this process, and of the user at the next login.
    """
    try:
        group = grp.getgrnam("audio")
    except KeyError:
        return False, False
    name = pwd.getpwuid(os.getuid()).pw_name
    return group.gr_gid in {os.getegid(), *os.getgroups()}, name in group.gr_mem


class SoundServer:
    """PulseAudio, or PipeWire in its place, as the program pactl sees it.

    Attributes
    ----------
    name : str or None
        None: none answers.
    source : str
        The default source.
    muted : bool
    volume_percent : int or None
        Of the default source.
    """

    def __init__(self):
        self.name = _field(_pactl("info"), "Server Name")
        self.source = _field(_pactl("info"), "Default Source") or ""
        self.muted = _field(_pactl("get-source-mute", "@DEFAULT_SOURCE@"), "Mute") == "yes"
        volume = re.search(r"(\d+)%", _pactl("get-source-volume", "@DEFAULT_SOURCE@"))
        self.volume_percent = int(volume[1]) if volume else None


def _pactl(*arguments):
    """Its answer, or nothing."""
    try:
        done = subprocess.run(
            ["pactl", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _field(text, name):
    match = re.search(rf"^{name}: (.*)$", text, re.MULTILINE)
    return match[1] if match else None


def pactl_program():
    """Path of pactl, or None."""
    return shutil.which("pactl")


def server_socket():
    """Where a sound server of this user listens, or None."""
    folder = pathlib.Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    return next((folder / name for name in _SERVER_SOCKETS if (folder / name).exists()), None)


def has_server_plugin():
    """Can ALSA, and with it PortAudio and arecord, reach a sound server?"""
    folders = [*pathlib.Path("/usr/lib").glob("*/alsa-lib"), *pathlib.Path("/usr/lib").glob("alsa-lib")]
    return any((folder / name).exists() for folder in folders for name in _PLUGINS)
