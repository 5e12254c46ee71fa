# SPDX-License-Identifier: MIT
"""Character language models: windows, resuming, what fails, and the scores of the packed network."""

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from apps.corpus import CorpusError  # noqa: E402
from training.recurrent import Network, NetworkSpec  # noqa: E402
from training.reproduce import characters, grid, trainer  # noqa: E402
from training.reproduce.row import Row, check_name, checked  # noqa: E402

ROW = Row(
    "characters",
    "shakespeare",
    cell="lstm",
    units=(24,),
    method="ternary",
    normalization="weight",
    budget={"steps": 120, "batch": 8, "window": 25, "rate": 2e-2},
)


class _Stop(Exception):
    pass


@pytest.fixture
def data(tmp_path):
    """A folder with a text of few different words."""
    rng = np.random.default_rng(0)
    words = rng.choice(["to be", "or not", "that is", "the question"], 3000)
    (tmp_path / "char_lm").mkdir()
    (tmp_path / "char_lm" / "tinyshakespeare.txt").write_text("\n".join(words), encoding="ascii")
    return tmp_path


@pytest.fixture(autouse=True)
def few_exact(monkeypatch):
    monkeypatch.setattr(characters, "_EXACT", 200)


def quiet(step, steps, figures):
    pass


def trained(row, data, name, report=quiet):
    folder = data / name
    folder.mkdir(exist_ok=True)
    return checked(characters.train(row, folder, data, report)), folder


def test_windows_read_each_stream_in_order_and_every_epoch_otherwise():
    codes = np.arange(103)
    windows = characters._Windows(codes, {"batch": 2, "window": 5}, seed=1)
    assert windows.count == 10
    x = [windows.at(step) for step in range(20)]
    for step, (inputs, following, new_epoch) in enumerate(x):
        assert inputs.shape == following.shape == (5, 2)
        assert torch.equal((inputs + 1) % 103, following)
        assert new_epoch == (step in (0, 10))
        if not new_epoch:
            assert torch.equal(inputs[0], x[step - 1][1][-1])
    assert not torch.equal(x[0][0], x[10][0])
    again = characters._Windows(codes, {"batch": 2, "window": 5}, seed=1)
    assert torch.equal(again.at(13)[0], x[13][0])


def test_windows_longer_than_the_text_are_refused():
    with pytest.raises(ValueError, match="text of 103 characters: expected at least 404"):
        characters._Windows(np.arange(103), {"batch": 4, "window": 100}, seed=0)


def test_rate_warms_up_and_falls_to_a_hundredth():
    budget = {"steps": 1000, "rate": 2e-3}
    assert trainer.learning_rate(0, budget, 200) < 2e-5
    assert trainer.learning_rate(1000, budget, 200) == pytest.approx(2e-5)
    rates = [trainer.learning_rate(step, budget, 200) for step in range(200, 1000)]
    assert rates == sorted(rates, reverse=True)


def test_bits_per_character_is_the_cross_entropy_of_streams():
    text = np.random.default_rng(0).integers(0, 5, 301)
    network = Network(NetworkSpec(5, 5, "lstm", (8,), one_hot=True))
    bits = []
    for stream in text[:300].reshape(3, 100):
        logits, _ = network(torch.from_numpy(stream)[:-1, None], network.weights())
        chances = logits[:, 0].log_softmax(1).detach().numpy()
        bits += list(-chances[np.arange(99), stream[1:]] / math.log(2))
    assert characters.bits_per_character(network, text, 3) == pytest.approx(np.mean(bits), rel=1e-5)


def test_train_learns_packs_and_agrees_with_the_library(data):
    result, folder = trained(ROW, data, "row")
    assert result["steps"] == 120
    assert len(result["curve"]) == len(result["spectral_norm"]) == characters._SCORES
    assert result["curve"][-1][2] < result["curve"][0][2]
    assert result["score"] < 3.0
    assert result["packed_score"] == pytest.approx(result["score"], abs=1e-3)
    assert result["differing"] <= 0.001 * result["decisions"]
    assert result["exact_checked"] == min(characters._EXACT, result["decisions"])
    assert result["exact_differing"] == 0
    assert result["bytes"] == (folder / "model.ernn").stat().st_size < result["float_bytes"]
    assert result["bits_per_weight"] == 1.6


