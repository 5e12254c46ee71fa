"""Pack a float network without retraining: operands, planes, row scales, biases.

`Quantizer` holds a network with its calibration and makes model files of it at any precision.
"""

import dataclasses

import numpy as np

from edge_runtime import reference
from edge_runtime.format import MAX_SUM, Layer, Matrix, ModelFile
from exporters import planes as plane_fit
from exporters.graph import Dense, Network, Recurrent

UNBOUNDED_UNIT = 2.0**-11  # of outputs without bounds (FORMAT.md, section 7.1)
STATE_UNIT = 2.0**-15  # of outputs bounded by 1
#: Operand clamps by bits.
CLAMPS = {4: 7, 5: 12, 6: 31, 8: 127, 16: 32767}
FINE_BITS = 16  # operands of so many bits are for numeric profile 2
_HEADROOM = 1.02  # of the inputs' range over that of the calibration
_SAMPLE = 20000  # operands that statistics are taken from, at most


class QuantizeError(ValueError):
    """A network that the numbers of the format cannot hold, or settings that do not fit it."""


@dataclasses.dataclass(frozen=True)
class Numerics:
    """What a numeric profile gives to store numbers in (FORMAT.md, sections 7.1 and 7.5).

    Attributes
    ----------
    profile : int
    input_bound : int
        Greatest input.
    pre_unit : float
        Of pre-activations and biases.
    bound : int
        Greatest bias and cell.
    cell_unit : float
    bias_type : numpy dtype
    """

    profile: int
    input_bound: int
    pre_unit: float
    bound: int
    cell_unit: float
    bias_type: type


NUMERICS = {
    1: Numerics(1, 127, 2.0**-11, 32767, 2.0**-12, np.int16),
    2: Numerics(2, 32767, 2.0**-16, 1 << 26, 2.0**-16, np.int32),
}


@dataclasses.dataclass(frozen=True)
class Precision:
    """How one matrix is packed.

    Attributes
    ----------
    encoding : str
        "ternary", "binary" or "pow2".
    planes : int
    operand_bits : int
        4, 5, 6, 8 or 16: clamp 7, 12, 31, 127 or 32767. In numeric profile 1 a network input has 8 at most.
    """

    encoding: str = "ternary"
    planes: int = 1
    operand_bits: int = 8

    def __post_init__(self):
        if self.encoding not in plane_fit.VALUES:
            raise QuantizeError(f"encoding {self.encoding!r}: expected one of {', '.join(plane_fit.VALUES)}")
        most = plane_fit.most_planes(self.encoding)
        if not 1 <= self.planes <= most:
            raise QuantizeError(f"{self.encoding}: expected 1 to {most} planes, found {self.planes}")
        if self.operand_bits not in CLAMPS:
            raise QuantizeError(
                f"operand bits: expected one of {', '.join(map(str, CLAMPS))}, found {self.operand_bits}"
            )


@dataclasses.dataclass(frozen=True)
class MatrixReport:
    """How well a matrix was packed.

    Attributes
    ----------
    layer : str
        The layer's name in the source.
    matrix : str
        "W", "W_x" or "W_h".
    precision : Precision
    scale_error : float
        RMS error of the row sums over their RMS, on the calibration.
    saturation : float
        Share of operands that the clamp cuts off.
    zeros : float
        Share of zero weights over all planes.
    """

    layer: str
    matrix: str
    precision: Precision
    scale_error: float
    saturation: float
    zeros: float


def generated_inputs(input_size, steps=600, runs=2, seed=20261122):
    """Make inputs for a network whose data is not at hand: standard normal, half of the channels slow.

    Returns
    -------
    list of float64 array [shape=(steps, input_size)]
    """
    rng = np.random.default_rng(seed)
    sequences = []
    for _ in range(runs):
        x = rng.standard_normal((steps, input_size))
        for t in range(1, steps):
            x[t, ::2] = 0.95 * x[t - 1, ::2] + (1 - 0.95**2) ** 0.5 * x[t, ::2]
        sequences.append(x)
    return sequences


