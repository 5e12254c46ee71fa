# SPDX-License-Identifier: MIT
"""What the documents say is so: their commands exist, their Python runs, their files are there."""

import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from apps.audio import read_audio
from apps.demo_samples import samples as demo_samples

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/raspberry-pi.md", ".ci/run")
}


PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_callback_of_the_readme_runs(capsys, monkeypatch, tmp_path):
    (block,) = [block for block in PYTHON_BLOCKS if "listen(" in block]
    path, said = next(iter(demo_samples()))
    shutil.copy(path, tmp_path / "recording.wav")
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    heard = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert tuple(heard) == said


def test_python_of_the_readme_runs(capsys):
    (block,) = [block for block in PYTHON_BLOCKS if "listen(" not in block]
    path, said = next(iter(demo_samples()))
    audio, sample_rate = read_audio(path)
    features = np.zeros((5, 78), np.float32)
    names = {"samples": audio, "features": features}
    exec(block.replace("48000", str(sample_rate)), names)
    heard = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert tuple(heard) == said
    assert names["logits"].shape == (5, 13)


@pytest.mark.parametrize(
    "module", sorted(set(re.findall(r"python -m ((?:apps|edge_runtime|exporters)[\w.]*)", README)))
)
def test_command_of_the_readme_exists(module):
    result = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0 and "usage" in result.stdout


def test_options_of_the_readme_exist():
    text = subprocess.run(
        [sys.executable, "-m", "apps.digit_demo", "--help"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    for option in re.findall(r"apps\.digit_demo.*?(--[\w-]+)", README):
        assert option in text


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_named_exist(document):
    text = DOCUMENTS[document]
    folder = (ROOT / document).parent
    named = [(folder / link).relative_to(ROOT) for link in re.findall(r"\]\(([\w./-]+)\)", text)]
    named += re.findall(
        r"(?:^|[\s`(])((?:native|tests|exporters|training|apps|edge_runtime)/[\w./-]+\.\w+)", text
    )
    assert named or document == ".ci/run"
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []


def test_targets_named_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for text in DOCUMENTS.values():
        for target in re.findall(r"^\s*make ([\w-]+)", text, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
