# SPDX-License-Identifier: MIT
"""What a model file may hold and what may be behind its path: limits, memory, files that never end or are none."""

import contextlib
import os
import pathlib
import re
import struct
import threading
import tracemalloc

import make_golden
import pytest

from edge_runtime import FormatError, Model
from edge_runtime._native import ffi, lib
from edge_runtime.format import Layer, ModelFile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = (ROOT / "exporters" / "FORMAT.md").read_text(encoding="utf-8")
GOOD = (make_golden.GOLDEN / "stack_mixed_full.ernn").read_bytes()
posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="files of POSIX")


def load_by_c(path):
    """Load and release a model as a C program does; (status, rule, offset, expected, found), or None if it is one."""
    out, error = ffi.new("er_model **"), ffi.new("er_error *")
    status = lib.er_model_create_from_file(os.fsencode(path), ffi.NULL, out, error)
    if status == 0:
        lib.er_model_destroy(out[0])
        return None
    assert status == error.status
    return error.status, error.rule, error.offset, error.expected, error.found


def test_page_and_header_have_the_same_limits():
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| R[^|]+ \| `(ER_MAX_\w+)` \|$", PAGE, re.M)
    stated = {
        name: 2 ** int(text[2:].split()[0]) if text.startswith("2^") else int(text.split()[0])
        for text, name in rows
    }
    assert len(stated) == 8
    assert stated == {name: getattr(lib, name) for name in stated}


# ------------------------------------------------------------------------------------------ memory


def hostile_files():
    """dict: name to bytes that claim more than they hold, and every file of tests/golden/bad."""
    files = {path.stem: path.read_bytes() for path in sorted((make_golden.GOLDEN / "bad").glob("*.ernn"))}
    most = 0xFFFFFFFF
    for i, (section_type, _) in enumerate(make_golden.sections(GOOD)):
        at = struct.unpack_from("<I", GOOD, 64 + 16 * i + 4)[0]
        for claim in (most, 1 << 30, 1 << 28, 8192):
            files[f"{i}_{section_type}_size_{claim}"] = make_golden.patched(GOOD, 64 + 16 * i + 8, "I", claim)
            for field in range(0, 96, 4):
                files[f"{i}_{section_type}_{field}_{claim}"] = make_golden.patched(
                    GOOD, at + field, "I", claim
                )
    files["file"] = make_golden.patched(GOOD, 8, "I", 1 << 30)
    files["sections"] = make_golden.patched(GOOD, 16, "I", 64)
    return files


