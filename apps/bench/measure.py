# SPDX-License-Identifier: MIT
"""The interleaved run: workers started together, asked in random order, round after round."""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import tempfile

from apps.bench.contenders import environment
from apps.bench.workloads import FRAMES, STREAMS

#: What is measured: name in the results, command of the protocol.
PHASES = {
    "streaming": "stream",
    "streaming_int8": "int8",
    "cold": "cold",
    "sequence": "seq",
    "streams": "streams",
    "together": "together",
}
_BASE_COMMANDS = ("stream", "cold", "seq")  # those of a worker that does not list its own
_NOISY = 1.5
_INSTRUCTION_LIMIT = 2_000_000  # counted at some 40,000 a second


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much to measure.

    Parameters
    ----------
    rounds : int
        Of every phase but "cold", which has a third.
    budget_us : float
        Aim for the time of one phase of one contender in one round.
    starts : int
        Times that each worker is started; the load time is the median.
    instructions : bool
        Whether to count instructions.
    core : int or None
        CPU core that all workers are pinned to, in turn running one at a time.
    """

    rounds: int = 30
    budget_us: float = 20000
    starts: int = 3
    instructions: bool = True
    core: int | None = None


class WorkerError(RuntimeError):
    """A worker failed; the message says which and how."""


class Worker:
    """A running worker.

    Parameters
    ----------
    command : sequence of str
    core : int or None

    Attributes
    ----------
    info : dict
        Its ready line.
    """

    def __init__(self, command, core=None):
        self._errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")
        pin = None
        if core is not None and hasattr(os, "sched_setaffinity"):

            def pin():
                os.sched_setaffinity(0, {core})

        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=environment(),
                preexec_fn=pin,
            )
        except OSError as error:
            raise WorkerError(f"{command[0]}: {error}") from error
        try:
            self.info = self._answer("start")
        except WorkerError:
            self.close()
            raise

    def _answer(self, command):
        line = self._process.stdout.readline()
        try:
            if line:
                return json.loads(line)
        except json.JSONDecodeError:
            raise WorkerError(f"{command}: expected JSON, got {line!r}") from None
        self._process.wait()
        self._errors.seek(0)
        reason = (self._errors.read().strip().splitlines() or ["no message"])[-1]
        raise WorkerError(f"{command}: ended with status {self._process.returncode}: {reason}")

    def ask(self, command):
        """Send a command and return its answer.

        Raises
        ------
        WorkerError
        """
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerError(f"{command}: {error}") from error
        return self._answer(command)

    def close(self):
        """End the worker and return its exit status; may be called again."""
        if self._process.stdin.closed:
            return self._process.returncode
        with contextlib.suppress(OSError):
            self._process.stdin.write("quit\n")
            self._process.stdin.close()
        self._process.stdout.close()
        status = self._process.wait()
        self._errors.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def summarize(values):
    """Median and percentiles.

    Parameters
    ----------
    values : sequence of float
        Microseconds.

    Returns
    -------
    dict or None
        ``median_us``, ``p10_us``, ``p90_us``, ``p99_us``, ``count``; None of no values.
    """
    if not values:
        return None
    ordered = sorted(values)

    def percentile(p):
        return ordered[min(len(ordered) - 1, len(ordered) * p // 100)]

    return {
        "median_us": statistics.median(ordered),
        "p10_us": percentile(10),
        "p90_us": percentile(90),
        "p99_us": percentile(99),
        "count": len(ordered),
    }


def _counts(step_us, plan):
    """Calls per round of each phase, so that each takes about the budget.

    Between two turns of a worker the others have the core and its caches; with some thousand quick
    steps a turn, the median is that of warm ones.
    """

    def fit(cost_us, least, most):
        return max(least, min(most, int(plan.budget_us / max(cost_us, 0.01))))

    return {
        "stream": fit(step_us, 5, 2000),
        "int8": fit(step_us, 5, 2000),
        "cold": 4,
        "seq": fit(step_us * FRAMES, 1, 20),
        "streams": fit(step_us * STREAMS, 2, 250),
        "together": fit(step_us * STREAMS, 2, 250),
    }


def _values(phase, answer):
    """Microseconds per step of an answer."""
    if answer is None:
        return []
    if phase == "sequence":
        return [us / FRAMES for us in answer["us"]]
    if phase == "cold":
        return answer[1:]  # before the first the worker did something else than step
    return answer


class _Entry:
    """A contender in the run."""

    def __init__(self, contender, worker):
        self.contender = contender
        self.worker = worker
        self.info = worker.info
        self.commands = self.info.get("commands", _BASE_COMMANDS)
        self.loads = [self.info["load_ms"]]
        self.values = {phase: [] for phase in PHASES}
        self.counts = None
        self.failure = None

    def ask(self, phase):
        command = PHASES[phase]
        if self.failure is not None or command not in self.commands:
            return
        try:
            answer = self.worker.ask(f"{command} {self.counts[command]}")
        except WorkerError as error:
            self.failure = str(error)
            return
        self.values[phase] += _values(phase, answer)

    def record(self):
        keys = (
            "version",
            "maxerr",
            "import_ms",
            "rss_stream_kb",
            "rss_now_kb",
            "peak_kb",
            "file_bytes",
            "timer_us",
        )
        described = {name: getattr(self.contender, name) for name in ("family", "via", "form", "kernel")}
        return {
            **described,
            **{key: self.info.get(key) for key in keys},
            "load_ms": statistics.median(self.loads),
            **{phase: summarize(self.values[phase]) for phase in PHASES},
            "instructions_per_step": None,
            "failure": self.failure,
        }


def run_workload(contenders, plan, rng, counter=None, progress=None):
    """Measure the contenders of one workload against each other.

    Parameters
    ----------
    contenders : sequence of apps.bench.contenders.Contender
    plan : Plan
    rng : random.Random
        Draws the orders.
    counter : str, optional
        Program count_instructions.
    progress : callable, optional
        Called with a line of text now and then.

    Returns
    -------
    records : dict of str to dict
        By contender.
    failures : dict of str to str
        Contenders that did not start.
    """
    progress = progress or (lambda text: None)
    entries, failures = [], {}
    for contender in contenders:
        try:
            entry = _Entry(contender, Worker(contender.command, plan.core))
            entry.counts = _counts(statistics.median(entry.worker.ask("stream 10")), plan)
            entries.append(entry)
        except WorkerError as error:
            failures[contender.name] = str(error)
    try:
        for number in range(plan.rounds):
            progress(f"round {number + 1} of {plan.rounds}")
            for phase in PHASES:
                if phase == "cold" and number % 3 != 0:
                    continue
                for entry in rng.sample(entries, len(entries)):
                    entry.ask(phase)
    finally:
        for entry in entries:
            entry.worker.close()
    for _ in range(plan.starts - 1):
        for entry in rng.sample(entries, len(entries)):
            with contextlib.suppress(WorkerError), Worker(entry.contender.command, plan.core) as worker:
                entry.loads.append(worker.info["load_ms"])
    records = {entry.contender.name: entry.record() for entry in entries}
    if plan.instructions and counter is not None:
        for entry in entries:
            progress(f"instructions of {entry.contender.name}")
            if entry.contender.via in ("c", "direct") and "mark" in entry.commands:
                count = count_instructions(counter, entry.contender.command, plan.core)
                records[entry.contender.name]["instructions_per_step"] = count
    return records, failures


def count_instructions(counter, command, core=None, steps=1, limit=_INSTRUCTION_LIMIT):
    """Instructions of one step, by single-stepping a worker.

    Parameters
    ----------
    counter : str
        Program count_instructions.
    command : sequence of str
        Of a worker that knows ``mark``.
    core : int, optional
    steps : int
        The median of so many is taken; they hardly differ.
    limit : int
        Give up beyond it.

    Returns
    -------
    int or None
        None: not permitted here, or beyond the limit.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "counts.json")
        try:
            with Worker([counter, str(limit), path, *command], core) as worker:
                worker.ask(f"mark {steps}")
        except WorkerError:
            return None
        try:
            with open(path, encoding="ascii") as file:
                counts = json.load(file)
        except (OSError, json.JSONDecodeError):
            return None
    if not counts or None in counts:
        return None
    return int(statistics.median(counts))


