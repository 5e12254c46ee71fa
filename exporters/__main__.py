"""Command line: a trained network in, a verified model file out."""

import argparse
import sys
from pathlib import Path

from exporters.report import summary


def main(arguments=None):
    """Run the command line; returns the exit status: 0, 1 for a mismatch, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m exporters",
        description="Pack a trained network into a model file. Source and packed network are run on the same "
        "vectors, and nothing is written unless every logit is equal.",
    )
    parser.add_argument("source", type=Path, help="checkpoint.pt of training.train")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="MODEL.ernn", help="file to write"
    )
    parser.add_argument(
        "--decoder", type=Path, metavar="TOML", help="decoder settings of training.operating_point"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no report")
    options = parser.parse_args(arguments)
    try:
        import torch  # noqa: F401
    except ImportError:
        return _fail("torch is missing: pip install 'edge-runtime[train]'")

    from exporters import from_checkpoint, verify

    try:
        decoder = from_checkpoint.read_decoder(options.decoder)
        network, state = from_checkpoint.load_source(options.source)
        model_file = from_checkpoint.model_file(network, decoder, from_checkpoint.describe(state))
        data = model_file.to_bytes()
    except ValueError as error:
        return _fail(error)
    try:
        steps = verify.verify(network, data, model_file)
    except verify.MismatchError as error:
        print(f"exporters: {options.source}: nothing written: {error}", file=sys.stderr)
        return 1
    try:
        model_file.save(options.output)
    except OSError as error:
        return _fail(f"{options.output}: {error.strerror or error}")
    if not options.quiet:
        print(summary(model_file, len(data)))
        print(f"verified: source and packed network agree on every logit of {steps} steps")
        print(f"wrote {options.output}")
    return 0


def _fail(message):
    print(f"exporters: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
