"""A checkpoint of `training.train` becomes a packed model."""

import hashlib
import tomllib
from pathlib import Path

import numpy as np

from edge_runtime.format import DecoderConfig, ModelFile
from exporters.graph import Dense, Network, Recurrent, printable
from training.corpus import SOURCES
from training.features import CONFIG
from training.labels import BLANK, LABELS, UNKNOWN


class CheckpointError(ValueError):
    """A file that is not a checkpoint, or settings that do not fit it; the message, of one line, names the file."""

    def __init__(self, message):
        super().__init__(printable(str(message)))


def is_checkpoint(path):
    """Whether a file is a checkpoint of training.train, rather than a bare state_dict or no checkpoint at all.

    Parameters
    ----------
    path : path

    Returns
    -------
    bool
        True also for what cannot be read, which `load_source` then refuses.
    """
    import torch

    try:
        state = torch.load(path, weights_only=True)
    except Exception:  # whatever torch makes of a damaged file
        return True
    return not isinstance(state, dict) or "config" in state


def load_source(path):
    """Load the network of a checkpoint: the running average of its masters, where it has one.

    Parameters
    ----------
    path : path

    Returns
    -------
    network : training.network.DigitNet
    state : dict
        The checkpoint: config (str), seed, step and steps (int) among others.
    """
    import torch

    from training.train import load_network

    try:
        # weights_only: a checkpoint holds tensors and numbers, and unpickling must not run code.
        state = torch.load(path, weights_only=True)
        network = load_network(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except Exception as error:
        # The unpickler, and what is built of a configuration, stumble over damaged files in any way that code can.
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CheckpointError(f"{path}: not a checkpoint of training.train: {reason}") from error
    return network, state


def read_decoder(path):
    """Read decoder settings as `training.operating_point` writes them.

    Parameters
    ----------
    path : path or None
        TOML file with a table `[decoder]`; None for settings that change nothing.

    Returns
    -------
    edge_runtime.format.DecoderConfig
    """
    size = len(LABELS)
    table = {"threshold": 0.0, "delay_ms": 0, "bias": [0] * size, "length_ms": [0] * size}
    if path is not None:
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))["decoder"]
            unknown = set(table) ^ {"threshold", "delay_ms", "bias", "length_ms"}
            if unknown:
                raise CheckpointError(f"{path}: [decoder]: missing or unknown: {', '.join(sorted(unknown))}")
            for key in ("bias", "length_ms"):
                if len(table[key]) != size:
                    raise CheckpointError(
                        f"{path}: [decoder] {key}: expected {size} values, found {len(table[key])}"
                    )
        except (OSError, KeyError, TypeError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CheckpointError(f"{path}: no decoder settings: {error!r}") from error
    return DecoderConfig(
        blank=BLANK,
        unknown=UNKNOWN,
        threshold=table["threshold"],
        delay_ms=table["delay_ms"],
        bias=np.array(table["bias"], np.int16),
        length_ms=np.array(table["length_ms"], np.uint16),
    )


def describe(state):
    """Return the metadata of a checkpoint's model: dict of str to str."""
    licenses = sorted({f"{s.title}: {s.license}" for s in SOURCES})
    return {
        "name": "spoken digits",
        "task": "English digits zero, oh, one ... nine; 16 kHz; CTC",
        "licence": "MIT; trained on data under the licences named in `data`",
        "data": "; ".join(licenses),
        "training": f"seed {state['seed']}, step {state['step']} of {state['steps']}",
        "config_sha256": hashlib.sha256(state["config"].encode()).hexdigest(),
    }


def model_file(network, decoder, metadata):
    """Pack a network.

    Parameters
    ----------
    network : training.network.DigitNet
    decoder : edge_runtime.format.DecoderConfig
    metadata : dict of str to str

    Returns
    -------
    edge_runtime.format.ModelFile
    """
    scale, offset = (t.detach().numpy().astype(np.float32) for t in network.input_affine())
    return ModelFile(
        input_scale=scale,
        input_offset=offset,
        layers=tuple(network.integer_layers()),
        labels=LABELS,
        frontend=CONFIG,
        decoder=decoder,
        metadata=metadata,
    )


def master_network(network):
    """Return the float network that training kept, before any rounding.

    Parameters
    ----------
    network : training.network.DigitNet

    Returns
    -------
    exporters.graph.Network
        Its inputs are features; the clamp of the integer inputs is not part of it.
    """
    scale, offset = (t.detach().double().numpy() for t in network.input_affine())
    levels = network.config.levels_per_deviation
    layers = []
    for number, masters in enumerate(network.layers):
        w_x, b_x = _master(masters.x)
        if number == 0:
            b_x = b_x + w_x @ (offset / levels)
            w_x = w_x * (scale / levels)
        layers.append(
            Recurrent("gru", w_x, _master(masters.h)[0], b_x, _master(masters.h)[1], name=f"layer {number}")
        )
    layers.append(Dense(*_master(network.dense), name=f"layer {len(layers)}"))
    return Network(tuple(layers), source="checkpoint")


def _master(matrix):
    return matrix.weight.detach().double().numpy(), matrix.bias.detach().double().numpy()
