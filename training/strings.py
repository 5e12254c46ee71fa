# SPDX-License-Identifier: MIT
"""Training examples: strings of words with silence, noise and rooms; sentences; noise; AN4."""

from dataclasses import dataclass, field

import numpy as np

from training import an4_words, augment, cepstral
from training.acoustics import noise_alone, pick, record
from training.bank import load_bank
from training.features import (
    HOP_SAMPLES,
    QUIET_FRAMES,
    STACK,
    WINDOW_SAMPLES,
    append_quiet,
    cepstra_of,
)
from training.labels import BLANK, ctc_steps, label_of
from training.sounds import default_sounds
from training.synthetic_speech import default_folder
from training.transplant import transplant

KINDS = ("digits", "unknown", "sentence", "noise", "an4", "an4_words")
CROWD_VOICES = ("sc_pool", "sc_speaker")  # of those of `training.bank.load_bank`
NO_TARGET = -1  # frame target of a frame that must not count

SAMPLE_RATE = augment.SAMPLE_RATE
FADE = np.linspace(0, 1, 64, dtype=np.float32)  # 4 ms, so that cuts do not click


@dataclass(frozen=True)
class StringsConfig:
    """How examples are drawn. Probabilities, unless a unit is named; ranges are (least, most).

    Attributes
    ----------
    an4, an4_words : float
        Share of AN4 utterances, and of strings of single AN4 words, among all examples; the four shares
        below divide the rest.
    digits, unknown, sentence, noise : float
        Digit strings, strings of other words, sentences, noise alone.
    voices : dict
        Weight of each source of digit voices; see `training.bank.load_bank`.
    guest : float
        A word of a digit string comes from another set, all eleven words alike: in Speech
        Commands six words are too rare to be learned from their own clips.
    transplanted : float
        Such words, in strings of the crowd's voices, that are put into a recording of that voice, and synthetic words
        that are no digits put into a recording of another such word: see `training.transplant`.
    mixed, mixed_word : float
        Digit strings that hold other words, and how many of their words these are.
    most_words : int
        Words in a string.
    isolated, isolated_clean : float
        Strings of words that are one whole clip, as it was cut: no lead-in, no silence after it,
        so that the quiet frames of the runtime's flush may be quite loud; how many of these keep
        to the noise of their clip.
    cut : float
        Such clips that end before their word does, or begin after it: who spoke too late for a recording of one
        second, as some of the crowd, or let go of a button too early.
    gap_s, overlapping, overlap_s
        Silence between words; strings in which words overlap, and by how much.
    tight : float
        Words cut out at their edges, rather than with the room noise of their clip.
    abrupt : float
        Strings that begin with the first sound, without a lead-in.
    speed, tempo : (float, float)
        Factor on speed with pitch; factor on tempo alone. `tempo_changed`: how many.
    equalizer, tilt_db, ripple_db
        Examples with another frequency response; its slope (dB per octave) and ripple.
    reverberation, reverberation_db
        Examples in a room; energy of the tail relative to the direct sound.
    reflecting : float
        Rooms that have early reflections beside the tail, which then holds both; the others are a tail alone.
    low_pass, low_pass_narrow : float
        Telephone-like channel, noise included: for wide-band strings, and for strings of clips
        that were narrow before.
    clean, snr_db
        Strings without noise; speech to noise ratio of the others.
    hum, calls : float
        Noises that are the hum of the mains, or voiced calls as of infants and animals.
    noise_speed : (float, float)
        Factor on the speed, with pitch, of noise alone.
    babble, babble_snr_db
        Noises that are several people talking at once; alone, such a noise is a sentence. Speech to noise ratio
        of strings amid such talk.
    bursts : float
        Noises alone that come in bursts as long as words: what sounds when nobody talks is a bark, a door or a
        sneeze rather than a hiss.
    unsteady : float
        Noises that change their level suddenly, as where recordings are joined or a microphone is
        switched on: such a step is easily heard as the burst of "two". FSDD development clips with
        noise put after them had 17.0 % errors without this and 4.3 % with it (float network, 1500
        steps, one seed each; `isolated` also rose, from 0.12 to 0.15).
    level_dbfs : (float, float)
        RMS of the words.
    rounding : float
        Signals rounded to 16 bits.
    an4_* :
        The same for cepstra; `an4_warp` is the greatest factor on frequency.
    an4_words_isolated, an4_words_tempo
        Strings of AN4 words that are one word, and the factor on its tempo: words said alone are slower
        than those cut out of utterances.
    an4_words_one_voice : float
        Strings of AN4 words of one speaker, rather than of several.
    an4_words_unknown, an4_words_mixed, an4_words_mixed_word : float
        Strings of AN4 words without a digit; with digits and other words, and how many of their words
        the latter are.
    voice_warp : float
        Waveform strings whose spectrum is moved by up to `an4_warp` apart from their pitch.
    withhold : bool
        Keep some speakers of rare words out, so that words and voices the network never heard can be judged
        by: see `training.corpus.withheld_set`.
    crowd : float
        Share of the speakers of Speech Commands that are heard: what more of them would bring can be told from
        what fewer cost.
    synthetic_words : float
        Words of the above that are no digits and come from synthetic speech: see `training.synthesize`.
        The weights "synthetic" and "kokoro" of `voices` are those of its digits, as programs and as Kokoro says them.
    synthetic_strings : float
        Digit strings that are one clip of synthetic speech, said in one breath.
    hard : str
        Folder of what a model mistook, made by `training.mine`; empty: none.
    hard_words, hard_digits, hard_noise : float
        Words of the above that are no digits, that are digits, and noises, that come from it, as far as it holds
        any.
    hard_weight : float
        A recording that was mistaken in all trials is drawn so many times more often than others of its word.
    sounds, foreign : float
        Recorded noises that are sounds of `training.sounds`, one after the other, and sentences that are phrases
        of it.
    sounds_folder : str
        That set, if one of these is above 0; empty: in the user's cache directory.
    speech_folder, kokoro_folder : str
        Synthetic speech, if one of these is above 0, and that of Kokoro, if the weight "kokoro" is; empty: the user's
        cache directory.
    mask, mask_frames
        Most stretches per example that are replaced by its mean, and most frames in each; off.
    mask_band, mask_filters
        Examples in which a band of the spectrum is replaced by its mean over time, and most filters (of 40) in
        it; off. Both are SpecAugment (arXiv:1904.08779, section 2), of whose masks only the time mask is local
        in cepstra.
    """

    an4: float = 0.35
    an4_words: float = 0.0
    digits: float = 0.76
    unknown: float = 0.12
    sentence: float = 0.07
    noise: float = 0.05
    voices: dict = field(
        default_factory=lambda: {
            "sc_pool": 0.32,
            "sc_speaker": 0.18,
            "fsdd": 0.26,
            "audiomnist_pool": 0.08,
            "audiomnist_speaker": 0.06,
            "prompt": 0.10,
        }
    )
    guest: float = 0.15
    transplanted: float = 0.0
    mixed: float = 0.30
    mixed_word: float = 0.20
    most_words: int = 7
    isolated: float = 0.15
    isolated_clean: float = 0.5
    cut: float = 0.0
    gap_s: tuple = (0.0, 0.45)
    overlapping: float = 0.35
    overlap_s: float = 0.06
    tight: float = 0.5
    abrupt: float = 0.3
    speed: tuple = (0.85, 1.18)
    tempo: tuple = (0.85, 1.2)
    tempo_changed: float = 0.3
    equalizer: float = 0.7
    tilt_db: float = 3.0
    ripple_db: float = 5.0
    reverberation: float = 0.3
    reverberation_db: tuple = (-15.0, 0.0)
    reflecting: float = 0.0
    low_pass: float = 0.3
    low_pass_narrow: float = 0.7
    clean: float = 0.1
    snr_db: tuple = (3.0, 50.0)
    hum: float = 0.0
    calls: float = 0.0
    noise_speed: tuple = (1.0, 1.0)
    babble: float = 0.0
    babble_snr_db: tuple = (3.0, 50.0)
    bursts: float = 0.0
    unsteady: float = 0.2
    level_dbfs: tuple = (-58.0, -14.0)
    rounding: float = 0.7
    voice_warp: float = 0.3
    an4_warp: float = 1.1
    an4_noise: float = 0.8
    an4_snr_db: tuple = (5.0, 50.0)
    an4_reverberation: float = 0.2
    an4_gain_db: tuple = (-20.0, 20.0)
    an4_words_isolated: float = 0.3
    an4_words_tempo: tuple = (0.75, 1.1)
    an4_words_one_voice: float = 0.6
    an4_words_unknown: float = 0.15
    an4_words_mixed: float = 0.25
    an4_words_mixed_word: float = 0.35
    withhold: bool = False
    crowd: float = 1.0
    synthetic_words: float = 0.0
    synthetic_strings: float = 0.0
    hard: str = ""
    hard_words: float = 0.0
    hard_digits: float = 0.0
    hard_noise: float = 0.0
    hard_weight: float = 0.0
    sounds: float = 0.0
    foreign: float = 0.0
    sounds_folder: str = ""
    speech_folder: str = ""
    kokoro_folder: str = ""
    mask: int = 0
    mask_frames: int = 8
    mask_band: float = 0.0
    mask_filters: int = 8

    def __post_init__(self):
        for name in ("hard_words", "hard_digits", "hard_noise", "hard_weight"):
            if getattr(self, name) and not self.hard:
                raise ValueError(f"{name}: needs `hard`, a folder that python -m training.mine made")

    def bank(self):
        """Return the `training.bank.Bank` of these examples; loaded once per process."""
        sounds = (self.sounds_folder or str(default_sounds())) if self.sounds or self.foreign else ""
        return load_bank(self.withhold, self.synthetic(), self.hard, self.hard_weight, self.crowd, sounds)

    def synthetic(self):
        """Return the folders of synthetic speech that these examples hold, a tuple of str."""
        folders = []
        if self.synthetic_words or self.synthetic_strings or self.voices.get("synthetic"):
            folders.append(self.speech_folder or str(default_folder()))
        if self.voices.get("kokoro"):
            folders.append(self.kokoro_folder or str(default_folder("kokoro")))
        return tuple(folders)


