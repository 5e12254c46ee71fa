# SPDX-License-Identifier: MIT
"""Everything that the digit recognizer has to show, measured and judged by one command.

python -m apps.evaluate.acceptance --data DIR [--split dev|test] [-m MODEL] [--json] [--svg DIR]
"""

import argparse
import json
import sys
from pathlib import Path

from apps.corpus import CorpusError, read_split
from apps.evaluate import calibration, endurance, latency, plot, silence, sweeps, tradeoff
from apps.evaluate.progress import Progress
from apps.evaluate.requirements import REQUIREMENTS
from apps.evaluate.scoring import EvaluationError, evaluate, read_utterances
from apps.evaluate.strings import CONDITIONS, StringMaker
from edge_runtime import EdgeRuntimeError, Model

_EXIT_BAD_INPUT = 2

# Sets of single digits, of digit strings, and without digits. Not every set has rows of every split.
_SINGLE = ("sc_digits", "audiomnist_subset", "fsdd", "prompt_digits")
_AN4 = "an4_mfcc"
_OTHERS = {
    "sc_words": ("sc_words",),
    "nondigit_speech": ("nondigit_speech",),
    "noise": ("esc10_noise", "sc_background_noise"),
}
_CALIBRATION_TITLES = ("digits said", "digits, other words, noise")


class _Recordings:
    """What is measured on: the sets of one split."""

    def __init__(self, data, split):
        for name in (*_SINGLE, _AN4, *(folder for folders in _OTHERS.values() for folder in folders)):
            if not (data / name).is_dir():
                raise EvaluationError(f"{data}: no folder {name}; --data is the folder of all data sets")
        self.single = {name: read_split(data / name, split) for name in _SINGLE}
        if not self.single["sc_digits"]:
            raise EvaluationError(f"{data / 'sc_digits'}: no recordings in split {split!r}; dev or test?")
        self.an4 = read_utterances([str(data / _AN4)], split, digits_only=True)
        self.others = {
            name: [u for folder in folders for u in read_split(data / folder, split)]
            for name, folders in _OTHERS.items()
        }
        self.maker = StringMaker(data, split)

    def digits(self, strings):
        """All recordings of voices that the model does not know."""
        unseen = [
            u for name in ("sc_digits", "audiomnist_subset", "prompt_digits") for u in self.single[name]
        ]
        return [*unseen, *self.an4, *strings]


def _steps(svg, hour):
    return 7 + len(CONDITIONS) + (6 if hour else 0) + (len(tradeoff.BIAS_STEPS) if svg else 0)


