# SPDX-License-Identifier: MIT
"""What `make wheels` makes: tags, contents, size, the least system and the least processor, and that each wheel
computes on its processors what this machine computes, bit for bit."""

import email
import importlib.metadata
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import builds
import pytest
import roots
import targets
import wheels
from targets import NATIVE, ROOT
from test_no_multiply import cmake_list, defined_functions, inference_sources, multiplies
from wheels import LIBRARY, PLATFORMS

import edge_runtime

CHECK = ROOT / "tests" / "check_installed.py"
KILOBYTE = 1000

each_wheel = pytest.mark.parametrize("preset", PLATFORMS)


def test_one_wheel_for_each_processor_and_the_sources():
    names = {path.name for path in wheels.folder().iterdir()}
    version = edge_runtime.__version__
    assert names == {
        f"edge_runtime-{version}.tar.gz",
        f"edge_runtime-{version}-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        f"edge_runtime-{version}-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
        f"edge_runtime-{version}-py3-none-linux_armv7l.whl",
        f"edge_runtime-{version}-py3-none-linux_armv6l.whl",
    }
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in names:  # make looks whether they are there
        assert name.removeprefix(f"edge_runtime-{version}") in makefile


@each_wheel
def test_tags(preset):
    path = wheels.wheel(preset)
    metadata = email.message_from_string(
        zipfile.ZipFile(path).read(f"edge_runtime-{edge_runtime.__version__}.dist-info/WHEEL").decode()
    )
    assert set(metadata.get_all("Tag")) == {f"py3-none-{tag}" for tag in PLATFORMS[preset].tags}
    assert metadata["Root-Is-Purelib"] == "false"


