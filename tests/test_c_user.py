# SPDX-License-Identifier: MIT
"""A C user's path: an installed prefix, moved elsewhere; the examples built with it in three ways, and for AArch64.

What they print is what Python gets from the same file.
"""

import os
import subprocess

import builds
import numpy as np
import pytest
import targets
from make_golden import GOLDEN
from targets import NATIVE, ROOT, TARGETS

import edge_runtime
from apps.audio import read_audio
from apps.demo_samples import samples as demo_samples
from edge_runtime import Model
from edge_runtime._native import ffi, lib

EXAMPLES = ROOT / "examples"
MODEL = ROOT / "edge_runtime" / "models" / "digits_small.ernn"
RECORDING = demo_samples()[0][0]
OWN_MODEL = GOLDEN / "stack_mixed_full.ernn"
#: As strict as the library's own.
FLAGS = "-std=c99 -O2 -Wall -Wextra -Wpedantic -Werror".split()
HEADER = NATIVE / "include" / "edge_runtime.h"


def install(target):
    """A prefix for a target, installed in one place and moved to another."""
    targets.needs_target(target)
    build = targets.build_library(target).parent

    def make(prefix):
        first = prefix.with_name(prefix.name + "_first")
        targets.run(["cmake", "--build", build, "--target", "edge_runtime", "--parallel"])
        targets.run(["cmake", "--install", build, "--prefix", first, "--component", "development"])
        first.rename(prefix)

    return builds.once(f"{target.name}_prefix", make)


@pytest.fixture(scope="module")
def prefix():
    return install(TARGETS["x86-64"])


def environment(prefix):
    """Where pkg-config and the loader find the library, and nothing else does."""
    paths = {"PKG_CONFIG_LIBDIR": prefix / "lib" / "pkgconfig", "LD_LIBRARY_PATH": prefix / "lib"}
    return {**os.environ, **{name: str(path) for name, path in paths.items()}}


def run(command, **options):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def by_pkg_config(prefix, folder):
    targets.needs("pkg-config")
    options = run(["pkg-config", "--cflags", "--libs", "edge_runtime"], env=environment(prefix)).split()
    for name in ("digits", "own_model"):
        run(["cc", *FLAGS, EXAMPLES / f"{name}.c", *options, "-o", folder / name])
    assert str(prefix) in " ".join(options)


def by_find_package(prefix, folder, *definitions):
    options = ["-G", "Unix Makefiles", f"-DCMAKE_PREFIX_PATH={prefix}", *definitions]
    run(["cmake", "-S", EXAMPLES, "-B", folder, *options])
    run(["cmake", "--build", folder])


def by_find_package_static(prefix, folder):
    by_find_package(prefix, folder, "-DSTATIC=ON")


def by_cc(prefix, folder):
    for name in ("digits", "own_model"):
        source = EXAMPLES / f"{name}.c"
        run(
            [
                "cc",
                *FLAGS,
                f"-I{prefix}/include",
                source,
                f"-L{prefix}/lib",
                "-ledge_runtime",
                "-o",
                folder / name,
            ]
        )


def by_cc_static(prefix, folder):
    for name in ("digits", "own_model"):
        library = prefix / "lib" / "libedge_runtime.a"
        run(["cc", *FLAGS, f"-I{prefix}/include", EXAMPLES / f"{name}.c", library, "-o", folder / name])


def expected_words():
    recognizer = Model.load(MODEL).recognizer(sample_rate=16000)
    words = [*recognizer.accept_waveform(read_audio(RECORDING)[0]), *recognizer.finish()]
    assert words
    return [f"{w.label} {w.start_s:.2f} {w.end_s:.2f} {w.confidence:.2f}" for w in words]


def check_examples(folder, launch=(), env=None):
    """The two examples print what Python gets."""
    assert run([*launch, folder / "digits", MODEL, RECORDING], env=env).splitlines() == expected_words()
    model = Model.load(OWN_MODEL)
    x = np.random.default_rng(1).normal(size=(20, model.input_size)).astype(np.float32)
    text = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in x)
    printed = run([*launch, folder / "own_model", OWN_MODEL], input=text, env=env)
    logits = np.array([line.split() for line in printed.splitlines()], np.float32)
    np.testing.assert_array_equal(logits, model.stream().run(x))


