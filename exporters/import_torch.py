"""A PyTorch module, an exported program or a checkpoint becomes a `Network`.

A module is exported (`torch.export`) and its graph followed from input to output, so that the order of the
layers is the one in which they run. Understood: nn.RNN, GRU and LSTM (unidirectional, no projection) and
their cells, also in a loop over steps; nn.Linear; ReLU, Tanh, Sigmoid; Softmax and LogSoftmax at the end;
BatchNorm and arithmetic with constants, which fold into the layer before or behind; Dropout; any glue that
moves elements. Everything else is refused by node.
"""

import copy
import inspect
import warnings
import zipfile
from pathlib import Path

import torch

from exporters._torch_archive import load_program
from exporters._torch_checkpoint import from_state_dict, load_state_dict
from exporters._torch_walk import walk_program
from exporters.graph import ImportRefusedError, same_network

# (time, batch) of example inputs: unlike each other, so that no mix-up goes unseen, and two of them,
# which must give the same network.
_SIZES = ((11, 3), (4, 7))


def from_torch(source, example=None, layers=None):
    """Import a trained network.

    Parameters
    ----------
    source : torch.nn.Module, torch.export.ExportedProgram or path
        A path is that of an exported program (`torch.export.save`), or of a checkpoint that holds a
        state_dict, which is loaded with weights_only=True.
    example : tuple of torch.Tensor, optional
        Arguments of one call of a module. Not needed if it takes nothing but the sequence.
    layers : str, optional
        Of a checkpoint: its layers in the order in which they run, each with its activation where it may
        have one, "rnn:relu,fc1:tanh,fc2:none". A state_dict tells neither.

    Returns
    -------
    Network

    Raises
    ------
    ImportRefusedError
        Names the node, module or weight and the reason, in one line.
    """
    name = source.__class__.__name__
    if isinstance(source, (torch.nn.Module, torch.export.ExportedProgram)):
        load = _module if isinstance(source, torch.nn.Module) else _program
    else:
        name, load = str(source), _file
    try:
        if layers is not None and load is not _file:
            raise ImportRefusedError(
                "layers is for checkpoints: a module tells the order of its layers itself"
            )
        return load(source, name, example, layers)
    except ImportRefusedError as error:
        message = str(error)
        raise ImportRefusedError(message if message.startswith(name) else f"{name}: {message}") from None


def _file(path, name, example, layers):
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.split("/", 1)[-1] for entry in archive.namelist()}
    except OSError as error:
        raise ImportRefusedError(error.strerror or str(error)) from None
    except Exception:
        # A damaged directory of an archive makes zipfile raise anything.
        entries = set()
        if path.read_bytes().startswith(b"PK"):
            raise ImportRefusedError("a truncated or damaged file") from None
    if "constants.pkl" in entries:
        raise ImportRefusedError(
            "a TorchScript file: give the module, or torch.export.save an exported program"
        )
    if any(entry.endswith(("models/model.json", "serialized_exported_program.json")) for entry in entries):
        if layers is not None:
            raise ImportRefusedError("layers is for checkpoints: an exported program tells the order itself")
        return _program(_load_program(path), name, example, layers)
    return from_state_dict(load_state_dict(path), layers, name)


def _load_program(path):
    try:
        return load_program(path)
    except ImportRefusedError:
        raise
    except Exception as error:
        # Whatever its reader stumbles over, the file is damaged or of another version.
        raise ImportRefusedError(f"not a readable exported program: {_first_line(error)}") from None


def _program(program, name, example, layers):
    return walk_program(_functional(program), name)


def _module(module, name, example, layers):
    module = copy.deepcopy(module).to("cpu").eval()
    examples = [tuple(example)] if example is not None else _examples(module)
    networks = [walk_program(_export(module, arguments), name) for arguments in examples]
    if not all(same_network(networks[0], other) for other in networks[1:]):
        raise ImportRefusedError("the network depends on the length of its input")
    return networks[0]


def _export(module, arguments):
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return _functional(torch.export.export(module, arguments))
    except Exception as error:
        # Any exception of the module's own code may come out of its export.
        raise ImportRefusedError(f"torch.export failed: {_first_line(error)}") from None


def _functional(program):
    """The same graph without operations in place, each operator whole."""
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    if not any(isinstance(t, torch._ops.OpOverload) and t._schema.is_mutable for t in targets):
        return program
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return program.run_decompositions({})


def _examples(module):
    """Two examples of the one input of a module, found by trying the sizes that its layers take."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if len(needed) != 1:
        arguments = ", ".join(needed)
        raise ImportRefusedError(
            f"forward takes {arguments}: give example=({arguments}), tensors of one call"
        )
    sizes = []
    for layer in module.modules():
        size = getattr(layer, "input_size", None) or getattr(layer, "in_features", None)
        size = size or getattr(layer, "num_features", None)
        if isinstance(size, int) and size not in sizes:
            sizes.append(size)
    parameter = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    for size in sizes:
        for lead in (_SIZES, [sizes[:1] for sizes in _SIZES]):
            examples = [(torch.zeros(*n, size, dtype=parameter.dtype),) for n in lead]
            if all(_runs(module, example) for example in examples):
                return examples
    raise ImportRefusedError(
        "no size of input fits that its layers tell: give example=(x,), a tensor of one call"
    )


def _runs(module, example):
    try:
        with torch.no_grad():
            module(*example)
    except Exception:
        # Any exception of the module's own code says that it does not take this input.
        return False
    return True


def _first_line(error):
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
