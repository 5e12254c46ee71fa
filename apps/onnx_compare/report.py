# SPDX-License-Identifier: MIT
"""The results as tables: rows of text, for the terminal and for the page."""

from apps.bench.report import number

NAMES = {
    "edge_runtime": "edge_runtime",
    "onnxruntime_f32": "ONNX Runtime f32",
    "onnxruntime_int8": "ONNX Runtime int8",
}
_RATIOS = {
    "size": "file size",
    "streaming": "streaming step, p50",
    "streaming_p99": "streaming step, p99",
    "cold": "streaming step, cold caches",
    "sequence": "whole sequence, per step",
    "load": "load time",
    "peak_memory": "peak memory of the process",
    "live_cpu": "CPU of a live stream",
}


def _percent(value, digits=2):
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def _spread(summary, divisor=1):
    if summary is None:
        return ["-"] * 3
    return [number(summary[key] / divisor) for key in ("median_us", "p90_us", "p99_us")]


def score_rows(result):
    """Words against labels; None without recordings.

    Returns
    -------
    list of list of str or None
        The first row is the head.
    """
    if result["scores"] is None:
        return None
    head = ["recordings", "", "recordings", "digit words", "WER", "strings wrong", "single words right"]
    rows = [[*head, "false words per minute"]]
    names = next(iter(result["scores"].values()))
    for name in names:
        if name != "all" and len(names) == 2:
            continue
        for side, of_side in result["scores"].items():
            found = of_side[name]
            false = found["false_words_per_minute"]
            rows.append(
                [
                    name,
                    NAMES[side],
                    str(found["utterances"]),
                    str(found["words"]),
                    *(_percent(found[key]) for key in ("wer", "string_error", "accuracy")),
                    "-" if false is None else f"{false:.2f}",
                ]
            )
    return rows


def agreement_rows(result):
    """Outputs of each side beside those of the float network; rows as `score_rows`."""
    rows = [["beside ONNX Runtime f32", "same greatest output", "rms difference", "of the spread", "largest"]]
    for side, found in result["agreement"].items():
        rows.append(
            [
                NAMES[side],
                _percent(found["same_choice"]),
                number(found["rms"]),
                _percent(found["relative"], 1),
                number(found["largest"]),
            ]
        )
    return rows


def speed_rows(result):
    """A row per contender; rows as `score_rows`."""
    head = ["us per step", "step p50", "p90", "p99", "cold p50", "sequence p50", "p90", "p99"]
    head += ["file KB", "load ms", "peak MB", "live CPU %", "live p50", "live p99"]
    rows = [head]
    records = result["speed"]
    slowest = float("inf")
    order = sorted(
        records, key=lambda n: records[n]["streaming"]["median_us"] if records[n]["streaming"] else slowest
    )
    for name in order:
        record = records[name]
        live = result["live"].get(name)
        rows.append(
            [
                name,
                *_spread(record["streaming"]),
                _spread(record["cold"])[0],
                *_spread(record["sequence"]),
                number(record["file_bytes"] / 1000) if record["file_bytes"] is not None else "-",
                number(record["load_ms"]),
                number(record["peak_kb"] / 1024) if record["peak_kb"] else "-",
                "-" if live is None else number(live["cpu_percent"]),
                *(["-", "-"] if live is None else [number(live[key]) for key in ("median_us", "p99_us")]),
            ]
        )
    return rows


def ratio_rows(result):
    """ONNX Runtime over this runtime; rows as `score_rows`."""
    rows = [["ONNX Runtime / edge_runtime", "f32", "int8"]]
    for key, label in _RATIOS.items():
        values = [result["ratios"][form].get(key) for form in ("f32", "int8")]
        rows.append([label, *(number(value) for value in values)])
    return rows


def subject(result):
    """What was compared: list of str, a line each."""
    model, onnx, inputs = result["model"], result["onnx"], result["inputs"]
    exact = result["exact"]
    clamped = ""
    if inputs["clamped_for_onnx"] > 0:
        clamped = (
            f"; {_percent(inputs['clamped_for_onnx'])} of the values clamped for the twin as the model does"
        )
    file = "" if exact["file"] is None else f"; the file as it is, within {number(exact['file'], 2)}"
    return [
        f"edge_runtime: {model['path']}: {model['file_bytes']} bytes, kernel {model['kernel']}",
        f"ONNX Runtime: {onnx['name']}: {onnx['description']}; {onnx['file_bytes']['f32']} bytes f32, "
        f"{onnx['file_bytes']['int8']} bytes int8",
        f"inputs: {inputs['what']}: {inputs['sequences']} sequences, {inputs['steps']} steps{clamped}",
        f"ONNX Runtime f32 is within {number(exact['largest'], 2)} of the network in float64 ({exact['steps']} steps){file}",
    ]


def settings(result):
    """How it was measured: list of str, a line each."""
    core = "not pinned" if result["plan"]["core"] is None else f"core {result['plan']['core']}"
    return [
        f"{result['machine']['cpu']} ({' '.join(result['machine']['features'])}), {result['machine']['system']}",
        ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        + f"; 1 thread, {core}, {result['plan']['rounds']} rounds in random order",
    ]


def _lines(rows):
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    text_columns = [k for k in range(len(rows[0])) if k == 0 or not rows[0][k]]
    return [
        "  ".join(
            cell.ljust(width) if k in text_columns else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


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
    lines = settings(result) + subject(result)
    for rows in (score_rows(result), agreement_rows(result), speed_rows(result), ratio_rows(result)):
        if rows is not None:
            lines += ["", *_lines(rows)]
    lines += [
        "",
        "Ratios above 1: edge_runtime has less. Of each form the quickest way counts, called alike.",
    ]
    return "\n".join(lines)
