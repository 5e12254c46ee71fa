# SPDX-License-Identifier: MIT
"""What reader and writer of model files share: constants, rules, and the parts of a file.

`edge_runtime.format` exports what others need.
"""

import dataclasses
import os
import struct

import numpy as np

from edge_runtime import activation_table, fine_table
from edge_runtime._native import ffi, lib
from edge_runtime.errors import EdgeRuntimeValueError

KINDS = {"rnn": 1, "gru": 2, "lstm": 3, "dense": 4}
ACTIVATIONS = {"none": 0, "tanh": 1, "relu": 2, "sigmoid": 3}
ENCODINGS = {"binary": 1, "ternary": 2, "pow2": 3}
#: Gates per kind of layer: rows of a matrix are gates times units.
GATES = {"rnn": 1, "gru": 3, "lstm": 4, "dense": 1}
#: Legal operand clamps.
CLAMPS = (7, 12, 25, 31, 127, 32767)
MAGIC = b"ERNN"
MAX_LAYERS = lib.ER_MAX_LAYERS
MAX_PLANES = lib.ER_MAX_PLANES
MAX_SIZE = lib.ER_MAX_SIZE
MAX_SECTIONS = lib.ER_MAX_SECTIONS
MAX_FILE_BYTES = lib.ER_MAX_FILE_BYTES
MAX_SUM = (1 << 30) - 1
MAX_FINE_BIAS = 1 << 26  # in magnitude, in profile 2
MAX_STRING_BYTES = lib.ER_MAX_STRING_BYTES
MAX_METADATA = lib.ER_MAX_METADATA
MAX_METADATA_BYTES = lib.ER_MAX_METADATA_BYTES
NO_UNKNOWN = 0xFFFF
_HEADER_BYTES = 64
_FIRST_READ = 1 << 16

RESET_BEFORE, SHARED_SCALE, INITIAL_STATE = 1, 2, 4  # flags of a layer
THREE_QUARTERS = 1  # flag of an operand
BIAS = 1  # flag of a matrix
#: Of each numeric profile the CRC-32 of its activation table.
TABLE_CRCS = {1: activation_table.TABLE_CRC, 2: fine_table.TABLE_CRC}
#: Of each numeric profile the type of a bias.
BIAS_TYPES = {1: np.dtype("<i2"), 2: np.dtype("<i4")}
#: Section types in the order of a file.
SECTIONS = (b"INPT", b"LAYR", b"LABL", b"FRNT", b"DECO", b"META")
#: Fields of `FRNT` behind the sample rate, in order.
FRONTEND_SIZES = (
    "window_samples",
    "hop_samples",
    "fft_size",
    "filter_count",
    "cepstrum_count",
    "delta_order",
    "stack",
    "subtract_mean",
)
FRONTEND_FLOATS = ("preemphasis", "low_hz", "high_hz", "log_floor")

#: Name of the status of each rule, FORMAT.md section 9.
RULE_STATUS = {
    1: "ER_ERROR_TRUNCATED",
    2: "ER_ERROR_MAGIC",
    3: "ER_ERROR_VERSION",
    4: "ER_ERROR_FILE_SIZE",
    5: "ER_ERROR_CHECKSUM",
    6: "ER_ERROR_RESERVED",
    7: "ER_ERROR_SECTION_COUNT",
    8: "ER_ERROR_SECTION_TYPE",
    9: "ER_ERROR_SECTION_ORDER",
    10: "ER_ERROR_SECTION_BOUNDS",
    11: "ER_ERROR_SECTION_SIZE",
    12: "ER_ERROR_PADDING",
    13: "ER_ERROR_INPUT",
    14: "ER_ERROR_NUMERICS",
    15: "ER_ERROR_LAYER_KIND",
    16: "ER_ERROR_ACTIVATION",
    17: "ER_ERROR_LAYER_SIZE",
    18: "ER_ERROR_LAYER_CHAIN",
    19: "ER_ERROR_LAYER_FLAGS",
    20: "ER_ERROR_MATRIX_SHAPE",
    21: "ER_ERROR_ENCODING",
    22: "ER_ERROR_PLANES",
    23: "ER_ERROR_OPERAND",
    24: "ER_ERROR_LEFT_SHIFT",
    25: "ER_ERROR_WEIGHT_CODE",
    26: "ER_ERROR_ROW_SCALE",
    27: "ER_ERROR_ACCUMULATOR",
    28: "ER_ERROR_LABELS",
    29: "ER_ERROR_FRONTEND",
    30: "ER_ERROR_FRONTEND_SIZE",
    31: "ER_ERROR_DECODER",
    32: "ER_ERROR_METADATA",
    33: "ER_ERROR_BIAS",
}


