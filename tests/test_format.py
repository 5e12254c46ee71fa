# SPDX-License-Identifier: MIT
"""The codec in Python and the parser in C: equal to exporters/FORMAT.md; what is written is read back."""

import os
import pathlib
import pickle
import re
import struct
import zlib

import make_golden
import numpy as np
import pytest
import random_models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edge_runtime
from edge_runtime import FormatError, FrontendConfig, Model, activation_table, fine_table
from edge_runtime import format as codec
from edge_runtime._native import ffi, lib
from edge_runtime.format import DecoderConfig, Layer, Matrix, ModelFile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = (ROOT / "exporters" / "FORMAT.md").read_text(encoding="utf-8")
STATUSES = {name: value for value, name in ffi.typeof("er_status").elements.items()}

slow_is_fine = settings(deadline=None, suppress_health_check=list(HealthCheck))


# ------------------------------------------------------------------------------ page, enum, texts


def test_page_and_header_and_codec_have_the_same_rules():
    rows = re.findall(r"^\| R(\d+) \| (-\d+) \| `(ER_ERROR_\w+)` \|$", PAGE, re.M)
    assert [int(rule) for rule, _, _ in rows] == list(range(1, 34))
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


def test_crc32_of_long_data_is_that_of_zlib():
    data = np.random.default_rng(3).integers(0, 256, 4103, np.uint8).tobytes()
    for size in range(4090, len(data) + 1):
        assert lib.er_crc32(data, size) == zlib.crc32(data[:size])


def test_crc32_check_value():
    assert lib.er_crc32(b"123456789", 9) == 0xCBF43926
    assert lib.er_crc32(ffi.NULL, 0) == 0


@pytest.mark.parametrize("crc", [activation_table.TABLE_CRC, fine_table.TABLE_CRC])
def test_activation_table_crc_is_on_the_page(crc):
    assert f"0x{crc:08X}" in PAGE


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
    base = random_models.random_model(
        rng,
        kinds,
        input_size=input_size,
        output_size=draw(st.integers(1, 9)),
        profile=draw(st.sampled_from(random_models.PROFILES)),
    )
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
    parts = labels, frontend, decoder, metadata
    return ModelFile(base.input_scale, base.input_offset, base.layers, *parts, base.profile)


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
    assert model.info["state_size"] == model_file.state_size
    assert model.profile == model.info["profile"] == model_file.profile
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
    model_file = make_golden.bound_met()
    assert Model.from_bytes(model_file.to_bytes()).output_size == model_file.output_size


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
    ("change", "message"),
    [
        ({"profile": 3}, "profile: expected 1 or 2, got 3"),
        ({"profile": 2, "bias": np.int16}, "bias: expected int32 in profile 2, got int16"),
        ({"profile": 1, "bias": np.int32}, "bias: expected int16 in profile 1, got int32"),
        ({"profile": 2, "state": 4}, "initial_state: expected 6 values in profile 2, got 4"),
        ({"profile": 1, "state": 6}, "initial_state: expected 4 values in profile 1, got 6"),
    ],
)
def test_model_file_refuses_parts_of_the_other_profile(change, message):
    def matrix(columns):
        bias = None if "bias" not in change else np.zeros(8, change["bias"])
        return Matrix("binary", np.ones((1, 8, columns), np.int8), np.zeros((1, 8, 2), np.uint8), bias)

    state = None if "state" not in change else np.zeros(change["state"], np.int16)
    layer = Layer("lstm", "none", 3, 2, (matrix(3), matrix(2)), initial_state=state)
    with pytest.raises(ValueError, match=message):
        make_golden.model([layer], profile=change["profile"])


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
