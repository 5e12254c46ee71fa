# SPDX-License-Identifier: MIT
"""From quantized input to logits there is no multiply or divide instruction.

The inference sources (ER_INFERENCE_SOURCES in native/CMakeLists.txt, and the kernels of each instruction set
with the flags given there) are compiled by every compiler found, for every target it serves, at each
optimization level, and disassembled. The shipped library is
disassembled too. A control with a dot product and a division, compiled alike, must be caught.
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from edge_runtime._native import library_path

NATIVE = pathlib.Path(__file__).resolve().parents[1] / "native"
LEVELS = ("-O1", "-O2", "-O3", "-Os")
#: As CMake compiles them, less the warnings.
FLAGS = ("-std=c11", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off")

#: Whichever clang is installed.
CLANG = next(filter(shutil.which, ("clang", "clang-19", "clang-14")), "clang")

#: Compiler, options, objdump. Those not installed are skipped.
TARGETS = {
    "cc": (os.environ.get("CC", "gcc"), "", "objdump"),
    "gcc-x86-64-v3": ("gcc", "-march=x86-64-v3", "objdump"),
    "gcc-x86-64-v4": ("gcc", "-march=x86-64-v4", "objdump"),
    "clang": (CLANG, "", "objdump"),
    "clang-x86-64-v4": (CLANG, "-march=x86-64-v4", "objdump"),
    "aarch64": ("aarch64-linux-gnu-gcc", "", "aarch64-linux-gnu-objdump"),
    "aarch64-cortex-a76": ("aarch64-linux-gnu-gcc", "-mcpu=cortex-a76", "aarch64-linux-gnu-objdump"),
    "armv7": (
        "arm-linux-gnueabihf-gcc",
        "-march=armv7-a -mfpu=vfpv3-d16 -mfloat-abi=hard",
        "arm-linux-gnueabihf-objdump",
    ),
    "armv7-cortex-a7": (
        "arm-linux-gnueabihf-gcc",
        "-march=armv7ve -mtune=cortex-a7 -mfpu=neon-vfpv4 -mfloat-abi=hard -marm",
        "arm-linux-gnueabihf-objdump",
    ),
    "clang-armv7": (
        f"{CLANG} --target=arm-linux-gnueabihf",
        "-march=armv7-a -mfpu=vfpv3-d16",
        "arm-linux-gnueabihf-objdump",
    ),
    "armv6": (
        "arm-linux-gnueabi-gcc",
        "-march=armv6kz -mfpu=vfp -mfloat-abi=softfp -marm",
        "arm-linux-gnueabi-objdump",
    ),
    "cortex-m0": (
        "arm-linux-gnueabi-gcc",
        "-march=armv6s-m -mthumb -mfloat-abi=soft",
        "arm-linux-gnueabi-objdump",
    ),
    "cortex-m0-small": (
        "arm-none-eabi-gcc",
        "-mcpu=cortex-m0 -mthumb -DER_SMALL_MEMORY",
        "arm-none-eabi-objdump",
    ),
}

#: Instruction sets that have kernels, by machine: ER_<word>_SOURCES in CMake, and there the list of their flags.
SETS = {
    "x86_64": {"AVX2": "ER_AVX2_FLAGS", "AVX512BW": "ER_AVX512BW_FLAGS", "AVX512": "ER_AVX512_FLAGS"},
    "aarch64": {"NEON": "ER_NEON_FLAGS"},
    "arm": {"NEON": "ER_NEON_ARM_FLAGS"},
}

#: Mnemonics, up to the first dot, of x86, AArch64 and ARM: integer and float, scalar and vector.
MULTIPLY = re.compile(
    r"v?f?n?m(ul|la|ls|add|sub|neg)\w*"
    r"|[su]m(ul|la|ls|add|sub|neg|mul|mla|mls|mmla)\w*|sml\w+|smu\w+|umaal|umull\w*|umlal\w*"
    r"|f(mul|madd|msub|mla|mls|nmul|nmadd|nmsub|recps|rsqrts)\w*|fi?mulp?|fi?divr?p?"
    r"|v(mul|mla|mls|fma|fms|fnm|nml|nmul|dot|sdot|udot|usdot|sudot|mmla|smmla|ummla|usmmla|qdm|qrdm|recps|rsqrts)\w*"
    r"|sqr?dm\w+|pmull?2?|([su]|us|su|bf)(dot|mmla)|bf?mlal\w*"
    r"|[su]div\w*|fdiv|vdiv\w*|i?mul\w*|mulx|v?pm(ul|add)\w*|v?(mul|div)[sp][sdh]|vf?n?m(add|sub)\w*"
    r"|vfn?m(add|sub)\w*|vfc?m(add|ul)c\w*|v?dpp[sd]|v?p?dp\w*|tdp\w*|v?gf2p8mul\w*|v?pclmul\w*|i?div\w*|rem[uw]*"
)
#: Prefixes that objdump writes before a mnemonic.
PREFIX = re.compile(r"lock|rep\w*|bnd|notrack|data16|cs|ds|es|ss|fs|gs|addr32|rex\S*|\{\w+\}")
#: Functions of the compiler's library that multiply or divide. What is beyond one is called name+0x... if it has no
#: name itself, as entries of a procedure linkage table.
HELPER = re.compile(r"__(aeabi_\w*(mul|div|mod)\w*|u?(mul|div|mod|divmod)\w*)\b(?!\+0x)")

CONTROL = """
#include <stdint.h>
int32_t control_dot(const int16_t *a, const int16_t *b, int n)
{
    int32_t sum = 0;
    for (int i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}
uint32_t control_address(uint32_t row, uint32_t row_bytes) { return row * row_bytes; }
int32_t control_quotient(int32_t a, int32_t b) { return a / b; }
uint32_t control_third(uint32_t a) { return a / 3; }
float control_float(float a, float b) { return a * b; }
"""
CONTROL_FUNCTIONS = (
    "control_dot",
    "control_address",
    "control_quotient",
    "control_third",
    "control_float",
)


def cmake_list(name):
    """Items of a list that native/CMakeLists.txt sets."""
    text = (NATIVE / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(rf"set\({name}\s+(.*?)\)", text, re.DOTALL).group(1).split()


def inference_sources():
    """Paths of the portable sources that CMake lists as inference."""
    return [NATIVE / name for name in cmake_list("ER_INFERENCE_SOURCES")]


def kernel_sources(machine, floats=False):
    """Paths of the kernels that CMake builds for a machine (a compiler's -dumpmachine), and their flags. floats:
    with the kernels that convert floats, which do multiply."""
    return {
        NATIVE / name: cmake_list(flags)
        for word, flags in SETS.get(machine.split("-")[0], {}).items()
        for part in (("SOURCES", "FLOATS") if floats else ("SOURCES",))
        for name in cmake_list(f"ER_{word}_{part}")
    }


def multiplies(objdump, files):
    """Multiply and divide instructions in object files.

    Returns
    -------
    functions : set of str
        All functions seen.
    found : list of (function, instruction)
    """
    result = subprocess.run(
        [objdump, "-dr", "--no-show-raw-insn", *files], capture_output=True, text=True, check=True
    )
    functions, found, function = set(), [], None
    for line in result.stdout.splitlines():
        label = re.fullmatch(r"[0-9a-f]+ <(.+)>:", line)
        if label:
            function = label.group(1)
            functions.add(function)
            continue
        instruction = re.match(r"\s+[0-9a-f]+:\s+(.*)", line)
        if not instruction:
            continue
        words = instruction.group(1).split()
        while words and PREFIX.fullmatch(words[0]):
            words.pop(0)
        mnemonic = words[0].split(".")[0] if words else ""
        if MULTIPLY.fullmatch(mnemonic) or HELPER.search(line):
            found.append((function, instruction.group(1).expandtabs()))
    return functions, found


def compile_sources(target, level, sources, folder, kernels=False):
    """Compile to objects, with the kernels of the machine if asked; returns their paths and the objdump to
    use. Skips what is not installed."""
    compiler, options, objdump = TARGETS[target]
    command = compiler.split()
    for tool in (command[0], objdump):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    machine = subprocess.run([*command, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    if "x86-64-v" in options and not machine.startswith("x86_64"):
        pytest.skip(f"{compiler} does not compile for x86-64")
    if machine.startswith("arm") and "soft" in options.split("-mfloat-abi=")[1:]:
        kernels = False  # as CMake finds
    flags = dict.fromkeys(sources, ()) | (kernel_sources(machine) if kernels else {})
    objects = []
    for source, extra in flags.items():
        objects.append(folder / f"{source.stem}.o")
        includes = [f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'src'}"]
        arguments = [*options.split(), *FLAGS, level, *extra, *includes, "-c", str(source)]
        subprocess.run([*command, *arguments, "-o", str(objects[-1])], check=True)
    return objects, objdump


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("target", TARGETS)
def test_inference_objects_hold_no_multiply(target, level, tmp_path):
    objects, objdump = compile_sources(target, level, inference_sources(), tmp_path, kernels=True)
    functions, found = multiplies(objdump, objects)
    assert {"er_gru_step", "er_ternary_gemv_scalar", "er_stream_step_quantized"} <= functions
    assert {"er_fine_layer_step", "er_fine_tanh", "er_stream_step_quantized16"} <= functions
    isa = {"aarch64": {"neon"}, "armv": {"neon"}, "x86_64": {"avx2", "avx512"}}
    for machine, words in isa.items():
        if machine in target or (machine == os.uname().machine and TARGETS[target][2] == "objdump"):
            assert {f"er_gru_gates_{word}" for word in words} <= functions
    assert found == []


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("target", TARGETS)
def test_control_is_caught(target, level, tmp_path):
    source = tmp_path / "control.c"
    source.write_text(CONTROL)
    objects, objdump = compile_sources(target, level, [source], tmp_path)
    _, found = multiplies(objdump, objects)
    caught = {function for function, _ in found}
    assert caught == set(CONTROL_FUNCTIONS)


def defined_functions(sources):
    """Names of the functions that C sources define."""
    pattern = re.compile(r"^(?:static )?(?:inline )?(?:const )?\w+ \*?(\w+)\([^;]*?\)\n\{", re.MULTILINE)
    return {name for path in sources for name in pattern.findall(path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize(
    "mnemonic",
    (
        "imul mul mulx vpmaddubsw vpmaddwd vpmullw vpmulhrsw vpmuludq vpmadd52luq vpdpbusd vdpbf16ps vdpps "
        "vmulps vfmadd231ps vpclmulqdq vgf2p8mulb div idiv madd smaddl mneg smlal smull2 sdot smmla fmla vmla"
    ).split(),
)
def test_multiplying_mnemonics_are_known(mnemonic):
    assert MULTIPLY.fullmatch(mnemonic)


@pytest.mark.parametrize("mnemonic", "vpaddw vpermi2b vpavgw vpsadbw vpsravw mov smin tbl sshl kmovd".split())
def test_other_mnemonics_pass(mnemonic):
    assert not MULTIPLY.fullmatch(mnemonic)


def test_shipped_library_holds_no_multiply(tmp_path):
    """Its inference functions, as they were built and linked."""
    if shutil.which("objdump") is None:
        pytest.skip("objdump is not installed")
    inference = inference_sources()
    objects, objdump = compile_sources("cc", "-O2", [], tmp_path, kernels=True)
    compiled = multiplies(objdump, objects)[0] if objects else set()
    others = [
        path
        for path in (NATIVE / "src").rglob("*.c")
        if path not in inference and f"{path.stem}.o" not in {o.name for o in objects}
    ]
    headers = [NATIVE / "src" / name for name in ("fixed.h", "fine_fixed.h", "kernels/lookup.h")]
    wanted = defined_functions(inference + headers) - defined_functions(others) | compiled
    functions, found = multiplies("objdump", [library_path])
    if "er_gru_step" not in functions:
        pytest.skip(f"{library_path} is stripped, or of another architecture")
    exported = {
        f"er_stream_{name}_quantized{end}" for name in ("step", "run", "step_many") for end in ("", "16")
    }
    kernels = {path.stem for path in inference if path.parent.name == "kernels"}
    assert exported | {f"er_{name}" for name in kernels} <= wanted & functions
    gates = {name for name in compiled if name.startswith("er_gru_gates")}
    assert gates <= functions  # every instruction set that the compiler knows was built
    # A compiler names the parts it splits off name.cold, name.constprop.0, name.isra.0 ...
    assert [entry for entry in found if entry[0].split(".")[0].split("@")[0] in wanted] == []
