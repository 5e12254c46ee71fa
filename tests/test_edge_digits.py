# SPDX-License-Identifier: MIT
"""edge-digits hears on this machine, and on ARM under qemu, what Python hears: words, times, confidences, logits."""

import dataclasses
import fcntl
import json
import os
import pathlib
import pty
import signal
import struct
import subprocess
import sys
import termios
import time

import edge_digits
import numpy as np
import pytest
from edge_digits import HERE, NAMES, SANITIZED, checksum, expected_lines, expected_logits, load
from test_digit_demo import bad_files, make_wav
from test_hook import hostile_model
from word_models import TONE_LABELS, babble_audio, babble_model, in_profile_2, tone_model, tone_signal

from apps.audio import AudioError, open_audio, read_audio
from apps.demo_samples import samples
from edge_runtime import Model, __version__
from edge_runtime.format import ModelFile

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 96000, 176400, 192000)
KINDS = ("u8", "s16", "s24", "s32", "f32", "f64")
RECORDINGS = [recording for recording, _ in samples()]
SAID = ["one", "two", "three", "four"]


@pytest.fixture(scope="session", params=[*NAMES, SANITIZED])
def program(request):
    """edge-digits on each processor, and watched by sanitizers."""
    return edge_digits.program(request.param)


@pytest.fixture(scope="session")
def here():
    """edge-digits on this machine."""
    return edge_digits.program(HERE)


@pytest.fixture(scope="session")
def sanitized():
    """edge-digits watched by the address, leak and undefined-behavior sanitizers."""
    return edge_digits.program(SANITIZED)


@pytest.fixture(scope="module")
def babble_path(tmp_path_factory):
    """A model whose words depend on every bit of the past."""
    path = tmp_path_factory.mktemp("babble") / "babble.ernn"
    path.write_bytes(babble_model())
    return path


def lines(result):
    """Standard output of a run that succeeded."""
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode()


# -------------------------------------------------------------------------------- the same words


@pytest.mark.parametrize("small", [False, True], ids=["digits", "small"])
def test_recordings_give_the_lines_of_python(program, small):
    model = load(small)
    for path in RECORDINGS:
        expected = expected_lines(model, *read_audio(path))
        assert expected
        arguments = ["--small"] if small else []
        assert lines(program.run("-i", path, "--json", *arguments)) == expected, path.name


@pytest.mark.parametrize("rate", RATES)
def test_every_sample_rate(program, babble_path, tmp_path, rate):
    model = Model.load(babble_path)
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(babble_audio(3, seed=rate, rate=rate), rate))
    expected = expected_lines(model, *read_audio(path))
    assert expected
    assert lines(program.run("-i", path, "-m", babble_path, "--json")) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 2, 3, 7, 8, 9, 20, 300])
def test_every_encoding_reads_as_in_python(sanitized, tmp_path, kind, channels):
    """To the last bit: what is kept is what was heard."""
    path = tmp_path / "a.wav"
    frames = np.random.default_rng(channels).uniform(-1, 1, (2500, channels))
    path.write_bytes(make_wav(frames, 44100, kind, extensible=channels > 2))
    result = sanitized.run("-i", path, "-q", "--small", "--save-audio", tmp_path / "kept")
    assert result.returncode == 0, result.stderr
    (kept,) = (tmp_path / "kept").glob("*.wav")
    heard, read = read_audio(kept), read_audio(path)
    assert heard[1] == read[1] == 44100
    np.testing.assert_array_equal(heard[0], read[0])


