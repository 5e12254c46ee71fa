"""The card of a model: what it is, what it learned from, what it scores. Every figure is measured here.

python -m training.card MODEL.ernn --config training/configs/digits_ternary.toml [-o MODEL.md]
"""

import argparse
import sys
import tomllib
from pathlib import Path

from apps.corpus import data_folder
from apps.evaluate.acceptance import measure
from apps.evaluate.requirements import REQUIREMENTS
from apps.evaluate.scoring import evaluate, read_utterances
from edge_runtime import Model
from edge_runtime.format import ModelFile
from exporters import report
from training.corpus import SOURCES
from training.sounds import PACKAGES
from training.strings import StringsConfig
from training.synthetic_speech import KOKORO, SYNTHESIZERS

# (title, folder, splits, digit-only utterances alone). In all of AN4 the many spelled letters o count as oh.
SETS = (
    ("fsdd (known voices)", "fsdd", ("dev", "test"), False),
    ("sc_digits (unknown voices)", "sc_digits", ("dev", "test"), False),
    ("audiomnist_subset (unknown voices)", "audiomnist_subset", ("dev", "test"), False),
    ("prompt_digits (unknown voices)", "prompt_digits", ("test",), False),
    ("an4_mfcc, digit strings (unknown voices)", "an4_mfcc", ("dev", "test"), True),
    ("an4_mfcc, all, spelled o as oh", "an4_mfcc", ("dev", "test"), False),
    ("strings_misc, not AN4", "strings_misc", ("test",), False),
    ("sc_words", "sc_words", ("dev", "test"), False),
    ("nondigit_speech", "nondigit_speech", ("dev", "test"), False),
    ("esc10_noise", "esc10_noise", ("dev", "test"), False),
    ("sc_background_noise", "sc_background_noise", ("test",), False),
)

_HEADER = """# {name}

A ternary network that hears the English digit words zero, oh, one ... nine in 16 kHz audio (other rates are
converted), isolated or connected, and rejects other words and noise. {size} bytes, no multiply instruction from
quantized input to logits. Made by `python -m training.train {config}`; this card by
`python -m training.card {model} --config {config}`.

## Network

```
{network}
```

Front end: 13 cepstra (those of CMU Sphinx with the AN4 parameters), deltas and delta-deltas, two frames of 10 ms per step; a
look-ahead of 30 ms. Training: {training}.

## Scores

Word error rate (WER), share of strings with an error, and accuracy on single words; false digits per minute where no digit is
spoken. One operating point (threshold {threshold}, biases in the file), chosen on dev; test splits were looked at once, for this table.

| set | split | recordings | digit words | WER | strings wrong | accuracy | false per minute |
|---|---|---|---|---|---|---|---|
"""

_SHOWN = """
Real-time factor over all of these: {factor:.4f} (one thread, kernel `{kernel}`).

## Acceptance

By `python -m apps.evaluate.acceptance --data DIR --split dev` and `--split test`, which say more: strings of digits are made of the
single words of unknown voices in sc_digits, noise is at 10 dB below the speech, and the development set of sc_digits holds four of the
ten words.

| | required | dev | test |
|---|---|---|---|
{shown}
"""

_FOOTER = """
## Data and licences

The model is under the MIT licence of this project. It was trained on:

| data | voices | licence | credit | use |
|---|---|---|---|---|
{sources}

{synthetic} The recordings themselves are not part of this project.

## Limits

English only, and few accents: most voices are North American or European. Speakers of the test sets did not take part in training except those of
fsdd, whose official split shares its six speakers. Distant microphones, music and speech in the background were only
simulated. Words that sound like digits ("for", "ate", "won", "nein") may be heard as digits.
"""


def _cell(value, percent=True):
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if percent else f"{value:.2f}"


def card(path, config):
    """Measure a model and describe it.

    Parameters
    ----------
    path : path
        Model file.
    config : path
        The training configuration, for the text.

    Returns
    -------
    str
        Markdown.
    """
    model_file, model = ModelFile.load(path), Model.load(path)
    size = Path(path).stat().st_size
    text = _HEADER.format(
        name=model.metadata.get("name", Path(path).stem),
        size=size,
        config=config,
        model=path,
        network=report.text(report.facts(model_file, size)),
        training=model.metadata.get("training", "unknown"),
        threshold=f"{model_file.decoder.threshold:.2f}",
    )
    audio_s = wall_s = 0.0
    for title, folder, splits, digits_only in SETS:
        for split in splits:
            utterances = read_utterances([str(data_folder() / folder)], split, digits_only)
            if folder == "strings_misc":
                utterances = [u for u in utterances if u.corpus == folder and "NeMo" not in u.source]
            result = evaluate(model, utterances, spelled_o=not digits_only).summary()
            audio_s += result["audio_s"]
            wall_s += result["audio_s"] * result["real_time_factor"]
            text += (
                f"| {title} | {split} | {result['utterances']} | {result['words']} | {_cell(result['wer'])} | "
                f"{_cell(result['string_error'])} | {_cell(result['accuracy'])} | "
                f"{_cell(result['false_words_per_minute'], percent=False)} |\n"
            )
            print(f"{folder} {split}", file=sys.stderr)
    measured = {}
    for split in ("dev", "test"):
        measured[split] = measure(model, data_folder(), split)["values"]
        print(f"acceptance {split}", file=sys.stderr)
    shown = "\n".join(
        f"| {r.title} | {r.bound_text} | {r.show(measured['dev'][r.key])} | {r.show(measured['test'][r.key])} |"
        for r in REQUIREMENTS
    )
    used = SOURCES
    synthetic = "No synthesized voice was used."
    strings = tomllib.loads(Path(config).read_text(encoding="utf-8")).get("strings", {})
    config = StringsConfig(**strings)
    if config.synthetic() or config.hard:
        used += SYNTHESIZERS
        if config.voices.get("kokoro"):
            used += (KOKORO,)
        synthetic = "Synthesized voices were used in training only, never to score."
    if config.sounds or config.foreign:
        used += tuple(package.source for package in PACKAGES)
    sources = "\n".join(
        f"| {s.title} ({s.address}) | {', '.join(s.voices) or 'all'} | {s.license} | {s.credit} | {s.role} |"
        for s in used
    )
    text += _SHOWN.format(factor=wall_s / audio_s, kernel=model.kernel, shown=shown)
    return text + _FOOTER.format(sources=sources, synthetic=synthetic)


def main(arguments=None):
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.card", description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--config", type=Path, required=True, help="training configuration")
    parser.add_argument("-o", "--output", type=Path, help="write here instead of standard output")
    options = parser.parse_args(arguments)
    try:
        text = card(options.model, options.config)
        if options.output:
            options.output.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"card: {error}", file=sys.stderr)
        return 2
    if not options.output:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
