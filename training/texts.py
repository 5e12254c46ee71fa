# SPDX-License-Identifier: MIT
"""Texts for character language models, with the splits of the literature.

Characters are bytes, as in char-rnn and all that is compared with it: War and Peace has 87 of them.

``warandpeace``, ``shakespeare``
    DATA/char_lm/warandpeace.txt and tinyshakespeare.txt: the first 80 % train, then 10 % dev, then 10 % test (Karpathy,
    Johnson, Fei-Fei 2015).
``ptb``
    Penn Treebank as Mikolov prepared it, not free: DATA/ptb/ptb.train.txt, ptb.valid.txt, ptb.test.txt, a sentence a line.
    Blanks around a line are dropped; ``<unk>`` is five characters. 5,017,483 characters train; 50 different ones.
``text8``
    DATA/text8/text8, http://mattmahoney.net/dc/textdata: 27 different characters; the first 90 % train, then 5 % dev, then
    5 % test (Mikolov et al. 2012).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apps.corpus import CorpusError

TEXTS = ("warandpeace", "shakespeare", "ptb", "text8")

_LEAST_CHARACTERS = 100  # of a split
_PTB_FILES = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")
_SPLIT_FILES = {
    "warandpeace": ("char_lm/warandpeace.txt", (0.8, 0.9)),
    "shakespeare": ("char_lm/tinyshakespeare.txt", (0.8, 0.9)),
    "text8": ("text8/text8", (0.9, 0.95)),
}
_SOURCES = {
    "warandpeace": "War and Peace",
    "shakespeare": "tinyshakespeare",
    "ptb": "the Penn Treebank as Mikolov prepared it (simple-examples/data), which its owners have",
    "text8": "text8, of http://mattmahoney.net/dc/text8.zip",
}


@dataclass(frozen=True, eq=False)
class Text:
    """A text, split.

    Attributes
    ----------
    name : str
    alphabet : bytes
        The different characters, rising; a code is an index into it.
    train, dev, test : int64 [shape=(characters,)]
        Codes.
    """

    name: str
    alphabet: bytes
    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray

    @property
    def labels(self):
        """tuple of str : a printable name per code."""
        return tuple(chr(c) if 32 < c < 127 else f"0x{c:02x}" for c in self.alphabet)


def load(name, data):
    """Read a text.

    Parameters
    ----------
    name : str
        One of `TEXTS`.
    data : path-like
        Folder of the data sets.

    Returns
    -------
    Text

    Raises
    ------
    apps.corpus.CorpusError
        A file is missing, unreadable or too short, or is not what it should be.
    """
    if name not in TEXTS:
        raise CorpusError(f"text {name!r}: expected one of {', '.join(TEXTS)}")
    if name == "ptb":
        parts = [_sentences(_read(name, Path(data) / "ptb" / file)) for file in _PTB_FILES]
    else:
        file, shares = _SPLIT_FILES[name]
        path = Path(data) / file
        whole = np.frombuffer(_read(name, path), np.uint8)
        parts = np.split(whole, [int(len(whole) * share) for share in shares])
        if name == "text8":
            _check_text8(path, whole)
    alphabet, codes = np.unique(np.concatenate(parts), return_inverse=True)
    ends = np.cumsum([len(part) for part in parts])
    train, dev, test = np.split(codes.astype(np.int64), ends[:-1])
    for split, part in (("train", train), ("dev", dev), ("test", test)):
        if len(part) < _LEAST_CHARACTERS:
            raise CorpusError(
                f"{data}: {name}: {split} has {len(part)} characters, expected at least {_LEAST_CHARACTERS}"
            )
    return Text(name, alphabet.tobytes(), train, dev, test)


def _read(name, path):
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise CorpusError(f"{path}: {reason}; expected a file of {_SOURCES[name]}") from error


def _sentences(lines):
    """Mikolov's lines begin and end with a blank, which published counts of characters leave out."""
    return np.frombuffer(b"".join(line.strip() + b"\n" for line in lines.splitlines()), np.uint8)


def _check_text8(path, text):
    wrong = np.flatnonzero((text != ord(" ")) & ((text < ord("a")) | (text > ord("z"))))
    if len(wrong):
        raise CorpusError(
            f"{path}: byte {wrong[0]} is 0x{text[wrong[0]]:02x}, expected only a to z and blanks: "
            "is it the expanded file?"
        )
