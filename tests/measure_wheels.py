# SPDX-License-Identifier: MIT
"""What the wheels take on a device: ``python tests/measure_wheels.py``.

Sizes of the wheels, and the instructions that Python executes under qemu (tests/count_multiplies.c) from its start
until the recognizer could take the first sample: in a Debian system of the wheel's processor (tests/roots.py), with
numpy and cffi compiled to bytecode, as they are from the second start on.

``--write docs/wheels.md`` puts the table into that file between its markers.
"""

import pathlib
import tempfile
import zipfile

import builds
import count_instructions
import roots
import wheels
from wheels import PLATFORMS

#: Programs, each doing what the one before does and more.
STAGES = {
    "Python": "pass",
    "numpy, cffi": "import numpy, cffi",
    "import edge_runtime": "import edge_runtime",
    "Recognizer": "import edge_runtime as er; er.Model.default().recognizer(sample_rate=16000)",
}


def instructions(preset, model, program):
    """Instructions that a root's Python executes for a program, on a processor model."""
    platform = PLATFORMS[preset]
    arguments = ["-c", program]
    roots.python(platform.root, model, wheels.installed(preset), arguments)  # compiles what it imports
    with tempfile.TemporaryDirectory(dir=builds.folder()) as folder:
        out = pathlib.Path(folder) / "counts.txt"
        plugin = ["-plugin", f"{count_instructions.plugin()},out={out}"]
        roots.python(platform.root, model, wheels.installed(preset), arguments, plugin)
        with open(out, encoding="utf-8") as lines:
            return sum(int(line.split(" ", 2)[1], 16) for line in lines)


def rows():
    """Lines of the table."""
    yield "| wheel | KB | unpacked, KB | emulated | " + " | ".join(STAGES) + " |"
    yield "|---" * (4 + len(STAGES)) + "|"
    for preset, platform in PLATFORMS.items():
        sizes = [wheels.wheel(preset).stat().st_size]
        sizes.append(sum(entry.file_size for entry in zipfile.ZipFile(wheels.wheel(preset)).infolist()))
        # ARMv6: on a processor without NEON, since there is no Python for less.
        model = platform.models[-1 if preset == "armv6l" else 0][0] if platform.root else "-"
        counts = [instructions(preset, model, text) for text in STAGES.values()] if platform.root else []
        cells = [preset, *(f"{size / 1000:.0f}" for size in sizes), model]
        cells += [f"{count / 1e6:.0f}" for count in counts] or ["-"] * len(STAGES)
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    count_instructions.print_table(__doc__, rows)
