# SPDX-License-Identifier: MIT
"""The float networks as ONNX files, float32 and int8. Needs onnx and onnxruntime.

node      GRU and LSTM nodes, as PyTorch's exporter writes them
node_int8 those by ONNX Runtime's dynamic quantization: an int8 node exists for LSTM only
cell      one step unrolled to MatMul and elementwise nodes; ``cell_int8`` of it by the same quantization
          (MatMulInteger): its quickest int8 step for every network measured
null      the same inputs and outputs and next to no work: the price of a call

Of each ``_stream`` (one step), ``_batch`` (one step of several streams at once) and ``_seq`` (all
frames; of a cell: as the body of a Scan).
"""

import logging

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from apps.bench.workloads import FRAMES, STREAMS

_OPSET = (helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1))
_GATE_ORDER = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}  # of r, z, n: z, r, h; of i, f, g, o: i, o, f, c


def _value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(graph):
    return helper.make_model(graph, opset_imports=list(_OPSET), ir_version=10)


def _reordered(array, kind):
    parts = np.split(array, len(_GATE_ORDER[kind]))
    return np.concatenate([parts[k] for k in _GATE_ORDER[kind]])


class _Graph:
    """Nodes, constants, inputs and outputs in the making."""

    def __init__(self, name):
        self._name = name
        self._constants = []
        self._nodes = []
        self.inputs = []
        self.outputs = []

    def constant(self, name, array):
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind, inputs, outputs, **attributes):
        outputs = [outputs] if isinstance(outputs, str) else outputs
        name = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def finish(self):
        return helper.make_graph(self._nodes, self._name, self.inputs, self.outputs, self._constants)


def node_model(workload, weights, steps, batch):
    """GRU and LSTM nodes.

    Parameters
    ----------
    workload : apps.bench.workloads.Workload
    weights : dict
        Of `apps.bench.workloads.float_weights`.
    steps, batch : int

    Returns
    -------
    onnx.ModelProto
    """
    graph = _Graph(workload.name)
    graph.inputs.append(_value("x", [steps, batch, workload.input_size]))
    current = "x"
    for index, (kind, _, units) in enumerate(workload.layers):
        w, r, b_x, b_h = (_reordered(weights[f"{n}{index}"], kind) for n in ("wih", "whh", "bih", "bhh"))
        inputs = [
            current,
            graph.constant(f"W{index}", w[None]),
            graph.constant(f"R{index}", r[None]),
            graph.constant(f"B{index}", np.concatenate([b_x, b_h])[None]),
            "",
            f"h{index}",
        ]
        outputs = [f"Y{index}", f"h{index}_out"]
        attributes = {"linear_before_reset": 1} if kind == "gru" else {}
        if kind == "lstm":
            inputs.append(f"c{index}")
            outputs.append(f"c{index}_out")
        graph.node(kind.upper(), inputs, outputs, hidden_size=units, **attributes)
        axis = graph.constant(f"axis{index}", np.array([1], np.int64))
        current = graph.node("Squeeze", [f"Y{index}", axis], f"s{index}")
    for name, size in workload.states:
        graph.inputs.append(_value(name, [1, batch, size]))
        graph.outputs.append(_value(f"{name}_out", [1, batch, size]))
    if workload.outputs:
        product = graph.node("MatMul", [current, graph.constant("wd", weights["wd"].T)], "product")
        graph.node("Add", [product, graph.constant("bd", weights["bd"])], "y")
    else:
        graph.node("Identity", [current], "y")
    graph.outputs.append(_value("y", [steps, batch, workload.output_size]))
    return _model(graph.finish())


def _gru_cell(graph, i, units, current, weights):
    constant, node = graph.constant, graph.node
    halves = {}
    for part, source in (("x", current), ("h", f"h{i}")):
        suffix = "ih" if part == "x" else "hh"
        product = node(
            "MatMul", [source, constant(f"w{part}{i}", weights[f"w{suffix}{i}"].T)], f"product_{part}{i}"
        )
        total = node("Add", [product, constant(f"b{part}{i}", weights[f"b{suffix}{i}"])], f"sum_{part}{i}")
        sizes = constant(f"sizes_{part}{i}", np.array([2 * units, units], np.int64))
        halves[part] = [f"rz_{part}{i}", f"n_{part}{i}"]
        node("Split", [total, sizes], halves[part], axis=1)
    gates = node("Sigmoid", [node("Add", [halves["x"][0], halves["h"][0]], f"rz_sum{i}")], f"rz{i}")
    sizes = constant(f"sizes_rz{i}", np.array([units, units], np.int64))
    node("Split", [gates, sizes], [f"r{i}", f"z{i}"], axis=1)
    reset = node("Mul", [f"r{i}", halves["h"][1]], f"reset{i}")
    new = node("Tanh", [node("Add", [halves["x"][1], reset], f"new_sum{i}")], f"new{i}")
    change = node("Mul", [f"z{i}", node("Sub", [f"h{i}", new], f"difference{i}")], f"change{i}")
    return node("Add", [new, change], f"h{i}_out")


