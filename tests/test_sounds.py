# SPDX-License-Identifier: MIT
"""training.sounds: what is taken out of Debian packages, and how. The packages here are made on the spot."""

import io
import os
import shutil
import subprocess

import numpy as np
import pytest

from apps.corpus import CorpusError, read_folder
from training import sounds
from training.sounds import PACKAGES, chosen, decode, kind_of, main, speaker_of

soundfile = pytest.importorskip("soundfile")
BY_NAME = {package.name: package for package in PACKAGES}
TONE = 0.3 * np.sin(2 * np.pi * 440 / 22050 * np.arange(22050)).astype(np.float32)


def encoded(samples=TONE, rate=22050, form="WAV"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form)
    return file.getvalue()


@pytest.mark.parametrize(
    ("package", "path", "kind"),
    [
        ("tuxpaint-stamps-default", "./usr/share/tuxpaint/stamps/animals/mammals/dogs/dog.ogg", "sound"),
        ("tuxpaint-stamps-default", "./usr/share/tuxpaint/stamps/household/kettle.ogg", "sound"),
        ("tuxpaint-stamps-default", "./usr/share/tuxpaint/stamps/animals/dog_desc_fr.ogg", "talk"),
        ("tuxpaint-stamps-default", "./usr/share/tuxpaint/stamps/animals/dog_desc_zh_tw.ogg", "talk"),
        # English may say any word.
        ("tuxpaint-stamps-default", "./usr/share/tuxpaint/stamps/animals/dog_desc.ogg", None),
        ("tuxpaint-stamps-default", "./usr/share/tuxpaint/stamps/animals/dog_desc_en_GB.ogg", None),
        # Digits, letters, prices and numbers of roads, in any language; "zero" is one in several.
        ("tuxpaint-stamps-default", "./usr/share/tuxpaint/stamps/symbols/math/0_it.ogg", None),
        ("tuxpaint-stamps-default", "./usr/share/tuxpaint/stamps/symbols/math/0.ogg", None),
        ("tuxpaint-stamps-default", "./usr/share/tuxpaint/stamps/town/roadsigns/stop_desc_fr.ogg", None),
        ("tuxpaint-stamps-default", "./usr/share/tuxpaint/stamps/animals/dog.png", None),
        ("scratch", "./usr/share/scratch/Media/Sounds/Human/Sneeze-male.wav", "sound"),
        ("scratch", "./usr/share/scratch/Media/Sounds/Vocals/Singer1.wav", None),
        ("scratch", "./usr/share/scratch/Media/Sounds/Music Loops/Cave.mp3", None),
        ("widelands-data", "./usr/share/games/widelands/data/sound/animals/wolf_00.ogg", "sound"),
        ("widelands-data", "./usr/share/games/widelands/data/music/menu.ogg", None),
        ("hedgewars-data", "./usr/share/games/hedgewars/Data/Sounds/steam.ogg", "sound"),
        ("hedgewars-data", "./usr/share/games/hedgewars/Data/Sounds/voices/Pirate/Hurry.ogg", "talk"),
        ("hedgewars-data", "./usr/share/games/hedgewars/Data/Sounds/voices/Pirate/Thisoneismine.ogg", None),
        ("hedgewars-data", "./usr/share/games/hedgewars/Data/Music/City.ogg", None),
    ],
)
def test_paths_tell_what_is_heard(package, path, kind):
    assert kind_of(BY_NAME[package], path) == kind


def test_speakers_are_languages_and_voices():
    stamps, hedgewars = BY_NAME["tuxpaint-stamps-default"], BY_NAME["hedgewars-data"]
    assert speaker_of(stamps, "talk", "a/stamps/dog_desc_fr.ogg") == "tuxpaint-stamps-default:fr"
    assert speaker_of(stamps, "talk", "a/stamps/dog_zh_tw.ogg") == "tuxpaint-stamps-default:zh_tw"
    assert speaker_of(stamps, "sound", "a/stamps/dog.ogg") == "tuxpaint-stamps-default"
    assert speaker_of(hedgewars, "talk", "x/voices/Pirate/Hurry.ogg") == "hedgewars-data:Pirate"


def test_of_each_speaker_some_talk_is_kept_and_always_the_same():
    paths = [
        f"./usr/share/tuxpaint/stamps/animals/a{i}_desc_{code}.ogg"
        for i in range(300)
        for code in ("fr", "ro")
    ]
    paths += [f"./usr/share/tuxpaint/stamps/animals/a{i}.ogg" for i in range(300)]
    kept = chosen(BY_NAME["tuxpaint-stamps-default"], paths)
    speakers = [speaker for kind, speaker in kept.values() if kind == "talk"]
    assert len(speakers) == 2 * sounds.MOST_TALK
    assert sum(kind == "sound" for kind, _ in kept.values()) == 300
    assert list(kept.items()) == list(chosen(BY_NAME["tuxpaint-stamps-default"], paths[::-1]).items())


