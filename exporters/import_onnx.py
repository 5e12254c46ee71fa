"""An ONNX file becomes a `Network`.

Understood, in opsets 7 to 28: RNN (Tanh, Relu), GRU (linear_before_reset 0 and 1) and LSTM (no peepholes),
forward, layout 0 and 1; Gemm and MatMul with constant weights; Relu, Tanh, Sigmoid; Softmax and LogSoftmax
at the end; BatchNormalization and arithmetic with constants, which fold into the layer before or behind;
Transpose, Reshape and other glue, by what it does to each element. Initial states are constants, or inputs
whose next value is an output. Everything else is refused by node.
"""

import math

import numpy as np
import onnx
from onnx import numpy_helper

from exporters._onnx_glue import CONSTANT, COUNTING, MAX_GROWTH, MOVING
from exporters._onnx_load import FLOATS, first_line, load_model
from exporters._onnx_ops import HANDLERS, node_name
from exporters._provenance import Tracer
from exporters._stages import Signal, refuse
from exporters.graph import ImportRefusedError, same_network

# Sizes of axes that the file leaves open, unlike each other so that no mix-up goes unseen. Two walks with
# other sizes must find the same network, or the graph depends on them.
_SIZES = ((11, 3, 5, 2, 7, 13), (4, 7, 3, 5, 13, 2))


def from_onnx(source):
    """Import a trained network.

    Parameters
    ----------
    source : path or onnx.ModelProto

    Returns
    -------
    Network
        Its initial states are those of the file, or zero where they are inputs of the graph.

    Raises
    ------
    ImportRefusedError
        Names the node or weight and the reason, in one line.
    """
    name = "ONNX model" if isinstance(source, onnx.ModelProto) else str(source)
    try:
        model, opset = load_model(source)
        return _network(model, opset, name)
    except ImportRefusedError as error:
        message = str(error)
    except RecursionError:
        message = "its operations are nested too deeply"
    raise ImportRefusedError(message if message.startswith(name) else f"{name}: {message}")


def _network(model, opset, name):
    """Walk with axes of the same name alike; failing that, with the states' open axes as one of the first input."""
    first = (
        None  # what was refused first: its message, as the error holds all that was there when it was raised
    )
    for tied in (None, 0, 1):
        try:
            network, other = (_Walk(model, opset, sizes, tied).network(name) for sizes in _SIZES)
        except ImportRefusedError as error:
            first = first or str(error)
            if len(model.graph.input) == 1:
                break
            continue
        if not same_network(network, other):
            raise ImportRefusedError("the network depends on the length of its input")
        return network
    raise ImportRefusedError(first)