@dataclass(frozen=True, eq=False)
class Example:
    """One training example.

    Attributes
    ----------
    cepstra : numpy.ndarray
        float32 [shape=(frames, 13)], 100 frames per second, silence at the end included.
    words : tuple of str
        What was said. Empty for noise and for sentences, of which it is not known.
    labels : list of int
        Outputs in order: the CTC target. Empty for noise and for sentences.
    frame_targets : numpy.ndarray
        int8 [shape=(frames,)]: label from the middle of a word to 50 ms after its end, else
        `BLANK`; `NO_TARGET` throughout where the times of the words are not known.
    kind : str
        One of `KINDS`. Of a "sentence" nothing is known but that it should give no digit.
    """

    cepstra: np.ndarray
    words: tuple
    labels: list
    frame_targets: np.ndarray
    kind: str


def make_example(rng, config=StringsConfig()):
    """Make one training example.

    Parameters
    ----------
    rng : numpy.random.Generator
        The example depends on its state, `config` and the data, on nothing else.
    config : StringsConfig

    Returns
    -------
    Example
    """
    bank = config.bank()
    draw = rng.random()
    if draw < config.an4:
        return _an4(rng, bank, config)
    if draw < config.an4 + config.an4_words:
        return _an4_words(rng, config)
    kinds = ("digits", "unknown", "sentence", "noise")
    kind = kinds[_draw(rng, [getattr(config, name) for name in kinds])]
    if kind == "noise":
        samples, talk = noise_alone(rng, bank, config)
        kind, spans = "sentence" if talk else kind, []
    else:
        clips = _draw_clips(rng, bank, config, kind)
        clean = config.clean
        if kind != "sentence" and rng.random() < config.isolated:
            clips, clean = clips[:1], config.isolated_clean
            samples, spans = _whole(clips[0])
            if config.cut and rng.random() < config.cut:
                samples, spans = _cut(rng, samples, spans)
        else:
            samples, spans = _join(rng, clips, config, kind)
        narrow = all(clip.narrow for clip in clips)
        samples, speed = record(rng, samples, bank, config, clean, narrow)
        spans = [(begin / speed, end / speed, words) for begin, end, words in spans]
    return _example(rng, samples, spans, kind, config)


