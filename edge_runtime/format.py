# SPDX-License-Identifier: MIT
"""The packed model file: `ModelFile` and its parts, to bytes and back.

The Python codec of exporters/FORMAT.md. It enforces the same rules in the same order as the
library's parser (native/src/format.c), and a test compares the two on damaged files. A file that
it wrote was read back and checked; every legal file comes back from `ModelFile.from_bytes(data)
.to_bytes()` byte for byte.
"""

import contextlib
import dataclasses
import os
import secrets
import struct
import zlib

import numpy as np

from edge_runtime._format_parts import (
    ACTIVATIONS,
    BIAS,
    BIAS_TYPES,
    CLAMPS,
    ENCODINGS,
    FRONTEND_FLOATS,
    FRONTEND_SIZES,
    GATES,
    INITIAL_STATE,
    KINDS,
    MAGIC,
    MAX_SUM,
    NO_UNKNOWN,
    RESET_BEFORE,
    RULE_STATUS,
    SHARED_SCALE,
    TABLE_CRCS,
    THREE_QUARTERS,
    DecoderConfig,
    FormatError,
    Layer,
    Matrix,
    checked,
    read_file,
    round64,
    state_size,
)
from edge_runtime._format_reader import Reader
from edge_runtime.frontend import FrontendConfig
from edge_runtime.packing import PACK, row_scale_code, row_scale_value

__all__ = [
    "ACTIVATIONS",
    "CLAMPS",
    "ENCODINGS",
    "GATES",
    "KINDS",
    "MAX_SUM",
    "RULE_STATUS",
    "DecoderConfig",
    "FormatError",
    "FrontendConfig",
    "Layer",
    "Matrix",
    "ModelFile",
    "row_scale_code",
    "row_scale_value",
]


@dataclasses.dataclass(frozen=True, eq=False)
class ModelFile:
    """Everything that a model file holds.

    Parameters
    ----------
    input_scale, input_offset : float32 [shape=(input_size,)]
        The network's input i is ``clamp(floor(x[i] * scale[i] + offset[i] + 0.5), -127, 127)``; in numeric profile
        2 the bounds are -32767 and 32767.
    layers : sequence of Layer
        First layer first, 1 to 16.
    labels : sequence of str or None
        One per output of the last layer.
    frontend : FrontendConfig or None
    decoder : DecoderConfig or None
        Needs `labels` and `frontend`.
    metadata : dict of str to str
        Kept in order.
    profile : int
        Numeric profile: 1, for networks trained on its integers, or 2, "fine", for others (FORMAT.md, section 7).
    """

    input_scale: np.ndarray
    input_offset: np.ndarray
    layers: tuple
    labels: tuple | None = None
    frontend: FrontendConfig | None = None
    decoder: DecoderConfig | None = None
    metadata: dict = dataclasses.field(default_factory=dict)
    profile: int = 1

    def __post_init__(self):
        scale = checked("input_scale", self.input_scale, np.float32, (None,))
        object.__setattr__(self, "input_scale", scale)
        offset = checked("input_offset", self.input_offset, np.float32, scale.shape)
        object.__setattr__(self, "input_offset", offset)
        object.__setattr__(self, "layers", tuple(self.layers))
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "metadata", dict(self.metadata))
        if self.profile not in TABLE_CRCS:
            raise ValueError(f"profile: expected 1 or 2, got {self.profile!r}")
        for layer in self.layers:
            self._check_profile(layer)

    def _check_profile(self, layer):
        """Biases and initial state of a layer must be those of the profile."""
        wanted = BIAS_TYPES[self.profile]
        for matrix in layer.matrices:
            if matrix.bias is not None and matrix.bias.dtype != wanted:
                raise ValueError(
                    f"bias: expected {wanted} in profile {self.profile}, got {matrix.bias.dtype}"
                )
        size = state_size(layer.kind, layer.output_size, self.profile)
        if layer.initial_state is not None and len(layer.initial_state) != size:
            raise ValueError(
                f"initial_state: expected {size} values in profile {self.profile}, got {len(layer.initial_state)}"
            )

    @property
    def input_size(self):
        """int : inputs per step."""
        return len(self.input_scale)

    @property
    def output_size(self):
        """int : logits per step."""
        return self.layers[-1].output_size

    @property
    def state_size(self):
        """int : int16 values of recurrent state."""
        return sum(state_size(layer.kind, layer.output_size, self.profile) for layer in self.layers)

    def to_bytes(self):
        """The packed file.

        Returns
        -------
        bytes

        Raises
        ------
        FormatError
            The model breaks a rule of the format.
        ValueError
            A value does not fit its field at all.
        """
        return self._pack("model")

    def _pack(self, name):
        try:
            data = _join(_sections(self))
        except (struct.error, OverflowError, UnicodeEncodeError) as error:
            raise ValueError(f"{name}: a value does not fit the format: {error}") from error
        Reader(data, name).read()
        return data

    @classmethod
    def from_bytes(cls, data, name="model bytes"):
        """Parse a packed file.

        Parameters
        ----------
        data : bytes-like
        name : str
            For error messages.

        Returns
        -------
        ModelFile

        Raises
        ------
        FormatError
            The bytes break a rule of the format.
        """
        return cls(**Reader(bytes(data), name).read())

    @classmethod
    def load(cls, path):
        """Read a file.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        OSError
            The file cannot be read.
        FormatError
            It breaks a rule of the format, or changed while it was read.
        """
        return cls.from_bytes(read_file(path), os.fspath(path))

    def save(self, path):
        """Write a file: in one piece, or not at all.

        The bytes go to a temporary file in the same folder, are flushed to the disk, and then take
        the place of `path`. If anything fails, an existing file is left as it was.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        FormatError, ValueError
            As `to_bytes`.
        OSError
            The file cannot be written.
        """
        data = self._pack(os.fspath(path))
        target = os.path.realpath(path)
        temporary = f"{target}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