@pytest.mark.parametrize("piece", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("data_size", [None, 0xFFFFFFFF])
def test_any_pieces_on_standard_input(here, babble_path, piece, data_size):
    audio = babble_audio(1 if piece == 1 else 4, seed=5, rate=44100)
    content = make_wav(audio, 44100, data_size=data_size)
    process = here.start("-i", "-", "-m", babble_path, "--json")
    for start in range(0, len(content), piece):
        process.stdin.write(content[start : start + piece])
    out, err = process.communicate()
    assert process.returncode == 0, err
    samples = np.rint(audio * 32767).astype("<i2").astype(np.float32) / np.float32(32768)
    assert out.decode() == expected_lines(Model.load(babble_path), samples, 44100)


def test_raw_standard_input(program, babble_path):
    audio = np.rint(babble_audio(3, rate=22050) * 32767).astype("<i2")
    expected = expected_lines(Model.load(babble_path), audio.astype(np.float32) / np.float32(32768), 22050)
    arguments = ["-i", "-", "--raw", "-r", 22050, "-m", babble_path, "--json"]
    assert lines(program.run(*arguments, input=audio.tobytes())) == expected


@pytest.mark.parametrize("threshold", [0, 0.5, 0.9991, 1])
def test_threshold(here, babble_path, tmp_path, threshold):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(babble_audio(5), 16000))
    expected = expected_lines(Model.load(babble_path), *read_audio(path), threshold)
    assert lines(here.run("-i", path, "-m", babble_path, "--json", "--threshold", threshold)) == expected


@pytest.mark.parametrize("name", ["fsdd", "sc_digits", "nondigit_speech", "esc10_noise"])
def test_real_recordings_give_the_lines_of_python(here, tmp_path, name):
    """Minutes of many words, doubtful ones too, where the sets are at hand."""
    data = os.environ.get("EDGE_RUNTIME_DATA")
    if data is None:
        pytest.skip("EDGE_RUNTIME_DATA is not set")
    soundfile = pytest.importorskip("soundfile")
    source = sorted((pathlib.Path(data) / name).rglob("*.flac"))[0]
    audio, rate = soundfile.read(source, frames=16000 * 120, dtype="int16")
    path = tmp_path / "a.wav"
    soundfile.write(path, audio, rate, subtype="PCM_16")
    for small in (False, True):
        expected = expected_lines(load(small), *read_audio(path), 0.0)
        arguments = ["-i", path, "--json", "--threshold", 0, *(["--small"] * small)]
        assert lines(here.run(*arguments)) == expected


def test_labels_of_all_alphabets(here, tmp_path):
    """JSON escapes what is not ASCII, as Python's does."""
    file = ModelFile.from_bytes(tone_model())
    labels = ("blank", 'q"\\\t\x7f', "f\u00fcnf", "\u4e94", "\U0001d7d8", "unknown")
    assert len(labels) == len(TONE_LABELS)
    model_path = tmp_path / "a.ernn"
    model_path.write_bytes(dataclasses.replace(file, labels=labels).to_bytes())
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(tone_signal(SAID), 16000))
    expected = expected_lines(Model.load(model_path), *read_audio(path))
    assert expected.isascii()
    assert {json.loads(line)["word"] for line in expected.splitlines()} >= set(labels[1:-1])
    assert lines(here.run("-i", path, "-m", model_path, "--json")) == expected


# ----------------------------------------------------------------------------------------- logits


def test_self_test_prints_the_logits_of_python(program):
    path = edge_digits.ROOT / "native" / "cli" / "self_test.wav"
    for arguments, model in (([], load()), (["--small"], load(small=True))):
        logits = expected_logits(model, *read_audio(path))
        out = lines(program.run("--self-test", *arguments)).splitlines()
        assert out[0] == f"edge-digits {__version__}"
        assert out[1].endswith(model.sha256)
        found = [line.split() for line in out if line.startswith("logits")]
        assert found[0][-1] == "scalar"
        assert {line[5] for line in found} == {checksum(logits)}
        assert {(int(line[1]), int(line[3])) for line in found} == {logits.shape}
        assert out[-1] == "OK"
    assert "words three one" in out or arguments


def test_logits_of_any_recording(program, babble_path, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(babble_audio(2, rate=48000), 48000, "f32"))
    logits = expected_logits(Model.load(babble_path), *read_audio(path))
    out = lines(program.run("-i", path, "-m", babble_path, "--logits"))
    np.testing.assert_array_equal(np.array([line.split() for line in out.splitlines()], int), logits)
    out = lines(program.run("-i", path, "-m", babble_path, "--self-test"))
    assert f"crc {checksum(logits)} kernel scalar" in out


def test_logits_of_the_fine_profile(here, tmp_path):
    model_path, path = tmp_path / "fine.ernn", tmp_path / "a.wav"
    model_path.write_bytes(in_profile_2(tone_model()))
    path.write_bytes(make_wav(tone_signal(SAID), 16000))
    logits = expected_logits(Model.load(model_path), *read_audio(path))
    out = lines(here.run("-i", path, "-m", model_path, "--logits"))
    np.testing.assert_array_equal(np.array([line.split() for line in out.splitlines()], int), logits)


