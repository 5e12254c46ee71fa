# SPDX-License-Identifier: MIT
"""The digit demo on files: every kind of WAV, bad input, pipes, signals, output forms."""

import ctypes.util
import importlib.util
import json
import os
import pathlib
import pty
import shutil
import signal
import struct
import subprocess
import sys
import time
import wave

import numpy as np
import pytest
from word_models import tone_signal

from apps.audio import AudioError, open_audio, read_audio
from apps.demo_samples import samples
from apps.digit_demo.devices import MicrophoneError
from apps.digit_demo.display import DIGITS
from apps.digit_demo.level import peak_db, rms_db
from apps.digit_demo.portaudio import PortAudioInput
from apps.digit_demo.ring import Ring
from apps.evaluate.metrics import align

SAID = ["one", "two", "three", "four"]
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def encode(samples, kind):
    """Samples [shape=(frames, channels)] in a WAV encoding; returns (format tag, bits, bytes)."""
    if kind == "u8":
        return 1, 8, np.rint(samples * 127 + 128).astype(np.uint8).tobytes()
    if kind == "s16":
        return 1, 16, np.rint(samples * 32767).astype("<i2").tobytes()
    if kind == "s24":
        wide = np.rint(samples * (2**23 - 1)).astype("<i4")
        return 1, 24, wide.reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    if kind == "s32":
        return 1, 32, np.rint(samples * (2.0**31 - 1)).astype("<i4").tobytes()
    if kind == "f32":
        return 3, 32, samples.astype("<f4").tobytes()
    return 3, 64, samples.astype("<f8").tobytes()


def make_wav(samples, rate, kind="s16", extensible=False, data_size=None, extra=b""):
    """Bytes of a WAV file; `samples` is float [shape=(frames,)] or [shape=(frames, channels)]."""
    samples = samples.reshape(len(samples), -1)
    channels = samples.shape[1]
    tag, bits, data = encode(samples, kind)
    frame = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, rate, rate * frame, frame, bits)
    if extensible:
        guid_rest = bytes.fromhex("000000001000800000aa00389b71")
        fmt += struct.pack("<HHI", 22, bits, 0) + struct.pack("<H", tag) + guid_rest
    size = len(data) if data_size is None else data_size
    body = b"fmt " + struct.pack("<I", len(fmt)) + fmt + extra + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(body) & 0xFFFFFFFF) + b"WAVE" + body


def demo(*arguments, **options):
    options = {"capture_output": True, "timeout": 120, "cwd": REPOSITORY, **options}
    return subprocess.run([sys.executable, "-m", "apps.digit_demo", *map(str, arguments)], **options)


def digits(result):
    return result.stdout.decode().split()


# ---------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("kind", ["u8", "s16", "s24", "s32", "f32", "f64"])
@pytest.mark.parametrize("extensible", [False, True])
def test_every_encoding_reads_as_the_same_sound(tmp_path, kind, extensible):
    path = tmp_path / "a.wav"
    signal = tone_signal(["one"])
    path.write_bytes(make_wav(signal, 16000, kind, extensible))
    read, rate = read_audio(path)
    assert rate == 16000
    assert read.dtype == np.float32
    tolerance = {"u8": 0.02, "s16": 1e-4}.get(kind, 1e-6)
    np.testing.assert_allclose(read, signal, rtol=0, atol=tolerance)


def test_16_bit_is_read_exactly(tmp_path):
    path = tmp_path / "a.wav"
    values = np.array([-32768, -1, 0, 1, 32767], "<i2")
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", None))
        sound.writeframes(values.tobytes())
    np.testing.assert_array_equal(read_audio(path)[0], values / np.float32(32768))


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_channels_are_averaged(tmp_path, channels):
    path = tmp_path / "a.wav"
    signal = np.random.default_rng(0).uniform(-1, 1, (1000, channels))
    path.write_bytes(make_wav(signal, 44100, "f32"))
    with open_audio(path) as audio:
        assert (audio.sample_rate, audio.channels) == (44100, channels)
        read = np.concatenate(list(audio.blocks(0.003)))
    np.testing.assert_allclose(read, signal.mean(axis=1), atol=1e-6)


