# SPDX-License-Identifier: MIT
"""``--save-audio``: what was heard, as WAV, and beside it what was recognized, so that a miss becomes a test."""

import dataclasses
import datetime
import json
import os
import pathlib
import re
import stat
import struct

import edge_runtime
from apps.digit_demo.display import word_json
from apps.digit_demo.session import Observer

DEFAULT_LIMIT_BYTES = 2_000_000_000
LEAST_LIMIT_BYTES = 10_000_000
_FILE_S = 3600.0
_FILES = 4  # at least so many fit into the limit: the oldest goes when a new one begins
_PAUSE_S = 0.5  # without a word: where a file may end
_LATE = 1.05  # a file ends at this share of its length even without a pause
_NAME = re.compile(r"digits-\d{8}-\d{6}(-\d+)?\.wav")


class Recording(Observer):
    """What a session hears, in WAV files of 32-bit float samples, and its words in ``.jsonl`` files.

    A file holds the very samples that the recognizer was given since it last began anew, so that
    ``python -m apps.digit_demo -i FILE.wav --json`` prints the words in ``FILE.jsonl`` again, line for
    line; the first line there says with what and when they were heard. Files are named after the time
    and never replace another. After an hour, or a quarter of the limit, a new file begins at the next
    pause, and the recognizer with it. The headers are right to the second, even if the program is killed.

    A full disk ends the recording, not the session.

    Parameters
    ----------
    folder : path-like
        Made if it is missing.
    limit_bytes : int
        The folder's recordings, earlier ones too, are kept below this: the oldest are deleted.

    Raises
    ------
    ValueError
        The limit is below 10 MB.
    """

    def __init__(self, folder, limit_bytes=DEFAULT_LIMIT_BYTES):
        if not limit_bytes >= LEAST_LIMIT_BYTES:
            raise ValueError(
                f"save limit: expected {LEAST_LIMIT_BYTES / 1e9:g} GB or more, got {limit_bytes / 1e9:g} GB"
            )
        self._folder = pathlib.Path(folder)
        self._limit_bytes = limit_bytes
        self._failed = False
        self._kept = []
        self._in_word_s = 0.0

    def on_start(self, session):
        """Begin the first file; OSError if it cannot be written."""
        self._session = session
        self._folder.mkdir(parents=True, exist_ok=True)
        self._begin()
        session.note(
            f"audio is kept in {self._folder}, {self._limit_bytes / 1e9:g} GB at most; the oldest is deleted"
        )

    def on_audio(self, samples):
        """Append a block; a new file first if it is time."""
        if self._failed:
            return
        pause_s = self._session.totals.heard_s - self._in_word_s
        size = self._file.size_bytes / self._file_bytes
        if size >= _LATE or (size >= 1 and pause_s >= _PAUSE_S):
            self._session.restart()
        self._write(lambda: self._file.write(samples))

    def on_word(self, word):
        """Append a line."""
        self._write(lambda: self._lines.write(word_json(self._since_file_began(word)) + "\n"))

    def _since_file_began(self, word):
        began_s = self._session.began_s
        # To the microsecond: what adding and subtracting the beginning has changed is far below.
        return dataclasses.replace(
            word,
            start_s=round(word.start_s - began_s, 6),
            end_s=round(word.end_s - began_s, 6),
            heard_s=round(word.heard_s - began_s, 6),
            string=word.string - self._session.began_string,
        )

    def on_update(self, update):
        """Look out for pauses."""
        if update.partial is not None:
            self._in_word_s = update.heard_s

    def on_restart(self):
        """Begin the next file."""
        self._write(self._close)
        self._write(self._begin)

    def on_end(self, _totals):
        """Complete the last file."""
        self._write(self._close)
        if len(self._kept) == 1:
            self._session.note(f"audio kept in {self._kept[0]}")
        elif self._kept:
            self._session.note(f"audio kept in {len(self._kept)} files, {self._kept[0]} to {self._kept[-1]}")

    def _write(self, write):
        """Do what a full disk may refuse, for the first time or never again."""
        if self._failed:
            return
        try:
            write()
        except OSError as error:
            self._failed = True
            self._session.warn(f"audio is not kept any more: {error}")

    def _begin(self):
        session = self._session
        sample_rate = session.source.sample_rate
        self._file_bytes = min(4 * sample_rate * _FILE_S, self._limit_bytes / (_FILES * _LATE))
        self._make_room()
        path = _new_path(self._folder)
        # Neither file replaces another, nor goes where a link leads.
        self._lines = open(path.with_suffix(".jsonl"), "x", buffering=1, encoding="utf-8")
        about = {
            "audio": path.name,
            "began": datetime.datetime.now().astimezone().isoformat(timespec="milliseconds"),
            "device": session.source.name,
            "sample_rate": sample_rate,
            "threshold": round(session.threshold, 6),
            "model_sha256": session.model.sha256,
            "edge_runtime": edge_runtime.__version__,
        }
        self._lines.write(json.dumps(about) + "\n")
        self._file = FloatWav(path, sample_rate)

    def _make_room(self):
        """Delete the oldest recordings until another file fits into the limit."""
        found = [(path.lstat(), path) for path in self._folder.iterdir() if _NAME.fullmatch(path.name)]
        found = [(about, path) for about, path in found if stat.S_ISREG(about.st_mode)]
        left_bytes = self._limit_bytes - self._file_bytes * _LATE - sum(about.st_size for about, _ in found)
        for about, path in sorted(found, key=lambda item: item[0].st_mtime_ns):
            if left_bytes >= 0:
                return
            path.unlink()
            path.with_suffix(".jsonl").unlink(missing_ok=True)
            left_bytes += about.st_size
            self._session.note(f"deleted {path}: the recordings had reached their limit")

    def _close(self):
        self._lines.close()
        self._file.close()
        path = self._file.path
        if self._file.size_bytes == 0:
            path.unlink()
            path.with_suffix(".jsonl").unlink()
        else:
            self._kept.append(path)


