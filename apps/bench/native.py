# SPDX-License-Identifier: MIT
"""Compiles the workers in C with the system's compiler."""

import os
import pathlib
import shutil
import subprocess

from edge_runtime import _native

FOLDER = pathlib.Path(__file__).resolve().parent
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror=implicit-function-declaration")


class BuildError(RuntimeError):
    """A worker could not be compiled; the message is the compiler's."""


def compiler():
    """Path of the C compiler: ``CC``, else cc, gcc or clang; None if there is none."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return shutil.which(name)
    return None


def _compile(source, folder, arguments):
    program = pathlib.Path(folder) / source.removesuffix(".c")
    cc = compiler()
    if cc is None:
        raise BuildError("no C compiler: install gcc, or name one with CC=...")
    command = [cc, *_FLAGS, os.fspath(FOLDER / source), "-o", os.fspath(program), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BuildError(f"{' '.join(command)}: {result.stderr.strip()}")
    return os.fspath(program)


def build_peer_worker(folder):
    """Compile the worker of this runtime, linked with the library that Python uses.

    Parameters
    ----------
    folder : path
        Receives the program.

    Returns
    -------
    str
        Path of the program.

    Raises
    ------
    BuildError
    """
    library = _native.library_path
    header = _native._find_header(library).parent
    return _compile(
        "peer_worker.c",
        folder,
        [f"-I{header}", os.fspath(library), f"-Wl,-rpath,{library.parent}", "-lm"],
    )


def build_onnxruntime_worker(folder):
    """Compile the worker that calls ONNX Runtime; as `build_peer_worker`."""
    return _compile("onnxruntime_worker.c", folder, ["-ldl", "-lm", "-Wno-deprecated-non-prototype"])


def build_instruction_counter(folder):
    """Compile count_instructions; as `build_peer_worker`."""
    return _compile("count_instructions.c", folder, [])
