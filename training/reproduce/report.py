# SPDX-License-Identifier: MIT
"""RESULTS.md: the rows as tables."""

from training.reproduce import literature, summary
from training.reproduce.again import compare
from training.reproduce.row import METRICS

_HEAD = """# The paper's experiments, reproduced

Written by `python -m training.reproduce --results`; the numbers are in [results.json](results.json). Every row was trained by
`python -m training.reproduce --only ROW`, on one thread, and scored twice on recordings or text that took part in no choice:
by torch, and by the C runtime with the packed file, which executes no multiply instruction from quantized input to logits.

Scores are means ± the standard error over seeds (a variance of one run, pooled over folds, over the runs; ~: one run, with
float32's variance). *Against float32* is the difference in the table's metric, positive where the quantized network is
better, ± the greater of its standard errors over seeds and over folds. *Differ*: decisions of the test split that torch, in float32,
and the C runtime, in integers, make differently; plain binary networks amplify every rounding. *Exact*: decisions in which
the NumPy reference and the C runtime differ, of those compared. Seconds and minutes are of training, on a machine that trained
other rows at the same time (its load is in results.json).
"""

_METHODS = {
    "float": "float32, packed in eight ternary planes",
    "ternary": "{-W0, 0, W0}, W0 the Glorot bound",
    "pow2-ternary": "{-1/2, 0, 1/2}",
    "sparse": "{-1/4, 0, 1/4}",
    "exponential": "+-2^k, 14 octaves, no zero",
    "pow2": "0 and +-2^k of 7 octaves",
    "binary": "+-1, as in the paper",
    "binary-glorot": "+-W0",
}


def text(published, pictures):
    """RESULTS.md.

    Parameters
    ----------
    published : results.Published
    pictures : list of str
        Names of the files in pictures/, without .svg.

    Returns
    -------
    str
    """
    results = list(published.rows.values())
    found = summary.experiments(results)
    parts = [_HEAD, _findings(found)]
    for experiment in found:
        parts.append(_section(experiment, pictures))
    parts += [_literature(found, pictures), again(published, published.again), _methods(results)]
    parts += [_every_row(results), _absent(published.absent)]
    return "\n".join(part for part in parts if part)


def again(published, names):
    """The section of rows that were trained once more; empty where there is none.

    Parameters
    ----------
    published : results.Published
    names : iterable of str
        Rows of ``published.again``.
    """
    rows = []
    for name in names:
        row, before = published.rows[name]
        result = published.again[name]
        good, allowed = compare(row, before, result, list(published.rows.values()))
        cells = [
            number(r[key], before["metric"]) for key in ("score", "packed_score") for r in (before, result)
        ]
        allowed = number(allowed, before["metric"])
        rows.append([f"`{name}`", *cells, allowed, "yes" if good else "**no**", _machine(result)])
    if not rows:
        return ""
    head = ["row", "score", "again", "C runtime", "again", "standard error of a run", "within", "machine"]
    return (
        "## Trained again\n\nBy `python -m training.reproduce --again ROW`, from the first step.\n\n"
        + table(head, rows)
    )


