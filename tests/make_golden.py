# SPDX-License-Identifier: MIT
"""Write the golden files: ``python tests/make_golden.py``.

tests/golden/<layer>_<encoding>_<size>.ernn    models that must load, one per layer kind and encoding,
                                               and one per feature of the format
tests/golden/<same name>.csv                   integer inputs x and logits y of a few steps
tests/golden/bad/R<rule>_<what>.ernn           files that break just the rule in their name

Every byte follows from the names below: no random generator whose numbers another version could
change. `tests/test_golden.py` makes the files again and compares.
"""

import dataclasses
import hashlib
import pathlib
import struct
import zlib

import numpy as np

from edge_runtime.format import DecoderConfig, Layer, Matrix, ModelFile, _join, row_scale_code
from edge_runtime.frontend import FrontendConfig
from edge_runtime.reference import ReferenceStream

GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
STEPS = 6
#: Of a matrix in numeric profile 2, where operands are the values as they are.
FINE = {"clamp": 32767, "operand_shift": 0, "left_shift": -1}
WEIGHTS = {"binary": (-1, 1), "ternary": (-1, 0, 1), "pow2": (0, 1, -1, 2, -2, 4, -4, 8, -16, 32, -64)}
GATES = {"rnn": 1, "gru": 3, "lstm": 4, "dense": 1}


class Numbers:
    """Reproducible numbers from a name."""

    def __init__(self, name):
        self.name = name
        self.calls = 0

    def integers(self, low, high, shape):
        """int64 [shape=shape] in low .. high."""
        self.calls += 1
        count = int(np.prod(shape))
        raw = hashlib.shake_256(f"{self.name} {self.calls}".encode()).digest(4 * count)
        return (np.frombuffer(raw, "<u4").astype(np.int64) % (high - low + 1) + low).reshape(shape)


def matrix(numbers, encoding, rows, columns, *, state, planes=1, bias=True, **changes):
    """A Matrix whose operand fits its input: `state` (i16) or the network's input (i8)."""
    values = np.array(WEIGHTS[encoding], np.int8)
    rules = {
        "clamp": 31,
        "operand_shift": 10 if state else 2,
        "left_shift": 3 if encoding == "pow2" else 6,
        **changes,
    }
    return Matrix(
        encoding,
        values[numbers.integers(0, len(values) - 1, (planes, rows, columns))],
        row_scale_code(numbers.integers(-128, 128, (planes, rows)) / 128),
        numbers.integers(-2000, 2000, rows).astype(np.int16) if bias else None,
        **rules,
    )


def layer(numbers, kind, encodings, input_size, output_size, *, first=True, changes=({}, {}), **options):
    """A Layer; encodings and changes: of its matrices."""
    rows = GATES[kind] * output_size
    matrices = [matrix(numbers, encodings[0], rows, input_size, state=not first, **changes[0])]
    if kind != "dense":
        matrices.append(matrix(numbers, encodings[-1], rows, output_size, state=True, **changes[1]))
    options.setdefault("activation", "tanh" if kind == "rnn" else "none")
    return Layer(kind, options.pop("activation"), input_size, output_size, matrices, **options)


def with_shared_scale(plain, rows):
    """The same layer with SHARED_SCALE: the first `rows` rows of W_h get the scales of W_x."""
    w_x, w_h = plain.matrices
    scales = w_h.scales.copy()
    scales[:, :rows] = w_x.scales[:, :rows]
    fields = {name: getattr(w_h, name) for name in w_h.__dataclass_fields__}
    w_h = Matrix(**{**fields, "scales": scales})
    fields = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
    return Layer(**{**fields, "matrices": (w_x, w_h), "shared_scale": True})


def model(layers, **parts):
    """A ModelFile whose inputs are their own integers, if they are in -127 .. 127."""
    size = layers[0].input_size
    return ModelFile(np.ones(size, np.float32), np.zeros(size, np.float32), layers, **parts)


