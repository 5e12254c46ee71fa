# SPDX-License-Identifier: MIT
"""The terminal view of the digit demo: on a pseudo-terminal, at every size, and as a picture."""

import fcntl
import io
import json
import os
import pathlib
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import xml.etree.ElementTree

import numpy as np
import pytest
from test_digit_demo import REPOSITORY, demo, make_wav
from word_models import tone_model, tone_signal

from apps.demo_samples import samples
from edge_runtime import Model

pyte = pytest.importorskip("pyte")
pytest.importorskip("rich")

from rich.cells import cell_len  # noqa: E402
from rich.console import Console  # noqa: E402

from apps.digit_demo.screenshot import take_screenshot  # noqa: E402
from apps.digit_demo.session import Session  # noqa: E402
from apps.digit_demo.strip import Strip  # noqa: E402
from apps.digit_demo.view import View  # noqa: E402

SAID = ["one", "two", "three", "four"]
SAMPLE, SAMPLE_SAID = samples()[1]
PICTURE = REPOSITORY / "docs" / "digit_demo.svg"


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """Arguments of the demo: the tone model and minutes of tones, of which the first say `SAID`."""
    folder = tmp_path_factory.mktemp("view")
    model, wav = folder / "tone.ernn", folder / "tones.wav"
    model.write_bytes(tone_model(threshold=0.5))
    wav.write_bytes(make_wav(tone_signal(SAID * 30), 16000))
    return ["-m", str(model), "-i", str(wav)]


class Terminal:
    """The demo on a pseudo-terminal, and what is to be seen there, alternate screen included."""

    def __init__(self, *arguments, columns=80, lines=24, **environment):
        self._controller, terminal = os.openpty()
        self._screens = [pyte.Screen(columns, lines) for _ in range(2)]
        self._streams = [pyte.ByteStream(screen) for screen in self._screens]
        self.alternate = 0
        self._pending = b""
        self.written = b""
        self.resize(columns, lines)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apps.digit_demo", *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=REPOSITORY,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment},
            preexec_fn=self._take_terminal,
        )
        os.close(terminal)

    @staticmethod
    def _take_terminal():
        """In the child: what is typed there sends it signals."""
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    @property
    def screen(self):
        return self._screens[self.alternate]

    @property
    def text(self):
        return "\n".join(self.screen.display)

    def resize(self, columns, lines):
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        for screen in self._screens:
            screen.resize(lines, columns)

    def type(self, keys):
        os.write(self._controller, keys)

    def wait(self, pattern=None):
        """Read until the screen shows a pattern; without one, to the end."""
        self.wait_until(lambda: pattern is not None and re.search(pattern, self.text), to_end=pattern is None)
        return self.text

    def wait_until(self, condition, to_end=False):
        """Read until a condition holds."""
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, self.text
            if not self.read():
                assert to_end, self.text
                return

    def read(self):
        """Show what has been written, if anything has; returns False at the end."""
        if not select.select([self._controller], [], [], 0.1)[0]:
            return True
        try:
            part = os.read(self._controller, 65536)
        except OSError:  # Linux: the other side is closed
            part = b""
        self._show(part)
        return bool(part)

    def _show(self, part):
        self.written += part
        pieces = re.split(rb"(\x1b\[\?1049[hl])", self._pending + part)
        self._pending = b""
        if part and b"\x1b" in pieces[-1][-8:]:  # perhaps the beginning of a change of screens
            at = pieces[-1].rindex(b"\x1b")
            self._pending, pieces[-1] = pieces[-1][at:], pieces[-1][:at]
        for piece in pieces:
            if piece.startswith(b"\x1b[?1049"):
                hidden = self.screen.cursor.hidden
                self.alternate = int(piece.endswith(b"h"))
                if self.alternate:
                    self.screen.reset()
                self.screen.cursor.hidden = hidden
            else:
                self._streams[self.alternate].feed(piece)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._controller)


