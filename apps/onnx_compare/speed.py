# SPDX-License-Identifier: MIT
"""Latencies, memory, load time and a live stream, by the workers of apps.bench."""

import contextlib
import random

from apps.bench import contenders, measure

_LIVE_ROUNDS = 3
_RATIOS = ("streaming", "sequence", "cold")


def taking_part(pair, workload, folder, programs):
    """The contenders: this runtime and ONNX Runtime, from C where a compiler is found, and from Python.

    Returns
    -------
    list of apps.bench.contenders.Contender
    """
    kernel = pair.model.kernel
    return contenders.contenders(workload, folder, [kernel], kernel, {"onnxruntime"}, programs, spinning=True)


def latencies(chosen, plan, progress):
    """Measure contenders against each other.

    Returns
    -------
    records : dict of str to dict
        As `apps.bench.measure.run_workload`.
    problems : list of str
    """
    records, failures = measure.run_workload(chosen, plan, random.Random(7), None, progress)
    problems = [f"{who}: {why}" for who, why in failures.items()]
    problems += [
        f"{who}: scatters (p90 above 1.5 medians); the machine was not quiet"
        for who in measure.noisy_contenders(records)
    ]
    return records, problems


def live(chosen, core, step_us, duration_s, progress):
    """Feed contenders at the pace of a signal, each alone, in random order, three times over.

    Parameters
    ----------
    chosen : sequence of apps.bench.contenders.Contender
    core : int or None
    step_us : int
        Time of the signal per step.
    duration_s : float
        Of the signal, for each contender.
    progress : callable

    Returns
    -------
    dict of str to dict
        By contender: ``cpu_percent`` of one core, all threads counted; ``late``, steps that were not done when the
        next was due; ``median_us`` and the other keys of `apps.bench.measure.summarize`.
    """
    steps = max(1, round(duration_s * 1e6 / step_us / _LIVE_ROUNDS))
    rng = random.Random(7)
    answers = {}
    for number in range(_LIVE_ROUNDS):
        for contender in rng.sample(chosen, len(chosen)):
            progress(f"live {number + 1} of {_LIVE_ROUNDS}: {contender.name}")
            with contextlib.suppress(measure.WorkerError):  # it has been reported
                with measure.Worker(contender.command, core) as worker:
                    answers.setdefault(contender.name, []).append(worker.ask(f"live {steps} {step_us}"))
    return {name: _live_record(of_one) for name, of_one in answers.items()}


def _live_record(answers):
    cpu_us, wall_us, late = (sum(a[key] for a in answers) for key in ("cpu_us", "wall_us", "late"))
    times = measure.summarize([us for a in answers for us in a["us"]])
    return {"cpu_percent": 100 * cpu_us / wall_us, "late": late, **times}


def step_of_signal_us(model, step_ms=None):
    """Microseconds of signal per step: those given, else the front end's, else 10 ms."""
    if step_ms is not None:
        return round(step_ms * 1000)
    config = model.file.frontend
    return 10000 if config is None else round(config.step_samples * 1e6 / 16000)


def _center(record, phase):
    """Median of a contender, by its quicker way where a sequence can also be run step by step."""
    ways = (phase, "streaming") if phase == "sequence" else (phase,)
    return min((record[way]["median_us"] for way in ways if record[way]), default=None)


def _over(theirs, ours):
    return theirs / ours if theirs is not None and ours else None


def ratios(records, lives, model_bytes, onnx_bytes):
    """ONNX Runtime over this runtime, called alike: above 1, this runtime has less.

    Parameters
    ----------
    records, lives : dict
        Of `latencies` and `live`.
    model_bytes : int
    onnx_bytes : dict of str to int
        By form.

    Returns
    -------
    dict of str to dict
        By form, "f32" and "int8", with the quickest contender of that form for each figure.
    """
    via = "c" if any(r["via"] == "c" for r in records.values()) else "python"
    ours_name = next(
        (n for n, r in records.items() if r["family"] == "edge_runtime" and r["via"] == via), None
    )
    ours = records.get(ours_name)
    found = {}
    for form in ("f32", "int8"):
        peers = {n: r for n, r in records.items() if (r["via"], r["form"]) == (via, form)}
        of_form = {"size": _over(onnx_bytes[form], model_bytes)}
        if ours is not None:

            def least(value, peers=peers, ours=ours):
                of_peers = [v for v in (value(n, r) for n, r in peers.items()) if v is not None]
                return _over(min(of_peers, default=None), value(ours_name, ours))

            for phase in _RATIOS:
                of_form[phase] = least(lambda n, r, phase=phase: _center(r, phase))
            of_form["streaming_p99"] = least(lambda n, r: r["streaming"] and r["streaming"]["p99_us"])
            of_form["load"] = least(lambda n, r: r["load_ms"])
            of_form["peak_memory"] = least(lambda n, r: r["peak_kb"])
            of_form["live_cpu"] = least(lambda n, r: lives[n]["cpu_percent"] if n in lives else None)
        found[form] = of_form
    return found
