# SPDX-License-Identifier: MIT
"""Debian systems of other processors, with Python, numpy and cffi, whose programs run here by qemu's user emulation.

A root is a folder of unpacked packages, made once and kept in the user's cache. `python` runs its Python as it is;
`enter` makes it the root of a namespace in which all of its programs start each other, as pip needs.
Packages of Debian: mmdebstrap qemu-user; for `enter` also qemu-user-static.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

import builds
import targets

SUITE = "bookworm"  # its numpy is 1.24, its cffi 1.15: the oldest that are promised to do
PACKAGES = "python3,python3-pip,python3-venv,python3-numpy,python3-cffi,python3-pytest,python3-hypothesis,coreutils,dash"


@dataclasses.dataclass(frozen=True)
class Root:
    """A system: Debian's name of its architecture, the emulator, the folder of its libraries."""

    architecture: str
    emulator: str
    libraries: str


ROOTS = {
    root.architecture: root
    for root in (
        Root("arm64", "qemu-aarch64", "aarch64-linux-gnu"),
        Root("armhf", "qemu-arm", "arm-linux-gnueabihf"),
    )
}

#: ELF header and mask by which the kernel knows programs of an emulator (binfmt_misc).
MAGIC = {
    "qemu-aarch64": (
        r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
        r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
    ),
    "qemu-arm": (
        r"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00",
        r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
    ),
}

#: Run in namespaces of its own: registers the emulator for this namespace only, then changes root.
ENTER = """
set -e
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf %s "$1" > /proc/sys/fs/binfmt_misc/register
root=$2; work=$3; shift 3
mkdir -p "$root/proc" "$root/dev" "$root/mnt"
mount --rbind /dev "$root/dev"
mount --rbind "$work" "$root/mnt"
mount -t proc proc "$root/proc" || mount --rbind /proc "$root/proc"
exec chroot "$root" "$@"
"""


def archive():
    """URI of the archive that this Debian system gets its packages from."""
    if shutil.which("apt-get") is None:
        targets.missing("apt-get is not installed: roots are made on Debian")
    lines = targets.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {SUITE}"]
    ).split()
    if not lines:
        targets.missing(f"apt has no sources of Debian {SUITE}; run apt-get update")
    return lines[0]


def make(architecture, packages=PACKAGES):
    """Path of a root with these packages, made if it is not there; skips or fails the test without the tools."""
    root = ROOTS[architecture]
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "edge_runtime"
    version = hashlib.sha256(packages.encode()).hexdigest()[:8]
    path = cache / "roots" / f"{SUITE}-{architecture}-{version}"
    with builds.locked(path):
        if path.is_dir():
            return path
        targets.needs("mmdebstrap", root.emulator)
        making = path.with_name(f"{path.name}.making")
        shutil.rmtree(making, ignore_errors=True)
        options = [f"--architectures={architecture}", "--variant=extract", f"--include={packages}"]
        targets.run(["mmdebstrap", *options, "--format=directory", SUITE, making, archive()])
        # Names that unpacking does not make, since no package is configured.
        for name in ("blas", "lapack") if "numpy" in packages else ():
            link = making / "usr" / "lib" / root.libraries / f"lib{name}.so.3"
            link.unlink(missing_ok=True)
            link.symlink_to(f"{name}/lib{name}.so.3")
        making.rename(path)
    return path


def python(architecture, model, site, arguments, emulator_options=()):
    """Output of a root's Python on a processor model, with the packages of folder `site`; it sees all files here, but
    cannot start programs.

    Parameters
    ----------
    architecture : str
        Of ROOTS.
    model : str
        Of the emulator, with its features: "cortex-a7,neon=off".
    site : path-like
    arguments : list
    emulator_options : list
    """
    root, path = ROOTS[architecture], make(architecture)
    targets.needs(root.emulator)
    variables = {"PYTHONHOME": path / "usr", "PYTHONPATH": site, "OMP_NUM_THREADS": 1}
    interpreter = (path / "usr" / "bin" / "python3").resolve()
    return targets.run(
        [
            *("env", "-u", "EDGE_RUNTIME_LIBRARY", "-u", "PYTHONDONTWRITEBYTECODE"),
            *(f"{name}={value}" for name, value in variables.items()),
            *(root.emulator, "-cpu", model, *emulator_options, "-L", path, interpreter, *arguments),
        ]
    )


@functools.cache
def needs_namespaces():
    """Skip or fail the test unless this kernel lets a user register an emulator for a namespace of their own."""
    targets.needs("unshare")
    command = ["mount", "-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc"]
    result = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", *command], capture_output=True
    )
    if result.returncode != 0:
        targets.missing(
            f"no emulators of a namespace's own: {result.stderr.decode().strip()} (Linux 6.7 has them)"
        )


def enter(architecture, model, work, command):
    """Output of a command within a root, as root there, on a processor model; the folder `work` is /mnt there.

    The root and what is in it can be written to: what a command leaves belongs into /mnt.
    """
    root, path = ROOTS[architecture], make(architecture)
    static = shutil.which(f"{root.emulator}-static")
    if static is None:
        targets.missing(f"{root.emulator}-static is not installed")
    needs_namespaces()
    magic, mask = MAGIC[root.emulator]
    # F: opened now, since it is not in the root.
    registration = f":{root.emulator}:M::{magic}:{mask}:{static}:F"
    variables = {
        "QEMU_CPU": model,
        "HOME": "/mnt",
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": 1,
    }
    environment = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in variables.items())]
    namespaces = "unshare --user --map-root-user --mount --pid --fork --kill-child".split()
    return targets.run(
        [*namespaces, "bash", "-c", ENTER, "bash", registration, path, work, *environment, *command]
    )


def install(wheel, platform, folder):
    """Install a wheel into a folder by pip of this Python, as for another platform; nothing it needs."""
    options = (
        "--quiet --disable-pip-version-check --no-deps --no-index --only-binary=:all: --no-compile".split()
    )
    targets.run(
        [sys.executable, "-m", "pip", "install", *options, "--platform", platform, "--target", folder, wheel]
    )