class FormatError(EdgeRuntimeValueError):
    """A file that breaks a rule of the model format.

    Parameters
    ----------
    name : str
        The file, for the message.
    rule : int
        Number of the rule in exporters/FORMAT.md.
    offset : int
        Offset in the file, in bytes.
    expected, found : int
        What the rule wants (a bound or a value) and what is there; of a float, its bits.

    Attributes
    ----------
    status : int
        The ``er_status`` value of the rule.
    rule, offset, expected, found : int
        As above.
    """

    def __init__(self, name, rule, offset, expected, found):
        status = getattr(lib, RULE_STATUS[rule])
        text = ffi.string(lib.er_status_text(status)).decode("utf-8")
        super().__init__(
            f"{name}: offset {offset}: {text} (rule R{rule}){_comparison(rule, expected, found)}", status
        )
        self.rule = rule
        self.offset = offset
        self.expected = expected
        self.found = found
        self._name = name

    def __reduce__(self):
        return type(self), (self._name, self.rule, self.offset, self.expected, self.found)


def _comparison(rule, expected, found):
    """The end of a message: expected and found, in the notation that suits the rule.

    Rules 29 and 31 are about floats, given as bits, and about small integers; both bounds of a float
    are 0 or have large bits.
    """
    if rule in (8, 9):
        if rule == 8:
            return f": found {_letters(found)}"
        return f": expected {_letters(expected)}, found {_letters(found)}"
    if rule in (28, 32) and expected == 0:
        return ""
    if rule == 13 or (rule in (29, 31) and (expected >= 1 << 29 or (expected == 0 and found >= 1 << 29))):
        expected, found = (struct.unpack("<f", struct.pack("<I", bits))[0] for bits in (expected, found))
        return f": expected {expected:.9g}, found {found:.9g}"
    if rule in (2, 5) or (rule == 14 and expected > 2):
        return f": expected 0x{expected:08x}, found 0x{found:08x}"
    return f": expected {expected}, found {found}"


def _letters(code):
    return repr(struct.pack("<I", code).decode("latin-1"))


