# SPDX-License-Identifier: MIT
"""Command line of the digit demo."""

import argparse
import contextlib
import os
import pathlib
import signal
import sys

import edge_runtime
from apps.audio import STDIN, AudioError
from apps.digit_demo.arecord import arecord_program
from apps.digit_demo.display import Display
from apps.digit_demo.doctor import examine
from apps.digit_demo.hook import ExecHook, parse_command
from apps.digit_demo.microphone import MicrophoneError, list_devices
from apps.digit_demo.recording import DEFAULT_LIMIT_BYTES, Recording
from apps.digit_demo.session import Session
from apps.digit_demo.sources import open_source
from apps.digit_demo.tune import DEFAULT_S, MOST_S, tune
from apps.digit_demo.web.address import DEFAULT_HOST, DEFAULT_PORT, parse_address

_EXIT_BAD_INPUT = 2


def _address(text):
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(error) from None


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
    parser.add_argument(
        "-d",
        "--device",
        metavar="ID|NAME",
        help="input device: number, part of its name, or ALSA's, such as plughw:CARD=Webcam,DEV=0",
    )
    parser.add_argument("--arecord", action="store_true", help="hear through ALSA's arecord, not PortAudio")
    parser.add_argument(
        "--reconnect",
        type=seconds,
        metavar="SECONDS",
        help="wait this long for a microphone that was unplugged (until it is back)",
    )
    parser.add_argument(
        "--no-reconnect", dest="reconnect", action="store_const", const=0.0, help="do not: end with status 2"
    )
    parser.add_argument(
        "--doctor", action="store_true", help="check library, devices, permissions and level; say what to do"
    )
    parser.add_argument(
        "--tune",
        nargs="?",
        type=seconds,
        const=0.0,
        metavar="SECONDS",
        help=f"hear the room, or the file of -i, while nobody says a digit ({DEFAULT_S:.0f} s), and propose a "
        "--threshold; with --threshold, none below that",
    )
    parser.add_argument("-l", "--list-devices", action="store_true", help="list input devices and end")
    parser.add_argument(
        "-r", "--samplerate", type=int, metavar="HZ", help="open the device at this rate (its own)"
    )
    models = parser.add_mutually_exclusive_group()
    models.add_argument("-m", "--model", metavar="FILE", help="model file (the one in the package)")
    models.add_argument("--small", action="store_true", help="the package's model of less than 32 KB")
    parser.add_argument("--kernel", metavar="NAME", help="such as scalar (the best for this CPU)")
    parser.add_argument("--threshold", type=float, help="drop words of less confidence (the model's)")
    parser.add_argument("--plain", action="store_true", help="a line per word, on a terminal too")
    parser.add_argument("--realtime", action="store_true", help="play the file of -i at its own pace")
    parser.add_argument(
        "--screenshot", metavar="FILE.svg", help="write a picture of the terminal view of the file of -i"
    )
    parser.add_argument(
        "--web",
        nargs="?",
        type=_address,
        const=(DEFAULT_HOST, DEFAULT_PORT),
        metavar="[HOST:]PORT",
        help=f"show it in a browser too, at {DEFAULT_HOST}:{DEFAULT_PORT}; a file plays at its own pace",
    )
    parser.add_argument("--loop", action="store_true", help="with --web: play the file of -i again and again")
    parser.add_argument("--json", action="store_true", help="one JSON object per word on standard output")
    parser.add_argument(
        "--exec",
        metavar="CMD",
        help="run this for every word, without a shell; {word} {digit} {confidence} {start} {end} are "
        "replaced, or the word is appended",
    )
    parser.add_argument(
        "--save-audio",
        metavar="DIR",
        help="keep what was heard as WAV in this folder, and the words beside it",
    )
    parser.add_argument(
        "--save-limit",
        type=float,
        default=DEFAULT_LIMIT_BYTES / 1e9,
        metavar="GB",
        help="delete the oldest recordings of that folder beyond this (%(default)g)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="words and errors only")
    parser.add_argument("-v", "--verbose", action="store_true", help="times, confidences, ALSA's messages")
    parser.add_argument("--version", action="version", version=edge_runtime.__version__)
    return parser


def _make_front(options):
    """The observer for the person in front: the terminal view where there is one to watch, or lines."""
    live = options.input is None or options.realtime
    lines = Display(options.json, options.plain, options.quiet, options.verbose, meter=live)
    plain = options.json or options.plain or options.quiet or not live
    if plain or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return lines
    try:
        from rich.console import Console

        from apps.digit_demo.view import View
    except ImportError:
        print("the package rich shows more here: python -m pip install rich", file=sys.stderr)
        return lines
    return View(Console())


def seconds(text):
    """A duration of the command line."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


def _recognize(model, options):
    """One session from the options."""
    front = _make_front(options)
    observers = [front]
    if options.save_audio is not None:
        observers.append(Recording(options.save_audio, 1e9 * options.save_limit))
    if options.exec is not None:
        can_wait = options.input not in (None, STDIN) and not options.realtime
        silent = not isinstance(front, Display)  # its output would cross the picture
        observers.append(ExecHook(parse_command(options.exec), lossless=can_wait, silent=silent))
    with contextlib.ExitStack() as stack:
        if options.web is not None:
            from apps.digit_demo.web.server import pages  # asyncio takes a while to load

            observers.append(stack.enter_context(pages(*options.web, front)))
        source = stack.enter_context(
            open_source(
                options.input,
                options.device,
                options.samplerate,
                real_time=options.realtime,
                loop=options.loop,
                verbose=options.verbose,
                arecord=options.arecord,
                reconnect_s=options.reconnect,
            )
        )
        with Session(model, source, options.threshold, observers) as session:
            try:
                session.run()
            except KeyboardInterrupt:
                # A second Ctrl-C while finishing ends the program the hard way.
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                return
        if options.web is not None:
            front.on_note("the recording has ended; its page stays until Ctrl-C")
            while True:
                signal.pause()


def _take_screenshot(model, options):
    if options.input is None:
        raise ValueError("--screenshot: expected a recording to show, by -i FILE")
    try:
        from apps.digit_demo.screenshot import take_screenshot
    except ImportError:
        raise ValueError("--screenshot: the package rich is missing: python -m pip install rich") from None
    picture = take_screenshot(model, options.input, options.threshold)
    pathlib.Path(options.screenshot).write_text(picture, encoding="utf-8")


def _tune(model, options):
    duration_s = options.tune or (DEFAULT_S if options.input is None else MOST_S)
    device, sample_rate, verbose, arecord = _device(options)
    with open_source(options.input, device, sample_rate, verbose=verbose, arecord=arecord) as source:
        tune(model, source, duration_s, options.threshold)


def _device(options):
    """What `Microphone` is made with."""
    return options.device, options.samplerate, options.verbose, options.arecord


def _list_devices(options):
    try:
        lines = list_devices(options.verbose, options.arecord)
    except MicrophoneError as error:
        if options.arecord or arecord_program() is None:
            raise
        print(f"digit_demo: {error}; what arecord can open:", file=sys.stderr)
        lines = list_devices(arecord=True)
    print("\n".join(lines))
    return 0


def _terminate(_signal, _frame):
    raise KeyboardInterrupt


def main(arguments=None):
    """Run the command line; returns the exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.loop and (options.web is None or options.input in (None, STDIN)):
        parser.error("--loop needs --web and -i FILE")
    if options.doctor and options.input is not None:
        parser.error("--doctor listens to a microphone: leave out -i")
    if options.web is not None and options.input not in (None, STDIN):
        options.realtime = True
    signal.signal(signal.SIGTERM, _terminate)
    try:
        if options.list_devices:
            return _list_devices(options)
        if options.model is not None:
            model = edge_runtime.Model.load(options.model, options.kernel)
        elif options.small:
            model = edge_runtime.Model.small(options.kernel)
        else:
            model = edge_runtime.Model.default(options.kernel)
        if options.doctor:
            return 1 if examine(model, *_device(options)) else 0
        if options.tune is not None:
            _tune(model, options)
        elif options.screenshot is not None:
            _take_screenshot(model, options)
        else:
            _recognize(model, options)
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
