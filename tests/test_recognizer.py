# SPDX-License-Identifier: MIT
"""The recognizer: audio in, words out, whatever the chunks."""

import dataclasses
from itertools import pairwise

import gate_reference
import numpy as np
import pytest
from frontend_reference import filters, power_spectra
from word_models import babble_audio, babble_model, in_profile_2, tone, tone_model, tone_signal

import edge_runtime as er
from apps.audio import read_audio
from apps.demo_samples import samples as demo_samples
from edge_runtime._native import ffi, lib
from edge_runtime.format import ModelFile


@pytest.fixture(scope="module")
def tones():
    return er.Model.from_bytes(tone_model(threshold=0.5))


@pytest.fixture(scope="module")
def babble():
    return er.Model.from_bytes(babble_model())


def recognize(recognizer, samples, chunk=None):
    """All words of a signal pushed in chunks of one size, or in the sizes given."""
    words = []
    start = 0
    sizes = iter([chunk or max(len(samples), 1)] * len(samples) if not isinstance(chunk, list) else chunk)
    while start < len(samples):
        size = next(sizes)
        words += recognizer.accept_waveform(samples[start : start + size])
        start += size
    return words + recognizer.finish()


def words_one_by_one(recognizer, signal):
    """Times of report by C calls with room for one word."""
    words = ffi.new("er_word[1]")
    count, consumed = ffi.new("size_t *"), ffi.new("size_t *")
    data = ffi.from_buffer("float[]", signal)
    start = 0
    while start < len(signal):
        rest = len(signal) - start
        assert lib.er_recognizer_push(recognizer._handle, data + start, rest, words, 1, count, consumed) == 0
        yield from [words[0].heard_s] * count[0]
        start += consumed[0]
    while lib.er_recognizer_finish(recognizer._handle, words, 1, count) == 0 and count[0] == 1:
        yield words[0].heard_s


def labels(words):
    return [word.label for word in words]


def test_tones_are_recognized(tones):
    said = ["one", "two", "three", "unknown", "four", "one", "one"]
    words = recognize(tones.recognizer(), tone_signal(said))
    assert labels(words) == ["one", "two", "three", "four", "one", "one"]
    starts = [0.2 + 0.45 * i for i in (0, 1, 2, 4, 5, 6)]
    for word, start in zip(words, starts, strict=True):
        assert word.end_s == pytest.approx(start + 0.25, abs=0.06)
        assert 0.5 <= word.confidence <= 1


def test_tones_are_recognized_in_numeric_profile_2(tones):
    said = ["one", "two", "three", "unknown", "four", "one", "one"]
    model = er.Model.from_bytes(in_profile_2(tone_model(threshold=0.5)))
    assert model.profile == 2
    signal = tone_signal(said)
    words = recognize(model.recognizer(), signal)
    assert words == recognize(model.recognizer(), signal, 161)
    expected = recognize(tones.recognizer(), signal)
    assert labels(words) == labels(expected)
    for word, wanted in zip(words, expected, strict=True):
        assert word.confidence == pytest.approx(wanted.confidence, abs=0.05)


def test_last_word_needs_no_silence_after_it(tones):
    signal = np.concatenate([tone_signal(["one"]), tone("two", 0.25)])
    recognizer = tones.recognizer()
    assert labels(recognizer.accept_waveform(signal)) == ["one"]
    assert labels(recognizer.finish()) == ["two"]


@pytest.mark.parametrize("chunk", [1, 2, 159, 160, 161, 320, 4096])
def test_any_chunking_gives_the_same_words(babble, chunk):
    signal = babble_audio(6 if chunk > 1 else 2)
    whole = recognize(babble.recognizer(), signal)
    assert len(whole) > 10
    assert recognize(babble.recognizer(), signal, chunk) == whole


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
@pytest.mark.parametrize("seed", [1, 2])
def test_any_chunking_gives_the_same_words_at_any_rate(babble, rate, seed):
    signal = babble_audio(8, seed, rate)
    whole = recognize(babble.recognizer(rate), signal)
    assert len(whole) > 3
    sizes = np.random.default_rng(seed).integers(1, 2000, len(signal)).tolist()
    assert recognize(babble.recognizer(rate), signal, sizes) == whole


