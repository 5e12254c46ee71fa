# SPDX-License-Identifier: MIT
"""Train the digit network: `python -m training.train training/configs/digits_ternary.toml --out DIR`.

One flat loop. Needs the data sets (environment variable EDGE_RUNTIME_DATA) and torch.
"""

import argparse
import copy
import csv
import ctypes
import dataclasses
import json
import math
import os
import pickle
import sys
import time
import tomllib
from pathlib import Path

import torch
import torch.nn.functional as F

from training.batches import BatchesConfig, batches
from training.fakequant import PRE_UNIT
from training.labels import BLANK, UNKNOWN
from training.network import DigitNet, NetworkConfig
from training.strings import KINDS, StringsConfig

SENTENCE = KINDS.index("sentence")
NOISE = KINDS.index("noise")
# Of train.csv: means over log_steps, seconds per step.
COLUMNS = ("step", "loss", "gradient_norm", "learning_rate", "seconds", "seconds_waiting")


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """Section [schedule] of the configuration, which explains each number."""

    steps: int = 6000
    learning_rate: float = 2e-3
    warm_up_steps: int = 50
    final_fraction: float = 0.01
    clip_norm: float = 1.0
    framewise_steps: int = 250
    average_decay: float = 0.999
    carry_state: float = 0.5
    normalize_steps: int = 500
    phone_weight: float = 0.3
    teacher_weight: float = 1.0

    def rate(self, step):
        """Return the learning rate of a step."""
        if step < self.warm_up_steps:
            return self.learning_rate * (step + 1) / self.warm_up_steps
        done = (step - self.warm_up_steps) / max(1, self.steps - self.warm_up_steps)
        low = self.final_fraction
        return self.learning_rate * (low + (1 - low) * (1 + math.cos(math.pi * min(1, done))) / 2)


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Section [report] of the configuration."""

    log_steps: int = 50
    checkpoint_steps: int = 500
    dev_steps: int = 1000
    blank_bias: float = -1.0
    unknown_bias: float = -2.0


def load_config(text):
    """Read a configuration.

    Parameters
    ----------
    text : str
        TOML.

    Returns
    -------
    network : NetworkConfig
    batches : BatchesConfig
    workers : int
    schedule : ScheduleConfig
    report : ReportConfig
    """
    table = tomllib.loads(text)
    data = table.pop("batches", {})
    workers = data.pop("workers", 1)
    strings = _fill(StringsConfig, table.pop("strings", {}), "strings")
    network = _fill(NetworkConfig, table.pop("network", {}), "network")
    result = (
        network,
        _fill(BatchesConfig, {**data, "strings": strings, "phones": network.phones}, "batches"),
        workers,
        _fill(ScheduleConfig, table.pop("schedule", {}), "schedule"),
        _fill(ReportConfig, table.pop("report", {}), "report"),
    )
    if table:
        raise ValueError(f"unknown sections: {', '.join(table)}")
    return result


def _fill(kind, values, section):
    known = {field.name for field in dataclasses.fields(kind)}
    unknown = set(values) - known
    if unknown:
        raise ValueError(f"[{section}]: unknown {', '.join(sorted(unknown))}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def keep_memory():
    """Ask the C library to keep freed memory: large tensors of every step would else be mapped and
    cleared anew, which took a third of the time of a step. Does nothing where glibc is not."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(-4, 0)  # M_MMAP_MAX
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    mallopt(-2, 64 << 20)  # M_TOP_PAD


def framewise_loss(logits, batch):
    """Cross-entropy where the label of a step is known; logits float32 [shape=(steps, batch, outputs)]."""
    targets = batch["frame_targets"].t()
    total = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")
    return total / (targets >= 0).sum().clamp(min=1)