# ---------------------------------------------------------------------------------------- errors


def refused(result, *parts):
    """One line and status 2."""
    assert result.returncode == 2, result
    assert result.stdout == b""
    text = result.stderr.decode()
    assert text.startswith("edge-digits: ")
    assert text.count("\n") == 1, text
    for part in parts:
        assert str(part) in text


@pytest.mark.parametrize("name", bad_files())
def test_bad_files_are_refused_in_the_words_of_python(program, tmp_path, name):
    path = tmp_path / "bad.wav"
    path.write_bytes(bad_files()[name][0])
    with pytest.raises(AudioError) as caught, open_audio(path) as audio:
        list(audio.blocks())
    refused(program.run("-i", path), str(caught.value).replace("begins with b'", "begins with '"))


def test_bad_arguments_are_one_line(program, tmp_path):
    good = tmp_path / "good.wav"
    good.write_bytes(make_wav(tone_signal(SAID), 16000))
    odd_rate = tmp_path / "odd.wav"
    odd_rate.write_bytes(make_wav(tone_signal(SAID), 4000))
    flac = tmp_path / "a.flac"
    flac.write_bytes(b"fLaC" + bytes(100))
    model = pathlib.Path(edge_digits.ROOT / "edge_runtime" / "models" / "digits.ernn").read_bytes()
    damaged = tmp_path / "damaged.ernn"
    damaged.write_bytes(model[:1000] + bytes([model[1000] ^ 1]) + model[1001:])
    short = tmp_path / "short.ernn"
    short.write_bytes(model[:5000])
    cases = [
        (["-i", tmp_path / "missing.wav"], "missing.wav: No such file"),
        (["-i", tmp_path], "Is a directory"),
        (["-i", odd_rate], "4000 Hz is not supported"),
        (["-i", flac], "not a WAV file; convert it"),
        (["-i", good, "-m", tmp_path / "missing.ernn"], "missing.ernn: No such file"),
        (["-i", good, "-m", tmp_path], "directory"),
        (["-i", good, "-m", "/dev/null"], "rule R1"),
        (["-i", good, "--threshold", "7"], "--threshold: expected 0 to 1, got 7"),
        (["-i", good, "--threshold", "nan"], "--threshold"),
        (["-i", good, "--threshold", "x"], "--threshold"),
        (["-i", good, "--kernel", "turbo"], "turbo"),
        (["-i", good, "--save-audio", good / "folder"], "folder"),
        (["-i", good, "--save-audio", tmp_path, "--save-limit", "0.001"], "--save-limit"),
        (["-i", good, "--exec", ""], "--exec"),
        (["-i", good, "--exec", "'echo"], "No closing quotation"),
        (["-i", good, "--exec", "/no/such/program x"], "/no/such/program"),
        (["-i", good, "--small", "-m", "x"], "--small"),
        (["--bogus"], "--bogus"),
        (["-z"], "-z"),
        (["-i"], "--input: expected a value"),
        (["--model"], "--model: expected a value"),
        (["--json=yes"], "--json: expected no value"),
        ([good], "good.wav"),
        (["--logits"], "-i FILE"),
        (["--raw"], "-i"),
        (["-i", good, "--doctor"], "leave out -i"),
        (["-r", "15999"], "-r: 15999 Hz"),
        (["-r", "x"], "--samplerate"),
    ]
    for arguments, message in cases:
        refused(program.run("-q", *arguments), message)
    for bad in (good, damaged, short):
        with pytest.raises(ValueError) as caught:
            Model.load(bad)
        refused(program.run("-q", "-i", good, "-m", bad), caught.value)


