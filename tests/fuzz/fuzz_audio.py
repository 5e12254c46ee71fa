# SPDX-License-Identifier: MIT
"""Fuzz the reading of audio files: `AudioError` in one line, or samples; the same from a file and from a pipe."""

import io
import os
import struct
import sys

import engine
import numpy as np

with engine.instrumented("apps"):
    from apps import audio

KNOWN = ((1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64))
NUMBERS = (0, 1, 2, 3, 7, 8, 16, 24, 44, 255, 8000, 16000, 65535, 0x7FFEFFFF, 0x7FFF0000, 0xFFFFFFFF)


def _read(path):
    """Samples and rate, or the message."""
    try:
        with np.errstate(all="ignore"):
            samples, rate = audio.read_audio(path)
    except audio.AudioError as error:
        assert "\n" not in str(error), str(error)
        return str(error)
    assert samples.dtype == np.float32 and samples.ndim == 1
    return samples.tobytes(), rate


def _read_pipe(data):
    kept, sys.stdin = sys.stdin, io.TextIOWrapper(io.BufferedReader(io.BytesIO(data)))
    try:
        return _read("-")
    finally:
        sys.stdin = kept


def check(data):
    """Raise for a finding."""
    data = bytes(data)
    path = f"/dev/shm/fuzz_audio_{os.getpid()}.wav"
    with open(path, "wb") as file:
        file.write(data)
    try:
        from_file = _read(path)
        if data[:4] not in (b"fLaC", b"OggS"):
            from_pipe = _read_pipe(data)
            assert isinstance(from_file, str) or from_file == from_pipe
    finally:
        os.unlink(path)


def _chunk(kind, body, size=None):
    return kind + struct.pack("<I", len(body) if size is None else size) + body + bytes(len(body) % 2)


def _wav(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _format(tag, channels, rate, bits, extension=b""):
    frame = channels * bits // 8
    return _chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, 0, frame, bits) + extension)


def mutate(data, rng, mutate_bytes):
    """A change of a WAV file, or a new one: bytes."""
    how = rng.randrange(8)
    if how == 0:
        tag, bits = rng.choice((*KNOWN, (7, 8), (2, 4), (1, 12)))
        chunks = [
            _format(tag, rng.choice((1, 2, 3, 9, 130)), rng.choice((1, 8000, 44100, 2**31)), bits),
            _chunk(b"data", rng.randbytes(rng.randrange(600)), rng.choice((None, None, *NUMBERS))),
        ]
        if rng.random() < 0.3:
            chunks.insert(rng.randrange(3), _chunk(b"LIST", rng.randbytes(rng.randrange(9))))
        return _wav(*chunks)
    if how < 4 and len(data) >= 16:
        at = rng.randrange(min(len(data), 64) - 3)
        width = rng.choice(("<H", "<I"))
        changed = bytearray(data)
        struct.pack_into(width, changed, at, rng.choice(NUMBERS) & (0xFFFF if width == "<H" else 0xFFFFFFFF))
        return bytes(changed)
    if how == 4:
        return data[: rng.randrange(len(data) + 1)]
    return mutate_bytes(data)


def seeds():
    """A file of each encoding, and what soundfile reads."""
    noise = bytes(range(96))
    for tag, bits in KNOWN:
        for channels in (1, 2):
            yield (
                f"wav_{tag}_{bits}_{channels}",
                _wav(_format(tag, channels, 16000, bits), _chunk(b"data", noise)),
            )
    extension = struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)
    yield "wav_extensible", _wav(_format(0xFFFE, 1, 44100, 16, extension), _chunk(b"data", noise))
    yield "wav_unknown_length", _wav(_format(1, 1, 8000, 16), _chunk(b"data", noise, 0xFFFFFFFF))
    try:
        import soundfile
    except (ImportError, OSError):
        return
    for kind in ("FLAC", "OGG"):
        file = io.BytesIO()
        soundfile.write(file, np.sin(np.arange(400) / 9), 16000, format=kind)
        yield kind.lower(), file.getvalue()


if __name__ == "__main__":
    engine.main(check, mutate, seeds)
