"""Follow a network through the glue of a graph, element by element.

A tensor that depends on the input is a `Signal`: an integer per element that says where the element comes
from, which feature of which step of what layer. Glue (transpose, reshape, slice, squeeze, concatenate)
moves these integers as it moves the values. Whatever arrangement arrives at a layer is then known exactly:
it is the sequence that a chain of layers hands on, or the layer is refused by name.
"""

import bisect
import dataclasses

import numpy as np

from exporters._chain import chain_layers
from exporters.graph import ImportRefusedError, Network, Recurrent

MAX_ELEMENTS = 2**24  # of one signal


def refuse(name, reason):
    """Raise ImportRefusedError for a node."""
    raise ImportRefusedError(f"{name}: {reason}")


@dataclasses.dataclass(frozen=True, eq=False)
class Signal:
    """A tensor that depends on an input.

    Parameters
    ----------
    ids : int64 array
        Element (row, column) of stage s is ``s.base + row * s.size + column``. Rows are the steps of all
        sequences of the batch, in the order of the input; columns are features.
    """

    ids: np.ndarray

    @property
    def shape(self):
        """tuple of int"""
        return self.ids.shape


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """What one operation on a sequence computes.

    Parameters
    ----------
    kind : str
        "input" (as the graph has it), "features" (the input with its features last), "dense", "affine",
        "activation", "softmax", "recurrent" or "cell" (c of an lstm).
    name : str
        Node or module.
    base, rows, size : int
    parent : Stage or None
    value : object
        input: its shape; features: the shape before the features; dense: w and b; affine: scale and
        offset; activation: its name; recurrent: `Recurrent`.
    """

    kind: str
    name: str
    base: int
    rows: int
    size: int
    parent: "Stage | None" = None
    value: object = None


