# SPDX-License-Identifier: MIT
"""The fuzz targets of the importers, as in test_fuzz.py."""

import pytest
from test_fuzz import replay


def test_checkpoint_target(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    replay("checkpoint", monkeypatch, tmp_path)


def test_onnx_target(monkeypatch, tmp_path):
    pytest.importorskip("onnx")
    replay("onnx", monkeypatch, tmp_path)
