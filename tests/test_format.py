# SPDX-License-Identifier: MIT
"""The codec in Python and the parser in C: equal to exporters/FORMAT.md and to each other."""

import os
import pathlib
import pickle
import re
import struct
import threading
import zlib

import make_golden
import numpy as np
import pytest
import random_models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edge_runtime
from edge_runtime import FormatError, FrontendConfig, Model, packing
from edge_runtime import format as codec
from edge_runtime._native import ffi, lib
from edge_runtime.activation_table import TABLE_CRC
from edge_runtime.format import DecoderConfig, Layer, Matrix, ModelFile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = (ROOT / "exporters" / "FORMAT.md").read_text(encoding="utf-8")
STATUSES = {name: value for value, name in ffi.typeof("er_status").elements.items()}

slow_is_fine = settings(deadline=None, suppress_health_check=list(HealthCheck))


def c_verdict(data):
    """What the C parser says: None, or (status, rule, offset, expected, found)."""
    error = ffi.new("er_error *")
    size = ffi.new("size_t *")
    status = lib.er_model_size(ffi.from_buffer(data) if data else b"", len(data), ffi.NULL, size, error)
    if status == 0:
        return None
    assert status == error.status
    return error.status, error.rule, error.offset, error.expected, error.found


def python_verdict(data):
    """What the Python codec says, in the same form."""
    try:
        ModelFile.from_bytes(data)
    except FormatError as error:
        return error.status, error.rule, error.offset, error.expected, error.found
    return None


# ------------------------------------------------------------------------------ page, enum, texts


def test_page_and_header_and_codec_have_the_same_rules():
    rows = re.findall(r"^\| R(\d+) \| (-\d+) \| `(ER_ERROR_\w+)` \|$", PAGE, re.M)
    assert [int(rule) for rule, _, _ in rows] == list(range(1, 33))
    assert {int(rule): name for rule, _, name in rows} == codec.RULE_STATUS
    assert {name: int(status) for _, status, name in rows} == {
        name: value for name, value in STATUSES.items() if value <= -10
    }


def test_every_rule_stands_on_the_page():
    stated = set(map(int, re.findall(r"^\* \*\*R(\d+)\*\*", PAGE, re.M)))
    assert stated == set(codec.RULE_STATUS)


def test_every_status_has_its_own_text():
    texts = [ffi.string(lib.er_status_text(value)).decode() for value in STATUSES.values()]
    unknown = ffi.string(lib.er_status_text(-9999)).decode()
    assert len({*texts, unknown}) == len(texts) + 1
    assert not any(text.endswith(".") for text in texts)


def test_version_is_that_of_the_package():
    assert ffi.string(lib.er_version()).decode() == edge_runtime.__version__


@given(st.binary(max_size=300))
def test_crc32_is_that_of_zlib(data):
    assert lib.er_crc32(data, len(data)) == zlib.crc32(data)


def test_crc32_check_value():
    assert lib.er_crc32(b"123456789", 9) == 0xCBF43926
    assert lib.er_crc32(ffi.NULL, 0) == 0


def test_activation_table_crc_is_on_the_page():
    assert f"0x{TABLE_CRC:08X}" in PAGE


# --------------------------------------------------------------------------------------- packing


