# SPDX-License-Identifier: MIT
"""Progress on standard error, finished rows on standard output."""

import sys
import time

_LINE_S = 60.0  # Between two lines of a row where no bar can be drawn.


def result_line(row, result):
    """One line for a finished row."""
    score, packed = (_number(result[key]) for key in ("score", "packed_score"))
    return (
        f"{row.name}  {result['metric']} {score}, C runtime {packed} ({result['differing']} of {result['decisions']} "
        f"decisions differ), {result['bytes']} bytes, {result['seconds']:.0f} s"
    )


def _number(value):
    return "diverged" if value is None else f"{value:.4f}"


class Lines:
    """A line when a row begins, each minute while it is trained, and when it fails.

    Also where finished rows are printed, and failures counted: `failures` is a list of row names.
    """

    def __init__(self, total):
        self.failures = []
        self._total = total
        self._output = sys.stdout
        self._ended = 0
        self._spoken = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def begun(self, row, where):
        self._spoken[row.name] = time.monotonic()
        self.say(f"{row.name}: {where}")

    def progress(self, row, step, steps, figures):
        now = time.monotonic()
        if now - self._spoken.get(row.name, 0) >= _LINE_S:
            self._spoken[row.name] = now
            self.say(f"{row.name}: step {step} of {steps}, {_figures(figures)}")

    def done(self, row, result):
        self._end(row)
        self.print(result_line(row, result))

    def failed(self, row, reason):
        self._end(row)
        self.failures.append(row.name)
        self.say(f"{row.name}: {reason}")

    def busy(self, row):
        self._end(row)
        self.say(f"{row.name}: another process trains it")

    def say(self, line):
        print(f"[{self._ended}/{self._total}] {line}", file=sys.stderr, flush=True)

    def print(self, line):
        print(line, file=self._output, flush=True)

    def _end(self, row):
        self._ended += 1
        self._spoken.pop(row.name, None)


def _figures(figures):
    return ", ".join(f"{key} {value:.4g}" for key, value in figures.items())


class Bars(Lines):
    """A bar for each row that is being trained, and one for all of them, while standard error is a terminal."""

    def __init__(self, total):
        super().__init__(total)
        from rich import progress
        from rich.console import Console

        columns = [
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[figures]}"),
        ]
        self._progress = progress.Progress(*columns, console=Console(stderr=True))
        self._all = self._progress.add_task("rows", total=total, figures="")
        self._bars = {}

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()

    def begun(self, row, where):
        if row.name not in self._bars:
            self._bars[row.name] = self._progress.add_task(row.name, total=None, figures="")

    def progress(self, row, step, steps, figures):
        self._progress.update(self._bars[row.name], completed=step, total=steps, figures=_figures(figures))

    def say(self, line):
        self._progress.console.print(line, markup=False, highlight=False)

    def print(self, line):
        if self._output.isatty():  # the same terminal as the bars, above which the line goes
            self.say(line)
        else:
            super().print(line)

    def _end(self, row):
        super()._end(row)
        bar = self._bars.pop(row.name, None)
        if bar is not None:
            self._progress.remove_task(bar)
        self._progress.advance(self._all)


def watch(total):
    """The display for `total` rows: bars on a terminal where the package rich is there, else lines."""
    if sys.stderr.isatty():
        try:
            return Bars(total)
        except ImportError:
            pass
    return Lines(total)
