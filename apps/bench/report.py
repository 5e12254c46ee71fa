# SPDX-License-Identifier: MIT
"""The results as a table, and the facts about the machine."""

import os
import pathlib
import platform


def machine():
    """Facts about this machine that bear on timings.

    Returns
    -------
    dict
    """
    cpu, flags = platform.processor() or platform.machine(), []
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                cpu = value.strip()
            if key.strip() in ("flags", "Features"):
                flags = value.split()
    except OSError:
        pass
    told = ("ssse3", "avx2", "avx512bw", "avx512vbmi", "avx512_vnni", "asimd", "neon", "hypervisor")
    governor = None
    try:
        path = pathlib.Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        governor = path.read_text(encoding="ascii").strip()
    except OSError:
        pass
    return {
        "cpu": cpu,
        "features": [flag for flag in told if flag in flags],
        "cores": os.cpu_count(),
        "governor": governor,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def notes(facts, kernel):
    """What makes the figures of this run worse than they need be.

    Parameters
    ----------
    facts : dict
        Of `machine`.
    kernel : str
        The kernel that the library chose.

    Returns
    -------
    list of str
    """
    found = []
    if facts["governor"] not in (None, "performance"):
        found.append(f"CPU governor {facts['governor']}: the clock may be low while little runs")
    if facts["load_average"] is not None and facts["load_average"] > facts["cores"] / 2:
        found.append(f"load average {facts['load_average']:.1f} at the start: the machine was not quiet")
    vectors = [name for name in ("avx2", "neon", "asimd") if name in facts["features"]]
    if kernel == "scalar" and vectors:
        found.append(f"this CPU has {vectors[0]}, but the library chose the scalar kernel")
    return found


def number(value, digits=3):
    """A figure for people: `digits` significant digits; a dash for None."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:.0f}"
    return f"{value:.{digits}g}" if abs(value) >= 1e-4 else f"{value:.1e}"


def _table(head, rows):
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]

    def line(cells):
        first = cells[0].ljust(widths[0])
        return "  ".join([first, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]).rstrip()

    return [line(head), *(line(row) for row in rows)]


def _spread(summary):
    if summary is None:
        return ["-", "-", "-"]
    return [number(summary[key]) for key in ("median_us", "p90_us", "p99_us")]


def _center(summary):
    return number(summary["median_us"]) if summary else "-"


def workload_table(records):
    """Lines of the table of one workload, quickest streaming step first."""
    head = [
        "us per step",
        "median",
        "p90",
        "p99",
        "int8 in",
        "cold",
        "sequence",
        "8 in turn",
        "8 at once",
        "instructions",
        "file KB",
        "load ms",
        "RSS KB",
        "max error",
    ]
    rows = []
    slowest = float("inf")
    order = sorted(
        records, key=lambda n: records[n]["streaming"]["median_us"] if records[n]["streaming"] else slowest
    )
    for name in order:
        record = records[name]
        instructions = record["instructions_per_step"]
        rows.append(
            [
                name,
                *_spread(record["streaming"]),
                _center(record["streaming_int8"]),
                _center(record["cold"]),
                _center(record["sequence"]),
                _center(record["streams"]),
                _center(record["together"]),
                "-" if instructions is None else str(instructions),
                number(record["file_bytes"] / 1000) if record["file_bytes"] is not None else "-",
                number(record["load_ms"]),
                number(record["rss_stream_kb"]),
                number(record["maxerr"], 2),
            ]
        )
    return _table(head, rows)


def ratio_lines(ratios):
    """Lines of the table of ratios: a line per workload and kernel."""
    head = ["best peer / ours", "kernel", "streaming", "less empty call", "int8 in", "cold", "sequence"]
    head += ["8 in turn", "8 at once", "best peer, streaming"]
    keys = (
        "streaming_best_peer_over_ours",
        "streaming_best_peer_less_empty_call_over_ours",
        "streaming_best_peer_over_ours_int8_input",
        "cold_best_peer_over_ours",
        "sequence_best_peer_over_ours",
        "streams_best_peer_over_ours",
        "together_best_peer_over_ours",
    )
    rows = []
    for workload, found in ratios.items():
        for kernel, of_kernel in found["by_kernel"].items():
            cells = [number(of_kernel[key]) for key in keys]
            rows.append([workload, kernel, *cells, of_kernel["streaming_best_peer"] or "-"])
        if found["python_streaming_best_peer_over_ours"] is not None:
            cells = [number(found["python_streaming_best_peer_over_ours"])] + ["-"] * (len(keys) - 1)
            rows.append([workload, f"{found['kernel']}, Python", *cells, found["python_streaming_best_peer"]])
    return _table(head, rows)


def text(result):
    """The whole report.

    Parameters
    ----------
    result : dict
        What ``--json`` prints.

    Returns
    -------
    str
    """
    facts = result["machine"]
    core = "not pinned" if result["plan"]["core"] is None else f"core {result['plan']['core']}"
    lines = [
        f"{facts['cpu']} ({' '.join(facts['features'])}), {facts['system']}, Python {facts['python']}",
        ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        + f"; 1 thread, {core}, {result['plan']['rounds']} rounds in random order",
    ]
    for name, workload in result["workloads"].items():
        lines += ["", f"{name}: {workload['description']}; {workload['weights']} weights"]
        lines += workload_table(workload["contenders"])
    lines += ["", *ratio_lines(result["ratios"])]
    lines += [
        "",
        "Above 1, this runtime is faster. Floats in and out, except 'int8 in'. null: an empty call.",
    ]
    return "\n".join(lines)