class Quantizer:
    """A network, calibrated.

    Parameters
    ----------
    network : Network
    inputs : sequence of float array [shape=(steps, input_size)]
        Sequences, each from the initial state. They set the ranges of inputs and operands, and which columns matter.
    on_progress : callable, optional
        Called with a line of text before work that takes seconds.

    Attributes
    ----------
    matrices : tuple of (int, str)
        Layer number and name of every matrix, in file order: what a precision is given for.
    output_scale : float
        A power of two that the packed model's outputs are to be multiplied by: 1, unless outputs pass the ±16
        that the format holds. Metadata of the model file, as `output_scale`, where it is not 1.
    """

    def __init__(self, network, inputs, on_progress=None):
        self.inputs = [np.asarray(x, np.float64) for x in inputs]
        for x in self.inputs:
            if x.ndim != 2 or x.shape[1] != network.input_size or len(x) == 0:
                raise QuantizeError(
                    f"calibration: expected sequences of shape (steps, {network.input_size}), found {x.shape}"
                )
            if not np.isfinite(x).all():
                raise QuantizeError("calibration: a value is not a finite number")
        self.source = network
        self.network, self.output_scale, self._seen = _normalized(network, self.inputs)
        everything = np.concatenate(self.inputs)
        self._affine = {
            profile: _input_affine(self.network, everything, numerics.input_bound)
            for profile, numerics in NUMERICS.items()
        }
        self.matrices = tuple(
            (number, name)
            for number, layer in enumerate(self.network.layers)
            for name in (("W",) if isinstance(layer, Dense) else ("W_x", "W_h"))
        )
        self._on_progress = on_progress or (lambda line: None)
        self._packed = {}

    def model_file(self, precisions, labels=None, metadata=None, profile=None):
        """Pack.

        Parameters
        ----------
        precisions : sequence of Precision
            One per entry of `matrices`.
        profile : int, optional
            Numeric profile. Default: 2 if any operand has 16 bits, which 1 would waste, else 1.

        Returns
        -------
        ModelFile
        reports : list of MatrixReport
        """
        if profile is None:
            profile = 2 if any(precision.operand_bits == FINE_BITS for precision in precisions) else 1
        numerics = NUMERICS[profile]
        packed = [self._matrix(k, precision, numerics) for k, precision in enumerate(precisions)]
        layers, reports = [], [report for _, report in packed]
        rest = [matrix for matrix, _ in packed]
        for layer in self.network.layers:
            count = 1 if isinstance(layer, Dense) else 2
            layers.append(_packed_layer(layer, tuple(rest[:count]), numerics))
            rest = rest[count:]
        scale, offset = self._affine[profile]
        model = ModelFile(
            input_scale=scale,
            input_offset=offset,
            layers=tuple(layers),
            labels=labels,
            metadata=dict(metadata or {}) | self._scale_metadata(),
            profile=profile,
        )
        return model, reports

    def _scale_metadata(self):
        return {} if self.output_scale == 1 else {"output_scale": f"{self.output_scale:g}"}

    def _matrix(self, k, precision, numerics):
        """The packed matrix number k and its report; made once per precision and profile."""
        key = k, precision, numerics.profile
        if key not in self._packed:
            number, name = self.matrices[k]
            layer = self.network.layers[number]
            self._on_progress(
                f"{layer.name} {name}: {precision.planes} x {precision.encoding}, {precision.operand_bits} bits"
            )
            self._packed[key] = self._pack_matrix(number, name, precision, numerics)
        return self._packed[key]

    def _pack_matrix(self, number, name, precision, numerics):
        layer = self.network.layers[number]
        real, bias = _matrix_of(layer, name)
        seen = self._seen[number]["h" if name == "W_h" else "x"]
        if number == 0 and name != "W_h":
            scale, offset = self._affine[numerics.profile]
            values = _integer_inputs(scale, offset, seen, numerics.profile)
            unit = 1.0 / scale.astype(np.float64)
            bias = bias - real @ (offset.astype(np.float64) * unit)
        else:
            unit = value_unit(self.network.layers[number - 1] if name != "W_h" else layer)
            values = np.clip(np.floor(seen / unit + 0.5), -32768, 32767).astype(np.int64)
        clamp = CLAMPS[precision.operand_bits]
        if number == 0 and name != "W_h":
            clamp = min(clamp, numerics.input_bound)
        operand = _best_operand(values, clamp, plane_fit.is_low_precision(real))
        operands = operand.of(values).astype(np.float64)
        per_unit = real * (unit * operand.unit / numerics.pre_unit)
        fitted = plane_fit.fit(per_unit, precision.encoding, precision.planes, operands)
        sums = np.abs(fitted.weights.astype(np.int64)).sum(axis=2).max() * clamp
        if sums > MAX_SUM:
            raise QuantizeError(
                f"{layer.name} {name}: sums of up to {sums} do not fit 2^30: fewer operand bits"
            )
        integer_bias = np.floor(bias / numerics.pre_unit + _lost_by_shifts(fitted) + 0.5)
        if np.abs(integer_bias).max() > numerics.bound:
            worst = int(np.abs(integer_bias).argmax())
            bound = round(numerics.bound * numerics.pre_unit)
            raise QuantizeError(
                f"{layer.name} {name}: bias of row {worst} is {bias[worst]:.4g}; the format holds ±{bound}"
            )
        report = MatrixReport(
            layer=layer.name,
            matrix=name,
            precision=precision,
            scale_error=fitted.error,
            saturation=operand.saturation(values),
            zeros=float((fitted.weights == 0).mean()),
        )
        matrix = Matrix(
            encoding=precision.encoding,
            weights=fitted.weights,
            scales=fitted.scales,
            bias=integer_bias.astype(numerics.bias_type),
            clamp=clamp,
            operand_shift=operand.shift,
            three_quarters=operand.three_quarters,
            left_shift=fitted.left_shift,
        )
        return matrix, report


