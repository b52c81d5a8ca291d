"""Seeded blobs of the VOC head, of every kind that a decoder should survive.

Every number is made of raw random bits by exact operations (no exp, no sums), so that a seed gives the same blobs on every
machine and with every NumPy: only the outputs of a golden case need to be stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CELLS, PER_CELL, CLASSES = 23, 9, 20
ANCHORS = CELLS * CELLS * PER_CELL

Floats = NDArray[np.float32]


class Blobs(NamedTuple):
    delta_bbox: Floats
    class_scores: Floats
    conf_scores: Floats


class Bits:
    """Floats from the raw output of PCG64, which no NumPy release changes."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.PCG64(seed)

    def unit(self, *shape: int) -> Floats:
        """Multiples of 2^-24 in [0, 1)."""
        raw = self._source.random_raw(int(np.prod(shape)))
        return ((raw >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)).reshape(shape)

    def between(self, low: float, high: float, *shape: int) -> Floats:
        return np.float32(low) + self.unit(*shape) * np.float32(high - low)

    def below(self, n: int, count: int) -> NDArray[np.intp]:
        return (self._source.random_raw(count) % np.uint64(n)).astype(np.intp)


def _scene(bits: Bits, objects: int) -> Blobs:
    """Weak anchors everywhere, and strong ones in clusters, as a trained network has them around an object."""
    conf = bits.unit(ANCHORS) * np.float32(1 / 64)
    classes = bits.unit(ANCHORS, CLASSES) * np.float32(1 / 16)
    classes[np.arange(ANCHORS), bits.below(CLASSES, ANCHORS)] += np.float32(0.5)
    centre = bits.below(ANCHORS, (objects + 3) // 4)
    strong = (np.repeat(centre, 4) + np.tile([0, 1, PER_CELL, CELLS * PER_CELL], len(centre)))[:objects] % ANCHORS
    conf[strong] = bits.between(0.5, 1, objects)
    classes[strong] *= np.float32(1 / 16)
    classes[strong, np.repeat(bits.below(CLASSES, len(centre)), 4)[:objects]] = bits.between(0.5, 0.95, objects)
    return Blobs(bits.between(-0.5, 0.5, CELLS, CELLS, PER_CELL * 4), classes, conf.reshape(CELLS, CELLS, PER_CELL))


def _uniform(bits: Bits, deltas: float, classes: tuple[float, float], conf: tuple[float, float]) -> Blobs:
    return Blobs(
        bits.between(-deltas, deltas, CELLS, CELLS, PER_CELL * 4),
        bits.between(*classes, ANCHORS, CLASSES),
        bits.between(*conf, CELLS, CELLS, PER_CELL),
    )


def _huge(bits: Bits) -> Blobs:
    """Deltas of every magnitude up to the largest float, half of them negative."""
    blobs = _scene(bits, 100)
    exponent = (bits.unit(*blobs.delta_bbox.shape) * 277 - 149).astype(np.int32)
    return blobs._replace(delta_bbox=np.ldexp(bits.between(-1, 1, *blobs.delta_bbox.shape), exponent))


def _saturated(bits: Bits) -> Blobs:
    """Confidences and class scores within 2^-11 of 1; the best class score is 1, so that the confidences keep scores apart."""
    blobs = _uniform(bits, 0.5, (1 - 2**-12, 1), (1, 1))
    blobs.class_scores[np.arange(ANCHORS), bits.below(CLASSES, ANCHORS)] = 1
    order = np.argsort(bits.unit(ANCHORS), kind="stable")
    return blobs._replace(conf_scores=(1 - order * 2**-24).astype(np.float32).reshape(CELLS, CELLS, PER_CELL))


def _zero(_: Bits) -> Blobs:
    return Blobs(
        np.zeros((CELLS, CELLS, PER_CELL * 4), np.float32),
        np.zeros((ANCHORS, CLASSES), np.float32),
        np.zeros((CELLS, CELLS, PER_CELL), np.float32),
    )


KINDS: dict[str, Callable[[Bits], Blobs]] = {
    "quiet": lambda bits: _scene(bits, 20),
    "crowded": lambda bits: _scene(bits, 200),
    "random": lambda bits: _uniform(bits, 1, (0, 1), (0, 1)),
    "saturated": _saturated,
    "zero": _zero,
    "off picture": lambda bits: _scene(bits, 200)._replace(delta_bbox=bits.between(-12, 12, CELLS, CELLS, PER_CELL * 4)),
    "huge deltas": _huge,
    "negative": lambda bits: _uniform(bits, 1, (-1, 1), (-1, 1)),
    "over one": lambda bits: _uniform(bits, 1, (0, 8), (0, 4)),
}


def make(kind: str, seed: int) -> Blobs:
    """The blobs ``seed`` of a kind."""
    return KINDS[kind](Bits(seed))


def has_ties(blobs: Blobs, top_n: int = 64) -> bool:
    """Whether two of the best ``top_n`` + 1 anchors have the same score: then the order in C++ is undefined."""
    classes = blobs.class_scores.astype(np.float64)
    conf = blobs.conf_scores.reshape(-1).astype(np.float64)
    score = np.maximum(conf * classes.max(axis=1), conf * classes.min(axis=1))
    best = np.sort(score)[-top_n - 1 :]
    return bool((np.diff(best) == 0).any())
