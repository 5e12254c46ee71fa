# SPDX-License-Identifier: MIT
"""What the pages show, kept for pages that come late or read slowly."""

import collections
import contextlib
import dataclasses
import json
import struct
import threading
import time

import numpy as np

from apps.digit_demo.display import digit_text
from apps.digit_demo.session import Observer

_WORDS = 400  # kept for pages that open later
_STEPS = 500  # of posteriors, levels and log-mel energies, for pages that open later or lag: ten seconds

_NOTE_S = 10.0  # a note is shown, and as long as nothing is heard
_NO_AUDIO_S = 1.5  # without a block: the page says so
_LOG_MEL_LOW = -3.0  # ln of a mel energy at int16 scale that becomes byte 0; each further byte is 0.1


@dataclasses.dataclass
class Cursor:
    """How far a page has read; a new page starts with a new cursor."""

    changes: int = -1
    state: str = ""
    facts: int = 0
    words: int = 0
    levels: int = 0
    posteriors: int = 0
    log_mel: int = 0


class _Rows:
    """The last rows of an endless matrix."""

    def __init__(self, capacity):
        self._rows = None
        self._capacity = capacity
        self.count = 0

    def append(self, rows):
        """Add rows [shape=(n, width)]; the first call settles width and dtype."""
        if self._rows is None:
            self._rows = np.zeros((self._capacity, rows.shape[1]), rows.dtype)
        self.count += len(rows)
        rows = rows[-self._capacity :]
        self._rows[np.arange(self.count - len(rows), self.count) % self._capacity] = rows

    def since(self, start):
        """Copy of the rows from number `start` on, as far as they are kept, and the first's number."""
        start = max(start, self.count - self._capacity, 0)
        if start >= self.count:
            return None, self.count
        return self._rows[np.arange(start, self.count) % self._capacity], start


class Feed(Observer):
    """Observer of a session that any number of pages read, each at its own pace.

    The session's thread only ever waits for a reader that is copying, which takes microseconds; what a
    page does not fetch in time is overwritten. `read` may be called from any thread.
    """

    watches_steps = True

    def __init__(self):
        self._lock = threading.Lock()
        self._changes = 0
        self._facts = {}
        self._facts_count = 0
        self._words = collections.deque(maxlen=_WORDS)
        self._word_count = 0
        self._first_step = 0
        self._began_s = 0.0
        self._status = {}
        self._note = ""
        self._noted_at = 0.0
        self._state = "starting"
        self._heard_at = 0.0
        self._levels = _Rows(_STEPS)
        self._posteriors = _Rows(_STEPS)
        self._log_mel = _Rows(_STEPS)

    def on_start(self, session):
        """Keep what the page says about model and device."""
        self._session = session
        self._step_s = session.step_s
        with self._change():
            self._state = "listening"
            self._heard_at = time.monotonic()
            self._set_facts()

    def _set_facts(self):
        session = self._session
        self._facts = {
            "device": session.source.name,
            "sample_rate": session.source.sample_rate,
            "model": session.model.metadata.get("name", "unnamed"),
            "kernel": session.model.kernel,
            "labels": session.model.labels,
            "blank": session.model.file.decoder.blank,
            "threshold": session.threshold,
            "step_s": session.step_s,
        }
        self._facts_count += 1

    def on_restart(self):
        """Steps of the network count from 0 again, and the device may be another."""
        with self._change():
            self._first_step = self._log_mel.count
            self._began_s = self._session.began_s
            self._set_facts()

    def on_word(self, word):
        """Keep a word."""
        with self._change():
            self._words.append(
                {
                    "string": word.string,
                    "text": digit_text(word.label),
                    "label": word.label,
                    "confidence": round(word.confidence, 3),
                    "start_s": round(word.start_s, 2),
                    "end_s": round(word.end_s, 2),
                    "start_step": self._to_step(word.start_s),
                    "end_step": self._to_step(word.end_s),
                }
            )
            self._word_count += 1

    def _to_step(self, time_s):
        """Row of the spectrogram at a time."""
        return self._first_step + round((time_s - self._began_s) / self._step_s)

    def on_update(self, update):
        """Keep levels, posteriors and counters of a block."""
        latency_ms = None if update.latency_s is None else round(1000 * update.latency_s)
        with self._change():
            self._heard_at = time.monotonic()
            self._levels.append(np.array([[update.peak_db, update.rms_db]]))
            if len(update.posteriors):
                self._posteriors.append(update.posteriors)
            if len(update.log_mel):
                scaled = np.rint(10 * (update.log_mel - _LOG_MEL_LOW))
                self._log_mel.append(np.clip(scaled, 1, 255).astype(np.uint8))
            partial = update.partial
            self._status.update(
                partial=partial and {"text": digit_text(partial.label), "string": partial.string},
                is_idle=update.is_idle,
                heard_s=round(update.heard_s, 2),
                latency_ms=latency_ms,
                dropped_samples=update.dropped_samples,
                cpu_percent=round(update.cpu_percent, 1),
                real_time_factor=round(update.real_time_factor, 5),
            )

    def on_note(self, text):
        """Keep the last line for the person in front."""
        with self._change():
            self._note = text
            self._noted_at = time.monotonic()

    def on_end(self, totals):
        """Say that the audio has ended."""
        with self._change():
            self._state = "ended"

    @contextlib.contextmanager
    def _change(self):
        with self._lock:
            yield
            self._changes += 1

    def read(self, cursor):
        """Messages for a page, from where it stopped reading.

        Parameters
        ----------
        cursor : Cursor
            Moved on.

        Returns
        -------
        list of str and bytes
            Empty if nothing has changed. Else, with new log-mel energies, a binary message: number of the first
            step (uint32, little-endian), number of filters (uint32), then a byte per filter, step by step; and
            a JSON object: `status`, and what is new of `facts`, `words`, `level`, `posteriors`.
        """
        message = {}
        with self._lock:
            now = time.monotonic()
            state = self._state
            if state == "listening" and now - self._heard_at > _NO_AUDIO_S:
                state = "waiting"
            if cursor.changes == self._changes and cursor.state == state:
                return []
            if cursor.facts != self._facts_count:
                message["facts"] = self._facts
            new = min(self._word_count - cursor.words, len(self._words))
            if new:
                message["words"] = list(self._words)[-new:]
            note = self._note if state == "waiting" or now - self._noted_at < _NOTE_S else ""
            message["status"] = {"state": state, "note": note, **self._status}
            if cursor.changes < 0:  # a new page is shown the present, and the spectrogram's past
                cursor.levels = self._levels.count - 1
                cursor.posteriors = self._posteriors.count - 1
            levels, _ = self._levels.since(cursor.levels)
            posteriors, _ = self._posteriors.since(cursor.posteriors)
            log_mel, first = self._log_mel.since(cursor.log_mel)
            cursor.changes = self._changes
            cursor.state = state
            cursor.facts = self._facts_count
            cursor.words = self._word_count
            cursor.levels = self._levels.count
            cursor.posteriors = self._posteriors.count
            cursor.log_mel = self._log_mel.count
        # A peak of one step among several must be seen: the greatest of each column.
        if levels is not None:
            message["level"] = dict(
                zip(("peak_db", "rms_db"), levels.max(axis=0).round(1).tolist(), strict=True)
            )
        if posteriors is not None:
            message["posteriors"] = [round(p, 3) for p in posteriors.max(axis=0).tolist()]
        messages = []
        if log_mel is not None:
            messages.append(struct.pack("<II", first, log_mel.shape[1]) + log_mel.tobytes())
        return [*messages, json.dumps(message)]
