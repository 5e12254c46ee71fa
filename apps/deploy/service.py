# SPDX-License-Identifier: MIT
"""The systemd service: its unit file, and the scripts that install and remove it."""

from apps.deploy import installation
from apps.deploy.installation import PROGRAMS, UNIT, quote

USER, SYSTEM = "user", "system"

# What these refuse, programs that hear and print do not do; sockets and devices, which sound needs, stay. Memory that is
# written and run is left out for Python: cffi makes callbacks of it.
_HARDENING = {
    "NoNewPrivileges": "yes",
    "LockPersonality": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
}
# What needs privileges, which a user's systemd does not have. PrivateDevices is not among them: it hides /dev/snd.
_SYSTEM_HARDENING = {
    "ProtectSystem": "strict",
    "ProtectHome": "read-only",
    "PrivateTmp": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "CapabilityBoundingSet": "",
    "DevicePolicy": "closed",
    "DeviceAllow": "char-alsa rw",
}


def systemd_word(text):
    """One word of a unit's command line, whatever is in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def unit(kind, scope, prefix, user, arguments=()):
    """Text of the unit file.

    Parameters
    ----------
    kind : str
        Of `installation.KINDS`.
    scope : str
        USER or SYSTEM.
    prefix : str
        Where the installations are, absolute.
    user : str
        Who runs it, if it is the system's.
    arguments : sequence of str
        Of the program, after ``--json``.
    """
    program = f"{prefix}/{kind}/{PROGRAMS[kind]}"
    command = " ".join(systemd_word(word) for word in (program, "--json", *arguments))
    service = {
        "Type": "simple",
        "ExecStart": command,
        "Restart": "always",
        "RestartSec": "5",
        "SyslogIdentifier": "edge-digits",
        **_HARDENING,
    }
    if kind == "static":
        service["MemoryDenyWriteExecute"] = "yes"
    if scope == SYSTEM:
        service |= {"User": user, "SupplementaryGroups": "audio", **_SYSTEM_HARDENING}
    after = (
        "sound.target" if scope == SYSTEM else "pipewire.service pipewire-pulse.service pulseaudio.service"
    )
    target = "multi-user.target" if scope == SYSTEM else "default.target"
    sections = {
        # A microphone that is not there yet is no reason to give up.
        "Unit": {
            "Description": "Spoken digits, as JSON lines in the journal",
            "After": after,
            "StartLimitIntervalSec": "0",
        },
        "Service": service,
        "Install": {"WantedBy": target},
    }
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())
        for section, lines in sections.items()
    )


_FUNCTIONS = """\
if [ -z "${XDG_RUNTIME_DIR:-}" ] && [ -d "/run/user/$(id -u)" ]; then
    XDG_RUNTIME_DIR=/run/user/$(id -u); export XDG_RUNTIME_DIR
fi
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}
"""

_USER = """\
unit=$user_unit
control() { systemctl --user "$@"; }
journal() { journalctl --user "$@"; }
put() { cat > "$unit.new" && mv -f "$unit.new" "$unit"; }
control show-environment > /dev/null 2>&1 ||
    fail "systemd's manager of this user does not answer there: log in with a password or key (no su), or take --service=system"
trap '[ "$?" -eq 0 ] || echo "$made" | remove_folders' EXIT
need_folder "$(dirname "$unit")"
"""

_SYSTEM = """\
unit=$system_unit
control() { as_root systemctl "$@"; }
journal() { as_root journalctl "$@"; }
put() { as_root sh -c 'cat > "$1.new" && mv -f "$1.new" "$1"' sh "$unit"; }
as_root true 2> /dev/null || fail "sudo asks for a password there: take --service, which needs none"
"""

_INSTALL = """\
text={text}
restart={restart}
if [ "$(cat "$unit" 2>/dev/null || :)" = "$text" ] && control is-enabled --quiet {name} 2> /dev/null; then
    echo "same"
