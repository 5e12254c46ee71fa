# SPDX-License-Identifier: MIT
"""Impulse responses of rooms, without the direct sound; unit energy each.

Two kinds: the diffuse tail alone, and early reflections of a box by image sources with a tail behind
them (J. B. Allen and D. A. Berkley, Image method for efficiently simulating small-room acoustics, 1979).
"""

import functools

import numpy as np

SAMPLE_RATE = 16000
ROOM_COUNT = 64  # of each kind
ROOM_SAMPLES = 6400
SOUND_M_S = 343.0
# Image sources are complete up to this time even between walls that are close; noise follows.
EARLY_SAMPLES = 640
IMAGES = 4  # boxes in each direction


def _unit_energy(response):
    return (response / np.sqrt(np.sum(response**2))).astype(np.float32)


@functools.cache
def tails():
    """Return decaying noise with a short delay: list of float32 [shape=(ROOM_SAMPLES,)]."""
    rng = np.random.default_rng(20261121)
    time_s = np.arange(ROOM_SAMPLES) / SAMPLE_RATE
    rooms = []
    for _ in range(ROOM_COUNT):
        decay_s = rng.uniform(0.1, 0.6)
        delay = int(rng.uniform(0.001, 0.02) * SAMPLE_RATE)
        tail = rng.standard_normal(ROOM_SAMPLES) * 10 ** (-3 * time_s / decay_s)
        tail[:delay] = 0
        rooms.append(_unit_energy(tail))
    return rooms


def _box(rng):
    size = rng.uniform((2.5, 2.5, 2.2), (8, 6, 3.5))
    absorbed = rng.uniform(0.05, 0.4) * rng.uniform(0.5, 1.5, (2, 3))
    walls = np.sqrt(1 - absorbed)  # reflected amplitude
    source, microphone = rng.uniform(0.3, size - 0.3, (2, 3))
    return size, walls, source, microphone


def _images(size, walls, source, microphone):
    """Return distance in m and amplitude of all images of the source, the source itself first."""
    boxes = np.arange(-IMAGES, IMAGES + 1)
    offsets, gains = [], []
    for axis in range(3):
        places, factors = [], []
        for mirrored in (0, 1):
            places.append((1 - 2 * mirrored) * source[axis] + 2 * boxes * size[axis] - microphone[axis])
            factors.append(walls[0, axis] ** np.abs(boxes - mirrored) * walls[1, axis] ** np.abs(boxes))
        offsets.append(np.concatenate(places))
        gains.append(np.concatenate(factors))
    x, y, z = np.meshgrid(*offsets, indexing="ij")
    distance = np.sqrt(x**2 + y**2 + z**2).ravel()
    gain = np.einsum("i,j,k->ijk", *gains).ravel()
    order = np.argsort(-gain, kind="stable")  # the source is the one image that no wall weakens
    return distance[order], gain[order] / distance[order]


def _dulled(response, bright):
    # Walls and air take the high frequencies first.
    return bright * response + (1 - bright) * np.convolve(response, np.array([1, 4, 6, 4, 1]) / 16, "same")


@functools.cache
def reflecting_rooms():
    """Return early reflections and tails: list of float32 [shape=(ROOM_SAMPLES,)].

    Sample 0 is when the direct sound arrives.
    """
    rng = np.random.default_rng(20261122)
    time_s = np.arange(ROOM_SAMPLES) / SAMPLE_RATE
    rooms = []
    for _ in range(ROOM_COUNT):
        size, walls, source, microphone = _box(rng)
        distance, amplitude = _images(size, walls, source, microphone)
        delay = (distance[1:] - distance[0]) / SOUND_M_S * SAMPLE_RATE
        early = delay < EARLY_SAMPLES - 1
        sample, fraction = delay[early].astype(int), delay[early] % 1
        amplitude = amplitude[1:][early]
        room = np.zeros(ROOM_SAMPLES)
        np.add.at(room, sample, amplitude * (1 - fraction))
        np.add.at(room, sample + 1, amplitude * fraction)
        # The tail decays as Eyring's formula says and begins as loud as the reflections end.
        faces = np.array([size[1] * size[2], size[0] * size[2], size[0] * size[1]])
        reflected = np.average(walls**2, weights=np.tile(faces, (2, 1)))
        decay_s = min(0.161 * np.prod(size) / (-2 * faces.sum() * np.log(reflected)), 1.0)
        noise = rng.standard_normal(ROOM_SAMPLES) * 10 ** (-3 * time_s / decay_s)
        bright = np.exp(-time_s / rng.uniform(0.03, 0.2))
        room, noise = _dulled(room, bright), _dulled(noise, bright)
        last = slice(EARLY_SAMPLES * 3 // 4, EARLY_SAMPLES)
        noise *= np.sqrt(np.sum(room[last] ** 2) / np.sum(noise[last] ** 2))
        room[EARLY_SAMPLES:] = noise[EARLY_SAMPLES:]
        rooms.append(_unit_energy(room))
    return rooms
