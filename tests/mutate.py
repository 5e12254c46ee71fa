# SPDX-License-Identifier: MIT
"""Whether the tests notice small faults: ``python tests/mutate.py FILE...``, of native/src or of exporters.

A mutant is a file with one fault (mutants_of_c.py, mutants_of_python.py). It is killed if a test fails, the process
dies, or the tests take ten times the processor time that they do without it; otherwise it survives, and is listed.

pytest collects the tests once. Each mutant then runs in a process forked from that one, by the tests that take the least
time first, up to --budget seconds of them. The tests of a C file are named in C_TESTS, those of a Python module are the
ones that execute the mutant's line: a run of the tests under coverage.py tells which, before the first mutant (--map
makes it anew).

A mutant of C is compiled alone, a header's with the files that include it, and linked with the other objects; one that
compiles to the same code as the original is no fault and not counted. The library has scalar kernels only. What the tests
do not notice, native/tests/check_allocations.c gets too: every allocation fails once, and nothing may be left. A mutant of
Python takes the module's place in the process of the tests, not in programs that they start.

Results stand in build/mutate, one file for each source, and are kept while the mutant's text is the same: what was
stopped goes on; --again runs what survived once more. --sample N takes N mutants of all given files, always the same
ones for a --seed. C files and Python modules go into runs of their own. Linux; needs gcc, pytest, hypothesis and, for
Python, coverage.
"""

import argparse
import ast
import collections
import hashlib
import importlib
import json
import math
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import hypothesis
import mutants_of_c
import mutants_of_python
import pytest
import test_allocations

ROOT = pathlib.Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"
RESULTS = ROOT / "build" / "mutate"
C_TESTS = {
    "format.c": "golden rejections format decoder c_arguments model_native model stream recognizer format_damage",
    "format_layer.c": "golden rejections format decoder c_arguments model_native model stream recognizer format_damage",
    "decoder.c": "decoder c_arguments recognizer",
    "fixed.h": "golden activation dense rnn gru lstm fine",
}
#: Those among which are the tests of Python modules.
PYTHON_TESTS = (
    "agreement cells chain dequantize export_command export_trade exporters formula from_onnx from_torch "
    "import_cells import_refusals import_walk network onnx_compare onnx_glue onnx_load onnx_operators "
    "pack planes quantize quantize_numerics stages to_onnx torch_files torch_operators torch_refusals "
    "tracer"
).split()
C_FLAGS = "-std=c11 -fPIC -ffp-contract=off -w".split()
#: Exit status of a process without a mutant: it does not compile; it is the original.
INVALID, SAME = 100, 101

