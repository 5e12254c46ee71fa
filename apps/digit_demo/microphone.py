# SPDX-License-Identifier: MIT
"""A microphone through PortAudio (package sounddevice, imported when needed)."""

import contextlib
import os
import sys
import threading
import time

import numpy as np

from apps.audio import mix_down

_RING_S = 5.0  # audio that may wait while the program is busy
_POLL_S = 0.02
_SILENT_DEVICE_S = 3.0  # without a single block: the device is gone
_FALLBACK_RATES = (48000, 44100, 16000)


class MicrophoneError(RuntimeError):
    """No audio from a microphone; the message is one line: what, and what to do."""


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


def list_devices(verbose=False):
    """Describe the input devices.

    Parameters
    ----------
    verbose : bool
        Show what ALSA says.

    Returns
    -------
    list of str
        One line per device: number, name, channels, rate; the default is marked.

    Raises
    ------
    MicrophoneError
        There is none.
    """
    sounddevice = load_sounddevice(verbose)
    default = sounddevice.default.device[0]
    lines = []
    for index, device in enumerate(sounddevice.query_devices()):
        if device["max_input_channels"] > 0:
            mark = "*" if index == default else " "
            lines.append(
                f"{mark} {index:>2}  {device['name']}  ({device['max_input_channels']} in, "
                f"{device['default_samplerate']:.0f} Hz)"
            )
    if not lines:
        raise _no_device()
    return lines


def _no_device():
    return MicrophoneError(
        "no input device found: plug a microphone in, check `arecord -l`, and that your user is in group "
        "audio (or recognize a file with -i FILE.wav)"
    )


def find_device(sounddevice, wanted):
    """Find an input device.

    Parameters
    ----------
    sounddevice : module
    wanted : str or None
        Number, part of a name, or None for the default.

    Returns
    -------
    dict
        As sounddevice.query_devices.

    Raises
    ------
    MicrophoneError
    """
    inputs = [d for d in sounddevice.query_devices() if d["max_input_channels"] > 0]
    if not inputs:
        raise _no_device()
    key = int(wanted) if wanted is not None and wanted.isdecimal() else wanted
    try:
        device = sounddevice.query_devices(key, "input")
    except (ValueError, sounddevice.PortAudioError):
        what = f"no input device {wanted!r}, or several"
        if wanted is None:
            what = "there is no default input device"
        raise MicrophoneError(f"{what}: choose one with --device; --list-devices shows them") from None
    return device


class Ring:
    """Bounded buffer between one writing and one reading thread. It never blocks: what does not
    fit is dropped and counted.

    Parameters
    ----------
    capacity : int
        Frames.
    channels : int
    """

    def __init__(self, capacity, channels):
        self._frames = np.zeros((capacity, channels), np.float32)
        self._written = 0  # frames ever written; only the writer changes it
        self._read = 0  # frames ever read; only the reader changes it
        self.dropped = 0

    def write(self, frames):
        """Copy frames in.

        Parameters
        ----------
        frames : float32 [shape=(n, channels)]
        """
        capacity = len(self._frames)
        count = min(len(frames), capacity - (self._written - self._read))
        start = self._written % capacity
        first = min(count, capacity - start)
        self._frames[start : start + first] = frames[:first]
        self._frames[: count - first] = frames[first:count]
        self._written += count  # last: makes the frames visible
        self.dropped += len(frames) - count

    def read(self):
        """Take out everything.

        Returns
        -------
        float32 [shape=(n, channels)]
            A copy.
        """
        capacity = len(self._frames)
        count = self._written - self._read
        start = self._read % capacity
        first = min(count, capacity - start)
        frames = np.concatenate([self._frames[start : start + first], self._frames[: count - first]])
        self._read += count
        return frames


class Microphone:
    """An open input device. Context manager.

    The device is opened at its own default rate, or the one asked for; failing that at 48000,
    44100 and 16000 Hz. The audio callback only copies into a ring of five seconds.

    Parameters
    ----------
    device : str or None
        Number, part of a name, or None for the default.
    sample_rate : int or None
        Hz; None: the device's default.
    verbose : bool
        Show what ALSA says.

    Raises
    ------
    MicrophoneError
        Anything that keeps it from being heard.
    """

    def __init__(self, device=None, sample_rate=None, verbose=False):
        self._stream = None
        self._cleanup = contextlib.ExitStack()
        self._cleanup.enter_context(hidden_stderr(not verbose))
        try:
            self._find_and_open(load_sounddevice(verbose), device, sample_rate)
        except BaseException:
            self.close()
            raise
        self._last_audio = time.monotonic()

    def _find_and_open(self, sounddevice, device, sample_rate):
        found = find_device(sounddevice, device)
        self.name = found["name"]
        self._overflows = 0
        self._ended = threading.Event()
        native = round(found["default_samplerate"])
        rates = [sample_rate] if sample_rate else list(dict.fromkeys((native, *_FALLBACK_RATES)))
        most = found["max_input_channels"]
        channel_counts = list(dict.fromkeys((min(most, 2), 1, most)))
        self._open(sounddevice, found["index"], rates, channel_counts)

    def _open(self, sounddevice, index, rates, channel_counts):
        error = None
        for rate in rates:
            for channels in channel_counts:
                self._ring = Ring(int(rate * _RING_S), channels)
                try:
                    self._stream = sounddevice.InputStream(
                        samplerate=rate,
                        device=index,
                        channels=channels,
                        dtype="float32",
                        callback=self._on_audio,
                        finished_callback=self._ended.set,
                    )
                    self._stream.start()
                except (sounddevice.PortAudioError, ValueError) as failure:
                    error = failure
                    self._close_stream()
                    self._ended.clear()
                    continue
                self.sample_rate = rate
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
        self._ring.write(frames)
        if status.input_overflow:
            self._overflows += 1

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    @property
    def dropped_samples(self):
        """int : samples lost because the program was busy for too long."""
        return self._ring.dropped

    @property
    def overflows(self):
        """int : times the system reported lost audio."""
        return self._overflows

    def read(self):
        """Wait for audio.

        Returns
        -------
        float32 [shape=(n,)]
            All that has arrived, mean of the channels, at `sample_rate`; at least one sample.

        Raises
        ------
        MicrophoneError
            The device has stopped.
        """
        while True:
            ended = self._ended.is_set() or not self._is_active()
            frames = self._ring.read()
            now = time.monotonic()
            if len(frames):
                self._last_audio = now
                return mix_down(frames)
            if ended or now - self._last_audio > _SILENT_DEVICE_S:
                raise MicrophoneError(
                    f"{self.name!r} stopped delivering audio: was it unplugged? See --list-devices"
                )
            time.sleep(_POLL_S)

    def _is_active(self):
        try:
            return self._stream.active
        except Exception:  # PortAudioError: asking a device that has gone can fail
            return False

    def _close_stream(self):
        if self._stream is not None:
            for end in (self._stream.abort, self._stream.close):
                with contextlib.suppress(Exception):  # a device that has gone fails here too
                    end()
            self._stream = None

    def close(self):
        """Stop listening."""
        self._close_stream()
        self._cleanup.close()
