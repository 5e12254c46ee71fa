# SPDX-License-Identifier: MIT
"""Rows trained over a Ray cluster. Nothing is shared between its machines but what Ray carries.

A row is a streaming task of one CPU, in a folder of its own on whichever machine Ray picks. Its checkpoint comes back
whenever it is written anew, its model and result at the end, and the driver writes them into the row's folder; where
a machine is lost, the row goes on elsewhere from the last checkpoint that came back. ``training`` and ``apps`` travel
to the machines; the package (``pip install '.[train,ray]'``) and the data sets must be there.
"""

import contextlib
import os
import queue
import shutil
import socket
import sys
import tempfile
import threading
import traceback
from pathlib import Path

from apps.corpus import DATA_VARIABLE, data_folder
from training.reproduce import engine, grid
from training.reproduce.row import Row

_ATTEMPTS = 5  # Of a row whose machine or process is lost.
_CONNECT_S = 10
_CHECKPOINT = "checkpoint.pt"
_ROOT = Path(engine.__file__).resolve().parents[2]


def _files(folder, names):
    """The files of these names that are in the folder: dict of bytes."""
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def _train(fields, checkpoint, data, tree):
    """Runs on the cluster: train a row and yield messages (kind, ...).

    Parameters
    ----------
    fields : dict
        `Row.as_json`.
    checkpoint : bytes or None
        To go on from.
    data : str or None
        Folder of the data sets on this machine; None: that of its EDGE_RUNTIME_DATA.
    tree : str or None
        The driver's commit.

    Yields
    ------
    tuple
        ("begun", where), ("progress", step, steps, figures), ("files", {name: bytes}), and last ("done", result) or
        ("failed", reason).
    """
    import ray

    said = queue.Queue()
    row = Row.from_json(fields)
    here = ray.get_runtime_context()
    yield ("begun", f"node {here.get_node_id()[:8]}, {ray.util.get_node_ip_address()}")
    folder = Path(tempfile.mkdtemp(prefix="edge_runtime_row_"))
    sent = None

    def send_checkpoint():
        nonlocal sent
        try:
            written = (folder / _CHECKPOINT).stat().st_mtime_ns
        except FileNotFoundError:
            return
        if written != sent:
            sent = written
            said.put(("files", _files(folder, [_CHECKPOINT])))

    progress = engine.throttled(lambda *figures: said.put(("progress", *figures)))

    def report(step, steps, figures):
        send_checkpoint()
        progress(step, steps, figures)

    def work():
        try:
            if data is not None:
                os.environ[DATA_VARIABLE] = data
            result = engine.train_row(row, folder, data_folder(), report, tree)
            said.put(("files", _files(folder, sorted(path.name for path in folder.iterdir()))))
            said.put(("done", result))
        except BaseException as error:
            traceback.print_exc()
            said.put(("failed", engine.reason(error)))

    try:
        if checkpoint is not None:
            (folder / _CHECKPOINT).write_bytes(checkpoint)
            sent = (folder / _CHECKPOINT).stat().st_mtime_ns
        threading.Thread(target=work, daemon=True).start()
        while True:
            message = said.get()
            yield message
            if message[0] in ("done", "failed"):
                return
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Task:
    """A row on the cluster: its lock here, its stream of messages, how often it was begun."""

    def __init__(self, row, lock, folder):
        self.row, self.lock, self.folder = row, lock, folder
        self.attempts = 0
        self.stream = None

    def begin(self, remote, data, tree):
        self.attempts += 1
        checkpoint = _files(self.folder, [_CHECKPOINT]).get(_CHECKPOINT)
        self.stream = remote.remote(self.row.as_json(), checkpoint, data, tree)


def train_on_cluster(rows, runs, data, jobs, address, watch):
    """Train rows over a Ray cluster; a row that fails does not stop the others.

    Parameters
    ----------
    rows : list of Row
        None of them done.
    runs : pathlib.Path
        On this machine.
    data : str or None
        Folder of the data sets on every machine; None: that of each machine's EDGE_RUNTIME_DATA.
    jobs : int or None
        Rows at a time; None: as many as the cluster has CPUs.
    address : str or None
        Of the cluster that this machine is a node of; "auto" finds it.
    watch : engine.Watch

    Raises
    ------
    GridError
        Ray is missing, or there is no cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise grid.GridError("--engine ray needs Ray: pip install -e '.[ray]'") from error
    if not address:
        raise grid.GridError("--engine ray needs a cluster: --address HOST:PORT or auto, or RAY_ADDRESS")
    _check_address(address)
    modules = [str(_ROOT / name) for name in ("training", "apps")]
    # What Ray says of its nodes goes to standard output, which is for results.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            ray.init(
                address=address,
                runtime_env={"py_modules": modules, "env_vars": dict.fromkeys(engine.THREADS, "1")},
                log_to_driver=False,
                logging_level="warning",
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise grid.GridError(f"no Ray cluster at {address}: {engine.reason(error)}") from error
        try:
            _Driver(ray, runs, data, watch).run(rows, jobs)
        finally:
            ray.shutdown()


def _check_address(address):
    """Raise GridError where nothing listens at HOST:PORT: Ray itself would try for ten minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise grid.GridError(f"no Ray cluster at {address}: {error}") from error


class _Driver:
    """Gives rows to the cluster and takes what comes back."""

    def __init__(self, ray, runs, data, watch):
        self._ray = ray
        self._runs, self._data, self._watch = runs, data, watch
        self._remote = ray.remote(num_cpus=1, max_retries=0, num_returns="streaming")(_train)
        self._tree = engine.commit()

    def run(self, rows, jobs):
        waiting, running = list(rows), {}
        try:
            while waiting or running:
                while waiting and (jobs is None or len(running) < jobs):
                    row = waiting.pop(0)
                    lock = grid.claim(row, self._runs)
                    if lock is None:
                        self._watch.busy(row)
                        continue
                    task = _Task(row, lock, Path(self._runs) / row.name)
                    task.begin(self._remote, self._data, self._tree)
                    running[task.stream] = task
                if running:
                    ready, _ = self._ray.wait(list(running), num_returns=1, fetch_local=False)
                    for stream in ready:
                        self._hear(stream, running)
        finally:
            for task in running.values():
                task.lock.close()

    def _hear(self, stream, running):
        """Take one message of a row, or the loss of its machine."""
        task = running[stream]
        try:
            kind, *said = self._ray.get(next(stream))
        except (self._ray.exceptions.RayError, StopIteration) as error:
            del running[stream]
            if task.attempts < _ATTEMPTS and not isinstance(error, self._ray.exceptions.RayTaskError):
                self._watch.say(f"{task.row.name}: lost ({type(error).__name__}), begun again")
                task.begin(self._remote, self._data, self._tree)
                running[task.stream] = task
                return
            self._end(task, "failed", [engine.reason(getattr(error, "cause", None) or error)])
            return
        if kind == "files":
            for name, data in said[0].items():
                grid.write_bytes(task.folder / name, data)
        elif kind in ("done", "failed"):
            del running[stream]
            self._end(task, kind, said)
        else:
            getattr(self._watch, kind)(task.row, *said)

    def _end(self, task, kind, said):
        task.lock.close()
        getattr(self._watch, kind)(task.row, *said)
