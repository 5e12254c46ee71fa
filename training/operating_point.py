"""Decoder settings, chosen on development data only: biases, threshold, word times.

    python -m training.operating_point MODEL.ernn [-o settings.toml]

takes a model whose decoder settings do not matter and prints the chosen ones as the TOML table that
`python -m exporters --decoder` reads, with the scores they give on every development set.
"""

import argparse
import dataclasses
import functools
import itertools
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from apps.evaluate.endpoints import MARGIN_AFTER, MARGIN_BEFORE
from apps.evaluate.metrics import align
from edge_runtime import Model
from edge_runtime.format import ModelFile
from training import devset
from training.bank import clip_of
from training.corpus import dev_set, training_set
from training.features import utterance_features
from training.labels import BLANK, LABELS, UNKNOWN, label_of

# The grid. Biases in units of 2^-11 of log-probability, on blank and `unknown`.
BLANK_BIASES = (6144, 4096, 3072, 2048, 1024, 0, -1024, -2048, -4096)
UNKNOWN_BIASES = (6144, 4096, 3072, 2048, 1024, 0, -1024, -2048, -4096)
# On the words that the crowd of the training recordings said seldom: the network has learned to expect the others.
RARE_BIASES = (0, 1024, 2048, 3072, 4096)
RARE_CLIPS = 50  # of all its speakers
THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)

# What rejection should reach on development data: share of recordings of other words in which a digit is heard,
# and false digits per minute. The settings win whose mean word error rate, plus a charge for every limit that
# is exceeded, is least.
MOST_ACCEPTED = {"reject_sc_words": 0.05, "reject_withheld": 0.05}
MOST_FALSE_PER_MINUTE = {"reject_nondigit_speech": 0.5, "reject_esc10_noise": 0.3}
ACCEPTED = (0.02, 0.03, 0.05, 0.08, 0.12)  # shares at which --tradeoff looks
CHARGE = 0.005  # word error rate that exceeding a limit by its own size is worth

# The sets whose word error rates are averaged.
DIGIT_SETS = (
    "fsdd",
    "sc_digits",
    "withheld",
    "audiomnist",
    "an4_digits",
    "strings_clean",
    "strings_20db",
    "strings_10db",
    "crowd_clean",
    "crowd_white",
    "crowd_babble",
    "crowd_household",
)
SPEEDS = (0.9, 1.0, 1.1)  # of the crowd's few recordings

_MARGIN_BEFORE_S, _MARGIN_AFTER_S = MARGIN_BEFORE / 16000, MARGIN_AFTER / 16000


def logits_of(model, features):
    """Run the network over a whole signal.

    Parameters
    ----------
    model : edge_runtime.Model
    features : numpy.ndarray
        float32 [shape=(steps, input_size)].

    Returns
    -------
    numpy.ndarray
        int16 [shape=(steps, output_size)].
    """
    return model.stream().run_quantized(model.quantize_input(features))


def words_of(decoder, logits):
    """Decode a whole signal; returns a list of `edge_runtime.Word`."""
    decoder.reset()
    return decoder.push(logits) + decoder.finish()


class Scores:
    """Scores of one setting on all development sets.

    Parameters
    ----------
    sets : dict of str to list of training.devset.DevItem
    heard : dict of str to list of list of edge_runtime.Word
        Words heard in each item, whatever their confidence.
    threshold : float
        Words below it do not count.

    Attributes
    ----------
    wer : dict of str to float
        Word error rate per set with digits.
    false_per_minute, accepted : dict of str to float
        Digits heard per minute, and share of items in which one was heard, in sets without.
    """

    def __init__(self, sets, heard, threshold):
        self.wer, self.false_per_minute, self.accepted = {}, {}, {}
        for name, items in sets.items():
            results = [[w.label for w in words if w.confidence >= threshold] for words in heard[name]]
            if name.startswith("reject_"):
                minutes = sum(item.duration_s for item in items) / 60
                self.false_per_minute[name] = sum(map(len, results)) / minutes
                self.accepted[name] = sum(map(bool, results)) / len(results)
            else:
                errors = sum(
                    a != b
                    for item, words in zip(items, results, strict=True)
                    for a, b in align(item.digits, words)
                )
                self.wer[name] = errors / sum(len(item.digits) for item in items)

    @property
    def mean_wer(self):
        """Mean word error rate over those of `DIGIT_SETS` that are there."""
        return float(np.mean([self.wer[name] for name in DIGIT_SETS if name in self.wer]))

    @property
    def excess(self):
        """By what part of themselves the limits are exceeded, summed; 0 if all are met."""
        pairs = [(self.accepted[name], most) for name, most in MOST_ACCEPTED.items() if name in self.accepted]
        pairs += [(self.false_per_minute[name], most) for name, most in MOST_FALSE_PER_MINUTE.items()]
        return sum(max(0.0, value / most - 1) for value, most in pairs)

    @property
    def cost(self):
        """What is minimized."""
        return self.mean_wer + CHARGE * self.excess