def test_what_is_heard_so_far_does_not_depend_on_chunks(babble):
    # Below the network's rate a block of input fills the resampler's output, and after 751 samples of 11,025 Hz a
    # sample was kept back in it that ended a step.
    signal = babble_audio(0.1, 1, 11025)
    pieces = babble.recognizer(11025)
    for count in range(1, len(signal) + 1):
        pieces.accept_waveform(signal[count - 1 : count])
        whole = babble.recognizer(11025)
        whole.accept_waveform(signal[:count])
        assert np.array_equal(whole.posteriors, pieces.posteriors), count


@pytest.mark.parametrize("rate", [16000, 44100])
def test_room_for_one_word_gives_the_same_words(babble, rate):
    """The C calls with the least capacity, and the input in odd pieces."""
    signal = babble_audio(4, 3, rate)
    whole = recognize(babble.recognizer(rate), signal)
    recognizer = babble.recognizer(rate)
    words = ffi.new("er_word[1]")
    count, consumed = ffi.new("size_t *"), ffi.new("size_t *")
    found = []
    data = ffi.from_buffer("float[]", signal)
    start = 0
    while start < len(signal):
        size = min(4001, len(signal) - start)
        status = lib.er_recognizer_push(recognizer._handle, data + start, size, words, 1, count, consumed)
        assert status == 0
        assert consumed[0] == size or count[0] == 1
        found += [(words[0].label, words[0].end_s, words[0].confidence)] * count[0]
        start += consumed[0]
    while True:
        assert lib.er_recognizer_finish(recognizer._handle, words, 1, count) == 0
        if count[0] == 0:
            break
        found.append((words[0].label, words[0].end_s, words[0].confidence))
    assert found == [(w.index, w.end_s, w.confidence) for w in whole]


def test_used_up_input_holds_back_no_word(babble):
    """With room for one word, a call that uses up its input has reported every word due."""
    signal = babble_audio(3, 4)
    prompt = babble.recognizer()
    words = ffi.new("er_word[1]")
    count, consumed = ffi.new("size_t *"), ffi.new("size_t *")
    total = 0
    start = 0
    data = ffi.from_buffer("float[]", signal)
    while start < len(signal):
        rest = len(signal) - start
        assert lib.er_recognizer_push(prompt._handle, data + start, rest, words, 1, count, consumed) == 0
        total += count[0]
        start += consumed[0]
    assert total == len(babble.recognizer().accept_waveform(signal))


def test_c_chain_by_hand_equals_recognizer(babble):
    signal = babble_audio(5, 5, 48000)
    config = babble.file.frontend
    frontend, stream, decoder = er.Frontend(config), babble.stream(), babble.decoder()
    pcm = er.resample(signal, 48000)
    features = np.concatenate([frontend.push(pcm), frontend.flush(quiet_frames=30)])
    logits = stream.run_quantized(babble.quantize_input(features))
    words = decoder.push(logits) + decoder.finish()
    heard = recognize(babble.recognizer(48000), signal)
    assert [dataclasses.replace(w, heard_s=0) for w in words] == [
        dataclasses.replace(w, heard_s=0) for w in heard
    ]


def test_cepstra_of_the_signal_give_the_same_words(babble):
    """Entering behind the filter bank; a whole number of frames, so that nothing is left to complete."""
    config = dataclasses.replace(babble.file.frontend, delta_order=0, stack=1, subtract_mean=False, mean=())
    signal = babble_audio(4, 6)
    frontend = er.Frontend(config)
    cepstra = np.concatenate([frontend.push(signal), frontend.flush()])
    expected = recognize(babble.recognizer(), signal)
    recognizer = babble.recognizer()
    assert recognizer.accept_cepstra(cepstra) + recognizer.finish() == expected
    for chunk in (1, 2, 3, 50):
        recognizer.reset()
        words = []
        for start in range(0, len(cepstra), chunk):
            words += recognizer.accept_cepstra(cepstra[start : start + chunk])
        assert words + recognizer.finish() == expected


