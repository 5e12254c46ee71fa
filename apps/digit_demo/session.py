# SPDX-License-Identifier: MIT
"""A recognizer and those who watch it: blocks of samples in, events out, for any kind of front."""

import contextlib
import dataclasses
import time

import numpy as np

import edge_runtime
from apps.digit_demo.level import peak_db, rms_db
from apps.digit_demo.microphone import DeviceLost

_CPU_INTERVAL_S = 1.0  # over which CPU use is averaged


@dataclasses.dataclass(frozen=True)
class Update:
    """State of a session after a block of audio.

    Attributes
    ----------
    heard_s : float
        Audio heard so far.
    peak_db, rms_db : float
        Level of the block, dBFS, -100 to 0.
    posteriors : float32 [shape=(steps, outputs)]
        Probability of each output at the steps of the network that this block completed; all zero
        before the first. No rows unless an observer `watches_steps`.
    log_mel : float32 [shape=(steps, filters)]
        Spectrum at the same steps, as `edge_runtime.Recognizer.log_mel`.
    partial : edge_runtime.Word or None
        The word in progress; it may come to nothing.
    is_idle : bool
        The network rests, for want of sound.
    latency_s : float or None
        Of the last word: audio handed over when it came, less its end. None before the first.
    dropped_samples : int
        Lost before they could be heard, in all.
    cpu_percent : float
        Processor time of the whole program over the last second; 100 is one core.
    real_time_factor : float
        Time spent in recognition over the duration of the audio heard.
    """

    heard_s: float
    peak_db: float
    rms_db: float
    posteriors: np.ndarray
    log_mel: np.ndarray
    partial: edge_runtime.Word | None
    is_idle: bool
    latency_s: float | None
    dropped_samples: int
    cpu_percent: float
    real_time_factor: float


@dataclasses.dataclass(frozen=True)
class Totals:
    """What a session has done.

    Attributes
    ----------
    heard_s : float
        Audio heard.
    words : int
        Words recognized.
    busy_s : float
        Time spent in recognition.
    dropped_samples : int
        Lost before they could be heard.
    """

    heard_s: float
    words: int
    busy_s: float
    dropped_samples: int

    @property
    def real_time_factor(self):
        """float : `busy_s` over `heard_s`; 0 before any audio."""
        return self.busy_s / self.heard_s if self.heard_s else 0.0


class Observer:
    """Base of those who watch a session. Every method does nothing; override what is of interest.

    All are called in the thread that feeds the session, in the order of the audio, and hold up
    recognition while they run. What one raises ends the session.

    Attributes
    ----------
    watches_steps : bool
        Wants `Update.posteriors` and `Update.log_mel` filled, which costs some processor time.
    """

    watches_steps = False

    def on_start(self, session):
        """The session begins; `session` is the `Session`."""

    def on_audio(self, samples):
        """A block of audio, float32 [shape=(n,)], before it is recognized."""

    def on_word(self, word):
        """A word (`edge_runtime.Word`) has been recognized."""

    def on_string(self, words):
        """A string of words, list of `edge_runtime.Word`, has been ended by silence or the end of the audio."""

    def on_update(self, update):
        """A block has been heard; `update` is an `Update`."""

    def on_note(self, text):
        """A line for the person in front: what the program does, or what is wrong."""

    def on_warning(self, text):
        """As `on_note`, but even who wants quiet should read it."""
        self.on_note(text)

    def on_restart(self):
        """The recognizer begins anew, after a gap in the audio or by `Session.restart`.

        The words of the audio so far have been told; times go on counting the audio heard.
        """

    def on_end(self, totals):
        """The session has ended, in whatever way; `totals` is a `Totals`. Called once."""


