# SPDX-License-Identifier: MIT
"""Spoken digits as calls of a function."""

import edge_runtime
from apps.digit_demo.session import Observer, Session
from apps.digit_demo.sources import open_source


class _Callback(Observer):
    def __init__(self, on_word):
        self._on_word = on_word

    def on_word(self, word):
        call, self._on_word = self._on_word, lambda word: None
        call(word)
        self._on_word = call  # one that raised is not told of the words still due at the end


def listen(
    on_word,
    path=None,
    device=None,
    sample_rate=None,
    real_time=False,
    model=None,
    threshold=None,
    observers=(),
    reconnect_s=None,
):
    """Recognize a file or the microphone, calling a function for every word as soon as it is known.

    Returns at the end of the file; Ctrl-C ends it in an orderly way.

    Parameters
    ----------
    on_word : callable
        Called with an `edge_runtime.Word`, in the calling thread; recognition waits meanwhile. What
        it raises ends listening and reaches the caller; it is not called again then.
    path : str or path-like, optional
        Audio file; "-" is a WAV on standard input. Default: the microphone.
    device : str, optional
        Microphone: number or part of its name; default: the system's.
    sample_rate : int, optional
        Microphone: Hz; default: the device's own.
    real_time : bool
        Deliver a file at the pace of a microphone.
    model : edge_runtime.Model, optional
        Default: the one in the package.
    threshold : float, optional
        Drop words of less confidence, 0 to 1; default: the model's.
    observers : iterable of Observer
        Who else is told, and of more than words.
    reconnect_s : float, optional
        Microphone: how long to wait for one that was unplugged; 0: not at all. Default: for ever.

    Returns
    -------
    Totals

    Raises
    ------
    apps.audio.AudioError, apps.digit_demo.microphone.MicrophoneError
        The audio cannot be opened, or ends before its time.
    """
    model = edge_runtime.Model.default() if model is None else model
    with open_source(path, device, sample_rate, real_time, reconnect_s=reconnect_s) as source:
        session = Session(model, source, threshold, (_Callback(on_word), *observers))
        with session:
            try:
                session.run()
            except KeyboardInterrupt:
                pass
        return session.totals