@pytest.mark.parametrize(
    "changes", [{"cell": "gru"}, {"cell": "rnn", "method": "binary-glorot", "stochastic": True}]
)
def test_other_cells_train(data, changes):
    budget = {**ROW.budget, "steps": 10}
    row = dataclasses.replace(ROW, normalization="none", budget=budget, **changes)
    result, _ = trained(row, data, "row")
    assert math.isfinite(result["packed_score"])
    assert result["exact_differing"] == 0


def test_interrupted_training_goes_on_to_the_same_network(data, monkeypatch):
    whole, _ = trained(ROW, data, "whole")
    monkeypatch.setattr(trainer, "_CHECKPOINT_S", 0.0)

    def stop(step, steps, figures):
        if step == 60:
            raise _Stop

    with pytest.raises(_Stop):
        trained(ROW, data, "parts", stop)
    steps = []
    parts, _ = trained(ROW, data, "parts", lambda step, steps_, figures: steps.append(step))
    assert steps[0] == 60
    assert parts["score"] == pytest.approx(whole["score"], abs=1e-6)
    np.testing.assert_allclose(np.array(parts["curve"])[:, 2], np.array(whole["curve"])[:, 2], rtol=1e-5)


def test_streams_begin_anew_at_the_end(data, monkeypatch):
    begun, states = [], []
    begun_anew = characters._begun_anew

    def seen(state, probability, generator):
        state = begun_anew(state, probability, generator)
        begun.append(generator.initial_seed())  # of the seed 0: the step
        states.append(state[0][1][0].abs().sum(1))
        return state

    monkeypatch.setattr(characters, "_begun_anew", seen)
    trained(dataclasses.replace(ROW, budget={**ROW.budget, "anew": 0.5}), data, "row")
    assert begun == list(range(105, 120))
    zero = torch.stack(states) == 0
    assert 0.3 < zero.float().mean() < 0.7


def test_steps_without_finite_gradient_are_left_out(data, monkeypatch):
    clip = torch.nn.utils.clip_grad_norm_
    norms = iter([float("inf"), float("nan")])

    def broken(parameters, bound):
        norm = clip(parameters, bound)
        return torch.tensor(next(norms, norm.item()))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", broken)
    row = dataclasses.replace(ROW, budget={**ROW.budget, "steps": 12})
    result, _ = trained(row, data, "row")
    assert result["skipped"] == 2
    assert math.isfinite(result["score"])


def test_rows_have_one_budget_for_all_methods_of_a_text_and_size():
    rows = characters.rows()
    assert len({row.name for row in rows}) == len(rows)
    budgets = {}
    for row in rows:
        check_name(row)
        kept = budgets.setdefault((row.variant, row.units), row.budget)
        assert row.budget == kept
    names = [row.name for row in rows]
    assert not set(names) & {row.name for row in characters.own_rows()}
    assert "characters-warandpeace-lstm512-ternary-weightnorm-s0" in names
    assert "characters-warandpeace-lstm512-float-s0" in names


def test_rows_on_texts_of_their_owners_are_trained_where_they_are_named(tmp_path):
    (row,) = grid.choose(grid.all_rows(own=True), ["characters-ptb-*-ternary-*"])
    assert row.name not in [row.name for row in grid.all_rows()]
    row = dataclasses.replace(row, units=(8,), budget={**row.budget, "steps": 3, "batch": 2, "window": 10})
    with pytest.raises(CorpusError, match="expected a file of the Penn Treebank"):
        characters.train(row, tmp_path, tmp_path, quiet)
    (tmp_path / "ptb").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / "ptb" / f"ptb.{split}.txt").write_text(
            " no it was n't black <unk> \n" * 20, encoding="ascii"
        )
    result, _ = trained(row, tmp_path, "row")
    assert result["steps"] == 3
    assert result["decisions"] == 20 * len("no it was n't black <unk>\n") - 1
