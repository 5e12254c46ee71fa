# SPDX-License-Identifier: MIT
"""The rows as pictures, in SVG: the same bytes from the same results."""

import io
import re

import numpy as np

from training.reproduce import grid, literature, report, summary
from training.reproduce.row import METRICS

_COLORS = {
    "float": "#222222",
    "ternary": "#1b6ca8",
    "pow2-ternary": "#3aa0a0",
    "sparse": "#7a9a3a",
    "exponential": "#c98a2b",
    "pow2": "#a8731b",
    "binary-glorot": "#8a6aa8",
    "binary": "#c0392b",
}
_DASHES = ("-", "--", ":", "-.")  # plain, normalized, stochastic, both
_POINTS = 40
_LEAST_TREATMENTS = 3  # of an experiment, for more than its learning curves


def draw(experiments):
    """Draw everything.

    Parameters
    ----------
    experiments : list of summary.Experiment

    Returns
    -------
    dict of str to bytes
        Name, without .svg, to document.

    Raises
    ------
    GridError
        matplotlib is missing.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise grid.GridError("pictures need matplotlib: pip install -e '.[train]'") from error
    drawn = {}
    # Fixed names of clip paths, and text as text: small files, the same every time.
    settings = {
        "svg.hashsalt": "edge_runtime",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "path.simplify": True,
    }
    with matplotlib.rc_context(settings):
        for experiment in experiments:
            name = report.slug(experiment)
            drawn[f"{name}-curves"] = _svg(_curves(Figure, experiment))
            if len(experiment.treatments) < _LEAST_TREATMENTS:
                continue
            drawn[f"{name}-spectral"] = _svg(_spectral(Figure, experiment))
            drawn[f"{name}-bits"] = _svg(_bits(Figure, experiment))
            histograms = _histograms(Figure, experiment)
            if histograms is not None:
                drawn[f"{name}-histograms"] = _svg(histograms)
        beside = _literature(Figure, experiments)
        if beside is not None:
            drawn["literature"] = _svg(beside)
    return drawn


def _svg(figure):
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", written.getvalue(), flags=re.DOTALL)
    # Tenths of a point are enough; what is not in a tag is for people.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d)\d+", r"\1", tag[0]), text)
    text = re.sub(r' transform="rotate\(-?0 [^"]*"', "", text)
    return re.sub(r"\s*\n\s*", "\n", text).encode()


def _style(experiment, name):
    """Colour and dashes of a treatment: the same in every picture."""
    row = experiment.treatments[name].rows[0][0]
    return {
        "color": _COLORS[row.method],
        "linestyle": _DASHES[(row.normalization != "none") + 2 * row.stochastic],
    }


def _percent(metric):
    return 100 if metric != "bits per character" else 1


def _unit(metric):
    return f"{metric}, %" if _percent(metric) == 100 else metric


def _mean_curve(treatment, key, column):
    """Mean over a treatment's rows of a curve: (steps, values); both empty where there is none.

    Curves of different steps are taken at the same ones, by straight lines between their points.
    """
    curves = [
        np.array([[p[0], p[column]] for p in r[key] if p[column] is not None]) for _, r in treatment.rows
    ]
    curves = [curve for curve in curves if len(curve) > 1]
    if not curves:
        return np.zeros(0), np.zeros(0)
    if all(np.array_equal(curve[:, 0], curves[0][:, 0]) for curve in curves):
        return curves[0][:, 0], np.mean([curve[:, 1] for curve in curves], axis=0)
    steps = np.linspace(max(c[0, 0] for c in curves), min(c[-1, 0] for c in curves), _POINTS)
    return steps, np.mean([np.interp(steps, *curve.T) for curve in curves], axis=0)


def _curves(Figure, experiment):
    """Score on dev over training, mean of the rows of each treatment, and the loss on what is trained on."""
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    dev, loss = figure.subplots(1, 2)
    scale = _percent(experiment.metric)
    shown = {}
    for name, treatment in experiment.treatments.items():
        steps, values = _mean_curve(treatment, "curve", 2)
        dev.plot(steps, scale * values, label=name, linewidth=1.4, **_style(experiment, name))
        shown[name] = scale * values
        steps, values = _mean_curve(treatment, "curve", 1)
        loss.plot(steps, values, linewidth=1.4, **_style(experiment, name))
    _limit(dev, shown, METRICS[experiment.metric])
    dev.set(
        xlabel="steps",
        ylabel=f"{_unit(experiment.metric)}, dev",
        title=f"{experiment.name}, {experiment.network}",
    )
    loss.set(xlabel="steps", ylabel="training loss")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def _limit(axes, shown, more_is_better):
    """Leave out what is far from the best: the first tenth of training, and networks that fail."""
    later = {name: values[len(values) // 10 :] for name, values in shown.items() if len(values)}
    if not later:
        return
    ends = {name: values[-1] for name, values in later.items()}
    best = max(ends.values()) if more_is_better else min(ends.values())
    start = np.median([values[0] for values in later.values()])
    reach = max(abs(best - start), 1e-3 * abs(best) + 1e-6)
    low, high = (
        (best - 1.1 * reach, best + 0.1 * reach)
        if more_is_better
        else (best - 0.1 * reach, best + 1.1 * reach)
    )
    axes.set_ylim(low, high)


def _spectral(Figure, experiment):
    """Greatest norm of the recurrent matrices as they are used, over training."""
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, treatment in experiment.treatments.items():
        steps, values = _mean_curve(treatment, "spectral_norm", 1)
        axes.plot(steps, values, label=name, linewidth=1.4, **_style(experiment, name))
    axes.set(
        xlabel="steps",
        ylabel="spectral norm of the recurrent matrix",
        title=f"{experiment.name}, {experiment.network}",
    )
    _log(axes.yaxis)
    figure.legend(loc="outside right center")
    return figure


def _bits(Figure, experiment):
    """Score of the packed networks against bits a weight.

    Hollow: float32's score, and the difference to it over some folds. Networks that fail are in the legend alone.
    """
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    scale, sign = _percent(experiment.metric), 1 if METRICS[experiment.metric] else -1
    reach = []
    for name, treatment in experiment.treatments.items():
        found, difference = experiment.estimate(name, key="packed_score"), experiment.difference(name)
        if found is None:
            continue
        style = _style(experiment, name)
        place, label = found.mean, name
        if difference is not None and difference.missing:
            place = experiment.estimate(summary.BASELINE, key="packed_score").mean + sign * difference.mean
            label = f"{name}, {difference.folds} of {difference.folds + difference.missing} folds"
        hollow = label != name
        if difference is not None and difference.mean <= -summary.FAILURE[experiment.metric]:
            label = f"{label}: {report.number(found.mean, experiment.metric)}"
        else:
            reach += [place - (found.error or 0), place + (found.error or 0)]
        axes.errorbar(
            treatment.mean("bits_per_weight"),
            scale * place,
            yerr=scale * (found.error or 0),
            fmt="osD^"[_DASHES.index(style["linestyle"])],
            fillstyle="none" if hollow else "full",
            color=style["color"],
            markersize=5,
            capsize=3,
            label=label,
        )
    axes.set(
        xlabel="bits a weight (float: those of float32)",
        ylabel=f"{_unit(experiment.metric)}, test",
        xscale="log",
        title=f"{experiment.name}, {experiment.network}",
    )
    if reach:
        low, high = scale * min(reach), scale * max(reach)
        margin = 0.08 * (high - low) or 0.01 * high
        axes.set_ylim(low - margin, high + margin)
    ticks = [1, 1.6, 4, 8, 16, 32]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    figure.legend(loc="outside right center")
    return figure


def _histograms(Figure, experiment):
    """Weights of the first recurrent matrix: masters before and after training, quantized after it."""
    shown = {
        name: next((r["histograms"] for _, r in treatment.rows if "histograms" in r), None)
        for name, treatment in experiment.treatments.items()
        if not treatment.rows[0][0].stochastic
    }
    shown = {name: histograms for name, histograms in shown.items() if histograms}
    if not shown:
        return None
    figure = Figure(figsize=(8.4, 0.5 + 1.1 * len(shown)), layout="constrained")
    columns = (("before", "masters"), ("after", "masters"), ("after", "quantized"))
    axes = figure.subplots(len(shown), len(columns), squeeze=False)
    for line, (name, histograms) in zip(axes, shown.items(), strict=True):
        for cell, (time, kind) in zip(line, columns, strict=True):
            counts, edges = (np.array(part, float) for part in histograms[time][f"W_h 0 {kind}"])
            cell.stairs(
                counts / max(1, counts.sum()), edges, fill=True, color=_style(experiment, name)["color"]
            )
            cell.set_yticks([])
            cell.locator_params(axis="x", nbins=3)
            cell.tick_params(labelsize=7, bottom=False)
            cell.spines["left"].set_visible(False)
        line[0].set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
    for cell, (time, kind) in zip(axes[0], columns, strict=True):
        cell.set_title(f"{kind}, {time} training", fontsize=9)
    figure.suptitle(f"{experiment.name}, {experiment.network}: recurrent weights", fontsize=9)
    return figure


def _literature(Figure, experiments):
    """Scores against bytes, published ones hollow."""
    pairs = [
        (experiment, figure)
        for experiment in experiments
        for figure in literature.FIGURES
        if (figure.task, figure.variant) == (experiment.task, experiment.variant)
        and figure.treatment in experiment.treatments
    ]
    if not pairs:
        return None
    picture = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = picture.subplots()
    named = set()
    for experiment, figure in pairs:
        treatment, label = experiment.treatments[figure.treatment], figure.treatment
        style = {
            "color": _style(experiment, label)["color"],
            "marker": "o" if label == treatment.method else "s" if "weightnorm" in label else "D",
            "linestyle": "",
        }
        axes.plot(figure.bytes / 1000, figure.score, fillstyle="none", **style)
        found = experiment.estimate(label)
        if found is not None:
            size = treatment.mean("float_bytes" if treatment.method == "float" else "bytes")
            place = size / 1000, found.mean
            axes.plot(*place, label=None if label in named else label, **style)
            axes.annotate(experiment.network, place, (5, 3), textcoords="offset points", fontsize=6)
            named.add(label)
    axes.set(xlabel="KB (of the file; published: of the recurrent layer)", ylabel="bits per character, test")
    _log(axes.xaxis, (1, 2, 5))
    _log(axes.yaxis)
    networks = ", ".join(dict.fromkeys(experiment.network for experiment, _ in pairs))
    published = ", ".join(dict.fromkeys(f"{figure.network}, {figure.source}" for _, figure in pairs))
    axes.set_title(
        f"{pairs[0][0].name}: filled here ({networks}); hollow published ({published})", fontsize=9
    )
    picture.legend(loc="outside lower center", ncols=4)
    return picture


def _log(axis, subs=(1, 1.5, 2, 3, 4, 5, 6, 8)):
    """A logarithmic axis with plain numbers, at `subs` of each decade."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_formatter(NullFormatter())
