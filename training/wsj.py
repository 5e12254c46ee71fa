# SPDX-License-Identifier: MIT
"""``python -m training.wsj DIR... [--out SET]``: the Wall Street Journal corpus (LDC93S6, LDC94S13) as its owners have it.

Nobody may pass the corpus on, so nothing here comes with it. DIR holds the discs, folders such as 11-13.1 or
13_34.1, anywhere below it and with names of either case:

    11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx     lists: "11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1"
    11-1.1/wsj0/si_tr_s/01i/01ic0201.wv1            SPHERE files, 16 kHz; see `training.sphere`
    .../01ic0200.dot                                transcripts of a speaker's session: "text (01ic0201)"

The subsets are the usual ones: training si84 and si284, development dev93 (60,000 words) and dev93_5k, tests eval92,
eval93 and their _5k. si284 is 81 hours, so `WsjUtterance` reads recordings one by one. Recordings are compressed on the
discs; LDC's sph2pipe expands them, once, to WAV files, which are preferred where they are beside the others:

    find DIR -iname '*.wv1' -exec sh -c 'sph2pipe -p -f wav "$1" "${1%.*}.wav"' - {} ';'

The command counts the utterances of every subset against what complete discs have. With --out it writes a set of cepstra
in the format of an4_mfcc (si284 as train, dev93 as dev, eval92 as test; 1.6 GB), and where that set is called wsj_mfcc
below EDGE_RUNTIME_DATA, the grid has rows for it:

    python -m training.wsj /corpora/wsj0 /corpora/wsj1 --out $EDGE_RUNTIME_DATA/wsj_mfcc
    python -m training.reproduce --only 'an4-wsj-*'
"""

import argparse
import csv
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apps.corpus import SAMPLE_RATE, CorpusError
from training.features import cepstra_of
from training.sphere import read_sphere

#: CTC outputs of a network that spells: blank first; words are divided by blanks.
LABELS = ("blank", " ", "'", "-", ".", *"abcdefghijklmnopqrstuvwxyz")
_LABEL_OF = {character: index for index, character in enumerate(LABELS) if index}


@dataclass(frozen=True)
class _Subset:
    indices: tuple  # of (disc, path of the list)
    count: int  # utterances of complete discs


_SI84 = ("11_13_1", "wsj0/doc/indices/train/tr_s_wv1.ndx")
SUBSETS = {
    "si84": _Subset((_SI84,), 7138),
    "si284": _Subset((_SI84, ("13_34_1", "wsj1/doc/indices/si_tr_s.ndx")), 37416),
    "dev93": _Subset((("13_34_1", "wsj1/doc/indices/h1_p0.ndx"),), 503),
    "dev93_5k": _Subset((("13_34_1", "wsj1/doc/indices/h2_p0.ndx"),), 513),
    "eval92": _Subset((("11_13_1", "wsj0/doc/indices/test/nvp/si_et_20.ndx"),), 333),
    "eval92_5k": _Subset((("11_13_1", "wsj0/doc/indices/test/nvp/si_et_05.ndx"),), 330),
    "eval93": _Subset((("13_32_1", "wsj1/doc/indices/wsj1/eval/h1_p0.ndx"),), 213),
    "eval93_5k": _Subset((("13_32_1", "wsj1/doc/indices/wsj1/eval/h2_p0.ndx"),), 215),
}

#: Splits of the set that --out writes.
SPLITS = {"train": "si284", "dev": "dev93", "test": "eval92"}
COLUMNS = ("file", "speaker", "label", "take", "start_frame", "num_frames", "split", "source")

_DISC = re.compile(r"(\d\d)[-_](\d\d?)[._](\d)$")
_LIST_LINE = re.compile(r"([\d_]+):\s*/?(\S+)$")
_TRANSCRIPT_LINE = re.compile(r"(.*)\((\w{8})\)$")
# Listed, but on no disc: a speaker who was withdrawn.
_WITHDRAWN = ("11_2_1", "wsj0/si_tr_s/401/")
# The lists of the 1993 tests name the disc of the lists instead of that of the recordings.
_RECORDINGS_OF_1993 = {"13_32_1": "13_33_1"}

# What a transcript holds beside words: a noise "[door_slam]" or where one begins or ends, "[<door_slam]",
# "[phone/]"; a pause "."; the end cut off "~".
_NOT_SPOKEN = re.compile(r"\[[^]]*\]|[.~]")
_APOSTROPHE_WORDS = ("'single-quote", "'single-close-quote", "'apostrophe", "'close-single-quote")


