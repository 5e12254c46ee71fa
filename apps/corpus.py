# SPDX-License-Identifier: MIT
"""Read a folder of utterances: `index.csv` beside FLAC files or `features.npz`.

The index has one row per utterance. Audio rows have the columns `start_sample` and `num_samples`,
counted at the rate of the FLAC file; cepstra rows have `start_frame` and `num_frames` in array
`mfcc` of the .npz file. Both have `file`, `speaker`, `label`, `take`, `split` and `source`.

The folder of all sets is named by the environment variable EDGE_RUNTIME_DATA.
"""

import csv
import functools
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16000  # Hz; every utterance is handed out at this rate
CEPSTRUM_COUNT = 13
DATA_VARIABLE = "EDGE_RUNTIME_DATA"

# Sets without a dev split lose this part of their training rows to it.
HELD_OUT_PERCENT = 15
HELD_OUT_SETS = ("nondigit_speech", "esc10_noise")

_COMMON_COLUMNS = ("file", "speaker", "label", "take", "split", "source")
_AUDIO_COLUMNS = ("start_sample", "num_samples")
_CEPSTRA_COLUMNS = ("start_frame", "num_frames")


class CorpusError(ValueError):
    """A data set cannot be read; the message names file and row."""


@dataclass(frozen=True, eq=False)
class Utterance:
    """One recording, or the cepstra of one.

    Attributes
    ----------
    corpus : str
        Name of the folder it came from.
    row : int
        Line in that folder's index.csv (the header is line 1).
    words : tuple of str
        The `label` column, split at blanks.
    speaker, split, source, take : str
        Columns of the index.
    rms_dbfs : float
        Level stated by the index, dB below full scale; not-a-number if it has no such column.
    clipped_samples : int
        As stated by the index; 0 if it has no such column.
    pcm : numpy.ndarray or None
        [shape=(samples,)] at 16 kHz: int16 as stored, or float32 if it had to be resampled.
    cepstra : numpy.ndarray or None
        float32 [shape=(frames, 13)], 100 frames per second.
    """

    corpus: str
    row: int
    words: tuple
    speaker: str
    split: str
    source: str
    take: str
    rms_dbfs: float = float("nan")
    clipped_samples: int = 0
    pcm: np.ndarray = field(default=None, repr=False)
    cepstra: np.ndarray = field(default=None, repr=False)

    @property
    def samples(self):
        """float32 [shape=(samples,)] at 16 kHz, full scale 1.0 (a copy)."""
        if self.pcm is None:
            raise CorpusError(f"{self.key}: these are cepstra, there is no audio")
        if self.pcm.dtype == np.int16:
            return self.pcm.astype(np.float32) * np.float32(1 / 32768)
        return self.pcm.copy()

    @property
    def duration_s(self):
        """Length in seconds."""
        return len(self.cepstra) / 100 if self.pcm is None else len(self.pcm) / SAMPLE_RATE

    @property
    def key(self):
        """Short unique name for messages and reports: corpus and row."""
        return f"{self.corpus}:{self.row}"


def data_folder():
    """Return the folder of all data sets.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    CorpusError
        If EDGE_RUNTIME_DATA is unset or names no folder.
    """
    value = os.environ.get(DATA_VARIABLE)
    if not value:
        raise CorpusError(f"set {DATA_VARIABLE} to the folder that holds the data sets")
    folder = Path(value)
    if not folder.is_dir():
        raise CorpusError(f"{DATA_VARIABLE}={value}: no such folder")
    return folder


def read_set(name, splits=None):
    """Read a set below EDGE_RUNTIME_DATA; see `read_folder`. Cached for the life of the process.

    Parameters
    ----------
    name : str
        Name of a folder.
    splits : tuple of str, optional
        Splits to keep; all by default.

    Returns
    -------
    tuple of Utterance
        In the order of the index.
    """
    return _read_cached(str(data_folder() / name), None if splits is None else tuple(splits))


@functools.cache
def _read_cached(folder, splits):
    return tuple(read_folder(folder, splits))


