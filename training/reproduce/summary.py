# SPDX-License-Identifier: MIT
"""What the rows' scores say together: means, standard errors, differences to float32, and the paper's findings.

An *experiment* is all that is compared: one task, network and test set. The folds of a task of folds (each speaker of
digits left out once) are one experiment, whose score is the mean over the folds.

A standard error is that of the seeds: the variance of one training run, pooled over the folds, over the number of
runs. Where a treatment has one run only, the variance is that of its experiment's float32 runs (marked ~). Of a
difference over folds, the standard error over the folds is told too; the greater of the two decides.
"""

import collections
import dataclasses
import math

import numpy as np

from training.reproduce.row import METRICS

# Tasks whose variants are folds of one experiment, and the fold whose histograms are shown.
FOLD_TASKS = {"digits": "theo"}
BASELINE = "float"
# So much worse than float32 is failing, in units of the metric.
FAILURE = {"accuracy": 0.10, "bits per character": 0.20, "label error rate": 0.10}
# How treatments are listed: by what their method is, then by name.
_ORDER = ("float", "ternary", "pow2-ternary", "sparse", "exponential", "pow2", "binary-glorot", "binary")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean and its standard error (None: unknown; `pooled`: of the float32 runs)."""

    mean: float
    error: float | None
    pooled: bool = False


@dataclasses.dataclass(frozen=True)
class Difference:
    """Treatment minus float32, positive where the treatment is better, over the folds that both have.

    `folds` says how many these are, `missing` how many folds of float32 the treatment lacks.
    """

    mean: float
    seed_error: float | None
    fold_error: float | None
    folds: int
    missing: int

    @property
    def error(self):
        """The standard error that decides; None where none is known."""
        known = [error for error in (self.seed_error, self.fold_error) if error is not None]
        return max(known) if known else None


class Treatment:
    """All results of one treatment in an experiment: folds of seeds.

    Attributes
    ----------
    name : str
        `Row.treatment`.
    rows : list of (Row, dict)
    diverged : int
        Rows without a score.
    """

    def __init__(self, name, rows):
        self.name = name
        self.rows = rows
        self.diverged = sum(result["score"] is None for _, result in rows)

    @property
    def method(self):
        return self.rows[0][0].method

    @property
    def folds(self):
        return sorted({row.variant for row, _ in self.rows})

    @property
    def seeds(self):
        return sorted({row.seed for row, _ in self.rows})

    def values(self, fold, key="score"):
        """Scores of a fold's seeds, without those that diverged: float array."""
        found = [result[key] for row, result in self.rows if row.variant == fold]
        return np.array([value for value in found if value is not None], float)

    def variance(self):
        """Variance of one run, pooled over the folds; None where no fold has two seeds."""
        groups = [self.values(fold) for fold in self.folds]
        freedom = sum(max(0, len(group) - 1) for group in groups)
        if not freedom:
            return None
        return sum(float(np.sum((group - group.mean()) ** 2)) for group in groups if len(group)) / freedom

    def estimate(self, folds=None, key="score", fallback=None):
        """Mean over the folds of the mean over their seeds.

        Parameters
        ----------
        folds : list of str, optional
            All by default.
        key : str
        fallback : float, optional
            Variance of one run, where there is none of the treatment's own.

        Returns
        -------
        Estimate or None
            None: no score in one of the folds.
        """
        groups = [self.values(fold, key) for fold in folds or self.folds]
        if not groups or not all(map(len, groups)):
            return None
        own = self.variance()
        variance = fallback if own is None else own
        mean = float(np.mean([group.mean() for group in groups]))
        if variance is None:
            return Estimate(mean, None)
        error = math.sqrt(sum(variance / len(group) for group in groups)) / len(groups)
        return Estimate(mean, error, own is None)

    def mean(self, key):
        """Mean of a field over all rows."""
        return float(np.mean([result[key] for _, result in self.rows]))

    def total(self, key):
        """Sum of a field over all rows."""
        return sum(result[key] for _, result in self.rows)


