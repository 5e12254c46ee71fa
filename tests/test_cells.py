# SPDX-License-Identifier: MIT
"""Cells written out in single operations, in every form that is known: one layer each; and what is none."""

import re

import numpy as np
import pytest

from exporters._provenance import Tracer
from exporters._stages import Signal
from exporters.graph import ImportRefusedError

STEPS, INPUTS, UNITS = 4, 5, 3
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def logistic(x):
    return 1 / (1 + np.exp(-x))


class Tensor:
    """A signal, or a constant, with the operations that a graph has for both."""

    def __init__(self, tracer, value):
        self.tracer, self.value = tracer, value

    def _of(self, value):
        return Tensor(self.tracer, value)

    def _apply(self, name, function):
        if isinstance(self.value, Signal):
            return self._of(self.tracer.activation(name, self.value, name))
        return self._of(function(self.value))

    def _arithmetic(self, other, name, function, scale, offset):
        """`scale` and `offset` of a signal, for a constant."""
        a, b = self.value, other.value if isinstance(other, Tensor) else np.float64(other)
        if isinstance(a, Signal) and isinstance(b, Signal):
            return self._of(self.tracer.combine(name, name, a, b))
        if isinstance(a, Signal):
            return self._of(self.tracer.affine(name, a, scale(b), offset(b)))
        return self._of(function(a, b))

    def __add__(self, other):
        if (
            not isinstance(self.value, Signal)
            and isinstance(other, Tensor)
            and isinstance(other.value, Signal)
        ):
            return other + self
        return self._arithmetic(other, "add", np.add, lambda b: 1.0, lambda b: b)

    def __sub__(self, other):
        if (
            not isinstance(self.value, Signal)
            and isinstance(other, Tensor)
            and isinstance(other.value, Signal)
        ):
            return other * -1.0 + self
        return self._arithmetic(other, "sub", np.subtract, lambda b: 1.0, lambda b: -b)

    def __mul__(self, other):
        if (
            not isinstance(self.value, Signal)
            and isinstance(other, Tensor)
            and isinstance(other.value, Signal)
        ):
            return other * self
        return self._arithmetic(other, "mul", np.multiply, lambda b: b, lambda b: 0.0)

    def __rsub__(self, number):
        return self * -1.0 + number

    def __getitem__(self, columns):
        signal = isinstance(self.value, Signal)
        return self._of(Signal(self.value.ids[..., columns]) if signal else self.value[..., columns])

    def mixed(self, axis):
        """The first row, or the first feature of all rows, the other way round."""
        ids = self.value.ids.copy()
        first = ids[0] if axis == 0 else ids[:, 0]
        first[:] = first[::-1].copy()
        return self._of(Signal(ids))

    def dense(self, w, b=None):
        signal = self.value if isinstance(self.value, Signal) else self.tracer.hold("held", self.value)
        return self._of(self.tracer.dense("dense", signal, w, b))

    def sigmoid(self):
        return self._apply("sigmoid", logistic)

    def tanh(self):
        return self._apply("tanh", np.tanh)

    def relu(self):
        return self._apply("relu", lambda v: np.maximum(v, 0))


class Numbers:
    """The same operations on numbers, for what must come out."""

    def __init__(self, value):
        self.value = np.asarray(value, float)

    def __add__(self, other):
        return Numbers(self.value + getattr(other, "value", other))

    def __sub__(self, other):
        return Numbers(self.value - getattr(other, "value", other))

    def __mul__(self, other):
        return Numbers(self.value * getattr(other, "value", other))

    def __rsub__(self, number):
        return Numbers(number - self.value)

    def __getitem__(self, columns):
        return Numbers(self.value[..., columns])

    def mixed(self, axis):
        return self

    def dense(self, w, b=None):
        return Numbers(self.value @ w.T + (0 if b is None else b))

    def sigmoid(self):
        return Numbers(logistic(self.value))

    def tanh(self):
        return Numbers(np.tanh(self.value))

    def relu(self):
        return Numbers(np.maximum(self.value, 0))


def weights(kind, inputs, units):
    rng = np.random.default_rng(3)
    rows = GATES[kind] * units
    return [rng.uniform(-1, 1, (rows, *shape)) for shape in ((inputs,), (units,), (), ())]


def rows_of(w, units):
    """(w_x, w_h, b_x, b_h) of each gate."""
    count = len(w[0]) // units
    return [[part[k * units : (k + 1) * units] for part in w] for k in range(count)]


