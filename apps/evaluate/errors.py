# SPDX-License-Identifier: MIT
"""What went wrong, word by word, and what the network took the word for."""

from dataclasses import asdict, dataclass

import numpy as np

from apps.evaluate.metrics import align, digit_words
from edge_runtime import Frontend

_QUIET_FRAMES = 30  # as the recognizer appends at the end of a signal


@dataclass(frozen=True)
class WordError:
    """One wrong word.

    Attributes
    ----------
    recording, file, speaker, label : str
        Key of the recording, where it came from, who speaks, all that is said in it.
    at_s : float
        Where in the recording, seconds.
    expected, heard : str or None
        None: nothing was said, or reported.
    confidence : float or None
        Of the word heard, 0 to 1.
    expected_score : float or None
        Greatest probability of the expected word around there, 0 to 1.
    competitor : str
        The best other output around there but for blank: another digit, or the label of rejected words.
    competitor_score : float
        Its greatest probability.
    kind : str
        "substituted"; "unknown" (said, and taken for a word that is no digit); "missed"; "below threshold" (heard,
        but with too little confidence); "inserted".
    """

    recording: str
    file: str
    speaker: str
    label: str
    at_s: float
    expected: str | None
    heard: str | None
    confidence: float | None
    expected_score: float | None
    competitor: str
    competitor_score: float
    kind: str

    def as_dict(self):
        """Return it for JSON."""
        return asdict(self)

    def line(self):
        """Return it as a line of text."""
        heard = "(nothing)" if self.heard is None else f"{self.heard} {self.confidence:.2f}"
        own = "" if self.expected is None else f"{self.expected} {self.expected_score:.2f}, "
        return (
            f"{self.recording:<22} {self.at_s:6.2f} s  {self.expected or '(nothing)':<9} -> {heard:<12} {self.kind:<15} "
            f"scores: {own}{self.competitor} {self.competitor_score:.2f}  ({self.label}; {self.speaker}, {self.file})"
        )


class ErrorFinder:
    """Recognizes recordings once more, step by step, and explains what is wrong.

    Parameters
    ----------
    model : edge_runtime.Model
    threshold : float, optional
        As `edge_runtime.Model.recognizer`.
    spelled_o : bool
        As `apps.evaluate.metrics.digit_words`.
    """

    def __init__(self, model, threshold=None, spelled_o=False):
        config, decoder = model.file.frontend, model.file.decoder
        self._model = model
        self._frontend = Frontend(config)
        self._labels = model.labels
        self._blank, self._unknown = decoder.blank, decoder.unknown
        self._bias = decoder.bias / np.float32(2048)
        self._threshold = decoder.threshold if threshold is None else threshold
        # Whatever its confidence, a word that was heard is told from one that was not.
        self._recognizer = model.recognizer(threshold=0.0)
        self._step_s = config.step_samples / 16000
        self._delay_s = decoder.delay_ms / 1000
        self._spelled_o = spelled_o

    def _trace(self, utterance):
        """Words, and the probabilities [shape=(steps, outputs)] of every step, the end of the signal included."""
        recognizer, frontend = self._recognizer, self._frontend
        recognizer.reset()
        frontend.reset()
        if utterance.pcm is None:
            words = recognizer.accept_cepstra(utterance.cepstra)
            features = frontend.push_cepstra(utterance.cepstra)
        else:
            words = recognizer.accept_waveform(utterance.pcm)
            features = frontend.push(utterance.samples)
        words += recognizer.finish()
        features = np.concatenate([features, frontend.flush(_QUIET_FRAMES)])
        scores = self._model.stream().run(features) + self._bias
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return words, scores / scores.sum(axis=1, keepdims=True)

    def find(self, utterance):
        """Return the errors in one recording, a list of WordError in order."""
        words, scores = self._trace(utterance)
        reported = [word for word in words if word.confidence >= self._threshold]
        reference = digit_words(utterance.words, self._spelled_o)
        pairs = align(reference, [word.label for word in reported])
        errors = []
        position = 0
        previous_end = 0.0
        for expected, heard in pairs:
            word = None
            if heard is not None:
                word = reported[position]
                position += 1
            if expected != heard:
                # A word that was not heard is somewhere between those beside it.
                begin = previous_end
                end = reported[position].start_s if position < len(reported) else float("inf")
                if word is not None:
                    begin, end = word.start_s, word.end_s
                errors.append(self._explain(utterance, words, scores, expected, word, begin, end))
            if word is not None:
                previous_end = word.end_s
        return errors

    def _explain(self, utterance, words, scores, expected, word, begin, end):
        # The network speaks later than the word by the model's delay.
        first = int(max(0.0, begin + self._delay_s if begin else 0.0) / self._step_s)
        first = min(first, len(scores) - 1)
        last = int(min(end + self._delay_s, 1e6) / self._step_s) + 1
        window = scores[first : max(last, first + 1)]
        best = window.max(axis=0)
        own = None if expected is None else float(best[self._labels.index(expected)])
        others = best.copy()
        others[self._blank] = -1
        if word is not None:
            others[word.index] = -1
        if expected is not None:
            others[self._labels.index(expected)] = -1
        rival = int(np.argmax(others))
        if expected is None:
            kind = "inserted"
        elif word is not None:
            kind = "substituted"
        elif any(w.label == expected and begin <= (w.start_s + w.end_s) / 2 <= end for w in words):
            kind = "below threshold"
        else:
            kind = "unknown" if (window.argmax(axis=1) == self._unknown).any() else "missed"
        return WordError(
            recording=utterance.key,
            file=f"{utterance.source} {utterance.take}".strip(),
            speaker=utterance.speaker,
            label=" ".join(utterance.words),
            at_s=round(begin, 2),
            expected=expected,
            heard=None if word is None else word.label,
            confidence=None if word is None else round(float(word.confidence), 3),
            expected_score=None if own is None else round(own, 3),
            competitor=self._labels[rival],
            competitor_score=round(float(best[rival]), 3),
            kind=kind,
        )


def tally(errors):
    """Count errors by expected word and kind.

    Parameters
    ----------
    errors : iterable of WordError

    Returns
    -------
    dict of str to dict of str to int
        Expected word ("(nothing)" for insertions) to counts: the word heard instead, or the kind in brackets.
    """
    counts = {}
    for error in errors:
        row = counts.setdefault(error.expected or "(nothing)", {})
        key = error.heard or f"({error.kind})"
        row[key] = row.get(key, 0) + 1
    return counts


def print_errors(errors, stream):
    """Print a line per error and the counts by word."""
    for error in errors:
        print(error.line(), file=stream)
    if errors:
        print("", file=stream)
    for expected, row in sorted(tally(errors).items()):
        parts = sorted(row.items(), key=lambda item: (-item[1], item[0]))
        print(
            f"{expected:<10} {sum(row.values()):>4}: " + ", ".join(f"{k} {n}" for k, n in parts), file=stream
        )