def string_loss(logits, batch):
    """Negative log-likelihood of what was said, per word.

    CTC, and for sentences and noise, of which only is known that they hold no digit, the likelihood of any
    sequence of blank and unknown: the product of P(blank) + P(unknown) over the steps. A bark may be unknown.

    Parameters
    ----------
    logits : float32 tensor [shape=(steps, batch, outputs)]
    batch : dict of tensors
    """
    log_p = F.log_softmax(logits, -1)
    losses = F.ctc_loss(
        log_p,
        batch["targets"],
        batch["lengths"],
        batch["target_lengths"],
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )
    digitless = (batch["kinds"] == SENTENCE) | (batch["kinds"] == NOISE)
    steps = torch.arange(len(logits))[:, None] < batch["lengths"][None]
    rejected = -torch.logaddexp(log_p[..., BLANK], log_p[..., UNKNOWN])
    losses = torch.where(digitless, (rejected * steps).sum(0), losses)
    return losses.sum() / batch["target_lengths"].sum().clamp(min=1)


def phone_loss(logits, batch):
    """CTC of the phones of all that was said, per phone; examples without a transcript do not count.

    Parameters
    ----------
    logits : float32 tensor [shape=(steps, batch, 1 + phones)]
    batch : dict of tensors
    """
    known = batch["kinds"] != SENTENCE
    losses = F.ctc_loss(
        F.log_softmax(logits, -1),
        batch["phones"],
        batch["lengths"],
        batch["phone_lengths"],
        reduction="none",
        zero_infinity=True,
    )
    return (losses * known).sum() / (batch["phone_lengths"] * known).sum().clamp(min=1)


def teacher_loss(logits, taught, batch):
    """Kullback-Leibler divergence of the outputs from those of a teacher, summed over steps, per word.

    Distillation (Hinton et al., arXiv:1503.02531, section 2) at temperature 1: where a recording could be heard
    as two words, the teacher says how much of each; the label does not. It also says in which step to speak.

    Parameters
    ----------
    logits, taught : float32 tensors [shape=(steps, batch, outputs)]
        Of the network and of its teacher.
    batch : dict of tensors
    """
    steps = torch.arange(len(logits))[:, None] < batch["lengths"][None]
    divergence = F.kl_div(
        F.log_softmax(logits, -1), F.log_softmax(taught, -1), reduction="none", log_target=True
    ).sum(-1)
    return (divergence * steps).sum() / batch["target_lengths"].sum().clamp(min=1)


def last_states(states, lengths):
    """Return the states after the last step of each example.

    Parameters
    ----------
    states : list of float32 tensors [shape=(steps, batch, units)]
    lengths : int64 tensor [shape=(batch,)]

    Returns
    -------
    list of float32 tensors [shape=(batch, units)]
    """
    return [h.detach()[lengths - 1, torch.arange(len(lengths))] for h in states]


def draw_start(carried, count, share, generator):
    """Draw the states that the examples of a batch start from.

    A stream is listened to for hours, but examples last seconds: a share of them therefore begins
    where an example of the last batch ended, the others at zero.

    Parameters
    ----------
    carried : list of float32 tensors [shape=(batch, units)] or None
        Final states of the last batch, per layer; none before the first.
    count : int
        Examples.
    share : float
    generator : torch.Generator

    Returns
    -------
    list of float32 tensors [shape=(count, units)] or None
    """
    if carried is None or not share:
        return None
    index = torch.randint(len(carried[0]), (count,), generator=generator)
    taken = (torch.rand(count, 1, generator=generator) < share).float()
    return [h[index] * taken for h in carried]


