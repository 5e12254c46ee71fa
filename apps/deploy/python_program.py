# SPDX-License-Identifier: MIT
"""The Python package and the digit demo on the device, in a virtual environment of their own."""

import pathlib
import subprocess
import sys
import tempfile

from apps.deploy import probe, self_test
from apps.deploy.errors import DeployError
from apps.deploy.payload import Payload, sha256
from edge_runtime import Model

_APPS = pathlib.Path(__file__).resolve().parent.parent
#: What of apps/ the device gets: the digit demo, and what it and the self-test import.
_MODULES = (
    "__init__.py",
    "audio.py",
    "demo_samples/*",
    "deploy/__init__.py",
    "deploy/self_test.py",
    "digit_demo/**/*",
    "evaluate/__init__.py",
    "evaluate/metrics.py",
)
_DEPENDENCIES = ("numpy", "cffi")
_MICROPHONE = "sounddevice"  #: without it the demo hears through arecord
_OLDEST_GLIBC = 17  #: minor version in the oldest platform tag of wheels for aarch64

#: Kilobytes on the device: a virtual environment with pip and this package; numpy, cffi and their wheels.
_ENVIRONMENT_KB = 40_000
_DEPENDENCIES_KB = 160_000
#: What the self-test compares.
TESTED = "heard there as here, with the same times, confidences and logits"

LAUNCHER = """\
#!/bin/sh
# The digit demo of the installation that holds this file.
exec "$(dirname "$(readlink -f "$0")")/venv/bin/python" -P -m apps.digit_demo "$@"
"""

#: Where the packages come from: the system's own Python, its package index, or beside the copy.
SYSTEM, INDEX, CARRIED = "system", "index", "carried"
NO_INDEX = "no package index"

_INSTALL = """\
python=$release/venv/bin/python
echo "step making a virtual environment"
python3 -m venv {site} "$release/venv" > "$stage/log" 2>&1 || fail "python3 -m venv failed there: $(tail -n 1 "$stage/log")"
printf "%s\\n" "$release" > "$("$python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")/apps.pth"
pip() {{
    "$python" -m pip --no-input --disable-pip-version-check --no-cache-dir install --quiet "$@" > "$stage/log" 2>&1
}}
"""

_PACKAGES = {
    SYSTEM: """\
echo "step installing edge_runtime"
pip --no-index "$release"/*.whl || fail "pip failed there: $(tail -n 1 "$stage/log")"
pip --retries 0 --timeout 10 --no-deps {microphone} ||
    echo "note {microphone} could not be installed ($(tail -n 1 "$stage/log")): the demo hears through arecord"
""",
    INDEX: """\
echo "step installing edge_runtime, {packages} from the package index of the device"
pip --retries 1 --timeout 15 "$release"/*.whl {packages} || fail "{no_index}: $(tail -n 1 "$stage/log")"
""",
    CARRIED: """\
echo "step installing edge_runtime, {packages}"
pip --no-index --find-links "$release/wheels" "$release"/*.whl {packages} ||
    fail "pip failed there: $(tail -n 1 "$stage/log")"
""",
}

_TIDY = """\
rm -rf "$release"/*.whl "$release/wheels"
"""

TEST = """\
status=0
heard=$("$release/venv/bin/python" -P -m apps.deploy.self_test "$release/self-test.wav") || status=$?
case $status in
    0) ;;
    126) fail "$prefix is on a file system whose programs may not be run (noexec): name another --prefix" ;;
    *) fail "self-test: the package does not run there, status $status" ;;
esac
[ "$heard" = "$(cat "$release/self-test.txt")" ] || fail "self-test: it does not hear there what this computer hears"
echo "tested"
"""

LIST = '"$release/digit-demo" --list-devices'