def test_view_draws_survives_what_happens_and_leaves_a_clean_terminal(tones):
    terminal = Terminal(*tones, "--realtime")
    try:
        shown = terminal.wait(r"(?s)\A /.*\n 1 2 ")
        assert terminal.alternate and terminal.screen.cursor.hidden
        assert "bytes" in shown.splitlines()[0]
        for expected in ("dBFS", "▀" * 78, "three", "unknown", "words", "dropped 0"):
            assert expected in shown
        terminal.type(b"\nx\n\n")
        terminal.resize(60, 18)
        shown = terminal.wait(r"(?s)\A /.*\n ▀{58} \n.*\n 1 2 3 4 ")
        assert len(re.findall("dBFS", shown)) == 1
        assert "▀" * 58 in shown and "▀" * 59 not in shown
        terminal.type(b"\x1a")
        terminal.wait_until(lambda: not terminal.alternate)
        stopped = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        terminal.wait_until(lambda: os.waitid(os.P_PID, terminal.process.pid, stopped) is not None)
        assert not terminal.screen.cursor.hidden
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait("dBFS")
        assert terminal.alternate and terminal.screen.cursor.hidden
        terminal.type(b"\x03")
        shown = terminal.wait()
        assert terminal.process.wait(30) == 0
        assert re.search(r"dBFS(.*\n)+ 1 2 3 4 (.*\n)+heard [0-9.]+ s, \d+ words, real-time factor", shown)
        assert "Traceback" not in shown
        assert not terminal.alternate and not terminal.screen.cursor.hidden
        assert terminal.screen.cursor.x == 0
        assert terminal.screen.cursor.attrs.fg == "default" and not terminal.screen.cursor.attrs.bold
    finally:
        terminal.close()


def test_lines_on_a_terminal_where_asked(tones):
    for option in ("--plain", "--json"):
        terminal = Terminal(*tones, option, "-q")
        terminal.wait()
        terminal.close()
        assert b"\x1b" not in terminal.written
        lines = terminal.written.decode().splitlines()
        if option == "--json":
            lines = [str(json.loads(line)["digit"]) for line in lines]
        assert lines == ["1", "2", "3", "4"] * 30


def test_without_rich_digits_grow_on_one_line(tones, tmp_path):
    (tmp_path / "rich.py").write_text("raise ImportError\n")
    terminal = Terminal(*tones, "--realtime", PYTHONPATH=str(tmp_path))
    try:
        assert "pip install rich" in terminal.wait(r"\n12")
        terminal.wait(r"\[[#-]{12}\] +-\d+ dB")
    finally:
        terminal.close()


class Source:
    """Tones as a source."""

    name = "日本語のマイク " * 9  # wide characters, too many
    description = ""
    sample_rate = 16000
    dropped_samples = 0

    def blocks(self):
        yield from tone_signal(SAID).reshape(-1, 320)

    def losses(self):
        return ""


def drawn(width, height, **options):
    """Lines of a view that has heard `SAID`, without colors."""
    console = Console(
        file=io.StringIO(),
        record=True,
        width=width,
        height=height,
        force_terminal=False,
        legacy_windows=False,
        **options,
    )
    view = View(console)
    with Session(Model.from_bytes(tone_model(threshold=0.5)), Source(), observers=[view]) as session:
        session.run()
        session.note("a note " * 12)
        console.print(view, end="")
        return console.export_text().splitlines()


@pytest.mark.parametrize("width, height", [(200, 60), (80, 24), (60, 18), (40, 12), (20, 5), (10, 3)])
@pytest.mark.parametrize("color_system", ["truecolor", "standard", None])
def test_every_size_is_filled_but_not_exceeded(width, height, color_system):
    lines = drawn(width, height, color_system=color_system)
    assert len(lines) <= height - 1
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    assert "1 2 3 4" in text and ("dBFS" in text or width < 20)
    if height >= 18:
        strip = [
            line
            for line in lines
            if re.search("▀{9}" if color_system == "truecolor" else "[░▒▓█].*[░▒▓█] *$", line)
        ]
        assert len(strip) >= 5
        marks = [line for line in lines if re.fullmatch(r" +1? +2? +3  +4 *", line)]
        assert len(marks) == 1
        assert " ".join(lines[-2:]).count("note") == 12


