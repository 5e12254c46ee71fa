# SPDX-License-Identifier: MIT
"""Random float networks, as someone would have trained them."""

import numpy as np

from edge_runtime.format import GATES
from exporters.graph import Dense, Network, Recurrent


def float_network(
    kind, inputs=6, units=16, outputs=4, layers=1, seed=0, reset_before=False, activation="tanh"
):
    """A network of recurrent layers and a dense one.

    Parameters
    ----------
    kind : str
        "rnn", "gru" or "lstm".
    inputs, units, outputs, layers, seed : int
    reset_before : bool
    activation : str
        Of rnn.
    """
    rng = np.random.default_rng(seed)

    def uniform(*shape):
        return rng.uniform(-1, 1, shape) * 1.2 / np.sqrt(units)

    rows = GATES[kind] * units
    stack = [
        Recurrent(
            kind,
            uniform(rows, inputs if k == 0 else units),
            uniform(rows, units),
            uniform(rows),
            uniform(rows),
            activation if kind == "rnn" else "none",
            reset_before,
            initial_state=uniform((2 if kind == "lstm" else 1) * units) if k == 0 else None,
            name=f"{kind}{k}",
        )
        for k in range(layers)
    ]
    return Network((*stack, Dense(uniform(outputs, units), uniform(outputs), name="out")), source="test")
