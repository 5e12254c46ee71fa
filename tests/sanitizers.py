# SPDX-License-Identifier: MIT
"""Builds of the library and of the programs in native/tests that watch themselves run.

A checked build is a compiler with its options and, for valgrind and emulated processors, the words before a program.
All kernels of the processor are in it, each compiled for its instruction set. Packages of Debian: gcc clang-14
libclang-rt-14-dev valgrind qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross.
"""

import dataclasses
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

import builds
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"
WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
COMMON = (
    f"-std=c11 -g -O1 -fPIC -ffp-contract=off -fno-omit-frame-pointer -fno-optimize-sibling-calls {WARNINGS}"
)
#: Instruction sets that native/CMakeLists.txt has kernels for, by platform.machine() of the processor.
ISAS = {"x86_64": ("AVX2", "AVX512BW", "AVX512"), "aarch64": ("NEON",)}


@dataclasses.dataclass(frozen=True)
class Build:
    """A way to build and run programs."""

    name: str
    compilers: tuple  #: the first that is there is taken
    options: str
    command: tuple = ()  #: words before a program
    environment: tuple = ()  #: pairs
    processor: str = "x86_64"
    runtime: str = ""  #: what Python is started with to load a library of this build
    isas: tuple | None = None  #: kernels that are in it; None: all of the processor

    @property
    def compiler(self):
        """str or None : the compiler that is taken."""
        return next(filter(None, map(shutil.which, self.compilers)), None)


CLANG = ("clang", "clang-14")
BUILDS = {
    build.name: build
    for build in (
        Build(
            "address",
            ("gcc", *CLANG),
            "-fsanitize=address,undefined,float-divide-by-zero,float-cast-overflow -fno-sanitize-recover=all",
            environment=(
                ("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1"),
            ),
            runtime="libasan.so",
        ),
        # Sums that wrap on purpose are unsigned: unsigned-integer-overflow and the shifts of it would name them all.
        Build(
            "integer",
            CLANG,
            "-fsanitize=undefined,float-divide-by-zero,local-bounds,nullability,implicit-conversion,"
            "integer-divide-by-zero,signed-integer-overflow -fno-sanitize-recover=all",
        ),
        Build(
            "thread",
            ("gcc", *CLANG),
            "-fsanitize=thread -pthread",
            environment=(("TSAN_OPTIONS", "halt_on_error=1"),),
            runtime="libtsan.so",
        ),
        # clang 14 takes what the narrowing stores of AVX-512 write for unset; valgrind looks at unset memory too.
        Build("memory", CLANG, "-fsanitize=memory -fsanitize-memory-track-origins=2", isas=("AVX2",)),
        Build(
            "aarch64",
            ("aarch64-linux-gnu-gcc",),
            "-fsanitize=undefined,float-divide-by-zero,float-cast-overflow -fno-sanitize-recover=all",
            command=("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-cpu", "cortex-a72"),
            processor="aarch64",
        ),
        Build(
            "valgrind",
            ("gcc", *CLANG),
            "",
            command=(
                "valgrind",
                "--quiet",
                "--error-exitcode=9",
                "--leak-check=full",
                "--errors-for-leak-kinds=all",
                "--track-origins=yes",
            ),
        ),
    )
}


def library_sources():
    """The C files of the library, as native/CMakeLists.txt lists them."""
    text = (NATIVE / "CMakeLists.txt").read_text(encoding="utf-8")
    return [NATIVE / name for name in sorted(set(re.findall(r"\bsrc/[\w/]+\.c\b", text)))]


def _isas(build):
    return ISAS[build.processor] if build.isas is None else build.isas


