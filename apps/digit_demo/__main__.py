# SPDX-License-Identifier: MIT
"""Command line of the digit demo."""

import argparse
import contextlib
import datetime
import os
import pathlib
import signal
import sys
import time
import wave

import numpy as np

import edge_runtime
from apps.audio import AudioError, open_audio
from apps.digit_demo.display import Display
from apps.digit_demo.microphone import Microphone, MicrophoneError, list_devices

_EXIT_BAD_INPUT = 2


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.digit_demo",
        description="Recognize spoken English digits (zero, oh, one ... nine) from the microphone, until "
        "Ctrl-C, or from a file.",
    )
    parser.add_argument(
        "-i", "--input", metavar="FILE", help="recognize a WAV file instead; - is a WAV on standard input"
    )
    parser.add_argument("-d", "--device", metavar="ID|NAME", help="input device: number or part of its name")
    parser.add_argument("-l", "--list-devices", action="store_true", help="list input devices and end")
    parser.add_argument(
        "-r", "--samplerate", type=int, metavar="HZ", help="open the device at this rate (its own)"
    )
    parser.add_argument("-m", "--model", metavar="FILE", help="model file (the one in the package)")
    parser.add_argument("--kernel", metavar="NAME", help="such as scalar (the best for this CPU)")
    parser.add_argument("--threshold", type=float, help="drop words of less confidence (the model's)")
    parser.add_argument("--json", action="store_true", help="one JSON object per word on standard output")
    parser.add_argument("--save-audio", metavar="DIR", help="keep what was heard as WAV in this folder")
    parser.add_argument("-q", "--quiet", action="store_true", help="words and errors only")
    parser.add_argument("-v", "--verbose", action="store_true", help="times, confidences, ALSA's messages")
    parser.add_argument("--version", action="version", version=edge_runtime.__version__)
    return parser


class _Recording:
    """16-bit WAV of what was heard; its header is right whenever the file is closed."""

    def __init__(self, folder, sample_rate):
        self.path = _new_path(pathlib.Path(folder))
        self._file = wave.open(str(self.path), "wb")
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(sample_rate)

    def write(self, samples):
        scaled = np.clip(np.rint(samples * np.float32(32768)), -32768, 32767)
        self._file.writeframes(np.nan_to_num(scaled).astype("<i2").tobytes())

    def close(self):
        self._file.close()


def _new_path(folder):
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"digits-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    path = folder / f"{stem}.wav"
    number = 2
    while path.exists():
        path = folder / f"{stem}-{number}.wav"
        number += 1
    return path


class _Session:
    """A recognizer with its output and its totals."""

    def __init__(self, model, options, sample_rate, display):
        self._display = display
        self._verbose = options.verbose
        self._recognizer = model.recognizer(sample_rate, options.threshold)
        self._recording = _Recording(options.save_audio, sample_rate) if options.save_audio else None
        self._sample_rate = sample_rate
        self.samples = 0
        self.words = 0
        self.busy_s = 0.0

    def hear(self, samples):
        """Recognize a block and show its words."""
        if self._recording is not None:
            self._recording.write(samples)
        self.samples += len(samples)
        start = time.perf_counter()
        words = self._recognizer.accept_waveform(samples)
        self.busy_s += time.perf_counter() - start
        self._show(words)

    def finish(self):
        """The end of the audio."""
        self._show(self._recognizer.finish())

    def _show(self, words):
        for word in words:
            self.words += 1
            self._display.word(word)
            if self._verbose:
                self._display.note(
                    f"{word.label} {word.start_s:.2f} to {word.end_s:.2f} s, confidence {word.confidence:.2f}"
                )

    def close(self):
        """Complete the recording, if any."""
        if self._recording is not None:
            self._recording.close()

    def summarize(self, extra=""):
        """The closing line."""
        heard_s = self.samples / self._sample_rate
        factor = f", real-time factor {self.busy_s / heard_s:.4f}" if heard_s else ""
        self._display.note(f"heard {heard_s:.1f} s, {self.words} words{factor}{extra}")
        if self._recording is not None:
            self._display.note(f"audio kept in {self._recording.path}")


@contextlib.contextmanager
def _session(model, options, sample_rate, display, extra=lambda: ""):
    """A session that is finished on any orderly end: of the input, by Ctrl-C, by SIGTERM, and if the
    input fails."""
    session = _Session(model, options, sample_rate, display)
    try:
        yield session
    except KeyboardInterrupt:
        # A second Ctrl-C while finishing ends the program the hard way.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    finally:
        try:
            session.finish()
            display.end()
        finally:
            session.close()
            session.summarize(extra())


def _recognize_file(model, options, display):
    with open_audio(options.input) as audio:
        _check_rate(audio.sample_rate, audio.name)
        display.note(f"{audio.name}: {audio.sample_rate} Hz, {audio.channels} channels")
        with _session(model, options, audio.sample_rate, display) as session:
            for samples in audio.blocks():
                session.hear(samples)


def _listen(model, options, display):
    if options.samplerate is not None:
        _check_rate(options.samplerate, "-r")
    with Microphone(options.device, options.samplerate, options.verbose) as microphone:

        def losses():
            dropped = microphone.dropped_samples
            lost = f", {microphone.overflows} overflows in the system" if microphone.overflows else ""
            return f", {dropped} samples dropped{lost}"

        display.note(f"listening to {microphone.name!r} at {microphone.sample_rate} Hz; Ctrl-C ends")
        with _session(model, options, microphone.sample_rate, display, losses) as session:
            warned = False
            while True:
                samples = microphone.read()
                session.hear(samples)
                display.meter(samples, microphone.dropped_samples)
                if microphone.dropped_samples and not warned:
                    warned = True
                    display.note("this computer is too slow or too busy: audio was dropped")


def _check_rate(sample_rate, what):
    try:
        edge_runtime.Resampler(sample_rate)
    except ValueError:
        raise AudioError(
            f"{what}: {sample_rate} Hz is not supported (8000 to 192000 Hz, usual rates); "
            "convert it: ffmpeg -i INPUT -ar 16000 OUTPUT.wav"
        ) from None


def _terminate(_signal, _frame):
    raise KeyboardInterrupt


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = build_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        if options.list_devices:
            print("\n".join(list_devices(options.verbose)))
            return 0
        if options.model is None:
            model = edge_runtime.Model.default(options.kernel)
        else:
            model = edge_runtime.Model.load(options.model, options.kernel)
        display = Display(options.json, options.quiet, meter=options.input is None)
        if options.verbose:
            display.note(f"{model} from edge_runtime {edge_runtime.__version__}")
        if options.input is not None:
            _recognize_file(model, options, display)
        else:
            _listen(model, options, display)
    except BrokenPipeError:
        # The reader of our output has gone (| head); keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 0
    except (AudioError, MicrophoneError, edge_runtime.EdgeRuntimeError, OSError, ValueError) as error:
        print(f"digit_demo: {error}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
