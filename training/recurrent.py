# SPDX-License-Identifier: MIT
"""Low-precision recurrent networks on the fast path: quantized once per step, run by PyTorch's own recurrent kernels.

Activations are float here, and finely quantized (numeric profile 2) in the packed model; weights are those of the
packed model exactly. `training.network` is the path whose activations are integers in training, too.

Row scales make `normalization` and `learned_scale` cost nothing at run time: they are folded into the shift-add
scales ±2^-a ± 2^-b of the model file, to which they are already rounded in training (straight-through).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from training.quantizers import METHODS, glorot_bound, straight_through

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
NORMALIZATIONS = ("none", "weight", "batch")
_REMEMBER = {"gru": 1, "lstm": 1}  # gate whose bias begins at +1, so that a new network remembers: z, f
_FINEST = 6  # of row scales, 1 ± 2^-6: then 2^7 may lie between the largest and the smallest of a matrix
_EPSILON = 1e-5
_MOMENTUM = 0.02  # of running statistics


@dataclass(frozen=True)
class NetworkSpec:
    """What a network is.

    Attributes
    ----------
    input_size, output_size : int
    cell : str
        "rnn" (tanh), "gru" (reset after the product) or "lstm".
    units : tuple of int
        Per recurrent layer.
    hidden : tuple of int
        Units of dense ReLU layers between the last recurrent layer and the output, quantized like it.
    method : str
        A key of `training.quantizers.METHODS`.
    stochastic : bool
        Draw weights in training; evaluation and export round.
    normalization : str
        "weight": every row of a recurrent layer's matrices is scaled to a learned length (Hou et al. 2019, "Normalization
        Helps Training of Quantized LSTM"). "batch": both products are normalized over the batch, with statistics
        shared by all steps (same paper; Cooijmans et al. 2016); a loop over time, and slower. "none".
    learned_scale : bool
        A learned power of two per row.
    quantize_biases : bool
        Biases of recurrent and hidden layers by the same method, as the paper has it.
    output_method : str
        Method of the output layer.
    dropout : float
        Of the input of every layer but the first.
    one_hot : bool
        Inputs are int64 codes.
    """

    input_size: int
    output_size: int
    cell: str = "gru"
    units: tuple = (200,)
    hidden: tuple = ()
    method: str = "ternary"
    stochastic: bool = False
    normalization: str = "none"
    learned_scale: bool = False
    quantize_biases: bool = False
    output_method: str = "float"
    dropout: float = 0.0
    one_hot: bool = False

    def __post_init__(self):
        for name, value, known in (
            ("cell", self.cell, GATES),
            ("method", self.method, METHODS),
            ("output_method", self.output_method, METHODS),
            ("normalization", self.normalization, NORMALIZATIONS),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r}: expected one of {', '.join(known)}")
        if self.normalization != "none" and (self.learned_scale or self.quantize_biases):
            raise ValueError("normalization: has row scales and biases of its own, which are learned")


class _NearestRowScale(torch.autograd.Function):
    """Positive scales rounded to 2^a, 2^a (1 + 2^-b) or 2^a (2 - 2^-b), none below 2^-7 of the largest's 2^a."""

    @staticmethod
    def forward(ctx, scale):
        mantissas = [1.0, *(1 + 2.0**-b for b in range(1, _FINEST + 1))]
        mantissas += [2 - 2.0**-b for b in range(2, _FINEST + 1)] + [2.0]
        table = torch.tensor(sorted(mantissas), device=scale.device)
        octave = torch.exp2(torch.floor(torch.log2(scale)))
        nearest = (scale / octave)[..., None].sub(table).abs().argmin(-1)
        rounded = octave * table[nearest]
        return rounded.clamp(min=torch.exp2(torch.floor(torch.log2(rounded.max()))) * 2.0**-7)

    @staticmethod
    def backward(ctx, grad):
        return grad


def nearest_row_scale(scale):
    """Round positive row scales of one matrix to what the model file can hold; the gradient is the identity."""
    return _NearestRowScale.apply(scale)


