# SPDX-License-Identifier: MIT
"""Pictures in SVG: detection error trade-off curves and calibration."""

import html

_STYLE = "text { font: 12px sans-serif; fill: #222 } .title { font-weight: bold } .small { font-size: 11px; fill: #555 }"
# From little bias on `unknown` to much: more is rejected.
_COLORS = ("#d9a441", "#b5792c", "#1b6ca8", "#7a5aa0", "#4b2e6f")
_GRID, _AXIS = "#e4e4e4", "#888"


class _Panel:
    """Axes in a rectangle, linear in both directions; values beyond are drawn at the edge."""

    def __init__(self, left, top, width, height, x_limits, y_limits):
        self.left, self.top, self.width, self.height = left, top, width, height
        self._x, self._y = x_limits, y_limits

    def x(self, value):
        low, high = self._x
        return self.left + self.width * (min(max(value, low), high) - low) / (high - low)

    def y(self, value):
        low, high = self._y
        return self.top + self.height * (1 - (min(max(value, low), high) - low) / (high - low))

    def inside(self, x, y):
        return x <= self._x[1] and y <= self._y[1]

    def axes(self, x_ticks, y_ticks, x_label, y_label, title, percent=(False, False)):
        right, bottom = self.left + self.width, self.top + self.height
        parts = [f'<text class="title" x="{self.left}" y="{self.top - 10}">{html.escape(title)}</text>']
        for tick in x_ticks:
            x = self.x(tick)
            parts.append(f'<path d="M{x:.1f} {self.top}V{bottom}" stroke="{_GRID}"/>')
            parts.append(
                f'<text class="small" x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{_tick(tick, percent[0])}</text>'
            )
        for tick in y_ticks:
            y = self.y(tick)
            parts.append(f'<path d="M{self.left} {y:.1f}H{right}" stroke="{_GRID}"/>')
            parts.append(
                f'<text class="small" x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{_tick(tick, percent[1])}</text>'
            )
        parts.append(
            f'<rect x="{self.left}" y="{self.top}" width="{self.width}" height="{self.height}" fill="none" '
            f'stroke="{_AXIS}"/>'
        )
        middle = self.left + self.width / 2
        parts.append(
            f'<text x="{middle}" y="{bottom + 33}" text-anchor="middle">{html.escape(x_label)}</text>'
        )
        if y_label:
            x, y = self.left - 42, self.top + self.height / 2
            parts.append(
                f'<text x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">{html.escape(y_label)}</text>'
            )
        return parts


def _tick(value, percent):
    return f"{100 * value:g} %" if percent else f"{value:g}"


def _document(width, height, parts):
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"><style>{_STYLE}</style>'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""])


