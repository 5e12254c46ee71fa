# SPDX-License-Identifier: MIT
"""The fuzz targets without a fuzzer: their corpora, which hold the inputs of every finding, and some changes of them.

`make fuzz` runs them with libFuzzer; docs/fuzzing.md.
"""

import importlib.util
import pathlib
import shutil
import subprocess
import sys

import builds
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPORA = ROOT / "native" / "fuzz" / "corpus"
GOLDEN = ROOT / "tests" / "golden"
#: Targets in C, and how many changes of their inputs are tried.
NATIVE = {
    "decoder": 300,
    "frontend": 300,
    "kernels": 300,
    "model": 3000,
    "recognizer": 20,
    "resampler": 100,
    "wav": 2000,
}
PYTHON = {"audio": 300, "checkpoint": 60, "format": 300, "onnx": 150}


def load_driver():
    """tests/fuzz/__main__.py as a module."""
    spec = importlib.util.spec_from_file_location("fuzz_driver", ROOT / "tests" / "fuzz" / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(name, *options):
    """The folder of the fuzz targets, built to replay files."""
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")

    def run(folder):
        configure = [
            "cmake",
            "-S",
            ROOT / "native",
            "-B",
            folder,
            "-DER_BUILD_FUZZ=ON",
            "-DER_FUZZ_REPLAY=ON",
        ]
        subprocess.run([*configure, *options], check=True, stdout=subprocess.DEVNULL)
        command = ["cmake", "--build", folder, "--parallel", "4", "--target"]
        targets = ["model_mutator"] if name == "fuzz_plain" else [f"fuzz_{target}" for target in NATIVE]
        subprocess.run([*command, *targets], check=True, stdout=subprocess.DEVNULL)

    return builds.once(name, run) / "fuzz"


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The folder of the programs, built with sanitizers."""
    empty = tmp_path_factory.mktemp("probe") / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    probe = ["cc", "-fsanitize=address,undefined", str(empty), "-o", str(empty.with_suffix(""))]
    if shutil.which("cc") is None or subprocess.run(probe, capture_output=True).returncode != 0:
        pytest.skip("no C compiler with address and undefined-behavior sanitizers")
    options = ["-DER_SANITIZE=address,undefined", "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS_RELEASE=-O1"]
    return make("fuzz_replay", *options)


def inputs(name):
    """Paths of a target's corpus."""
    folders = [CORPORA / name] + ([GOLDEN, GOLDEN / "bad"] if name == "model" else [])
    return [
        str(path)
        for folder in folders
        for path in sorted(folder.glob("*"))
        if path.suffix != ".csv" and path.is_file()
    ]


@pytest.mark.parametrize("name", NATIVE)
def test_target_in_c(programs, name, tmp_path):
    files = inputs(name)
    assert files
    command = [programs / f"fuzz_{name}", "--mutate", str(NATIVE[name]), "1", *files]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-4000:]
    assert result.stdout == f"{len(files)} files, {NATIVE[name]} changes of them\n"


def test_program_says_what_it_cannot_read(programs):
    result = subprocess.run([programs / "fuzz_wav", "/nowhere"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (2, "/nowhere: cannot be read\n")


def replay(name, monkeypatch, tmp_path):
    """Replay the corpus and seeds of a target in Python, and changes of them."""
    if name == "format":
        library = next(make("fuzz_plain").glob("*model_mutator.*"))
        monkeypatch.setenv("EDGE_RUNTIME_MUTATOR", str(library))
    target = ROOT / "tests" / "fuzz" / f"fuzz_{name}.py"
    command = [sys.executable, "-W", "ignore", target, "--replay", str(PYTHON[name]), *inputs(name)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-4000:]
    assert f"{PYTHON[name]} changes of them" in result.stdout


@pytest.mark.parametrize("name", ["audio", "format"])
def test_target_in_python(name, monkeypatch, tmp_path):
    replay(name, monkeypatch, tmp_path)


def test_corpora_are_small():
    assert sum(path.stat().st_size for path in CORPORA.rglob("*") if path.is_file()) < 200_000


def test_driver_knows_every_target():
    driver = load_driver()
    assert (
        set(driver.NATIVE) == set(NATIVE) == {p.stem[5:] for p in (ROOT / "native" / "fuzz").glob("fuzz_*.c")}
    )
    assert (
        set(driver.PYTHON) == set(PYTHON) == {p.stem[5:] for p in (ROOT / "tests" / "fuzz").glob("fuzz_*.py")}
    )


def test_driver_reads_figures_and_refuses_unknown_names(capsys):
    driver = load_driver()
    log = "#2 INITED cov: 5 ft: 6 corp: 1/1b\n#9 DONE cov: 7 ft: 12 corp: 3/9b\nstat::number_of_executed_units: 9\n"
    log += "stat::average_exec_per_sec:     4\n"
    assert driver.figures(log) == [9, 4, "7", "12", "3"]
    second = (
        log.replace("units: 9", "units: 5").replace("sec:     4", "sec:     2").replace("cov: 7", "cov: 8")
    )
    assert driver.figures(log + second) == [14, 3, "8", "12", "3"]
    assert driver.figures("") == ["-"] * 5
    with pytest.raises(SystemExit):
        driver.main(["nothing"])
    assert "unknown target 'nothing'" in capsys.readouterr().err


def test_driver_reports_a_finding(monkeypatch, tmp_path, capsys):
    driver = load_driver()
    monkeypatch.delenv("EDGE_RUNTIME_REQUIRE_FUZZ", raising=False)
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'stat::number_of_executed_units: 3'; echo wrong; exit 77\n")
    broken.chmod(0o755)
    monkeypatch.setattr(driver, "BUILD", tmp_path)
    monkeypatch.setattr(driver, "prepare", lambda names: ({"wav": [broken]}, {"onnx": "needs onnx"}))
    assert driver.main(["wav", "onnx"]) == 1
    printed = capsys.readouterr()
    assert (
        "FINDING" in printed.out
        and "onnx        skipped: needs onnx" in printed.out
        and "wrong" in printed.err
    )
    broken.write_text("#!/bin/sh\nexit 0\n")
    assert driver.main(["wav", "onnx"]) == 0
    monkeypatch.setenv("EDGE_RUNTIME_REQUIRE_FUZZ", "1")
    assert driver.main(["wav", "onnx"]) == 1


def test_some_targets_go_round_by_round(monkeypatch, tmp_path):
    driver = load_driver()
    program = tmp_path / "program"
    program.write_text(
        "#!/bin/sh\necho $1 | tee -a rounds\n[ $(wc -l < rounds) -lt 3 ] || { echo wrong; exit 77; }\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(driver, "BUILD", tmp_path)
    (tmp_path / "onnx.log").write_text("of a run before")
    assert driver.run({"onnx": [program]}, 90) == {"onnx": 77}
    times = [f"-max_total_time={seconds}" for seconds in (20, 20, 20)]
    assert (tmp_path / "onnx.log").read_text().splitlines() == [*times, "wrong"]
    # The time is over, or the target keeps no memory: one round.
    (tmp_path / "rounds").unlink()
    assert driver.run({"onnx": [program]}, 1) == {"onnx": 0}
    (tmp_path / "rounds").unlink()
    assert driver.run({"audio": [program]}, 90) == {"audio": 0}
    assert (tmp_path / "rounds").read_text() == "-max_total_time=90\n"
