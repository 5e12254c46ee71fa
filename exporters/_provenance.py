"""Follow a network through the glue of a graph, element by element.

A tensor that depends on the input is a `Signal`: an integer per element that says where the element comes
from, which feature of which step of what layer. Glue (transpose, reshape, slice, squeeze, concatenate)
moves these integers as it moves the values. Whatever arrangement arrives at a layer is then known exactly:
it is the sequence that a chain of layers hands on, or the layer is refused by name.

Arithmetic on several signals is kept as a formula until it is handed on, and then recognized as the cell of
a recurrent layer or refused.
"""

import dataclasses

import numpy as np

from exporters._assemble import assemble
from exporters._cells import Pending, find_cell
from exporters._formula import Formula
from exporters._stages import MAX_ELEMENTS, Signal, Stages, emit, refuse, same_value
from exporters.graph import Recurrent


class Tracer:
    """Stages of one walk through a graph; `network` makes a chain of layers of them.

    Each method is one operation: it takes `name`, the node or module that messages name, and signals.
    """

    def __init__(self):
        self.stages = Stages()
        self.steps = {}  # recurrent stage: the rows of each step so far, a list of arrays [batch]
        self.cells = {}  # recurrent stage of an lstm: its cell stage
        self.fed = []  # (ids of state inputs, stage whose state they are), each [batch, units]
        self.absorbed = set()  # stages that became part of a recurrent layer
        self.recognized = set()  # recurrent stages that were formulas
        self._held = {}  # shape and bytes of a constant: its stage
        self._formulas = {}  # key of a formula: its stages
        self._known = {}  # stage: ids of what it turned out to be, its own where it is not known

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
        stage = self.stages.add("input", name, count, 1, value=tuple(shape))
        return Signal(stage.base + np.arange(count).reshape(shape))

    def hold(self, name, constant):
        """A constant as a signal, for layers that are applied to it: the state before the first step.

        Equal ones are one signal, as each gate may have a product of its own.
        """
        constant = np.atleast_2d(np.asarray(constant, np.float64))
        rows = constant.reshape(-1, constant.shape[-1])
        key = rows.shape, rows.tobytes()
        if key not in self._held:
            self._held[key] = self.stages.add("held", name, *rows.shape, value=rows)
        stage = self._held[key]
        return Signal(stage.base + np.arange(constant.size).reshape(constant.shape))

    def dense(self, name, x, w, b=None):
        """x [shape=(..., inputs)] times w [shape=(outputs, inputs)], plus b [shape=(outputs,)]."""
        x = self._settled(x, resolve=True)
        formula = self._formula(x)
        if formula is not None:
            if w.ndim != 2 or w.shape[1] != x.shape[-1]:
                refuse(name, f"weights {w.shape} do not fit {x.shape[-1]} features")
            product = formula.dense(w)
            if b is not None:
                product = product.plus(Formula.constant(np.broadcast_to(b, (formula.rows, len(w)))))
            return self._pend(name, product, (*x.shape[:-1], len(w)), self._blame(x))
        stage, rows = self.stages.vectors(name, x.ids)
        if w.ndim != 2 or w.shape[1] != stage.size:
            refuse(name, f"weights {w.shape} do not fit {stage.size} features of {stage.name}")
        value = (w, np.zeros(len(w)) if b is None else b)
        return emit(self.stages.add_row_wise("dense", name, len(w), stage, value), rows)

    def affine(self, name, x, scale, offset):
        """x * scale + offset, where both broadcast against x and depend on the feature only."""
        shape = np.broadcast_shapes(x.shape, np.shape(scale), np.shape(offset))
        x = self._settled(Signal(np.broadcast_to(x.ids, shape)))
        formula = self._formula(x)
        if formula is not None:
            formula = formula.times(Formula.constant(np.broadcast_to(scale, shape)))
            if np.ndim(offset) or offset:  # an offset of zeros may be the state before the first step
                formula = formula.plus(Formula.constant(np.broadcast_to(offset, shape)))
            return self._pend(
                name,
                formula,
                shape,
                self._blame(x),
                operand=x,
                again=lambda y: self.affine(name, y, scale, offset),
            )
        stage, row, column = self.stages.elements(name, x.ids)
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
        new = self.stages.add_row_wise("affine", name, stage.size, stage, tuple(vectors))
        return Signal(new.base + row * new.size + column)

    def activation(self, name, x, activation):
        """An activation ("relu", "tanh", "sigmoid") of each element."""
        x = self._settled(x)
        formula = self._formula(x)
        if formula is not None:
            return self._pend(
                name,
                formula.apply(activation),
                x.shape,
                self._blame(x),
                operand=x,
                again=lambda y: self.activation(name, y, activation),
            )
        stage, row, column = self.stages.elements(name, x.ids)
        new = self.stages.add_row_wise("activation", name, stage.size, stage, activation)
        return Signal(new.base + row * new.size + column)

    def combine(self, name, operator, a, b):
        """a + b, a - b or a * b ("add", "sub", "mul") of two signals."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        a, b = (self._settled(Signal(np.broadcast_to(v.ids, shape))) for v in (a, b))
        blame = next((found for found in map(self._blame, (a, b)) if found), name)
        a, b = (self._formula(v) or Formula.signal(v.ids) for v in (a, b))
        formula = a.times(b) if operator == "mul" else a.plus(b, -1.0 if operator == "sub" else 1.0)
        return self._pend(name, formula, shape, blame)

    def softmax(self, name, x, groups):
        """A softmax, or its logarithm, over each row of `groups`, positions in x [shape=(groups, members)]."""
        stage, row, column = self.stages.elements(name, self._settled(x, resolve=True).ids)
        rows = row.ravel()[groups]
        if groups.shape[1] != stage.size or (rows != rows[:, :1]).any():
            refuse(name, f"a softmax that is not over the {stage.size} features of {stage.name}")
        new = self.stages.add_row_wise("softmax", name, stage.size, stage)
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
        parent, rows = self.stages.vectors(name, self._settled(x, resolve=True).ids)
        h, c = (self._settled(v, resolve=True) if isinstance(v, Signal) else v for v in (h, c))
        if rows.ndim != 2:
            refuse(name, f"expected an input with axes time, batch and feature, found {x.shape}")
        if w_x.shape[1] != parent.size:
            refuse(name, f"weights {w_x.shape} do not fit {parent.size} features of {parent.name}")
        layer = Recurrent(kind, w_x, w_h, b_x, b_h, activation, reset_before, None, name)
        states = {"h": h, "c": c} if kind == "lstm" else {"h": h}
        stage = self._continued(layer, parent, states) or self._begin(layer, parent, states, rows.shape[1])
        self.steps[stage].extend(rows)
        y = emit(stage, rows)
        c = emit(self.cells[stage], rows[-1]) if kind == "lstm" else None
        return y, Signal(y.ids[-1]), c

    def network(self, outputs, source):
        """Make the network of everything that was traced; see `assemble`."""
        outputs = {name: self._settled(signal, resolve=True) for name, signal in outputs.items()}
        outputs = {name: self._settled(signal) for name, signal in outputs.items()}
        for name, signal in outputs.items():
            if signal.ids.size and (blame := self._blame(signal)):
                refuse(
                    blame,
                    f"combines computed tensors, but not as a gru, lstm or rnn does (on the way to {name})",
                )
        return assemble(self, outputs, source)

    def _continued(self, layer, parent, states):
        """The stage of the same layer, if a loop over steps gives it the state after its last step."""
        for stage, rows in self.steps.items():
            if stage.parent is parent and same_value(stage.value, layer):
                now = {"h": stage, "c": self.cells.get(stage)}
                after = {key: emit(now[key], rows[-1]).ids for key in states}
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
        stage = self.stages.add("recurrent", name, parent.rows, units, parent, layer)
        self.steps[stage] = []
        self._feed(name, states["h"], stage)
        if layer.kind == "lstm":
            self.cells[stage] = self.stages.add("cell", name, stage.rows, units, stage)
            self._feed(name, states["c"], self.cells[stage])
        return stage

    def _initial_state(self, name, initial, shape):
        """The constant part of an initial state: [shape=(units,)] (lstm: h then c), or None if all zero."""
        vectors = []
        for key, value in initial.items():
            if value is not None and value.shape != shape:
                refuse(name, f"initial {key}: expected (batch, units) = {shape}, found {value.shape}")
            vector, *others = [np.zeros(shape[1])] if value is None or isinstance(value, Signal) else value
            if any((other != vector).any() for other in (vector, *others)):
                refuse(name, f"initial {key} is not finite or differs between the sequences of a batch")
            vectors.append(vector)
        vector = np.concatenate(vectors)
        return vector if vector.any() else None

    def _feed(self, name, state, stage):
        if isinstance(state, Signal):
            if self.stages.one_of(name, state.ids).kind != "input":
                refuse(name, "its initial state is computed: expected a constant or an input of the graph")
            self.fed.append((state.ids, stage))

    def _pend(self, name, formula, shape, blame, operand=None, again=None):
        """A signal for a formula; `again` repeats the operation if its operand turns out to be a layer."""
        pending = Pending(formula, blame or name, operand, again)
        stage = self.stages.add("formula", name, formula.rows, formula.size, value=pending)
        self._formulas.setdefault(formula.key, []).append(stage)
        return Signal(stage.base + np.arange(formula.rows * formula.size).reshape(shape))

    def _formula(self, x):
        """The formula of a signal, if it is one that is not known to be anything else."""
        stages = self.stages.of(x.ids) if x.ids.size and x.ids.ndim else []
        if [stage.kind for stage in stages] != ["formula"]:
            return None
        [stage] = stages
        ids = x.ids.reshape(-1, x.shape[-1]) - stage.base
        first, count = ids[0, 0], ids.shape[1]
        if first + count > stage.size or not np.array_equal(
            ids, first + np.arange(stage.rows)[:, None] * stage.size + np.arange(count)
        ):
            return None
        return stage.value.formula.columns(first, first + count)

    def _blame(self, x):
        """The node that first combined signals, if one of them is a formula."""
        stages = self.stages.of(x.ids)
        return next((s.value.blame for s in stages if s.kind == "formula"), None)

    def _settled(self, x, resolve=False):
        """A signal with known formulas replaced by what they are; `resolve` tries to find out."""
        for stage in self.stages.of(x.ids) if x.ids.size else []:
            if resolve and stage.kind == "formula" and stage not in self._known:
                self._resolve(stage)
            if stage in self._known:
                ids = np.array(x.ids)
                inside = (ids >= stage.base) & (ids < stage.base + stage.rows * stage.size)
                ids[inside] = self._known[stage][ids[inside] - stage.base]
                x = Signal(ids)
        return x

    def learn_part(self, stage, ids, signal):
        """Elements of a stage turned out to be those of a signal."""
        known = self._known.setdefault(stage, stage.base + np.arange(stage.rows * stage.size))
        known[ids.ravel() - stage.base] = signal.ids.ravel()

    def _resolve(self, stage):
        """Recognize a formula as the state of a recurrent layer, or as an operation on one."""
        pending = stage.value
        cell = find_cell(self, pending.formula)
        if cell is not None:
            _, h, c = self.recurrent(stage.name, *cell.arguments)
            self.recognized.update(self.stages.of(h.ids))
            self._learn(pending.formula, h)
            if c is not None:
                self._learn(cell.c, c)
        elif pending.again is not None:
            operand = self._settled(pending.operand, resolve=True)
            if self._blame(operand) is None:
                self._known[stage] = pending.again(operand).ids.ravel()

    def _learn(self, formula, signal):
        for stage in self._formulas.get(formula.key, []):
            self._known.setdefault(stage, signal.ids.ravel())
