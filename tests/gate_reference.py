# SPDX-License-Identifier: MIT
"""The idle gate in NumPy, written from its rules, in float32 and in the order of its sums.

1. Frames of 160 samples, zeros before the first. Energy of a frame in two bands: the sum of (x[n] - x[n - lag])^2,
   lag 8 and 1; eight sums over every eighth sample, then ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)).
2. e = ((frame + the one before) + (the two before these)) + silence, silence being a quarter of a squared step of 16
   bits for each of the 640 samples.
3. In the first three frames the level is e, and they stand out. Then a frame stands out if e > 2 level, and the level
   rises by 1 %; it is quiet if 2 e < level, and the level falls by an eighth; else the level moves by a 64th
   of the difference.
4. A frame is steady if it neither stands out nor is quiet in either band.
"""

import numpy as np

FRAME = 160
LAGS = (8, 1)
SILENCE = np.float32(0.25 * 640 / 32768.0**2)


def energies(samples, lag):
    """float32 [shape=(frames,)] of whole frames."""
    frames = len(samples) // FRAME
    padded = np.concatenate([np.zeros(8, np.float32), samples[: frames * FRAME]])
    squares = np.square(padded[8:] - padded[8 - lag : len(padded) - lag]).reshape(frames, FRAME // 8, 8)
    s = np.zeros((frames, 8), np.float32)
    for row in range(FRAME // 8):
        s += squares[:, row]
    s = s.T
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))


def gate(samples):
    """Decisions of the gate.

    Parameters
    ----------
    samples : float32 [shape=(n,)]
        At 16 kHz.

    Returns
    -------
    stands_out, steady : list of bool
        Per frame.
    """
    bands = [energies(samples, lag) for lag in LAGS]
    levels = [np.float32(0)] * len(LAGS)
    stands_out, steady = [], []
    for t in range(len(bands[0])):
        found = []
        for band, energy in enumerate(bands):
            a, b, c, d = (energy[t - k] if t >= k else np.float32(0) for k in range(4))
            e = SILENCE + ((a + b) + (c + d))
            level = levels[band]
            if t < 3:
                found.append(1)
                levels[band] = e
            elif e > np.float32(2) * level:
                found.append(1)
                levels[band] = level * np.float32(1.01)
            elif np.float32(2) * e < level:
                found.append(-1)
                levels[band] = level * np.float32(0.875)
            else:
                found.append(0)
                levels[band] = level + (e - level) * np.float32(1 / 64)
        stands_out.append(1 in found)
        steady.append(found == [0] * len(LAGS))
    return stands_out, steady


def idle(samples, idle_after_s):
    """After each frame, is a recognizer idle for which blank always wins? list of bool."""
    wait = round(idle_after_s * 16000)
    now, steady_frames, awake_from, result = False, 0, 0, []
    for t, (stands_out, steady) in enumerate(zip(*gate(samples), strict=True)):
        position = (t + 1) * FRAME
        steady_frames = steady_frames + 1 if steady else 0
        if not now:
            # Steps of two frames, complete with the samples that their look-ahead and window take.
            steps = max(0, position - awake_from - 730) // 320
            now = steady_frames * FRAME >= wait and steps * 320 >= wait
        elif stands_out:
            now = False
            awake_from = max(0, position - 7680) // 320 * 320
        result.append(now)
    return result
