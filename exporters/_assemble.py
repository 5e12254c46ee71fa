"""From traced stages to a network: what comes last, in which order the steps run, what the outputs are."""

import itertools

import numpy as np

from exporters._chain import chain_layers
from exporters._stages import ancestors, emit, refuse
from exporters.graph import ImportRefusedError, Network


def assemble(tracer, outputs, source):
    """Make the network of everything that was traced.

    Parameters
    ----------
    tracer : Tracer
    outputs : dict of str to Signal
        The graph's outputs: that of the last layer, at all steps or the last one, and states.
    source : str

    Returns
    -------
    Network
    """
    last = _last_stage(tracer)
    chain = ancestors(last)
    steps = _order(tracer, chain)
    states = _check_inputs(tracer, outputs, steps)
    _check_outputs(tracer, outputs, states, last, steps)
    layers, softmax = chain_layers(chain)
    return Network(layers, softmax, source)


def _last_stage(tracer):
    """The one stage that nothing follows."""
    stages = [s for s in tracer.stages.stages if s not in tracer.absorbed]
    parents = {s.parent for s in stages if s.kind != "cell"}
    ends = [s for s in stages if s not in parents and s.kind not in ("input", "cell", "formula", "held")]
    if not ends:
        raise ImportRefusedError("no layer found")
    if len(ends) > 1:
        refuse(ends[-1].name, f"a second branch beside {ends[0].name}")
    return ends.pop()


def _order(tracer, chain):
    """The rows of the input as [shape=(steps, batch)], as the recurrent layers take them."""
    features = chain[0]
    if features.kind != "features":
        refuse(features.name, "the network begins at a part of an input, or at a constant")
    layers = [s for s in chain if s.kind == "recurrent"]
    if not layers:
        return np.arange(features.rows)[:, None]
    steps = np.array(tracer.steps[layers[0]])
    if not _in_order(steps, features.value):
        refuse(layers[0].name, f"its steps are not those of input {features.name} in order")
    for layer in layers:
        carried = any(state is layer for _, state in tracer.fed)
        if layer in tracer.recognized and len(steps) == 1 and not carried:
            refuse(layer.name, "one step from a constant state: no layer that runs over time")
    for layer in layers[1:]:
        if not np.array_equal(np.array(tracer.steps[layer]), steps):
            refuse(layer.name, f"its steps are not those of {layers[0].name} in order")
    return steps


def _check_inputs(tracer, outputs, steps):
    """Each input is the sequence, or a state that an output hands on to the next call: names of these outputs."""
    handed_on = set()
    stages = [s for s in tracer.stages.stages if s not in tracer.absorbed]
    entered = {s.parent for s in stages if s.kind in ("features", "view")}
    for stage in (s for s in stages if s.kind == "input" and s not in entered):
        following = np.full(stage.rows, -1)
        for ids, state in tracer.fed:
            if stage.base <= ids.min() < stage.base + stage.rows:
                if (following[ids - stage.base] != -1).any():
                    refuse(stage.name, "an input that is the state of two layers")
                following[ids - stage.base] = emit(state, steps[-1]).ids
        if (following == -1).any():
            refuse(stage.name, "an input that is not used as sequence or as state of a layer")
        names = [name for name, signal in outputs.items() if np.array_equal(following, signal.ids.ravel())]
        if not names:
            refuse(
                stage.name, "a state input, but no output is the state after the last step, arranged alike"
            )
        handed_on.add(names[-1])  # the first one may be the output proper
    return handed_on


def _check_outputs(tracer, outputs, states, last, steps):
    """The first output that is not handed on is that of the last layer; others are states after the last step."""
    first = next((name for name in outputs if name not in states), None)
    found = False
    for name, signal in outputs.items():
        if not signal.ids.size:
            refuse(name, "an output of size 0")
        stages = tracer.stages.of(signal.ids)
        if stages == [last] and _is_sequence(signal.ids - last.base, steps, last.size):
            found = True
        elif name == first or not all(_is_state(signal, stage, steps[-1]) for stage in stages):
            kind = "" if name == first else " nor a state after the last step"
            refuse(name, f"an output that is not all features of {last.name} in order{kind}")
    if not found:
        refuse(last.name, "no output holds all of its features in order")


def _is_state(signal, stage, rows):
    ids = signal.ids[(signal.ids >= stage.base) & (signal.ids < stage.base + stage.rows * stage.size)]
    return stage.kind in ("recurrent", "cell") and np.isin((ids - stage.base) // stage.size, rows).all()


def _in_order(steps, lead):
    """Whether steps [shape=(steps, batch)] are the rows of an input with axes `lead`, time or batch first."""
    lead, sizes = _without_ones(lead), _without_ones(steps.shape)
    rows = np.arange(steps.size)
    return (lead == sizes and np.array_equal(rows.reshape(steps.shape), steps)) or (
        lead == sizes[::-1] and np.array_equal(rows.reshape(steps.shape[::-1]).T, steps)
    )


def _is_sequence(elements, steps, size):
    """Whether a tensor holds all features, at every step or at the last one, with axes permuted or flattened."""
    if elements.size != steps.size * size:
        steps = steps[-1:]
    expected = steps[..., None] * size + np.arange(size)
    shape = _without_ones(elements.shape)
    for order in itertools.permutations(range(3)):
        arranged = expected.transpose(order)
        a, b, c = arranged.shape
        shapes = [_without_ones(merged) for merged in ((a, b, c), (a * b, c), (a, b * c), (a * b * c,))]
        if shape in shapes and np.array_equal(arranged.ravel(), elements.ravel()):
            return True
    return False


def _without_ones(shape):
    return [n for n in shape if n != 1]