def fine_model(layers):
    """As `model` in numeric profile 2; biases get the bits that it has and profile 1 does not."""
    fine = []
    for plain in layers:
        matrices = []
        for m in plain.matrices:
            bias = m.bias
            if bias is not None:
                bias = bias.astype(np.int32) * 32 + np.arange(len(bias), dtype=np.int32) % 32
            matrices.append(dataclasses.replace(m, bias=bias))
        fine.append(dataclasses.replace(plain, matrices=matrices))
    return model(fine, profile=2)


def good():
    """dict: name to ModelFile."""
    files = {}
    for kind in GATES:
        for encoding in WEIGHTS:
            name = f"{kind}_{encoding}_small"
            files[name] = model([layer(Numbers(name), kind, [encoding], 11, 5)])

    name = "rnn_ternary_relu"
    files[name] = model([layer(Numbers(name), "rnn", ["ternary"], 6, 4, activation="relu")])
    name = "gru_ternary_reset"
    files[name] = model([layer(Numbers(name), "gru", ["ternary"], 6, 4, reset_before=True)])
    name = "gru_ternary_shared"
    files[name] = model([with_shared_scale(layer(Numbers(name), "gru", ["ternary"], 6, 4), 8)])
    name = "lstm_pow2_shared"
    files[name] = model([with_shared_scale(layer(Numbers(name), "lstm", ["pow2"], 6, 4), 16)])
    for kind in GATES:
        name = f"{kind}_ternary_fine"
        files[name] = fine_model([layer(Numbers(name), kind, ["ternary"], 11, 5, changes=[FINE] * 2)])
    name = "gru_mixed_fine_planes"
    changes = ({**FINE, "planes": 2}, {**FINE, "planes": 3, "left_shift": -5, "bias": False})
    files[name] = fine_model([layer(Numbers(name), "gru", ["binary", "pow2"], 6, 4, changes=changes)])
    name = "rnn_ternary_fine_relu"
    changes = [{"clamp": 127, "operand_shift": 8, "left_shift": 7, "three_quarters": True}] * 2
    files[name] = fine_model(
        [layer(Numbers(name), "rnn", ["ternary"], 6, 4, activation="relu", changes=changes)]
    )
    changes = [FINE] * 2
    name = "gru_ternary_fine_reset"
    files[name] = fine_model(
        [layer(Numbers(name), "gru", ["ternary"], 6, 4, reset_before=True, changes=changes)]
    )
    name = "gru_ternary_fine_shared"
    files[name] = fine_model(
        [with_shared_scale(layer(Numbers(name), "gru", ["ternary"], 6, 4, changes=changes), 8)]
    )
    name = "lstm_ternary_fine_initial"
    numbers = Numbers(name)
    state = numbers.integers(-32768, 32767, 12).astype(np.int16)
    files[name] = fine_model(
        [layer(numbers, "lstm", ["ternary"], 6, 4, initial_state=state, changes=[{**FINE, "planes": 3}] * 2)]
    )
    for activation in ("tanh", "relu", "sigmoid"):
        name = f"dense_ternary_fine_{activation}"
        files[name] = fine_model(
            [layer(Numbers(name), "dense", ["ternary"], 6, 4, activation=activation, changes=changes)]
        )
    name = "lstm_ternary_initial"
    numbers = Numbers(name)
    state = numbers.integers(-32768, 32767, 8).astype(np.int16)
    files[name] = model([layer(numbers, "lstm", ["ternary"], 6, 4, initial_state=state)])
    name = "gru_mixed_planes"
    numbers = Numbers(name)
    changes = (
        {"planes": 2, "three_quarters": True, "clamp": 12, "operand_shift": 3},
        {"planes": 3, "clamp": 127, "operand_shift": 8, "left_shift": -1, "bias": False},
    )
    files[name] = model([layer(numbers, "gru", ["ternary", "binary"], 6, 4, changes=changes)])
    for activation in ("tanh", "relu", "sigmoid"):
        name = f"dense_ternary_{activation}"
        files[name] = model([layer(Numbers(name), "dense", ["ternary"], 6, 4, activation=activation)])

    name = "stack_mixed_full"
    numbers = Numbers(name)
    layers = [
        layer(numbers, "dense", ["pow2"], 8, 4, activation="relu"),
        layer(numbers, "gru", ["ternary"], 4, 3, first=False),
        layer(numbers, "dense", ["binary"], 3, 3, first=False),
    ]
    files[name] = ModelFile(
        np.linspace(0.5, 4.0, 8, dtype=np.float32),
        np.linspace(-2.0, 1.5, 8, dtype=np.float32),
        layers,
        labels=("<blank>", "nö", "ja"),
        frontend=FrontendConfig(filter_count=20, cepstrum_count=4, delta_order=1, mean=(1.5, 0, 0, -1)),
        decoder=DecoderConfig(
            0, None, 0.25, 100, np.array([-300, 0, 50], np.int16), np.array([0, 300, 400], np.uint16)
        ),
        metadata={"name": "golden", "licence": "MIT", "note": ""},
    )
    return files