def measure(model, data, split, threshold=None, hour=True, svg=None, progress=None):
    """Measure everything.

    Parameters
    ----------
    model : edge_runtime.Model
    data : pathlib.Path
        Folder of all data sets.
    split : str
        "dev" or "test".
    threshold : float, optional
        As `edge_runtime.Model.recognizer`.
    hour : bool
        With the hour of mixed audio.
    svg : pathlib.Path, optional
        Folder for pictures, which must exist: the curves are measured only for them.
    progress : apps.evaluate.progress.Progress, optional

    Returns
    -------
    dict
        values : dict of str to float or None, by the keys of `apps.evaluate.requirements.REQUIREMENTS`;
        details : dict of what the values are taken from.

    Raises
    ------
    CorpusError, EvaluationError
        The recordings cannot be read, or the package soxr is missing.
    """
    progress = progress or Progress(_steps(svg, hour), shown=False)
    recordings = _Recordings(data, split)
    values, details = {}, {}

    def score(utterances):
        return evaluate(model, utterances, threshold).summary() if utterances else None

    progress.step("single digits, digit strings")
    for name, utterances in recordings.single.items():
        details[name] = score(utterances)
        values[f"accuracy {name}"] = details[name] and details[name]["accuracy"]
    details[_AN4] = score(recordings.an4)
    values[f"wer {_AN4}"] = details[_AN4]["wer"]

    noisy = []
    for condition in CONDITIONS:
        progress.step(f"strings, {condition}")
        strings = recordings.maker.strings(condition)
        utterances = [string.utterance() for string in strings]
        noisy += utterances
        details[f"strings {condition}"] = score(utterances)
        values[f"wer strings {condition}"] = details[f"strings {condition}"]["wer"]
        if condition == "clean":
            clean = strings

    progress.step("recordings without digits")
    for name, utterances in recordings.others.items():
        details[name] = score(utterances)
        values[f"false {name}"] = details[name] and details[name]["false_words_per_minute"]
    values["accepted sc_words"] = details["sc_words"] and details["sc_words"]["accepted"]
    progress.step("silence and hum")
    recognizer = model.recognizer(threshold=threshold)
    details["silence and hum"] = silence.false_digits(recognizer)
    values["false silence"] = sum(details["silence and hum"].values())

    # Strings and single words: real pauses, and levels as they were recorded.
    signals = [(s.words, s.samples) for s in clean]
    signals += [(u.words, u.samples) for u in recordings.single["sc_digits"]]
    progress.step("levels")
    details["levels"] = sweeps.levels(model, signals, threshold)
    values["level change"] = details["levels"]["change"]
    progress.step("sample rates")
    details["sample rates"] = sweeps.rates(model, signals, threshold)
    for rate, change in details["sample rates"]["change"].items():
        values[f"rate change {rate}"] = change

    progress.step("latency")
    details["latency"] = latency.quantiles(
        latency.word_latencies(recognizer, clean), median=0.5, p95=0.95, max=1
    )
    values["latency median"], values["latency p95"] = details["latency"]["median"], details["latency"]["p95"]
    progress.step("computation")
    details["compute"] = latency.quantiles(latency.compute_times(recognizer, clean), p50=0.5, p99=0.99, max=1)
    values["compute p99"] = details["compute"]["p99"]

    if hour:
        details["hour"] = result = _hour(model, recordings.maker, threshold, progress)
        values["hour dropped"] = result["dropped_samples"]
        values["hour growth"] = result["rss_growth_bytes"]
        values["hour rise"] = result["wer"] - result["wer_in_pieces"]
        values["hour resumes"] = result["resumes_identically"]
    if svg:
        details |= _curves(model, recordings, noisy, split, threshold, svg, progress)
    return {"values": values, "details": details}


def _hour(model, maker, threshold, progress):
    minute = 0

    def on_minute():
        nonlocal minute
        if minute % 10 == 0 and minute < 60:
            progress.step(f"hour of audio, from minute {minute}")
        minute += 1

    return endurance.run(model, maker, threshold, on_minute=on_minute)


def _curves(model, recordings, strings, split, threshold, folder, progress):
    """Trade-off and calibration, as values and as pictures in `folder`."""
    digits = recordings.digits(strings)
    others = {name: utterances for name, utterances in recordings.others.items() if utterances}
    own = model.file.decoder.threshold if threshold is None else threshold
    curves = tradeoff.curves(model, digits, others, own, on_step=lambda: progress.step("trade-off"))
    heard = tradeoff.hear(model, digits)
    mixed = heard + [item for utterances in others.values() for item in tradeoff.hear(model, utterances)]
    calibrations = {
        title: calibration.calibration(calibration.outcomes(items))
        for title, items in zip(_CALIBRATION_TITLES, (heard, mixed), strict=True)
    }
    name = ", ".join(model.metadata[key] for key in ("name", "training") if key in model.metadata) or "model"
    allowed = {r.key: r.bound for r in REQUIREMENTS}
    bounds = {
        "sc_words": allowed["accepted sc_words"],
        "nondigit_speech": allowed["false nondigit_speech"],
        "noise": allowed["false noise"],
    }
    pictures = {
        "tradeoff.svg": plot.tradeoff(
            curves, own, bounds, f"{name}: detection error trade-off, split {split}"
        ),
        "calibration.svg": plot.calibration(calibrations, f"{name}: confidence of words, split {split}"),
    }
    for file, text in pictures.items():
        (folder / file).write_text(text, encoding="utf-8")
    return {"tradeoff": curves, "calibration": calibrations, "threshold": own}


def judge(values):
    """Compare measured values with what is required.

    Parameters
    ----------
    values : dict of str to float or None
        Values that are missing were not to be measured.

    Returns
    -------
    list of (Requirement, float or None, bool or None)
        The last is None where the split has no recordings for it.
    """
    return [(r, values[r.key], r.is_met(values[r.key])) for r in REQUIREMENTS if r.key in values]