class LowPrecisionMatrix(nn.Module):
    """Masters of a matrix, its row scale and its bias.

    Parameters
    ----------
    rows, columns : int
    limit : float
        Glorot's bound, of a gate.
    method : training.quantizers.WeightMethod
    spec : NetworkSpec
    normalization : str
    """

    def __init__(self, rows, columns, limit, method, spec, normalization):
        super().__init__()
        self.method, self.stochastic, self.normalization = method, spec.stochastic, normalization
        self.w0 = float(method.bound or limit)
        if method.rule == "exponential":
            self.w0 = 2.0 ** round(np.log2(self.w0))
        elif method.rule != "float":
            self.w0 = float(nearest_row_scale(torch.tensor([self.w0])))
        reach = method.reach or min(limit, self.w0)
        self.weight = nn.Parameter(torch.empty(rows, columns).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.zeros(rows))
        self.bias_method = method if spec.quantize_biases else METHODS["float"]
        self.length = self.log2_scale = None
        if normalization == "weight":
            # New rows are as long as Glorot's float ones.
            self.length = nn.Parameter(torch.full((rows,), limit * (columns / 3) ** 0.5))
        elif normalization == "batch":
            self.length = nn.Parameter(torch.full((rows,), 0.1))
            self.register_buffer("mean", torch.zeros(rows))
            self.register_buffer("variance", torch.ones(rows))
        elif spec.learned_scale:
            self.log2_scale = nn.Parameter(torch.full((rows,), float(np.log2(self.w0))))

    def _levels(self, generator):
        return self.method.levels(self.weight, self.w0, generator if self.stochastic else None)

    def quantized(self, generator):
        """Return (levels, row scale, bias): float tensors, the row scale [shape=(rows,)] or a number.

        The effective matrix is levels * row scale. Under batch normalization, scale and bias are those of the running
        statistics.
        """
        if self.method.rule == "float":
            levels = self.weight / self.w0
        else:
            levels = straight_through(self._levels(generator), self.weight / self.w0)
        bias = self.bias
        if self.bias_method.rule != "float":
            drawn = self.bias_method.levels(bias, self.w0, generator if self.stochastic else None)
            bias = straight_through(drawn * self.w0, bias)
        if self.length is None:
            if self.log2_scale is None:
                return levels, self.w0, bias
            return levels, torch.exp2(straight_through(self.log2_scale.round(), self.log2_scale)), bias
        if self.normalization == "weight":
            norm = levels.norm(dim=1)
            scale = self.length / torch.where(norm > 0, norm, torch.ones_like(norm))
        else:
            scale = self.length / (self.variance + _EPSILON).sqrt()
        if self.method.rule != "float":
            scale = nearest_row_scale(scale.clamp(min=1e-6))
        if self.normalization == "batch":
            bias = bias - scale * self.mean
        return levels, scale, bias

    def normalize(self, products):
        """Batch normalization of products of the levels: [shape=(..., rows)]; updates the running statistics."""
        flat = products.flatten(0, -2)
        mean, variance = flat.mean(0), flat.var(0, unbiased=False)
        with torch.no_grad():
            self.mean.lerp_(mean, _MOMENTUM)
            self.variance.lerp_(variance, _MOMENTUM)
        scale = self.length / (variance + _EPSILON).sqrt()
        if self.method.rule != "float":
            scale = nearest_row_scale(scale)
        return (products - mean) * scale + self.bias

    @torch.no_grad()
    def clip(self):
        """Keep masters within ±w0, scales positive."""
        if self.method.rule != "float":
            self.weight.clamp_(-self.w0, self.w0)
            if self.length is not None:
                self.length.clamp_(min=1e-3)
        if self.bias_method.rule != "float":
            self.bias.clamp_(-self.w0, self.w0)


