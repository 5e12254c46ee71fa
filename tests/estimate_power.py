# SPDX-License-Identifier: MIT
"""What a second of audio costs a device: ``python tests/estimate_power.py``.

Counted: the instructions that examples/digits.c executes, a whole program from the file to the words, for each target
of tests/targets.py and for the firmware of a Cortex-M4. Estimated from them, since there is no board to measure: the
share of a core, and the power. What the estimate assumes stands in BOARDS.

``--write docs/power.md`` puts the tables into that file between its markers.
"""

import dataclasses
import functools
import pickle
import wave

import builds
import count_instructions
import measure_baremetal
import numpy as np
import targets
from count_instructions import RECORDING, emulation, print_table
from targets import ROOT, TARGETS

MODEL = count_instructions.MODEL
#: Sample rates: what the network takes, and what most microphones deliver.
RATES = (16000, 48000)
#: What is heard: recordings of digits, and noise behind which the recognizer rests (its gate closes after 2 s).
SOUNDS = ("speech", "idle")
#: White noise at -60 dBFS: seconds of the two files whose difference is looked at.
NOISE_S = (3.5, 5.5)


@dataclasses.dataclass(frozen=True)
class Board:
    """What is assumed of a board. Power: measured by others, at the supply, with nothing connected."""

    name: str
    core: str
    target: str  #: of tests/targets.py
    clock_mhz: int
    per_cycle: float  #: instructions
    idle_w: float | None = None
    core_w: float | None = None  #: what a busy core adds
    source: str = ""


GEERLING = "J. Geerling, pidramble.com"
BOARDS = (
    Board("Zero", "ARM1176", "armv6", 1000, 0.5, 0.4, 0.8, GEERLING),
    Board("2 B", "Cortex-A7", "armv7", 900, 0.5, 1.1, 0.25, GEERLING),
    Board(
        "Zero 2 W", "Cortex-A53", "aarch64", 1000, 0.6, 0.6, 0.58, "idle: CNX Software; core: that of the 3 B"
    ),
    Board("3 B", "Cortex-A53", "aarch64", 1200, 0.6, 1.4, 0.58, GEERLING),
    Board("4 B", "Cortex-A72", "aarch64", 1500, 1.0, 2.7, 0.93, GEERLING),
    Board("5", "Cortex-A76", "aarch64", 2400, 1.5),
)


def write_wav(path, samples, sample_rate):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def speech():
    """The sample recordings, float [shape=(n,)] each, at 16 kHz."""
    for path in sorted(RECORDING.parent.glob("*.wav")):
        with wave.open(str(path)) as file:
            yield np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


@functools.cache
def recordings(sound, sample_rate):
    """Two WAV files, the longer one beginning as the other: list of (path, seconds)."""
    if sound == "speech":
        parts = list(speech())
        pair = [parts[0], np.concatenate(parts[:2])]
    else:
        noise = np.random.default_rng(1).normal(scale=1e-3, size=int(NOISE_S[1] * 16000))
        pair = [noise[: int(seconds * 16000)] for seconds in NOISE_S]
    found = []
    for samples in pair:
        seconds = len(samples) / 16000
        at = np.arange(int(seconds * sample_rate)) * (16000 / sample_rate)
        samples = np.interp(at, np.arange(len(samples)), samples)
        name = f"{sound}_{sample_rate}_{len(samples)}.wav"
        path = builds.once(name, lambda path, samples=samples: write_wav(path, samples, sample_rate))
        found.append((path, seconds))
    return found


def executed(target, recording):
    """All instructions of examples/digits.c on a recording."""
    program = targets.build_program(target, "digits", sources=(), folder=ROOT / "examples")
    instructions, _ = count_instructions.count(target, program, MODEL, recording)
    return sum(i.count for i in instructions)


@functools.cache
def second_of_audio(target, sound, sample_rate):
    """Instructions that a second costs."""

    def make(path):
        (short, less), (long, more) = recordings(sound, sample_rate)
        count = (executed(target, long) - executed(target, short)) / (more - less)
        path.write_bytes(pickle.dumps(count))

    return pickle.loads(builds.once(f"second_{target.name}_{sound}_{sample_rate}", make).read_bytes())


def start(target):
    """Instructions of the program on an empty recording: the C library's start, the model read, checked and made
    ready, and the end of 0.3 s that every recording gets."""
    return executed(target, builds.once("empty.wav", lambda path: write_wav(path, np.zeros(0), 16000)))


def counted_row(target):
    kernel = count_instructions.recognition(target)[0].kernel
    cells = [target.name, emulation(target)[1], kernel]
    cells += [f"{second_of_audio(target, sound, rate) / 1e6:.2f}" for rate in RATES for sound in SOUNDS]
    return "| " + " | ".join([*cells, f"{start(target) / 1e6:.2f}"]) + " |"


def firmware_row():
    """The Cortex-M4: speech at 16 kHz, from the firmware's own counts."""
    m = measure_baremetal.measure(measure_baremetal.M4, "recognizer", measure_baremetal.LARGE)
    second = m.per_step() * measure_baremetal.STEPS_A_SECOND
    return f"| firmware | cortex-m4 | scalar | {second / 1e6:.2f} | - | - | - | - |"


def share(board, sound):
    """Estimated share of a core, of a microphone at 48 kHz."""
    cycles = second_of_audio(TARGETS[board.target], sound, 48000) / board.per_cycle
    return cycles / (board.clock_mhz * 1e6)


def estimated_row(board):
    cells = [f"Raspberry Pi {board.name}", board.core, board.clock_mhz, board.per_cycle]
    shares = [share(board, sound) for sound in SOUNDS]
    cells += [f"{100 * value:.1f} %" for value in shares]
    if board.core_w is None:
        cells += ["-", "-", "-", "-"]
    else:
        cells += [board.idle_w, board.core_w, *(f"{1000 * value * board.core_w:.0f} mW" for value in shares)]
    return "| " + " | ".join(map(str, cells)) + " |"


def rows(names=tuple(TARGETS), firmware=True):
    """Lines of the two tables, of these targets."""
    counted = [
        "| target | emulated | kernel | speech, 16 kHz | idle, 16 kHz | speech, 48 kHz | idle, 48 kHz | start |",
        "|---|---|---|---|---|---|---|---|",
        *(counted_row(TARGETS[name]) for name in names),
    ]
    if firmware:
        counted.append(firmware_row())
    estimated = [
        "| board | core | MHz | instructions a cycle, assumed | of one core: speech | idle | the board's watts, idle "
        "| a busy core's | added by speech | idle |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(estimated_row(board) for board in BOARDS if board.target in names),
    ]
    return [*counted, "", *estimated]


if __name__ == "__main__":
    print_table(__doc__, rows)
