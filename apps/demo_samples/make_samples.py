# SPDX-License-Identifier: MIT
"""Make the sample recordings of this folder with the speech synthesizer espeak-ng.

    python -m apps.demo_samples.make_samples

Writes the WAV files (16 kHz, mono, 16 bit) and labels.csv beside this script. The recordings are
the output of espeak-ng 1.51, each checked with models of several training runs.
"""

import csv
import pathlib
import shutil
import subprocess
import sys
import tempfile
import wave

import numpy as np

from apps.audio import read_audio
from edge_runtime import resample

RATE = 16000
LEVEL_DBFS = -20.0  # root mean square of the speech
LEAD_S = 0.3
TAIL_S = 0.4

# File, espeak-ng voice, words per minute, pause between words in units of 10 ms, words.
SAMPLES = (
    ("american.wav", "en-us+Diogo", 160, 8, "four oh two nine"),
    ("british.wav", "en-gb", 150, 5, "zero three two eight"),
    ("female.wav", "en-us+f3", 170, 8, "three one six eight"),
    ("robot.wav", "en-us+robosoft", 170, 5, "seven one zero five"),
)


def synthesize(voice, words_per_minute, pause, words):
    """Speech at 16 kHz at the level wanted, with quiet around it.

    Returns
    -------
    int16 [shape=(n,)]
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "speech.wav"
        subprocess.run(
            ["espeak-ng", "-v", voice, "-s", str(words_per_minute), "-g", str(pause), "-w", path, words],
            check=True,
        )
        speech = resample(*read_audio(path))
    loud = np.flatnonzero(np.abs(speech) > 1e-3)
    speech = speech[loud[0] : loud[-1] + 1]
    speech *= 10 ** (LEVEL_DBFS / 20) / np.sqrt(np.mean(np.square(speech)))
    speech = np.concatenate([np.zeros(round(LEAD_S * RATE)), speech, np.zeros(round(TAIL_S * RATE))])
    # Digital silence never comes from a microphone: a little noise, the same every time.
    speech += 1e-4 * np.random.default_rng(0).standard_normal(len(speech))
    return np.clip(np.rint(speech * 32768), -32768, 32767).astype("<i2")


def main():
    """Write all files; returns the exit status."""
    if shutil.which("espeak-ng") is None:
        print("make_samples: espeak-ng is missing: sudo apt install espeak-ng", file=sys.stderr)
        return 2
    here = pathlib.Path(__file__).resolve().parent
    with open(here / "labels.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["file", "voice", "label"])
        for name, voice, words_per_minute, pause, words in SAMPLES:
            with wave.open(str(here / name), "wb") as sound:
                sound.setnchannels(1)
                sound.setsampwidth(2)
                sound.setframerate(RATE)
                sound.writeframes(synthesize(voice, words_per_minute, pause, words).tobytes())
            table.writerow([name, f"espeak-ng {voice}", words])
    return 0


if __name__ == "__main__":
    sys.exit(main())
