# SPDX-License-Identifier: MIT
"""`make test-static`: the programs edge-digits as they are shipped: size, processors, multiplies, an emulated Pi that hears."""

import json
import os
import time

import builds
import edge_digits
import pytest
import roots
import targets
import wheels
from count_instructions import plugin
from edge_digits import MACHINES, NAMES, Program, checksum, expected_logits, load
from test_edge_digits_microphone import listen
from test_microphone import microphone  # noqa: F401
from test_no_multiply import cmake_list, defined_functions, inference_sources, multiplies
from test_wheels import portable_sources

from apps.audio import read_audio
from apps.demo_samples import samples
from apps.evaluate.metrics import align

pytestmark = pytest.mark.skipif(edge_digits.STATIC is None, reason="of what is shipped: make test-static")

#: Programs on processors of the emulator, and the kernels that there are.
PROCESSORS = [
    ("x86-64", "qemu-x86_64", "core2duo", ["scalar"]),
    ("x86-64", "qemu-x86_64", "Haswell", ["scalar", "avx2"]),
    ("aarch64", "qemu-aarch64", "cortex-a53", ["scalar", "neon"]),
    ("aarch64", "qemu-aarch64", "cortex-a72", ["scalar", "neon"]),
    ("aarch64", "qemu-aarch64", "cortex-a76", ["scalar", "neon"]),
    ("armv7", "qemu-arm", "cortex-a7", ["scalar", "neon"]),
    ("armv7", "qemu-arm", "cortex-a7,neon=off", ["scalar"]),
    ("armv6", "qemu-arm", "cortex-a7", ["scalar", "neon"]),
    ("armv6", "qemu-arm", "arm1176", ["scalar"]),
]
SOUND = "alsa-utils,libasound2-plugins,libasound2-data,coreutils"


@pytest.mark.parametrize("name", NAMES)
def test_programs_are_small_and_need_nothing(name, record_property):
    content = edge_digits.path(name).read_bytes()
    record_property("figures", f"edge-digits for {name}: {len(content):,} bytes")
    assert len(content) <= 400_000
    assert b"/ld-" not in content  # the path of a loader
    assert b".debug_info" not in content


@pytest.mark.parametrize(("name", "emulator", "model", "kernels"), PROCESSORS)
def test_nothing_beyond_the_processor_is_executed(name, emulator, model, kernels):
    """The emulator ends a program at the first instruction that its processor lacks."""
    targets.needs(emulator)
    program = Program((emulator, "-cpu", model, str(edge_digits.path(name))))
    recording = targets.NATIVE / "cli" / "self_test.wav"
    for arguments, network in (([], load()), (["--small"], load(small=True))):
        result = program.run("--self-test", *arguments)
        assert result.returncode == 0, result
        found = [line.split() for line in result.stdout.decode().splitlines() if line.startswith("logits")]
        assert [line[-1] for line in found] == kernels
        assert {line[5] for line in found} == {checksum(expected_logits(network, *read_audio(recording)))}
    assert program.run("-i", samples()[0][0], "--json").returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_no_multiply_in_inference(name):
    """In the library that the program is linked from: its own functions have no names."""
    targets.needs("objdump")
    library = targets.ROOT / "build" / f"{MACHINES[name]}-static" / "libedge_runtime.a"
    functions, found = multiplies("objdump", [library])
    assert {"er_gru_step", "er_ternary_gemv_scalar", "er_stream_step_quantized"} <= functions
    floats = [
        targets.NATIVE / path
        for isa in ("AVX2", "AVX512BW", "NEON")
        for path in cmake_list(f"ER_{isa}_FLOATS")
    ]
    inference = inference_sources()
    others = [path for path in [*portable_sources(), *floats] if path not in inference]
    allowed = defined_functions(others) - defined_functions(inference)
    assert {(f, i) for f, i in found if f.split(".")[0] not in allowed} == set()
    assert {f for f, _ in found} & allowed  # the front end's are seen


@pytest.mark.parametrize(("name", "emulator", "model"), [words[:3] for words in PROCESSORS[1:]])
def test_program_is_ready_in_few_instructions(name, emulator, model, tmp_path, record_property):
    """From its start to when it could hear, and its end: an empty recording. A tenth of a second on the slowest."""
    targets.needs("gcc", emulator)
    figures = []
    for arguments in ([], ["--small"]):
        out = tmp_path / "counts"
        program = Program(
            (emulator, "-cpu", model, "-plugin", f"{plugin()},out={out}", str(edge_digits.path(name)))
        )
        assert program.run("--raw", "-i", "/dev/null", *arguments).returncode == 0
        executed = sum(int(line.split()[1], 16) for line in out.read_text().splitlines())
        assert 1e5 < executed < 3e7
        figures.append(f"{executed / 1e6:.1f}")
    record_property(
        "figures", f"edge-digits for {name} on {model}: ready in {' or '.join(figures)} M instructions"
    )


# ------------------------------------------------------------------- a Raspberry Pi that hears


def _dynamic():
    """edge-digits for AArch64 as it opens libasound: against glibc 2.17, by the preset of the wheels."""

    def make(where):
        options = ["--preset", "aarch64", "-B", where, "-DER_BUILD_CLI=ON", f"-DER_ZIG={wheels.zig()}"]
        targets.run(["env", "-C", targets.NATIVE, "cmake", *options])
        targets.run(["cmake", "--build", where, "--target", "edge-digits", "--parallel", os.cpu_count()])

    return builds.once("edge_digits_aarch64_dynamic", make) / "edge-digits"


def _emulated_pi(way, folder, environment):
    """The program in an arm64 Debian, and its environment: with arm64's libasound, or static with arm64's arecord."""
    root = roots.make("arm64", SOUND)
    emulator = ["qemu-aarch64", "-cpu", "cortex-a72", "-L", str(root)]
    targets.needs(emulator[0])
    plugins = root / "usr" / "lib" / "aarch64-linux-gnu" / "alsa-lib"
    environment = {**environment, "ALSA_PLUGIN_DIR": str(plugins)}
    if way == "libasound":
        return Program((*emulator, str(_dynamic()))), environment
    arecord = folder / "bin" / "arecord"
    arecord.parent.mkdir()
    arecord.write_text(f'#!/bin/sh\nexec {" ".join(emulator)} {root}/usr/bin/arecord "$@"\n')
    arecord.chmod(0o755)
    path = f"{arecord.parent}:{environment['PATH']}"
    return edge_digits.program("aarch64", "cortex-a53"), {**environment, "PATH": path}


@pytest.mark.parametrize("way", ["libasound", "arecord"])
def test_emulated_pi_hears_the_virtual_microphone(microphone, tmp_path, way, record_property):  # noqa: F811
    """The digits are those of the file, but for one word."""
    program, environment = _emulated_pi(way, tmp_path, microphone.environment)
    listener = listen(program, environment, "--json")
    line = listener.wait_for_message("listening to")
    assert ("through arecord" in line) == (way == "arecord")
    expected, said = [], []
    for path, words in samples():
        microphone.play(path)
        said += words
        out = program.run("-i", path, "--json", env=environment).stdout.decode().splitlines()
        expected += [json.loads(line)["word"] for line in out]
    time.sleep(2.0)
    out, err = listener.stop()
    assert listener.process.returncode == 0, err
    heard = [json.loads(line)["word"] for line in out.splitlines()]
    errors = sum(one != other for one, other in align(expected, heard))
    record_property(
        "figures", f"emulated Pi, {way}: {len(heard)} of {len(said)} words, {errors} unlike the file's"
    )
    assert errors <= 1
    assert "0 samples dropped" in err
