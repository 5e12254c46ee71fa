# SPDX-License-Identifier: MIT
"""Kokoro, a neural synthesizer whose voices can be mixed: many talkers of a few, for `training.synthesize`.

Kokoro-82M (Apache 2.0) is a small StyleTTS 2 (arXiv:2306.07691): a voice is a vector of style for each length of the
text, and a weighted mean of voices is a voice. The network, in ONNX, and the voices are two files of the releases of
kokoro-onnx: `MODEL` and `VOICES`. Pronunciations are those of the CMU Pronouncing Dictionary with its stress, so that
nothing but numpy and onnxruntime is needed.
"""

import functools
import math
from pathlib import Path

import numpy as np

from training.lexicon import stressed_pronunciation

MODEL = "kokoro-v1.0.int8.onnx"
VOICES = "voices-v1.0.bin"
SAMPLE_RATE = 24000
STYLE_SIZE = 256
LONGEST = 509  # symbols

# What the network calls the phones of the dictionary, with the vowel where the stress mark goes before.
# fmt: off
_CONSONANTS = {
    "B": "b", "CH": "ʧ", "D": "d", "DH": "ð", "F": "f", "G": "ɡ", "HH": "h", "JH": "ʤ", "K": "k", "L": "l", "M": "m",
    "N": "n", "NG": "ŋ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "V": "v", "W": "w", "Y": "j",
    "Z": "z", "ZH": "ʒ",
}
_VOWELS = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "W", "AY": "I", "EH": "ɛ", "ER": "ɜɹ", "EY": "A", "IH": "ɪ",
    "IY": "i", "OW": "O", "OY": "Y", "UH": "ʊ", "UW": "u",
}
_UNSTRESSED = {"AH": "ə", "ER": "əɹ"}
_BRITISH = {"AA": "ɑː", "AE": "a", "AO": "ɔː", "ER": "ɜː", "IY": "iː", "OW": "Q", "UW": "uː"}
_BRITISH_UNSTRESSED = {"AH": "ə", "ER": "ə", "IY": "i"}
_CODES = {
    ".": 4, "!": 5, "?": 6, ",": 3, " ": 16, "A": 24, "I": 25, "O": 31, "Q": 33, "W": 39, "Y": 41, "a": 43, "b": 44,
    "d": 46, "f": 48, "h": 50, "i": 51, "j": 52, "k": 53, "l": 54, "m": 55, "n": 56, "p": 58, "s": 61, "t": 62, "u": 63,
    "v": 64, "w": 65, "z": 68, "ɑ": 69, "æ": 72, "ɔ": 76, "ð": 81, "ʤ": 82, "ə": 83, "ɛ": 86, "ɜ": 87, "ɡ": 92,
    "ɪ": 102, "ŋ": 112, "θ": 119, "ɹ": 123, "ʃ": 131, "ʧ": 133, "ʊ": 135, "ʌ": 138, "ʒ": 147, "ˈ": 156, "ˌ": 157,
    "ː": 158,
}
# fmt: on
_STRESS = {"0": "", "1": "ˈ", "2": "ˌ"}

# Voices whose language is English; others lend their timbre to a mixture.
_ENGLISH = ("af", "am", "bf", "bm")


class KokoroError(RuntimeError):
    """A file is missing or is not what was expected; the message is one line."""


def spell(word, british=False):
    """Write a word in the network's symbols.

    Parameters
    ----------
    word : str
        In lower case.
    british : bool
        Long vowels where there is stress, and no R but before a vowel.

    Returns
    -------
    str

    Raises
    ------
    training.lexicon.LexiconError
        The dictionary lacks the word.
    """
    phones = stressed_pronunciation(word)
    symbols = []
    for phone, following in zip(phones, (*phones[1:], ""), strict=True):
        name = phone.rstrip("012")
        if name in _CONSONANTS:
            if not (british and name == "R" and not following[-1:].isdigit()):
                symbols.append(_CONSONANTS[name])
            continue
        vowel = _VOWELS[name]
        if phone.endswith("0"):
            vowel = _UNSTRESSED.get(name, vowel)
        if british:
            vowel = (_BRITISH_UNSTRESSED if phone.endswith("0") else _BRITISH).get(name, vowel)
        symbols.append(_STRESS[phone[-1]] + vowel)
    return "".join(symbols)