class Session:
    """Recognizes the audio of a source and tells observers.

    Context manager: entering starts the observers, leaving finishes, in whatever way. Belongs to
    one thread at a time.

    Parameters
    ----------
    model : edge_runtime.Model
    source : FileSource or MicrophoneSource
        Open; it stays the caller's.
    threshold : float, optional
        Drop words of less confidence; default: the model's.
    observers : iterable of Observer
        Told in this order.

    Attributes
    ----------
    model, source
        As given.
    threshold : float
        Least confidence of a word.
    step_s : float
        Duration of a step of the network, the time between two rows of `Update.posteriors` and `Update.log_mel`.
    began_s : float
        Audio that had been heard when the recognizer last began anew; 0 at first.
    began_string : int
        Number of the first string since then.
    """

    def __init__(self, model, source, threshold=None, observers=()):
        self.model = model
        self.source = source
        self.began_s = 0.0
        self.step_s = model.file.frontend.step_samples / 16000
        self._observers = tuple(observers)
        self._started = []
        self._recognizer = model.recognizer(source.sample_rate, threshold)
        self.threshold = model.file.decoder.threshold if threshold is None else threshold
        self._sample_rate = source.sample_rate
        self._watched = any(observer.watches_steps for observer in self._observers)
        self._samples = 0
        self._steps = 0
        self.began_string = 0
        self._words = 0
        self._string = []
        self._string_number = 0
        self._busy_s = 0.0
        self._latency_s = None
        self._warned = False
        filters = model.file.frontend.filter_count
        self._no_steps = np.zeros((0, model.output_size), np.float32), np.zeros((0, filters), np.float32)
        self._cpu = _CpuMeter()

    def __enter__(self):
        try:
            for observer in self._observers:
                observer.on_start(self)
                self._started.append(observer)
        except BaseException:
            self.finish()
            raise
        return self

    def __exit__(self, *exc_info):
        self.finish()

    def run(self):
        """Recognize the source to its end, which a microphone does not have."""
        while True:
            try:
                for samples in self.source.blocks():
                    self.hear(samples)
                return
            except DeviceLost as loss:
                self._tell(self._recognizer.finish())
                if not self.source.reconnects:
                    raise
                self.warn(f"{loss}; waiting for it")
                self.source.reconnect()
                self.restart()
                self.warn(f"{self.source.name!r} is back at {self.source.sample_rate} Hz")

    def restart(self):
        """Report the words still due and begin anew, as before the first sample; times go on."""
        self._tell(self._recognizer.finish())
        self.began_s = self._heard_s
        self.began_string += self._recognizer.ended_strings
        self._samples = 0
        self._steps = 0
        if self._sample_rate == self.source.sample_rate:
            self._recognizer.reset()
        else:
            self._recognizer.close()
            self._recognizer = self.model.recognizer(self.source.sample_rate, self.threshold)
            self._sample_rate = self.source.sample_rate
        for observer in self._started:
            observer.on_restart()

    def hear(self, samples):
        """Recognize a block of audio.

        Parameters
        ----------
        samples : float32 [shape=(n,)]
            Full scale 1.0, at the source's rate. Blocks of any length give the same words.
        """
        for observer in self._started:
            observer.on_audio(samples)
        words, posteriors, log_mel = self._recognize(samples)
        if words:
            self._latency_s = self._heard_s - self.began_s - words[-1].end_s
        self._tell(words)
        if self.source.dropped_samples and not self._warned:
            self._warned = True
            self.note("this computer is too slow or too busy: audio was dropped")
        partial = self._recognizer.partial
        update = Update(
            heard_s=self._heard_s,
            peak_db=peak_db(samples),
            rms_db=rms_db(samples),
            posteriors=posteriors,
            log_mel=log_mel,
            partial=None if partial is None else self._in_session(partial),
            is_idle=self._recognizer.is_idle,
            latency_s=self._latency_s,
            dropped_samples=self.source.dropped_samples,
            cpu_percent=self._cpu.percent(),
            real_time_factor=self.totals.real_time_factor,
        )
        for observer in self._started:
            observer.on_update(update)

    def _recognize(self, samples):
        """Words of a block, and posteriors and spectra after each step of it if somebody watches."""
        words = []
        steps = []
        start = 0
        began = time.perf_counter()
        while start < len(samples):
            stop = len(samples)
            if self._watched:
                # Pieces end at whole steps since the beginning, wherever the blocks end.
                boundary = round((self._steps + 1) * self.step_s * self._sample_rate) - self._samples
                stop = min(stop, start + boundary)
            words += self._recognizer.accept_waveform(samples[start:stop])
            self._samples += stop - start
            if self._watched and stop - start == boundary:
                self._steps += 1
                steps.append((self._recognizer.posteriors, self._recognizer.log_mel))
            start = stop
        self._busy_s += time.perf_counter() - began
        if not steps:
            return words, *self._no_steps
        posteriors, log_mel = zip(*steps, strict=True)
        return words, np.array(posteriors), np.array(log_mel)

    def _tell(self, words):
        for word in words:
            word = self._in_session(word)
            self._end_strings(word.string)
            self._words += 1
            self._string.append(word)
            for observer in self._started:
                observer.on_word(word)
        self._end_strings(self.began_string + self._recognizer.ended_strings)

    def _in_session(self, word):
        """A word of the recognizer with times and string since the beginning of the session."""
        return dataclasses.replace(
            word,
            start_s=self.began_s + word.start_s,
            end_s=self.began_s + word.end_s,
            heard_s=self.began_s + word.heard_s,
            string=self.began_string + word.string,
        )

    def _end_strings(self, number):
        """The strings before this number are complete."""
        if number > self._string_number and self._string:
            words, self._string = self._string, []
            for observer in self._started:
                observer.on_string(words)
        self._string_number = max(number, self._string_number)

    def note(self, text):
        """Show a line to the person in front."""
        for observer in self._started:
            observer.on_note(text)

    def warn(self, text):
        """Show a line that even who wants quiet should read."""
        for observer in self._started:
            observer.on_warning(text)

    def finish(self):
        """End of the audio: report the words still due and end the observers. Later calls do nothing."""
        with contextlib.ExitStack() as ends:
            ends.callback(self._started.clear)
            # Whatever one of them raises, all are told, the first first.
            for observer in reversed(self._started):
                ends.callback(lambda observer=observer: observer.on_end(self.totals))
            if self._started:
                self._tell(self._recognizer.finish())

    @property
    def _heard_s(self):
        return self.began_s + self._samples / self._sample_rate

    @property
    def totals(self):
        """Totals : so far."""
        return Totals(self._heard_s, self._words, self._busy_s, self.source.dropped_samples)


class _CpuMeter:
    """Processor time of this program over time passed, in percent."""

    def __init__(self):
        self._wall_s = time.monotonic()
        self._cpu_s = time.process_time()
        self._percent = 0.0

    def percent(self):
        passed_s = time.monotonic() - self._wall_s
        if passed_s >= _CPU_INTERVAL_S:
            cpu_s = time.process_time()
            self._percent = 100 * (cpu_s - self._cpu_s) / passed_s
            self._wall_s += passed_s
            self._cpu_s = cpu_s
        return self._percent
