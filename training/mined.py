# SPDX-License-Identifier: MIT
"""The folder that `training.mine` writes: what a model mistook, for another stage of its training.

Synthetic speech as `training.synthetic_speech` keeps it, and errors.json: of recordings, in what share of its
trials each was mistaken; of noise, the stretches in which a digit was heard.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from apps.corpus import CorpusError
from training.synthetic_speech import read_speech, write_speech

_FILE = "errors.json"


@dataclass(frozen=True, eq=False)
class Mined:
    """What a model mistook.

    Attributes
    ----------
    speech : list of SyntheticClip
        Of kind "digit": digits that were missed or taken for something else; of others: a digit was heard.
    errors : dict of str to float
        Key of an utterance of a training set -> share of its trials that went wrong, above 0 to 1. The key of
        a word of AN4 is that of its utterance, a colon and its place in it.
    cuts : list of (str, int, int)
        Key of a recording of noise, first sample and sample after the last.
    """

    speech: list
    errors: dict
    cuts: list

    def repeated(self, pairs, weight):
        """List clips several times: once, and `weight` times the share of errors, rounded.

        Parameters
        ----------
        pairs : iterable of (str, object)
            Key and clip.
        weight : float

        Returns
        -------
        list of (str, object)
        """
        return [
            (key, clip) for key, clip in pairs for _ in range(1 + round(weight * self.errors.get(key, 0.0)))
        ]


NOTHING_MINED = Mined([], {}, [])


def write_mined(folder, mined):
    """Write to a folder, which is made if need be; what it held is replaced.

    Parameters
    ----------
    folder : pathlib.Path
    mined : Mined
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FILE).unlink(missing_ok=True)
    write_speech(folder, mined.speech)
    part = folder / f"{_FILE}.part"
    part.write_text(
        json.dumps({"errors": mined.errors, "cuts": mined.cuts}, indent=0) + "\n", encoding="utf-8"
    )
    part.replace(folder / _FILE)


@functools.cache
def read_mined(folder):
    """Read a folder.

    Parameters
    ----------
    folder : str
        Empty: nothing mined.

    Returns
    -------
    Mined

    Raises
    ------
    apps.corpus.CorpusError
        No such folder, or it is damaged; the message names the file.
    """
    if not folder:
        return NOTHING_MINED
    path = Path(folder) / _FILE
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        errors = {str(key): float(share) for key, share in table["errors"].items()}
        cuts = [(str(key), int(begin), int(end)) for key, begin, end in table["cuts"]]
    except FileNotFoundError:
        raise CorpusError(f"{path}: not found; python -m training.mine makes it") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorpusError(
            f"{path}: expected the errors and cuts of python -m training.mine: {error!r}"
        ) from None
    if not all(0 < share <= 1 for share in errors.values()) or not all(0 <= a < b for _, a, b in cuts):
        raise CorpusError(f"{path}: a share of errors is not in 0 to 1, or a cut is empty")
    return Mined(read_speech(folder), errors, cuts)