def test_other_chunks_are_skipped(tmp_path):
    path = tmp_path / "a.wav"
    odd = b"LIST" + struct.pack("<I", 5) + b"hello\0"
    path.write_bytes(make_wav(tone_signal(["one"]), 16000, extra=odd) + b"tail" + struct.pack("<I", 0))
    assert len(read_audio(path)[0]) == len(tone_signal(["one"]))


def bad_files():
    good = make_wav(tone_signal(["one"]), 16000)
    adpcm = bytearray(good)
    adpcm[20:22] = struct.pack("<H", 2)
    no_channels = bytearray(good)
    no_channels[22:24] = bytes(2)
    return {
        "empty": (b"", "empty"),
        "text": (b"this is a text and no sound at all", "not a WAV file"),
        "three bytes": (b"RIF", "not a WAV file"),
        "header only": (good[:20], "truncated"),
        "no samples": (good[:40] + bytes(4), "no samples"),
        "half": (good[: len(good) // 2], "truncated"),
        "one byte short": (good[:-1], "truncated"),
        "compressed": (bytes(adpcm), "ADPCM"),
        "no channels": (bytes(no_channels), "damaged"),
        "no format": (good[:12] + good[36:], "no format"),
    }


def test_a_file_of_unknown_length_without_samples_is_refused_as_a_whole(tmp_path):
    path = tmp_path / "none.wav"
    path.write_bytes(make_wav(tone_signal(["one"]), 16000)[:40] + b"\xff\xff\xff\xff")
    with pytest.raises(AudioError, match="there are no samples in it"):
        read_audio(path)


@pytest.mark.parametrize("name", bad_files())
def test_bad_files_are_refused_with_what_and_what_to_do(tmp_path, name):
    content, message = bad_files()[name]
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=message) as caught:
        read_audio(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert ";" in text  # the advice
    assert "\n" not in text


# -------------------------------------------------------------------------------- recognizing


@pytest.mark.parametrize("rate, kind", [(8000, "s16"), (16000, "s16"), (44100, "f32"), (48000, "s24")])
def test_digits_of_a_file(tmp_path, model_path, rate, kind):
    path = tmp_path / "a.wav"
    stereo = np.stack([tone_signal(SAID, rate=rate)] * 2, axis=1)
    path.write_bytes(make_wav(stereo, rate, kind))
    result = demo("-i", path, "-m", model_path)
    assert result.returncode == 0, result.stderr
    assert digits(result) == ["1", "2", "3", "4"]
    assert b"4 words" in result.stderr


def test_8_bit_file(tmp_path, model_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(4 * tone_signal(["one"]), 16000, "u8"))
    result = demo("-i", path, "-m", model_path, "-q", "--threshold", "0")
    assert result.returncode == 0
    assert result.stderr == b""


def test_json_has_one_object_per_word(tmp_path, model_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(tone_signal(SAID), 16000))
    result = demo("--input", path, "--model", model_path, "--json")
    words = [json.loads(line) for line in result.stdout.splitlines()]
    assert [word["word"] for word in words] == SAID
    assert [word["digit"] for word in words] == [1, 2, 3, 4]
    for i, word in enumerate(words):
        assert set(word) == {"word", "digit", "start_s", "end_s", "confidence", "string"}
        assert word["end_s"] == pytest.approx(0.45 * (i + 1), abs=0.06)
        assert word["start_s"] < word["end_s"]
        assert word["string"] == 0
        assert 0.5 <= word["confidence"] <= 1


@pytest.mark.parametrize("data_size", [None, 0, 0xFFFFFFFF, 0x7FFFFFFF - 36])
def test_standard_input(model_path, data_size):
    content = make_wav(tone_signal(SAID, rate=44100), 44100, data_size=data_size)
    result = demo("-i", "-", "-m", model_path, input=content)
    assert result.returncode == 0, result.stderr
    assert digits(result) == ["1", "2", "3", "4"]


def test_words_leave_a_pipe_at_once(model_path):
    """A live pipe: the first word is out before the input ends."""
    content = make_wav(tone_signal(["one", "two", "three"]), 16000, data_size=0xFFFFFFFF)
    with subprocess.Popen(
        [sys.executable, "-m", "apps.digit_demo", "-i", "-", "-m", model_path, "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
    ) as process:
        process.stdin.write(content)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["word"] == "one"
        process.stdin.close()
        assert [json.loads(line)["word"] for line in process.stdout] == ["two", "three"]
    assert process.returncode == 0


def test_truncated_standard_input_keeps_its_words_and_fails(model_path):
    content = make_wav(tone_signal(SAID), 16000)
    result = demo("-i", "-", "-m", model_path, "-q", input=content[: len(content) // 2])
    assert result.returncode == 2
    assert digits(result)[0] == "1"
    assert result.stderr.count(b"\n") == 1
    assert b"standard input: truncated" in result.stderr


def test_bad_input_is_one_line_and_status_2(tmp_path, model_path):
    good = tmp_path / "good.wav"
    good.write_bytes(make_wav(tone_signal(SAID), 16000))
    bad = tmp_path / "bad.wav"
    odd_rate = tmp_path / "odd.wav"
    odd_rate.write_bytes(make_wav(tone_signal(SAID), 4000))
    not_a_folder = good / "folder"
    cases = [
        (["-i", tmp_path / "missing.wav", "-m", model_path], b"missing.wav"),
        (["-i", tmp_path, "-m", model_path], b"directory"),
        (["-i", odd_rate, "-m", model_path], b"4000 Hz is not supported"),
        (["-i", good, "-m", tmp_path / "missing.ernn"], b"missing.ernn"),
        (["-i", good, "-m", good], b"rule R2"),
        (["-i", good, "-m", model_path, "--threshold", "7"], b"threshold"),
        (["-i", good, "-m", model_path, "--kernel", "turbo"], b"turbo"),
        (["-i", good, "-m", model_path, "-q", "--save-audio", not_a_folder], b"folder"),
    ]
    for name, (content, message) in bad_files().items():
        path = tmp_path / f"{name}.wav"
        path.write_bytes(content)
        cases.append((["-i", path, "-m", model_path], message.encode()))
    assert not bad.exists()
    for arguments, message in cases:
        result = demo("-q", *arguments)
        assert result.returncode == 2, (arguments, result)
        assert result.stdout == b""
        assert result.stderr.count(b"\n") == 1, result.stderr
        assert message in result.stderr


def test_flac_needs_soundfile_or_says_so(tmp_path, model_path):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "a.flac"
    soundfile.write(path, tone_signal(SAID, rate=44100), 44100)
    assert digits(demo("-i", path, "-m", model_path)) == ["1", "2", "3", "4"]
    (tmp_path / "soundfile.py").write_text("raise ImportError\n")
    result = demo("-i", path, "-m", model_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert result.returncode == 2
    assert b"pip install soundfile" in result.stderr


def test_saved_audio_is_what_was_heard(tmp_path, model_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(tone_signal(SAID, rate=22050), 22050))
    folder = tmp_path / "new" / "kept"
    result = demo("-i", path, "-m", model_path, "--save-audio", folder)
    (kept,) = folder.glob("*.wav")
    assert str(kept) in result.stderr.decode()
    first, second = read_audio(path), read_audio(kept)
    assert first[1] == second[1]
    np.testing.assert_array_equal(first[0], second[0])
    lines = demo("-i", kept, "-m", model_path, "--json").stdout.decode().splitlines()
    assert [json.loads(line)["digit"] for line in lines] == [1, 2, 3, 4]
    assert kept.with_suffix(".jsonl").read_text().splitlines()[1:] == lines


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_quietly_with_summary_and_complete_recording(tmp_path, model_path, stop):
    samples = tone_signal(["one", "two"])
    content = make_wav(samples, 16000, data_size=0xFFFFFFFF)
    process = subprocess.Popen(
        [sys.executable, "-m", "apps.digit_demo", "-i", "-", "-m", model_path, "--save-audio", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # readline must not take more than its line
        cwd=REPOSITORY,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    process.stdin.write(content)
    process.stdin.flush()
    assert process.stdout.readline() == b"1\n"
    time.sleep(0.2)
    process.send_signal(stop)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out == b"2\n"
    assert b"Traceback" not in err
    assert b"2 words" in err
    (kept,) = tmp_path.glob("*.wav")
    heard = read_audio(kept)[0]
    assert len(heard) >= len(samples) - 1600
    np.testing.assert_array_equal(heard, np.rint(samples * 32767)[: len(heard)].astype(np.float32) / 32768)


def test_reader_that_leaves_is_no_error(tmp_path, model_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(tone_signal(SAID * 5), 16000))
    script = f"{sys.executable} -m apps.digit_demo -i {path} -m {model_path} -q | true"
    result = subprocess.run(script, shell=True, capture_output=True, cwd=REPOSITORY, timeout=60)
    assert b"Traceback" not in result.stderr
    assert result.stderr == b""


def test_terminal_shows_digits_growing_on_one_line(tmp_path, model_path):
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(tone_signal(SAID), 16000))
    controller, terminal = pty.openpty()
    result = demo("-i", path, "-m", model_path, "-q", capture_output=False, stdout=terminal)
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(controller, 4096):
            shown += part
    except OSError:  # Linux: the other side is closed
        pass
    os.close(controller)
    assert result.returncode == 0
    assert shown.count(b"\n") == 1
    assert shown.replace(b"\r\n", b"").split(b"\r")[-1] == b"1234"


# -------------------------------------------------------------------------- without hardware


def test_missing_sounddevice_says_how_to_get_it(tmp_path, model_path):
    (tmp_path / "sounddevice.py").write_text("raise ImportError\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PATH": str(tmp_path)}  # no arecord either
    for arguments in (["-m", model_path], ["-l"]):
        result = demo(*arguments, env=environment)
        assert result.returncode == 2
        assert result.stderr.count(b"\n") == 1
        assert b"pip install sounddevice" in result.stderr
    result = demo("-m", model_path, "--arecord", env=environment)
    assert result.returncode == 2
    assert b"sudo apt install alsa-utils" in result.stderr


def test_missing_portaudio_names_the_debian_package(tmp_path, model_path):
    """sounddevice raises OSError at import when it finds no PortAudio."""
    pytest.importorskip("sounddevice")
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes.util\nfind = ctypes.util.find_library\n"
        "ctypes.util.find_library = lambda name: None if 'portaudio' in name else find(name)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PATH": str(tmp_path)}  # no arecord either
    for arguments in (["-m", model_path], ["-l"]):
        result = demo(*arguments, env=environment)
        assert result.returncode == 2
        assert result.stderr.count(b"\n") == 1, result.stderr
        assert b"sudo apt install libportaudio2" in result.stderr


def test_no_device_is_one_line(model_path):
    if importlib.util.find_spec("sounddevice") is None or ctypes.util.find_library("portaudio") is None:
        pytest.skip("sounddevice or PortAudio is not installed")
    environment = {**os.environ, "PATH": ""}  # no arecord
    listed = demo("-l", env=environment)
    if listed.returncode == 0:
        pytest.skip("this machine has an input device")
    listening = [
        demo("-m", model_path, *arguments, env=environment)
        for arguments in ([], ["-d", "webcam"], ["-d", "3"])
    ]
    with_arecord = [demo("-m", model_path, *arguments) for arguments in ([], ["--arecord", "-d", "hw:9"])]
    for result in with_arecord:
        assert result.returncode == 2
        assert result.stderr.count(b"\n") == 1, result.stderr
        assert shutil.which("arecord") is None or b"(arecord: main:" in result.stderr
    for result in (listed, *listening):
        assert result.returncode == 2
        assert result.stdout == b""
        assert result.stderr.count(b"\n") == 1, result.stderr
        assert b"no input device" in result.stderr


FAKE_SOUNDDEVICE = """
class PortAudioError(Exception):
    pass

DEVICE = {"name": "webcam", "index": 0, "max_input_channels": 1, "default_samplerate": 32000.0}

def query_devices(device=None, kind=None):
    if isinstance(device, int) and device > 0:
        raise PortAudioError("Error querying device")
    return [DEVICE] if kind is None else DEVICE

class InputStream:
    def __init__(self, samplerate, **others):
        raise PortAudioError("Error opening InputStream: %s")
"""


@pytest.mark.parametrize(
    "error, advice",
    [
        ("Device unavailable [PaErrorCode -9985]", "another program is using it"),
        ("Invalid sample rate [PaErrorCode -9997]", "does not take 32000, 48000, 44100, 16000 Hz"),
        ("Unanticipated host error [PaErrorCode -9999]", "arecord"),
    ],
)
def test_device_that_cannot_be_opened_is_one_line(tmp_path, model_path, error, advice):
    """What PortAudio reports for a busy or refusing device, from a stand-in for sounddevice."""
    (tmp_path / "sounddevice.py").write_text(FAKE_SOUNDDEVICE % error)
    result = demo("-m", model_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert result.returncode == 2
    assert result.stdout == b""
    assert result.stderr.count(b"\n") == 1, result.stderr
    assert b"'webcam'" in result.stderr
    assert advice.encode() in result.stderr


class ArrayOfMicrophones:
    """A stand-in for sounddevice: a device that opens with one channel count only."""

    PortAudioError = RuntimeError

    def __init__(self, opens_with):
        self._opens_with = opens_with

    def InputStream(self, channels, **_others):
        if channels != self._opens_with:
            raise self.PortAudioError("Invalid number of channels")
        return self

    def start(self):
        pass

    abort = close = start


@pytest.mark.parametrize("most, opens_with, opened", [(6, 6, 6), (2, 1, 1), (32, 2, 2), (32, 32, None)])
def test_channels_that_a_device_is_opened_with(most, opens_with, opened):
    """Of the 32 channels of a sound server at most two have sound."""
    device = {"name": "array", "index": 0, "max_input_channels": most}
    sounddevice = ArrayOfMicrophones(opens_with)
    if opened is None:
        with pytest.raises(MicrophoneError, match="Invalid number of channels"):
            PortAudioInput(sounddevice, device, [16000], 1.0)
    else:
        assert PortAudioInput(sounddevice, device, [16000], 1.0).channels == opened


# ------------------------------------------------------------------------------------ parts


def test_ring_keeps_order_and_counts_what_does_not_fit():
    ring = Ring(10, 2)
    frames = np.arange(60, dtype=np.float32).reshape(30, 2)
    ring.write(frames[:4])
    ring.write(frames[4:8])
    np.testing.assert_array_equal(ring.read(), frames[:8])
    assert len(ring.read()) == 0
    ring.write(frames[8:15])
    ring.write(frames[15:20])
    np.testing.assert_array_equal(ring.read(), frames[8:18])
    assert ring.dropped == 2
    ring.write(frames)
    np.testing.assert_array_equal(ring.read(), frames[:10])
    assert ring.dropped == 22


def test_level_of_full_scale_and_silence():
    sine = np.sin(np.arange(16000) * 0.1).astype(np.float32)
    assert (peak_db(sine), rms_db(sine)) == (pytest.approx(0, abs=0.01), pytest.approx(-3.01, abs=0.01))
    assert (peak_db(-sine / 10), rms_db(sine / 10)) == (
        pytest.approx(-20, abs=0.01),
        pytest.approx(-23, abs=0.1),
    )
    for nothing in (np.zeros(100, np.float32), np.zeros(0, np.float32), np.full(9, 1e-9, np.float32)):
        assert peak_db(nothing) == rms_db(nothing) == -100


def test_samples_are_short_16_khz_and_labeled():
    listed = samples()
    assert len(listed) >= 4
    assert sum(path.stat().st_size for path, _ in listed) < 300_000
    assert {word for _, said in listed for word in said} >= {"zero", "oh", "one", "two", "three", "four"}
    for path, said in listed:
        audio, rate = read_audio(path)
        assert rate == 16000
        assert len(said) >= 3
        assert np.abs(audio).max() < 1
        assert np.abs(audio[:4000]).max() < 0.01


def test_default_model_recognizes_the_samples():
    command = [sys.executable, "-m", "apps.digit_demo.samples"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


def test_small_model_recognizes_most_of_the_samples():
    command = [sys.executable, "-m", "apps.digit_demo", "--small", "-i"]
    heard = "".join(
        subprocess.run([*command, path], capture_output=True, text=True, cwd=REPOSITORY, timeout=60).stdout
        for path, _ in samples()
    ).split()
    said = [str(DIGITS[word]) for _, words in samples() for word in words]
    assert len(said) - 2 <= sum(a == b for a, b in align(said, heard)) <= len(heard) <= len(said)
