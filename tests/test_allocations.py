# SPDX-License-Identifier: MIT
"""Every allocation of the library fails once, and files fail in every way: check_allocations.c."""

import re
import subprocess
import sys

import make_golden
import pytest
import sanitizers
import targets
from targets import NATIVE, ROOT, TARGETS

#: What allocates among the functions that the library calls, and what releases.
WRAPPED = ("malloc", "realloc", "free", "fopen")
ALLOCATING = ("malloc", "realloc", "fopen")
#: All other functions of the C library that the library's objects may call; none of them allocates for the caller.
#: (fread gets its stream's buffer; without memory for one the stream reads a byte at a time.)
OTHERS = {
    "fclose",
    "feof",
    "ferror",
    "fread",
    "memchr",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "strcmp",
    "strlen",
}
FULL = ROOT / "edge_runtime" / "models" / "digits_small.ernn"
#: The program's own functions that allocate.
OWN = {"take_memory", "read_file", "read_samples"}
WRAP = tuple(f"-Wl,--wrap={function}" for function in WRAPPED)


@pytest.fixture(scope="module")
def here():
    """The target that is this machine."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs the linker's --wrap")
    targets.needs_target(TARGETS["x86-64"])
    return TARGETS["x86-64"]


@pytest.fixture(scope="module")
def program(here):
    """check_allocations with the library as it is shipped."""
    return targets.build_program(here, "check_allocations", link=("-no-pie", *WRAP))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Arguments of the program."""
    return make_models(tmp_path_factory.mktemp("models"))


def make_models(folder):
    """Two small models of the same length into a folder; returns the arguments of the program."""
    for name in ("one", "two"):
        numbers = make_golden.Numbers(name)
        model_file = make_golden.model([make_golden.layer(numbers, "gru", ["ternary"], 3, 2)])
        (folder / f"{name}.ernn").write_bytes(model_file.to_bytes())
    return arguments(folder)


def arguments(folder):
    """Of the program, with the models in a folder."""
    return [FULL, folder / "one.ernn", folder / "two.ernn"]


def call_sites(program):
    """Return addresses of all calls that come to the wrapped allocating functions, to "function" where they stand."""
    listing = subprocess.run(["objdump", "-d", program], capture_output=True, text=True, check=True).stdout
    sites, function, called = {}, None, None
    for line in listing.splitlines():
        if match := re.fullmatch(r"[0-9a-f]+ <(\S+)>:", line):
            function, called = match[1], None
        elif match := re.match(r"\s*([0-9a-f]+):\t[0-9a-f ]+(?:\t(\S+)\s*(.*))?$", line):
            if called:
                sites[int(match[1], 16)] = function
            called = match[2] == "call" and any(f"<__wrap_{name}>" in match[3] for name in ALLOCATING)
            tail = match[2] == "jmp" and any(match[3].endswith(f"<__wrap_{name}>") for name in ALLOCATING)
            assert not tail, f"a call that does not return to where it stands: {line}"
    return sites


def test_every_allocation_fails_once(program, models, record_property):
    output = targets.run([program, *models])
    sites = {address: function for address, function in call_sites(program).items() if function not in OWN}
    hit = {int(address, 16) for address in re.findall(r"^site 0x([0-9a-f]+)$", output, re.M)}
    assert hit == set(sites), {sites.get(address, hex(address)) for address in hit ^ set(sites)}
    # What the source has, but for static functions, which may have become part of others.
    assert {function for function in functions_that_allocate() if function.startswith("er_")} <= set(
        sites.values()
    )
    counts = re.findall(
        r"^(.*), (\w+): (\d+) allocations, each failed alone and with all after it$", output, re.M
    )
    assert {name for name, _, _ in counts} == {
        "model",
        "borrowing model",
        "model from a file",
        "stream",
        "resampler",
        "front end",
        "decoder",
        "recognizer",
    }
    failed = 2 * sum(int(count) for _, _, count in counts)
    record_property("figures", f"allocations that failed: {failed}, at all {len(hit)} sites of the library")


def functions_that_allocate():
    """Functions of native/src that call an allocating function, by the source; those of memory.h inlined."""
    found = set()
    pattern = re.compile(r"\b(?:er_memory_allocate|malloc|calloc|realloc|aligned_alloc|strdup|fopen)\(")
    for source in sorted((NATIVE / "src").rglob("*.c")):
        function = None
        for line in source.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"\w[\w\s*]*?\b(\w+)\(", line):
                function = match[1]
            if pattern.search(line) and not line.startswith((" *", "/*")):
                found.add(function)
    return found


def test_library_calls_no_other_function_that_allocates(here):
    listing = targets.run(["nm", targets.build_library(here)]).splitlines()
    symbols = [line.split()[-2:] for line in listing if len(line.split()) >= 2]
    defined = {name for kind, name in symbols if kind != "U"}
    used = {name for kind, name in symbols if kind == "U"} - defined
    assert used - {"_GLOBAL_OFFSET_TABLE_"} <= {*WRAPPED, *OTHERS}


def test_files_that_fail_under_the_sanitizers(models):
    build = sanitizers.BUILDS["address"]
    sanitizers.needs(build)
    result = sanitizers.run(build, sanitizers.program(build, "check_allocations", options=WRAP), *models)
    assert result.returncode == 0, result.stderr[-3000:]
    size = models[1].stat().st_size
    for line in (
        "short reads: accepted",
        f"a read error at each of {size} bytes: refused",
        f"cut at each of {size} bytes: refused",
        "endless: refused",
        "1 GiB claimed: refused with 4096 bytes",
    ):
        assert line in result.stdout.splitlines()
    assert int(re.search(r"^changed at each of (\d+) bytes: refused$", result.stdout, re.M)[1]) > size / 4
