"""Recognize one step of a recurrent layer in a formula.

With P a sum of dense layers of the input x and of the state h, and constants:

    rnn   h' = tanh(P) or relu(P)
    lstm  h' = sigmoid(P) tanh(c'),  c' = sigmoid(P) c + sigmoid(P) tanh(P)
    gru   h' = n + z h - z n, or h + z n - z h,  z = sigmoid(P),  n = tanh(P + r W h) or tanh(P + W (r h))
"""

import dataclasses

import numpy as np

from exporters._formula import Formula
from exporters._stages import Signal, Stage, emit


@dataclasses.dataclass(frozen=True, eq=False)
class Pending:
    """The value of a formula stage.

    Parameters
    ----------
    formula : Formula
    blame : str
        The node that first combined signals.
    operand : Signal, optional
    again : callable, optional
        Repeats the operation that made this formula of `operand` alone.
    """

    formula: Formula
    blame: str
    operand: Signal | None = None
    again: object = None


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One step of a layer: the arguments of `Tracer.recurrent`, and c' of an lstm."""

    arguments: tuple
    c: Formula | None = None


def find_cell(tracer, formula):
    """Recognize a formula.

    Parameters
    ----------
    tracer : Tracer
    formula : Formula

    Returns
    -------
    Cell or None
    """
    if len(formula.terms) == 3:
        return _gru(tracer, formula)
    if len(formula.terms) != 1 or formula.terms[0][0] != 1:
        return None
    atoms = formula.terms[0][1]
    if len(atoms) == 1 and atoms[0].kind in ("tanh", "relu"):
        return _rnn(tracer, atoms[0])
    kinds = [atom.kind for atom in atoms]
    return _lstm(tracer, atoms) if sorted(kinds) == ["sigmoid", "tanh"] else None


@dataclasses.dataclass(eq=False)
class _Part:
    """A dense layer of one source within a sum: w source + b, and the stages that it was made of."""

    w: np.ndarray
    b: np.ndarray
    source: np.ndarray | None
    stages: list[Stage]

    @property
    def key(self):
        return self.source.tobytes()


def _sum_parts(tracer, formula):
    """A sum as (parts by source, constant [shape=(size,)], terms that are neither), or None."""
    parts, constant, others = {}, np.zeros(formula.size), []
    for coefficient, atoms in formula.terms:
        if not atoms:
            constant = constant + coefficient
        elif len(atoms) == 1 and atoms[0].kind == "constant":
            if (atoms[0].value != atoms[0].value[0]).any():
                return None
            constant = constant + coefficient * atoms[0].value[0]
        elif len(atoms) == 1 and atoms[0].kind == "signal":
            part = _part(tracer, atoms[0].value)
            if part is None or coefficient != 1 or part.key in parts:
                return None
            parts[part.key] = part
        else:
            others.append((coefficient, atoms))
    return parts, constant, others


def _part(tracer, ids):
    """Follow ids back through constants to a dense layer, or None."""
    stages = tracer.stages.of(ids)
    if len(stages) != 1 or stages[0].kind not in ("dense", "affine"):
        return None
    [stage] = stages
    row, column = np.divmod(ids - stage.base, stage.size)
    if (row != row[:, :1]).any() or (column != column[0]).any():
        return None
    first, second = (v[column[0]] for v in stage.value)
    if stage.kind == "dense":
        return _Part(first, second, emit(stage.parent, row[:, 0]).ids, [stage])
    inner = _part(tracer, stage.parent.base + row * stage.size + column)
    if inner is None:
        return None
    inner.w, inner.b = inner.w * first[:, None], inner.b * first + second
    inner.stages.append(stage)
    return inner


def _state(tracer, ids):
    """Ids as an initial state: array, Signal of an input or of a layer, or None."""
    stages = tracer.stages.of(ids)
    if len(stages) != 1:
        return None
    [stage] = stages
    if stage.kind == "held":
        return stage.value.ravel()[ids - stage.base]
    if stage.kind in ("features", "view"):
        return Signal(tracer.stages.leave(stage, ids))
    return Signal(ids) if stage.kind in ("input", "recurrent", "cell") else None


def _atom_state(tracer, atom):
    if atom.kind == "constant":
        return atom.value
    return _state(tracer, atom.value) if atom.kind == "signal" else None


def _same_state(a, b):
    if a is None or b is None or isinstance(a, Signal) != isinstance(b, Signal):
        return False
    return np.array_equal(a.ids, b.ids) if isinstance(a, Signal) else np.array_equal(a, b)


