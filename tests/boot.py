# SPDX-License-Identifier: MIT
"""Emulated computers that boot a kernel of Debian's and run a program: qemu-system, a kernel, a RAM disk.

Packages of Debian: qemu-system-arm dpkg apt. Kernels are fetched by apt into a folder of the user's cache, not installed.
"""

import dataclasses
import os
import pathlib
import queue
import shutil
import subprocess
import threading
import time

import targets

_CACHE = (
    pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "edge_runtime" / "boot"
)
_START_S = 600.0  # an emulated board on a busy machine


@dataclasses.dataclass(frozen=True)
class Board:
    """A computer that qemu emulates."""

    name: str
    emulator: str
    options: tuple
    append: str
    architecture: str  #: Debian's, of the kernel
    package: str  #: that depends on the newest kernel
    tree: str  #: device tree in the kernel's package, as tar's wildcard; "": none
    machine: str  #: of the static program that it runs
    zig: tuple  #: target and processor


_RASPI = ("-display", "none", "-monitor", "none")
_ZIG_ARM = ("arm-linux-musleabihf", "arm1176jzf_s")
_ZIG_AARCH64 = ("aarch64-linux-musl", "generic")
BOARDS = {
    board.name: board
    for board in (
        Board(
            "virt",
            "qemu-system-aarch64",
            ("-M", "virt", "-cpu", "cortex-a72", "-m", "512", "-nographic", "-nic", "none"),
            "console=ttyAMA0 panic=-1 quiet",
            "arm64",
            "linux-image-arm64",
            "",
            "aarch64",
            _ZIG_AARCH64,
        ),
        # Its first serial port belongs to Bluetooth.
        Board(
            "raspi3b",
            "qemu-system-aarch64",
            ("-M", "raspi3b", *_RASPI, "-serial", "null", "-serial", "stdio"),
            "console=ttyS1,115200 panic=-1",
            "arm64",
            "linux-image-arm64",
            "bcm2837-rpi-3-b.dtb",
            "aarch64",
            _ZIG_AARCH64,
        ),
        # Two drivers want a device that qemu 7.2 lacks.
        Board(
            "raspi0",
            "qemu-system-arm",
            ("-M", "raspi0", *_RASPI, "-serial", "stdio"),
            "console=ttyAMA0,115200 earlycon=pl011,0x20201000 keep_bootcon panic=-1 "
            "initcall_blacklist=bcm2835_pm_driver_init,bcm2835_power_driver_init",
            "armel",
            "linux-image-rpi",
            "bcm2835-rpi-zero.dtb",
            "armv6l",
            _ZIG_ARM,
        ),
    )
}


def _fetch_kernel(board, folder):
    """The kernel's package of an architecture, by an apt whose files are in `folder`."""
    for path in ("state/lists/partial", "cache/archives/partial"):
        (folder / path).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    configuration = folder / "apt.conf"
    configuration.write_text(
        f'APT::Architecture "{board.architecture}"; APT::Architectures {{ "{board.architecture}"; }};\n'
        f'Dir::State "{folder}/state"; Dir::State::status "{folder}/status"; Dir::Cache "{folder}/cache";\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(configuration)}

    def apt(*words):
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            targets.missing(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    apt("apt-get", "update")
    depends = apt("apt-cache", "depends", board.package).splitlines()
    (newest,) = [line.split()[-1] for line in depends if "Depends: linux-image-" in line]
    apt("apt-get", "download", newest)
    shutil.rmtree(folder / "state")
    return next(folder.glob(f"{newest}_*.deb"))


def kernel(board):
    """Paths of kernel and device tree (None without one), fetched if they are not in the cache."""
    folder = _CACHE / board.architecture
    if not list(folder.glob("linux-image-*.deb")):
        folder.mkdir(parents=True, exist_ok=True)
        _fetch_kernel(board, folder)
    (package,) = folder.glob("linux-image-*.deb")
    if not list(folder.glob("vmlinuz-*")):
        reader = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
        names = ["./boot/vmlinuz-*", "*/bcm2837-rpi-3-b.dtb", "*/bcm2835-rpi-zero.dtb"]
        options = ["--wildcards", "--transform=s,.*/,,", *names]
        # tar complains of the board that this kernel does not have.
        subprocess.run(
            ["tar", "-xf", "-", "-C", folder, *options], stdin=reader.stdout, stderr=subprocess.DEVNULL
        )
        reader.wait()
    (image,) = folder.glob("vmlinuz-*")
    return image, folder / board.tree if board.tree else None


def _entry(name, mode, content=b"", device=(0, 0)):
    """One file of an archive in cpio's "newc" form, which the kernel unpacks."""
    size = len(name) + 1
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, size, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def ram_disk(files):
    """Bytes of a RAM disk.

    Parameters
    ----------
    files : dict
        Name to path of a file; all become executable.
    """
    parts = [_entry(name, 0o040755) for name in ("dev", "proc")]
    parts.append(_entry("dev/console", 0o020600, device=(5, 1)))
    parts += [_entry(name, 0o100755, pathlib.Path(path).read_bytes()) for name, path in files.items()]
    return b"".join([*parts, _entry("TRAILER!!!", 0)])


def build_init(board, zig, out):
    """Compile native/tests/boot_init.c for a board."""
    target, processor = board.zig
    source = targets.NATIVE / "tests" / "boot_init.c"
    options = ["-target", target, f"-mcpu={processor}", "-std=c11", "-D_GNU_SOURCE", "-Os", "-static", "-s"]
    targets.run([*zig, "cc", *options, *targets.WARNINGS, source, "-o", out])


def boot(board, disk, exits):
    """Lines that a board prints until so many programs have ended; then it is switched off.

    Parameters
    ----------
    disk : path
        Of a RAM disk.
    exits : int
    """
    image, tree = kernel(board)
    options = [*board.options, "-no-reboot", "-kernel", image, "-initrd", disk, "-append", board.append]
    if tree is not None:
        options += ["-dtb", tree]
    emulator = subprocess.Popen(
        [board.emulator, *map(str, options)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    arrived = queue.Queue()

    def read():
        for line in emulator.stdout:
            arrived.put(line.decode(errors="replace").rstrip())
        arrived.put(None)

    threading.Thread(target=read, daemon=True).start()
    lines = []
    end = time.monotonic() + _START_S
    try:
        while sum(line.startswith("EXIT ") for line in lines) < exits:
            line = arrived.get(timeout=max(0.1, end - time.monotonic()))
            if line is None:
                break
            lines.append(line)
    except queue.Empty:
        lines.append(f"(nothing more within {_START_S:.0f} s)")
    finally:
        emulator.kill()
        emulator.wait()
    return lines