def test_spectrum_shades_do_not_depend_on_the_gain_nor_change_while_scrolling():
    rng = np.random.default_rng(5)
    spectra = rng.uniform(14, 20, (200, 40)).astype(np.float32)
    spectra[0] = 20
    shown = []
    for gain in (0, 3):
        strip = Strip(0.02, 40)
        strip.push(spectra[:100] + gain)
        before = strip.lines(30, 10, True, False)
        strip.push(spectra[100:120] + gain)
        after = strip.lines(40, 10, True, False)
        shown.append(after)
        for old, new in zip(before[:10], after[:10], strict=True):
            old_cells = [(segment.style, c) for segment in old for c in segment.text]
            new_cells = [(segment.style, c) for segment in new for c in segment.text]
            assert old_cells == new_cells[:30]
    assert shown[0] == shown[1]


def test_words_are_marked_where_they_were_said_also_after_a_gap():
    strip = Strip(0.02, 40)
    strip.push(np.zeros((101, 40), np.float32))
    strip.mark(1.0, "1")
    strip.restart(9.0)
    strip.push(np.zeros((50, 40), np.float32))
    strip.mark(9.48, "22")
    (marks,) = strip.lines(75, 5, True, False)[-1]
    assert {place for place, character in enumerate(marks.text) if character != " "} == {24, 61, 62}


def test_word_in_progress_follows_the_digits():
    console = Console(file=io.StringIO(), record=True, width=80, height=24, force_terminal=False)
    view = View(console)
    with Session(Model.from_bytes(tone_model(threshold=0.5)), Source(), observers=[view]) as session:
        seen = set()
        for samples_ in session.source.blocks():
            session.hear(samples_)
            console.print(view, end="")
            lines = [line.rstrip() for line in console.export_text().splitlines()]
            (line,) = [line for line in lines if re.fullmatch(r"( \d)+", line)] or [""]
            seen.add((line, session.totals.words))
    assert {("", 0), (" 1", 0), (" 1", 1), (" 1 2", 1), (" 1 2", 2)} <= seen


# ------------------------------------------------------------------------------------ picture


def texts(svg):
    """Lines of text of a picture, by their height."""
    lines = {}
    for element in xml.etree.ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        lines.setdefault(element.get("y"), []).append(element.text.replace("\xa0", " "))
    return ["".join(line).rstrip("\n") for line in lines.values()]


def test_screenshot_is_reproducible_and_complete_in_itself(tmp_path):
    path = tmp_path / "a.svg"
    environment = {"COLUMNS": "30", "LINES": "9", "NO_COLOR": "1", "TERM": "dumb"}
    result = demo("-i", SAMPLE, "--kernel", "scalar", "--screenshot", path, env={**os.environ, **environment})
    assert result.returncode == 0, result.stderr
    assert result.stdout == result.stderr == b""
    picture = path.read_text(encoding="utf-8")
    assert picture == take_screenshot(Model.default(), SAMPLE)
    assert set(re.findall(r"\w+://[^\"' ]+", picture)) == {"http://www.w3.org/2000/svg"}
    lines = texts(picture)
    assert "0 3 2 8 " in lines
    assert any("▀" in line for line in lines)
    assert not any("CPU" in line or "factor" in line for line in lines)


def test_picture_of_the_readme_is_one_of_the_sample():
    lines = texts(PICTURE.read_text(encoding="utf-8"))
    assert "0 3 2 8 " in lines
    assert any(str(SAMPLE.relative_to(REPOSITORY)) in line for line in lines)
    assert f"({PICTURE.relative_to(REPOSITORY)})" in pathlib.Path(REPOSITORY / "README.md").read_text(
        encoding="utf-8"
    )


def test_screenshot_needs_a_recording(tmp_path):
    result = demo("--screenshot", tmp_path / "a.svg")
    assert result.returncode == 2
    assert result.stderr.count(b"\n") == 1 and b"-i" in result.stderr
