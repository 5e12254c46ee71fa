# SPDX-License-Identifier: MIT
"""Run fuzz targets, all at the same time, one process each; docs/fuzzing.md.

    python tests/fuzz --seconds 60 [NAME ...]       exit status 1 if there is a finding
    python tests/fuzz --coverage [NAME ...]         what of native/src the corpora reach

Everything lies in build/fuzz: the corpora as they grow, logs, and the input of a finding in findings/.
"""

import argparse
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = ROOT / "tests" / "fuzz"
CORPORA = ROOT / "native" / "fuzz" / "corpus"
BUILD = ROOT / "build" / "fuzz"

NATIVE = ("model", "recognizer", "kernels", "wav", "resampler", "frontend", "decoder")
#: Targets in Python, and what they import.
PYTHON = {"format": (), "audio": (), "onnx": ("onnx",), "checkpoint": ("torch",)}
#: Longest input, in bytes, and memory, in MB.
LIMITS = {"model": 16384, "format": 16384, "onnx": 16384, "checkpoint": 16384}
MEMORY_MB = 2048
#: Targets that are started anew after so long: atheris 3.0 never releases what a comparison of arrays gave.
ROUND_S = {"onnx": 20}
STUCK_S = 120
#: Files of the checkout that are seeds as they are.
MORE_SEEDS = {"model": (ROOT / "tests" / "golden", ROOT / "tests" / "golden" / "bad")}


class FuzzError(Exception):
    """Fuzzing cannot begin; the message is one line."""


def find_clang():
    """Path of a clang that has libFuzzer."""
    probe = b"#include <stddef.h>\n#include <stdint.h>\nint LLVMFuzzerTestOneInput(const uint8_t *d, size_t n) { return d && n > 9; }"
    for name in ("clang", *(f"clang-{version}" for version in range(25, 12, -1))):
        path = shutil.which(name)
        if path is not None:
            command = [path, "-fsanitize=fuzzer,address,undefined", "-xc", "-", "-o", os.devnull]
            if subprocess.run(command, input=probe, capture_output=True).returncode == 0:
                return path
    raise FuzzError("no clang with libFuzzer; install one: apt install clang libclang-rt-dev")


def build(name, targets, *options):
    """Build targets of native/ in build/fuzz/NAME; returns that folder."""
    folder = BUILD / name
    for command in (
        ["cmake", "-S", ROOT / "native", "-B", folder, "-DER_BUILD_FUZZ=ON", *options],
        ["cmake", "--build", folder, "--parallel", str(os.cpu_count()), "--target", *targets],
    ):
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode != 0:
            raise FuzzError(f"{' '.join(map(str, command))} failed:\n{result.stdout[-4000:]}")
    return folder


def build_fuzzers(names):
    """Build the targets in C with libFuzzer and sanitizers; returns the folder of programs."""
    return (
        build(
            "libfuzzer",
            [f"fuzz_{name}" for name in names],
            f"-DCMAKE_C_COMPILER={find_clang()}",
            "-DER_SANITIZE=address,undefined",
            "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
        )
        / "fuzz"
    )


def missing(name):
    """Packages that a target in Python needs and that are not installed."""
    return [package for package in (*PYTHON[name], "atheris") if importlib.util.find_spec(package) is None]


def prepare(names):
    """Build what is needed; returns the command of each target that can run, and why others cannot."""
    native = [name for name in names if name in NATIVE]
    programs = build_fuzzers(native) if native else None
    commands = {name: [programs / f"fuzz_{name}"] for name in native}
    skipped = {}
    for name in names:
        if name in PYTHON:
            if missing(name):
                skipped[name] = f"needs {', '.join(missing(name))}"
            else:
                commands[name] = [sys.executable, "-W", "ignore", HERE / f"fuzz_{name}.py"]
    if "format" in commands:
        plain = build("plain", ["model_mutator"], "-DER_FUZZ_REPLAY=ON")
        os.environ["EDGE_RUNTIME_MUTATOR"] = str(next((plain / "fuzz").glob("*model_mutator.*")))
    return commands, skipped


def corpora(name):
    """The folder of a target's growing corpus, and those that are only read."""
    own = BUILD / "corpus" / name
    own.mkdir(parents=True, exist_ok=True)
    return [own, *(folder for folder in (CORPORA / name, *MORE_SEEDS.get(name, ())) if folder.is_dir())]


def start(name, command, seconds):
    """Start a target, whose log goes on; returns its process."""
    findings = BUILD / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={STUCK_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={findings}/{name}-",
        "-print_final_stats=1",
    ]
    if name in LIMITS:
        options.append(f"-max_len={LIMITS[name]}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ASAN_OPTIONS": "detect_stack_use_after_return=1"}
    with open(BUILD / f"{name}.log", "ab") as log:
        return subprocess.Popen(
            [*map(str, command), *options, *map(str, corpora(name))],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=BUILD,
            env=environment,
        )


