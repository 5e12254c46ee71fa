# SPDX-License-Identifier: MIT
"""What is copied to the device: one tar file, the same bytes for the same content, and what it is called by."""

import hashlib
import io
import tarfile

from apps.deploy import installation

SUMS = "SHA256SUMS"


def sha256(data):
    """SHA-256 of bytes as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class Payload:
    """Files to be copied.

    Parameters
    ----------
    files : dict
        Name in the installation, with slashes, to bytes.
    programs : collection of str
        Names of those that are run.
    made_for : str
        What else the installation depends on, such as the Python of its virtual environment.
    """

    def __init__(self, files, programs, made_for=""):
        self._files = dict(files)
        self._programs = frozenset(programs)
        sums = "".join(f"{sha256(data)}  {name}\n" for name, data in sorted(self._files.items()))
        self._files[SUMS] = sums.encode()
        self.identity = sha256(f"{sums}{made_for}".encode())[: installation.ID_DIGITS]

    def __len__(self):
        return sum(map(len, self._files.values()))

    def tar(self, passing=None):
        """The tar file.

        Parameters
        ----------
        passing : dict or None
            Further files, which the installation does not keep.

        Returns
        -------
        bytes
        """
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, data in sorted({**self._files, **(passing or {})}.items()):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                member.mode = 0o755 if name in self._programs else 0o644
                archive.addfile(member, io.BytesIO(data))
        return stream.getvalue()
