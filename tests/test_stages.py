# SPDX-License-Identifier: MIT
"""Where elements of a tensor come from, and in which order a network's steps run: the importers' numbering, by hand."""

import types

import numpy as np
import pytest

from exporters import _assemble, _stages
from exporters._stages import Signal, Stages, ancestors, emit
from exporters.graph import ImportRefusedError, Recurrent


def refusal(function, *arguments):
    with pytest.raises(ImportRefusedError) as error:
        function(*arguments)
    return str(error.value)


@pytest.fixture
def stages():
    """An input [shape=(3, 2)] of ids 0 to 5, and two stages of 3 rows: b of 4 features from 6, c of 1 from 18."""
    made = Stages()
    made.add("input", "a", 6, 1, value=(3, 2))
    made.add("dense", "b", 3, 4)
    made.add("dense", "c", 3, 1)
    return made


def ids_of(stage, *rows):
    """Ids of all features at these rows."""
    return stage.base + np.array(rows)[:, None] * stage.size + np.arange(stage.size)


# ------------------------------------------------------------------------------------------ the numbering


def test_stages_are_numbered_one_after_the_other(stages):
    a, b, c = stages.stages
    assert [(s.kind, s.name, s.base, s.rows, s.size) for s in stages.stages] == [
        ("input", "a", 0, 6, 1),
        ("dense", "b", 6, 3, 4),
        ("dense", "c", 18, 3, 1),
    ]
    d = stages.add("affine", "d", 2, 2, parent=b, value=7)
    assert (d.base, d.parent, d.value) == (21, b, 7) and (a.parent, c.value) == (None, None)


