"""A state_dict becomes a `Network`: shapes tell the layers, the caller tells what shapes cannot."""

import itertools
import re

import numpy as np
import torch

from edge_runtime.format import GATES
from exporters.graph import Dense, ImportRefusedError, Network, Recurrent

_KINDS = {GATES[kind]: kind for kind in ("rnn", "gru", "lstm")}
_ACTIVATIONS = {
    "rnn": ("tanh", "relu"),
    "gru": ("none",),
    "lstm": ("none",),
    "dense": ("none", "tanh", "relu", "sigmoid"),
}
_RECURRENT = re.compile(r"(?:(.*)\.)?(weight|bias)_(ih|hh|hr)(?:_l(\d+))?(_reverse)?")
_NESTED = ("state_dict", "model_state_dict", "model", "network")
_MOST_NAMED = 12  # keys in a message


def load_state_dict(path):
    """Read the state_dict of a checkpoint, without running code.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict of str to torch.Tensor
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ImportRefusedError(error.strerror or str(error)) from None
    except Exception as error:
        # The unpickler stumbles over damaged files in any way that Python code can.
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ImportRefusedError(f"not a checkpoint of tensors (weights_only=True): {reason}") from None
    if isinstance(found, dict) and not _is_state_dict(found):
        nested = [key for key in _NESTED if _is_state_dict(found.get(key))]
        if len(nested) == 1:
            return found[nested[0]]
        keys = ", ".join(map(str, itertools.islice(found, _MOST_NAMED)))
        if len(found) > _MOST_NAMED:
            keys += f" and {len(found) - _MOST_NAMED} more"
        raise ImportRefusedError(f"expected one state_dict, found a dict with keys {keys or '(none)'}")
    if not isinstance(found, dict):
        raise ImportRefusedError(f"expected a state_dict, found {type(found).__name__}")
    return found


def _is_state_dict(value):
    return (
        isinstance(value, dict) and bool(value) and all(isinstance(v, torch.Tensor) for v in value.values())
    )


def from_state_dict(tensors, layers, source):
    """Make a network of a state_dict.

    Parameters
    ----------
    tensors : dict of str to torch.Tensor
    layers : str or None
        "name[:activation],...": modules in the order in which they run. None if the tensors are those of one
        gru or lstm only, the one case in which nothing is left to tell.
    source : str

    Returns
    -------
    Network
    """
    modules = _modules(tensors)
    kinds = {name: _kind(name, module) for name, module in modules.items()}
    if layers is None:
        if len(kinds) > 1 or not set(kinds.values()) <= {"gru", "lstm"}:
            proposal = ",".join(f"{name}:{_ACTIVATIONS[kind][0]}" for name, kind in kinds.items())
            raise ImportRefusedError(
                "a state_dict does not tell the order of layers and their activations: "
                f'give layers, for example "{proposal}"'
            )
        layers = next(iter(kinds))
    found = []
    for entry in layers.split(","):
        name, _, activation = entry.strip().partition(":")
        if name not in kinds:
            raise ImportRefusedError(f"layers: no module {name!r}; there are {', '.join(kinds)}")
        kind = kinds.pop(name)
        allowed = _ACTIVATIONS[kind]
        if activation not in allowed and (activation or len(allowed) > 1):
            raise ImportRefusedError(
                f"layers: {name} ({kind}): expected an activation of {', '.join(allowed)}, found {activation!r}"
            )
        found += _layers(name, kind, modules[name], activation or "none")
    if kinds:
        raise ImportRefusedError(f"{next(iter(kinds))}: a weight that is not used: not among the layers")
    return Network(found, source=source)


def _modules(tensors):
    """Tensors by module: name to dict of parameter name to float64 array."""
    modules = {}
    for key, tensor in tensors.items():
        if not isinstance(key, str):
            raise ImportRefusedError(f"expected names of tensors, found {key!r}")
        match = _RECURRENT.fullmatch(key)
        name, parameter = (match[1] or "rnn", key.rpartition(".")[2]) if match else key.rpartition(".")[::2]
        if match and match[5]:
            raise ImportRefusedError(f"{key}: bidirectional: a stream runs forward")
        if match and match[3] == "hr":
            raise ImportRefusedError(f"{key}: a projection (proj_size) is not supported")
        if (not match and parameter not in ("weight", "bias")) or not tensor.is_floating_point():
            raise ImportRefusedError(
                f"{key}: a tensor that only the module can explain: give the module or an exported program"
            )
        if tensor.layout != torch.strided or tensor.is_meta or 0 in tensor.shape:
            raise ImportRefusedError(f"{key}: sparse, empty or without values")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ImportRefusedError(f"{key}: {tuple(tensor.shape)} needs more bytes than there are")
        modules.setdefault(name or "dense", {})[parameter] = tensor.detach().resolve_neg().double().numpy()
    return modules


def _kind(name, module):
    if "weight" in module:
        if module["weight"].ndim != 2:
            raise ImportRefusedError(
                f"{name}.weight: expected the weights of a linear layer, found shape {module['weight'].shape}"
            )
        return "dense"
    recurrent = next((v for k, v in module.items() if k.startswith("weight_hh")), None)
    if (
        recurrent is None
        or recurrent.ndim != 2
        or len(recurrent) not in [g * recurrent.shape[1] for g in _KINDS]
    ):
        raise ImportRefusedError(f"{name}: no weights of a layer: {', '.join(module)}")
    return _KINDS[len(recurrent) // recurrent.shape[1]]


def _layers(name, kind, module, activation):
    module = dict(module)
    layers, suffixes = [], []
    if kind == "dense":
        w = module.pop("weight")
        layers.append(Dense(w, module.pop("bias", np.zeros(len(w))), activation, name))
    else:
        suffixes = [""] if "weight_hh" in module else [f"_l{i}" for i in range(len(module))]
    for suffix in suffixes:
        if f"weight_ih{suffix}" not in module or f"weight_hh{suffix}" not in module:
            break
        w_x, w_h = (_matrix(name, module, f"weight_{part}{suffix}") for part in ("ih", "hh"))
        b_x, b_h = (module.pop(f"bias_{part}{suffix}", np.zeros(len(w_h))) for part in ("ih", "hh"))
        layers.append(Recurrent(kind, w_x, w_h, b_x, b_h, activation, name=name + suffix.replace("_", ".")))
    if module:
        raise ImportRefusedError(f"{name}.{next(iter(module))}: a weight that is not used")
    return layers


def _matrix(name, module, key):
    found = module.pop(key)
    if found.ndim != 2:
        raise ImportRefusedError(f"{name}.{key}: expected a matrix, found shape {found.shape}")
    return found
