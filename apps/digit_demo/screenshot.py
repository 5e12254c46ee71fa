# SPDX-License-Identifier: MIT
"""``--screenshot``: the terminal view of a recording as an SVG."""

import io

from rich.console import Console

from apps.audio import open_audio
from apps.digit_demo.session import Observer, Session
from apps.digit_demo.sources import LIVE_BLOCK_S, FileSource
from apps.digit_demo.view import View

_WIDTH, _HEIGHT = 80, 24
_ID = "digits"
# Rich's own names a font on a server.
_FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="digit demo">
<style>
.{unique_id}-matrix {{ font: {char_height}px "DejaVu Sans Mono", Menlo, Consolas, monospace; }}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class _Camera(Observer):
    """Keeps the view as it stood when the last word had come."""

    def __init__(self, console, view):
        self.picture = None
        self._console = console
        self._view = view
        self._is_due = False

    def on_word(self, _word):
        self._is_due = True

    def on_update(self, _update):
        if self._is_due or self.picture is None:
            self._is_due = False
            self._console.print(self._view, end="")
            self.picture = self._console.export_svg(
                title="python -m apps.digit_demo", code_format=_FORMAT, unique_id=_ID
            )


def take_screenshot(model, path, threshold=None):
    """Draw a recording; the same model and recording give the same picture on any machine.

    What differs, kernel, CPU use and time spent, is left out.

    Parameters
    ----------
    model : edge_runtime.Model
    path : str or path-like
        Audio file; "-" is a WAV on standard input.
    threshold : float, optional
        As for `Session`.

    Returns
    -------
    str
        SVG, 80 columns of 24 lines, without references to other files.

    Raises
    ------
    apps.audio.AudioError
    """
    console = Console(
        record=True,
        width=_WIDTH,
        height=_HEIGHT,
        file=io.StringIO(),
        force_terminal=False,
        color_system="truecolor",
        no_color=False,
        legacy_windows=False,
    )
    view = View(console, show_machine=False)
    camera = _Camera(console, view)
    with open_audio(path) as audio:
        source = FileSource(audio, block_s=LIVE_BLOCK_S)
        with Session(model, source, threshold, (view, camera)) as session:
            session.run()
    return camera.picture
