# SPDX-License-Identifier: MIT
"""``python -m training.mine``: find what a digit recognizer mistakes, to train it further on that.

Hears synthetic speech of words and voices beyond those of `training.synthesize`, and the recordings of the
training splits, each several times in other rooms and noises. Nothing of a development or test split is
heard, and none of the speakers that a run may withhold.
"""

import argparse
import collections
import dataclasses
import functools
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apps.corpus import CorpusError
from edge_runtime import Model
from training import augment
from training.align import an4_alignment
from training.an4_words import load_an4_words
from training.bank import NOISE_SETS, clip_of, clip_of_speech, clips_of_set, load_bank
from training.cepstral import augment_cepstra
from training.corpus import is_sentence, training_set
from training.features import QUIET_FRAMES, cepstra_of, network_features
from training.labels import UNKNOWN
from training.lexicon import LexiconError
from training.mined import Mined, write_mined
from training.operating_point import logits_of, words_of
from training.strings import StringsConfig, record_clip
from training.synthesize import SynthesisError, all_voices, synthesize, worker_pool
from training.synthetic_speech import default_folder, read_speech

# How a clip is recorded anew: milder than in training, where more is asked than can be had.
RECORDING = StringsConfig(
    clean=0.2,
    snr_db=(10.0, 40.0),
    speed=(0.92, 1.09),
    tilt_db=2.0,
    ripple_db=4.0,
    reverberation_db=(-15.0, -4.0),
    low_pass=0.15,
    level_dbfs=(-45.0, -14.0),
    an4_snr_db=(15.0, 50.0),
    an4_warp=1.05,
)
# Rules more severe than those of use, so that what is nearly mistaken is found too. In the units of biases,
# 2^-11 of log-probability: off the bias of `unknown` where no digit is said, onto it where one is.
MARGIN = 2048
LESS_CONFIDENT = 0.2  # a digit may be where none is said, and be heard
# Voices whose digits are mostly mistaken are hard for people too.
MOST_MISTAKEN = 0.5
SHIFTS = (0.94, 1.06)  # factors on the speed of voices, which make others of them
CUT_S = (1.0, 3.0)
CUT_SPEED = (0.7, 1.4)
CHUNK = 64
TOP = 30

# Streams of random numbers.
_SPEECH, _RECORDINGS, _CUTS = 2, 3, 4


@dataclass(frozen=True, eq=False)
class Candidate:
    """What may be mistaken.

    Attributes
    ----------
    kind : str
        Of synthetic speech, or the name of a set.
    name : str
        What is said, for the report.
    key : object
        Index of a synthetic clip, key of a recording, (key, first sample, sample after the last) of a cut.
    labels : tuple of int
        The digits that are said.
    record : callable
        numpy.random.Generator -> cepstra of one trial, float32 [shape=(frames, 13)].
    stream : tuple of int
        Beginning of the seed of its trials.
    """

    kind: str
    name: str
    key: object
    labels: tuple
    record: object
    stream: tuple


def _digits(labels):
    return tuple(label for label in labels if label != UNKNOWN)


def _record(rng, clip, bank):
    return cepstra_of(record_clip(rng, clip, bank, RECORDING))


def _record_cut(rng, samples):
    response = augment.random_response(rng, RECORDING.tilt_db, RECORDING.ripple_db)
    samples, _ = augment.reshape(rng, samples, rng.uniform(*CUT_SPEED), response)
    level = 10 ** (rng.uniform(*RECORDING.level_dbfs) / 20)
    samples = np.clip(samples * np.float32(level / augment.rms(samples)), -1, 1)
    return cepstra_of(np.ascontiguousarray(samples, np.float32))


def _record_word(rng, word):
    return augment_cepstra(rng, word.cepstra[word.first : word.last], RECORDING)


def _spoken(folder, bank):
    for index, said in enumerate(read_speech(folder)):
        clip = clip_of_speech(said)
        record = functools.partial(_record, clip=clip, bank=bank)
        yield Candidate(
            said.kind, " ".join(said.words), index, _digits(clip.labels), record, (_SPEECH, index)
        )


