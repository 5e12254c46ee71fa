# SPDX-License-Identifier: MIT
"""The results as one HTML page: tables and pictures in the page itself, no script, nothing fetched."""

import html
import math

from apps.bench.report import number
from apps.onnx_compare import report
from apps.onnx_compare.outputs import EDGES

_COLORS = {
    "edge_runtime": "#1b6ca8",
    "onnxruntime_f32": "#c98a2b",
    "onnxruntime_int8": "#8a6aa8",
    "onnxruntime_null": "#999999",
}
_STYLE = """
body { font: 15px/1.45 sans-serif; color: #222; background: #fff; max-width: 70em; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: .2em .7em; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child, .text { text-align: left }
.wide { overflow-x: auto } .note { color: #555; font-size: 13px }
svg { display: block; margin: .6em 0 1.4em } svg text { font: 12px sans-serif; fill: #222 }
svg .title { font-weight: bold }
"""
_BAR, _GAP, _LEFT, _WIDTH, _RIGHT = 16, 5, 210, 430, 150
_METHOD = (
    "Latency, memory and load time: worker processes pinned to one core, all started together and asked in random "
    "order, round after round. A streaming step contains copying the input, computing, and carrying the state; "
    "floats go in and come out on both sides. ONNX Runtime: one thread, all graph optimizations, inputs, outputs "
    "and states bound once, two sets of states in turn. Its f32 is the RNN, GRU or LSTM node; its int8 the step "
    "unrolled to MatMulInteger and elementwise nodes by its own dynamic quantization (which leaves GRU and "
    "RNN nodes in float), and of an LSTM also the quantized node. null: an empty call. _spin: idle threads "
    "spin, the library's default. _python: called from Python, else from C.",
    "Accuracy: one front end and one decoder for every side. Floats go into ONNX Runtime unquantized, those of the "
    "twin clamped to the range of the model's inputs; its logits are rounded and saturated to the unit of the decoder.",
    "Live: a step whenever the signal has one, the process asleep in between, alone on its core; CPU time of all "
    "threads of the process over the time of the clock. Front end and decoder are not part of it.",
    "Peak memory is that of the whole process, runtime included. Load time is file to first output, with the "
    "library already loaded.",
)


def _color(name):
    return next((_COLORS[key] for key in sorted(_COLORS, reverse=True) if name.startswith(key)), "#7a9a3a")


def _svg(width, height, parts, title):
    head = f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">'
    return "\n".join([head, f"<title>{html.escape(title)}</title>", *parts, "</svg>"])


def bars(title, rows):
    """Bars from zero.

    Parameters
    ----------
    title : str
        With the unit.
    rows : list of (str, float, float or None)
        Contender, value, and the end of a whisker.

    Returns
    -------
    str
        An svg element; empty of no rows.
    """
    if not rows:
        return ""
    highest = max(max(value, end or 0) for _, value, end in rows) or 1
    parts = [f'<text class="title" x="0" y="14">{html.escape(title)}</text>']
    y = 24
    for name, value, end in sorted(rows, key=lambda row: row[1]):
        width = value / highest * _WIDTH
        reach = max(width, (end or 0) / highest * _WIDTH)
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 12}" text-anchor="end">{html.escape(name)}</text>')
        parts.append(
            f'<rect x="{_LEFT}" y="{y}" width="{max(width, 1):.1f}" height="{_BAR}" fill="{_color(name)}"/>'
        )
        label = number(value)
        if end is not None:
            parts.append(
                f'<path d="M{_LEFT + width:.1f} {y + _BAR / 2}H{_LEFT + reach:.1f}" stroke="#222" fill="none"/>'
            )
            label += f" (p99 {number(end)})"
        parts.append(f'<text x="{_LEFT + reach + 6:.1f}" y="{y + 12}">{label}</text>')
        y += _BAR + _GAP
    return _svg(_LEFT + _WIDTH + _RIGHT, y + 4, parts, title)


