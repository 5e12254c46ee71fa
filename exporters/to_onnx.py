"""A `Network` becomes an ONNX file: standard RNN, GRU and LSTM nodes.

Opset 17, IR version 8: what ONNX Runtime 1.13 and later load. Inputs and outputs:

sequence        `x` float [shape=(steps, 1, inputs)], `y` float [shape=(steps, 1, outputs)]; starts from the
                initial state.
single step     `x` [shape=(1, inputs)], `y` [shape=(1, outputs)], and for recurrent layer k the states
                `h<k>` (lstm: and `c<k>`) [shape=(1, 1, units)] in, `h<k>_next` (`c<k>_next`) out.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporters.graph import Dense

OPSET = 17
IR_VERSION = 8
_ACTIVATION_NODES = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}
#: Where the blocks of rows of ONNX's gate order (gru z, r, h; lstm i, o, f, c) stand in ours.
_GATE_ORDER = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}


def to_onnx(network, single_step=False, metadata=None):
    """Make an ONNX model.

    Parameters
    ----------
    network : exporters.graph.Network
    single_step : bool
        One step a call, states as inputs and outputs; else whole sequences.
    metadata : dict of str to str, optional
        Goes to `metadata_props`.

    Returns
    -------
    onnx.ModelProto
        Weights in float32.
    """
    graph = _Graph(network, single_step).build()
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edge_runtime",
    )
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model)
    return model


class _Graph:
    def __init__(self, network, single_step):
        self.network = network
        self.single_step = single_step
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []

    def build(self):
        network = self.network
        steps = [1] if self.single_step else ["steps", 1]
        self.inputs.append(_tensor("x", [*steps, network.input_size]))
        name = "x"
        if self.single_step:
            name = self._node("Unsqueeze", [name, self._constant("step_axis", np.array([0], np.int64))])
        recurrent = 0
        for number, layer in enumerate(network.layers):
            if isinstance(layer, Dense):
                name = self._dense(number, layer, name)
            else:
                name = self._recurrent(number, recurrent, layer, name)
                recurrent += 1
        if network.softmax:
            name = self._node("Softmax", [name], axis=-1)
        if self.single_step:
            name = self._node("Squeeze", [name, "step_axis"])
        self.nodes[-1].output[0] = "y"
        self.outputs.insert(0, _tensor("y", [*steps, network.output_size]))
        return helper.make_graph(self.nodes, "network", self.inputs, self.outputs, self.constants)

    def _dense(self, number, layer, x):
        w = self._constant(f"w{number}", layer.w.T)
        b = self._constant(f"b{number}", layer.b)
        name = self._node("Add", [self._node("MatMul", [x, w]), b])
        return name if layer.activation == "none" else self._node(_ACTIVATION_NODES[layer.activation], [name])

    def _recurrent(self, number, k, layer, x):
        w = self._constant(f"w{number}", _onnx_rows(layer.kind, layer.w_x)[None])
        r = self._constant(f"r{number}", _onnx_rows(layer.kind, layer.w_h)[None])
        biases = [_onnx_rows(layer.kind, b) for b in (layer.b_x, layer.b_h)]
        b = self._constant(f"b{number}", np.concatenate(biases)[None])
        parts = ("h", "c") if layer.kind == "lstm" else ("h",)
        states = [self._state(f"{part}{k}", layer, index) for index, part in enumerate(parts)]
        attributes = {"hidden_size": layer.output_size}
        if layer.kind == "gru":
            attributes["linear_before_reset"] = 0 if layer.reset_before else 1
        if layer.kind == "rnn":
            attributes["activations"] = [layer.activation.capitalize()]
        outputs = [f"sequence{number}"]
        if self.single_step:
            outputs += [f"{part}{k}_next" for part in parts]
        self.nodes.append(
            helper.make_node(
                layer.kind.upper(), [x, w, r, b, "", *states], outputs, name=f"{layer.kind}{k}", **attributes
            )
        )
        return self._node("Squeeze", [outputs[0], self._axis(1)])

    def _state(self, name, layer, index):
        """An initial state: an input of single steps, else a constant."""
        units = layer.output_size
        if self.single_step:
            self.inputs.append(_tensor(name, [1, 1, units]))
            self.outputs.append(_tensor(f"{name}_next", [1, 1, units]))
            return name
        value = np.zeros(units)
        if layer.initial_state is not None:
            value = layer.initial_state[index * units : (index + 1) * units]
        return self._constant(name, value[None, None])

    def _axis(self, axis):
        name = f"axis{axis}"
        if all(constant.name != name for constant in self.constants):
            self._constant(name, np.array([axis], np.int64))
        return name

    def _node(self, kind, inputs, **attributes):
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def _constant(self, name, value):
        value = value if value.dtype == np.int64 else value.astype(np.float32)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def _onnx_rows(kind, values):
    blocks = np.split(values, len(_GATE_ORDER[kind]))
    return np.concatenate([blocks[k] for k in _GATE_ORDER[kind]])


def _tensor(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