def table(head, rows):
    """A Markdown table: list of cells above lists of cells."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def _is_share(metric):
    return metric != "bits per character"


def number(value, metric):
    """A score: in per cent where it is a share; a dash for None."""
    if value is None:
        return "-"
    return f"{100 * value:.2f} %" if _is_share(metric) else f"{value:.3f}"


def _plain(value, metric):
    """A difference or an error, without its unit."""
    return f"{100 * value:.2f}" if _is_share(metric) else f"{value:.3f}"


def estimate(found, metric):
    """A `summary.Estimate`, or None, as text."""
    if found is None:
        return "diverged"
    if found.error is None:
        return number(found.mean, metric)
    return f"{number(found.mean, metric)} ± {'~' if found.pooled else ''}{_plain(found.error, metric)}"


def difference(found, metric):
    """A `summary.Difference`, or None, as text."""
    if found is None:
        return "-"
    sign = "-" if found.mean < 0 else "+"
    error = " (one run each)" if found.error is None else f" ± {_plain(found.error, metric)}"
    partial = f" ({found.folds} of {found.folds + found.missing} folds)" if found.missing else ""
    return sign + _plain(abs(found.mean), metric) + error + partial


def _picture(name, label, pictures):
    return f"\n![{label}](pictures/{name}.svg)\n" if name in pictures else ""


def _findings(found):
    rows = [
        [
            v.finding,
            f"{v.experiment.name}, {v.experiment.network}",
            v.treatment,
            difference(v.difference, v.experiment.metric) if v.difference else "diverged",
            f"**{v.verdict}**",
        ]
        for v in summary.verdicts(found)
    ]
    if not rows:
        return ""
    limits = ", ".join(
        f"{_plain(limit, metric)} {'points of ' if _is_share(metric) else ''}{metric}"
        for metric, limit in summary.FAILURE.items()
    )
    return (
        "## What the paper found, and what these numbers say\n\n"
        "*Matches or beats* holds where the network is not worse than its float32 twin by more than the standard error, is open "
        f"up to twice that, or with one run of each, or where folds are missing, else does not hold. *Fails*: worse by {limits} "
        "or more; *works* is the contrary.\n\n"
        + table(["finding", "where", "weights", "against float32", "verdict"], rows)
    )


def _title(experiment):
    return f"{experiment.name}, {experiment.network}"


def slug(experiment):
    """The experiment's part of the names of its pictures."""
    return "-".join(filter(None, [experiment.task, experiment.variant, experiment.network]))


def _section(experiment, pictures):
    metric = experiment.metric
    rows = []
    for name, treatment in experiment.treatments.items():
        rows.append(
            [
                name,
                f"{len(treatment.rows)} in {len(treatment.folds)}"
                if experiment.variant is None
                else len(treatment.rows),
                estimate(experiment.estimate(name), metric),
                estimate(experiment.estimate(name, key="packed_score"), metric),
                difference(experiment.difference(name), metric),
                f"{treatment.total('differing')} of {treatment.total('decisions')}",
                f"{treatment.total('exact_differing')} of {treatment.total('exact_checked')}",
                f"{treatment.mean('bytes'):,.0f}",
                f"{treatment.mean('float_bytes') / treatment.mean('bytes'):.1f}",
                f"{treatment.mean('bits_per_weight'):.2f}",
                f"{100 * treatment.mean('zeros'):.0f} %",
                f"{treatment.mean('seconds') / 60:.1f}",
            ]
        )
    head = [
        "weights",
        "runs in folds" if experiment.variant is None else "runs",
        metric,
        "C runtime",
        "against float32",
        "differ",
        "exact",
        "bytes",
        "times smaller",
        "bits a weight",
        "zeros",
        "minutes a run",
    ]
    name = slug(experiment)
    return (
        f"## {_title(experiment)}\n\n{'More' if METRICS[metric] else 'Less'} is better.\n\n"
        + table(head, rows)
        + _short(experiment)
        + _by_fold(experiment)
        + _picture(f"{name}-curves", "Learning curves", pictures)
        + _picture(f"{name}-bits", "Score against bits a weight", pictures)
        + _picture(f"{name}-spectral", "Spectral norm of the recurrent matrix over training", pictures)
        + _picture(f"{name}-histograms", "Weights before and after training", pictures)
    )


def _short(experiment):
    """What was trained for a shorter time than in the literature."""
    shares = [
        share
        for treatment in experiment.treatments.values()
        for row, _ in treatment.rows
        if (share := literature.share_of_training(row)) is not None and share < 1
    ]
    if not shares:
        return ""
    low, high = (f"{share:.1%}" for share in (min(shares), max(shares)))
    return (
        f"\n**Shorter than in the literature**: {low if low == high else f'{low} to {high}'} of the characters that "
        "Hou et al. 2019 trained on (200 epochs). The learning curves show what more would bring.\n"
    )


