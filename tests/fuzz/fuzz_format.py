# SPDX-License-Identifier: MIT
"""Fuzz the codec of model files: the same verdict as the parser in C; what is accepted is written again byte for byte;
small networks run in `edge_runtime.reference` as on every kernel, bit for bit.

Changes are made by native/fuzz/model_mutator.c, of which EDGE_RUNTIME_MUTATOR names the library.
"""

import os

import cffi
import engine
import numpy as np

with engine.instrumented("edge_runtime"):
    import edge_runtime
    from edge_runtime import FormatError
    from edge_runtime.format import ModelFile

import random_models
from test_format_damage import c_verdict

MOST_WEIGHTS = 3000
MOST_BYTES = 8192


def check(data):
    """Raise for a finding."""
    data = bytes(data)
    try:
        model_file = ModelFile.from_bytes(data)
    except FormatError as error:
        found = error.status, error.rule, error.offset, error.expected, error.found
        assert "\n" not in str(error)
        assert c_verdict(data) == found, (c_verdict(data), found)
        return
    assert c_verdict(data) is None, c_verdict(data)
    assert model_file.to_bytes() == data
    assert edge_runtime.Model.from_bytes(data).output_size == model_file.layers[-1].output_size
    weights = sum(matrix.weights.size for layer in model_file.layers for matrix in layer.matrices)
    if weights <= MOST_WEIGHTS:
        rng = np.random.default_rng(engine.seed_of(data))
        x = random_models.random_inputs(rng, 3, len(model_file.input_scale), model_file.profile)
        random_models.assert_library_equals_reference(model_file, x)


def mutate(data, rng, mutate_bytes):
    """A change of a model file: bytes."""
    ffi = cffi.FFI()
    ffi.cdef("size_t model_mutate(uint8_t *data, size_t size, size_t max_size, uint32_t seed);")
    library = ffi.dlopen(os.environ["EDGE_RUNTIME_MUTATOR"])
    buffer = ffi.new("uint8_t[]", max(MOST_BYTES, len(data)))
    ffi.memmove(buffer, data, len(data))
    size = library.model_mutate(buffer, len(data), len(buffer), rng.getrandbits(32))
    return bytes(ffi.buffer(buffer, size))


def seeds():
    """The files that must load, and those that must not."""
    for path in sorted((engine.ROOT / "tests" / "golden").rglob("*.ernn")):
        yield path.name, path.read_bytes()


if __name__ == "__main__":
    engine.main(check, mutate, seeds)