def text_of(status):
    return ffi.string(lib.er_status_text(status)).decode()


WAYS = (by_pkg_config, by_find_package, by_find_package_static, by_cc, by_cc_static)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_examples_are_built_and_run(way, prefix, tmp_path):
    way(prefix, tmp_path)
    check_examples(tmp_path, env=environment(prefix))
    needed = run(["readelf", "-d", tmp_path / "digits"])
    short = ".".join(edge_runtime.__version__.split(".")[:2])
    assert (f"[libedge_runtime.so.{short}]" in needed) != ("static" in way.__name__)


def test_examples_are_cross_built_for_aarch64(tmp_path):
    """As CONTRIBUTING.md says."""
    target = TARGETS["aarch64"]
    prefix = install(target)
    for name in ("digits", "own_model"):
        library = prefix / "lib" / "libedge_runtime.a"
        command = [target.compiler, *FLAGS, "-static", f"-I{prefix}/include", EXAMPLES / f"{name}.c"]
        run([*command, library, "-o", tmp_path / name])
    check_examples(tmp_path, launch=target.command())


def test_prefix_holds_what_is_needed_and_no_more(prefix):
    found = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir()}
    version = edge_runtime.__version__
    assert found == {
        "include/edge_runtime.h",
        "lib/libedge_runtime.a",
        "lib/libedge_runtime.so",
        f"lib/libedge_runtime.so.{version.rsplit('.', 1)[0]}",
        f"lib/libedge_runtime.so.{version}",
        "lib/cmake/edge_runtime/edge_runtimeConfig.cmake",
        "lib/cmake/edge_runtime/edge_runtimeConfig-release.cmake",
        "lib/cmake/edge_runtime/edge_runtimeConfigVersion.cmake",
        "lib/pkgconfig/edge_runtime.pc",
    }
    for path in found:
        if path.endswith((".pc", ".cmake")):
            assert str(prefix.parent) not in (prefix / path).read_text(), path


def test_version_asked_for_is_compared(prefix, tmp_path):
    """A project that wants another minor version is told so."""
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.15)\nproject(p LANGUAGES C)\nfind_package(edge_runtime 0.999 REQUIRED)\n"
    )
    command = ["cmake", "-S", tmp_path, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={prefix}"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode != 0 and "0.999" in result.stderr


def test_only_the_library_of_c_is_needed(prefix):
    """So neither pkg-config --static nor the static library has to name another."""
    library = prefix / "lib" / "libedge_runtime.so"
    needed = [line for line in run(["readelf", "-d", library]).splitlines() if "NEEDED" in line]
    assert [line.split("[")[1].rstrip("]") for line in needed] == ["libc.so.6"]


@pytest.mark.parametrize(
    "command", ("gcc -std=c99", "gcc -std=c11", "gcc -std=c17", "g++ -std=c++11", "g++ -std=c++20")
)
def test_header_compiles_alone(command, tmp_path):
    """In C and C++, and its functions are C's for both."""
    compiler, *options = command.split()
    targets.needs(compiler)
    source = tmp_path / ("alone.cpp" if compiler == "g++" else "alone.c")
    source.write_text("#include <edge_runtime.h>\nint main(void) { return er_version()[0] == 0; }\n")
    strict = "-Wall -Wextra -Wpedantic -Wshadow -Werror -c".split()
    output = tmp_path / "alone.o"
    run([compiler, *options, *strict, f"-I{HEADER.parent}", source, "-o", output])
    assert " U er_version\n" in run(["nm", output])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "usage: digits MODEL.ernn RECORDING.wav"),
        (("nothing.ernn", RECORDING), f"nothing.ernn: {text_of(lib.ER_ERROR_IO)}"),
        ((RECORDING, RECORDING), f"{RECORDING}: {text_of(lib.ER_ERROR_MAGIC)}"),
        ((MODEL, "nothing.wav"), "nothing.wav: cannot be opened"),
        ((MODEL, MODEL), f"{MODEL}: expected 16-bit mono PCM at 8 to 192 kHz"),
    ],
)
def test_example_says_what_is_wrong(prefix, tmp_path, arguments, said):
    by_cc_static(prefix, tmp_path)
    result = subprocess.run([tmp_path / "digits", *map(str, arguments)], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr.splitlines()) == (2, "", [said])
