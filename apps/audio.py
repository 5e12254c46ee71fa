# SPDX-License-Identifier: MIT
"""Read audio files block by block, mixed down to mono float32.

WAV is read here: PCM of 8, 16, 24 and 32 bits, float of 32 and 64 bits, plain or in the extensible
form, from a file or from a pipe. (The standard library's `wave` refuses float and, before Python
3.12, the extensible form.) Other formats are left to the package soundfile, if it is installed.
"""

import io
import os
import pathlib
import struct
import sys

import numpy as np

STDIN = "-"

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_NAMES = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 85: "MP3"}
# Programs that write to a pipe do not know the length: they state 0, or nearly 2^31 or 2^32 bytes.
_UNKNOWN_LENGTH = 0x7FFF0000
_READ_BYTES = 1 << 20


class AudioError(ValueError):
    """Audio cannot be read; the message is one line: what, where, and what to do."""


class AudioFile:
    """A file being read. Context manager.

    Attributes
    ----------
    name : str
        Path, or "standard input".
    sample_rate : int
        Hz.
    channels : int
        Mixed down by `blocks`.
    """

    def __init__(self, name, sample_rate, channels, read_frames, close):
        self.name = name
        self.sample_rate = sample_rate
        self.channels = channels
        self._read_frames = read_frames
        self._close = close

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._close()

    def blocks(self, block_s=0.1):
        """Iterate over the audio.

        Parameters
        ----------
        block_s : float
            Length of a block in seconds; the last may be shorter.

        Yields
        ------
        float32 [shape=(n,)]
            Mean of the channels, full scale 1.0.

        Raises
        ------
        AudioError
            The file ends before the length stated in it.
        """
        size = max(1, round(self.sample_rate * block_s))
        while True:
            frames = self._read_frames(size)
            if not len(frames):
                return
            yield mix_down(frames)


def mix_down(frames):
    """Mean over the channels.

    Parameters
    ----------
    frames : float32 [shape=(n, channels)]

    Returns
    -------
    float32 [shape=(n,)]
        A copy, C-contiguous.
    """
    if frames.shape[1] == 1:
        return frames[:, 0].copy()
    return frames.mean(axis=1, dtype=np.float32)


def read_audio(path):
    """Read a whole file.

    Parameters
    ----------
    path : str or path-like
        "-" reads WAV from standard input.

    Returns
    -------
    samples : float32 [shape=(n,)]
        Mono, full scale 1.0; at least one.
    sample_rate : int
        Hz.

    Raises
    ------
    AudioError
        It cannot be read, is not audio, is empty or truncated.
    """
    with open_audio(path) as audio:
        blocks = list(audio.blocks())
        if not blocks:
            raise AudioError(f"{audio.name}: there are no samples in it; record or export it again")
        return np.concatenate(blocks), audio.sample_rate


def open_audio(path):
    """Open a file for reading.

    Parameters
    ----------
    path : str or path-like
        "-" reads WAV from standard input.

    Returns
    -------
    AudioFile

    Raises
    ------
    AudioError
        It cannot be read, is not audio, is empty or truncated.
    """
    path = os.fspath(path)
    if path == STDIN:
        return _open_wav(sys.stdin.buffer, "standard input", None)
    try:
        # Unbuffered sizes of pipes are 0: only a regular file has a length to check against.
        stream = open(path, "rb")
        length = os.path.getsize(path) if pathlib.Path(path).is_file() else None
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror}; name a WAV file that can be read") from error
    try:
        if _peek(stream, 4) in (b"fLaC", b"OggS") or path.lower().endswith(".mp3"):
            stream.close()
            return _open_soundfile(path)
        return _open_wav(stream, path, length)
    except BaseException:
        stream.close()
        raise


def _peek(stream, count):
    return stream.peek(count)[:count]


def _open_soundfile(path):
    """FLAC, Ogg, MP3."""
    try:
        import soundfile
    except (ImportError, OSError):
        raise AudioError(
            f"{path}: not a WAV file; to read it install soundfile (python -m pip install soundfile) "
            f"or convert it: ffmpeg -i {path} {pathlib.Path(path).with_suffix('.wav')}"
        ) from None
    try:
        sound = soundfile.SoundFile(path)
    except (OSError, RuntimeError) as error:
        raise AudioError(f"{path}: {error}".rstrip(".") + "; is the file complete?") from error

    def read_frames(count):
        try:
            return sound.read(count, dtype="float32", always_2d=True)
        except RuntimeError as error:
            raise AudioError(f"{path}: {error}".rstrip(".") + "; is the file complete?") from error

    return AudioFile(path, sound.samplerate, sound.channels, read_frames, sound.close)