def _sources(build):
    """dict: C file of the library in a build to its own options."""
    text = (NATIVE / "CMakeLists.txt").read_text(encoding="utf-8")
    lists = {name: words.split() for name, words in re.findall(r"^set\((ER_\w+)\s([^)]*)\)", text, re.M)}
    own = {}
    for isas in ISAS.values():
        for isa in isas:
            files = [*lists[f"ER_{isa}_SOURCES"], *lists[f"ER_{isa}_FLOATS"]]
            own |= {NATIVE / file: (isa, lists[f"ER_{isa}_FLAGS"]) for file in files if file.endswith(".c")}
    # gcc's arm_neon.h adds lanes, which wrap by definition, with the + of signed vectors.
    lanes = ("-fno-sanitize=signed-integer-overflow",) if "undefined" in build.options else ()
    return {
        source: (*own.get(source, ("", ()))[1], *(lanes if source.stem.endswith("_neon") else ()))
        for source in library_sources()
        if source not in own or own[source][0] in _isas(build)
    }


def needs(build):
    """Skip the test, or fail it if EDGE_RUNTIME_REQUIRE_SANITIZERS is set, unless programs of a build can run here."""
    reason = missing(build)
    if reason is None:
        return
    if os.environ.get("EDGE_RUNTIME_REQUIRE_SANITIZERS", "0") not in ("", "0"):
        pytest.fail(f"{reason} (EDGE_RUNTIME_REQUIRE_SANITIZERS is set)")
    pytest.skip(reason)


def missing(build):
    """What programs of a build lack here, or None."""
    if build.compiler is None:
        return f"{' or '.join(build.compilers)} is not installed"
    if build.command and shutil.which(build.command[0]) is None:
        return f"{build.command[0]} is not installed"
    if platform.machine() != build.processor and "qemu" not in "".join(build.command[:1]):
        return f"not on {build.processor}"
    command = [build.compiler, *build.options.split(), "-x", "c", "-", "-o"]

    def probe(path):
        source = "int main(void) { return 0; }\n"
        subprocess.run([*command, path], input=source, capture_output=True, text=True, check=True)

    try:
        builds.once(f"{build.name}_probe", probe)
    except subprocess.CalledProcessError:
        return f"{build.compiler} cannot link with {build.options}"
    return None


def library(build):
    """Paths of the library's objects."""
    defined = [f"-DER_KERNELS_{isa}" for isa in _isas(build)]
    includes = [f"-I{NATIVE / part}" for part in ("include", "src")]
    command = [
        build.compiler,
        *COMMON.split(),
        *build.options.split(),
        "-fvisibility=hidden",
        *defined,
        *includes,
    ]
    return builds.objects(f"{build.name}_library", command, _sources(build))


def shared_library(build):
    """Path of the shared library, for Python."""
    command = [build.compiler, *build.options.split(), "-shared", *library(build), "-o"]
    return builds.once(f"{build.name}.so", lambda path: subprocess.run([*command, path], check=True))


def run_python(build, *arguments):
    """The finished process of this Python with the library of a build, its output as text."""
    runtime = subprocess.run(
        [build.compiler, f"-print-file-name={build.runtime}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    environment = {**os.environ, **dict(build.environment)}
    # Python leaks by design, and its own allocator would hide where its objects end.
    environment["ASAN_OPTIONS"] = "detect_leaks=0:allocator_may_return_null=1"
    environment |= {
        "LD_PRELOAD": runtime,
        "PYTHONMALLOC": "malloc",
        "EDGE_RUNTIME_LIBRARY": str(shared_library(build)),
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


def program(build, name, sources=("files",), options=()):
    """Path of the program of native/tests/<name>.c and other sources there.

    options: further ones of compiler and linker.
    """
    objects = library(build)
    files = [NATIVE / "tests" / f"{source}.c" for source in (name, *sources)]
    includes = [f"-I{NATIVE / part}" for part in ("include", "src", "tests")]
    command = [build.compiler, *COMMON.split(), *build.options.split(), *includes, *files, *objects]
    command += [*options, "-o"]
    return builds.once(f"{build.name}_{name}", lambda path: subprocess.run([*command, path], check=True))


def run(build, path, *arguments):
    """The finished process of a program, its output as text; whether it failed is for the caller."""
    command = [*build.command, path, *arguments]
    environment = {**os.environ, **dict(build.environment)}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
