# SPDX-License-Identifier: MIT
"""An hour of mixed audio through one recognizer, faster than real time, as a microphone would deliver it."""

import dataclasses
import time

import numpy as np

from apps.corpus import SAMPLE_RATE
from apps.digit_demo.ring import Ring
from apps.evaluate.metrics import Errors, align
from apps.evaluate.strings import to_16_bits

SEED = 20261122
DURATION_S = 3600.0
BLOCK = SAMPLE_RATE // 50  # 20 ms arrive at a time
RING_S = 5.0  # as the microphone's

# The end: a silence, then digits, which a recognizer that was started in the silence hears too.
_LAST_SILENCE_S = 20.0
_LAST_S = 60.0
_WARM_UP_S = 300.0  # until here, memory that every process takes sooner or later is taken
_GRID = 320  # pieces begin on whole steps of the network
_KINDS = ("clean", "white", "household", "speech", "noise", "silence")
_SHARES = (0.3, 0.1, 0.1, 0.2, 0.15, 0.15)


@dataclasses.dataclass(frozen=True)
class Piece:
    """A stretch of the hour.

    Attributes
    ----------
    words : tuple of str
        Digits said.
    samples : int16 [shape=(n,)]
        At 16 kHz.
    """

    words: tuple
    samples: np.ndarray


def _piece(maker, number, kind=None, duration_s=None):
    rng = np.random.default_rng([SEED, number])
    kind = kind or _KINDS[rng.choice(len(_KINDS), p=_SHARES)]
    words = ()
    if kind in ("clean", "white", "household"):
        string = maker.make(kind, 10_000 + number)  # not the strings that error rates are taken from
        words, samples = string.words, string.samples
    elif kind == "speech":
        clips = maker.noise.speech
        samples = np.concatenate([clips[i] for i in rng.integers(len(clips), size=5)])
        samples = samples * np.float32(10 ** (rng.uniform(-40, -25) / 20))
    elif kind == "noise":
        count = round(rng.uniform(5, 15) * SAMPLE_RATE)
        samples = maker.noise.household(rng, count) * np.float32(10 ** (rng.uniform(-55, -30) / 20))
    else:
        count = round((duration_s or rng.uniform(1, 20)) * SAMPLE_RATE)
        level = 0.0 if rng.random() < 0.3 else 10 ** (rng.uniform(-80, -65) / 20)
        samples = rng.standard_normal(count, dtype=np.float32) * np.float32(level)
    samples = np.pad(samples, (0, -len(samples) % _GRID))
    return Piece(words, to_16_bits(samples))


def pieces(maker, duration_s=DURATION_S):
    """Make the hour; the same for the same recordings.

    Parameters
    ----------
    maker : apps.evaluate.strings.StringMaker
    duration_s : float

    Yields
    ------
    Piece
        The last ones are those of `last_pieces`.
    """
    number = 0
    done_s = 0.0
    while done_s < duration_s - _LAST_SILENCE_S - _LAST_S:
        piece = _piece(maker, number)
        done_s += len(piece.samples) / SAMPLE_RATE
        number += 1
        yield piece
    yield from last_pieces(maker)


def last_pieces(maker):
    """Yield the end of the hour: a long silence, then digits."""
    number = 1_000_000
    yield _piece(maker, number, "silence", _LAST_SILENCE_S)
    done_s = 0.0
    while done_s < _LAST_S:
        number += 1
        piece = _piece(maker, number, "clean")
        done_s += len(piece.samples) / SAMPLE_RATE
        yield piece


def resident_bytes():
    """Memory of this process that is in RAM, bytes; None where the system does not say (not Linux)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            pages = int(stream.read().split()[1])
    except OSError:
        return None
    import resource

    return pages * resource.getpagesize()


class _Feed:
    """Audio that arrives by a clock which the caller moves, into a ring as the microphone's."""

    def __init__(self, audio):
        self.ring = Ring(round(RING_S * SAMPLE_RATE), 1)
        self._blocks = self._cut(audio)
        self._next = next(self._blocks, None)
        self._arrived_s = 0.0  # of the block that comes next
        self.now_s = 0.0

    @staticmethod
    def _cut(audio):
        rest = np.zeros(0, np.int16)
        for samples in audio:
            rest = np.concatenate([rest, samples])
            whole = len(rest) // BLOCK * BLOCK
            for start in range(0, whole, BLOCK):
                yield rest[start : start + BLOCK]
            rest = rest[whole:]
        if len(rest):
            yield rest

    def deliver(self):
        """Write what has arrived by now; while nothing waits, the clock moves to the next block. False at the end."""
        if not len(self.ring) and self._next is not None:
            self.now_s = max(self.now_s, self._arrived_s)
        while self._next is not None and self._arrived_s <= self.now_s:
            self.ring.write((self._next * np.float32(1 / 32768))[:, None])
            self._arrived_s += len(self._next) / SAMPLE_RATE
            self._next = next(self._blocks, None)
        return len(self.ring) > 0


