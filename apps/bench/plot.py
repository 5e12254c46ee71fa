# SPDX-License-Identifier: MIT
"""The results as a picture: bars of the streaming step per workload, in SVG."""

import html
import math

_COLORS = {"edge_runtime": "#1b6ca8", "onnxruntime": "#c98a2b", "litert": "#7a9a3a", "extra": "#8a6aa8"}
_BAR, _GAP, _LEFT, _WIDTH, _RIGHT = 16, 4, 210, 520, 130
_STYLE = "text { font: 12px sans-serif; fill: #222 } .title { font-weight: bold }"


def _shown(records):
    """(name, record) of a workload's bars, quickest first: with a network, not through Python."""
    found = [
        (name, record)
        for name, record in records.items()
        if record["streaming"] and record["form"] != "null" and record["via"] != "python"
    ]
    return sorted(found, key=lambda item: item[1]["streaming"]["median_us"])


def svg(result):
    """Draw the streaming step of every workload, on a logarithmic axis of its own.

    Parameters
    ----------
    result : dict
        What ``--json`` prints.

    Returns
    -------
    str
        An SVG document. The whisker of a bar reaches to the 90th percentile.
    """
    parts = []
    y = 28
    parts.append(f'<text x="8" y="18">Streaming step, microseconds (log scale), {_escape(result)}</text>')
    for name, workload in result["workloads"].items():
        shown = _shown(workload["contenders"])
        if not shown:
            continue
        y += 14
        title = f"{name}: {workload['description']}"
        parts.append(f'<text class="title" x="8" y="{y}">{html.escape(title)}</text>')
        y += 8
        low = math.log10(min(r["streaming"]["median_us"] for _, r in shown) / 2)
        high = math.log10(max(r["streaming"]["p90_us"] for _, r in shown) * 1.05)
        for label, record in shown:
            summary = record["streaming"]
            width, end = (
                (math.log10(max(summary[key], 1e-3)) - low) / (high - low) * _WIDTH
                for key in ("median_us", "p90_us")
            )
            color = _COLORS.get(record["family"], "#888888")
            middle = y + _BAR / 2
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 12}" text-anchor="end">{html.escape(label)}</text>')
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{color}"/>'
                f'<path d="M{_LEFT + width:.1f} {middle}H{_LEFT + end:.1f}" stroke="#222"/>'
                f'<text x="{_LEFT + max(width, end) + 6:.1f}" y="{y + 12}">{summary["median_us"]:.3g}</text>'
            )
            y += _BAR + _GAP
        y += 8
    size = f'width="{_LEFT + _WIDTH + _RIGHT}" height="{y + 8}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""])


def _escape(result):
    return html.escape(f"{result['machine']['cpu']}, 1 thread")
