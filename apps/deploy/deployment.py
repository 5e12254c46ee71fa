# SPDX-License-Identifier: MIT
"""The steps of a deployment, each with a line on standard output."""

import pathlib
import shlex

from apps.deploy import artefacts, installation, payload, python_program, self_test, service, static_program
from apps.deploy.errors import DeployError
from apps.deploy.probe import probe
from edge_runtime import Model

_PROGRAMS = {"static": static_program, "python": python_program}
_RECORDING = pathlib.Path(__file__).resolve().parent.parent / "demo_samples" / "british.wav"


class Deployment:
    """A device that has been looked at.

    Parameters
    ----------
    remote : apps.deploy.remote.Remote
    prefix : str
        As `installation.check_prefix` returns it.
    kind : str
        What is to be installed, of `installation.KINDS`.

    Raises
    ------
    DeployError
        As all methods: what the device does not allow. The device is then as before.
    """

    def __init__(self, remote, prefix, kind):
        self._remote = remote
        self._prefix = prefix
        self._device = probe(remote, prefix, with_python=kind == "python")
        self._absolute = installation.absolute(prefix, self._device.home)
        self._kind = kind
        self._changed = False
        _say("device", self._device.describe())

    def remove(self):
        """Remove all that was ever installed below the prefix, its links and its services."""
        script = installation.remove_script(self._prefix, service.remove_script(self._absolute))
        removed = []
        self._change(script, "removing", removed=removed)
        if not removed and not self._remote.dry_run:
            _say("removed", f"nothing: there is nothing of this program in {self._absolute}")

    def install(self, dist=None, restart=True):
        """Install what is not there already, test it, and list microphones.

        Parameters
        ----------
        dist : path-like or None
            As `artefacts.find` takes it.
        restart : bool
            Restart the services that run what was replaced.
        """
        kind = self._kind
        self._check_device()
        artefact = artefacts.find(kind, self._device.architecture, dist)
        _say("artefact", f"{artefact.name}, {artefact.stat().st_size} bytes")
        kept, passing = _PROGRAMS[kind].payload(artefact, _RECORDING, self._device)
        if not self._is_there(kept):
            self._check_space(kept)
            self._copy(kept, passing)
            self._changed = True
            if restart and self._device.has_service:
                self._restart_services()
        self._list_microphones()

    def install_service(self, scope, arguments):
        """Install and start the service.

        Parameters
        ----------
        scope : str
            `service.USER` or `service.SYSTEM`.
        arguments : list of str
            Of its program.
        """
        if "systemctl" not in self._device.tools:
            raise DeployError("there is no systemd there, so no --service; the program is installed")
        text = service.unit(self._kind, scope, self._absolute, self._device.user, arguments)
        script = service.install_script(self._prefix, scope, text, self._changed)
        facts = {}

        def note(line):
            key, _, value = line.partition(" ")
            facts[key] = value

        self._remote.change(script, "installing the service", on_line=note)
        if self._remote.dry_run:
            return
        how = "the same as before" if "same" in facts else "written"
        _say(
            "service",
            f"{installation.UNIT} of {'the system' if scope == service.SYSTEM else self._device.user}, {how}",
        )
        if facts.get("state") == "active":
            _say("service", "runs, and will after a restart of the device")
        elif facts.get("state") == "failed":
            raise DeployError(
                f"the service is installed, but does not run: {facts.get('said') or 'its journal is empty'}"
            )
        else:
            _say(
                "service",
                f"is tried again every 5 s, for it ended with: {facts.get('said') or 'nothing in its journal'}",
            )
        if facts.get("linger") == "no":
            user = shlex.quote(self._device.user)
            _say(
                "service",
                f"runs while {user} is logged in; to run always: sudo loginctl enable-linger {user}",
            )
        _say("service", f"what it hears: {service.journal_command(scope)}")

    def say_next(self):
        """Print how to go on."""
        program = f"{self._absolute}/{self._kind}/{installation.PROGRAMS[self._kind]}"
        destination = shlex.quote(self._remote.destination)
        _say(
            "next", f"ssh -t {destination} {shlex.quote(shlex.quote(program))}    (speak digits; Ctrl-C ends)"
        )
        if self._kind == "python" and "arecord" not in self._device.tools:
            _say("next", "on the device, to hear: sudo apt install libportaudio2 alsa-utils")
        elif "arecord" not in self._device.tools:
            _say("next", "on the device, to hear: sudo apt install alsa-utils")

    def _check_device(self):
        device = self._device
        for tool in ("tar", "sha256sum"):
            if tool not in device.tools:
                raise DeployError(f"{tool} is missing there: sudo apt install tar coreutils")
        if self._kind == "python":
            python_program.check_device(device)
        if not device.writable:
            raise DeployError(
                f"{device.user} may not write in {device.place}, or it is mounted read-only: "
                "remount it, or name another --prefix"
            )

    def _check_space(self, kept):
        need_kb = _PROGRAMS[self._kind].needed_kb(kept, self._device)
        if self._device.free_kb < need_kb:
            raise DeployError(
                f"no space in {self._device.place}: {self._device.free_kb} KB free, {need_kb} KB needed; "
                "make room, or name another --prefix"
            )

    def _is_there(self, kept):
        """Is this very installation there, whole and working?"""
        current = self._device.installed.get(self._kind, "")
        path = f"{self._absolute}/{current}"
        if not current.startswith(f"{self._kind}-{kept.identity}-"):
            if current:
                _say("installed", f"{path} is another version and will be replaced")
            return False
        lines = self._remote.look(
            installation.check_script(self._prefix, self._kind, _PROGRAMS[self._kind].TEST)
        ).splitlines()
        if "whole" not in lines:
            _say("installed", f"{path} is damaged and will be replaced")
            return False
        _say("installed", f"{path} is the same, SHA-256 verified: nothing is copied")
        self._say_tested()
        return True

    def _copy(self, kept, passing):
        if self._kind == "static":
            self._send(kept, passing, static_program.TEST)
            return
        source = python_program.source_of_packages(self._device)
        _say("packages", python_program.describe_source(source, self._device))
        try:
            self._send(kept, passing, python_program.install_work(source))
        except DeployError as error:
            if source != python_program.INDEX or python_program.NO_INDEX not in str(error):
                raise
            _say("packages", "the device reaches no package index: fetching them here")
            passing = {**passing, **python_program.fetch_packages(self._device)}
            self._send(kept, passing, python_program.install_work(python_program.CARRIED))

    def _send(self, kept, passing, work):
        data = kept.tar(passing)
        script = installation.install_script(
            self._prefix, self._kind, kept.identity, len(data), payload.sha256(data), work
        )
        _say("copying", f"{len(data)} bytes")
        self._change(script, "copying", data)
        if not self._remote.dry_run:
            _say("installed", f"{self._absolute}/{self._kind}-{kept.identity}-*")

    def _restart_services(self):
        script = service.restart_script(self._prefix, self._absolute, self._kind)
        lines = []
        self._remote.change(script, "restarting the service", on_line=lines.append)
        for line in lines:
            _say(
                "service",
                f"{installation.UNIT} of the {line.removeprefix('restarted ')} runs the new program",
            )

    def _list_microphones(self):
        lines = []
        script = installation.list_script(self._prefix, self._kind, _PROGRAMS[self._kind].LIST)
        self._remote.change(script, "listing microphones", on_line=lines.append)
        if self._remote.dry_run:
            return
        status = lines.pop()
        if status == "status 0":
            for line in lines:
                _say("microphone", line)
        else:
            _say("microphone", f"none: {lines[-1] if lines else status}")

    def _change(self, script, what, data=b"", removed=None):
        """Run a script, and print its lines as they come."""

        def report(line):
            key, _, text = line.partition(" ")
            if line == "tested":
                self._say_tested()
            elif line == "copied":
                _say("copied", "SHA-256 verified there")
            elif key in ("step", "note"):
                _say(key, text)
            elif key == "removed":
                removed.append(text)
                _say(key, text)

        self._remote.change(script, what, data, report)

    def _say_tested(self):
        words = " ".join(word.label for word in self_test.heard(Model.default(), _RECORDING))
        _say("self-test", f"{words}: {_PROGRAMS[self._kind].TESTED}")


def _say(kind, text):
    print(f"{kind + ':':<12} {text}", flush=True)