def figures(log):
    """What a log says: executions, executions per second, edges, features, files of the corpus."""
    executed = [int(n) for n in re.findall(r"number_of_executed_units: +(\d+)", log)]
    rates = [int(n) for n in re.findall(r"average_exec_per_sec: +(\d+)", log)]
    coverage = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", log)
    return [
        sum(executed) if executed else "-",
        round(sum(rates) / len(rates)) if rates else "-",
        *(coverage[-1] if coverage else "---"),
    ]


def run(commands, seconds):
    """Run targets side by side; returns the exit status of each."""
    end = time.monotonic() + seconds

    def begin(name):
        left = max(1, round(end - time.monotonic()))
        return start(name, commands[name], min(left, ROUND_S.get(name, left)))

    for name in commands:
        (BUILD / f"{name}.log").unlink(missing_ok=True)
    running, statuses = {}, {}
    try:
        running |= {name: begin(name) for name in commands}
        while running:
            time.sleep(0.1)
            for name, process in list(running.items()):
                status = process.poll()
                if status == 0 and name in ROUND_S and end - time.monotonic() >= 1:
                    running[name] = begin(name)
                elif status is not None:
                    statuses[name] = status
                    del running[name]
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return {name: statuses[name] for name in commands}


def fuzz(names, seconds):
    """Run targets side by side; returns whether all ended without a finding."""
    commands, skipped = prepare(names)
    began = time.monotonic()
    statuses = run(commands, seconds)
    print(f"{'target':<12}{'executions':>12}{'per second':>12}{'edges':>8}{'features':>10}{'corpus':>8}")
    for name, status in statuses.items():
        log = (BUILD / f"{name}.log").read_text(errors="replace")
        row = figures(log)
        print(
            f"{name:<12}{row[0]:>12}{row[1]:>12}{row[2]:>8}{row[3]:>10}{row[4]:>8}{'  FINDING' if status else ''}"
        )
        if status:
            print("\n".join(log.splitlines()[-60:]), file=sys.stderr)
            print(
                f"{name}: a finding; its input is in {BUILD / 'findings'}, the log {BUILD / name}.log",
                file=sys.stderr,
            )
    for name, reason in skipped.items():
        print(f"{name:<12}skipped: {reason}")
    print(f"{time.monotonic() - began:.0f} s")
    required = os.environ.get("EDGE_RUNTIME_REQUIRE_FUZZ") == "1"
    return not any(statuses.values()) and not (required and skipped)


def coverage(names):
    """Print the lines and branches of native/src that the corpora of targets in C reach, each and together."""
    clang = find_clang()
    version = re.search(r"(-\d+)?$", clang)[0]
    tools = [shutil.which(f"{tool}{version}") or shutil.which(tool) for tool in ("llvm-profdata", "llvm-cov")]
    if None in tools:
        raise FuzzError("no llvm-profdata and llvm-cov beside clang; install llvm")
    programs = build(
        "coverage",
        [f"fuzz_{name}" for name in names],
        f"-DCMAKE_C_COMPILER={clang}",
        "-DER_FUZZ_REPLAY=ON",
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_C_FLAGS=-O1 -fprofile-instr-generate -fcoverage-mapping",
    )
    sources = sorted((ROOT / "native" / "src").rglob("*.c"))
    print(f"{'target':<12}{'lines':>9}{'branches':>10}")
    profiles, binaries = [], []
    for name in names:
        program, profile = programs / "fuzz" / f"fuzz_{name}", BUILD / f"{name}.profraw"
        files = [path for folder in corpora(name) for path in folder.iterdir() if path.is_file()]
        environment = {**os.environ, "LLVM_PROFILE_FILE": str(profile)}
        subprocess.run([program, *files], check=True, stdout=subprocess.DEVNULL, env=environment)
        profiles.append(profile)
        binaries.append(program)
        print(f"{name:<12}{_reached(tools, [profile], [program], sources)}")
    print(f"{'all':<12}{_reached(tools, profiles, binaries, sources)}")


def _reached(tools, profiles, programs, sources):
    merged = BUILD / "merged.profdata"
    subprocess.run([tools[0], "merge", "-o", merged, *profiles], check=True)
    objects = [option for program in programs[1:] for option in ("-object", program)]
    command = [tools[1], "report", programs[0], *objects, f"-instr-profile={merged}", *sources]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    shares = re.findall(r"[\d.]+%", next(line for line in report.splitlines() if line.startswith("TOTAL")))
    return f"{shares[2]:>9}{shares[3]:>10}"


def main(arguments=None):
    """Run the command line; returns the exit status: 0, 1 for a finding, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description="Run fuzz targets side by side.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join((*NATIVE, *PYTHON))}; default: all"
    )
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="how long (60)")
    parser.add_argument("--coverage", action="store_true", help="do not fuzz; say what the corpora reach")
    options = parser.parse_args(arguments)
    names = options.names or [*NATIVE, *PYTHON]
    unknown = [name for name in names if name not in NATIVE and name not in PYTHON]
    if unknown:
        parser.error(f"unknown target {unknown[0]!r}: expected {', '.join((*NATIVE, *PYTHON))}")
    try:
        if options.coverage:
            coverage([name for name in names if name in NATIVE])
            return 0
        return 0 if fuzz(names, options.seconds) else 1
    except FuzzError as error:
        print(f"fuzz: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
