# SPDX-License-Identifier: MIT
"""The idle gate in NumPy, written from its rules, in float32 and in the order of its sums.

1. Frames of 160 samples, zeros before the first. Energy of a frame in two bands: the sum of (d / 8)^2, where d is
   the sum of the last eight samples less that of the eight before; and of (x[n] - x[n - 1])^2. Sums of eight are made of
   sums of four, those of two; energies of eight sums over every eighth sample, then
   ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)).
2. e = ((frame + the one before) + (the two before these)) + silence, silence being a quarter of a squared step of 16
   bits for each of the 640 samples.
3. In the first three frames the level is e, and they stand out. Then a frame stands out if e > 1.75 level, and the level
   rises by 1 %; it is quiet if 1.75 e < level, and the level falls by an eighth; else the level moves by a 64th
   of the difference.
4. A frame is steady if it neither stands out nor is quiet in either band.
"""

import numpy as np

FRAME = 160
RATIO = np.float32(1.75)
BANDS = 2
SILENCE = np.float32(0.25 * 640 / 32768.0**2)


def lagged(signal, lag):
    """The signal `lag` samples later, zeros before it."""
    return np.concatenate([np.zeros(lag, np.float32), signal[:-lag]])


def energies(samples, band):
    """float32 [shape=(frames,)] of whole frames."""
    frames = len(samples) // FRAME
    samples = samples[: frames * FRAME]
    if band == 0:
        two = samples + lagged(samples, 1)
        four = two + lagged(two, 2)
        eight = four + lagged(four, 4)
        difference = eight - lagged(eight, 8)
    else:
        difference = samples - lagged(samples, 1)
    squares = np.square(difference).reshape(frames, FRAME // 8, 8)
    s = np.zeros((frames, 8), np.float32)
    for row in range(FRAME // 8):
        s += squares[:, row]
    s = s.T
    total = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
    return total * np.float32(1 / 64) if band == 0 else total


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
    bands = [energies(samples, band) for band in range(BANDS)]
    levels = [np.float32(0)] * BANDS
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
            elif e > RATIO * level:
                found.append(1)
                levels[band] = level * np.float32(1.01)
            elif RATIO * e < level:
                found.append(-1)
                levels[band] = level * np.float32(0.875)
            else:
                found.append(0)
                levels[band] = level + (e - level) * np.float32(1 / 64)
        stands_out.append(1 in found)
        steady.append(found == [0] * BANDS)
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