def mixtures(names, count, seed):
    """Draw voices that are mixtures of one to three English ones and, in a third of them, a foreign one.

    Parameters
    ----------
    names : iterable of str
        Voices there are: two letters for language and sex, an underscore, a name.
    count : int
    seed : int

    Returns
    -------
    list of str
        Such as "af_heart*0.62+am_adam*0.38", for `style_of`; at least half of a voice is English.
    """
    english = sorted(name for name in names if name[:2] in _ENGLISH)
    foreign = sorted(set(names) - set(english))
    rng = np.random.default_rng([seed, 2])
    found = []
    for _ in range(count):
        size = rng.integers(1, 4)
        chosen = [str(name) for name in rng.choice(english, size, replace=False)]
        weights = rng.dirichlet([1.0] * size)
        if foreign and rng.random() < 0.35:
            chosen.append(str(rng.choice(foreign)))
            share = rng.uniform(0.15, 0.5)
            weights = np.append(weights * (1 - share), share)
        percent = np.rint(100 * weights).astype(int).clip(1)
        percent[0 if percent.sum() - percent[0] <= 100 else np.argmax(percent)] += 100 - percent.sum()
        parts = [
            f"{name}*0.{w:02d}" if w < 100 else name for name, w in zip(chosen, percent, strict=True) if w
        ]
        found.append("+".join(parts))
    return found


class Kokoro:
    """The network and its voices; not to be used by two threads at once.

    Parameters
    ----------
    folder : path
        Holds `MODEL` and `VOICES`.

    Raises
    ------
    KokoroError
        A file is missing or damaged, or onnxruntime is.
    """

    def __init__(self, folder):
        try:
            import onnxruntime
        except ImportError:
            raise KokoroError("Kokoro needs onnxruntime: pip install edge-runtime[onnx]") from None
        self._styles = read_voices(folder)
        model = Path(folder) / MODEL
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no base class of its errors
            raise KokoroError(f"{model}: {str(error).splitlines()[0]}") from None

    def style_of(self, voice, length):
        """The style of a voice or of a mixture for a text of so many symbols: float32 [shape=(1, 256)]."""
        style = np.zeros(STYLE_SIZE, np.float32)
        for part in voice.split("+"):
            name, _, weight = part.partition("*")
            if name not in self._styles:
                raise KokoroError(f"voice {voice!r}: there is no {name!r}")
            style += np.float32(weight or 1) * self._styles[name][length]
        return style[None]

    def speak(self, words, voice, speed=1.0, end="."):
        """Say words in one breath.

        Parameters
        ----------
        words : sequence of str
            In lower case, of the dictionary.
        voice : str
            A voice, or a mixture as `mixtures` writes them.
        speed : float
            Factor, 0.5 to 2.
        end : str
            Punctuation: ".", "!", "?" or ",".

        Returns
        -------
        numpy.ndarray
            float32 [shape=(samples,)] at 24 kHz.

        Raises
        ------
        training.lexicon.LexiconError
        KokoroError
            Unknown voice, or a text of more than 509 symbols.
        """
        british = voice.startswith("b")
        codes = [_CODES[symbol] for symbol in " ".join(spell(word, british) for word in words) + end]
        if len(codes) > LONGEST:
            raise KokoroError(f"{len(codes)} symbols to say, expected at most {LONGEST}")
        inputs = {
            "tokens": np.array([[0, *codes, 0]], np.int64),
            "style": self.style_of(voice, len(codes)),
            "speed": np.array([speed], np.float32),
        }
        return np.ravel(self._session.run(None, inputs)[0]).astype(np.float32)


def read_voices(folder):
    """Read the styles of the voices: dict of name to float32 [shape=(510, 256)]; KokoroError."""
    path = Path(folder) / VOICES
    try:
        with np.load(path, allow_pickle=False) as file:
            styles = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise KokoroError(f"{path}: not found; it and {MODEL} are of the releases of kokoro-onnx") from None
    except (OSError, ValueError) as error:
        raise KokoroError(f"{path}: {error}") from None
    for name, style in styles.items():
        if style.dtype != np.float32 or math.prod(style.shape) != (LONGEST + 1) * STYLE_SIZE:
            raise KokoroError(
                f"{path}, voice {name}: expected 510 x 256 of float32, found {style.dtype} {style.shape}"
            )
        styles[name] = style.reshape(LONGEST + 1, STYLE_SIZE)
    if not styles:
        raise KokoroError(f"{path}: no voices")
    return styles


@functools.cache
def kokoro(folder):
    """The `Kokoro` of a folder, loaded once per process."""
    return Kokoro(folder)