class _Walk:
    """One pass over a graph; values are arrays, where constant, and signals.

    Parameters
    ----------
    model : onnx.ModelProto
    opset : int
    sizes : sequence of int
        Of open axes.
    tied : int or None
        Which open axis of the first input gives its size to the open axes of the others.
    """

    def __init__(self, model, opset, sizes, tied):
        self.graph = model.graph
        self.opset = opset
        self.tracer = Tracer()
        self._sizes = iter(sizes)
        self._tied = tied
        self._open_axes = {}  # name of an open axis: its size here
        self._values = {"": None}
        self._origins = {}  # name of a constant: names of the initializers that it was made from
        self._used = set()
        self._left = MAX_GROWTH + 16 * sum(math.prod(t.dims) for t in model.graph.initializer)

    def network(self, source):
        """Walk from inputs to outputs; returns a Network."""
        weights = self._initializers(self.graph)
        for value in self.graph.input:
            if value.name not in self._values:
                self._values[value.name] = self.tracer.input(value.name, self._input_shape(value))
        needed = _needed(self.graph)
        self._run(n for n in self.graph.node if needed.intersection(n.output))
        outputs = {}
        for value in self.graph.output:
            signal = self._values.get(value.name)
            if not isinstance(signal, Signal):
                refuse(value.name, "an output that does not depend on an input")
            outputs[value.name] = signal
        unused = [name for name in weights if name not in self._used]
        if unused:
            refuse(unused[0], "a weight that is not used")
        return self.tracer.network(outputs, source)

    def constant(self, node, position, dtype=np.float64):
        """A constant input as an array, marked as used; None if it is left out."""
        key = node.input[position] if position < len(node.input) else ""
        value = self._values[key]
        if isinstance(value, Signal):
            refuse(node_name(node), f"input {position} ({key}) is computed: expected a constant")
        if value is None:
            return None
        self._used.update(self._origins.get(key, ()))
        if np.iscomplexobj(value):
            refuse(node_name(node), f"input {position} ({key}) has complex numbers")
        return value.astype(dtype)

    def value(self, node, position):
        """An input: Signal, array (then marked as used), or None if it is left out."""
        key = node.input[position] if position < len(node.input) else ""
        if self._values[key] is None or isinstance(self._values[key], Signal):
            return self._values[key]
        return self.constant(node, position)

    def signal(self, node, position=0):
        """An input that must be a signal."""
        value = self._values[node.input[position]]
        if not isinstance(value, Signal):
            refuse(
                node_name(node), f"input {position} ({node.input[position]}) is constant: expected a signal"
            )
        return value

    def held(self, node):
        """The first input as a signal, even if it is constant, as a state before the first step."""
        value = self.value(node, 0)
        return value if isinstance(value, Signal) else self.tracer.hold(node_name(node), value)

    def _initializers(self, graph):
        """Bind the initializers of a graph; returns the names of those that are weights."""
        weights = []
        for tensor in graph.initializer:
            try:
                self._values[tensor.name] = numpy_helper.to_array(tensor)
            except (ValueError, TypeError) as error:
                refuse(tensor.name, f"not readable: {error}")
            self._origins[tensor.name] = {tensor.name}
            if tensor.data_type in FLOATS:
                weights.append(tensor.name)
        return weights

    def _input_shape(self, value):
        tensor = value.type.tensor_type  # of a sequence or a map: an empty one
        if not tensor.HasField("shape"):
            refuse(value.name, "an input without a shape")
        first = next(v for v in self.graph.input if v.name not in self._origins)
        shape = []
        for i, dim in enumerate(tensor.shape.dim):
            if dim.HasField("dim_value"):
                shape.append(dim.dim_value)
                continue
            key = dim.dim_param or f"{value.name}/{i}"
            if self._tied is not None and value.name != first.name and self._tied < len(self._open_axes):
                key = list(self._open_axes)[self._tied]
            if key not in self._open_axes:
                size = next(self._sizes, None)
                if size is None:
                    refuse(value.name, "too many open axes")
                self._open_axes[key] = size
            shape.append(self._open_axes[key])
        if any(n < 0 for n in shape):
            refuse(value.name, f"a negative dimension: {tuple(shape)}")
        return tuple(shape)

    def _run(self, nodes):
        for node in nodes:
            try:
                outputs = self._apply(node)
            except ImportRefusedError:
                raise
            except (ValueError, IndexError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
                refuse(node_name(node), first_line(error))
            for key, value in zip(node.output, outputs, strict=False):
                self._values[key] = value
                self._left -= math.prod(value.shape)
                if not isinstance(value, Signal):
                    self._origins[key] = set().union(*(self._origins.get(k, ()) for k in node.input))
                    self._left -= len(self._origins[key])
            if self._left < 0:
                refuse(node_name(node), f"all tensors up to here have more than {MAX_GROWTH} elements")

    def _apply(self, node):
        if node.domain not in ("", "ai.onnx"):
            refuse(node_name(node), f"operator of domain {node.domain} is not supported")
        attributes = {a.name: _attribute(node, a) for a in node.attribute}
        inputs = [self._values[key] for key in node.input]
        signals = [i for i, v in enumerate(inputs) if isinstance(v, Signal)]
        op = node.op_type
        if op in ("Constant", "If", "Cast", "CastLike", "Dropout"):
            return getattr(self, f"_{op.lower()}")(node, attributes)
        if not signals and op not in ("RNN", "GRU", "LSTM", "Gemm", "MatMul"):
            return self._fold(node, inputs, attributes)
        if op in COUNTING:
            return COUNTING[op]([signal.ids for signal in inputs], attributes)
        if op in MOVING:
            return self._move(node, inputs, signals, attributes)
        handler = HANDLERS.get(op)
        if handler is None:
            refuse(node_name(node), f"operator {op} is not supported")
        return handler(self, node, attributes)

    def _fold(self, node, inputs, attributes):
        function = MOVING.get(node.op_type) or COUNTING.get(node.op_type) or CONSTANT.get(node.op_type)
        if function is None:
            refuse(node_name(node), f"operator {node.op_type} on constants is not supported")
        with np.errstate(all="ignore"):
            return [np.asarray(v) for v in function(inputs, {**attributes, "outputs": len(node.output)})]

    def _move(self, node, inputs, signals, attributes):
        """Glue: what it does to the ids is what it does to the values."""
        moved = range(len(inputs)) if node.op_type == "Concat" else [0]
        if signals != list(moved):
            refuse(
                node_name(node),
                f"{node.op_type} mixes computed and constant tensors, or moves by computed indices",
            )
        arrays = [v.ids if isinstance(v, Signal) else v for v in inputs]
        for i in set(range(len(inputs))) - set(moved):
            self.constant(node, i, np.int64)
        outputs = MOVING[node.op_type](arrays, {**attributes, "outputs": len(node.output)})
        return [Signal(ids) for ids in outputs]

    def _constant(self, node, attributes):
        value = next(iter(attributes.values()), None)
        if len(attributes) != 1 or not isinstance(value, (np.ndarray, int, float, list)):
            refuse(node_name(node), "a Constant that is no tensor of numbers")
        if isinstance(value, np.ndarray):
            return [value]
        return [np.array(value, np.float32 if "float" in next(iter(attributes)) else np.int64)]

    def _if(self, node, attributes):
        condition = self.constant(node, 0, bool)
        branch = attributes["then_branch" if condition.item() else "else_branch"]
        self._initializers(branch)
        self._run(branch.node)
        return [self._values[value.name] for value in branch.output]

    def _cast(self, node, attributes):
        [value] = (self._values[key] for key in node.input)
        if isinstance(value, Signal):
            if attributes["to"] not in FLOATS:
                refuse(node_name(node), "a cast of a signal to a type that is not floating point")
            return [value]
        return [value.astype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))]

    def _castlike(self, node, attributes):
        value, like = (self._values[key] for key in node.input)
        if isinstance(value, Signal):
            if not isinstance(like, Signal) and not np.issubdtype(like.dtype, np.floating):
                refuse(node_name(node), "a cast of a signal to a type that is not floating point")
            return [value]
        return [value if isinstance(like, Signal) else value.astype(like.dtype)]

    def _dropout(self, node, attributes):
        self.constant(node, 1)  # the ratio, which then is of no consequence
        training = self.constant(node, 2, bool)
        if training is not None and training.any():
            refuse(node_name(node), "dropout in training mode")
        return [self._values[node.input[0]]]


def _attribute(node, attribute):
    if attribute.type == onnx.AttributeProto.UNDEFINED or attribute.ref_attr_name:
        refuse(node_name(node), f"attribute {attribute.name} has no value")
    value = onnx.helper.get_attribute_value(attribute)
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _needed(graph):
    """Names of the tensors that the outputs depend on."""
    producers = {key: node for node in graph.node for key in node.output}
    needed, todo = set(), [value.name for value in graph.output]
    while todo:
        key = todo.pop()
        if key in needed:
            continue
        needed.add(key)
        if key in producers:
            todo.extend(_reads(producers[key]))
    return needed


def _reads(node):
    """Names that a node reads, those of its subgraphs included."""
    names = [key for key in node.input if key]
    for attribute in node.attribute:
        for inner in attribute.g.node:
            names.extend(_reads(inner))
        names.extend(value.name for value in attribute.g.output)
    return names
