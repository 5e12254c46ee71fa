# SPDX-License-Identifier: MIT
"""The networks of the bench, and their files.

Two networks stand for each workload: a float one for the peers, and one for this runtime. Unless they are given,
both are random, of the same shape and unrelated, so their outputs are too: speed does not depend on the values. Each
is compared with a reference of its own: ``ref.bin`` is the float network in float64, ``logits.bin`` the
other one by `edge_runtime.reference`.

Gate order is PyTorch's: gru r, z, n with the reset after the product; lstm i, f, g, o.
"""

import dataclasses
import json
import pathlib

import numpy as np

from edge_runtime import reference
from edge_runtime.format import GATES, Layer, Matrix, ModelFile
from exporters.graph import Dense, Network, Recurrent

#: Frames of the input and of a whole-sequence call.
FRAMES = 100
#: Streams of one model stepped in turn.
STREAMS = 8
SEED = 7
_INPUT_SEED = 11
_CLAMP = 12
_STATE_SHIFT = 11  # 3/4 of 2^15, shifted by 11, is 12


@dataclasses.dataclass(frozen=True)
class Workload:
    """A network's shape.

    Parameters
    ----------
    name : str
    layers : tuple of (str, int, int)
        Kind ("gru" or "lstm"; with a `network` also "rnn" and "dense"), input size and units of each layer.
    outputs : int
        Units of a dense layer at the end, beside `layers`; 0: there is none.
    model : edge_runtime.format.ModelFile or None
        The network of this runtime; None: a random ternary one.
    network : exporters.graph.Network or None
        The float network of the peers; None: a random one.
    inputs : float32 [shape=(FRAMES, input_size)] or None
        None: random ones.
    """

    name: str
    layers: tuple
    outputs: int = 0
    model: ModelFile | None = None
    network: Network | None = None
    inputs: np.ndarray | None = None

    @property
    def input_size(self):
        """int : inputs per step."""
        return self.layers[0][1]

    @property
    def output_size(self):
        """int : outputs per step."""
        return self.outputs or self.layers[-1][2]

    @property
    def states(self):
        """list of (str, int) : name and size of each state: h0, c0 (lstm only), h1 ..."""
        states = []
        recurrent = [(kind, units) for kind, _, units in self.layers if kind != "dense"]
        for index, (kind, units) in enumerate(recurrent):
            states.append((f"h{index}", units))
            if kind == "lstm":
                states.append((f"c{index}", units))
        return states

    @property
    def has_lstm(self):
        """bool : whether a layer is an lstm."""
        return any(kind == "lstm" for kind, _, _ in self.layers)

    @property
    def macs(self):
        """int : weights of the matrices, which is multiply-adds per step of a float network."""
        macs = sum(
            GATES[kind] * units * (inputs + (0 if kind == "dense" else units))
            for kind, inputs, units in self.layers
        )
        return macs + self.outputs * self.layers[-1][2]

    @property
    def description(self):
        """str : such as "GRU 39-200, dense 11"."""
        parts = [
            f"dense {units}" if kind == "dense" else f"{kind.upper()} {inputs}-{units}"
            for kind, inputs, units in self.layers
        ]
        return ", ".join(parts + ([f"dense {self.outputs}"] if self.outputs else []))


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W1", (("gru", 39, 200),), 11),
        Workload("W2", (("gru", 40, 256), ("gru", 256, 256)), 12),
        Workload("W3", (("lstm", 50, 512),), 50),
        Workload("W4L", (("lstm", 50, 1024),)),
        Workload("W4G", (("gru", 1024, 1024),)),
    )
}


def workload_of_model(name, file):
    """The workload of a model file, or None if the peers' generators know no such network.

    Parameters
    ----------
    name : str
    file : edge_runtime.format.ModelFile

    Returns
    -------
    Workload or None
    """
    layers = list(file.layers)
    outputs = 0
    if layers[-1].kind == "dense" and layers[-1].activation == "none":
        outputs = layers.pop().output_size
    if not layers or any(layer.kind not in ("gru", "lstm") or layer.reset_before for layer in layers):
        return None
    return Workload(name, tuple((v.kind, v.input_size, v.output_size) for v in layers), outputs, file)


def workload_of_pair(name, file, network, inputs):
    """The workload of a model file and a float network with the same inputs and outputs.

    Parameters
    ----------
    name : str
    file : edge_runtime.format.ModelFile
    network : exporters.graph.Network
        A softmax at its end is left out.
    inputs : float array [shape=(steps, input_size)]
        Repeated or cut to FRAMES.

    Returns
    -------
    Workload
    """
    layers = tuple(
        ("dense" if isinstance(v, Dense) else v.kind, v.input_size, v.output_size) for v in network.layers
    )
    x = np.resize(np.asarray(inputs, np.float32), (FRAMES, network.input_size))
    return Workload(name, layers, 0, file, network, x)


# ---------------------------------------------------------------------------------------- float network


def float_weights(workload):
    """Random weights of the float network.

    Returns
    -------
    dict of str to float32
        ``wih0 [shape=(gates * units, inputs)]``, ``whh0``, ``bih0``, ``bhh0``, ``wih1`` ..., and
        with a dense layer ``wd [shape=(outputs, units)]``, ``bd``.
    """
    rng = np.random.default_rng(SEED)
    weights = {}
    units = 0
    for index, (kind, inputs, units) in enumerate(workload.layers):
        bound = 1 / np.sqrt(units)
        rows = GATES[kind] * units
        for name, shape in (
            ("wih", (rows, inputs)),
            ("whh", (rows, units)),
            ("bih", (rows,)),
            ("bhh", (rows,)),
        ):
            weights[f"{name}{index}"] = rng.uniform(-bound, bound, shape).astype(np.float32)
    if workload.outputs:
        bound = 1 / np.sqrt(units)
        weights["wd"] = rng.uniform(-bound, bound, (workload.outputs, units)).astype(np.float32)
        weights["bd"] = rng.uniform(-bound, bound, workload.outputs).astype(np.float32)
    return weights


