# SPDX-License-Identifier: MIT
"""Fuzz the loaders of checkpoints: `ImportRefusedError` or `CheckpointError` in one line, or a network."""

import io
import os
import pathlib
import warnings
import zipfile

import engine
import torch

with engine.instrumented("exporters"):
    from exporters import from_checkpoint
    from exporters.graph import ImportRefusedError, Network
    from exporters.import_torch import from_torch

LAYERS = (None, "gru", "rnn:tanh,fc:none", "lstm,fc:relu", "fc:sigmoid", "rnn", "dense:none", "a:b", ",")
NAMES = (
    "weight_ih_l0",
    "weight_hh_l0",
    "bias_ih_l0",
    "gru.weight_hh_l0",
    "fc.weight",
    "fc.bias",
    "weight",
    "config",
)
SIZES = (0, 1, 2, 3, 4, 6, 8, 9, 12, 16)


def check(data):
    """Raise for a finding."""
    path = pathlib.Path(f"/dev/shm/fuzz_checkpoint_{os.getpid()}.pt")
    path.write_bytes(bytes(data))
    layers = LAYERS[engine.seed_of(bytes(data)) % len(LAYERS)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _expect(path, ImportRefusedError, lambda: from_torch(path, layers=layers))
            if from_checkpoint.is_checkpoint(path):
                _expect(path, from_checkpoint.CheckpointError, lambda: from_checkpoint.load_source(path))
    finally:
        path.unlink()


def _expect(path, error_type, load):
    try:
        found = load()
        assert error_type is not ImportRefusedError or isinstance(found, Network)
    except error_type as error:
        assert "\n" not in str(error), str(error)
        assert str(error).startswith(str(path)), str(error)


def _save(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def _tensor(rng):
    shape = rng.choices(SIZES, k=rng.choice((1, 1, 2, 2, 2, 3)))
    dtype = rng.choice(
        (torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.complex64)
    )
    tensor = torch.zeros(shape).add(rng.choice((0.1, float("nan"), float("inf")))).to(dtype)
    return (
        tensor.to_sparse()
        if rng.random() < 0.05
        else tensor.T
        if len(shape) == 2 and rng.random() < 0.2
        else tensor
    )


def _change(state, rng):
    """A state_dict, or what is around it, changed in place or another one."""
    keys = list(state)
    how = rng.randrange(7)
    if how == 0 or not keys:
        state[rng.choice(NAMES)] = _tensor(rng)
    elif how == 1:
        del state[rng.choice(keys)]
    elif how == 2:
        state[rng.choice(NAMES)] = state.pop(rng.choice(keys))
    elif how == 3:
        state[rng.choice(keys)] = rng.choice(
            (_tensor(rng), 1, "text", None, {}, [1], {"weight": _tensor(rng)})
        )
    elif how == 4:
        return {rng.choice(("state_dict", "model", "network", "other")): state}
    elif how == 5:
        state[rng.choice((0, None, (1, 2), "weight_ih_l0_reverse", "weight_hr_l0", "x.y.z", ""))] = _tensor(
            rng
        )
    else:
        nested = [v for v in state.values() if isinstance(v, dict)]
        if nested:
            _change(rng.choice(nested), rng)
    return state


def _change_archive(data, rng, mutate_bytes):
    """The same archive with a member changed, left out or twice, and its checksums right."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(file, "w") as new,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        members = [(info.filename, old.read(info)) for info in old.infolist()]
        at = rng.randrange(len(members))
        name, content = members[at]
        how = rng.randrange(4)
        if how == 0:
            del members[at]
        elif how == 1:
            members.append((rng.choice(("archive/constants.pkl", "x/models/model.json", name)), content))
        else:
            members[at] = (name, mutate_bytes(content))
        for member in members:
            new.writestr(*member)
    return file.getvalue()


def mutate(data, rng, mutate_bytes):
    """A change of a checkpoint: bytes."""
    how = rng.randrange(8)
    try:
        if how == 0:
            return mutate_bytes(data)
        if how < 4:
            return _change_archive(data, rng, mutate_bytes)
        state = torch.load(io.BytesIO(data), weights_only=True)
        for _ in range(rng.choice((1, 1, 2, 3))):
            state = _change(state, rng) if isinstance(state, dict) else {"weight": _tensor(rng)}
        return _save(state)
    except Exception:  # what is damaged shall be kept
        return mutate_bytes(data)


def seeds():
    """A state_dict of each layer, alone and in a stack; nested; and what is none."""
    torch.manual_seed(0)
    nn = torch.nn
    for kind in (nn.RNN, nn.GRU, nn.LSTM, nn.Linear, nn.GRUCell):
        yield kind.__name__, _save(kind(3, 2).state_dict())
    for kind in (nn.RNN, nn.GRU, nn.LSTM):
        stack = nn.ModuleDict({kind.__name__.lower(): kind(3, 2), "fc": nn.Linear(2, 2)})
        yield f"stack_{kind.__name__}", _save(stack.state_dict())
    yield "deep", _save(nn.GRU(3, 2, num_layers=2).state_dict())
    yield "both_ways", _save(nn.GRU(3, 2, bidirectional=True).state_dict())
    yield "nested", _save({"state_dict": nn.LSTM(3, 2).state_dict(), "epoch": 3})
    yield "training", _save({"config": "seed = 0", "masters": {"weight": torch.zeros(2, 2)}, "step": 1})
    yield "number", _save(5)
    old = io.BytesIO()
    torch.save(nn.Linear(3, 2).state_dict(), old, _use_new_zipfile_serialization=False)
    yield "old", old.getvalue()


if __name__ == "__main__":
    engine.main(check, mutate, seeds)