def _by_fold(experiment):
    if experiment.variant is not None or len(experiment.folds) < 2:
        return ""
    rows = []
    for name, treatment in experiment.treatments.items():
        cells = []
        for fold in experiment.folds:
            cells.append(
                estimate(experiment.estimate(name, [fold]), experiment.metric)
                if fold in treatment.folds
                else ""
            )
        rows.append([name, *cells])
    return "\nFold by fold, by what is left out:\n\n" + table(["weights", *experiment.folds], rows)


def _literature(found, pictures):
    rows = []
    for experiment in found:
        figures = [
            f for f in literature.FIGURES if (f.task, f.variant) == (experiment.task, experiment.variant)
        ]
        for figure in figures:
            ours = experiment.treatments.get(figure.treatment)
            if ours is None:
                continue
            share = literature.share_of_training(ours.rows[0][0])
            rows.append(
                [
                    experiment.name,
                    figure.treatment,
                    f"{estimate(experiment.estimate(figure.treatment), experiment.metric)} ({experiment.network}, "
                    f"{ours.mean('float_bytes' if ours.method == 'float' else 'bytes') / 1000:.0f} KB)",
                    f"{number(figure.score, experiment.metric)} ({figure.network}, {figure.bytes / 1000:.0f} KB)",
                    "" if share is None else f"{share:.1%}",
                    figure.source,
                ]
            )
    for task, system, score, source in literature.OTHERS:
        experiment = next((e for e in found if e.task == task and e.baseline is not None), None)
        if experiment is not None:
            ours = (
                f"{estimate(experiment.estimate(summary.BASELINE), experiment.metric)} ({experiment.network})"
            )
            theirs = f"{number(score, experiment.metric)} ({system})"
            rows.append([experiment.name, summary.BASELINE, ours, theirs, "", source])
    if not rows:
        return ""
    return (
        "## Beside the literature\n\n"
        "Published KB are of the recurrent layer's weights, ours of the whole file.\n\n"
        + table(["task", "weights", "here", "published", "training, of theirs", "source"], rows)
        + _picture("literature", "Bits per character against size, here and in the literature", pictures)
    )


def _methods(results):
    used = {row.method for row, _ in results}
    lines = [f"* `{name}`: {levels}\n" for name, levels in _METHODS.items() if name in used]
    return (
        "## Weights\n\n"
        + "".join(lines)
        + "* `-stochastic`: drawn in training, deterministic when scored; `-weightnorm`, `-batchnorm`: normalized as by Hou et al.; "
        "`-scaled`: a learned power of two per row; `-biases`: biases quantized too\n"
    )


def _every_row(results):
    rows = []
    for row, result in results:
        budget = ", ".join(f"{key} {value}" for key, value in sorted(row.budget.items()))
        share = literature.share_of_training(row)
        rows.append(
            [
                f"`{row.name}`",
                number(result["score"], result["metric"]),
                number(result["packed_score"], result["metric"]),
                number(result["dev_score"], result["metric"]),
                f"{result['differing']}",
                f"{result['bytes']:,}",
                f"{result['bits_per_weight']:.2f}",
                f"{100 * result['zeros']:.0f} %",
                f"{result['seconds']:.0f}",
                budget + (" (short)" if share is not None and share < 1 else ""),
                _machine(result),
            ]
        )
    head = [
        "row",
        "score",
        "C runtime",
        "dev",
        "differ",
        "bytes",
        "bits",
        "zeros",
        "seconds",
        "budget",
        "machine",
    ]
    return "## Every row\n\n" + table(head, rows)


def _machine(result):
    facts = result["machine"]
    return f"{facts['cpu']}, 1 of {facts['cores']} cores, torch {result['versions']['torch']}"


def _absent(absent):
    if not absent:
        return ""
    return (
        f"## Not trained yet\n\n{len(absent)} rows of the grid; `python -m training.reproduce` goes on with them:\n\n"
        + "".join(f"* `{name}`\n" for name in absent)
    )