def steps(name, model_file):
    """Text of the .csv file: a header line, then inputs and logits of STEPS steps."""
    most, dtype = {1: (127, np.int8), 2: (32767, np.int16)}[model_file.profile]
    x = Numbers(name + " inputs").integers(-most, most, (STEPS, model_file.input_size)).astype(dtype)
    y = ReferenceStream(model_file).run_quantized(x)
    lines = [",".join([f"x{i}" for i in range(x.shape[1])] + [f"y{i}" for i in range(y.shape[1])])]
    lines += [",".join(map(str, [*row, *logits])) for row, logits in zip(x, y, strict=True)]
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------- bad files


def with_crc(data):
    """The file with its checksum made right."""
    crc = zlib.crc32(data[16:], zlib.crc32(data[:12] + bytes(4)))
    return data[:12] + struct.pack("<I", crc) + data[16:]


def patched(data, offset, code, *values):
    """The file with fields replaced from an offset on, and the checksum made right."""
    new = struct.pack("<" + code, *values)
    return with_crc(data[:offset] + new + data[offset + len(new) :])


def bound_met():
    """A ModelFile whose shared row has just the greatest sum that R27 allows, 2^30 - 1."""
    scales = np.zeros((1, 1, 2), np.uint8)
    w_x = Matrix("pow2", np.full((1, 1, 512), 64, np.int8), scales, clamp=32767)
    w_h = Matrix("pow2", np.ones((1, 1, 1), np.int8), scales, clamp=32767)
    return model([Layer("rnn", "tanh", 512, 1, (w_x, w_h), shared_scale=True)])


def sections(data):
    """list of (type, contents)."""
    result = []
    for i in range(struct.unpack_from("<I", data, 16)[0]):
        section_type, offset, size = struct.unpack_from("<4sII", data, 64 + 16 * i)
        result.append((section_type, data[offset : offset + size]))
    return result


def place(data, section_type, index=0):
    """(file offset of its table entry, of itself) of a section."""
    types = [section[0] for section in sections(data)]
    found = [i for i, other in enumerate(types) if other == section_type][index]
    return 64 + 16 * found, struct.unpack_from("<I", data, 64 + 16 * found + 4)[0]


def replaced(data, section_type, contents):
    """The file with other contents of a section; None takes it out."""
    new = [(t, contents if t == section_type else c) for t, c in sections(data)]
    return _join([section for section in new if section[1] is not None])