def points(model, withheld=False):
    """Score every setting of the grid.

    Parameters
    ----------
    model : edge_runtime.Model
        With decoder settings that change nothing, see `neutral`.
    withheld : bool
        The network was trained without the withheld speakers, so that they count here.

    Yields
    ------
    blank_bias, unknown_bias, rare_bias : int
    threshold : float
    scores : Scores
    """
    sets = devset.all_sets(withheld, SPEEDS)
    logits = {name: [logits_of(model, item.features()) for item in items] for name, items in sets.items()}
    decoder = model.decoder()
    for biases in itertools.product(BLANK_BIASES, UNKNOWN_BIASES, RARE_BIASES):
        for label, bias in enumerate(biases_of(*biases)):
            decoder.set_bias(label, bias)
        heard = {name: [words_of(decoder, item) for item in items] for name, items in logits.items()}
        for threshold in THRESHOLDS:
            yield *biases, threshold, Scores(sets, heard, threshold)


@functools.cache
def rare_labels():
    """Return the outputs of digits of which the crowd's training recordings hold some, but few: list of int."""
    counts = Counter(label_of(utterance.words[0]) for utterance in training_set("sc_digits"))
    return sorted(label for label, count in counts.items() if count < RARE_CLIPS)


def biases_of(blank_bias, unknown_bias, rare_bias):
    """Return the bias of each output: list of int."""
    biases = [0] * len(LABELS)
    biases[BLANK], biases[UNKNOWN] = blank_bias, unknown_bias
    for label in rare_labels():
        biases[label] = rare_bias
    return biases


def tradeoff_text(model_file, withheld=False):
    """Describe what recognition costs in rejection.

    Parameters
    ----------
    model_file : edge_runtime.format.ModelFile
    withheld : bool
        As of `points`.

    Returns
    -------
    str
        A line for each share of recordings of other words in which a digit may be heard: the setting with the
        fewest errors in words of the crowd, and its scores.
    """
    model = Model.from_bytes(neutral(model_file).to_bytes())
    accepting = [name for name in MOST_ACCEPTED if withheld or name != "reject_withheld"]
    judged = [name for name in ("sc_digits", "withheld") if withheld or name != "withheld"]
    every = list(points(model, withheld))
    lines = []
    for most in ACCEPTED:
        kept = [p for p in every if np.mean([p[-1].accepted[name] for name in accepting]) <= most]
        if kept:
            *setting, scores = min(kept, key=lambda p: np.mean([p[-1].wer[name] for name in judged]))
            figures = [f"{name} {scores.wer[name]:.1%}" for name in (*judged, "fsdd", "strings_10db")]
            figures += [f"{name} {scores.accepted[name]:.1%}" for name in accepting]
            figures += [f"{name} {scores.false_per_minute[name]:.2f}/min" for name in MOST_FALSE_PER_MINUTE]
            lines.append(
                f"at most {most:.0%} accepted ({', '.join(map(str, setting))}): {', '.join(figures)}"
            )
    return "\n".join(lines) + "\n"


