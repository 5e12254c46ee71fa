# SPDX-License-Identifier: MIT
"""The evaluation: measures against counts by hand, and the command on small corpora."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from word_models import tone, tone_signal

import edge_runtime as er
from apps.corpus import Utterance, data_folder, read_split
from apps.evaluate.__main__ import main
from apps.evaluate.errors import ErrorFinder
from apps.evaluate.metrics import DIGITS, Errors, Score, align, digit_words
from apps.evaluate.noise import rms
from apps.evaluate.strings import CONDITIONS, StringMaker

soundfile = pytest.importorskip("soundfile")

# --------------------------------------------------------------------------------- measures


@pytest.mark.parametrize(
    "reference, hypothesis, substitutions, deletions, insertions",
    [
        ("", "", 0, 0, 0),
        ("1 2 3", "1 2 3", 0, 0, 0),
        ("1 2 3", "", 0, 3, 0),
        ("", "1 2", 0, 0, 2),
        ("1 2 3", "1 3", 0, 1, 0),
        ("1 2 3", "1 2 2 3", 0, 0, 1),
        ("1 2 3", "1 4 3", 1, 0, 0),
        ("1 2 3", "3 1 2", 0, 1, 1),
        ("1 2 3 4", "2 3 5", 1, 1, 0),
        ("1 1 1", "2 2", 2, 1, 0),
    ],
)
def test_alignment_counts_errors(reference, hypothesis, substitutions, deletions, insertions):
    errors = Errors()
    errors.add(align(reference.split(), hypothesis.split()))
    counts = (errors.substitutions, errors.deletions, errors.insertions)
    assert counts == (substitutions, deletions, insertions)
    assert errors.words == len(reference.split())


def test_alignment_cost_is_the_edit_distance():
    """Against the textbook recursion on random short sequences."""

    def distance(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(distance(a[1:], b[1:]) + (a[0] != b[0]), distance(a[1:], b) + 1, distance(a, b[1:]) + 1)

    rng = np.random.default_rng(0)
    for _ in range(100):
        a, b = (rng.choice(list("123"), rng.integers(0, 6)).tolist() for _ in range(2))
        pairs = align(a, b)
        assert sum(r != h for r, h in pairs) == distance(a, b)
        assert [r for r, _ in pairs if r is not None] == a
        assert [h for _, h in pairs if h is not None] == b


def test_digit_words_of_a_label():
    words = ["Seven", "o", "oh", "k", "twenty", "zero"]
    assert digit_words(words) == ("seven", "oh", "zero")
    assert digit_words(words, spelled_o=True) == ("seven", "oh", "oh", "zero")
    assert len(DIGITS) == 11


def test_score_by_hand():
    score = Score()
    assert score.add(["one"], ["one"], "ann", 1.0, 0.1)
    assert not score.add(["two"], ["two", "two"], "ann", 1.0, 0.1)
    assert not score.add(["three"], [], "bob", 1.0, 0.1)
    assert score.add(["one", "x", "two"], ["one", "two"], "bob", 2.0, 0.1)
    assert not score.add(["one", "two", "three"], ["one", "four", "three"], "bob", 2.0, 0.1)
    assert score.add(["stop"], [], "cat", 30.0, 0.1)
    assert not score.add(["go"], ["nine", "nine"], "cat", 30.0, 0.1)
    summary = score.summary()
    assert summary["utterances"] == 7
    assert summary["words"] == 8
    assert (summary["substitutions"], summary["deletions"], summary["insertions"]) == (1, 1, 1)
    assert summary["wer"] == pytest.approx(3 / 8)
    assert summary["string_error"] == pytest.approx(3 / 5)
    assert summary["single_words"] == 3
    assert summary["accuracy"] == pytest.approx(1 / 3)
    assert summary["false_words"] == 2
    assert summary["false_words_per_minute"] == pytest.approx(2.0)
    assert summary["audio_s"] == 67
    assert summary["real_time_factor"] == pytest.approx(0.7 / 67)
    assert score.speakers["bob"].wer == pytest.approx(2 / 6)
    assert "cat" not in score.speakers
    assert score.labels["two"].taken_for == {"four": 1}
    assert score.labels["nine"].inserted == 2
    assert score.labels["one"].right == 3


def test_measures_that_do_not_apply_are_none():
    summary = Score().summary()
    for key in ("wer", "string_error", "accuracy", "false_words", "false_words_per_minute"):
        assert summary[key] is None


# --------------------------------------------------------------------------------- command


def write_corpus(folder, rows, rate=16000):
    """`rows`: (speaker, label, split, words that sound)."""
    folder.mkdir()
    signals = [tone_signal(words, rate=rate) for *_, words in rows]
    soundfile.write(folder / "all.flac", np.concatenate(signals), rate, subtype="PCM_16")
    start = 0
    with open(folder / "index.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow("file,speaker,gender,label,take,start_sample,num_samples,split,source".split(","))
        for (speaker, label, split, _), signal in zip(rows, signals, strict=True):
            table.writerow(["all.flac", speaker, "u", label, 0, start, len(signal), split, "made"])
            start += len(signal)
    return str(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(
        tmp_path_factory.mktemp("data") / "tones",
        [
            ("ann", "one", "test", ["one"]),
            ("ann", "two", "test", ["two", "two"]),  # an insertion
            ("bob", "three", "test", []),  # a deletion
            ("bob", "one x two", "test", ["one", "unknown", "two"]),
            ("bob", "one two three", "test", ["one", "four", "three"]),  # a substitution
            ("cat", "stop", "test", ["unknown"]),
            ("cat", "go", "test", ["four", "one"]),  # two false words
            ("dan", "four", "dev", ["four"]),
        ],
    )


def run(capsys, *arguments):
    status = main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_known_errors_are_found(corpus, model_path, capsys):
    status, out, err = run(capsys, "--data", corpus, "-m", model_path, "--json")
    assert (status, err) == (0, "")
    result = json.loads(out.splitlines()[-1])
    assert result["utterances"] == 7
    assert result["words"] == 8
    assert (result["substitutions"], result["deletions"], result["insertions"]) == (1, 1, 1)
    assert result["wer"] == pytest.approx(3 / 8)
    assert result["string_error"] == pytest.approx(3 / 5)
    assert result["accuracy"] == pytest.approx(1 / 3)
    assert result["false_words"] == 2
    minutes = (len(tone_signal(["unknown"])) + len(tone_signal(["four", "one"]))) / 16000 / 60
    assert result["false_words_per_minute"] == pytest.approx(2 / minutes)
    assert 0 < result["real_time_factor"] < 1


def test_tables_name_labels_and_speakers(corpus, model_path, capsys):
    status, out, err = run(capsys, "--data", corpus, "-m", model_path, "-v")
    assert status == 0
    lines = out.splitlines()
    assert any(line.split()[:2] == ["two", "3"] and "four 1" in line for line in lines)
    assert any(line.split()[:4] == ["bob", "3", "6", "2"] for line in lines)
    assert "one two three -> one four three" in err
    assert "three -> (nothing)" in err


def test_splits_and_several_folders(corpus, model_path, capsys, tmp_path):
    other = write_corpus(tmp_path / "slow", [("eve", "one", "dev", ["one"])], rate=8000)
    for arguments, utterances, words in (
        (["--data", corpus, "--split", "dev"], 1, 1),
        (["--data", corpus, "--split", "all"], 8, 9),
        (["--data", corpus, other, "--split", "dev"], 2, 2),
        (["--data", corpus, "--data", other, "--split", "dev"], 2, 2),
        (["--data", corpus, "--digits-only"], 4, 6),
    ):
        status, out, _ = run(capsys, *arguments, "-m", model_path, "--json")
        result = json.loads(out)
        assert (status, result["utterances"], result["words"]) == (0, utterances, words), arguments
        if "dev" in arguments:
            assert result["wer"] == 0


def test_threshold_is_used(corpus, model_path, capsys):
    status, out, _ = run(capsys, "--data", corpus, "-m", model_path, "--threshold", "1", "--json")
    assert status == 0
    assert json.loads(out)["deletions"] == 8


def test_cepstra_are_recognized(tmp_path, model_path, capsys):
    folder = tmp_path / "cepstra"
    folder.mkdir()
    config = er.FrontendConfig(delta_order=0, stack=1)
    frames = [er.Frontend(config).push(tone_signal(words)) for words in (["one", "two"], ["three"])]
    np.savez(folder / "features.npz", mfcc=np.concatenate(frames))
    (folder / "index.csv").write_text(
        "file,speaker,gender,label,take,start_frame,num_frames,split,source\n"
        f"features.npz,ann,f,one two,a,0,{len(frames[0])},test,made\n"
        f"features.npz,ann,f,three,b,{len(frames[0])},{len(frames[1])},test,made\n"
    )
    status, out, _ = run(capsys, "--data", str(folder), "-m", model_path, "--json")
    result = json.loads(out)
    assert (status, result["words"], result["wer"], result["accuracy"]) == (0, 3, 0, 1)
    assert result["audio_s"] == pytest.approx(sum(map(len, frames)) / 100)


def test_bad_input_is_one_line_and_status_2(corpus, model_path, capsys, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    headless = tmp_path / "headless"
    headless.mkdir()
    (headless / "index.csv").write_text("file,label\nall.flac,one\n")
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / "index.csv").write_text(
        "file,speaker,gender,label,take,start_sample,num_samples,split,source\n"
        "gone.flac,ann,f,one,0,0,100,test,made\n"
    )
    words = write_corpus(tmp_path / "words", [("ann", "stop", "test", ["unknown"])])
    for arguments, message in (
        (["--data", str(tmp_path / "nowhere")], "nowhere"),
        (["--data", str(empty)], "index.csv"),
        (["--data", str(headless)], "start_sample"),
        (["--data", str(lost)], "gone.flac"),
        (["--data", corpus, "--split", "eval"], "no recordings in split 'eval'"),
        (["--data", words, "--digits-only"], "digit words alone"),
        (["--data", corpus, "--threshold", "2"], "threshold"),
        (["--data", corpus, "--kernel", "turbo"], "turbo"),
    ):
        status, out, err = run(capsys, *arguments, "-m", model_path)
        assert (status, out) == (2, ""), arguments
        assert len(err.splitlines()) == 1
        assert message in err
    status, _, err = run(capsys, "--data", corpus, "-m", str(tmp_path / "no.ernn"))
    assert status == 2
    assert "no.ernn" in err


def test_errors_are_explained(corpus, model_path, capsys):
    """Every wrong word is listed with what the network took it for; below a threshold it was heard nevertheless."""
    status, out, _ = run(capsys, "--data", corpus, "-m", model_path, "--errors", "--json")
    result = json.loads(out)
    errors = result["errors"]
    assert (status, len(errors)) == (0, 3 + result["false_words"])
    kinds = [(e["expected"], e["heard"], e["kind"]) for e in errors]
    assert kinds[:3] == [
        (None, "two", "inserted"),
        ("three", None, "missed"),
        ("two", "four", "substituted"),
    ]
    substituted = errors[2]
    assert substituted["confidence"] > 0.9 and substituted["expected_score"] < 0.1
    assert 0.6 < substituted["at_s"] < 0.8  # the second word
    assert errors[3]["label"] == "go"
    status, out, _ = run(capsys, "--data", corpus, "-m", model_path, "--errors", "--threshold", "1")
    assert status == 0
    assert out.count("below threshold") >= 6  # a line each, and the counts
    assert any(line.split()[:2] == ["three", "2:"] for line in out.splitlines())


def test_scores_of_an_error_are_those_of_the_recognizer(model_path):
    """The finder runs the stages one by one; what it says of the last step is what the recognizer says."""
    model = er.Model.load(model_path)
    signal = tone_signal(["one", "unknown"], gap_s=0.03)
    utterance = Utterance("set", 2, ("three",), "ann", "test", "made", "0", pcm=signal)
    words, scores = ErrorFinder(model)._trace(utterance)
    recognizer = model.recognizer()
    assert words == recognizer.accept_waveform(signal) + recognizer.finish()
    np.testing.assert_allclose(scores[-1], recognizer.posteriors, atol=1e-5)


# --------------------------------------------------------------------------------- strings


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of all sets that strings are made of, of tones."""
    folder = tmp_path_factory.mktemp("sets")
    digits = [("ann", w) for w in ("one", "two", "three", "four")] + [("bob", "one"), ("cat", "two")]
    write_corpus(folder / "sc_digits", [(who, word, "dev", [word]) for who, word in digits])
    for name in ("sc_words", "sc_background_noise"):
        write_corpus(folder / name, [("dan", "stop", "dev", ["unknown"])])
    for name in ("nondigit_speech", "esc10_noise"):  # sets that give up rows for development
        write_corpus(folder / name, [(f"who{i}", "stop", "train", ["unknown"]) for i in range(40)])
    return folder


