# SPDX-License-Identifier: MIT
"""The microphone: found through PortAudio or arecord, and found again after it was unplugged."""

import contextlib
import math
import time

from apps.audio import mix_down
from apps.digit_demo.arecord import ArecordInput, arecord_program, list_pcms
from apps.digit_demo.devices import MicrophoneError, find_pcm, is_alsa_name, same_device
from apps.digit_demo.portaudio import (
    PortAudioInput,
    find_device,
    hidden_stderr,
    input_devices,
    load_sounddevice,
    refresh,
)

_RING_S = 5.0  # audio that may wait while the program is busy
_POLL_S = 0.02
_SILENT_DEVICE_S = 3.0  # without a single block: the device is gone
_RETRY_S = 1.0
_FALLBACK_RATES = (48000, 44100, 16000)
_OR_A_FILE = "(or recognize a file with -i FILE.wav)"


class DeviceLost(MicrophoneError):
    """The device has stopped delivering audio; `Microphone.reconnect` waits for it."""


def list_devices(verbose=False, arecord=False):
    """Describe the input devices.

    Parameters
    ----------
    verbose : bool
        Show what ALSA says.
    arecord : bool
        Those of arecord instead of PortAudio's.

    Returns
    -------
    list of str
        One line per device: number, name, channels, rate; the default is marked. Of arecord: name
        and description.

    Raises
    ------
    MicrophoneError
        There is none.
    """
    if arecord:
        lines = [f"  {name}  ({text})" for name, text in list_pcms()]
    else:
        sounddevice = load_sounddevice(verbose)
        default = sounddevice.default.device[0]
        lines = [
            f"{'*' if device['index'] == default else ' '} {device['index']:>2}  {device['name']}  "
            f"({device['max_input_channels']} in, {device['default_samplerate']:.0f} Hz)"
            for device in input_devices(sounddevice)
        ]
    if not lines:
        raise _no_device()
    return lines


def _no_device():
    return MicrophoneError(
        "no input device found: plug a microphone in, check `arecord -l`, and that your user is in group "
        f"audio {_OR_A_FILE}"
    )


