# SPDX-License-Identifier: MIT
"""``python -m apps.deploy``, from this desk through a real sshd to emulated devices (tests/far_side.py)."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import far_side
import pytest
import targets
import wheels
from far_side import Device

import edge_runtime
from apps.deploy import artefacts, installation, probe, python_program, service, static_program
from apps.deploy.__main__ import build_parser, main
from apps.deploy.errors import UsageError

ROOT = pathlib.Path(__file__).resolve().parent.parent
PREFIX = f"{far_side.HOME}/.local/share/edge_runtime"
HEARD = "zero three two eight"
LONG = os.environ.get("EDGE_RUNTIME_DEPLOY", "") == "full"


def program(name):
    """The program edge-digits for a target."""
    target = targets.TARGETS[name]
    targets.needs_target(target)
    return targets.build_edge_digits(target)


def named(architecture):
    return f"edge-digits-{edge_runtime.__version__}-{architecture}"


@pytest.fixture
def dist(tmp_path):
    """Folder with the static program for arm64."""
    folder = tmp_path / "dist"
    folder.mkdir()
    shutil.copy(program("aarch64"), folder / named("aarch64"))
    return folder


@pytest.fixture
def home(tmp_path):
    """The device's home folder, as seen from here."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def make_device(tmp_path, home):
    """Function that makes an emulated device of a root and the further arguments of `far_side.emulated`."""
    far_side.needs_emulation()
    opened = []

    def make(root, **arguments):
        folder = tmp_path / "far"
        folder.mkdir()
        opened.append(Device(folder, far_side.emulated(root, home, **arguments)))
        return opened[-1].__enter__()

    yield make
    for device in opened:
        device.__exit__()


