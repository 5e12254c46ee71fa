# SPDX-License-Identifier: MIT
"""What the tasks have in common: the network of a row, the loop over its steps, its checkpoint and its result.

A task brings the loss of a step and the score on dev. A step depends on the row, its own number and what the checkpoint
keeps, so a training that was interrupted goes on as if it had not been.
"""

import math
import os
import time

import numpy as np
import torch

from training.recurrent import Network, NetworkSpec

_LAST_RATE = 0.01  # share of the learning rate that is left at the end
_LARGEST_GRADIENT = 1.0  # norm
_CHECKPOINT_S = 60.0
_KEPT = ("step", "skipped", "seconds", "state", "curve", "spectral_norm", "before")
_FORMER_NAMES = {"norms": "spectral_norm", "refused": "skipped"}  # in checkpoints that older versions wrote


def network_of(row, input_size, output_size, **options):
    """Build the network of a row.

    Parameters
    ----------
    row : training.reproduce.row.Row
    input_size, output_size : int
    **options
        Further fields of `NetworkSpec`.

    Returns
    -------
    training.recurrent.Network
    """
    spec = NetworkSpec(
        input_size,
        output_size,
        cell=row.cell,
        units=row.units,
        method=row.method,
        stochastic=row.stochastic,
        normalization=row.normalization,
        learned_scale=row.learned_scale,
        quantize_biases=row.quantize_biases,
        **options,
    )
    return Network(spec, row.seed)


def learning_rate(step, budget, warm_up):
    """Return the rate of a step: it rises over the first `warm_up` steps and falls along a cosine to a hundredth."""
    warm = min(1.0, (step + 1) / warm_up)
    cosine = 0.5 * (1 + math.cos(math.pi * step / budget["steps"]))
    return budget["rate"] * warm * (_LAST_RATE + (1 - _LAST_RATE) * cosine)


class Trainer:
    """A network in training, and all that is needed to go on with it.

    Parameters
    ----------
    row : training.reproduce.row.Row
        Its budget has "steps" and "rate".
    network : training.recurrent.Network
    path : pathlib.Path
        Of the checkpoint, which is read where there is one.
    optimizer : torch.optim.Optimizer
        A group of parameters may have a "share" of the learning rate.

    Attributes
    ----------
    step : int
        Steps that are done.
    skipped : int
        Of these, steps whose gradient was not finite, which left the network as it was.
    seconds : float
        Of training, over all the times it was resumed.
    state : list of tuples of tensors, or None
        The task's own: what it carries from one step to the next.
    """

    def __init__(self, row, network, path, optimizer):
        self.row, self.network, self._path, self.optimizer = row, network, path, optimizer
        self.step, self.skipped, self.seconds, self.state = 0, 0, 0.0, None
        self.curve, self.spectral_norm, self.before = [], [], network.histograms()
        if path.exists():
            kept = torch.load(path, weights_only=True)
            network.load_state_dict(kept.pop("network"))
            optimizer.load_state_dict(kept.pop("optimizer"))
            for name, value in kept.items():
                name = _FORMER_NAMES.get(name, name)
                if name in _KEPT:
                    setattr(self, name, value)

    def _save(self):
        """Write the checkpoint: all of it, or nothing."""
        kept = {name: getattr(self, name) for name in _KEPT}
        kept |= {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        temporary = self._path.with_suffix(".part")
        torch.save(kept, temporary)
        os.replace(temporary, self._path)

    def fit(self, loss_of, dev_score, report, *, warm_up, scores, seeds=1 << 32, unit=1.0):
        """Train to the end of the budget.

        Parameters
        ----------
        loss_of : callable
            (step, generator) to the loss, a tensor. The generator is for all that the step draws.
        dev_score : callable
            () to float.
        report : training.reproduce.row.Report
        warm_up : int
            Steps until the full learning rate.
        scores : int
            How often the network is scored on dev, the last time at the end.
        seeds : int
            The generator of a step is seeded with the row's seed times this, plus the step.
        unit : float
            Of the loss in curves and reports.
        """
        steps, generator = self.row.budget["steps"], torch.Generator()
        begun, saved, losses = time.monotonic() - self.seconds, time.monotonic(), []
        while self.step < steps:
            generator.manual_seed(self.row.seed * seeds + self.step)
            rate = learning_rate(self.step, self.row.budget, warm_up)
            losses.append(self._advance(loss_of(self.step, generator), rate) / unit)
            figures = {"loss": losses[-1]}
            self.step += 1
            if self.step * scores // steps > (self.step - 1) * scores // steps:
                self.curve.append([self.step, float(np.mean(losses)), dev_score()])
                self.spectral_norm.append([self.step, max(self.network.spectral_norms())])
                losses = []
            if self.curve:
                figures["dev"] = self.curve[-1][2]
            report(self.step, steps, figures)
            self.seconds = time.monotonic() - begun
            if time.monotonic() - saved >= _CHECKPOINT_S or self.step == steps:
                saved = time.monotonic()
                self._save()

    def _advance(self, loss, rate):
        """One step of the optimizer; returns the loss: float."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        # Networks that fail have gradients beyond float32; one such step would leave nothing to go on with.
        if torch.isfinite(norm):
            self.optimizer.step()
            self.network.clip()
        else:
            self.skipped += 1
        return loss.item()

    def result(self, path, metric, scores, decisions, exact):
        """Return what is known of the network that was trained.

        Parameters
        ----------
        path : pathlib.Path
            The packed file.
        metric : str
            One of `training.reproduce.row.METRICS`.
        scores : (float, float)
            On test, by torch and by the C runtime.
        decisions : (sequence, sequence)
            On test, of torch and of the C runtime.
        exact : (sequence, sequence)
            On a part of test, of `edge_runtime.reference` and of the C runtime.

        Returns
        -------
        dict
            `training.reproduce.row.RESULT`.
        """
        sizes = self.network.sizes()
        return {
            "metric": metric,
            "score": scores[0],
            "packed_score": scores[1],
            "decisions": len(decisions[0]),
            "differing": _differing(*decisions),
            "exact_checked": len(exact[0]),
            "exact_differing": _differing(*exact),
            "dev_score": self.curve[-1][2],
            "bytes": path.stat().st_size,
            "float_bytes": sizes["float_bytes"],
            "bits_per_weight": sizes["bits_per_weight"],
            "zeros": sizes["zeros"],
            "seconds": self.seconds,
            "steps": self.step,
            "curve": self.curve,
            "spectral_norm": self.spectral_norm,
            "histograms": {"before": self.before, "after": self.network.histograms()},
        }


def _differing(ours, theirs):
    return int(sum(a != b for a, b in zip(ours, theirs, strict=True)))
