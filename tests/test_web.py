# SPDX-License-Identifier: MIT
"""The browser page of the digit demo: its server against good and bad clients, and the page in a Chromium."""

import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from browser import Browser

from apps.audio import open_audio, read_audio
from apps.demo_samples import samples
from apps.digit_demo import __main__ as digit_demo
from apps.digit_demo.display import Display, digit_text
from apps.digit_demo.session import Session
from apps.digit_demo.sources import FileSource
from apps.digit_demo.web import feed as web_feed
from apps.digit_demo.web import server as web_server
from apps.digit_demo.web.address import is_loopback, is_own_host, is_own_origin, own_names, parse_address
from apps.digit_demo.web.feed import Cursor, Feed
from apps.digit_demo.web.server import Server, pages
from edge_runtime import Model

pytest.importorskip("websockets.sync.client")
import websockets

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
RECORDING, SAID = next(iter(samples()))
DIGITS = "".join(map(digit_text, SAID))


def recognize(feed, recording=RECORDING):
    """Recognize a recording, as quickly as possible."""
    with (
        open_audio(recording) as audio,
        Session(Model.default(), FileSource(audio), observers=[feed]) as session,
    ):
        session.run()


@pytest.fixture
def served():
    """A feed and its server."""
    feed = Feed()
    with Server(feed, "127.0.0.1", 0) as server:
        yield feed, server


def connect(server, **options):
    host = f"127.0.0.1:{server.port}"
    return websockets.sync.client.connect(
        f"ws://{host}/live", **{"origin": f"http://{host}", "compression": None, **options}
    )


def receive(page, until, state=None, timeout_s=30.0):
    """Messages merged into `state`, as the page does, until a condition on the result holds."""
    state = {"words": [], "log_mel": []} if state is None else state
    end = time.monotonic() + timeout_s
    while not until(state):
        message = page.recv(end - time.monotonic())
        if isinstance(message, bytes):
            first, filters = struct.unpack_from("<II", message)
            assert first == sum(map(len, state["log_mel"]))
            state["log_mel"].append(np.frombuffer(message, np.uint8, offset=8).reshape(-1, filters))
            continue
        message = json.loads(message)
        state["words"] += message.pop("words", [])
        state.update(message)
    return state


def ended(state):
    return state.get("status", {}).get("state") == "ended"


