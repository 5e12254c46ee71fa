# SPDX-License-Identifier: MIT
"""What the project does without: networks, pickles, shells; and that two clones make the same distributions."""

import ast
import functools
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys

import no_network
import pytest
import targets
import wheels
from targets import ROOT

from apps.demo_samples import samples
from edge_runtime import _native
from edge_runtime.model import DEFAULT_MODEL

RECORDING = samples()[0][0]
SOURCES = sorted(
    path
    for folder in ("edge_runtime", "exporters", "apps", "training", "native")
    for path in (ROOT / folder).rglob("*.py")
)

# --------------------------------------------------------------------------------------------- networks

#: Modules that reach networks.
NETWORK = set(
    "aiohttp asyncio ftplib http httpx imaplib nntplib poplib ray requests smtplib socket socketserver ssl telnetlib urllib"
    " urllib3 webbrowser websockets wsgiref xmlrpc".split()
)
#: Who may use them, and which: the page of the demo, served on request; training on several computers, on request.
ALLOWED = {
    "apps/digit_demo/web/address.py": {"socket"},
    "apps/digit_demo/web/server.py": {"asyncio", "http", "socket", "websockets"},
    "training/reproduce/ray_engine.py": {"ray", "socket"},
}


@functools.cache
def trees():
    """Name and syntax tree of every source."""
    return [
        (path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES
    ]


def imported(tree):
    """Top-level names of the modules that a source imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def test_nothing_imports_what_reaches_networks():
    found = {name: set(imported(tree)) & NETWORK for name, tree in trees()}
    assert {name: modules for name, modules in found.items() if modules - ALLOWED.get(name, set())} == {}
    assert {"asyncio", "websockets"} <= found["apps/digit_demo/web/server.py"]


def test_the_package_imports_cffi_and_numpy_only():
    standard = sys.stdlib_module_names | {"edge_runtime", "cffi", "numpy"}
    # `doctor` says whether a microphone could be heard.
    allowed = {"edge_runtime/__main__.py": {"sounddevice"}}
    for name, tree in trees():
        if name.startswith("edge_runtime/"):
            assert set(imported(tree)) - standard <= allowed.get(name, set()), name


def test_the_library_asks_the_system_for_files_and_memory_only():
    targets.needs("nm")
    said = targets.run(["nm", "--dynamic", "--undefined-only", _native.library_path])
    names = {line.split()[-1].partition("@")[0] for line in said.splitlines()}
    names = {name for name in names if not name.startswith("_")}
    allowed = "fclose feof ferror fopen fread free malloc memchr memcmp memcpy memmove memset realloc strcmp strlen strncmp"
    sanitizers = {name for name in names if name.startswith(("asan", "ubsan", "tsan"))}
    assert names - sanitizers <= set(allowed.split())
    assert "fopen" in names


def offline(*command, **options):
    """Run a command under tests/no_network.py."""
    if platform.machine() not in no_network.MACHINES:
        pytest.skip(f"no filter for {platform.machine()}")
    environment = {**os.environ, "EDGE_RUNTIME_LIBRARY": str(_native.library_path), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, ROOT / "tests" / "no_network.py", *map(str, command)],
        capture_output=True,
        cwd=options.pop("cwd", ROOT),
        env=environment,
        timeout=600,
        **options,
    )


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_PACKET, socket.AF_NETLINK])
def test_the_filter_kills(family):
    result = offline(sys.executable, "-c", f"import socket; socket.socket({int(family)}, socket.SOCK_RAW)")
    assert result.returncode == -signal.SIGSYS
    nested = (
        "import subprocess, sys; sys.exit(-subprocess.run([sys.executable, '-c', sys.argv[1]]).returncode)"
    )
    result = offline(
        sys.executable, "-c", nested, f"import socket; socket.socket({int(family)}, socket.SOCK_DGRAM)"
    )
    assert result.returncode == signal.SIGSYS
    assert offline(sys.executable, "-c", "import socket; socket.socketpair()").returncode == 0


API = """
import numpy as np, edge_runtime as er
from apps.audio import read_audio
for model in (er.Model.default(), er.Model.small()):
    audio, rate = read_audio({recording!r})
    recognizer = model.recognizer(rate)
    assert recognizer.accept_waveform(audio) + recognizer.finish()
    model.stream(skipping=True).run(np.zeros((99, model.input_size), np.float32))
    model.file.to_bytes(), model.metadata, model.sha256
er.Frontend().push(er.resample(audio, 44100))
"""


@pytest.mark.parametrize(
    "command",
    [
        ["-c", API.format(recording=str(RECORDING))],
        ["-m", "edge_runtime", "info", "--json"],
        ["-m", "edge_runtime", "doctor"],
        ["-m", "edge_runtime", "bench", "--steps", "20", "--kernel", "scalar"],
        ["-m", "apps.digit_demo.samples"],
        ["-m", "apps.digit_demo", "-i", RECORDING, "--json", "--save-audio", "kept", "--exec", "true --"],
        ["-m", "apps.digit_demo", "-i", RECORDING, "--plain", "--small"],
        ["-m", "apps.evaluate.soak", "--hours", "2", "--hour", "30", "--rate", "16000", "--beyond", "0"],
        ["-m", "exporters", DEFAULT_MODEL, "--c-header", "model.h"],
    ],
    ids=lambda command: " ".join(map(str, command))[:40],
)
def test_no_network_at_run_time(command, tmp_path):
    result = offline(sys.executable, *command, cwd=tmp_path)
    soaking = "apps.evaluate.soak" in command  # which also judges times
    assert result.returncode in ((0, 1) if soaking else (0,)), result.stderr.decode()


# --------------------------------------------------------------------------------- pickles, shells, eval


def calls(tree):
    """Dotted names of called functions, and the calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call, name):
    return next((ast.unparse(entry.value) for entry in call.keywords if entry.arg == name), None)