def _gates(tracer, formulas, h):
    """Weights of gates that are each a sum over x and h: (x, h, constants), stacked, or None.

    `h` is the state, None if it is not known: then it is told from x by what it comes from.
    """
    x_parts, h_parts, constants = [], [], []
    for formula in formulas:
        found = _sum_parts(tracer, formula)
        if found is None or found[2] or len(found[0]) != 2:
            return None
        pair = _told_apart(tracer, list(found[0].values()), h)
        if pair is None:
            return None
        x_parts.append(pair[0])
        h_parts.append(pair[1])
        constants.append(found[1])
    x, h = _stacked(x_parts), _stacked(h_parts)
    return None if x is None or h is None else (x, h, np.concatenate(constants))


def _stacked(parts):
    if any(part.key != parts[0].key for part in parts):
        return None
    w, b = (np.concatenate([getattr(part, field) for part in parts]) for field in ("w", "b"))
    return _Part(w, b, parts[0].source, [stage for part in parts for stage in part.stages])


def _told_apart(tracer, parts, h):
    """Two parts as (x, h), or None."""
    ranks = {}
    for x, state in (parts, parts[::-1]):
        if h is not None:
            rank = (0,) if _same_state(_state(tracer, state.source), h) else None
        else:
            rank = _rank(tracer, x, state)
        if rank is not None and len(state.w) == state.w.shape[1]:
            ranks[rank] = (x, state)
    return ranks[min(ranks)] if ranks else None


def _rank(tracer, x, h):
    """How well h fits as the state of a layer with input x: the lower the better, None for not at all."""
    [stage] = tracer.stages.of(h.source)
    if stage.kind == "recurrent":
        return (0,) if stage.parent in tracer.stages.of(x.source) else None
    if stage.kind in ("held", "activation"):
        return (1,)
    # Of two inputs of the graph the first one is the sequence, of two parts of one that which is used first.
    return (2, -stage.parent.base, -stage.base) if stage.kind in ("features", "view") else None


def _cell(tracer, kind, x, h, b, h_state, c_state=None, activation="none", reset_before=False, c=None):
    """A cell of stacked parts; b: the constants beside them."""
    tracer.absorbed.update(x.stages, h.stages)
    _absorb_state(tracer, h.source)
    weights = (x.w, h.w, x.b + b, h.b)
    return Cell((kind, Signal(x.source[None]), *weights, h_state, c_state, activation, reset_before), c)


def _rnn(tracer, atom):
    found = _gates(tracer, [atom.value], None)
    if found is None:
        return None
    x, h, b = found
    [stage] = tracer.stages.of(h.source)
    if stage.kind == "activation":
        state = _folded_step(tracer, atom.kind, x, h, b, stage)
    else:
        state = _state(tracer, h.source)
    return None if state is None else _cell(tracer, "rnn", x, h, b, state, activation=atom.kind)


def _folded_step(tracer, activation, x, h, b, stage):
    """The first step of an rnn whose dense layer of a zero state an exporter folded into the bias."""
    row, column = np.divmod(h.source - stage.base, stage.size)
    first = _part(tracer, stage.parent.base + row * stage.size + column)
    if stage.value != activation or first is None or not np.array_equal(first.w, x.w):
        return None
    bias = x.b + b + h.b
    if tracer.stages.of(first.source) != tracer.stages.of(x.source) or not np.allclose(
        first.b, bias, atol=1e-6
    ):
        return None
    arguments = ("rnn", Signal(first.source[None]), x.w, h.w, x.b + b, h.b, np.zeros(h.source.shape), None)
    _, after, _ = tracer.recurrent(stage.name, *arguments, activation=activation)
    tracer.absorbed.update(first.stages, [stage])
    tracer.learn_part(stage, h.source, after)
    return after


def _lstm(tracer, atoms):
    output, memory = sorted(atoms, key=lambda atom: atom.kind)
    terms = memory.value.terms
    if len(terms) != 2 or any(coefficient != 1 or len(atoms) != 2 for coefficient, atoms in terms):
        return None
    new = next((t for _, t in terms if sorted(atom.kind for atom in t) == ["sigmoid", "tanh"]), None)
    old = next((t for _, t in terms if t is not new), None)
    forget = next((atom for atom in old if atom.kind == "sigmoid"), None)
    state = next((atom for atom in old if atom is not forget), None)
    if new is None or forget is None:
        return None
    c_state = _atom_state(tracer, state)
    entry, candidate = sorted(new, key=lambda atom: atom.kind)
    gates = [atom.value for atom in (entry, forget, candidate, output)]
    found = _gates(tracer, gates, None) if c_state is not None else None
    if found is None:
        return None
    x, h, b = found
    h_state = _state(tracer, h.source)
    if h_state is None:
        return None
    if state.kind == "signal":
        _absorb_state(tracer, state.value)
    return _cell(tracer, "lstm", x, h, b, h_state, c_state, c=memory.value)


