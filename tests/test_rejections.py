# SPDX-License-Identifier: MIT
"""Every place where the parser refuses a file has a file that it refuses there: find_rejections.c.

The files are those of tests/golden/bad, whose names say the rule, and those below, which are too large to keep;
tests/test_golden.py sees that the Python codec refuses each with the same status, rule, offset and values.
"""

import re
import shutil
import struct
import subprocess
import sys

import builds
import make_golden
import pytest
import targets
from targets import NATIVE
from test_format_damage import c_verdict, python_verdict

from edge_runtime._native import lib
from edge_runtime.format import RULE_STATUS

SOURCES = ("format", "format_layer", "utf8", "status", "frontend", "filterbank", "fft", "mathf")
#: Checks whose lower bound no file can miss, besides those of 0: what an earlier check has seen to.
NEVER_BELOW = {
    ("parse_header", "er_check_range(parser, 10, 16, 1, "),  # no section: R7
    ("parse_metadata", "er_check_range(parser, 32, section->entry + 8, 4, "),  # less than a count: R11
}


def large_files():
    """dict: name (beginning with the rule) to bytes."""
    numbers = make_golden.Numbers("large")
    layers = [make_golden.layer(numbers, "dense", ["ternary"], 3, 2)]
    least = make_golden.model(layers, metadata={"k": "v" * ((1 << 20) - 4 - 2 - 1)}).to_bytes()
    assert python_verdict(least) is None
    contents = dict(make_golden.sections(least))[b"META"]
    return {"R32_long": make_golden.replaced(least, b"META", contents[:-1] + b"v\0")}


@pytest.fixture(scope="module")
def library():
    """The parser as a shared library, every call in it as it is written."""
    if not sys.platform.startswith("linux") or shutil.which("gcc") is None:
        pytest.skip("needs gcc on Linux")
    sources = {NATIVE / "src" / f"{name}.c": () for name in SOURCES}
    command = [
        "gcc",
        "-std=c11",
        "-g",
        "-O0",
        "-fPIC",
        "-fno-inline",
        "-ffp-contract=off",
        f"-I{NATIVE / 'include'}",
    ]
    objects = builds.objects("rejections_objects", [*command, f"-I{NATIVE / 'src'}"], sources)
    return builds.once(
        "librejections.so", lambda path: subprocess.run(["gcc", "-shared", *objects, "-o", path], check=True)
    )


@pytest.fixture(scope="module")
def found(library, tmp_path_factory):
    """dict: name of a bad file to (status, rule, offset, expected, found) and the return addresses."""
    folder = tmp_path_factory.mktemp("bad")
    paths = sorted((make_golden.GOLDEN / "bad").glob("*.ernn"))
    for name, data in large_files().items():
        paths.append(folder / f"{name}.ernn")
        paths[-1].write_bytes(data)
    sources = [NATIVE / "tests" / f"{name}.c" for name in ("find_rejections", "files")]
    includes = [f"-I{NATIVE / part}" for part in ("include", "src", "tests")]
    link = [library, f"-Wl,-rpath,{library.parent}", "-rdynamic", "-ldl", "-o"]
    command = ["gcc", "-std=c11", "-g", "-O0", *targets.WARNINGS, *includes, *sources, *link]
    program = builds.once("find_rejections", lambda path: subprocess.run([*command, path], check=True))
    lines = targets.run([program, *paths]).splitlines()
    result = {}
    for path, line in zip(paths, lines, strict=True):
        words = line.split()
        result[path.stem] = tuple(map(int, words[:5])), [int(word, 16) for word in words[5:]]
    return result


def checks():
    """Names of the parser's functions that return a status."""
    names = set()
    for name in ("format", "format_layer"):
        text = (NATIVE / "src" / f"{name}.c").read_text(encoding="utf-8")
        names |= set(re.findall(r"^(?:static )?er_status (\w+)\(", text, re.M))
    return names - {"er_format_parse", "er_format_check_length"}


@pytest.fixture(scope="module")
def calls(library):
    """dict: return address of every call of a check to (function that calls, "file:line", function called)."""
    listing = targets.run(["objdump", "-d", library]).splitlines()
    found, caller, called = {}, None, None
    for line in listing:
        if match := re.fullmatch(r"[0-9a-f]+ <(\S+)>:", line):
            caller, called = match[1], None
        elif match := re.match(r"\s*([0-9a-f]+):\t[0-9a-f ]+\t(\S+)\s*(?:[0-9a-f]+ <(\w+)(?:@plt)?>)?", line):
            if called in checks():
                found[int(match[1], 16)] = caller, called
            called = match[3] if match[2] == "call" else None
    lines = targets.run(["addr2line", "-e", library, *(hex(address - 1) for address in found)]).splitlines()
    return {
        address: (caller, line.rsplit("/", 1)[1].split(" ")[0], called)
        for (address, (caller, called)), line in zip(found.items(), lines, strict=True)
    }


def test_every_file_is_refused_with_the_status_of_its_rule(found):
    for name, (verdict, _) in found.items():
        rule = int(name[1:3])
        assert verdict[:2] == (getattr(lib, RULE_STATUS[rule]), rule), name


def test_every_check_has_a_file_that_fails_it(found, calls, record_property):
    hit = {address for _, addresses in found.values() for address in addresses}
    missed = sorted(
        calls[address] for address in set(calls) - hit if calls[address][0] != "er_format_check_length"
    )
    assert not missed, "\n".join(map(str, missed))
    record_property(
        "figures",
        f"rejection rules: {len(RULE_STATUS)}, places that refuse: {len(calls)}, each by a file of its own",
    )


def side(called, expected, value):
    """Of its bound that a value misses: "below", "above" or, of what is not a number, "neither"."""
    if called == "er_check_float":
        expected, value = struct.unpack("<ff", struct.pack("<II", expected, value))
    return "below" if value < expected else "above" if value > expected else "neither"


def can_be_below(call):
    """Whether the value of a check may be less than its lower bound, by the source."""
    name, line = call[1].split(":")
    text = (NATIVE / "src" / name).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    if any(call[0] == function and check in text for function, check in NEVER_BELOW):
        return False
    return call[2] == "er_check_float" or not re.search(r"er_check_range\(parser, \d+, [^,]+, 0, ", text)


def test_every_range_is_missed_on_both_sides(found, calls):
    seen = set()
    for (_, _, _, expected, value), addresses in found.values():
        for call in (calls[address] for address in addresses if address in calls):
            if call[2] in ("er_check_range", "er_check_float"):
                seen.add((call, side(call[2], expected, value)))
    ranges = [call for call in calls.values() if call[2] in ("er_check_range", "er_check_float")]
    wanted = {(call, "above") for call in ranges} | {(call, "below") for call in ranges if can_be_below(call)}
    missing = sorted(wanted - seen)
    assert len(ranges) > 40
    assert not missing, "\n".join(map(str, missing))


def test_python_agrees_on_large_files():
    for name, data in large_files().items():
        assert python_verdict(data) == c_verdict(data), name
        assert python_verdict(data)[1] == int(name[1:3])