def print_report(result, split, stream):
    """Print the table, then what it is taken from."""
    lines = [f"{'split ' + split:<52}{'required':>20}{'measured':>20}"]
    for requirement, value, met in judge(result["values"]):
        verdict = {None: "not in this split", True: "pass", False: "FAIL"}[met]
        bound, shown = requirement.bound_text, requirement.show(value)
        lines.append(f"{requirement.title:<52}{bound:>20}{shown:>20}  {verdict}")
    details = result["details"]
    lines += ["", "word error rate by peak level: " + _series(details["levels"]["wer"], "dBFS")]
    lines.append("word error rate by sample rate: " + _series(details["sample rates"]["wer"], "Hz"))
    delay, compute = details["latency"], details["compute"]
    if delay["count"]:
        lines.append(
            f"end of word to event: median {1000 * delay['median']:.0f} ms, 95 % within {1000 * delay['p95']:.0f} ms, "
            f"at most {1000 * delay['max']:.0f} ms, {delay['count']} words"
        )
    lines.append(
        f"computation for 10 ms: median {1e6 * compute['p50']:.0f} us, 99 % within {1e6 * compute['p99']:.0f} us, "
        f"at most {1e6 * compute['max']:.0f} us, {compute['count']} frames"
    )
    if "hour" in details:
        lines.append(_hour_text(details["hour"]))
    if "tradeoff" in details:
        lines += ["", "words missed against digits heard where there are none, over the threshold:"]
        lines.append(tradeoff.table(details["tradeoff"], details["threshold"]))
        for title, values in details["calibration"].items():
            lines += ["", f"confidence of words, {title}:", calibration.table(values)]
    print("\n".join(lines), file=stream)


def _series(values, unit):
    return ", ".join(f"{key} {100 * value:.2f} %" for key, value in values.items()) + f" ({unit})"


def _hour_text(hour):
    memory = "unknown"
    if hour["rss_start_bytes"] is not None:
        memory = f"{hour['rss_start_bytes'] / 1e6:.1f} MB after 5 minutes, {hour['rss_end_bytes'] / 1e6:.1f} MB at the end"
    return (
        f"one hour: {hour['duration_s'] / 60:.1f} min in {hour['elapsed_s']:.1f} s; {hour['words']} words, word error "
        f"rate {100 * hour['wer']:.2f} %, in pieces {100 * hour['wer_in_pieces']:.2f} %; resident memory {memory}; "
        f"longest wait in the ring {1000 * hour['longest_wait_s']:.0f} ms"
    )


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.evaluate.acceptance",
        description="Measure everything that the digit recognizer has to show, and compare it with what is "
        "required. Exit status 1 if a requirement is not met.",
    )
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder of all data sets")
    parser.add_argument("--split", default="dev", choices=("dev", "test"), help="(%(default)s)")
    parser.add_argument("-m", "--model", metavar="FILE", help="model file (the one in the package)")
    parser.add_argument("--kernel", metavar="NAME", help="kernel to use, such as scalar")
    parser.add_argument("--threshold", type=float, help="drop words of less confidence, 0 to 1 (the model's)")
    parser.add_argument("--no-hour", action="store_true", help="leave out the hour of mixed audio")
    parser.add_argument(
        "--svg",
        type=Path,
        metavar="DIR",
        help="measure trade-off and calibration too, and write their pictures there",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = build_parser().parse_args(arguments)
    hour = not options.no_hour
    progress = Progress(_steps(options.svg, hour))
    try:
        model = Model.load(options.model, options.kernel) if options.model else Model.default(options.kernel)
        if options.svg:
            options.svg.mkdir(parents=True, exist_ok=True)  # now, not after minutes
        result = measure(model, options.data, options.split, options.threshold, hour, options.svg, progress)
    except (CorpusError, EvaluationError, EdgeRuntimeError, OSError, ValueError) as error:
        progress.clear()
        print(f"acceptance: {error}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("\nacceptance: interrupted", file=sys.stderr)
        return 130
    progress.clear()
    verdicts = judge(result["values"])
    if options.json:
        requirements = [
            {
                "key": r.key,
                "title": r.title,
                "comparison": r.comparison,
                "bound": r.bound,
                "measured": v,
                "met": met,
            }
            for r, v, met in verdicts
        ]
        print(json.dumps({"split": options.split, "requirements": requirements, **result["details"]}))
    else:
        print_report(result, options.split, sys.stdout)
    return 1 if any(met is False for *_, met in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
