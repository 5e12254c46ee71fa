# SPDX-License-Identifier: MIT
"""The wheels and the source distribution that `make wheels` makes, made once in a run."""

import dataclasses
import functools
import importlib.util
import pathlib
import re
import subprocess
import sys
import zipfile

import builds
import roots
import targets
from targets import ROOT

LIBRARY = "edge_runtime/libedge_runtime.so"


@dataclasses.dataclass(frozen=True)
class Platform:
    """What a wheel is for: its preset, tags, ELF machine, and where it runs here."""

    preset: str
    tags: tuple
    machine: str  #: as readelf names it
    root: str = ""  #: architecture of a root that runs it; "": this machine
    models: tuple = ()  #: processor models of the emulator, and the kernels to be chosen there


PLATFORMS = {
    platform.preset: platform
    for platform in (
        Platform("x86_64", ("manylinux_2_17_x86_64", "manylinux2014_x86_64"), "X86-64"),
        Platform(
            "aarch64",
            ("manylinux_2_17_aarch64", "manylinux2014_aarch64"),
            "AArch64",
            "arm64",
            (("cortex-a53", "neon"), ("cortex-a72", "neon"), ("cortex-a76", "neon")),
        ),
        Platform(
            "armv7l",
            ("linux_armv7l",),
            "ARM",
            "armhf",
            (("cortex-a7", "neon"), ("cortex-a7,neon=off", "scalar")),
        ),
        # No C library of this machine is for hard-float ARMv6: Python runs on the least ARMv7.
        Platform(
            "armv6l",
            ("linux_armv6l",),
            "ARM",
            "armhf",
            (("cortex-a7", "neon"), ("cortex-a7,neon=off", "scalar")),
        ),
    )
}


def needs_tools():
    """Skip or fail the test unless wheels can be built."""
    for module in ("ziglang", "scikit_build_core"):
        if importlib.util.find_spec(module) is None:
            targets.missing(f"{module} is not installed: make zig")


def zig():
    """Path of the program zig."""
    return pathlib.Path(importlib.util.find_spec("ziglang").origin).parent / "zig"


def build_into(folder):
    """Make all of `make wheels` in a folder."""
    needs_tools()
    targets.run([sys.executable, ROOT / "native" / "tools" / "build_wheels.py", "-o", folder])


@functools.cache
def folder():
    """Where they are."""
    needs_tools()
    return builds.once("wheels", build_into)


def wheel(preset):
    """Path of a wheel."""
    (path,) = folder().glob(f"*{PLATFORMS[preset].tags[0]}*.whl")
    return path


def source_distribution():
    """Path of the source distribution."""
    (path,) = folder().glob("*.tar.gz")
    return path


def library(preset):
    """Path of the library in a wheel, unpacked."""

    def make(place):
        place.write_bytes(zipfile.ZipFile(wheel(preset)).read(LIBRARY))

    return builds.once(f"wheel_{preset}.so", make)


def installed(preset):
    """Folder into which pip installed a wheel."""
    platform = PLATFORMS[preset]
    return builds.once(f"wheel_{preset}", lambda place: roots.install(wheel(preset), platform.tags[0], place))


def tracked(*folders):
    """Names of the files that git tracks, in folders if given, as they are in the checkout."""
    result = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True)
    if result.returncode != 0:
        targets.missing(f"not a git checkout: {result.stderr.strip()}")
    return {name for name in result.stdout.splitlines() if (ROOT / name).exists()}


def glibc_versions(library):
    """Versions of glibc that symbols of a library ask for, as tuples of int."""
    text = targets.run(["readelf", "--version-info", "--wide", library])
    return {tuple(map(int, version.split("."))) for version in re.findall(r"Name: GLIBC_([\d.]+)", text)}
