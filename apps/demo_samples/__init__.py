# SPDX-License-Identifier: MIT
"""Sample recordings, made by make_samples.py; see `samples`."""

import csv
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent


def samples():
    """The sample recordings and what is said in them.

    Returns
    -------
    list of (pathlib.Path, tuple of str)
        WAV file and its words.
    """
    with open(FOLDER / "labels.csv", newline="", encoding="utf-8") as stream:
        return [(FOLDER / row["file"], tuple(row["label"].split())) for row in csv.DictReader(stream)]
