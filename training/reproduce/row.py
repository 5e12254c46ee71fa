# SPDX-License-Identifier: MIT
"""A row of the grid: one network to train, what is known of it before, and what must be known of it after."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

# report(step, steps, {"loss": ..., "dev": ...}): how far a training is; cheap, called as often as the task likes.
Report = Callable[[int, int, dict[str, float]], None]

# Metrics, and whether more of it is better.
METRICS = {"accuracy": True, "bits per character": False, "label error rate": False}


@dataclasses.dataclass(frozen=True)
class Row:
    """One network of the grid. Everything that decides what is trained stands here; ``budget`` is the task's own.

    ``variant`` names the part of the task's data: the speaker left out, the text, the transcripts.
    ``budget`` is a flat dict of what JSON holds ({"steps": 2000, "batch": 32}); it is not part of the name, so a
    grid has one budget for each name. Its "steps" are what ``--steps`` replaces.
    """

    task: str
    variant: str
    cell: str = "gru"
    units: tuple[int, ...] = (200,)
    method: str = "ternary"
    stochastic: bool = False
    normalization: str = "none"
    learned_scale: bool = False
    quantize_biases: bool = False
    seed: int = 0
    budget: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def network(self) -> str:
        """Cell and layers: "gru200", "lstm300x200"."""
        return self.cell + "x".join(map(str, self.units))

    @property
    def treatment(self) -> str:
        """How the weights are quantized, all of it: "ternary", "binary-weightnorm", "ternary-stochastic-biases"."""
        parts = [self.method]
        parts += ["stochastic"] * self.stochastic
        parts += [f"{self.normalization}norm"] * (self.normalization != "none")
        parts += ["scaled"] * self.learned_scale
        parts += ["biases"] * self.quantize_biases
        return "-".join(parts)

    @property
    def name(self) -> str:
        """Unique in its grid and safe as a folder's name: "digits-theo-gru200-ternary-s0"."""
        return f"{self.task}-{self.variant}-{self.network}-{self.treatment}-s{self.seed}"

    def as_json(self) -> dict[str, Any]:
        """The row as what JSON holds; :meth:`from_json` gives it back."""
        return dataclasses.asdict(self) | {"units": list(self.units)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Row":
        return cls(**{**fields, "units": tuple(fields["units"])})


# What `train` of a task returns: name to (type, what it is). A float may be None where training diverged.
RESULT = {
    "metric": (str, "one of METRICS"),
    "score": (float, "on the test split, by torch"),
    "packed_score": (float, "on the test split, by the C runtime with the packed file"),
    "decisions": (int, "of the test split: utterances, characters, labels"),
    "differing": (int, "decisions on which torch and the C runtime differ"),
    "exact_checked": (int, "decisions of edge_runtime.reference compared with the C runtime's"),
    "exact_differing": (int, "of these, differing"),
    "dev_score": (float, "on the dev split, by torch"),
    "bytes": (int, "of the packed file"),
    "float_bytes": (int, "of the same network's parameters in float32"),
    "bits_per_weight": (float, "of the quantized matrices, as packed"),
    "zeros": (float, "share of zeros among the quantized weights"),
    "seconds": (float, "of training, over all the times it was resumed"),
    "steps": (int, "of the optimizer"),
    "curve": (list, "[[step, training loss, dev score], ...]"),
    "spectral_norm": (list, "[[step, greatest norm of the effective recurrent matrices], ...]"),
    "histograms": (
        dict,
        '{"before": {matrix: [counts, edges]}, "after": ...}: Network.histograms() of both times',
    ),
}


def checked(result: dict[str, Any]) -> dict[str, Any]:
    """A task's result as what JSON holds: numbers of NumPy and torch to Python's, those not finite to None.

    Raises
    ------
    ValueError
        A field is missing or of another type; the message names the field. Further fields are kept.
    """
    plain = _plain(result)
    for name, (kind, meaning) in RESULT.items():
        if name not in plain:
            raise ValueError(f"result lacks {name} ({meaning})")
        value = plain[name]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            plain[name] = value = float(value)
        if not (isinstance(value, kind) or (value is None and kind is float)) or isinstance(value, bool):
            raise ValueError(f"result's {name} ({meaning}) is {value!r}, not {kind.__name__}")
    if plain["metric"] not in METRICS:
        raise ValueError(f"result's metric is {plain['metric']!r}, not one of {', '.join(METRICS)}")
    return plain


def _plain(value):
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def check_name(row: Row) -> None:
    """Raise ValueError where the row's name is no plain folder name."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", row.name):
        raise ValueError(f"row {row.name!r}: its name must be of a-z, 0-9 and _.-")
