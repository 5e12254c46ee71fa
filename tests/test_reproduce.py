# SPDX-License-Identifier: MIT
"""The grid of experiments: real networks, trained for a few steps on a text of a few kB, resumed, killed, published."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import types
import xml.etree.ElementTree
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from training.reproduce import grid, report, results, summary
from training.reproduce.__main__ import main
from training.reproduce.row import RESULT, Row, checked

ROOT = Path(__file__).resolve().parent.parent
STEPS = 3
ROWS = [
    f"characters-shakespeare-lstm128-{weights}-s0" for weights in ("float", "ternary-weightnorm", "ternary")
]


def run(*options, data="", expected=0):
    """The command line in this process: (what it printed, what it said on standard error)."""
    output, errors = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_RUNTIME_DATA", str(data))
        patch.delenv("RAY_ADDRESS", raising=False)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = main([str(option) for option in options])
    signal.signal(signal.SIGTERM, before)
    assert status == expected, errors.getvalue()
    return types.SimpleNamespace(stdout=output.getvalue(), stderr=errors.getvalue())


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    """Data sets with a small text: what the project says of itself."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "char_lm").mkdir()
    text = (ROOT / "README.md").read_bytes() + (ROOT / "CONTRIBUTING.md").read_bytes()
    (folder / "char_lm" / "tinyshakespeare.txt").write_bytes(text[:20_000])
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, text_folder):
    """A runs folder with rows trained, and what the command said."""
    runs = tmp_path_factory.mktemp("reproduce") / "runs"
    said = run("--only", *ROWS, "--steps", STEPS, "--jobs", 3, "--runs", runs, data=text_folder)
    return runs, said


def read(runs, name):
    return json.loads((runs / name / "result.json").read_text())


def without_chance(result):
    """A result without what another run has otherwise."""
    return {key: value for key, value in result.items() if key not in ("seconds", "machine")}


def test_names_are_unique_and_read_back():
    rows = grid.all_rows()
    assert len({row.name for row in rows}) == len(rows) > 20
    assert [Row.from_json(json.loads(json.dumps(row.as_json()))) for row in rows] == rows


def test_name_tells_everything_but_the_budget():
    row = Row(
        "digits", "theo", units=(200, 100), method="binary", normalization="weight", stochastic=True, seed=3
    )
    assert row.name == "digits-theo-gru200x100-binary-stochastic-weightnorm-s3"


@pytest.mark.parametrize("name", RESULT)
def test_result_that_lacks_a_field_is_refused(trained, name):
    result = read(trained[0], ROWS[0])
    del result[name]
    with pytest.raises(ValueError, match=f"lacks {name} "):
        checked(result)


def test_rows_are_trained_packed_and_scored(trained):
    runs, said = trained
    lines = said.stdout.splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(ROWS)
    for name in ROWS:
        result = read(runs, name)
        assert result["steps"] == STEPS and result["row"]["budget"]["steps"] == STEPS
        assert result["threads"] == 1 and result["machine"]["cpu"] and result["versions"]["torch"]
        assert result["exact_checked"] > 0 and result["exact_differing"] == 0
        assert result["packed_score"] == pytest.approx(result["score"], abs=0.01)
        assert (runs / name / "model.ernn").stat().st_size == result["bytes"]
    float32, ternary, _ = (read(runs, name) for name in ROWS)
    assert ternary["bytes"] < float32["bytes"] and ternary["score"] != float32["score"]


def test_done_rows_are_not_trained_again(trained, text_folder):
    runs, before = trained
    written = [(runs / name / "result.json").stat().st_mtime_ns for name in ROWS]
    said = run("--only", *ROWS, "--steps", STEPS, "--runs", runs, data=text_folder)
    assert sorted(said.stdout.splitlines()) == sorted(before.stdout.splitlines()) and said.stderr == ""
    assert [(runs / name / "result.json").stat().st_mtime_ns for name in ROWS] == written
    listed = run("--list", "--steps", STEPS, "--runs", runs).stdout
    assert [line.split()[0] for line in listed.splitlines() if line.split()[1] in ROWS] == ["done"] * len(
        ROWS
    )


