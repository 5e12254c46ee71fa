# SPDX-License-Identifier: MIT
"""Bounded buffer between the thread that records and the one that recognizes."""

import numpy as np


class Ring:
    """Bounded buffer between one writing and one reading thread. It never blocks: what does not
    fit is dropped and counted.

    Parameters
    ----------
    capacity : int
        Frames.
    channels : int
    """

    def __init__(self, capacity, channels):
        self._frames = np.zeros((capacity, channels), np.float32)
        self._written = 0  # frames ever written; only the writer changes it
        self._read = 0  # frames ever read; only the reader changes it
        self.dropped = 0

    def __len__(self):
        """Frames waiting."""
        return self._written - self._read

    def write(self, frames):
        """Copy frames in.

        Parameters
        ----------
        frames : float32 [shape=(n, channels)]
        """
        capacity = len(self._frames)
        count = min(len(frames), capacity - len(self))
        start = self._written % capacity
        first = min(count, capacity - start)
        self._frames[start : start + first] = frames[:first]
        self._frames[: count - first] = frames[first:count]
        self._written += count  # last: makes the frames visible
        self.dropped += len(frames) - count

    def read(self):
        """Take out everything.

        Returns
        -------
        float32 [shape=(n, channels)]
            A copy.
        """
        capacity = len(self._frames)
        count = len(self)
        start = self._read % capacity
        first = min(count, capacity - start)
        frames = np.concatenate([self._frames[start : start + first], self._frames[: count - first]])
        self._read += count
        return frames