@dataclasses.dataclass(frozen=True)
class _Operand:
    """N1."""

    clamp: int
    shift: int
    three_quarters: bool

    @property
    def unit(self):
        """What an operand of 1 stands for, in units of the value."""
        return 2.0**self.shift * (4 / 3 if self.three_quarters else 1)

    def _unclamped(self, values):
        t = values - (values >> 2) if self.three_quarters else values
        return reference.rounding_shift(t, self.shift)

    def of(self, values):
        return np.clip(self._unclamped(values), -self.clamp, self.clamp)

    def saturation(self, values):
        return float((np.abs(self._unclamped(values)) > self.clamp).mean())


def _best_operand(values, clamp, is_low_precision):
    """The operand of the least mean square error; for low-precision weights without the 3/4 that row scales would
    have to undo, which they cannot do exactly."""
    sample = values.ravel()[:: max(values.size // _SAMPLE, 1)]
    quarters = (False,) if is_low_precision else (False, True)
    candidates = [_Operand(clamp, shift, q) for shift in range(16) for q in quarters]
    errors = [float(((c.of(sample) * c.unit - sample) ** 2).mean()) for c in candidates]
    return candidates[int(np.argmin(errors))]


def _lost_by_shifts(fitted):
    """What floors of right shifts take from each row on average, in units of the pre-activation."""
    # A term that is not there shifts by 0.
    bits = np.maximum((fitted.scales & 15).astype(int) - max(fitted.left_shift, 0), 0)
    sign = np.where(fitted.scales & 0x40, -1, 1)
    return (sign * (1 - 2.0**-bits) / 2).sum(axis=(0, 2))


def _integer_inputs(scale, offset, x, profile):
    """The network's integer inputs for real ones: int64."""
    model = ModelFile(scale, offset, (), profile=profile)
    return reference.quantize_input(model, x.astype(np.float32)).astype(np.int64)


def _input_affine(network, x, bound):
    """Scale and offset per input that spread the calibration's range over -bound .. bound.

    All scales are equal where the first matrix is of low precision, which different ones would spoil.
    """
    low, high = x.min(axis=0), x.max(axis=0)
    half = (high - low) / 2 * _HEADROOM
    constant = half <= 1e-6 * np.maximum(np.abs(high), 1e-30)
    half = np.where(constant, np.maximum(np.abs(high), 1.0), half)
    if plane_fit.is_low_precision(_matrix_of(network.layers[0], "W_x")[0]):
        half = np.full_like(half, half.max())
    scale = (bound / half).astype(np.float32)
    return scale, (-(low + high) / 2 * scale).astype(np.float32)


def _matrix_of(layer, name):
    """A matrix and its bias; the one of a dense layer by any name."""
    if isinstance(layer, Dense):
        return layer.w, layer.b
    return (layer.w_x, layer.b_x) if name == "W_x" else (layer.w_h, layer.b_h)


def _is_bounded(layer):
    return (
        layer.kind != "rnn" or layer.activation == "tanh"
        if isinstance(layer, Recurrent)
        else (layer.activation in ("tanh", "sigmoid"))
    )


def value_unit(layer):
    """Return the unit of a layer's output (FORMAT.md, section 7.1)."""
    return STATE_UNIT if _is_bounded(layer) else UNBOUNDED_UNIT


def _packed_layer(layer, matrices, numerics):
    if isinstance(layer, Dense):
        return Layer("dense", layer.activation, layer.input_size, layer.output_size, matrices)
    state = None if layer.initial_state is None else _integer_state(layer, numerics)
    return Layer(
        layer.kind,
        layer.activation,
        layer.input_size,
        layer.output_size,
        matrices,
        reset_before=layer.reset_before,
        initial_state=state,
    )


def _integer_state(layer, numerics):
    """The initial state of a layer."""
    h, c = np.split(layer.initial_state, [layer.output_size])
    h = np.clip(np.floor(h / value_unit(layer) + 0.5), -32768, 32767).astype(np.int16)
    c = np.clip(np.floor(c / numerics.cell_unit + 0.5), -numerics.bound, numerics.bound)
    return np.concatenate(
        [h, c.astype("<i2" if numerics.profile == 1 else "<i4").view("<i2").astype(np.int16)]
    )


def _normalized(network, inputs):
    """Bring unbounded hidden values into the range of the format, by powers of two that the next layer undoes.

    Returns the network, what its outputs are to be multiplied by, and what its layers see: a dict per layer
    of arrays [shape=(steps, size)], all sequences one after the other.
    """
    layers = list(network.layers)
    seen, outputs = _record(network, inputs)
    ranges = [*(np.abs(after["x"]).max() for after in seen[1:]), np.abs(outputs).max()]
    output_scale = 1.0
    for number, largest in enumerate(ranges):
        if _is_bounded(layers[number]) or largest == 0:
            continue
        if number + 1 < len(layers):
            # Half of the range is kept for what calibration did not show.
            factor = 2.0 ** np.floor(np.log2(8.0 / largest))
            layers[number + 1] = _scaled_input(layers[number + 1], factor)
        else:
            factor = min(2.0 ** np.floor(np.log2(15.0 / largest)), 1.0)
            output_scale = 1 / factor
        layers[number] = _scaled_output(layers[number], factor)
    network = Network(tuple(layers), network.softmax, network.source)
    return network, output_scale, _record(network, inputs)[0]


def _record(network, inputs):
    """What layers see, and the outputs."""
    records, outputs = [], []
    for x in inputs:
        record = []
        outputs.append(network.run(x, record))
        records.append(record)
    seen = [
        {name: np.concatenate([r[number][name] for r in records]) for name in records[0][number]}
        for number in range(len(network.layers))
    ]
    return seen, np.concatenate(outputs)


def _scaled_output(layer, factor):
    if isinstance(layer, Dense):
        return dataclasses.replace(layer, w=layer.w * factor, b=layer.b * factor)
    state = layer.initial_state
    return dataclasses.replace(
        layer,
        w_x=layer.w_x * factor,
        b_x=layer.b_x * factor,
        b_h=layer.b_h * factor,
        initial_state=None if state is None else state * factor,
    )


def _scaled_input(layer, factor):
    if isinstance(layer, Dense):
        return dataclasses.replace(layer, w=layer.w / factor)
    return dataclasses.replace(layer, w_x=layer.w_x / factor)
