# SPDX-License-Identifier: MIT
"""A bar on standard error while it is a terminal."""

import sys

_WIDTH = 40


class Progress:
    """Progress through steps.

    Parameters
    ----------
    total : int
        Steps.
    shown : bool, optional
        By default whether standard error is a terminal.
    """

    def __init__(self, total, shown=None):
        self._total = total
        self._done = 0
        self._shown = sys.stderr.isatty() if shown is None else shown

    def step(self, text):
        """The step described by `text` begins, and the one before it has ended."""
        if self._shown:
            filled = _WIDTH * self._done // self._total
            bar = "#" * filled + "-" * (_WIDTH - filled)
            print(f"\r\x1b[K[{bar}] {text}", end="", file=sys.stderr, flush=True)
        self._done += 1

    def clear(self):
        """Remove the bar."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
