# SPDX-License-Identifier: MIT
"""Where installations are on the device, and the scripts that make, check and remove them.

Below the prefix: ``static`` and ``python`` are symbolic links to the folders ``static-ID-N`` and ``python-ID-N``,
ID being of what was copied. A new folder is made and tested beside the old one, and then the link is
replaced by one rename; so whatever breaks, one of the two is there whole. ``~/.local/bin`` has a link to the program.

All scripts are POSIX sh and end with undoing what they did, unless they get to their end.
"""

import posixpath
import shlex

from apps.deploy.errors import UsageError

KINDS = ("static", "python")
DEFAULT_PREFIX = "~/.local/share/edge_runtime"
UNIT = "edge-digits.service"
ID_DIGITS = 12
#: Command in ~/.local/bin by kind: the same name as the program's in the installation.
PROGRAMS = {"static": "edge-digits", "python": "digit-demo"}

quote = shlex.quote


def check_prefix(prefix):
    """A prefix of the command line, normalized.

    Raises
    ------
    UsageError
        It is not absolute, nor in the home folder there.
    """
    normal = posixpath.normpath(prefix)
    if (
        not normal.startswith(("/", "~/"))
        or normal in ("/", "//")
        or not normal.isprintable()
        or "\\" in normal
    ):
        raise UsageError(f"--prefix {prefix!r}: expected a folder as /opt/digits or ~/digits, on the device")
    return normal


def absolute(prefix, home):
    """A prefix as the device's absolute path."""
    return home.rstrip("/") + prefix[1:] if prefix.startswith("~/") else prefix


def names(prefix):
    """Shell variables that the scripts share."""
    home = f'"$HOME"/{quote(prefix[2:])}' if prefix.startswith("~/") else quote(prefix)
    return f"""\
prefix={home}
programs=$HOME/.local/bin
user_unit=$HOME/.config/systemd/user/{UNIT}
system_unit=/etc/systemd/system/{UNIT}"""


# Folders that were not there are noted, so that removing the installation removes them too.
FUNCTIONS = """\
set -eu
LC_ALL=C; export LC_ALL
umask 022
fail() {
    echo "fail $*"
    exit 1
}
made=
need_folder() {
    [ -d "$1" ] && return
    need_folder "$(dirname "$1")"
    mkdir "$1" || fail "cannot make the folder $1"
    made="$1
$made"
}
remove_folders() {
    while IFS= read -r folder; do
        [ -z "$folder" ] || rmdir "$folder" 2>/dev/null || :
    done
}
"""

_RECEIVE = """\
kind={kind}
stage=$prefix/.staging-$$
release=
watch=
undo() {{
    status=$?
    trap '' HUP INT TERM PIPE
    [ -z "$watch" ] || kill "$watch" 2> /dev/null || :
    [ "$status" -eq 0 ] || [ -z "$release" ] || rm -rf "$release"
    rm -rf "$stage"
    [ "$status" -eq 0 ] || echo "$made" | remove_folders
}}
trap undo EXIT
trap 'exit 1' HUP INT TERM PIPE
need_folder "$prefix"
current=$(readlink "$prefix/$kind" || :)
[ -L "$prefix/$kind" ] || [ ! -e "$prefix/$kind" ] || fail "$prefix/$kind is not of this program: move it away"
for stale in "$prefix"/.staging-* "$prefix/$kind"-{digits}-*; do
    [ "$stale" = "$prefix/$current" ] || rm -rf "$stale"
done
mkdir "$stage"
exec 3<&0
head -c {size} <&3 > "$stage/payload" || fail "the copy could not be written to $prefix"
sum=$(sha256sum < "$stage/payload")
[ "${{sum%% *}}" = {payload_sha256} ] || fail "the copy arrived damaged: SHA-256 ${{sum%% *}}, expected {payload_sha256}"
echo "copied"
# The other end closes our input when we are done, or when the connection breaks: then everything here is to stop.
# A command that is being started may lose the signal, and the shell would wait for it: so it comes until the shell is gone.
(cat <&3; trap '' TERM; while kill -TERM $$ && kill -TERM 0; do sleep 1; done) > /dev/null 2>&1 &
watch=$!
mkdir "$stage/new"
tar -xf "$stage/payload" -C "$stage/new" || fail "the copy could not be unpacked in $prefix"
rm "$stage/payload"
n=$$
while [ -e "$prefix/$kind-{id}-$n" ]; do n=$((n + 1)); done
release=$prefix/$kind-{id}-$n
mv "$stage/new" "$release"
"""

