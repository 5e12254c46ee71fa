# SPDX-License-Identifier: MIT
"""The float networks as ONNX files, float32 and int8. Needs onnx and onnxruntime.

node      RNN, GRU and LSTM nodes, as PyTorch's exporter writes them
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
from exporters.graph import Dense

_OPSET = (helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1))
# Of r, z, n: z, r, h; of i, f, g, o: i, o, f, c.
_GATE_ORDER = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}


def _value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(graph):
    return helper.make_model(graph, opset_imports=list(_OPSET), ir_version=10)


def _reordered(array, kind):
    parts = np.split(array, len(_GATE_ORDER[kind]))
    return np.concatenate([parts[k] for k in _GATE_ORDER[kind]])


def _f32(array):
    return array.astype(np.float32)


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
        name = f"{self._name}_{kind}_{len(self._nodes)}"  # unlike those of a body: the quantizer makes names of it
        self._nodes.append(helper.make_node(kind, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def add(self, node):
        self._nodes.append(node)

    def rename_last(self, name):
        """Rename the last output of the last node, which nothing reads yet."""
        self._nodes[-1].output[-1] = name

    def finish(self):
        return helper.make_graph(self._nodes, self._name, self.inputs, self.outputs, self._constants)


def _dense(graph, i, layer, current):
    product = graph.node("MatMul", [current, graph.constant(f"wd{i}", _f32(layer.w.T))], f"product_d{i}")
    total = graph.node("Add", [product, graph.constant(f"bd{i}", _f32(layer.b))], f"sum_d{i}")
    if layer.activation == "none":
        return total
    return graph.node(layer.activation.capitalize(), [total], f"dense{i}")


def _finish(graph, current, shape):
    if current in {value.name for value in graph.outputs}:
        graph.node("Identity", [current], "y")  # a cell without a dense layer: y is its state
    else:
        graph.rename_last("y")
    graph.outputs.append(_value("y", shape))
    return _model(graph.finish())


def node_model(workload, network, steps, batch):
    """RNN, GRU and LSTM nodes.

    Parameters
    ----------
    workload : apps.bench.workloads.Workload
    network : exporters.graph.Network
        Of `apps.bench.workloads.float_network`.
    steps, batch : int or str
        str: open.

    Returns
    -------
    onnx.ModelProto
    """
    graph = _Graph(workload.name)
    graph.inputs.append(_value("x", [steps, batch, workload.input_size]))
    current = "x"
    index = 0
    for number, layer in enumerate(network.layers):
        if isinstance(layer, Dense):
            current = _dense(graph, number, layer, current)
            continue
        kind = layer.kind
        w, r, b_x, b_h = (_reordered(_f32(v), kind) for v in (layer.w_x, layer.w_h, layer.b_x, layer.b_h))
        inputs = [
            current,
            graph.constant(f"W{index}", w[None]),
            graph.constant(f"R{index}", r[None]),
            graph.constant(f"B{index}", np.concatenate([b_x, b_h])[None]),
            "",
            f"h{index}",
        ]
        outputs = [f"Y{index}", f"h{index}_out"]
        attributes = {"hidden_size": layer.output_size}
        if kind == "gru":
            attributes["linear_before_reset"] = 0 if layer.reset_before else 1
        if kind == "rnn":
            attributes["activations"] = [layer.activation.capitalize()]
        if kind == "lstm":
            inputs.append(f"c{index}")
            outputs.append(f"c{index}_out")
        graph.node(kind.upper(), inputs, outputs, **attributes)
        axis = graph.constant(f"axis{index}", np.array([1], np.int64))
        current = graph.node("Squeeze", [f"Y{index}", axis], f"s{index}")
        index += 1
    for name, size in workload.states:
        graph.inputs.append(_value(name, [1, batch, size]))
        graph.outputs.append(_value(f"{name}_out", [1, batch, size]))
    return _finish(graph, current, [steps, batch, workload.output_size])


def _product(graph, i, name, source, w, b):
    """source w^T + b"""
    product = graph.node("MatMul", [source, graph.constant(f"w{name}{i}", _f32(w.T))], f"product_{name}{i}")
    return graph.node("Add", [product, graph.constant(f"b{name}{i}", _f32(b))], f"sum_{name}{i}")


def _split(graph, i, name, source, outputs, sizes):
    graph.node(
        "Split", [source, graph.constant(f"sizes_{name}{i}", np.array(sizes, np.int64))], outputs, axis=1
    )


def _sum(graph, i, layer, current, projected):
    """W_x x + W_h h + biases of rnn and lstm: one product of x and h together, or with W_x x given."""
    if projected is not None:
        return graph.node(
            "Add", [projected, _product(graph, i, "h", f"h{i}", layer.w_h, layer.b_h)], f"sum{i}"
        )
    joined = graph.node("Concat", [current, f"h{i}"], f"joined{i}", axis=1)
    both = np.concatenate([layer.w_x, layer.w_h], axis=1)
    return _product(graph, i, "", joined, both, layer.b_x + layer.b_h)


def _rnn_cell(graph, i, layer, current, projected=None):
    total = _sum(graph, i, layer, current, projected)
    return graph.node(layer.activation.capitalize(), [total], f"h{i}_out")


def _gru_cell(graph, i, layer, current, projected=None):
    node = graph.node
    units = layer.output_size
    h = f"h{i}"
    if projected is None:
        projected = _product(graph, i, "x", current, layer.w_x, layer.b_x)
    _split(graph, i, "x", projected, [f"rz_x{i}", f"n_x{i}"], [2 * units, units])
    w, b = layer.w_h, layer.b_h
    if layer.reset_before:
        of_h = _product(graph, i, "h", h, w[: 2 * units], b[: 2 * units])
    else:
        of_h = f"rz_h{i}"
        total = _product(graph, i, "h", h, w, b)
        _split(graph, i, "h", total, [of_h, f"n_h{i}"], [2 * units, units])
    gates = node("Sigmoid", [node("Add", [f"rz_x{i}", of_h], f"rz_sum{i}")], f"rz{i}")
    _split(graph, i, "rz", gates, [f"r{i}", f"z{i}"], [units, units])
    if layer.reset_before:
        reset = node("Mul", [f"r{i}", h], f"reset{i}")
        reset = _product(graph, i, "n", reset, w[2 * units :], b[2 * units :])
    else:
        reset = node("Mul", [f"r{i}", f"n_h{i}"], f"reset{i}")
    new = node("Tanh", [node("Add", [f"n_x{i}", reset], f"new_sum{i}")], f"new{i}")
    change = node("Mul", [f"z{i}", node("Sub", [h, new], f"difference{i}")], f"change{i}")
    return node("Add", [new, change], f"h{i}_out")


def _lstm_cell(graph, i, layer, current, projected=None):
    node = graph.node
    units = layer.output_size
    total = _sum(graph, i, layer, current, projected)
    _split(graph, i, "", total, [f"if_sum{i}", f"g_sum{i}", f"o_sum{i}"], [2 * units, units, units])
    gates = node("Sigmoid", [f"if_sum{i}"], f"if{i}")
    _split(graph, i, "if", gates, [f"i{i}", f"f{i}"], [units, units])
    kept = node("Mul", [f"f{i}", f"c{i}"], f"kept{i}")
    added = node("Mul", [f"i{i}", node("Tanh", [f"g_sum{i}"], f"g{i}")], f"added{i}")
    cell = node("Add", [kept, added], f"c{i}_out")
    shown = node("Tanh", [cell], f"shown{i}")
    return node("Mul", [node("Sigmoid", [f"o_sum{i}"], f"o{i}"), shown], f"h{i}_out")


_CELLS = {"rnn": _rnn_cell, "gru": _gru_cell, "lstm": _lstm_cell}


def cell_model(workload, network, batch):
    """One step in elementary nodes; parameters as `node_model`."""
    graph = _Graph(f"{workload.name}_cell")
    for name, size in workload.states:
        graph.inputs.append(_value(name, [batch, size]))
        graph.outputs.append(_value(f"{name}_out", [batch, size]))
    graph.inputs.append(_value("x", [batch, workload.input_size]))
    current = "x"
    index = 0
    for number, layer in enumerate(network.layers):
        if isinstance(layer, Dense):
            current = _dense(graph, number, layer, current)
        else:
            current = _CELLS[layer.kind](graph, index, layer, current)
            index += 1
    return _finish(graph, current, [batch, workload.output_size])


def _scan(body, suffix):
    """A Scan node over a body whose inputs and outputs are renamed with the suffix."""
    inputs, outputs = ([value.name for value in values] for values in (body.input, body.output))
    names = {*inputs, *outputs}
    for node in body.node:
        for list_of_names in (node.input, node.output):
            list_of_names[:] = [f"{name}{suffix}" if name in names else name for name in list_of_names]
    for value in (*body.input, *body.output):
        value.name = f"{value.name}{suffix}"
    del body.value_info[:]
    return helper.make_node("Scan", inputs, outputs, name=f"Scan{suffix}", num_scan_inputs=1, body=body)


def scan_model(workload, cell, steps=FRAMES):
    """A cell as the body of a Scan over all frames: the arithmetic of single steps, in one call.

    Parameters
    ----------
    workload : apps.bench.workloads.Workload
    cell : onnx.ModelProto
        Batch 1, quantized or not.
    steps : int or str
        str: open.
    """
    body = onnx.GraphProto()
    body.CopyFrom(cell.graph)
    inputs = [_value(name, [1, size]) for name, size in workload.states]
    inputs.append(_value("x", [steps, 1, workload.input_size]))
    outputs = [_value(f"{name}_out", [1, size]) for name, size in workload.states]
    outputs.append(_value("y", [steps, 1, workload.output_size]))
    graph = helper.make_graph([_scan(body, "_body")], f"{workload.name}_scan", inputs, outputs, [])
    return helper.make_model(graph, opset_imports=list(cell.opset_import), ir_version=10)


def sequence_model(workload, network, steps=FRAMES):
    """A whole sequence in elementary nodes, layer by layer: W_x x of all steps in one product, a Scan for the rest.

    Parameters
    ----------
    workload : apps.bench.workloads.Workload
    network : exporters.graph.Network
    steps : int
    """
    graph = _Graph(f"{workload.name}_sequence")
    graph.inputs.append(_value("x", [steps, 1, workload.input_size]))
    for name, size in workload.states:
        graph.inputs.append(_value(name, [1, size]))
        graph.outputs.append(_value(f"{name}_out", [1, size]))
    current = "x"
    index = 0
    for number, layer in enumerate(network.layers):
        if isinstance(layer, Dense):
            current = _dense(graph, number, layer, current)
            continue
        projected = _product(graph, index, "p", current, layer.w_x, layer.b_x)
        body = _Graph(f"body{index}")
        parts = ("h", "c") if layer.kind == "lstm" else ("h",)
        shape = [1, layer.output_size]
        body.inputs += [_value(f"{part}{index}", shape) for part in parts]
        body.inputs.append(_value(projected, [1, layer.w_x.shape[0]]))
        body.outputs += [_value(f"{part}{index}_out", shape) for part in parts]
        body.outputs.append(_value(f"s{index}", shape))
        h = _CELLS[layer.kind](body, index, layer, None, projected)
        current = body.node("Identity", [h], f"s{index}")
        graph.add(_scan(body.finish(), f"_body{index}"))
        index += 1
    return _finish(graph, current, [steps, 1, workload.output_size])


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


def write_files(workload, network, folder):
    """Write all forms of a workload.

    Parameters
    ----------
    workload : apps.bench.workloads.Workload
    network : exporters.graph.Network
        Of `apps.bench.workloads.float_network`.
    folder : pathlib.Path
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def path(name):
        return str(folder / f"{name}.onnx")

    def quantize(form, name):
        quantize_dynamic(
            path(f"{form}_{name}"),
            path(f"{form}_int8_{name}"),
            weight_type=QuantType.QInt8,
            extra_options={"EnableSubgraph": True},
        )

    onnx.save(null_model(workload), path("null_stream"))
    onnx.save(node_model(workload, network, 1, 1), path("node_stream"))
    onnx.save(node_model(workload, network, 1, STREAMS), path("node_batch"))
    onnx.save(node_model(workload, network, FRAMES, 1), path("node_seq"))
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it recommends a preprocessing that changes nothing here
    try:
        for name, batch in (("stream", 1), ("batch", STREAMS)):
            cell = cell_model(workload, network, batch)
            onnx.checker.check_model(cell)
            onnx.save(cell, path(f"cell_{name}"))
            quantize("cell", name)
        onnx.save(sequence_model(workload, network), path("cell_seq"))
        quantize("cell", "seq")
        if workload.has_lstm:
            for name in ("stream", "batch", "seq"):
                quantize("node", name)
    finally:
        logging.getLogger().setLevel(level)