def _limit(values, least):
    """A round upper end of an axis, and its ticks, for values some of which may be left outside."""
    most = max([least, *values])
    for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50):
        if most <= 6 * step:
            break
    count = max(1, -int(-most // step))
    return count * step, [round(step * i, 6) for i in range(count + 1)]


def tradeoff(results, own_threshold, bounds, title):
    """Draw words missed against false digits, a panel per set without digits.

    Parameters
    ----------
    results : list of dict
        As `apps.evaluate.tradeoff.curves` returns them.
    own_threshold : float
        The threshold in use; its point on the curve of the file's bias is marked.
    bounds : dict of str to float
        What is required of the sets, drawn as a line.
    title : str

    Returns
    -------
    str
        An SVG document.
    """
    sets = list(results[0]["points"][0]["accepted"])
    own = round(float(own_threshold), 6)
    here = next(
        p for curve in results if curve["bias_step"] == 0 for p in curve["points"] if p["threshold"] == own
    )
    parts = [f'<text x="20" y="22">{html.escape(title)}</text>']
    width, height, top = 250, 250, 64
    # Nobody runs a recognizer that misses five times the words.
    y_end, y_ticks = _limit([min(0.4, max(0.1, 4 * here["miss_rate"]))], 0.1)
    left = 70
    # Clips of one word are counted by clip, everything else by the minute.
    for name in sets:
        key = "accepted" if name == "sc_words" else "false_per_minute"
        first = [curve["points"][0][key][name] for curve in results]
        x_end, x_ticks = _limit(first, 0.05 if key == "accepted" else 1)
        panel = _Panel(left, top, width, height, (0, x_end), (0, y_end))
        x_label = "clips accepted" if key == "accepted" else "false digits per minute"
        y_label = "words missed" if left == 70 else ""
        parts += panel.axes(x_ticks, y_ticks, x_label, y_label, name, (key == "accepted", True))
        if name in bounds:
            x = panel.x(bounds[name])
            parts.append(
                f'<path d="M{x:.1f} {top}v{height}" stroke="#c0322b" stroke-width="1.2" stroke-dasharray="5 4"/>'
            )
        for curve, color in zip(results, _COLORS, strict=True):
            points = [(p[key][name], p["miss_rate"]) for p in curve["points"]]
            shown = [point for point in points if panel.inside(*point)]
            line = " ".join(f"{panel.x(x):.1f},{panel.y(y):.1f}" for x, y in shown)
            thick = 2.5 if curve["bias_step"] == 0 else 1.2
            parts.append(
                f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="{thick}" '
                f'stroke-linejoin="round"/>'
            )
            if shown and curve["points"][0][key][name] == shown[0][0]:
                x, y = shown[0]
                parts.append(f'<circle cx="{panel.x(x):.1f}" cy="{panel.y(y):.1f}" r="2.5" fill="{color}"/>')
        x, y = panel.x(here[key][name]), panel.y(here["miss_rate"])
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#fff" stroke="#c0322b" stroke-width="2.5"/>'
        )
        left += width + 56
    y = top + height + 62
    x = 70
    for curve, color in zip(results, _COLORS, strict=True):
        text = "bias of the file" if curve["bias_step"] == 0 else f"bias {curve['bias_step'] / 2048:+g}"
        parts.append(f'<path d="M{x} {y - 4}h22" stroke="{color}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 28}" y="{y}">{text}</text>')
        x += 60 + 7 * len(text)
    parts.append(
        f'<circle cx="{x + 8}" cy="{y - 4}" r="5" fill="#fff" stroke="#c0322b" stroke-width="2.5"/>'
        f'<text x="{x + 22}" y="{y}">operating point, threshold {own:g}</text>'
    )
    parts.append(
        f'<text class="small" x="70" y="{y + 22}">Curves: bias on "unknown", in natural logarithms of probability. '
        "Along a curve the threshold rises from 0 (dot). Dashed: at most this much is allowed.</text>"
    )
    return _document(left + 10, y + 38, parts)


def calibration(results, title):
    """Draw share right against confidence, with the number of words below, a panel per selection.

    Parameters
    ----------
    results : dict of str to dict
        Title of the panel to what `apps.evaluate.calibration.calibration` returns.
    title : str

    Returns
    -------
    str
        An SVG document.
    """
    ticks = (0, 0.2, 0.4, 0.6, 0.8, 1)
    size, top, counts = 270, 64, 70
    parts = [f'<text x="20" y="22">{html.escape(title)}</text>']
    left = 70
    for name, result in results.items():
        panel = _Panel(left, top, size, size, (0, 1), (0, 1))
        parts += panel.axes(ticks, ticks, "", "share right" if left == 70 else "", name)
        parts.append(
            f'<path d="M{panel.x(0)} {panel.y(0)}L{panel.x(1)} {panel.y(1)}" stroke="{_AXIS}" stroke-dasharray="4 4"/>'
        )
        full = [part for part in result["bins"] if part["count"]]
        for part in full:
            x = panel.x(part["confidence"])
            low, high = wilson(part["right"], part["count"])
            parts.append(
                f'<path d="M{x:.1f} {panel.y(low):.1f}V{panel.y(high):.1f}" stroke="#1b6ca8" stroke-width="1.2"/>'
            )
        line = " ".join(f"{panel.x(p['confidence']):.1f},{panel.y(p['right']):.1f}" for p in full)
        parts.append(f'<polyline points="{line}" fill="none" stroke="#1b6ca8" stroke-width="1.2"/>')
        for part in full:
            x, y = panel.x(part["confidence"]), panel.y(part["right"])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#1b6ca8"/>')
        error = result["expected_calibration_error"]
        text = "no words" if error is None else f"expected calibration error {error:.3f}"
        parts.append(f'<text x="{left + 10}" y="{top + 20}">{text}</text>')
        parts.append(f'<text class="small" x="{left + 10}" y="{top + 36}">{result["words"]} words</text>')
        base = top + size + 30 + counts
        most = max([1, *(part["count"] for part in result["bins"])])
        for part in result["bins"]:
            x, width = panel.x(part["low"]), size / len(result["bins"]) - 2
            height = counts * 0.75 * (part["count"] / most) ** 0.5
            parts.append(
                f'<rect x="{x + 1:.1f}" y="{base - height:.1f}" width="{width:.1f}" height="{height:.1f}" fill="#9dbcd4"/>'
                f'<text class="small" x="{x + 1 + width / 2:.1f}" y="{base - height - 3:.1f}" text-anchor="middle">'
                f"{part['count']}</text>"
            )
        parts.append(f'<path d="M{left} {base}h{size}" stroke="{_AXIS}"/>')
        parts.append(
            f'<text x="{left + size / 2}" y="{base + 20}" text-anchor="middle">confidence, and words in each tenth</text>'
        )
        left += size + 60
    notes = (
        "Every word heard, whatever the threshold. Whiskers: 95 % interval of the share, by the number of words.",
        "Columns: number of words, their heights its square root.",
    )
    y = top + size + counts + 76
    parts += [f'<text class="small" x="70" y="{y + 16 * i}">{note}</text>' for i, note in enumerate(notes)]
    return _document(left, y + 32, parts)


def wilson(share, count, z=1.96):
    """Return the Wilson score interval of a share of `count`, (low, high)."""
    center = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return max(0.0, center - half), min(1.0, center + half)
