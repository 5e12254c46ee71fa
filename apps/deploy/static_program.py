# SPDX-License-Identifier: MIT
"""The C program on the device: one file that needs nothing there."""

import pathlib

from apps.deploy import self_test
from apps.deploy.payload import Payload, sha256
from edge_runtime import Model

_MARGIN_KB = 512  #: file systems' blocks, and some
#: What the self-test compares.
TESTED = "heard there as here, with the same times, confidences and logits"

#: Tests $release, as `installation.install_script` and `check_script` have it done.
TEST = """\
status=0
heard=$("$release/edge-digits" --json --quiet -i "$release/self-test.wav") || status=$?
case $status in
    0) ;;
    126) fail "$prefix is on a file system whose programs may not be run (noexec): name another --prefix" ;;
    *) fail "self-test: edge-digits ends with status $status there" ;;
esac
[ "$heard" = "$(cat "$release/self-test.json")" ] || fail "self-test: it does not hear there what this computer hears"
logits=$("$release/edge-digits" --logits -i "$release/self-test.wav" | sha256sum)
[ "${logits%% *}" = "$(cat "$release/self-test.logits")" ] || fail "self-test: the logits are not those of this computer"
echo "tested"
"""

LIST = '"$release/edge-digits" --list-devices'


def payload(artefact, recording, _device):
    """What is copied.

    Parameters
    ----------
    artefact : pathlib.Path
        The program for the device.
    recording : pathlib.Path
        The self-test's.

    Returns
    -------
    tuple of (Payload, dict)
        What is kept there; and what is not, as `Payload.tar` takes it: nothing.
    """
    model = Model.default()
    words = self_test.json_lines(model, recording)
    logits = "".join(f"{' '.join(map(str, step))}\n" for step in self_test.logits(model, recording).tolist())
    files = {
        "edge-digits": pathlib.Path(artefact).read_bytes(),
        "self-test.wav": recording.read_bytes(),
        "self-test.json": "".join(f"{line}\n" for line in words).encode(),
        "self-test.logits": f"{sha256(logits.encode())}\n".encode(),
    }
    return Payload(files, {"edge-digits"}), {}


def needed_kb(kept, _device):
    """Kilobytes that must be free there: for the copy, and what it holds."""
    return _MARGIN_KB + 2 * len(kept) // 1000