def test_nothing_unpickles_what_may_be_a_strangers():
    loads = 0
    for name, tree in trees():
        assert not {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"} & set(imported(tree)) or all(
            not re.fullmatch(r"(pickle|dill|joblib|marshal|shelve)\.(load|loads|open|Unpickler)", called)
            for called, _ in calls(tree)
        ), name
        for called, call in calls(tree):
            if called.endswith("torch.load"):
                assert keyword(call, "weights_only") == "True", f"{name}:{call.lineno}"
                loads += 1
            if called.endswith("np.load"):
                assert keyword(call, "allow_pickle") in (None, "False"), f"{name}:{call.lineno}"
            if called in (
                "torch.jit.load",
                "torch.export.load",
                "torch.hub.load",
                "torch.package.PackageImporter",
            ):
                assert (name, called) == ("exporters/_torch_archive.py", "torch.export.load"), (
                    f"{name}:{call.lineno}"
                )
    assert loads >= 5


def test_no_shell_and_no_eval():
    for name, tree in trees():
        for called, call in calls(tree):
            where = f"{name}:{call.lineno}"
            assert called not in ("eval", "exec", "os.system", "os.popen", "subprocess.getoutput"), where
            assert not called.startswith("os.spawn") and "yaml.load" not in called, where
            assert keyword(call, "shell") in (None, "False"), where
    for path in (ROOT / "native").rglob("*.c"):
        assert not re.search(r"\b(system|popen|wordexp)\s*\(", path.read_text(encoding="utf-8")), path


# ------------------------------------------------------------------------------------------- distributions


def test_a_clone_elsewhere_makes_the_same_distributions(tmp_path):
    """In a folder of another name, with another user's umask, time zone and locale, other times of files, one compiler at
    a time: the source distribution and one wheel, with `make test-wheels` all."""
    wheels.needs_tools()
    targets.needs("git")
    origin, place = tmp_path / "origin", tmp_path / "a much longer path" / "of another name &c. with ü"
    for name in wheels.tracked():
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, origin / name)
    date = targets.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"]).strip()
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    dated = {**os.environ, "GIT_AUTHOR_DATE": f"{date} +0000", "GIT_COMMITTER_DATE": f"{date} +0545"}
    for command in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-qm", "all"]):
        subprocess.run(["git", *names, "-C", origin, *command], check=True, env=dated)
    foreign = {
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "7",
        "CMAKE_BUILD_PARALLEL_LEVEL": "1",
    }
    options = {"check": True, "umask": 0o077, "env": {**os.environ, **foreign}}
    place.parent.mkdir()
    subprocess.run(["git", "clone", "-q", origin, place], **options)
    assert (place / "README.md").stat().st_mode & 0o077 == 0
    for path in place.rglob("*"):
        os.utime(path, (1e9, 1e9))
    presets = [] if os.environ.get("EDGE_RUNTIME_WHEELS") == "full" else ["x86_64"]
    out = tmp_path / "dist"
    tool = place / "native" / "tools" / "build_wheels.py"
    subprocess.run([sys.executable, tool, "-o", out, *presets], **options, stdout=subprocess.DEVNULL)
    assert len(list(out.iterdir())) == (2 if presets else 5)
    for path in out.iterdir():
        assert path.read_bytes() == (wheels.folder() / path.name).read_bytes(), path.name


def test_licence_and_dependencies():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(re.match(r"[\w-]+", entry)[0] for entry in project["dependencies"]) == ["cffi", "numpy"]
    assert "MIT" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    # What makes the bytes of what is shipped is pinned.
    cross = project["optional-dependencies"]["cross"]
    assert all("==" in entry for entry in cross if entry.startswith(("ziglang", "scikit-build-core")))