def float_network(workload, weights):
    """The float network: the workload's own, or that of `float_weights`.

    Returns
    -------
    exporters.graph.Network
    """
    if workload.network is not None:
        return workload.network
    layers = [
        Recurrent(kind, *(weights[f"{name}{index}"] for name in ("wih", "whh", "bih", "bhh")))
        for index, (kind, _, _) in enumerate(workload.layers)
    ]
    if workload.outputs:
        layers.append(Dense(weights["wd"], weights["bd"]))
    return Network(layers, source=workload.name)


def frames(workload):
    """Input, the workload's own or random: float32 [shape=(FRAMES, input_size)]."""
    if workload.inputs is not None:
        return workload.inputs
    rng = np.random.default_rng(_INPUT_SEED)
    return rng.standard_normal((FRAMES, workload.input_size)).astype(np.float32)


# ---------------------------------------------------------------------------------------- ternary network


def _matrix(rng, rows, columns, of_state):
    """A random ternary matrix, a third zeros, whose outputs have a deviation near 1/2."""
    # The operands have a deviation of 4 (input) or about 5 (state); unit of the output 2^-11.
    typical = 4.5 * np.sqrt(2 / 3 * columns)
    left_shift = int(np.clip(np.round(np.log2(1024 / typical)), 0, 15))
    second = rng.integers(1, 8, (1, rows), np.uint8)
    scales = np.stack([np.full((1, rows), 0x80, np.uint8), (0x80 | second).astype(np.uint8)], axis=-1)
    scales[..., 1] |= rng.integers(0, 2, (1, rows), np.uint8) << 6
    return Matrix(
        encoding="ternary",
        weights=rng.integers(-1, 2, (1, rows, columns), np.int8),
        scales=scales,
        bias=rng.integers(-500, 501, rows).astype(np.int16),
        clamp=_CLAMP,
        operand_shift=_STATE_SHIFT if of_state else 0,
        three_quarters=of_state,
        left_shift=left_shift,
    )


def ternary_model(workload):
    """The model of this runtime: the workload's own, or a random ternary one.

    Every row has a scale of two terms and a bias; operands are clamped to 12; a layer that reads
    another layer's state adds the sums of both matrices before scaling (SHARED_SCALE), as
    trained models do.

    Returns
    -------
    edge_runtime.format.ModelFile
    """
    if workload.model is not None:
        return workload.model
    rng = np.random.default_rng(SEED)
    layers = []
    units = 0
    for index, (kind, inputs, units) in enumerate(workload.layers):
        rows = GATES[kind] * units
        w_x = _matrix(rng, rows, inputs, of_state=index > 0)
        w_h = _matrix(rng, rows, units, of_state=True)
        shared = index > 0
        if shared:
            w_h = dataclasses.replace(w_h, scales=w_x.scales, left_shift=w_x.left_shift)
        layers.append(Layer(kind, "none", inputs, units, (w_x, w_h), shared_scale=shared))
    if workload.outputs:
        dense = _matrix(rng, workload.outputs, units, of_state=True)
        layers.append(Layer("dense", "none", units, workload.outputs, (dense,)))
    return ModelFile(
        input_scale=np.full(workload.input_size, 4, np.float32),
        input_offset=np.zeros(workload.input_size, np.float32),
        layers=tuple(layers),
        metadata={"name": f"bench {workload.name}", "weights": f"random, seed {SEED}"},
    )


def _initial_states(network):
    """Initial states in the order of `Workload.states`, one after the other: float32 [shape=(n,)]."""
    parts = [np.zeros(0, np.float32)]
    for layer in network.layers:
        if isinstance(layer, Recurrent):
            size = layer.output_size * (2 if layer.kind == "lstm" else 1)
            state = layer.initial_state
            parts.append(np.zeros(size, np.float32) if state is None else state.astype(np.float32))
    return np.concatenate(parts)


def write_files(workload, folder):
    """Write what every worker reads.

    ``workload.json`` (names and sizes), ``model.ernn``, ``input.bin`` (float32 [shape=(100, inputs)]),
    ``logits.bin`` (the exact outputs of the model, float32 [shape=(100, outputs)]); of the float
    network ``ref.bin`` (likewise), ``states.bin`` (initial states, float32) and ``weights.bin`` (float32, layer by
    layer, in the order of `float_weights`).

    Parameters
    ----------
    workload : Workload
    folder : path
        Created.

    Returns
    -------
    dict or None
        Weights of a random float network; None of a given one.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    x = frames(workload)
    weights = None if workload.network is not None else float_weights(workload)
    network = float_network(workload, weights)
    file = ternary_model(workload)
    shape = {"name": workload.name, "layers": workload.layers, "states": workload.states}
    (folder / "workload.json").write_text(json.dumps(shape) + "\n", encoding="ascii")
    file.save(folder / "model.ernn")
    x.tofile(folder / "input.bin")
    reference.ReferenceStream(file).run(x).astype(np.float32).tofile(folder / "logits.bin")
    network.run(x).astype(np.float32).tofile(folder / "ref.bin")
    _initial_states(network).tofile(folder / "states.bin")
    with open(folder / "weights.bin", "wb") as out:
        for layer in network.layers:
            dense = isinstance(layer, Dense)
            for value in (layer.w, layer.b) if dense else (layer.w_x, layer.w_h, layer.b_x, layer.b_h):
                out.write(value.astype(np.float32).tobytes())
    return weights
