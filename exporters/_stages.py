"""Where each element of a tensor comes from: the numbering that `_provenance` follows."""

import bisect
import dataclasses

import numpy as np

from exporters.graph import ImportRefusedError, Recurrent

MAX_ELEMENTS = 2**22  # of one signal


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
        "input" (as the graph has it), "features" (an input with its features last), "view" (a part of an
        input), "held" (a constant that layers are applied to), "dense", "affine", "activation", "softmax",
        "recurrent", "cell" (c of an lstm) or "formula" (arithmetic on several signals).
    name : str
        Node or module.
    base, rows, size : int
    parent : Stage or None
    value : object
        input: its shape; features: the shape before the features; view: ids of the input; held: the
        constant; dense: w and b; affine: scale and offset; activation: its name; recurrent: `Recurrent`;
        formula: `Pending`.
    """

    kind: str
    name: str
    base: int
    rows: int
    size: int
    parent: "Stage | None" = None
    value: object = None


class Stages:
    """The stages of one walk through a graph, and the numbers of their elements."""

    def __init__(self):
        self.stages = []
        self._bases = []
        self._row_wise = {}  # (parent, kind): stages
        self._features = {}  # (input stage, axis or ids): its stage with the features last

    def add(self, kind, name, rows, size, parent=None, value=None):
        """Append a stage."""
        if rows * size > MAX_ELEMENTS:
            refuse(name, f"{rows} steps of {size} features: export with a dynamic time axis")
        end = self.stages[-1].base + self.stages[-1].rows * self.stages[-1].size if self.stages else 0
        stage = Stage(kind, name, end, rows, size, parent, value)
        self.stages.append(stage)
        self._bases.append(stage.base)
        return stage

    def add_row_wise(self, kind, name, size, parent, value=None):
        """A stage that computes each row from the same row of its parent; equal ones are one stage."""
        alike = self._row_wise.setdefault((parent, kind), [])
        for stage in alike:
            if same_value(stage.value, value):
                return stage
        alike.append(self.add(kind, name, parent.rows, size, parent, value))
        return alike[-1]

    def of(self, ids):
        """The stages that ids belong to, in order."""
        first, last = (bisect.bisect_right(self._bases, int(i)) - 1 for i in (ids.min(), ids.max()))
        if first == last:
            return [self.stages[first]]
        bases = self._bases[first : last + 1]
        index = np.unique(np.searchsorted(bases, ids.ravel(), side="right") - 1)
        return [self.stages[first + i] for i in index]

    def one_of(self, name, ids):
        """The one stage that ids belong to."""
        if not ids.size or not ids.ndim:
            refuse(name, "its input is empty")
        stage = self.stages[bisect.bisect_right(self._bases, ids.flat[0]) - 1]
        if ids.min() < stage.base or ids.max() >= stage.base + stage.rows * stage.size:
            refuse(name, "its input mixes several tensors")
        return stage

    def elements(self, name, ids):
        """Stage, rows and columns of ids that hold every feature, in any arrangement."""
        stage = self.one_of(name, ids)
        if stage.kind == "input":
            stage, ids = self.enter(name, stage, ids)
        if stage.kind == "formula":
            refuse(
                stage.value.blame,
                f"combines computed tensors, but not as a gru, lstm or rnn does (for {name})",
            )
        row, column = np.divmod(ids - stage.base, stage.size)
        if np.bincount(column.ravel(), minlength=stage.size).min() == 0:
            refuse(name, f"takes only some of the {stage.size} features of {stage.name}")
        return stage, row, column

    def vectors(self, name, ids):
        """Stage and rows of ids whose last axis is all features in order."""
        stage, row, column = self.elements(name, ids)
        in_order = ids.shape[-1] == stage.size and (column == np.arange(stage.size)).all()
        if not in_order or (row != row[..., :1]).any():
            refuse(
                name, f"the last axis of its input is not the {stage.size} features of {stage.name} in order"
            )
        return stage, row[..., 0]

    def enter(self, name, stage, ids):
        """Give an input its feature axis: the one that the last axis of its first use walks along.

        Returns
        -------
        stage : Stage
            "features"; or "view", if the use takes a part of the axis, as of states packed into one input.
        ids : int64 array
            The same elements there.
        """
        shape = (*stage.value, 1)  # the last for an input of one feature without an axis for it
        strides = np.cumprod((1, *shape[:0:-1]))[::-1]
        along = [k for k, n in enumerate(shape) if n == ids.shape[-1] and _walks(ids, strides[k])]
        if not along:
            return self._view(name, stage, ids)
        axis = along[-1]
        if (stage, axis) not in self._features:
            lead = shape[:axis] + shape[axis + 1 :]
            self._features[stage, axis] = self.add(
                "features", stage.name, stage.rows // shape[axis], shape[axis], stage, lead
            )
        features = self._features[stage, axis]
        table = np.moveaxis(np.arange(stage.rows).reshape((*features.value, shape[axis])), -1, axis).ravel()
        return features, features.base + table[ids - stage.base]

    def leave(self, stage, ids):
        """Ids of a "features" or "view" stage as those of its input."""
        if stage.kind == "view":
            return stage.value.ravel()[ids - stage.base]
        inputs = np.arange(stage.parent.rows).reshape((*stage.parent.value, 1))
        axis = next(axis for (parent, axis), s in self._features.items() if s is stage)
        return stage.parent.base + np.moveaxis(inputs, axis, -1).ravel()[ids - stage.base]

    def _view(self, name, stage, ids):
        key = (stage, ids.shape[-1], ids.tobytes())
        if key not in self._features:
            rows = ids.size // ids.shape[-1]
            self._features[key] = self.add("view", stage.name, rows, ids.shape[-1], stage, ids)
        view = self._features[key]
        return view, view.base + np.arange(ids.size).reshape(ids.shape)


def dense_weights(name, w):
    """Constant weights [shape=(..., inputs, outputs)] of a product x w as [shape=(outputs, inputs)]."""
    alike = w.reshape(-1, *w.shape[-2:]) if w.ndim >= 2 else None
    if alike is None or not np.array_equal(alike, np.broadcast_to(alike[0], alike.shape), equal_nan=True):
        refuse(
            name, f"weights of shape {w.shape}: expected two dimensions, or the same weights along the others"
        )
    return alike[0].T


def emit(stage, rows):
    """The signal of all columns of a stage at some rows."""
    return Signal(stage.base + rows[..., None] * stage.size + np.arange(stage.size))


def ancestors(stage):
    """The stages from the input's features to a stage."""
    chain = []
    while stage is not None and stage.kind != "input":
        chain.append(stage)
        stage = stage.parent
    return chain[::-1]


def same_value(a, b):
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
