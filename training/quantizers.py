# SPDX-License-Identifier: MIT
"""Weight quantizers: float masters in, few levels out, straight-through gradient.

Training keeps a float *master* of every weight, clipped to [-w0, w0] after each step of the optimizer. The network
uses the master's level; the gradient with respect to the level is applied to the master unchanged (straight-through
estimator). Weights are quantized once per training step, never per time step.

The rules are those of J. Ott, Z. Lin, Y. Zhang, S.-C. Liu, Y. Bengio, "Recurrent Neural Networks With Limited
Numerical Precision", arXiv:1608.06902, section 2, as its released code has them. Each rule is deterministic, or
stochastic if it is given random numbers `draw`, uniform in [0, 1) and of the weights' shape. `METHODS` names what a
network of `training.recurrent` can be trained with; `Quantizer` is what the exact-integer network of
`training.network` uses.
"""

import math
from dataclasses import dataclass

import torch

ENCODINGS = ("binary", "ternary", "pow2")

#: Largest integer weight of an encoding; it stands for w0.
LARGEST = {"binary": 1, "ternary": 1, "pow2": 64}

OCTAVES = 14  #: of the magnitudes of "exponential": as many as two planes of the encoding pow2 hold


def binarize(ratio, draw=None):
    """BinaryConnect (Courbariaux et al. 2015; paper, section 2.1).

    Levels -1, +1. Deterministic: the sign, +1 for zero. Stochastic: +1 with probability (ratio + 1) / 2, so that the
    expected level is the ratio. Gradient: identity.

    Parameters
    ----------
    ratio : float tensor
        Masters over w0; beyond ±1 they count as ±1.
    draw : float tensor, same shape, optional

    Returns
    -------
    float tensor, same shape
    """
    positive = ratio >= 0 if draw is None else draw < (ratio + 1) / 2
    return positive.to(ratio.dtype) * 2 - 1


def ternarize(ratio, draw=None):
    """TernaryConnect (Lin et al. 2015; paper, section 2.1).

    Levels -1, 0, +1. Deterministic: 0 below 1/2 in magnitude. Stochastic: nonzero, with the sign of the master, with
    probability |ratio|. Gradient: identity. The paper's w0 is Glorot's bound: it keeps products as large as those of
    unquantized weights.

    Parameters and result as of `binarize`.
    """
    size = ratio.abs()
    return ratio.sign() * (size >= 0.5 if draw is None else draw < size)


def pow2_ternarize(weights, integer_bits=0, fractional_bits=1):
    """Dual-copy rounding to the fixed-point numbers Qm.f (Stromatias et al. 2015; paper, section 2.2).

    Levels: multiples of 2^-f, at most 2^m - 2^-f in magnitude; Q0.1 has -1/2, 0, +1/2. Deterministic: the nearest,
    halves to even; the paper has no stochastic rule. Gradient: identity.

    Parameters
    ----------
    weights : float tensor
        Masters themselves: levels do not depend on a w0.
    integer_bits, fractional_bits : int
        m and f.
    """
    bound = 2.0**integer_bits - 2.0**-fractional_bits
    return torch.round(weights * 2.0**fractional_bits).mul(2.0**-fractional_bits).clamp(-bound, bound)


def exponentiate(weights, highest, octaves=OCTAVES, draw=None):
    """Exponential quantization (paper, section 2.3).

    Levels ±2^k, k from highest - octaves + 1 to highest, without zero (the paper's k, -22 to 9, exceeds what clipped
    masters can reach; fourteen octaves hold all but what is below 2^-13 of the largest). Deterministic: up from 2^k to
    2^(k+1) if |w| is above 1.5 * 2^k. Stochastic: up with probability |w| / 2^k - 1, so that the expected level is the
    master. Gradient: identity.

    Parameters
    ----------
    weights : float tensor
        Masters themselves.
    highest, octaves : int
    draw : float tensor, same shape, optional
    """
    size = weights.abs().clamp(min=2.0 ** (highest - octaves + 1))
    lower = torch.exp2(torch.floor(torch.log2(size)))
    rest = size / lower - 1
    level = torch.where(rest > 0.5 if draw is None else draw < rest, 2 * lower, lower)
    return torch.where(weights < 0, -level, level).clamp(-(2.0**highest), 2.0**highest)