def test_stages_have_at_most_four_million_elements(stages):
    most = 2**22
    assert stages.add("dense", "d", most // 2, 2).base == 21
    assert stages.add("dense", "e", 1, most).base == 21 + most
    for rows, size in ((most + 1, 1), (1, most + 1)):
        want = f"f: {rows} steps of {size} features: export with a dynamic time axis"
        assert refusal(stages.add, "dense", "f", rows, size) == want
    assert len(stages.stages) == 5


def test_equal_operations_on_a_stage_are_one(stages):
    _, b, c = stages.stages
    layer = dict(
        kind="rnn", w_x=np.ones((2, 3)), w_h=np.eye(2), b_x=np.ones(2), b_h=np.zeros(2), activation="tanh"
    )
    values = {
        "activation": ["relu", "tanh"],
        "dense": [
            (np.ones((2, 4)), np.zeros(2)),
            (np.ones((2, 4)), np.ones(2)),
            (2 * np.ones((2, 4)), np.ones(2)),
        ],
        "affine": [(np.ones(4),), (np.ones(4), np.zeros(4))],
        "softmax": [None],
        "recurrent": [
            Recurrent(**layer),
            *(Recurrent(**{**layer, field: 2 * layer[field]}) for field in ("w_x", "w_h", "b_x")),
            Recurrent(**{**layer, "b_h": np.ones(2)}),
            Recurrent(**{**layer, "activation": "relu"}),
            Recurrent(**{**layer, "reset_before": True}),
        ],
    }
    found = {}
    for _ in range(2):
        for kind, several in values.items():
            for k, value in enumerate(several):
                for parent in (b, c):
                    stage = stages.add_row_wise(kind, "name", 5, parent, value)
                    assert found.setdefault((kind, k, parent), stage) is stage
                    assert (stage.kind, stage.rows, stage.size, stage.parent) == (kind, 3, 5, parent)
                    assert stage.value is value
    assert len(set(found.values())) == len(found)
    again = Recurrent(**layer, name="another", initial_state=np.ones(2))
    assert stages.add_row_wise("recurrent", "name", 5, b, again) is found["recurrent", 0, b]


def test_stages_that_elements_belong_to(stages):
    a, b, c = stages.stages
    assert stages.of(np.array([[0, 5]])) == [a]
    assert stages.of(np.array([6])) == stages.of(np.array([17])) == [b]
    assert stages.of(np.array([18, 20])) == [c]
    assert stages.of(np.array([[17, 5], [18, 0]])) == [a, b, c]
    assert stages.of(np.array([20, 0])) == [a, c]
    assert stages.of(np.array([18, 17])) == [b, c]


def test_the_one_stage_of_elements(stages):
    a, b, c = stages.stages
    for stage, ids in ((a, [5, 0]), (b, [6, 17]), (c, [18]), (c, [20, 19])):
        assert stages.one_of("n", np.array(ids)) is stage
    for ids in ([5, 6], [6, 5], [17, 18], [18, 17], [0, 20]):
        assert refusal(stages.one_of, "n", np.array(ids)) == "n: its input mixes several tensors"
    for ids in (np.array([], int), np.array(7), np.zeros((2, 0), int)):
        assert refusal(stages.one_of, "n", ids) == "n: its input is empty"


def test_elements_are_rows_and_columns_of_every_feature(stages):
    _, b, _ = stages.stages
    stage, row, column = stages.elements("n", np.array([[13, 6], [8, 11]]))
    assert stage is b
    np.testing.assert_array_equal(row, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(column, [[3, 0], [2, 1]])
    for ids in ([6, 7, 8], [6, 10, 14, 7, 8], [9, 8, 7]):
        assert refusal(stages.elements, "n", np.array(ids)) == "n: takes only some of the 4 features of b"
    stages.add("formula", "sum", 3, 4, value=types.SimpleNamespace(blame="the sum"))
    want = "the sum: combines computed tensors, but not as a gru, lstm or rnn does (for n)"
    assert refusal(stages.elements, "n", np.array([21, 22])) == want


def test_vectors_are_features_in_order(stages):
    _, b, c = stages.stages
    stage, rows = stages.vectors("n", np.array([ids_of(b, 2, 0), ids_of(b, 1, 1)]))
    assert stage is b
    np.testing.assert_array_equal(rows, [[2, 0], [1, 1]])
    stage, rows = stages.vectors("n", ids_of(c, 1, 2))
    assert stage is c and rows.tolist() == [1, 2]
    assert stages.vectors("n", ids_of(b, 2)[0])[1] == 2
    mixed = ids_of(b, 0, 1)
    mixed[0, 3], mixed[1, 3] = mixed[1, 3], mixed[0, 3]
    for ids in (
        ids_of(b, 0)[:, ::-1],
        mixed,
        ids_of(b, 0, 1).reshape(1, 8),
        ids_of(b, 0, 1).T,
        ids_of(b, 0, 1).reshape(4, 2),
    ):
        want = "n: the last axis of its input is not the 4 features of b in order"
        assert refusal(stages.vectors, "n", ids) == want


# ------------------------------------------------------------------------------------------ inputs


@pytest.mark.parametrize(
    "shape, axis", [((3, 2), 1), ((3, 2), 0), ((2, 3, 4), 1), ((5, 2, 3), 2), ((2, 2), 1)]
)
def test_an_input_gets_the_features_that_its_first_use_walks_along(shape, axis):
    stages = Stages()
    stages.add("dense", "before", 1, 7)
    source = stages.add("input", "x", int(np.prod(shape)), 1, value=shape)
    ids = source.base + np.arange(source.rows).reshape(shape)
    walked = np.moveaxis(ids, axis, -1)
    features, moved = stages.enter("n", source, walked)
    lead = shape[:axis] + shape[axis + 1 :]
    assert (features.kind, features.name, features.parent) == ("features", "x", source)
    assert (features.rows, features.size) == (source.rows // shape[axis], shape[axis])
    assert features.value == (*lead, 1) and features.base == 7 + source.rows
    np.testing.assert_array_equal(moved, features.base + np.arange(source.rows).reshape((*lead, shape[axis])))
    np.testing.assert_array_equal(stages.leave(features, moved), walked)
    again, part = stages.enter("n", source, walked[..., :1, :])
    assert again is features
    np.testing.assert_array_equal(part, moved[..., :1, :])
    found, rows = stages.vectors("n", walked)
    assert found is features
    np.testing.assert_array_equal(rows, np.arange(features.rows).reshape(lead))


def test_an_input_without_an_axis_of_features_has_one_feature():
    stages = Stages()
    source = stages.add("input", "x", 6, 1, value=(3, 2))
    features, moved = stages.enter("n", source, np.arange(6)[:, None])
    assert (features.rows, features.size, features.value) == (6, 1, (3, 2))
    np.testing.assert_array_equal(moved, 6 + np.arange(6)[:, None])
    np.testing.assert_array_equal(stages.leave(features, moved), np.arange(6)[:, None])
    flat = stages.add("input", "z", 3, 1, value=(1, 3))
    assert stages.enter("n", flat, flat.base + np.arange(3)[:, None])[0].value == (1, 3)
    one = stages.add("input", "y", 3, 1, value=(3, 1))
    assert stages.enter("n", one, one.base + np.arange(3)[:, None])[0].value == (3, 1)


def test_two_uses_of_an_input_may_walk_along_different_axes():
    stages = Stages()
    source = stages.add("input", "x", 6, 1, value=(3, 2))
    ids = np.arange(6).reshape(3, 2)
    columns, _ = stages.enter("n", source, ids)
    rows, moved = stages.enter("n", source, ids.T)
    assert columns is not rows and (rows.rows, rows.size, rows.base) == (2, 3, 12)
    np.testing.assert_array_equal(moved, 12 + np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(stages.leave(rows, moved), ids.T)
    assert stages.enter("n", source, ids)[0] is columns


def test_a_part_of_an_axis_is_a_view():
    """As of states that are packed into one input."""
    stages = Stages()
    source = stages.add("input", "x", 12, 1, value=(2, 6))
    ids = np.arange(12).reshape(2, 6)
    view, moved = stages.enter("n", source, ids[:, 1:4])
    assert (view.kind, view.name, view.rows, view.size, view.parent) == ("view", "x", 2, 3, source)
    np.testing.assert_array_equal(view.value, ids[:, 1:4])
    np.testing.assert_array_equal(moved, 12 + np.arange(6).reshape(2, 3))
    assert stages.enter("n", source, ids[:, 1:4])[0] is view
    other, moved = stages.enter("n", source, ids[:, 2:5])
    assert other is not view and other.base == 18
    np.testing.assert_array_equal(stages.leave(other, moved), ids[:, 2:5])
    flipped, _ = stages.enter("n", source, ids[:, ::-1])
    assert flipped.kind == "view"
    steps, moved = stages.enter("n", source, ids[:, None, ::2])
    assert (steps.rows, steps.size, moved.shape) == (2, 3, (2, 1, 3))
    assert stages.enter("n", source, ids[:, ::2])[0] is steps
    pairs, moved = stages.enter("n", source, ids[:, ::2].reshape(3, 2))
    assert (pairs.rows, pairs.size, moved.shape) == (3, 2, (3, 2))


# ------------------------------------------------------------------------------------------ small parts


def test_weights_may_be_repeated_along_other_axes():
    w = np.arange(6.0).reshape(2, 3)
    w[0, 0] = np.nan
    for given in (w, w[None], np.broadcast_to(w, (4, 2, 3)), np.broadcast_to(w, (2, 2, 2, 3))):
        np.testing.assert_array_equal(_stages.dense_weights("n", given), w.T)
    reason = "expected two dimensions, or the same weights along the others"
    for bad in (np.ones(5), np.arange(12.0).reshape(2, 2, 3)):
        assert refusal(_stages.dense_weights, "n", bad) == f"n: weights of shape {bad.shape}: {reason}"


def test_signals_are_all_columns_of_rows(stages):
    _, b, _ = stages.stages
    signal = emit(b, np.array([[2, 0]]))
    assert isinstance(signal, Signal) and signal.shape == (1, 2, 4)
    np.testing.assert_array_equal(signal.ids, [[[14, 15, 16, 17], [6, 7, 8, 9]]])


def test_ancestors_are_without_the_input(stages):
    a, b, _ = stages.stages
    features = stages.add("features", "a", 3, 2, a)
    first = stages.add("dense", "d", 3, 2, features)
    second = stages.add("dense", "e", 3, 2, first)
    assert ancestors(second) == [features, first, second] and ancestors(b) == [b] and ancestors(a) == []


@pytest.mark.parametrize(
    "a, b, same",
    [
        ("relu", "relu", True),
        ("relu", "tanh", False),
        (None, None, True),
        ((1, 2), (1, 2), True),
        ((1, 2), (1,), False),
        ((1, 2), (2, 1), False),
        ((np.ones(2), 3), (np.ones(2), 3), True),
        ((np.ones(2),), (np.ones(3),), False),
    ],
)
def test_values_of_stages_that_are_the_same(a, b, same):
    assert _stages.same_value(a, b) is same


def test_a_layer_is_no_text():
    assert not _stages.same_value(Recurrent("rnn", *np.ones((2, 1, 1)), *np.ones((2, 1)), "tanh"), "rnn")


# ------------------------------------------------------------------------------------------ order of steps


@pytest.mark.parametrize(
    "steps, lead, in_order",
    [
        ([[0, 1], [2, 3], [4, 5]], (3, 2), True),  # time first
        ([[0, 3], [1, 4], [2, 5]], (2, 3), True),  # batch first
        ([[0, 1], [2, 3], [4, 5]], (2, 3), False),
        ([[0, 3], [1, 4], [2, 5]], (3, 2), False),
        ([[0, 1], [4, 5], [2, 3]], (3, 2), False),
        ([[1, 0], [3, 2], [5, 4]], (3, 2), False),
        ([[0], [1], [2]], (3,), True),
        ([[0], [1], [2]], (1, 3, 1), True),
        ([[0], [2], [1]], (3,), False),
        ([[0, 1], [2, 3]], (4,), False),
        ([[0, 1], [2, 3]], (2, 2), True),
        ([[0, 2], [1, 3]], (2, 2), True),
        ([[0, 3], [1, 2]], (2, 2), False),
    ],
)
def test_steps_are_the_rows_of_the_input_time_or_batch_first(steps, lead, in_order):
    assert _assemble._in_order(np.array(steps), lead) == in_order


SEQUENCE = np.arange(3 * 2 * 4).reshape(3, 2, 4)  # [steps, batch, features]


@pytest.mark.parametrize(
    "elements, holds",
    [
        (SEQUENCE, True),
        (SEQUENCE.transpose(1, 0, 2), True),
        (SEQUENCE.transpose(2, 1, 0), True),
        (SEQUENCE.transpose(1, 2, 0), True),
        (SEQUENCE.reshape(6, 4), True),
        (SEQUENCE.reshape(3, 8), True),
        (SEQUENCE.ravel(), True),
        (SEQUENCE[:, :, None], True),
        (SEQUENCE.transpose(1, 0, 2).reshape(6, 4), True),
        (SEQUENCE[-1], True),
        (SEQUENCE[-1].T, True),
        (SEQUENCE[-1].ravel(), True),
        (SEQUENCE[-1:], True),
        (SEQUENCE[0], False),
        (SEQUENCE[::-1], False),
        (SEQUENCE[..., ::-1], False),
        (SEQUENCE.reshape(3, 4, 2), False),
        (SEQUENCE.reshape(2, 12), False),
        (SEQUENCE.reshape(2, 3, 4), False),
        (SEQUENCE[1:], False),
        (SEQUENCE[-1].reshape(4, 2), False),
    ],
)
def test_outputs_hold_every_step_or_the_last_one(elements, holds):
    rows = np.arange(6).reshape(3, 2)
    assert _assemble._is_sequence(elements, rows, 4) == holds
    assert not _assemble._is_sequence(elements + 1, rows, 4)


def tracer_of(stages, **fields):
    empty = dict(absorbed=set(), recognized=set(), fed=[], steps={}, cells={})
    return types.SimpleNamespace(stages=stages, **{**empty, **fields})


@pytest.fixture
def chain():
    """An input of 3 steps and 2 sequences, a gru and a dense layer, and a state input of the gru."""
    stages = Stages()
    source = stages.add("input", "x", 12, 1, value=(3, 2, 2))
    features = stages.add("features", "x", 6, 2, source, (3, 2, 1))
    state = stages.add("input", "h", 6, 1, value=(2, 3))
    gru = stages.add("recurrent", "gru", 6, 3, features)
    dense = stages.add("dense", "dense", 6, 4, gru)
    steps = np.arange(6).reshape(3, 2)
    fed = [(state.base + np.arange(6).reshape(2, 3), gru)]
    return types.SimpleNamespace(
        source=source,
        features=features,
        state=state,
        gru=gru,
        dense=dense,
        steps=steps,
        tracer=tracer_of(stages, steps={gru: list(steps)}, fed=fed),
    )


def test_the_last_stage_is_the_one_that_nothing_follows(chain):
    tracer = chain.tracer
    assert _assemble._last_stage(tracer) is chain.dense
    for kind in ("cell", "formula", "held"):
        tracer.stages.add(kind, kind, 6, 3, chain.dense if kind == "cell" else None)
    tracer.absorbed.add(tracer.stages.add("activation", "absorbed", 6, 4, chain.dense))
    assert _assemble._last_stage(tracer) is chain.dense
    tracer.stages.add("dense", "other", 6, 5, chain.gru)
    assert refusal(_assemble._last_stage, tracer) == "other: a second branch beside dense"
    alone = Stages()
    alone.add("input", "x", 6, 1, value=(3, 2))
    assert refusal(_assemble._last_stage, tracer_of(alone)) == "no layer found"


def test_steps_of_the_first_recurrent_layer_are_those_of_the_network(chain):
    path = [chain.features, chain.gru, chain.dense]
    np.testing.assert_array_equal(_assemble._order(chain.tracer, path), chain.steps)
    np.testing.assert_array_equal(
        _assemble._order(chain.tracer, [chain.features, chain.dense]), np.arange(6)[:, None]
    )
    chain.tracer.steps[chain.gru].reverse()
    want = "gru: its steps are not those of input x in order"
    assert refusal(_assemble._order, chain.tracer, path) == want
    for kind in ("held", "view"):
        start = chain.tracer.stages.add(kind, kind, 6, 2)
        want = f"{kind}: the network begins at a part of an input, or at a constant"
        assert refusal(_assemble._order, chain.tracer, [start, chain.gru]) == want


def test_layers_that_follow_run_in_the_same_order(chain):
    second = chain.tracer.stages.add("recurrent", "second", 6, 3, chain.gru)
    path = [chain.features, chain.gru, second]
    chain.tracer.steps[second] = list(chain.steps)
    np.testing.assert_array_equal(_assemble._order(chain.tracer, path), chain.steps)
    chain.tracer.steps[second] = list(chain.steps[::-1])
    want = "second: its steps are not those of gru in order"
    assert refusal(_assemble._order, chain.tracer, path) == want
    chain.tracer.steps[chain.gru].reverse()
    want = "gru: its steps are not those of input x in order"
    assert refusal(_assemble._order, chain.tracer, path) == want


def test_one_step_of_a_recognized_cell_must_carry_its_state(chain):
    stages = Stages()
    source = stages.add("input", "x", 4, 1, value=(2, 2))
    features = stages.add("features", "x", 2, 2, source, (2, 1))
    cell, other = (stages.add("recurrent", name, 2, 3, features) for name in ("cell", "other"))
    step = [np.arange(2)]
    ids = np.arange(6).reshape(2, 3)
    fixed = tracer_of(stages, steps={cell: step, other: step}, recognized={cell}, fed=[(ids, other)])
    want = "cell: one step from a constant state: no layer that runs over time"
    assert refusal(_assemble._order, fixed, [features, cell]) == want
    assert refusal(_assemble._order, fixed, [features, other, cell]) == want
    for changes in ({"recognized": set()}, {"fed": [(ids, other), (ids, cell)]}):
        free = types.SimpleNamespace(**{**vars(fixed), **changes})
        np.testing.assert_array_equal(_assemble._order(free, [features, cell]), [[0, 1]])
    chain.tracer.recognized.add(chain.gru)
    chain.tracer.fed.clear()
    np.testing.assert_array_equal(_assemble._order(chain.tracer, [chain.features, chain.gru]), chain.steps)


def test_states_are_handed_on_by_an_output(chain):
    after = emit(chain.gru, chain.steps[-1])
    outputs = {"y": emit(chain.dense, chain.steps), "h1": after, "h2": Signal(after.ids[None])}
    assert _assemble._check_inputs(chain.tracer, outputs, chain.steps) == {"h2"}
    for bad in (after.ids[::-1], after.ids[:, ::-1], emit(chain.gru, chain.steps[0]).ids, after.ids.T):
        changed = {"y": outputs["y"], "h1": Signal(bad)}
        want = "h: a state input, but no output is the state after the last step, arranged alike"
        assert refusal(_assemble._check_inputs, chain.tracer, changed, chain.steps) == want
    chain.tracer.fed.append(chain.tracer.fed[0])
    want = "h: an input that is the state of two layers"
    assert refusal(_assemble._check_inputs, chain.tracer, outputs, chain.steps) == want


def test_every_input_is_used(chain):
    chain.tracer.fed[0] = (chain.tracer.fed[0][0][:1], chain.tracer.fed[0][1])
    reason = "an input that is not used as sequence or as state of a layer"
    steps = chain.steps[:, :1]
    assert refusal(_assemble._check_inputs, chain.tracer, {}, steps) == f"h: {reason}"
    chain.tracer.fed.clear()
    assert refusal(_assemble._check_inputs, chain.tracer, {}, steps) == f"h: {reason}"
    chain.tracer.stages.add("view", "h", 2, 3, chain.state)
    assert _assemble._check_inputs(chain.tracer, {}, steps) == set()
    more = chain.tracer.stages.add("input", "z", 1, 1, value=(1,))
    assert refusal(_assemble._check_inputs, chain.tracer, {}, steps) == f"z: {reason}"
    chain.tracer.absorbed.add(more)
    assert _assemble._check_inputs(chain.tracer, {}, steps) == set()


def test_one_input_may_hold_the_states_of_two_layers(chain):
    second = chain.tracer.stages.add("recurrent", "second", 6, 2, chain.gru)
    state = chain.tracer.stages.add("input", "s", 10, 1, value=(2, 5))
    ids = state.base + np.arange(10).reshape(2, 5)
    chain.tracer.fed = [(ids[:, :3], chain.gru), (ids[:, 3:], second)]
    chain.tracer.absorbed.add(chain.state)
    after = np.hstack([emit(layer, chain.steps[-1]).ids for layer in (chain.gru, second)])
    assert _assemble._check_inputs(chain.tracer, {"s1": Signal(after)}, chain.steps) == {"s1"}


def test_outputs_are_the_sequence_and_states(chain):
    def check(outputs, states=()):
        _assemble._check_outputs(chain.tracer, outputs, set(states), chain.dense, chain.steps)

    y, after = emit(chain.dense, chain.steps), emit(chain.gru, chain.steps[-1])
    part, first = Signal(after.ids[:, :2]), emit(chain.gru, chain.steps[0])
    cell = chain.tracer.stages.add("cell", "gru", 6, 3, chain.gru)
    check({"y": y})
    check({"h": after, "y": y}, ["h"])
    check({"y": y, "h": after, "c": emit(cell, chain.steps[-1]), "part": part})
    check({"y": y, "both": Signal(np.hstack([after.ids, emit(cell, chain.steps[-1]).ids]))})
    check({"y": Signal(y.ids[-1]), "again": y})
    assert refusal(check, {"y": y, "e": Signal(y.ids[:0])}) == "e: an output of size 0"
    reason = "an output that is not all features of dense in order"
    assert refusal(check, {"h": after, "y": y}) == f"h: {reason}"
    assert refusal(check, {"y": Signal(y.ids[..., :3])}) == f"y: {reason}"
    later = Signal(np.hstack([emit(chain.gru, chain.steps[-1:, 1:]).ids[0], [[chain.gru.base]]]))
    for other in (
        first,
        emit(chain.gru, chain.steps[1]),
        later,
        Signal(y.ids[..., :3]),
        Signal(np.hstack([after.ids, first.ids])),
        emit(cell, chain.steps),
    ):
        want = f"o: {reason} nor a state after the last step"
        assert refusal(check, {"y": y, "o": other}) == want
    assert refusal(check, {"h": after}, ["h"]) == "dense: no output holds all of its features in order"
    assert refusal(check, {}) == "dense: no output holds all of its features in order"
