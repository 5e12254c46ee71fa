#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Find the activation tables of numeric profile 1 and write them as data.

    python native/tools/make_activation_table.py            rewrite the files
    python native/tools/make_activation_table.py --check    compare; exit status 1 on a difference

The tables (exporters/FORMAT.md, section 7.4) approximate ``32768 tanh(a / 2048)`` for a = 0 .. 8191 in 64
segments of 128 values. In segment i, with F the position in it, spread over an int16,

    seg(i, F) = B[i] + (F >> S1[i]) + (F >> S2[i]) - (F >> S3[i])

serves two grids: tanh steps F by 512, sigmoid (tanh of half its argument) by 256. Wanted are the 4 x 64
numbers that

* stay within MAX_ERROR of the true function on the grid of tanh,
* rise monotonically on both grids, inside segments and from each to the next,
* are 0 at 0, so that the function is odd, and at most 32767,

and among those the ones with the least sum of squared errors. That is a shortest path: for each segment all
admissible (S1, S2, S3, B) are listed and grouped by first and last value; a segment may follow another if it
starts no lower than that one ends. Of equal costs the one found first stays.
"""

import argparse
import bisect
import pathlib
import sys
import zlib

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEGMENTS = 64
SEGMENT_SIZE = 128  # values of a on the grid of tanh
MAX_ERROR = 26  # units of 2^-15; nothing exists for 24
NAMES = ("base", "shift1", "shift2", "shift3")

TANH_GRID = (np.arange(128, dtype=np.int64) << 9) - 32768
SIGMOID_GRID = (np.arange(256, dtype=np.int64) << 8) - 32768


def monotone_slopes():
    """Shift triples whose part of seg without the base is monotone on both grids.

    Returns
    -------
    list of (shifts, values, last)
        `values` on the grid of tanh; `last` is the greatest value on either grid.
    """
    slopes = []
    for s1 in range(16):
        for s2 in range(s1, 16):
            for s3 in range(16):
                tanh, sigmoid = (
                    (grid >> s1) + (grid >> s2) - (grid >> s3) for grid in (TANH_GRID, SIGMOID_GRID)
                )
                if np.diff(tanh).min() >= 0 and np.diff(sigmoid).min() >= 0:
                    slopes.append(((s1, s2, s3), tanh, int(max(tanh[-1], sigmoid[-1]))))
    return slopes


def segment_candidates(i, slopes):
    """Best numbers of segment i for each pair of its first and last value.

    Returns
    -------
    dict
        (first, last) to (sum of squared errors, B, S1, S2, S3).
    """
    a = i * SEGMENT_SIZE + np.arange(SEGMENT_SIZE)
    wanted = np.tanh(a / 2048) * 32768
    candidates = {}
    for shifts, values, top in slopes:
        difference = wanted - values
        low = int(np.ceil(difference.max() - MAX_ERROR))
        high = min(int(np.floor(difference.min() + MAX_ERROR)), 32767 - top)
        for base in range(low, high + 1):
            first = base + int(values[0])
            if first < 0 or (i == 0 and first != 0):
                continue
            cost = float(((base - difference) ** 2).sum())
            key = (first, base + top)
            found = (cost, base, *shifts)
            if key not in candidates or found < candidates[key]:
                candidates[key] = found
    return candidates


def search():
    """The four tables: int64 [shape=(4, SEGMENTS)], B first."""
    slopes = monotone_slopes()
    paths = {0: (0.0, [])}  # last value of the path to its cost and numbers
    for i in range(SEGMENTS):
        ends = sorted(paths)
        cheapest = []  # of the paths that end at ends[0] .. ends[k]
        for end in ends:
            path = paths[end]
            cheapest.append(path if not cheapest or path[0] < cheapest[-1][0] else cheapest[-1])
        longer = {}
        for (first, last), (cost, *numbers) in segment_candidates(i, slopes).items():
            k = bisect.bisect_right(ends, first) - 1
            if k < 0:
                continue
            path = (cheapest[k][0] + cost, [*cheapest[k][1], numbers])
            if last not in longer or path[0] < longer[last][0]:
                longer[last] = path
        if not longer:
            raise SystemExit(f"no table within {MAX_ERROR} of tanh exists (segment {i})")
        paths = longer
    _, rows = min(paths.values(), key=lambda path: path[0])
    return np.array(rows, np.int64).T


def table_crc(tables):
    """CRC-32 of the tables as little-endian int16."""
    return zlib.crc32(tables.astype("<i2").tobytes())


def rows_of(values):
    """A table as lines of 16 numbers."""
    lines = (values[k : k + 16] for k in range(0, SEGMENTS, 16))
    return "".join("    " + ", ".join(str(int(v)) for v in line) + ",\n" for line in lines)


def python_text(tables):
    """Contents of edge_runtime/activation_table.py."""
    text = '''"""The activation tables of numeric profile 1 (FORMAT.md, section 7.4): data, not code.

