# SPDX-License-Identifier: MIT
"""The pieces of the training loop: configuration, losses, carried states, scores."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training import bank, corpus, train  # noqa: E402
from training.evaluate_dev import greedy  # noqa: E402
from training.labels import BLANK, LABELS, UNKNOWN  # noqa: E402
from training.strings import KINDS, StringsConfig  # noqa: E402

CONFIG = Path(train.__file__).parent / "configs" / "digits_ternary.toml"


def make_batch(kinds, targets, lengths):
    width = max(1, *(len(t) for t in targets))
    return {
        "kinds": torch.tensor([KINDS.index(kind) for kind in kinds]),
        "targets": torch.tensor([t + [0] * (width - len(t)) for t in targets]),
        "target_lengths": torch.tensor([len(t) for t in targets]),
        "lengths": torch.tensor(lengths),
    }


def likelihood(p, accepted):
    """Sum of the probabilities of all paths that are accepted; p float [shape=(steps, outputs)]."""
    total = 0.0
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        if accepted(path):
            total += math.prod(p[t, k] for t, k in enumerate(path))
    return total


def collapsed(path):
    return [k for k, _ in itertools.groupby(path) if k != BLANK]


def test_string_loss_equals_sum_over_paths():
    steps, outputs = 4, len(LABELS)
    logits = torch.randn(steps, 3, outputs, generator=torch.Generator().manual_seed(0))
    batch = make_batch(["digits", "sentence", "noise"], [[3, 3], [], []], [4, 3, 2])
    p = torch.softmax(logits, -1).double().numpy()
    expected = -math.log(likelihood(p[:4, 0], lambda path: collapsed(path) == [3, 3]))
    expected -= math.log(likelihood(p[:3, 1], lambda path: set(path) <= {BLANK, UNKNOWN}))
    expected -= math.log(likelihood(p[:2, 2], lambda path: set(path) <= {BLANK, UNKNOWN}))
    assert train.string_loss(logits, batch).item() == pytest.approx(expected / 2, rel=1e-5)


def test_phone_loss_leaves_out_sentences():
    logits = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    batch = make_batch(["unknown", "sentence"], [[UNKNOWN], []], [3, 3])
    batch |= {"phones": torch.tensor([[2, 1], [0, 0]]), "phone_lengths": torch.tensor([2, 0])}
    p = torch.softmax(logits, -1).double().numpy()
    expected = -math.log(likelihood(p[:, 0], lambda path: collapsed(path) == [2, 1]))
    assert train.phone_loss(logits, batch).item() == pytest.approx(expected / 2, rel=1e-5)


def test_teacher_loss_is_a_divergence_over_the_steps_of_each_example():
    generator = torch.Generator().manual_seed(0)
    logits, taught = torch.randn(2, 4, 2, len(LABELS), generator=generator)
    batch = make_batch(["digits", "noise"], [[3, 3], []], [4, 2])
    p, q = (torch.softmax(x, -1).double() for x in (taught, logits))
    each = (p * (p / q).log()).sum(-1)
    expected = (each[:4, 0].sum() + each[:2, 1].sum()) / 2
    assert train.teacher_loss(logits, taught, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    assert train.teacher_loss(taught, taught, batch).item() == pytest.approx(0, abs=1e-5)


def test_framewise_loss_ignores_unknown_targets():
    logits = torch.zeros(3, 2, len(LABELS))
    logits[0, 0, 5] = 9.0
    targets = torch.tensor([[5, -1, -1], [-1, -1, -1]])
    loss = train.framewise_loss(logits, {"frame_targets": targets})
    assert loss.item() == pytest.approx(math.log(1 + 12 * math.exp(-9)), rel=1e-3)


def test_framewise_loss_without_any_target_is_zero():
    logits = torch.zeros(3, 2, len(LABELS), requires_grad=True)
    loss = train.framewise_loss(logits, {"frame_targets": torch.full((2, 3), -1)})
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.any()


def test_config_of_the_shipped_model_loads():
    network, data, workers, schedule, _ = train.load_config(CONFIG.read_text())
    assert network.units == (256, 256) and network.phones and data.phones
    assert data.batch_size > 0 and workers >= 0 and schedule.steps > schedule.framewise_steps


@pytest.mark.parametrize("text", ["[network]\nunit = [3]\n", "[networks]\n"])
def test_config_refuses_unknown_names(text):
    with pytest.raises(ValueError, match="unknown"):
        train.load_config(text)


def test_rate_warms_up_and_falls():
    schedule = train.ScheduleConfig(steps=1000, warm_up_steps=50, learning_rate=2e-3, final_fraction=0.01)
    assert schedule.rate(0) == pytest.approx(2e-3 / 50)
    assert schedule.rate(49) == schedule.rate(50) == pytest.approx(2e-3)
    assert schedule.rate(1000) == pytest.approx(2e-5)


def test_last_states_and_draw_start():
    states = [torch.arange(24.0).view(4, 3, 2)]
    (last,) = train.last_states(states, torch.tensor([1, 4, 2]))
    assert torch.equal(last, torch.stack([states[0][0, 0], states[0][3, 1], states[0][1, 2]]))
    generator = torch.Generator().manual_seed(0)
    assert train.draw_start(None, 5, 0.5, generator) is None
    assert train.draw_start([last], 5, 0.0, generator) is None
    (start,) = train.draw_start([last + 1], 2000, 0.5, generator)
    zero = (start == 0).all(1)
    assert 0.45 < zero.float().mean() < 0.55
    assert {tuple(row) for row in start[~zero].tolist()} == {tuple(row) for row in (last + 1).tolist()}


def test_checkpoint_is_written_whole_and_holds_no_code(tmp_path):
    path = tmp_path / "checkpoint.pt"
    train.save_checkpoint(path, {"step": 3, "network": {"a": torch.ones(2)}})
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert torch.load(path, weights_only=True)["step"] == 3


def test_greedy_collapses_runs_and_drops_unknown():
    outputs = np.array([BLANK, 4, 4, BLANK, 4, UNKNOWN, UNKNOWN, 1, BLANK])
    assert greedy(outputs) == [LABELS[4], LABELS[4], LABELS[1]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        ("[network", "Expected"),
        ("[network]\nsize = 3\n", "unknown size"),
        ("[nonsense]\n", "nonsense"),
    ],
)
def test_bad_configuration_is_one_line_and_status_2(text, reason, tmp_path, capsys):
    config = tmp_path / "config.toml"
    if text is not None:
        config.write_text(text)
    assert train.main([str(config), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert str(config) in error and reason in error and error.count("\n") == 1


def test_missing_data_is_one_line_and_status_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("EDGE_RUNTIME_DATA", str(tmp_path / "nowhere"))
    bank.load_bank.cache_clear()
    corpus.training_set.cache_clear()
    assert train.main([str(CONFIG), "--out", str(tmp_path / "run")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_resume_without_a_checkpoint_is_one_line_and_status_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(StringsConfig, "bank", lambda self: None)
    assert train.main([str(CONFIG), "--out", str(tmp_path / "run"), "--resume"]) == 2
    assert "nothing to resume" in capsys.readouterr().err


def test_another_stage_needs_checkpoints_of_digit_networks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(StringsConfig, "bank", lambda self: None)
    network = train.DigitNet(train.NetworkConfig(units=(8,)))
    checkpoint = tmp_path / "checkpoint.pt"
    train.save_checkpoint(
        checkpoint, {"config": "[network]\nunits = [8]\n", "average": None, "network": network.state_dict()}
    )
    none, damaged = tmp_path / "none.pt", tmp_path / "damaged.pt"
    damaged.write_bytes(b"not a checkpoint")
    for option, file, reason in (
        ("--init", checkpoint, "size mismatch|Missing|Error"),
        ("--init", none, "No such file"),
        ("--teacher", none, "No such file"),
        ("--teacher", damaged, "not a checkpoint"),
    ):
        assert train.main([str(CONFIG), "--out", str(tmp_path / "run"), option, str(file)]) == 2
        error = capsys.readouterr().err
        assert str(file) in error and re.search(reason, error) and error.count("\n") == 1


@pytest.mark.parametrize("option", ["--init", "--teacher", "--resume"])
def test_code_in_a_checkpoint_is_not_run(tmp_path, capsys, monkeypatch, option):
    monkeypatch.setattr(StringsConfig, "bank", lambda self: None)

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    evil = tmp_path / "checkpoint.pt"
    torch.save({"config": "[network]\nunits = [8]\n", "average": None, "network": Evil()}, evil)
    options = [option] if option == "--resume" else [option, str(evil)]
    assert train.main([str(CONFIG), "--out", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert str(evil) in error and "not a checkpoint" in error and error.count("\n") == 1
    assert not (tmp_path / "ran").exists()
