# SPDX-License-Identifier: MIT
"""One run of the tests, in one process or in several at once (pytest-xdist)."""

import os
import signal
import tempfile

import builds
import hypothesis
import pytest

# The processes of a run share the cores; and sums of floats are the same however many cores there are.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Programs under test ask their own terminal for its size, and are interrupted even where the tests run in the
# background of a script, which ignores Ctrl-C and has that inherited.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing may fail because the machine is busy.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


def pytest_configure(config):
    """Make the folder of tests/builds.py, unless one is named; worker processes inherit its name."""
    if hasattr(config, "workerinput") or builds.VARIABLE in os.environ:
        return
    shared = tempfile.TemporaryDirectory(prefix="edge_runtime_builds_")
    config.add_cleanup(shared.cleanup)
    os.environ[builds.VARIABLE] = shared.name


def pytest_terminal_summary(terminalreporter):
    """What tests measured on the way: the lines they recorded as "figures"."""
    lines = [
        value
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "figures"
    ]
    if lines:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(sorted(lines)))


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    """Path of a model that tells tones apart, as str."""
    from word_models import tone_model

    path = tmp_path_factory.mktemp("model") / "tone.ernn"
    path.write_bytes(tone_model(threshold=0.5))
    return str(path)