# ---------------------------------------------------------------------------------------- writer


def _padding(data):
    return data + bytes(round64(len(data)) - len(data))


def _join(sections):
    """The file of a list of (type, contents)."""
    table_end = 64 + 16 * len(sections)
    offset = round64(table_end)
    table = b""
    body = b""
    for section_type, contents in sections:
        table += struct.pack("<4sIII", section_type, offset + len(body), len(contents), 0)
        body += _padding(contents)
    rest = struct.pack("<I44x", len(sections)) + _padding(bytes(64) + table)[64:] + body
    head = struct.pack("<4sHHI", MAGIC, 1, 0, 16 + len(rest))
    crc = zlib.crc32(rest, zlib.crc32(head + bytes(4)))
    return head + struct.pack("<I", crc) + rest


def _sections(model):
    sections = [(b"INPT", _input_section(model))]
    sections += [(b"LAYR", _layer_section(layer, BIAS_TYPES[model.profile])) for layer in model.layers]
    if model.labels is not None:
        sections.append((b"LABL", struct.pack("<I", len(model.labels)) + _strings(model.labels)))
    if model.frontend is not None:
        sections.append((b"FRNT", _frontend_section(model.frontend)))
    if model.decoder is not None:
        sections.append((b"DECO", _decoder_section(model.decoder)))
    if model.metadata:
        pairs = [text for pair in model.metadata.items() for text in pair]
        sections.append((b"META", struct.pack("<I", len(model.metadata)) + _strings(pairs)))
    return sections


def _strings(texts):
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"expected a str, got {text!r}")
        if "\0" in text:
            raise ValueError(f"a string of the file cannot hold a zero byte: {text!r}")
    return b"".join(text.encode("utf-8") + b"\0" for text in texts)


def _input_section(model):
    head = struct.pack("<IIII", len(model.input_scale), model.profile, TABLE_CRCS[model.profile], 0)
    return head + model.input_scale.astype("<f4").tobytes() + model.input_offset.astype("<f4").tobytes()


def _layer_section(layer, bias_type):
    flags = (
        RESET_BEFORE * bool(layer.reset_before)
        | SHARED_SCALE * bool(layer.shared_scale)
        | INITIAL_STATE * (layer.initial_state is not None)
    )
    data = struct.pack(
        "<BBBBII20x",
        KINDS[layer.kind],
        ACTIVATIONS[layer.activation],
        flags,
        len(layer.matrices),
        layer.input_size,
        layer.output_size,
    )
    blocks = []
    for matrix in layer.matrices:
        planes, rows, columns = matrix.weights.shape
        data += struct.pack(
            "<BBBBHbBII16x",
            ENCODINGS[matrix.encoding],
            planes,
            THREE_QUARTERS * bool(matrix.three_quarters),
            matrix.operand_shift,
            matrix.clamp,
            matrix.left_shift,
            BIAS * (matrix.bias is not None),
            rows,
            columns,
        )
        blocks += [PACK[matrix.encoding](plane).tobytes() for plane in matrix.weights]
        blocks.append(matrix.scales.tobytes())
        if matrix.bias is not None:
            blocks.append(matrix.bias.astype(bias_type).tobytes())
    if layer.initial_state is not None:
        blocks.append(layer.initial_state.astype("<i2").tobytes())
    for block in blocks:
        data = _padding(data) + block
    return data


def _frontend_section(config):
    sizes = [int(getattr(config, name)) for name in FRONTEND_SIZES]
    floats = [getattr(config, name) for name in FRONTEND_FLOATS]
    mean = list(config.mean) + [0.0] * (32 - len(config.mean))
    return struct.pack("<9I4f32f", 16000, *sizes, *floats, *mean)


def _decoder_section(config):
    unknown = NO_UNKNOWN if config.unknown is None else config.unknown
    head = struct.pack(
        "<HHfhHI", config.blank, unknown, config.threshold, config.delay_ms, 0, len(config.bias)
    )
    return head + config.bias.astype("<i2").tobytes() + config.length_ms.astype("<u2").tobytes()