def _recorded(bank):
    clips = [(u, clip_of(u, (UNKNOWN,) * len(u.words))[0]) for u in training_set("nondigit_speech")]
    for name in ("sc_digits", "fsdd", "audiomnist_subset", "prompt_digits", "sc_words"):
        clips += clips_of_set(name, withhold=True)
    for utterance, clip in clips:
        name = "(sentence)" if is_sentence(utterance) else " ".join(utterance.words)
        record = functools.partial(_record, clip=clip, bank=bank)
        stream = (_RECORDINGS, zlib.crc32(utterance.key.encode()))
        yield Candidate(utterance.corpus, name, utterance.key, _digits(clip.labels), record, stream)
    pool = load_an4_words().pool
    for word in (word for group in pool.digits.clips + pool.unknown.clips for word in group):
        record = functools.partial(_record_word, word=word)
        stream = (_RECORDINGS, zlib.crc32(word.key.encode()))
        yield Candidate("an4_words", word.word, word.key, _digits((word.label,)), record, stream)


def _cuts(count, seed):
    recordings = [u for name in NOISE_SETS for u in training_set(name)]
    shares = np.cumsum([u.duration_s for u in recordings])
    for index in range(count):
        rng = np.random.default_rng([seed, _CUTS, index])
        utterance = recordings[np.searchsorted(shares, rng.random() * shares[-1])]
        length = min(int(rng.uniform(*CUT_S) * augment.SAMPLE_RATE), len(utterance.pcm))
        begin = int(rng.integers(len(utterance.pcm) - length + 1))
        scale = np.float32(1 / 32768 if utterance.pcm.dtype == np.int16 else 1)
        samples = utterance.pcm[begin : begin + length] * scale
        record = functools.partial(_record_cut, samples=samples)
        key = (utterance.key, begin, begin + length)
        yield Candidate(utterance.corpus, " ".join(utterance.words), key, (), record, (_CUTS, index, 1))


@functools.cache
def candidates(folder, cuts, seed):
    """List what may be mistaken; once per process.

    Parameters
    ----------
    folder : str
        Of synthetic speech.
    cuts : int
        Stretches of noise.
    seed : int

    Returns
    -------
    list of Candidate
        Whatever is listed before it, a candidate has the same trials.
    """
    bank = load_bank(withhold=True)
    return [*_spoken(folder, bank), *_recorded(bank), *_cuts(cuts, seed)]


@functools.cache
def _ears(data):
    """Return a model, and decoders for what holds digits and what does not."""
    model = Model.from_bytes(data)
    settings = model.file.decoder
    pair = []
    for margin, less in ((MARGIN, 0.0), (-MARGIN, LESS_CONFIDENT)):
        decoder = model.decoder()
        decoder.set_bias(UNKNOWN, int(np.clip(settings.bias[UNKNOWN] + margin, -32768, 32767)))
        decoder.set_threshold(max(0.0, settings.threshold - less))
        pair.append(decoder)
    return model, *pair


def mistakes(candidate, data, trials, seed):
    """Hear a candidate several times.

    Parameters
    ----------
    candidate : Candidate
    data : bytes
        Model file.
    trials, seed : int

    Returns
    -------
    list of str
        What was heard in each trial that went wrong.
    """
    model, strict, lenient = _ears(data)
    decoder = strict if candidate.labels else lenient
    wrong = []
    for trial in range(trials):
        rng = np.random.default_rng([seed, *candidate.stream, trial])
        features = network_features(candidate.record(rng), QUIET_FRAMES)
        words = words_of(decoder, logits_of(model, features))
        if tuple(word.index for word in words) != candidate.labels:
            wrong.append(" ".join(word.label for word in words) or "(nothing)")
    return wrong


def _work(task, folder, cuts, data, trials, seed):
    part = candidates(folder, cuts, seed)[task : task + CHUNK]
    return [(task + i, mistakes(candidate, data, trials, seed)) for i, candidate in enumerate(part)]


def mine(data, folder, cuts=3000, trials=4, seed=1, processes=2):
    """Find what a model mistakes.

    Parameters
    ----------
    data : bytes
        Model file of a digit recognizer, with decoder settings.
    folder : pathlib.Path
        Of synthetic speech.
    cuts : int
        Stretches of noise.
    trials : int
        Times that each candidate is heard.
    seed : int
    processes : int
        0: in this process.

    Returns
    -------
    mined : training.mined.Mined
    found : list of (Candidate, list of str)
        All candidates, and what was heard where they were mistaken.
    """
    from tqdm import tqdm

    an4_alignment()  # once and here: workers then find it ready
    every = candidates(str(folder), cuts, seed)
    work = functools.partial(_work, folder=str(folder), cuts=cuts, data=data, trials=trials, seed=seed)
    wrong = {}
    with worker_pool(processes) as run, tqdm(total=len(every), unit="clip", smoothing=0) as bar:
        for results in run(work, range(0, len(every), CHUNK)):
            wrong.update(results)
            bar.update(len(results))
    found = [(candidate, wrong[index]) for index, candidate in enumerate(every)]
    return _mined(found, read_speech(folder), trials), found


