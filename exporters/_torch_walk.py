"""Follow the graph of an exported PyTorch program; see `_provenance`."""

import numpy as np
import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from exporters._provenance import Tracer
from exporters._stages import Signal, refuse
from exporters._torch_ops import COUNTING, HANDLERS, IGNORED, LAYERS, MOVING, node_name, operator_name
from exporters.graph import ImportRefusedError

MAX_ELEMENTS = 2**26  # of a constant
_WEIGHTS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
# Sizes of the axes that a program leaves open, unlike each other so that no mix-up goes unseen.
_SIZES = (3, 11, 5, 7, 13)


def walk_program(program, source):
    """Make a Network of an exported program without operations in place.

    Parameters
    ----------
    program : torch.export.ExportedProgram
    source : str

    Returns
    -------
    Network
    """
    return Walk(program).network(source)


class Walk:
    """One pass over a graph; values are tensors and numbers, where constant, and signals."""

    def __init__(self, program):
        self.program = program
        self.tracer = Tracer()
        self._values = {}
        self._origins = {}  # node of a constant: the weights that it was made from
        self._used = set()
        self._open_axes = {}  # name of an axis: its size

    def network(self, source):
        """Walk from inputs to outputs; returns a Network."""
        graph = self.program.graph
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        weights = []
        for node in graph.nodes:
            if node.op == "placeholder":
                self._bind(node, specs[node.name], weights)
            elif node.op == "call_function":
                self._values[node] = self._apply(node)
            elif node.op != "output":
                refuse(node.name, f"{node.op} {node.target} is not supported")
        outputs = self._outputs(graph)
        unused = [name for name in weights if name not in self._used]
        if unused:
            refuse(unused[0], "a weight that is not used")
        return self.tracer.network(outputs, source)

    def constant(self, node, value):
        """A constant argument as an array, marked as used; numbers and None as they are."""
        if isinstance(value, torch.fx.Node):
            self._used.update(self._origins.get(value, ()))
            value = self._values[value]
        if isinstance(value, Signal):
            refuse(node_name(node), "an argument is computed that should be constant")
        return value.detach().double().numpy() if isinstance(value, torch.Tensor) else value

    def value(self, node, value):
        """An argument as signal, array or number."""
        found = self._values[value] if isinstance(value, torch.fx.Node) else value
        return found if isinstance(found, Signal) else self.constant(node, value)

    def signal(self, node, value):
        """An argument that must be a signal."""
        found = self._values[value] if isinstance(value, torch.fx.Node) else value
        if not isinstance(found, Signal):
            refuse(node_name(node), "a layer of a constant input")
        return found

    def held(self, node, value):
        """An argument as a signal, even if it is constant, as a state before the first step."""
        found = self.value(node, value)
        return found if isinstance(found, Signal) else self.tracer.hold(node_name(node), found)

    def _bind(self, node, spec, weights):
        if spec.kind in _WEIGHTS:
            store = self.program.state_dict
            tensor = store[spec.target] if spec.target in store else self.program.constants[spec.target]
            self._values[node] = tensor
            self._origins[node] = {spec.target}
            if tensor.is_floating_point():
                weights.append(spec.target)
        elif spec.kind is InputKind.USER_INPUT and isinstance(node.meta.get("val"), torch.Tensor):
            self._values[node] = self.tracer.input(node.name, self._shape(node))
        elif node.users:
            refuse(node.name, "an input that is no tensor")

    def _shape(self, node):
        """The shape of an input, with a size of our own for each open axis."""
        shape = []
        for n in node.meta["val"].shape:
            if not isinstance(n, int):
                key = str(n)
                if key not in self._open_axes:
                    bounds = next(
                        (v for k, v in self.program.range_constraints.items() if str(k) == key), None
                    )
                    free = (s for s in _SIZES if s not in self._open_axes.values())
                    sizes = (s for s in free if bounds is None or bounds.lower <= s <= bounds.upper)
                    self._open_axes[key] = next(sizes, None)
                n = self._open_axes[key]
                if n is None:
                    refuse(node.name, f"no size for its axis {key}")
            shape.append(n)
        return tuple(shape)

    def _apply(self, node):
        arguments = list(pytree.tree_leaves((node.args, node.kwargs)))
        inputs = [a for a in arguments if isinstance(a, torch.fx.Node)]
        found = pytree.tree_leaves([self._values[a] for a in inputs])
        name = operator_name(node)
        try:
            if name in IGNORED:
                return None
            if name == "getitem" or not (name in LAYERS or any(isinstance(v, Signal) for v in found)):
                self._origins[node] = set().union(*(self._origins.get(a, ()) for a in inputs))
                return self._fold(node)
            if name in MOVING or name in COUNTING:
                return self._move(node)
            if name in HANDLERS:
                return HANDLERS[name](self, node, *node.args, **node.kwargs)
        except ImportRefusedError:
            raise
        except (ValueError, IndexError, TypeError, KeyError, RuntimeError) as error:
            refuse(node_name(node), str(error).splitlines()[0] if str(error) else type(error).__name__)
        refuse(node_name(node), f"operator {name} is not supported")

    def _fold(self, node):
        """Compute a constant, or take an element of a tuple."""
        shown = pytree.tree_leaves(node.meta.get("val"))
        for value in shown:
            if isinstance(value, torch.Tensor) and all(isinstance(n, int) for n in value.shape):
                if value.numel() > MAX_ELEMENTS:
                    refuse(node_name(node), f"a constant of shape {tuple(value.shape)}")
        if isinstance(node.target, torch._ops.OpOverload):
            if node.target.namespace != "aten" or torch.Tag.nondeterministic_seeded in node.target.tags:
                refuse(node_name(node), f"operator {node.target} on constants is not supported")
        elif getattr(node.target, "__module__", "") not in ("_operator", "math"):
            refuse(node_name(node), f"operator {node.target} is not supported")
        with torch.no_grad():
            return node.target(*self._resolve(node.args), **self._resolve(node.kwargs))

    def _move(self, node):
        """Glue: what it does to the ids is what it does to the values."""
        args, kwargs = self._resolve(node.args), self._resolve(node.kwargs)
        moved = args[0] if isinstance(args[0], (list, tuple)) else [args[0]]
        rest = pytree.tree_leaves((args[1:], kwargs))
        if not all(isinstance(v, Signal) for v in moved) or any(isinstance(v, Signal) for v in rest):
            refuse(node_name(node), f"{operator_name(node)} mixes computed and constant tensors")
        for argument in pytree.tree_leaves((node.args[1:], node.kwargs)):
            self.constant(node, argument)
        ids = pytree.tree_map(
            lambda v: torch.from_numpy(np.ascontiguousarray(v.ids)) if isinstance(v, Signal) else v,
            (args, kwargs),
        )
        result = node.target(*ids[0], **ids[1])
        if operator_name(node) in COUNTING:
            return result
        return pytree.tree_map(lambda v: Signal(v.numpy()) if isinstance(v, torch.Tensor) else v, result)

    def _resolve(self, arguments):
        return pytree.tree_map(lambda a: self._values[a] if isinstance(a, torch.fx.Node) else a, arguments)

    def _outputs(self, graph):
        specs = self.program.graph_signature.output_specs
        [node] = graph.find_nodes(op="output")
        outputs = {}
        for spec, value in zip(specs, node.args[0], strict=True):
            found = self._values[value] if isinstance(value, torch.fx.Node) else value
            if spec.kind is not OutputKind.USER_OUTPUT:
                refuse(
                    spec.target or spec.arg.name,
                    "a buffer that changes with each call: give the state as output",
                )
            if found is None:
                continue
            if not isinstance(found, Signal):
                refuse(str(value), "an output that is constant")
            outputs[value.name] = found
        return outputs
