# SPDX-License-Identifier: MIT
"""What a device is and what is on it already, found by one command that only looks."""

import dataclasses
import re

from apps.deploy import installation
from apps.deploy.errors import DeployError

MACHINES = ("x86_64", "aarch64", "armv7l", "armv6l")
OLDEST_PYTHON = (3, 11)
OLDEST_NUMPY = (1, 24)
OLDEST_CFFI = (1, 15)
_BEGIN = "edge-deploy: begin"
_END = "edge-deploy: end"
#: e_machine of an ELF file: name for people.
_ELF_MACHINES = {0x03: "i386", 0x28: "arm", 0x3E: "x86_64", 0xB7: "aarch64", 0xF3: "riscv64"}
_ARM_HARD_FLOAT = 0x400

_PYTHON = """\
import os, sys
print("python", "%d.%d.%d" % sys.version_info[:3])
print("libc", os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else "musl")
import importlib.metadata, importlib.util
for name in "numpy", "cffi":
    try:
        print(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        pass
if importlib.util.find_spec("ensurepip"):
    print("venv yes")
"""

# The header of /bin/sh tells which programs the system is made of: a 64-bit kernel often runs a 32-bit system.
_PYTHON_SCRIPT = """\
if command -v python3 >/dev/null 2>&1; then
    python3 -I -c {program} 2>/dev/null
fi"""
_SCRIPT = """\
LC_ALL=C; export LC_ALL
{names}
echo {begin}
echo "system $(uname -s)"
echo "machine $(uname -m)"
echo "elf $(od -A n -v -t x1 -N 40 /bin/sh 2>/dev/null | tr -d ' \\n')"
echo "home $HOME"
echo "user $(id -un 2>/dev/null || id -u)"
echo "uid $(id -u)"
echo "os $(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME")"
[ -r /proc/device-tree/model ] && echo "board $(tr -d '\\000' < /proc/device-tree/model)"
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) && echo "libc $libc"
for file in /lib/ld-musl-*.so.1; do
    [ -e "$file" ] && echo "libc musl"
done
place=$prefix
while [ ! -d "$place" ]; do
    [ -e "$place" ] && echo "obstacle $place"
    place=$(dirname "$place")
done
echo "place $place"
[ -w "$place" ] && echo "writable yes"
echo "space $(df -Pk "$place" | tail -n 1)"
for tool in tar sha256sum systemctl loginctl arecord; do
    command -v $tool >/dev/null 2>&1 && echo "tool $tool"
done
{python}
for kind in {kinds}; do
    [ -L "$prefix/$kind" ] && echo "installed $(readlink "$prefix/$kind")"
done
if [ -f "$user_unit" ] || [ -f "$system_unit" ]; then
    echo "service yes"
fi
echo {end}
"""


@dataclasses.dataclass(frozen=True)
class Device:
    """What was found.

    Attributes
    ----------
    architecture : str
        One of `MACHINES`.
    board, os, libc : str
        For people; "" if unknown. `libc` is as "glibc 2.36".
    home, user : str
    uid : int
    place : str
        The folder nearest to the prefix that exists.
    free_kb : int
    writable : bool
    tools : frozenset of str
    python : tuple of int
        Its version, or () if there is none or it was not looked at; so for what follows of Python.
    has_venv : bool
    numpy, cffi : tuple of int
        Versions in the system's Python, or ().
    installed : dict
        Kind of installation to the name of its folder.
    has_service : bool
        A service was installed, of the user or of the system.
    soft_float : bool
        A 32-bit ARM system without floating-point registers in its calls, for which there are no wheels.
    """

    architecture: str
    board: str
    os: str
    libc: str
    home: str
    user: str
    uid: int
    place: str
    free_kb: int
    writable: bool
    tools: frozenset
    python: tuple
    has_venv: bool
    numpy: tuple
    cffi: tuple
    installed: dict
    has_service: bool
    soft_float: bool

    @property
    def glibc(self):
        """tuple of int : version of glibc; () if it is another libc or none."""
        return _version(self.libc)[:2] if self.libc.startswith("glibc") else ()

    @property
    def has_packages(self):
        """bool : the system's Python has numpy and cffi, new enough."""
        return self.numpy[:2] >= OLDEST_NUMPY and self.cffi[:2] >= OLDEST_CFFI

    def describe(self):
        """str : one line."""
        parts = [self.board, self.architecture, self.os, self.libc]
        if self.python:
            parts.append("Python " + ".".join(map(str, self.python)))
        parts.append(
            f"{self.free_kb / 1e6:.1f} GB free" if self.free_kb >= 1e6 else f"{self.free_kb} KB free"
        )
        return ", ".join(part for part in parts if part)


