# SPDX-License-Identifier: MIT
"""An input device through ALSA's program arecord: where PortAudio is missing or does not know the device."""

import itertools
import os
import selectors
import shutil
import subprocess
import threading
import time

import numpy as np

from apps.digit_demo.devices import MicrophoneError
from apps.digit_demo.ring import Ring

_PERIOD_US = 20_000
_BUFFER_US = 500_000  # kept by the system while this program is not scheduled
_START_S = 5.0
_END_S = 1.0
_CHUNK_BYTES = 1 << 16
# What `arecord -L` lists beside devices: conversions, and a source of silence.
_NO_DEVICES = {"null", "jack", "oss", "lavrate", "samplerate", "speexrate", "speex", "upmix", "vdownmix"}
# What another rate or channel count may cure.
_OTHER_FORMAT_MAY_DO = (
    "non available",
    "rate is not accurate",
    "bad speed value",
    "Unable to install hw params",
)


def arecord_program():
    """Path of arecord, or None."""
    return shutil.which("arecord")


def list_pcms():
    """ALSA's names of what can be recorded from.

    Returns
    -------
    list of (str, str)
        Names and one-line descriptions.

    Raises
    ------
    MicrophoneError
        arecord is missing.
    """
    done = subprocess.run(
        [_program(), "-L"], capture_output=True, text=True, errors="replace", env=_environment(), check=False
    )
    pcms = []
    for line in done.stdout.splitlines():
        if not line[:1].isspace():
            pcms.append((line, ""))
        elif pcms:
            name, text = pcms[-1]
            pcms[-1] = (name, f"{text}, {line.strip()}" if text else line.strip())
    return [(name, text) for name, text in pcms if name not in _NO_DEVICES]


def _program():
    program = arecord_program()
    if program is None:
        raise MicrophoneError("arecord is missing: sudo apt install alsa-utils")
    return program


def _environment():
    """Its messages are read: they must be in English."""
    return {**os.environ, "LC_ALL": "C"}


class ArecordInput:
    """An open input device: 16-bit samples through a pipe from arecord, read by a thread.

    Attributes
    ----------
    name : str
        ALSA's name of the device.
    sample_rate : int
        Hz.
    channels : int
    ring : Ring
        What has arrived.
    overflows : int
        Times arecord reported lost audio.

    Parameters
    ----------
    pcm : str
        ALSA's name of the device.
    rates : sequence of int
        In Hz, tried in this order.
    ring_s : float
        Seconds of audio that may wait.

    Raises
    ------
    MicrophoneError
        arecord is missing, or cannot record; the message has arecord's own last line.
    """

    def __init__(self, pcm, rates, ring_s):
        self.name = pcm
        self.overflows = 0
        program = _program()
        for self.sample_rate, self.channels in itertools.product(rates, (1, 2)):
            self.ring = Ring(int(self.sample_rate * ring_s), self.channels)
            try:
                self._start(program)
            except OSError as error:
                raise MicrophoneError(f"{program} cannot be started: {error.strerror}") from None
            try:
                if self._wait_for_audio():
                    return
            except BaseException:
                self.close()
                raise
            self.close()
            if not any(text in self._last_line for text in _OTHER_FORMAT_MAY_DO):
                break
        raise MicrophoneError(
            f"cannot record from {pcm!r} ({self._last_line or 'arecord says nothing'}): "
            "`arecord -L` shows what there is; plughw: names take any rate"
        )

    def _start(self, program):
        self._last_line = ""
        self._ended = threading.Event()
        self._started = threading.Event()
        # A session of its own: Ctrl-C in the terminal is for this program, which then ends arecord.
        self._process = subprocess.Popen(
            [
                *(program, "-D", self.name, "-t", "raw", "-f", "S16_LE"),
                *("-r", str(self.sample_rate), "-c", str(self.channels)),
                *(f"--period-time={_PERIOD_US}", f"--buffer-time={_BUFFER_US}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            bufsize=0,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._pump, name="arecord", daemon=True)
        self._thread.start()

    def _wait_for_audio(self):
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            if self._started.wait(0.02):
                return "rate is not accurate" not in self._last_line
            if self._ended.is_set():
                return False
        return False

    def _pump(self):
        """The thread: samples into the ring, messages looked at, until both pipes end."""
        rest = {"out": b"", "err": b""}
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ, "out")
            selector.register(self._process.stderr, selectors.EVENT_READ, "err")
            while selector.get_map():
                # Messages first: one about the rate precedes the first samples.
                for key, _ in sorted(selector.select(), key=lambda item: item[0].data):
                    data = os.read(key.fd, _CHUNK_BYTES)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.data == "out":
                        rest["out"] = self._take_samples(rest["out"] + data)
                    else:
                        *lines, rest["err"] = (rest["err"] + data).split(b"\n")
                        for line in lines:
                            self._take_message(line.decode(errors="replace").strip())
        self._take_message(rest["err"].decode(errors="replace").strip())
        self._process.wait()
        self._ended.set()

    def _take_samples(self, data):
        """Whole frames into the ring; returns the bytes of a frame that is not complete yet."""
        frame_bytes = 2 * self.channels
        whole = len(data) - len(data) % frame_bytes
        if whole:
            samples = np.frombuffer(data, "<i2", whole // 2).astype(np.float32) / np.float32(2**15)
            self.ring.write(samples.reshape(-1, self.channels))
            self._started.set()
        return data[whole:]

    def _take_message(self, line):
        if line.startswith("overrun!!!"):
            self.overflows += 1
        elif line.startswith("arecord: ") or "rate is not accurate" in line:
            self._last_line = line

    def ended(self):
        """Why no more audio comes, or None while it may.

        Returns
        -------
        str or None
        """
        if not self._ended.is_set():
            return None
        return self._last_line or f"arecord ended with status {self._process.returncode}"

    def close(self):
        """Stop listening: end arecord and collect it."""
        self._process.terminate()
        for end in (self._process.kill, lambda: None):
            try:
                self._process.wait(_END_S)
                break
            except subprocess.TimeoutExpired:
                end()
        self._thread.join(_END_S)
        if (
            not self._thread.is_alive()
        ):  # else the kernel holds arecord in a driver; it ends when that lets go
            self._process.stdout.close()
            self._process.stderr.close()
