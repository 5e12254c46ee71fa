# SPDX-License-Identifier: MIT
"""The digit network: input normalization, GRU layers, dense outputs; integers all the way.

`DigitNet` keeps float masters. `DigitNet.quantize` makes integers of them once per training step;
`DigitNet.forward` then computes exactly what the packed model computes (FORMAT.md, section 7), except
under dropout.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import nn

from edge_runtime.format import Layer, Matrix
from training.fakequant import (
    PRE_UNIT,
    STATE_UNIT,
    DenseOutput,
    GruSequence,
    MatrixIntegers,
    Operand,
    RoundInput,
)
from training.lexicon import PHONES
from training.quantizers import LARGEST, Quantizer, nearest_scale

#: Operand of every matrix that reads h: u / 12 stands for h, so a table of seven inputs fits a byte.
STATE_OPERAND = Operand(clamp=12, shift=11, three_quarters=True, value_unit=STATE_UNIT)


@dataclass(frozen=True)
class NetworkConfig:
    """What the network is.

    Attributes
    ----------
    input_size, output_size : int
    units : tuple of int
        Per GRU layer.
    encoding, dense_encoding : str
        Of the weights of the GRUs and of the output layer.
    stochastic : bool
        Draw the weights of the GRUs in training instead of rounding them.
    dropout : float
        Between layers.
    levels_per_deviation : float
        Integer inputs per standard deviation of a feature.
    input_clamp : int
        Operand clamp of the first matrix.
    keep_bias : float
        Initial bias of z: above zero, a new network remembers.
    phones : bool
        An auxiliary output on the first layer, in float, that spells the phones of all words, digits or not. It
        exists in training only: a network that can spell tells "learn" from "nine" without having heard either.
    """

    input_size: int = 78
    output_size: int = 13
    units: tuple = (200, 200)
    encoding: str = "ternary"
    dense_encoding: str = "pow2"
    stochastic: bool = False
    dropout: float = 0.15
    levels_per_deviation: float = 8.0
    input_clamp: int = 31
    keep_bias: float = 1.0
    phones: bool = False


class QuantizedMatrix(nn.Module):
    """Master of one matrix and of its bias.

    The row scale is chosen once, as the one nearest to Glorot's limit, and w0 is what that scale
    makes of the largest level: so masters within ±w0 and integers describe the same matrix.
    """

    def __init__(self, rows, columns, gates, operand, encoding, stochastic=False, init_limit=None, w0=None):
        super().__init__()
        self.quantizer = Quantizer(encoding, stochastic)
        self.operand = operand
        limit = (6 / (columns + rows / gates)) ** 0.5 if init_limit is None else init_limit
        largest = LARGEST[encoding]
        self.scale = nearest_scale((w0 or limit) / largest * operand.unit / PRE_UNIT)
        self.w0 = self.scale.units * PRE_UNIT / operand.unit * largest
        self.weight = nn.Parameter(torch.empty(rows, columns).uniform_(-1, 1) * min(limit, self.w0))
        self.bias = nn.Parameter(torch.zeros(rows))

    @torch.no_grad()
    def integers(self, generator=None):
        """Return the MatrixIntegers of the present masters; with a generator, stochastic ones."""
        weights = self.quantizer.integers(self.weight, self.w0, generator)
        bias = torch.floor(self.bias / PRE_UNIT + 0.5).clamp_(-32768, 32767)
        return MatrixIntegers(weights, bias, self.scale, self.operand)

    @torch.no_grad()
    def clip(self):
        """Keep the masters within ±w0, the biases within ±3.9 (see MatrixIntegers.output)."""
        self.weight.clamp_(-self.w0, self.w0)
        self.bias.clamp_(-3.9, 3.9)

    def packed(self):
        """Return the matrix as the model file holds it: edge_runtime.format.Matrix."""
        matrix = self.integers()
        rows = len(matrix.bias)
        return Matrix(
            encoding=self.quantizer.encoding,
            weights=matrix.weights.numpy()[None].copy(),
            scales=np.tile(np.array(self.scale.codes, np.uint8), (1, rows, 1)),
            bias=matrix.bias.numpy().astype(np.int16),
            clamp=self.operand.clamp,
            operand_shift=self.operand.shift,
            three_quarters=self.operand.three_quarters,
            left_shift=self.scale.left_shift,
        )


class GruMasters(nn.Module):
    """Masters of one GRU layer."""

    def __init__(self, columns, units, operand, config):
        super().__init__()
        self.units = units
        self.x = QuantizedMatrix(3 * units, columns, 3, operand, config.encoding, config.stochastic)
        self.h = QuantizedMatrix(3 * units, units, 3, STATE_OPERAND, config.encoding, config.stochastic)
        # With equal scales the sums of r and z can be added before they are scaled.
        # Not with pow2: its sums pass int16 so far that saturating them before or after makes a difference.
        self.shared = self.x.scale == self.h.scale and config.encoding != "pow2"
        with torch.no_grad():
            self.x.bias[units : 2 * units] = config.keep_bias

    def clip(self):
        self.x.clip()
        self.h.clip()


class DigitNet(nn.Module):
    """The whole network.

    Parameters
    ----------
    config : NetworkConfig
    seed : int, optional
        Of the initial weights.
    product_dtype : torch.dtype
        Of the matrix products of the backward pass: bfloat16 is three times as fast as float32 where
        the CPU has it, and its error is far below the noise of a batch.
    """

    def __init__(self, config, seed=0, product_dtype=torch.bfloat16):
        super().__init__()
        self.config = config
        self.product_dtype = product_dtype
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            size = config.input_size
            operand = Operand(config.input_clamp, 0, False, 1 / config.levels_per_deviation)
            layers = []
            for units in config.units:
                layers.append(GruMasters(size, units, operand, config))
                size, operand = units, STATE_OPERAND
            self.layers = nn.ModuleList(layers)
            # One unit of the sum is one unit of the logit: w0 is wider than Glorot's limit, which leaves
            # logits room to grow, and small exponents keep small weights fine.
            limit = (6 / (size + config.output_size)) ** 0.5
            w0 = LARGEST[config.dense_encoding] * PRE_UNIT / STATE_OPERAND.unit
            self.dense = QuantizedMatrix(
                config.output_size,
                size,
                gates=1,
                operand=STATE_OPERAND,
                encoding=config.dense_encoding,
                init_limit=limit,
                w0=max(w0, limit),
            )
            self.phones = nn.Linear(config.units[0], 1 + len(PHONES)) if config.phones else None
        # Input normalization: statistics of the first steps of training, then a learned gain and offset.
        self.register_buffer("frame_count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("frame_sum", torch.zeros(config.input_size, dtype=torch.float64))
        self.register_buffer("frame_squares", torch.zeros(config.input_size, dtype=torch.float64))
        self.gamma = nn.Parameter(torch.ones(config.input_size))
        self.beta = nn.Parameter(torch.zeros(config.input_size))

    @torch.no_grad()
    def observe(self, features, lengths):
        """Add a batch to the statistics of the input.

        Parameters
        ----------
        features : float32 tensor [shape=(batch, steps, input_size)]
        lengths : int64 tensor [shape=(batch,)]
        """
        valid = torch.arange(features.shape[1])[None] < lengths[:, None]
        frames = features[valid].double()
        self.frame_count += len(frames)
        self.frame_sum += frames.sum(0)
        self.frame_squares += frames.square().sum(0)

    def input_affine(self):
        """Return scale and offset of FORMAT.md, section 4: float32 tensors [shape=(input_size,)]."""
        mean = self.frame_sum / self.frame_count
        deviation = (self.frame_squares / self.frame_count - mean.square()).clamp(min=1e-12).sqrt()
        mean, deviation = mean.float(), deviation.float()
        scale = self.gamma * self.config.levels_per_deviation / deviation
        return scale, self.beta * self.config.levels_per_deviation - mean * scale

    def quantize(self, generator=None):
        """Return the integers of all masters, for `forward`; with a generator, stochastic ones."""
        layers = [(g.x.integers(generator), g.h.integers(generator)) for g in self.layers]
        return layers, self.dense.integers()

    def clip(self):
        """Keep all masters in range; to be called after each step of the optimizer."""
        for module in (*self.layers, self.dense):
            module.clip()

    def forward(self, features, integers, generator=None, start=None):
        """Compute logits.

        Parameters
        ----------
        features : float32 tensor [shape=(batch, steps, input_size)]
        integers : result of `quantize`
        generator : torch.Generator, optional
            Draws the dropout; none without it.
        start : list of float32 tensors [shape=(batch, units)], optional
            Integer states to start from, per GRU layer; zero by default.

        Returns
        -------
        logits : float32 tensor [shape=(steps, batch, output_size)]
            Integers (without dropout), units of 2^-11.
        states : list of float32 tensors [shape=(steps, batch, units)]
            Integer states after each step, per GRU layer.
        """
        gru_integers, dense_integers = integers
        scale, offset = self.input_affine()
        x = features.transpose(0, 1).contiguous()
        x = RoundInput.apply(x, scale, offset, self.config.input_clamp)
        u = x.detach().to(torch.int8)
        mask, gain = None, Fraction(1)
        states = []
        start = start or [None] * len(self.layers)
        for masters, (mx, mh), state in zip(self.layers, gru_integers, start, strict=True):
            if masters is not self.layers[0]:
                u, mask, gain = self._drop(u, mx.scale.units, generator)
            x, u = GruSequence.apply(
                x,
                masters.x.weight,
                masters.h.weight,
                masters.x.bias,
                masters.h.bias,
                mx,
                mh,
                u,
                mask,
                gain,
                masters.shared,
                state,
                self.product_dtype,
            )
            u = u[1:]
            states.append(x)
        u, mask, gain = self._drop(u, 256, generator)
        logits = DenseOutput.apply(x, self.dense.weight, self.dense.bias, dense_integers, u, mask, gain)
        return logits, states

    def phone_logits(self, states):
        """Compute the auxiliary output.

        Parameters
        ----------
        states : list of float32 tensors
            Of `forward`.

        Returns
        -------
        float32 tensor [shape=(steps, batch, 1 + phones)]
            Output 0 is blank, output 1 + i is `training.lexicon.PHONES[i]`.
        """
        return self.phones(states[0] * STATE_UNIT)

    def _drop(self, u, units, generator):
        """Return (u, mask, gain) of inverted dropout.

        The gain is rounded so that gain * units is a whole number, and the probability follows: 1/6 for
        0.15 of a scale of 20 units.
        """
        if generator is None or not self.config.dropout:
            return u, None, Fraction(1)
        gain = Fraction(round(units / (1 - self.config.dropout)), units)
        words = torch.empty((u.numel() + 7) // 8, dtype=torch.int64)
        words.random_(-(2**63), None, generator=generator)
        threshold = round(256 * (1 - 1 / gain))
        mask = (words.view(torch.uint8)[: u.numel()] >= threshold).view(torch.int8).view(u.shape)
        return u * mask, mask, gain

    def integer_layers(self):
        """Return the layers as the model file holds them: list of edge_runtime.format.Layer."""
        layers = []
        size = self.config.input_size
        for masters in self.layers:
            matrices = (masters.x.packed(), masters.h.packed())
            layer = Layer("gru", "none", size, masters.units, matrices, shared_scale=masters.shared)
            layers.append(layer)
            size = masters.units
        layers.append(Layer("dense", "none", size, self.config.output_size, (self.dense.packed(),)))
        return layers
