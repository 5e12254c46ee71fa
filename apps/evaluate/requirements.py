# SPDX-License-Identifier: MIT
"""What the digit recognizer has to reach, in one table."""

import operator
from dataclasses import dataclass

_COMPARE = {">=": operator.ge, "<=": operator.le, "<": operator.lt, "==": operator.eq}


@dataclass(frozen=True)
class Requirement:
    """One line.

    Attributes
    ----------
    key : str
        Name of a measured value, see `apps.evaluate.acceptance.measure`.
    title : str
    comparison : str
        Of the measured value with `bound`: ">=", "<=", "<" or "==".
    bound : float
    unit : str
        How it is shown: "%" and "ms" of values in 1 and seconds, others as they are.
    """

    key: str
    title: str
    comparison: str
    bound: float
    unit: str = ""

    def is_met(self, value):
        """Tell whether a measured value is good enough; None where there is none."""
        return None if value is None else bool(_COMPARE[self.comparison](value, self.bound))

    def show(self, value):
        """Return a value as text."""
        if value is None:
            return "-"
        if self.unit == "%":
            return f"{100 * value:.2f} %"
        if self.unit == "ms":
            return f"{1000 * value:.3g} ms"
        if self.unit == "MB":
            return f"{value / 1e6:.2f} MB"
        if self.unit == "yes":
            return "yes" if value else "no"
        return f"{value:.2f} {self.unit}" if self.unit else f"{value:g}"

    @property
    def bound_text(self):
        """str : what is required."""
        if self.unit == "yes":
            return self.show(self.bound)
        factor = {"%": 100, "ms": 1000, "MB": 1e-6}.get(self.unit, 1)
        return f"{self.comparison} {factor * self.bound:g} {self.unit}".rstrip()  # 5 %, not 5.00 %


REQUIREMENTS = (
    Requirement("accuracy sc_digits", "sc_digits, unseen voices: accuracy", ">=", 0.93, "%"),
    Requirement("accuracy audiomnist_subset", "audiomnist_subset, unseen voices: accuracy", ">=", 0.98, "%"),
    Requirement("accuracy fsdd", "fsdd: accuracy", ">=", 0.99, "%"),
    Requirement("accuracy prompt_digits", "prompt_digits, unseen voices: accuracy", ">=", 0.95, "%"),
    Requirement("wer an4_mfcc", "an4_mfcc, digit strings: word error rate", "<=", 0.05, "%"),
    Requirement("wer strings clean", "strings of sc_digits: word error rate", "<=", 0.07, "%"),
    Requirement("wer strings white", "... in white noise, 10 dB", "<=", 0.09, "%"),
    Requirement("wer strings babble", "... in babble, 10 dB", "<=", 0.09, "%"),
    Requirement("wer strings household", "... in household noise, 10 dB", "<=", 0.09, "%"),
    Requirement("accepted sc_words", "sc_words: clips in which a digit is heard", "<=", 0.05, "%"),
    Requirement("false nondigit_speech", "nondigit_speech: false digits", "<=", 0.5, "per minute"),
    Requirement("false noise", "esc10, background noise: false digits", "<=", 0.3, "per minute"),
    Requirement("false silence", "silence and hum: false digits", "==", 0),
    Requirement("level change", "-60 to -3 dBFS peak: greatest change of word errors", "<", 0.02, "%"),
    Requirement("rate change 8000", "8 kHz: change of word errors from 16 kHz", "<=", 0.02, "%"),
    Requirement("rate change 44100", "44.1 kHz", "<=", 0.02, "%"),
    Requirement("rate change 48000", "48 kHz", "<=", 0.02, "%"),
    Requirement("latency median", "end of word to event: median", "<=", 0.2, "ms"),
    Requirement("latency p95", "... 95th percentile", "<=", 0.35, "ms"),
    Requirement("compute p99", "computation for 10 ms: 99th percentile", "<", 0.001, "ms"),
    Requirement("hour dropped", "one hour: samples dropped", "==", 0),
    Requirement("hour growth", "... growth of resident memory", "<=", 2e6, "MB"),
    Requirement("hour rise", "... rise of word errors over the same in pieces", "<=", 0.005, "%"),
    Requirement("hour resumes", "... after silence as from a fresh start", "==", 1, "yes"),
)