#: Failures that are found are not made smaller, and every run tries the same examples.
hypothesis.settings.register_profile(
    "mutants",
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def test_files(names):
    """Paths of the test modules that are there, relative to ROOT."""
    paths = [f"tests/test_{name}.py" for name in names]
    return [path for path in paths if (ROOT / path).exists()]


# ------------------------------------------------------------------------------------------ which tests


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """As a plugin of pytest, which `make_map` runs: tell coverage.py which test runs."""
    import coverage

    coverage.Coverage.current().switch_context(item.nodeid)
    yield


def make_map(package, names, jobs):
    """Run the tests of a package under coverage.py: which tests execute which lines is left in RESULTS."""
    import coverage

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        config = folder / "coverage.ini"
        config.write_text(
            f"[run]\nparallel = True\npatch = subprocess\nsource = {package}\ndata_file = {folder / 'data'}\n"
        )
        python = [sys.executable, "-m", "coverage"]
        path = os.pathsep.join([str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [
            *python,
            "run",
            f"--rcfile={config}",
            "-m",
            "pytest",
            "-q",
            "-p",
            "mutate",
            "-n",
            str(jobs),
            "--dist",
        ]
        command += ["loadfile", *test_files(names)]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=True)
        subprocess.run([*python, "combine", "-q", f"--rcfile={config}"], cwd=ROOT, check=True)
        data = coverage.CoverageData(str(folder / "data"))
        data.read()
        reached = {
            pathlib.Path(path).relative_to(ROOT).as_posix(): {
                line: sorted(filter(None, contexts))
                for line, contexts in data.contexts_by_lineno(path).items()
            }
            for path in data.measured_files()
        }
    (RESULTS / f"{package}.map.json").write_text(json.dumps(reached))


# ------------------------------------------------------------------------------------------ files and their mutants


class NativeFile:
    """A file of native/src, and how the tests come to use a library with a mutant in its place."""

    def __init__(self, path, folder):
        from sanitizers import library_sources

        self.path = path
        self.source = path.read_text(encoding="utf-8")
        self.tests = test_files(C_TESTS[path.name].split())
        (version,) = re.findall(r'__version__ = "(.*)"', (ROOT / "edge_runtime" / "__init__.py").read_text())
        self.command = ["gcc", *C_FLAGS, f'-DER_VERSION="{version}"', f"-I{NATIVE / 'include'}"]
        objects = folder / "objects"
        if not objects.exists():
            objects.mkdir()
            self.compile(library_sources(), objects, ["-O2"])
            os.environ["EDGE_RUNTIME_LIBRARY"] = str(self.link(sorted(objects.iterdir()), folder))
        self.objects = {file.stem: file for file in objects.iterdir()}
        self.checks = self.make_checks(folder)
        rules = subprocess.run(
            [*self.command, f"-I{NATIVE / 'src'}", "-MM", *library_sources()],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.replace("\\\n", " ")
        users = {
            rule.split(":")[0].removesuffix(".o") for rule in rules.splitlines() if f"/{path.name}" in rule
        }
        self.users = [source for source in library_sources() if source.stem in users]

    def compile(self, sources, where, options):
        """Objects of sources in a folder; ends the process if one is no C."""
        for source in sources:
            command = [
                *self.command,
                *options,
                f"-I{NATIVE / 'src'}",
                "-c",
                source,
                "-o",
                where / f"{source.stem}.o",
            ]
            if subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0:
                os._exit(INVALID)

    def link(self, objects, where):
        """Path of a library in a folder."""
        library = where / "libedge_runtime.so"
        if (
            subprocess.run(["gcc", "-shared", *objects, "-o", library], stderr=subprocess.DEVNULL).returncode
            != 0
        ):
            os._exit(INVALID)
        return library

    def make_checks(self, folder):
        """check_allocations, but for the library, and its arguments: tests/test_allocations.py runs it with a library of
        its own."""
        checks = folder / "checks"
        if not checks.exists():
            checks.mkdir()
            programs = [NATIVE / "tests" / f"{name}.c" for name in ("check_allocations", "files")]
            self.compile(programs, checks, ["-O1"])
            test_allocations.make_models(checks)
        return sorted(checks.glob("*.o")), test_allocations.arguments(checks)

    def mutants(self):
        return mutants_of_c.mutants(self.source)

    def chosen(self, items, _line):
        return [item for item in items if item.nodeid.split("::")[0] in self.tests]

    def compile_mutant(self, text, folder, options):
        """Objects of all files that hold the mutant, in a new folder."""
        sources = [folder / self.path.name]
        if self.path.suffix == ".h":
            src = folder / "src"  # a file finds headers beside itself first
            if not src.exists():
                shutil.copytree(NATIVE / "src", src)
            sources = [src / source.relative_to(NATIVE / "src") for source in self.users]
        (sources[0].parent / self.path.name).write_text(text, encoding="utf-8")
        objects = pathlib.Path(tempfile.mkdtemp(dir=folder))
        self.compile(sources, objects, options)
        return {file.stem: file for file in objects.iterdir()}

    def apply(self, text, folder):
        """Make the tests of this process use the mutant; ends the process if it is none."""
        from edge_runtime import _native

        self.mutated = self.objects | self.compile_mutant(text, folder, ["-O0"])
        library = self.link(self.mutated.values(), folder)
        original, mutant = _native.lib, _native.ffi.dlopen(str(library))
        for module in list(sys.modules.values()):
            if getattr(module, "lib", None) is original:
                module.lib = mutant

    def fails_checks(self, folder):
        """Whether check_allocations finds something wrong with the mutant applied, or memory that nobody frees."""
        objects, arguments = self.checks
        program = folder / "check_allocations"
        link = ["gcc", "-no-pie", "-fsanitize=leak", *test_allocations.WRAP, *objects, *self.mutated.values()]
        subprocess.run([*link, "-o", program], check=True, capture_output=True)
        return subprocess.run([program, *arguments], capture_output=True).returncode != 0

    def is_same(self, text, folder):
        """Whether a mutant that no test noticed compiles to the code of the original."""
        made = self.compile_mutant(text, folder, ["-O2"])
        return all(file.read_bytes() == self.objects[name].read_bytes() for name, file in made.items())


class PythonFile:
    """A module, and how a mutant takes its place."""

    def __init__(self, path):
        self.path = path
        self.source = path.read_text(encoding="utf-8")
        relative = path.relative_to(ROOT)
        self.module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        known = json.loads((RESULTS / f"{relative.parts[0]}.map.json").read_text())
        self.reached = known.get(relative.as_posix(), {})

    def mutants(self):
        return mutants_of_python.mutants(self.source)

    def chosen(self, items, line):
        """What runs when the module is imported, and only then, is the business of every test of the module."""
        names = set(self.reached.get(str(line), ())) or {
            name for names in self.reached.values() for name in names
        }
        return [item for item in items if item.nodeid in names]

    def apply(self, text, _folder):
        """Execute the mutant in the module, and put what it defines wherever modules of the project have imported it."""
        module = importlib.import_module(self.module)
        before = dict(vars(module))
        exec(compile(text, str(self.path), "exec"), vars(module))
        renewed = {id(old): vars(module)[name] for name, old in before.items() if not name.startswith("__")}
        for other in list(sys.modules.values()):
            path = pathlib.Path(getattr(other, "__file__", None) or "/")
            if other is module or ROOT not in path.parents or "site-packages" in path.parts:
                continue
            for name, value in list(vars(other).items()):
                # Numbers and texts that are equal may be one object: of those only what has the name.
                if id(value) in renewed and (callable(value) or before.get(name) is value):
                    setattr(other, name, renewed[id(value)])

    def fails_checks(self, _folder):
        return False

    def is_same(self, text, _folder):
        return ast.dump(ast.parse(text)) == ast.dump(ast.parse(self.source))


# ------------------------------------------------------------------------------------------ running mutants


class Mutation:
    """Plugin of pytest: instead of running the tests once, runs those of each mutant in a process of its own."""

    def __init__(self, files, options, folder):
        self.files, self.options, self.folder = files, options, folder
        self.running = {}
        self.seconds = {}  # of each test, by its id
        self.found = collections.defaultdict(list)  # path: entries

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config):
        hypothesis.settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if session.testsfailed:
            raise session.Interrupted("tests that cannot be collected tell nothing of mutants")
        self.measure(session)
        for file, mutants in self.files.items():
            name = RESULTS / f"{file.path.relative_to(ROOT).as_posix().replace('/', '_')}.jsonl"
            known = {}
            if name.exists():
                entries = map(json.loads, name.read_text(encoding="utf-8").splitlines())
                known = {entry["digest"]: entry for entry in entries}
            for line, what, text in mutants:
                digest = hashlib.sha256(f"{line} {what} {text}".encode()).hexdigest()[:16]
                entry = known.get(digest)
                if entry and not (self.options.again and entry["verdict"] == "survived"):
                    self.found[file.path].append(entry)
                else:
                    self.start(session, file, (line, what, text), digest, name)
        while self.running:
            self.wait()
        return True

    def measure(self, session):
        """Run every test without a mutant, to know how long each takes; those that fail are left out.

        A Python module is executed anew on the way, as a mutant is. What was measured before is known."""
        times, store = self.folder / "times", RESULTS / "times.json"
        known = json.loads(store.read_text()) if store.exists() else {}
        items = [item for item in session.items if item.nodeid not in known]

        def work(place):
            for file in self.files:
                if isinstance(file, PythonFile):
                    file.apply(file.source, place)
            with open(times, "w", encoding="utf-8") as out:
                for item, following in zip(items, [*items[1:], None], strict=True):
                    failed, begin = session.testsfailed, time.process_time()
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                    if session.testsfailed == failed:
                        print(json.dumps([item.nodeid, time.process_time() - begin]), file=out, flush=True)
            return 0

        if items:
            self.fork(work, 0, lambda *_: None)
            while self.running:
                self.wait()
            known |= dict(map(json.loads, times.read_text().splitlines()))
            store.write_text(json.dumps(known))
        self.seconds = known
        left_out = [item.nodeid for item in session.items if item.nodeid not in self.seconds]
        if left_out:
            print(f"{len(left_out)} tests fail without a mutant: {left_out[:9]}", file=sys.stderr)

    def start(self, session, file, mutant, digest, name):
        """Run the tests of a mutant, as soon as there is room."""
        line, what, text = mutant
        items = [item for item in file.chosen(session.items, line) if item.nodeid in self.seconds]
        items.sort(key=lambda item: (self.seconds[item.nodeid], item.nodeid))
        total, count = 0.0, 0
        while count < len(items) and (count == 0 or total < self.options.budget):
            total += self.seconds[items[count].nodeid]
            count += 1

        def work(place):
            file.apply(text, place)
            for item, following in zip(items[:count], [*items[1:count], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.testsfailed:
                    return 1
            if file.fails_checks(place):
                return 1
            return SAME if file.is_same(text, place) else 0

        def note(code, used):
            verdict = {0: "survived", INVALID: "invalid", SAME: "same"}.get(code, "killed")
            entry = {
                "digest": digest,
                "line": line,
                "what": what,
                "verdict": verdict,
                "seconds": round(used, 2),
            }
            with open(name, "a", encoding="utf-8") as results:
                results.write(json.dumps(entry) + "\n")
            self.found[file.path].append(entry)
            if verdict == "survived":
                print(f"{file.path.relative_to(ROOT)}:{line}: survived: {what}", flush=True)

        self.fork(work, int(10 * total) + 10, note)

    def fork(self, work, seconds, done):
        """Run work(folder) in a process of its own, of so many seconds of processor time at most (0: any), and then
        done(its exit status, processor seconds)."""
        while len(self.running) >= self.options.jobs:
            self.wait()
        place = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        process = os.fork()
        if process == 0:
            try:
                os.setsid()
                log = os.open(place / "log", os.O_CREAT | os.O_WRONLY)
                for stream in (1, 2):
                    os.dup2(log, stream)
                os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = str(place)
                tempfile.tempdir = None
                if seconds:
                    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
                    resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
                os._exit(work(place))
            finally:
                os._exit(1)
        end = time.monotonic() + 100 * seconds + 600 if seconds else math.inf
        self.running[process] = place, end, done

    def wait(self):
        """Wait until a process has ended, or its time is over: one that sleeps uses no processor time."""
        while True:
            process, status, usage = os.wait4(-1, os.WNOHANG)
            if process:
                break
            for other, (_, end, _) in self.running.items():
                if time.monotonic() > end:
                    os.killpg(other, signal.SIGKILL)
            time.sleep(0.01)
        place, _, done = self.running.pop(process)
        try:
            os.killpg(process, signal.SIGKILL)  # what a test has left behind
        except ProcessLookupError:
            pass
        shutil.rmtree(place, ignore_errors=True)
        done(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)


def sampled(files, count, seed):
    """Mutants of each file, all or a sample."""
    everything = [(file, mutant) for file in files for mutant in file.mutants()]
    if count and count < len(everything):
        kept = sorted(random.Random(seed).sample(range(len(everything)), count))
        everything = [everything[index] for index in kept]
    return {file: [mutant for other, mutant in everything if other is file] for file in files}


def score(name, entries):
    count = collections.Counter(entry["verdict"] for entry in entries)
    tried = count["killed"] + count["survived"]
    return (
        f"{name}: {count['killed']} of {tried} mutants killed, {100 * count['killed'] / max(tried, 1):.1f} %"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (%(default)s)")
    parser.add_argument("--sample", type=int, metavar="N", help="so many mutants of all files together")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (%(default)s)")
    parser.add_argument(
        "--budget", type=float, default=20, metavar="S", help="seconds of tests a mutant (%(default)g)"
    )
    parser.add_argument("--tests", nargs="+", metavar="NAME", help="of a module only these: test_NAME.py")
    parser.add_argument("--again", action="store_true", help="run what survived once more")
    parser.add_argument("--map", action="store_true", help="find out anew which tests execute which lines")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    paths = [path.resolve() for path in options.files]
    suffixes = {path.suffix == ".py" for path in paths}
    if len(suffixes) > 1:
        parser.error("C files and Python modules go into runs of their own")
    for package in sorted({path.relative_to(ROOT).parts[0] for path in paths} if True in suffixes else ()):
        if options.map or not (RESULTS / f"{package}.map.json").exists():
            make_map(package, options.tests or PYTHON_TESTS, options.jobs)
    with tempfile.TemporaryDirectory(prefix="mutate_") as name:
        folder = pathlib.Path(name)
        files = [PythonFile(path) if path.suffix == ".py" else NativeFile(path, folder) for path in paths]
        names = (
            PYTHON_TESTS if True in suffixes else sorted({w for p in paths for w in C_TESTS[p.name].split()})
        )
        mutation = Mutation(sampled(files, options.sample, options.seed), options, folder)
        hypothesis.settings.load_profile("mutants")
        os.chdir(ROOT)
        arguments = [
            "-q",
            "-s",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-p",
            "no:faulthandler",
            "-W",
            "ignore",
            *test_files(names),
        ]
        pytest.main(arguments, plugins=[mutation])
    for path, entries in mutation.found.items():
        print(score(path.relative_to(ROOT), entries))
    print(score("all", [entry for entries in mutation.found.values() for entry in entries]))


if __name__ == "__main__":
    main()
