# SPDX-License-Identifier: MIT
"""Wheels and programs in dist/, found by name; make makes what is missing or older than what it is made of."""

import pathlib
import subprocess
import sys

import edge_runtime
from apps.deploy.errors import UsageError
from apps.deploy.probe import elf_machine

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DIST = ROOT / "dist"
_OTHER_NAMES = {"arm": ("armv6l", "armv7l")}


def find(kind, architecture, dist=None):
    """The artefact for an architecture.

    Parameters
    ----------
    kind : str
        Of `installation.KINDS`.
    architecture : str
        Of `probe.MACHINES`.
    dist : path-like or None
        Take it from this folder as it is; None: from dist/ of the checkout, made if need be.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    UsageError
        There is none, making it fails, or the file is for another architecture.
    """
    if dist is None:
        _make("wheels" if kind == "python" else f"dist/{_pattern(kind, architecture)}")
        dist = DIST
    found = list(pathlib.Path(dist).glob(_pattern(kind, architecture)))
    if not found:
        made_by = {"static": "make static", "python": "make wheels"}[kind]
        raise UsageError(
            f"{dist}: expected {_pattern(kind, architecture)}, found no such file; {made_by} makes it in dist/"
        )
    path = max(found, key=lambda path: path.stat().st_mtime)
    if kind == "static":
        _check(path, architecture)
    return path


def _pattern(kind, architecture):
    if kind == "static":
        return f"edge-digits-{edge_runtime.__version__}-{architecture}"
    return f"edge_runtime-{edge_runtime.__version__}-py3-none-*{architecture}.whl"


def _make(target):
    """Have make bring a target up to date; it knows what that is made of."""
    try:
        # What make prints is no result of this program.
        subprocess.run(["make", "--silent", "-C", ROOT, target], stdout=sys.stderr, check=True)
    except FileNotFoundError:
        raise UsageError("make is not installed here: sudo apt install make, or name a --dist") from None
    except subprocess.CalledProcessError as error:
        raise UsageError(f"make {target} failed, status {error.returncode}: see above") from None


def _check(path, architecture):
    """A file named for an architecture holds its instructions?"""
    with open(path, "rb") as stream:
        machine = elf_machine(stream.read(64))
    if machine is None:
        raise UsageError(f"{path}: expected a program for {architecture}, found no ELF file")
    if architecture not in _OTHER_NAMES.get(machine, (machine,)):
        raise UsageError(f"{path}: expected a program for {architecture}, found one for {machine}")