def curves(title, agreements):
    """Share of steps whose greatest difference is at most x, x on a logarithmic axis: an svg element."""
    left, top, width, height = 50, 26, 560, 200
    low, high = math.log2(EDGES[0]), math.log2(EDGES[-1])

    def at(edge, share):
        x = left + (math.log2(edge) - low) / (high - low) * width
        return f"{x:.1f} {top + (1 - share) * height:.1f}"

    parts = [f'<text class="title" x="0" y="14">{html.escape(title)}</text>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = top + (1 - share) * height
        parts.append(f'<path d="M{left} {y}h{width}" stroke="#ddd" fill="none"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{100 * share:.0f} %</text>')
    for power in range(math.ceil(low), math.floor(high) + 1, 2):
        x = left + (power - low) / (high - low) * width
        label = f"{2**power}" if power >= 0 else f"1/{2**-power}"
        parts.append(f'<text x="{x:.1f}" y="{top + height + 16}" text-anchor="middle">{label}</text>')
    for k, (side, found) in enumerate(agreements.items()):
        points = "L".join(map(at, EDGES, found["distribution"]))
        parts.append(f'<path d="M{points}" stroke="{_color(side)}" stroke-width="2" fill="none"/>')
        y = top + 14 + 18 * k
        parts.append(f'<rect x="{left + 8}" y="{y - 9}" width="10" height="10" fill="{_color(side)}"/>')
        parts.append(f'<text x="{left + 24}" y="{y}">{html.escape(report.NAMES[side])}</text>')
    return _svg(left + width + 20, top + height + 24, parts, title)


def _table(rows):
    texts = [k for k in range(len(rows[0])) if not rows[0][k]]

    def line(tag, row):
        starts = (f'<{tag} class="text">' if k in texts else f"<{tag}>" for k in range(len(row)))
        cells = zip(starts, row, strict=True)
        return f"<tr>{''.join(f'{start}{html.escape(cell)}</{tag}>' for start, cell in cells)}</tr>"

    body = "\n".join(line("td", row) for row in rows[1:])
    return f'<div class="wide"><table>\n<thead>{line("th", rows[0])}</thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _pictures(result):
    """Bars of each measure, contenders called from C where there are any."""
    records = result["speed"]
    via = "c" if any(r["via"] == "c" for r in records.values()) else "python"
    shown = {n: r for n, r in records.items() if r["via"] == via and r["form"] != "null"}

    def latencies(phase, divisor=1):
        return [
            (n, r[phase]["median_us"] / divisor, r[phase]["p99_us"] / divisor)
            for n, r in shown.items()
            if r[phase]
        ]

    sizes = [("edge_runtime", result["model"]["file_bytes"] / 1000, None)]
    sizes += [
        (f"onnxruntime_{form}", count / 1000, None) for form, count in result["onnx"]["file_bytes"].items()
    ]
    live = {n: found for n, found in result["live"].items() if n in shown}
    return [
        bars("File, KB", sizes),
        bars("Streaming step, us, p50 and p99", latencies("streaming")),
        bars("Streaming step with cold caches, us, p50 and p99", latencies("cold")),
        bars("Whole sequence, us per step, p50 and p99", latencies("sequence")),
        bars("CPU of a live stream, % of one core", [(n, v["cpu_percent"], None) for n, v in live.items()]),
        bars("Load time, ms", [(n, r["load_ms"], None) for n, r in shown.items()]),
        bars("Peak memory of the process, MB", [(n, r["peak_kb"] / 1024, None) for n, r in shown.items()]),
    ]


def page(result):
    """Make the page.

    Parameters
    ----------
    result : dict
        What ``--json`` prints.

    Returns
    -------
    str
        An HTML document.
    """
    title = f"{result['model']['path']} and ONNX Runtime"
    parts = ["<!DOCTYPE html>", '<html lang="en"><head><meta charset="utf-8">']
    parts.append(f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>")
    parts.append(f"<h1>{html.escape(title)}</h1>")
    parts += [f"<p>{html.escape(line)}</p>" for line in report.subject(result)]
    parts.append(
        f'<p class="note">{html.escape(result["started"])}, {" ".join(map(html.escape, report.settings(result)))}</p>'
    )
    parts += [f'<p class="note">{html.escape(line)}</p>' for line in result["notes"] + result["problems"]]
    parts += ["<h2>Ratios</h2>", _table(report.ratio_rows(result))]
    parts.append('<p class="note">Above 1: edge_runtime has less.</p>')
    if result["scores"] is not None:
        parts += ["<h2>Accuracy</h2>", _table(report.score_rows(result))]
    parts += ["<h2>Agreement of the outputs</h2>", _table(report.agreement_rows(result))]
    parts.append(
        curves("Share of steps with no output further than x from ONNX Runtime f32", result["agreement"])
    )
    parts += ["<h2>Size, speed, memory</h2>", *_pictures(result), _table(report.speed_rows(result))]
    parts.append("<h2>Method</h2>")
    parts += [f"<p>{html.escape(text)}</p>" for text in _METHOD]
    parts.append("</body></html>")
    return "\n".join(parts) + "\n"
