# SPDX-License-Identifier: MIT
"""er_model_* in C: borrowed and copied bytes, the caller's memory, arguments, files and what is none."""

import os
import threading

import make_golden
import numpy as np
import pytest

from edge_runtime._native import ffi, lib
from edge_runtime.format import Layer, Matrix


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