def bad():
    """dict: name (beginning with the rule) to bytes."""
    numbers = Numbers("bad")
    tiny = model([layer(numbers, "dense", ["ternary"], 3, 2)]).to_bytes()
    pow2 = model([layer(numbers, "dense", ["pow2"], 3, 2)]).to_bytes()
    binary = model([layer(numbers, "dense", ["binary"], 3, 2)]).to_bytes()
    rnn = model([layer(numbers, "rnn", ["ternary"], 3, 2)]).to_bytes()
    gru = model([layer(numbers, "gru", ["ternary"], 3, 2)]).to_bytes()
    shared = model([with_shared_scale(layer(numbers, "gru", ["ternary"], 3, 2), 4)]).to_bytes()
    state = np.arange(4, dtype=np.int16)
    initial = model([layer(numbers, "lstm", ["ternary"], 3, 2, initial_state=state)]).to_bytes()
    full = ModelFile(
        np.ones(4, np.float32),
        np.zeros(4, np.float32),
        [layer(numbers, "dense", ["ternary"], 4, 2)],
        labels=("a", "b"),
        frontend=FrontendConfig(cepstrum_count=4, delta_order=0),
        decoder=DecoderConfig(0, None, 0.5, 0, np.zeros(2, np.int16), np.zeros(2, np.uint16)),
        metadata={"k": "v", "l": "w"},
    ).to_bytes()

    files = {}

    def add(rule, what, data):
        files[f"R{rule:02}_{what}"] = data

    add(1, "empty", b"")
    add(1, "three_bytes", tiny[:3])
    add(1, "half_a_header", tiny[:40])
    add(1, "cut", tiny[:-64])
    add(2, "magic", patched(tiny, 0, "4s", b"ERNM"))
    add(2, "other_file", b"RIFF")
    add(3, "major", patched(tiny, 4, "H", 2))
    add(3, "major_0", patched(tiny, 4, "H", 0))
    add(3, "minor", patched(tiny, 6, "H", 1))
    add(4, "size_zero", patched(tiny, 8, "I", 0))
    add(4, "size_odd", patched(tiny, 8, "I", len(tiny) + 1))
    add(4, "size_above_limit", patched(tiny, 8, "I", (1 << 30) + 64))
    add(4, "too_long", tiny + bytes(64))
    add(5, "checksum", tiny[:-1] + bytes([tiny[-1] ^ 1]))

    entry, inpt = place(tiny, b"INPT")
    layr_entry, layr = place(tiny, b"LAYR")
    add(6, "header", patched(tiny, 63, "B", 1))
    add(6, "table", patched(tiny, entry + 15, "B", 128))
    add(6, "input", patched(tiny, inpt + 12, "I", 1))
    add(6, "layer", patched(tiny, layr + 12, "B", 1))
    add(6, "matrix", patched(tiny, layr + 32 + 31, "B", 1))
    add(6, "decoder", patched(full, place(full, b"DECO")[1] + 10, "H", 1))
    add(7, "no_section", patched(tiny, 16, "I", 0))
    add(7, "65_sections", patched(tiny, 16, "I", 65))
    add(8, "type", patched(tiny, layr_entry, "4s", b"layr"))
    add(9, "input_missing", _join(sections(tiny)[1:]))
    add(9, "input_twice", _join([sections(tiny)[0], *sections(tiny)]))
    add(9, "metadata_twice", _join([*sections(full), sections(full)[-1]]))
    add(9, "order", _join(sections(full)[:2] + sections(full)[3:1:-1]))
    add(9, "decoder_without_labels", replaced(full, b"LABL", None))
    add(9, "decoder_without_frontend", replaced(full, b"FRNT", None))
    add(10, "hole", patched(tiny, layr_entry + 4, "I", layr + 64))
    add(10, "overlap", patched(tiny, layr_entry + 4, "I", inpt))
    add(10, "misaligned", patched(tiny, layr_entry + 4, "I", layr + 1))
    add(10, "size_zero", patched(tiny, entry + 8, "I", 0))
    add(10, "size_above_end", patched(tiny, layr_entry + 8, "I", 0xFFFFFFFF))
    add(10, "table_above_end", patched(tiny, 16, "I", 64))
    add(10, "slack", patched(tiny + bytes(64), 8, "I", len(tiny) + 64))
    contents = dict(sections(full))
    add(11, "input_short", replaced(tiny, b"INPT", sections(tiny)[0][1][:-1]))
    add(11, "input_no_header", replaced(tiny, b"INPT", bytes(15)))
    add(11, "layer_long", replaced(tiny, b"LAYR", sections(tiny)[1][1] + b"\0"))
    add(11, "layer_short", replaced(tiny, b"LAYR", sections(tiny)[1][1][:-1]))
    add(11, "layer_no_matrix", replaced(tiny, b"LAYR", sections(tiny)[1][1][:63]))
    add(11, "layer_no_header", replaced(tiny, b"LAYR", sections(tiny)[1][1][:31]))
    add(11, "labels_no_count", replaced(full, b"LABL", contents[b"LABL"][:3]))
    add(11, "labels_endless", replaced(full, b"LABL", contents[b"LABL"][:-1]))
    add(11, "labels_long", replaced(full, b"LABL", contents[b"LABL"] + b"\0"))
    add(11, "frontend_long", replaced(full, b"FRNT", contents[b"FRNT"] + b"\0"))
    add(11, "decoder_short", replaced(full, b"DECO", contents[b"DECO"][:-1]))
    add(11, "decoder_no_header", replaced(full, b"DECO", contents[b"DECO"][:15]))
    add(11, "metadata_long", replaced(full, b"META", contents[b"META"] + b"\0"))
    add(11, "metadata_short", replaced(full, b"META", contents[b"META"][:3]))
    wide = struct.unpack_from("<I", tiny, layr_entry + 8)[0]
    add(12, "after_table", patched(tiny, inpt - 1, "B", 1))
    add(12, "after_section", patched(tiny, layr + wide, "B", 1))
    add(12, "between_blocks", patched(tiny, layr + 127, "B", 1))
    add(12, "before_weights", patched(rnn, layr + 127, "B", 1))
    add(12, "before_bias", patched(tiny, layr + 191, "B", 1))
    size = struct.unpack_from("<I", initial, layr_entry + 8)[0]
    add(12, "before_initial_state", patched(initial, layr + size - 9, "B", 1))
    values = (
        ("nan", np.nan),
        ("infinite", np.inf),
        ("large", 2.0**24 * 1.0001),
        ("negative", -(2.0**24) * 1.0001),
    )
    for what, value in values:
        add(13, what, patched(tiny, inpt + 16 + 4 * 3, "f", value))
    add(14, "profile", patched(tiny, inpt + 4, "I", 3))
    add(14, "profile_0", patched(tiny, inpt + 4, "I", 0))
    add(14, "table", patched(tiny, inpt + 8, "I", 0))
    add(14, "table_above", patched(tiny, inpt + 8, "I", 0xFFFFFFFF))
    add(14, "table_of_another_profile", patched(tiny, inpt + 4, "I", 2))
    add(15, "kind_0", patched(tiny, layr, "B", 0))
    add(15, "kind_5", patched(tiny, layr, "B", 5))
    add(15, "matrix_count", patched(tiny, layr + 3, "B", 2))
    add(15, "no_matrix", patched(tiny, layr + 3, "B", 0))
    add(16, "dense", patched(tiny, layr + 1, "B", 4))
    add(16, "rnn", patched(rnn, layr + 1, "B", 0))
    add(16, "gru", patched(gru, layr + 1, "B", 1))
    add(17, "input_0", patched(tiny, inpt, "I", 0))
    add(17, "input_8193", patched(tiny, inpt, "I", 8193))
    add(17, "units_0", patched(tiny, layr + 8, "I", 0))
    add(17, "layer_input_0", patched(tiny, layr + 4, "I", 0))
    add(17, "layer_input_8193", patched(tiny, layr + 4, "I", 8193))
    add(17, "units_8193", patched(tiny, layr + 8, "I", 8193))
    square = sections(model([layer(numbers, "dense", ["ternary"], 1, 1)]).to_bytes())
    add(17, "17_layers", _join([square[0]] + [square[1]] * 17))
    add(17, "no_layer", _join(square[:1]))
    add(17, "no_layer_but_labels", _join([square[0], (b"LABL", b"\0\0\0\0")]))
    add(18, "input", patched(tiny, layr + 4, "I", 4))
    add(18, "input_less", patched(tiny, layr + 4, "I", 2))
    add(18, "second_layer", _join(sections(tiny) + sections(tiny)[1:]))
    add(19, "reset_before_of_rnn", patched(rnn, layr + 2, "B", 1))
    add(19, "shared_scale_of_dense", patched(tiny, layr + 2, "B", 2))
    add(19, "unknown", patched(gru, layr + 2, "B", 8))
    add(19, "matrix", patched(tiny, layr + 32 + 7, "B", 3))
    add(19, "shared_left_shift", patched(shared, layr + 64 + 6, "b", 0))
    # Blocks of this layer, 64 bytes each from 128 on: W_x, its scales, bias, W_h, its scales, bias.
    scale = shared[layr + 128 + 64 * 4]
    add(19, "shared_scales", patched(shared, layr + 128 + 64 * 4, "B", scale ^ 1))
    add(20, "rows", patched(tiny, layr + 32 + 8, "I", 3))
    add(20, "rows_less", patched(tiny, layr + 32 + 8, "I", 1))
    add(20, "columns_more", patched(tiny, layr + 32 + 12, "I", 4))
    add(20, "columns", patched(tiny, layr + 32 + 12, "I", 2))
    add(21, "encoding_0", patched(tiny, layr + 32, "B", 0))
    add(21, "encoding_4", patched(tiny, layr + 32, "B", 4))
    add(22, "planes_0", patched(tiny, layr + 33, "B", 0))
    add(22, "planes_9", patched(tiny, layr + 33, "B", 9))
    add(23, "flags", patched(tiny, layr + 34, "B", 2))
    add(23, "shift", patched(tiny, layr + 35, "B", 16))
    add(23, "clamp", patched(tiny, layr + 36, "H", 24))
    add(24, "low", patched(tiny, layr + 38, "b", -25))
    add(24, "high", patched(tiny, layr + 38, "b", 16))
    weights, scales = layr + 64, layr + 128
    add(25, "binary_beyond", patched(binary, weights, "B", 0x08))
    add(25, "ternary_243", patched(tiny, weights, "B", 243))
    add(25, "ternary_beyond", patched(tiny, weights, "B", 27))
    add(25, "pow2_minus_zero", patched(pow2, weights, "B", 0x80))
    add(25, "pow2_beyond", patched(pow2, weights + 1, "B", 0x10))
    add(26, "reserved_bit", patched(tiny, scales, "BB", 0x90, 0))
    add(26, "absent", patched(tiny, scales, "BB", 0x80, 0x01))
    add(26, "second_alone", patched(tiny, scales, "BB", 0, 0x80))
    edge = bound_met().to_bytes()
    w_h = place(edge, b"LAYR")[1] + 128 + 256 + 64  # behind W_x and its scales
    add(27, "shared_row", patched(edge, w_h, "B", 0x02))  # weight 2 instead of 1
    wide_row = np.full((1, 1, 513), 64, np.int8)
    over = Matrix("pow2", wide_row, np.zeros((1, 1, 2), np.uint8), clamp=127)
    over = model([Layer("dense", "none", 513, 1, (over,))]).to_bytes()
    add(27, "row", patched(over, place(over, b"LAYR")[1] + 36, "H", 32767))

    def labels(*texts):
        return struct.pack("<I", len(texts)) + b"".join(text + b"\0" for text in texts)

    add(28, "count", replaced(full, b"LABL", labels(b"a", b"b", b"c")))
    add(28, "count_less", replaced(full, b"LABL", labels(b"a")))
    add(28, "empty", replaced(full, b"LABL", labels(b"a", b"")))
    add(28, "long", replaced(full, b"LABL", labels(b"a" * 256, b"b")))
    add(28, "repeated", replaced(full, b"LABL", labels(b"a", b"a")))
    for what, text in (
        ("latin1", b"\xe4"),
        ("overlong", b"\xc0\xaf"),
        ("surrogate", b"\xed\xa0\x80"),
        ("above_unicode", b"\xf4\x90\x80\x80"),
        ("cut_character", b"\xe2\x82"),
    ):
        add(28, what, replaced(full, b"LABL", labels(b"a", text)))
    frnt = place(full, b"FRNT")[1]
    for what, offset, code, value in (
        ("rate", 0, "I", 8000),
        ("rate_above", 0, "I", 44100),
        ("window", 4, "I", 513),
        ("window_31", 4, "I", 31),
        ("hop", 8, "I", 15),
        ("hop_above_window", 8, "I", 411),
        ("fft_size", 12, "I", 513),
        ("fft_size_4096", 12, "I", 4096),
        ("filters", 16, "I", 81),
        ("filters_7", 16, "I", 7),
        ("cepstra", 20, "I", 33),
        ("cepstra_0", 20, "I", 0),
        ("delta_order", 24, "I", 3),
        ("stack", 28, "I", 0),
        ("stack_5", 28, "I", 5),
        ("subtract_mean", 32, "I", 2),
        ("preemphasis", 36, "f", np.nan),
        ("preemphasis_above", 36, "f", 1.5),
        ("preemphasis_below", 36, "f", -0.5),
        ("low", 40, "f", -1.0),
        ("low_above", 40, "f", 8000.5),
        ("low_above_high", 40, "f", 6800.0),
        ("high", 44, "f", 8000.5),
        ("high_below", 44, "f", -1.0),
        ("log_floor", 48, "f", 0.0),
        ("log_floor_above", 48, "f", 2e10),
        ("mean", 52, "f", 1.1e6),
        ("mean_below", 52, "f", -1.1e6),
        ("mean_beyond", 52 + 4 * 4, "f", -0.0),
        ("filters_coincide", 16, "I", 80),
    ):
        add(29, what, patched(full, frnt + offset, code, value))
    add(30, "features", patched(full, frnt + 20, "I", 5))
    add(30, "features_less", patched(full, frnt + 20, "I", 3))
    deco = place(full, b"DECO")[1]
    add(31, "blank", patched(full, deco, "H", 2))
    add(31, "unknown", patched(full, deco + 2, "H", 2))
    add(31, "unknown_is_blank", patched(full, deco + 2, "H", 0))
    add(31, "threshold", patched(full, deco + 4, "f", 1.5))
    add(31, "threshold_below", patched(full, deco + 4, "f", -0.5))
    add(31, "threshold_nan", patched(full, deco + 4, "f", np.nan))
    add(31, "delay", patched(full, deco + 8, "h", -2001))
    add(31, "delay_above", patched(full, deco + 8, "h", 2001))
    add(31, "count_less", patched(full, deco + 12, "I", 1))
    add(31, "count", patched(full, deco + 12, "I", 3))

    def pairs(*texts):
        return struct.pack("<I", len(texts) // 2) + b"".join(text + b"\0" for text in texts)

    add(32, "none", replaced(full, b"META", pairs()))
    add(32, "count", replaced(full, b"META", struct.pack("<I", 1025)))
    add(32, "key_empty", replaced(full, b"META", pairs(b"", b"v")))
    add(32, "key_long", replaced(full, b"META", pairs(b"k" * 256, b"v")))
    add(32, "key_repeated", replaced(full, b"META", pairs(b"k", b"v", b"k", b"w")))
    add(32, "key_not_utf8", replaced(full, b"META", pairs(b"\xff", b"v")))
    add(32, "value_not_utf8", replaced(full, b"META", pairs(b"k", b"\x80")))
    fine = fine_model([layer(numbers, "dense", ["ternary"], 3, 2)]).to_bytes()
    bias = place(fine, b"LAYR")[1] + 192  # behind the weights and their scales
    add(33, "high", patched(fine, bias, "i", (1 << 26) + 1))
    add(33, "low", patched(fine, bias + 4, "i", -(1 << 26) - 1))
    return files


def all_files():
    """dict: path below tests/golden to bytes."""
    files = {}
    for name, model_file in good().items():
        files[f"{name}.ernn"] = model_file.to_bytes()
        files[f"{name}.csv"] = steps(name, model_file).encode("ascii")
    files.update({f"bad/{name}.ernn": data for name, data in bad().items()})
    return files


def main():
    (GOLDEN / "bad").mkdir(parents=True, exist_ok=True)
    files = all_files()
    for path in [*GOLDEN.glob("*.*"), *(GOLDEN / "bad").glob("*.*")]:
        if path.relative_to(GOLDEN).as_posix() not in files:
            path.unlink()
    for name, data in files.items():
        (GOLDEN / name).write_bytes(data)
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes")


if __name__ == "__main__":
    main()