def octaves_or_zero(ratio, draw=None):
    """Exponential quantization that fits four bits a weight: 0 and seven octaves.

    Levels 0, ±1, ±2, ±4 ... ±64, in units of w0 / 64. Deterministic: the nearest exponent, log2 rounded half up; 0
    below half the smallest level. Stochastic: the upper of the two neighboring levels with the probability that makes
    the master the expected value. Gradient: identity.

    Parameters and result as of `binarize`.
    """
    level = ratio.abs() * LARGEST["pow2"]
    exponent = torch.log2(level.clamp(min=0.25))
    if draw is None:
        value = torch.where(level < 0.5, 0.0, torch.exp2(torch.floor(exponent + 0.5).clamp(0, 6)))
    else:
        lower = torch.where(level < 1, 0.0, torch.exp2(torch.floor(exponent)))
        upper = torch.where(level < 1, 1.0, 2 * lower)
        value = torch.where(draw * (upper - lower) < level - lower, upper, lower)
        value = value.clamp(max=LARGEST["pow2"])
    return ratio.sign() * value


_RULES = {"binary": binarize, "ternary": ternarize, "pow2": octaves_or_zero}


class _StraightThrough(torch.autograd.Function):
    # `masters + (levels - masters).detach()` without its passes over all weights.
    @staticmethod
    def forward(ctx, levels, masters):
        return levels.view_as(levels)

    @staticmethod
    def backward(ctx, grad):
        return None, grad


def straight_through(levels, masters):
    """Return the levels' values with the masters' gradient."""
    return _StraightThrough.apply(levels, masters)


def glorot_bound(fan_in, fan_out):
    """Return sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    return math.sqrt(6 / (fan_in + fan_out))


@dataclass(frozen=True)
class WeightMethod:
    """How a matrix of a network of `training.recurrent` is quantized.

    Attributes
    ----------
    rule : str
        "float", "binary", "ternary", "pow2" or "exponential".
    bound : float or None
        Value of the largest level, w0, to which masters are clipped; None: Glorot's bound.
    reach : float or None
        New masters are uniform within ± this; None: within Glorot's bound. Where this is below, or little above, the
        threshold of a ternary rule, most weights begin at zero, and stay there: sparsity is set here.
    source : str
    """

    rule: str
    bound: float | None = None
    reach: float | None = None
    source: str = ""

    @property
    def planes(self):
        """int : planes of the packed matrix."""
        return {"float": 8, "exponential": 2}.get(self.rule, 1)

    @property
    def encoding(self):
        """str : of the packed matrix."""
        return {"float": "ternary", "exponential": "pow2"}.get(self.rule, self.rule)

    @property
    def bits(self):
        """float : bits a weight, as packed; 32 of float."""
        return {"float": 32.0, "binary": 1.0, "ternary": 1.6, "pow2": 4.0, "exponential": 8.0}[self.rule]

    def levels(self, masters, w0, generator=None):
        """Quantize.

        Parameters
        ----------
        masters : float tensor
        w0 : float
            Of "exponential" a power of two.
        generator : torch.Generator, optional
            Draws; deterministic without.

        Returns
        -------
        float tensor, same shape
            Levels over w0, thus within ±1.
        """
        ratio = (masters.detach() / w0).clamp(-1, 1)
        if self.rule == "float":
            return ratio
        draw = None
        if generator is not None:
            draw = torch.rand(ratio.shape, generator=generator, device=ratio.device)
        if self.rule == "exponential":
            return exponentiate(ratio, 0, draw=draw)
        levels = _RULES[self.rule](ratio, draw)
        return levels if LARGEST[self.rule] == 1 else levels / LARGEST[self.rule]


METHODS = {
    "float": WeightMethod("float", source="baseline"),
    "binary": WeightMethod("binary", bound=1.0, source="BinaryConnect, H = 1; paper, section 2.1"),
    "binary-glorot": WeightMethod("binary", source="BinaryConnect, H = Glorot's bound"),
    "ternary": WeightMethod("ternary", source="TernaryConnect; paper, section 2.1"),
    # Masters spread over all of ±1/2 would put half of the weights there: gradients explode.
    "pow2-ternary": WeightMethod("ternary", bound=0.5, reach=0.28, source="Q0.1; paper, section 2.2"),
    "sparse": WeightMethod(
        "ternary", bound=0.25, reach=0.15, source="half of Q0.1; four of five weights zero"
    ),
    "exponential": WeightMethod("exponential", source="paper, section 2.3"),
    "pow2": WeightMethod("pow2", source="exponential in four bits, with zero"),
}


@dataclass(frozen=True)
class Quantizer:
    """How one matrix of the exact-integer network is quantized.

    Attributes
    ----------
    encoding : str
        "binary" (`binarize`), "ternary" (`ternarize`) or "pow2" (`octaves_or_zero`).
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
        draw = None
        if self.stochastic and generator is not None:
            draw = torch.rand(ratio.shape, generator=generator)
        return _RULES[self.encoding](ratio, draw).to(torch.int8)


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