def read_file(path):
    """The bytes of a model file, or as many of them as show that it is none.

    No more is read than the header says, and one byte, which shows that the file is too long; of what does not begin
    as a model, 64 bytes: whatever is behind the path, memory is asked for only as it arrives. As
    ``er_model_create_from_file``.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    bytes

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with open(os.fspath(path), "rb") as file:
        data = bytearray(file.read(_HEADER_BYTES))
        limit = len(data)
        if len(data) == _HEADER_BYTES and data.startswith(MAGIC):
            stated = int.from_bytes(data[8:12], "little")
            limit = stated + 1 if stated <= MAX_FILE_BYTES else limit
        while len(data) < limit:
            part = file.read(min(limit - len(data), max(len(data), _FIRST_READ)))
            if not part:
                break
            data += part
    return bytes(data)


def round64(n):
    """n rounded up to a multiple of 64."""
    return -(-n // 64) * 64


def checked(name, value, dtype, shape):
    """A read-only copy of an array after checking type and shape.

    shape: as far as it is known; None stands for any length.
    """
    array = np.array(value)
    if array.dtype != dtype:
        raise ValueError(f"{name}: expected {np.dtype(dtype)}, got {array.dtype}")
    if array.ndim != len(shape) or any(
        want is not None and want != have for want, have in zip(shape, array.shape, strict=True)
    ):
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    array.setflags(write=False)
    return array


def state_size(kind, units, profile):
    """int16 values of recurrent state that a layer has in a numeric profile: h; lstm: h, then c."""
    return {"dense": 0, "lstm": 1 + profile}.get(kind, 1) * units


def _choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


@dataclasses.dataclass(frozen=True, eq=False)
class Matrix:
    """A weight matrix with its numeric rules; FORMAT.md, sections 5 and 7.2.

    The dataclasses of this module check types and shapes when they are made; the rules of the
    format are checked when a file is written.

    Parameters
    ----------
    encoding : str
        "binary", "ternary" or "pow2".
    weights : int8 [shape=(planes, rows, columns)]
        The numbers themselves, not their codes.
    scales : uint8 [shape=(planes, rows, 2)]
        Term codes; see `row_scale_code`.
    bias : int16 [shape=(rows,)] or None
        Unit 2^-11. In numeric profile 2 int32, unit 2^-16.
    clamp : int
        Bound M of the operand, one of `CLAMPS`.
    operand_shift : int
        Rounding shift s of the operand, 0 to 15.
    three_quarters : bool
        Whether the operand is taken of 3/4 of the value.
    left_shift : int
        L, -24 to 15.
    """

    encoding: str
    weights: np.ndarray
    scales: np.ndarray
    bias: np.ndarray | None = None
    clamp: int = 7
    operand_shift: int = 0
    three_quarters: bool = False
    left_shift: int = 0

    def __post_init__(self):
        _choice("encoding", self.encoding, ENCODINGS)
        weights = checked("weights", self.weights, np.int8, (None, None, None))
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "scales", checked("scales", self.scales, np.uint8, (*weights.shape[:2], 2)))
        if self.bias is not None:
            dtype = np.int32 if np.asarray(self.bias).dtype == np.int32 else np.int16
            object.__setattr__(self, "bias", checked("bias", self.bias, dtype, weights.shape[1:2]))

    @property
    def rows(self):
        """int : length of the output."""
        return self.weights.shape[1]

    @property
    def columns(self):
        """int : length of the input."""
        return self.weights.shape[2]


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """A layer; FORMAT.md, sections 5 and 7.3.

    Parameters
    ----------
    kind : str
        "rnn", "gru", "lstm" or "dense".
    activation : str
        "none", "tanh", "relu" or "sigmoid"; of gru and lstm "none".
    input_size, output_size : int
    matrices : sequence of Matrix
        W of a dense layer, else W_x and W_h. Rows in gate order: gru r, z, n; lstm i, f, g, o.
    reset_before : bool
        gru: the reset gate is applied before the product with W_h.
    shared_scale : bool
        Sums of both matrices are added before they are scaled.
    initial_state : int16 [shape=(output_size,)] or None
        lstm: 2 * output_size, h then c; in numeric profile 2 3 * output_size, each c being two values, its low
        half first.
    """

    kind: str
    activation: str
    input_size: int
    output_size: int
    matrices: tuple
    reset_before: bool = False
    shared_scale: bool = False
    initial_state: np.ndarray | None = None

    def __post_init__(self):
        _choice("kind", self.kind, KINDS)
        _choice("activation", self.activation, ACTIVATIONS)
        object.__setattr__(self, "matrices", tuple(self.matrices))
        if self.initial_state is not None:
            fine = len(np.shape(self.initial_state)) == 1 and len(self.initial_state) == 3 * self.output_size
            size = state_size(self.kind, self.output_size, 2 if fine else 1)
            object.__setattr__(
                self, "initial_state", checked("initial_state", self.initial_state, np.int16, (size,))
            )


@dataclasses.dataclass(frozen=True, eq=False)
class DecoderConfig:
    """Decoder settings; FORMAT.md, sections 6 and 8.

    Parameters
    ----------
    blank : int
        Output that separates words.
    unknown : int or None
        Output that is heard but not reported.
    threshold : float
        Least confidence of a word, 0 to 1; rounded to float32.
    delay_ms : int
        Delay of the network.
    bias : int16 [shape=(outputs,)]
        Added to the logits, unit 2^-11.
    length_ms : uint16 [shape=(outputs,)]
        Typical length of the word of each output.
    """

    blank: int
    unknown: int | None
    threshold: float
    delay_ms: int
    bias: np.ndarray
    length_ms: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "threshold", float(np.float32(self.threshold)))
        bias = checked("bias", self.bias, np.int16, (None,))
        object.__setattr__(self, "bias", bias)
        object.__setattr__(self, "length_ms", checked("length_ms", self.length_ms, np.uint16, bias.shape))