@dataclass(frozen=True)
class WsjUtterance:
    """A recording and what is said.

    Attributes
    ----------
    key : str
        Speaker, session, sentence: "01ic0201", in lower case.
    path : pathlib.Path
    words : tuple of str
        As `words_of` makes them of the transcript.
    """

    key: str
    path: Path
    words: tuple

    @property
    def speaker(self):
        """str: three characters."""
        return self.key[:3]

    @property
    def labels(self):
        """tuple of int: the words spelled, indices into `LABELS`."""
        return tuple(_LABEL_OF[character] for character in " ".join(self.words))

    def read(self):
        """Return the samples, int16 [shape=(samples,)] at 16 kHz; CorpusError as `training.sphere.read_sphere`."""
        samples, rate = read_sphere(self.path)
        if rate != SAMPLE_RATE:
            raise CorpusError(f"{self.path}: {rate} Hz, expected {SAMPLE_RATE}")
        return np.ascontiguousarray(samples)


def words_of(transcript):
    """Return the spoken words of the text of a .dot file.

    Lower case; marks of stress (!), length (:), mispronunciation (*word*), verbal deletion (<word>) and quoting
    (backslash) go, the words stay; so do spoken punctuation marks, by name (",COMMA" is "comma") and "-" and "."
    within words. Noises and pauses go.

    Parameters
    ----------
    transcript : str
        Without the utterance's name.

    Returns
    -------
    tuple of str
        Of the characters of `LABELS`; others are dropped.
    """
    words = []
    for word in transcript.replace("`", "'").lower().split():
        word = word.replace("\\", "")
        if _NOT_SPOKEN.fullmatch(word):
            continue
        # Spoken punctuation begins with the mark itself; an apostrophe may as well begin a word ('til).
        if word in _APOSTROPHE_WORDS:
            word = word[1:]
        word = "".join(c for c in word if c in _LABEL_OF).lstrip("-.").rstrip("-")
        if word:
            words.append(word)
    return tuple(words)


class Wsj:
    """The discs below some folders.

    Parameters
    ----------
    folders : sequence of path

    Raises
    ------
    CorpusError
        A folder is missing, or there is no disc in any.
    """

    def __init__(self, folders):
        self._folders = [Path(folder) for folder in folders]
        self._files = {}  # disc, as lists write it, to lower-case path to Path
        self._transcripts = {}  # of files: first six characters of their names to Path
        self._read = {}
        for folder in self._folders:
            if not folder.is_dir():
                raise CorpusError(f"{folder}: no such folder")
            self._find_discs(folder)
        if not self._files:
            raise CorpusError(f"{self._where()}: no disc of WSJ (a folder such as 11-13.1) is there")

    def _where(self):
        return ", ".join(map(str, self._folders))

    def _find_discs(self, folder):
        # Folders given may be discs themselves.
        for root, names, _ in os.walk(folder.resolve(), followlinks=True):
            disc = _DISC.match(Path(root).name)
            if disc:
                self._add_disc("_".join(disc.groups()), Path(root))
                names.clear()
            else:
                names.sort()

    def _add_disc(self, disc, folder):
        found = self._files.setdefault(disc, {})
        for root, names, files in os.walk(folder, followlinks=True):
            names.sort()
            for name in sorted(files):
                path = Path(root, name)
                found.setdefault(path.relative_to(folder).as_posix().lower(), path)
                if name.lower().endswith(".dot"):
                    self._transcripts.setdefault(name[:6].lower(), path)

    def subset(self, name):
        """Return the utterances of a subset.

        Parameters
        ----------
        name : str
            Of `SUBSETS`.

        Returns
        -------
        list of WsjUtterance
            In the order of their names. What is listed twice is there once.

        Raises
        ------
        CorpusError
            A disc, a list, a recording or a transcript is missing, or a line of a file is malformed: the message
            names it.
        """
        if name not in SUBSETS:
            raise CorpusError(f"subset {name!r}: expected one of {', '.join(SUBSETS)}")
        utterances = {}
        for disc, index in SUBSETS[name].indices:
            listed = self._file(disc, index, f"the list of {name}")
            for line_number, line in enumerate(_lines(listed), 1):
                if not line.strip() or line.startswith(";"):
                    continue
                match = _LIST_LINE.match(line.strip())
                if not match:
                    raise CorpusError(f"{listed}, line {line_number}: expected DISC:PATH, found {line!r}")
                disc_of_file, path = match[1], match[2].lower()
                disc_of_file = _RECORDINGS_OF_1993.get(disc_of_file, disc_of_file)
                if disc_of_file == _WITHDRAWN[0] and path.startswith(_WITHDRAWN[1]):
                    continue
                if not path.endswith(".wv1"):
                    path += ".wv1"
                key = Path(path).stem
                path = self._recording(disc_of_file, path, f"line {line_number} of {listed}")
                utterances[key] = WsjUtterance(key, path, words_of(self._transcript(key)))
        return [utterances[key] for key in sorted(utterances)]

    def _file(self, disc, path, wanted_by):
        if disc not in self._files:
            raise CorpusError(
                f"{self._where()}: no disc {disc.replace('_', '-', 1).replace('_', '.')} ({wanted_by})"
            )
        found = self._files[disc].get(path)
        if found is None:
            raise CorpusError(f"disc {disc}: no file {path} ({wanted_by})")
        return found

    def _recording(self, disc, path, wanted_by):
        expanded = self._files.get(disc, {}).get(path.removesuffix(".wv1") + ".wav")
        return expanded or self._file(disc, path, wanted_by)

    def _transcript(self, key):
        path = self._transcripts.get(key[:6])
        if path is None:
            raise CorpusError(f"{self._where()}: no file {key[:6]}00.dot, which transcribes {key}")
        if path not in self._read:
            self._read[path] = _read_transcripts(path)
        try:
            return self._read[path][key]
        except KeyError:
            raise CorpusError(f"{path}: no transcript of {key}") from None


