# SPDX-License-Identifier: MIT
"""Published figures beside which the grid's stand. Not on the same footing unless it says so: sizes, data and time differ.

Sources: Hou, Zhu, Kwok, Gao, Qin, Liu, "Normalization Helps Training of Quantized LSTM", NeurIPS 2019, poster in
github.com/houlu369/Normalized-Quantized-LSTM (one layer of 512 units, 200 epochs of windows of 100 characters). The
tables of Ott et al. 2016 could not be had; its findings are those that `summary` decides.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Figure:
    """A published score, and the rows that it stands beside."""

    task: str
    variant: str
    network: str
    treatment: str
    score: float
    bytes: int | None
    source: str


def _hou(text, figures):
    return [
        Figure("characters", text, "lstm512", treatment, score, kilobytes * 1000, "Hou et al. 2019")
        for treatment, score, kilobytes in figures
    ]


FIGURES = (
    *_hou(
        "warandpeace",
        [
            ("float", 1.72, 4800),
            ("binary", 4.24, 158),
            ("binary-weightnorm", 1.74, 174),
            ("binary-batchnorm", 1.72, 222),
            ("ternary", 6.35, 308),
            ("ternary-weightnorm", 1.72, 324),
            ("ternary-batchnorm", 1.70, 372),
        ],
    ),
    *_hou(
        "ptb",
        [
            ("float", 1.45, 4504),
            ("binary", 2.51, 149),
            ("binary-weightnorm", 1.50, 165),
            ("binary-batchnorm", 1.51, 213),
            ("ternary", 5.84, 289),
            ("ternary-weightnorm", 1.42, 305),
            ("ternary-batchnorm", 1.44, 353),
        ],
    ),
)

# What else is known of a task: (task, system, score, source). Other recordings are trained on.
OTHERS = (
    (
        "digits",
        "hidden Markov models of five speakers' recordings, heard by the sixth",
        0.756,
        "github.com/krishdange27/spoken-digit-recognition-gmm-hmm",
    ),
)

# Characters that a network was trained on, all epochs together: 200 of those of the training part.
PRESENTED = {("characters", "warandpeace"): 520_000_000, ("characters", "ptb"): 1_003_000_000}


def share_of_training(row):
    """How much of the literature's training a row has, by what was presented to it; None where that is unknown."""
    theirs = PRESENTED.get((row.task, row.variant))
    if theirs is None or not {"steps", "batch", "window"} <= set(row.budget):
        return None
    return row.budget["steps"] * row.budget["batch"] * row.budget["window"] / theirs
