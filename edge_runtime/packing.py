# SPDX-License-Identifier: MIT
"""Codes of weights and row scales in a model file: FORMAT.md, sections 5.1 and 5.2."""

import numpy as np

# ------------------------------------------------------------------------------------ row scales


def _scale_table():
    """All values of one or two terms from 0 to 2, ascending, with the codes of the best form.

    Of the forms of one value the one with fewer terms, then with the smaller shifts (which lose
    fewer bits) is taken: 0.75 is 1 - 1/4, not 1/2 + 1/4.
    """
    forms = {0.0: (0, 0)}
    for k in range(16):
        forms[2.0**-k] = (0x80 | k, 0)
    for k1 in range(16):
        for k2 in range(k1, 16):
            for sign, bit in ((1, 0), (-1, 0x40)):
                value = 2.0**-k1 + sign * 2.0**-k2
                forms.setdefault(value, (0x80 | k1, 0x80 | bit | k2))
    values = sorted(forms)
    return np.array(values), np.array([forms[value] for value in values], np.uint8)


_SCALE_VALUES, _SCALE_CODES = _scale_table()


def row_scale_code(value, terms=2):
    """Term codes of the representable row scale closest to a real number.

    Parameters
    ----------
    value : float or array of float [any shape]
        From -2 to 2 (with one term: -1 to 1 are reached, larger magnitudes become 1).
    terms : int
        1 or 2: most terms to use.

    Returns
    -------
    uint8 [shape=(..., 2)]
        See FORMAT.md, section 5.2; `row_scale_value` gives the number that they stand for.

    Raises
    ------
    ValueError
        A value is out of range or not a number.
    """
    value = np.asarray(value, np.float64)
    if terms not in (1, 2):
        raise ValueError(f"terms: expected 1 or 2, got {terms!r}")
    if not np.all(np.abs(value) <= 2):
        raise ValueError("row scale: expected numbers from -2 to 2")
    usable = slice(None) if terms == 2 else _SCALE_CODES[:, 1] == 0
    values, codes = _SCALE_VALUES[usable], _SCALE_CODES[usable]
    magnitude = np.abs(value)
    above = np.clip(np.searchsorted(values, magnitude), 1, len(values) - 1)
    index = np.where(magnitude - values[above - 1] <= values[above] - magnitude, above - 1, above)
    result = codes[index]
    flip = np.where((result & 0x80) != 0, 0x40, 0) * (value < 0)[..., None]
    return (result ^ flip).astype(np.uint8)


def row_scale_value(codes):
    """The numbers that term codes stand for.

    Parameters
    ----------
    codes : uint8 [shape=(..., 2)]

    Returns
    -------
    float64 [shape=(...)]
    """
    codes = np.asarray(codes, np.uint8)
    size = np.ldexp(1.0, -(codes & 15).astype(np.int32))
    term = np.where(codes & 0x80, np.where(codes & 0x40, -size, size), 0.0)
    return term.sum(axis=-1)


# --------------------------------------------------------------------------------------- weights

