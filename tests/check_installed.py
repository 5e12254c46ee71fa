# SPDX-License-Identifier: MIT
"""What an installed edge_runtime computes, as lines to compare with another machine's, bit for bit.

    python check_installed.py CHECKOUT [KERNEL]

For every golden model that its logits are the file's; for every sample recording and both digit models a digest of
the logits, and the words with times and confidence, in hexadecimal. The first line says what ran, and differs.
Needs the package and numpy only; CHECKOUT is where the recordings are.
"""

import hashlib
import pathlib
import platform
import sys
import wave

import cffi
import numpy as np

import edge_runtime as er
from edge_runtime._native import library_path


def samples(path):
    """Samples of a WAV file of 16 bits, and their rate in Hz."""
    with wave.open(str(path)) as recording:
        return np.frombuffer(recording.readframes(-1), "<i2"), recording.getframerate()


def check_golden(path, kernel):
    """One line about a golden model."""
    table = np.loadtxt(path.with_suffix(".csv"), delimiter=",", skiprows=1, dtype=np.int64)
    model = er.Model.load(path, kernel)
    x = table[:, : model.input_size].astype(np.int8 if model.profile == 1 else np.int16)
    equal = np.array_equal(model.stream().run_quantized(x), table[:, model.input_size :])
    return f"golden {path.stem} {'equal' if equal else 'DIFFERS'}"


def check_recording(path, model):
    """Lines about a recording: the network's logits, then the words, heard in uneven pieces."""
    pcm, rate = samples(path)
    if rate == 16000:  # the front end's
        frontend = er.Frontend(model.file.frontend)
        features = np.concatenate([frontend.push(pcm), frontend.flush()])
        logits = model.stream().run_quantized(model.quantize_input(features))
        yield f"logits {path.stem} {len(logits)} {hashlib.sha256(logits.astype('<i4').tobytes()).hexdigest()}"
    recognizer = model.recognizer(sample_rate=rate)
    words = []
    for begin in range(0, len(pcm), 1237):
        words += recognizer.accept_waveform(pcm[begin : begin + 1237])
    for word in [*words, *recognizer.finish()]:
        numbers = (word.start_s, word.end_s, word.confidence)
        yield f"word {path.stem} {word.label} {' '.join(float(n).hex() for n in numbers)}"


def main(checkout, kernel=None):
    models = {name: getattr(er.Model, name)(kernel) for name in ("default", "small")}
    print(
        f"{platform.machine()}, kernel {models['default'].kernel}, edge_runtime {er.__version__} {library_path}, "
        f"python {platform.python_version()}, numpy {np.__version__}, cffi {cffi.__version__}"
    )
    for path in sorted((checkout / "tests" / "golden").glob("*.ernn")):
        print(check_golden(path, kernel))
    for name, model in models.items():
        for path in sorted((checkout / "apps" / "demo_samples").glob("*.wav")):
            for line in check_recording(path, model):
                print(f"{name} {line}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *sys.argv[2:])
