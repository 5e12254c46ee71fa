# SPDX-License-Identifier: MIT
"""What a recording gives, to the last bit: the same lines at the desk and on the device, or something is wrong.

``python -m apps.deploy.self_test RECORDING.wav`` prints them; on the device that is all of apps.deploy there is.
"""

import hashlib
import sys

import numpy as np

from apps.audio import read_audio
from apps.digit_demo.display import word_json
from edge_runtime import Frontend, Model

_QUIET_FRAMES = 30


def heard(model, path):
    """Words in a recording.

    Parameters
    ----------
    model : edge_runtime.Model
    path : path-like

    Returns
    -------
    list of edge_runtime.Word
    """
    audio, sample_rate = read_audio(path)
    recognizer = model.recognizer(sample_rate)
    return recognizer.accept_waveform(audio) + recognizer.finish()


def logits(model, path):
    """The network's outputs for a recording at 16 kHz.

    Returns
    -------
    int16 [shape=(steps, output_size)]
    """
    audio, _ = read_audio(path)
    frontend = Frontend(model.file.frontend)
    features = np.concatenate([frontend.push(audio), frontend.flush(quiet_frames=_QUIET_FRAMES)])
    return model.stream().run_quantized(model.quantize_input(features))


def json_lines(model, path):
    """What the digit demo and the C program print for a recording with ``--json``."""
    return [word_json(word) for word in heard(model, path)]


def exact_lines(model, path):
    """Words with times and confidences as hexadecimal floats, and the SHA-256 of the logits as little-endian int16."""
    lines = [
        f"word {word.label} {word.start_s.hex()} {word.end_s.hex()} {word.confidence.hex()}"
        for word in heard(model, path)
    ]
    values = logits(model, path)
    digest = hashlib.sha256(values.astype("<i2").tobytes()).hexdigest()
    return [*lines, f"logits {values.shape[0]} x {values.shape[1]} sha256 {digest}"]


if __name__ == "__main__":
    print("\n".join(exact_lines(Model.default(), sys.argv[1])))
