# SPDX-License-Identifier: MIT
"""``python -m training.float_language_model TEXT --out DIR``: a character language model in float32, nothing more.

It stands for the networks that people bring to `python -m exporters`: trained without a thought of quantization.
Writes DIR/model.pt2 (torch.export) and DIR/inputs.npz (one-hot sequences of the last tenth of the text, which is
not trained on).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

_LENGTH, _BATCH = 64, 32
_CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class LanguageModel(nn.Module):
    """One-hot characters to logits of the next one, float [shape=(batch, steps, characters)] both."""

    def __init__(self, cell, characters, units, layers):
        super().__init__()
        self.recurrent = _CELLS[cell](characters, units, layers, batch_first=True)
        self.output = nn.Linear(units, characters)

    def forward(self, x):
        return self.output(self.recurrent(x)[0])


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(
        prog="python -m training.float_language_model", description=__doc__.split("\n")[0]
    )
    parser.add_argument("text", type=Path, help="plain text in UTF-8")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--cell", choices=_CELLS, default="gru")
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument(
        "--steps", type=int, default=1000, help="of training, 32 sequences of 64 characters (1000)"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser


def bits_per_character(model, codes):
    """Score a text: int64 tensor [shape=(characters,)], in sequences of 1000 that each begin anew."""
    count = (len(codes) - 1) // 1000
    x = codes[: 1000 * count].view(count, 1000)
    y = codes[1 : 1000 * count + 1].view(count, 1000)
    with torch.no_grad():
        logits = model(_one_hot(x, model.output.out_features))
        return functional.cross_entropy(logits.flatten(0, 1), y.flatten()).item() / np.log(2)


def _one_hot(codes, characters):
    return functional.one_hot(codes, characters).float()


def train(options):
    """Train and write; returns the exit status."""
    torch.manual_seed(options.seed)
    text = options.text.read_text(encoding="utf-8")
    alphabet = sorted(set(text))
    codes = torch.tensor([alphabet.index(c) for c in text])
    train_codes, held_out = codes[: len(codes) * 9 // 10], codes[len(codes) * 9 // 10 :]
    model = LanguageModel(options.cell, len(alphabet), options.units, options.layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    for step in range(1, options.steps + 1):
        starts = torch.randint(len(train_codes) - _LENGTH - 1, (_BATCH,))
        windows = torch.stack([train_codes[s : s + _LENGTH + 1] for s in starts])
        logits = model(_one_hot(windows[:, :-1], len(alphabet)))
        loss = functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(
                f"step {step} of {options.steps}: {loss.item() / np.log(2):.3f} bits per character",
                file=sys.stderr,
            )
    model.eval()
    options.out.mkdir(parents=True, exist_ok=True)
    print(
        f"{bits_per_character(model, held_out[:100_001]):.3f} bits per character of text that was not trained on"
    )
    example = torch.zeros(2, 7, len(alphabet))
    torch.export.save(torch.export.export(model, (example,)), options.out / "model.pt2")
    sequences = held_out[:2000].view(4, 500)
    np.savez_compressed(options.out / "inputs.npz", x=_one_hot(sequences, len(alphabet)).numpy())
    return 0


if __name__ == "__main__":
    sys.exit(train(build_parser().parse_args()))
