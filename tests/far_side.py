# SPDX-License-Identifier: MIT
"""Devices without hardware: a real sshd on loopback, whose commands run in an ARM system under emulation.

sshd has a host key, a user's key and a configuration of its own, and is started for each connection, so no port is
guessed. Its commands run in a private namespace with binfmt_misc, a root of Debian's packages and a home folder of the
test; nothing outside of the namespace is changed. For services there is a namespace in which this machine's systemd
manages those of a user. Packages of Debian: openssh-server openssh-client mmdebstrap qemu-user-static systemd.
"""

import contextlib
import getpass
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import threading
import time

import builds
import roots
import targets

HOME = "/home/pi"  #: of every device
_EMULATORS = {"arm64": "qemu-aarch64", "armhf": "qemu-arm", "armel": "qemu-arm"}
_SYSTEM = "base-files,coreutils,dash,tar,libc-bin"
_PYTHON = f"{_SYSTEM},python3,python3-venv,python3-pip,libstdc++6"
_BUSYBOX_PROGRAMS = (
    "cat df dirname head id kill ln ls mkdir mv od readlink rm rmdir sh sha256sum sleep tail tar tr uname"
).split()
# F opens the emulator here and now; P keeps the name a program is called by, which tells busybox what to be.
_BINFMT = ":{0}:M::{1}:{2}:{3}:PF"
# No network: the tests are the same wherever they run.
_UNSHARE = "unshare --user --map-root-user --mount --pid --net --fork --kill-child".split()
_LIMIT_S = 300.0

_EMULATED = """\
#!/bin/sh
exec {unshare} bash -c {inside} inside "$SSH_ORIGINAL_COMMAND"
"""
_INSIDE = """\
set -e
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf %s {binfmt} > /proc/sys/fs/binfmt_misc/register
mkdir -p {root}/proc {root}/dev {root}/tmp {root}{HOME}
mount --rbind /dev {root}/dev
mount -t proc proc {root}/proc || mount --rbind /proc {root}/proc
mount -t tmpfs none {root}/tmp
mount --bind {home} {root}{HOME}
{mount}
cd /
exec env -i HOME={HOME} USER=pi PATH=/usr/local/bin:/usr/bin:/bin QEMU_CPU={processor} {wrapper} \\
    {chroot} {root} /bin/sh -c "$1"
"""

_MANAGER = """\
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/user/0
chmod 700 /run/user/0
mount -t cgroup2 none /sys/fs/cgroup
mount -t proc proc /proc
mount -t tmpfs none /home
mkdir {HOME}
mount --bind {home} {HOME}
cd /
env -i HOME={HOME} XDG_RUNTIME_DIR=/run/user/0 PATH=/usr/bin:/bin {systemd} --user &
wait
"""
_MANAGED = """\
#!/bin/sh
exec nsenter --target {pid} --user --mount --pid --cgroup --wd=/ \\
    env -i HOME={HOME} USER=pi PATH=/usr/bin:/bin /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""

_SSHD_CONFIG = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
ForceCommand {folder}/command
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""
_SSH_CONFIG = """\
Host pi
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  BatchMode yes
  ConnectTimeout 120
  ServerAliveInterval 120
