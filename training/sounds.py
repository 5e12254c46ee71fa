# SPDX-License-Identifier: MIT
"""``python -m training.sounds``: sounds and talk that hold no English digit, out of Debian's games and learning programs.

Six packages hold what a microphone at home hears: animals, people who cough, sneeze and laugh, tools, instruments,
blows, and thousands of short phrases in ten other languages. They are fetched by apt-get (or found in a folder),
unpacked and cut, and kept as a set that `apps.corpus` reads. Never committed; tests and development never hear them.
"""

import argparse
import csv
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from apps.corpus import CorpusError
from training.augment import rms
from training.corpus import Source
from training.synthetic_speech import default_folder

SAMPLE_RATE = 16000
LONGEST_S = {"sound": 12, "talk": 6}
SHORTEST_S = 0.05
FAINTEST_DBFS = -65
AUDIO = (".ogg", ".wav", ".flac", ".mp3")
# Recordings of each language and program that are kept, chosen by a hash of their names.
MOST_TALK = 250
COLUMNS = ("file", "speaker", "gender", "label", "take", "start_sample", "num_samples", "split", "source")


@dataclass(frozen=True)
class Package:
    """A Debian package with sounds.

    Attributes
    ----------
    name, title, address, license, credit : str
        As in `training.corpus.Source`.
    sounds, talk : str
        Regular expressions on paths within the package: no speech, and speech that holds no English digit.
    """

    name: str
    title: str
    address: str
    license: str
    credit: str
    sounds: str
    talk: str = "(?!)"

    @property
    def source(self):
        """What the model card states: a `training.corpus.Source`."""
        role = "noise and rejected speech: training"
        return Source(f"Debian: {self.name}", (), self.title, self.address, self.license, self.credit, role)


# A stamp's sound is NAME.ogg; what says its name or describes it ends in _desc, a language, or both.
_STAMPS = "/stamps/(?!symbols|town|space)"
_LANGUAGES = r"_(be|bg|ca|da|de|el|es|fr|it|ja|ko|lt|nb|nl|nn|pt|ro|ru|sl|sv|zh_tw)"
PACKAGES = (
    Package(
        "tuxpaint-stamps-default",
        "Tux Paint, stamps",
        "tuxpaint.org",
        "GPL 2",
        "Bill Kendrick and others",
        rf"{_STAMPS}(.*/)?[^_/]+\.(ogg|wav)$",
        rf"{_STAMPS}.*{_LANGUAGES}\.(ogg|wav)$",
    ),
    Package(
        "scratch",
        "Scratch 1.4, media",
        "scratch.mit.edu",
        "CC BY-SA 3.0",
        "Massachusetts Institute of Technology",
        "/Sounds/(Animal|Effects|Electronic|Human|Instruments|Percussion)/",
    ),
    Package(
        "sonic-pi-samples",
        "Sonic Pi, samples",
        "sonic-pi.net",
        "CC0 1.0",
        "Samuel Aaron and others (freesound.org)",
        "/samples/",
    ),
    Package(
        "wesnoth-1.16-data",
        "Battle for Wesnoth, sounds",
        "wesnoth.org",
        "GPL 2 or later",
        "David White and others",
        "/sounds/",
    ),
    Package(
        "widelands-data",
        "Widelands, sounds",
        "widelands.org",
        "GPL 2 or later",
        "Widelands Development Team",
        "/data/(sound|world)/",
    ),
    Package(
        "hedgewars-data",
        "Hedgewars, sounds and voices",
        "hedgewars.org",
        "GFDL 1.3, CC BY-SA 3.0",
        "Andrey Korotaev and others",
        r"/Sounds/[^/]+\.ogg$",
        # "First blood" and "This one is mine" hold what may be heard as a digit.
        "/Sounds/voices/(?!.*(First|This))",
    ),
)


def default_sounds():
    """Return where the set is kept: a pathlib.Path in the user's cache directory."""
    return default_folder().with_name("sounds")


def kind_of(package, path):
    """Return "sound", "talk", or None for what is left out."""
    if PurePosixPath(path).suffix.lower() not in AUDIO:
        return None
    for kind, pattern in (("talk", package.talk), ("sound", package.sounds)):
        if re.search(pattern, path):
            return kind
    return None


def speaker_of(package, kind, path):
    """Return who is heard: package and language or folder of talk, else the package."""
    if kind != "talk":
        return package.name
    language = re.search(_LANGUAGES + r"\.\w+$", path)
    return f"{package.name}:{language[1] if language else PurePosixPath(path).parent.name}"