def _lines(path):
    try:
        return path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from error


def _read_transcripts(path):
    found = {}
    for line_number, line in enumerate(_lines(path), 1):
        match = _TRANSCRIPT_LINE.match(line.strip())
        if match:
            found[match[2].lower()] = match[1]
        elif line.strip():
            raise CorpusError(f"{path}, line {line_number}: expected TEXT (UTTERANCE), found {line!r}")
    return found


def convert(corpus, folder, splits=None):
    """Write a set of cepstra that `apps.corpus.read_folder` reads: features.npz and index.csv.

    Utterances of which nothing is transcribed are left out.

    Parameters
    ----------
    corpus : Wsj
    folder : path
        Made if need be; a set that is there is replaced when all is read.
    splits : dict of str to str, optional
        Subset of each split; `SPLITS` by default.

    Returns
    -------
    int
        Utterances.

    Raises
    ------
    CorpusError
        As `Wsj.subset` and `WsjUtterance.read`; nothing is written.
    """
    folder = Path(folder)
    subsets = {split: corpus.subset(name) for split, name in (splits or SPLITS).items()}
    cepstra, rows, at = [], [], 0
    for split, utterances in subsets.items():
        for utterance in utterances:
            if not utterance.words:
                continue
            cepstra.append(cepstra_of(utterance.read() / np.float32(32768)))
            place = at, len(cepstra[-1]), split, (splits or SPLITS)[split]
            rows.append(("features.npz", utterance.speaker, " ".join(utterance.words), utterance.key, *place))
            at += len(cepstra[-1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.csv").unlink(missing_ok=True)
    with open(folder / "features.npz.part", "wb") as stream:
        np.savez(stream, mfcc=np.concatenate(cepstra))
    os.replace(folder / "features.npz.part", folder / "features.npz")
    with open(folder / "index.csv.part", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    os.replace(folder / "index.csv.part", folder / "index.csv")
    return len(rows)


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(
        prog="python -m training.wsj",
        description="Count what is there of the owner's copy of WSJ, or make a set of cepstra of it.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="holds discs such as 11-13.1")
    parser.add_argument("--out", type=Path, metavar="SET", help="folder of the set, such as DATA/wsj_mfcc")
    return parser


def main(arguments=None):
    """Run the command line; the exit status is 2 if what was asked for is not there."""
    options = build_parser().parse_args(arguments)
    try:
        corpus = Wsj(options.folders)
        if options.out is None:
            return _count(corpus)
        print(f"{options.out}: {convert(corpus, options.out)} utterances")
    except (CorpusError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _count(corpus):
    """Print a line per subset; 2 if one is incomplete."""
    status = 0
    for name, expected in SUBSETS.items():
        try:
            utterances = corpus.subset(name)
            if utterances:
                utterances[0].read()
        except CorpusError as error:
            print(f"{name}: {error}", file=sys.stderr)
            status = 2
            continue
        speakers = len({utterance.speaker for utterance in utterances})
        print(f"{name}: {len(utterances)} of {expected.count} utterances, {speakers} speakers")
        if len(utterances) != expected.count:
            status = 2
    return status


if __name__ == "__main__":
    sys.exit(main())
