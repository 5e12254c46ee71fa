#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the activation table of numeric profile 2 and write it as data.

    python native/tools/make_fine_table.py            rewrite both files
    python native/tools/make_fine_table.py --check    compare; exit status 1 on a difference

The table (exporters/FORMAT.md, section 7.5) holds ``32768 tanh(i / 64)``, rounded, for i = 0 .. 512. No value is
so near to a half that the C library's tanh could matter; that is checked.
"""

import argparse
import math
import pathlib
import sys
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEGMENTS = 512
SEGMENTS_PER_UNIT = 64
LINE = 16  # numbers


def table():
    """The 513 numbers."""
    values = [32768 * math.tanh(i / SEGMENTS_PER_UNIT) for i in range(SEGMENTS + 1)]
    if any(abs(value % 1 - 0.5) < 1e-6 for value in values):
        raise SystemExit("a value is too near to a half to be rounded with certainty")
    return [math.floor(value + 0.5) for value in values]


def table_crc(values):
    """CRC-32 of the table as little-endian u16."""
    return zlib.crc32(b"".join(value.to_bytes(2, "little") for value in values))


def rows_of(values):
    """The table as lines of numbers."""
    lines = (values[k : k + LINE] for k in range(0, len(values), LINE))
    return "".join("    " + ", ".join(map(str, line)) + ",\n" for line in lines)


def python_text(values):
    """Contents of edge_runtime/fine_table.py."""
    return f'''"""The activation table of numeric profile 2 (FORMAT.md, section 7.5): data, not code.

`python native/tools/make_fine_table.py` makes these numbers again and rewrites this file and
`native/src/fine_table.h`. The CRC-32 in every model file of the profile is `TABLE_CRC`.
"""

TANH = [
{rows_of(values)}]

#: CRC-32 of the table as little-endian u16.
TABLE_CRC = 0x{table_crc(values):08X}
'''


def c_text(values):
    """Contents of native/src/fine_table.h."""
    return f"""/* SPDX-License-Identifier: MIT
 * The activation table of numeric profile 2 (exporters/FORMAT.md, section 7.5). Written by
 * native/tools/make_fine_table.py, together with edge_runtime/fine_table.py. */
#ifndef ER_FINE_TABLE_H
#define ER_FINE_TABLE_H

#include <stdint.h>

#define ER_FINE_TABLE_CRC 0x{table_crc(values):08X}u

static const uint16_t er_fine_table[{len(values)}] = {{
{rows_of(values)}}};

#endif
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on a difference")
    arguments = parser.parse_args()
    values = table()
    outputs = {
        ROOT / "edge_runtime" / "fine_table.py": python_text(values),
        ROOT / "native" / "src" / "fine_table.h": c_text(values),
    }
    status = 0
    for path, text in outputs.items():
        if arguments.check:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                print(f"{path}: not what this program makes; run it without --check", file=sys.stderr)
                status = 1
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