def test_strings_are_the_same_in_every_condition(data):
    maker = StringMaker(data, "dev")
    for number in range(6):
        clean, *noisy = (maker.make(condition, number) for condition in CONDITIONS)
        assert 3 <= len(clean.words) <= 7 and len(clean.ends) == len(clean.words)
        assert (clean.speaker == "several") == (number % 2 == 1)
        assert clean.ends == tuple(sorted(clean.ends)) and clean.ends[-1] < len(clean.samples) - 8000
        speech = clean.samples[np.abs(clean.samples) > 0.01 * np.abs(clean.samples).max()]
        for string in noisy:
            assert (string.words, string.ends) == (clean.words, clean.ends)
            noise = string.samples - clean.samples
            snr_db = 20 * np.log10(rms(speech) / rms(noise))
            assert abs(snr_db - 10) < 2.5, string.condition
        again = StringMaker(data, "dev").make("babble", number)
        assert np.array_equal(again.samples, noisy[1].samples)
    assert maker.make("clean", 0).utterance().pcm.dtype == np.int16


def test_word_ends_of_strings_are_where_the_tones_end(data):
    string = StringMaker(data, "dev").make("clean", 3)
    loud = np.abs(string.samples) > 0.1 * np.abs(string.samples).max()
    for end in string.ends:
        assert loud[end - 800 : end].any() and not loud[end + 240 : end + 500].any()


