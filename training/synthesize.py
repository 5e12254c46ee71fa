# SPDX-License-Identifier: MIT
"""``python -m training.synthesize``: synthetic speech to train on, mostly words to reject.

Runs the programs espeak-ng, flite and festival, or, with --kokoro, the network of `training.kokoro`. The result is
cached, never committed: the same seed and the same versions of the programs make the same clips. Tests and development
never hear them.
"""

import argparse
import contextlib
import functools
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apps.corpus import CorpusError
from apps.evaluate.endpoints import find_word
from training import augment, vocabulary
from training.kokoro import SAMPLE_RATE as KOKORO_RATE
from training.kokoro import KokoroError, kokoro, mixtures, read_voices
from training.labels import DIGITS
from training.lexicon import LexiconError
from training.synthetic_speech import SyntheticClip, default_folder, write_speech

# Clips of each kind, as shares of the number asked for.
SHARES = {"digit": 0.35, "confusable": 0.25, "task": 0.15, "common": 0.20, "phrase": 0.05, "string": 0.06}
NUMBER_SHARE = 0.15  # of the confusable words: teens, tens, ordinals
# The same for speech in which errors are looked for.
WIDE_SHARES = {"digit": 0.25, "string": 0.0, "confusable": 0.40, "task": 0.10, "common": 0.20, "phrase": 0.05}
# Kokoro's voices are the better ones to learn digits of.
KOKORO_SHARES = {
    "digit": 0.42,
    "confusable": 0.22,
    "task": 0.10,
    "common": 0.14,
    "phrase": 0.04,
    "string": 0.08,
}
PROGRAMS = {"espeak-ng": 0.6, "flite": 0.25, "festival": 0.15, "kokoro": 1.0}
PACKAGES = "espeak-ng flite festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts"

# Variants per accent. Each is one of two accents that were tried; those are left out of which the shipped
# recognizer knew less than half of 33 digits at random speed and pitch. ("en" is British: given the name
# "en-gb", espeak-ng ignores the variant.)
ESPEAK = {
    "en-us": "m1 m6 f1 croak klatt3 belinda caleb edward Gene2 Hugo iven3 Lee Marco miguel "
    "pablo robert steph victor",
    "en-us-nyc": "m2 m7 f2 klatt klatt4 Andrea adam benjamin david edward2 iven iven4 Mario Mike "
    "paul sandro steph2",
    "en": "m3 m8 klatt2 klatt5 Andy anika boris Denis Gene grandpa iven2 Jacky max pedro",
    "en-gb-scotland": "m1 m4 f1 klatt3 klatt6 antonio caleb Diogo Gene2 gustave iven3 john Marco "
    "Michael pablo quincy steph",
    "en-gb-x-rp": "m5 klatt4 adam david ed Henrique iven4 paul rob Tweaky",
    "en-gb-x-gbclan": "m3 f3 klatt5 Denis edward Hugo Jacky Lee max miguel pedro robert steph3 victor",
    "en-gb-x-gbcwmd": "m4 m7 klatt klatt6 Andrea antonio benjamin edward2 quincy sandro",
    "en-029": "m5 m8 klatt2 Alex Andy ed Gene rob Tweaky",
}
# Played slower and faster, a recording is another speaker.
SHIFTS = (0.9, 1.0, 1.1)
KOKORO_SHIFTS = (0.92, 0.96, 1.0, 1.0, 1.05, 1.1)
FLITE = ("kal16", "awb", "rms", "slt")
FESTIVAL = ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts")
CHUNK = 16  # utterances of one program per task: festival takes a third of a second to start
KEEP_SAMPLES = 800  # of the silence around the word


@dataclass(frozen=True)
class Voice:
    """A voice of a synthesizer: its name in the index, program, voice of the program, factor on speed."""

    name: str
    program: str
    voice: str
    shift: float = 1.0


def all_voices():
    """Return the voices of all programs: list of Voice."""
    voices = []
    for accent, variants in ESPEAK.items():
        for variant in variants.split():
            voice = f"{accent}+{variant}"
            voices.append(Voice(f"espeak-ng:{voice}", "espeak-ng", voice))
    for program, names in (("flite", FLITE), ("festival", FESTIVAL)):
        for name in names:
            voices += [Voice(f"{program}:{name}:{shift}", program, name, shift) for shift in SHIFTS]
    return voices


