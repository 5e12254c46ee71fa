# SPDX-License-Identifier: MIT
"""Where audio comes from: a file, as quickly as possible or in real time, or the microphone."""

import contextlib
import time

import edge_runtime
from apps.audio import AudioError, open_audio
from apps.digit_demo.microphone import Microphone

_BLOCK_S = 0.1
LIVE_BLOCK_S = 0.02


class FileSource:
    """A file or standard input.

    Parameters
    ----------
    audio : apps.audio.AudioFile
    real_time : bool
        Deliver it at the pace of a microphone.
    block_s : float, optional
        Length of a block in seconds; default: 0.1, in real time 0.02.

    Attributes
    ----------
    name : str
    sample_rate : int
        Hz.
    description : str
        A line for the person in front.
    dropped_samples : int
    reconnects : bool
        A source that is lost comes back by `reconnect`.
    """

    dropped_samples = 0
    reconnects = False

    def __init__(self, audio, real_time=False, block_s=None):
        check_rate(audio.sample_rate, audio.name)
        self.name = audio.name
        self.sample_rate = audio.sample_rate
        self.description = f"{audio.name}: {audio.sample_rate} Hz, {audio.channels} channels"
        self._audio = audio
        self._real_time = real_time
        self._block_s = block_s or (LIVE_BLOCK_S if real_time else _BLOCK_S)

    def blocks(self):
        """Yields
        ------
        float32 [shape=(n,)]
        """
        due = time.monotonic()
        for samples in self._audio.blocks(self._block_s):
            if self._real_time:
                due += len(samples) / self.sample_rate
                time.sleep(max(0.0, due - time.monotonic()))
            yield samples

    def losses(self):
        """str : for the summary; nothing is lost from a file."""
        return ""


class LoopSource(FileSource):
    """A file again and again, without end; parameters and attributes as `FileSource`. Not standard input."""

    def blocks(self):
        """As `FileSource.blocks`."""
        yield from super().blocks()
        while True:
            with open_audio(self.name) as self._audio:
                yield from super().blocks()


class MicrophoneSource:
    """The microphone; attributes and methods as `FileSource`, blocks without end.

    Parameters
    ----------
    microphone : Microphone
    reconnect_s : float, optional
        How long to wait for a device that was unplugged; 0: not at all. Default: for ever.
    """

    def __init__(self, microphone, reconnect_s=None):
        self.description = (
            f"listening to {microphone.name!r} at {microphone.sample_rate} Hz"
            f"{' through arecord' if microphone.through == 'arecord' else ''}; Ctrl-C ends"
        )
        self.reconnects = reconnect_s != 0
        self._microphone = microphone
        self._reconnect_s = reconnect_s

    @property
    def name(self):
        """str : of the device."""
        return self._microphone.name

    @property
    def sample_rate(self):
        """int : Hz; may be another after `reconnect`."""
        return self._microphone.sample_rate

    @property
    def dropped_samples(self):
        """int : samples lost because the program was busy for too long."""
        return self._microphone.dropped_samples

    def blocks(self):
        """As `FileSource.blocks`; DeviceLost when it was unplugged."""
        while True:
            yield self._microphone.read()

    def reconnect(self):
        """Wait for the device to come back; MicrophoneError if it does not in time."""
        self._microphone.reconnect(self._reconnect_s)

    def losses(self):
        """str : for the summary."""
        overflows = self._microphone.overflows
        lost = f", {overflows} overflows in the system" if overflows else ""
        return f", {self.dropped_samples} samples dropped{lost}"


@contextlib.contextmanager
def open_source(
    path=None,
    device=None,
    sample_rate=None,
    real_time=False,
    loop=False,
    verbose=False,
    arecord=False,
    reconnect_s=None,
):
    """Open a file or, without `path`, the microphone. Context manager.

    Parameters
    ----------
    path : str or path-like, optional
        Audio file; "-" is a WAV on standard input.
    device : str, optional
        Microphone: as `Microphone`.
    sample_rate : int, optional
        Microphone: Hz; default: the device's own.
    real_time : bool
        Deliver a file at the pace of a microphone.
    loop : bool
        Begin the file again at its end, at the pace of a microphone; not standard input.
    verbose : bool
        Show what ALSA says.
    arecord : bool
        Microphone: through arecord, even where PortAudio would do.
    reconnect_s : float, optional
        Microphone: how long to wait for one that was unplugged; 0: not at all. Default: for ever.

    Yields
    ------
    FileSource or MicrophoneSource

    Raises
    ------
    apps.audio.AudioError, MicrophoneError
    """
    if path is not None:
        with open_audio(path) as audio:
            yield LoopSource(audio, real_time=True) if loop else FileSource(audio, real_time)
        return
    if sample_rate is not None:
        check_rate(sample_rate, "-r")
    with Microphone(device, sample_rate, verbose, arecord) as microphone:
        yield MicrophoneSource(microphone, reconnect_s)


def check_rate(sample_rate, what):
    """Refuse a rate that the recognizer does not take.

    Parameters
    ----------
    sample_rate : int
        Hz.
    what : str
        Beginning of the message.

    Raises
    ------
    apps.audio.AudioError
    """
    try:
        edge_runtime.Resampler(sample_rate)
    except ValueError:
        raise AudioError(
            f"{what}: {sample_rate} Hz is not supported (8000 to 192000 Hz, usual rates); "
            "convert it: ffmpeg -i INPUT -ar 16000 OUTPUT.wav"
        ) from None
