"""Recognize one step of a recurrent layer in a formula.

With P a sum of dense layers of the input x and of the state h, and constants:

    rnn   h' = tanh(P) or relu(P)
    lstm  h' = sigmoid(P) tanh(c'),  c' = sigmoid(P) c + sigmoid(P) tanh(P)
    gru   h' = n + z h - z n, or h + z n - z h,  z = sigmoid(P),  n = tanh(P + r W h) or tanh(P + W (r h))
"""

import dataclasses

import numpy as np

from exporters._formula import Atom, Formula
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
    match formula.terms:
        case [(1, [Atom(kind="tanh" | "relu") as atom])]:
            return _rnn(tracer, atom)
        case [(1, [_, _]) as term]:
            return _lstm(tracer, term)
        case [_, _, _]:
            return _gru(tracer, formula)
    return None


@dataclasses.dataclass
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
        match atoms:
            case []:
                constant = constant + coefficient
            case [Atom(kind="constant", value=value)]:
                row, *rows = value
                if any((other != row).any() for other in rows):
                    return None
                constant = constant + coefficient * row
            case [Atom(kind="signal", value=ids)]:
                part = _part(tracer, ids)
                if part is None or coefficient != 1 or part.key in parts:
                    return None
                parts[part.key] = part
            case _:
                others.append((coefficient, atoms))
    return parts, constant, others


def _part(tracer, ids):
    """Follow ids back through constants to a dense layer, or None."""
    match tracer.stages.of(ids):
        case [Stage(kind="dense" | "affine") as stage]:
            row, column = np.divmod(ids - stage.base, stage.size)
        case _:
            return None
    rows, columns = row[:, 0], column[0]
    if (row != rows[:, None]).any() or (column != columns).any():
        return None
    first, second = (v[columns] for v in stage.value)
    if stage.kind == "dense":
        return _Part(first, second, emit(stage.parent, rows).ids, [stage])
    inner = _part(tracer, stage.parent.base + row * stage.size + column)
    if inner is None:
        return None
    inner.w, inner.b = inner.w * first[:, None], inner.b * first + second
    inner.stages.append(stage)
    return inner


def _state(tracer, ids):
    """Ids as an initial state: array, Signal of an input or of a layer, or None."""
    match tracer.stages.of(ids):
        case [Stage(kind="held") as stage]:
            return stage.value.ravel()[ids - stage.base]
        case [Stage(kind="features" | "view") as stage]:
            return Signal(tracer.stages.leave(stage, ids))
        case [Stage(kind="input" | "recurrent" | "cell")]:
            return Signal(ids)
    return None


def _atom_state(tracer, atom):
    if atom.kind == "constant":
        return atom.value
    return _state(tracer, atom.value) if atom.kind == "signal" else None


def _same_state(a, b):
    return type(a) is type(b) and np.array_equal(*(s.ids if isinstance(s, Signal) else s for s in (a, b)))


def _gates(tracer, formulas, h):
    """Weights of gates that are each a sum over x and h, stacked: yields (x, h, constants), the likeliest first.

    `h` is the state, None if it is not known: then it is told from x by what it comes from.
    """
    choices, constants = [], []
    for formula in formulas:
        match _sum_parts(tracer, formula):
            case (parts, constant, []) if len(parts) == 2:
                choices.append(_told_apart(tracer, list(parts.values()), h))
                constants.append(constant)
            case _:
                return
    for pairs in zip(*choices, strict=False):
        x, hidden = (_stacked(parts) for parts in zip(*pairs, strict=True))
        if x is not None and hidden is not None:
            yield x, hidden, np.concatenate(constants)


def _stacked(parts):
    [first, *others] = parts
    if any(part.key != first.key for part in others):
        return None
    w, b = (np.concatenate([getattr(part, field) for part in parts]) for field in ("w", "b"))
    return _Part(w, b, first.source, [stage for part in parts for stage in part.stages])


def _told_apart(tracer, parts, h):
    """Two parts as (x, h): those orders that can be, the likeliest first."""
    pairs = [(x, state) for x, state in (parts, parts[::-1]) if len(state.w) == state.w.shape[1]]
    if h is not None:
        return [(x, state) for x, state in pairs if _same_state(_state(tracer, state.source), h)]
    ranks = [_rank(tracer, x, state) for x, state in pairs]
    order = sorted((rank, k) for k, rank in enumerate(ranks) if rank is not None)
    return [pairs[k] for _, k in order]


def _rank(tracer, x, h):
    """How well h fits as the state of a layer with input x: the lower the better, None for not at all."""
    [stage] = tracer.stages.of(h.source)
    if stage.kind == "recurrent":
        return () if stage.parent in tracer.stages.of(x.source) else None
    if stage.kind in ("held", "activation"):
        return ()
    # Of two inputs of the graph the first one is the sequence.
    return (-stage.parent.base,) if stage.kind in ("features", "view") else None


