"""Sums of products of tensors, so that equal formulas are equal however a graph writes them."""

import hashlib

import numpy as np

MAX_TERMS = 64  # that of a gru has 3
MAX_FACTORS = 16  # in a term; that of a gru has 2
MAX_DEPTH = 64  # of functions of formulas; that of a gru has 4


class Atom:
    """A factor.

    Parameters
    ----------
    kind : str
        "signal" (ids [shape=(rows, size)]), "constant" (an array of that shape), "sigmoid", "tanh" or "relu"
        (of a formula), or "dense" (weights [shape=(size, inputs)] and the formula that they are applied to).
    value : object
    """

    def __init__(self, kind, value):
        self.kind = kind
        self.value = value
        parts = value if kind == "dense" else (value,)
        self.depth = max((part.depth for part in parts if isinstance(part, Formula)), default=0)
        self.key = _digest(
            kind.encode(), *(p.key if isinstance(p, Formula) else _array_digest(p) for p in parts)
        )

    def columns(self, first, end):
        """The atom of a range of columns."""
        if self.kind == "dense":
            return Atom("dense", (self.value[0][first:end], self.value[1]))
        if self.kind in ("signal", "constant"):
            return Atom(self.kind, self.value[:, first:end])
        return Atom(self.kind, self.value.columns(first, end))


class Formula:
    """A tensor [shape=(rows, size)] as a sum of products of atoms.

    Parameters
    ----------
    rows, size : int
    terms : list of (float, list of Atom)
        A coefficient and factors; no factors: a constant.
    """

    def __init__(self, rows, size, terms):
        self.rows = rows
        self.size = size
        merged = {}
        for coefficient, atoms in terms:
            atoms = sorted(atoms, key=lambda atom: atom.key)
            key = b"".join(atom.key for atom in atoms)
            merged[key] = (merged.get(key, (0.0,))[0] + coefficient, atoms)
        self.terms = [term for term in merged.values() if term[0] != 0]
        atoms = [atom for _, atoms in self.terms for atom in atoms]
        self.depth = 1 + max((atom.depth for atom in atoms), default=0)
        if (
            len(self.terms) > MAX_TERMS
            or self.depth > MAX_DEPTH
            or any(len(atoms) > MAX_FACTORS for _, atoms in self.terms)
        ):
            raise ValueError("a formula of computed tensors that is too long for a recurrent layer")
        self.key = _digest(
            *sorted(key + repr(term[0]).encode() for key, term in merged.items() if term[0] != 0)
        )

    @classmethod
    def signal(cls, ids):
        """Of a signal with features last."""
        ids = ids.reshape(-1, ids.shape[-1])
        return cls(*ids.shape, [(1.0, [Atom("signal", ids)])])

    @classmethod
    def constant(cls, value):
        """Of a constant with features last; ones and minus ones are numbers."""
        value = np.ascontiguousarray(value, np.float64).reshape(-1, value.shape[-1])
        for number in (1.0, -1.0):
            if (value == number).all():
                return cls(*value.shape, [(number, [])])
        return cls(*value.shape, [(1.0, [Atom("constant", value)])])

    def plus(self, other, factor=1.0):
        """self + factor * other"""
        return Formula(self.rows, self.size, self.terms + [(factor * c, atoms) for c, atoms in other.terms])

    def times(self, other):
        """self * other"""
        terms = [(c * d, [*atoms, *more]) for c, atoms in self.terms for d, more in other.terms]
        return Formula(self.rows, self.size, terms)

    def apply(self, function):
        """An activation of the formula."""
        return Formula(self.rows, self.size, [(1.0, [Atom(function, self)])])

    def dense(self, w):
        """w [shape=(outputs, size)] applied to each row."""
        return Formula(self.rows, len(w), [(1.0, [Atom("dense", (w, self))])])

    def columns(self, first, end):
        """The formula of a range of columns."""
        if (first, end) == (0, self.size):
            return self
        terms = [(c, [atom.columns(first, end) for atom in atoms]) for c, atoms in self.terms]
        return Formula(self.rows, end - first, terms)


def _array_digest(array):
    return _digest(repr(array.shape).encode(), np.ascontiguousarray(array).tobytes())


def _digest(*parts):
    """A key of fixed length, so that keys of nested formulas do not grow."""
    state = hashlib.blake2b(digest_size=32)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.digest()