@each_wheel
def test_contents(preset):
    archive = zipfile.ZipFile(wheels.wheel(preset))
    names = archive.namelist()
    information = f"edge_runtime-{edge_runtime.__version__}.dist-info"
    assert sorted(names) == sorted(
        wheels.tracked("edge_runtime")
        | {LIBRARY, "edge_runtime/edge_runtime.h"}
        | {f"{information}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "licenses/LICENSE")}
    )
    assert archive.read("edge_runtime/models/digits.ernn") == edge_runtime.model.DEFAULT_MODEL.read_bytes()
    assert len({entry.date_time for entry in archive.infolist()}) == 1


@each_wheel
def test_size(preset, record_property):
    size = wheels.wheel(preset).stat().st_size
    unpacked = sum(entry.file_size for entry in zipfile.ZipFile(wheels.wheel(preset)).infolist())
    record_property(
        "figures", f"wheel {preset}: {size / KILOBYTE:.0f} KB, unpacked {unpacked / KILOBYTE:.0f} KB"
    )
    assert size <= 400 * KILOBYTE


def test_installed_footprint(record_property):
    """Package, cffi and what cffi needs, as pip installs them, compiled Python included: all but numpy."""
    site = wheels.installed("x86_64")
    targets.run([sys.executable, "-m", "compileall", "-q", site])
    sizes = {"edge_runtime": sum(path.stat().st_size for path in site.rglob("*") if path.is_file())}
    for name in ("cffi", "pycparser"):
        files = (pathlib.Path(file.locate()) for file in importlib.metadata.files(name))
        sizes[name] = sum(path.stat().st_size for path in files if path.is_file())
    parts = ", ".join(f"{name} {size / KILOBYTE:.0f} KB" for name, size in sizes.items())
    record_property("figures", f"installed without numpy: {sum(sizes.values()) / KILOBYTE:.0f} KB ({parts})")
    assert sum(sizes.values()) <= 3000 * KILOBYTE


@each_wheel
def test_library_asks_for_an_old_system(preset):
    targets.needs("readelf")
    library = wheels.library(preset)
    assert max(wheels.glibc_versions(library)) <= (2, 17)
    header = targets.run(["readelf", "--file-header", "--dynamic", "--wide", library])
    assert re.search(r"Machine: +(.+)", header)[1].endswith(PLATFORMS[preset].machine)
    assert re.findall(r"\(NEEDED\) +Shared library: \[(.+)\]", header) == ["libc.so.6"]


@each_wheel
def test_library_keeps_names_and_no_debug_data(preset):
    targets.needs("readelf")
    library = wheels.library(preset)
    sections = targets.run(["readelf", "--sections", "--wide", library])
    assert ".debug" not in sections and ".symtab" in sections
    data = library.read_bytes()
    for path in (ROOT, builds.folder(), sys.prefix):
        assert str(path).encode() not in data


@pytest.mark.parametrize("preset", ("x86_64", "aarch64"))
def test_auditwheel_agrees(preset):
    pytest.importorskip("auditwheel")
    said = targets.run([sys.executable, "-m", "auditwheel", "show", wheels.wheel(preset)])
    assert f'"{PLATFORMS[preset].tags[0]}"' in " ".join(said.split())


def portable_sources():
    """Paths of the C sources that are compiled for the least processor: all but the kernels of instruction sets."""
    kernels = {
        NATIVE / name
        for isa in ("AVX2", "AVX512BW", "AVX512", "NEON")
        for name in cmake_list(f"ER_{isa}_SOURCES") + cmake_list(f"ER_{isa}_FLOATS")
    }
    return [path for path in (NATIVE / "src").rglob("*.c") if path not in kernels]


@each_wheel
def test_library_holds_no_multiply_in_inference(preset):
    """Multiplies are in the functions of other sources and of the compiler's library, and in no others."""
    targets.needs("objdump")
    inference = inference_sources()
    functions, found = multiplies("objdump", [wheels.library(preset)])
    assert {
        "er_gru_step",
        "er_ternary_gemv_scalar",
        "er_stream_step_quantized",
        "er_fine_layer_step",
    } <= functions
    assert {"er_gru_gates_avx2", "er_gru_gates_avx512"} <= functions or preset != "x86_64"
    assert "er_gru_gates_neon" in functions or preset == "x86_64"
    floats = [
        NATIVE / name for isa in ("AVX2", "AVX512BW", "NEON") for name in cmake_list(f"ER_{isa}_FLOATS")
    ]
    others = [path for path in [*portable_sources(), *floats] if path not in inference]
    allowed = defined_functions(others) - defined_functions(inference)
    compilers = re.compile(r"__(aeabi_\w+|u?div\w+|u?mod\w+|mul\w+)|compiler_rt\..*|memcpy|memset|memmove")
    rest = {(f, i) for f, i in found if f.split(".")[0] not in allowed and not compilers.fullmatch(f)}
    assert rest == set()
    assert {f.split(".")[0] for f, _ in found} & allowed  # the front end's are seen


def test_armv6_library_goes_beyond_its_processor_in_kernels_only():
    """What an ARM1176 cannot decode is in kernels that the library asks for NEON before it calls them."""
    targets.needs("llvm-objdump-19")
    command = ["llvm-objdump-19", "-d", "--no-show-raw-insn", "--mcpu=arm1176jzf-s", wheels.library("armv6l")]
    functions, beyond, function = set(), set(), None
    for line in targets.run(command).splitlines():
        label = re.fullmatch(r"[0-9a-f]+ <(.+)>:", line)
        if label:
            function = label[1]
            functions.add(function)
        elif "<unknown>" in line:
            beyond.add(function)
    assert "er_gru_gates_neon" in beyond and "er_gru_step" in functions
    assert beyond & defined_functions(portable_sources()) == set()
    # What is in no source of ours: the compiler's library.
    assert not any(name.startswith(("__", "compiler_rt")) for name in beyond)


def lines_of(text):
    """First line of what check_installed.py prints, which says what ran; the rest."""
    first, _, rest = text.partition("\n")
    return first, rest


@pytest.fixture(scope="module")
def expected():
    """What this machine's Python and library compute."""
    _, rest = lines_of(targets.run(["env", f"PYTHONPATH={ROOT}", sys.executable, CHECK, ROOT]))
    assert rest.count(" equal\n") > 20 and "DIFFERS" not in rest
    assert rest.count(" word ") > 20 and rest.count(" logits ") == 8
    return rest


@pytest.mark.parametrize(
    ("preset", "model", "kernel"),
    [(p.preset, model, kernel) for p in PLATFORMS.values() for model, kernel in p.models],
)
def test_wheel_computes_the_same_on_its_processors(preset, model, kernel, expected):
    if model in ("cortex-a72",) and os.environ.get("EDGE_RUNTIME_WHEELS") != "full":
        pytest.skip("with make test-wheels")
    site = wheels.installed(preset)
    first, rest = lines_of(roots.python(PLATFORMS[preset].root, model, site, [CHECK, ROOT]))
    assert f"kernel {kernel}, edge_runtime {edge_runtime.__version__} {site}" in first
    assert "numpy 1.24" in first and "cffi 1.15" in first
    assert rest == expected


def test_wheel_computes_the_same_here(expected):
    """The wheel for x86-64, in this Python."""
    if platform.machine() != "x86_64":
        pytest.skip("not on x86-64")
    site = wheels.installed("x86_64")
    environment = {k: v for k, v in os.environ.items() if k != "EDGE_RUNTIME_LIBRARY"} | {
        "PYTHONPATH": str(site)
    }
    command = [sys.executable, CHECK, ROOT]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    first, rest = lines_of(result.stdout)
    assert str(site) in first
    assert rest == expected


def test_source_distribution_is_the_checkout(tmp_path):
    with tarfile.open(wheels.source_distribution()) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert names == {name for name in wheels.tracked() if not name.startswith(".ci/")} | {"PKG-INFO"}


def test_source_distribution_builds_with_a_c_compiler_alone(tmp_path):
    """pip brings cmake; the system's is not on the PATH. The wheel holds the files of the others."""
    targets.needs("gcc")
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("gcc", "cc", "as", "ld", "ar", "ranlib", "sh", "uname"):
        (tools / tool).symlink_to(shutil.which(tool))
    environment = {"PATH": str(tools), "HOME": os.environ.get("HOME", "/")}
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "-w", tmp_path / "wheel"]
    command = [sys.executable, "-m", "pip", "wheel", *options, wheels.source_distribution()]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (path,) = (tmp_path / "wheel").glob("*.whl")
    names = sorted(zipfile.ZipFile(path).namelist())
    assert names == sorted(zipfile.ZipFile(wheels.wheel("x86_64")).namelist())