def test_cepstra_with_room_for_one_word(babble):
    config = dataclasses.replace(babble.file.frontend, delta_order=0, stack=1, subtract_mean=False, mean=())
    cepstra = er.Frontend(config).push(babble_audio(4, 7))
    recognizer = babble.recognizer()
    whole = recognizer.accept_cepstra(cepstra)
    recognizer.reset()
    words = ffi.new("er_word[1]")
    count, consumed = ffi.new("size_t *"), ffi.new("size_t *")
    found = []
    start = 0
    data = ffi.from_buffer("float[]", cepstra)
    while start < len(cepstra):
        status = lib.er_recognizer_push_cepstra(
            recognizer._handle, data + 13 * start, len(cepstra) - start, words, 1, count, consumed
        )
        assert status == 0
        found += [words[0].label] * count[0]
        start += consumed[0]
    assert found == [word.index for word in whole]


def test_reset_equals_fresh(babble):
    signal = babble_audio(3, 8, 44100)
    recognizer = babble.recognizer(44100)
    fresh = recognize(recognizer, signal)
    for used in (0, 1, 12345, len(signal)):
        recognizer.reset()
        recognizer.accept_waveform(signal[:used])
        recognizer.reset()
        assert recognize(recognizer, signal) == fresh
    recognizer.reset()
    np.testing.assert_array_equal(recognizer.posteriors, np.zeros(babble.output_size, np.float32))


def test_rates_agree(tones):
    said = ["one", "two", "three", "four"]
    for rate in (8000, 11025, 16000, 22050, 44100, 48000, 96000):
        signal = tone_signal(said, rate=rate)
        assert labels(recognize(tones.recognizer(rate), signal)) == said, rate


def test_int16_equals_float(babble):
    signal = np.rint(babble_audio(3, 9) * 32768).clip(-32768, 32767).astype(np.int16)
    expected = recognize(babble.recognizer(), signal.astype(np.float32) / np.float32(32768))
    assert recognize(babble.recognizer(), signal) == expected