def test_hostile_headers_ask_for_no_memory():
    for name, data in hostile_files().items():
        tracemalloc.start()
        with contextlib.suppress(FormatError):
            ModelFile.from_bytes(data, name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64 * len(data) + (1 << 20), name


@pytest.mark.parametrize("encoding", make_golden.WEIGHTS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 2048), (2048, 1), (300, 300)], ids=str)
def test_memory_of_a_model_follows_from_its_file(encoding, shape):
    numbers = make_golden.Numbers("memory")
    for planes in (1, 8):
        changes = {"planes": planes, "clamp": 7}
        layer = make_golden.layer(numbers, "dense", [encoding], *shape, changes=[changes])
        model_file = make_golden.model([layer])
        data = model_file.to_bytes()
        model = Model.from_bytes(data)
        assert model.info["model_bytes"] <= 20 * len(data) + (16 << 10)
        assert model.info["stream_bytes"] < 32 << 20
        tracemalloc.start()
        ModelFile.from_bytes(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64 * len(data) + (1 << 20)


def test_sizes_that_cannot_be_are_refused():
    """More bytes than the address space has are not summed up to few."""
    out, error, size = ffi.new("er_model **"), ffi.new("er_error *"), ffi.new("size_t *")
    most = 2 ** (8 * ffi.sizeof("size_t")) - 1
    for claim in (most, most - 63, most // 2 + 1, (1 << 30) + 64):
        assert lib.er_model_create(GOOD, claim, ffi.NULL, out, error) == lib.ER_ERROR_FILE_SIZE
        assert lib.er_model_size(GOOD, claim, ffi.NULL, size, error) == lib.ER_ERROR_FILE_SIZE
    # The greatest memory there can be is more than enough, and is not added to.
    memory = ffi.new("char[]", (1 << 20) + 64)
    address = (int(ffi.cast("uintptr_t", memory)) + 63) // 64 * 64
    place = ffi.cast("void *", address)
    assert lib.er_model_init(place, most, GOOD, len(GOOD), ffi.NULL, out, error) == 0


# ------------------------------------------------------------------------------------------- paths


@contextlib.contextmanager
def pipe_of(path, pieces):
    """A pipe at a path into which a thread writes pieces, until nobody reads any more."""
    os.mkfifo(path)

    def write():
        with contextlib.suppress(BrokenPipeError), open(path, "wb", buffering=0) as pipe:
            for piece in pieces:
                pipe.write(piece)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield path
    finally:
        writer.join()
        os.unlink(path)


def zeros():
    """Zeros without end."""
    while True:
        yield bytes(4096)


def in_pieces(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


LOADERS = {"C": load_by_c, "Model": Model.load, "ModelFile": ModelFile.load}


def rule_of(loader, path):
    """The rule by which a loader refuses a path, or None."""
    try:
        verdict = LOADERS[loader](path)
    except FormatError as error:
        return error.rule
    return verdict[1] if isinstance(verdict, tuple) else None


@posix
@pytest.mark.parametrize("loader", LOADERS)
def test_pipes_are_read(tmp_path, loader):
    for size in (1, 7, 64, 1000):
        with pipe_of(tmp_path / "pipe", in_pieces(GOOD, size)) as path:
            assert rule_of(loader, path) is None
    with pipe_of(tmp_path / "pipe", in_pieces(GOOD[:-1], 100)) as path:
        assert rule_of(loader, path) == 1
    with pipe_of(tmp_path / "pipe", []) as path:
        assert rule_of(loader, path) == 1


@posix
@pytest.mark.parametrize("loader", LOADERS)
def test_what_never_ends_is_left(tmp_path, loader):
    """A model with zeros behind it, without end; the writer stops when the reader has closed the pipe."""
    tracemalloc.start()
    with pipe_of(tmp_path / "pipe", (part for parts in ([GOOD], zeros()) for part in parts)) as path:
        assert rule_of(loader, path) == 4
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert rule_of(loader, "/dev/zero") == 2


@posix
@pytest.mark.parametrize("loader", LOADERS)
def test_a_gigabyte_that_is_not_there_is_not_asked_for(tmp_path, loader):
    path = tmp_path / "claim.ernn"
    path.write_bytes(make_golden.patched(GOOD, 8, "I", 1 << 30))
    tracemalloc.start()
    assert rule_of(loader, path) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@posix
def test_what_is_no_file_is_an_error(tmp_path):
    (tmp_path / "empty.ernn").touch()
    (tmp_path / "loop.ernn").symlink_to(tmp_path / "loop.ernn")
    assert rule_of("C", tmp_path / "empty.ernn") == rule_of("Model", tmp_path / "empty.ernn") == 1
    for path in (tmp_path, tmp_path / "none.ernn", tmp_path / "loop.ernn", tmp_path / ("n" * 300)):
        assert load_by_c(path)[0] == lib.ER_ERROR_IO
        for load in (Model.load, ModelFile.load):
            with pytest.raises(OSError, match=re.escape(path.name)):
                load(path)


def test_file_that_changes_after_loading_changes_nothing(tmp_path):
    """It is read, not mapped: cut, overwritten or removed, the model stays what it was."""
    path = tmp_path / "model.ernn"
    path.write_bytes(GOOD)
    model = Model.load(path)
    by_c = ffi.new("er_model **")
    assert lib.er_model_create_from_file(os.fsencode(path), ffi.NULL, by_c, ffi.NULL) == 0
    os.truncate(path, 0)
    path.write_bytes(bytes(len(GOOD)))
    path.unlink()
    assert model.labels == ModelFile.from_bytes(GOOD).labels
    assert ffi.string(lib.er_model_label(by_c[0], 1)).decode() == model.labels[1]
    lib.er_model_destroy(by_c[0])


def test_most_layers_is_the_limit():
    layers = [make_golden.layer(make_golden.Numbers("deep"), "dense", ["ternary"], 1, 1)] * 17
    assert isinstance(layers[0], Layer)
    with pytest.raises(FormatError, match="R17"):
        make_golden.model(layers).to_bytes()
