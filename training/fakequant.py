# SPDX-License-Identifier: MIT
"""The integers of the packed model, inside a differentiable network.

The forward pass computes exactly the numbers of FORMAT.md, section 7 (rule numbers in comments), on
float32 tensors that hold integers: all stay below 2^24, where binary32 is exact. The matrix
products themselves are int8. The backward pass is that of the real-valued network at the quantized
values; roundings pass the gradient unchanged (straight-through).

Tensors are time-major: [shape=(steps, batch, size)].
"""

import functools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from edge_runtime import reference

PRE_UNIT = 2.0**-11  # of pre-activations and logits
STATE_UNIT = 2.0**-15  # of h
TANH_END = 8191  # |pre-activation| beyond which tanh stays
SIGMOID_END = 16383


@functools.cache
def tanh_table():
    """tanh of every pre-activation -8191 .. 8191 (N13): float32 [shape=(16383,)], units of 2^-15."""
    return torch.from_numpy(reference.tanh(np.arange(-TANH_END, TANH_END + 1))).float()


@functools.cache
def sigmoid_table():
    """(b + 1) / 256 of every pre-activation -16383 .. 16383 (N14): float32 [shape=(32767,)]."""
    b = reference.sigmoid(np.arange(-SIGMOID_END, SIGMOID_END + 1))
    return torch.from_numpy(b + 1).float() / 256


@dataclass(frozen=True)
class Operand:
    """Operand rule of a matrix (N1).

    Attributes
    ----------
    clamp, shift : int
    three_quarters : bool
    value_unit : float
        Real value of the integer 1 of the matrix's input.
    """

    clamp: int
    shift: int
    three_quarters: bool
    value_unit: float

    @property
    def unit(self):
        """float: real value of the operand 1."""
        return self.value_unit * 2**self.shift / (0.75 if self.three_quarters else 1)

    def of(self, value, out=None):
        """Return the operands of integer values: float32 in, float32 out, same shape.

        t = v - (v >> 2) is ceil(3 v / 4), so the rounding shift of it is one floor:
        floor((ceil(3v/4) + 2^(s-1)) / 2^s) = floor((3v + 3 + 2^(s+1)) / 2^(s+2)), as 3v/4 is a
        multiple of 1/4.
        """
        if self.three_quarters:
            gain = 0.75 * 2.0**-self.shift
            half = 0.75 * 2.0**-self.shift + (0.5 if self.shift else 0)
        else:
            gain = 2.0**-self.shift
            half = 0.5 if self.shift else 0.0
        u = torch.mul(value, gain, out=out).add_(half).floor_()
        if 32767 * gain + half < self.clamp + 1 and half - 32768 * gain >= -self.clamp:
            return u  # no int16 value reaches the clamp
        return u.clamp_(-self.clamp, self.clamp)


@dataclass
class MatrixIntegers:
    """One quantized matrix in use.

    Attributes
    ----------
    weights : int8 tensor [shape=(rows, columns)]
    bias : float32 tensor [shape=(rows,)]
        Integers, units of 2^-11, within int16.
    scale : training.quantizers.RowScale
    operand : Operand
    """

    weights: torch.Tensor
    bias: torch.Tensor
    scale: object
    operand: Operand

    def __post_init__(self):
        if any(k > self.scale.left_shift for k in self.scale.shifts):
            raise ValueError("row scale: a right shift exceeds the left shift; sums would be rounded")
        rows = self.weights.abs().sum(1, dtype=torch.int32) * self.operand.clamp
        #: the largest value v of N3 before saturation, and the largest magnitude of an output
        self.largest = int(rows.max()) << self.scale.left_shift
        self.largest_output = int((rows * self.scale.units + self.bias.abs()).max())

    @property
    def real_step(self):
        """float: what weight 1 times a real input of 1 adds to a real pre-activation."""
        return self.scale.units * PRE_UNIT / self.operand.unit

    def output(self, acc, gain=1.0):
        """Matrix outputs (N3 to N5) of float32 accumulators, units of 2^-11; `gain` is that of dropout.

        Because no right shift exceeds the left shift, the terms add up to acc * scale.units without
        rounding, and the saturation of N3 only matters where the outputs do not saturate with it.
        """
        if self.largest > 32767 and not self.saturates_together:
            v = (acc * 2.0**self.scale.left_shift).clamp_(-32768, 32767)
            terms = sum(torch.floor(v * 2.0**-k) for k in self.scale.shifts)
            return (terms * gain).add_(self.bias).clamp_(-32768, 32767)
        return torch.add(self.bias, acc, alpha=self.scale.units * gain).clamp_(-32768, 32767)

    @functools.cached_property
    def saturates_together(self):
        """bool: the output is at its limit wherever v of N3 is, whatever the bias adds."""
        terms = sum(32767 >> k for k in self.scale.shifts)
        return terms - int(self.bias.abs().max()) >= 32767


