"""A trained float network, as the exporters see it: a chain of recurrent and dense layers.

`from_torch` and `from_onnx` make a `Network`, `quantize` packs one. Rows of matrices and biases stand in the
order of the model file (FORMAT.md, section 5): gru r, z, n; lstm i, f, g, o.
"""

import dataclasses

import numpy as np

from edge_runtime.format import GATES


def printable(text):
    """Return a text on one line: what cannot be printed is escaped, as in a Python string. Names in files may be anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class ImportRefusedError(ValueError):
    """A network that cannot be represented; the message, of one line, names file, node or module, and the reason."""

    def __init__(self, message):
        super().__init__(printable(str(message)))


@dataclasses.dataclass(frozen=True, eq=False)
class Recurrent:
    """A recurrent layer.

    Parameters
    ----------
    kind : str
        "rnn", "gru" or "lstm".
    w_x : float64 [shape=(gates * units, inputs)]
    w_h : float64 [shape=(gates * units, units)]
    b_x, b_h : float64 [shape=(gates * units,)]
        Both are needed: in a gru without `reset_before` the reset gate scales b_h of n, not b_x.
    activation : str
        "tanh" or "relu" of rnn, else "none".
    reset_before : bool
        gru: r is applied to h before the product with W_h (ONNX: linear_before_reset = 0).
    initial_state : float64 [shape=(units,)] (lstm: 2 * units, h then c) or None
    name : str
        Node or module, for messages and reports.
    """

    kind: str
    w_x: np.ndarray
    w_h: np.ndarray
    b_x: np.ndarray
    b_h: np.ndarray
    activation: str = "none"
    reset_before: bool = False
    initial_state: np.ndarray | None = None
    name: str = ""

    def __post_init__(self):
        units = np.shape(self.w_h)[-1]
        rows = GATES[self.kind] * units
        _set(self, "w_x", (rows, None))
        _set(self, "w_h", (rows, units))
        _set(self, "b_x", (rows,))
        _set(self, "b_h", (rows,))
        if self.initial_state is not None:
            _set(self, "initial_state", ((2 if self.kind == "lstm" else 1) * units,))

    @property
    def input_size(self):
        """int"""
        return self.w_x.shape[1]

    @property
    def output_size(self):
        """int : units."""
        return self.w_h.shape[1]


@dataclasses.dataclass(frozen=True, eq=False)
class Dense:
    """y = activation(w x + b).

    Parameters
    ----------
    w : float64 [shape=(outputs, inputs)]
    b : float64 [shape=(outputs,)]
    activation : str
        "none", "tanh", "relu" or "sigmoid".
    name : str
    """

    w: np.ndarray
    b: np.ndarray
    activation: str = "none"
    name: str = ""

    def __post_init__(self):
        _set(self, "w", (None, None))
        _set(self, "b", (self.w.shape[0],))

    @property
    def input_size(self):
        """int"""
        return self.w.shape[1]

    @property
    def output_size(self):
        """int"""
        return self.w.shape[0]


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A chain of layers.

    Parameters
    ----------
    layers : sequence of Recurrent and Dense
    softmax : bool
        A softmax followed the last layer. The packed model ends before it, at the logits.
    source : str
        Where it came from, for messages.
    """

    layers: tuple
    softmax: bool = False
    source: str = ""

    def __post_init__(self):
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers:
            raise ImportRefusedError(f"{self.source}: no layer found")
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.output_size != after.input_size:
                raise ImportRefusedError(
                    f"{self.source}: {after.name}: expected {before.output_size} inputs, as {before.name} "
                    f"has outputs, found {after.input_size}"
                )

    @property
    def input_size(self):
        """int"""
        return self.layers[0].input_size

    @property
    def output_size(self):
        """int"""
        return self.layers[-1].output_size

    def run(self, x, record=None):
        """Run a sequence from the initial state, in float64.

        Parameters
        ----------
        x : float array [shape=(steps, input_size)]
        record : list, optional
            Receives a dict per layer: `x`, its inputs, and of a recurrent layer `h`, the vectors that W_h
            is applied to, each [shape=(steps, size)].

        Returns
        -------
        float64 [shape=(steps, output_size)]
            Without the softmax.
        """
        x = np.asarray(x, np.float64)
        for layer in self.layers:
            seen = {"x": x}
            x = _run_dense(layer, x) if isinstance(layer, Dense) else _run_recurrent(layer, x, seen)
            if record is not None:
                record.append(seen)
        return x


def sigmoid(x):
    """1 / (1 + exp(-x)) without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * x)


ACTIVATE = {
    "none": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
}


def same_network(a, b):
    """Whether two networks are equal in every weight; names may differ."""
    return (
        a.softmax == b.softmax
        and len(a.layers) == len(b.layers)
        and all(map(_same_layer, a.layers, b.layers))
    )


def _same_layer(a, b):
    return type(a) is type(b) and all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name))
        for field in dataclasses.fields(a)
        if field.name != "name"
    )


def _run_dense(layer, x):
    return ACTIVATE[layer.activation](x @ layer.w.T + layer.b)


def _run_recurrent(layer, x, seen):
    units = layer.output_size
    state = np.zeros(2 * units)
    if layer.initial_state is not None:
        state[: len(layer.initial_state)] = layer.initial_state
    h, c = state[:units], state[units:]
    p_x = x @ layer.w_x.T + layer.b_x
    outputs = np.empty((len(x), units))
    seen["h"] = np.empty((len(x), units))
    for t, a in enumerate(p_x):
        seen["h"][t] = h
        if layer.kind == "gru" and layer.reset_before:
            gates = sigmoid(a[: 2 * units] + layer.w_h[: 2 * units] @ h + layer.b_h[: 2 * units])
            n = np.tanh(
                a[2 * units :] + layer.w_h[2 * units :] @ (gates[:units] * h) + layer.b_h[2 * units :]
            )
            h = gates[units:] * h + (1 - gates[units:]) * n
        else:
            b = layer.w_h @ h + layer.b_h
            if layer.kind == "gru":
                gates = sigmoid(a[: 2 * units] + b[: 2 * units])
                n = np.tanh(a[2 * units :] + gates[:units] * b[2 * units :])
                h = gates[units:] * h + (1 - gates[units:]) * n
            elif layer.kind == "lstm":
                i, f, g, o = np.split(a + b, 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            else:
                h = ACTIVATE[layer.activation](a + b)
        outputs[t] = h
    return outputs


def _set(owner, field, shape):
    """Check an array's shape and values and make it float64."""
    value = np.asarray(getattr(owner, field))
    where = f"{owner.name or owner.__class__.__name__}: {field}"
    if len(value.shape) != len(shape) or any(
        w not in (None, n) for w, n in zip(shape, value.shape, strict=True)
    ):
        expected = tuple("any" if n is None else n for n in shape)
        raise ImportRefusedError(f"{where}: expected shape {expected}, found {value.shape}")
    if 0 in value.shape:
        raise ImportRefusedError(f"{where}: a dimension of size 0: {value.shape}")
    value = value.astype(np.float64)
    if not np.isfinite(value).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
        raise ImportRefusedError(f"{where}: not a finite number at {index}: {value[index]}")
    object.__setattr__(owner, field, value)