@pytest.mark.skipif(not os.environ.get("EDGE_RUNTIME_DATA"), reason="EDGE_RUNTIME_DATA is not set")
def test_strings_of_development_stay_what_they_are():
    """Figures of different days are compared: seed and maker are part of them."""
    maker = StringMaker(data_folder(), "dev")
    strings = [maker.make("clean", number) for number in range(2)]
    assert [(s.speaker, " ".join(s.words), len(s.samples)) for s in strings] == [
        ("10f2bb12", "zero zero one", 60337),
        ("several", "five zero eight eight five", 75501),
    ]


def test_rows_held_out_are_the_dev_split(data):
    for name in ("nondigit_speech", "esc10_noise"):
        dev, train = (read_split(data / name, split) for split in ("dev", "train"))
        assert 0 < len(dev) < len(train) and len(dev) + len(train) == 40
    assert len(read_split(data / "sc_digits", "dev")) == 6


def test_missing_soundfile_names_the_package(corpus, model_path, tmp_path):
    (tmp_path / "soundfile.py").write_text("raise ImportError('not here')\n")
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, sys.argv.pop(1)); "
            "from apps.evaluate.__main__ import main; sys.exit(main(sys.argv[1:]))",
            str(tmp_path),
            "--data",
            corpus,
            "-m",
            model_path,
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert "soundfile" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_faint_noise_is_no_word(model_path):
    model = er.Model.load(model_path)
    recognizer = model.recognizer()
    assert recognizer.accept_waveform(tone("blank", 5.0)) + recognizer.finish() == []


def test_torch_is_not_imported():
    code = "import apps.evaluate.__main__, apps.digit_demo.__main__, sys; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "False", result.stderr
