# SPDX-License-Identifier: MIT
"""The loader of WSJ, on files made in the layout of its discs."""

import numpy as np
import pytest

pytest.importorskip("soundfile")

from sphere_files import sphere_bytes

from apps.corpus import CorpusError, read_folder
from training.features import cepstra_of
from training.wsj import LABELS, Wsj, main, words_of

LISTS = {
    "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx": [
        ";; a comment",
        "11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1",
        "11_1_1: wsj0/si_tr_s/01i/01ic0202.wv1",
        "11_2_1:wsj0/si_tr_s/401/401c0201.wv1",
    ],
    "11-13.1/wsj0/doc/indices/test/nvp/si_et_20.ndx": ["11_14_1:wsj0/si_et_20/440/440c0401"],
    "13_34.1/wsj1/doc/indices/si_tr_s.ndx": ["13_1_1:wsj1/si_tr_s/46a/46ac0201.wv1"],
    "13_34.1/wsj1/doc/indices/h1_p0.ndx": ["13_16_1:wsj1/si_dt_20/4k0/4k0c0301.wv1"],
    "13-32.1/wsj1/doc/indices/wsj1/eval/h1_p0.ndx": ["13_32_1:wsj1/si_et_20/4o1/4o1c0301.wv1"],
}
RECORDINGS = [
    "11-1.1/wsj0/si_tr_s/01i/01ic0201.wv1",
    "11-1.1/wsj0/si_tr_s/01i/01ic0202.wv1",
    "11-14.1/wsj0/si_et_20/440/440c0401.wv1",
    "13-1.1/wsj1/si_tr_s/46a/46ac0201.wv1",
    "13_16.1/WSJ1/SI_DT_20/4K0/4K0C0301.WV1",
    "13-33.1/wsj1/si_et_20/4o1/4o1c0301.wv1",
]
TRANSCRIPTS = {
    "11-4.1/wsj0/transcrp/dots/si_tr_s/01i/01ic0200.dot": [
        "The female produces a litter of two ,COMMA or *three* young (01ic0201)",
        "[loud_breath] They\\'re <really> n:ever late . !ever .PERIOD (01ic0202)",
    ],
    "11-14.1/wsj0/si_et_20/440/440c0400.dot": ["U. S. officials (440c0401)"],
    "13-34.1/wsj1/trans/wsj1/si_tr_s/46a/46ac0200.dot": ["A twenty-two cent dividend (46ac0201)"],
    "13_16.1/WSJ1/TRANS/4K0C0300.DOT": ["Of course (4K0C0301)"],
    "13-33.1/wsj1/4o1c0300.dot": ["Yes (4o1c0301)"],
}


def _samples(seed):
    return np.random.default_rng(seed).integers(-1000, 1000, 1600).astype(np.int16)


@pytest.fixture
def discs(tmp_path):
    folder = tmp_path / "ldc" / "csr"
    for name, lines in (LISTS | TRANSCRIPTS).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    for seed, name in enumerate(RECORDINGS):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sphere_bytes(_samples(seed)))
    return folder


def test_the_subsets_that_train_and_test(discs):
    corpus = Wsj([discs.parent])
    keys = {
        name: [u.key for u in corpus.subset(name)] for name in ("si84", "si284", "dev93", "eval92", "eval93")
    }
    assert keys == {
        "si84": ["01ic0201", "01ic0202"],  # without the speaker who was withdrawn
        "si284": ["01ic0201", "01ic0202", "46ac0201"],
        "dev93": ["4k0c0301"],
        "eval92": ["440c0401"],
        "eval93": ["4o1c0301"],
    }


def test_recordings_speakers_and_labels(discs):
    corpus = Wsj([discs])
    for seed, (subset, at) in enumerate(
        [("si84", 0), ("si84", 1), ("eval92", 0), ("si284", 2), ("dev93", 0)]
    ):
        np.testing.assert_array_equal(corpus.subset(subset)[at].read(), _samples(seed))
    first = corpus.subset("si84")[0]
    assert first.speaker == "01i"
    assert (
        "".join(LABELS[k] for k in first.labels) == "the female produces a litter of two comma or three young"
    )
    assert 0 not in first.labels


def test_discs_of_two_folders(discs, tmp_path):
    (tmp_path / "other").mkdir()
    (discs / "13-1.1").rename(tmp_path / "other" / "13-1.1")
    assert len(Wsj([discs, tmp_path / "other"]).subset("si284")) == 3
    assert len(Wsj([discs, tmp_path / "other" / "13-1.1"]).subset("si284")) == 3


