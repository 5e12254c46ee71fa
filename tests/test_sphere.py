# SPDX-License-Identifier: MIT
"""The reader of SPHERE files: both byte orders, and what it refuses."""

import numpy as np
import pytest

pytest.importorskip("soundfile")

from sphere_files import sphere_bytes

from apps.corpus import CorpusError
from training.sphere import read_header, read_sphere

SAMPLES = np.random.default_rng(0).integers(-32768, 32768, 3000).astype(np.int16)


@pytest.mark.parametrize("byte_order", "<>")
@pytest.mark.parametrize("rate", [16000, 20000])
def test_samples_come_back(tmp_path, byte_order, rate):
    path = tmp_path / "011c0201.wv1"
    path.write_bytes(sphere_bytes(SAMPLES, rate, byte_order=byte_order))
    samples, found = read_sphere(path)
    assert found == rate and samples.dtype == np.int16
    np.testing.assert_array_equal(samples, SAMPLES)


def test_header_fields_have_their_types(tmp_path):
    path = tmp_path / "a.sph"
    path.write_bytes(sphere_bytes(SAMPLES, fields=[("snr", "-r", 33.5), ("utterance_id", "-s8", "011c0201")]))
    fields = read_header(path)
    assert (fields["sample_count"], fields["snr"], fields["utterance_id"]) == (3000, 33.5, "011c0201")


@pytest.mark.parametrize("coding", ["pcm,embedded-shorten-v1.09", "pcm,embedded-shorten-v2.00"])
def test_compressed_files_are_refused_with_the_tool_that_expands_them(tmp_path, coding):
    path = tmp_path / "011c0201.wv1"
    path.write_bytes(sphere_bytes(SAMPLES, coding=coding))
    with pytest.raises(CorpusError, match=rf"011c0201.wv1: sample_coding is {coding}.*sph2pipe"):
        read_sphere(path)


@pytest.mark.parametrize(
    "contents, message",
    [
        (b"RIFF" + bytes(2000), "Error opening"),
        (b"fLaC" + bytes(2000), "expected a SPHERE file"),
        (b"", "expected a SPHERE file"),
        (b"NIST_1A\n   lots\n", "length of the SPHERE header"),
        (b"NIST_1A\n   1024\nsample_rate -i 16000\n", "no end_head"),
        (sphere_bytes(SAMPLES, fields=[("sample_rate", "-i", "fast")]), "'sample_rate -i fast'"),
        (sphere_bytes(SAMPLES, fields=[("channel_count", "-i", 2)]), "2 channels, expected 1"),
        (sphere_bytes(SAMPLES)[:-1000], "2500 samples, its header counts 3000"),
    ],
)
def test_damaged_files_are_named(tmp_path, contents, message):
    path = tmp_path / "bad.wv1"
    path.write_bytes(contents)
    with pytest.raises(CorpusError, match=f"bad.wv1: .*{message}"):
        read_sphere(path)


def test_the_wav_file_of_sph2pipe_is_read_whatever_its_name(tmp_path):
    import soundfile

    path = tmp_path / "1a.wv1"
    soundfile.write(path, SAMPLES, 20000, format="WAV", subtype="PCM_16")
    samples, rate = read_sphere(path)
    assert rate == 20000
    np.testing.assert_array_equal(samples, SAMPLES)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CorpusError, match=r"none\.wv1: No such file"):
        read_sphere(tmp_path / "none.wv1")