def test_truncated_standard_input_keeps_its_words_and_fails(program, model_path):
    content = make_wav(tone_signal(SAID), 16000)
    result = program.run("-i", "-", "-m", model_path, "-q", input=content[: len(content) // 2])
    assert result.returncode == 2
    assert result.stdout.split()[0] == b"1"
    assert result.stderr.count(b"\n") == 1
    assert b"standard input: truncated" in result.stderr


def hostile_files():
    """Headers that lie."""
    good = make_wav(tone_signal(["one"]), 16000)
    rng = np.random.default_rng(7)
    yield from (good[:count] for count in range(0, 60, 3))
    for channels, bits in ((65535, 8), (8191, 64), (1, 0), (0, 16), (65535, 16)):
        frame = channels * bits // 8
        fmt = struct.pack("<HHIIHH", 1 if bits <= 32 else 3, channels, 48000, 1, frame & 0xFFFF, bits)
        yield b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 16) + fmt + b"data\xff\xff\xff\xff" + bytes(200_000)
    yield b"RIFF\0\0\0\0WAVE" + b"junk\xff\xff\xff\xff" + bytes(5000)
    yield b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff" + good[20:]
    for _ in range(60):
        content = bytearray(good)
        for place in rng.integers(0, 60, 4):
            content[place] = rng.integers(256)
        yield bytes(content)


def test_hostile_files_do_what_they_do_in_python(sanitized, tmp_path):
    model = load(small=True)
    path = tmp_path / "a.wav"
    for content in hostile_files():
        path.write_bytes(content)
        result = sanitized.run("-i", path, "--small", "--json", "-q")
        try:
            with open_audio(path) as audio:
                parts = list(audio.blocks())
                rate = audio.sample_rate
            expected = expected_lines(model, np.concatenate(parts), rate) if parts else ""
        except (AudioError, ValueError) as error:
            assert result.returncode == 2
            if "begins with" not in str(error) and "not supported" not in str(error):
                assert result.stderr.decode() in (f"edge-digits: {error}\n",)
            continue
        assert lines(result) == expected


# --------------------------------------------------------------------------- streams and signals


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_quietly_with_summary_and_complete_recording(program, tmp_path, model_path, stop):
    audio = tone_signal(["one", "two"])
    content = make_wav(audio, 16000, data_size=0xFFFFFFFF)
    process = program.start("-i", "-", "-m", model_path, "--save-audio", tmp_path)
    process.stdin.write(content)
    assert process.stdout.readline() == b"1\n"
    while struct.unpack("i", fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)))[0]:
        time.sleep(0.02)
    time.sleep(0.3)  # for the block that was read last
    process.send_signal(stop)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out == b"2\n"
    assert b"2 words" in err
    (kept,) = tmp_path.glob("*.wav")
    heard = read_audio(kept)[0]
    assert len(heard) >= len(audio) - 1600
    np.testing.assert_array_equal(heard, np.rint(audio * 32767)[: len(heard)].astype(np.float32) / 32768)
    assert len(kept.with_suffix(".jsonl").read_text().splitlines()) == 3


def test_reader_that_leaves_is_no_error(program, tmp_path, model_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(tone_signal(SAID * 5), 16000))
    for what in ([], ["--json"], ["--logits"]):
        reading, writing = os.pipe()
        os.close(reading)
        streams = {"capture_output": False, "stdout": writing, "stderr": subprocess.PIPE}
        result = program.run("-i", path, "-m", model_path, "-q", *what, **streams)
        os.close(writing)
        assert (result.returncode, result.stderr) == (0, b"")


def test_output_that_cannot_be_written_is_an_error(program, tmp_path, model_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(tone_signal(SAID), 16000))
    with open("/dev/full", "wb") as full:
        for arguments in (["-i", path, "-m", model_path, "-q"], ["--help"], ["--logits", "-i", path]):
            result = program.run(*arguments, capture_output=False, stdout=full, stderr=subprocess.PIPE)
            assert result.returncode == 2
            assert result.stderr == b"edge-digits: standard output: No space left on device\n"


def test_closed_streams_are_not_mistaken_for_files(here, tmp_path, model_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(tone_signal(SAID), 16000))
    for closed in (">&-", "2>&-", "<&-", ">&- 2>&- <&-"):
        folder = tmp_path / f"kept{len(closed)}{closed[0]}"
        command = f'exec "$@" {closed}'
        arguments = ["-i", path, "-m", model_path, "--save-audio", folder]
        words = ["sh", "-c", command, "sh", *here.command, *map(str, arguments)]
        result = subprocess.run(words, capture_output=True, timeout=60)
        assert result.returncode == (2 if ">&- " in closed + " " and not closed.startswith("2") else 0)
        (kept,) = folder.glob("*.wav")
        np.testing.assert_array_equal(read_audio(kept)[0], read_audio(path)[0][: len(read_audio(kept)[0])])