class GruSequence(torch.autograd.Function):
    """A GRU layer over a whole sequence (N9, reset after the product), gates in order r, z, n.

    Forward: integers. Backward: back-propagation through time written out, one matrix product per
    step, weight gradients as one product at the end, all products in `product_dtype`.
    """

    @staticmethod
    def forward(
        ctx, x, weight_x, weight_h, bias_x, bias_h, mx, mh, operands, mask, gain, shared, start, product_dtype
    ):
        """Run the layer.

        Parameters
        ----------
        x : float32 tensor [shape=(steps, batch, input_size)]
            Integer inputs. Only their gradient is of interest here: the values enter as `operands`.
        weight_x, weight_h : float32 tensors [shape=(3 * units, columns)]
            Real-valued masters; receive the gradients.
        bias_x, bias_h : float32 tensors [shape=(3 * units,)]
            Real-valued masters; receive the gradients.
        mx, mh : MatrixIntegers
            What W_x and W_h are.
        operands : int8 tensor [shape=(steps, batch, input_size)]
            Operands of W_x, of x (zero where dropped).
        mask : int8 tensor [shape of operands] or None
            Dropout: 0 where an operand was dropped.
        gain : Fraction
            Of W_x under dropout, else 1; times the scale of W_x it is a whole number.
        shared : bool
            SHARED_SCALE (N6).
        start : float32 tensor [shape=(batch, units)] or None
            Integer states to start from; zero by default. No gradient flows into them.
        product_dtype : torch.dtype
            Of the products of the backward pass.

        Returns
        -------
        h : float32 tensor [shape=(steps, batch, units)]
            Integer states, units of 2^-15.
        u : int8 tensor [shape=(1 + steps, batch, units)]
            Their operands by the rule of W_h, those of the initial state first.
        """
        steps, batch, _ = operands.shape
        units = mh.weights.shape[1]
        if shared:
            # The sums of r and z are added before N3: with equal scales only the saturations differ,
            # which sigmoid hides unless a bias brings a saturated sum back below its end.
            terms = sum(32767 >> k for k in mx.scale.shifts)
            biases = int((mx.bias + mh.bias)[: 2 * units].abs().max())
            if mx.scale != mh.scale or terms - biases < SIGMOID_END:
                raise ValueError("SHARED_SCALE: scales differ, or a bias is beyond what this pass handles")
        product_x = _Product(mx, gain, batch, 2 * units if shared else 0)
        product_h = _Product(mh, Fraction(1), batch, 2 * units if shared else 0)
        tanh, sigmoid = tanh_table(), sigmoid_table()

        # Index 0 holds the initial state, so that slice t is what step t starts from.
        h_all = torch.empty(steps + 1, batch, units)
        u_all = torch.empty(steps + 1, batch, units, dtype=torch.int8)
        h_all[0] = 0 if start is None else start
        u_all[0] = mh.operand.of(h_all[0])
        rz_all = torch.empty(steps, 2, batch, units)
        n_all = torch.empty(steps, batch, units)
        ahn_all = torch.empty(steps, batch, units)

        # Views are made once: each would cost about as much as an operation on a step.
        rz_flat, r_list = rz_all.view(steps, -1).unbind(0), rz_all[:, 0].unbind(0)
        z_list, n_list = rz_all[:, 1].unbind(0), n_all.unbind(0)
        n_flat, ahn_list = n_all.view(steps, -1).unbind(0), ahn_all.unbind(0)
        h_list, u_list, x_list = h_all.unbind(0), u_all.unbind(0), operands.unbind(0)
        ax, ah = product_x.result, product_h.result
        ax_rz, ah_rz = (a[:, : 2 * units].view(batch, 2, units).permute(1, 0, 2) for a in (ax, ah))
        ax_n, ah_n = ax[:, 2 * units :], ah[:, 2 * units :]
        i_rz = torch.empty(2, batch, units, dtype=torch.int32)
        i_n = torch.empty(batch, units, dtype=torch.int32)
        i_rz_flat, i_n_flat = i_rz.view(-1), i_n.view(-1)
        s = torch.empty(batch, units)
        for t in range(steps):
            product_x.of(x_list[t])
            product_h.of(u_list[t])
            torch.add(ax_rz, ah_rz, out=i_rz)  # N6
            i_rz.add_(SIGMOID_END).clamp_(0, 2 * SIGMOID_END)
            torch.index_select(sigmoid, 0, i_rz_flat, out=rz_flat[t])
            torch.mul(ahn_list[t].copy_(ah_n), r_list[t], out=s).ceil_()  # N7
            i_n.copy_(s).add_(ax_n).add_(TANH_END).clamp_(0, 2 * TANH_END)
            torch.index_select(tanh, 0, i_n_flat, out=n_flat[t])
            h = torch.lerp(n_list[t], h_list[t], z_list[t], out=h_list[t + 1]).ceil_()  # N7, N9
            u_list[t + 1].copy_(mh.operand.of(h, out=s))

        ctx.save_for_backward(h_all, u_all, rz_all, n_all, ahn_all, operands)
        ctx.parts = (mx, mh, mask, float(gain), product_dtype)
        ctx.mark_non_differentiable(u_all)
        return h_all[1:], u_all

    @staticmethod
    def backward(ctx, grad_h, _):
        h_all, u_all, rz_all, n_all, ahn_all, operands = ctx.saved_tensors
        mx, mh, mask, gain, product_dtype = ctx.parts
        steps, batch, units = n_all.shape
        wh = (mh.weights.float() * mh.real_step).to(product_dtype)
        # Gradients with respect to the sums, in the order n of W_x, r, z, n of W_h: the first three
        # blocks belong to W_x, the last three to W_h.
        g_all = torch.empty(steps, batch, 4 * units, dtype=product_dtype)
        g = torch.empty(batch, 4 * units)
        g_n, g_r, g_z, g_hn = g.split(units, 1)
        dh = torch.zeros(batch, units)
        s, keep = torch.empty(batch, units), torch.empty(batch, units)
        product = torch.empty(batch, units, dtype=product_dtype)
        grad_list, g_list, gh_list = grad_h.unbind(0), g_all.unbind(0), g_all[..., units:].unbind(0)
        h_list, n_list, ahn_list = h_all.unbind(0), n_all.unbind(0), ahn_all.unbind(0)
        r_list, z_list = rz_all[:, 0].unbind(0), rz_all[:, 1].unbind(0)
        for t in range(steps - 1, -1, -1):
            r, z, n = r_list[t], z_list[t], n_list[t]
            dh.add_(grad_list[t], alpha=1 / STATE_UNIT)
            torch.mul(dh, z, out=keep)
            # g_z = dh (h - n) z (1 - z)
            torch.sub(h_list[t], n, out=s).mul_(STATE_UNIT).mul_(keep)
            torch.addcmul(s, s, z, value=-1, out=g_z)
            # g_n = dh (1 - z) (1 - n^2)
            dh.sub_(keep)
            torch.mul(n, n, out=s).mul_(dh)
            torch.sub(dh, s, alpha=STATE_UNIT**2, out=g_n)
            # g_hn = g_n r, g_r = g_n ah_n r (1 - r)
            torch.mul(g_n, r, out=s)
            g_hn.copy_(s)
            s.mul_(ahn_list[t]).mul_(PRE_UNIT)
            torch.addcmul(s, s, r, value=-1, out=g_r)
            g_list[t].copy_(g)
            torch.mm(gh_list[t], wh, out=product)
            torch.add(keep, s.copy_(product), out=dh)

        flat = g_all.view(steps * batch, 4 * units)
        g_x, g_h = flat[:, : 3 * units], flat[:, units:]
        d_wh, d_bias_h = _weight_gradient(g_h, u_all[:-1], mh.operand.unit, product_dtype)
        d_wx, d_bias_x = _weight_gradient(g_x, operands, mx.operand.unit * gain, product_dtype)
        d_x = None
        if ctx.needs_input_grad[0]:
            weights = mx.weights.float().mul_(mx.real_step * mx.operand.value_unit * gain).to(product_dtype)
            weights = torch.cat([weights[2 * units :], weights[: 2 * units]])
            d_x = torch.mm(g_x, weights).view(operands.shape)
            if mask is not None:
                d_x = d_x.mul_(mask)
            d_x = d_x.float()
        return d_x, _rzn(d_wx), d_wh, _rzn(d_bias_x), d_bias_h, *(None,) * 8