def test_expanded_recordings_are_preferred(discs):
    import soundfile

    compressed = discs / RECORDINGS[4]
    compressed.write_bytes(sphere_bytes(_samples(4), coding="pcm,embedded-shorten-v2.00"))
    soundfile.write(compressed.with_suffix(".wav"), _samples(9), 16000, subtype="PCM_16")
    (utterance,) = Wsj([discs]).subset("dev93")
    np.testing.assert_array_equal(utterance.read(), _samples(9))


@pytest.mark.parametrize(
    "transcript, words",
    [
        ("Mr. Smith's three -DASH year --DASH plan", "mr. smith's three dash year dash plan"),
        ("[<door_slam] he [door_slam>] said [phone/] so [/phone] . ~", "he said so"),
        ("`SINGLE-QUOTE Til 'til 'SINGLE-QUOTE", "single-quote til 'til single-quote"),
        ('\\"DOUBLE-QUOTE Corp; %PERCENT .POINT (LEFT-PAREN', "double-quote corp percent point left-paren"),
        ("st- stammered A.B.C. twenty-two", "st stammered a.b.c. twenty-two"),
        ("", ""),
    ],
)
def test_marks_of_transcripts(transcript, words):
    assert " ".join(words_of(transcript)) == words


@pytest.mark.parametrize(
    "damage, subset, message",
    [
        (lambda d: (d / RECORDINGS[1]).unlink(), "si84", r"no file .*01ic0202\.wv1 \(line 3 of"),
        (lambda d: (d / "13_16.1").rename(d / "gone"), "dev93", r"no disc 13-16\.1"),
        (lambda d: (d / list(LISTS)[1]).unlink(), "eval92", r"no file .*si_et_20\.ndx"),
        (lambda d: (d / list(TRANSCRIPTS)[1]).unlink(), "eval92", r"no file 440c0400\.dot"),
        (
            lambda d: (d / list(TRANSCRIPTS)[1]).write_text("U. S. (440c0409)"),
            "eval92",
            "no transcript of 440c0401",
        ),
        (lambda d: (d / list(TRANSCRIPTS)[1]).write_text("U. S."), "eval92", "line 1: expected TEXT"),
        (
            lambda d: (d / list(LISTS)[1]).write_text("wsj0 440c0401\n"),
            "eval92",
            "line 1: expected DISC:PATH",
        ),
        (lambda d: None, "eval94", "expected one of si84, si284"),
    ],
)
def test_what_is_missing_is_named(discs, damage, subset, message):
    damage(discs)
    with pytest.raises(CorpusError, match=message):
        Wsj([discs]).subset(subset)


def test_recordings_of_another_rate_are_refused(discs):
    (discs / RECORDINGS[0]).write_bytes(sphere_bytes(_samples(0), rate=8000))
    with pytest.raises(CorpusError, match="8000 Hz, expected 16000"):
        Wsj([discs]).subset("si84")[0].read()


def test_a_set_of_cepstra_is_made(discs, tmp_path, capsys):
    out = tmp_path / "sets" / "wsj_mfcc"
    assert main([str(discs), "--out", str(out)]) == 0
    assert "5 utterances" in capsys.readouterr().out
    rows = read_folder(out)
    assert [(u.split, u.take, u.speaker) for u in rows] == [
        ("train", "01ic0201", "01i"),
        ("train", "01ic0202", "01i"),
        ("train", "46ac0201", "46a"),
        ("dev", "4k0c0301", "4k0"),
        ("test", "440c0401", "440"),
    ]
    assert rows[1].words == ("they're", "really", "never", "late", "ever", "period")
    for seed, row in ((0, 0), (3, 2), (4, 3), (2, 4)):
        np.testing.assert_array_equal(rows[row].cepstra, cepstra_of(_samples(seed) / np.float32(32768)))


def test_no_set_is_made_of_half_a_corpus(discs, tmp_path, capsys):
    out = tmp_path / "wsj_mfcc"
    (discs / RECORDINGS[2]).write_bytes(sphere_bytes(_samples(2), coding="pcm,embedded-shorten-v2.00"))
    assert main([str(discs), "--out", str(out)]) == 2
    assert "sph2pipe" in capsys.readouterr().err and not out.exists()


def test_the_command_counts_and_tells_of_compression(discs, tmp_path, capsys):
    assert main([str(discs)]) == 2  # a few utterances are not the whole
    captured = capsys.readouterr()
    assert "si284: 3 of 37416 utterances, 2 speakers" in captured.out
    assert "eval92_5k: disc 11_13_1: no file" in captured.err
    (discs / RECORDINGS[2]).write_bytes(sphere_bytes(_samples(2), coding="pcm,embedded-shorten-v2.00"))
    assert main([str(discs)]) == 2
    assert "eval92: " in (error := capsys.readouterr().err) and "sph2pipe" in error
    assert main([str(tmp_path / "none")]) == 2
    assert "none: no such folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2
    assert "no disc of WSJ" in capsys.readouterr().err
