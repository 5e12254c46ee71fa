# SPDX-License-Identifier: MIT
"""What goes through both sides: features of recordings, given arrays, or generated numbers."""

import dataclasses
import os
import pathlib

import numpy as np

from apps.audio import read_audio
from apps.corpus import SAMPLE_RATE, Utterance, read_folder
from apps.demo_samples import samples as demo_samples
from apps.onnx_compare.pair import CompareError
from edge_runtime import Frontend
from edge_runtime.resampler import resample
from exporters.pack import read_inputs
from exporters.quantize import NUMERICS, generated_inputs

_QUIET_S = 0.3  # appended at the end of a recording, as Recognizer.finish does
_SPREAD = 32 / 127  # standard deviation of generated inputs, as a share of the model's greatest


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """Sequences, each from the initial state.

    Parameters
    ----------
    what : str
        Where they come from, for reports.
    sequences : list of float32 array [shape=(steps, input_size)]
    utterances : list of apps.corpus.Utterance or None
        The recordings that the sequences are the features of.
    """

    what: str
    sequences: list
    utterances: list | None = None

    @property
    def steps(self):
        """int : of all sequences."""
        return sum(map(len, self.sequences))


def read(model, data=None, split="test", arrays=None):
    """Choose and read inputs.

    Parameters
    ----------
    model : edge_runtime.Model
    data : sequence of path, optional
        Folders of recordings: each holds an index.csv, or folders that do.
    split : str
        Of the recordings; "all".
    arrays : path, optional
        .npy or .npz, as `exporters.pack.read_inputs`. Without `data` and `arrays`: the sample recordings of the
        demo if the model hears words, else generated numbers.

    Returns
    -------
    Inputs

    Raises
    ------
    CompareError, apps.corpus.CorpusError, exporters.quantize.QuantizeError
    """
    hears = model.file.frontend is not None and model.file.decoder is not None
    if arrays is not None:
        sequences = [np.asarray(x, np.float32) for x in read_inputs(arrays, model.input_size)]
        return Inputs(os.fspath(arrays), sequences)
    if data is not None:
        if not hears:
            raise CompareError("--data: the model has no front end or no decoder; use --inputs")
        utterances = [u for folder in data for u in _read_folders(folder, split)]
        if not utterances:
            raise CompareError(f"--data: no recordings in split {split!r}; try --split all")
        what = f"{len(utterances)} recordings, split {split}"
    elif hears:
        utterances = _demo_utterances()
        what = f"the demo's {len(utterances)} sample recordings"
    else:
        return Inputs("generated numbers", _generated(model))
    return Inputs(what, features(model, utterances), utterances)


def _read_folders(folder, split):
    folder = pathlib.Path(folder)
    folders = [folder]
    if folder.is_dir() and not (folder / "index.csv").is_file():
        folders = sorted(path.parent for path in folder.glob("*/index.csv"))
        if not folders:
            raise CompareError(f"--data {folder}: no index.csv in it or in its folders")
    return [u for one in folders for u in read_folder(one, None if split == "all" else (split,))]


def _demo_utterances():
    utterances = []
    for row, (path, words) in enumerate(demo_samples()):
        audio, rate = read_audio(path)
        pcm = audio if rate == SAMPLE_RATE else resample(audio, rate)
        utterances.append(Utterance("demo_samples", row + 2, words, path.stem, "all", path.name, "", pcm=pcm))
    return utterances


def features(model, utterances):
    """Features of recordings, to the end that `edge_runtime.Recognizer` hears.

    Returns
    -------
    list of float32 [shape=(steps, input_size)]
    """
    config = model.file.frontend
    frontend = Frontend(config)
    quiet_frames = -(-round(_QUIET_S * SAMPLE_RATE) // config.hop_samples)
    found = []
    for utterance in utterances:
        frontend.reset()
        cepstra = utterance.pcm is None
        begin = frontend.push_cepstra(utterance.cepstra) if cepstra else frontend.push(utterance.pcm)
        found.append(np.concatenate([begin, frontend.flush(quiet_frames)]))
    return found


def _generated(model):
    """Slow and quick noise that covers the model's range of inputs."""
    file = model.file
    spread = _SPREAD * NUMERICS[file.profile].input_bound
    return [
        ((spread * x - file.input_offset) / file.input_scale).astype(np.float32)
        for x in generated_inputs(model.input_size)
    ]