def test_recordings_become_16_khz_mono():
    pcm = decode(encoded(np.stack([TONE, 0 * TONE], axis=1)), "sound")
    assert pcm.dtype == np.int16 and abs(len(pcm) - 16000) <= 16
    spectrum = np.abs(np.fft.rfft(pcm[:16000]))
    assert abs(np.argmax(spectrum) - 440) <= 1
    assert np.sqrt(np.mean((pcm / 32768.0) ** 2)) == pytest.approx(0.15 / np.sqrt(2), rel=0.02)
    whole = np.array([-32768, 32767, 7, -1, 0] * 4000, np.int16)
    np.testing.assert_array_equal(decode(encoded(whole, 16000), "talk"), whole)


@pytest.mark.parametrize(
    "data",
    [b"no audio", encoded(TONE[:1000]), encoded(TONE * 1e-4), encoded(TONE[:0])],
    ids=["text", "short", "faint", "empty"],
)
def test_what_is_of_no_use_is_left_out(data):
    assert decode(data, "sound") is None


@pytest.mark.parametrize(("kind", "seconds"), sounds.LONGEST_S.items())
def test_of_long_recordings_the_beginning_is_kept(kind, seconds):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 20 * 16000).astype(np.float32)
    pcm = decode(encoded(noise, 16000), kind)
    assert len(pcm) == seconds * 16000


def make_package(folder, name, files):
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    root = folder / "root" / name
    files = {f"usr/share/doc/{name}/copyright": b"Files: *\n"} | files
    for path, data in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: me <m@e>\nDescription: sounds\n"
    )
    command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", root, folder / f"{name}_1_all.deb"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder with two packages, the only ones that are wanted."""
    monkeypatch.setattr(sounds, "PACKAGES", (BY_NAME["scratch"], BY_NAME["hedgewars-data"]))
    folder = tmp_path / "packages"
    folder.mkdir()
    media = "usr/share/scratch/Media/Sounds"
    files = {f"{media}/Animal/Dog1.wav": encoded(), f"{media}/Human/Cough.wav": b"damaged"}
    make_package(folder, "scratch", files)
    voices = "usr/share/games/hedgewars/Data/Sounds/voices"
    files = {
        f"{voices}/Pirate/Hurry.ogg": encoded(form="OGG"),
        f"{voices}/Pirate/Boring.ogg": encoded(TONE * 1e-5),
    }
    make_package(folder, "hedgewars-data", files)
    return folder


def test_set_is_read_as_others_are(packages, tmp_path, capsys):
    out = tmp_path / "set"
    out.mkdir()
    (out / "old").write_text("replaced")
    assert main(["--packages", str(packages), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 0.0 min of sounds, 0.0 min of talk\n"
    dog, hurry = read_folder(out)
    assert (dog.words, dog.speaker, dog.take, dog.split) == (("sound",), "scratch", "Dog1.wav", "train")
    assert (hurry.words, hurry.speaker) == (("talk",), "hedgewars-data:Pirate")
    np.testing.assert_array_equal(dog.pcm, decode(encoded(), "sound"))
    assert (out / "scratch.copyright").read_bytes() == b"Files: *\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packages", "set"]
    assert not (out / "old").exists()


def test_a_missing_or_damaged_package_is_named(packages, tmp_path, capfd):
    out = tmp_path / "set"
    out.mkdir()
    (out / "old").write_text("kept")
    (packages / "hedgewars-data_1_all.deb").write_bytes(b"no package")
    assert main(["--packages", str(packages), "--out", str(out)]) == 2
    assert (
        f"error: {packages / 'hedgewars-data_1_all.deb'}: dpkg-deb cannot read it" in capfd.readouterr().err
    )
    (packages / "hedgewars-data_1_all.deb").unlink()
    assert main(["--packages", str(packages), "--out", str(out)]) == 2
    assert capfd.readouterr().err == f"error: {packages}: no hedgewars-data_*.deb\n"
    assert (out / "old").read_text() == "kept"


def test_without_apt_a_folder_is_asked_for(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--out", str(tmp_path / "set")]) == 2
    assert capfd.readouterr().err == "error: apt-get: not found; give --packages a folder with the files\n"
    assert not (tmp_path / "set").exists()


def test_packages_that_cannot_be_fetched_are_named(tmp_path, monkeypatch):
    fake = tmp_path / "apt-get"
    fake.write_text("#!/bin/sh\nexit 100\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(CorpusError, match="apt-get download scratch hedgewars-data: failed"):
        sounds.download(["scratch", "hedgewars-data"], tmp_path)


def test_scene_of_sounds_fills_what_was_asked_for():
    from training.acoustics import scene

    rng = np.random.default_rng(4)
    recordings = [
        np.full(count, level, np.int16) for count, level in ((800, 40), (30000, 9000), (16000, 32767))
    ]
    levels = []
    for count in (100, 16000, 90000):
        for _ in range(20):
            sounds_heard = scene(rng, recordings, count)
            assert sounds_heard.shape == (count,) and sounds_heard.dtype == np.float32
            levels += [sounds_heard.max()] if sounds_heard.any() else []
    # Whatever their level was, within 6 dB of 1.
    assert 0.49 < min(levels) and max(levels) < 2.01 and len(levels) > 45
    np.testing.assert_array_equal(recordings[0], np.full(800, 40))