def _mined(found, spoken, trials):
    speech, errors, cuts = [], {}, []
    hopeless = _hopeless_voices(found, spoken, trials)
    for candidate, heard in found:
        if not heard:
            continue
        if candidate.stream[0] == _CUTS:
            cuts.append(candidate.key)
        elif candidate.stream[0] == _RECORDINGS:
            errors[candidate.key] = len(heard) / trials
        elif not (candidate.labels and spoken[candidate.key].voice in hopeless):
            speech.append(spoken[candidate.key])
    return Mined(speech, errors, cuts)


def _hopeless_voices(found, spoken, trials):
    shares = collections.defaultdict(list)
    for candidate, heard in found:
        if candidate.kind == "digit":
            shares[spoken[candidate.key].voice].append(len(heard) / trials)
    return {voice for voice, of_clips in shares.items() if np.mean(of_clips) > MOST_MISTAKEN}


def report(found, trials):
    """Describe errors by kind and by word.

    Parameters
    ----------
    found : list of (Candidate, list of str)
    trials : int

    Returns
    -------
    str
        Lines of text.
    """
    by_kind, by_word = collections.defaultdict(list), collections.defaultdict(list)
    for candidate, heard in found:
        kind = f"{candidate.kind}{' (digits)' if candidate.labels else ''}"
        by_kind[kind].append(heard)
        by_word[kind, candidate.name].append(heard)
    lines = [f"{'clips':>7}{'mistaken':>10}{'trials':>8}"]
    for kind, all_heard in by_kind.items():
        lines.append(f"{_row(all_heard, trials)}  {kind}")
    lines.append(f"\nMost mistaken of those with five trials or more:\n{lines[0]}")
    words = [item for item in by_word.items() if len(item[1]) * trials >= 5]
    words.sort(key=lambda item: (-sum(map(len, item[1])) / len(item[1]), -len(item[1]), item[0]))
    for (kind, name), all_heard in words[:TOP]:
        heard = collections.Counter(said for each in all_heard for said in each)
        usual = ", ".join(f"{said} {count}" for said, count in heard.most_common(3))
        lines.append(f"{_row(all_heard, trials)}  {kind}: {name}: {usual}")
    return "\n".join(lines)


def _row(all_heard, trials):
    clips, errors = len(all_heard), sum(map(len, all_heard))
    return f"{clips:7}{sum(map(bool, all_heard)) / clips:10.1%}{errors / (clips * trials):8.1%}"


def other_voices():
    """Return voices beside those of `training.synthesize`: list of training.synthesize.Voice."""
    return [
        dataclasses.replace(voice, name=f"{voice.name}:{shift}", shift=voice.shift * shift)
        for voice in all_voices()
        for shift in SHIFTS
    ]


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(prog="python -m training.mine", description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder")
    parser.add_argument("--clips", type=int, default=12000, metavar="N", help="synthetic clips (%(default)s)")
    parser.add_argument(
        "--cuts", type=int, default=3000, metavar="N", help="stretches of noise (%(default)s)"
    )
    parser.add_argument("--trials", type=int, default=4, metavar="N", help="per clip (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="(%(default)s)")
    parser.add_argument(
        "--speech",
        type=Path,
        metavar="DIR",
        help="the synthetic clips, made if there are none (default: in the cache, by --clips and --seed)",
    )
    return parser


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = build_parser().parse_args(arguments)
    speech = options.speech
    if speech is None:
        cache = default_folder()
        speech = cache.with_name(f"{cache.name}_{options.clips}_{options.seed}")
    try:
        data = options.model.read_bytes()
        _check(Model.from_bytes(data), options.model)
        if not (speech / "index.csv").exists():
            synthesize(speech, options.clips, options.seed, options.processes, other_voices(), wide=True)
        mined, found = mine(data, speech, options.cuts, options.trials, options.seed, options.processes)
        write_mined(options.out, mined)
    except (OSError, ValueError, SynthesisError, CorpusError, LexiconError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(found, options.trials), file=sys.stderr)
    counts = (len(mined.speech), len(mined.errors), len(mined.cuts))
    print(f"{options.out}: {counts[0]} synthetic clips, {counts[1]} recordings, {counts[2]} cuts of noise")
    return 0


def _check(model, path):
    try:
        model.decoder()
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
