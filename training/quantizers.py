# SPDX-License-Identifier: MIT
"""Weight quantizers: float masters in, small integers out, identity straight-through gradient.

Training keeps a float *master* of every weight, clipped to [-w0, w0] after each step. The network
uses `Quantizer.integers(master)` times a step `Quantizer.step(w0)`; the gradient with respect to
the quantized weight is applied to the master unchanged (straight-through estimator).

The rules are those of J. Ott, Z. Lin, Y. Zhang, S.-C. Liu, Y. Bengio, "Recurrent Neural Networks
With Limited Numerical Precision", arXiv:1608.06902, section 2; weights are quantized once per
training step, never per time step.
"""

from dataclasses import dataclass

import torch

ENCODINGS = ("binary", "ternary", "pow2")

#: Largest integer weight of an encoding; it stands for w0.
LARGEST = {"binary": 1, "ternary": 1, "pow2": 64}


@dataclass(frozen=True)
class Quantizer:
    """How one matrix is quantized.

    Attributes
    ----------
    encoding : str
        - `binary`, levels -1, +1 times w0 (BinaryConnect; paper, section 2.1).
          Deterministic: the sign, +1 for zero. Stochastic: +1 with probability
          (master / w0 + 1) / 2. Gradient: identity.
        - `ternary`, levels -1, 0, +1 times w0 (TernaryConnect; section 2.1).
          Deterministic: 0 below w0 / 2 in magnitude. Stochastic: nonzero, with the sign of the
          master, with probability |master| / w0. Gradient: identity.
        - `pow2`, levels 0, ±1, ±2, ±4 ... ±64 times w0 / 64 (exponential quantization; section 2.2).
          Deterministic: the nearest exponent, log2 rounded half up; 0 below half the smallest
          level. Stochastic: the upper of the two neighboring exponents with probability
          |master| / lower - 1, so that the expected value is the master. Gradient: identity.
    stochastic : bool
        Draw the level instead of rounding. Only in training: an exported network is deterministic.
    """

    encoding: str
    stochastic: bool = False

    def __post_init__(self):
        if self.encoding not in ENCODINGS:
            raise ValueError(f"encoding {self.encoding!r}: expected one of {', '.join(ENCODINGS)}")

    def step(self, w0):
        """Return the value of the integer weight 1."""
        return w0 / LARGEST[self.encoding]

    def integers(self, master, w0, generator=None):
        """Quantize.

        Parameters
        ----------
        master : float32 tensor, any shape
            Values beyond ±w0 count as ±w0.
        w0 : float
        generator : torch.Generator, optional
            Makes the stochastic rule draw (and only if `stochastic`); deterministic without.

        Returns
        -------
        int8 tensor, same shape
        """
        ratio = (master.detach() / w0).clamp(-1, 1)
        size = ratio.abs()
        draw = None
        if self.stochastic and generator is not None:
            draw = torch.rand(ratio.shape, generator=generator)
        if self.encoding == "binary":
            positive = ratio >= 0 if draw is None else draw < (ratio + 1) / 2
            return positive.to(torch.int8) * 2 - 1
        if self.encoding == "ternary":
            nonzero = size >= 0.5 if draw is None else draw < size
            return (ratio.sign() * nonzero).to(torch.int8)
        level = size * LARGEST["pow2"]
        floor_of = torch.floor(torch.log2(level.clamp(min=0.25)))
        if draw is None:
            exponent = torch.floor(torch.log2(level.clamp(min=0.25)) + 0.5)
            value = torch.where(level < 0.5, 0.0, torch.exp2(exponent.clamp(0, 6)))
        else:
            lower = torch.where(level < 1, 0.0, torch.exp2(floor_of))
            upper = torch.where(level < 1, 1.0, 2 * lower)
            value = torch.where(draw * (upper - lower) < level - lower, upper, lower)
            value = value.clamp(max=LARGEST["pow2"])
        return (ratio.sign() * value).to(torch.int8)


@dataclass(frozen=True)
class RowScale:
    """The scale of a whole matrix as FORMAT.md stores it (N3, N4): acc * 2^left_shift, then a sum of
    one or two right shifts of it. The scales chosen here lose no bit: no right shift exceeds the left shift.

    Attributes
    ----------
    left_shift : int
    shifts : tuple of int
        One or two right shifts, both positive terms.
    """

    left_shift: int
    shifts: tuple

    @property
    def units(self):
        """int: what one unit of the accumulator adds to the pre-activation, in units of 2^-11."""
        return sum(1 << (self.left_shift - k) for k in self.shifts)

    @property
    def codes(self):
        """The two bytes of a row (FORMAT.md, section 5.2)."""
        return (*(0x80 | k for k in self.shifts), 0)[:2]


def nearest_scale(units):
    """Return the row scale nearest to `units` (of 2^-11 per unit of the accumulator).

    Parameters
    ----------
    units : float
        At least 2/3; wanted scale.

    Returns
    -------
    RowScale
        With one term if that is as near as two. The first term does not shift, and the left shift
        is 15 at most.
    """
    candidates = [RowScale(left, (0,)) for left in range(16)]
    candidates += [RowScale(left, (0, k)) for left in range(16) for k in range(1, left + 1)]
    return min(candidates, key=lambda scale: (abs(scale.units - units), len(scale.shifts)))
