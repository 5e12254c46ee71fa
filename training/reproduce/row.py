# SPDX-License-Identifier: MIT
"""A row of the grid: one network to train, and what is known of it before it is trained."""

import dataclasses
from collections.abc import Callable
from typing import Any

# report(step, steps, {"loss": ..., "dev": ...}): how far a training is; cheap, called as often as the task likes.
Report = Callable[[int, int, dict[str, float]], None]


@dataclasses.dataclass(frozen=True)
class Row:
    """One network of the grid. Everything that decides what is trained stands here; ``budget`` is the task's own.

    ``variant`` names the part of the task's data: the speaker left out, the text, the transcripts.
    ``budget`` is a flat dict of what JSON holds ({"steps": 2000, "batch": 32}); it is not part of the name, so a
    grid has one budget for each name.
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