# ------------------------------------------------------------------------------------------- address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8765", ("127.0.0.1", 8765)),
        ("0", ("127.0.0.1", 0)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("pi.local:8080", ("pi.local", 8080)),
        ("[::1]:8765", ("::1", 8765)),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", "127.0.0.1", ":8765", "host:", "65536", "-1", "::1:8765", "a b:٣"])
def test_bad_addresses(text):
    with pytest.raises(ValueError, match="expected PORT, HOST:PORT"):
        parse_address(text)


def test_only_loopback_is_loopback():
    assert all(map(is_loopback, ["127.0.0.1", "127.8.8.8", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.1.2", "pi.local", "localhost.evil.example"]))


def test_hosts_and_origins_of_strangers():
    names = own_names("pi.example")
    for host in [
        "localhost",
        "localhost:9000",
        "LOCALHOST.:80",
        "127.0.0.1:8765",
        "[::1]:8765",
        "pi.example:1",
    ]:
        assert is_own_host(host, names), host
    for host in [
        None,
        "",
        "evil.example",
        "localhost.evil.example:8765",
        "127.0.0.1.evil.example",
        "a@localhost",
        "[::1",
    ]:
        assert not is_own_host(host, names), host
    assert is_own_origin("http://localhost:8765", "localhost:8765")
    for origin in [None, "null", "http://evil.example", "https://localhost:8765", "http://localhost:8766"]:
        assert not is_own_origin(origin, "localhost:8765"), origin


# ---------------------------------------------------------------------------------------------- feed


def test_a_feed_skips_what_a_slow_reader_missed_but_no_word():
    feed, quick, slow = Feed(), Cursor(), Cursor()
    feed.read(slow)
    quick_words, quick_rows, partials = [], 0, set()
    recording, _ = read_audio(RECORDING)
    blocks = np.array_split(np.concatenate(6 * [recording]), 700)  # longer than the spectrogram keeps
    with (
        open_audio(RECORDING) as audio,
        Session(Model.default(), FileSource(audio), observers=[feed]) as session,
    ):
        for block in blocks:
            session.hear(block)
            *binary, text = feed.read(quick)
            partial = json.loads(text)["status"]["partial"]
            partials.add(partial and partial["text"])
            quick_words += json.loads(text).get("words", [])
            quick_rows += sum((len(b) - 8) // struct.unpack_from("<II", b)[1] for b in binary)
    binary, text = feed.read(slow)
    quick_words += json.loads(feed.read(quick)[-1]).get("words", [])
    assert json.loads(text)["words"] == quick_words
    assert len(quick_words) == session.totals.words > 10
    assert partials >= {None, *(word["text"] for word in quick_words)}
    first, filters = struct.unpack_from("<II", binary)
    rows = (len(binary) - 8) // filters
    assert first + rows == quick_rows
    assert 0 < first and rows == 500
    assert feed.read(slow) == []


def test_a_restart_keeps_words_where_they_were_heard():
    feed, cursor = Feed(), Cursor()
    recording, _ = read_audio(RECORDING)
    silence = np.zeros(7777, np.float32)  # no whole number of steps
    with (
        open_audio(RECORDING) as audio,
        Session(Model.default(), FileSource(audio), observers=[feed]) as session,
    ):
        for _ in range(2):
            session.hear(np.concatenate([silence, recording, silence]))
            session.restart()
    binary, text = feed.read(cursor)
    words = json.loads(text)["words"]
    assert "".join(word["text"] for word in words) == 2 * DIGITS
    assert [word["string"] for word in words] == [0] * len(SAID) + [1] * len(SAID)
    filters = struct.unpack_from("<II", binary)[1]
    loudness = np.frombuffer(binary, np.uint8, offset=8).reshape(-1, filters).mean(axis=1)
    spans = [loudness[word["start_step"] : word["end_step"]].mean() for word in words]
    assert min(spans) > loudness.mean()
    assert np.allclose(spans[: len(SAID)], spans[len(SAID) :], rtol=0.1)


def test_a_silent_source_is_told_apart_from_an_end(monkeypatch):
    monkeypatch.setattr(web_feed, "_NO_AUDIO_S", 0.05)
    monkeypatch.setattr(web_feed, "_NOTE_S", 0.05)
    feed, cursor = Feed(), Cursor()

    def state():
        messages = feed.read(cursor)
        status = json.loads(messages[-1])["status"] if messages else {"state": None, "note": ""}
        return " ".join(filter(None, [status["state"], status["note"]])) or None

    assert state() == "starting"
    with (
        open_audio(RECORDING) as audio,
        Session(Model.default(), FileSource(audio), observers=[feed]) as session,
    ):
        assert state() == "listening"
        time.sleep(0.1)
        assert state() == "waiting"
        assert state() is None
        session.note("unplugged")
        assert state() == "waiting unplugged"
        time.sleep(0.1)
        session.hear(np.zeros(320, np.float32))
        assert state() == "listening"
    assert state() == "ended"


# -------------------------------------------------------------------------------------------- server


def test_pages_early_and_late_are_told_the_same(served):
    feed, server = served
    with connect(server) as early:
        recognize(feed)
        told = receive(early, ended)
    with connect(server) as late:
        told_late = receive(late, ended)
    assert "".join(word["text"] for word in told["words"]) == DIGITS
    assert told["words"] == told_late["words"]
    assert told["facts"] == told_late["facts"]
    assert told["facts"]["labels"][told["facts"]["blank"]] == "blank"
    assert np.array_equal(np.concatenate(told["log_mel"]), np.concatenate(told_late["log_mel"]))
    word = told["words"][0]
    loud = np.concatenate(told["log_mel"]).mean(axis=1)
    assert loud[word["start_step"] : word["end_step"]].mean() > loud.mean()


def request(server, path="/", host=None, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{server.port}")
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def test_the_page_and_its_headers(served):
    _, server = served
    for path, kind in [("/", "text/html"), ("/page.js?x", "text/javascript"), ("/page.css", "text/css")]:
        status, headers, body = request(server, path)
        assert status == 200 and len(body) == int(headers["Content-Length"]) > 1000
        assert headers["Content-Type"].startswith(kind)
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"")  # nothing from elsewhere
        assert b"https://" not in body


def test_strangers_are_refused(served):
    _, server = served
    assert request(server, host="evil.example")[0] == 403
    assert request(server, "/../server.py")[0] == 404
    assert request(server, "/page/page.js")[0] == 404
    for options in [
        {"origin": "http://evil.example"},
        {"origin": None},
        {"additional_headers": {"Host": "evil.example"}, "origin": "http://evil.example"},
    ]:
        with pytest.raises(websockets.InvalidStatus) as refusal:
            connect(server, **options)
        assert refusal.value.response.status_code == 403


def test_what_a_page_must_not_send(served):
    _, server = served
    for message, code in [("hello", 1008), ("x" * 1000, 1009)]:
        with connect(server) as page:
            page.send(message)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                receive(page, lambda _: False)
            assert closed.value.rcvd.code == code
    for junk in [
        b"\xff" * 64,
        b"\x81\x05hello",
        b"\x81\xff" + b"\xff" * 12,
    ]:  # reserved bits, no mask, endless
        with connect(server) as page:
            page.socket.sendall(junk)
            with pytest.raises(websockets.ConnectionClosed):
                receive(page, lambda _: False)
    for junk in [b"\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 500, b"\x16\x03\x01\x02\x00" * 100]:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(junk)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass
    assert request(server)[0] == 200


def test_the_number_of_pages_is_limited(served, monkeypatch):
    monkeypatch.setattr(web_server, "_PAGES", 2)
    _, server = served
    with connect(server) as one, connect(server) as two:
        receive(one, lambda state: "status" in state)
        receive(two, lambda state: "status" in state)
        with connect(server) as three, pytest.raises(websockets.ConnectionClosed) as closed:
            three.recv(5)
        assert closed.value.rcvd.code == 1013
    with connect(server) as again:
        receive(again, lambda state: "status" in state)


def read_all(connection):
    """What a connection says until it is closed or reset."""
    said = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while data := connection.recv(65536):
            said += data
    return said


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 10_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: a\r\n" * 100_000,
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000000\r\n\r\n" + b"a" * 10_000_000,
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"\0" * 1_000_000,
    ],
    ids=["path", "header", "headers", "body", "two hosts", "no host", "proxy", "connect", "zeros"],
)
def test_excessive_requests_are_refused(served, request_bytes):
    _, server = served
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(request_bytes)
        said = read_all(connection)
    assert not said.startswith(b"HTTP/1.1 2") and len(said) < 2000
    assert request(server)[0] == 200


def test_slow_and_silent_clients_are_dropped(monkeypatch):
    monkeypatch.setattr(web_server, "_SEND_TIMEOUT_S", 1.0)
    with Server(Feed(), "127.0.0.1", 0) as server, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        silent, slow = (stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(2))
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(1000):  # a byte now and then, for longer than the server waits
                slow.sendall(b"G")
                time.sleep(0.05)
        assert read_all(silent) == b"" and read_all(slow) == b""
        assert request(server)[0] == 200


def test_the_number_of_connections_is_limited(monkeypatch):
    monkeypatch.setattr(web_server, "_SEND_TIMEOUT_S", 1000.0)  # none is dropped for its silence
    feed = Feed()
    with Server(feed, "127.0.0.1", 0) as server, connect(server) as page:
        receive(page, lambda state: "status" in state)
        crowd = []
        for _ in range(200):
            with contextlib.suppress(ConnectionError):
                crowd.append(socket.create_connection(("127.0.0.1", server.port), timeout=30))
        cut_off = 0
        while cut_off < 200 - web_server._CONNECTIONS:  # the page is one of those that may stay
            for connection in crowd:
                connection.settimeout(0.01)
                with contextlib.suppress(TimeoutError):
                    assert read_all(connection) == b""
                    connection.close()
                    crowd.remove(connection)
            cut_off = 200 - len(crowd)
        assert server._connections <= web_server._CONNECTIONS
        assert 0 < len(crowd) <= web_server._CONNECTIONS
        feed.on_note("still here")
        receive(page, lambda state: state.get("status", {}).get("note") == "still here")
        for connection in crowd:
            connection.close()
        while server._connections > 1:
            time.sleep(0.01)
        assert request(server)[0] == 200


def test_only_loopback_is_listened_on(served):
    """Unless another address is named: a computer of the network cannot connect."""
    _, server = served
    addresses = {"127.0.0.2"}
    with contextlib.suppress(OSError):  # a computer that does not know its own name
        addresses |= {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in addresses - {"127.0.0.1"}:
        with pytest.raises(OSError), socket.create_connection((address, server.port), timeout=5):
            pass


def test_a_page_that_stops_reading_is_dropped(monkeypatch):
    monkeypatch.setattr(web_server, "_SEND_TIMEOUT_S", 1.5)
    monkeypatch.setattr(web_server, "_INTERVAL_S", 0.001)
    feed = Feed()
    with Server(feed, "127.0.0.1", 0) as server, socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", server.port))
        host = f"127.0.0.1:{server.port}"
        stalled.sendall(
            f"GET /live HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        with connect(server) as page, concurrent.futures.ThreadPoolExecutor(1) as reader:
            read = reader.submit(receive, page, lambda state: state.get("status", {}).get("note") == "last")
            end = time.monotonic() + 30
            while server.pages < 2:
                time.sleep(0.01)
            while server.pages == 2:
                assert time.monotonic() < end
                feed.on_note("x" * 10000)
                time.sleep(0.002)
            feed.on_note("last")
            read.result()


# ------------------------------------------------------------------------------------------- program


class Program:
    """``python -m apps.digit_demo --web`` as a process."""

    def __init__(self, port=0, recording=RECORDING, *options):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apps.digit_demo", "--web", str(port), "-i", str(recording), *options],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = self.process.stderr.readline().split()[1]
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def end(self, number):
        """Send a signal; returns the exit status and what was printed."""
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=30)
        return self.process.returncode, output, errors


@pytest.fixture
def main():
    """The command line in this process."""
    handler = signal.getsignal(signal.SIGTERM)
    yield digit_demo.main
    signal.signal(signal.SIGTERM, handler)


def test_a_port_in_use_is_one_clear_line(main, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["--web", str(port), "-i", str(RECORDING)]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors == (
        f"digit_demo: --web 127.0.0.1:{port}: cannot listen: another program listens there; "
        "choose another port: --web PORT\n"
    )


def test_a_missing_package_is_one_clear_line(main, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets.asyncio.server", None)
    assert main(["--web", "0", "-i", str(RECORDING)]) == 2
    assert capsys.readouterr().err == (
        "digit_demo: --web needs the package websockets, 13 or newer: python -m pip install 'websockets>=13'\n"
    )


def test_others_who_can_see_the_page_are_named(capsys):
    front = Display(as_json=False, plain=True, quiet=True, verbose=False, meter=False)
    with pages("0.0.0.0", 0, front):
        pass
    assert "other computers can see it too" in capsys.readouterr().err
    with pages("127.0.0.1", 0, front):
        pass
    assert capsys.readouterr().err == ""


def test_addresses_that_are_not_ours(main, capsys):
    for host, text in [
        ("192.0.2.1", "it is no address of this computer; see `ip address`"),
        ("no.such.host.invalid", ""),  # the system's words
    ]:
        assert main(["--web", f"{host}:0", "-i", str(RECORDING)]) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"digit_demo: --web {host}:0: cannot listen: {text}")
        assert line.count("\n") == 1


def test_bad_arguments(main, capsys):
    for arguments, text in [
        (["--web", "localhost"], "argument --web: expected PORT, HOST:PORT or [IPV6]:PORT, got 'localhost'"),
        (["--loop"], "--loop needs --web and -i FILE"),
        (["--loop", "--web", "-i", "-"], "--loop needs --web and -i FILE"),
    ]:
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert capsys.readouterr().err.endswith(f"error: {text}\n")


def test_the_program_ends_quietly_while_pages_are_open():
    with Program(0, RECORDING, "--loop") as program:
        with connect(program) as page, socket.create_connection(("127.0.0.1", program.port)):
            state = receive(page, lambda state: state["words"])
            status, output, errors = program.end(signal.SIGINT)
            receive(page, ended, state)
            with pytest.raises(websockets.ConnectionClosedOK):
                page.recv(5)
    assert status == 0
    assert output.startswith(f"{DIGITS[0]}\n")
    assert errors.splitlines()[-1].startswith("heard ")


# -------------------------------------------------------------------------------------------- browser

STRING = "document.querySelector('#string').innerText"


def shown(tab):
    """The digits on a page, those of earlier strings included."""
    return tab.evaluate(
        "[...document.querySelectorAll('#strings li, #string .digit')].map((e) => e.firstChild.data).join('')"
    )


def test_the_page_in_a_browser():
    waits = "shown = () => [...document.querySelectorAll('#strings li, #string .digit')].map((e) => e.firstChild.data).join('')"
    with Browser() as browser:
        with Program() as program:
            tab, other = browser.open(program.url), browser.open(program.url)
            for page in (tab, other):
                page.evaluate(waits)
                page.wait(f"shown() === '{DIGITS}'")
                page.wait("document.body.dataset.state === 'ended'")
                assert page.text("#device").startswith(str(RECORDING))
                assert page.text("#drops") == "none"
                assert page.evaluate(
                    "[...document.querySelectorAll('.digit small')].every((e) => +e.innerText > 0.4)"
                )
            other.close()
            late = browser.open(program.url)
            late.evaluate(waits)
            late.wait(f"shown() === '{DIGITS}'")
            program.end(signal.SIGKILL)
            tab.wait("document.body.dataset.state === 'lost'")
            assert tab.text("#state-text") == "connection lost, trying again"
            assert shown(tab) == DIGITS
        recording, said = list(samples())[1]
        with Program(program.port, recording):
            expected = "".join(map(digit_text, said))
            tab.wait(f"shown() === '{expected}'")
            tab.wait("document.body.dataset.state === 'ended'")
            late.wait(f"shown() === '{expected}'")
            assert not tab.errors and not late.errors
