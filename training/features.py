# SPDX-License-Identifier: MIT
"""The front end as training uses it: waveform -> cepstra -> network inputs.

The work is done by the C front end, so that a network is trained on exactly the numbers the
runtime will give it.
"""

import functools

import numpy as np

from edge_runtime.frontend import Frontend, FrontendConfig

# What a network is trained on, and what its model file must therefore hold.
CONFIG = FrontendConfig(delta_order=2, stack=2)
_CEPSTRA_CONFIG = FrontendConfig(delta_order=0, stack=1)

STACK = CONFIG.stack  # frames of 10 ms per network step
STEP_S = CONFIG.step_samples / 16000
CEPSTRUM_COUNT = CONFIG.cepstrum_count
FILTER_COUNT = CONFIG.filter_count
WINDOW_SAMPLES = CONFIG.window_samples
HOP_SAMPLES = CONFIG.hop_samples
FEATURE_SIZE = CONFIG.feature_size

# What the runtime appends at the end of a signal: 0.3 s of the quietest frame heard.
QUIET_FRAMES = 30


@functools.cache
def _frontend(config):
    # One object per process: creation allocates, a reset does not.
    return Frontend(config)


def cepstra_of(samples):
    """Compute the cepstra of a whole signal.

    Parameters
    ----------
    samples : numpy.ndarray
        float32 [shape=(samples,)] at 16 kHz, full scale 1.0.

    Returns
    -------
    numpy.ndarray
        float32 [shape=(frames, 13)], 100 frames per second; the last frame is padded with zeros.
    """
    frontend = _frontend(_CEPSTRA_CONFIG)
    frontend.reset()
    return np.concatenate([frontend.push(samples), frontend.flush(0)])


def network_features(cepstra, quiet_frames=0):
    """Add deltas and stack frames, as the runtime does.

    Parameters
    ----------
    cepstra : numpy.ndarray
        float32 [shape=(frames, 13)].
    quiet_frames : int
        Copies of the quietest frame to append; `QUIET_FRAMES` as the recognizer does at the end
        of a signal.

    Returns
    -------
    numpy.ndarray
        float32 [shape=(steps, 78)], 50 steps per second.
    """
    frontend = _frontend(CONFIG)
    frontend.reset()
    return np.concatenate([frontend.push_cepstra(cepstra), frontend.flush(quiet_frames)])


def append_quiet(cepstra, quiet_frames=QUIET_FRAMES):
    """Append copies of the quietest frame (least C0), as `Frontend.flush` does.

    Parameters
    ----------
    cepstra : numpy.ndarray
        float32 [shape=(frames, 13)].
    quiet_frames : int

    Returns
    -------
    numpy.ndarray
        float32 [shape=(frames + quiet_frames, 13)].
    """
    quietest = cepstra[np.argmin(cepstra[:, 0])]
    return np.concatenate([cepstra, np.broadcast_to(quietest, (quiet_frames, len(quietest)))])


def utterance_features(utterance, quiet_frames=QUIET_FRAMES):
    """Return the network inputs of an utterance as the recognizer sees it, flush included.

    Parameters
    ----------
    utterance : apps.corpus.Utterance
    quiet_frames : int

    Returns
    -------
    numpy.ndarray
        float32 [shape=(steps, 78)].
    """
    cepstra = utterance.cepstra
    if cepstra is None:
        cepstra = cepstra_of(utterance.samples)
    return network_features(cepstra, quiet_frames)
