# SPDX-License-Identifier: MIT
"""The acceptance command and what it measures, on tones instead of words."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from test_evaluate import write_corpus
from word_models import TONE_LABELS, tone, tone_model, tone_signal

import edge_runtime as er
from apps.corpus import Utterance
from apps.evaluate import calibration, endurance, latency, plot, silence, sweeps, tradeoff
from apps.evaluate.acceptance import judge, main
from apps.evaluate.requirements import REQUIREMENTS, Requirement
from apps.evaluate.scoring import EvaluationError
from apps.evaluate.strings import DigitString, StringMaker
from training import card

pytest.importorskip("soundfile")
DIGITS = TONE_LABELS[1:-1]
CONFIG = Path(__file__).resolve().parent.parent / "training" / "configs" / "digits_ternary.toml"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small folder of all sets; the tones are the words."""
    folder = tmp_path_factory.mktemp("sets")
    for name in ("sc_digits", "audiomnist_subset", "fsdd", "prompt_digits"):
        rows = [("ann", word, "dev", [word]) for word in DIGITS]
        write_corpus(folder / name, [*rows, ("bob", "one", "test", ["two"])])
    write_corpus(folder / "an4_mfcc", [("ann", "one two", "dev", ["one", "two"])])
    for name in ("sc_words", "sc_background_noise"):
        write_corpus(folder / name, [("cat", "stop", "dev", ["unknown"]), ("cat", "go", "dev", ["four"])])
    for name in ("nondigit_speech", "esc10_noise"):
        write_corpus(folder / name, [(f"who{i}", "stop", "train", ["unknown"]) for i in range(40)])
    return folder


