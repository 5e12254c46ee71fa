# SPDX-License-Identifier: MIT
"""A scrolling spectrogram of terminal cells, with words written below where they were said."""

import collections
import itertools

import numpy as np
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

_SPAN = 9.0  # nepers of energy from dark to bright, 39 dB
_TOP_DECAY = 0.6  # nepers a second by which the brightest shown falls after a loud sound
_LEAST_TOP = 13.0  # brightest shown in silence: the hiss of a quiet room stays dark
_COLUMN_S = 0.04
_CAPACITY = 1024  # columns
_SHADES = 16
_ANCHORS = ((10, 10, 26), (54, 24, 92), (138, 38, 110), (222, 78, 72), (250, 160, 70), (255, 240, 190))
_BLOCKS = " ░▒▓█"
_MARK = Style(color="green", bold=True)
_ASCII = " .:-=+*#@"


def _palette():
    """`_SHADES` colors from dark to bright, between the anchors."""
    place = np.linspace(0, len(_ANCHORS) - 1, _SHADES)
    channels = [np.interp(place, range(len(_ANCHORS)), channel) for channel in zip(*_ANCHORS, strict=True)]
    return [Color.from_rgb(*map(round, color)) for color in zip(*channels, strict=True)]


class Strip:
    """The last seconds of a log-mel spectrogram, 40 ms a column, time to the right.

    Colors are chosen when sound enters, against the loudest of the seconds before, so that columns
    do not change while they scroll.

    Parameters
    ----------
    step_s : float
        Time between two spectra.
    filter_count : int
    """

    def __init__(self, step_s, filter_count):
        self._steps_per_column = max(1, round(_COLUMN_S / step_s))
        self._column_s = self._steps_per_column * step_s
        self._top = _LEAST_TOP
        self._steps = 0
        self._loudest = np.full(filter_count, -np.inf, np.float32)  # of the column in progress
        self._columns = np.zeros(
            (_CAPACITY, filter_count), np.float32
        )  # 0 to 1; column k in row k % _CAPACITY
        self._count = 0
        self._origin_s = 0.0  # time of column 0
        self._marks = collections.deque(maxlen=_CAPACITY)  # (column, text)
        palette = _palette()
        self._styles = [Style.from_color(upper, lower) for upper in palette for lower in palette]

    def push(self, log_mel):
        """Add spectra.

        Parameters
        ----------
        log_mel : float32 [shape=(steps, filter_count)]
            As `edge_runtime.Recognizer.log_mel`.
        """
        for spectrum in log_mel:
            np.maximum(self._loudest, spectrum, out=self._loudest)
            self._steps += 1
            if self._steps % self._steps_per_column == 0:
                self._end_column()

    def _end_column(self):
        decayed = max(_LEAST_TOP, self._top - _TOP_DECAY * self._column_s)
        self._top = max(decayed, float(self._loudest.max()))
        column = self._columns[self._count % _CAPACITY]
        np.clip(1 + (self._loudest - self._top) / _SPAN, 0, 1, out=column)
        self._loudest[:] = -np.inf
        self._count += 1

    def restart(self, time_s):
        """What is pushed from now on begins at this time."""
        self._steps = 0
        self._loudest[:] = -np.inf
        self._origin_s = time_s - self._count * self._column_s

    def mark(self, time_s, text):
        """Write a text below the spectrum of a time."""
        self._marks.append(((time_s - self._origin_s) / self._column_s, text))

    def lines(self, width, height, colored, ascii_only):
        """Draw.

        Parameters
        ----------
        width, height : int
            Cells; the height does not include the line of marks.
        colored : bool
            Two bands a cell, in colors; else one, in shades.
        ascii_only : bool
            Only for shades.

        Returns
        -------
        list of list of rich.segment.Segment
            height + 1 lines; the last has the marks.
        """
        count = min(self._count, width, _CAPACITY)
        rows = np.arange(self._count - count, self._count) % _CAPACITY
        image = self._bands(self._columns[rows], 2 * height if colored else height)
        image = np.concatenate([np.zeros((len(image), width - count)), image], axis=1)
        draw = self._colored if colored else self._shaded
        return [*draw(image, ascii_only), [Segment(self._mark_line(width), _MARK)]]

    @staticmethod
    def _bands(columns, count):
        """Mean over neighboring filters: float [shape=(count, columns)], high bands first."""
        edges = np.linspace(0, columns.shape[1], count + 1).astype(int)
        return np.array([columns[:, a : max(b, a + 1)].mean(axis=1) for a, b in itertools.pairwise(edges)])[
            ::-1
        ]

    def _colored(self, image, _ascii_only):
        shades = np.rint(image * (_SHADES - 1)).astype(int)
        for codes in shades[0::2] * _SHADES + shades[1::2]:
            starts = np.flatnonzero(np.diff(codes, prepend=-1))
            lengths = np.diff(starts, append=len(codes))
            yield [
                Segment("▀" * length, self._styles[code])
                for code, length in zip(codes[starts].tolist(), lengths.tolist(), strict=True)
            ]

    def _shaded(self, image, ascii_only):
        characters = np.array(list(_ASCII if ascii_only else _BLOCKS))
        for row in characters[np.rint(image * (len(characters) - 1)).astype(int)]:
            yield [Segment("".join(row))]

    def _mark_line(self, width):
        line = [" "] * width
        for column, text in self._marks:
            start = round(column - len(text) / 2) - self._count + width
            if 0 <= start <= width - len(text):
                line[start : start + len(text)] = text
        return "".join(line)