class _Product:
    """Outputs of one matrix (N2 to N5), step by step, into `result`: int32 [shape=(batch, rows)].

    Where the saturation of N3 changes nothing, the row scale is part of the int8 weights. The first `free`
    rows are not saturated: their sum with another matrix is.
    """

    def __init__(self, matrix, gain, batch, free):
        self.matrix = matrix
        units = gain * matrix.scale.units
        if units.denominator != 1:
            raise ValueError(f"gain {gain} of scale {matrix.scale.units}: not a whole number")
        self.units = int(units)
        # Under dropout nothing has to be exact.
        self.stepwise = gain == 1 and matrix.largest > 32767 and not matrix.saturates_together
        self.free = free
        factor = 1
        if not self.stepwise and self.units * int(matrix.weights.abs().max()) <= 127:
            factor, self.units = self.units, 1
        self.weights = (matrix.weights * factor).t().contiguous()
        self.bias = matrix.bias.to(torch.int32)
        self.result = torch.empty(batch, len(self.bias), dtype=torch.int32)
        self.saturated = self.result[:, free:] if matrix.largest_output > 32767 else None

    def of(self, operands):
        """Compute, of operands int8 [shape=(batch, columns)]."""
        a = torch._int_mm(operands, self.weights, out=self.result)
        if self.stepwise:
            v = (a[:, self.free :] << self.matrix.scale.left_shift).clamp_(-32768, 32767)
            a[:, self.free :] = sum(v >> k for k in self.matrix.scale.shifts)
            if self.free:
                a[:, : self.free].mul_(self.units)
        elif self.units != 1:
            a.mul_(self.units)
        a.add_(self.bias)
        if self.saturated is not None:
            self.saturated.clamp_(-32768, 32767)