def test_row_goes_on_from_its_checkpoint(trained, text_folder, tmp_path):
    before = read(trained[0], ROWS[1])
    shutil.copytree(trained[0] / ROWS[1], tmp_path / ROWS[1])
    (tmp_path / ROWS[1] / "result.json").unlink()
    assert f"begun  {ROWS[1]}\n" in run("--list", "--steps", STEPS, "--runs", tmp_path).stdout
    run("--only", ROWS[1], "--steps", STEPS, "--runs", tmp_path, data=text_folder)
    after = read(tmp_path, ROWS[1])
    assert without_chance(after) == without_chance(before)
    assert after["seconds"] == before["seconds"]  # of training, of which none was left


def test_killed_row_leaves_the_others(text_folder, tmp_path):
    names = [ROWS[0], ROWS[1]]
    options = ("--only", *names, "--steps", 10**6, "--jobs", 2, "--runs", tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "training.reproduce", *map(str, options), "--data", str(text_folder)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        begun = [re.search(r"(\S+): process (\d+)$", process.stderr.readline().strip()) for _ in names]
        numbers = {found[1]: int(found[2]) for found in begun}
        assert set(numbers) == set(names)
        os.kill(numbers[names[0]], signal.SIGKILL)
        assert process.stderr.readline().strip() == f"[1/2] {names[0]}: its process was killed by signal 9"
        os.kill(numbers[names[1]], 0)
        process.terminate()
        assert process.wait() == 128 + signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            os.kill(numbers[names[1]], 0)
    finally:
        process.kill()
        process.communicate()


def test_row_that_another_process_trains_is_left_to_it(text_folder, tmp_path):
    row = grid.with_steps(grid.choose(grid.all_rows(), [ROWS[0]]), STEPS)[0]
    with grid.claim(row, tmp_path):
        assert grid.claim(row, tmp_path) is None
        said = run("--only", ROWS[0], "--steps", STEPS, "--runs", tmp_path, data=text_folder)
    assert said.stdout == "" and said.stderr == f"[1/1] {ROWS[0]}: another process trains it\n"


@pytest.mark.parametrize(
    "options, message",
    [
        (("--only", "nothing-*"), "no row is named 'nothing-*'"),
        (("--jobs", "0"), "--jobs 0: expected 1 or more"),
        (("--engine", "ray"), "--engine ray needs"),
        (("--engine", "ray", "--address", "127.0.0.1:9"), "Ray"),
        (("--results", "--out", "{empty}", "--runs", "{empty}"), "no row is done"),
        (("--again", ROWS[0], "--out", "{empty}"), "--results writes it"),
        (("--again", ROWS[0], "--only", ROWS[1]), "no --only"),
        (("--only", ROWS[0], "--data", "{empty}/none"), "no such folder"),
    ],
)
def test_bad_input_is_one_line(tmp_path, options, message):
    options = [option.replace("{empty}", str(tmp_path)) for option in options]
    if "--runs" not in options:
        options += ["--runs", str(tmp_path / "runs")]
    said = run(*options, expected=2)
    assert said.stdout == "" and said.stderr.startswith("error: ") and said.stderr.count("\n") == 1
    assert message in said.stderr


def test_folder_of_another_budget_is_refused(trained, text_folder):
    said = run("--only", ROWS[0], "--steps", STEPS + 1, "--runs", trained[0], data=text_folder, expected=2)
    assert said.stderr.count("\n") == 1 and "another budget" in said.stderr


def test_row_that_fails_says_why(tmp_path):
    said = run("--only", ROWS[0], "--steps", STEPS, "--runs", tmp_path / "runs", data=tmp_path, expected=1)
    assert "tinyshakespeare.txt" in said.stderr and "log.txt" in said.stderr
    assert "Traceback" in (tmp_path / "runs" / ROWS[0] / "log.txt").read_text()


@pytest.fixture(scope="module")
def published(trained, tmp_path_factory):
    """The results of the trained rows."""
    out = tmp_path_factory.mktemp("published")
    run("--results", "--steps", STEPS, "--runs", trained[0], "--out", out)
    return out


def test_results_have_tables_and_pictures(trained, published):
    text = (published / "RESULTS.md").read_text(encoding="utf-8")
    for name in ROWS:
        result = read(trained[0], name)
        assert f"| `{name}` | {result['score']:.3f} | {result['packed_score']:.3f} |" in text
    assert (
        "| ternary matches or beats float32 | characters, shakespeare, lstm128 | ternary-weightnorm |" in text
    )
    absent = [line for line in text.splitlines() if line.startswith("* `") and line.endswith("-s0`")]
    assert absent and f"* `{ROWS[0]}`" not in absent
    linked = set(re.findall(r"\((pictures/[^)]+)\)", text))
    assert {str(path.relative_to(published)) for path in published.glob("pictures/*")} == linked
    assert {name.rsplit("-", 1)[1] for name in linked} == {
        "curves.svg",
        "bits.svg",
        "spectral.svg",
        "histograms.svg",
    }
    for name in linked:
        assert (published / name).stat().st_size < 60_000
        assert xml.etree.ElementTree.parse(published / name).getroot().tag.endswith("svg")
    (bits,) = published.glob("pictures/*-bits.svg")
    drawn = bits.read_text(encoding="utf-8")
    for name in ROWS:
        result = read(trained[0], name)
        assert f">{Row.from_json(result['row']).treatment}<" in drawn
    assert ">1.6<" in drawn and re.search(r">\d\.\d{2,}<", drawn)  # numbers for people stay whole


def test_results_are_made_again_without_the_runs(published, tmp_path):
    shutil.copy(published / "results.json", tmp_path)
    run("--results", "--steps", STEPS, "--runs", tmp_path / "none", "--out", tmp_path)
    for path in published.rglob("*.*"):
        assert (tmp_path / path.relative_to(published)).read_bytes() == path.read_bytes(), path.name


def test_trial_rows_are_not_published(trained, tmp_path):
    said = run("--results", "--runs", trained[0], "--out", tmp_path, expected=2)
    assert said.stderr.count("the grid has another budget") == len(ROWS)


def test_row_trained_again_is_compared(trained, published, tmp_path, text_folder):
    out, runs = tmp_path / "out", tmp_path / "runs"
    shutil.copytree(published, out)
    options = ("--again", ROWS[1], "--steps", STEPS, "--out", out, "--runs", runs)
    said = run(*options, "--results", data=text_folder).stdout
    score = f"{read(trained[0], ROWS[1])['score']:.3f}"
    line = f"| `{ROWS[1]}` | {score} | {score} |"
    assert line in said and line in (out / "RESULTS.md").read_text(encoding="utf-8")
    run("--results", "--steps", STEPS, "--runs", trained[0], "--out", out)
    assert line in (out / "RESULTS.md").read_text(encoding="utf-8")
    content = json.loads((runs / ROWS[1] / "result.json").read_text())
    content["packed_score"] += 0.01
    (runs / ROWS[1] / "result.json").write_text(json.dumps(content))
    assert "**no**" in run(*options, data=text_folder, expected=1).stdout


def made_up(scores, method="float", normalization="none", metric="accuracy", task="digits"):
    """Results of {(fold, seed): score}."""
    fields = {"metric": metric}
    return [
        (Row(task, fold, method=method, normalization=normalization, seed=seed), {**fields, "score": score})
        for (fold, seed), score in scores.items()
    ]


def test_standard_errors_by_hand():
    float32 = made_up({("a", 0): 0.90, ("a", 1): 0.94, ("b", 0): 0.70, ("b", 1): 0.70})
    ternary = made_up({("a", 0): 0.93, ("b", 0): 0.72}, "ternary")
    (experiment,) = summary.experiments(float32 + ternary)
    found = experiment.estimate("float")
    # Variance of one run: 2 * 0.02^2 over two degrees of freedom; two runs in each of two folds.
    assert found.mean == pytest.approx(0.81)
    assert found.error == pytest.approx((0.0004 * (1 / 2 + 1 / 2)) ** 0.5 / 2)
    other = experiment.estimate("ternary")
    assert other.pooled and other.error == pytest.approx((0.0004 * 2) ** 0.5 / 2)
    difference = experiment.difference("ternary")
    assert difference.mean == pytest.approx((0.01 + 0.02) / 2) and difference.folds == 2
    assert difference.seed_error == pytest.approx((found.error**2 + other.error**2) ** 0.5)
    assert difference.fold_error == pytest.approx(0.005)


def test_difference_is_over_the_folds_of_both():
    float32 = made_up({("a", 0): 0.9, ("b", 0): 0.1})
    (experiment,) = summary.experiments(float32 + made_up({("a", 0): 0.8}, "ternary"))
    assert experiment.difference("ternary").mean == pytest.approx(-0.1)
    assert experiment.difference("ternary").error is None and experiment.difference("ternary").missing == 1
    float32 = made_up({("a", 0): 0.9, ("a", 1): 0.9, ("b", 0): 0.1})
    experiments = summary.experiments(float32 + made_up({("a", 0): 0.95}, "ternary"))
    assert [verdict.verdict for verdict in summary.verdicts(experiments)] == ["open"]
    worse = summary.experiments(made_up({("a", 0): 0.9}) + made_up({("a", 0): 0.79}, "ternary"))
    assert [verdict.verdict for verdict in summary.verdicts(worse)] == ["does not hold"]


@pytest.mark.parametrize(
    "method, normalization, scores, verdict",
    [
        ("ternary", "none", (0.91, 0.91), "holds"),
        ("ternary", "none", (0.895, 0.895), "holds"),
        ("exponential", "none", (0.885, 0.885), "open"),
        ("pow2-ternary", "none", (0.80, 0.80), "does not hold"),
        ("binary", "none", (0.10, 0.10), "holds"),
        ("binary", "none", (None, None), "holds"),
        ("binary", "none", (0.89, 0.89), "does not hold"),
        ("binary", "weight", (0.89, 0.89), "holds"),
        ("binary", "weight", (None, None), "does not hold"),
    ],
)
def test_verdicts(method, normalization, scores, verdict):
    float32 = made_up({("a", 0): 0.89, ("a", 1): 0.91})
    rows = float32 + made_up(dict(zip([("a", 0), ("a", 1)], scores, strict=True)), method, normalization)
    (found,) = summary.verdicts(summary.experiments(rows))
    assert found.verdict == verdict


def test_less_is_better_where_it_is():
    rows = made_up({("text", 0): 1.7}, metric="bits per character", task="characters")
    rows += made_up({("text", 0): 1.6}, "ternary", metric="bits per character", task="characters")
    (experiment,) = summary.experiments(rows)
    assert report.difference(experiment.difference("ternary"), experiment.metric) == "+0.100 (one run each)"


def test_texts_are_not_folds():
    rows = made_up({("one", 0): 1.7, ("two", 0): 1.8}, metric="bits per character", task="characters")
    assert [experiment.variant for experiment in summary.experiments(rows)] == ["one", "two"]


def test_published_results_are_of_the_grid():
    """What is in the tree was written from it: the documents follow from results.json, every row is in the grid."""
    folder = ROOT / "training"
    if not (folder / results.FILE).exists():
        pytest.skip("no results in this tree")
    found = results.read(folder)
    by_name = {row.name: row for row in grid.all_rows(own=True)}
    assert all(by_name[name] == row for name, (row, _) in found.rows.items())
    assert set(by_name) >= set(found.absent)
    text = report.text(found, sorted(path.stem for path in (folder / "pictures").glob("*.svg")))
    assert text == (folder / "RESULTS.md").read_text(encoding="utf-8")