# Cells. Each takes x, the states, and weights in the order of the model file, and returns the states after the step.


def rnn_tanh(x, states, w, units):
    [h] = states
    w_x, w_h, b_x, b_h = w
    return [(x.dense(w_x, b_x) + h.dense(w_h, b_h)).tanh()]


def rnn_tanh_in_another_order(x, states, w, units):
    """The features of both products are taken in another order, which is one of the rows of the weights."""
    [h] = states
    w_x, w_h, b_x, b_h = w
    back = np.arange(units)[::-1]
    a, b = x.dense(w_x[back], b_x[back])[back], h.dense(w_h[back], b_h[back])[back]
    return [(a + b).tanh()]


def rnn_relu_of_other_forms(x, states, w, units):
    """The bias behind the sum, the state first, a product without a bias that is scaled."""
    [h] = states
    w_x, w_h, b_x, b_h = w
    return [(h.dense(w_h) + x.dense(w_x / 2, b_x / 2) * 2.0 + b_h).relu()]


def gates_of(x, h, w, units):
    """Sums of all gates, sliced from two products."""
    a, b = x.dense(w[0], w[2]), h.dense(w[1], w[3])
    return [
        (a[cut], b[cut]) for cut in (slice(k * units, (k + 1) * units) for k in range(len(w[0]) // units))
    ]


def gru(x, states, w, units):
    [h] = states
    r, z, n = gates_of(x, h, w, units)
    r, z = (r[0] + r[1]).sigmoid(), (z[1] + z[0]).sigmoid()
    n = (n[0] + r * n[1]).tanh()
    return [(1.0 - z) * n + z * h]


def gru_of_differences(x, states, w, units):
    """n + z (h - n); gates by products of their own."""
    [h] = states
    r, z, n = ((x.dense(w_x, b_x), h.dense(w_h, b_h)) for w_x, w_h, b_x, b_h in rows_of(w, units))
    r, z = (r[0] + r[1]).sigmoid(), (z[0] + z[1]).sigmoid()
    n = (n[0] + n[1] * r).tanh()
    return [n + z * (h - n)]


def gru_the_other_way(x, states, w, units):
    """z takes the candidate: its sum has the other sign."""
    [h] = states
    r, z, n = rows_of(w, units)
    keep = (x.dense(-z[0], -z[2]) + h.dense(-z[1], -z[3])).sigmoid()
    r = (x.dense(r[0], r[2]) + h.dense(r[1], r[3])).sigmoid()
    n = (x.dense(n[0], n[2]) + r * h.dense(n[1], n[3])).tanh()
    return [(1.0 - keep) * h + keep * n]


def gru_with_terms(x, states, w, units):
    """Biases as terms: ones in the gates, and one within the reset."""
    [h] = states
    r, z, n = rows_of(w, units)
    ones = np.ones(units)
    r = (x.dense(r[0]) + h.dense(r[1], r[3] - ones) + r[2] + 1.0).sigmoid()
    z = (x.dense(z[0], z[2] + ones) - 1.0 + h.dense(z[1], z[3])).sigmoid()
    n = (x.dense(n[0], n[2]) + r * (h.dense(n[1]) + n[3])).tanh()
    return [(1.0 - z) * n + z * h]


def gru_reset_before(x, states, w, units):
    [h] = states
    r, z, n = rows_of(w, units)
    r = (x.dense(r[0], r[2]) + h.dense(r[1], r[3])).sigmoid()
    z = (x.dense(z[0], z[2]) + h.dense(z[1], z[3])).sigmoid()
    n = (x.dense(n[0], n[2] + n[3]) + (h * r).dense(n[1])).tanh()
    return [(1.0 - z) * n + z * h]


def gru_reset_before_the_other_way(x, states, w, units):
    [h] = states
    r, z, n = rows_of(w, units)
    r = (x.dense(r[0], r[2]) + h.dense(r[1], r[3])).sigmoid()
    z = (x.dense(-z[0], -z[2]) + h.dense(-z[1], -z[3])).sigmoid()
    n = (x.dense(n[0], n[2]) + (r * h).dense(n[1], n[3])).tanh()
    return [h - z * h + z * n]


def lstm(x, states, w, units):
    h, c = states
    i, f, g, o = (a + b for a, b in gates_of(x, h, w, units))
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return [o.sigmoid() * c.tanh(), c]


def lstm_of_other_forms(x, states, w, units):
    """Products the other way round; all gates of one sum."""
    h, c = states
    total = h.dense(w[1], w[3]) + x.dense(w[0], w[2])
    i, f, g, o = (total[k * units : (k + 1) * units] for k in range(4))
    c = g.tanh() * i.sigmoid() + c * f.sigmoid()
    return [c.tanh() * o.sigmoid(), c]


FORMS = [
    *(rnn_tanh, rnn_tanh_in_another_order, rnn_relu_of_other_forms),
    *(gru, gru_of_differences, gru_the_other_way, gru_with_terms),
    *(gru_reset_before, gru_reset_before_the_other_way),
    *(lstm, lstm_of_other_forms),
]


def kind_of(form):
    return form.__name__.split("_")[0]


def imported(form, start, batch=2, units=UNITS, inputs=INPUTS, before=lambda v: v, steps=STEPS):
    """A loop over steps as a network, and what it computes of a sequence.

    `start`: "input", or the initial states, equal for all sequences; `before`: what x goes through first.
    """
    kind, tracer = kind_of(form), Tracer()
    count = 2 if kind == "lstm" else 1
    w = weights(kind, inputs, units)
    sequence = tracer.input("x", (steps, batch, inputs))
    if isinstance(start, str):
        names = ["h", "c"][:count]
        states = [Tensor(tracer, tracer.input(name, (batch, units))) for name in names]
        numbers = [Numbers(np.zeros(units))] * count
    else:
        states = [Tensor(tracer, np.tile(value, (batch, 1))) for value in start]
        numbers = [Numbers(value) for value in start]
    x = np.random.default_rng(4).standard_normal((steps, inputs))
    outputs, want = [], []
    for t in range(steps):
        step, number = Tensor(tracer, Signal(sequence.ids[t])), Numbers(x[t])
        step, number = before(step), before(number)
        states = form(step, states, w, units)
        numbers = form(number, numbers, w, units)
        outputs.append(states[0].value.ids)
        want.append(numbers[0].value)
    ends = {"y": Signal(np.stack(outputs))}
    if isinstance(start, str):
        ends |= {f"{name}_next": state.value for name, state in zip(names, states, strict=True)}
    return tracer.network(ends, "a test"), x, np.array(want)


def assert_one_layer(form, network, x, want):
    layer = network.layers[-1]
    assert layer.kind == kind_of(form) and layer.reset_before == ("reset_before" in form.__name__)
    assert layer.activation == ("none" if layer.kind != "rnn" else form.__name__.split("_")[1])
    np.testing.assert_allclose(network.run(x), want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("batch, units", [(2, UNITS), (1, UNITS), (2, 1), (3, INPUTS)])
@pytest.mark.parametrize("form", FORMS)
def test_cells_with_states_from_outside(form, batch, units):
    for steps in (1, STEPS):
        network, x, want = imported(form, "input", batch, units, steps=steps)
        assert len(network.layers) == 1 and network.layers[0].initial_state is None
        assert_one_layer(form, network, x, want)


@pytest.mark.parametrize("scale", [1.0, 0.0])
@pytest.mark.parametrize("form", FORMS)
def test_cells_that_begin_at_a_constant(form, scale):
    rng = np.random.default_rng(5)
    start = [scale * rng.uniform(-1, 1, UNITS) for _ in range(2 if kind_of(form) == "lstm" else 1)]
    network, x, want = imported(form, start)
    if scale:
        np.testing.assert_array_equal(network.layers[0].initial_state, np.concatenate(start))
    else:
        assert network.layers[0].initial_state is None
    assert_one_layer(form, network, x, want)


@pytest.mark.parametrize("form", FORMS)
def test_one_step_from_a_constant_is_no_layer_over_time(form):
    start = [np.full(UNITS, 0.5)] * (2 if kind_of(form) == "lstm" else 1)
    with pytest.raises(ImportRefusedError, match=r"^\w+: one step from a constant state: no layer that runs"):
        imported(form, start, steps=1)
    assert imported(form, start, steps=2)[0].layers[0].kind == kind_of(form)


@pytest.mark.parametrize("inputs", [INPUTS, UNITS])
@pytest.mark.parametrize("form", FORMS)
def test_cells_behind_other_layers(form, inputs):
    """Of as many features as there are units, too: what comes from an activation may be the state of a first step."""
    square = np.random.default_rng(6).uniform(-1, 1, (inputs, inputs))
    for before in (lambda v: v.tanh(), lambda v: v.dense(square), lambda v: v.dense(square).relu()):
        network, x, want = imported(form, "input", inputs=inputs, before=before)
        assert [getattr(layer, "kind", "dense") for layer in network.layers] == ["dense", kind_of(form)]
        assert_one_layer(form, network, x, want)


@pytest.mark.parametrize("steps", [1, STEPS])
@pytest.mark.parametrize("form", FORMS)
def test_cells_behind_cells(form, steps):
    """Of as many units: the output of the first is no state of the second."""
    tracer, kind = Tracer(), kind_of(form)
    sequence = tracer.input("x", (steps, 2, UNITS))
    count = 2 if kind == "lstm" else 1
    states = [
        [Tensor(tracer, tracer.input(f"{layer}{k}", (2, UNITS))) for k in range(count)] for layer in "ab"
    ]
    numbers = [[Numbers(np.zeros(UNITS))] * count for _ in "ab"]
    w = weights(kind, UNITS, UNITS)
    x, outputs, want = np.random.default_rng(4).standard_normal((steps, UNITS)), [], []
    for t in range(steps):
        step, number = Tensor(tracer, Signal(sequence.ids[t])), Numbers(x[t])
        for k in range(2):
            states[k], numbers[k] = (
                form(v, s, w, UNITS) for v, s in ((step, states[k]), (number, numbers[k]))
            )
            step, number = states[k][0], numbers[k][0]
        outputs.append(step.value.ids)
        want.append(number.value)
    ends = {f"{k}{n}": s.value for k, layer in enumerate(states) for n, s in enumerate(layer)}
    network = tracer.network({"y": Signal(np.stack(outputs)), **ends}, "a test")
    assert [layer.kind for layer in network.layers] == [kind, kind]
    assert_one_layer(form, network, x, np.array(want))


@pytest.mark.parametrize("inputs", [INPUTS, UNITS])
@pytest.mark.parametrize("before", [lambda v: v, lambda v: v.relu()])
@pytest.mark.parametrize("within", [True, False])
def test_first_steps_whose_state_was_folded_away(within, before, inputs):
    """What the zero state adds is in the bias of the first step; the bias of others within the products, or beside."""
    tracer, (w_x, w_h, b_x, b_h) = Tracer(), weights("rnn", inputs, UNITS)
    sequence = tracer.input("x", (STEPS, 2, inputs))
    steps = [before(Tensor(tracer, Signal(sequence.ids[t]))) for t in range(STEPS)]
    outputs = [steps[0].dense(w_x, b_x + b_h).tanh()]
    for step in steps[1:]:
        h = outputs[-1]
        total = (
            step.dense(w_x, b_x) + h.dense(w_h, b_h)
            if within
            else step.dense(w_x) + h.dense(w_h) + (b_x + b_h)
        )
        outputs.append(total.tanh())
    network = tracer.network({"y": Signal(np.stack([y.value.ids for y in outputs]))}, "a test")
    layer = network.layers[-1]
    assert (layer.kind, layer.initial_state) == ("rnn", None)
    np.testing.assert_allclose(layer.b_x + layer.b_h, b_x + b_h)
    np.testing.assert_array_equal(layer.w_x, w_x)
    np.testing.assert_array_equal(layer.w_h, w_h)


# ---------------------------------------------------------------------------------- what is no cell


def refused(form, **options):
    with pytest.raises(ImportRefusedError) as error:
        imported(form, "input", **options)
    return str(error.value)


def rnn_sigmoid(x, states, w, units):
    [h] = states
    return [(x.dense(w[0], w[2]) + h.dense(w[1], w[3])).sigmoid()]


def rnn_scaled(x, states, w, units):
    return [rnn_tanh(x, states, w, units)[0] * 2.0]


def rnn_negative(x, states, w, units):
    [h] = states
    return [(x.dense(w[0]) - h.dense(w[1])).tanh()]


def rnn_of_products(x, states, w, units):
    [h] = states
    return [(x.dense(w[0]) * h.dense(w[1])).tanh()]


def rnn_of_three_parts(x, states, w, units):
    [h] = states
    return [(x.dense(w[0]) + h.dense(w[1]) + x.tanh().dense(w[0])).tanh()]


def rnn_twice(x, states, w, units):
    [h] = states
    return [(x.dense(w[0]) + h.dense(w[1]) + h.dense(w[1] + 1)).tanh()]


def rnn_of_mixed_features(x, states, w, units):
    [h] = states
    return [(x.dense(w[0]) + h.dense(w[1]).mixed(0)).tanh()]


def rnn_of_mixed_rows(x, states, w, units):
    [h] = states
    return [(x.dense(w[0]) + h.dense(w[1]).mixed(1)).tanh()]


def gru_variant(**change):
    """A gru one of whose parts is another: functions of the parts by name."""

    def gru_changed(x, states, w, units):
        [h] = states
        r, z, n = gates_of(x, h, w, units)
        parts = {"r": (r[0] + r[1]).sigmoid(), "z": (z[0] + z[1]).sigmoid()}
        if "r" in change:
            parts["r"] = change["r"](r, h)
        if "z" in change:
            parts["z"] = change["z"](z, h)
        inner = change.get("inner", lambda n, r, z, h: r * n[1])(n, parts["r"], parts["z"], h)
        new = change.get("n", lambda v: v.tanh())(n[0] + inner)
        z = parts["z"]
        return [change.get("y", lambda z, n, h, r: (1.0 - z) * n + z * h)(z, new, h, parts["r"])]

    return gru_changed


def gru_of_the_relu_of_its_state(x, states, w, units):
    """But for the gates."""
    [h] = states
    r, z, n = rows_of(w, units)
    r = (x.dense(r[0], r[2]) + h.dense(r[1], r[3])).sigmoid()
    z = (x.dense(z[0], z[2]) + h.dense(z[1], z[3])).sigmoid()
    n = (x.dense(n[0], n[2] + n[3]) + (h.relu() * r).dense(n[1])).tanh()
    return [(1.0 - z) * n + z * h.relu()]


def gru_of_two_inputs(gate, part):
    """One gate takes relu(x), or relu(h)."""

    def gru_changed(x, states, w, units):
        [h] = states
        sources = {name: [x, h] for name in "rzn"}
        sources[gate][part] = sources[gate][part].relu()
        r, z, n = (
            (sources[name][0].dense(w_x, b_x), sources[name][1].dense(w_h, b_h))
            for name, (w_x, w_h, b_x, b_h) in zip("rzn", rows_of(w, units), strict=True)
        )
        r, z = (r[0] + r[1]).sigmoid(), (z[0] + z[1]).sigmoid()
        n = (n[0] + r * n[1]).tanh()
        return [(1.0 - z) * n + z * h]

    return gru_changed


def lstm_of_two_inputs(gate, part):
    def lstm_changed(x, states, w, units):
        h, c = states
        sources = {name: [x, h] for name in "ifgo"}
        sources[gate][part] = sources[gate][part].relu()
        i, f, g, o = (
            sources[name][0].dense(w_x, b_x) + sources[name][1].dense(w_h, b_h)
            for name, (w_x, w_h, b_x, b_h) in zip("ifgo", rows_of(w, units), strict=True)
        )
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return [o.sigmoid() * c.tanh(), c]

    return lstm_changed


def lstm_variant(**change):
    def lstm_changed(x, states, w, units):
        h, c = states
        i, f, g, o = (a + b for a, b in gates_of(x, h, w, units))
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = change.get("c", lambda i, f, g, c, h: f * c + i * g)(i, f, g, c, h)
        return [change.get("y", lambda o, c: o * c.tanh())(o, c), c]

    return lstm_changed


NO_CELLS = {
    "rnn of a sigmoid": rnn_sigmoid,
    "rnn, scaled": rnn_scaled,
    "rnn, a product with a minus": rnn_negative,
    "rnn of products": rnn_of_products,
    "rnn of three parts": rnn_of_three_parts,
    "rnn, the state twice": rnn_twice,
    "rnn, features of the first row in another order": rnn_of_mixed_features,
    "rnn, the first feature of other rows": rnn_of_mixed_rows,
    "gru, tanh for the reset": gru_variant(r=lambda r, h: (r[0] + r[1]).tanh()),
    "gru, tanh for the update": gru_variant(z=lambda z, h: (z[0] + z[1]).tanh()),
    "gru, relu for the candidate": gru_variant(n=lambda v: v.relu()),
    "gru, relu for the candidate, the other way": gru_variant(
        n=lambda v: v.relu(), y=lambda z, n, h, r: (1.0 - z) * h + z * n
    ),
    "gru, relu of the state for it": gru_of_the_relu_of_its_state,
    "gru, no reset": gru_variant(inner=lambda n, r, z, h: n[1]),
    "gru, two resets": gru_variant(inner=lambda n, r, z, h: r * n[1] + z * n[1]),
    "gru, reset twice": gru_variant(inner=lambda n, r, z, h: r * n[1] * r),
    "gru, reset by half": gru_variant(inner=lambda n, r, z, h: r * n[1] * 0.5),
    "gru, reset twice as much": gru_variant(inner=lambda n, r, z, h: r * n[1] + r * n[1]),
    "gru, reset of x": gru_variant(inner=lambda n, r, z, h: r * n[0]),
    "gru, a gate of both gates": gru_variant(
        r=lambda r, h: (r[0] + r[1] * (r[0] + r[1]).sigmoid()).sigmoid()
    ),
    "gru, a gate of half a product": gru_variant(r=lambda r, h: (r[0] + r[1] + r[1]).sigmoid()),
    "gru, a gate with the state": gru_variant(z=lambda z, h: (z[0] + z[1] + h).sigmoid()),
    "gru, twice the new": gru_variant(y=lambda z, n, h, r: (1.0 - z) * n * 2.0 + z * h),
    "gru, twice the old": gru_variant(y=lambda z, n, h, r: (1.0 - z) * n + z * h * 2.0),
    "gru, only the new": gru_variant(y=lambda z, n, h, r: (1.0 - z) * n + z * n * h),
    "gru, a sum": gru_variant(y=lambda z, n, h, r: n + z * h + z * n),
    "gru, another gate for the old": gru_variant(y=lambda z, n, h, r: n - z * n + r * h),
    "gru, a square": gru_variant(y=lambda z, n, h, r: n - n * n + z * h),
    "gru, a gate of its own": gru_variant(y=lambda z, n, h, r: n - z * n + z * z),
    "gru, no gate": gru_variant(y=lambda z, n, h, r: n - h * n + h * h),
    "gru, relu of the state": gru_variant(y=lambda z, n, h, r: n - z * n + z * h.relu()),
    "gru, two candidates": gru_variant(y=lambda z, n, h, r: n - z * n + z * n.tanh()),
    **{f"gru, {gate} of another {'xh'[k]}": gru_of_two_inputs(gate, k) for gate in "rzn" for k in (0, 1)},
    **{f"lstm, {gate} of another {'xh'[k]}": lstm_of_two_inputs(gate, k) for gate in "ifgo" for k in (0, 1)},
    "lstm, a minus": lstm_variant(c=lambda i, f, g, c, h: f * c - i * g),
    "lstm, twice the old": lstm_variant(c=lambda i, f, g, c, h: f * c * 2.0 + i * g),
    "lstm, h for c": lstm_variant(c=lambda i, f, g, c, h: f * h + i * g),
    "lstm, no forgetting": lstm_variant(c=lambda i, f, g, c, h: c + i * g),
    "lstm, three terms": lstm_variant(c=lambda i, f, g, c, h: f * c + i * g + f * h),
    "lstm, two candidates": lstm_variant(c=lambda i, f, g, c, h: f * g + i * g),
    "lstm, candidates of both": lstm_variant(c=lambda i, f, g, c, h: f * g.tanh() + i * g),
    "lstm, two old": lstm_variant(c=lambda i, f, g, c, h: f * c + i * h),
    "lstm, one gate": lstm_variant(c=lambda i, f, g, c, h: f * c + i * f),
    "lstm, relu of the memory": lstm_variant(y=lambda o, c: o * c.relu()),
    "lstm, twice": lstm_variant(y=lambda o, c: o * c.tanh() * 2.0),
    "lstm, two gates": lstm_variant(y=lambda o, c: o * c.tanh() * o),
    "lstm, the memory itself": lstm_variant(y=lambda o, c: o * c),
}


def no_cell(name):
    form = NO_CELLS[name]
    form.__name__ = name.split(",")[0].split()[0]
    return form


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", NO_CELLS)
def test_what_is_no_cell_is_refused(name, steps):
    message = refused(no_cell(name), steps=steps)
    reasons = (
        "combines computed tensors, but not as a gru, lstm or rnn does",
        "its initial state is computed",
        "h: an? .*state",
    )
    assert re.search("|".join(reasons), message)