def _weight_gradient(g, operands, unit, product_dtype):
    """Return the gradients of weights and bias.

    The bias is the weight of one more operand, 1. operands^T g is twice as fast as g^T operands.
    """
    count, columns = len(g), operands.shape[-1]
    u = torch.empty(count, columns + 1, dtype=product_dtype)
    u[:, :columns] = operands.reshape(count, columns)
    u[:, columns] = 1
    both = torch.mm(u.t(), g).float()
    return both[:columns].t().mul(unit), both[columns]


def _rzn(rows):
    """Reorder blocks of rows n, r, z to r, z, n."""
    units = len(rows) // 3
    return torch.cat([rows[units:], rows[:units]])


class DenseOutput(torch.autograd.Function):
    """A dense layer (N11, no activation): integer operands in, integers in units of 2^-11 out."""

    @staticmethod
    def forward(ctx, x, weight, bias, matrix, operands, mask, gain):
        """Parameters as in `GruSequence.forward`; returns float32 [shape=(steps, batch, rows)]."""
        steps, batch, columns = operands.shape
        acc = torch.mm(operands.reshape(-1, columns).float(), matrix.weights.float().t())
        ctx.save_for_backward(operands)
        ctx.parts = (matrix, mask, float(gain))
        return matrix.output(acc, float(gain)).view(steps, batch, -1)

    @staticmethod
    def backward(ctx, grad):
        (operands,) = ctx.saved_tensors
        matrix, mask, gain = ctx.parts
        g = grad.reshape(-1, grad.shape[-1]) / PRE_UNIT
        d_weight = torch.mm(g.t(), operands.reshape(len(g), -1).float()).mul_(matrix.operand.unit * gain)
        weights = matrix.weights.float().mul_(matrix.real_step * matrix.operand.value_unit * gain)
        d_x = torch.mm(g, weights).view(operands.shape)
        if mask is not None:
            d_x.mul_(mask)
        return d_x, d_weight, g.sum(0), None, None, None, None


class RoundInput(torch.autograd.Function):
    """The network's input (FORMAT.md, section 4), clamped to the operand of the first matrix (N1)."""

    @staticmethod
    def forward(ctx, x, scale, offset, clamp):
        """Parameters: float32 tensors [shape=(steps, batch, size)], [shape=(size,)] twice, and int."""
        q = torch.mul(x, scale).add_(offset).add_(0.5).floor_().clamp_(-clamp, clamp)
        ctx.save_for_backward(x, q)
        ctx.clamp = clamp
        return q

    @staticmethod
    def backward(ctx, grad):
        x, q = ctx.saved_tensors
        grad = grad * (q.abs() < ctx.clamp)
        return None, (grad * x).sum((0, 1)), grad.sum((0, 1)), None
