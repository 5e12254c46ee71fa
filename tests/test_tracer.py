# SPDX-License-Identifier: MIT
"""`Tracer`, one operation at a time: what it computes as a network, and what it refuses in which words."""

import dataclasses
import re

import numpy as np
import pytest

from exporters._cells import Cell, Pending, find_cell
from exporters._formula import Formula
from exporters._provenance import Tracer
from exporters._stages import MAX_ELEMENTS, Signal
from exporters.graph import ImportRefusedError

STEPS, BATCH, SIZE, UNITS = 7, 2, 4, 3
RNG = np.random.default_rng(0)
W = RNG.uniform(-1, 1, (UNITS, SIZE))
X = RNG.standard_normal((STEPS, SIZE))
ROWS = {"rnn": UNITS, "gru": 3 * UNITS, "lstm": 4 * UNITS}


def refused(function, *arguments, **options):
    with pytest.raises(ImportRefusedError) as error:
        function(*arguments, **options)
    return str(error.value)


def flat():
    tracer = Tracer()
    return tracer, tracer.input("x", (STEPS, SIZE))


def sequence(batch=BATCH, steps=STEPS):
    tracer = Tracer()
    return tracer, tracer.input("x", (steps, batch, SIZE))


def weights(kind, inputs=SIZE, seed=1):
    rng = np.random.default_rng(seed)
    shapes = (inputs,), (UNITS,), (), ()
    return [rng.uniform(-1, 1, (ROWS[kind], *shape)) for shape in shapes]


def run(tracer, **outputs):
    return tracer.network(outputs, "a test").run(X)


# ---------------------------------------------------------------------------------- inputs