def test_strided_samples_are_taken(babble):
    signal = babble_audio(2, 10)
    stereo = np.stack([signal, np.zeros_like(signal)], axis=1)
    assert recognize(babble.recognizer(), stereo[:, 0]) == recognize(babble.recognizer(), signal)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_not_a_number_counts_as_zero(babble, rate):
    signal = babble_audio(2, 11, rate)
    damaged, silent = signal.copy(), signal.copy()
    damaged[rate // 2 : rate // 2 + 500] = np.nan
    silent[rate // 2 : rate // 2 + 500] = 0
    assert recognize(babble.recognizer(rate), damaged) == recognize(babble.recognizer(rate), silent)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_beyond_full_scale_is_clamped(babble, rate):
    signal = 5 * babble_audio(2, 12, rate)
    signal[100], signal[200] = np.inf, -np.inf
    expected = recognize(babble.recognizer(rate), signal.clip(-1, 1))
    assert recognize(babble.recognizer(rate), signal) == expected


@pytest.mark.parametrize("count", [0, 1, 100, 409, 410, 411])
def test_very_short_signals_end_well(tones, count):
    recognizer = tones.recognizer()
    assert recognizer.accept_waveform(np.zeros(count, np.float32)) == []
    assert recognizer.finish() == []
    assert recognizer.finish() == []


def test_finish_without_audio(babble):
    assert babble.recognizer(44100).finish() == []


def test_threshold(tones):
    signal = tone_signal(["one", "two", "three"])
    words = recognize(tones.recognizer(threshold=0), signal)
    middle = sorted(word.confidence for word in words)[1]
    expected = [word for word in words if word.confidence >= middle]
    assert recognize(tones.recognizer(threshold=middle), signal) == expected
    recognizer = tones.recognizer()
    recognizer.set_threshold(middle)
    assert recognize(recognizer, signal) == expected
    recognizer.reset()
    assert recognize(recognizer, signal) == expected  # a setting, not history
    assert recognize(tones.recognizer(threshold=1.0), signal) == []


@pytest.mark.parametrize("threshold", [-1, 1.5, float("nan")])
def test_illegal_threshold_is_refused(tones, threshold):
    with pytest.raises(ValueError, match="threshold: expected 0 to 1"):
        tones.recognizer(threshold=threshold)


def test_posteriors_are_probabilities(tones):
    recognizer = tones.recognizer()
    np.testing.assert_array_equal(recognizer.posteriors, np.zeros(6, np.float32))
    recognizer.accept_waveform(np.concatenate([tone("blank", 0.2), tone("three", 0.2)]))
    posteriors = recognizer.posteriors
    assert posteriors.dtype == np.float32
    assert posteriors.sum() == pytest.approx(1, abs=1e-6)
    assert tones.labels[posteriors.argmax()] == "three"


def test_confidence_is_the_greatest_posterior_of_the_word(babble):
    """To the last bit, which output ever is the best, the first ones too."""
    bias = np.array([-5000, -9600, -17200, -8000, 9400, -23800, 1600, 1900], np.int16)
    decoder = dataclasses.replace(babble.file.decoder, blank=3, bias=bias)  # each output wins now and then
    file = dataclasses.replace(babble.file, decoder=decoder)
    recognizer = er.Model.from_bytes(file.to_bytes()).recognizer(threshold=0)
    signal = babble_audio(20, 15)
    words, runs = [], []
    for start in range(0, len(signal), 160):  # half a step
        words += recognizer.accept_waveform(signal[start : start + 160])
        posteriors = recognizer.posteriors
        if posteriors.any():
            best = int(posteriors.argmax())
            if not runs or runs[-1][0] != best:
                runs.append((best, 0.0))
            runs[-1] = best, max(runs[-1][1], float(posteriors[best]))
    expected = [run for run in runs[:-1] if run[0] not in (3, file.decoder.unknown)]
    assert [(word.index, word.confidence) for word in words] == expected
    assert {0, 1, 2} < {word.index for word in words} and len(words) > 20


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_heard_is_the_sample_that_brings_the_word(babble, rate):
    signal = babble_audio(4, 13, rate)
    recognizer = babble.recognizer(rate)
    count = 0
    for i in range(len(signal)):
        for word in recognizer.accept_waveform(signal[i : i + 1]):
            assert word.heard_s == (i + 1) / rate
            count += 1
    assert count > 3


def test_partial_leads_to_the_word(babble):
    signal = babble_audio(6, 14, 44100)
    recognizer = babble.recognizer(44100)
    assert recognizer.partial is None
    before, count = None, 0
    for start in range(0, len(signal), 441):
        for word in recognizer.accept_waveform(signal[start : start + 441]):
            assert (before.label, before.confidence) == (word.label, word.confidence)
            assert (before.start_s, before.end_s) == (word.start_s, word.end_s)
            count += 1
        before = recognizer.partial
    assert count > 10
    recognizer.reset()
    assert recognizer.partial is None


@pytest.mark.parametrize("chunk", [1000, 16000])
def test_strings_are_the_same_in_any_chunks(tones, chunk):
    pause = np.zeros(16000, np.float32)
    signal = np.concatenate([tone_signal(["one", "two"]), pause, tone_signal(["three"]), pause])
    recognizer = tones.recognizer()
    words = []
    for start in range(0, len(signal), chunk):
        words += recognizer.accept_waveform(signal[start : start + chunk])
    assert [(word.label, word.string) for word in words] == [("one", 0), ("two", 0), ("three", 1)]
    assert recognizer.ended_strings == 2
    recognizer.finish()
    recognizer.reset()
    assert recognizer.ended_strings == 0
    recognizer = tones.recognizer(sample_rate=None)
    recognizer.set_string_silence(2)
    words = recognizer.accept_waveform(signal, 16000)
    assert [word.string for word in words] == [0, 0, 0]
    assert recognizer.ended_strings == 0
    recognizer.finish()
    assert recognizer.ended_strings == 1


def test_log_mel_is_the_spectrum_of_the_last_frame(tones):
    config = tones.file.frontend
    recognizer = tones.recognizer()
    silence = np.full(config.filter_count, np.log(np.float32(config.log_floor)), np.float32)
    np.testing.assert_array_equal(recognizer.log_mel, silence)
    rng = np.random.default_rng(15)
    signal = rng.uniform(-0.5, 0.5, 410).astype(np.float32)
    recognizer.accept_waveform(signal)
    energies = power_spectra(config, 32768.0 * signal[:410])[0] @ filters(config).T
    np.testing.assert_allclose(recognizer.log_mel, np.log(energies + config.log_floor), atol=1e-4)
    recognizer.reset()
    np.testing.assert_array_equal(recognizer.log_mel, silence)


# ------------------------------------------------------------------------------- idle gate


@pytest.fixture(scope="module")
def digits():
    return er.Model.default()


def noise(duration_s, level_db, seed=16, rate=16000):
    rng = np.random.default_rng(seed)
    return (10 ** (level_db / 20) * rng.standard_normal(round(duration_s * rate))).astype(np.float32)


@pytest.fixture(scope="module")
def pauses():
    """Noise, two recordings of four words or more with pauses of three and two seconds before them, noise."""
    recordings = [read_audio(path)[0] for path, _ in demo_samples()[:2]]
    parts = [np.zeros(16000 * 3, np.float32), recordings[0], np.zeros(16000 * 2, np.float32), recordings[1]]
    signal = np.concatenate([*parts, np.zeros(16000 * 2, np.float32)])
    return signal + noise(len(signal) / 16000, -60)


@pytest.mark.parametrize("level_db", [None, -75, -40, -12])
def test_idle_in_steady_noise_at_any_level(digits, level_db):
    recognizer = digits.recognizer()
    signal = np.zeros(16000 * 5, np.float32) if level_db is None else noise(5, level_db)
    recognizer.accept_waveform(signal[:16000])
    assert not recognizer.is_idle
    recognizer.accept_waveform(signal[16000:])
    assert recognizer.is_idle
    config = digits.file.frontend
    last = 32768.0 * signal[-config.window_samples - config.hop_samples :]
    energies = power_spectra(config, last)[1] @ filters(config).T
    np.testing.assert_allclose(recognizer.log_mel, np.log(energies + config.log_floor), atol=1e-3)
    recognizer.accept_waveform(signal[:8000] * np.float32(1.6))  # by 4 dB
    assert level_db is None or not recognizer.is_idle


@pytest.mark.parametrize("seed", [1, 2])
def test_gate_equals_its_reference(seed):
    rng = np.random.default_rng(seed)
    file = ModelFile.from_bytes(babble_model())
    bias = np.array([32767] + [-32768] * (len(file.labels) - 1), np.int16)  # blank wins always
    file = dataclasses.replace(file, decoder=dataclasses.replace(file.decoder, bias=bias))
    recognizer = er.Model.from_bytes(file.to_bytes()).recognizer()
    recognizer.set_gate(0.7)
    levels_db = rng.choice([-90, -60, -57, -50, -20], 12)
    signal = np.concatenate([noise(rng.uniform(0.1, 3), level, rng.integers(1000)) for level in levels_db])
    signal = np.concatenate([signal, np.zeros(20000, np.float32), signal[:5000]])
    found = []
    for start in range(0, len(signal) - 159, 160):
        recognizer.accept_waveform(signal[start : start + 160])
        found.append(recognizer.is_idle)
    assert found == gate_reference.idle(signal, 0.7)
    assert sum(a != b for a, b in pairwise(found)) >= 4


@pytest.mark.parametrize("score", [-20000, 20000])
@pytest.mark.parametrize("blank, rival", [(0, 1), (0, 5), (2, 3), (5, 0)])
@pytest.mark.parametrize("margin, rests", [(3 * 2048, True), (3 * 2048 - 1, False)])
def test_idle_only_if_no_other_output_is_near_blank(score, blank, rival, margin, rests):
    """Within e^-3 of its probability."""
    file = ModelFile.from_bytes(tone_model())
    (layer,) = file.layers
    (matrix,) = layer.matrices
    nothing = dataclasses.replace(
        matrix, weights=np.zeros_like(matrix.weights), bias=np.zeros_like(matrix.bias)
    )
    bias = np.full(layer.output_size, score - 12000, np.int16)
    bias[[blank, rival]] = score, score - margin
    decoder = dataclasses.replace(file.decoder, blank=blank, unknown=None, bias=bias)
    layers = (dataclasses.replace(layer, matrices=(nothing,)),)
    recognizer = er.Model.from_bytes(
        dataclasses.replace(file, layers=layers, decoder=decoder).to_bytes()
    ).recognizer()
    recognizer.set_gate(0.5)
    assert recognizer.accept_waveform(np.zeros(16000, np.float32)) == []
    assert recognizer.is_idle == rests


def test_not_idle_before_the_wait_after_a_word_is_over(digits, pauses):
    recognizer = digits.recognizer()
    recognizer.set_gate(0.5)
    heard_s, waits = 0.0, []
    for start in range(0, len(pauses) - 159, 160):
        was_idle = recognizer.is_idle
        for word in recognizer.accept_waveform(pauses[start : start + 160]):
            heard_s = word.heard_s
        if recognizer.is_idle and not was_idle:
            waits.append((start + 160) / 16000 - heard_s)
    assert len(waits) >= 3
    assert min(waits) >= 0.5 - 0.02  # the step in which the word was heard counts


def test_changing_noise_keeps_it_awake(digits):
    recognizer = digits.recognizer()
    signal = noise(10, -40) * np.repeat(np.tile([1, 2], 10), 8000).astype(np.float32)
    for start in range(0, len(signal), 8000):
        recognizer.accept_waveform(signal[start : start + 8000])
        assert not recognizer.is_idle


def test_awake_again_is_a_fresh_recognizer(digits, pauses):
    recognizer = digits.recognizer()
    recognizer.set_gate(2.7)  # the second pause is shorter
    words, woken = [], []
    for start in range(0, len(pauses), 160):
        was_idle = recognizer.is_idle
        words += recognizer.accept_waveform(pauses[start : start + 160])
        if was_idle and not recognizer.is_idle:
            woken.append(start + 160)
    assert len(woken) == 1
    first = (woken[0] - 7680) // 320 * 320
    fresh = digits.recognizer()
    fresh.set_gate(None)
    expected = fresh.accept_waveform(pauses[first:])
    assert len(expected) > 7
    assert [(w.label, w.confidence) for w in words] == [(w.label, w.confidence) for w in expected]
    for field in ("start_s", "end_s", "heard_s"):
        shifted = [(round(16000 * getattr(w, field)) + first) / 16000 for w in expected]
        assert [getattr(w, field) for w in words] == shifted
    np.testing.assert_array_equal(recognizer.posteriors, fresh.posteriors)


def test_gate_changes_no_word(digits, pauses):
    with_gate, without = digits.recognizer(), digits.recognizer()
    with_gate.set_gate(0.5)
    without.set_gate(None)
    idle = 0
    words = [], []
    for start in range(0, len(pauses), 320):
        chunk = pauses[start : start + 320]
        words[0].extend(with_gate.accept_waveform(chunk))
        words[1].extend(without.accept_waveform(chunk))
        idle += with_gate.is_idle
        assert not without.is_idle
        assert with_gate.ended_strings == without.ended_strings
        assert with_gate.log_mel.shape == (40,)  # computed while idle, and changes nothing
    assert idle > 150
    assert with_gate.is_idle
    assert [(w.label, w.string) for w in words[0]] == [(w.label, w.string) for w in words[1]]
    with_gate.set_gate(None)
    with_gate.accept_waveform(pauses[:160])
    assert not with_gate.is_idle
    assert with_gate.finish() == []


@pytest.mark.parametrize("rate", [16000, 44100])
def test_any_chunking_gives_the_same_words_with_the_gate(digits, pauses, rate):
    recognizer = digits.recognizer(rate)
    recognizer.set_gate(0.5)
    whole = recognize(recognizer, pauses)
    assert len(whole) > 7 or rate != 16000
    for sizes in (97, np.random.default_rng(rate).integers(1, 9000, len(pauses)).tolist()):
        recognizer.reset()
        assert not recognizer.is_idle
        assert recognize(recognizer, pauses, sizes) == whole
    recognizer.reset()
    assert list(words_one_by_one(recognizer, pauses)) == [w.heard_s for w in whole]


@pytest.mark.parametrize("idle_after_s", [None, 2])
def test_no_drift(digits, pauses, idle_after_s):
    """The same words however long the recognizer has been running; with the gate to the last bit."""
    recognizer = digits.recognizer()
    recognizer.set_gate(idle_after_s)
    rounds = []
    signal = pauses[: len(pauses) // 320 * 320]
    for i in range(30):
        words = recognizer.accept_waveform(signal)
        times = [round(16000 * w.end_s) - i * len(signal) for w in words]
        rounds.append([(w.label, w.confidence, t) for w, t in zip(words, times, strict=True)])
        assert [word[0] for word in rounds[i]] == [word[0] for word in rounds[0]]
    assert len(rounds[0]) > 7
    if idle_after_s is not None:
        assert rounds[1:] == [rounds[1]] * 29


@pytest.mark.parametrize("idle_after_s", [0.4, 61, float("nan")])
def test_illegal_gate_is_refused(tones, idle_after_s):
    with pytest.raises(ValueError, match=r"idle_after_s: expected 0\.5 to 60, or None"):
        tones.recognizer().set_gate(idle_after_s)


# ------------------------------------------------------------------------------- refusals


def test_another_rate_is_refused(tones):
    recognizer = tones.recognizer(44100)
    recognizer.accept_waveform(np.zeros(10, np.float32), 44100)
    with pytest.raises(ValueError, match="expected 44100 Hz, got 16000 Hz"):
        recognizer.accept_waveform(np.zeros(10, np.float32), sample_rate=16000)


def test_first_chunk_fixes_an_open_rate(tones):
    recognizer = tones.recognizer(sample_rate=None, threshold=0.5)
    assert recognizer.sample_rate is None
    with pytest.raises(ValueError, match="the first chunk needs it"):
        recognizer.accept_waveform(np.zeros(10, np.float32))
    signal = tone_signal(["one", "two"], rate=48000)
    words = recognizer.accept_waveform(signal, sample_rate=48000) + recognizer.finish()
    assert labels(words) == ["one", "two"]
    assert recognizer.sample_rate == 48000
    recognizer.reset()
    with pytest.raises(ValueError, match="expected 48000 Hz"):
        recognizer.accept_waveform(signal, sample_rate=16000)


@pytest.mark.parametrize("rate", [0, 7999, 192001, 1 << 31, 15999])
def test_unsupported_rate_is_refused(tones, rate):
    with pytest.raises(ValueError, match=str(rate)):
        tones.recognizer(rate)


@pytest.mark.parametrize("rate", [16000.0, "16000", True])
def test_rate_of_wrong_type_is_refused(tones, rate):
    with pytest.raises(TypeError, match="sample_rate: expected an integer"):
        tones.recognizer(rate)


@pytest.mark.parametrize(
    "samples, error, message",
    [
        (np.zeros(10), ValueError, "expected a 1-D int16 or float32 array, got float64"),
        (np.zeros((10, 1), np.float32), ValueError, r"got float32 of shape \(10, 1\)"),
        (np.zeros(10, np.int32), ValueError, "got int32"),
        (np.zeros(10, ">i2"), ValueError, "got >i2"),
        ([0.0] * 10, TypeError, "got list"),
        (b"\0" * 10, TypeError, "got bytes"),
    ],
)
def test_wrong_samples_are_refused(tones, samples, error, message):
    with pytest.raises(error, match=message):
        tones.recognizer().accept_waveform(samples)


@pytest.mark.parametrize("shape", [(5, 12), (13,), (5, 13, 1)])
def test_wrong_cepstra_are_refused(tones, shape):
    with pytest.raises(ValueError, match=r"expected float32 of shape \(frames, 13\)"):
        tones.recognizer().accept_cepstra(np.zeros(shape, np.float32))


def test_samples_and_cepstra_cannot_be_mixed(tones):
    recognizer = tones.recognizer()
    recognizer.accept_waveform(np.zeros(10, np.float32))
    with pytest.raises(ValueError, match="reset first"):
        recognizer.accept_cepstra(np.zeros((5, 13), np.float32))
    recognizer.reset()
    recognizer.accept_cepstra(np.zeros((5, 13), np.float32))
    with pytest.raises(ValueError, match="reset first"):
        recognizer.accept_waveform(np.zeros(10, np.float32))


def test_samples_after_finish_are_refused(tones):
    recognizer = tones.recognizer()
    recognizer.finish()
    with pytest.raises(ValueError, match="reset first"):
        recognizer.accept_waveform(np.zeros(10, np.float32))
    recognizer.reset()
    assert recognizer.accept_waveform(np.zeros(10, np.float32)) == []


@pytest.mark.parametrize("part", ["decoder", "frontend", "labels"])
def test_model_that_lacks_a_part_is_refused(part):
    missing = {"decoder": None}
    if part != "decoder":
        missing[part] = None
    model = er.Model.from_bytes(dataclasses.replace(ModelFile.from_bytes(tone_model()), **missing).to_bytes())
    for rate in (16000, None):
        with pytest.raises(er.EdgeRuntimeStateError, match="no front end, decoder settings or labels"):
            model.recognizer(rate)


# ------------------------------------------------------------------------------ caller's memory


def test_init_checks_size_and_alignment(tones):
    size = lib.er_recognizer_size(tones._handle, 44100)
    assert size > 0
    assert lib.er_recognizer_size(tones._handle, 1) == 0
    assert lib.er_recognizer_size(ffi.NULL, 16000) == 0
    block = ffi.new("char[]", size + 128)
    address = int(ffi.cast("uintptr_t", block))
    base = block + (-address % 64)
    out = ffi.new("er_recognizer **")

    def init(memory, memory_size):
        return lib.er_recognizer_init(memory, memory_size, tones._handle, 44100, out)

    assert init(base, size - 1) == lib.ER_ERROR_MEMORY
    assert init(base + 1, size) == lib.ER_ERROR_MEMORY
    assert init(ffi.NULL, size) == lib.ER_ERROR_ARGUMENT
    assert out[0] == ffi.NULL
    ffi.memmove(base + size, b"canary", 6)
    assert init(base, size) == lib.ER_OK
    assert int(ffi.cast("uintptr_t", out[0])) == int(ffi.cast("uintptr_t", base))
    signal = tone_signal(["one", "four"], rate=44100)
    words = ffi.new("er_word[8]")
    count, consumed = ffi.new("size_t *"), ffi.new("size_t *")
    data = ffi.from_buffer("float[]", signal)
    assert lib.er_recognizer_push(out[0], data, len(signal), words, 8, count, consumed) == 0
    assert [tones.labels[words[i].label] for i in range(count[0])] == ["one", "four"]
    assert consumed[0] == len(signal)
    assert bytes(ffi.buffer(base + size, 6)) == b"canary"


def test_null_arguments_are_refused(tones):
    recognizer = tones.recognizer()._handle
    words = ffi.new("er_word[1]")
    count, consumed = ffi.new("size_t *"), ffi.new("size_t *")
    sample = ffi.new("float[1]")
    wrong = lib.ER_ERROR_ARGUMENT
    push = lib.er_recognizer_push
    assert push(ffi.NULL, sample, 1, words, 1, count, consumed) == wrong
    assert push(recognizer, ffi.NULL, 1, words, 1, count, consumed) == wrong
    assert push(recognizer, sample, 1, ffi.NULL, 1, count, consumed) == wrong
    assert push(recognizer, sample, 1, words, 0, count, consumed) == wrong
    assert push(recognizer, sample, 1, words, 1, ffi.NULL, consumed) == wrong
    assert push(recognizer, sample, 1, words, 1, count, ffi.NULL) == wrong
    assert push(recognizer, ffi.NULL, 0, words, 1, count, consumed) == lib.ER_OK
    assert lib.er_recognizer_finish(ffi.NULL, words, 1, count) == wrong
    assert lib.er_recognizer_finish(recognizer, words, 0, count) == wrong
    assert lib.er_recognizer_posteriors(recognizer, ffi.NULL) == wrong
    assert lib.er_recognizer_log_mel(recognizer, ffi.NULL) == wrong
    assert lib.er_recognizer_partial(recognizer, words, ffi.NULL) == wrong
    assert lib.er_recognizer_partial(recognizer, ffi.NULL, ffi.new("uint32_t *")) == wrong
    assert lib.er_recognizer_set_string_silence(recognizer, 19) == wrong
    assert lib.er_recognizer_set_gate(recognizer, 499) == wrong
    assert lib.er_recognizer_set_gate(ffi.NULL, 0) == wrong
    assert lib.er_recognizer_is_idle(ffi.NULL) == 0
    assert lib.er_recognizer_set_string_silence(ffi.NULL, 800) == wrong
    assert lib.er_recognizer_ended_strings(ffi.NULL) == 0
    assert lib.er_recognizer_set_threshold(recognizer, float("nan")) == wrong
    lib.er_recognizer_reset(ffi.NULL)
    lib.er_recognizer_destroy(ffi.NULL)


def test_recognizer_can_be_finished_after_an_interrupt_at_any_moment(digits):
    recognizer = digits.recognizer()
    recognizer._exclusive().__enter__()  # interrupted before the with statement began
    assert recognizer.finish() == []
