# SPDX-License-Identifier: MIT
"""Fast kernels against the scalar ones: native/tests/check_kernels.c, and networks as they are trained.

The other tests compare every kernel with the reference too (`random_models.assert_library_equals_reference`);
here are the networks that the fast kernels are made for, and the conditions under which they step back.
"""

import dataclasses
import pathlib
import re
import shutil
import subprocess

import builds
import numpy as np
import pytest
import targets
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import KERNELS, assert_library_equals_reference, random_inputs, random_int16, random_model
from sanitizers import library_sources
from targets import TARGETS
from test_no_multiply import SETS, kernel_sources

import edge_runtime
from edge_runtime._native import ffi, lib

ROOT = pathlib.Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"
SEEDS = (1, 2, 3)
CHECKS = set("floats operands product matrix outputs activation bounds network".split())
CHECK_KERNELS = ("check_networks", "random_network")  # its other sources
SANITIZED = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"


def build(program, compiler="gcc", flags="-O2"):
    """Path of a program of native/tests, built with the library's sources and all kernels of the machine."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    machine = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    command = [compiler, "-std=c11", "-ffp-contract=off", *flags.split(), '-DER_VERSION="0"']
    command += [f"-DER_KERNELS_{word}" for word in SETS.get(machine.split("-")[0], ())]
    command += [f"-I{NATIVE / name}" for name in ("include", "src", "tests")]
    sources = dict.fromkeys(library_sources(), ()) | kernel_sources(machine, floats=True)
    name = "_".join(re.findall(r"\w+", f"kernels {compiler} {flags}"))
    objects = builds.objects(name, command, sources)
    tests = [NATIVE / "tests" / f"{program}.c"]
    if program == "check_kernels":
        tests += [NATIVE / "tests" / f"{name}.c" for name in CHECK_KERNELS]
    command += [*tests, *objects, "-o"]
    return builds.once(f"{name}_{program}", lambda path: subprocess.run([*command, path], check=True))


@pytest.fixture(scope="module")
def check_kernels():
    """The program as it is shipped."""
    return build("check_kernels")


@pytest.fixture(scope="module")
def check_kernels_sanitized():
    """The program with the address and undefined-behavior sanitizers."""
    return build("check_kernels", flags=SANITIZED)


def run(program, *arguments):
    """What the program prints; it must succeed."""
    result = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    return result.stdout


def required():
    """Options that make a kernel of this machine which is not checked an error."""
    return [word for kernel in KERNELS if kernel != "scalar" for word in ("--require", kernel)]


@pytest.mark.parametrize("seed", SEEDS)
def test_kernels_equal_scalar(check_kernels, seed):
    output = run(check_kernels, "--seed", seed, "--rounds", 1000, *required())
    for kernel in KERNELS[1:]:
        assert set(re.findall(rf"^{kernel} +(\w+) +ok", output, re.M)) == CHECKS


@pytest.mark.parametrize("seed", SEEDS)
def test_kernels_are_clean_under_sanitizers(check_kernels_sanitized, seed):
    run(check_kernels_sanitized, "--seed", seed, "--rounds", 300, *required())


def test_damaged_files_are_safe_with_fast_kernels():
    """A changed file that is still legal is planned and run: nothing may trip the sanitizers."""
    program = build("check_corruption", flags=SANITIZED)
    paths = sorted((ROOT / "tests" / "golden").glob("gru_*.ernn"))
    assert "accepted and run" in run(program, "--stride", 64, *paths)


def test_missing_kernel_that_is_required_fails(check_kernels):
    missing = next(word for word in ("avx2", "avx512bw", "avx512", "neon") if word not in KERNELS)
    result = subprocess.run([str(check_kernels), "--require", missing], capture_output=True, text=True)
    assert result.returncode == 1
    assert f"{missing}" in result.stdout and "SKIP" in result.stdout


#: Targets of tests/targets.py with the processor models that qemu emulates.
PROCESSORS = [(name, model) for name in targets.EMULATED for model in TARGETS[name].models]


@pytest.mark.parametrize(("name", "model"), PROCESSORS)
def test_kernels_equal_scalar_under_qemu(name, model):
    """A processor without NEON must be seen as such: the kernels are in its program too."""
    target = TARGETS[name]
    targets.needs_target(target)
    program = targets.build_program(target, "check_kernels", sources=CHECK_KERNELS)
    neon = model.startswith("cortex-a") and not model.endswith("neon=off")
    require = ("--require", "neon") if neon else ()
    output = run(*target.command(model), program, "--rounds", 100, *require)
    assert bool(re.search(r"^neon +network +ok", output, re.M)) == neon
    assert bool(re.search(r"^neon +SKIP", output, re.M)) != neon


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["gru", "lstm", "rnn", "dense"]),
    clamp=st.sampled_from([7, 12, 25, 31]),
    shared=st.booleans(),
    sizes=st.tuples(st.integers(1, 140), st.integers(1, 140)),
)
def test_trained_kind_of_networks_equals_reference(seed, kind, clamp, shared, sizes):
    rng = np.random.default_rng(seed)
    model_file = random_model(
        rng, kind, "ternary", *sizes, planes=1, clamp=clamp, reset_before=False, shared_scale=shared
    )
    x = random_inputs(rng, 12, sizes[0])
    assert_library_equals_reference(model_file, x)
    if kind != "dense":
        state_size = sizes[1] * (2 if kind == "lstm" else 1)
        assert_library_equals_reference(model_file, x, random_int16(rng, state_size))


@pytest.mark.parametrize("kernel", KERNELS)
def test_plan_is_part_of_the_models_memory(kernel):
    """Scalar kernels on borrowed bytes need no memory but the object's; a plan is counted."""
    rng = np.random.default_rng(5)
    data = random_model(rng, "gru", "ternary", 40, 64, planes=1, clamp=7, reset_before=False).to_bytes()
    text = ffi.new("char[]", kernel.encode())
    needed = {}
    for flags in (0, lib.ER_MODEL_BORROW):
        options = ffi.new("er_model_options *", {"flags": flags, "kernel": text})
        size = ffi.new("size_t *")
        assert lib.er_model_size(data, len(data), options, size, ffi.NULL) == lib.ER_OK
        needed[flags] = size[0]
    assert edge_runtime.Model.from_bytes(data, kernel=kernel).info["model_bytes"] == needed[0]
    assert needed[0] - needed[lib.ER_MODEL_BORROW] == len(data)
    options = ffi.new("er_model_options *", {"flags": lib.ER_MODEL_BORROW, "kernel": text})
    memory = ffi.new("char[]", needed[lib.ER_MODEL_BORROW] + 128)
    start = int(ffi.cast("uintptr_t", memory))
    aligned = ffi.cast("char *", start + -start % 64)
    out = ffi.new("er_model **")
    for missing, status in ((64, lib.ER_ERROR_MEMORY), (0, lib.ER_OK)):
        size = needed[lib.ER_MODEL_BORROW] - missing
        assert lib.er_model_init(aligned, size, data, len(data), options, out, ffi.NULL) == status
    assert lib.er_model_describe(out[0], info := ffi.new("er_model_info *")) == lib.ER_OK
    assert ffi.string(info.kernel).decode() == kernel
    if kernel == "scalar":
        assert needed[lib.ER_MODEL_BORROW] < 8192


def test_sums_beyond_16_bits_step_back_and_stay_exact():
    """A column count at which the proof of 16-bit sums just fails, and one at which it just holds."""
    rng = np.random.default_rng(6)
    for columns in (32767 // 31, 32767 // 31 + 1):
        model_file = random_model(rng, "dense", "ternary", columns, 70, planes=1, clamp=31)
        (layer,) = model_file.layers
        (matrix,) = layer.matrices
        matrix = dataclasses.replace(
            matrix, weights=np.ones_like(matrix.weights), operand_shift=0, left_shift=0, three_quarters=False
        )
        model_file = dataclasses.replace(model_file, layers=(dataclasses.replace(layer, matrices=(matrix,)),))
        x = np.stack([np.full(columns, v, np.int8) for v in (127, -127, 31, -31, 30)])
        assert_library_equals_reference(model_file, x)