def save_checkpoint(path, state):
    """Write a checkpoint, all or nothing; `torch.load(path, weights_only=True)` reads it."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_network(path, averaged=True):
    """Build the network of a checkpoint.

    Parameters
    ----------
    path : path
    averaged : bool
        The running average of the masters, where the checkpoint has one, or the last masters.

    Returns
    -------
    DigitNet
    """
    state = torch.load(path, weights_only=True)
    config = load_config(state["config"])[0]
    masters = state["average"] if averaged and state["average"] else state["network"]
    with torch.device("meta"):  # no memory for what only the configuration claims
        DigitNet(config).load_state_dict(masters, assign=True)
    network = DigitNet(config)
    network.load_state_dict(masters)
    return network.eval()


def main(arguments=None):
    """Run the command line; returns the exit status: 0, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description="Train the digit network.")
    parser.add_argument("config", type=Path, help="TOML file, see training/configs")
    parser.add_argument("--out", type=Path, default="runs/digits", metavar="DIR", help="where the run goes")
    parser.add_argument("--resume", action="store_true", help="go on from DIR/checkpoint.pt")
    parser.add_argument(
        "--init",
        type=Path,
        metavar="FILE",
        help="start from the network of this checkpoint, as in a second stage",
    )
    parser.add_argument(
        "--teacher", type=Path, metavar="FILE", help="learn from the network of this checkpoint too"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="instead of the configuration's")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--workers", type=int, metavar="N", help="instead of the configuration's")
    parser.add_argument("--no-dev", action="store_true", help="no scores on the development sets")
    options = parser.parse_args(arguments)

    keep_memory()
    torch.set_num_threads(options.threads)
    try:
        text = options.config.read_text(encoding="utf-8")
        network_config, data_config, workers, schedule, report = load_config(text)
    except (OSError, ValueError, TypeError) as error:
        return _fail(f"{options.config}: {getattr(error, 'strerror', None) or error}")
    try:
        # Before hours are spent: are the recordings there?
        data_config.strings.bank()
    except (OSError, ValueError) as error:
        return _fail(error)
    workers = workers if options.workers is None else options.workers
    if options.steps is not None:
        schedule = dataclasses.replace(schedule, steps=options.steps)
    seed, step, carried = options.seed, 0, None
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.out / "checkpoint.pt"
    network = DigitNet(network_config, seed)
    if options.init and not options.resume:
        try:
            network.load_state_dict(load_network(options.init).state_dict())
        except (OSError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
            return _fail(f"{options.init}: not a checkpoint of such a network: {str(error).splitlines()[0]}")
    teacher = None
    if options.teacher:
        try:
            teacher = load_network(options.teacher)
            taught_by = teacher.quantize()
        except (OSError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
            return _fail(
                f"{options.teacher}: not a checkpoint of a digit network: {str(error).splitlines()[0]}"
            )
    optimizer = torch.optim.Adam(network.parameters(), lr=schedule.learning_rate, foreach=True)
    average = copy.deepcopy(network) if schedule.average_decay else None
    if options.resume:
        try:
            state = torch.load(checkpoint, weights_only=True)
            run = state["config"], state["seed"], state["steps"]
        except OSError as error:
            return _fail(f"{checkpoint}: {error.strerror}; nothing to resume")
        except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
            return _fail(f"{checkpoint}: not a checkpoint of a run: {str(error).splitlines()[0]}")
        if run != (text, seed, schedule.steps):
            return _fail(f"{checkpoint}: made with another configuration, seed or number of steps")
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        if average:
            average.load_state_dict(state["average"])
        step, carried = state["step"], state["carried"]

    def save():
        save_checkpoint(
            checkpoint,
            {
                "config": text,
                "seed": seed,
                "step": step,
                "steps": schedule.steps,
                "network": network.state_dict(),
                "average": average.state_dict() if average else None,
                "optimizer": optimizer.state_dict(),
                "carried": carried,
            },
        )

    log = open(options.out / "train.csv", "a" if options.resume else "w", newline="")
    writer = csv.writer(log)
    if not options.resume:
        writer.writerow(COLUMNS)
    dev = None
    biases = {"plain": (0.0, 0.0), "biased": (report.blank_bias, report.unknown_bias)}

    def evaluate():
        nonlocal dev
        if options.no_dev:
            return
        from training.evaluate_dev import DevSets, summary

        dev = dev or DevSets(data_config.strings.withhold)
        for name, candidate in (("last", network), ("average", average)):
            if candidate is None:
                continue
            candidate.eval()
            for point, scores in dev.scores(candidate, biases).items():
                say(f"step {step} {name} {point}: {summary(scores)}")
                with open(options.out / "dev.jsonl", "a") as file:
                    table = {key: dataclasses.asdict(value) for key, value in scores.items()}
                    json.dump({"step": step, "masters": name, "point": point, "scores": table}, file)
                    file.write("\n")

    bar = None
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(total=schedule.steps, initial=step, unit="step", file=sys.stderr)
    say = bar.write if bar else lambda line: print(line, file=sys.stderr, flush=True)

    size = sum(p.numel() for p in network.parameters())
    say(f"{size} parameters, steps {step} to {schedule.steps}, seed {seed}")
    stream = batches(data_config, seed, step, workers)
    began, waited, loss_sum, norm_sum, count = time.monotonic(), 0.0, 0.0, 0.0, 0
    while step < schedule.steps:
        before = time.monotonic()
        batch = next(stream).tensors()
        waited += time.monotonic() - before
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        if step < schedule.normalize_steps:
            network.observe(batch["features"], batch["lengths"])

        # All randomness of a step hangs on (seed, step), so that a resumed run goes the same way.
        generator = torch.Generator().manual_seed((seed << 32) + step)
        integers = network.quantize(generator)
        start = draw_start(carried, len(batch["lengths"]), schedule.carry_state, generator)
        logits, states = network(batch["features"], integers, generator, start)
        carried = last_states(states, batch["lengths"])
        loss_of = framewise_loss if step < schedule.framewise_steps else string_loss
        loss = loss_of(logits * PRE_UNIT, batch)
        if network.phones is not None:
            loss = loss + schedule.phone_weight * phone_loss(network.phone_logits(states), batch)
        if teacher is not None and step >= schedule.framewise_steps:
            with torch.no_grad():
                taught, _ = teacher(batch["features"], taught_by)
            loss = loss + schedule.teacher_weight * teacher_loss(logits * PRE_UNIT, taught * PRE_UNIT, batch)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), schedule.clip_norm)
        if not torch.isfinite(norm):
            raise RuntimeError(f"step {step}: the gradient is not finite")
        optimizer.step()
        network.clip()
        step += 1
        if average:
            with torch.no_grad():
                # The average forgets its start as fast as it has seen steps.
                decay = min(schedule.average_decay, step / (step + 10))
                torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
                for mean, value in zip(average.buffers(), network.buffers(), strict=True):
                    mean.copy_(value)

        loss_sum, norm_sum, count = loss_sum + loss.item(), norm_sum + norm.item(), count + 1
        if bar:
            bar.update()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if count == report.log_steps or step == schedule.steps:
            took = (time.monotonic() - began) / count
            row = (loss_sum / count, norm_sum / count, schedule.rate(step - 1), took, waited / count)
            writer.writerow([step, *(f"{value:.6g}" for value in row)])
            log.flush()
            if not bar:
                left = took * (schedule.steps - step) / 60
                say(
                    f"step {step} loss {row[0]:.4f} norm {row[1]:.2f} rate {row[2]:.2g} {1 / took:.2f} steps/s "
                    f"({100 * waited / count / took:.0f} % waiting) {left:.0f} min left"
                )
            began, waited, loss_sum, norm_sum, count = time.monotonic(), 0.0, 0.0, 0.0, 0
        if step % report.checkpoint_steps == 0 or step == schedule.steps:
            save()
        if step % report.dev_steps == 0 or step == schedule.steps:
            evaluate()
            began, waited = time.monotonic(), 0.0
    stream.close()
    log.close()
    if bar:
        bar.close()
    return 0 if options.no_dev else finish(options.out)


def _fail(message):
    print(f"train: {message}", file=sys.stderr)
    return 2


def finish(out):
    """Choose decoder settings on development data and export the model.

    Parameters
    ----------
    out : path
        Folder of the run; `decoder.toml` and `model.ernn` are written beside `checkpoint.pt`.

    Returns
    -------
    int
        Exit status of the exporter.
    """
    from exporters import from_checkpoint
    from exporters.__main__ import main as export
    from training.operating_point import settings_text

    network, state = from_checkpoint.load_source(out / "checkpoint.pt")
    withheld = load_config(state["config"])[1].strings.withhold
    neutral = from_checkpoint.model_file(network, from_checkpoint.read_decoder(None), {})
    settings = out / "decoder.toml"
    settings.write_text(settings_text(neutral, withheld), encoding="utf-8")
    return export([str(out / "checkpoint.pt"), "-o", str(out / "model.ernn"), "--decoder", str(settings)])


if __name__ == "__main__":
    sys.exit(main())
