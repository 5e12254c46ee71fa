"""An ONNX file to a checked ModelProto with its weights in memory; anything wrong is one clear line."""

import math
import os
from pathlib import Path

import numpy as np
import onnx
import onnx.external_data_helper
import onnx.inliner
from google.protobuf.message import DecodeError, EncodeError

from exporters.graph import ImportRefusedError

OPSETS = range(7, 29)  # the operators as they are understood here
MAX_NODES = 100_000  # that functions may stand for
FLOATS = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
}


def load_model(source):
    """Load and check a model.

    Parameters
    ----------
    source : path or onnx.ModelProto

    Returns
    -------
    model : onnx.ModelProto
        A copy where a ModelProto was given.
    opset : int
    """
    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)
        folder = None
    else:
        model, folder = _read(Path(source)), Path(source).parent
    opset = _opset(model)
    _load_external(model, folder)
    _check_tensors(model.graph)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, EncodeError, ValueError) as error:
        raise ImportRefusedError(f"not a valid ONNX model: {first_line(error)}") from None
    if model.functions:
        model = _inline(model)
    return model, opset


def _inline(model):
    """Functions replaced by their nodes, which are counted first: a few that call each other may stand for any number."""
    functions = {(f.domain, f.name): f for f in model.functions}
    counts = {}

    def count(nodes):
        total = 0
        for node in nodes:
            total += 1 + sum(count(a.g.node) for a in node.attribute)
            key = (node.domain, node.op_type)
            if key in functions:
                if key not in counts:
                    counts[key] = MAX_NODES  # what calls itself has no end
                    counts[key] = count(functions[key].node)
                total += counts[key]
        return min(total, MAX_NODES)

    if count(model.graph.node) >= MAX_NODES:
        raise ImportRefusedError(f"its functions stand for {MAX_NODES} nodes or more")
    try:
        return onnx.inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise ImportRefusedError(f"its functions cannot be inlined: {first_line(error)}") from None


def _read(path):
    try:
        return onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ImportRefusedError(error.strerror or str(error)) from None
    except (DecodeError, ValueError) as error:
        raise ImportRefusedError(f"not an ONNX file, or a truncated one: {first_line(error)}") from None


def _opset(model):
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not versions or not model.HasField("graph"):
        raise ImportRefusedError("not an ONNX file, or a truncated one: no graph or no opset")
    if versions[0] not in OPSETS:
        raise ImportRefusedError(f"opset {versions[0]}: expected {OPSETS[0]} to {OPSETS[-1]}")
    return versions[0]


def _check_tensors(graph):
    """Sizes that tensors claim against the bytes that they hold, before any are made into arrays."""
    if graph.sparse_initializer:
        raise ImportRefusedError(f"{graph.sparse_initializer[0].values.name}: a sparse tensor")
    for tensor in graph.initializer:
        if any(n <= 0 for n in tensor.dims):
            raise ImportRefusedError(f"{tensor.name}: a dimension of size 0: {tuple(tensor.dims)}")
        if not tensor.HasField("raw_data"):
            continue
        try:
            size = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
        except KeyError:
            raise ImportRefusedError(f"{tensor.name}: unknown data type {tensor.data_type}") from None
        claimed = math.prod(tensor.dims) * size
        if claimed != len(tensor.raw_data) and size > 1:  # types below one byte are packed
            raise ImportRefusedError(
                f"{tensor.name}: {tuple(tensor.dims)} needs {claimed} bytes, found {len(tensor.raw_data)}"
            )


def _load_external(model, folder):
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        where = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        if folder is None:
            raise ImportRefusedError(
                f"{tensor.name}: external data {where!r} is not loaded: give the file's path"
            )
        path = folder / where
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ImportRefusedError(f"{tensor.name}: external data {where!r} is not beside the file")
        if not path.is_file():
            raise ImportRefusedError(f"{tensor.name}: external data file {where!r} is missing")
        try:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, os.fspath(folder))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ImportRefusedError(f"{tensor.name}: external data {where!r}: {first_line(error)}") from None
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def first_line(error):
    """What an error says, on one line: the first one with a word, else the name of its class."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