def read_folder(folder, splits=None):
    """Read one folder of utterances.

    Parameters
    ----------
    folder : path
        Holds index.csv and the files named in it.
    splits : sequence of str, optional
        Splits to keep ("train", "dev", "test"); all by default. Only these are decoded.

    Returns
    -------
    list of Utterance
        In the order of the index.

    Raises
    ------
    CorpusError
        If the index is missing, lacks a column, or a row does not fit its file.
    """
    folder = Path(folder)
    index = folder / "index.csv"
    try:
        with open(index, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or ()
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise CorpusError(f"{index}: {error.strerror}") from error
    if "start_sample" in columns:
        extent = _AUDIO_COLUMNS
    elif "start_frame" in columns:
        extent = _CEPSTRA_COLUMNS
    else:
        raise CorpusError(f"{index}: no column start_sample or start_frame")
    missing = [name for name in _COMMON_COLUMNS + extent if name not in columns]
    if missing:
        raise CorpusError(f"{index}: no column {', '.join(missing)}")

    open_file = _AudioFile if extent is _AUDIO_COLUMNS else _CepstraFile
    utterances = []
    current, contents = None, None
    for line, row in rows:
        if splits is not None and row["split"] not in splits:
            continue
        try:
            if row["file"] != current:
                current, contents = row["file"], open_file(folder / row["file"])
            start, count = int(row[extent[0]]), int(row[extent[1]])
            data = contents.cut(start, count)
            utterances.append(
                Utterance(
                    corpus=folder.name,
                    row=line,
                    words=tuple(row["label"].split()),
                    speaker=row["speaker"],
                    split=row["split"],
                    source=row["source"],
                    take=row["take"],
                    rms_dbfs=float(row.get("rms_dbfs") or "nan"),
                    clipped_samples=int(row.get("clipped_samples") or 0),
                    **data,
                )
            )
        except CorpusError as error:
            raise CorpusError(f"{index}, line {line}: {error}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise CorpusError(f"{index}, line {line}: malformed row: {error}") from error
    return utterances


def held_out(utterance):
    """Tell whether a training row of a set without a dev split belongs to development.

    The choice is a fixed hash of the recording, so that takes of one recording stay together and
    the choice survives changes of the index.

    Parameters
    ----------
    utterance : Utterance

    Returns
    -------
    bool
    """
    if utterance.corpus not in HELD_OUT_SETS or utterance.split != "train":
        return False
    # ESC-10 cuts several takes from one recording, which its speaker column identifies.
    recording = utterance.source if utterance.speaker == "unknown" else utterance.speaker
    return zlib.crc32(recording.encode()) % 100 < HELD_OUT_PERCENT


def read_split(folder, split):
    """Read the recordings of one split.

    Parameters
    ----------
    folder : path
    split : str
        Value of the column `split`. "dev" of the sets in `HELD_OUT_SETS`, which have no such rows, is
        what `held_out` takes from "train", which is left without it.

    Returns
    -------
    list of Utterance
        In the order of the index; empty if there are none.
    """
    if Path(folder).name not in HELD_OUT_SETS or split not in ("train", "dev"):
        return read_folder(folder, (split,))
    return [u for u in read_folder(folder, ("train",)) if held_out(u) == (split == "dev")]


class _AudioFile:
    """A mono FLAC (or any file soundfile reads), decoded once."""

    def __init__(self, path):
        try:
            import soundfile
        except ImportError as error:
            raise CorpusError(
                "reading audio needs the package soundfile: pip install edge-runtime[evaluate]"
            ) from error
        try:
            self.samples, self.rate = soundfile.read(path, dtype="int16", always_2d=True)
        except (OSError, soundfile.LibsndfileError) as error:
            raise CorpusError(f"{path}: {error}") from error
        if self.samples.shape[1] != 1:
            raise CorpusError(f"{path}: {self.samples.shape[1]} channels, expected 1")
        self.path = path
        self.samples = self.samples[:, 0]

    def cut(self, start, count):
        _check_extent(self.path, start, count, len(self.samples), "samples")
        samples = self.samples[start : start + count]
        if self.rate == SAMPLE_RATE:
            return {"pcm": samples.copy()}  # a copy lets go of the rest of the file
        from edge_runtime.resampler import resample  # not needed to read a 16 kHz set

        return {"pcm": resample(samples, self.rate)}


class _CepstraFile:
    """Array `mfcc` of an .npz file."""

    def __init__(self, path):
        try:
            with np.load(path, allow_pickle=False) as arrays:
                self.frames = arrays["mfcc"]
        except (OSError, ValueError, KeyError) as error:
            raise CorpusError(f"{path}: {error}") from error
        if self.frames.dtype != np.float32 or self.frames.shape[1:] != (CEPSTRUM_COUNT,):
            raise CorpusError(
                f"{path}: mfcc is {self.frames.dtype} {self.frames.shape}, "
                f"expected float32 (frames, {CEPSTRUM_COUNT})"
            )
        self.path = path

    def cut(self, start, count):
        _check_extent(self.path, start, count, len(self.frames), "frames")
        return {"cepstra": self.frames[start : start + count]}


def _check_extent(path, start, count, length, unit):
    if start < 0 or count <= 0 or start + count > length:
        raise CorpusError(f"{path} has {length} {unit}, the row wants {count} from {start}")