def chosen(package, paths):
    """Choose what is kept of a package.

    Parameters
    ----------
    package : Package
    paths : iterable of str

    Returns
    -------
    dict of str to (str, str)
        Path -> kind and speaker.
    """
    kept, talk = {}, {}
    for path in sorted(paths):
        kind = kind_of(package, path)
        speaker = speaker_of(package, kind, path)
        if kind == "sound":
            kept[path] = (kind, speaker)
        elif kind:
            talk.setdefault(speaker, []).append(path)
    for speaker, found in talk.items():
        found.sort(key=lambda path: zlib.crc32(path.encode()))
        kept |= {path: ("talk", speaker) for path in found[:MOST_TALK]}
    return dict(sorted(kept.items()))


def decode(data, kind):
    """Decode a recording.

    Parameters
    ----------
    data : bytes
        Of an audio file.
    kind : str
        "sound" or "talk".

    Returns
    -------
    numpy.ndarray or None
        int16 [shape=(samples,)] at 16 kHz, mono, its beginning if it is long; None if it is too short or too
        faint to be of use, or no audio.
    """
    import soundfile

    from edge_runtime.resampler import resample

    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return None
    mono = np.ascontiguousarray(samples[: LONGEST_S[kind] * rate].mean(axis=1), np.float32)
    if len(mono) < SHORTEST_S * rate:
        return None
    mono = mono if rate == SAMPLE_RATE else resample(mono, rate)
    if 20 * np.log10(rms(mono)) < FAINTEST_DBFS:
        return None
    return np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)


def members(path):
    """Open a Debian package's files: a tarfile.TarFile to be closed by the caller."""
    try:
        data = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE, check=True).stdout
    except FileNotFoundError:
        raise CorpusError("dpkg-deb: not found; Debian's package dpkg has it") from None
    except subprocess.CalledProcessError:
        raise CorpusError(f"{path}: dpkg-deb cannot read it") from None
    return tarfile.open(fileobj=io.BytesIO(data))


def download(names, folder):
    """Fetch packages with apt-get into a folder."""
    try:
        subprocess.run(["apt-get", "download", *names], cwd=folder, stdout=sys.stderr, check=True)
    except FileNotFoundError:
        raise CorpusError("apt-get: not found; give --packages a folder with the files") from None
    except subprocess.CalledProcessError:
        raise CorpusError(f"apt-get download {' '.join(names)}: failed") from None


def build(packages, out):
    """Write the set.

    Parameters
    ----------
    packages : pathlib.Path
        Folder with a file NAME_*.deb of each of `PACKAGES`.
    out : pathlib.Path
        Folder that is made, and replaced if it is there: index.csv, a FLAC file of each package, and its copyright file.

    Returns
    -------
    dict of str to float
        Seconds of each kind.

    Raises
    ------
    apps.corpus.CorpusError
        A package is missing or cannot be read.
    """
    import soundfile

    seconds = {"sound": 0.0, "talk": 0.0}
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with open(part / "index.csv", "w", newline="", encoding="utf-8") as index:
        writer = csv.writer(index, lineterminator="\n")
        writer.writerow(COLUMNS)
        for package in PACKAGES:
            found = sorted(packages.glob(f"{package.name}_*.deb"))
            if not found:
                raise CorpusError(f"{packages}: no {package.name}_*.deb")
            with members(found[-1]) as archive:
                # Links are the same recordings again.
                names = [member.name for member in archive if member.isfile()]
                notice = archive.extractfile(next(name for name in names if name.endswith("/copyright")))
                (part / f"{package.name}.copyright").write_bytes(notice.read())
                pieces, at = [np.empty(0, np.int16)], 0
                for path, (kind, speaker) in chosen(package, names).items():
                    pcm = decode(archive.extractfile(path).read(), kind)
                    if pcm is None:
                        continue
                    name = PurePosixPath(path).name
                    row = (f"{package.name}.flac", speaker, "u", kind, name, at, len(pcm), "train", path)
                    writer.writerow(row)
                    pieces.append(pcm)
                    at += len(pcm)
                    seconds[kind] += len(pcm) / SAMPLE_RATE
            soundfile.write(part / f"{package.name}.flac", np.concatenate(pieces), SAMPLE_RATE)
    shutil.rmtree(out, ignore_errors=True)
    part.replace(out)
    return seconds


def main(argv=None):
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.sounds", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=default_sounds(), help="folder to write")
    parser.add_argument(
        "--packages", type=Path, help="folder with the .deb files; fetched with apt-get by default"
    )
    arguments = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as folder:
            packages = arguments.packages
            if packages is None:
                packages = Path(folder)
                download([package.name for package in PACKAGES], packages)
            seconds = build(packages, arguments.out)
    except (CorpusError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{arguments.out}: {seconds['sound'] / 60:.1f} min of sounds, {seconds['talk'] / 60:.1f} min of talk"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