def _absorb_state(tracer, ids):
    tracer.absorbed.update(s for s in tracer.stages.of(ids) if s.kind in ("features", "view", "held"))


def _gru(tracer, formula):
    single = next((atoms[0] for c, atoms in formula.terms if len(atoms) == 1 and c == 1), None)
    pairs = [(c, atoms) for c, atoms in formula.terms if len(atoms) == 2]
    if single is None or len(pairs) != 2 or sorted(c for c, _ in pairs) != [-1, 1]:
        return None
    [[_, with_one], [_, without]] = sorted(pairs, key=lambda pair: pair[0])
    # The single atom times z is subtracted, the other one times z is added.
    rest = [atom for atom in with_one if atom.key != single.key]
    if len(rest) != 1 or rest[0].kind != "sigmoid":
        return None
    z = rest[0]
    other = [atom for atom in without if atom.key != z.key]
    if len(other) != 1:
        return None
    n, h = (single, other[0]) if single.kind == "tanh" else (other[0], single)
    state = _atom_state(tracer, h)
    if n.kind != "tanh" or state is None:
        return None
    return _gru_gates(tracer, z, n, state, h, keep=n is single)


def _gru_gates(tracer, z, n, state, h, keep):
    """The cell of a gru; `keep`: z keeps the state, as here, rather than 1 - z."""
    found = _sum_parts(tracer, n.value)
    if found is None or len(found[0]) != 1:
        return None
    [n_x] = found[0].values()
    after = _reset_after(tracer, found[2])
    inner = after or _reset_before(found[2], h)
    gates = inner and _gates(tracer, [inner[0].value, z.value], state)
    if not gates or n_x.key != gates[0].key:
        return None
    x, hidden, b = gates
    n_h = inner[1]
    if after and not _same_state(_state(tracer, n_h.source), state):
        return None
    x, hidden = _stacked([x, n_x]), _stacked([hidden, dataclasses.replace(n_h, source=hidden.source)])
    b = np.concatenate([b, found[1]])
    if not keep:
        sign = np.repeat([1.0, -1.0, 1.0], len(n_x.w))
        x.w, x.b, b = x.w * sign[:, None], x.b * sign, b * sign
        hidden.w, hidden.b = hidden.w * sign[:, None], hidden.b * sign
    if h.kind == "signal":
        _absorb_state(tracer, h.value)
    return _cell(tracer, "gru", x, hidden, b, state, reset_before=after is None)


def _reset_after(tracer, terms):
    """Terms that add up to r (W h + b): r, and the part of h; or None."""
    if not terms or any(c != 1 or len(atoms) != 2 for c, atoms in terms):
        return None
    resets = [atom for _, atoms in terms for atom in atoms if atom.kind == "sigmoid"]
    if len(resets) != len(terms) or any(r.key != resets[0].key for r in resets):
        return None
    inner = [(1.0, [atom for atom in atoms if atom.kind != "sigmoid"]) for _, atoms in terms]
    found = _sum_parts(tracer, Formula(resets[0].value.rows, resets[0].value.size, inner))
    if found is None or len(found[0]) != 1 or found[2]:
        return None
    [part] = found[0].values()
    return resets[0], dataclasses.replace(part, b=part.b + found[1])


def _reset_before(terms, h):
    """A term W (r h): r, and the part of r h; or None."""
    if len(terms) != 1 or terms[0][0] != 1 or len(terms[0][1]) != 1 or terms[0][1][0].kind != "dense":
        return None
    w, inner = terms[0][1][0].value
    if len(inner.terms) != 1 or inner.terms[0][0] != 1 or len(inner.terms[0][1]) != 2:
        return None
    factors = inner.terms[0][1]
    reset = next((atom for atom in factors if atom.kind == "sigmoid"), None)
    if reset is None or not any(atom.key == h.key for atom in factors):
        return None
    return reset, _Part(w, np.zeros(len(w)), None, [])
