# SPDX-License-Identifier: MIT
"""The wheel: what is in it, and that it works outside the checkout with cffi and numpy alone."""

import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import zipfile

import builds
import pytest

import edge_runtime

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel():
    def make(folder):
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT)]
        command += [f"-Cbuild-dir={folder / 'build'}"]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    (path,) = builds.once("wheel", make).glob("*.whl")
    return path


def test_wheel_serves_every_python_3_of_a_platform(wheel):
    assert re.fullmatch(rf"edge_runtime-{edge_runtime.__version__}-py3-none-\w+\.whl", wheel.name)


def test_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    package = {name for name in names if not name.startswith("edge_runtime-")}
    assert all(name.startswith("edge_runtime/") for name in package)
    for name in (
        "__init__.py",
        "libedge_runtime.so",
        "edge_runtime.h",
        "models/digits.ernn",
        "models/digits.md",
        "models/digits_small.ernn",
        "models/digits_small.md",
    ):
        assert f"edge_runtime/{name}" in package
    assert not any("__pycache__" in name or name.endswith(".c") for name in package)


def test_wheel_works_outside_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    program = (
        "import sys, numpy, edge_runtime as er\n"
        "assert er.__file__.startswith(sys.argv[1]), er.__file__\n"
        "words = er.Model.default().recognizer().accept_waveform(numpy.zeros(16000, numpy.int16))\n"
        "assert words == []\n"
        "heavy = {'torch', 'onnx', 'librosa', 'soundfile', 'sounddevice', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "EDGE_RUNTIME_LIBRARY"}
    # -S: without the hook by which an editable install would come first.
    environment["PYTHONPATH"] = os.pathsep.join([str(site), sysconfig.get_path("purelib")])
    result = subprocess.run(
        [sys.executable, "-S", "-c", program, str(site)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_c_library_and_package_have_one_version():
    from edge_runtime._native import ffi, lib

    assert ffi.string(lib.er_version()).decode() == edge_runtime.__version__