def run(model, maker, threshold=None, duration_s=DURATION_S, on_minute=None):
    """Play the hour.

    Parameters
    ----------
    model : edge_runtime.Model
    maker : apps.evaluate.strings.StringMaker
    threshold : float, optional
        As `edge_runtime.Model.recognizer`.
    duration_s : float
    on_minute : callable, optional
        Called without arguments after each minute of audio.

    Returns
    -------
    dict
        duration_s : of the audio; elapsed_s : that it took; words : digits said; wer : of the stream;
        wer_in_pieces : with a recognizer started afresh for each piece; dropped_samples : by the ring, the clock being
        the time that recognition takes; longest_wait_s : of audio in the ring; rss_start_bytes, rss_end_bytes,
        rss_growth_bytes (None where not known); drift_s : median shift of the times of the last words against the
        same in pieces; resumes_identically : after the last silence words, confidences and the probabilities at
        the end are bit for bit those of a recognizer started in it.
    """
    recognizer = model.recognizer(threshold=threshold)
    fresh = model.recognizer(threshold=threshold)
    limits, said, alone = [0], [], []

    def audio():
        for piece in pieces(maker, duration_s):
            fresh.reset()
            alone.append(_plain(fresh.accept_waveform(piece.samples) + fresh.finish()))
            said.append(piece.words)
            limits.append(limits[-1] + len(piece.samples))
            yield piece.samples

    feed = _Feed(audio())
    heard = []
    position = minute = elapsed_s = longest = 0
    rss_start = None
    while feed.deliver():
        longest = max(longest, len(feed.ring))
        start = time.perf_counter()
        samples = np.ascontiguousarray(feed.ring.read()[:, 0])
        words = recognizer.accept_waveform(samples)
        taken = time.perf_counter() - start
        heard += _plain(words)
        feed.now_s += taken
        elapsed_s += taken
        position += len(samples)
        if rss_start is None and position >= min(_WARM_UP_S, duration_s / 2) * SAMPLE_RATE:
            rss_start = resident_bytes()
        while on_minute is not None and position >= (minute + 1) * 60 * SAMPLE_RATE:
            minute += 1
            on_minute()
    rss_end = resident_bytes()
    posteriors = recognizer.posteriors
    heard += _plain(recognizer.finish())

    streamed = _split(heard, limits)
    last_start = limits[-1] - sum(len(piece.samples) for piece in last_pieces(maker))
    return {
        "duration_s": position / SAMPLE_RATE,
        "elapsed_s": elapsed_s,
        "words": sum(map(len, said)),
        "wer": _wer(said, streamed),
        "wer_in_pieces": _wer(said, alone),
        "dropped_samples": feed.ring.dropped,
        "longest_wait_s": longest / SAMPLE_RATE,
        "rss_start_bytes": rss_start,
        "rss_end_bytes": rss_end,
        "rss_growth_bytes": None if rss_start is None else rss_end - rss_start,
        "drift_s": _drift(streamed, alone, limits),
        "resumes_identically": _resumes(fresh, maker, heard, last_start, posteriors),
    }


def _plain(words):
    return [(word.label, word.start_s, word.end_s, word.confidence) for word in words]


def _split(heard, limits):
    """Words by piece: the one in which the middle of the word is."""
    groups = [[] for _ in limits[1:]]
    for word in heard:
        middle = (word[1] + word[2]) / 2 * SAMPLE_RATE
        groups[min(int(np.searchsorted(limits, middle, "right")) - 1, len(groups) - 1)].append(word)
    return groups


def _wer(said, heard):
    errors = Errors()
    for words, group in zip(said, heard, strict=True):
        errors.add(align(words, [word[0] for word in group]))
    return errors.wer


def _drift(streamed, alone, limits):
    shifts = []
    for group, other, start in zip(streamed, alone, limits, strict=False):
        if group and [word[0] for word in group] == [word[0] for word in other]:
            shifts += [a[2] - start / SAMPLE_RATE - b[2] for a, b in zip(group, other, strict=True)]
    return float(np.median(shifts[-100:])) if shifts else None


def _resumes(fresh, maker, heard, last_start, posteriors):
    fresh.reset()
    words = []
    for piece in last_pieces(maker):
        words += _plain(fresh.accept_waveform(piece.samples))
    same = np.array_equal(posteriors, fresh.posteriors)
    words += _plain(fresh.finish())
    # Whatever was said before ends within the first second of the silence.
    later = [word for word in heard if word[1] * SAMPLE_RATE > last_start + SAMPLE_RATE]
    return (
        same
        and [(w[0], w[3]) for w in later] == [(w[0], w[3]) for w in words]
        and all(abs(a[2] - b[2] - last_start / SAMPLE_RATE) < 1e-4 for a, b in zip(later, words, strict=True))
    )
