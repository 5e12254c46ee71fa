# SPDX-License-Identifier: MIT
"""NIST SPHERE files, the audio of LDC corpora: the header, and samples that are not compressed.

A file begins with "NIST_1A", the length of its header (in practice 1024 bytes) and lines of name, type and
value: "sample_rate -i 16000", "sample_coding -s3 pcm"; the rest are samples. Most discs of WSJ and TIDIGITS hold
them compressed by shorten, which nothing in Python reads: LDC's sph2pipe makes WAV files of them, and these are
read too, whatever they are called.
"""

from pathlib import Path

from apps.corpus import CorpusError

_MAGIC = b"NIST_1A\n"
_LONGEST_HEADER = 1 << 16


def read_header(path):
    """Read the header of a SPHERE file.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict
        Name to value: int (-i), float (-r) or str (-sN).

    Raises
    ------
    CorpusError
        The file cannot be read, or is no SPHERE file.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(16)
            if not start.startswith(_MAGIC):
                raise CorpusError(f"{path}: expected a SPHERE file (NIST_1A), found {start[:8]!r}")
            size = start[len(_MAGIC) :].strip()
            if not size.isdigit() or not 16 < int(size) <= _LONGEST_HEADER:
                raise CorpusError(f"{path}: length of the SPHERE header: expected a number, found {size!r}")
            text = file.read(int(size) - 16)
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from error
    fields = {}
    for line in text.decode("latin-1").split("\n"):
        if line.strip() == "end_head":
            return fields
        if not line.strip() or line.startswith(";"):
            continue
        name, kind, value = (*line.split(None, 2), "", "")[:3]
        try:
            fields[name] = _value(kind, value)
        except ValueError:
            raise CorpusError(f"{path}: line of the SPHERE header: found {line!r}") from None
    raise CorpusError(f"{path}: the SPHERE header has no end_head")


def _value(kind, value):
    if kind == "-i":
        return int(value)
    if kind == "-r":
        return float(value)
    if kind[:2] == "-s" and kind[2:].isdigit():
        return value[: int(kind[2:])]
    raise ValueError(kind)


def _is_wav(path):
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"RIFF"
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from error


def read_sphere(path):
    """Read a SPHERE file of one channel, or the WAV file that sph2pipe made of one.

    Parameters
    ----------
    path : path

    Returns
    -------
    samples : numpy.ndarray
        int16 [shape=(samples,)].
    rate : int
        Hz.

    Raises
    ------
    CorpusError
        The file cannot be read, is compressed (the message names the tool that expands it), has several channels
        or lacks samples that its header counts; or the package soundfile is missing.
    """
    path = Path(path)
    fields = {} if _is_wav(path) else read_header(path)
    coding = str(fields.get("sample_coding", "pcm"))
    if "shorten" in coding or "wavpack" in coding or "shortpack" in coding:
        raise CorpusError(
            f"{path}: sample_coding is {coding}, expected samples that are not compressed; expand it with LDC's "
            f"sph2pipe: sph2pipe -p -f wav {path.name} NEW.wav"
        )
    try:
        import soundfile
    except ImportError as error:
        raise CorpusError(
            "reading audio needs the package soundfile: pip install edge-runtime[evaluate]"
        ) from error
    try:
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise CorpusError(f"{path}: {error}") from error
    if samples.shape[1] != 1:
        raise CorpusError(f"{path}: {samples.shape[1]} channels, expected 1")
    if len(samples) < fields.get("sample_count", 0):
        raise CorpusError(f"{path}: {len(samples)} samples, its header counts {fields['sample_count']}")
    return samples[:, 0], rate
