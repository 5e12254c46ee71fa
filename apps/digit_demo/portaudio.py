# SPDX-License-Identifier: MIT
"""An input device through PortAudio (package sounddevice, imported when needed)."""

import contextlib
import os
import sys
import threading

from apps.digit_demo.devices import MicrophoneError, is_alsa_name, portaudio_name
from apps.digit_demo.ring import Ring

# Arrays of microphones may open with all their channels only. Sound servers offer many more, of which all but
# one or two are silent, and the mean of them is faint.
_MOST_CHANNELS = 8


@contextlib.contextmanager
def hidden_stderr(hide=True):
    """Hide what C libraries write to file descriptor 2; Python's sys.stderr still reaches the user.

    ALSA prints pages while PortAudio looks for devices, and PortAudio when a device vanishes.

    Parameters
    ----------
    hide : bool
        False: do nothing.
    """
    if not hide:
        yield
        return
    original = sys.stderr
    original.flush()
    saved = os.dup(2)
    sys.stderr = open(os.dup(saved), "w", buffering=1, encoding=original.encoding, errors=original.errors)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = original
        os.dup2(saved, 2)
        os.close(saved)


def load_sounddevice(verbose=False):
    """Import sounddevice.

    Parameters
    ----------
    verbose : bool
        Show what ALSA says.

    Returns
    -------
    module

    Raises
    ------
    MicrophoneError
        The package or PortAudio is missing.
    """
    try:
        with hidden_stderr(not verbose):
            import sounddevice
    except ImportError:
        raise MicrophoneError(
            "the package sounddevice is missing: python -m pip install sounddevice "
            "(or recognize a file with -i FILE.wav)"
        ) from None
    except OSError as error:
        raise MicrophoneError(
            f"PortAudio is missing ({error}): sudo apt install libportaudio2 "
            "(or recognize a file with -i FILE.wav)"
        ) from None
    return sounddevice


def refresh(sounddevice):
    """Look for devices anew: PortAudio does so only when it starts. All streams must be closed.

    Parameters
    ----------
    sounddevice : module

    Raises
    ------
    MicrophoneError
        PortAudio does not start.
    """
    try:
        if sounddevice._initialized:
            sounddevice._terminate()
        sounddevice._initialize()
    except sounddevice.PortAudioError as error:
        raise MicrophoneError(f"PortAudio does not start: {error}") from None


def input_devices(sounddevice):
    """PortAudio's input devices.

    Parameters
    ----------
    sounddevice : module

    Returns
    -------
    list of dict
        As sounddevice.query_devices.

    Raises
    ------
    MicrophoneError
        PortAudio fails, as when one vanishes just then.
    """
    try:
        return [device for device in sounddevice.query_devices() if device["max_input_channels"] > 0]
    except sounddevice.PortAudioError as error:
        raise MicrophoneError(f"PortAudio cannot list devices: {error}") from None


def find_device(sounddevice, wanted):
    """Find an input device.

    Parameters
    ----------
    sounddevice : module
    wanted : str or None
        Number, part of a name, ALSA device string, or None for the default.

    Returns
    -------
    dict or None
        As sounddevice.query_devices. None: an ALSA device that PortAudio does not list.

    Raises
    ------
    MicrophoneError
        There is none, or the name fits several.
    """
    if is_alsa_name(wanted):
        inputs = input_devices(sounddevice)
        name = portaudio_name(wanted, [device["name"] for device in inputs])
        return next((device for device in inputs if device["name"] == name), None)
    key = int(wanted) if wanted is not None and wanted.isdecimal() else wanted
    try:
        return sounddevice.query_devices(key, "input")
    except (ValueError, sounddevice.PortAudioError):
        what = "there is no default input device"
        if wanted is not None:
            what = f"no input device {wanted!r}, or several"
        raise MicrophoneError(f"{what}: choose one with --device; --list-devices shows them") from None


class PortAudioInput:
    """An open input device. The audio callback only copies into the ring.

    Attributes
    ----------
    name : str
    sample_rate : int
        Hz.
    channels : int
    ring : Ring
        What has arrived.
    overflows : int
        Times the system reported lost audio.

    Parameters
    ----------
    sounddevice : module
    device : dict
        As sounddevice.query_devices.
    rates : sequence of int
        In Hz, tried in this order.
    ring_s : float
        Seconds of audio that may wait.

    Raises
    ------
    MicrophoneError
        It cannot be opened.
    """

    def __init__(self, sounddevice, device, rates, ring_s):
        self.name = device["name"]
        self.overflows = 0
        self._stream = None
        self._ended = threading.Event()
        most = device["max_input_channels"]
        counts = [min(most, 2), 1]
        if most <= _MOST_CHANNELS:
            counts.append(most)
        error = None
        for rate in rates:
            for channels in dict.fromkeys(counts):
                self.ring = Ring(int(rate * ring_s), channels)
                try:
                    self._stream = sounddevice.InputStream(
                        samplerate=rate,
                        device=device["index"],
                        channels=channels,
                        dtype="float32",
                        callback=self._on_audio,
                        finished_callback=self._ended.set,
                    )
                    self._stream.start()
                except (sounddevice.PortAudioError, ValueError) as failure:
                    error = failure
                    self.close()
                    self._ended.clear()
                    continue
                self.sample_rate = rate
                self.channels = channels
                return
        raise self._explain(error, rates)

    def _explain(self, error, rates):
        text = str(error).splitlines()[0]
        if "Device unavailable" in text:
            advice = (
                "another program is using it: close that (`fuser -v /dev/snd/*` shows it), or choose another"
            )
        elif "sample rate" in text.lower():
            advice = (
                f"it does not take {', '.join(map(str, rates))} Hz: try -r HZ, or its plughw: form with -d"
            )
        else:
            advice = "check it with `arecord -d 3 test.wav`, or choose another from --list-devices"
        return MicrophoneError(f"cannot open {self.name!r} ({text}): {advice}")

    def _on_audio(self, frames, _count, _time, status):
        """PortAudio's thread: copy and return."""
        self.ring.write(frames)
        if status.input_overflow:
            self.overflows += 1

    def ended(self):
        """Why no more audio comes, or None while it may.

        Returns
        -------
        str or None
        """
        try:
            active = self._stream.active
        except Exception:  # PortAudioError: asking a device that has gone can fail
            active = False
        return "PortAudio's stream has ended" if self._ended.is_set() or not active else None

    def close(self):
        """Stop listening."""
        if self._stream is not None:
            for end in (self._stream.abort, self._stream.close):
                with contextlib.suppress(Exception):  # a device that has gone fails here too
                    end()
            self._stream = None