class Network(nn.Module):
    """A chain of recurrent layers, hidden layers and an output layer.

    Parameters
    ----------
    spec : NetworkSpec
    seed : int
        Of the initial masters.
    """

    def __init__(self, spec, seed=0):
        super().__init__()
        self.spec = spec
        method = METHODS[spec.method]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            size, gates = spec.input_size, GATES[spec.cell]
            recurrent = []
            for number, units in enumerate(spec.units):
                # A one-hot input adds one weight to a unit, whatever its size.
                one_hot = spec.one_hot and number == 0
                limit = glorot_bound(1, 1) if one_hot else glorot_bound(size, units)
                x = LowPrecisionMatrix(gates * units, size, limit, method, spec, spec.normalization)
                limit = glorot_bound(units, units)
                h = LowPrecisionMatrix(gates * units, units, limit, method, spec, spec.normalization)
                if spec.cell in _REMEMBER and not spec.quantize_biases:
                    gate = _REMEMBER[spec.cell]
                    with torch.no_grad():
                        x.bias[gate * units : (gate + 1) * units] = 1.0
                recurrent.append(nn.ModuleList([x, h]))
                size = units
            dense = []
            for units in spec.hidden:
                dense.append(LowPrecisionMatrix(units, size, glorot_bound(size, units), method, spec, "none"))
                size = units
            last = METHODS[spec.output_method]
            limit = glorot_bound(size, spec.output_size)
            dense.append(LowPrecisionMatrix(spec.output_size, size, limit, last, spec, "none"))
            dense[-1].bias_method = METHODS["float"]
        self.recurrent, self.dense = nn.ModuleList(recurrent), nn.ModuleList(dense)
        self.register_buffer("input_mean", torch.zeros(spec.input_size))
        self.register_buffer("input_deviation", torch.ones(spec.input_size))

    @torch.no_grad()
    def set_input_statistics(self, mean, deviation):
        """Set the affine of the input, (x - mean) / deviation: float32 [shape=(input_size,)] each."""
        self.input_mean.copy_(torch.as_tensor(mean))
        self.input_deviation.copy_(torch.as_tensor(deviation).clamp(min=1e-6))

    def matrices(self):
        """Return all matrices in file order: list of LowPrecisionMatrix."""
        return [matrix for pair in self.recurrent for matrix in pair] + list(self.dense)

    def weights(self, generator=None):
        """Quantize all matrices, for `forward`; gradients flow to the masters.

        Parameters
        ----------
        generator : torch.Generator, optional
            Draws the levels of a stochastic network; deterministic without.
        """
        return [matrix.quantized(generator) for matrix in self.matrices()]

    def forward(self, x, weights, state=None, generator=None):
        """Compute logits.

        Parameters
        ----------
        x : float32 tensor [shape=(steps, batch, input_size)]; with `one_hot` int64 [shape=(steps, batch)]
        weights : result of `weights`
        state : list or None
            Result of an earlier call, to go on from; zero by default.
        generator : torch.Generator, optional
            Draws the dropout; none without it.

        Returns
        -------
        logits : float32 tensor [shape=(steps, batch, output_size)]
        state : list of tuples of float32 tensor [shape=(1, batch, units)], per recurrent layer (h,) or (h, c)
            Detached.
        """
        if self.spec.one_hot:
            x = functional.one_hot(x, self.spec.input_size).to(self.input_mean.dtype)
        else:
            x = ((x - self.input_mean) / self.input_deviation).clamp(-_INPUT_END, _INPUT_END)
        states = []
        for number, pair in enumerate(self.recurrent):
            if number:
                x = self._drop(x, generator)
            begin = None if state is None else state[number]
            quantized = weights[2 * number], weights[2 * number + 1]
            if self.spec.normalization == "batch" and self.training:
                x, end = self._normalized_layer(x, pair, quantized, begin)
            else:
                x, end = self._fused_layer(x, quantized, begin)
            states.append(tuple(part.detach() for part in end))
        for number, quantized in enumerate(weights[2 * len(self.recurrent) :]):
            levels, scale, bias = quantized
            x = functional.linear(self._drop(x, generator), _effective(levels, scale), bias)
            if number < len(self.spec.hidden):
                x = x.clamp(0, _HIDDEN_END)
        return x, states

    def _drop(self, x, generator):
        if generator is None or not self.spec.dropout:
            return x
        keep = 1 - self.spec.dropout
        return x * (torch.rand(x.shape, generator=generator, device=x.device) < keep) / keep

    def _begin(self, x, units, state):
        count = 2 if self.spec.cell == "lstm" else 1
        if state is None:
            return tuple(x.new_zeros(1, x.shape[1], units) for _ in range(count))
        return state

    def _fused_layer(self, x, quantized, state):
        """PyTorch's kernel over the whole sequence."""
        (levels_x, scale_x, bias_x), (levels_h, scale_h, bias_h) = quantized
        flat = [_effective(levels_x, scale_x), _effective(levels_h, scale_h), bias_x, bias_h]
        state = self._begin(x, levels_h.shape[1], state)
        options = (flat, True, 1, 0.0, self.training, False, False)
        if self.spec.cell == "lstm":
            output, h, c = torch._VF.lstm(x, state, *options)
            return output, (h, c)
        kernel = torch._VF.gru if self.spec.cell == "gru" else torch._VF.rnn_tanh
        output, h = kernel(x, state[0], *options)
        return output, (h,)

    def _normalized_layer(self, x, pair, quantized, state):
        """Step by step, as each step's products are normalized over the batch."""
        (levels_x, _, _), (levels_h, _, _) = quantized
        units = levels_h.shape[1]
        products = pair[0].normalize(functional.linear(x, levels_x)).unbind(0)
        state = tuple(part[0] for part in self._begin(x, units, state))
        step = {"rnn": _rnn_step, "gru": _gru_step, "lstm": _lstm_step}[self.spec.cell]
        outputs = []
        for ax in products:
            ah = pair[1].normalize(functional.linear(state[0], levels_h))
            state = step(ax, ah, state)
            outputs.append(state[0])
        return torch.stack(outputs), tuple(part[None] for part in state)

    def clip(self):
        """Keep all masters in range; to be called after each step of the optimizer."""
        for matrix in self.matrices():
            matrix.clip()

    @torch.no_grad()
    def effective(self):
        """Return what the packed model computes with: list of (weights, bias), float64 arrays, in file order."""
        found = []
        for levels, scale, bias in self.weights():
            found.append((_effective(levels, scale).double().numpy(), bias.double().numpy()))
        return found

    @torch.no_grad()
    def spectral_norms(self):
        """Return the spectral norm of every effective recurrent matrix, the largest of its gates: list of float.

        Quantization raises it, and what raises it makes gradients explode (Hou et al. 2019, section 3).
        """
        norms = []
        for (w, _), pair in zip(self.effective()[1::2], self.recurrent, strict=False):
            gates = torch.from_numpy(w).view(-1, pair[1].weight.shape[1], pair[1].weight.shape[1])
            norms.append(float(torch.linalg.matrix_norm(gates, 2).max()))
        return norms

    @torch.no_grad()
    def histograms(self, bins=41):
        """Return histograms of masters and of effective weights of the recurrent layers.

        Returns
        -------
        dict of str to (list of int, list of float)
            Counts and edges by name: "W_x 0 masters", "W_x 0 quantized", ...
        """
        found = {}
        matrices = self.matrices()[: 2 * len(self.recurrent)]
        for number, (matrix, (effective, _)) in enumerate(zip(matrices, self.effective(), strict=False)):
            name = f"{('W_x', 'W_h')[number % 2]} {number // 2}"
            for kind, values in (("masters", matrix.weight.numpy()), ("quantized", effective)):
                end = float(np.abs(values).max()) or 1.0
                counts, edges = np.histogram(values, bins, (-end, end))
                found[f"{name} {kind}"] = counts.tolist(), [round(float(e), 6) for e in edges]
        return found

    @torch.no_grad()
    def sizes(self):
        """Return what the weights take.

        Returns
        -------
        dict
            `float_bytes`: all parameters of the same network in 32 bits. `bits_per_weight`: of the recurrent and hidden
            layers as packed. `entropy`: bits a weight that their levels would take at least if coded one by one.
            `zeros`: share of zero weights among them.
        """
        matrices, effective = self.matrices(), self.effective()
        count = sum(w.size + b.size for w, b in effective)
        quantized = [matrix._levels(None).numpy() for matrix in matrices[:-1]]
        levels = np.concatenate([q.ravel() for q in quantized])
        method = METHODS[self.spec.method]
        entropy = 32.0
        if method.rule != "float":
            share = np.unique(levels, return_counts=True)[1] / levels.size
            entropy = float(-(share * np.log2(share)).sum())
        return {
            "float_bytes": 4 * count,
            "bits_per_weight": method.bits,
            "entropy": entropy,
            "zeros": float((levels == 0).mean()),
        }

    def model_file(self, calibration, labels=None, metadata=None):
        """Pack; see `training.packed.model_file`."""
        from training import packed  # it needs the exporters, which training alone does not

        return packed.model_file(self, calibration, labels, metadata)


_INPUT_END = 15.9  # of a normalized input: packed, it is a 16-bit integer of 2^-11
_HIDDEN_END = 15.99  # of a hidden unit, likewise


def _effective(levels, scale):
    return levels * (scale[:, None] if torch.is_tensor(scale) else scale)


def _rnn_step(ax, ah, state):
    return (torch.tanh(ax + ah),)


def _gru_step(ax, ah, state):
    (h,) = state
    x_rz, x_n = ax.tensor_split((2 * h.shape[1],), 1)
    h_rz, h_n = ah.tensor_split((2 * h.shape[1],), 1)
    r, z = torch.sigmoid(x_rz + h_rz).chunk(2, 1)
    return (torch.lerp(torch.tanh(x_n + r * h_n), h, z),)


def _lstm_step(ax, ah, state):
    i, f, g, o = (ax + ah).chunk(4, 1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c