class Experiment:
    """What is compared with each other.

    Attributes
    ----------
    task, network : str
    variant : str or None
        None for a task of folds.
    metric : str
    treatments : dict of str to Treatment
        float32 first.
    """

    def __init__(self, key, rows):
        self.task, self.variant, self.network = key
        self.metric = rows[0][1]["metric"]
        found = collections.defaultdict(list)
        for row, result in rows:
            found[row.treatment].append((row, result))
        self.treatments = {
            name: Treatment(name, sorted(found[name], key=lambda item: (item[0].variant, item[0].seed)))
            for name in sorted(found, key=_rank)
        }

    @property
    def name(self):
        return f"{self.task}, {self.variant}" if self.variant else self.task

    @property
    def folds(self):
        return sorted({fold for treatment in self.treatments.values() for fold in treatment.folds})

    @property
    def baseline(self):
        """The float32 runs; None where there are none."""
        return self.treatments.get(BASELINE)

    @property
    def variance(self):
        """Of one float32 run; None where it is unknown."""
        return self.baseline.variance() if self.baseline else None

    def estimate(self, name, folds=None, key="score"):
        """Estimate or None of a treatment's score."""
        return self.treatments[name].estimate(folds, key, self.variance)

    def difference(self, name, other=BASELINE):
        """Difference or None of two treatments, over the folds that both have."""
        if name not in self.treatments or other not in self.treatments or name == other:
            return None
        ours, theirs = self.treatments[name], self.treatments[other]
        folds = [f for f in ours.folds if f in theirs.folds and len(ours.values(f)) and len(theirs.values(f))]
        if not folds:
            return None
        a, b = self.estimate(name, folds), self.estimate(other, folds)
        sign = 1 if METRICS[self.metric] else -1
        seed_error = None if a.error is None or b.error is None else math.hypot(a.error, b.error)
        by_fold = [sign * (ours.values(fold).mean() - theirs.values(fold).mean()) for fold in folds]
        fold_error = float(np.std(by_fold, ddof=1) / math.sqrt(len(folds))) if len(folds) > 1 else None
        missing = len(theirs.folds) - len(folds)
        return Difference(float(np.mean(by_fold)), seed_error, fold_error, len(folds), missing)


def _rank(treatment):
    starts = [
        i for i, method in enumerate(_ORDER) if treatment == method or treatment.startswith(method + "-")
    ]
    longest = max(starts, key=lambda i: len(_ORDER[i]), default=len(_ORDER))
    return longest, len(treatment), treatment


def experiments(results):
    """Sort results into experiments.

    Parameters
    ----------
    results : list of (Row, dict)

    Returns
    -------
    list of Experiment
        In the order in which their first rows come.
    """
    found = {}
    for row, result in results:
        key = (row.task, None if row.task in FOLD_TASKS else row.variant, row.network)
        found.setdefault(key, []).append((row, result))
    return [Experiment(key, rows) for key, rows in found.items()]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What an experiment says of a finding: "holds", "does not hold", or "open"."""

    finding: str
    experiment: Experiment
    treatment: str
    verdict: str
    difference: Difference | None


def _matches(difference, metric):
    if difference.mean <= -FAILURE[metric]:
        return "does not hold"
    if difference.error is None or difference.missing:
        return "open"
    if difference.mean >= -difference.error:
        return "holds"
    return "open" if difference.mean >= -2 * difference.error else "does not hold"


def _fails(difference, metric):
    return "holds" if difference.mean <= -FAILURE[metric] else "does not hold"


def _works(difference, metric):
    return "holds" if difference.mean > -FAILURE[metric] else "does not hold"


def _is_plain(row):
    return row.normalization == "none"


# Finding, rows that it is about, what decides. None as the difference: training diverged.
_FINDINGS = (
    ("ternary matches or beats float32", lambda row: row.method == "ternary", _matches),
    ("pow2-ternary matches or beats float32", lambda row: row.method == "pow2-ternary", _matches),
    ("exponential matches or beats float32", lambda row: row.method == "exponential", _matches),
    ("plain binary (+-1) fails", lambda row: row.method == "binary" and _is_plain(row), _fails),
    ("normalized binary works", lambda row: row.method == "binary" and not _is_plain(row), _works),
)


def verdicts(found):
    """What the experiments say of the paper's findings.

    Parameters
    ----------
    found : list of Experiment

    Returns
    -------
    list of Verdict
        Finding by finding. What was not measured, or has no float32 runs beside it, is absent.
    """
    said = []
    for finding, about, decide in _FINDINGS:
        for experiment in found:
            for name, treatment in experiment.treatments.items():
                if not about(treatment.rows[0][0]) or experiment.baseline is None:
                    continue
                difference = experiment.difference(name)
                if difference is not None:
                    verdict = decide(difference, experiment.metric)
                elif treatment.diverged == len(treatment.rows):
                    verdict = "holds" if decide is _fails else "does not hold"
                else:
                    continue
                said.append(Verdict(finding, experiment, name, verdict, difference))
    return said


def row_error(row, results):
    """Standard deviation of one run of a row's treatment in its fold, or in its experiment; None where unknown.

    Parameters
    ----------
    row : Row
    results : list of (Row, dict)
    """
    for experiment in experiments(results):
        for treatment in experiment.treatments.values():
            if any(other.name == row.name for other, _ in treatment.rows):
                own = treatment.variance()
                variance = experiment.variance if own is None else own
                return None if variance is None else math.sqrt(variance)
    return None
