# SPDX-License-Identifier: MIT
"""The parser behind `ModelFile.from_bytes`."""

import struct
import zlib

import numpy as np

from edge_runtime._format_parts import (
    ACTIVATIONS,
    BIAS_TYPES,
    CLAMPS,
    ENCODINGS,
    FRONTEND_FLOATS,
    FRONTEND_SIZES,
    GATES,
    INITIAL_STATE,
    KINDS,
    MAGIC,
    MAX_FILE_BYTES,
    MAX_FINE_BIAS,
    MAX_LAYERS,
    MAX_METADATA,
    MAX_METADATA_BYTES,
    MAX_PLANES,
    MAX_SECTIONS,
    MAX_SIZE,
    MAX_STRING_BYTES,
    MAX_SUM,
    NO_UNKNOWN,
    RESET_BEFORE,
    SECTIONS,
    SHARED_SCALE,
    TABLE_CRCS,
    DecoderConfig,
    FormatError,
    Layer,
    Matrix,
    round64,
    state_size,
)
from edge_runtime._native import lib
from edge_runtime.frontend import FrontendConfig
from edge_runtime.packing import COLUMNS_PER_BYTE, UNPACK, legal_weights


def _float_bits(value):
    return int(np.float32(value).view(np.uint32))


class Reader:
    """One parse. Method by method the counterpart of native/src/format.c.

    Parameters
    ----------
    data : bytes
    name : str
        Of the file, for messages.
    """

    def __init__(self, data, name):
        self.data = data
        self.name = name
        self.bytes = np.frombuffer(data, np.uint8)

    def read(self):
        """Check the whole file.

        Returns
        -------
        dict
            The fields of a ModelFile.

        Raises
        ------
        FormatError
        """
        count = self._header()
        sections = self._table(count)
        parts = {}
        layers = []
        self.output_size = 0
        for section_type, entry, offset, size in sections:
            self.entry, self.at, self.size = entry, offset, size
            if section_type == b"LAYR":
                layers.append(self._layer())
            else:
                parts[section_type] = {
                    b"INPT": self._input,
                    b"LABL": self._labels,
                    b"FRNT": self._frontend,
                    b"DECO": self._decoder,
                    b"META": self._metadata,
                }[section_type]()
            self._zero(12, offset + size, round64(offset + size))
        return {
            "input_scale": parts[b"INPT"][0],
            "input_offset": parts[b"INPT"][1],
            "layers": layers,
            "labels": parts.get(b"LABL"),
            "frontend": parts.get(b"FRNT"),
            "decoder": parts.get(b"DECO"),
            "metadata": parts.get(b"META", {}),
            "profile": self.profile,
        }

    # elements

    def _fail(self, rule, offset, expected, found):
        raise FormatError(self.name, rule, int(offset), int(expected), int(found))

    def _range(self, rule, offset, low, high, found):
        if found < low:
            self._fail(rule, offset, low, found)
        if found > high:
            self._fail(rule, offset, high, found)

    def _zero(self, rule, begin, end):
        bad = np.flatnonzero(self.bytes[begin:end])
        if len(bad):
            self._fail(rule, begin + bad[0], 0, self.data[begin + bad[0]])

    def _floats(self, rule, offset, count, low, high):
        """Read float32 [shape=(count,)], each in [low, high]."""
        values = np.frombuffer(self.data, "<f4", count, offset).astype(np.float32)
        low, high = np.float32(low), np.float32(high)
        bad = np.flatnonzero(~((values >= low) & (values <= high)))
        if len(bad):
            i = int(bad[0])
            bound = low if values[i] < low else high
            self._fail(rule, offset + 4 * i, _float_bits(bound), self._field("<I", offset + 4 * i))
        return values

    def _field(self, code, offset):
        return struct.unpack_from(code, self.data, offset)[0]

    def _length(self, wanted, at_least=False):
        """R11: the section has exactly, or no fewer than, the wanted bytes."""
        if self.size != wanted and not (at_least and self.size > wanted):
            self._fail(11, self.entry + 8, wanted, self.size)

    # header, section table

    def _header(self):
        data = self.data
        magic = int.from_bytes(MAGIC, "little")
        if len(data) >= 4 and self._field("<I", 0) != magic:
            self._fail(2, 0, magic, self._field("<I", 0))
        if len(data) < 64:
            self._fail(1, len(data), 64, len(data))
        self._range(3, 4, 1, 1, self._field("<H", 4))
        self._range(3, 6, 0, 0, self._field("<H", 6))
        stated = self._field("<I", 8)
        self._range(4, 8, 64, MAX_FILE_BYTES, stated)
        if stated % 64:
            self._fail(4, 8, round64(stated), stated)
        if len(data) < stated:
            self._fail(1, len(data), stated, len(data))
        if len(data) > stated:
            self._fail(4, stated, stated, len(data))
        crc = zlib.crc32(data[16:], zlib.crc32(data[:12] + bytes(4)))
        if crc != self._field("<I", 12):
            self._fail(5, 12, crc, self._field("<I", 12))
        count = self._field("<I", 16)
        self._range(7, 16, 1, MAX_SECTIONS, count)
        self._range(10, 16, 1, (len(data) - 64) // 16, count)
        self._zero(6, 20, 64)
        return count

    def _table(self, count):
        sections = []
        end = table_end = 64 + 16 * count
        entry = 0
        for i in range(count):
            entry = 64 + 16 * i
            section_type = self._type(entry, [section[0] for section in sections])
            offset, size = struct.unpack_from("<II", self.data, entry + 4)
            if offset != round64(end):
                self._fail(10, entry + 4, round64(end), offset)
            self._range(10, entry + 8, 1, max(len(self.data) - offset, 0), size)
            self._zero(6, entry + 12, entry + 16)
            sections.append((section_type, entry, offset, size))
            end = offset + size
        if not any(section[0] == b"LAYR" for section in sections):
            self._fail(17, 16, 1, 0)
        if round64(end) != len(self.data):
            self._fail(10, entry + 8, len(self.data), round64(end))
        self._zero(12, table_end, round64(table_end))
        return sections

    def _type(self, entry, before):
        """Type of a table entry; before: the types that stand before it."""

        def code(section_type):
            return int.from_bytes(section_type, "little")

        section_type = self.data[entry : entry + 4]
        if section_type not in SECTIONS:
            self._fail(8, entry, 0, code(section_type))
        if not before and section_type != b"INPT":
            self._fail(9, entry, code(b"INPT"), code(section_type))
        previous = SECTIONS.index(before[-1]) if before else -1
        repeated_layer = before and section_type == before[-1] == b"LAYR"
        if SECTIONS.index(section_type) <= previous and not repeated_layer:
            self._fail(9, entry, code(SECTIONS[min(previous + 1, 5)]), code(section_type))
        if section_type == b"LAYR" and before.count(b"LAYR") == MAX_LAYERS:
            self._fail(17, entry, MAX_LAYERS, MAX_LAYERS + 1)
        if section_type not in (b"INPT", b"LAYR") and b"LAYR" not in before:
            self._fail(17, entry, 1, 0)
        if section_type == b"DECO":
            for needed in (b"LABL", b"FRNT"):
                if needed not in before:
                    self._fail(9, entry, code(needed), code(section_type))
        return section_type

    # sections

    def _input(self):
        self._length(16, at_least=True)
        size, profile, crc = struct.unpack_from("<III", self.data, self.at)
        self._range(17, self.at, 1, MAX_SIZE, size)
        self._range(14, self.at + 4, 1, 2, profile)
        self._range(14, self.at + 8, TABLE_CRCS[profile], TABLE_CRCS[profile], crc)
        self._zero(6, self.at + 12, self.at + 16)
        self._length(16 + 8 * size)
        values = self._floats(13, self.at + 16, 2 * size, -(2.0**24), 2.0**24)
        self.input_size = self.output_size = size
        self.profile = profile
        return values[:size], values[size:]

    def _layer(self):
        at = self.at
        self._length(32, at_least=True)
        code, activation, flags, count, input_size, output_size = struct.unpack_from("<BBBBII", self.data, at)
        self._range(15, at, 1, 4, code)
        kind = list(KINDS)[code - 1]
        low, high = {"rnn": (1, 2), "dense": (0, 3)}.get(kind, (0, 0))
        self._range(16, at + 1, low, high, activation)
        allowed = 0 if kind == "dense" else SHARED_SCALE | INITIAL_STATE
        allowed |= RESET_BEFORE if kind == "gru" else 0
        if flags & ~allowed:
            self._fail(19, at + 2, flags & allowed, flags)
        wanted = 1 if kind == "dense" else 2
        self._range(15, at + 3, wanted, wanted, count)
        self._range(17, at + 4, 1, MAX_SIZE, input_size)
        self._range(18, at + 4, self.output_size, self.output_size, input_size)
        self._range(17, at + 8, 1, MAX_SIZE, output_size)
        self._zero(6, at + 12, at + 32)
        end = 32 + 32 * count
        self._length(end, at_least=True)
        rows = GATES[kind] * output_size
        headers = [
            self._matrix_header(at + 32 + 32 * i, rows, (input_size, output_size)[i]) for i in range(count)
        ]
        shared = bool(flags & SHARED_SCALE)
        if shared and not (
            headers[0]["planes"] == headers[1]["planes"] == 1
            and headers[0]["left_shift"] == headers[1]["left_shift"]
        ):
            self._fail(19, at + 2, flags & ~SHARED_SCALE, flags)
        values = state_size(kind, output_size, self.profile)
        self._length(self._layer_length(headers, end, 2 * values if flags & INITIAL_STATE else None))

        self.end = end
        matrices, places = [], []
        for header in headers:
            matrix, place = self._matrix_blocks(header)
            matrices.append(matrix)
            places.append(place)
        initial_state = None
        if flags & INITIAL_STATE:
            initial_state = np.frombuffer(self.data, "<i2", values, self._block(2 * values))
        for matrix, place in zip(matrices, places, strict=True):
            self._sums(matrix, place)
        if shared:
            self._shared_rows(matrices, places, 2 * output_size if kind == "gru" else rows)
        self.output_size = output_size
        return Layer(
            kind,
            list(ACTIVATIONS)[activation],
            input_size,
            output_size,
            matrices,
            reset_before=bool(flags & RESET_BEFORE),
            shared_scale=shared,
            initial_state=None if initial_state is None else initial_state.astype(np.int16),
        )

    def _matrix_header(self, at, want_rows, want_columns):
        encoding, planes, operand_flags, shift, clamp, left_shift, flags, rows, columns = struct.unpack_from(
            "<BBBBHbBII", self.data, at
        )
        self._range(21, at, 1, 3, encoding)
        self._range(22, at + 1, 1, MAX_PLANES, planes)
        self._range(23, at + 2, 0, 1, operand_flags)
        self._range(23, at + 3, 0, 15, shift)
        if clamp not in CLAMPS:
            self._fail(23, at + 4, next((c for c in CLAMPS if c > clamp), CLAMPS[-1]), clamp)
        self._range(24, at + 6, -24, 15, left_shift)
        self._range(19, at + 7, 0, 1, flags)
        self._range(20, at + 8, want_rows, want_rows, rows)
        self._range(20, at + 12, want_columns, want_columns, columns)
        self._zero(6, at + 16, at + 32)
        encoding = list(ENCODINGS)[encoding - 1]
        return {
            "encoding": encoding,
            "planes": planes,
            "three_quarters": bool(operand_flags),
            "operand_shift": shift,
            "clamp": clamp,
            "left_shift": left_shift,
            "bias": bool(flags),
            "rows": rows,
            "columns": columns,
            "row_bytes": -(-columns // COLUMNS_PER_BYTE[encoding]),
        }

    def _layer_length(self, headers, end, state_bytes):
        blocks = []
        for header in headers:
            blocks += [header["rows"] * header["row_bytes"]] * header["planes"]
            blocks.append(header["planes"] * header["rows"] * 2)
            blocks += [header["rows"] * BIAS_TYPES[self.profile].itemsize] * header["bias"]
        if state_bytes is not None:
            blocks.append(state_bytes)
        for block in blocks:
            end = round64(end) + block
        return end

    def _block(self, length):
        """File offset of the layer's next block, after checking the padding before it."""
        begin = round64(self.end)
        self._zero(12, self.at + self.end, self.at + begin)
        self.end = begin + length
        return self.at + begin

    def _matrix_blocks(self, header):
        """The Matrix, and the file offsets of (its planes, its scales)."""
        rows, columns, row_bytes = header["rows"], header["columns"], header["row_bytes"]
        planes, plane_offsets = [], []
        for _ in range(header["planes"]):
            offset = self._block(rows * row_bytes)
            packed = self.bytes[offset : offset + rows * row_bytes].reshape(rows, row_bytes)
            legal = legal_weights(header["encoding"], packed, columns)
            bad = np.flatnonzero(legal != packed)
            if len(bad):
                self._fail(25, offset + bad[0], legal.flat[bad[0]], packed.flat[bad[0]])
            planes.append(UNPACK[header["encoding"]](packed, columns))
            plane_offsets.append(offset)
        scale_bytes = 2 * header["planes"] * rows
        scale_offset = self._block(scale_bytes)
        scales = self.bytes[scale_offset : scale_offset + scale_bytes].reshape(header["planes"], rows, 2)
        legal = np.where(scales & 0x80, scales & 0xCF, 0).astype(np.uint8)
        legal[..., 1][(scales[..., 0] & 0x80) == 0] = 0
        bad = np.flatnonzero(legal != scales)
        if len(bad):
            self._fail(26, scale_offset + bad[0], legal.flat[bad[0]], scales.flat[bad[0]])
        bias = None
        if header["bias"]:
            bias = self._bias(rows)
        matrix = Matrix(
            header["encoding"],
            np.stack(planes),
            scales,
            bias,
            header["clamp"],
            header["operand_shift"],
            header["three_quarters"],
            header["left_shift"],
        )
        return matrix, (plane_offsets, row_bytes, scale_offset)

    def _bias(self, rows):
        stored = BIAS_TYPES[self.profile]
        offset = self._block(stored.itemsize * rows)
        bias = np.frombuffer(self.data, stored, rows, offset).astype(stored.newbyteorder("="))
        bad = np.flatnonzero(np.abs(bias.astype(np.int64)) > MAX_FINE_BIAS)
        if len(bad):
            bound = MAX_FINE_BIAS if bias[bad[0]] > 0 else -MAX_FINE_BIAS
            self._fail(33, offset + 4 * bad[0], bound, bias[bad[0]])
        return bias

    @staticmethod
    def _bounds(matrix):
        """M times the magnitude sum of every row, int64 [shape=(planes, rows)]."""
        return matrix.clamp * np.abs(matrix.weights.astype(np.int16)).sum(axis=-1, dtype=np.int64)

    def _sums(self, matrix, place):
        bounds = self._bounds(matrix)
        bad = np.argwhere(bounds > MAX_SUM)
        if len(bad):
            plane, row = bad[0]
            self._fail(27, place[0][plane] + row * place[1], MAX_SUM, bounds[plane, row])

    def _shared_rows(self, matrices, places, rows):
        ours, theirs = (matrix.scales[0, :rows].reshape(-1) for matrix in matrices)
        bad = np.flatnonzero(ours != theirs)
        if len(bad):
            self._fail(19, places[1][2] + bad[0], ours[bad[0]], theirs[bad[0]])
        bounds = sum(self._bounds(matrix)[0, :rows] for matrix in matrices)
        bad = np.flatnonzero(bounds > MAX_SUM)
        if len(bad):
            self._fail(27, places[1][0][0] + bad[0] * places[1][1], MAX_SUM, bounds[bad[0]])

    def _string(self, rule, position, limit):
        """The string at `position` of the section and the position behind it.

        limit: greatest length in bytes, and the least is then 1; None: any.
        """
        begin = self.at + position
        end = self.data.find(b"\0", begin, self.at + self.size)
        if end < 0:
            self._length(self.size + 1)
        raw = self.data[begin:end]
        if limit is not None:
            self._range(rule, begin, 1, limit, len(raw))
        try:
            return raw.decode("utf-8"), end + 1 - self.at
        except UnicodeDecodeError:
            self._fail(rule, begin, 0, raw[0])

    def _labels(self):
        self._length(4, at_least=True)
        count = self._field("<I", self.at)
        self._range(28, self.at, self.output_size, self.output_size, count)
        position = 4
        labels = {}
        for i in range(count):
            begin = position
            label, position = self._string(28, position, MAX_STRING_BYTES)
            if label in labels:
                self._fail(28, self.at + begin, 0, labels[label])
            labels[label] = i
        self._length(position)
        return tuple(labels)

    def _metadata(self):
        self._length(4, at_least=True)
        self._range(32, self.entry + 8, 4, MAX_METADATA_BYTES, self.size)
        count = self._field("<I", self.at)
        self._range(32, self.at, 1, MAX_METADATA, count)
        position = 4
        metadata = {}
        for _ in range(count):
            begin = position
            key, position = self._string(32, position, MAX_STRING_BYTES)
            if key in metadata:
                self._fail(32, self.at + begin, 0, list(metadata).index(key))
            metadata[key], position = self._string(32, position, None)
        self._length(position)
        return metadata

    def _frontend(self):
        at = self.at
        self._length(180)
        rate, *sizes = struct.unpack_from("<9I", self.data, at)
        fields = dict(zip(FRONTEND_SIZES, sizes, strict=True))
        self._range(29, at, 16000, 16000, rate)
        self._range(29, at + 4, 32, fields["fft_size"], fields["window_samples"])
        self._range(29, at + 8, 16, fields["window_samples"], fields["hop_samples"])
        power = 64
        while power < 2048 and power < fields["fft_size"]:
            power *= 2
        self._range(29, at + 12, power, power, fields["fft_size"])
        self._range(29, at + 16, 8, 80, fields["filter_count"])
        self._range(29, at + 20, 1, min(fields["filter_count"], 32), fields["cepstrum_count"])
        self._range(29, at + 24, 0, 2, fields["delta_order"])
        self._range(29, at + 28, 1, 4, fields["stack"])
        self._range(29, at + 32, 0, 1, fields["subtract_mean"])
        limits = ((0, 1), (0, 8000), (0, 8000), (1e-10, 1e10))
        for i, (name, (low, high)) in enumerate(zip(FRONTEND_FLOATS, limits, strict=True)):
            fields[name] = float(self._floats(29, at + 36 + 4 * i, 1, low, high)[0])
            if name == "high_hz" and not fields["low_hz"] < fields["high_hz"]:
                self._fail(29, at + 44, self._field("<I", at + 40), self._field("<I", at + 44))
        cepstra = fields["cepstrum_count"]
        fields["mean"] = tuple(map(float, self._floats(29, at + 52, cepstra, -1e6, 1e6)))
        for offset in range(at + 52 + 4 * cepstra, at + 180, 4):
            self._range(29, offset, 0, 0, self._field("<I", offset))
        config = FrontendConfig(**{**fields, "subtract_mean": bool(fields["subtract_mean"])})
        if lib.er_frontend_feature_size(config._to_c()) == 0:
            self._fail(29, at + 16, 0, config.filter_count)
        self._range(30, at + 20, self.input_size, self.input_size, config.feature_size)
        return config

    def _decoder(self):
        at, outputs = self.at, self.output_size
        self._length(16, at_least=True)
        blank, unknown, threshold, delay_ms, _, count = struct.unpack_from("<HHfhHI", self.data, at)
        self._range(31, at, 0, outputs - 1, blank)
        if unknown != NO_UNKNOWN and (unknown >= outputs or unknown == blank):
            self._fail(31, at + 2, NO_UNKNOWN, unknown)
        self._floats(31, at + 4, 1, 0, 1)
        self._range(31, at + 8, -2000, 2000, delay_ms)
        self._zero(6, at + 10, at + 12)
        self._range(31, at + 12, outputs, outputs, count)
        self._length(16 + 4 * outputs)
        bias = np.frombuffer(self.data, "<i2", outputs, at + 16).astype(np.int16)
        length_ms = np.frombuffer(self.data, "<u2", outputs, at + 16 + 2 * outputs).astype(np.uint16)
        unknown = None if unknown == NO_UNKNOWN else unknown
        return DecoderConfig(blank, unknown, threshold, delay_ms, bias, length_ms)