def _lstm_cell(graph, i, units, current, weights):
    constant, node = graph.constant, graph.node
    both = np.concatenate([weights[f"wih{i}"], weights[f"whh{i}"]], axis=1).T
    joined = node("Concat", [current, f"h{i}"], f"joined{i}", axis=1)
    product = node("MatMul", [joined, constant(f"w{i}", both)], f"product{i}")
    total = node("Add", [product, constant(f"b{i}", weights[f"bih{i}"] + weights[f"bhh{i}"])], f"sum{i}")
    sizes = constant(f"sizes{i}", np.array([2 * units, units, units], np.int64))
    node("Split", [total, sizes], [f"if_sum{i}", f"g_sum{i}", f"o_sum{i}"], axis=1)
    gates = node("Sigmoid", [f"if_sum{i}"], f"if{i}")
    halves = constant(f"sizes_if{i}", np.array([units, units], np.int64))
    node("Split", [gates, halves], [f"i{i}", f"f{i}"], axis=1)
    kept = node("Mul", [f"f{i}", f"c{i}"], f"kept{i}")
    added = node("Mul", [f"i{i}", node("Tanh", [f"g_sum{i}"], f"g{i}")], f"added{i}")
    cell = node("Add", [kept, added], f"c{i}_out")
    shown = node("Tanh", [cell], f"shown{i}")
    return node("Mul", [node("Sigmoid", [f"o_sum{i}"], f"o{i}"), shown], f"h{i}_out")


def cell_model(workload, weights, batch):
    """One step in elementary nodes; parameters as `node_model`."""
    graph = _Graph(f"{workload.name}_cell")
    for name, size in workload.states:
        graph.inputs.append(_value(name, [batch, size]))
        graph.outputs.append(_value(f"{name}_out", [batch, size]))
    graph.inputs.append(_value("x", [batch, workload.input_size]))
    current = "x"
    for index, (kind, _, units) in enumerate(workload.layers):
        cell = _gru_cell if kind == "gru" else _lstm_cell
        current = cell(graph, index, units, current, weights)
    if workload.outputs:
        product = graph.node("MatMul", [current, graph.constant("wd", weights["wd"].T)], "product")
        graph.node("Add", [product, graph.constant("bd", weights["bd"])], "y")
    else:
        graph.node("Identity", [current], "y")
    graph.outputs.append(_value("y", [batch, workload.output_size]))
    return _model(graph.finish())


def scan_model(workload, cell):
    """A cell as the body of a Scan over all frames: the whole-sequence form of the cell.

    Parameters
    ----------
    workload : apps.bench.workloads.Workload
    cell : onnx.ModelProto
        Batch 1, quantized or not.
    """
    body = onnx.GraphProto()
    body.CopyFrom(cell.graph)
    names = {value.name for value in (*body.input, *body.output)}
    for node in body.node:
        for list_of_names in (node.input, node.output):
            list_of_names[:] = [f"{name}_body" if name in names else name for name in list_of_names]
    for value in (*body.input, *body.output):
        value.name = f"{value.name}_body"
    del body.value_info[:]
    inputs = [_value(name, [1, size]) for name, size in workload.states]
    inputs.append(_value("x", [FRAMES, 1, workload.input_size]))
    outputs = [_value(f"{name}_out", [1, size]) for name, size in workload.states]
    outputs.append(_value("y", [FRAMES, 1, workload.output_size]))
    scan = helper.make_node(
        "Scan", [v.name for v in inputs], [v.name for v in outputs], num_scan_inputs=1, body=body
    )
    graph = helper.make_graph([scan], f"{workload.name}_scan", inputs, outputs, [])
    return helper.make_model(graph, opset_imports=list(cell.opset_import), ir_version=10)


def null_model(workload):
    """The inputs and outputs of a step, with no more work than touching them."""
    graph = _Graph("null")
    for name, size in workload.states:
        graph.inputs.append(_value(name, [1, size]))
        graph.outputs.append(_value(f"{name}_out", [1, size]))
        graph.node("Neg", [name], f"{name}_out")
    graph.inputs.append(_value("x", [1, workload.input_size]))
    graph.outputs.append(_value("y", [1, 1]))
    graph.node("ReduceMax", ["x"], "y", keepdims=1)
    return _model(graph.finish())


def write_files(workload, weights, folder):
    """Write all forms of a workload.

    Parameters
    ----------
    workload : apps.bench.workloads.Workload
    weights : dict
        Of `apps.bench.workloads.float_weights`.
    folder : pathlib.Path
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def path(name):
        return str(folder / f"{name}.onnx")

    def quantize(form, name):
        quantize_dynamic(path(f"{form}_{name}"), path(f"{form}_int8_{name}"), weight_type=QuantType.QInt8)

    onnx.save(null_model(workload), path("null_stream"))
    onnx.save(node_model(workload, weights, 1, 1), path("node_stream"))
    onnx.save(node_model(workload, weights, 1, STREAMS), path("node_batch"))
    onnx.save(node_model(workload, weights, FRAMES, 1), path("node_seq"))
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it recommends a preprocessing that changes nothing here
    try:
        for name, batch in (("stream", 1), ("batch", STREAMS)):
            cell = cell_model(workload, weights, batch)
            onnx.checker.check_model(cell)
            onnx.save(cell, path(f"cell_{name}"))
            quantize("cell", name)
        if workload.has_lstm:
            for name in ("stream", "batch", "seq"):
                quantize("node", name)
    finally:
        logging.getLogger().setLevel(level)
    onnx.save(scan_model(workload, onnx.load(path("cell_int8_stream"))), path("cell_int8_seq"))