def record_clip(rng, clip, bank, config):
    """Simulate the recording of one clip, as it was cut, by another microphone elsewhere.

    Parameters
    ----------
    rng : numpy.random.Generator
    clip : training.bank.Clip
    bank : training.bank.Bank
        Holds the noises.
    config : StringsConfig

    Returns
    -------
    numpy.ndarray
        float32 [shape=(samples,)].
    """
    samples, _ = _whole(clip)
    samples, _ = record(rng, samples, bank, config, config.clean, clip.narrow)
    return np.ascontiguousarray(samples, np.float32)


def _draw(rng, weights):
    total = np.cumsum(weights)
    return int(np.searchsorted(total, rng.random() * total[-1], side="right"))


def _draw_clips(rng, bank, config, kind):
    if kind == "sentence":
        foreign = config.foreign and rng.random() < config.foreign
        return [pick(rng, bank.foreign if foreign else bank.sentences)]
    if kind == "unknown":
        return [_unknown(rng, bank, config) for _ in range(rng.integers(1, 6))]
    if config.synthetic_strings and rng.random() < config.synthetic_strings:
        return [pick(rng, bank.synthetic_strings)]
    names = list(config.voices)
    name = names[_draw(rng, list(config.voices.values()))]
    voice = pick(rng, bank.voices[name])
    mixed_word = config.mixed_word if rng.random() < config.mixed else 0.0
    clips = []
    for _ in range(rng.integers(1, config.most_words + 1)):
        draw = rng.random()
        if draw < mixed_word:
            clips.append(_unknown(rng, bank, config))
        elif config.hard_digits and bank.hard_digits and rng.random() < config.hard_digits:
            clips.append(pick(rng, bank.hard_digits))
        elif draw > 1 - config.guest:
            clips.append(_guest(rng, bank, config, voice if name in CROWD_VOICES else None))
        else:
            clips.append(voice.draw(rng))
    return clips


