# SPDX-License-Identifier: MIT
"""``--tune``: a threshold for this room, from a recording in which nobody says a digit."""

import dataclasses
import math
import sys

import numpy as np

import edge_runtime
from apps.audio import AudioError, read_audio
from apps.demo_samples import samples
from apps.digit_demo.level import Level, rms_db
from apps.evaluate.metrics import align

DEFAULT_S = 30.0
LEAST_S, MOST_S = 5.0, 600.0
_FALSE_PER_MINUTE = 0.5  # accepted where a recording is long enough to tell
_GREATEST = 0.99  # above, digits are lost as well
_TABLE = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, _GREATEST)
_CLIPPED = 1e-4
_LOUD_DB, _FAINT_DB, _GOOD_DB = -35.0, -80.0, -50.0  # of a room
_SNR_DB = (20, 10)
_NOISE_S = 10.0  # longer than any of the bundled recordings


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A threshold and what led to it.

    Attributes
    ----------
    threshold : float
        In hundredths.
    floor : float
        Least that may be proposed.
    heard_s : float
        Length of the recording.
    confidences : tuple of float
        Of all that was taken for a digit, falling.
    """

    threshold: float
    floor: float
    heard_s: float
    confidences: tuple

    def false_per_minute(self, threshold):
        """False digits a minute in the recording at a threshold."""
        return 60 * sum(confidence >= threshold for confidence in self.confidences) / self.heard_s

    @property
    def suffices(self):
        """bool : no more false digits are left than may be."""
        return self.false_per_minute(self.threshold) <= _FALSE_PER_MINUTE


def propose(confidences, heard_s, floor):
    """The least threshold, in hundredths, that leaves at most half a false digit a minute.

    Parameters
    ----------
    confidences : iterable of float
        Of the words recognized at threshold 0 where nobody said a digit.
    heard_s : float
        Length of the recording in seconds.
    floor : float
        Least threshold to propose, 0 to 1.

    Returns
    -------
    Proposal
        Its threshold is at most 0.99, or the floor if that is greater, even if this does not suffice.
    """
    confidences = tuple(sorted(confidences, reverse=True))
    allowed = math.floor(_FALSE_PER_MINUTE * heard_s / 60)
    # Rounded first: a threshold of 0.4 in a model file is 0.4000000059604645.
    least = math.ceil(round(100 * floor, 4))
    if len(confidences) > allowed:
        above = math.floor(round(100 * confidences[allowed], 4)) + 1
        least = max(least, min(above, round(100 * _GREATEST)))
    return Proposal(least / 100, floor, heard_s, confidences)


def record(source, duration_s):
    """Hear a source for a while, or to its end, or until Ctrl-C.

    Parameters
    ----------
    source : FileSource or MicrophoneSource
    duration_s : float
        Seconds.

    Returns
    -------
    float32 [shape=(n,)]
        Mono, at the source's rate.
    """
    parts = []
    left = duration_s * source.sample_rate
    try:
        for block in source.blocks():
            parts.append(block[: int(min(left, len(block)))])
            left -= len(block)
            if left <= 0:
                break
    except KeyboardInterrupt:
        pass
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def tune(model, source, duration_s=DEFAULT_S, floor=None):
    """Record, and print a threshold as an option on standard output, the reasons on standard error.

    Parameters
    ----------
    model : edge_runtime.Model
    source : FileSource or MicrophoneSource
    duration_s : float
        5 to 600 seconds, less if the source ends before.
    floor : float, optional
        Least threshold to propose; default: the model's own.

    Raises
    ------
    ValueError
        Another duration.
    AudioError
        There is nothing to learn from the recording.
    """
    if not LEAST_S <= duration_s <= MOST_S:
        raise ValueError(f"--tune: expected {LEAST_S:.0f} to {MOST_S:.0f} seconds, got {duration_s:g}")
    _say(source.description)
    _say("let the room sound as it will, talk included; only say no digits. Ctrl-C ends it early")
    audio = record(source, duration_s)
    heard_s = len(audio) / source.sample_rate
    if heard_s < LEAST_S:
        raise AudioError(
            f"{source.name}: {heard_s:.1f} s were heard; a threshold needs {LEAST_S:.0f} s or more"
        )
    level = Level.of(audio)
    if level.is_silent:
        raise AudioError(f"{source.name}: digital silence: is it muted? --doctor says more")
    recognizer = model.recognizer(source.sample_rate, 0.0)
    words = recognizer.accept_waveform(audio) + recognizer.finish()
    own = model.file.decoder.threshold
    proposal = propose([word.confidence for word in words], heard_s, own if floor is None else floor)
    _explain_level(level, heard_s)
    _explain_rates(proposal, own)
    noise = audio[: round(_NOISE_S * source.sample_rate)]
    _explain_losses(model, proposal.threshold, edge_runtime.resample(noise, source.sample_rate))
    print(f"--threshold {proposal.threshold:.2f}", flush=True)


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _explain_level(level, heard_s):
    _say(f"heard {heard_s:.1f} s: noise {level.rms_db:.0f} dBFS (RMS), peak {level.peak_db:.0f} dBFS")
    change_db = _GOOD_DB - level.rms_db
    if level.clipped > _CLIPPED:
        _say(
            f"gain: {100 * level.clipped:.2f} % of it is clipped: lower it by 10 dB or more (`alsamixer`, F4)"
        )
    elif level.rms_db > _LOUD_DB:
        _say(f"gain: the room is loud, or the gain high: try {change_db:+.0f} dB (`alsamixer`, F4)")
    elif level.rms_db < _FAINT_DB:
        _say(f"gain: there is room for {change_db:+.0f} dB (`alsamixer`, F4), should quiet speech be missed")
    else:
        _say("gain: good as it is")


def _explain_rates(proposal, own):
    _say("threshold  false digits a minute")
    for threshold in sorted({*_TABLE, round(own, 4), proposal.threshold}):
        remark = "  the model's own" if threshold == round(own, 4) else ""
        remark += "  proposed" if threshold == proposal.threshold else ""
        _say(f"{threshold:9.2f}  {proposal.false_per_minute(threshold):.1f}{remark}")
    # With none seen, the rate is below 3 over the time, nineteen times in twenty.
    _say(
        f"{proposal.heard_s:.0f} s cannot tell less than {180 / proposal.heard_s:.1f} a minute from none; "
        "a longer recording (--tune SECONDS) can"
    )
    if not proposal.suffices:
        _say(
            f"this room is taken for digits even at {proposal.threshold:.2f}: if nobody said any, more distance from "
            "radio or talk, or a microphone close to the mouth, does more than a threshold"
        )


def _explain_losses(model, threshold, noise):
    """How many digits the threshold costs: bundled recordings, of 16 kHz as this noise, in the noise of the room."""
    for snr_db in _SNR_DB:
        said_count = heard_count = 0
        for path, said in samples():
            speech, rate = read_audio(path)
            gain = 10 ** ((rms_db(speech) - snr_db - rms_db(noise)) / 20)
            mixed = speech + np.float32(gain) * np.resize(noise, len(speech))
            recognizer = model.recognizer(rate, threshold)
            words = recognizer.accept_waveform(mixed) + recognizer.finish()
            pairs = align(said, [word.label for word in words])
            said_count += len(said)
            heard_count += sum(one == other for one, other in pairs)
        _say(
            f"at {threshold:.2f}, {heard_count} of {said_count} digits of the bundled recordings are heard "
            f"{snr_db} dB above this noise"
        )