#: Weights in a packed byte.
COLUMNS_PER_BYTE = {"binary": 8, "ternary": 5, "pow2": 2}
_POW2_VALUES = np.array([0, 1, 2, 4, 8, 16, 32, 64, 0, -1, -2, -4, -8, -16, -32, -64], np.int8)
_TERNARY_VALUES = np.array([[(0, 1, -1)[byte // 3**k % 3] for k in range(5)] for byte in range(243)], np.int8)


def _codes(weights, values, encoding):
    """Index of each weight in `values`; ValueError if one is not among them."""
    weights = np.asarray(weights)
    if weights.dtype.kind not in "iu":
        raise ValueError(f"weights: expected integers, got {weights.dtype}")
    if weights.dtype != np.int8:
        weights = np.clip(weights, -128, 127)  # which no encoding has
    lut = np.full(256, 255, np.uint8)
    for code in reversed(range(len(values))):
        lut[values[code] & 0xFF] = code
    codes = lut[np.ascontiguousarray(weights, np.int8).view(np.uint8)]
    if (codes == 255).any():
        bad = int(np.asarray(weights)[codes == 255].flat[0])
        raise ValueError(f"weights: {bad} cannot be encoded as {encoding}")
    return codes


def _padded(codes, multiple):
    """Codes [shape=(..., columns)] with zeros behind, [shape=(..., bytes, multiple)]."""
    columns = codes.shape[-1]
    total = -(-columns // multiple) * multiple
    padded = np.zeros((*codes.shape[:-1], total), np.uint8)
    padded[..., :columns] = codes
    return padded.reshape(*codes.shape[:-1], total // multiple, multiple)


def pack_binary(weights):
    """Pack weights of +1 and -1, eight a byte.

    Parameters
    ----------
    weights : int8 [shape=(..., columns)]

    Returns
    -------
    uint8 [shape=(..., ceil(columns / 8))]
    """
    bits = _codes(weights, (-1, 1), "binary")
    return np.packbits(bits, axis=-1, bitorder="little")


def unpack_binary(data, columns):
    """Inverse of `pack_binary`: uint8 [shape=(..., bytes)] to int8 [shape=(..., columns)]."""
    bits = np.unpackbits(np.asarray(data, np.uint8), axis=-1, count=columns, bitorder="little")
    return (2 * bits.astype(np.int8) - 1).astype(np.int8)


def pack_ternary(weights):
    """Pack weights of 0, +1 and -1, five a byte.

    Parameters
    ----------
    weights : int8 [shape=(..., columns)]

    Returns
    -------
    uint8 [shape=(..., ceil(columns / 5))]
    """
    digits = _padded(_codes(weights, (0, 1, -1), "ternary"), 5)
    return (digits * np.array([1, 3, 9, 27, 81], np.uint8)).sum(axis=-1, dtype=np.uint8)


def unpack_ternary(data, columns):
    """Inverse of `pack_ternary`: uint8 [shape=(..., bytes)] to int8 [shape=(..., columns)].

    Each byte is at most 242.
    """
    data = np.asarray(data, np.uint8)
    return _TERNARY_VALUES[data].reshape(*data.shape[:-1], -1)[..., :columns].copy()


def pack_pow2(weights):
    """Pack weights of 0 and plus or minus 1, 2, 4, ... 64, two a byte.

    Parameters
    ----------
    weights : int8 [shape=(..., columns)]

    Returns
    -------
    uint8 [shape=(..., ceil(columns / 2))]
    """
    nibbles = _padded(_codes(weights, [int(v) for v in _POW2_VALUES], "pow2"), 2)
    return (nibbles[..., 0] | nibbles[..., 1] << 4).astype(np.uint8)


def unpack_pow2(data, columns):
    """Inverse of `pack_pow2`: uint8 [shape=(..., bytes)] to int8 [shape=(..., columns)]."""
    data = np.asarray(data, np.uint8)
    nibbles = np.stack([data & 15, data >> 4], axis=-1).reshape(*data.shape[:-1], -1)
    return _POW2_VALUES[nibbles[..., :columns]]


def entropy(weights):
    """Return the order-0 entropy of integer weights in bits per weight: what an ideal coder of single weights needs."""
    counts = np.unique(weights, return_counts=True)[1]
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum()) + 0.0


#: Packing and unpacking functions by encoding.
PACK = {"binary": pack_binary, "ternary": pack_ternary, "pow2": pack_pow2}
UNPACK = {"binary": unpack_binary, "ternary": unpack_ternary, "pow2": unpack_pow2}


def legal_weights(encoding, data, columns):
    """The legal weight bytes closest to the given ones (R25).

    Parameters
    ----------
    encoding : str
    data : uint8 [shape=(rows, row_bytes)]
    columns : int

    Returns
    -------
    uint8 [shape=(rows, row_bytes)]
        Equal to `data` where that is legal.
    """
    last = columns % COLUMNS_PER_BYTE[encoding]
    legal = data.copy()
    if encoding == "pow2":
        low, high = legal & 15, legal >> 4
        low[low == 8] = 0
        high[high == 8] = 0
        if last:
            high[:, -1] = 0
        return low | high << 4
    base, full = (2, 255) if encoding == "binary" else (3, 242)
    legal = np.minimum(legal, full)
    if last:
        legal[:, -1] = np.minimum(legal[:, -1], base**last - 1)
    return legal
