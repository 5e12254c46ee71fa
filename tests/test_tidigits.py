# SPDX-License-Identifier: MIT
"""TIDIGITS: files made in its layout, listed, converted to a set and read as one."""

import numpy as np
import pytest

from apps.corpus import CorpusError, read_folder
from tests.sphere_files import sphere_bytes
from training import tidigits

pytest.importorskip("soundfile")

RATE = 20000


def tone(seconds, seed):
    rng = np.random.default_rng(seed)
    time = np.arange(int(RATE * seconds)) / RATE
    return np.rint(8000 * np.sin(2 * np.pi * 440 * time) + rng.normal(0, 100, len(time))).astype(np.int16)


def put(folder, place, seed=0, **options):
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = tone(0.3 + 0.01 * seed, seed)
    path.write_bytes(sphere_bytes(samples, RATE, **options))
    return samples


@pytest.fixture
def corpus(tmp_path):
    discs = tmp_path / "discs"
    said = {}
    for speaker in (f"{letter}e" for letter in "abcdefghijkl"):
        put(discs, f"disc1/TIDIGITS/TRAIN/MAN/{speaker.upper()}/1A.WAV", 1)
    for seed, name in enumerate(("1a", "1b", "za", "oa", "z6oa", "4395871a")):
        said[name] = put(discs, f"disc2/tidigits/test/girl/bn/{name}.wav", seed, byte_order="><"[seed % 2])
    put(discs, "disc2/tidigits/test/girl/bn/readme.wav")
    put(discs, "disc2/tidigits/doc/girl/bn/1a.wav")
    return discs, said


def test_files_are_listed_by_their_names(corpus):
    discs, _ = corpus
    files = tidigits.list_tidigits(discs)
    test = [f for f in files if f.split == "test"]
    assert [(" ".join(f.words), f.take) for f in test] == [
        ("one", "a"),
        ("one", "b"),
        ("oh", "a"),
        ("zero", "a"),
        ("zero six oh", "a"),
        ("four three nine five eight seven one", "a"),
    ]
    assert {(f.group, f.speaker, f.source.rsplit("/", 1)[0]) for f in test} == {
        ("girl", "bn", "test/girl/bn")
    }
    assert [f.speaker for f in files if f.split == "dev"] == ["je"], "the tenth of twelve"
    assert sum(f.split == "train" for f in files) == 11
    assert {len(f.words) for f in tidigits.list_tidigits(discs, "isolated")} == {1}
    assert [len(f.words) for f in tidigits.list_tidigits(discs, "connected")] == [3, 7]


def test_a_set_holds_the_samples_of_the_corpus(corpus, tmp_path, capsys):
    discs, said = corpus
    assert tidigits.main([str(discs), "--out", str(tmp_path / "set")]) == 0
    assert "18 utterances of 13 speakers" in capsys.readouterr().out
    import soundfile

    samples, rate = soundfile.read(tmp_path / "set" / "test_girl_bn.flac", dtype="int16")
    assert rate == RATE
    assert np.array_equal(
        samples, np.concatenate([said[n] for n in ("1a", "1b", "oa", "za", "z6oa", "4395871a")])
    )
    utterances = read_folder(tmp_path / "set", ("test",))
    assert [u.words for u in utterances][-2] == ("zero", "six", "oh")
    assert abs(utterances[0].duration_s - 0.3) < 0.01, "16 kHz"
    assert {u.speaker for u in utterances} == {"girl-bn"}
    assert {u.split for u in read_folder(tmp_path / "set")} == {"train", "dev", "test"}


def test_what_is_no_corpus_is_refused(corpus, tmp_path, capsys):
    discs, _ = corpus
    assert tidigits.main([str(tmp_path / "none"), "--out", str(tmp_path / "set")]) == 2
    assert "train/man/ae/1a.wav, found none" in capsys.readouterr().err
    with pytest.raises(CorpusError, match="found none that are connected"):
        tidigits.list_tidigits(discs / "disc1", "connected")
    put(discs, "copy/tidigits/test/girl/bn/1a.wav")
    with pytest.raises(CorpusError, match="the same as"):
        tidigits.list_tidigits(discs)


def test_compressed_files_name_the_tool_and_leave_no_index(corpus, tmp_path, capsys):
    discs, _ = corpus
    out = tmp_path / "set"
    assert tidigits.main([str(discs), "--out", str(out)]) == 0
    put(discs, "disc2/tidigits/test/girl/bn/2a.wav", coding="pcm,embedded-shorten-v2.00")
    capsys.readouterr()
    assert tidigits.main([str(discs), "--out", str(out)]) == 2
    assert "sph2pipe" in capsys.readouterr().err
    assert not (out / "index.csv").exists()
