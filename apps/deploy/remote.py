# SPDX-License-Identifier: MIT
"""Commands on the device, by the system's ssh: one shell script a call, quoted as one word.

Passwords, host keys and the user's configuration are ssh's business: it asks on the terminal, and nothing here
weakens what it checks. All calls share one connection, so that it asks once at most.
"""

import contextlib
import pathlib
import shlex
import shutil
import subprocess
import tempfile
import threading

from apps.deploy.errors import DeployError, UsageError

_SSH_FAILED = 255
_SOCKET_LIMIT = 90  #: characters of a socket's path; systems allow 104 and ssh appends some
#: What ssh says, in lower case, and what there is to do about it.
_REASONS = (
    (
        "remote host identification has changed",
        "its host key is not the one ssh knows: either the device was set up anew, or this is another device; "
        "once that is clear, forget the old key by: ssh-keygen -R {host}",
    ),
    (
        "host key verification failed",
        "its host key is unknown to ssh: connect by hand once, compare the fingerprint, and say yes: ssh {destination}",
    ),
    (
        "permission denied",
        "ssh may not log in ({detail}): try ssh {destination}; a key is installed by: ssh-copy-id {destination}",
    ),
    (
        "connection refused",
        "it refuses connections: is ssh enabled there (sudo raspi-config), and the port right?",
    ),
    (
        "could not resolve hostname",
        "no such host ({detail}): is the name right, and the device on this network?",
    ),
    ("connection timed out", "it does not answer: is it on, and on this network?"),
    ("no route to host", "it does not answer: is it on, and on this network?"),
    ("network is unreachable", "this computer has no way to it: is the network on?"),
)
_BROKEN = (
    "the connection broke {during}; what was installed before is as it was, what had arrived is removed there: "
    "run the same command again"
)


class Remote:
    """A device; a context manager, at whose end the connection is closed.

    Parameters
    ----------
    destination : str
        As ssh takes it: USER@HOST, or a name of the user's ssh configuration.
    options : list of str
        Further words of ssh's command line, passed as they are.
    dry_run : bool
        Print the scripts of `change` instead of running them.

    Raises
    ------
    UsageError
        The destination is none, or ssh does not take the options.
    DeployError
        ssh is not installed.
    """

    def __init__(self, destination, options=(), dry_run=False):
        if not destination or destination.startswith("-") or any(c.isspace() for c in destination):
            raise UsageError(f"{destination!r}: expected USER@HOST, or a name of your ssh configuration")
        if shutil.which("ssh") is None:
            raise DeployError("ssh is not installed here: sudo apt install openssh-client")
        self.destination = destination
        self.dry_run = dry_run
        self._options = list(options)
        self._reached = False
        self._cleanup = contextlib.ExitStack()
        self._options += self._defaults()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._cleanup.close()

    def _defaults(self):
        """Options where the user's configuration says nothing: one connection, and no waiting without end."""
        result = subprocess.run(
            ["ssh", "-G", *self._options, "--", self.destination], capture_output=True, text=True
        )
        if result.returncode != 0:
            raise UsageError(f"ssh does not take this: {_last_line(result.stderr)}")
        settings = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if " " in line)
        options = []
        if settings.get("connecttimeout", "none") == "none":
            options += ["-o", "ConnectTimeout=20"]
        if settings.get("serveraliveinterval", "0") == "0":
            options += ["-o", "ServerAliveInterval=10"]
        if settings.get("controlpath", "none") == "none":
            folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="edge-deploy-"))
            path = str(pathlib.Path(folder, "ssh"))
            if len(path) <= _SOCKET_LIMIT:
                options += [
                    "-o",
                    "ControlMaster=auto",
                    "-o",
                    f"ControlPath={path}",
                    "-o",
                    "ControlPersist=60",
                ]
                self._cleanup.callback(self._close_shared)
        return options

    def _close_shared(self):
        subprocess.run(
            ["ssh", *self._options, "-O", "exit", "--", self.destination], capture_output=True, check=False
        )

    def look(self, script):
        """Run a script that changes nothing, with `dry_run` too.

        Returns
        -------
        str
            Its standard output.

        Raises
        ------
        DeployError
            The device cannot be reached, or the script fails.
        """
        lines = []
        self._run(script, b"", lines.append, "while looking at the device")
        return "\n".join(lines)

    def change(self, script, what, data=b"", on_line=None):
        """Run a script that changes something; with `dry_run` print it instead.

        Parameters
        ----------
        script : str
            POSIX sh. A line "fail TEXT" of its output says why it ends with another status than 0.
        what : str
            What it does, as in "while copying".
        data : bytes
            Its standard input, which stays open until it ends.
        on_line : callable or None
            Called with every other line of its standard output, as it comes.

        Raises
        ------
        DeployError
            It failed; the text is that of its line "fail", or the last of its standard error.
        """
        if not self.dry_run:
            self._run(script, data, on_line or (lambda line: None), f"while {what}")
            return
        given = f", with {len(data)} bytes on its standard input" if data else ""
        print(f"would run on {self.destination}, for {what}{given}:")
        print("".join(f"    {line}\n" for line in script.splitlines()), end="")

    def _run(self, script, data, on_line, during):
        command = ["ssh", "-T", *self._options, "--", self.destination, f"exec sh -c {shlex.quote(script)}"]
        failure = None
        # A file, no pipe: a shared connection that outlives this call would keep a pipe open.
        with tempfile.TemporaryFile() as messages:
            with subprocess.Popen(
                command,
                stdin=subprocess.PIPE if data else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=messages,
            ) as process:
                if data:
                    threading.Thread(target=_feed, args=(process, data), daemon=True).start()
                try:
                    for line in process.stdout:
                        line = line.decode("utf-8", "replace").rstrip("\r\n")
                        kind, _, text = line.partition(" ")
                        if kind == "fail":
                            failure = text
                        else:
                            on_line(line)
                except BaseException:
                    process.kill()  # or leaving this block would wait for its end
                    raise
            messages.seek(0)
            said = messages.read().decode("utf-8", "replace")
        if process.returncode == _SSH_FAILED:
            raise DeployError(f"{self.destination}: {self._reason(said, during)}")
        self._reached = True
        if process.returncode != 0:
            detail = _last_line(said)
            if failure is None:
                failure = f"a command failed {during}, status {process.returncode}"
            raise DeployError(f"{self.destination}: {failure}{f' ({detail})' if detail else ''}")

    def _reason(self, said, during):
        """What keeps ssh from running a command."""
        if self._reached:
            return _BROKEN.format(during=during)
        host = self.destination.rpartition("@")[2]
        for key, text in _REASONS:
            for line in reversed(said.splitlines()):
                if key in line.lower():
                    detail = line.strip()
                    return text.format(host=host, destination=self.destination, detail=detail)
        return f"ssh cannot connect: {_last_line(said) or 'it says nothing'}"


def _feed(process, data):
    # The far end may be gone before it has read everything; what it says tells why.
    with contextlib.suppress(OSError), process.stdin as stream:
        stream.write(data)
        stream.flush()
        process.wait()  # closed earlier, it would tell the script that the connection broke


def _last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