def _unknown(rng, bank, config):
    # Not drawn for nothing: what is off leaves the other draws as they were.
    if config.hard_words and bank.hard_words and rng.random() < config.hard_words:
        return pick(rng, bank.hard_words)
    if config.synthetic_words and rng.random() < config.synthetic_words:
        clip = pick(rng, bank.synthetic)
        if config.transplanted and rng.random() < config.transplanted:
            return transplant(rng, clip, bank.unknown.draw(rng))
        return clip
    return bank.unknown.draw(rng)


def _guest(rng, bank, config, host):
    if host and config.transplanted and rng.random() < config.transplanted:
        return transplant(rng, pick(rng, pick(rng, pick(rng, bank.donors))), host.draw(rng))
    return pick(rng, pick(rng, bank.guests))


def _whole(clip):
    return clip.cut(0, len(clip.pcm)), [(clip.begin, clip.end, clip.words)]


def _cut(rng, samples, spans):
    """Lose a word's end, or less often its beginning; arguments and result as of `_whole`."""
    ((begin, end, words),) = spans
    if rng.random() < 0.2:
        begin += int((end - begin) * rng.uniform(0.05, 0.3))
        return samples[begin:], [(0, end - begin, words)]
    end = begin + int((end - begin) * rng.uniform(0.45, 0.95))
    return samples[:end], [(begin, end, words)]


