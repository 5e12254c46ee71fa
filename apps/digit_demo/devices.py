# SPDX-License-Identifier: MIT
"""Names of input devices: which one is meant, and is it the same as before?"""

import os
import pathlib
import re

_CARDS = pathlib.Path("/proc/asound")
_ALSA_NAME = re.compile(r"[A-Za-z]\w*:\S+")
_HARDWARE = re.compile(r"(?:plug)?hw:(?:CARD=)?([^,=]+)(?:,(?:DEV=)?(\d+))?(?:,.*)?")
_PORTAUDIO_HARDWARE = re.compile(r" \(hw:\d+,\d+\)$")


class MicrophoneError(RuntimeError):
    """No audio from a microphone; the message is one line: what, and what to do."""


def is_alsa_name(wanted):
    """Is this an ALSA device string, such as ``plughw:CARD=Webcam,DEV=0`` or ``hw:1``?

    Parameters
    ----------
    wanted : str or None

    Returns
    -------
    bool
    """
    return wanted is not None and _ALSA_NAME.fullmatch(wanted) is not None


def portaudio_name(alsa_name, names):
    """PortAudio's name for an ALSA device string.

    PortAudio lists hardware by number, "Webcam: USB Audio (hw:1,0)", and converts formats itself, so
    that hw: and plughw: are one device to it.

    Parameters
    ----------
    alsa_name : str
    names : iterable of str
        PortAudio's names.

    Returns
    -------
    str or None
        None: PortAudio does not list it.
    """
    names = list(names)
    if alsa_name in names:
        return alsa_name
    match = _HARDWARE.fullmatch(alsa_name)
    card = None if match is None else _card_number(match[1])
    if card is None:
        return None
    suffix = f"(hw:{card},{match[2] or 0})"
    return next((name for name in names if name.endswith(suffix)), None)


def _card_number(card):
    """Number of an ALSA card given its number or its id, or None."""
    if card.isdecimal():
        return int(card)
    try:
        return int(os.readlink(_CARDS / card).removeprefix("card"))
    except (OSError, ValueError):
        return None


def same_device(name, names):
    """Find a device again: its card number may be another after it was unplugged.

    Parameters
    ----------
    name : str
        PortAudio's name when it was opened.
    names : sequence of str
        PortAudio's names now.

    Returns
    -------
    int or None
        Index in `names`.
    """
    if name in names:
        return names.index(name)
    bare = [_PORTAUDIO_HARDWARE.sub("", other) for other in names]
    wanted = _PORTAUDIO_HARDWARE.sub("", name)
    return bare.index(wanted) if wanted != name and wanted in bare else None


def find_pcm(wanted, pcms):
    """Choose one of ALSA's devices.

    Parameters
    ----------
    wanted : str
        Name, or part of a name or description.
    pcms : list of (str, str)
        Names and descriptions.

    Returns
    -------
    str

    Raises
    ------
    MicrophoneError
        None has this name, or several have.
    """
    if wanted in (name for name, _ in pcms):
        return wanted
    part = wanted.lower()
    found = [name for name, text in pcms if part in name.lower() or part in text.lower()]
    # One card has many names; plughw: converts what the hardware does not do.
    found = [name for name in found if name.startswith("plughw:")] or found
    if len(found) != 1:
        what = "several are" if found else "none is"
        raise MicrophoneError(
            f"{what} called {wanted!r} by arecord: choose one with --device; `arecord -L` shows them"
        )
    return found[0]
