# SPDX-License-Identifier: MIT
"""The terminal view: level, spectrogram, probabilities and digits, redrawn in place (package rich)."""

import collections
import math
import os
import signal
import sys
import textwrap
import threading
import time

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.live import Live
from rich.segment import Segment
from rich.style import Style

from apps.digit_demo.display import closing_line, digit_text
from apps.digit_demo.level import FLOOR_DB
from apps.digit_demo.session import Observer
from apps.digit_demo.strip import Strip

_INTERVAL_S = 0.1  # between drawings, at least
_IDLE_INTERVAL_S = 0.5  # the same in silence, when hardly anything moves
_LEAST_PAUSE = 20  # times the processor time of the last one: drawing takes a twentieth of a core at most
_METER_DB = 60  # range of the meter
_TICK_DB = 12
_LOUD_DB, _CLIPPED_DB = -6, -0.1
_HOLD_S = 1.5  # the peak mark stays, then falls
_PEAK_FALL_DB_PER_S = 20
_LEVEL_FALL_DB_PER_S = 60
_BAR_FALL_PER_S = 2.0  # probabilities are spikes of one step: what is shown falls slowly
_BAR_COLUMN = 26  # least width of a label, its bar and its value
_WIDE = 50  # room for all numbers of the level
_NUMBERS = 30  # their width
_LEAST_NAME = 20  # cells for the name of the source; else the model's is left out
_NOTE_S = 15  # that a note stays
_STRINGS, _WORDS = 30, 300  # kept for display; words of each

_PLAIN = Style.null()
_BOLD = Style(bold=True)
_DIM = Style(dim=True)
_PARTIAL = Style(dim=True, italic=True)
_GOOD = Style(color="green")
_LOUD = Style(color="yellow")
_BAD = Style(color="red", bold=True)
_BAR = Style(color="cyan")
_WON = Style(color="green", bold=True)