# ---------------------------------------------------------------------------------------- ratios


def _median(records, name, phase):
    summary = records[name][phase] if name is not None else None
    return summary["median_us"] if summary else None


def _quickest(records, name, phase):
    """Median of the quickest way a contender has to do the work of a phase.

    A whole sequence can be run step by step, and streams served at once can be served in turn.
    """
    other = {"sequence": "streaming", "together": "streams"}.get(phase, phase)
    medians = (_median(records, name, way) for way in (phase, other))
    return min((us for us in medians if us is not None), default=None)


def _best(records, phase, wanted):
    """Name of the quickest contender that `wanted` accepts, or None."""
    quickest = {name: _quickest(records, name, phase) for name, record in records.items() if wanted(record)}
    names = [name for name, us in quickest.items() if us is not None]
    return min(names, key=quickest.get, default=None)


def _ratio(over, under):
    return over / under if over is not None and under else None


def _is_peer(record):
    return record["family"] != "edge_runtime" and record["form"] != "null"


def _null_us(records, peer):
    """Median of the empty call of the same runtime through the same interface, or None."""
    same = ("family", "via")
    for record in records.values():
        if record["form"] == "null" and all(record[k] == records[peer][k] for k in same):
            return record["streaming"]["median_us"] if record["streaming"] else None
    return None