def test_words_leave_a_pipe_at_once(program, model_path):
    content = make_wav(tone_signal(["one", "two", "three"]), 16000, data_size=0xFFFFFFFF)
    with program.start("-i", "-", "-m", model_path, "--json") as process:
        process.stdin.write(content)
        assert json.loads(process.stdout.readline())["word"] == "one"
        process.stdin.close()
        assert [json.loads(line)["word"] for line in process.stdout] == ["two", "three"]


def test_terminal_shows_digits_growing_on_one_line(here, tmp_path, model_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(tone_signal(SAID), 16000))
    controller, terminal = pty.openpty()
    result = here.run("-i", path, "-m", model_path, "-q", capture_output=False, stdout=terminal)
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(controller, 4096):
            shown += part
    except OSError:  # Linux: the other side is closed
        pass
    os.close(controller)
    assert result.returncode == 0
    assert shown == b"1234\r\n"


def test_plain_words_and_notes(program, tmp_path, model_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(np.stack([tone_signal(SAID)] * 2, axis=1), 16000))
    result = program.run("-i", path, "-m", model_path, "-v")
    assert lines(result) == "1\n2\n3\n4\n"
    err = result.stderr.decode()
    assert f"{path}: 16000 Hz, 2 channels\n" in err
    assert "one 0." in err
    assert f"heard {len(tone_signal(SAID)) / 16000:.1f} s, 4 words, real-time factor 0." in err


def test_version_and_help(program):
    assert lines(program.run("--version")) == f"{__version__}\n"
    text = lines(program.run("--help"))
    assert text.startswith("usage: edge-digits")
    assert max(map(len, text.splitlines())) <= 120


# ------------------------------------------------------------------------- recordings and commands


def test_words_beside_a_recording_are_those_of_python(program, babble_path, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(babble_audio(4, rate=22050), 22050))
    folder = tmp_path / "new" / "kept"
    result = program.run(
        "-i", path, "-m", babble_path, "--json", "--threshold", "0.25", "--save-audio", folder
    )
    (kept,) = folder.glob("*.wav")
    assert str(kept) in result.stderr.decode()
    first, *rest = kept.with_suffix(".jsonl").read_text().splitlines(keepends=True)
    model = Model.load(babble_path)
    assert "".join(rest) == lines(result) == expected_lines(model, *read_audio(kept), 0.25)
    about = json.loads(first)
    began = about.pop("began")
    assert len(began) == len("2026-11-22T10:00:00.000+00:00")
    assert about == {
        "audio": kept.name,
        "device": str(path),
        "sample_rate": 22050,
        "threshold": 0.25,
        "model_sha256": model.sha256,
        "edge_runtime": __version__,
    }


def test_recordings_stay_below_their_limit(here, babble_path, tmp_path):
    """A quarter of the limit is a file; each can be heard again, and the oldest go."""
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(np.tile(babble_audio(20), 16), 16000))
    folder = tmp_path / "kept"
    arguments = ["-m", babble_path, "--json", "--save-audio", folder, "--save-limit", "0.01"]
    result = here.run("-i", path, *arguments)
    assert result.returncode == 0, result.stderr
    files = sorted(folder.glob("*.wav"), key=lambda kept: kept.stat().st_mtime_ns)
    assert 3 <= len(files) <= 5
    assert sum(kept.stat().st_size for kept in files) <= 1e7
    assert b"the recordings had reached their limit" in result.stderr
    assert len(list(folder.iterdir())) == 2 * len(files)
    model = Model.load(babble_path)
    for kept in files:
        words = kept.with_suffix(".jsonl").read_text().splitlines(keepends=True)[1:]
        assert "".join(words) == expected_lines(model, *read_audio(kept))


