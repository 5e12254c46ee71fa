# SPDX-License-Identifier: MIT
"""Lines and branches that the tests execute: ``python tests/measure_coverage.py``, minutes.

The C library is built by clang with its source-based coverage, which counts both outcomes of every condition, not only
of every `if`. pytest uses that library, every kernel of this machine included, by the tests that run it in Python;
native/tests/check_kernels.c and check_corruption.c are linked with it. For NEON the library and check_kernels are built
for AArch64 and run by qemu, with the runtime of LLVM's profiles from Debian's package of that architecture (roots.py).
Python is measured by coverage.py with branches, programs that tests start included. Both tell a branch that is never
taken; neither tells whether a test would notice another result: tests/mutate.py does.

``--write docs/coverage.md`` puts the tables into that file between its markers; ``--least PERCENT`` (95) is the share of
branches below which the exit status is 1; ``--missing`` lists what is not executed; further arguments go to pytest.
Packages of Debian: clang-14 libclang-rt-14-dev llvm-14, for NEON gcc-aarch64-linux-gnu qemu-user mmdebstrap; of PyPI:
coverage.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from fnmatch import fnmatch

import builds
import count_instructions
import roots
import targets
from random_models import KERNELS
from targets import NATIVE, ROOT, TARGETS

LLVM = "14"
FLAGS = "-fprofile-instr-generate -fcoverage-mapping"
#: As FLAGS, without the compiler's search for a runtime of its own.
CROSS_FLAGS = "-Xclang -fprofile-instrument=clang -Xclang -fcoverage-mapping"
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.ernn"))
#: Tests of other things than the library as this Python uses it, the package and the exporters; most build something else.
LEFT_OUT = (
    "acceptance allocations baremetal bench boot c_user corruption ctc deploy digit_demo docs edge_digits* estimates "
    "evaluate executed_multiplies fuzz* hook isolated_digits kernels kokoro microphone no_multiply onnx_compare "
    "operating_point packaging realtime recording reproduce* session soak sounds sphere static_programs supply targets "
    "texts threads tidigits training* transplant tune view web wheels* wsj"
).split()

#: coverage.py 7.17 takes a lock in Python when a file is first seen: a KeyboardInterrupt there leaves it taken for good.
DESELECTED = ("tests/test_lifetime.py::test_interrupts_at_any_moment_leave_everything_usable",)


def build(where, cache):
    """The library and the programs that check it, built for coverage by CMake."""
    where.mkdir()
    definitions = {"CMAKE_C_COMPILER": f"clang-{LLVM}", "CMAKE_BUILD_TYPE": "Release", **cache}
    definitions = [f"-D{name}={value}" for name, value in definitions.items()]
    targets.run(["cmake", "-S", NATIVE, "-B", where, "-DER_BUILD_CHECKS=ON", *definitions])
    targets.run(["cmake", "--build", where, "--parallel", os.cpu_count()])


def run(name, command, **options):
    """Run a command whose processes each leave their counts beside those of others; returns its result."""
    # Several processes may write one file, one after the other: as many files as there are cores.
    variables = {"LLVM_PROFILE_FILE": f"{name}-%{os.cpu_count()}m.profraw"}
    return subprocess.run(
        [str(word) for word in command], cwd=ROOT, env={**os.environ, **variables}, text=True, **options
    )


def check(name, command):
    """As run; what the command says is shown if it fails, which ends the program."""
    result = run(name, command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        sys.exit(f"{result.stdout[-3000:]}\nfailed: {' '.join(map(str, command))}")


def run_native(where, name):
    """Run the programs that were built."""
    require = [word for kernel in KERNELS[1:] for word in ("--require", kernel)]
    check(name, [where / "check_kernels", "--seed", 1, "--rounds", 300, *require])
    check(name, [where / "check_corruption", "--stride", 64, *GOLDEN])


def build_and_run_neon(where, name):
    """The library for AArch64, under qemu."""
    target = TARGETS["aarch64"]
    root = roots.make("arm64", f"libclang-rt-{LLVM}-dev")
    (runtime,) = root.rglob("libclang_rt.profile-aarch64.a")
    cache = {
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": target.processor,
        "CMAKE_C_COMPILER_TARGET": "aarch64-linux-gnu",
        "CMAKE_C_FLAGS": CROSS_FLAGS,
        "CMAKE_EXE_LINKER_FLAGS": f"-static -u __llvm_profile_runtime {runtime}",
        "CMAKE_SHARED_LINKER_FLAGS": "-nostdlib",
    }
    build(where, cache)
    check(
        name, [*target.command(), where / "check_kernels", "--seed", 1, "--rounds", 50, "--require", "neon"]
    )


def run_python(folder, library, arguments):
    """Run pytest, what it says going to stderr; returns whether every test passed, and coverage.py's report."""
    config = folder / "coverage.ini"
    config.write_text(
        "[run]\nbranch = True\nsource = edge_runtime,exporters\nparallel = True\npatch = subprocess\n"
        f"data_file = {folder / 'python'}\n"
    )
    os.environ["EDGE_RUNTIME_LIBRARY"] = str(library)
    files = sorted(path.name for path in (ROOT / "tests").glob("test_*.py"))
    kept = [f"tests/{name}" for name in files if not any(fnmatch(name, f"test_{one}.py") for one in LEFT_OUT)]
    python = [sys.executable, "-m", "coverage"]
    # File by file: torch keeps what it traced.
    options = ["-q", "-n", "auto", "--maxprocesses", "8", "--dist", "loadfile"]
    options += [f"--deselect={test}" for test in DESELECTED]
    command = [*python, "run", f"--rcfile={config}", "-m", "pytest", *options, *kept, *arguments]
    passed = run(folder / "pytest", command, stdout=sys.stderr).returncode == 0
    targets.run([*python, "combine", f"--rcfile={config}"])
    report = folder / "python.json"
    targets.run([*python, "json", f"--rcfile={config}", "-o", report])
    return passed, json.loads(report.read_text())


