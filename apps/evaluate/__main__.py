# SPDX-License-Identifier: MIT
"""Command line of the evaluation."""

import argparse
import json
import sys

from apps.corpus import CorpusError
from apps.evaluate.errors import ErrorFinder, print_errors
from apps.evaluate.progress import Progress
from apps.evaluate.scoring import EvaluationError, evaluate, read_utterances
from apps.evaluate.strings import CONDITIONS, StringMaker
from edge_runtime import EdgeRuntimeError, Model

_EXIT_BAD_INPUT = 2
_SPEAKERS_SHOWN = 10


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.evaluate",
        description="Recognize the recordings of folders that hold an index.csv beside FLAC files or "
        "features.npz, and report word error rate, string error, accuracy on single words, false words "
        "per minute on recordings without digits, and the real-time factor.",
        epilog="Word and string errors are taken over recordings with at least one digit word.",
    )
    parser.add_argument(
        "--data", nargs="+", action="extend", required=True, metavar="DIR", help="folders of recordings"
    )
    parser.add_argument(
        "--split",
        default="test",
        help="value of the column 'split', or all (%(default)s); dev of nondigit_speech and esc10_noise, which have "
        "none, is a fixed part of train",
    )
    parser.add_argument("-m", "--model", metavar="FILE", help="model file (the one in the package)")
    parser.add_argument("--kernel", metavar="NAME", help="kernel to use, such as scalar")
    parser.add_argument("--threshold", type=float, help="drop words of less confidence, 0 to 1 (the model's)")
    parser.add_argument(
        "--strings",
        choices=CONDITIONS,
        help="strings of digits made of the single words in sc_digits, clean or in noise; --data is the folder of "
        "all data sets then",
    )
    parser.add_argument(
        "--digits-only", action="store_true", help="only recordings whose label is digit words alone"
    )
    parser.add_argument(
        "--spelled-o",
        action="store_true",
        help="count the letter 'o' of a label as the word 'oh' (a word like any other)",
    )
    parser.add_argument(
        "--errors",
        action="store_true",
        help="list every wrong word: where, expected, heard, confidence, and how the network scored them",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="list wrong recordings (standard error) and all speakers"
    )
    return parser


# ---------------------------------------------------------------------------------------- output


class _Progress:
    """A bar on standard error while it is a terminal; the wrong recordings and their errors if wanted."""

    def __init__(self, total, verbose, finder):
        self.errors = []
        self._finder = finder
        self._total = total
        self._done = 0
        self._verbose = verbose
        self._bar = Progress(total)

    def update(self, utterance, words, right):
        self._done += 1
        if self._finder is not None and not right:
            self.errors += self._finder.find(utterance)
        if self._verbose and not right:
            self._bar.clear()
            heard = " ".join(word.label for word in words) or "(nothing)"
            said = " ".join(utterance.words)
            print(f"{utterance.key} {utterance.speaker} {utterance.take}: {said} -> {heard}", file=sys.stderr)
        self._bar.step(f"{self._done}/{self._total}")

    def clear(self):
        self._bar.clear()


def _percent(value):
    return "-" if value is None else f"{100 * value:.2f} %"


def print_report(score, stream, all_speakers):
    """Print summary and tables.

    Parameters
    ----------
    score : apps.evaluate.metrics.Score
    stream : text file
    all_speakers : bool
        False: only the speakers with the most errors.
    """
    summary = score.summary()
    errors = score.errors
    lines = [
        f"recordings             {summary['utterances']} ({summary['audio_s'] / 60:.1f} min)",
        f"word error rate        {_percent(summary['wer'])} ({errors.words} words: {errors.substitutions} "
        f"substituted, {errors.deletions} deleted, {errors.insertions} inserted)",
        f"string error           {_percent(summary['string_error'])} ({errors.wrong_strings} of "
        f"{errors.utterances} recordings with digits)",
        f"accuracy, single words {_percent(summary['accuracy'])} ({score.single_words_right} of "
        f"{score.single_words})",
    ]
    if score.digitless_recordings:
        lines.append(
            f"false words            {summary['false_words_per_minute']:.2f} per minute ({score.false_words} "
            f"in {summary['minutes_without_digits']:.1f} min without digits)"
        )
        lines.append(
            f"accepted               {_percent(summary['accepted'])} ({score.accepted_recordings} of "
            f"{score.digitless_recordings} recordings without digits)"
        )
    lines.append(f"real-time factor       {summary['real_time_factor']:.4f}")
    lines += ["", f"{'label':<8}{'words':>7}{'right':>7}{'missed':>8}{'inserted':>10}  taken for"]
    for label, count in score.labels.items():
        if count.words or count.inserted:
            taken = ", ".join(f"{word} {times}" for word, times in count.taken_for.most_common())
            numbers = f"{count.words:>7}{count.right:>7}{count.missed:>8}{count.inserted:>10}"
            lines.append(f"{label:<8}{numbers}  {taken}".rstrip())
    speakers = sorted(score.speakers.items(), key=lambda item: (-item[1].word_errors, item[0]))
    if speakers:
        lines += ["", f"{'speaker':<16}{'recordings':>11}{'words':>7}{'errors':>8}{'word error rate':>17}"]
        shown = speakers if all_speakers else speakers[:_SPEAKERS_SHOWN]
        for name, group in shown:
            lines.append(
                f"{name:<16}{group.utterances:>11}{group.words:>7}{group.word_errors:>8}{_percent(group.wer):>17}"
            )
        if len(shown) < len(speakers):
            rest = len(speakers) - len(shown)
            lines.append(f"... and {rest} more with no more errors each (all of them: --verbose)")
    print("\n".join(lines), file=stream)


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        if options.model is None:
            model = Model.default(options.kernel)
        else:
            model = Model.load(options.model, options.kernel)
        if options.strings:
            utterances = [
                string.utterance()
                for folder in options.data
                for string in StringMaker(folder, options.split).strings(options.strings)
            ]
        else:
            utterances = read_utterances(options.data, options.split, options.digits_only)
        finder = ErrorFinder(model, options.threshold, options.spelled_o) if options.errors else None
        progress = _Progress(len(utterances), options.verbose, finder)
        score = evaluate(model, utterances, options.threshold, progress.update, options.spelled_o)
    except (CorpusError, EvaluationError, EdgeRuntimeError, OSError, ValueError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("\nevaluate: interrupted", file=sys.stderr)
        return 130
    progress.clear()
    errors = progress.errors
    if not options.json:
        print_report(score, sys.stdout, options.verbose)
        if options.errors:
            print()
            print_errors(errors, sys.stdout)
    else:
        if options.verbose:
            print_report(score, sys.stderr, True)
        summary = score.summary()
        if options.errors:
            summary["errors"] = [error.as_dict() for error in errors]
        print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
