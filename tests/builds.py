# SPDX-License-Identifier: MIT
"""What the tests build: every thing once in a run of pytest, whichever of its worker processes asks first."""

import atexit
import concurrent.futures
import contextlib
import fcntl
import functools
import os
import pathlib
import subprocess
import tempfile

#: Names the folder that the processes of a run share; tests/conftest.py makes it. Who names one keeps what was built
#: for the next run, and empties it when C or options changed.
VARIABLE = "EDGE_RUNTIME_TEST_BUILDS"


@functools.cache
def folder():
    """Where everything is built: the run's folder or, outside pytest, one that lasts until Python ends."""
    if VARIABLE in os.environ:
        return pathlib.Path(os.environ[VARIABLE])
    own = tempfile.TemporaryDirectory(prefix="edge_runtime_builds_")
    atexit.register(own.cleanup)
    return pathlib.Path(own.name)


@contextlib.contextmanager
def locked(path):
    """Hold the lock of a path that processes share."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def once(name, make):
    """Path of a file or folder in the run's folder, after `make(path)` has made it, here or in another process.

    Raises
    ------
    What `make` raises; the next who asks tries again.
    """
    path = folder() / name
    done = pathlib.Path(f"{path}.done")
    with locked(path):
        if not done.exists():
            make(path)
            done.touch()
    return path


def objects(name, command, sources):
    """Paths of the objects of C sources, in a folder of that name, compiled by all cores.

    Parameters
    ----------
    command : list of str
        Compiler and options.
    sources : dict
        Path of a source to its further options.
    """

    def make(folder):
        folder.mkdir(exist_ok=True)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            commands = (
                [*command, *options, "-c", source, "-o", folder / f"{source.stem}.o"]
                for source, options in sources.items()
            )
            list(pool.map(functools.partial(subprocess.run, check=True), commands))

    folder = once(name, make)
    return [folder / f"{source.stem}.o" for source in sources]
