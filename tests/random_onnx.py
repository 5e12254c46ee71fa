"""Random recurrent ONNX graphs, sound ones and ones with a flaw that an importer may overlook."""

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

OPSETS = (7, 9, 10, 11, 12, 13, 14, 17, 20, 22)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FLAWS = (
    "peepholes",
    "clip",
    "activation",
    "reverse",
    "bidirectional",
    "lengths",
    "reversed time",
    "scrambled time",
    "residual",
    "gate",
    "unused weight",
    "permuted features",
    "dropped features",
    "two heads",
    "first step",
    "first steps",
    "nan",
    "operator",
    "inner output",
    "state not handed on",
    "swapped states",
)


class RandomGraph:
    """A graph of one to three recurrent layers with random glue, constants and dense layers around them.

    Parameters
    ----------
    seed : int
    flaw : str or None
        One of `FLAWS`; some have no effect in some graphs.

    Attributes
    ----------
    model : onnx.ModelProto
    state_shapes : dict of str to shape
        State inputs, and their shape with a batch of 2; outputs `next_...` hold the next value.
    batch_first : bool
        Of input x; the output is arranged like it, or is that of the last step.
    """

    def __init__(self, seed, flaw=None):
        self.rng = np.random.default_rng(seed)
        self.flaw = flaw
        self.opset = int(self.rng.choice(OPSETS))
        self.nodes, self.weights = [], []
        self.ends = []  # of carried states: what they are after the last step
        self.extra = []
        self.batch_first = bool(self.rng.integers(2))
        self.size = self.inputs = int(self.rng.integers(1, 6))
        self.units = int(self.rng.integers(2, 6))
        self.carried = self.opset >= 8 and (self.chance(0.3) or "state" in str(flaw))
        self.packed, self.picked = self.chance(0.5), False
        self.output = self._build()
        self.model = self._model()

    def chance(self, p):
        return self.rng.random() < p

    def array(self, *shape):
        return self.rng.uniform(-0.6, 0.6, shape).astype(np.float32)

    def weight(self, value, name="w"):
        name = f"{name}{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op, inputs, outputs=1, **attributes):
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op}_{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def squeeze(self, x, axis, op="Squeeze"):
        if self.opset < 13:
            return self.node(op, [x], axes=[axis])
        return self.node(op, [x, self.weight(np.array([axis]), "axes")])

    def slice(self, x, axis, start, end, step=1):
        if self.opset < 10:
            return self.node("Slice", [x], axes=[axis], starts=[start], ends=[end])
        index = [self.weight(np.array([v]), "index") for v in (start, end, axis, step)]
        return self.node("Slice", [x, *index])

    def reshape(self, x, *shape):
        return self.node("Reshape", [x, self.weight(np.array(shape), "shape")])

    def transpose(self, x, *perm):
        return self.node("Transpose", [x], perm=perm)

    def _build(self):
        x = "x"
        if self.chance(0.2):
            x = self._affine(x)
        if self.chance(0.3):
            x = self._dense(x, int(self.rng.integers(1, 6)))
        x = self.transpose(x, 1, 0, 2) if self.batch_first else x
        layers = int(self.rng.integers(1, 4))
        if self.flaw == "reversed time" and self.opset >= 10:
            x = self.slice(x, 0, -1, np.iinfo(np.int64).min, -1)
        if self.flaw == "first steps":
            x = self.slice(x, 0, 0, 5)
        if self.flaw == "scrambled time":
            shape = self.node("Gather", [self.node("Shape", [x]), self.weight(np.array([1, 0, 2]))], axis=0)
            x = self.transpose(self.node("Reshape", [x, shape]), 1, 0, 2)
        for layer in range(layers):
            inner = x
            x = self._recurrent(x, last=layer == layers - 1)
            if self.flaw == "residual" and self.chance(0.7):
                x = self.node("Add", [x, x if self.size != self.units or self.chance(0.5) else inner])
            if self.flaw == "gate":
                x = self.node("Mul", [x, self.node("Sigmoid", [x])])
            if self.flaw in ("permuted features", "dropped features") and self.chance(0.6):
                x = self._pick(x)
            if self.flaw == "inner output" and layer == 0:
                self.extra.append(x)
            if self.chance(0.2):
                x = self._batch_normalization(x)
        return self._head(x)

    def _head(self, x):
        """Dense layers and the output, from [time, batch, feature]."""
        last = self.last = self.chance(0.2) or self.flaw == "first step"
        if last:
            index = 0 if self.flaw == "first step" else -1
            x = self.squeeze(self.slice(x, 0, index, index + 1 or np.iinfo(np.int32).max), 0)
        elif self.batch_first:
            x = self.transpose(x, 1, 0, 2)
        if self.flaw == "two heads":
            size = self.size
            self.extra.append(self._dense(x, 2, rank=2 if last else 3))
            self.size = size
        for _ in range(int(self.rng.integers(0, 3)) + (self.flaw == "two heads")):
            x = self._dense(x, int(self.rng.integers(1, 6)), rank=2 if last else 3)
        if self.chance(0.2):
            x = self._affine(x)
        if self.flaw == "operator":
            x = self.node(str(self.rng.choice(["LeakyRelu", "Elu", "Softplus", "Abs"])), [x])
        if self.flaw in ("permuted features", "dropped features") and not self.picked:
            x = self._pick(x)
        if self.flaw == "unused weight":
            self.weight(self.array(3, 3))
        self.softmax = self.chance(0.2)
        if self.softmax:
            x = self.node("Softmax", [x], axis=1 if last else 2)
        return x

    def _pick(self, x):
        keep = self.size if self.flaw == "permuted features" else max(1, self.size - 1)
        self.picked = True
        indices = self.rng.permutation(self.size)[:keep]
        self.size = keep
        return self.node("Gather", [x, self.weight(indices, "indices")], axis=-1 if self.opset >= 11 else 2)

    def _recurrent(self, x, last):
        op = str(self.rng.choice(list(GATES)))
        units = self.units if self.carried else int(self.rng.integers(1, 6))
        directions = 2 if self.flaw == "bidirectional" else 1
        rows = GATES[op] * units
        w, r = self.array(directions, rows, self.size), self.array(directions, rows, units)
        if self.flaw == "nan":
            r[0, 0, 0] = np.nan
        inputs = [x, self.weight(w, "W"), self.weight(r, "R"), ""]
        if self.chance(0.8):
            inputs[3] = self.weight(self.array(directions, 2 * rows), "B")
        flawed = last or self.chance(0.3)
        states = self._states(x, op, units, directions)
        lengths = self.weight(np.array([4, 9], np.int32)) if self.flaw == "lengths" and flawed else ""
        inputs += [lengths, *states]
        if self.flaw == "peepholes" and op == "LSTM":
            inputs += [""] * (7 - len(inputs)) + [self.weight(self.array(1, 3 * units), "P")]
        while not inputs[-1]:
            inputs.pop()
        attributes = {"hidden_size": units}
        if op == "GRU":
            attributes["linear_before_reset"] = int(self.rng.integers(2))
        if op == "RNN" and self.chance(0.4):
            attributes["activations"] = ["Relu"]
        if flawed and self.flaw == "clip":
            attributes["clip"] = 0.1
        if flawed and self.flaw in ("reverse", "bidirectional"):
            attributes["direction"] = self.flaw
        if flawed and self.flaw == "activation":
            names = ["Tanh", "Sigmoid", "Relu", "HardSigmoid"]
            attributes["activations"] = [
                str(self.rng.choice(names)) for _ in range({"RNN": 1, "GRU": 2, "LSTM": 3}[op])
            ]
        if self.flaw == "bidirectional":
            attributes["direction"] = "bidirectional"
        outputs = self.node(op, inputs, 3 if op == "LSTM" else 2, **attributes)
        self._carry(outputs[1:])
        self.size = units * directions
        if directions == 2 or self.chance(0.4):
            return self.reshape(self.transpose(outputs[0], 0, 2, 1, 3), 0, 0, self.size)
        return self.squeeze(outputs[0], 1)

    def _states(self, x, op, units, directions):
        """Names of initial states; "" for none."""
        count = 2 if op == "LSTM" else 1
        if self.carried:
            first = len(self.ends)
            self.ends += [None] * count
            if self.packed:
                return [self.slice("packed", 0, i, i + 1) for i in range(first, first + count)]
            return [f"state{i}" for i in range(first, first + count)]
        if self.opset < 8 or self.chance(0.5):
            return [""] * count
        batch = self.slice(self.node("Shape", [x]), 0, 1, 2)
        one, size = self.weight(np.array([directions])), self.weight(np.array([units]))
        shape = self.node("Concat", [one, batch, size], axis=0)
        value = self.array(directions, 1, units) * np.float32(self.rng.integers(2))
        return [self.node("Expand", [self.weight(value, "h"), shape]) for _ in range(count)]

    def _carry(self, ends):
        if self.carried:
            self.ends[-len(ends) :] = ends[::-1] if self.flaw == "swapped states" else ends

    def _affine(self, x):
        op = str(self.rng.choice(["Mul", "Add", "Sub", "Div"]))
        constant = self.weight(np.float32(0.5) + np.abs(self.array(self.size if self.chance(0.7) else 1)))
        return self.node(
            op, [constant, x] if op in ("Mul", "Add", "Sub") and self.chance(0.4) else [x, constant]
        )

    def _dense(self, x, size, rank=3):
        w, before, self.size = self.array(self.size, size), self.size, size
        if rank == 2 and self.chance(0.5):
            x = self.node(
                "Gemm", [x, self.weight(w.T, "w"), self.weight(self.array(size), "b")], transB=1, alpha=0.5
            )
        elif rank == 3 and self.opset >= 8 and self.chance(0.3):
            shape = self.slice(self.node("Shape", [x]), 0, 0, 2)
            flat = self.node(
                "Gemm", [self.reshape(x, -1, before), self.weight(w, "w"), self.weight(self.array(size), "b")]
            )
            x = self.node(
                "Reshape", [flat, self.node("Concat", [shape, self.weight(np.array([size]))], axis=0)]
            )
        else:
            x = self.node("MatMul", [x, self.weight(w, "w")])
            if self.chance(0.8):
                x = self.node("Add", [x, self.weight(self.array(size), "b")])
        activation = str(self.rng.choice(["", "Relu", "Tanh", "Sigmoid"]))
        if activation:
            x = self.node(activation, [x])
        if self.opset >= 12 and self.chance(0.2):
            x = self.node("Dropout", [x])
        return x

    def _batch_normalization(self, x):
        parts = [
            self.weight(v, "bn")
            for v in (self.array(self.size), self.array(self.size), self.array(self.size))
        ]
        parts.append(self.weight(np.abs(self.array(self.size)) + np.float32(0.5), "bn"))
        x = self.node("BatchNormalization", [self.transpose(x, 1, 2, 0), *parts], epsilon=1e-3)
        return self.transpose(x, 2, 0, 1)

    def _model(self):
        axes = ["batch", "time"] if self.batch_first else ["time", "batch"]
        if self.carried and self.chance(0.5):
            axes[axes.index("time")] = 1
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [*axes, self.inputs])]
        outputs = {"y": self.output, **{f"extra{i}": name for i, name in enumerate(self.extra)}}
        self.state_shapes = {}
        if self.carried:
            if self.flaw == "state not handed on":
                self.ends[-1] = self.ends[0]
            if self.packed:
                self.state_shapes["packed"] = (len(self.ends), 2, self.units)
                outputs["next_packed"] = self.node("Concat", self.ends, axis=0)
            else:
                names = [f"state{i}" for i in range(len(self.ends))]
                self.state_shapes.update(dict.fromkeys(names, (1, 2, self.units)))
                outputs.update({f"next_{name}": end for name, end in zip(names, self.ends, strict=True)})
        for name, (count, _, units) in self.state_shapes.items():
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [count, "batch", units]))
        nodes = self.nodes + [
            helper.make_node("Identity", [b], [a], name=f"out_{a}") for a, b in outputs.items()
        ]
        ranks = {"y": 2 if self.last else 3, "extra0": 2 if self.flaw == "two heads" and self.last else 3}
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * ranks.get(name, 3))
            for name in outputs
        ]
        graph = helper.make_graph(nodes, "random", inputs, values, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def rewired(model, rng):
    """A copy with another tensor of the same shape at one input of one node, or None where there is none."""
    copy = ModelProto()
    copy.CopyFrom(model)
    inferred = shape_inference.infer_shapes(model).graph
    values = {t.name: tuple(t.dims) for t in model.graph.initializer}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        values[value.name] = tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
    node = copy.graph.node[rng.integers(len(copy.graph.node))]
    position = int(rng.integers(len(node.input)))
    old = node.input[position]
    others = [name for name, shape in values.items() if shape == values.get(old) and name != old]
    if not others:
        return None
    node.input[position] = str(rng.choice(others))
    return copy
