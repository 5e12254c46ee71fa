# SPDX-License-Identifier: MIT
"""Error measures of recognized digit words.

The reference of a recording is the digit words of its label; all other words are unknown to the
recognizer, which is not to report them. That includes the spelled letter "o", although it sounds
like "oh", unless `Score` is told otherwise.
"""

import collections
import dataclasses

DIGITS = ("zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digit_words(words, spelled_o=False):
    """Digit words among the words of a label, in order.

    Parameters
    ----------
    words : sequence of str
    spelled_o : bool
        Take the letter "o" for the word "oh", which sounds the same.

    Returns
    -------
    tuple of str
    """
    words = (word.lower() for word in words)
    if spelled_o:
        words = ("oh" if word == "o" else word for word in words)
    return tuple(word for word in words if word in DIGITS)


def align(reference, hypothesis):
    """Cheapest alignment of two word sequences (Levenshtein distance).

    Among equally cheap alignments the one with most substitutions is taken, from the end.

    Parameters
    ----------
    reference, hypothesis : sequence of str

    Returns
    -------
    list of (str or None, str or None)
        Pairs in order: equal words, a substitution, a deletion (word, None) or an insertion
        (None, word).
    """
    rows, columns = len(reference) + 1, len(hypothesis) + 1
    cost = [[i + j if i == 0 or j == 0 else 0 for j in range(columns)] for i in range(rows)]
    for i in range(1, rows):
        for j in range(1, columns):
            cost[i][j] = min(
                cost[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1]),
                cost[i - 1][j] + 1,
                cost[i][j - 1] + 1,
            )
    pairs = []
    i, j = len(reference), len(hypothesis)
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((reference[i], hypothesis[j]))
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            pairs.append((reference[i], None))
        else:
            j -= 1
            pairs.append((None, hypothesis[j]))
    return pairs[::-1]


@dataclasses.dataclass
class Errors:
    """Word errors of a group of recordings.

    Attributes
    ----------
    utterances : int
        Recordings with at least one digit word.
    words : int
        Digit words in their references.
    substitutions, deletions, insertions : int
        Errors in these recordings.
    wrong_strings : int
        Recordings with at least one error.
    """

    utterances: int = 0
    words: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    wrong_strings: int = 0

    @property
    def word_errors(self):
        """int : all three kinds."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self):
        """float or None : word errors per reference word; None without words."""
        return ratio(self.word_errors, self.words)

    def add(self, pairs):
        """Count a recording by its alignment."""
        self.utterances += 1
        self.words += sum(reference is not None for reference, _ in pairs)
        self.substitutions += sum(None not in (r, h) and r != h for r, h in pairs)
        self.deletions += sum(hypothesis is None for _, hypothesis in pairs)
        self.insertions += sum(reference is None for reference, _ in pairs)
        self.wrong_strings += any(r != h for r, h in pairs)


@dataclasses.dataclass
class LabelCount:
    """Fate of one digit word over all references.

    Attributes
    ----------
    words, right, missed : int
        Times in a reference; recognized; deleted.
    taken_for : collections.Counter
        What was recognized instead.
    inserted : int
        Times recognized where nothing, or no digit, was said.
    """

    words: int = 0
    right: int = 0
    missed: int = 0
    taken_for: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    inserted: int = 0


class Score:
    """Running totals over recordings; see `summary`.

    Parameters
    ----------
    spelled_o : bool
        As `digit_words`.
    """

    def __init__(self, spelled_o=False):
        self._spelled_o = spelled_o
        self.recordings = 0
        self.errors = Errors()
        self.speakers = collections.defaultdict(Errors)
        self.labels = {digit: LabelCount() for digit in DIGITS}
        self.single_words = 0
        self.single_words_right = 0
        self.false_words = 0
        self.digitless_recordings = 0
        self.accepted_recordings = 0
        self.digitless_s = 0.0
        self.audio_s = 0.0
        self.recognition_s = 0.0

    def add(self, words, hypothesis, speaker, duration_s, recognition_s):
        """Count a recording.

        Parameters
        ----------
        words : sequence of str
            Words of its label.
        hypothesis : sequence of str
            Recognized words.
        speaker : str
        duration_s : float
            Length of the recording.
        recognition_s : float
            Time the recognizer took.

        Returns
        -------
        bool
            True if the hypothesis is right.
        """
        reference = digit_words(words, self._spelled_o)
        hypothesis = tuple(hypothesis)
        self.recordings += 1
        self.audio_s += duration_s
        self.recognition_s += recognition_s
        pairs = align(reference, hypothesis)
        self._count_labels(pairs)
        if not reference:
            self.digitless_recordings += 1
            self.digitless_s += duration_s
            self.false_words += len(hypothesis)
            self.accepted_recordings += bool(hypothesis)
        else:
            self.errors.add(pairs)
            self.speakers[speaker].add(pairs)
            if len(words) == 1:
                self.single_words += 1
                self.single_words_right += hypothesis == reference
        return hypothesis == reference

    def _count_labels(self, pairs):
        for reference, hypothesis in pairs:
            if reference is None:
                self.labels.setdefault(hypothesis, LabelCount()).inserted += 1
                continue
            label = self.labels[reference]
            label.words += 1
            if hypothesis is None:
                label.missed += 1
            elif hypothesis == reference:
                label.right += 1
            else:
                label.taken_for[hypothesis] += 1

    def summary(self):
        """All measures; None where there is nothing to measure.

        Returns
        -------
        dict
            utterances : all recordings;
            words : digit words in the references;
            wer, substitutions, deletions, insertions : over recordings with digit words;
            string_error : share of these with any error;
            single_words, accuracy : recordings whose label is one digit word, and the share of
            them where exactly this word was recognized;
            false_words, minutes_without_digits, false_words_per_minute, accepted : over recordings
            without digit words; `accepted` is the share of them in which any word was recognized;
            audio_s, real_time_factor : length, and time taken by the recognizer per length.
        """
        minutes = self.digitless_s / 60
        return {
            "utterances": self.recordings,
            "words": self.errors.words,
            "wer": self.errors.wer,
            "substitutions": self.errors.substitutions,
            "deletions": self.errors.deletions,
            "insertions": self.errors.insertions,
            "string_error": ratio(self.errors.wrong_strings, self.errors.utterances),
            "single_words": self.single_words,
            "accuracy": ratio(self.single_words_right, self.single_words),
            "false_words": self.false_words if self.digitless_recordings else None,
            "minutes_without_digits": minutes,
            "false_words_per_minute": ratio(self.false_words, minutes),
            "accepted": ratio(self.accepted_recordings, self.digitless_recordings),
            "audio_s": self.audio_s,
            "real_time_factor": ratio(self.recognition_s, self.audio_s),
        }


def ratio(part, whole):
    """`part / whole`, or None if there is no whole."""
    return part / whole if whole else None
