# SPDX-License-Identifier: MIT
"""Texts of character language models: splits, alphabets, and files in the layouts that their owners have."""

import os
from pathlib import Path

import numpy as np
import pytest

from apps.corpus import CorpusError
from training import texts


def text_of(text, codes):
    """The bytes of codes."""
    return bytes(np.frombuffer(text.alphabet, np.uint8)[codes])


@pytest.fixture
def ptb(tmp_path):
    """A folder with Mikolov's three files: sentences of words between blanks, rare ones being <unk>."""
    folder = tmp_path / "ptb"
    folder.mkdir()
    sentences = {
        "train": [" aer banknote berlitz calloway \n", " pierre <unk> N years old \n"] * 3,
        "valid": [" consumers may want to move their telephones \n"] * 3,
        "test": [" no it was n't black monday \n"] * 5,
    }
    for split, lines in sentences.items():
        (folder / f"ptb.{split}.txt").write_text("".join(lines), encoding="ascii")
    return tmp_path


@pytest.fixture
def text8(tmp_path):
    (tmp_path / "text8").mkdir()
    (tmp_path / "text8" / "text8").write_bytes(b" anarchism originated as a term of abuse first used" * 100)
    return tmp_path


def test_war_and_peace_is_split_as_in_char_rnn(tmp_path):
    (tmp_path / "char_lm").mkdir()
    whole = ("\ufeffé\r\n" + "Well, Prince. " * 200).encode("utf-8")
    (tmp_path / "char_lm" / "warandpeace.txt").write_bytes(whole)
    text = texts.load("warandpeace", tmp_path)
    ends = int(len(whole) * 0.8), int(len(whole) * 0.9)
    assert text_of(text, text.train) == whole[: ends[0]]
    assert text_of(text, text.dev) == whole[ends[0] : ends[1]]
    assert text_of(text, text.test) == whole[ends[1] :]
    assert text.alphabet == bytes(sorted(set(whole)))
    assert text.labels[:4] == ("0x0a", "0x0d", "0x20", ",")
    assert text.train.dtype == np.int64


def test_ptb_lines_lose_the_blanks_around_them(ptb):
    text = texts.load("ptb", ptb)
    expected = b"aer banknote berlitz calloway\npierre <unk> N years old\n" * 3
    assert text_of(text, text.train) == expected
    assert text_of(text, text.dev).count(b"\n") == 3
    assert text_of(text, text.test).startswith(b"no it was n't black monday\nno ")
    assert text.alphabet == bytes(
        sorted(set(expected + b"consumers may want to move their telephones no it was n't black"))
    )


def test_text8_is_split_90_5_5(text8):
    text = texts.load("text8", text8)
    assert [len(part) for part in (text.train, text.dev, text.test)] == [4590, 255, 255]
    assert set(text.alphabet) <= set(b" abcdefghijklmnopqrstuvwxyz")


def test_text8_still_compressed_is_refused(text8):
    (text8 / "text8" / "text8").write_bytes(b"PK\x03\x04" + bytes(10000))
    with pytest.raises(CorpusError, match=r"text8: byte 0 is 0x50, expected only a to z and blanks"):
        texts.load("text8", text8)


@pytest.mark.parametrize("name", texts.TEXTS)
def test_missing_file_is_named_with_what_it_should_be(tmp_path, name):
    with pytest.raises(CorpusError, match=r"No such file or directory; expected a file of ") as error:
        texts.load(name, tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_short_text_and_unknown_name_are_refused(text8):
    (text8 / "text8" / "text8").write_bytes(b"a " * 500)
    with pytest.raises(CorpusError, match=r"text8: dev has 50 characters, expected at least 100"):
        texts.load("text8", text8)
    with pytest.raises(CorpusError, match=r"text 'bible': expected one of warandpeace"):
        texts.load("bible", text8)


@pytest.mark.skipif("EDGE_RUNTIME_DATA" not in os.environ, reason="EDGE_RUNTIME_DATA is not set")
def test_texts_that_come_with_the_data_have_the_published_sizes():
    data = Path(os.environ["EDGE_RUNTIME_DATA"])
    if not (data / "char_lm").is_dir():
        pytest.skip(f"{data} has no char_lm")
    war = texts.load("warandpeace", data)
    assert len(war.alphabet) == 87
    assert [len(part) for part in (war.train, war.dev, war.test)] == [2606596, 325825, 325825]
    shakespeare = texts.load("shakespeare", data)
    assert len(shakespeare.alphabet) == 65
    assert len(shakespeare.train) + len(shakespeare.dev) + len(shakespeare.test) == 1115394
