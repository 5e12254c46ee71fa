# SPDX-License-Identifier: MIT
"""The folder that `training.synthesize` writes: synthetic clips and what they say.

samples.npy holds all clips, int16 [shape=(samples,)] at 16 kHz, and is mapped into memory, so that
the processes that make examples share it; index.csv has a row per clip.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apps.corpus import CorpusError
from training.augment import rms
from training.corpus import Source

COLUMNS = (
    "start_sample",
    "num_samples",
    "begin_sample",  # where the speech is, from the start of the clip
    "end_sample",
    "rms_dbfs",  # of the speech
    "kind",
    "voice",
    "label",
)
KINDS = ("digit", "string", "confusable", "task", "common", "phrase")

# For the model card: who speaks. The programs' licenses do not extend to what they say.
SYNTHESIZERS = (
    Source(
        "synthetic speech",
        (),
        "eSpeak NG",
        "github.com/espeak-ng/espeak-ng",
        "GPL 3 or later",
        "Jonathan Duddington, Reece H. Dunn and others",
        "digits and rejected words: training",
    ),
    Source(
        "synthetic speech",
        ("kal16", "awb", "rms", "slt"),
        "Flite",
        "github.com/festvox/flite",
        "BSD-like",
        "Carnegie Mellon University",
        "digits and rejected words: training",
    ),
    Source(
        "synthetic speech",
        ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts"),
        "Festival",
        "www.cstr.ed.ac.uk/projects/festival",
        "MIT-like",
        "University of Edinburgh, Carnegie Mellon University, HTS working group",
        "digits and rejected words: training",
    ),
)
KOKORO = Source(
    "synthetic speech",
    ("mixtures of all voices",),
    "Kokoro-82M",
    "github.com/hexgrad/kokoro",
    "Apache 2.0",
    "hexgrad",
    "digits and rejected words: training",
)


@dataclass(frozen=True, eq=False)
class SyntheticClip:
    """One clip: int16 [shape=(samples,)], where its speech is, its RMS (1 is full scale), what it says.

    `kind` is one of `KINDS`; `words` is a tuple of str.
    """

    pcm: np.ndarray
    begin: int
    end: int
    rms: float
    kind: str
    voice: str
    words: tuple


def default_folder(kind="speech"):
    """Return where synthetic "speech", or that of "kokoro", is kept: a pathlib.Path in the user's cache directory."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "edge_runtime" / f"synthetic_{kind}"


def write_speech(folder, clips):
    """Write clips to a folder, which is made if need be; what it held is replaced.

    Parameters
    ----------
    folder : pathlib.Path
    clips : list of SyntheticClip
        `rms` is measured here, whatever they hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "samples.npy.part"
    with open(part, "wb") as file:
        np.save(file, np.concatenate([np.empty(0, np.int16), *(clip.pcm for clip in clips)]))
    # The index is written last and its old version removed first: a folder with one is whole. Files are
    # replaced, not overwritten: who trains with the old ones goes on.
    (folder / "index.csv").unlink(missing_ok=True)
    part.replace(folder / "samples.npy")
    part = folder / "index.csv.part"
    with open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        at = 0
        for clip in clips:
            level_dbfs = 20 * np.log10(rms(clip.pcm[clip.begin : clip.end] / np.float32(32768)))
            place = (at, len(clip.pcm), clip.begin, clip.end, f"{level_dbfs:.2f}")
            writer.writerow((*place, clip.kind, clip.voice, " ".join(clip.words)))
            at += len(clip.pcm)
    part.replace(folder / "index.csv")


def read_speech(folder):
    """Read the clips of a folder.

    Parameters
    ----------
    folder : pathlib.Path or str

    Returns
    -------
    list of SyntheticClip
        Their samples are views of one read-only map.

    Raises
    ------
    apps.corpus.CorpusError
        No such folder, or it is damaged; the message names the file.
    """
    index, path = Path(folder) / "index.csv", Path(folder) / "samples.npy"
    try:
        samples = np.asarray(np.load(path, mmap_mode="r"))
        with open(index, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError as error:
        raise CorpusError(f"{error.filename}: not found; python -m training.synthesize makes it") from None
    except (OSError, ValueError) as error:
        raise CorpusError(f"{folder}: {error}") from error
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise CorpusError(f"{path}: expected 1-D int16, found {samples.dtype} of shape {samples.shape}")
    if not rows or tuple(rows[0]) != COLUMNS:
        raise CorpusError(f"{index}, line 1: expected the columns {','.join(COLUMNS)}")
    clips = []
    for line, row in enumerate(rows[1:], 2):
        try:
            start, count, begin, end = map(int, row[:4])
            level_dbfs, (kind, voice, label) = float(row[4]), row[5:]
        except ValueError:
            raise CorpusError(f"{index}, line {line}: malformed row") from None
        if kind not in KINDS or not label or not 0 <= start <= start + count <= len(samples):
            raise CorpusError(f"{index}, line {line}: malformed row, or beyond the end of {path.name}")
        if not 0 <= begin < end <= count:
            raise CorpusError(f"{index}, line {line}: speech from {begin} to {end} of {count} samples")
        level = 10 ** (level_dbfs / 20)
        pcm = samples[start : start + count]
        clips.append(SyntheticClip(pcm, begin, end, level, kind, voice, tuple(label.split())))
    return clips
