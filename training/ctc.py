# SPDX-License-Identifier: MIT
"""What the outputs of a network trained by CTC say: letter by letter, or as words of a dictionary.

Source of both: Graves, Fernandez, Gomez, Schmidhuber, "Connectionist Temporal Classification", 2006, sections 3.2.
"""

import numpy as np

BLANK = 0


def greedy(logits):
    """Take the best output of every step, runs of one output once, without blanks.

    It is what `edge_runtime.Decoder` does with no bias and threshold 0.

    Parameters
    ----------
    logits : float array [shape=(steps, outputs)]

    Returns
    -------
    list of int
    """
    best = np.argmax(logits, axis=1)
    changed = np.concatenate([[True], best[1:] != best[:-1]])[: len(best)]
    return [int(index) for index in best[changed] if index != BLANK]


class WordLoop:
    """The likeliest sequence of dictionary words, any after any, divided by a separator.

    The best path of outputs that spells words, found exactly; all words are equally likely.

    Parameters
    ----------
    words : sequence of str
    labels : sequence of str
        Per output: a character; `BLANK` is the blank, whatever its label.
    separator : str
        Label between words.
    """

    def __init__(self, words, labels, separator=" "):
        self.words = tuple(words)
        index = {label: output for output, label in enumerate(labels) if output != BLANK}
        # States of a word: its characters and the separator, a blank after each.
        spelled = [[index[character] for character in word + separator] for word in self.words]
        self._outputs = np.array(
            [output for word in spelled for letter in word for output in (letter, BLANK)]
        )
        sizes = np.array([2 * len(word) for word in spelled])
        self._word = np.repeat(np.arange(len(spelled)), sizes)
        place = np.concatenate([np.arange(size) for size in sizes])
        rest = np.repeat(sizes, sizes) - place
        self._first = place == 0
        self._exits = np.flatnonzero(rest <= 2)
        self._ends = np.flatnonzero((rest == 3) | (rest == 4))
        # Over a blank between two characters, unless they are alike.
        before = np.roll(self._outputs, 2)
        self._skips = (place >= 2) & (self._outputs != BLANK) & (self._outputs != before)

    def decode(self, logits):
        """Find the words.

        Parameters
        ----------
        logits : float array [shape=(steps, outputs)]

        Returns
        -------
        tuple of str
        """
        logits = np.asarray(logits, np.float64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        silent = 0.0  # score of nothing but blanks so far
        best = np.full(len(self._outputs), -np.inf)
        history, last = [], np.full(len(best), -1)  # (word, item before it); item before the state's own word
        for step in scores:
            leaving = self._exits[np.argmax(best[self._exits])]
            entering, item = silent, -1
            if best[leaving] > silent:
                entering, item = best[leaving], len(history)
                history.append((self._word[leaving], last[leaving]))
            sources = np.stack(
                [
                    best,
                    np.where(self._first, -np.inf, np.roll(best, 1)),
                    np.where(self._skips, np.roll(best, 2), -np.inf),
                    np.where(self._first, entering, -np.inf),
                ]
            )
            choice = sources.argmax(axis=0)
            last = np.choose(choice, [last, np.roll(last, 1), np.roll(last, 2), item])
            best = sources.max(axis=0) + step[self._outputs]
            silent += step[BLANK]
        end = self._ends[np.argmax(best[self._ends])]
        if best[end] <= silent:
            return ()
        words, item = [self._word[end]], last[end]
        while item >= 0:
            word, item = history[item]
            words.append(word)
        return tuple(self.words[word] for word in reversed(words))