@pytest.fixture(scope="module", autouse=True)
def _few():
    """Four strings of a condition and two seconds of computation are enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            StringMaker, "strings", lambda self, condition: [self.make(condition, n) for n in range(4)]
        )
        patch.setattr(latency, "COMPUTE_S", 2.0)
        yield


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tone.ernn"
    path.write_bytes(tone_model(threshold=0.3))
    return path


@pytest.fixture(scope="module")
def model(model_path):
    return er.Model.load(model_path)


# ------------------------------------------------------------------------------------ command


@pytest.fixture(scope="module")
def accepted(data, model_path, tmp_path_factory):
    """Status, result and folder of pictures of one run."""
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("pictures")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        arguments = ["--data", str(data), "-m", str(model_path), "--json", "--no-hour", "--svg", str(folder)]
        status = main(arguments)
    return status, json.loads(out.getvalue()), folder


def test_every_requirement_is_measured(accepted):
    status, result, _ = accepted
    lines = {line["key"]: line for line in result["requirements"]}
    assert set(lines) == {r.key for r in REQUIREMENTS if not r.key.startswith("hour")}
    assert all(line["measured"] is not None for line in lines.values())
    assert lines["accuracy sc_digits"]["met"] is True
    # One of the two clips of sc_words sounds like "four".
    assert lines["accepted sc_words"]["measured"] == 0.5
    assert lines["accepted sc_words"]["met"] is False
    assert status == 1


def test_word_errors_are_those_of_the_evaluation(accepted, data, model_path, capsys):
    from apps.evaluate.__main__ import main as evaluate

    lines = {line["key"]: line["measured"] for line in accepted[1]["requirements"]}
    for key, arguments in (
        ("wer strings household", ["--data", str(data), "--strings", "household"]),
        ("wer an4_mfcc", ["--data", str(data / "an4_mfcc"), "--digits-only"]),
    ):
        assert evaluate([*arguments, "--split", "dev", "-m", str(model_path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["wer"] == lines[key]


def test_pictures_are_svg(accepted):
    _, result, folder = accepted
    for name in ("tradeoff.svg", "calibration.svg"):
        root = ElementTree.parse(folder / name).getroot()
        assert root.tag.endswith("svg") and len(root) > 20
    assert [curve["bias_step"] for curve in result["tradeoff"]] == list(tradeoff.BIAS_STEPS)


def test_missing_sets_are_named(data, model_path, tmp_path, capsys):
    assert main(["--data", str(tmp_path), "-m", str(model_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "sc_digits" in captured.err and len(captured.err.splitlines()) == 1
    assert main(["--data", str(data), "-m", str(tmp_path / "no.ernn")]) == 2
    assert "no.ernn" in capsys.readouterr().err


def test_requirements_are_judged():
    most = Requirement("x", "x", "<=", 0.05, "%")
    below = Requirement("y", "y", "<", 0.001, "ms")
    assert (most.is_met(0.05), most.is_met(0.06), most.is_met(None)) == (True, False, None)
    assert (below.is_met(0.001), below.is_met(0.0009)) == (False, True)
    assert (most.bound_text, most.show(0.0612), below.bound_text) == ("<= 5 %", "6.12 %", "< 1 ms")
    assert judge({"wer an4_mfcc": 0.01})[0][1:] == (0.01, True)
    assert len({r.key for r in REQUIREMENTS}) == len(REQUIREMENTS)


def test_card_has_a_line_per_requirement(data, monkeypatch):
    monkeypatch.setenv("EDGE_RUNTIME_DATA", str(data))
    monkeypatch.setattr(card, "SETS", (("fsdd (known voices)", "fsdd", ("dev", "test"), False),))
    values = {r.key: None if r.key == "hour growth" else 0.015 for r in REQUIREMENTS}
    monkeypatch.setattr(card, "measure", lambda *_: {"values": values})
    text = card.card(er.model.DEFAULT_MODEL, CONFIG)
    for requirement in REQUIREMENTS:
        assert f"| {requirement.title} | {requirement.bound_text} |" in text
    assert "| sc_words: clips in which a digit is heard | <= 5 % | 1.50 % | 1.50 % |" in text
    assert "| fsdd (known voices) | test | 1 | 1 |" in text


# ------------------------------------------------------------------------------- measurements


def test_levels_and_rates(model, monkeypatch):
    signals = [(("one", "two"), tone_signal(["one", "two"]))]
    for dbfs in (-60, -3):
        peak = np.abs(sweeps.at_peak(signals[0][1], dbfs).astype(float)).max() / 32768
        assert abs(20 * np.log10(peak) - dbfs) < 0.2
    result = sweeps.rates(model, signals)
    assert set(result["wer"]) == {"16000", "8000", "44100", "48000"}
    assert result["wer"]["16000"] == result["wer"]["48000"] == 0
    assert set(sweeps.levels(model, signals)["wer"]) == {str(dbfs) for dbfs in sweeps.PEAKS_DBFS}
    monkeypatch.setitem(__import__("sys").modules, "soxr", None)
    with pytest.raises(EvaluationError, match="soxr"):
        sweeps.at_rate(signals[0][1], 8000)


def test_latency_is_counted_from_the_end_of_the_word(model):
    signal = tone_signal(["one", "two", "two"])  # words of 0.25 s after gaps of 0.2 s
    ends = tuple(round(16000 * t) for t in (0.45, 0.9, 1.35))
    string = DigitString(0, "clean", "dev", "ann", ("one", "two", "two"), ends, signal)
    recognizer = model.recognizer()
    latencies = latency.word_latencies(recognizer, [string])
    recognizer.reset()
    words = recognizer.accept_waveform(signal) + recognizer.finish()
    assert len(latencies) == 3 and 0 < latencies.min() and latencies.max() < 0.1
    # The chunk that brought the word holds the sample that the recognizer says it was heard at.
    late = latencies + np.array(ends) / 16000 - [word.heard_s for word in words]
    assert late.min() >= 0 and late.max() < 0.01
    assert latency.quantiles(np.array([]), median=0.5) == {"median": None, "count": 0}


def test_silence_holds_no_digits(accepted):
    counts = accepted[1]["silence and hum"]
    assert len(counts) == 10 and counts["digital silence"] == 0
    names = dict(silence.signals())
    hum = names["hum 50 Hz -20 dBFS"].astype(float) / 32768
    assert abs(20 * np.log10(np.sqrt(np.mean(hum**2))) + 20) < 0.2
    assert np.abs(np.fft.rfft(hum[:16000])).argmax() == 100  # twice the mains


def test_tradeoff_counts_by_hand():
    said = [tradeoff.Heard(("one", "two"), 2.0, (("one", 0.9), ("two", 0.5)))]
    noise = [tradeoff.Heard((), 30.0, (("two", 0.6), ("two", 0.2))), tradeoff.Heard((), 30.0, ())]
    assert [tradeoff.miss_rate(said, t) for t in (0, 0.5, 0.6, 1)] == [0, 0, 0.5, 1]
    assert [tradeoff.false_per_minute(noise, t) for t in (0, 0.5, 0.7)] == [2, 1, 0]
    assert [tradeoff.accepted(noise, t) for t in (0, 0.7)] == [0.5, 0]


def test_bias_moves_along_the_trade_off(model):
    """More bias on `unknown` never makes more words of the same recording, enough of it makes none."""
    item = Utterance("set", 2, ("one", "three"), "ann", "dev", "made", "0", pcm=tone_signal(["one", "three"]))
    words = [len(tradeoff.hear(model, [item], step)[0].words) for step in (-8192, 0, 32767)]
    assert words[0] >= words[1] == 2 > words[2]
    assert model.file.decoder.bias.any() == False  # noqa: E712 - the model itself is unchanged


def test_calibration_by_hand():
    heard = [
        tradeoff.Heard(("one", "two"), 1.0, (("one", 0.95), ("three", 0.85))),
        tradeoff.Heard((), 1.0, (("four", 0.15),)),
        tradeoff.Heard(("one",), 1.0, (("one", 1.0),)),
    ]
    pairs = calibration.outcomes(heard)
    assert pairs == [(0.95, True), (0.85, False), (0.15, False), (1.0, True)]
    result = calibration.calibration(pairs)
    assert [b["count"] for b in result["bins"]] == [0, 1, 0, 0, 0, 0, 0, 0, 1, 2]
    assert result["expected_calibration_error"] == pytest.approx((0.15 + 0.85 + 2 * 0.025) / 4)
    low, high = plot.wilson(0.5, 10)
    assert (round(low, 3), round(high, 3)) == (0.237, 0.763)  # Wilson 1927


def test_an_hour_in_little(data, model):
    """Thirty seconds of the mixture before its fixed end: nothing is dropped, and it is what its pieces are."""
    maker = StringMaker(data, "dev")
    minutes = []
    result = endurance.run(model, maker, duration_s=110.0, on_minute=lambda: minutes.append(1))
    assert 110 < result["duration_s"] < 150 and len(minutes) >= 1
    assert result["dropped_samples"] == 0
    assert result["words"] > 40
    # The tone model has no memory.
    assert result["wer"] == pytest.approx(result["wer_in_pieces"], abs=0.03)
    assert result["resumes_identically"] is True
    assert abs(result["drift_s"]) < 1e-6


def test_a_slow_recognizer_drops_audio():
    """The clock of the hour is the time that recognition takes."""
    feed = endurance._Feed([tone("blank", 8.0)])
    feed.deliver()
    feed.now_s += 7.0
    feed.deliver()
    assert feed.ring.dropped >= 16000