class Microphone:
    """An open input device. Context manager; belongs to one thread at a time.

    Opened at its own default rate, or the one asked for; failing that at 48000, 44100 and 16000 Hz.
    Audio waits in a ring of five seconds. PortAudio is used where it knows the device, else arecord.

    Parameters
    ----------
    device : str or None
        PortAudio's number, part of a name, an ALSA device string, or None for the default.
    sample_rate : int or None
        Hz; None: the device's default.
    verbose : bool
        Show what ALSA says.
    arecord : bool
        Use arecord even where PortAudio would do.

    Attributes
    ----------
    name : str
        Of the device.
    sample_rate : int
        Hz; may be another after `reconnect`.
    channels : int
        Mixed down by `read`.
    through : str
        "PortAudio" or "arecord".

    Raises
    ------
    MicrophoneError
        Anything that keeps it from being heard.
    """

    def __init__(self, device=None, sample_rate=None, verbose=False, arecord=False):
        self._wanted_rate = sample_rate
        self._input = None
        self._sounddevice = None  # the module while PortAudio is in use
        self._lost_before = [0, 0]  # dropped samples and overflows of inputs that have gone
        self._cleanup = contextlib.ExitStack()
        self._cleanup.enter_context(hidden_stderr(not verbose))
        try:
            self._take(self._open(device, arecord, verbose))
        except BaseException:
            self.close()
            raise

    def _open(self, device, arecord, verbose):
        if arecord:
            return self._open_arecord(device)
        try:
            sounddevice = load_sounddevice(verbose)
            if not input_devices(sounddevice):
                raise _no_device()
        except MicrophoneError as problem:
            if arecord_program() is None:
                raise
            try:
                return self._open_arecord(device)
            except MicrophoneError as error:
                raise MicrophoneError(f"{problem}; {error}") from None
        found = find_device(sounddevice, device)
        if found is None:
            if arecord_program() is None:
                raise MicrophoneError(
                    f"PortAudio does not list {device!r}, and arecord, which may know it, is missing: "
                    "sudo apt install alsa-utils, or choose one with --list-devices"
                )
            return self._open_arecord(device)
        self._sounddevice = sounddevice
        return self._open_portaudio(found)

    def _open_portaudio(self, device, *first_rates):
        rates = self._rates(*first_rates, round(device["default_samplerate"]))
        return PortAudioInput(self._sounddevice, device, rates, _RING_S)

    def _open_arecord(self, device):
        if device is None:
            device = "default"
        elif not is_alsa_name(device):
            device = find_pcm(device, list_pcms())
        return ArecordInput(device, self._rates(), _RING_S)

    def _rates(self, *first):
        if self._wanted_rate:
            return [self._wanted_rate]
        return list(dict.fromkeys((*first, *_FALLBACK_RATES)))

    def _take(self, opened):
        self._input = opened
        self.name = opened.name
        self.sample_rate = opened.sample_rate
        self.channels = opened.channels
        self.through = "arecord" if self._sounddevice is None else "PortAudio"
        self._last_audio = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    @property
    def dropped_samples(self):
        """int : samples lost because the program was busy for too long."""
        return self._lost_before[0] + (self._input.ring.dropped if self._input else 0)

    @property
    def overflows(self):
        """int : times the system reported lost audio."""
        return self._lost_before[1] + (self._input.overflows if self._input else 0)

    def read(self):
        """Wait for audio.

        Returns
        -------
        float32 [shape=(n,)]
            All that has arrived, mean of the channels, at `sample_rate`; at least one sample.

        Raises
        ------
        DeviceLost
            The device has stopped.
        """
        while True:
            ended = self._input.ended()  # asked first: what came before the end is in the ring then
            frames = self._input.ring.read()
            if len(frames):
                self._last_audio = time.monotonic()
                return mix_down(frames)
            self._wait(ended)

    def _wait(self, ended):
        """A moment for audio to come, unless none will."""
        if ended is None and time.monotonic() - self._last_audio > _SILENT_DEVICE_S:
            ended = f"nothing for {_SILENT_DEVICE_S:.0f} s"
        if ended is not None:
            raise DeviceLost(
                f"{self.name!r} stopped delivering audio ({ended}): was it unplugged? See --list-devices"
            )
        time.sleep(_POLL_S)

    def reconnect(self, timeout_s=None):
        """Wait until the lost device delivers audio again; it is looked for every second.

        A device is the same if its name is, card number aside. It is opened at the same rate if it can
        be; else `sample_rate` changes.

        Parameters
        ----------
        timeout_s : float, optional
            Default: wait for ever.

        Raises
        ------
        MicrophoneError
            It did not come back in time.
        """
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not self._reopen():
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise MicrophoneError(f"{self.name!r} did not come back within {timeout_s:g} s")
            time.sleep(min(_RETRY_S, left_s))

    def _reopen(self):
        """One attempt. A device is back when it delivers: some can be opened and stay silent."""
        self._close_input()
        try:
            if self._sounddevice is None:
                self._take(ArecordInput(self.name, self._rates(self.sample_rate), _RING_S))
            else:
                refresh(self._sounddevice)
                inputs = input_devices(self._sounddevice)
                index = same_device(self.name, [device["name"] for device in inputs])
                if index is None:
                    return False
                self._take(self._open_portaudio(inputs[index], self.sample_rate))
            while not len(self._input.ring):
                self._wait(self._input.ended())
        except MicrophoneError:
            self._close_input()
            return False
        return True

    def _close_input(self):
        if self._input is not None:
            self._input.close()
            self._lost_before[0] += self._input.ring.dropped
            self._lost_before[1] += self._input.overflows
            self._input = None

    def close(self):
        """Stop listening."""
        self._close_input()
        self._cleanup.close()