def test_inputs_have_a_number_for_each_element():
    tracer = Tracer()
    first, second = tracer.input("x", (2, 3)), tracer.input("h", (5,))
    np.testing.assert_array_equal(first.ids, np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(second.ids, 6 + np.arange(5))
    assert (first.shape, second.shape) == ((2, 3), (5,))
    assert [(s.kind, s.name, s.rows, s.size, s.value) for s in tracer.stages.stages] == [
        ("input", "x", 6, 1, (2, 3)),
        ("input", "h", 5, 1, (5,)),
    ]


def test_sizes_of_inputs_are_limited():
    assert refused(Tracer().input, "x", (3, 0)) == "x: a dimension of size 0: (3, 0)"
    reason = "is fixed in the file: export with a dynamic time axis"
    assert refused(Tracer().input, "x", (2**21 + 1, 2)) == f"x: (2097153, 2) {reason}"
    assert MAX_ELEMENTS == 2**22
    assert Tracer().input("x", (2**21, 2)).shape == (2**21, 2)
    assert Tracer().input("x", ()).shape == ()


# ---------------------------------------------------------------------------------- dense, affine, activation


def test_dense_layers():
    for b in (None, np.array([0.5, -1, 2])):
        tracer, x = flat()
        y = tracer.dense("head", x, W, b)
        assert y.shape == (STEPS, UNITS)
        np.testing.assert_allclose(run(tracer, y=y), X @ W.T + (0 if b is None else b))
        assert tracer.network({"y": y}, "a test").layers[0].name == "head"


@pytest.mark.parametrize("w", [W[:, :3], W[0], W[None], W.T])
def test_weights_fit_the_features(w):
    tracer, x = flat()
    assert refused(tracer.dense, "head", x, w) == f"head: weights {w.shape} do not fit 4 features of x"


@pytest.mark.parametrize("w", [W[:, :3], W[0], W[None], W.T])
@pytest.mark.parametrize("shape", [(STEPS, SIZE), (1, STEPS, SIZE)])
def test_weights_fit_computed_features(w, shape):
    tracer, x = flat()
    x = Signal(x.ids.reshape(shape))
    product = tracer.combine("product", "mul", tracer.activation("t", x, "tanh"), x)
    assert refused(tracer.dense, "head", product, w) == f"head: weights {w.shape} do not fit 4 features"
    assert tracer.dense("head", product, W).shape == (*shape[:-1], UNITS)


@pytest.mark.parametrize(
    "scale, offset",
    [
        (2.0, 0.0),
        (np.arange(4) + 0.5, 1.0),
        (-1.0, np.arange(4.0)),
        (np.ones((7, 1)), np.arange(4.0)),
        (np.arange(4.0).reshape(1, 4) + 1, np.ones((7, 4))),
    ],
)
def test_constants_scale_and_shift(scale, offset):
    tracer, x = flat()
    np.testing.assert_allclose(run(tracer, y=tracer.affine("a", x, scale, offset)), X * scale + offset)


def test_constants_broadcast_a_signal():
    tracer, x = flat()
    y = tracer.affine("a", x, np.ones((1, 1, 1)), 3.0)
    assert y.shape == (1, STEPS, SIZE)
    np.testing.assert_allclose(run(tracer, y=y), X + 3)


def test_constants_are_the_same_at_every_step_and_finite():
    tracer, x = flat()
    steps = np.arange(7.0)[:, None]
    assert refused(tracer.affine, "a", x, steps, 0.0) == "a: a constant that differs from step to step"
    assert refused(tracer.affine, "a", x, 1.0, steps) == "a: a constant that differs from step to step"
    assert refused(tracer.affine, "a", x, np.nan, 0.0) == "a: a constant is not a finite number: nan"
    some = np.array([1, 2, -np.inf, np.nan])
    assert refused(tracer.affine, "a", x, 1.0, some) == "a: a constant is not a finite number: -inf"


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_activations(activation):
    from exporters.graph import ACTIVATE

    tracer, x = flat()
    y = tracer.activation("f", tracer.affine("a", x, 2.0, 1.0), activation)
    np.testing.assert_allclose(run(tracer, y=y), ACTIVATE[activation](2 * X + 1))


def test_softmax_is_over_all_features_of_a_row():
    positions = np.arange(STEPS * SIZE).reshape(STEPS, SIZE)
    tracer, x = flat()
    head = tracer.dense("head", x, np.eye(SIZE))
    y = tracer.softmax("s", head, positions[:, ::-1])
    assert y.shape == (STEPS, SIZE) and tracer.network({"y": y}, "a test").softmax
    reason = "s: a softmax that is not over the 4 features of head"
    assert refused(tracer.softmax, "s", head, positions[:, :3]) == reason
    assert refused(tracer.softmax, "s", head, positions.T) == reason
    assert refused(tracer.softmax, "s", head, positions.reshape(-1, 4).T.reshape(STEPS, SIZE)) == reason
    assert refused(tracer.softmax, "s", head, positions.reshape(1, -1)) == reason


# ---------------------------------------------------------------------------------- recurrent layers


@pytest.mark.parametrize("kind", ROWS)
def test_recurrent_layers(kind):
    tracer, x = sequence()
    w = weights(kind)
    y, h, c = tracer.recurrent("layer", kind, x, *w, activation="tanh" if kind == "rnn" else "none")
    assert y.shape == (STEPS, BATCH, UNITS) and h.shape == (BATCH, UNITS)
    assert (c is None) == (kind != "lstm") and (c is None or c.shape == (BATCH, UNITS))
    np.testing.assert_array_equal(y.ids[-1], h.ids)
    [layer] = tracer.network({"y": y}, "a test").layers
    assert (layer.kind, layer.name, layer.initial_state, layer.reset_before) == (kind, "layer", None, False)
    assert layer.activation == ("tanh" if kind == "rnn" else "none")
    for name, value in zip(("w_x", "w_h", "b_x", "b_h"), w, strict=True):
        np.testing.assert_array_equal(getattr(layer, name), value)


def test_recurrent_layers_take_sequences():
    tracer, x = flat()
    expected = "layer: expected an input with axes time, batch and feature, found (7, 4)"
    assert refused(tracer.recurrent, "layer", "gru", x, *weights("gru")) == expected
    tracer, x = sequence()
    wide = Signal(x.ids[None])
    expected = "layer: expected an input with axes time, batch and feature, found (1, 7, 2, 4)"
    assert refused(tracer.recurrent, "layer", "gru", wide, *weights("gru")) == expected
    w = weights("gru", SIZE + 1)
    assert (
        refused(tracer.recurrent, "layer", "gru", x, *w) == "layer: weights (9, 5) do not fit 4 features of x"
    )


H, C = RNG.uniform(-1, 1, (2, 1, UNITS)).repeat(BATCH, axis=1)


@pytest.mark.parametrize(
    "h, c, state",
    [
        (None, None, None),
        (H, None, [*H[0], 0, 0, 0]),
        (None, C, [0, 0, 0, *C[0]]),
        (H, C, [*H[0], *C[0]]),
        (0 * H, 0 * C, None),
    ],
)
def test_initial_states_are_constant(h, c, state):
    tracer, x = sequence()
    y, _, _ = tracer.recurrent("layer", "lstm", x, *weights("lstm"), h=h, c=c)
    [layer] = tracer.network({"y": y}, "a test").layers
    if state is None:
        assert layer.initial_state is None
    else:
        np.testing.assert_array_equal(layer.initial_state, state)


@pytest.mark.parametrize(
    "h, reason",
    [
        (H[:, :2], "layer: initial h: expected (batch, units) = (2, 3), found (2, 2)"),
        (H[:1], "layer: initial h: expected (batch, units) = (2, 3), found (1, 3)"),
        (H[0], "layer: initial h: expected (batch, units) = (2, 3), found (3,)"),
        (H * [[1], [2]], "layer: initial h is not finite or differs between the sequences of a batch"),
        (H * np.nan, "layer: initial h is not finite or differs between the sequences of a batch"),
    ],
)
def test_initial_states_are_those_of_every_sequence(h, reason):
    tracer, x = sequence()
    assert refused(tracer.recurrent, "layer", "gru", x, *weights("gru"), h=h) == reason
    tracer, x = sequence()
    reason = reason.replace("initial h", "initial c")
    assert refused(tracer.recurrent, "layer", "lstm", x, *weights("lstm"), c=h) == reason


def test_states_are_inputs_that_an_output_hands_on():
    tracer, x = sequence()
    h, c = tracer.input("h", (BATCH, UNITS)), tracer.input("c", (BATCH, UNITS))
    y, h_next, c_next = tracer.recurrent("layer", "lstm", x, *weights("lstm"), h=h, c=c)
    network = tracer.network({"y": y, "h_next": h_next, "c_next": c_next}, "a test")
    assert network.layers[0].initial_state is None
    assert re.match(
        "c: a state input, but no output", refused(tracer.network, {"y": y, "h_next": h_next}, "")
    )
    tracer, x = sequence()
    wide = tracer.input("h", (BATCH, UNITS + 1))
    expected = "layer: initial h: expected (batch, units) = (2, 3), found (2, 4)"
    assert refused(tracer.recurrent, "layer", "gru", x, *weights("gru"), h=wide) == expected
    tracer, x = sequence()
    first, _, _ = tracer.recurrent("first", "gru", x, *weights("gru"))
    expected = "layer: its initial state is computed: expected a constant or an input of the graph"
    assert (
        refused(tracer.recurrent, "layer", "gru", first, *weights("gru", UNITS), h=Signal(first.ids[0]))
        == expected
    )


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("parts", [[7], [1] * 7, [3, 4]])
def test_a_loop_over_steps_is_one_layer(kind, parts):
    """Each part begins with the state after the part before."""
    tracer, x = sequence()
    options = {"activation": "relu"} if kind == "rnn" else {}
    h = c = None
    outputs, start = [], 0
    for n in parts:
        part = Signal(x.ids[start : start + n])
        y, h, c = tracer.recurrent(f"at {start}", kind, part, *weights(kind), h=h, c=c, **options)
        outputs.append(y.ids)
        start += n
    network = tracer.network({"y": Signal(np.concatenate(outputs)), "h": h}, "a test")
    assert [layer.name for layer in network.layers] == ["at 0"]


def other_weight(w):
    return [w[0] + 1, *w[1:]]


@pytest.mark.parametrize("fault", ["weights", "h", "c", "nothing", "input", "constant"])
def test_what_does_not_go_on_from_the_step_before_is_another_layer(fault):
    tracer, x = sequence()
    w = weights("lstm")
    _, h, c = tracer.recurrent("first", "lstm", Signal(x.ids[:3]), *w)
    rest, state = Signal(x.ids[3:]), {"h": h, "c": c}
    if fault == "weights":
        w = other_weight(w)
    elif fault == "nothing":
        state = {}
    elif fault == "constant":
        state = {"h": H, "c": C}
    elif fault == "input":
        rest = tracer.affine("a", rest, 2.0, 0.0)
        w = [w[0] / 2, *w[1:]]
    else:
        state[fault] = Signal(state[fault].ids[:, ::-1])
    if fault in ("nothing", "constant"):
        before = len(tracer.steps)
        tracer.recurrent("second", "lstm", rest, *w, **state)
        assert len(tracer.steps) == before + 1
    else:
        expected = "second: its initial state is computed: expected a constant or an input of the graph"
        assert refused(tracer.recurrent, "second", "lstm", rest, *w, **state) == expected


def step_of(tracer, x, h, w):
    """tanh(W x + b + R h + c) of single operations."""
    w_x, w_h, b_x, b_h = w
    total = tracer.combine("sum", "add", tracer.dense("W", x, w_x, b_x), tracer.dense("R", h, w_h, b_h))
    return tracer.activation("step", total, "tanh")


@pytest.mark.parametrize("single", [(True, True), (True, False), (False, True)])
def test_steps_of_single_operations_and_others_go_on_from_each_other(single):
    tracer, x = sequence(steps=2)
    w = weights("rnn")
    h = first = tracer.input("h", (BATCH, UNITS))
    states = []
    for t, alone in enumerate(single):
        if alone:
            h = step_of(tracer, Signal(x.ids[t]), h, w)
        else:
            _, h, _ = tracer.recurrent("layer", "rnn", Signal(x.ids[t : t + 1]), *w, h=h, activation="tanh")
        states.append(h.ids)
    network = tracer.network({"y": Signal(np.stack(states)), "h_next": h}, "a test")
    [layer] = network.layers
    assert (layer.kind, layer.activation, layer.initial_state) == (
        "rnn",
        "tanh",
        None,
    ) and first.shape == h.shape
    np.testing.assert_allclose(layer.b_x + layer.b_h, w[2] + w[3])


def test_recurrent_layers_follow_a_cell_of_single_operations():
    tracer, x = sequence(steps=1)
    h = tracer.input("h", (BATCH, UNITS))
    y = step_of(tracer, Signal(x.ids[0]), h, weights("rnn"))
    second, _, _ = tracer.recurrent("second", "gru", Signal(y.ids[None]), *weights("gru", UNITS))
    assert [layer.kind for layer in tracer.network({"z": second, "h_next": y}, "").layers] == ["rnn", "gru"]
    for after in ("softmax", "dense"):
        tracer, x = sequence(steps=1)
        h = tracer.input("h", (BATCH, UNITS))
        y = step_of(tracer, Signal(x.ids[0]), h, weights("rnn"))
        if after == "softmax":
            z = tracer.softmax("s", y, np.arange(BATCH * UNITS).reshape(BATCH, UNITS))
        else:
            z = tracer.dense("head", y, np.ones((1, UNITS)))
        network = tracer.network({"z": z, "h_next": y}, "")
        assert network.softmax == (after == "softmax") and network.layers[0].kind == "rnn"


# ---------------------------------------------------------------------------------- combined signals


def test_formulas_are_recognized_or_blamed():
    tracer, x = flat()
    t = tracer.activation("t", x, "tanh")
    both = tracer.combine("both", "mul", t, x)
    shifted = tracer.affine("shifted", both, 2.0, 1.0)
    expected = "both: combines computed tensors, but not as a gru, lstm or rnn does (on the way to y)"
    assert refused(tracer.network, {"y": shifted}, "") == expected
    expected = "both: combines computed tensors, but not as a gru, lstm or rnn does (for s)"
    assert refused(tracer.softmax, "s", shifted, np.arange(28).reshape(7, 4)) == expected
    more = tracer.combine("more", "add", tracer.activation("f", shifted, "relu"), x)
    assert refused(tracer.network, {"y": more}, "").startswith("both: combines computed tensors")
    more = tracer.combine("more", "add", x, shifted)
    assert refused(tracer.network, {"y": more}, "").startswith("both: combines computed tensors")


def formula_of(tracer, signal):
    [stage] = tracer.stages.of(signal.ids)
    assert stage.kind == "formula"
    return stage.value.formula


@pytest.mark.parametrize(
    "operator, of",
    [("add", lambda a, b: a.plus(b)), ("sub", lambda a, b: a.plus(b, -1.0)), ("mul", Formula.times)],
)
def test_combinations_are_formulas(operator, of):
    tracer, x = flat()
    t = tracer.activation("t", x, "tanh")
    a, b = Formula.signal(t.ids), Formula.signal(x.ids)
    found = formula_of(tracer, tracer.combine("c", operator, t, x))
    assert found.key == of(a, b).key != of(b, a.plus(b)).key
    row = Signal(x.ids[:1])
    wide = formula_of(tracer, tracer.combine("c", operator, t, row))
    assert (wide.rows, wide.size) == (STEPS, SIZE)
    assert wide.key == of(a, Formula.signal(np.broadcast_to(row.ids, x.shape))).key


def test_constants_on_formulas():
    tracer, x = flat()
    base = tracer.combine("c", "mul", tracer.activation("t", x, "tanh"), x)
    formula = formula_of(tracer, base)
    two, three = (Formula.constant(np.full((STEPS, SIZE), v)) for v in (2.0, 3.0))
    for scale, offset, want in (
        (2.0, 0.0, formula.times(two)),
        (2.0, 3.0, formula.times(two).plus(three)),
        (1.0, np.full(SIZE, 3.0), formula.plus(three)),
        (1.0, 0.0, formula),
        (1.0, np.zeros(SIZE), formula.plus(Formula.constant(np.zeros((STEPS, SIZE))))),
    ):
        assert formula_of(tracer, tracer.affine("a", base, scale, offset)).key == want.key
    assert formula_of(tracer, tracer.activation("f", base, "relu")).key == formula.apply("relu").key
    v = np.arange(8.0).reshape(2, 4)
    found = formula_of(tracer, tracer.dense("d", base, v))
    assert found.key == formula.dense(v).key and (found.rows, found.size) == (STEPS, 2)
    found = formula_of(tracer, tracer.dense("d", base, v, np.array([2.0, 2.0])))
    assert found.key == formula.dense(v).plus(Formula.constant(np.full((STEPS, 2), 2.0))).key


def test_parts_of_formulas_are_formulas_of_their_columns():
    tracer, x = flat()
    base = tracer.combine("c", "mul", tracer.activation("t", x, "tanh"), x)
    formula = formula_of(tracer, base)
    for first, end in ((0, 2), (1, 3), (3, 4)):
        part = Signal(base.ids[:, first:end])
        found = formula_of(tracer, tracer.activation("f", part, "relu"))
        assert found.key == formula.columns(first, end).apply("relu").key
    for moved in (base.ids[:, ::-1], base.ids[::-1], base.ids[1:], base.ids.reshape(-1, 2), base.ids[:, ::2]):
        assert tracer._formula(Signal(moved)) is None
    assert tracer._formula(Signal(base.ids[:0])) is None and tracer._formula(x) is None
    assert tracer._formula(Signal(base.ids[0, 0])) is None
    assert tracer._formula(Signal(base.ids.reshape(1, STEPS, SIZE))).key == formula.key
    both = Signal(np.concatenate([base.ids, x.ids]))
    assert tracer._formula(both) is None


def test_parts_of_a_row_beyond_the_next_are_none():
    """Columns that begin in one row and end in the next."""
    tracer, x = flat()
    base = tracer.combine("c", "mul", tracer.activation("t", x, "tanh"), x)
    shifted = base.ids.ravel()[2 : 2 + 4 * (STEPS - 1)].reshape(-1, 4)
    assert tracer._formula(Signal(shifted)) is None
    wide = base.ids[:, :1] + np.arange(SIZE + 1)
    assert tracer._formula(Signal(wide)) is None


def test_parts_of_a_stage_may_be_known():
    tracer, x = flat()
    y, other = tracer.activation("t", x, "tanh"), tracer.affine("a", x, 3.0, 0.0)
    [stage] = tracer.stages.of(y.ids)
    assert tracer._settled(y).ids is y.ids
    tracer.learn_part(stage, y.ids[:2], Signal(other.ids[:2]))
    mixed = np.concatenate([other.ids[:2], y.ids[2:]])
    np.testing.assert_array_equal(tracer._settled(y).ids, mixed)
    tracer.learn_part(stage, y.ids[5:, 1:], Signal(other.ids[5:, 1:]))
    mixed[5:, 1:] = other.ids[5:, 1:]
    both = Signal(np.concatenate([x.ids, y.ids]))
    np.testing.assert_array_equal(tracer._settled(both).ids, np.concatenate([x.ids, mixed]))


def test_what_is_kept_of_operations_is_itself_only():
    """They are keys, and hold arrays that have no truth of their own."""
    formula = Formula.signal(np.arange(4).reshape(2, 2))
    assert find_cell(Tracer(), formula) is None and find_cell(Tracer(), formula.plus(formula, -1.0)) is None
    for make in (lambda: Pending(formula, "n"), lambda: Cell(("rnn",)), lambda: Signal(np.arange(3))):
        one, other = make(), make()
        assert len({one, other}) == 2 and one != other
        with pytest.raises(dataclasses.FrozenInstanceError):
            one.kind = "x"
    assert (Pending(formula, "n").operand, Pending(formula, "n").again, Cell(()).c) == (None, None, None)


# ---------------------------------------------------------------------------------- what was held


@pytest.mark.parametrize(
    "constant, shape", [(2.0, (1, 1)), ([1.0, 2.0], (1, 2)), (np.arange(12.0).reshape(2, 3, 2), (2, 3, 2))]
)
def test_constants_may_be_held_as_signals(constant, shape):
    tracer = Tracer()
    tracer.input("x", (2, 2))
    signal = tracer.hold("c", constant)
    assert signal.shape == shape
    [stage] = tracer.stages.of(signal.ids)
    assert (stage.kind, stage.size, stage.rows) == ("held", shape[-1], int(np.prod(shape[:-1])))
    np.testing.assert_array_equal(
        stage.value.ravel()[signal.ids - stage.base], np.broadcast_to(constant, shape)
    )
    assert stage.value.dtype == np.float64 and stage.value.shape == (stage.rows, stage.size)
