# SPDX-License-Identifier: MIT
"""What the demo shows: words on standard output, everything else on standard error."""

import json
import shutil
import sys
import time

import edge_runtime
from apps.digit_demo.session import Observer

DIGITS = {
    "zero": 0,
    "oh": 0,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
}

_METER_INTERVAL_S = 0.1
_METER_FLOOR_DB = -60.0
_METER_WIDTH = 12


def digit_text(label):
    """A label as shown: its digit, or itself if it is none."""
    return str(DIGITS.get(label, label))


def word_json(word):
    """One line of ``--json``.

    Parameters
    ----------
    word : edge_runtime.Word

    Returns
    -------
    str
        Object with word, digit (null if it is none), start_s, end_s, confidence, and the number of the string
        of words it belongs to, from 0.
    """
    return json.dumps(
        {
            "word": word.label,
            "digit": DIGITS.get(word.label),
            "start_s": round(word.start_s, 3),
            "end_s": round(word.end_s, 3),
            "confidence": round(word.confidence, 4),
            "string": word.string,
        }
    )


def closing_line(totals, source):
    """What a session has done.

    Parameters
    ----------
    totals : apps.digit_demo.session.Totals
    source : FileSource or MicrophoneSource

    Returns
    -------
    str
    """
    factor = f", real-time factor {totals.real_time_factor:.4f}" if totals.heard_s else ""
    return f"heard {totals.heard_s:.1f} s, {totals.words} words{factor}{source.losses()}"


class Display(Observer):
    """Output of the demo, line by line.

    Words go to standard output: with `as_json` an object per line; else digits growing on one line
    if it is a terminal, and a line per word if not. Notes and the level meter go to standard error.

    Parameters
    ----------
    as_json, quiet : bool
    plain : bool
        A line per word, and no meter, on a terminal too.
    verbose : bool
        Note times and confidences of words too.
    meter : bool
        Show the level; only done while standard error is a terminal.
    """

    def __init__(self, as_json=False, plain=False, quiet=False, verbose=False, meter=False):
        self._json = as_json
        self._quiet = quiet
        self._verbose = verbose
        self._growing = sys.stdout.isatty() and not as_json and not plain
        self._meter = meter and not quiet and not plain and sys.stderr.isatty()
        self._meter_shown = False
        self._next_meter = 0.0
        self._digits = ""

    def on_start(self, session):
        """Say what is heard."""
        self._source = session.source
        if self._verbose:
            self.on_note(f"{session.model} from edge_runtime {edge_runtime.__version__}")
        self.on_note(session.source.description)

    def on_word(self, word):
        """Show it at once."""
        self._show(word)
        if self._verbose:
            self.on_note(
                f"{word.label} {word.start_s:.2f} to {word.end_s:.2f} s, confidence {word.confidence:.2f}"
            )

    def _show(self, word):
        self._clear_meter()
        if self._json:
            print(word_json(word), flush=True)
            return
        text = digit_text(word.label)
        if not self._growing:
            print(text, flush=True)
            return
        separator = " " if len(text) > 1 and self._digits else ""
        width = shutil.get_terminal_size().columns - _METER_WIDTH - 24
        if self._digits and len(self._digits) + len(text) > max(width, 10):
            print(flush=True)
            self._digits = ""
        self._digits += separator + text
        print(f"\r{self._digits}", end="", flush=True)

    def on_update(self, update):
        """Redraw the level meter, ten times a second at most."""
        now = time.monotonic()
        if not self._meter or now < self._next_meter:
            return
        self._next_meter = now + _METER_INTERVAL_S
        level = max(_METER_FLOOR_DB, update.rms_db)
        filled = round(_METER_WIDTH * (1 - level / _METER_FLOOR_DB))
        bar = "#" * filled + "-" * (_METER_WIDTH - filled)
        drops = f"  dropped {update.dropped_samples}" if update.dropped_samples else ""
        self._clear_meter()
        # Save the cursor, draw behind the digits, return: the next digit overwrites the meter.
        print(f"\x1b[s  [{bar}] {level:4.0f} dB{drops}\x1b[u", end="", file=sys.stderr, flush=True)
        self._meter_shown = True

    def on_note(self, text):
        """Show it, unless quiet."""
        if not self._quiet:
            self.on_warning(text)

    def on_warning(self, text):
        """Show it, though quiet."""
        self._end_line()
        print(text, file=sys.stderr, flush=True)

    def on_end(self, totals):
        """The closing line."""
        self._end_line()
        self.on_note(closing_line(totals, self._source))

    def _end_line(self):
        self._clear_meter()
        if self._growing and self._digits:
            print(flush=True)
            self._digits = ""

    def _clear_meter(self):
        if self._meter_shown:
            print("\x1b[K", end="", file=sys.stderr, flush=True)
            self._meter_shown = False
