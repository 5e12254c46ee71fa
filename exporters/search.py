"""Find the smallest packed model whose outputs stay within a bound of its source's."""

import dataclasses

from exporters import agreement
from exporters.planes import most_planes
from exporters.quantize import Precision, QuantizeError

OPERAND_BITS = (8, 16)  # tried in this order


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """A packed model and how it does.

    Attributes
    ----------
    model_file : edge_runtime.format.ModelFile
    data : bytes
    reports : list of exporters.quantize.MatrixReport
    agreement : exporters.agreement.Agreement
    """

    model_file: object
    data: bytes
    reports: list
    agreement: agreement.Agreement


class Search:
    """Packs a calibrated network at different precisions and measures what comes out.

    Parameters
    ----------
    quantizer : exporters.quantize.Quantizer
    encoding : str
    labels, metadata
        For the model file.
    """

    def __init__(self, quantizer, encoding="ternary", labels=None, metadata=None):
        self.quantizer = quantizer
        self.encoding = encoding
        self.inputs = agreement.long_enough(quantizer.inputs)
        self.sources = [quantizer.source.run(x) for x in self.inputs]
        self._labels, self._metadata = labels, metadata
        self._found = {}

    def try_planes(self, planes, operand_bits):
        """Pack with a plane count per matrix, and measure.

        Parameters
        ----------
        planes : sequence of int
        operand_bits : int

        Returns
        -------
        Found
        """
        key = tuple(planes), operand_bits
        if key not in self._found:
            precisions = [Precision(self.encoding, count, operand_bits) for count in planes]
            model_file, reports = self.quantizer.model_file(precisions, self._labels, self._metadata)
            data = model_file.to_bytes()
            measured = agreement.measure(self.sources, data, self.inputs, self.quantizer.output_scale)
            self._found[key] = Found(model_file, data, reports, measured)
        return self._found[key]

    def smallest(self, max_error, operand_bits=None):
        """Search.

        From one plane everywhere, the plane that lowers the error most per byte is added until the bound
        holds; then planes that turned out to be unnecessary are taken away.

        Parameters
        ----------
        max_error : float
            Bound on the greatest absolute difference of an output.
        operand_bits : int, optional
            Default: the first of OPERAND_BITS that reaches the bound.

        Returns
        -------
        Found

        Raises
        ------
        QuantizeError
            The bound cannot be reached; says what was.
        """
        best = None
        for bits in OPERAND_BITS if operand_bits is None else (operand_bits,):
            planes = self._grow(max_error, bits)
            found = self.try_planes(planes, bits)
            if found.agreement.largest <= max_error:
                return self._prune(planes, max_error, bits)
            if best is None or found.agreement.largest < best.agreement.largest:
                best = found
        raise QuantizeError(
            f"a largest difference of {max_error:.3g} cannot be reached; the closest was {best.agreement}"
        )

    def _grow(self, max_error, bits):
        most = most_planes(self.encoding)
        planes = [1] * len(self.quantizer.matrices)
        while True:
            now = self.try_planes(planes, bits)
            if now.agreement.largest <= max_error:
                return planes
            steps = [k for k in range(len(planes)) if planes[k] < most]
            trials = [self.try_planes(_changed(planes, k, 1), bits) for k in steps]
            gains = [
                (now.agreement.rms - t.agreement.rms) / max(len(t.data) - len(now.data), 1) for t in trials
            ]
            if not gains or max(gains) <= 0:
                return self._everywhere(planes, most, max_error, bits)
            planes = _changed(planes, steps[gains.index(max(gains))], 1)

    def _everywhere(self, planes, most, max_error, bits):
        """No single plane helps any more: raise all, for errors that only fall together."""
        trial = [min(count + 1, most) for count in planes]
        while trial != planes:
            now, then = self.try_planes(planes, bits), self.try_planes(trial, bits)
            if then.agreement.rms >= now.agreement.rms:
                return planes
            planes = trial
            if then.agreement.largest <= max_error:
                return planes
            trial = [min(count + 1, most) for count in planes]
        return planes

    def _prune(self, planes, max_error, bits):
        best = self.try_planes(planes, bits)
        shrinking = True
        while shrinking:
            shrinking = False
            for k in range(len(planes)):
                if planes[k] == 1:
                    continue
                trial = self.try_planes(_changed(planes, k, -1), bits)
                if trial.agreement.largest <= max_error and len(trial.data) < len(best.data):
                    best, planes, shrinking = trial, _changed(planes, k, -1), True
        return best


def _changed(planes, k, by):
    return [count + by * (i == k) for i, count in enumerate(planes)]