`python native/tools/make_activation_table.py` finds these numbers again and rewrites this file and
`native/src/activation_table.h`. The CRC-32 in every model file is `TABLE_CRC`.
"""

'''
    for name, values in zip(NAMES, tables, strict=True):
        text += f"{name.upper()} = [\n{rows_of(values)}]\n\n"
    text += "#: CRC-32 of the four tables as little-endian int16, BASE first.\n"
    return text + f"TABLE_CRC = 0x{table_crc(tables):08X}\n"


def c_text(tables):
    """Contents of native/src/activation_table.h."""
    text = f"""/* SPDX-License-Identifier: MIT
 * The activation tables of numeric profile 1 (exporters/FORMAT.md, section 7.4). Written by
 * native/tools/make_activation_table.py, together with edge_runtime/activation_table.py. */
#ifndef ER_ACTIVATION_TABLE_H
#define ER_ACTIVATION_TABLE_H

#include <stdint.h>

#define ER_ACTIVATION_TABLE_CRC 0x{table_crc(tables):08X}u

"""
    for name, values in zip(NAMES, tables, strict=True):
        c_type = "int16_t" if name == "base" else "uint8_t"
        text += f"static const {c_type} er_activation_{name}[{SEGMENTS}] = {{\n{rows_of(values)}}};\n\n"
    return text + "#endif\n"


def planes(tables):
    """The tables by bytes, as vpshufb looks them up 16 at a time (native/src/kernels/gates_avx2.c).

    Returns
    -------
    uint8 [shape=(4, 4, 16)]
        Low and high byte of the base, shift1 with shift2 in the upper nibble, shift3: of each the first 16
        entries, then what turns one 16 into the next by exclusive or. The base is that of a fraction
        without sign: (F >> s) = ((F + 2^15) >> s) - (2^15 >> s).
    """
    base, s1, s2, s3 = tables
    base = base - (32768 >> s1) - (32768 >> s2) + (32768 >> s3)
    parts = np.stack([base & 255, base >> 8 & 255, s1 | s2 << 4, s3]).reshape(4, 4, 16)
    parts[:, 1:] ^= parts[:, :-1].copy()
    return parts


def planes_text(tables):
    """Contents of native/src/kernels/activation_planes.h."""
    text = """/* SPDX-License-Identifier: MIT
 * The activation tables (../activation_table.h) by bytes, 16 at a time: low and high byte of the base,
 * shift1 with shift2 in the upper nibble, shift3; of each the first 16 entries, then what turns one 16
 * into the next by exclusive or. The base is that of fractions without sign: (F >> s) = ((F + 2^15) >> s) -
 * (2^15 >> s). Written by native/tools/make_activation_table.py. */
#ifndef ER_ACTIVATION_PLANES_H
#define ER_ACTIVATION_PLANES_H

#include <stdint.h>

static const uint8_t er_activation_planes[4][4][16] = {
"""
    for plane in planes(tables):
        rows = ("        { " + ", ".join(str(int(v)) for v in part) + " },\n" for part in plane)
        text += "    {\n" + "".join(rows) + "    },\n"
    return text + "};\n\n#endif\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on a difference")
    arguments = parser.parse_args()
    tables = search()
    outputs = {
        ROOT / "edge_runtime" / "activation_table.py": python_text(tables),
        ROOT / "native" / "src" / "activation_table.h": c_text(tables),
        ROOT / "native" / "src" / "kernels" / "activation_planes.h": planes_text(tables),
    }
    status = 0
    for path, text in outputs.items():
        if arguments.check:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                print(f"{path}: not what the search finds; run without --check", file=sys.stderr)
                status = 1
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
