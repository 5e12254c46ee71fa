# SPDX-License-Identifier: MIT
"""``python -m training.tidigits DIR --out SET``: TIDIGITS (LDC93S10) as its owners have it, made a set of this project.

Nobody may pass the corpus on, so nothing here comes with it. DIR holds the discs, names of either case, anywhere below it:

    tidigits/train/man/ae/1a.wav        one, said by ae, first of two productions
    tidigits/train/man/ae/z6oa.wav      zero six oh
    tidigits/test/girl/bn/...           326 speakers, 77 utterances each: 22 single digits, 55 strings of two to seven

Files are SPHERE, 20 kHz, compressed by shorten on the discs: LDC's sph2pipe expands them, once (`training.sphere` reads
what it writes, and WAV files):

    find DIR -iname '*.wav' -exec sh -c 'sph2pipe -p -f wav "$1" "$1.new" && mv "$1.new" "$1"' - {} ';'

SET gets an index.csv and a FLAC file per speaker, 20 kHz as recorded. The splits are the corpus's own; a tenth of the
training speakers of each kind are made dev. Whatever takes a set takes it: single digits or strings, as its rows tell.

    python -m apps.evaluate --data SET --split test                       # the shipped recognizer, strings and single digits
    python -m training.tidigits DIR --out SET --only isolated             # single digits alone, or: connected
"""

import argparse
import csv
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apps.corpus import CorpusError
from training.sphere import read_sphere

GROUPS = ("man", "woman", "boy", "girl")
WORDS = {
    "z": "zero",
    "o": "oh",
    **dict(zip("123456789", "one two three four five six seven eight nine".split(), strict=True)),
}
SPEAKERS, PER_SPEAKER = 326, 77  # of the whole corpus
COLUMNS = (
    "file",
    "speaker",
    "gender",
    "label",
    "take",
    "start_sample",
    "num_samples",
    "split",
    "source",
    "rms_dbfs",
    "clipped_samples",
)
KINDS = ("all", "isolated", "connected")
_DEV = 10  # one in so many training speakers
_NAME = re.compile(r"([zo1-9]{1,7})([ab])\.(?:wav|sph|wv1)")


@dataclass(frozen=True)
class TidigitsFile:
    """A recording that is not read yet.

    Attributes
    ----------
    path : pathlib.Path
    split : str
        "train", "dev" or "test".
    group : str
        One of `GROUPS`.
    speaker : str
        Two letters.
    words : tuple of str
        Of the eleven digit words.
    take : str
        "a" or "b".
    """

    path: Path
    split: str
    group: str
    speaker: str
    words: tuple
    take: str

    @property
    def source(self):
        """str : its place in the corpus, in lower case."""
        return "/".join(part.lower() for part in self.path.parts[-4:])

    def read(self):
        """Return int16 [shape=(samples,)] and the rate in Hz; see `training.sphere.read_sphere`."""
        return read_sphere(self.path)


def list_tidigits(folder, kind="all"):
    """List the recordings below a folder.

    Parameters
    ----------
    folder : path
    kind : str
        "isolated" (single digits), "connected" (strings) or "all".

    Returns
    -------
    list of TidigitsFile
        Ordered by split of the corpus, group, speaker and digits.

    Raises
    ------
    CorpusError
        There are none, or two speakers of one name in a group.
    """
    folder = Path(folder)
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if len(path.parts) < 4:
            continue
        split, group, speaker, name = (part.lower() for part in path.parts[-4:])
        named = _NAME.fullmatch(name)
        if split not in ("train", "test") or group not in GROUPS or not named:
            continue
        digits, take = named.groups()
        words = tuple(WORDS[digit] for digit in digits)
        if kind == "all" or (len(words) == 1) == (kind == "isolated"):
            key = (split, GROUPS.index(group), speaker, len(digits), digits, take)
            if key in found:
                raise CorpusError(f"{path}: the same as {found[key].path}")
            found[key] = TidigitsFile(path, split, group, speaker, words, take)
    if not found:
        raise CorpusError(
            f"{folder}: expected files of TIDIGITS such as train/man/ae/1a.wav, found none"
            + ("" if kind == "all" else f" that are {kind}")
        )
    files = [found[key] for key in sorted(found)]
    dev = _dev_speakers(files)
    return [
        TidigitsFile(f.path, "dev", f.group, f.speaker, f.words, f.take)
        if (f.group, f.speaker) in dev and f.split == "train"
        else f
        for f in files
    ]


def _dev_speakers(files):
    # Every tenth of a group by name: no file need be read, and any part of the corpus has the same ones as long as
    # its speakers are all there.
    chosen = set()
    for group in GROUPS:
        speakers = sorted({f.speaker for f in files if (f.split, f.group) == ("train", group)})
        chosen.update((group, speaker) for speaker in speakers[_DEV - 1 :: _DEV])
    return chosen


def convert(files, folder):
    """Write recordings as a set that `apps.corpus.read_folder` reads; what the folder held of one is replaced.

    Parameters
    ----------
    files : list of TidigitsFile
        In the order of `list_tidigits`.
    folder : path
        Made if need be.

    Raises
    ------
    CorpusError
        A file cannot be read, or has another rate than the others of its speaker; there is no index.csv then.
    """
    import soundfile

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.csv").unlink(missing_ok=True)
    by_speaker, rows = {}, []
    for file in files:
        by_speaker.setdefault((file.split, file.group, file.speaker), []).append(file)
    for (split, group, speaker), said in by_speaker.items():
        name = f"{split}_{group}_{speaker}.flac"
        parts, rate, at = [], None, 0
        for file in said:
            samples, found = file.read()
            if rate not in (None, found):
                raise CorpusError(f"{file.path}: {found} Hz, the speaker's other files have {rate}")
            if not len(samples):
                raise CorpusError(f"{file.path}: holds no samples")
            rate = found
            level = 10 * np.log10(np.mean((samples / 32768.0) ** 2) + 1e-20)
            clipped = int(np.sum((samples == 32767) | (samples == -32768)))
            gender = "m" if group in ("man", "boy") else "f"
            said_by = (name, f"{group}-{speaker}", gender)
            place = (at, len(samples), split, file.source)
            rows.append((*said_by, " ".join(file.words), file.take, *place, f"{level:.1f}", clipped))
            parts.append(samples)
            at += len(samples)
        soundfile.write(folder / name, np.concatenate(parts), rate, subtype="PCM_16")
    part = folder / "index.csv.part"
    with open(part, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    os.replace(part, folder / "index.csv")


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(
        prog="python -m training.tidigits",
        description="Make a set of digits of the owner's copy of TIDIGITS.",
    )
    parser.add_argument("corpus", type=Path, metavar="DIR", help="folder that holds the discs")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="SET", help="folder of the set, such as DATA/tidigits"
    )
    parser.add_argument("--only", choices=KINDS, default="all", help="single digits or strings (%(default)s)")
    return parser


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        files = list_tidigits(options.corpus, options.only)
        convert(files, options.out)
    except (CorpusError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    speakers = {(f.group, f.speaker) for f in files}
    print(f"{options.out}: {len(files)} utterances of {len(speakers)} speakers")
    if options.only == "all" and len(files) != SPEAKERS * PER_SPEAKER:
        print(f"the whole corpus has {SPEAKERS * PER_SPEAKER} of {SPEAKERS}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