else
    printf "%s\\n" "$text" | put || fail "$unit could not be written"
    [ -z "$made" ] || echo "$made" >> "$prefix/.folders"
    control daemon-reload || fail "systemd does not take $unit"
    control enable --quiet {name} || fail "systemd does not enable $unit"
    echo "written"
    restart=yes
fi
if [ "$restart" = yes ] || ! control is-active --quiet {name}; then
    control restart {name} || fail "systemd does not start {name}"
    sleep 2
fi
echo "state $(control is-active {name} || :)"
echo "said $(journal --unit {name} --lines 1 --output cat 2> /dev/null | tail -n 1)"
"""

_LINGER = """\
if command -v loginctl > /dev/null 2>&1; then
    echo "linger $(loginctl show-user "$(id -un)" --property Linger --value 2> /dev/null || :)"
fi
"""

# Does a unit file run what is in this folder? Other installations have a service of the same name.
_OURS = """\
is_ours() {{
    case $(cat "$1" 2> /dev/null || :) in
        *{program}*) return 0 ;;
    esac
    return 1
}}
"""

_REMOVE = """\
if is_ours "$user_unit"; then
    systemctl --user disable --now --quiet {name} 2> /dev/null || :
    wants=$(dirname "$user_unit")/default.target.wants
    rm -f "$user_unit" "$wants/{name}"
    rmdir "$wants" 2> /dev/null || :
    systemctl --user daemon-reload 2> /dev/null || :
    echo "removed $user_unit"
fi
if is_ours "$system_unit"; then
    as_root true 2> /dev/null || fail "sudo asks for a password there: first remove $system_unit by hand, with sudo systemctl disable --now {name}"
    as_root systemctl disable --now --quiet {name} 2> /dev/null || :
    as_root rm -f "$system_unit" || fail "$system_unit could not be removed"
    as_root systemctl daemon-reload 2> /dev/null || :
    echo "removed $system_unit"
fi
"""


def install_script(prefix, scope, text, restart):
    """The script that puts a unit in place and (re)starts it.

    Its lines: "same" or "written"; "state STATE" as systemd calls it; "said LINE", the last in its journal; "linger
    yes" or "linger no" for the user's service.

    Parameters
    ----------
    prefix : str
    scope : str
    text : str
        Of the unit file.
    restart : bool
        Restart it even if the unit is the same: the program is new.
    """
    install = _INSTALL.format(text=quote(text.rstrip("\n")), name=UNIT, restart="yes" if restart else "no")
    parts = [
        installation.FUNCTIONS,
        installation.names(prefix),
        _FUNCTIONS,
        _SYSTEM if scope == SYSTEM else _USER,
        install,
    ]
    if scope == USER:
        parts.append(_LINGER)
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


def _is_ours(folder):
    return _OURS.format(program=quote(systemd_word(f"{folder}/")[:-1]))


def restart_script(prefix, absolute, kind):
    """The script that restarts services which run a kind's program, because it is new: a line "restarted SCOPE" each.

    Parameters
    ----------
    prefix : str
    absolute : str
        The same, as a path of the device.
    kind : str
        Of `installation.KINDS`.
    """
    body = "".join(
        f"if is_ours {unit}; then\n"
        f"    {control} try-restart {UNIT} || fail 'systemd does not restart {UNIT}'\n"
        f"    echo 'restarted {scope}'\n"
        "fi\n"
        for scope, unit, control in (
            (USER, '"$user_unit"', "systemctl --user"),
            (SYSTEM, '"$system_unit"', "as_root systemctl"),
        )
    )
    parts = [
        installation.FUNCTIONS,
        installation.names(prefix),
        _FUNCTIONS,
        _is_ours(f"{absolute}/{kind}"),
        body,
    ]
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


def remove_script(absolute):
    """The part of `installation.remove_script` that removes the services of what is below a prefix.

    Parameters
    ----------
    absolute : str
        The prefix, as a path of the device.
    """
    return _FUNCTIONS + _is_ours(absolute) + _REMOVE.format(name=UNIT)


def journal_command(scope):
    """How to read what a service hears."""
    return f"journalctl {'--user ' if scope == USER else ''}-u {UNIT.removesuffix('.service')} -f"
