# SPDX-License-Identifier: MIT
"""The float networks as .tflite files: one step, float32 and int8. Needs ai-edge-litert.

The flatbuffers are written directly, with the schema that comes with ai-edge-litert, so TensorFlow
is not needed. The graph is what TensorFlow's converter makes of the step in elementary operations.
"int8" is its dynamic-range quantization: int8 weights with a scale per row, activations quantized at
run time, which LiteRT's XNNPACK delegate runs with int8 dot products. Whole sequences are not offered.
"""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_VERSION = {"FULLY_CONNECTED": 12}  # of an operator; other operators 1


class _Graph:
    """A model in the making. Tensors are numbers."""

    def __init__(self):
        self._buffers = [schema.BufferT()]
        self._tensors = []
        self._operators = []
        self._codes = []
        self._inputs = []
        self._outputs = []

    def tensor(self, name, shape, array=None, scales=None):
        """Add a tensor; with an array, a constant."""
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = np.array(shape, np.int32)
        tensor.type = schema.TensorType.FLOAT32
        tensor.buffer = 0
        if array is not None:
            types = schema.TensorType
            kinds = {np.float32: types.FLOAT32, np.int8: types.INT8, np.int32: types.INT32}
            tensor.type = kinds[array.dtype.type]
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
            self._buffers.append(buffer)
            tensor.buffer = len(self._buffers) - 1
        if scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
            tensor.quantization.quantizedDimension = 0
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def input(self, name, size):
        self._inputs.append(self.tensor(name, (1, size)))
        return self._inputs[-1]

    def output(self, tensor, name):
        self._tensors[tensor].name = name
        self._outputs.append(tensor)

    def node(self, kind, inputs, size, options=None):
        """Add an operator with one output of shape (1, size)."""
        if kind not in self._codes:
            self._codes.append(kind)
        result = self.tensor(f"t{len(self._tensors)}", (1, size))
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.index(kind)
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array([result], np.int32)
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")()
            if options == "ConcatenationOptions":
                operator.builtinOptions.axis = 1
        self._operators.append(operator)
        return result

    def product(self, name, x, weights, bias, int8):
        """A fully connected operator: weights [shape=(rows, columns)]."""
        if int8:
            scales = (np.abs(weights).max(axis=1) / 127).astype(np.float32)
            codes = np.clip(np.round(weights / scales[:, None]), -127, 127).astype(np.int8)
            w = self.tensor(name, weights.shape, codes, scales)
        else:
            w = self.tensor(name, weights.shape, weights)
        b = self.tensor(f"{name}_bias", bias.shape, bias)
        return self.node("FULLY_CONNECTED", [x, w, b], len(bias), "FullyConnectedOptions")

    def part(self, x, first, size):
        """Columns first .. first + size - 1 of a tensor."""
        begin = self.tensor(f"begin{len(self._tensors)}", (2,), np.array([0, first], np.int32))
        sizes = self.tensor(f"size{len(self._tensors)}", (2,), np.array([1, size], np.int32))
        return self.node("SLICE", [x, begin, sizes], size, "SliceOptions")

    def to_bytes(self):
        subgraph = schema.SubGraphT()
        subgraph.tensors = self._tensors
        subgraph.inputs = np.array(self._inputs, np.int32)
        subgraph.outputs = np.array(self._outputs, np.int32)
        subgraph.operators = self._operators
        model = schema.ModelT()
        model.version = 3
        model.subgraphs = [subgraph]
        model.buffers = self._buffers
        model.operatorCodes = []
        for kind in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, kind)
            code.deprecatedBuiltinCode = code.builtinCode
            code.version = _VERSION.get(kind, 1)
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def _gru(graph, index, units, x, state, weights, int8):
    def product(source, suffix):
        w, b = (weights[f"{kind}{suffix}{index}"] for kind in "wb")
        return graph.product(f"w{suffix}{index}", source, w, b, int8)

    from_x, from_h = product(x, "ih"), product(state, "hh")
    both = [graph.part(part, 0, 2 * units) for part in (from_x, from_h)]
    gates = graph.node("LOGISTIC", [graph.node("ADD", both, 2 * units, "AddOptions")], 2 * units)
    reset, keep = graph.part(gates, 0, units), graph.part(gates, units, units)
    recurrent = graph.node("MUL", [reset, graph.part(from_h, 2 * units, units)], units, "MulOptions")
    total = graph.node("ADD", [graph.part(from_x, 2 * units, units), recurrent], units, "AddOptions")
    new = graph.node("TANH", [total], units)
    difference = graph.node("SUB", [state, new], units, "SubOptions")
    change = graph.node("MUL", [keep, difference], units, "MulOptions")
    return graph.node("ADD", [new, change], units, "AddOptions")


def _lstm(graph, index, units, x, x_size, state, cell, weights, int8):
    joined = graph.node("CONCATENATION", [x, state], x_size + units, "ConcatenationOptions")
    both = np.concatenate([weights[f"wih{index}"], weights[f"whh{index}"]], axis=1)
    bias = weights[f"bih{index}"] + weights[f"bhh{index}"]
    total = graph.product(f"w{index}", joined, both, bias, int8)
    gates = graph.node("LOGISTIC", [graph.part(total, 0, 2 * units)], 2 * units)
    new = graph.node("TANH", [graph.part(total, 2 * units, units)], units)
    added = graph.node("MUL", [graph.part(gates, 0, units), new], units, "MulOptions")
    kept = graph.node("MUL", [graph.part(gates, units, units), cell], units, "MulOptions")
    cell = graph.node("ADD", [kept, added], units, "AddOptions")
    shown = graph.node("LOGISTIC", [graph.part(total, 3 * units, units)], units)
    return graph.node("MUL", [shown, graph.node("TANH", [cell], units)], units, "MulOptions"), cell


def step_model(workload, weights, int8):
    """One step.

    Parameters
    ----------
    workload : apps.bench.workloads.Workload
    weights : dict
        Of `apps.bench.workloads.float_weights`.
    int8 : bool

    Returns
    -------
    bytes
    """
    graph = _Graph()
    current, size = graph.input("x", workload.input_size), workload.input_size
    states = {name: graph.input(name, units) for name, units in workload.states}
    for index, (kind, _, units) in enumerate(workload.layers):
        h, c = f"h{index}", f"c{index}"
        if kind == "gru":
            current = _gru(graph, index, units, current, states[h], weights, int8)
        else:
            current, cell = _lstm(graph, index, units, current, size, states[h], states[c], weights, int8)
            graph.output(cell, f"{c}_out")
        graph.output(current, f"{h}_out")
        size = units
    if workload.outputs:
        graph.output(graph.product("wd", current, weights["wd"], weights["bd"], int8), "y")
    return graph.to_bytes()


def null_model(workload):
    """The inputs and outputs of a step, with no more work than touching them: bytes."""
    graph = _Graph()
    for name, size in [("x", workload.input_size), *workload.states]:
        source = graph.input(name, size)
        graph.output(graph.node("NEG", [source], size), "y" if name == "x" else f"{name}_out")
    return graph.to_bytes()


def write_files(workload, weights, folder):
    """Write all forms of a workload; parameters as `apps.bench.onnx_models.write_files`."""
    (folder / "litert_f32.tflite").write_bytes(step_model(workload, weights, False))
    (folder / "litert_int8.tflite").write_bytes(step_model(workload, weights, True))
    (folder / "litert_null.tflite").write_bytes(null_model(workload))
