# SPDX-License-Identifier: MIT
"""``--save-audio``: what was heard, as WAV."""

import datetime
import pathlib
import wave

import numpy as np

from apps.digit_demo.session import Observer


class Recording(Observer):
    """16-bit WAV of what a session hears; its header is right whenever the session ends.

    Parameters
    ----------
    folder : path-like
        Made if it is missing. The file is named after the time, and never replaces another.
    """

    def __init__(self, folder):
        self._folder = pathlib.Path(folder)

    def on_start(self, session):
        """Begin the file; OSError if it cannot be written."""
        self._session = session
        self._path = _new_path(self._folder)
        self._file = wave.open(str(self._path), "wb")
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(session.source.sample_rate)

    def on_audio(self, samples):
        """Append a block."""
        scaled = np.clip(np.rint(samples * np.float32(32768)), -32768, 32767)
        self._file.writeframes(np.nan_to_num(scaled).astype("<i2").tobytes())

    def on_end(self, _totals):
        """Complete the file."""
        self._file.close()
        self._session.note(f"audio kept in {self._path}")


def _new_path(folder):
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"digits-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    path = folder / f"{stem}.wav"
    number = 2
    while path.exists():
        path = folder / f"{stem}-{number}.wav"
        number += 1
    return path