"""


def needs_emulation():
    """Skip or fail the test unless emulated devices can be made here."""
    targets.needs("unshare", "mmdebstrap", *(f"{emulator}-static" for emulator in _EMULATORS.values()))
    _needs_sshd()
    roots.needs_namespaces()


def needs_manager():
    """Skip or fail the test unless a systemd can be started here for a device."""
    targets.needs("unshare", "nsenter", "systemctl", "systemd-analyze")
    _needs_sshd()
    if not _systemd().exists():
        targets.missing(f"{_systemd()} is not installed")
    command = [*_UNSHARE, "--cgroup", "mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        targets.missing(f"this machine allows no private cgroups: {result.stderr.strip()}")


def _needs_sshd():
    targets.needs("ssh", "ssh-keygen")
    if _system_program("sshd") is None:
        targets.missing("sshd is not installed")


def _system_program(name):
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def _systemd():
    return pathlib.Path("/lib/systemd/systemd")


def _make_root(name, packages, architecture="arm64"):
    """Folder with a system of Debian packages, made once in a run of the tests; not to be changed."""

    def make(path):
        shutil.rmtree(path, ignore_errors=True)
        options = [f"--arch={architecture}", "--variant=extract", f"--include={packages}"]
        targets.run(["mmdebstrap", *options, "--format=directory", roots.SUITE, path, roots.archive()])
        if packages == "busybox-static":
            for program in _BUSYBOX_PROGRAMS:
                (path / "bin" / program).symlink_to("busybox")

    return builds.once(f"root_{name}", make)


def debian_root():
    """Debian arm64."""
    return _make_root("arm64", _SYSTEM)


def python_root():
    """Debian arm64 with Python."""
    return _make_root("arm64_python", _PYTHON)


def numpy_root():
    """Debian arm64 with Python, numpy and cffi."""
    return roots.make("arm64")


def busybox_root(architecture="arm64"):
    """Nothing but busybox, whose programs are links to it."""
    return _make_root(f"busybox_{architecture}", "busybox-static", architecture)


def emulated(root, home, architecture="arm64", processor="cortex-a53", mount="", wrapper=""):
    """The script by which sshd runs commands in a system.

    Parameters
    ----------
    root : pathlib.Path
    home : pathlib.Path
        The device's home folder.
    architecture : str
        Debian's name of what is emulated: a key of _EMULATORS.
    processor : str
        The emulator's name of the processor.
    mount : str
        Command that mounts something else there, at {home}.
    wrapper : str
        Words before the program that changes the root, such as setarch.
    """
    emulator = _EMULATORS[architecture]
    binfmt = _BINFMT.format(emulator, *roots.MAGIC[emulator], shutil.which(f"{emulator}-static"))
    inside = _INSIDE.format(
        binfmt=shlex.quote(binfmt),
        processor=processor,
        root=shlex.quote(str(root)),
        home=shlex.quote(str(home)),
        mount=mount.format(home=f"{shlex.quote(str(root))}{HOME}"),
        wrapper=wrapper,
        chroot=_system_program("chroot"),
        HOME=HOME,
    )
    return _EMULATED.format(unshare=" ".join(_UNSHARE), inside=shlex.quote(inside))


@contextlib.contextmanager
def managed(home):
    """The script by which sshd runs commands in a namespace where systemd manages a user's services."""
    manager = _MANAGER.format(home=shlex.quote(str(home)), HOME=HOME, systemd=_systemd())
    with subprocess.Popen([*_UNSHARE, "--cgroup", "bash", "-c", manager]) as process:
        try:
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
            wait_until(lambda: children.read_text().strip())
            script = _MANAGED.format(pid=int(children.read_text()), HOME=HOME)
            ready = {"SSH_ORIGINAL_COMMAND": "XDG_RUNTIME_DIR=/run/user/0 systemctl --user show-environment"}
            wait_until(
                lambda: (
                    subprocess.run(
                        ["sh", "-c", script], env=ready | os.environ, capture_output=True
                    ).returncode
                    == 0
                )
            )
            yield script
        finally:
            process.kill()


def wait_until(condition):
    """Wait until a function returns something true; fail after five minutes."""
    end = time.monotonic() + _LIMIT_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


class Device:
    """A device that ssh calls "pi"; a context manager.

    Parameters
    ----------
    folder : pathlib.Path
        For its keys and configuration.
    command : str
        The script by which sshd runs commands, of `emulated` or `managed`.

    Attributes
    ----------
    port : int
    ssh_options : list of str
        For ssh, or apps.deploy.
    cut_after : int or None
        Break connections when this many bytes have come through them.
    """

    def __init__(self, folder, command):
        self._folder = folder
        self._processes = []
        self.cut_after = None
        for key in ("host_key", "user_key", "other_key"):
            command_line = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", folder / key]
            subprocess.run(command_line, check=True)
        (folder / "command").write_text(command)
        (folder / "command").chmod(0o755)
        (folder / "sshd_config").write_text(_SSHD_CONFIG.format(folder=folder))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.trust("host_key")
        config = _SSH_CONFIG.format(folder=folder, port=self.port, user=getpass.getuser())
        (folder / "ssh_config").write_text(config)
        self.ssh_options = ["-F", str(folder / "ssh_config")]

    def trust(self, key):
        """Let the desk's ssh know a host key for this device: "host_key", which is right, "other_key" or ""."""
        line = f"[127.0.0.1]:{self.port} {(self._folder / f'{key}.pub').read_text()}" if key else ""
        (self._folder / "known_hosts").write_text(line)

    def run(self, command):
        """Output of a command there."""
        return targets.run(["ssh", *self.ssh_options, "pi", command])

    def __enter__(self):
        if os.geteuid() == 0:
            pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # what root's sshd insists on
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info):
        self.refuse()
        for process in self._processes:
            process.kill()
            process.wait()

    def refuse(self):
        """Refuse connections from now on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # a thread that waits in accept would go on listening
        self._listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            near, far = socket.socketpair()
            sshd = [_system_program("sshd"), "-i", "-e", "-f", self._folder / "sshd_config"]
            with far, open(self._folder / "sshd.log", "ab") as log:
                self._processes.append(subprocess.Popen(sshd, stdin=far, stdout=far, stderr=log))
            for ends in ((connection, near, self), (near, connection, None)):
                threading.Thread(target=_pump, args=ends, daemon=True).start()


def _pump(source, target, device):
    """Carry bytes from one socket to the other; break both at the `cut_after` of a device."""
    passed = 0
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            passed += len(data)
            if device is not None and device.cut_after is not None and passed > device.cut_after:
                break
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
