# SPDX-License-Identifier: MIT
"""A headless Chromium for tests, driven by the DevTools protocol."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

# Debian's chromium-headless-shell is the smallest package; any Chromium will do.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
REQUIRED = os.environ.get("EDGE_RUNTIME_REQUIRE_BROWSER") == "1"
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_START_S = 60.0


def require_browser():
    """Path of a Chromium; without one the test is skipped or, in continuous integration, fails."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        text = f"no {', '.join(NAMES[:-1])} or {NAMES[-1]} (apt-get install chromium-headless-shell)"
        pytest.fail(text) if REQUIRED else pytest.skip(text)
    return found


class Browser:
    """A running Chromium with a profile of its own. Context manager."""

    def __enter__(self):
        import websockets.sync.client

        with contextlib.ExitStack() as cleanup:
            profile = cleanup.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            self._process = subprocess.Popen(
                [require_browser(), *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            cleanup.callback(self._process.stderr.close)
            cleanup.callback(self._end_process)
            address = self._read_address()
            connection = websockets.sync.client.connect(address, max_size=None, compression=None)
            self._socket = cleanup.enter_context(connection)
            self._number = 0
            self._errors = {}
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *exc_info):
        self._cleanup.close()

    def _end_process(self):
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        # Its renderers go on without it if it could not end them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _read_address(self):
        for line in self._process.stderr:
            if line.startswith("DevTools listening on "):
                return line.split()[-1]
        raise RuntimeError("the browser ended while starting")

    def call(self, method, session=None, **parameters):
        """Call a DevTools method and wait for its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(_START_S))
            self._note_error(answer)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _note_error(self, event):
        """Exceptions of scripts, and what the security policy of a page forbids."""
        text = None
        if event.get("method") == "Runtime.exceptionThrown":
            details = event["params"]["exceptionDetails"]
            text = details.get("exception", details).get("description", details["text"])
        elif event.get("method") == "Log.entryAdded" and event["params"]["entry"]["source"] == "security":
            text = event["params"]["entry"]["text"]
        if text is not None:
            self._errors.setdefault(event["sessionId"], []).append(text)

    def open(self, url):
        """Open a page in a new tab; returns a Tab."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session, self._errors.setdefault(session, []))
        tab.call("Runtime.enable")
        tab.call("Log.enable")
        tab.call("Page.navigate", url=url)
        return tab


class Tab:
    """An open tab.

    Attributes
    ----------
    errors : list of str
        Exceptions and violations of the security policy; grows with every call.
    """

    def __init__(self, browser, target, session, errors):
        self.errors = errors
        self._browser = browser
        self._target = target
        self._session = session

    def call(self, method, **parameters):
        """Call a DevTools method of this tab."""
        return self._browser.call(method, self._session, **parameters)

    def evaluate(self, expression):
        """Value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def text(self, selector):
        """Text content of an element."""
        return self.evaluate(f"document.querySelector({selector!r})?.textContent")

    def wait(self, expression, timeout_s=60.0):
        """Wait until a JavaScript expression is true; returns its value."""
        end = time.monotonic() + timeout_s
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                page = self.evaluate("document.body.innerText")
                pytest.fail(f"the page did not come to: {expression}; it shows:\n{page}")
            time.sleep(0.05)
        return value

    def screenshot(self, path):
        """Keep what the tab shows as PNG."""
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        """Close the tab."""
        self._browser.call("Target.closeTarget", targetId=self._target)