def _cell(tracer, kind, x, h, b, h_state, c_state=None, activation="none", reset_before=False, c=None):
    """A cell of stacked parts; b: the constants beside them."""
    tracer.absorbed.update(x.stages, h.stages)
    tracer.absorbed.update(s for s in tracer.stages.of(h.source) if s.kind in ("features", "view", "held"))
    weights = (x.w, h.w, x.b + b, h.b)
    return Cell((kind, Signal(x.source[None]), *weights, h_state, c_state, activation, reset_before), c)


def _rnn(tracer, atom):
    for x, h, b in _gates(tracer, [atom.value], None):
        [stage] = tracer.stages.of(h.source)
        if stage.kind == "activation":
            state = _folded_step(tracer, atom.kind, x, h, b, stage)
        else:
            state = _state(tracer, h.source)
        if state is not None:
            return _cell(tracer, "rnn", x, h, b, state, activation=atom.kind)
    return None


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


def _gated(term):
    """A term s a, s a sigmoid, as (s, a); or None."""
    match term:
        case (1, [Atom(kind="sigmoid") as gate, other] | [other, Atom(kind="sigmoid") as gate]):
            return gate, other
    return None


def _lstm(tracer, term):
    match _gated(term):
        case (output, Atom(kind="tanh") as memory):
            terms = [_gated(inner) for inner in memory.value.terms]
        case _:
            return None
    match terms:
        case [(entry, Atom(kind="tanh") as candidate), (forget, state)] | [
            (forget, state),
            (entry, Atom(kind="tanh") as candidate),
        ]:
            c_state = _atom_state(tracer, state)
        case _:
            return None
    if c_state is None:
        return None
    for x, h, b in _gates(tracer, [atom.value for atom in (entry, forget, candidate, output)], None):
        h_state = _state(tracer, h.source)
        if h_state is not None:
            return _cell(tracer, "lstm", x, h, b, h_state, c_state, c=memory.value)
    return None


def _gru(tracer, formula):
    match sorted(formula.terms, key=lambda term: (len(term[1]), term[0])):
        case [(1, [single]), (-1, [_, _] as subtracted), (1, [_, _] as added)]:
            gate = {atom.key for atom in subtracted} - {single.key}
        case _:
            return None
    # The single atom times z is subtracted, the other one times z is added.
    match [a for a in subtracted if a.key in gate], [a for a in added if a.key not in gate]:
        case [Atom(kind="sigmoid") as z], [other]:
            pass
        case _:
            return None
    n, h = (single, other) if single.kind == "tanh" else (other, single)
    state = _atom_state(tracer, h)
    if n.kind != "tanh" or state is None:
        return None
    return _gru_gates(tracer, z, n, state, h, keep=n is single)


def _gru_gates(tracer, z, n, state, h, keep):
    """The cell of a gru; `keep`: z keeps the state, as here, rather than 1 - z."""
    match _sum_parts(tracer, n.value):
        case (parts, constant, others) if len(parts) == 1:
            [n_x] = parts.values()
        case _:
            return None
    after = _reset_after(tracer, others)
    inner = after or _reset_before(others, h)
    if inner is None:
        return None
    reset, n_h = inner
    found = next(_gates(tracer, [reset.value, z.value], state), None)
    if found is None or n_x.key != found[0].key:
        return None
    if after and not _same_state(_state(tracer, n_h.source), state):
        return None
    x, hidden, b = found
    x, hidden = _stacked([x, n_x]), _stacked([hidden, dataclasses.replace(n_h, source=hidden.source)])
    b = np.concatenate([b, constant])
    if not keep:
        units = len(n_x.w)
        for rows in (x.w, x.b, hidden.w, hidden.b, b):
            rows[units : 2 * units] = -rows[units : 2 * units]
    return _cell(tracer, "gru", x, hidden, b, state, reset_before=after is None)


def _reset_after(tracer, terms):
    """Terms that add up to r (W h + b): r, and the part of h; or None."""
    pairs = [_gated(term) for term in terms]
    resets = {pair[0].key: pair[0] for pair in pairs if pair}
    if None in pairs or len(resets) != 1:
        return None
    [reset] = resets.values()
    inner = [(1.0, [other]) for _, other in pairs]
    match _sum_parts(tracer, Formula(reset.value.rows, reset.value.size, inner)):
        case (parts, constant, []) if len(parts) == 1:
            [part] = parts.values()
            return reset, dataclasses.replace(part, b=part.b + constant)
    return None


def _reset_before(terms, h):
    """A term W (r h): r, and the part of r h; or None."""
    match terms:
        case [(1, [Atom(kind="dense", value=(w, Formula(terms=[term])))])]:
            match _gated(term):
                case (reset, other) if other.key == h.key:
                    return reset, _Part(w, np.zeros(len(w)), None, [])
    return None