def _join(rng, clips, config, kind):
    """Put words one after the other.

    Returns samples float32 [shape=(samples,)] with words at RMS 1 and digital silence between,
    and a list of (begin, end, words), in samples, of where each clip is heard.
    """
    overlapping = rng.random() < config.overlapping
    abrupt = rng.random() < config.abrupt
    at = 0 if abrupt else int(rng.uniform(0.03, 0.5) * SAMPLE_RATE)
    pieces, spans = [], []
    for index, clip in enumerate(clips):
        begin, end = clip.begin, clip.end
        if kind == "sentence":
            begin, end = _crop(rng, begin, end, 5 * SAMPLE_RATE)
        tight = rng.random() < config.tight
        left, right = (0.02, 0.04) if tight else (0.25, 0.25)
        left = 0 if index == 0 and abrupt else int(rng.uniform(0, left) * SAMPLE_RATE)
        right = int(rng.uniform(0, right) * SAMPLE_RATE)
        start, stop = max(0, begin - left), min(len(clip.pcm), end + right)
        piece = clip.cut(start, stop) * np.float32(10 ** (rng.uniform(-3, 3) / 20))
        fade = min(len(FADE), len(piece))
        if not (index == 0 and abrupt):
            piece[:fade] *= FADE[:fade]
        piece[len(piece) - fade :] *= FADE[:fade][::-1]
        if index:
            if overlapping and rng.random() < 0.7:
                at -= int(rng.uniform(0, config.overlap_s) * SAMPLE_RATE)
                # A word may not begin before the one ahead of it, however short that was.
                at = max(at, spans[-1][0] + SAMPLE_RATE // 20)
            else:
                at += int(rng.uniform(*config.gap_s) * SAMPLE_RATE)
        pieces.append((at, piece))
        spans.append((at + begin - start, at + end - start, clip.words))
        at += len(piece)
    samples = np.zeros(max(at + len(piece) for at, piece in pieces) + _tail(rng), np.float32)
    for at, piece in pieces:
        samples[at : at + len(piece)] += piece
    return samples, spans


def _crop(rng, begin, end, longest):
    if end - begin <= longest:
        return begin, end
    begin = int(rng.integers(begin, end - longest + 1))
    return begin, begin + longest


def _tail(rng):
    # A third of the signals end tightly, as clips do; the runtime's quiet frames follow then.
    longest = 0.05 if rng.random() < 0.35 else 0.5
    return int(rng.uniform(0, longest) * SAMPLE_RATE)


def _example(rng, samples, spans, kind, config):
    cepstra = cepstra_of(np.ascontiguousarray(samples, np.float32))
    frames = len(cepstra)
    words = [word for _, _, names in spans for word in names]
    targets = np.full(frames, NO_TARGET if kind == "sentence" else BLANK, np.int8)
    if kind != "sentence":
        for begin, end, names in spans:
            heard = {label_of(name) for name in names}
            # Of several words in one clip it is not known where each ends.
            first = _frame_at(0.5 * (begin + end) if len(heard) == 1 else begin)
            target = heard.pop() if len(heard) == 1 else NO_TARGET
            targets[first : _frame_at(end + 0.05 * SAMPLE_RATE)] = target
    if rng.random() < config.voice_warp:
        to_cepstra, to_log_mel = cepstral.cepstrum_matrices()
        factor = config.an4_warp ** rng.uniform(-1, 1)
        cepstra = cepstra @ (to_log_mel @ cepstral.warp_matrix(factor) @ to_cepstra)
    if rng.random() < config.tempo_changed:
        cepstra = cepstral.stretch(cepstra, rng.uniform(*config.tempo))
        source = np.rint(np.linspace(0, frames - 1, len(cepstra))).astype(int)
        targets = targets[source]
    # Every example ends with enough quiet to finish its last word: its own, or the runtime's.
    quiet_s = (len(samples) - max(end for _, end, _ in spans)) / SAMPLE_RATE if spans else 0
    flush = quiet_s < 0.25 or rng.random() < 0.1
    return _finish(rng, cepstra, words, targets, kind, flush, config)


def _frame_at(sample):
    # The frame whose window is centered there.
    return max(0, round((sample - WINDOW_SAMPLES / 2) / HOP_SAMPLES))


def _an4(rng, bank, config):
    cepstra, _, words = pick(rng, bank.cepstra)
    cepstra = cepstral.augment_cepstra(rng, cepstra, config)
    targets = np.full(len(cepstra), NO_TARGET, np.int8)
    # Some utterances end with the last word; only quiet after it lets a causal network finish.
    return _finish(rng, cepstra, words, targets, "an4", rng.random() < 0.8, config)


def _an4_words(rng, config):
    words, quiet = an4_words.draw_words(rng, config)
    joined, targets, quiet_frames = an4_words.join_words(rng, words, quiet, config)
    cepstra = cepstral.augment_cepstra(rng, joined, config)
    source = np.rint(np.linspace(0, len(joined) - 1, len(cepstra))).astype(int)
    flush = quiet_frames < QUIET_FRAMES or rng.random() < 0.1
    words = [word.word for word in words]
    return _finish(rng, cepstra, words, targets[source], "an4_words", flush, config)


def _finish(rng, cepstra, words, targets, kind, flush, config):
    labels = [label_of(word) for word in words]
    missing = (ctc_steps(labels) + 1) * STACK - len(cepstra)
    if flush or missing > 0:
        quiet = max(QUIET_FRAMES, missing)
        cepstra = append_quiet(cepstra, quiet)
        last = NO_TARGET if targets[-1] == NO_TARGET else BLANK
        targets = np.concatenate([targets, np.full(quiet, last, np.int8)])
    cepstra = _masked(rng, cepstra, config)
    return Example(np.ascontiguousarray(cepstra, np.float32), tuple(words), labels, targets, kind)


def _masked(rng, cepstra, config):
    if config.mask_band and rng.random() < config.mask_band:
        cepstra = cepstral.mask_band(rng, cepstra, config.mask_filters)
    if config.mask:
        cepstra = cepstra.copy()
    for _ in range(rng.integers(config.mask + 1) if config.mask else 0):
        count = int(rng.integers(1, config.mask_frames + 1))
        start = int(rng.integers(max(1, len(cepstra) - count)))
        cepstra[start : start + count] = cepstra.mean(axis=0)
    return cepstra
