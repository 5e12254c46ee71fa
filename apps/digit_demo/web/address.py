# SPDX-License-Identifier: MIT
"""Where the page is served, and which requests come from it."""

import ipaddress
import re
import socket

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8765

_HOST_HEADER = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z._-]+))(?::[0-9]{1,5})?")


def parse_address(text):
    """Parse the argument of ``--web``.

    Parameters
    ----------
    text : str
        ``PORT``, ``HOST:PORT`` or ``[IPV6]:PORT``; port 0 takes a free one.

    Returns
    -------
    (str, int)
        Host and port.

    Raises
    ------
    ValueError
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (port.isascii() and port.isdigit() and int(port) < 65536) or (colon and not host):
        raise ValueError(f"expected PORT, HOST:PORT or [IPV6]:PORT, got {text!r}")
    return host or DEFAULT_HOST, int(port)


def is_loopback(host):
    """Whether a host, as given to ``--web``, can be reached from this computer only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url(host, port):
    """Address of the page as typed into a browser on this computer."""
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def own_names(host):
    """Names, in lower case, under which the page may be asked for: the computer's and the one given."""
    name = socket.gethostname().lower()
    return frozenset({"localhost", name, f"{name}.local", host.lower()})


def is_own_host(header, names):
    """Whether the Host header of a request names this server.

    A page of a stranger can make its own name point here (DNS rebinding), and its script then counts as
    ours: so only numeric addresses, which nobody can rebind, and `names` are accepted. The port may be
    another one, as behind ``ssh -L``.
    """
    match = _HOST_HEADER.fullmatch(header or "")
    if match is None:
        return False
    address, name = match.groups()
    if name is not None and name.lower().removesuffix(".") in names:
        return True
    try:
        ipaddress.ip_address(address or name)
    except ValueError:
        return False
    return True


def is_own_origin(origin, host_header):
    """Whether the Origin header of a request says that the page which asks was served here."""
    return origin is not None and origin.lower() == f"http://{host_header.lower()}"
