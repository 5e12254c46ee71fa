"""A float network becomes a packed model that is proven to agree with it."""

import dataclasses
import zipfile

import numpy as np

from exporters import agreement
from exporters.agreement import Agreement
from exporters.quantize import QuantizeError, Quantizer, generated_inputs
from exporters.search import Found, Search
from exporters.verify import MismatchError

#: Default bound on the greatest difference of an output: this share of the outputs' standard deviation.
MAX_ERROR_SHARE = 0.1
_DRIFT_GROWTH = 1.5  # rms of the last minute over the first, above which errors are said to grow


@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
    """A packed model and its proof.

    Attributes
    ----------
    found : exporters.search.Found
        Model file, its bytes, a report per matrix, agreement.
    max_error : float
        The bound that holds.
    generated : bool
        No calibration was given: inputs were standard normal.
    drift : (Agreement, Agreement) or None
        The first and the last tenth of a long run.
    """

    found: Found
    max_error: float
    generated: bool
    drift: tuple[Agreement, Agreement] | None


def pack(
    network,
    inputs=None,
    *,
    encoding="ternary",
    planes=None,
    operand_bits=None,
    max_error=None,
    drift_steps=agreement.DRIFT_STEPS,
    labels=None,
    metadata=None,
    on_progress=None,
):
    """Quantize a network without training it again, and prove what comes out.

    Parameters
    ----------
    network : exporters.graph.Network
    inputs : sequence of float array [shape=(steps, input_size)], optional
        Typical inputs, each sequence from the initial state. They set ranges, and are what is compared
        (repeated up to 500 steps). Default: standard normal numbers.
    encoding : str
        "ternary", "binary" or "pow2".
    planes : int, optional
        Of every matrix. Default: as few as the bound allows, for each matrix of its own.
    operand_bits : int, optional
        4, 5, 6, 8 or 16, of every matrix. With 16 the model has numeric profile 2 (FORMAT.md, section 7.5), in which
        network inputs and gates have 16 bits, too, else 8. Default: 8, or 16 where 8 do not reach the bound
        (with `planes` given: 8).
    max_error : float, optional
        Bound on the greatest absolute difference of an output. Default: a tenth of the standard deviation of
        the source's outputs.
    drift_steps : int
        Length of a run without a reset, whose ends are compared; 0: none.
    labels : sequence of str, optional
    metadata : dict of str to str, optional
    on_progress : callable, optional
        Called with a line of text now and then.

    Returns
    -------
    Packed

    Raises
    ------
    QuantizeError
        The format cannot hold the network's numbers, or no precision reaches the bound.
    MismatchError
        The packed model is further from the source than the bound, or drifts away from it.
    """
    generated = inputs is None
    inputs = inputs_or_generated(network, inputs)
    search = Search(Quantizer(network, inputs, on_progress), encoding, labels, metadata)
    if max_error is None:
        max_error = MAX_ERROR_SHARE * float(np.concatenate(search.sources).std())
    if planes is None:
        found = search.smallest(max_error, operand_bits)
    else:
        found = search.try_planes([planes] * len(search.quantizer.matrices), operand_bits or 8)
    if not found.agreement.largest <= max_error:
        raise MismatchError(f"bound {max_error:.3g}: {found.agreement}; more planes or operand bits lower it")
    drift = None
    if drift_steps > 0:
        if on_progress is not None:
            on_progress(f"{drift_steps} steps without a reset")
        drift = agreement.drift(network, found.data, inputs, drift_steps, search.quantizer.output_scale)
        first, last = drift
        if last.rms > _DRIFT_GROWTH * max(first.rms, found.agreement.rms):
            raise MismatchError(
                f"drifts away: rms {first.rms:.3g} over the first tenth of {drift_steps} steps, {last.rms:.3g} over the last"
            )
    return Packed(found, max_error, generated, drift)


def inputs_or_generated(network, inputs):
    """Return `inputs`, or generated ones for None."""
    return generated_inputs(network.input_size) if inputs is None else inputs


def read_inputs(path, input_size):
    """Read calibration inputs.

    Parameters
    ----------
    path : path
        .npy, or .npz with one or more arrays of any name: [shape=(steps, input_size)], or
        [shape=(sequences, steps, input_size)].
    input_size : int

    Returns
    -------
    list of float array [shape=(steps, input_size)]
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"array": loaded}
    except OSError as error:
        raise QuantizeError(f"{path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise QuantizeError(f"{path}: not a .npy or .npz file of numbers: {error}") from error
    sequences = []
    for name, array in arrays.items():
        if array.ndim not in (2, 3) or array.shape[-1] != input_size or 0 in array.shape:
            raise QuantizeError(
                f"{path}: {name}: expected shape (steps, {input_size}) or (sequences, steps, {input_size}), "
                f"found {array.shape}"
            )
        if array.dtype.kind not in "fiu":
            raise QuantizeError(f"{path}: {name}: expected numbers, found {array.dtype}")
        sequences += [array] if array.ndim == 2 else list(array)
    if not sequences:
        raise QuantizeError(f"{path}: no array")
    return [x.astype(np.float64) for x in sequences]
