# SPDX-License-Identifier: MIT
"""The two sides: a model file, and a float network with its ONNX forms."""

import dataclasses
import os
import pathlib

import numpy as np
import onnx
import onnxruntime

from apps.bench import onnx_models, workloads
from edge_runtime import Model
from edge_runtime.model import DEFAULT_MODEL
from exporters import from_onnx
from exporters.dequantize import dequantize
from exporters.graph import Network
from exporters.quantize import NUMERICS
from exporters.to_onnx import to_onnx

_FILE_STEPS = 200


class CompareError(ValueError):
    """Nothing can be compared; the message is one line."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """A model and a network with the same inputs and outputs.

    Parameters
    ----------
    model : edge_runtime.Model
    path : pathlib.Path
        Of the model.
    network : exporters.graph.Network
    onnx_path : pathlib.Path or None
        None: the network is the model's own, in float.
    """

    model: Model
    path: pathlib.Path
    network: Network
    onnx_path: pathlib.Path | None

    @property
    def model_bytes(self):
        """int : size of the model file."""
        return self.path.stat().st_size

    @property
    def onnx_bytes(self):
        """int : size of the ONNX file and its external data, or of the file that the float twin makes."""
        if self.onnx_path is None:
            return len(to_onnx(self.network).SerializeToString())
        tensors = onnx.load(self.onnx_path, load_external_data=False).graph.initializer
        names = {e.value for tensor in tensors for e in tensor.external_data if e.key == "location"}
        return sum((self.onnx_path.parent / name).stat().st_size for name in (self.onnx_path.name, *names))

    @property
    def onnx_name(self):
        """str : for reports."""
        return "its fp32 twin" if self.onnx_path is None else os.fspath(self.onnx_path)

    def onnx_inputs(self, x):
        """Inputs of the ONNX side.

        Those of the twin are clamped to the range that the model's own are: its weights were trained behind that clamp
        (without it, the twin of the digit model has 17.3 % word errors on an4_mfcc instead of 10.8 %).

        Parameters
        ----------
        x : float32 [shape=(steps, input_size)]

        Returns
        -------
        float32 [shape of x]
        """
        if self.onnx_path is not None:
            return x
        file = self.model.file
        first = file.layers[0].matrices[0]
        most = min(first.clamp << first.operand_shift, NUMERICS[file.profile].input_bound)
        ends = ((np.array([[-most], [most]]) - file.input_offset) / file.input_scale).astype(np.float32)
        return np.clip(x, ends.min(axis=0), ends.max(axis=0))

    def workload(self, inputs):
        """The pair as a workload of the bench; parameters as `apps.bench.workloads.workload_of_pair`."""
        return workloads.workload_of_pair(self.path.stem, self.model.file, self.network, inputs)


def load_pair(model_path=None, onnx_path=None, kernel=None):
    """Load both sides.

    Parameters
    ----------
    model_path : path, optional
        None: the model in the package.
    onnx_path : path, optional
        None: the float twin of the model.
    kernel : str, optional

    Returns
    -------
    Pair

    Raises
    ------
    CompareError
        Their inputs or outputs differ in number.
    edge_runtime.EdgeRuntimeError, OSError, exporters.graph.ImportRefusedError
        A file cannot be read or represented.
    """
    path = DEFAULT_MODEL if model_path is None else pathlib.Path(model_path)
    model = Model.default(kernel) if model_path is None else Model.load(path, kernel)
    if onnx_path is None:
        return Pair(model, path, dequantize(model.file, os.fspath(path)), None)
    onnx_path = pathlib.Path(onnx_path)
    network = from_onnx(onnx_path)
    for what in ("input", "output"):
        ours, theirs = (getattr(side, f"{what}_size") for side in (model, network))
        if ours != theirs:
            raise CompareError(f"{path} has {ours} {what}s, {onnx_path} has {theirs}")
    return Pair(model, path, network, onnx_path)


def _session(model):
    """A session of a path or of bytes: one thread, warnings off."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    except Exception as error:  # the classes of onnxruntime's errors are not public
        raise CompareError(f"onnxruntime {onnxruntime.__version__}: {str(error).splitlines()[0]}") from error


def distance_of_file(pair, x):
    """Run the ONNX file as it is and compare it with the network that was read from it.

    Files with one input, steps or batch first, are run; single-step graphs with states are not.

    Parameters
    ----------
    pair : Pair
    x : float32 [shape=(steps, input_size)]

    Returns
    -------
    float or None
        Greatest difference of the outputs of all steps, or of the last; None if the file was not run.
    """
    if pair.onnx_path is None:
        return None
    try:
        session = _session(os.fspath(pair.onnx_path))
    except CompareError:
        return None
    taken = session.get_inputs()
    if len(taken) != 1 or taken[0].type != "tensor(float)":
        return None
    shape = taken[0].shape
    fixed = [n for n in shape[:-1] if isinstance(n, int) and n > 1]
    x = np.resize(x, (fixed[0] if fixed else min(len(x), _FILE_STEPS), x.shape[1]))
    expected = pair.network.run(x)
    if pair.network.softmax:
        expected = np.exp(expected - expected.max(axis=1, keepdims=True))
        expected /= expected.sum(axis=1, keepdims=True)
    found = []
    for layout in (x[:, None], x[None]) if len(shape) == 3 else (x,):
        try:
            outputs = session.run(None, {taken[0].name: layout})
        except Exception:  # as above; another layout may fit
            continue
        for y in outputs:
            rows = expected if y.size == expected.size else expected[-1:]
            if y.size == rows.size:
                found.append(float(np.abs(y.reshape(rows.shape) - rows).max()))
    return min(found, default=None)


class OnnxSide:
    """A form of the network in ONNX Runtime, for sequences of any length.

    Parameters
    ----------
    workload : apps.bench.workloads.Workload
        With its files in `folder`.
    folder : pathlib.Path
    form : str
        "f32": GRU, LSTM and RNN nodes; "int8": the quantized cell.
    """

    def __init__(self, workload, folder, form):
        if form == "f32":
            model = onnx_models.node_model(workload, workload.network, "steps", 1)
        else:
            cell = onnx.load(folder / "cell_int8_stream.onnx")
            model = onnx_models.scan_model(workload, cell, "steps")
        self._session = _session(model.SerializeToString())
        initial = np.fromfile(folder / "states.bin", np.float32)
        ends = np.cumsum([size for _, size in workload.states], dtype=int)
        shape = (1, 1, -1) if form == "f32" else (1, -1)
        self._states = {
            name: values.reshape(shape)
            for (name, _), values in zip(workload.states, np.split(initial, ends[:-1]), strict=False)
        }

    def run(self, x):
        """Run a sequence from the initial state.

        Parameters
        ----------
        x : float32 [shape=(steps, input_size)]

        Returns
        -------
        float32 [shape=(steps, output_size)]
        """
        return self._session.run(["y"], {"x": x[:, None], **self._states})[0][:, 0]
