# SPDX-License-Identifier: MIT
"""The grid over a real Ray cluster of two nodes on this machine, one of which is lost."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
if not os.environ.get("EDGE_RUNTIME_REQUIRE_RAY"):
    pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")
from ray.cluster_utils import Cluster

ROOT = Path(__file__).resolve().parent.parent
STEPS = 10
ROWS = ("characters-shakespeare-lstm128-float-s0", "characters-shakespeare-lstm128-ternary-weightnorm-s0")


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one CPU each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # not behind all else that this machine does
    memory = {"num_cpus": 1, "object_store_memory": 100 << 20}
    found = Cluster(initialize_head=True, head_node_args={**memory, "include_dashboard": False})
    second = found.add_node(**memory)
    yield found, second
    found.shutdown()


def test_rows_are_trained_by_both_nodes_and_by_one_when_the_other_is_lost(cluster, tmp_path):
    cluster, second = cluster
    (tmp_path / "char_lm").mkdir()
    text = (ROOT / "README.md").read_bytes()[:20_000]
    (tmp_path / "char_lm" / "tinyshakespeare.txt").write_bytes(text)
    options = ["--engine", "ray", "--address", cluster.address, "--only", *ROWS, "--steps", STEPS]
    options += ["--data", tmp_path, "--runs", tmp_path / "runs"]
    command = [sys.executable, "-m", "training.reproduce", *map(str, options)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "EDGE_RUNTIME_DATA": ""},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    begun = {}
    try:
        for line in process.stderr:
            found = re.search(r"\] (\S+): node (\w+)", line)
            if found:
                begun[found[1]] = found[2]
            if len(begun) == 2:
                break
        assert set(begun) == set(ROWS) and len(set(begun.values())) == 2
        cluster.remove_node(second, allow_graceful=False)
        output, errors = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "begun again" in errors
    assert sorted(line.split()[0] for line in output.splitlines()) == sorted(ROWS)
    for name in ROWS:
        files = {path.name for path in (tmp_path / "runs" / name).iterdir()}
        assert {"result.json", "model.ernn", "checkpoint.pt"} <= files