class Tracer:
    """Stages of one walk through a graph; `network` makes a chain of layers of them.

    Each method is one operation: it takes `name`, the node or module that messages name, and signals.
    """

    def __init__(self):
        self._stages = []
        self._bases = []
        self._features = {}  # (input stage, axis): its features stage
        self._steps = {}  # recurrent stage: the rows of each step so far, a list of arrays [batch]
        self._cells = {}  # recurrent stage of an lstm: its cell stage
        self._fed = []  # (ids of state inputs, stage whose state they are), each [batch, units]

    def input(self, name, shape):
        """An input of the graph.

        Returns
        -------
        Signal [shape=shape]
        """
        if 0 in shape:
            refuse(name, f"a dimension of size 0: {tuple(shape)}")
        count = 1
        for n in shape:
            count *= n
        if count > MAX_ELEMENTS:
            refuse(name, f"{tuple(shape)} is fixed in the file: export with a dynamic time axis")
        stage = self._add("input", name, count, 1, value=tuple(shape))
        return Signal(stage.base + np.arange(count).reshape(shape))

    def dense(self, name, x, w, b=None):
        """x [shape=(..., inputs)] times w [shape=(outputs, inputs)], plus b [shape=(outputs,)]."""
        stage, rows = self._vectors(name, x)
        if w.ndim != 2 or w.shape[1] != stage.size:
            refuse(name, f"weights {w.shape} do not fit {stage.size} features of {stage.name}")
        value = (w, np.zeros(len(w)) if b is None else b)
        return self._emit(self._row_wise("dense", name, len(w), stage, value), rows)

    def affine(self, name, x, scale, offset):
        """x * scale + offset, where both broadcast against x and depend on the feature only."""
        shape = np.broadcast_shapes(x.shape, np.shape(scale), np.shape(offset))
        stage, row, column = self._elements(name, Signal(np.broadcast_to(x.ids, shape)))
        vectors = []
        for constant in (scale, offset):
            values = np.broadcast_to(np.asarray(constant, np.float64), shape)
            if not np.isfinite(values).all():
                refuse(name, f"a constant is not a finite number: {values[~np.isfinite(values)][0]}")
            vector = np.zeros(stage.size)
            vector[column] = values
            if (vector[column] != values).any():
                refuse(name, "a constant that differs from step to step")
            vectors.append(vector)
        new = self._row_wise("affine", name, stage.size, stage, tuple(vectors))
        return Signal(new.base + row * new.size + column)

    def activation(self, name, x, activation):
        """An activation ("relu", "tanh", "sigmoid") of each element."""
        stage, row, column = self._elements(name, x)
        new = self._row_wise("activation", name, stage.size, stage, activation)
        return Signal(new.base + row * new.size + column)

    def softmax(self, name, x, groups):
        """A softmax, or its logarithm, over each row of `groups`, positions in x [shape=(groups, members)]."""
        stage, row, column = self._elements(name, x)
        rows = row.ravel()[groups]
        if groups.shape[1] != stage.size or (rows != rows[:, :1]).any():
            refuse(name, f"a softmax that is not over the {stage.size} features of {stage.name}")
        new = self._row_wise("softmax", name, stage.size, stage)
        return Signal(new.base + row * new.size + column)

    def recurrent(
        self, name, kind, x, w_x, w_h, b_x, b_h, h=None, c=None, activation="none", reset_before=False
    ):
        """A recurrent layer.

        Parameters
        ----------
        x : Signal [shape=(steps, batch, inputs)]
        w_x, w_h, b_x, b_h, kind, activation, reset_before
            As in `Recurrent`.
        h, c : array or Signal [shape=(batch, units)], optional
            Initial state: constant, or from a state input.

        Returns
        -------
        y : Signal [shape=(steps, batch, units)]
        h : Signal [shape=(batch, units)]
        c : Signal [shape=(batch, units)] or None
        """
        parent, rows = self._vectors(name, x)
        if rows.ndim != 2:
            refuse(name, f"expected an input with axes time, batch and feature, found {x.shape}")
        if w_x.shape[-1] != parent.size:
            refuse(name, f"weights {w_x.shape} do not fit {parent.size} features of {parent.name}")
        layer = Recurrent(kind, w_x, w_h, b_x, b_h, activation, reset_before, None, name)
        states = {"h": h, "c": c} if kind == "lstm" else {"h": h}
        stage = self._continued(layer, parent, states) or self._begin(layer, parent, states, rows.shape[1])
        self._steps[stage].extend(rows)
        y = self._emit(stage, rows)
        c = self._emit(self._cells[stage], rows[-1]) if kind == "lstm" else None
        return y, Signal(y.ids[-1]), c

    def network(self, outputs, source):
        """Make the network of everything that was traced.

        Parameters
        ----------
        outputs : dict of str to Signal
            The graph's outputs: that of the last layer, at all steps or the last one, and states.
        source : str

        Returns
        -------
        Network
        """
        last = self._last_stage()
        steps = self._order(last)
        self._check_inputs(outputs, steps)
        self._check_outputs(outputs, last, steps)
        layers, softmax = chain_layers(_ancestors(last))
        return Network(layers, softmax, source)

    def _row_wise(self, kind, name, size, parent, value=None):
        """A stage that computes each row from the same row of its parent; equal ones are one stage."""
        for stage in self._stages:
            if stage.parent is parent and stage.kind == kind and _same_value(stage.value, value):
                return stage
        return self._add(kind, name, parent.rows, size, parent, value)

    def _add(self, kind, name, rows, size, parent=None, value=None):
        end = self._stages[-1].base + self._stages[-1].rows * self._stages[-1].size if self._stages else 0
        stage = Stage(kind, name, end, rows, size, parent, value)
        if rows * size > MAX_ELEMENTS:
            refuse(name, f"{rows} steps of {size} features: export with a dynamic time axis")
        self._stages.append(stage)
        self._bases.append(stage.base)
        return stage

    def _emit(self, stage, rows):
        """The signal of all columns of a stage at some rows."""
        return Signal(stage.base + rows[..., None] * stage.size + np.arange(stage.size))

    def _stage(self, name, ids):
        stage = (
            self._stages[bisect.bisect_right(self._bases, ids.flat[0]) - 1] if ids.size and ids.ndim else None
        )
        if stage is None or ids.min() < stage.base or ids.max() >= stage.base + stage.rows * stage.size:
            refuse(name, "its input is empty or mixes several tensors")
        return stage

    def _elements(self, name, x):
        """Stage, rows and columns of a signal that holds every feature, in any arrangement."""
        ids = x.ids
        stage = self._stage(name, ids)
        if stage.kind == "input":
            stage, ids = self._enter(name, stage, ids)
        row, column = np.divmod(ids - stage.base, stage.size)
        if np.bincount(column.ravel(), minlength=stage.size).min() == 0:
            refuse(name, f"takes only some of the {stage.size} features of {stage.name}")
        return stage, row, column

    def _vectors(self, name, x):
        """Stage and rows of a signal whose last axis is all features in order."""
        stage, row, column = self._elements(name, x)
        if (
            x.shape[-1] != stage.size
            or (column != np.arange(stage.size)).any()
            or (row != row[..., :1]).any()
        ):
            refuse(
                name, f"the last axis of its input is not the {stage.size} features of {stage.name} in order"
            )
        return stage, row[..., 0]

    def _enter(self, name, stage, ids):
        """Give an input its feature axis: the one that the last axis of its first use walks along."""
        shape = (*stage.value, 1)  # the last for an input of one feature without an axis for it
        strides = np.cumprod((1, *shape[:0:-1]))[::-1]
        along = [k for k, n in enumerate(shape) if n == ids.shape[-1] and _walks(ids, strides[k])]
        if not along:
            refuse(name, f"its last axis, of size {ids.shape[-1]}, is no axis of input {stage.name} {shape}")
        axis = along[-1]
        if (stage, axis) not in self._features:
            lead = shape[:axis] + shape[axis + 1 :]
            self._features[stage, axis] = self._add(
                "features", stage.name, stage.rows // shape[axis], shape[axis], stage, lead
            )
        features = self._features[stage, axis]
        table = np.moveaxis(np.arange(stage.rows).reshape((*features.value, shape[axis])), -1, axis).ravel()
        return features, features.base + table[ids - stage.base]

    def _continued(self, layer, parent, states):
        """The stage of the same layer, if a loop over steps gives it the state after its last step."""
        for stage, rows in self._steps.items():
            if stage.parent is parent and _same_value(stage.value, layer):
                now = {"h": stage, "c": self._cells.get(stage)}
                after = {key: self._emit(now[key], rows[-1]).ids for key in states}
                if all(
                    isinstance(state, Signal) and np.array_equal(state.ids, after[key])
                    for key, state in states.items()
                ):
                    return stage
        return None

    def _begin(self, layer, parent, states, batch):
        """A new stage for a recurrent layer, and what its state begins with."""
        name, units = layer.name, layer.output_size
        constant = self._initial_state(name, states, (batch, units))
        layer = dataclasses.replace(layer, initial_state=constant)
        stage = self._add("recurrent", name, parent.rows, units, parent, layer)
        self._steps[stage] = []
        self._feed(name, states["h"], stage)
        if layer.kind == "lstm":
            self._cells[stage] = self._add("cell", name, stage.rows, units, stage)
            self._feed(name, states["c"], self._cells[stage])
        return stage

    def _initial_state(self, name, initial, shape):
        """The constant part of an initial state: [shape=(units,)] (lstm: h then c), or None if all zero."""
        vectors = []
        for key, value in initial.items():
            if value is not None and value.shape != shape:
                refuse(name, f"initial {key}: expected (batch, units) = {shape}, found {value.shape}")
            if value is None or isinstance(value, Signal):
                vectors.append(np.zeros(shape[1]))
            elif (value != value[0]).any():
                refuse(name, f"initial {key} is not finite or differs between the sequences of a batch")
            else:
                vectors.append(value[0])
        vector = np.concatenate(vectors)
        return vector if vector.any() else None

    def _feed(self, name, state, stage):
        if isinstance(state, Signal):
            if self._stage(name, state.ids).kind != "input":
                refuse(name, "its initial state is computed: expected a constant or an input of the graph")
            self._fed.append((state.ids, stage))

    def _last_stage(self):
        """The one stage that nothing follows."""
        parents = {stage.parent for stage in self._stages}
        ends = [s for s in self._stages if s not in parents and s.kind not in ("input", "cell")]
        ends += [s.parent for s in self._stages if s.kind == "cell" and self._followers(s.parent) == [s]]
        if not ends:
            raise ImportRefusedError("no layer found")
        ends.sort(key=lambda s: s.base)
        if len(ends) > 1:
            refuse(ends[-1].name, f"a second branch beside {ends[0].name}")
        return ends[0]

    def _followers(self, stage):
        return [s for s in self._stages if s.parent is stage]

    def _order(self, last):
        """The rows of the input as [shape=(steps, batch)], as the recurrent layers take them."""
        layers = [s for s in _ancestors(last) if s.kind == "recurrent"]
        features = _ancestors(last)[0]
        if features.kind != "features":
            raise ImportRefusedError("no layer found")
        if not layers:
            return np.arange(features.rows)[:, None]
        steps = np.array(self._steps[layers[0]])
        if not _in_order(steps, features.value):
            refuse(layers[0].name, f"its steps are not those of input {features.name} in order")
        for layer in layers[1:]:
            if not np.array_equal(np.array(self._steps[layer]), steps):
                refuse(layer.name, f"its steps are not those of {layers[0].name} in order")
        return steps

    def _check_inputs(self, outputs, steps):
        """Each input is the sequence, or a state that an output hands on to the next call."""
        entered = {s.parent for s in self._stages if s.kind == "features"}
        for stage in (s for s in self._stages if s.kind == "input" and s not in entered):
            following = np.full(stage.rows, -1)
            for ids, state in self._fed:
                if stage.base <= ids.min() < stage.base + stage.rows:
                    if (following[ids - stage.base] != -1).any():
                        refuse(stage.name, "an input that is the state of two layers")
                    following[ids - stage.base] = self._emit(state, steps[-1]).ids
            if (following == -1).any():
                refuse(stage.name, "an input that is not used as sequence or as state of a layer")
            if not any(np.array_equal(following, s.ids.ravel()) for s in outputs.values()):
                refuse(
                    stage.name,
                    "a state input, but no output is the state after the last step, arranged alike",
                )

    def _check_outputs(self, outputs, last, steps):
        """One output is that of the last layer; the others are states after the last step."""
        found = {}
        for name, signal in outputs.items():
            if not signal.ids.size:
                refuse(name, "an output of size 0")
            stages = {self._stages[bisect.bisect_right(self._bases, i) - 1] for i in np.unique(signal.ids)}
            if stages == {last} and _is_sequence(signal.ids - last.base, steps, last.size):
                found[name] = signal
            elif not all(self._is_state(signal, s, steps[-1]) for s in stages):
                reason = f"an output that is neither all features of {last.name} in order nor a state after the last step"
                refuse(name, reason)
        if not found:
            refuse(last.name, "no output holds all of its features in order")

    def _is_state(self, signal, stage, rows):
        ids = signal.ids[(signal.ids >= stage.base) & (signal.ids < stage.base + stage.rows * stage.size)]
        return stage.kind in ("recurrent", "cell") and np.isin((ids - stage.base) // stage.size, rows).all()


def _ancestors(stage):
    """From the input's features to a stage."""
    chain = []
    while stage is not None and stage.kind != "input":
        chain.append(stage)
        stage = stage.parent
    return chain[::-1]


def _in_order(steps, lead):
    """Whether steps [shape=(steps, batch)] are the rows of an input with axes `lead`, time or batch first."""
    lead = [n for n in lead if n != 1]
    sizes = [n for n in steps.shape if n != 1]
    rows = np.arange(steps.size)
    return (lead == sizes and np.array_equal(rows.reshape(steps.shape), steps)) or (
        lead == sizes[::-1] and np.array_equal(rows.reshape(steps.shape[::-1]).T, steps)
    )


def _same_value(a, b):
    """Whether two stages' values are equal; names and initial states may differ."""
    if isinstance(a, Recurrent):
        fields = ("kind", "activation", "reset_before", "w_x", "w_h", "b_x", "b_h")
        return isinstance(b, Recurrent) and all(np.array_equal(getattr(a, f), getattr(b, f)) for f in fields)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(np.array_equal(v, w) for v, w in zip(a, b, strict=True))
    return a == b


def _walks(ids, stride):
    """Whether ids grow by the stride along the last axis."""
    return (np.diff(ids, axis=-1) == stride).all()


def _is_sequence(elements, steps, size):
    """Whether a tensor holds all features, at every step or at the last one, in order along each axis."""
    if elements.size != steps.size * size:
        steps = steps[-1:]
    expected = (steps[..., None] * size + np.arange(size)).ravel()
    if not np.array_equal(np.sort(elements, axis=None), np.sort(expected)):
        return False
    position = np.empty(elements.max() + 1, np.int64)
    position[elements.ravel()] = np.arange(elements.size)
    position = position[expected].reshape((*steps.shape, size))
    return all((np.diff(position, axis=axis) > 0).all() for axis in range(3))