def _against(records, ours):
    """Ratios of the best peer's median to that of one of our contenders."""
    found = {"ours": ours}
    for phase in ("streaming", "cold", "sequence", "streams", "together"):
        peer = _best(records, phase, _is_peer)
        found[f"{phase}_best_peer"] = peer
        found[f"{phase}_best_peer_over_ours"] = _ratio(
            _quickest(records, peer, phase), _quickest(records, ours, phase)
        )
    peer = found["streaming_best_peer"]
    streaming = _median(records, peer, "streaming")
    null = _null_us(records, peer) if peer is not None else None
    less = None if streaming is None or null is None else max(streaming - null, 0)
    own = _median(records, ours, "streaming")
    found["streaming_best_peer_less_empty_call_over_ours"] = _ratio(less, own)
    found["streaming_best_peer_over_ours_int8_input"] = _ratio(
        streaming, _median(records, ours, "streaming_int8")
    )
    found["sequence_over_streaming_of_ours"] = _ratio(_median(records, ours, "sequence"), own)
    return found


def ratios(records, default_kernel):
    """Ratios of one workload; all are of medians, best peer over this runtime: above 1, this one is faster.

    Parameters
    ----------
    records : dict of str to dict
        Of `run_workload`.
    default_kernel : str
        Kernel that the ratios at the top level are for.

    Returns
    -------
    dict
        ``streaming_best_peer_over_ours`` and the like; ``by_kernel``: the same for every kernel;
        ``python_streaming_...``: both called from Python.
    """
    ours = {
        record["kernel"]: name
        for name, record in records.items()
        if record["family"] == "edge_runtime" and record["via"] == "c"
    }
    by_kernel = {kernel: _against(records, name) for kernel, name in ours.items()}
    found = {"kernel": default_kernel, **by_kernel.get(default_kernel, {})}

    def through_python(record):
        return record["via"] == "python"

    own = _best(records, "streaming", lambda r: through_python(r) and r["family"] == "edge_runtime")
    peer = _best(records, "streaming", lambda r: through_python(r) and _is_peer(r))
    found["python_streaming_best_peer"] = peer
    found["python_streaming_best_peer_over_ours"] = _ratio(
        _median(records, peer, "streaming"), _median(records, own, "streaming")
    )
    found["by_kernel"] = by_kernel
    return found


def noisy_contenders(records):
    """Contenders without a network whose times scatter: the run should be repeated.

    Returns
    -------
    list of str
        Names whose streaming p90 is above 1.5 times the median.
    """
    return [
        name
        for name, record in records.items()
        if record["form"] == "null"
        and record["streaming"]
        and record["streaming"]["p90_us"] > _NOISY * record["streaming"]["median_us"]
    ]