def test_what_lies_in_the_folder_of_recordings_is_not_overwritten(sanitized, tmp_path):
    """Links with the names to come, as a stranger could lay them out: not followed."""
    folder, treasure = tmp_path / "shared", tmp_path / "treasure"
    folder.mkdir()
    treasure.write_text("gold")
    for second in range(300):
        stem = time.strftime("digits-%Y%m%d-%H%M%S", time.localtime(time.time() + second))
        (folder / f"{stem}.jsonl").symlink_to(treasure)
        (folder / f"{stem}-2.wav").symlink_to(tmp_path / "nowhere")
    result = sanitized.run("-i", RECORDINGS[0], "-q", "--small", "--save-audio", folder)
    assert result.returncode == 0, result.stderr
    assert treasure.read_text() == "gold" and not (tmp_path / "nowhere").exists()
    (kept,) = folder.glob("*-3.wav")
    np.testing.assert_array_equal(read_audio(kept)[0], read_audio(RECORDINGS[0])[0])
    assert [path.name for path in folder.glob("*.wav") if not path.is_symlink()] == [kept.name]


KEEP = """\
import json, os, sys
values = {name: value for name, value in os.environ.items() if name.startswith("DIGIT_DEMO_")}
with open(sys.argv[1], "a") as out:
    print(json.dumps([sys.argv[2:], values, sys.stdin.read()]), file=out)
print("said by the command")
"""


@pytest.mark.parametrize("more", ["", " --said={word}/{digit} '{start} {end}' {confidence}{other}"])
def test_a_command_for_every_word(sanitized, model_path, tmp_path, more):
    script, kept, path = tmp_path / "keep it.py", tmp_path / "kept", tmp_path / "a.wav"
    script.write_text(KEEP)
    path.write_bytes(make_wav(tone_signal(SAID * 6), 16000))
    command = f"'{sys.executable}' -ES \"{script}\" {str(kept)[:-1]}\\{str(kept)[-1]}{more}"
    result = sanitized.run("-i", path, "-m", model_path, "--json", "--exec", command)
    words = [json.loads(line) for line in lines(result).splitlines()]
    runs = [json.loads(line) for line in kept.read_text().splitlines()]
    assert len(runs) == len(words) == 24
    for (arguments, values, stdin), word in zip(runs, words, strict=True):
        start, end = f"{word['start_s']:.3f}", f"{word['end_s']:.3f}"
        confidence = f"{word['confidence']:.4f}"
        said = f"--said={word['word']}/{word['digit']}"
        assert arguments == ([said, f"{start} {end}", confidence + "{other}"] if more else [word["word"]])
        assert values == {
            "DIGIT_DEMO_WORD": word["word"],
            "DIGIT_DEMO_DIGIT": str(word["digit"]),
            "DIGIT_DEMO_CONFIDENCE": confidence,
            "DIGIT_DEMO_START": start,
            "DIGIT_DEMO_END": end,
        }
        assert stdin == ""
    assert result.stderr.count(b"said by the command") == 24


@pytest.mark.parametrize("more", ["", " --", " --said={word}", " {digit}{word}"])
def test_hostile_words_are_one_argument_and_no_option(sanitized, tmp_path, more):
    """As of the Python program: tests/test_hook.py."""
    script, kept, path = tmp_path / "keep.py", tmp_path / "kept", tmp_path / "a.wav"
    script.write_text(KEEP)
    labels = hostile_model(tmp_path / "hostile.ernn")
    path.write_bytes(make_wav(tone_signal(SAID), 16000))
    command = f"{sys.executable} -ES {script} {kept}{more}"
    result = sanitized.run("-i", path, "-m", tmp_path / "hostile.ernn", "--json", "--exec", command)
    words = [json.loads(line)["word"] for line in lines(result).splitlines()]
    assert tuple(words) == labels
    runs = [json.loads(line)[0] for line in kept.read_text().splitlines()]
    refused = result.stderr.count(b"is not run for words that begin with a dash, unless -- comes before them")
    if more in ("", " {digit}{word}"):
        words = [word for word in words if not word.startswith("-")]
    assert refused == (len(words) < len(labels)) and len(words) >= len(labels) - 1
    assert [run[-1].removeprefix("--said=") for run in runs] == words
    assert all(len(run) == (2 if more == " --" else 1) for run in runs)


def test_a_command_that_fails_is_said_once(here, model_path, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(tone_signal(SAID), 16000))
    result = here.run("-i", path, "-m", model_path, "--exec", "false")
    assert lines(result) == "1\n2\n3\n4\n"
    assert result.stderr.count(b"ended with status 1") == 1
