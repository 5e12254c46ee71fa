"""How far a packed model's outputs are from its float source's."""

import dataclasses

import numpy as np

from edge_runtime import Model

LEAST_STEPS = 500
DRIFT_STEPS = 60000  # 10 minutes of 10 ms frames
_DRIFT_PART = 6000  # the first and the last minute


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Source against packed model on the same inputs.

    Attributes
    ----------
    steps : int
    largest : float
        Greatest absolute difference of an output.
    rms : float
        Root mean square of the differences.
    spread : float
        Standard deviation of the source's outputs over all steps and outputs.
    same_choice : float
        Share of steps whose greatest output is the same; 1.0 with a single output.
    """

    steps: int
    largest: float
    rms: float
    spread: float
    same_choice: float

    def __str__(self):
        text = f"largest difference {self.largest:.3g}, rms {self.rms:.3g} ({100 * self.relative:.2g} % of the outputs' spread)"
        if self.same_choice < 1 or self.steps == 0:
            text += f", same greatest output in {100 * self.same_choice:.1f} % of steps"
        return f"{text}, {self.steps} steps"

    @property
    def relative(self):
        """float : rms over spread."""
        return self.rms / self.spread if self.spread > 0 else float(self.rms > 0)


def measure(sources, data, inputs, output_scale=1.0):
    """Compare.

    Parameters
    ----------
    sources : sequence of float array [shape=(steps, output_size)]
        The source's outputs, a sequence each from the initial state.
    data : bytes
        The packed file.
    inputs : sequence of float array [shape=(steps, input_size)]
    output_scale : float
        What the packed model's outputs are multiplied by first.

    Returns
    -------
    Agreement
    """
    model = Model.from_bytes(data)
    packed = [model.stream().run(np.asarray(x, np.float32)) * output_scale for x in inputs]
    return between(np.concatenate(sources), np.concatenate(packed))


def between(source, packed):
    """Compare outputs, arrays [shape=(steps, output_size)]."""
    difference = np.abs(packed.astype(np.float64) - source)
    return Agreement(
        steps=len(source),
        largest=float(difference.max()),
        rms=float((difference**2).mean() ** 0.5),
        spread=float(source.std()),
        same_choice=float((packed.argmax(axis=1) == source.argmax(axis=1)).mean()),
    )


def long_enough(inputs):
    """Repeat sequences until the longest has LEAST_STEPS steps."""
    longest = max(len(x) for x in inputs)
    times = -(-LEAST_STEPS // longest)
    return [np.concatenate([x] * times) for x in inputs]


def drift(network, data, inputs, steps=DRIFT_STEPS, output_scale=1.0):
    """Run source and packed model for a long time without a reset.

    Parameters
    ----------
    network : exporters.graph.Network
    data : bytes
    inputs : sequence of float array
        Repeated one after the other.
    steps : int
    output_scale : float
        As for `measure`.

    Returns
    -------
    first, last : Agreement
        Of the first and of the last tenth.
    """
    x = np.concatenate(inputs)
    x = np.resize(x, (steps, x.shape[1]))
    source = network.run(x)
    packed = Model.from_bytes(data).stream().run(x.astype(np.float32)) * output_scale
    part = min(_DRIFT_PART, steps // 10)
    return between(source[:part], packed[:part]), between(source[-part:], packed[-part:])
