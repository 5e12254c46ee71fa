# SPDX-License-Identifier: MIT
"""edge-digits on booted computers: a kernel, the static program and nothing else. `make test-boot`."""

import importlib.util
import os
import sys
import time

import boot
import edge_digits
import pytest
import targets
from boot import BOARDS
from edge_digits import checksum, expected_lines, expected_logits, load

from apps.audio import read_audio
from apps.demo_samples import samples

pytestmark = pytest.mark.skipif(
    os.environ.get("EDGE_RUNTIME_BOOT", "0") in ("", "0"), reason="fetches kernels: make test-boot"
)


@pytest.mark.parametrize("name", BOARDS)
def test_booted_board_recognizes_the_sample(name, tmp_path, record_property):
    board = BOARDS[name]
    targets.needs(board.emulator, "dpkg-deb", "apt-get")
    if importlib.util.find_spec("ziglang") is None:
        targets.missing("the package ziglang is not installed")
    boot.build_init(board, [sys.executable, "-m", "ziglang"], tmp_path / "init")
    program = edge_digits.shipped(board.machine)
    recording = samples()[0][0]
    disk = tmp_path / "disk.cpio"
    disk.write_bytes(
        boot.ram_disk({"init": tmp_path / "init", "edge-digits": program, "recording.wav": recording})
    )
    began = time.monotonic()
    lines = boot.boot(board, disk, exits=2)
    text = "\n".join(lines)
    assert text.count("EXIT 0") == 2, text[-4000:]
    logits = expected_logits(load(), *read_audio(targets.NATIVE / "cli" / "self_test.wav"))
    assert f"crc {checksum(logits)} kernel scalar" in text
    assert "words three one" in text
    words = [line for line in lines if line.startswith('{"word"')]
    assert words == expected_lines(load(), *read_audio(recording)).splitlines()
    (booted,) = [line for line in lines if line.startswith("BOOTED")]
    record_property("figures", f"{name}: {booted}; {len(words)} words, {time.monotonic() - began:.0f} s")