def native_report(folder, objects):
    """What llvm-cov makes of the profiles of all processes."""
    merged = folder / "merged.profdata"
    targets.run([f"llvm-profdata-{LLVM}", "merge", "-sparse", *folder.glob("*.profraw"), "-o", merged])
    first, *others = objects
    others = [word for path in others for word in ("-object", path)]
    command = [f"llvm-cov-{LLVM}", "export", first, *others, f"-instr-profile={merged}"]
    return json.loads(targets.run([*command, "--ignore-filename-regex=native/tests/"]))["data"][0]


def native_counts(report):
    """Path of a file to its lines and branches, each as (all, executed)."""
    found = {}
    for file in report["files"]:
        summary = file["summary"]
        counts = [(summary[word]["count"], summary[word]["covered"]) for word in ("lines", "branches")]
        if counts[0][0]:
            found[pathlib.Path(file["filename"]).relative_to(ROOT).as_posix()] = counts
    return found


def python_counts(report):
    """The same of the modules; every outcome of a condition counts as one branch."""
    found = {}
    for name, file in report["files"].items():
        summary = file["summary"]
        found[name] = [
            (summary["num_statements"], summary["covered_lines"]),
            (summary["num_branches"], summary["covered_branches"]),
        ]
    return found


def native_missing(report):
    """Lines about the outcomes of conditions that no process saw."""
    seen = {}
    for function in report["functions"]:
        for line, column, _, _, true, false, file, *_ in function["branches"]:
            place = pathlib.Path(function["filenames"][file]), line, column
            before = seen.get(place, (0, 0))
            seen[place] = before[0] + true, before[1] + false
    for (path, line, column), counts in sorted(seen.items()):
        for outcome, count in zip(("true", "false"), counts, strict=True):
            if count == 0 and path.is_relative_to(NATIVE / "src"):
                yield f"{path.relative_to(ROOT)}:{line}:{column}: never {outcome}"


def python_missing(report):
    """Lines about branches not taken."""
    for name, file in sorted(report["files"].items()):
        for begin, end in file["missing_branches"]:
            yield f"{name}:{begin}: never to {f'line {end}' if end > 0 else 'its end'}"


def share(counts):
    """Text of executed / all as a percentage."""
    total, executed = counts
    return f"{100 * executed / total:.1f} %" if total else "-"


def add(counts):
    """Sums of files."""
    return [tuple(map(sum, zip(*column, strict=True))) for column in zip(*counts, strict=True)]


def tables(groups):
    """Lines: the totals, then every file."""
    yield "| | files | lines | executed | branches | executed | |"
    yield "|---|---|---|---|---|---|---|"
    for name, files in groups.items():
        lines, branches = add(files.values())
        yield (
            f"| {name} | {len(files)} | {lines[0]} | {share(lines)} | {branches[0]} | {branches[1]} "
            f"| {share(branches)} |"
        )
    yield ""
    yield "| file | lines | executed | branches | executed | |"
    yield "|---|---|---|---|---|---|"
    for files in groups.values():
        for path, (lines, branches) in sorted(files.items()):
            yield f"| {path} | {lines[0]} | {share(lines)} | {branches[0]} | {branches[1]} | {share(branches)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE", help="put the tables into this file")
    parser.add_argument(
        "--least", type=float, default=95, metavar="PERCENT", help="share of branches (%(default)g)"
    )
    parser.add_argument("--missing", action="store_true", help="list what is not executed")
    arguments, further = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="coverage_", dir=builds.folder()) as name:
        folder = pathlib.Path(name)
        native = folder / "native"
        build(native, {"CMAKE_C_FLAGS": FLAGS})
        with concurrent.futures.ThreadPoolExecutor() as pool:
            checks = [
                pool.submit(run_native, native, folder / "native_checks"),
                pool.submit(build_and_run_neon, folder / "neon", folder / "neon_checks"),
            ]
            passed, python = run_python(folder, native / "libedge_runtime.so", further)
            for done in checks:
                done.result()
        programs = ("libedge_runtime.so", "check_kernels", "check_corruption")
        objects = [*(native / program for program in programs), folder / "neon" / "check_kernels"]
        found = native_report(folder, objects)
    modules = python_counts(python)
    groups = {"native/src": native_counts(found)}
    groups |= {
        part: {path: counts for path, counts in modules.items() if path.startswith(f"{part}/")}
        for part in ("edge_runtime", "exporters")
    }
    if arguments.missing:
        print("\n".join([*native_missing(found), *python_missing(python)]))
    table = "\n".join(tables(groups)) + "\n"
    print(table, end="")
    if arguments.write and passed:
        count_instructions.write_table(arguments.write, table)
    low = [
        name
        for name, files in groups.items()
        if 100 * (b := add(files.values())[1])[1] < arguments.least * b[0]
    ]
    for name in low:
        print(f"{name}: fewer than {arguments.least:g} % of the branches are executed", file=sys.stderr)
    return 0 if passed and not low else 1


if __name__ == "__main__":
    sys.exit(main())