# ------------------------------------------------------------------------------------------- WAV


def _open_wav(stream, name, length):
    """Read everything before the samples. `length`: bytes of the file, None for a pipe."""
    head = _read(stream, 12)
    if not head:
        raise AudioError(f"{name}: empty, there is no audio in it; record or export it again")
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        raise AudioError(
            f"{name}: not a WAV file (it begins with {head[:4]!r}); "
            f"convert it: ffmpeg -i INPUT -c:a pcm_s16le OUTPUT.wav"
        )
    encoding = None
    while True:
        header = _read(stream, 8)
        if len(header) < 8:
            raise _truncated(name, "it ends before its samples begin")
        kind, size = struct.unpack("<4sI", header)
        if kind == b"data":
            break
        if kind == b"fmt ":
            body = _read(stream, min(size, 64))
            if len(body) < min(size, 64):
                raise _truncated(name, "it ends before its samples begin")
            _skip(stream, size - len(body))
            encoding = _parse_format(body, name)
        else:
            _skip(stream, size)
        _skip(stream, size & 1)
    if encoding is None:
        raise AudioError(f"{name}: damaged WAV file: no format before the samples; export it again")
    sample_rate, channels, decode, frame_bytes = encoding

    frames_left = None
    if size < _UNKNOWN_LENGTH and not (size == 0 and length is None):
        frames_left = size // frame_bytes
        if frames_left == 0:
            raise AudioError(f"{name}: there are no samples in it; record or export it again")
        if length is not None and stream.tell() + size > length:
            there = max(0, length - stream.tell()) // frame_bytes
            raise _truncated(name, f"it states {frames_left} samples, {there} are there")

    def read_frames(count):
        nonlocal frames_left
        if frames_left is not None:
            count = min(count, frames_left)
        data = _read(stream, count * frame_bytes)
        got = len(data) // frame_bytes
        if frames_left is not None:
            frames_left -= got
            if got < count:
                raise _truncated(name, f"{frames_left} samples are missing")
        return decode(data[: got * frame_bytes]).reshape(-1, channels)

    close = (lambda: None) if stream is sys.stdin.buffer else stream.close
    return AudioFile(name, sample_rate, channels, read_frames, close)


def _truncated(name, how):
    return AudioError(f"{name}: truncated WAV file: {how}; copy or record it again")


def _parse_format(body, name):
    """Sample rate, channels, decoder and bytes per frame of a fmt chunk."""
    if len(body) < 16:
        raise AudioError(f"{name}: damaged WAV file: format chunk of {len(body)} bytes; export it again")
    tag, channels, sample_rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        tag = struct.unpack_from("<H", body, 24)[0]
    decode = _DECODERS.get((tag, bits))
    if decode is None:
        raise AudioError(
            f"{name}: WAV encoding {_NAMES.get(tag, f'number {tag}')} with {bits} bits is not supported; "
            "convert it: ffmpeg -i INPUT -c:a pcm_s16le OUTPUT.wav"
        )
    if channels == 0 or sample_rate == 0 or frame_bytes != channels * bits // 8:
        raise AudioError(
            f"{name}: damaged WAV file: {channels} channels, {sample_rate} Hz, "
            f"{frame_bytes} bytes per frame of {bits}-bit samples; export it again"
        )
    return sample_rate, channels, decode, frame_bytes


def _read(stream, count):
    """`count` bytes, less only at the end: a pipe returns what it has, and `read` makes room for what it is asked for."""
    parts = []
    while count > 0:
        part = stream.read(min(count, _READ_BYTES))
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _skip(stream, count):
    while count > 0:
        part = stream.read(min(count, io.DEFAULT_BUFFER_SIZE))
        if not part:
            return
        count -= len(part)


def _decode_8(data):
    return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)


def _decode_16(data):
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(2**15)


def _decode_24(data):
    padded = np.zeros((len(data) // 3, 4), np.uint8)
    padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return _decode_32(padded.tobytes())


def _decode_32(data):
    return (np.frombuffer(data, "<i4") / 2.0**31).astype(np.float32)


def _decode_float_32(data):
    return np.frombuffer(data, "<f4").astype(np.float32)


def _decode_float_64(data):
    return np.frombuffer(data, "<f8").astype(np.float32)


_DECODERS = {
    (_PCM, 8): _decode_8,
    (_PCM, 16): _decode_16,
    (_PCM, 24): _decode_24,
    (_PCM, 32): _decode_32,
    (_FLOAT, 32): _decode_float_32,
    (_FLOAT, 64): _decode_float_64,
}
