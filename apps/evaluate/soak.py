# SPDX-License-Identifier: MIT
"""Hours of mixed audio through one recognizer and one stream at full speed: drift, leaks, times, counters, `reset`.

python -m apps.evaluate.soak [--hours 10] [--rate HZ ...] [-m MODEL] [--beyond SAMPLES] [--instructions] [--json]

Every hour has the same programme: bundled recordings of digits at levels from -60 dBFS to far beyond full scale, clean
and in noise; noise of several colors and levels, hum, silence, clicks, square waves, DC, denormals, infinities and
not-a-number. So the words of each hour must be those of the second, with the same confidences and, less the hours, the same
times, to the last bit. Status 1 if something is not as it should be.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

from apps.audio import read_audio
from apps.demo_samples import samples
from apps.evaluate.endurance import resident_bytes
from apps.evaluate.progress import Progress
from edge_runtime import EdgeRuntimeError, Frontend, Model, Resampler

SEED = 20261122
MODEL_RATE = 16000
RATES = (16000, 44100, 192000)
LEAD_S = 20  # of silence, with which an hour begins
BEYOND = (1 << 32) + (1 << 30)  # samples of the last passage, of silence but for its end
_PROBE_S = 600  # of the programme, after a reset and after the last passage
_GROWTH_BYTES = 512 * 1024
_P50_RATIO, _P99_RATIO = 1.25, 1.5  # of the last hour's times to the first's
_INSTRUCTION_RATIO = 1.01
_COUNT_LIMIT = 10**9
_EXIT_FAILED, _EXIT_BAD_INPUT = 1, 2


@dataclasses.dataclass(frozen=True)
class Piece:
    """A stretch of audio: its name, and float32 samples [shape=(n,)]."""

    name: str
    samples: np.ndarray


def _at_rate(signal_16k, rate):
    """A signal at another rate; straight lines between samples are good enough to be heard."""
    if rate == MODEL_RATE:
        return signal_16k.astype(np.float32)
    count = len(signal_16k) * rate // MODEL_RATE
    times = np.arange(count) * (MODEL_RATE / rate)
    return np.interp(times, np.arange(len(signal_16k)), signal_16k).astype(np.float32)


def make_pieces(rate):
    """What an hour consists of, at a rate; each a whole number of 20 ms.

    Parameters
    ----------
    rate : int
        Hz.

    Returns
    -------
    list of Piece
        The same for every call.
    """
    rng = np.random.default_rng(SEED)

    def noise(duration_s, dbfs):
        return 10 ** (dbfs / 20) * rng.standard_normal(round(duration_s * MODEL_RATE))

    pieces = []

    def add(name, signal_16k, after=lambda x: x):
        signal_16k = np.pad(signal_16k, (0, -len(signal_16k) % 320))
        pieces.append(Piece(name, after(_at_rate(signal_16k, rate))))

    for path, _ in samples():
        recording, recorded_at = read_audio(path)
        resampler = Resampler(recorded_at)
        said = np.concatenate([resampler.push(recording), resampler.flush()])
        peak = np.abs(said).max()
        for dbfs in (-60, -30, -3, 20):
            add(f"{path.stem} {dbfs} dBFS", said / peak * 10 ** (dbfs / 20))
        for ratio_db in (20, 5):
            add(
                f"{path.stem} in noise, {ratio_db} dB",
                0.5 * said / peak + noise(len(said) / MODEL_RATE, -26 - ratio_db),
            )
    for dbfs in (-80, -50, -20, 0):
        add(f"white noise {dbfs} dBFS", noise(7, dbfs))
    add("brown noise", np.cumsum(noise(5, -60)) % 1)
    add("digital silence", np.zeros(15 * MODEL_RATE))
    t = np.arange(5 * MODEL_RATE) / MODEL_RATE
    add("hum", 0.1 * np.sin(2 * np.pi * 50 * t) + 0.05 * np.sin(2 * np.pi * 100 * t))
    add("chirp", 0.5 * np.sin(2 * np.pi * (50 + 700 * t) * t))
    add("square wave at full scale", np.sign(np.sin(2 * np.pi * 440 * t)))
    add("DC", np.ones(2 * MODEL_RATE))
    add("clicks", np.where(np.arange(3 * MODEL_RATE) % 1600 == 0, 1.0, 0.0))
    add("steps of level", np.repeat(10.0 ** np.arange(-6, 1), MODEL_RATE // 2) * noise(3.5, -10))
    add("denormals", noise(5, -3), lambda x: x * np.float32(1e-39))
    add("smallest numbers", noise(3, -3), lambda x: np.sign(x) * np.float32(1e-45))
    add("beyond all floats of sense", noise(2, -3), lambda x: np.sign(x) * np.float32(3e38))
    add(
        "not-a-number and infinities",
        noise(2, -3),
        lambda x: np.where(x > 0, np.float32(np.nan), np.float32(-np.inf)),
    )
    add("fading to nothing", noise(10, -3) * np.exp(-10 * np.linspace(0, 10, 10 * MODEL_RATE)))
    return pieces


def programme(pieces, rate, hour_s):
    """The pieces of an hour in order: a silence first, all of them at least once if there is time.

    Yields
    ------
    Piece
    """
    rng = np.random.default_rng([SEED, 1])
    left = round(hour_s / 0.02) * (rate // 50)
    yield Piece("lead", np.zeros(min(left, LEAD_S * rate), np.float32))
    left -= LEAD_S * rate
    while left > 0:
        for i in rng.permutation(len(pieces)):
            if left > 0:
                yield Piece(pieces[i].name, pieces[i].samples[:left])
                left -= len(pieces[i].samples)


def chunks(parts, size):
    """Cut pieces, which are whole multiples of `size`, into chunks; nothing is copied."""
    for part in parts:
        for start in range(0, len(part.samples), size):
            yield part.samples[start : start + size]


def counted(word, rate):
    """A word with its times as whole samples, or None if a time is no whole sample: it has drifted."""
    start, end, heard = (
        round(word.start_s * MODEL_RATE),
        round(word.end_s * MODEL_RATE),
        round(word.heard_s * rate),
    )
    if (start / MODEL_RATE, end / MODEL_RATE, heard / rate) != (word.start_s, word.end_s, word.heard_s):
        return None
    return (word.label, start, end, heard, word.confidence, word.string)


def since(words, position_16k, position, string):
    """Counted words, with times and strings from there on."""
    return [
        None
        if w is None
        else (w[0], w[1] - position_16k, w[2] - position_16k, w[3] - position, w[4], w[5] - string)
        for w in words
    ]


class Failures(list):
    """What is not as it should be; one line each."""

    def check(self, right, line):
        """Keep the line unless it is right."""
        if not right:
            self.append(line)


def _growth(memory):
    """Bytes by which memory grew in the second half of the hours; in the first, Python's own settles."""
    return None if memory[0] is None else memory[-1] - memory[(len(memory) - 1) // 2]


def mark():
    """Between a first and a second mark instructions are counted (apps/bench/count_instructions.c)."""
    os.kill(os.getpid(), signal.SIGUSR2)


def _hear(recognizer, audio, rate, times=None):
    """Words; into `times` the nanoseconds of processor time of each chunk of 10 ms. Returns words and their number."""
    words = []
    number = 0
    for number, chunk in enumerate(chunks(audio, rate // 100), 1):
        began = time.thread_time_ns()
        heard = recognizer.accept_waveform(chunk)
        if times is not None:
            times[number - 1] = time.thread_time_ns() - began
        words += [counted(word, rate) for word in heard]
    return words, number


def _shown(recognizer):
    return (
        recognizer.posteriors.tobytes(),
        recognizer.log_mel.tobytes(),
        recognizer.is_idle,
        recognizer.partial,
    )


def soak_recognizer(model, rate, hours, hour_s=3600.0, on_hour=None, counting=False, beyond=BEYOND):
    """Play the programme so many times to one recognizer.

    Parameters
    ----------
    model : edge_runtime.Model
    rate : int
        Hz, a multiple of 100.
    hours : int
        At least 2.
    hour_s : float
        Of each; whole multiples of 0.02.
    on_hour : callable, optional
        Called with a line of text before each hour.
    counting : bool
        Mark 20 ms after the first and the last hour for the counter of instructions; what follows the first then has
        other times than without.
    beyond : int
        Samples heard in a last passage, silence and then ten minutes of the programme. 0: no such passage.

    Returns
    -------
    dict
        What was measured; ``failures``: what is not as it should be, a list of str.
    """
    failures = Failures()
    pieces = make_pieces(rate)
    recognizer = model.recognizer(rate, threshold=0.0)
    times = np.zeros(round(hour_s * 100), np.int64)  # made once: what grows is not ours
    memory, p50, p99, greatest = [], [], [], []
    hour_samples = round(hour_s / 0.02) * (rate // 50)
    hour_16k = round(hour_s / 0.02) * 320
    probe = pieces[2].samples[: rate // 50]
    for hour in range(hours):
        if on_hour is not None:
            on_hour(f"{rate} Hz, hour {hour + 1} of {hours}")
        string = recognizer.ended_strings
        words, number = _hear(recognizer, programme(pieces, rate, hour_s), rate, times)
        words = since(words, hour * hour_16k, hour * hour_samples, string)
        failures.check(None not in words, f"{rate} Hz, hour {hour + 1}: a time is no whole sample")
        shown = _shown(recognizer)
        if hour == 0:
            first, first_shown, first_words = words, shown, len(words)
        # What was in progress at the end of an hour is heard in the next: of every hour but the first.
        if hour == 1:
            second, second_shown = words, shown
        elif hour > 1:
            failures.check(words == second, f"{rate} Hz, hour {hour + 1}: other words than in hour 2")
            failures.check(shown == second_shown, f"{rate} Hz, hour {hour + 1}: another end than of hour 2")
        p50.append(int(np.percentile(times[:number], 50)))
        p99.append(int(np.percentile(times[:number], 99)))
        greatest.append(int(times[:number].max()))
        memory.append(resident_bytes())
        if counting and hour in (0, hours - 1):
            # After a silence the same state each time. The hours that follow are not compared.
            for part in (np.zeros(LEAD_S * rate, np.float32), pieces[2].samples):
                recognizer.accept_waveform(part)
            for _ in range(2):  # the first looks things up
                _count(functools.partial(recognizer.accept_waveform, probe))
    del words

    if on_hour is not None:
        on_hour(f"{rate} Hz, beyond")
    lead = [piece for piece in programme(pieces, rate, min(_PROBE_S, hour_s))]
    if beyond:
        recognizer.reset()
        silence = np.zeros(rate * 60, np.float32)
        position = 0
        while position < beyond:
            recognizer.accept_waveform(silence)
            position += len(silence)
        heard, _ = _hear(recognizer, lead, rate)
        far = since(heard, position // (rate // 50) * 320, position, 0)
        recognizer.reset()
        recognizer.accept_waveform(silence)
        heard, _ = _hear(recognizer, lead, rate)
        near = since(heard, 60 * MODEL_RATE, 60 * rate, 0)
        failures.check(None not in far, f"{rate} Hz, after {position} samples: a time is no whole sample")
        failures.check(
            far == near and near, f"{rate} Hz, after {position} samples: other words than after a minute"
        )
    for settle in (recognizer.reset, lambda: (recognizer.finish(), recognizer.reset())):
        settle()
        fresh = model.recognizer(rate, threshold=0.0)
        again, _ = _hear(recognizer, lead, rate)
        new, _ = _hear(fresh, lead, rate)
        failures.check(again == new and new, f"{rate} Hz: after reset other words than a new recognizer's")
        failures.check(
            _shown(recognizer) == _shown(fresh), f"{rate} Hz: after reset another state than a new one's"
        )
        failures.check(new == first[: len(new)], f"{rate} Hz: other words than at the beginning of all")

    growth = _growth(memory)
    failures.check(
        growth is None or growth <= _GROWTH_BYTES, f"{rate} Hz: memory has grown by {growth} bytes"
    )
    failures.check(
        p50[-1] <= _P50_RATIO * p50[0], f"{rate} Hz: median time {p50[0]} ns in hour 1, {p50[-1]} at the end"
    )
    failures.check(
        p99[-1] <= _P99_RATIO * p99[0],
        f"{rate} Hz: 99th percentile {p99[0]} ns in hour 1, {p99[-1]} at the end",
    )
    return {
        "rate": rate,
        "hours": hours * hour_s / 3600,
        "samples": hours * hour_samples,
        "words": len(second) * (hours - 1) + first_words,
        "same_first_end": first_shown == second_shown,
        "beyond_samples": beyond and position,
        "memory_bytes": memory,
        "memory_growth_bytes": growth,
        "chunk_p50_ns": p50,
        "chunk_p99_ns": p99,
        "chunk_max_ns": greatest,
        "failures": failures,
    }


def soak_stream(model, hours, hour_s=3600.0, on_hour=None):
    """Steps of as many hours through one stream; parameters and result as of `soak_recognizer`.

    Each hour's logits, of runs and of single steps, must be those of other streams that begin with its state: nothing
    else is carried along.
    """
    failures = Failures()
    frontend = Frontend(model.file.frontend)
    lead = list(programme(make_pieces(MODEL_RATE), MODEL_RATE, min(hour_s, _PROBE_S)))
    x = np.concatenate([frontend.push(piece.samples) for piece in lead])
    steps = round(hour_s * MODEL_RATE / model.info["step_samples"])
    some = min(1000, len(x) // 3)
    stream = model.stream()
    memory, seconds = [], []
    others = {
        "a new stream": model.stream,
        "the scalar kernels": Model.from_bytes(model.file.to_bytes(), "scalar").stream,
        "a stream that skips": lambda: model.stream(skipping=True),
    }
    for hour in range(hours):
        if on_hour is not None:
            on_hour(f"steps, hour {hour + 1} of {hours}")
        began = time.thread_time_ns()
        for _ in range(-(-steps // len(x))):
            before = stream.state
            first = stream.run(x[:some])
            single = [stream.step(row) for row in x[some : 2 * some]]
            stream.run(x[2 * some :])
        seconds.append((time.thread_time_ns() - began) / 1e9)
        memory.append(resident_bytes())
        expected = np.concatenate([first, single])
        for name, make in others.items():
            other = make()
            other.state = before
            same = np.array_equal(other.run(x[: 2 * some]), expected)
            failures.check(same, f"steps, hour {hour + 1}: from its state other logits of {name}")
    stream.reset()
    failures.check(np.array_equal(stream.run(x), model.stream().run(x)), "steps: other logits after reset")
    growth = _growth(memory)
    failures.check(growth is None or growth <= _GROWTH_BYTES, f"steps: memory has grown by {growth} bytes")
    failures.check(
        seconds[-1] <= _P50_RATIO * seconds[0],
        f"steps: {seconds[0]:.3f} s in hour 1, {seconds[-1]:.3f} at the end",
    )
    return {
        "hours": hours * hour_s / 3600,
        "steps": hours * -(-steps // len(x)) * len(x),
        "memory_growth_bytes": growth,
        "hour_s": seconds,
        "failures": failures,
    }


def _count(call):
    mark()
    call()
    mark()


def count_instructions(arguments):
    """Run this program again under the counter of instructions.

    Returns
    -------
    list of int or None
        Of each region marked.
    """
    from apps.bench.native import build_instruction_counter

    with tempfile.TemporaryDirectory() as folder:
        counter = build_instruction_counter(pathlib.Path(folder))
        output = pathlib.Path(folder) / "counts.json"
        command = [
            counter,
            str(_COUNT_LIMIT),
            str(output),
            sys.executable,
            "-m",
            "apps.evaluate.soak",
            *arguments,
        ]
        subprocess.run(
            command,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        return json.loads(output.read_text(encoding="ascii"))


def _print(result):
    for row in result["recognizer"]:
        p50, p99 = (np.array(row[name]) / 1000 for name in ("chunk_p50_ns", "chunk_p99_ns"))
        print(
            f"{row['rate']:>6} Hz  {row['hours']:g} h, {row['samples']} samples, {row['words']} words; memory grew by "
            f"{row['memory_growth_bytes']} bytes in the second half\n"
            f"           10 ms take {p50[0]:.1f} us in hour 1, {p50[-1]:.1f} us in the last (p99 {p99[0]:.1f}, {p99[-1]:.1f}; "
            f"longest {max(row['chunk_max_ns']) / 1000:.0f})"
        )
        if row["beyond_samples"]:
            print(f"           after {row['beyond_samples']} samples the same words, times exact")
    row = result["stream"]
    print(
        f"    steps  {row['hours']:g} h, {row['steps']} steps; memory grew by {row['memory_growth_bytes']} bytes; "
        f"{row['hour_s'][0]:.2f} s in hour 1, {row['hour_s'][-1]:.2f} s in the last"
    )
    if "instructions" in result:
        counts = result["instructions"]
        print(f"    20 ms of audio: {counts[0]} instructions in hour 1, {counts[-1]} in the last")


def main(arguments=None):
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m apps.evaluate.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=int, default=10, help="of audio at each rate (default: %(default)s)")
    parser.add_argument(
        "--rate", type=int, nargs="+", default=list(RATES), help="Hz (default: 16000 44100 192000)"
    )
    parser.add_argument("-m", "--model", help="model file (default: the one that comes with the package)")
    parser.add_argument(
        "--hour", type=float, default=3600.0, metavar="SECONDS", help="shorter hours, to try it out"
    )
    parser.add_argument(
        "--beyond", type=int, default=BEYOND, metavar="SAMPLES", help="last passage (default: %(default)s)"
    )
    parser.add_argument("--instructions", action="store_true", help="count them too (Linux, a C compiler)")
    parser.add_argument("--marked", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(arguments)
    if options.hours < 2 or not options.hour > LEAD_S:
        parser.error("expected --hours of 2 or more, --hour of more than 20")
    if any(rate % 100 for rate in options.rate):
        parser.error("--rate: expected multiples of 100 Hz")
    try:
        model = Model.default() if options.model is None else Model.load(options.model)
        if options.marked:
            for _ in range(3):
                _count(lambda: None)
            soak_recognizer(model, MODEL_RATE, options.hours, options.hour, counting=True, beyond=0)
            return 0
        progress = Progress(options.hours * (len(options.rate) + 1) + len(options.rate))
        result = {
            "model": str(options.model or "bundled"),
            "kernel": model.kernel,
            "recognizer": [
                soak_recognizer(
                    model, rate, options.hours, options.hour, progress.step, beyond=options.beyond
                )
                for rate in options.rate
            ],
            "stream": soak_stream(model, options.hours, options.hour, progress.step),
        }
        progress.clear()
    except (EdgeRuntimeError, OSError, ValueError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    failures = [line for row in (*result["recognizer"], result["stream"]) for line in row.pop("failures")]
    if options.instructions:
        shared = ["--hours", str(options.hours), "--hour", str(options.hour), "--marked"]
        counts = count_instructions([*shared, *(["-m", options.model] if options.model else [])])[1::2]
        result["instructions"] = counts
        if None in counts or counts[-1] > _INSTRUCTION_RATIO * counts[0]:
            failures.append(f"instructions: {counts[0]} in hour 1, {counts[-1]} in the last")
    result["failures"] = failures
    if options.json:
        print(json.dumps(result))
    else:
        _print(result)
        print(
            *(f"FAILED: {line}" for line in failures),
            sep="\n",
            end="\n" if failures else "all as it should be\n",
        )
    return _EXIT_FAILED if failures else 0


if __name__ == "__main__":
    sys.exit(main())