# mv puts a link over a link by one rename, without following either.
_SWITCH = """\
ln -s "$kind-{id}-$n" "$stage/$kind"
mv -f "$stage/$kind" "$prefix/" || fail "$prefix/$kind could not be replaced"
release=
need_folder "$programs"
link=$programs/{program}
target=$prefix/$kind/{program}
if [ "$(readlink "$link" || :)" != "$target" ]; then
    if [ -L "$link" ] || [ -e "$link" ]; then
        echo "note $link was there before and is left alone: the program is $target"
    else
        ln -s "$target" "$link"
    fi
fi
[ -z "$made" ] || echo "$made" >> "$prefix/.folders"
[ -z "$current" ] || rm -rf "$prefix/${{current:?}}"
"""

_CHECK = """\
release=$prefix/{kind}
if (cd "$release" && sha256sum -c SHA256SUMS) > /dev/null 2>&1; then
    echo "whole"
else
    exit 0
fi
"""

_REMOVE = """\
{remove_services}
for item in {links}; do
    name=${{item##*/}}
    case $name in
        edge-digits) target=$prefix/static/$name ;;
        digit-demo) target=$prefix/python/$name ;;
    esac
    if [ "$(readlink "$item" || :)" = "$target" ]; then
        rm "$item"
        echo "removed $item"
    fi
done
for kind in {kinds}; do
    if [ -L "$prefix/$kind" ]; then
        current=$(readlink "$prefix/$kind")
        case $current in
            "$kind"-{digits}-*)
                rm "$prefix/$kind"
                echo "removed $prefix/$kind"
                ;;
        esac
    fi
    for release in "$prefix/$kind"-{digits}-*; do
        if [ -d "$release" ]; then
            rm -rf "$release"
            echo "removed $release"
        fi
    done
done
rm -rf "$prefix"/.staging-*
if [ -f "$prefix/.folders" ]; then
    folders=$(cat "$prefix/.folders")
    rm "$prefix/.folders"
    echo "$folders" | remove_folders
fi
[ ! -d "$prefix" ] || echo "note $prefix is left: it was there before, or holds what is not of this program"
"""


def _digits():
    return "[0-9a-f]" * ID_DIGITS


def install_script(prefix, kind, identity, size, payload_sha256, work):
    """The script that takes a payload on its standard input and installs it. It stops and undoes what it did when its
    standard input is closed before its end.

    Parameters
    ----------
    prefix : str
    kind : str
    identity : str
        ID of the installation.
    size : int
    payload_sha256 : str
        Bytes and SHA-256 of the tar file on standard input.
    work : str
        Script between unpacking, at $release, and the moment when it counts; it ends with `fail TEXT` if it must not.
    """
    values = {
        "kind": kind,
        "id": identity,
        "size": size,
        "payload_sha256": payload_sha256,
        "digits": _digits(),
        "program": PROGRAMS[kind],
    }
    parts = [FUNCTIONS, names(prefix), _RECEIVE.format(**values), work, _SWITCH.format(**values)]
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


def check_script(prefix, kind, work):
    """The script that says "whole" if an installation's files are as copied, and then does `work`, which finds it at
    $release; it changes nothing."""
    parts = [FUNCTIONS, names(prefix), _CHECK.format(kind=kind), work]
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


def list_script(prefix, kind, command):
    """The script that lists microphones by a command of $release; its last line is "status N"."""
    body = f'release=$prefix/{kind}\nstatus=0\n{command} 2>&1 || status=$?\necho "status $status"\n'
    return f"{FUNCTIONS}{names(prefix)}\n{body}"


def remove_script(prefix, remove_services):
    """The script that removes everything, with one line "removed PATH" for each.

    Parameters
    ----------
    prefix : str
    remove_services : str
        Script that removes services, which need programs that are about to be removed.
    """
    links = " ".join(f'"$programs/{name}"' for name in PROGRAMS.values())
    body = _REMOVE.format(
        remove_services=remove_services, links=links, kinds=" ".join(KINDS), digits=_digits()
    )
    return "\n".join([FUNCTIONS.rstrip("\n"), names(prefix), body])