@pytest.mark.parametrize("columns", [1, 2, 4, 5, 6, 7, 8, 9, 16, 17])
def test_binary_packs_column_j_into_bit_j(columns):
    for j in range(columns):
        row = np.full(columns, -1, np.int8)
        row[j] = 1
        expected = (1 << j).to_bytes(-(-columns // 8), "little")
        assert packing.pack_binary(row).tobytes() == expected
        assert packing.unpack_binary(packing.pack_binary(row), columns).tolist() == row.tolist()


@pytest.mark.parametrize("columns", [1, 2, 4, 5, 6, 9, 10, 11])
@pytest.mark.parametrize(("weight", "digit"), [(1, 1), (-1, 2)])
def test_ternary_packs_column_j_into_digit_j(columns, weight, digit):
    for j in range(columns):
        row = np.zeros(columns, np.int8)
        row[j] = weight
        expected = bytearray(-(-columns // 5))
        expected[j // 5] = digit * 3 ** (j % 5)
        assert packing.pack_ternary(row).tobytes() == bytes(expected)
        assert packing.unpack_ternary(packing.pack_ternary(row), columns).tolist() == row.tolist()


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("exponent", range(7))
@pytest.mark.parametrize("sign", [1, -1])
def test_pow2_packs_column_j_into_nibble_j(columns, exponent, sign):
    for j in range(columns):
        row = np.zeros(columns, np.int8)
        row[j] = sign << exponent
        code = exponent + 1 | (8 if sign < 0 else 0)
        expected = (code << 4 * j).to_bytes(-(-columns // 2), "little")
        assert packing.pack_pow2(row).tobytes() == expected
        assert packing.unpack_pow2(packing.pack_pow2(row), columns).tolist() == row.tolist()


@pytest.mark.parametrize(
    ("pack", "bad"),
    [
        (packing.pack_binary, 0),
        (packing.pack_ternary, 2),
        (packing.pack_ternary, -128),
        (packing.pack_pow2, 3),
    ],
)
def test_weight_without_a_code_is_refused(pack, bad):
    with pytest.raises(ValueError, match=str(bad)):
        pack(np.array([1, bad], np.int8))


@given(
    encoding=st.sampled_from(list(codec.ENCODINGS)),
    seed=st.integers(0, 2**32 - 1),
    columns=st.integers(1, 40),
)
def test_packing_round_trip(encoding, seed, columns):
    weights = random_models.random_weights(np.random.default_rng(seed), encoding, (3, 4, columns))
    packed = packing.PACK[encoding](weights)
    assert packed.dtype == np.uint8
    unpacked = packing.UNPACK[encoding](packed, columns)
    assert unpacked.dtype == np.int8
    np.testing.assert_array_equal(unpacked, weights)


# ------------------------------------------------------------------------------------ row scales


def all_scale_codes():
    terms = [0x80 | sign | k for sign in (0, 0x40) for k in range(16)]
    return [(0, 0), *((a, b) for a in terms for b in [0, *terms])]


def test_row_scale_code_is_the_closest():
    values = np.unique(codec.row_scale_value(np.array(all_scale_codes(), np.uint8)))
    targets = np.concatenate([np.linspace(-2, 2, 2001), [1e-6, -3e-5, 0.0]])
    best = np.abs(values[None] - targets[:, None]).min(axis=1)
    codes = codec.row_scale_code(targets)
    assert codes.shape == (len(targets), 2)
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(np.abs(codec.row_scale_value(codes) - targets), best)


def test_row_scale_code_returns_representable_values():
    values = codec.row_scale_value(np.array(all_scale_codes(), np.uint8))
    np.testing.assert_array_equal(codec.row_scale_value(codec.row_scale_code(values)), values)


def test_row_scale_code_prefers_fewer_terms_and_small_shifts():
    assert codec.row_scale_code(1.0).tolist() == [0x80, 0]
    assert codec.row_scale_code(-0.5).tolist() == [0xC1, 0]
    assert codec.row_scale_code(0.75).tolist() == [0x80, 0xC2]
    assert codec.row_scale_code(0.0).tolist() == [0, 0]
    assert codec.row_scale_code(-1.5).tolist() == [0xC0, 0xC1]


def test_row_scale_code_with_one_term():
    targets = np.linspace(-1, 1, 401)
    codes = codec.row_scale_code(targets, terms=1)
    assert (codes[:, 1] == 0).all()
    singles = np.array([0.0] + [s * 2.0**-k for k in range(16) for s in (1, -1)])
    best = np.abs(singles[None] - targets[:, None]).min(axis=1)
    np.testing.assert_array_equal(np.abs(codec.row_scale_value(codes) - targets), best)


@pytest.mark.parametrize("value", [2.1, -2.1, np.nan, np.inf])
def test_row_scale_code_refuses_what_it_cannot_reach(value):
    with pytest.raises(ValueError, match="row scale"):
        codec.row_scale_code([0.5, value])


# ------------------------------------------------------------------------------------ round trip

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
key = text.filter(len)


@st.composite
def model_files(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = draw(st.lists(st.sampled_from(random_models.KINDS), min_size=1, max_size=4))
    frontend = None
    input_size = draw(st.integers(1, 30))
    if draw(st.booleans()):
        frontend = FrontendConfig(
            filter_count=draw(st.integers(8, 30)),
            cepstrum_count=draw(st.integers(1, 8)),
            delta_order=draw(st.integers(0, 2)),
            stack=draw(st.integers(1, 4)),
            subtract_mean=draw(st.booleans()),
            preemphasis=draw(st.floats(0, 1, width=32)),
            log_floor=draw(st.floats(2.0**-20, 10, width=32)),
        )
        input_size = frontend.feature_size
    base = random_models.random_model(rng, kinds, input_size=input_size, output_size=draw(st.integers(1, 9)))
    outputs = base.output_size
    labels = None
    if draw(st.booleans()):
        labels = tuple(draw(st.lists(key, min_size=outputs, max_size=outputs, unique=True)))
    decoder = None
    if labels and frontend:
        blank = draw(st.integers(0, outputs - 1))
        unknown = draw(st.none() | st.integers(0, outputs - 1).filter(lambda value: value != blank))
        decoder = DecoderConfig(
            blank,
            unknown if outputs > 1 else None,
            draw(st.floats(0, 1, width=32)),
            draw(st.integers(-2000, 2000)),
            random_models.random_int16(rng, outputs),
            rng.integers(0, 65536, outputs).astype(np.uint16),
        )
    metadata = draw(st.dictionaries(key, text, max_size=4))
    return ModelFile(base.input_scale, base.input_offset, base.layers, labels, frontend, decoder, metadata)


def as_plain(value):
    """Nested lists and dicts of a part, for comparison."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tolist()
    if hasattr(value, "__dataclass_fields__"):
        return {name: as_plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, tuple):
        return [as_plain(item) for item in value]
    return value


@slow_is_fine
@given(model_files())
def test_round_trip(model_file):
    data = model_file.to_bytes()
    assert len(data) % 64 == 0
    again = ModelFile.from_bytes(data)
    assert as_plain(again) == as_plain(model_file)
    assert again.to_bytes() == data

    model = Model.from_bytes(data)
    assert model.input_size == model_file.input_size
    assert model.output_size == model_file.output_size
    assert model.labels == (model_file.labels or ())
    assert model.metadata == model_file.metadata
    assert model.info["has_frontend"] == (model_file.frontend is not None)
    assert model.info["has_decoder"] == (model_file.decoder is not None)
    assert model.info["file_bytes"] == len(data)
    assert model.info["state_size"] == sum(layer.state_size for layer in model_file.layers)
    if model_file.frontend is not None:
        assert model.info["step_samples"] == model_file.frontend.step_samples


def test_limits_are_inside():
    one = Matrix("ternary", np.ones((1, 1, 1), np.int8), np.zeros((1, 1, 2), np.uint8))
    deep = make_golden.model([Layer("dense", "none", 1, 1, (one,))] * 16)
    assert Model.from_bytes(deep.to_bytes()).info["layer_count"] == 16
    size = 8192
    w = np.zeros((8, 1, size), np.int8)
    wide = make_golden.model(
        [Layer("dense", "none", size, 1, (Matrix("ternary", w, np.zeros((8, 1, 2), np.uint8)),))]
    )
    assert Model.from_bytes(wide.to_bytes()).input_size == size
    tall = Matrix("binary", np.ones((1, size, 1), np.int8), np.zeros((1, size, 2), np.uint8))
    labels = tuple(map(str, range(size)))
    metadata = {f"{i}".ljust(255, "k"): "v" * 70000 for i in range(3)} | {str(i): "" for i in range(1021)}
    tall = make_golden.model([Layer("dense", "none", 1, size, (tall,))], labels=labels, metadata=metadata)
    model = Model.from_bytes(tall.to_bytes())
    assert model.labels == labels
    assert model.metadata == metadata


def test_greatest_sum_is_inside():
    data = make_golden.bound_met().to_bytes()
    assert c_verdict(data) is None


def test_arrays_are_read_only_copies():
    scale = np.ones(3, np.float32)
    weights = np.ones((1, 2, 3), np.int8)
    matrix = Matrix("binary", weights, np.zeros((1, 2, 2), np.uint8))
    model_file = ModelFile(scale, scale, [Layer("dense", "none", 3, 2, [matrix])])
    weights[:] = 0
    scale[:] = 0
    assert (matrix.weights == 1).all()
    assert (model_file.input_scale == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        matrix.weights[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.ones((2, 3), np.int8)}, "weights: expected shape"),
        ({"weights": np.ones((1, 2, 3), np.int16)}, "weights: expected int8, got int16"),
        ({"scales": np.zeros((1, 3, 2), np.uint8)}, "scales: expected shape"),
        ({"bias": np.zeros(3, np.int16)}, "bias: expected shape"),
        ({"bias": np.zeros(2, np.float32)}, "bias: expected int16, got float32"),
        ({"encoding": "int8"}, "encoding: expected one of binary, ternary, pow2, got 'int8'"),
    ],
)
def test_matrix_refuses_wrong_types_and_shapes(change, message):
    fields = {
        "encoding": "binary",
        "weights": np.ones((1, 2, 3), np.int8),
        "scales": np.zeros((1, 2, 2), np.uint8),
    }
    with pytest.raises(ValueError, match=message):
        Matrix(**{**fields, **change})


def dense(**changes):
    fields = {"clamp": 7, "operand_shift": 0, "left_shift": 0, **changes}
    matrix = Matrix("ternary", np.ones((1, 2, 3), np.int8), np.zeros((1, 2, 2), np.uint8), **fields)
    return Layer("dense", "none", 3, 2, (matrix,))


@pytest.mark.parametrize(
    ("change", "rule"), [({"clamp": 8}, 23), ({"operand_shift": 16}, 23), ({"left_shift": 16}, 24)]
)
def test_writer_enforces_the_rules(change, rule):
    with pytest.raises(FormatError) as caught:
        make_golden.model([dense(**change)]).to_bytes()
    assert caught.value.rule == rule


@pytest.mark.parametrize(
    "parts",
    [
        {"labels": ("a",)},
        {"labels": ("a", "a")},
        {"labels": ("a", "")},
        {"metadata": {"": "v"}},
        {"metadata": {"k" * 256: "v"}},
        {"frontend": FrontendConfig()},
    ],
)
def test_writer_refuses_illegal_parts(parts):
    with pytest.raises(FormatError):
        make_golden.model([dense()], **parts).to_bytes()


@pytest.mark.parametrize(
    "model_file",
    [
        make_golden.model([dense(clamp=70000)]),
        make_golden.model([dense(left_shift=-200)]),
        make_golden.model([dense()], labels=("a", "b\0c")),
        make_golden.model([dense()], labels=("a", "\ud800")),
        make_golden.model([dense()], metadata={"k": 1}),
    ],
    ids=["clamp", "shift", "zero", "surrogate", "number"],
)
def test_writer_refuses_what_has_no_bytes(model_file):
    with pytest.raises(ValueError, match=r"fit|hold|str") as caught:
        model_file.to_bytes()
    assert not isinstance(caught.value, FormatError)


def test_error_names_file_rule_and_values(tmp_path):
    path = tmp_path / "digits.ernn"
    data = bytearray(make_golden.model([dense()]).to_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        ModelFile.load(path)
    crc = zlib.crc32(bytes(data[16:]), zlib.crc32(bytes(data[:12]) + bytes(4)))
    found = struct.unpack_from("<I", data, 12)[0]
    assert str(caught.value) == (
        f"{path}: offset 12: checksum mismatch: the file is damaged (rule R5): "
        f"expected 0x{crc:08x}, found 0x{found:08x}"
    )
    assert isinstance(caught.value, ValueError)
    assert caught.value.status == lib.ER_ERROR_CHECKSUM
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert (again.rule, again.offset) == (5, 12)


# -------------------------------------------------------------------------------------- mutations


def mutate(rng, data):
    """A damaged copy with the checksum made right, and seldom with another length."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        how = rng.integers(8)
        # Headers are short among padding and blocks: prefer bytes that are not zero.
        used = np.flatnonzero(np.frombuffer(bytes(data), np.uint8))
        at = int(rng.choice(used)) if rng.random() < 0.5 else int(rng.integers(len(data)))
        if how < 3:
            data[at] = int(rng.integers(256))
        elif how == 3:
            data[at] ^= 1 << int(rng.integers(8))
        elif how == 4:
            value = int(rng.choice([0, 1, 2, 16, 64, 127, 128, 8192, 8193, 2**31, 2**32 - 1, 2**32 - 64]))
            at &= ~3
            data[at : at + 4] = value.to_bytes(4, "little")
        elif how == 5:
            at &= ~3
            old = int.from_bytes(data[at : at + 4], "little")
            new = old + int(rng.choice([-64, -16, -1, 1, 16, 64]))
            data[at : at + 4] = (new % 2**32).to_bytes(4, "little")
        elif how == 6:
            other = int(rng.integers(len(data) // 64)) * 64
            at &= ~63
            data[at : at + 64], data[other : other + 64] = data[other : other + 64], data[at : at + 64]
        elif rng.random() < 0.2:
            size = int(rng.integers(2 * len(data)))
            data = data[:size] + bytes(max(size - len(data), 0))
            if len(data) >= 64 and rng.random() < 0.8:
                data[8:12] = len(data).to_bytes(4, "little")
        if len(data) < 64:
            return bytes(data)
    return make_golden.with_crc(bytes(data))


def check_mutations(rng, sources, count):
    """Compare both parsers on mutations; returns how many were accepted and the rules seen."""
    accepted, rules = 0, {}
    for _ in range(count):
        data = mutate(rng, sources[rng.integers(len(sources))])
        verdict = c_verdict(data)
        assert python_verdict(data) == verdict, data.hex()
        if verdict is None:
            accepted += 1
            assert ModelFile.from_bytes(data).to_bytes() == data, data.hex()
        else:
            rules[verdict[1]] = rules.get(verdict[1], 0) + 1
    return accepted, rules


def test_both_parsers_agree_on_damaged_files():
    sources = [path.read_bytes() for path in sorted(make_golden.GOLDEN.glob("*.ernn"))]
    sources += [sources[-1]] * len(sources)  # the one with all kinds of sections
    accepted, rules = check_mutations(np.random.default_rng(1), sources, 6000)
    assert accepted > 500
    assert len(rules) > 25, sorted(rules)


@slow_is_fine
@given(st.binary(max_size=200))
def test_both_parsers_agree_on_noise(data):
    assert python_verdict(data) == c_verdict(data)
    data = b"ERNN\x01\0\0\0" + data
    assert python_verdict(data) == c_verdict(data)


# ------------------------------------------------------------------------------------------- save


def test_save_and_load(tmp_path):
    model_file = make_golden.model([dense()], metadata={"name": "x"})
    path = tmp_path / "m.ernn"
    model_file.save(path)
    assert path.read_bytes() == model_file.to_bytes()
    assert ModelFile.load(str(path)).metadata == {"name": "x"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch, function):
    path = tmp_path / "m.ernn"
    path.write_bytes(b"old")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(codec.os, function, fail)
    with pytest.raises(OSError, match="disk full"):
        make_golden.model([dense()]).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_illegal_model_is_not_saved(tmp_path):
    path = tmp_path / "m.ernn"
    path.write_bytes(b"old")
    with pytest.raises(FormatError) as caught:
        make_golden.model([dense(clamp=8)]).save(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="symbolic links and modes of POSIX")
def test_save_follows_links_and_keeps_to_the_umask(tmp_path):
    target = tmp_path / "target.ernn"
    link = tmp_path / "link.ernn"
    target.write_bytes(b"old")
    link.symlink_to(target)
    before = os.umask(0o027)
    try:
        make_golden.model([dense()]).save(link)
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert target.read_bytes()[:4] == b"ERNN"
    assert target.stat().st_mode & 0o777 == 0o640


def test_save_into_a_missing_folder_fails(tmp_path):
    with pytest.raises(FileNotFoundError):
        make_golden.model([dense()]).save(tmp_path / "none" / "m.ernn")


# --------------------------------------------------------------------------------- er_model_* in C


@pytest.fixture
def data():
    return (make_golden.GOLDEN / "stack_mixed_full.ernn").read_bytes()


def run(model):
    """Logits of a few fixed steps of a C model."""
    info = ffi.new("er_model_info *")
    assert lib.er_model_describe(model, info) == 0
    stream = ffi.new("er_stream **")
    assert lib.er_stream_create(model, stream) == 0
    x = np.arange(4 * info.input_size, dtype=np.int8)
    y = np.empty(4 * info.output_size, np.int16)
    status = lib.er_stream_run_quantized(
        stream[0], ffi.from_buffer("int8_t[]", x), 4, ffi.from_buffer("int16_t[]", y)
    )
    lib.er_stream_destroy(stream[0])
    assert status == 0
    return y.tolist()


def aligned(size, offset=0):
    """(owner, pointer) of memory that begins `offset` bytes behind a multiple of 64."""
    owner = ffi.new("char[]", size + 128)
    address = int(ffi.cast("uintptr_t", owner))
    return owner, owner + (-address) % 64 + offset


def test_borrowed_bytes_are_used_in_place(data):
    out = ffi.new("er_model **")
    assert lib.er_model_create(data, len(data), ffi.NULL, out, ffi.NULL) == 0
    expected = run(out[0])
    info = ffi.new("er_model_info *")
    lib.er_model_describe(out[0], info)
    copied_bytes = info.model_bytes
    lib.er_model_destroy(out[0])

    options = ffi.new("er_model_options *", {"flags": lib.ER_MODEL_BORROW})
    for offset in (0, 1):  # no alignment of the caller's bytes is needed
        owner, bytes_ = aligned(len(data), offset)
        ffi.memmove(bytes_, data, len(data))
        assert lib.er_model_create(bytes_, len(data), options, out, ffi.NULL) == 0
        assert run(out[0]) == expected
        label = lib.er_model_label(out[0], 1)
        assert bytes_ <= ffi.cast("char *", label) < bytes_ + len(data)
        lib.er_model_describe(out[0], info)
        assert info.model_bytes == copied_bytes - len(data)
        lib.er_model_destroy(out[0])
        del owner


def test_copied_bytes_may_change(data):
    owner, bytes_ = aligned(len(data))
    ffi.memmove(bytes_, data, len(data))
    out = ffi.new("er_model **")
    assert lib.er_model_create(bytes_, len(data), ffi.NULL, out, ffi.NULL) == 0
    before = run(out[0])
    ffi.memmove(bytes_, bytes(len(data)), len(data))
    assert run(out[0]) == before
    assert ffi.string(lib.er_model_label(out[0], 2)) == b"ja"
    lib.er_model_destroy(out[0])
    del owner


@pytest.mark.parametrize("borrow", [False, True])
def test_model_in_the_callers_memory(data, borrow):
    options = ffi.new("er_model_options *", {"flags": lib.ER_MODEL_BORROW if borrow else 0})
    size = ffi.new("size_t *")
    assert lib.er_model_size(data, len(data), options, size, ffi.NULL) == 0
    out = ffi.new("er_model **")
    error = ffi.new("er_error *")
    owner, memory = aligned(size[0] + 64)
    held = ffi.from_buffer(data)
    status = lib.er_model_init(memory, size[0] - 1, held, len(data), options, out, error)
    assert status == error.status == lib.ER_ERROR_MEMORY
    assert (error.expected, error.found) == (size[0], size[0] - 1)
    assert lib.er_model_init(memory + 8, size[0], held, len(data), options, out, error) == lib.ER_ERROR_MEMORY
    assert out[0] == ffi.NULL
    assert lib.er_model_init(memory, size[0], held, len(data), options, out, error) == 0
    assert ffi.cast("char *", out[0]) == memory
    assert len(run(out[0])) == 12
    info = ffi.new("er_model_info *")
    lib.er_model_describe(out[0], info)
    assert info.model_bytes == size[0]
    lib.er_model_destroy(out[0])  # nothing to release
    del owner


def test_arguments_are_checked(data):
    out = ffi.new("er_model **")
    error = ffi.new("er_error *")
    null = ffi.NULL
    create = lib.er_model_create
    assert create(null, 0, null, out, error) == error.status == lib.ER_ERROR_ARGUMENT
    assert create(data, len(data), null, null, error) == lib.ER_ERROR_ARGUMENT
    options = ffi.new("er_model_options *", {"flags": 2})
    assert create(data, len(data), options, out, error) == lib.ER_ERROR_ARGUMENT
    name = ffi.new("char[]", b"mmx")
    options = ffi.new("er_model_options *", {"kernel": name})
    assert create(data, len(data), options, out, error) == error.status == lib.ER_ERROR_KERNEL
    assert lib.er_model_size(data, len(data), null, null, null) == lib.ER_ERROR_ARGUMENT
    assert lib.er_model_describe(null, null) == lib.ER_ERROR_ARGUMENT
    assert lib.er_model_label(null, 0) == null
    lib.er_model_destroy(null)
    assert create(data[:-64], len(data) - 64, null, out, null) == lib.ER_ERROR_TRUNCATED
    assert out[0] == null

    assert create(data, len(data), null, out, null) == 0
    assert lib.er_model_label(out[0], 3) == null
    key, value = ffi.new("char **"), ffi.new("char **")
    assert lib.er_model_metadata(out[0], 2, key, value) == 0
    assert (ffi.string(key[0]), ffi.string(value[0])) == (b"note", b"")
    assert lib.er_model_metadata(out[0], 3, key, value) == lib.ER_ERROR_ARGUMENT
    lib.er_model_destroy(out[0])


def from_file(path, options=ffi.NULL):
    """(status, error, model) of er_model_create_from_file; model: caller destroys."""
    out = ffi.new("er_model **")
    error = ffi.new("er_error *")
    status = lib.er_model_create_from_file(os.fsencode(path), options, out, error)
    assert (status == 0) == (out[0] != ffi.NULL)
    assert status == 0 or status == error.status
    return status, error, out[0]


def test_from_file(tmp_path, data):
    path = tmp_path / "m.ernn"
    path.write_bytes(data)
    status, _, model = from_file(path)
    assert status == 0
    assert len(run(model)) == 12
    lib.er_model_destroy(model)
    options = ffi.new("er_model_options *", {"flags": lib.ER_MODEL_BORROW})
    assert from_file(path, options)[0] == lib.ER_ERROR_ARGUMENT
    assert lib.er_model_create_from_file(ffi.NULL, ffi.NULL, ffi.NULL, ffi.NULL) == lib.ER_ERROR_ARGUMENT


def test_large_file_is_read_whole(tmp_path):
    w = np.ones((8, 100, 8192), np.int8)
    matrix = Matrix("binary", w, np.zeros((8, 100, 2), np.uint8))
    model_file = make_golden.model([Layer("dense", "none", 8192, 100, (matrix,))])
    path = tmp_path / "m.ernn"
    model_file.save(path)
    status, _, model = from_file(path)
    assert status == 0
    lib.er_model_destroy(model)
    with open(path, "ab") as file:
        file.write(b"\0")
    status, error, _ = from_file(path)
    assert status == lib.ER_ERROR_FILE_SIZE
    assert error.found == path.stat().st_size


def test_what_is_no_file_gives_a_clean_error(tmp_path):
    assert from_file(tmp_path / "none.ernn")[0] == lib.ER_ERROR_IO
    assert from_file(tmp_path)[0] == lib.ER_ERROR_IO
    empty = tmp_path / "empty.ernn"
    empty.write_bytes(b"")
    assert from_file(empty)[0] == lib.ER_ERROR_TRUNCATED


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs Linux")
def test_unreadable_file_gives_a_clean_error():
    assert from_file("/proc/self/mem")[0] == lib.ER_ERROR_IO


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_read_to_its_end(tmp_path, data):
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write():
        with open(path, "wb") as file:
            for i in range(0, len(data), 100):
                file.write(data[i : i + 100])
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    status, _, model = from_file(path)
    writer.join()
    assert status == 0
    lib.er_model_destroy(model)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs /dev/zero")
def test_endless_file_is_not_read_to_its_end():
    assert from_file("/dev/zero")[0] == lib.ER_ERROR_MAGIC
