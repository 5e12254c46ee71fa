# SPDX-License-Identifier: MIT
"""Serves the page and its live data from a thread of its own (package websockets, imported when needed)."""

import asyncio
import contextlib
import errno
import http
import logging
import pathlib
import socket
import threading
import time

from apps.digit_demo.web.address import is_loopback, is_own_host, is_own_origin, own_names, url
from apps.digit_demo.web.feed import Cursor, Feed

_INTERVAL_S = 0.04  # between messages to a page
_HEARTBEAT_S = 1.0  # between messages when there is nothing new; a page without one for long says so
_PAGES = 16  # open at the same time
_CONNECTIONS = 64  # of pages and whatever else, requests on their way included; more are cut off
_SEND_TIMEOUT_S = 5.0  # a page that reads nothing for so long is dropped
_CLOSE_TIMEOUT_S = 1.0
_SEND_BUFFER = 1 << 16  # bytes in the system per page: a stalled one is noticed soon
_LONGEST_MESSAGE = 256  # bytes from a page, which has nothing to say

_FOLDER = pathlib.Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
_LIVE = "/live"
_TEXT = "text/plain; charset=utf-8"
# Older browsers do not count a WebSocket to where the page came from as 'self'.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws://{host}; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class ServerError(OSError):
    """The page cannot be served; the message is one line: what, and what to do."""


def _load_websockets():
    try:
        import websockets.asyncio.server
        import websockets.datastructures
        import websockets.exceptions
        import websockets.http11
    except ImportError:
        raise ServerError(
            "--web needs the package websockets, 13 or newer: python -m pip install 'websockets>=13'"
        ) from None
    return websockets


def _listen(host, port):
    where = f"{host}:{port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family)
    except OSError as error:
        advice = {
            errno.EADDRINUSE: "another program listens there; choose another port: --web PORT",
            errno.EACCES: "ports below 1024 need special rights; choose another: --web PORT",
            errno.EADDRNOTAVAIL: "it is no address of this computer; see `ip address`",
        }
        what = advice.get(error.errno, error.strerror)
        raise ServerError(f"--web {where}: cannot listen: {what}") from error
    # Connections inherit it.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    return listener


class Server:
    """HTTP and WebSocket server of one feed. Context manager: leaving it says goodbye to the pages.

    Pages fetch from the feed, each at its own pace, so that none can hold up the others or the session.

    Parameters
    ----------
    feed : Feed
    host : str
    port : int
        0 takes a free one.

    Attributes
    ----------
    port : int
    url : str
        Address of the page.

    Raises
    ------
    ServerError
        The address cannot be used, or a package is missing.
    """

    def __init__(self, feed, host, port):
        self._websockets = _load_websockets()
        self._feed = feed
        self._names = own_names(host)
        self._handlers = set()
        self._connections = 0
        self._files = {path: (_FOLDER / name).read_bytes() for path, (name, _) in _FILES.items()}
        self._listener = _listen(host, port)
        self.port = self._listener.getsockname()[1]
        self.url = url(host, self.port)
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._ending = asyncio.Event()
        # A daemon: whatever a client does, the program can end.
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    @property
    def pages(self):
        """int : pages open now."""
        return len(self._handlers)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(RuntimeError):  # the thread has ended already
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(3 * _CLOSE_TIMEOUT_S)

    def _run(self):
        with self._runner:
            self._runner.run(self._serve())

    async def _serve(self):
        # What clients send wrong is their business: no tracebacks of it on the terminal.
        logger = logging.getLogger(f"{__name__}.websockets")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        server = await self._websockets.asyncio.server.serve(
            self._send_to_page,
            sock=self._listener,
            process_request=self._answer,
            create_connection=self._limited_connection(),
            compression=None,
            max_size=_LONGEST_MESSAGE,
            max_queue=1,
            write_limit=_SEND_BUFFER,
            open_timeout=_SEND_TIMEOUT_S,
            ping_interval=_SEND_TIMEOUT_S,
            ping_timeout=_SEND_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
            server_header=None,
            logger=logger,
        )
        await self._ending.wait()
        if self._handlers:
            # They send what is new, then go.
            await asyncio.wait(self._handlers, timeout=_CLOSE_TIMEOUT_S)
        server.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), _CLOSE_TIMEOUT_S)

    def _limited_connection(self):
        """Class of a connection that is cut off at once if there are too many; before its first byte has been read."""

        class LimitedConnection(self._websockets.asyncio.server.ServerConnection):
            def connection_made(connection, transport):
                self._connections += 1
                super().connection_made(transport)
                if self._connections > _CONNECTIONS:
                    transport.abort()

            def connection_lost(connection, error):
                self._connections -= 1
                super().connection_lost(error)

        return LimitedConnection

    def _answer(self, _connection, request):
        """An HTTP response, or None to let a page connect."""
        hosts = request.headers.get_all("Host")
        if len(hosts) != 1 or not is_own_host(hosts[0], self._names):
            return self._respond(403, _TEXT, b"This host name is not served here.\n")
        path = request.path.partition("?")[0]
        if path == _LIVE:
            origins = request.headers.get_all("Origin")
            if len(origins) == 1 and is_own_origin(origins[0], hosts[0]):
                return None
            return self._respond(403, _TEXT, b"Only the page served here may connect.\n")
        if path not in self._files:
            return self._respond(404, _TEXT, b"Not found.\n")
        return self._respond(200, _FILES[path][1], self._files[path], _POLICY.format(host=hosts[0]))

    def _respond(self, status, content_type, body, policy="default-src 'none'"):
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Connection": "close",
            "Content-Security-Policy": policy,
            **_HEADERS,
        }
        status = http.HTTPStatus(status)
        return self._websockets.http11.Response(
            status.value, status.phrase, self._websockets.datastructures.Headers(headers), body
        )

    async def _send_to_page(self, connection):
        if self.pages >= _PAGES:
            await connection.close(1013, f"{_PAGES} pages are open already")
            return
        self._handlers.add(asyncio.current_task())
        tasks = {
            asyncio.create_task(part(connection)) for part in (self._send_messages, self._refuse_messages)
        }
        try:
            # Reading ends when the page goes, sending when the program does.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except (self._websockets.exceptions.ConnectionClosed, TimeoutError):
            pass
        except Exception:
            logging.getLogger(__name__).exception("a page failed")
        finally:
            self._handlers.discard(asyncio.current_task())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_messages(self, connection):
        cursor = Cursor()
        last = -_HEARTBEAT_S
        ending = False
        while not ending:
            # Once more after the end, which is news too.
            ending = self._ending.is_set()
            messages = self._feed.read(cursor)
            if not messages and time.monotonic() - last >= _HEARTBEAT_S:
                messages = ["{}"]
            for message in messages:
                async with asyncio.timeout(_SEND_TIMEOUT_S):
                    await connection.send(message)
                last = time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _INTERVAL_S)

    async def _refuse_messages(self, connection):
        await connection.recv()
        await connection.close(1008, "pages only listen")


@contextlib.contextmanager
def pages(host, port, front):
    """A feed that is served while the context lasts.

    Parameters
    ----------
    host, port
        As `Server`.
    front : Observer
        Shows where, with a warning if others can connect.

    Yields
    ------
    Feed
    """
    feed = Feed()
    with Server(feed, host, port) as server:
        if is_loopback(host):
            front.on_note(f"open {server.url} in a browser")
        else:
            front.on_warning(
                f"open {server.url} in a browser; other computers can see it too, at port {server.port}"
            )
        yield feed
