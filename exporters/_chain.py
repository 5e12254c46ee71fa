"""A chain of traced stages becomes layers: constants fold into the weights beside them."""

import dataclasses

import numpy as np

from exporters.graph import Dense, ImportRefusedError


def chain_layers(stages):
    """Fold stages into layers.

    Parameters
    ----------
    stages : sequence of Stage
        First to last.

    Returns
    -------
    layers : list of Recurrent and Dense
    softmax : bool
        A softmax came last.
    """
    chain = _Chain()
    for stage in stages:
        if chain.ended:
            raise ImportRefusedError(f"{stage.name}: follows a softmax")
        getattr(chain, stage.kind)(stage)
    chain.flush()
    return chain.layers, chain.ended


class _Chain:
    def __init__(self):
        self.layers = []
        self.ended = False  # by a softmax
        self._pending = None  # scale and offset that no layer has taken yet, and their name
        self._size = None  # features of the stage before

    def features(self, stage):
        self._size = stage.size

    def affine(self, stage):
        scale, offset = stage.value
        if self._pending is None and self._open():
            last = self.layers[-1]
            self.layers[-1] = dataclasses.replace(last, w=last.w * scale[:, None], b=last.b * scale + offset)
        elif self._pending is None:
            self._pending = (scale, offset, stage.name)
        else:
            before, shift, name = self._pending
            self._pending = (before * scale, shift * scale + offset, name)

    def dense(self, stage):
        w, b = (np.asarray(v, np.float64) for v in stage.value)
        w, b = self._take(w, b)
        self._append(Dense(w, b, name=stage.name))

    def recurrent(self, stage):
        w_x, b_x = self._take(stage.value.w_x, stage.value.b_x)
        self._append(dataclasses.replace(stage.value, w_x=w_x, b_x=b_x))

    def activation(self, stage):
        if self._pending is not None or not self._open():
            w, b = self._take(np.eye(self._size), np.zeros(self._size))
            self._append(Dense(w, b, name=stage.name))
        self.layers[-1] = dataclasses.replace(self.layers[-1], activation=stage.value)

    def cell(self, stage):
        raise ImportRefusedError(f"{stage.name}: its cell state goes into a layer: only its output can")

    def softmax(self, stage):
        self.ended = True

    def flush(self):
        """Make a layer of constants that no layer followed."""
        if self._pending is not None:
            name = self._pending[2]
            w, b = self._take(np.eye(self._size), np.zeros(self._size))
            self._append(Dense(w, b, name=name))

    def _open(self):
        """Whether the last layer is dense and has no activation yet."""
        return (
            bool(self.layers) and isinstance(self.layers[-1], Dense) and self.layers[-1].activation == "none"
        )

    def _take(self, w, b):
        if self._pending is None:
            return w, b
        scale, offset, _ = self._pending
        self._pending = None
        return w * scale, b + w @ offset

    def _append(self, layer):
        self.layers.append(layer)
        self._size = layer.output_size
