# SPDX-License-Identifier: MIT
"""``--exec``: a command for every word."""

import collections
import contextlib
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading

from apps.digit_demo.display import DIGITS
from apps.digit_demo.session import Observer

TIMEOUT_S = 10.0
_CAPACITY = 16  # words that may wait for the command
_PLACEHOLDER = re.compile(r"\{(word|digit|confidence|start|end)\}")


class HookError(ValueError):
    """The command cannot be used; the message is one line."""


def parse_command(text):
    """Split a command as a shell would split it, expanding nothing.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
        Program, as found in PATH, and arguments.

    Raises
    ------
    HookError
        It is empty, a quotation is not closed, or there is no such program.
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise HookError(f"--exec: {text!r}: {error}; expected a program and its arguments") from None
    if not parts:
        raise HookError("--exec: expected a program and its arguments, found nothing")
    program = shutil.which(parts[0])
    if program is None:
        raise HookError(f"--exec: no program {parts[0]!r}; expected one in PATH, or a path to one")
    return [os.path.abspath(program), *parts[1:]]


def word_values(word):
    """What placeholders and environment variables stand for.

    Parameters
    ----------
    word : edge_runtime.Word

    Returns
    -------
    dict of str to str
        word; digit, empty if it is none; confidence, 0 to 1; start and end in seconds.
    """
    return {
        "word": word.label,
        "digit": str(DIGITS.get(word.label, "")),
        "confidence": f"{word.confidence:.4f}",
        "start": f"{word.start_s:.3f}",
        "end": f"{word.end_s:.3f}",
    }


def arguments_for(command, word):
    """The command for one word, with {word}, {digit}, {confidence}, {start} and {end} replaced; if its arguments
    have none of them, the word becomes its last.

    Whatever the word is, it stays within one argument. No shell reads it. Nor does it become an option of the program:
    labels are whatever a model file says.

    Parameters
    ----------
    command : list of str
        Of `parse_command`.
    word : edge_runtime.Word

    Returns
    -------
    list of str

    Raises
    ------
    HookError
        The word would make an option of an argument: it begins with a dash then, and no argument before it is ``--``.
    """
    values = word_values(word)
    templates = command[1:]
    if not any(_PLACEHOLDER.search(argument) for argument in templates):
        templates = [*templates, "{word}"]
    replaced = [_PLACEHOLDER.sub(lambda match: values[match[1]], template) for template in templates]
    options = templates.index("--") if "--" in templates else len(templates)
    for template, argument in zip(templates[:options], replaced, strict=False):
        if argument.startswith("-") and not template.startswith("-"):
            raise HookError("is not run for words that begin with a dash, unless -- comes before them")
    return [command[0], *replaced]


class ExecHook(Observer):
    """Runs a command for every word, one at a time, in the order of the words.

    Recognition does not wait: up to 16 words do, more are dropped and counted. A command that takes
    longer than ten seconds is killed, with what it has started. The end of the session waits as long
    for the commands that are due. The environment has DIGIT_DEMO_WORD, DIGIT_DEMO_DIGIT,
    DIGIT_DEMO_CONFIDENCE, DIGIT_DEMO_START and DIGIT_DEMO_END. Input is empty; output goes to
    standard error.

    Parameters
    ----------
    command : list of str
        Of `parse_command`.
    lossless : bool
        Wait for the commands instead of dropping words: for a file, which can wait.
    silent : bool
        Drop the output of the commands.
    timeout_s : float
        Instead of ten seconds.
    """

    def __init__(self, command, lossless=False, silent=False, timeout_s=TIMEOUT_S):
        self._command = command
        self._lossless = lossless
        self._silent = silent
        self._timeout_s = timeout_s
        self._words = queue.Queue(_CAPACITY)
        self._dropped = 0
        self._messages = collections.deque()  # from the worker
        self._reported = set()
        self._process = None
        self._ending = False
        self._worker = threading.Thread(target=self._work, name="exec", daemon=True)

    def on_start(self, session):
        """Start the worker."""
        self._session = session
        self._worker.start()

    def on_word(self, word):
        """Have the command run."""
        try:
            self._words.put(word, block=self._lossless)
        except queue.Full:
            if not self._dropped:
                self._session.note("--exec: words come faster than the command ends: words are dropped")
            self._dropped += 1

    def on_update(self, _update):
        """Pass on what the worker has to say."""
        while self._messages:
            self._session.note(self._messages.popleft())

    def on_end(self, _totals):
        """Wait for the commands that are due, but not long."""
        timer = threading.Timer(self._timeout_s, self._give_up)
        timer.start()
        self._words.put(None)
        self._worker.join()
        timer.cancel()
        timer.join()
        self.on_update(None)
        if self._dropped:
            self._session.note(f"--exec: {self._dropped} words were dropped")

    def _give_up(self):
        self._ending = True
        self._kill()

    def _work(self):
        while (word := self._words.get()) is not None:
            if self._ending:
                self._dropped += 1
            else:
                self._run(word)

    def _run(self, word):
        silent = self._silent or sys.stderr is None
        output = subprocess.DEVNULL if silent else sys.stderr.fileno()
        values = {f"DIGIT_DEMO_{name.upper()}": value for name, value in word_values(word).items()}
        try:
            arguments = arguments_for(self._command, word)
        except HookError as error:
            self._report(str(error))
            return
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **values},
                start_new_session=True,  # so that all of it can be killed, and Ctrl-C is ours
            )
        except (OSError, ValueError) as error:
            self._report(f"does not start: {error}")
            return
        try:
            status = self._process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
            self._report(f"took longer than {self._timeout_s:g} s and was killed")
            return
        if status > 0:
            self._report(f"ended with status {status}")
        elif status < 0:
            self._report(f"was ended by signal {-status}")

    def _kill(self):
        """Kill the command, and what it has started."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _report(self, what):
        """Say it, the first time."""
        if what not in self._reported:
            self._reported.add(what)
            self._messages.append(f"--exec: {self._command[0]} {what}")