def script(prefix, with_python):
    """The script that looks, and changes nothing."""
    return _SCRIPT.format(
        names=installation.names(prefix),
        begin=f"'{_BEGIN}'",
        end=f"'{_END}'",
        python=_PYTHON_SCRIPT.format(program=installation.quote(_PYTHON)) if with_python else "",
        kinds=" ".join(installation.KINDS),
    )


def probe(remote, prefix, with_python):
    """Look at a device.

    Parameters
    ----------
    remote : Remote
    prefix : str
        Where installations are, see `installation.check_prefix`.
    with_python : bool
        Look at its Python too, which takes some seconds on a small device.

    Returns
    -------
    Device

    Raises
    ------
    DeployError
        It cannot be reached, has no POSIX shell or none of the `MACHINES`' programs.
    """
    text = remote.look(script(prefix, with_python))
    # What a shell's start files print may stand before and after.
    found = re.search(f"^{_BEGIN}\n(.*)^{_END}$", text, re.DOTALL | re.MULTILINE)
    if not found:
        said = f": it says {text.strip().splitlines()[-1]!r}" if text.strip() else ""
        raise DeployError(f"{remote.destination}: no POSIX shell answers there{said}")
    facts = {}
    for line in found.group(1).splitlines():
        key, _, value = line.partition(" ")
        facts.setdefault(key, []).append(value.strip())
    one = {key: values[0] for key, values in facts.items()}
    if one["system"] != "Linux":
        raise DeployError(f"{remote.destination}: it runs {one['system']}, expected Linux")
    if "obstacle" in one:
        raise DeployError(
            f"{remote.destination}: {one['obstacle']} is a file: move it away, or name another --prefix"
        )
    architecture, soft_float = _architecture(remote, one["machine"], bytes.fromhex(one["elf"]))
    space = re.search(r"\s\d+\s+\d+\s+(-?\d+)\s+(?:\d+%|-)\s", one["space"] + " ")
    return Device(
        architecture=architecture,
        board=one.get("board", ""),
        os=one["os"],
        libc=one.get("libc", ""),
        home=one["home"],
        user=one["user"],
        uid=int(one["uid"]),
        place=one["place"],
        free_kb=int(space.group(1)) if space else 0,
        writable="writable" in one,
        tools=frozenset(facts.get("tool", [])),
        python=_version(one.get("python")),
        has_venv="venv" in one,
        numpy=_version(one.get("numpy")),
        cffi=_version(one.get("cffi")),
        installed={name.partition("-")[0]: name for name in facts.get("installed", [])},
        has_service="service" in one,
        soft_float=soft_float,
    )


def _version(text):
    return tuple(int(digits) for digits in re.findall(r"\d+", text or "")[:3])


def elf_machine(header):
    """Whose instructions an ELF file holds.

    Parameters
    ----------
    header : bytes
        The file's first 20 bytes, or more.

    Returns
    -------
    str or None
        None if it is no ELF file.
    """
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    machine = int.from_bytes(header[18:20], "little")
    return _ELF_MACHINES.get(machine, f"ELF machine {machine}")


def _architecture(remote, machine, header):
    """Whose programs the system runs: (one of MACHINES, calls have no floating-point registers)."""
    programs = elf_machine(header) or machine
    soft_float = False
    name = programs
    if programs == "arm":
        # An ARMv8 processor in a 32-bit system runs what ARMv7 does.
        old = re.match(r"armv[3-6]", machine)
        name = machine if old else "armv7l"
        soft_float = not int.from_bytes(header[36:40], "little") & _ARM_HARD_FLOAT
    if name not in MACHINES:
        also = f" ({machine})" if name != machine else ""
        raise DeployError(
            f"{remote.destination}: its programs are for {name}{also}; there are artefacts for {', '.join(MACHINES)}"
        )
    return name, soft_float