def word_times(model):
    """Measure on single development words how late the network speaks, and how long words are.

    Returns
    -------
    delay_ms : int
        Median of the end of the last step a label won less the end of the word.
    length_ms : list of int
        Per output: median length of its training clips' words; 0 for blank.
    """
    lengths = {label: [] for label in range(len(LABELS))}
    for name in ("fsdd", "sc_digits", "audiomnist_subset", "prompt_digits", "sc_words"):
        for utterance in training_set(name):
            clip, _ = clip_of(utterance, ())
            length_s = (clip.end - clip.begin) / 16000 - _MARGIN_BEFORE_S - _MARGIN_AFTER_S
            lengths[label_of(utterance.words[0])].append(length_s)
    decoder = model.decoder()
    delays = []
    for name in ("sc_digits", "audiomnist_subset"):  # clips with silence behind the word
        for utterance in dev_set(name):
            words = words_of(decoder, logits_of(model, utterance_features(utterance)))
            if [w.label for w in words] == list(utterance.words):
                clip, _ = clip_of(utterance, ())
                delays.append(words[0].end_s - (clip.end / 16000 - _MARGIN_AFTER_S))
    delay_ms = round(1000 * float(np.median(delays))) if delays else 0
    length_ms = [round(1000 * float(np.median(v))) if v else 0 for v in lengths.values()]
    length_ms[BLANK] = 0
    return delay_ms, length_ms


def neutral(model_file):
    """Return the model file with decoder settings that change nothing: no bias, no threshold, no delay."""
    size = len(LABELS)
    decoder = dataclasses.replace(
        model_file.decoder,
        threshold=0.0,
        delay_ms=0,
        bias=np.zeros(size, np.int16),
        length_ms=np.zeros(size, np.uint16),
    )
    return dataclasses.replace(model_file, decoder=decoder)


def settings_text(model_file, withheld=False, twin=None):
    """Choose decoder settings for a network and describe them as TOML.

    Parameters
    ----------
    model_file : edge_runtime.format.ModelFile
    withheld : bool
        The network was trained without the withheld speakers.
    twin : edge_runtime.format.ModelFile, optional
        The same network trained without the withheld speakers: biases and threshold are those that cost least in
        both, the twin on what these speakers said too. Times are measured on the model itself.

    Returns
    -------
    str
        Table `[decoder]`, the scores in comments above it.
    """
    model = Model.from_bytes(neutral(model_file).to_bytes())
    every = points(model, withheld)
    if twin is None:
        *biases, threshold, scores = min(every, key=lambda point: point[-1].cost)
    else:
        of_twin = points(Model.from_bytes(neutral(twin).to_bytes()), withheld=True)
        pairs = zip(every, of_twin, strict=True)
        (*biases, threshold, _), (*_, scores) = min(
            pairs, key=lambda pair: pair[0][-1].cost + pair[1][-1].cost
        )
    delay_ms, length_ms = word_times(model)
    on = (
        ""
        if twin is None
        else ", for it and a twin trained without the withheld speakers, whose scores these are"
    )
    lines = [f"# Chosen on development data by training/operating_point.py{on}."]
    lines += [f"# {name}: word error rate {wer:.4f}" for name, wer in scores.wer.items()]
    lines += [
        f"# {name}: {rate:.2f} false digits per minute, in {scores.accepted[name]:.1%} of the recordings"
        for name, rate in scores.false_per_minute.items()
    ]
    lines += [
        f"# mean word error rate over {', '.join(n for n in DIGIT_SETS if n in scores.wer)}: {scores.mean_wer:.4f}",
        "",
        "[decoder]",
        f"threshold = {threshold}",
        f"delay_ms = {delay_ms}",
        "# per output: " + ", ".join(LABELS),
        f"bias = {biases_of(*biases)}",
        f"length_ms = {length_ms}",
    ]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.operating_point", description=__doc__.split("\n")[0]
    )
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("--withheld", action="store_true", help="it was trained with `withhold = true`")
    parser.add_argument("--twin", type=Path, metavar="FILE", help="the same, trained with `withhold = true`")
    parser.add_argument(
        "--tradeoff", action="store_true", help="print what recognition costs in rejection instead"
    )
    parser.add_argument("-o", "--output", type=Path, help="write the settings here too")
    options = parser.parse_args(arguments)
    try:
        twin = ModelFile.load(options.twin) if options.twin else None
        model_file = ModelFile.load(options.model)
        if options.tradeoff:
            text = tradeoff_text(model_file, options.withheld)
        else:
            text = settings_text(model_file, options.withheld, twin)
        if options.output:
            options.output.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"operating_point: {error}", file=sys.stderr)
        return 2
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