def _new_path(folder):
    """A name after the time that no file has, nor the words beside it."""
    stem = f"digits-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    path = folder / f"{stem}.wav"
    number = 2
    while os.path.lexists(path) or os.path.lexists(path.with_suffix(".jsonl")):
        path = folder / f"{stem}-{number}.wav"
        number += 1
    return path


class FloatWav:
    """A WAV file of 32-bit float samples, mono, being written.

    Parameters
    ----------
    path : pathlib.Path
        Must not exist.
    sample_rate : int
        Hz.

    Attributes
    ----------
    path : pathlib.Path
    size_bytes : int
        Of the samples so far.
    """

    def __init__(self, path, sample_rate):
        self.path = path
        self.size_bytes = 0
        self._sample_rate = sample_rate
        self._stated_bytes = 0
        self._file = open(path, "xb")
        self._state_size()

    def write(self, samples):
        """Append samples, float32 [shape=(n,)]; every second the header follows."""
        self._file.write(samples.astype("<f4").tobytes())
        self.size_bytes += 4 * len(samples)
        if self.size_bytes - self._stated_bytes >= 4 * self._sample_rate:
            self._state_size()

    def _state_size(self):
        rate, size = self._sample_rate, self.size_bytes
        form = struct.pack("<HHIIHHH", 3, 1, rate, 4 * rate, 4, 32, 0)
        fact = struct.pack("<I", size // 4)
        header = struct.pack("<4sI4s4sI", b"RIFF", size + 50, b"WAVE", b"fmt ", len(form)) + form
        header += struct.pack("<4sI", b"fact", len(fact)) + fact + struct.pack("<4sI", b"data", size)
        self._file.flush()  # the samples are there before the header says so
        self._file.seek(0)
        self._file.write(header)
        self._file.seek(0, 2)
        self._stated_bytes = size

    def close(self):
        """Complete the file."""
        self._state_size()
        self._file.close()
