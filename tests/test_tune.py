# SPDX-License-Identifier: MIT
"""``--tune``: the threshold proposed is one that the recording supports."""

import numpy as np
import pytest
from test_session import Source
from word_models import babble_audio, tone_model, tone_signal

from apps.audio import AudioError
from apps.digit_demo.tune import propose, tune
from edge_runtime import Model


@pytest.mark.parametrize(
    "confidences, heard_s, floor, threshold",
    [
        ([], 30, np.float32(0.4), 0.40),
        ([0.3], 30, 0.4, 0.40),
        ([0.71, 0.3], 30, 0.4, 0.72),
        ([0.7, 0.3], 30, 0.4, 0.71),
        ([0.7, 0.3], 30, 0.9, 0.90),
        ([0.999], 30, 0.4, 0.99),
        ([0.999], 30, 0.995, 1.00),
        ([0.9, 0.8], 119, 0.4, 0.91),
        ([0.9, 0.8], 120, 0.4, 0.81),  # half a false digit a minute is accepted
        ([0.9, 0.8, 0.5], 600, 0.4, 0.40),
    ],
)
def test_least_threshold_that_leaves_few_false_digits(confidences, heard_s, floor, threshold):
    proposal = propose(confidences, heard_s, floor)
    assert proposal.threshold == threshold
    assert proposal.suffices == (proposal.false_per_minute(threshold) <= 0.5)
    assert proposal.suffices or threshold == 0.99


def test_at_the_threshold_proposed_the_room_is_quiet(capsys):
    model = Model.from_bytes(tone_model(threshold=0.5))
    audio = babble_audio(20, 3)
    tune(model, Source(audio), 30)
    out, err = capsys.readouterr()
    option, threshold = out.split()
    assert option == "--threshold"
    assert float(threshold) > model.file.decoder.threshold
    recognizer = model.recognizer(threshold=float(threshold))
    assert recognizer.accept_waveform(audio) + recognizer.finish() == []
    recognizer = model.recognizer(threshold=float(threshold) - 0.01)
    assert len(recognizer.accept_waveform(audio) + recognizer.finish()) > 0
    assert "proposed" in err
    assert "the model's own" in err
    assert "20.0 s" in err


def test_never_below_the_models_own_unless_asked(capsys):
    model = Model.from_bytes(tone_model(threshold=0.5))
    hum = tone_signal(["unknown"] * 20)
    for floor, threshold in ((None, "0.50"), (0.2, "0.20"), (0.625, "0.63")):
        tune(model, Source(hum), 30, floor)
        assert capsys.readouterr().out == f"--threshold {threshold}\n"


def test_what_teaches_nothing_is_refused(capsys):
    model = Model.from_bytes(tone_model(threshold=0.5))
    with pytest.raises(AudioError, match="digital silence"):
        tune(model, Source(np.zeros(160000, np.float32)), 30)
    with pytest.raises(AudioError, match=r"4\.0 s were heard"):
        tune(model, Source(np.ones(64000, np.float32)), 30)
    with pytest.raises(ValueError, match="5 to 600 seconds"):
        tune(model, Source(np.ones(64000, np.float32)), 4)
    assert capsys.readouterr().out == ""


def test_ctrl_c_ends_the_recording_early(capsys):
    class Interrupted(Source):
        def blocks(self):
            yield from super().blocks()
            raise KeyboardInterrupt

    tune(Model.from_bytes(tone_model(threshold=0.5)), Interrupted(tone_signal(["unknown"] * 20)), 60)
    assert capsys.readouterr().out == "--threshold 0.50\n"