def deploy(device, *arguments, dist=None, status=0):
    """Run the program; returns what it said: (standard output, standard error)."""
    words = [*device.ssh_options, *(["--dist", dist] if dist else []), *arguments]
    result = subprocess.run(
        [sys.executable, "-m", "apps.deploy", "pi", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": "/tmp"},
    )
    assert result.returncode == status, result.stdout + result.stderr
    if status:
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert result.stderr.startswith("deploy: ")
    return result.stdout, result.stderr


def tree(folder):
    """What is in a folder: path to what there is to say of it, times included."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        found[str(path.relative_to(folder))] = (about.st_mode, about.st_mtime_ns, about.st_ino)
    return found


def test_life_of_an_installation(make_device, dist, home):
    """Fresh install, dry run, re-install, another version, damage, removal."""
    device = make_device(far_side.debian_root())
    assert device.run("uname -m") == "aarch64\n"
    (home / ".local").mkdir()
    (home / ".local" / "mine").write_text("mine")
    before = tree(home)

    out, _ = deploy(device, "--dry-run", dist=dist)
    assert out.count("would run on pi") == 2 and "sha256sum" in out
    assert tree(home) == before

    out, _ = deploy(device, dist=dist)
    assert re.search(r"^device: +aarch64, Debian GNU/Linux 12 \(bookworm\), glibc 2.36", out)
    assert f"{HEARD}: heard there as here, with the same times, confidences and logits" in out
    assert "sudo apt install alsa-utils" in out
    (link,) = (home / ".local" / "bin").iterdir()
    assert str(link.readlink()) == f"{PREFIX}/static/edge-digits"
    said = device.run(
        "~/.local/bin/edge-digits --json -i ~/.local/share/edge_runtime/static/self-test.wav 2>&1"
    )
    assert '"word": "zero"' in said
    installed = tree(home)

    out, _ = deploy(device, dist=dist)
    assert "is the same, SHA-256 verified: nothing is copied" in out and HEARD in out
    assert "copying" not in out
    assert tree(home) == installed

    with open(dist / named("aarch64"), "ab") as stream:
        stream.write(b"another version")
    out, _ = deploy(device, dist=dist)
    assert "is another version and will be replaced" in out
    share = home / ".local" / "share" / "edge_runtime"
    newest = (share / "static").readlink()
    assert {path.name for path in share.iterdir()} == {"static", str(newest), ".folders"}

    (share / "static" / "edge-digits").write_bytes(b"damaged")
    out, _ = deploy(device, dist=dist)
    assert "is damaged and will be replaced" in out and HEARD in out
    assert (share / "static" / "edge-digits").read_bytes() == (dist / named("aarch64")).read_bytes()

    out, _ = deploy(device, "--remove", "--dry-run")
    assert "would run on pi, for removing" in out and (share / "static" / "edge-digits").exists()
    out, _ = deploy(device, "--remove")
    assert out.count("removed:") == 3
    assert tree(home).keys() == before.keys()
    out, _ = deploy(device, "--remove")
    assert "nothing: there is nothing of this program" in out


def test_busybox_and_a_prefix_that_needs_quoting(make_device, dist, home):
    """All the device needs is a POSIX shell with the common tools; and a file in the way of a link stays."""
    device = make_device(far_side.busybox_root())
    prefix = "~/an 'edge $HOME\" & co"
    (home / ".local" / "bin").mkdir(parents=True)
    (home / ".local" / "bin" / "edge-digits").write_text("mine")
    out, _ = deploy(device, "--prefix", prefix, dist=dist)
    assert HEARD in out and "was there before and is left alone" in out
    assert {path.name for path in home.iterdir()} == {".local", prefix[2:]}
    out, _ = deploy(device, "--prefix", prefix, dist=dist)
    assert "nothing is copied" in out
    (home / prefix[2:] / "mine").write_text("mine")
    out, _ = deploy(device, "--prefix", prefix, "--remove")
    assert "is left: it was there before, or holds what is not of this program" in out
    assert [path.name for path in (home / prefix[2:]).iterdir()] == ["mine"]
    assert (home / ".local" / "bin" / "edge-digits").read_text() == "mine"


@pytest.mark.parametrize(
    ("architecture", "processor", "target", "name"),
    [("armhf", "cortex-a7", "armv7", "armv7l"), ("armel", "arm1176", "armv6", "armv6l")],
)
def test_32_bit_devices(architecture, processor, target, name, make_device, tmp_path, home):
    """A Raspberry Pi 2, and the first: each takes the program for its processor, and passes the test."""
    dist = tmp_path / "dist"
    dist.mkdir()
    shutil.copy(program(target), dist / named(name))
    root = far_side.busybox_root(architecture)
    device = make_device(root, architecture=architecture, processor=processor)
    out, _ = deploy(device, dist=dist)
    assert re.search(f"^device: +{name}, ", out) and HEARD in out
    deploy(device, "--remove")
    assert tree(home) == {}


def test_connection_that_breaks_leaves_nothing_half_installed(make_device, dist, home):
    device = make_device(far_side.debian_root())
    device.cut_after = 100_000
    _, err = deploy(device, dist=dist, status=1)
    assert "the connection broke while copying" in err
    far_side.wait_until(lambda: not tree(home))

    device.cut_after = None
    deploy(device, dist=dist)
    installed = tree(home)
    with open(dist / named("aarch64"), "ab") as stream:
        stream.write(b"another version")
    device.cut_after = 100_000
    deploy(device, dist=dist, status=1)
    device.cut_after = None
    far_side.wait_until(lambda: tree(home).keys() == installed.keys())
    assert device.run("~/.local/bin/edge-digits --self-test").endswith("\nOK\n")


def test_lost_desk_stops_the_device(make_device, dist, home):
    """What runs there when the desk goes away is stopped, and undone."""
    device = make_device(far_side.debian_root())
    script = installation.install_script(
        installation.DEFAULT_PREFIX,
        "static",
        "0" * 12,
        10240,
        static_program.sha256(_TAR),
        # It takes no heed of the first signal: that is how a command behaves which is just being started.
        """sh -c 'trap "trap - TERM" TERM; echo waits; while :; do sleep 1; done'\n""",
    )
    command = ["ssh", *device.ssh_options, "pi", f"exec sh -c {installation.quote(script)}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(_TAR)
        process.stdin.flush()
        assert process.stdout.readline() == b"copied\n"
        assert process.stdout.readline() == b"waits\n"
        assert tree(home)
        process.kill()
    far_side.wait_until(lambda: not tree(home))


_TAR = bytes(10240)  #: a tar file of nothing


def test_devices_that_cannot_have_it(make_device, dist, home):
    """Each with one line that says what and what to do."""
    device = make_device(far_side.busybox_root("i386"), wrapper="setarch i686")
    _, err = deploy(device, dist=dist, status=1)
    assert "its programs are for i386 (i686)" in err and "aarch64, armv7l, armv6l" in err
    device.trust("")
    _, err = deploy(device, dist=dist, status=1)
    assert "its host key is unknown to ssh: connect by hand once" in err
    device.trust("other_key")
    _, err = deploy(device, dist=dist, status=1)
    assert "its host key is not the one ssh knows" in err and "ssh-keygen -R" in err
    device.trust("host_key")
    _, err = deploy(device, "-o", "User=nobody-of-this-name", dist=dist, status=1)
    assert "ssh may not log in" in err and "Permission denied" in err and "ssh-copy-id pi" in err
    device.refuse()
    _, err = deploy(device, dist=dist, status=1)
    assert "it refuses connections" in err
    assert tree(home) == {}


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ("mount -t tmpfs -o size=500k none {home}", "no space in /home/pi: "),
        ("mount -t tmpfs -o nr_inodes=4 none {home}", "No space left on device"),
        ("mount -o remount,bind,ro {home}", "mounted read-only"),
        ("mount -o remount,bind,noexec {home}", "(noexec): name another --prefix"),
    ],
    ids=["small", "full", "read-only", "noexec"],
)
def test_home_that_cannot_have_it(mount, message, make_device, dist, home):
    device = make_device(far_side.debian_root(), mount=mount)
    _, err = deploy(device, dist=dist, status=1)
    assert message in err
    assert tree(home) == {}


def test_system_without_python_or_systemd(make_device, dist, home):
    device = make_device(far_side.debian_root())
    _, err = deploy(device, "--python", dist=dist, status=1)
    assert "no python3 there: sudo apt install python3-venv" in err
    _, err = deploy(device, "--service", dist=dist, status=1)
    assert "there is no systemd there" in err
    assert device.run("~/.local/bin/edge-digits --self-test").endswith("\nOK\n")


def test_service_of_a_user(tmp_path, home):
    """With the systemd of this machine: written, started, unchanged, changed, restarted, removed."""
    far_side.needs_manager()
    dist = tmp_path / "dist"
    dist.mkdir()
    shutil.copy(program("x86-64"), dist / named("x86_64"))
    folder = tmp_path / "far"
    folder.mkdir()
    unit = home / ".config" / "systemd" / "user" / installation.UNIT
    with far_side.managed(home) as script, Device(folder, script) as device:
        forever = ("--", "--raw", "-i", "/dev/zero")
        out, _ = deploy(device, "--service", *forever, dist=dist)
        assert "service:     runs" in out and "journalctl --user -u edge-digits -f" in out
        assert (unit.parent / "default.target.wants" / unit.name).is_symlink()
        process = device.run(
            f"XDG_RUNTIME_DIR=/run/user/0 systemctl --user show -p MainPID {installation.UNIT}"
        )
        out, _ = deploy(device, "--service", *forever, dist=dist)
        assert "the same as before" in out and "nothing is copied" in out
        show = f"XDG_RUNTIME_DIR=/run/user/0 systemctl --user show -p MainPID {installation.UNIT}"
        assert device.run(show) == process
        with open(dist / named("x86_64"), "ab") as stream:
            stream.write(b"another version")
        out, _ = deploy(device, dist=dist)
        assert "runs the new program" in out and device.run(show) != process
        out, _ = deploy(device, "--service", "--", "-i", "/no such 'file' $HOME %h", dist=dist)
        assert "written" in out
        restarts = f"XDG_RUNTIME_DIR=/run/user/0 systemctl --user show -p NRestarts {installation.UNIT}"
        far_side.wait_until(lambda: device.run(restarts) != "NRestarts=0\n")
        out, _ = deploy(device, "--remove")
        assert "removed" in out and str(unit.name) in out
        assert device.run(show) == "MainPID=0\n"
    assert {path.name for path in home.iterdir()} <= {".config"}
    assert {path.name for path in (home / ".config").glob("*")} <= {
        "pulse"
    }  # of libpulse, which lists microphones


@pytest.mark.parametrize("scope", [service.USER, service.SYSTEM])
@pytest.mark.parametrize("kind", installation.KINDS)
def test_units_are_what_systemd_expects(kind, scope, tmp_path):
    targets.needs("systemd-analyze")
    words = ["-d", "plughw:CARD=Webcam,DEV=0", "a b", '"', "'", "100%", "$HOME", "back\\slash"]
    prefix = tmp_path / "a folder"
    program = prefix / kind / installation.PROGRAMS[kind]
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / installation.UNIT
    unit.write_text(service.unit(kind, scope, str(prefix), "root", words))
    verify = ["systemd-analyze", "verify", f"--{scope}", "--man=no", "--recursive-errors=no", unit]
    result = subprocess.run(
        verify, capture_output=True, text=True, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    )
    assert result.returncode == 0 and installation.UNIT not in result.stderr, result.stderr


def scripts(prefix):
    """Every script that can be sent to a device."""
    yield installation.install_script(prefix, "static", "0" * 12, 10, "0" * 64, static_program.TEST)
    for source in ("system", "index", "carried"):
        work = python_program.install_work(source)
        yield installation.install_script(prefix, "python", "0" * 12, 10, "0" * 64, work)
    yield installation.check_script(prefix, "static", static_program.TEST)
    yield installation.check_script(prefix, "python", python_program.TEST)
    for scope in (service.USER, service.SYSTEM):
        text = service.unit("python", scope, "/a 'b'", "pi", ["$x"])
        yield service.install_script(prefix, scope, text, True)
    yield probe.script(prefix, with_python=True)
    yield installation.list_script(prefix, "static", static_program.LIST)
    yield service.restart_script(prefix, "/a 'b'", "static")
    yield installation.remove_script(prefix, service.remove_script("/a 'b'"))


@pytest.mark.parametrize("prefix", ["~/.local/share/edge_runtime", "/srv/it's $HOME"])
def test_scripts_are_posix_shell(prefix):
    targets.needs("dash", "shellcheck")
    for script in scripts(prefix):
        targets.run(["dash", "-n", "-c", script])
        # SC2034, SC2317: variables and functions that only some of the scripts use.
        check = ["shellcheck", "--shell=sh", "--severity=warning", "--exclude=SC2034,SC2317", "-"]
        result = subprocess.run(check, input=script, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout


def test_file_for_another_processor_is_not_copied(dist):
    (dist / named("aarch64")).rename(dist / named("armv7l"))
    with pytest.raises(UsageError, match=r"expected a program for armv7l, found one for aarch64"):
        artefacts.find("static", "armv7l", dist)
    (dist / named("armv6l")).write_text("no program")
    with pytest.raises(UsageError, match=r"expected a program for armv6l, found no ELF file"):
        artefacts.find("static", "armv6l", dist)
    with pytest.raises(
        UsageError, match=r"expected edge_runtime-.*aarch64.whl, found no such file; make wheels makes it"
    ):
        artefacts.find("python", "aarch64", dist)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-oProxyCommand=touch x"], "required: USER@HOST"),
        (["pi", "--prefix", "/"], "expected a folder"),
        (["pi", "--prefix", "folder"], "expected a folder"),
        (["a b"], "expected USER@HOST"),
        (["pi", "-o", "NoSuchOption=1"], "ssh does not take this"),
        (["pi", "--port", "x"], "invalid int value"),
        (["pi", "--static", "--python"], "not allowed with"),
        (["pi", "--remove", "--service"], "leave out what to install"),
        (["pi", "--", "-d", "x"], "add --service"),
        (["pi", "--service=root"], "invalid choice"),
    ],
)
def test_bad_command_lines_have_status_2(words, message, capsys):
    try:
        status = main(words)
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    assert status == 2 and out == "" and message in err


def test_messages_of_the_page_are_those_of_the_programs():
    """Left column of its table of messages; and its flags are there."""
    page = (ROOT / "docs" / "raspberry-pi.md").read_text()
    sources = [*ROOT.glob("apps/de*/*.py"), *ROOT.glob("apps/digit_demo/*.py"), *ROOT.glob("native/cli/*.c")]
    said = "".join(path.read_text() for path in sources)
    # Two are the system's.
    rows = [row for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) if row.startswith("`")]
    messages = {message for row in rows for message in re.findall("`(.*?)`", row)}
    messages -= {"Illegal instruction", "libopenblas.so.0: cannot open shared object file"}
    assert len(messages) > 15
    for message in messages:
        assert message in said, message
    text = build_parser().format_help() + (ROOT / "native" / "cli" / "options.c").read_text()
    for flag in set(re.findall(r"(?<![\w-])--[a-z][\w-]+", page)) - _FLAGS_OF_OTHERS:
        assert flag in text, flag


_FLAGS_OF_OTHERS = {"--system-site-packages", "--user"}  # of venv, journalctl


def check_python_installation(device, home, dist=None):
    """Fresh install, the demo as it is here, re-install, removal; returns what the first said, and its figures."""
    before = tree(home).keys()
    began = time.monotonic()
    said, _ = deploy(device, "--python", dist=dist)
    fresh_s = time.monotonic() - began
    assert f"{HEARD}: heard there as here, with the same times, confidences and logits" in said
    share = home / ".local" / "share" / "edge_runtime"
    recording = f"{PREFIX}/python/self-test.wav"
    heard = device.run(f"cd / && ~/.local/bin/digit-demo --json -i {recording} 2>/dev/null")
    here = [sys.executable, "-m", "apps.digit_demo", "--json", "-i", share / "python" / "self-test.wav"]
    assert heard == subprocess.run(here, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    size = sum(path.lstat().st_size for path in share.rglob("*"))

    def installed():
        return {name: about for name, about in tree(home / ".local").items() if "__pycache__" not in name}

    first = installed()
    again, _ = deploy(device, "--python", dist=dist)
    assert "nothing is copied" in again and HEARD in again
    assert installed() == first
    deploy(device, "--remove")
    left = {name for name in tree(home) if "pulse" not in name and name != ".config"}
    assert left == before
    return said, f"{fresh_s:.0f} s, {size / 1e6:.1f} MB"


def test_python_installation_on_this_processor(tmp_path, home):
    """With numpy and cffi of this system, of an index on its disk, or fetched for it: it has no network."""
    far_side.needs_manager()
    folder = tmp_path / "far"
    folder.mkdir()
    with far_side.managed(home) as script, Device(folder, script) as device:
        check_python_installation(device, home, wheels.folder())


@pytest.mark.skipif(not LONG, reason="takes minutes: make test-deploy")
@pytest.mark.parametrize("packages", ["carried", "system"])
def test_python_installation(packages, make_device, home, record_property):
    """By the wheel of `make wheels`, with numpy and cffi from here, and with Debian's."""
    device = make_device(far_side.python_root() if packages == "carried" else far_side.numpy_root())
    assert device.run("python3 -c 'import platform; print(platform.machine())'") == "aarch64\n"
    said, figures = check_python_installation(device, home)
    assert ("fetching them here" in said) == (packages == "carried")
    assert ("of its system" in said) == (packages == "system")
    record_property("figures", f"deployed with Python, packages {packages}: {figures}")