def kokoro_voices(folder, count, seed):
    """Return `count` mixtures of Kokoro's voices: list of Voice.

    Parameters
    ----------
    folder : path
        Of Kokoro's files; `training.kokoro`. Kept in EDGE_RUNTIME_KOKORO, by which `speak` finds it.
    count, seed : int

    Raises
    ------
    training.kokoro.KokoroError
    """
    os.environ["EDGE_RUNTIME_KOKORO"] = str(folder)
    mixed = mixtures(read_voices(folder), count, seed)
    shifts = np.random.default_rng([seed, 3]).choice(KOKORO_SHIFTS, count)
    return [
        Voice(f"kokoro:{voice}:{shift}", "kokoro", voice, float(shift))
        for voice, shift in zip(mixed, shifts, strict=True)
    ]


@dataclass(frozen=True)
class Utterance:
    """What one clip says: index of the clip, voice, one of `SHARES`, words."""

    index: int
    voice: Voice
    kind: str
    words: tuple


def plan(count, seed, voices, wide=False):
    """Decide who says what.

    Parameters
    ----------
    count : int
        Clips.
    seed : int
    voices : list of Voice
    wide : bool
        Of `training.vocabulary.wide_words`, in `WIDE_SHARES`.

    Returns
    -------
    list of Utterance
    """
    rng = np.random.default_rng([seed, 0])
    task = vocabulary.task_words()
    if wide:
        shares = WIDE_SHARES
        near, distant, common = vocabulary.wide_words()
    else:
        shares = KOKORO_SHARES if all(voice.program == "kokoro" for voice in voices) else SHARES
        near, distant = vocabulary.confusable_words(rng)
        common = vocabulary.common_words()
    accents = sorted({_accent(voice) for voice in voices if voice.program == "espeak-ng"})
    heard_as_digit = _heard_as_digit({*near, *distant, *common, *task}, accents)
    heard_anywhere = frozenset().union(*heard_as_digit.values())
    if wide:  # there are plenty, and other accents and programs say them alike
        near, distant, common = (
            [w for w in words if w not in heard_anywhere] for words in (near, distant, common)
        )
    by_program = {}
    for voice in voices:
        by_program.setdefault(voice.program, []).append(voice)
    weights = np.array([PROGRAMS[program] for program in by_program])
    programs = list(by_program.values())

    def draw_voice():
        choice = programs[rng.choice(len(programs), p=weights / weights.sum())]
        return choice[rng.integers(len(choice))]

    says = []
    digits = round(shares["digit"] * count)
    while len(says) < digits:
        voice = draw_voice()
        says += [(voice, "digit", (word,)) for word in DIGITS]
    del says[digits:]

    confusable = round(shares["confusable"] * count)
    numbers = round(NUMBER_SHARE * confusable)
    singles = (
        ("confusable", vocabulary.NUMBERS, numbers),
        ("confusable", near, (confusable - numbers) * 2 // 3),
        ("confusable", distant, (confusable - numbers) // 3),
        ("task", task, round(shares["task"] * count)),
        ("common", common, round(shares["common"] * count)),
    )
    for kind, words, number in singles:
        # In one accent alone "tree" may be "three".
        sayable = [w for w in words if any(w not in heard_as_digit.get(_accent(v), ()) for v in voices)]
        for word in _cycled(rng, sayable, number):
            voice = draw_voice()
            while word in heard_as_digit.get(_accent(voice), ()):
                voice = draw_voice()
            says.append((voice, kind, (word,)))

    # A letter that stands alone would be spelled in one voice and an article in another.
    phrase_words = [w for w in common + near + task if len(w) > 1 and w not in heard_anywhere]
    for _ in range(round(shares["phrase"] * count)):
        words = tuple(str(w) for w in rng.choice(phrase_words, rng.integers(2, 6)))
        says.append((draw_voice(), "phrase", words))
    for _ in range(round(shares["string"] * count)):
        words = tuple(str(w) for w in rng.choice(DIGITS, rng.integers(2, 6)))
        says.append((draw_voice(), "string", words))
    return [Utterance(index, *said) for index, said in enumerate(says)]


def _cycled(rng, words, count):
    # Every word as often as any other.
    for start in range(0, count, len(words)):
        yield from (words[i] for i in rng.permutation(len(words))[: count - start])


def _accent(voice):
    return voice.voice.split("+")[0]


def _heard_as_digit(words, accents):
    """Return dict of accent to set of words that espeak-ng says as it says a digit there."""
    words = sorted(words)
    heard = {}
    for accent in accents:
        text = "\n\n".join([*DIGITS, *words])
        lines = _run(["espeak-ng", "-q", "-x", "-v", accent, "--stdin"], text)
        # A dental t is a t to the ear.
        sounds = [line.strip().replace("[", "") for line in lines.splitlines() if line.strip()]
        if len(sounds) != len(DIGITS) + len(words):
            raise SynthesisError(
                f"espeak-ng, voice {accent}: {len(sounds)} lines of phonemes for {len(words)}"
            )
        digits = set(sounds[: len(DIGITS)])
        heard[accent] = {w for w, s in zip(words, sounds[len(DIGITS) :], strict=True) if s in digits}
    return heard


class SynthesisError(RuntimeError):
    """A synthesizer is missing or failed; the message is one line."""


def _run(command, text=None):
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if result.returncode:
        reason = (result.stderr or result.stdout).strip().splitlines()[-1:] or ["no message"]
        raise SynthesisError(f"{command[0]}: exit status {result.returncode}: {reason[0]}")
    return result.stdout


def _espeak(utterances, rngs, folder):
    for i, (utterance, rng) in enumerate(zip(utterances, rngs, strict=True)):
        text = " ".join(utterance.words) + ".,?!"[rng.integers(4)]
        text = f'<prosody range="{rng.integers(20, 160)}%">{text}</prosody>'
        speed, pitch = rng.integers(115, 230), rng.integers(25, 76)
        options = ["-s", str(speed), "-p", str(pitch), "-w", str(folder / f"{i}.wav")]
        _run(["espeak-ng", "-m", "-v", utterance.voice.voice, *options, text])


def _flite(utterances, rngs, folder):
    for i, (utterance, rng) in enumerate(zip(utterances, rngs, strict=True)):
        text = " ".join(utterance.words) + ".,?"[rng.integers(3)]
        options = [f"duration_stretch={rng.uniform(0.75, 1.3):.3f}"]
        if utterance.voice.voice == "kal16":
            options += [f"int_f0_target_mean={rng.uniform(80, 130):.1f}"]
            options += [f"int_f0_target_stddev={rng.uniform(5, 25):.1f}"]
        else:
            options += [f"f0_shift={rng.uniform(0.8, 1.25):.3f}"]
        options = [word for option in options for word in ("--setf", option)]
        command = ["flite", "-voice", utterance.voice.voice, *options, "-t", text]
        _run([*command, "-o", str(folder / f"{i}.wav")])


def _festival(utterances, rngs, folder):
    lines = []
    for i, (utterance, rng) in enumerate(zip(utterances, rngs, strict=True)):
        text = " ".join(utterance.words) + ".?"[rng.integers(2)]
        lines.append(f"(voice_{utterance.voice.voice})")
        rate, pitch, spread = rng.uniform(0.75, 1.3), rng.uniform(-1, 1), rng.uniform(5, 25)
        if utterance.voice.voice.endswith("hts"):
            options = f'("-r" {1 / rate:.3f}) ("-fm" {4 * pitch:.2f})'
            lines.append(f"(set! hts_engine_params (append hts_engine_params '({options})))")
        else:
            lines.append(f"(Parameter.set 'Duration_Stretch {rate:.3f})")
            target = f"(target_f0_mean {105 + 20 * pitch:.1f}) (target_f0_std {spread:.1f})"
            lines.append(f"(set! int_lr_params '({target} (model_f0_mean 170) (model_f0_std 34)))")
        lines.append(f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{folder / f"{i}.wav"}")')
    script = folder / "script.scm"
    script.write_text("\n".join(lines) + "\n", encoding="ascii")
    _run(["festival", "-b", str(script)])


def _kokoro(utterances, rngs, folder):
    import soundfile

    speaker = kokoro(os.environ["EDGE_RUNTIME_KOKORO"])
    for i, (utterance, rng) in enumerate(zip(utterances, rngs, strict=True)):
        end = "..!?,"[rng.integers(5)]
        samples = speaker.speak(utterance.words, utterance.voice.voice, rng.uniform(0.75, 1.2), end)
        soundfile.write(folder / f"{i}.wav", samples / max(1.0, np.abs(samples).max()), KOKORO_RATE)


_SPEAK = {"espeak-ng": _espeak, "flite": _flite, "festival": _festival, "kokoro": _kokoro}


def speak(utterances, seed):
    """Synthesize utterances of one program.

    Parameters
    ----------
    utterances : list of Utterance
    seed : int
        With the index of an utterance it settles speed, pitch and intonation.

    Returns
    -------
    list of (int, numpy.ndarray, int, int)
        Index; int16 [shape=(samples,)] at 16 kHz, peak at half of full scale, trimmed; begin and
        end of the speech in it. Silent results are left out.

    Raises
    ------
    SynthesisError
    """
    import soundfile
    import soxr

    rngs = [np.random.default_rng([seed, 1, utterance.index]) for utterance in utterances]
    clips = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        _SPEAK[utterances[0].voice.program](utterances, rngs, folder)
        for i, utterance in enumerate(utterances):
            if not (folder / f"{i}.wav").exists():
                continue
            samples, rate = soundfile.read(folder / f"{i}.wav", dtype="float32")
            rate *= utterance.voice.shift
            samples = soxr.resample(samples, rate, augment.SAMPLE_RATE)
            peak = np.max(np.abs(samples), initial=0)
            if peak < 1e-3:
                continue
            samples *= np.float32(0.5 / peak)
            begin, end, _ = find_word(samples)
            start, stop = max(0, begin - KEEP_SAMPLES), end + KEEP_SAMPLES
            pcm = np.rint(samples[start:stop] * 32767).astype(np.int16)
            clips.append((utterance.index, pcm, begin - start, end - start))
    if not clips:
        raise SynthesisError(f"{utterances[0].voice.name}: nothing is said; is the voice installed?")
    return clips


@contextlib.contextmanager
def worker_pool(processes):
    """Give a function like map that works in as many processes, in any order; 0: in this one.

    Parameters
    ----------
    processes : int

    Yields
    ------
    callable
    """
    if not processes:
        yield map
        return
    # Not forked: there may be threads.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield pool.imap_unordered


def synthesize(folder, count, seed, processes, voices=None, wide=False):
    """Make a folder of synthetic speech.

    Parameters
    ----------
    folder : pathlib.Path
        Made if need be; what it held is replaced.
    count : int
        Clips.
    seed : int
    processes : int
        0: in this process.
    voices : list of Voice, optional
        All voices of programs by default. Those are used whose program is installed.
    wide : bool
        As for `plan`.

    Raises
    ------
    SynthesisError
    """
    from tqdm import tqdm

    voices = [v for v in voices or all_voices() if v.program == "kokoro" or shutil.which(v.program)]
    if not voices:
        raise SynthesisError(f"no synthesizer found: apt-get install {PACKAGES}")
    utterances = plan(count, seed, voices, wide)
    tasks = []
    for program in _SPEAK:
        said = [u for u in utterances if u.voice.program == program]
        tasks += [said[i : i + CHUNK] for i in range(0, len(said), CHUNK)]
    clips = {}
    work = functools.partial(speak, seed=seed)
    with worker_pool(processes) as run, tqdm(total=len(utterances), unit="clip", smoothing=0) as bar:
        for results in run(work, tasks):
            clips.update((index, rest) for index, *rest in results)
            bar.update(len(results))
    said = [(u, *clips[u.index]) for u in utterances if u.index in clips]
    write_speech(folder, [SyntheticClip(*clip, 0.0, u.kind, u.voice.name, u.words) for u, *clip in said])


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(
        prog="python -m training.synthesize",
        description="Make synthetic speech for training with the programs that are installed.",
        epilog=f"Debian and Ubuntu: apt-get install {PACKAGES}",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"folder ({default_folder()}, with --kokoro {default_folder('kokoro')})",
    )
    parser.add_argument(
        "--kokoro",
        type=Path,
        metavar="DIR",
        help="the voices of Kokoro, whose files are there, instead of those of programs; training/kokoro.py",
    )
    parser.add_argument(
        "--voices", type=int, default=300, metavar="N", help="mixtures of Kokoro's voices (%(default)s)"
    )
    parser.add_argument("--clips", type=int, default=9000, metavar="N", help="about so many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="(%(default)s)")
    return parser


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = build_parser().parse_args(arguments)
    os.nice(10)
    try:
        folder = options.out or default_folder("kokoro" if options.kokoro else "speech")
        voices = options.kokoro and kokoro_voices(options.kokoro, options.voices, options.seed)
        synthesize(folder, options.clips, options.seed, options.processes, voices)
    except (SynthesisError, KokoroError, CorpusError, LexiconError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
