# SPDX-License-Identifier: MIT
"""Recognize the recordings of apps/demo_samples: ``python -m apps.digit_demo.samples``.

Ends with status 1 if one of them is not recognized as labeled.
"""

import argparse
import sys

from apps.audio import AudioError, read_audio
from apps.demo_samples import samples
from apps.digit_demo.display import digit_text
from edge_runtime import EdgeRuntimeError, Model


def recognize_sample(model, path):
    """Recognize one file.

    Parameters
    ----------
    model : edge_runtime.Model
    path : path-like

    Returns
    -------
    tuple of str
        Words.
    """
    audio, sample_rate = read_audio(path)
    recognizer = model.recognizer(sample_rate)
    words = recognizer.accept_waveform(audio) + recognizer.finish()
    return tuple(word.label for word in words)


def main(arguments=None):
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.digit_demo.samples", description=__doc__.partition(":")[0] + "."
    )
    parser.add_argument("-m", "--model", metavar="FILE", help="model file (the one in the package)")
    options = parser.parse_args(arguments)
    try:
        model = Model.default() if options.model is None else Model.load(options.model)
        wrong = 0
        for path, said in samples():
            heard = recognize_sample(model, path)
            wrong += heard != said
            verdict = "" if heard == said else f"   WRONG: it is {' '.join(map(digit_text, said))}"
            print(f"{path.name:<16} {' '.join(map(digit_text, heard))}{verdict}", flush=True)
    except (AudioError, EdgeRuntimeError, OSError) as error:
        print(f"samples: {error}", file=sys.stderr)
        return 2
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