def check_device(device):
    """Refuse a device that cannot have it.

    Raises
    ------
    DeployError
    """
    if not device.python:
        raise DeployError(
            "no python3 there: sudo apt install python3-venv on the device, or --static, which needs none"
        )
    if device.python < probe.OLDEST_PYTHON:
        version, oldest = (".".join(map(str, value)) for value in (device.python, probe.OLDEST_PYTHON))
        raise DeployError(
            f"Python {version} is too old there, {oldest} or newer is needed: --static needs none"
        )
    if not device.has_venv:
        raise DeployError(
            "Python's venv module is missing there: sudo apt install python3-venv on the device"
        )
    if not device.glibc or device.soft_float:
        kind = (
            "calls without floating-point registers"
            if device.soft_float
            else device.libc or "an unknown libc"
        )
        raise DeployError(
            f"there are wheels for glibc with hard float, it has {kind}: --static needs neither"
        )


def source_of_packages(device):
    """Where numpy and cffi are taken from at first: SYSTEM if they are there, else INDEX."""
    return SYSTEM if device.has_packages else INDEX


def payload(wheel, recording, device):
    """What is copied, without the packages of others.

    Parameters
    ----------
    wheel : pathlib.Path
    recording : pathlib.Path
        The self-test's.
    device : probe.Device

    Returns
    -------
    tuple of (Payload, dict)
        What is kept there; and what is installed there, and not kept, as `Payload.tar` takes it.
    """
    lines = self_test.exact_lines(Model.default(), recording)
    files = {
        "digit-demo": LAUNCHER.encode(),
        "self-test.wav": recording.read_bytes(),
        "self-test.txt": "".join(f"{line}\n" for line in lines).encode(),
    }
    for pattern in _MODULES:
        for path in _APPS.glob(pattern):
            if path.is_file() and path.suffix != ".pyc":
                files[f"apps/{path.relative_to(_APPS).as_posix()}"] = path.read_bytes()
    passing = {wheel.name: wheel.read_bytes()}
    # A virtual environment is of one version of Python.
    made_for = f"{sha256(passing[wheel.name])} {device.python[:2]} {source_of_packages(device)}"
    return Payload(files, {"digit-demo"}, made_for), passing


def needed_kb(_kept, device):
    """Kilobytes that must be free there."""
    return _ENVIRONMENT_KB + (0 if device.has_packages else _DEPENDENCIES_KB)


def describe_source(source, device):
    """Where numpy and cffi are taken from, for people."""
    if source == SYSTEM:
        versions = (".".join(map(str, version)) for version in (device.numpy, device.cffi))
        return "numpy {} and cffi {} of its system".format(*versions)
    return "numpy, cffi and sounddevice from the package index it knows"


def install_work(source):
    """The script that makes the virtual environment in $release and tests it.

    Parameters
    ----------
    source : str
        SYSTEM, INDEX or CARRIED. With INDEX, the failure's text begins with NO_INDEX if the packages cannot be had.
    """
    site = "--system-site-packages" if source == SYSTEM else ""
    packages = " ".join((*_DEPENDENCIES, _MICROPHONE))
    fill = {"packages": packages, "microphone": _MICROPHONE, "no_index": NO_INDEX}
    return _INSTALL.format(site=site) + _PACKAGES[source].format(**fill) + _TIDY + TEST


def fetch_packages(device):
    """Wheels of numpy, cffi and what they need for the device's Python, by this computer's pip.

    Returns
    -------
    dict
        As `Payload.tar` takes it.

    Raises
    ------
    DeployError
        pip cannot get them, as is so for 32-bit systems.
    """
    platforms = [
        f"--platform=manylinux_2_{minor}_{device.architecture}"
        for minor in range(device.glibc[1], _OLDEST_GLIBC - 1, -1)
    ]
    version = ".".join(map(str, device.python[:2]))
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}", *platforms]
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [*command, "-d", folder, *_DEPENDENCIES, _MICROPHONE], capture_output=True, text=True
        )
        if result.returncode != 0:
            said = [line for line in result.stderr.splitlines() if line.strip()]
            raise DeployError(
                "numpy and cffi can be had neither from there nor from here "
                f"({said[-1] if said else 'pip says nothing'}): "
                "sudo apt install python3-numpy python3-cffi on the device"
            )
        return {f"wheels/{path.name}": path.read_bytes() for path in pathlib.Path(folder).iterdir()}