class View(Observer):
    """Draws a session on a terminal, ten times a second at most.

    Parameters
    ----------
    console : rich.console.Console
    show_machine : bool
        Show kernel, CPU use and real-time factor, which differ between machines or runs.
    """

    watches_steps = True

    def __init__(self, console, show_machine=True):
        self._console = console
        self._show_machine = show_machine
        self._live = None
        self._drawn_at = -math.inf
        self._pause_s = 0.0
        self._update = None
        self._note = ""
        self._note_s = 0.0
        self._level_db = FLOOR_DB
        self._peak_db = FLOOR_DB
        self._peak_time_s = 0.0
        self._words = 0
        self._strings = collections.deque([self._new_string()], maxlen=_STRINGS)
        self._partial = None
        self._suspends = None  # what Ctrl-Z did before
        self._is_drawing = False
        self._is_suspended = False

    @staticmethod
    def _new_string():
        return collections.deque(maxlen=_WORDS)

    # ------------------------------------------------------------------------------- events

    def on_start(self, session):
        """Take the terminal: its alternate screen, so that nothing typed or wrapped leaves traces."""
        model = session.model
        file = model.file
        self._session = session
        self._model_text = f"{model.metadata.get('name', 'unnamed model')}, {model.info['file_bytes']} bytes"
        if self._show_machine:
            self._model_text += f", {model.kernel}"
        self._threshold = session.threshold
        self._labels = model.labels
        self._outputs = [i for i in range(model.output_size) if i != file.decoder.blank]
        self._bars = np.zeros(model.output_size)
        self._strip = Strip(session.step_s, file.frontend.filter_count)
        if self._console.is_terminal:
            self._live = Live(
                self,
                console=self._console,
                screen=True,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
            if threading.current_thread() is threading.main_thread():
                self._suspends = signal.signal(signal.SIGTSTP, self._on_suspend)

    def on_word(self, word):
        """Append it to the digits and mark it in the spectrogram."""
        self._words += 1
        self._strings[-1].append(digit_text(word.label))
        self._strip.mark((word.start_s + word.end_s) / 2, digit_text(word.label))

    def on_string(self, _words):
        """Begin another string."""
        self._strings.append(self._new_string())

    def on_restart(self):
        """What comes now is later than what has come."""
        self._strip.restart(self._session.began_s)

    def on_update(self, update):
        """Take it in; draw, if the last drawing was long enough ago."""
        passed_s = update.heard_s - (self._update.heard_s if self._update else 0.0)
        self._update = update
        if update.heard_s - self._note_s > _NOTE_S:
            self._note = ""
        self._partial = update.partial
        self._level_db = max(update.rms_db, self._level_db - _LEVEL_FALL_DB_PER_S * passed_s)
        self._hold_peak(update, passed_s)
        self._bars = np.maximum(self._bars - _BAR_FALL_PER_S * passed_s, 0)
        if len(update.posteriors):
            self._bars = np.maximum(self._bars, update.posteriors.max(axis=0))
        self._strip.push(update.log_mel)
        now = time.monotonic()
        interval_s = _IDLE_INTERVAL_S if update.is_idle else _INTERVAL_S
        if self._live is not None and now - self._drawn_at >= max(interval_s, self._pause_s):
            self._drawn_at = now
            busy_s = -time.thread_time()  # not how long the terminal takes
            self._draw()
            busy_s += time.thread_time()
            self._pause_s = _LEAST_PAUSE * busy_s

    def _draw(self):
        self._is_drawing = True
        self._live.refresh()
        self._is_drawing = False
        if self._is_suspended:
            self._suspend()

    def _on_suspend(self, _signal, _frame):
        """Ctrl-Z; not in the middle of a drawing."""
        self._is_suspended = True
        if not self._is_drawing:
            self._suspend()

    def _suspend(self):
        """Stop, without the terminal."""
        self._is_suspended = False
        self._live.stop()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._live.start()

    def _hold_peak(self, update, passed_s):
        if update.peak_db >= self._peak_db:
            self._peak_db = update.peak_db
            self._peak_time_s = update.heard_s
        elif update.heard_s - self._peak_time_s > _HOLD_S:
            self._peak_db = max(update.peak_db, self._peak_db - _PEAK_FALL_DB_PER_S * passed_s)

    def on_note(self, text):
        """Show it in the last line; on standard error too where that goes elsewhere, or after the end."""
        if self._note is not None:
            self._note = text
            self._note_s = 0.0 if self._update is None else self._update.heard_s
        if self._live is not None:
            self._draw()
        if self._console.is_terminal and (self._live is None or not sys.stderr.isatty()):
            print(text, file=sys.stderr, flush=True)

    def on_end(self, totals):
        """Leave the last state on the screen, and the closing line below it."""
        self._note = None  # nor room for one
        if self._live is not None:
            if self._suspends is not None:
                signal.signal(signal.SIGTSTP, self._suspends)
            self._live.stop()
            self._live = None
            self._console.print(self, end="")
        self.on_note(closing_line(totals, self._session.source))

    # ------------------------------------------------------------------------------ drawing

    def __rich_console__(self, console, options):
        if self._update is None:
            return
        width = max(10, options.max_width)
        for line in self._lines(
            width - 2, console.size.height - 1, options.ascii_only, self._colored(console)
        ):
            yield Segment(" ")
            yield from line
            yield Segment.line()

    @staticmethod
    def _colored(console):
        """Whether colors suffice for the spectrogram: 16, or none, do not."""
        return console.color_system in ("256", "truecolor") and not console.no_color

    def _lines(self, width, height, ascii_only, colored):
        """Lines of segments that fit, the most important first to stay."""
        bars = self._bar_lines(width, ascii_only)
        parts = {
            "level": [self._level_line(width, ascii_only)],
            "digits": self._digit_lines(width, 1, ascii_only),
        }
        left = height - 2

        def add(name, lines):
            nonlocal left
            if len(lines) <= left:
                parts[name] = lines
                left -= len(lines)

        add("footer", [self._footer_line(width)])
        add("bars", bars)
        add("header", [self._header_line(width)])
        if self._note is not None:
            lines = textwrap.wrap(self._note, width)[:2] or [""]
            add("note", [[Segment(set_cell_size(line, width), _LOUD)] for line in lines])
        if width >= 20:
            rows = next((rows for rows in (20, 10, 5) if rows + 1 + 2 * (rows > 5) <= left), None)
            if rows is not None:
                add("strip", self._strip.lines(width, rows, colored, ascii_only))
        if left > 0:
            more = 1 if left < 6 else 2
            parts["digits"] = self._digit_lines(width, 1 + more, ascii_only)
            left -= more
        for name in ("strip", "digits", "bars", "level"):
            if left > 0 and name in parts:
                parts[name] = [[], *parts[name]]
                left -= 1
        order = ("header", "level", "strip", "bars", "digits", "footer", "note")
        return [line for name in order for line in parts.get(name, [])]

    def _header_line(self, width):
        name = f"{self._session.source.name}, {self._session.source.sample_rate} Hz"
        room = width - cell_len(self._model_text) - 2
        if room < _LEAST_NAME:
            return [Segment(set_cell_size(name, width), _BOLD)]
        return [Segment(set_cell_size(name, room) + "  ", _BOLD), Segment(self._model_text, _DIM)]

    def _level_line(self, width, ascii_only):
        """Bar of the root mean square, mark of the held peak, both in numbers."""
        full, empty, tick, mark = "#-+|" if ascii_only else "█─┴┃"
        numbers = f" {self._level_db:4.0f} dBFS"
        if width >= _WIDE:
            numbers += f"  peak {self._peak_db:4.0f}"
            numbers += " clipped" if self._peak_db >= _CLIPPED_DB else ""
            numbers += " silent" if self._peak_db <= FLOOR_DB else ""
        bar = max(4, width - (_NUMBERS if width >= _WIDE else len(numbers)))

        def cell(db):
            return round(bar * min(max(1 + db / _METER_DB, 0), 1))

        level, loud, peak = cell(self._level_db), cell(_LOUD_DB), max(1, cell(self._peak_db)) - 1
        ticks = {cell(db) for db in range(_TICK_DB - _METER_DB, 0, _TICK_DB)}
        cells = [
            (full, _GOOD if i < loud else _LOUD) if i < level else (tick if i in ticks else empty, _DIM)
            for i in range(bar)
        ]
        cells[peak] = (mark, _BAD if self._peak_db >= _CLIPPED_DB else _LOUD if peak >= loud else _GOOD)
        return [*_merged(cells), Segment(set_cell_size(numbers, width - bar), _PLAIN)]

    def _bar_lines(self, width, ascii_only):
        """Label, probability as a bar with a line at the threshold, and in numbers; in columns."""
        columns = max(1, min(6, (width + 2) // _BAR_COLUMN))
        rows = -(-len(self._outputs) // columns)
        label_width = min(8, max(len(self._labels[i]) for i in self._outputs)) + 1
        cell_width = (width + 2) // columns - 2
        bar = max(1, cell_width - label_width - 4)
        lines = []
        for row in range(rows):
            line = []
            for output in self._outputs[row::rows]:
                value = float(self._bars[output])
                won = value >= self._threshold
                line.append(Segment(set_cell_size(self._labels[output], label_width), _BOLD if won else _DIM))
                line += self._bar(value, bar, ascii_only, _WON if won else _BAR)
                line.append(
                    Segment(" 1.0  " if value >= 0.995 else f" {value:.2f}  ".replace(" 0", " "), _DIM)
                )
            lines.append(line)
        return lines

    def _bar(self, value, width, ascii_only, style):
        full, parts, line = ("#", " ", "|") if ascii_only else ("█", " ▏▎▍▌▋▊▉", "╎")
        eighths = round(value * width * 8)
        cells = [(full, style)] * (eighths // 8)
        if eighths % 8 and parts != " ":
            cells.append((parts[eighths % 8], style))
        cells += [(" ", _PLAIN)] * (width - len(cells))
        at = min(width - 1, int(self._threshold * width))
        if cells[at][0] == " ":
            cells[at] = (line, _DIM)
        return _merged(cells)

    def _digit_lines(self, width, count, ascii_only):
        """The last digits that fit into so many lines: strings apart, those that have ended dim."""
        cells = []
        for number, words in enumerate(self._strings):
            style = _BOLD if number == len(self._strings) - 1 else _DIM
            if cells and words:
                cells += [(character, _DIM) for character in ("/ " if ascii_only else "· ")]
            for word in words:
                cells += [(character, style) for character in word + " "]
        if self._partial is not None:
            cells += [(character, _PARTIAL) for character in digit_text(self._partial.label)]
        lines = [_merged(cells[start : start + width]) for start in range(0, len(cells), width)][-count:]
        return lines + [[]] * (count - len(lines))

    def _footer_line(self, width):
        update = self._update
        latency = "" if update.latency_s is None else f"latency {1000 * update.latency_s:.0f} ms"
        minutes, seconds = divmod(int(update.heard_s), 60)
        parts = [
            f"{minutes}:{seconds:02d}",
            f"{self._words} words",
            latency,
            f"dropped {update.dropped_samples}",
        ]
        if self._show_machine:
            parts += [f"CPU {update.cpu_percent:.1f} %", f"real-time factor {update.real_time_factor:.4f}"]
        parts = [part for part in parts if part]
        while len("   ".join(parts)) > width and len(parts) > 1:
            parts.pop()
        return [Segment(set_cell_size("   ".join(parts), width), _DIM)]


def _merged(cells):
    """Segments of (character, style) pairs, neighbors of one style in one."""
    segments = []
    for character, style in cells:
        if segments and segments[-1][1] is style:
            segments[-1][0].append(character)
        else:
            segments.append(([character], style))
    return [Segment("".join(characters), style) for characters, style in segments]
