"""Shared weights: k-means of a layer's weights that are not zero, after section 3 of "Deep Compression" (arXiv:1510.00149)."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks

Init = Literal["linear", "density", "random"]
INITS: tuple[Init, ...] = get_args(Init)
MOST_BITS = 8
_MOST_ROUNDS = 200

Kernel = NDArray[np.float32]
Floats = NDArray[np.float64]


class Clusters(NamedTuple):
    """Clusters of numbers that are in ascending order: the centre of each, and where it begins.

    Parameters
    ----------
    centroids : (clusters,) float64
        In ascending order.
    bounds : (clusters + 1,) int
        A cluster has the numbers from its bound to before the next one.
    inertia : float
        The sum of squared distances of all numbers from their centroids.
    """

    centroids: Floats
    bounds: NDArray[np.intp]
    inertia: float

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many numbers each cluster has."""
        return np.diff(self.bounds)


class Numbers:
    """Numbers in ascending order and their running sums, with which a round of k-means takes no longer for many than for few.

    Parameters
    ----------
    ascending : (n,) array
        The numbers.
    importance : (n,) array, optional
        What the square of each one's distance counts, above 0. Default: all the same.
    """

    def __init__(self, ascending: NDArray[np.floating], importance: NDArray[np.floating] | None = None) -> None:
        self.values = ascending.astype(np.float64)
        counts = np.ones(len(ascending)) if importance is None else importance.astype(np.float64)
        self._counts = np.concatenate(([0.0], np.cumsum(counts)))
        self._sums = np.concatenate(([0.0], np.cumsum(counts * self.values)))
        self._squares = np.concatenate(([0.0], np.cumsum(counts * self.values**2)))

    def clusters(self, count: int, init: Init = "linear", seed: int = 0) -> Clusters:
        """Return at most so many clusters by Lloyd's algorithm, from one of the starts of the paper.

        Parameters
        ----------
        count : int
            How many; of clusters that lose all their numbers the centroids stay where they are.
        init : {"linear", "density", "random"}
            Centroids at equal distances between the smallest and the largest number; at equal shares of the numbers; or at
            numbers drawn at random.
        seed : int
            For the random start.
        """
        centroids = self._start(min(count, len(self.values)), init, seed)
        bounds = self._bounds(centroids)
        for _ in range(_MOST_ROUNDS):
            filled = np.diff(bounds) > 0
            counts, sums = np.diff(self._counts[bounds]), np.diff(self._sums[bounds])
            centroids = np.sort(np.divide(sums, counts, out=centroids.copy(), where=filled))
            before, bounds = bounds, self._bounds(centroids)
            if np.array_equal(before, bounds):
                break
        return Clusters(centroids, bounds, self._inertia(centroids, bounds))

    def _start(self, count: int, init: Init, seed: int) -> Floats:
        _checks.choice("init", init, INITS)
        if init == "linear":
            return np.linspace(self.values[0], self.values[-1], count)
        if init == "density":
            return self.values[((np.arange(count) + 0.5) / count * len(self.values)).astype(np.intp)]
        chosen = np.random.default_rng(seed).choice(len(self.values), count, replace=False)
        return self.values[np.sort(chosen)]

    def _bounds(self, centroids: Floats) -> NDArray[np.intp]:
        inner = np.searchsorted(self.values, (centroids[1:] + centroids[:-1]) / 2)
        return np.concatenate(([0], inner, [len(self.values)])).astype(np.intp)

    def _inertia(self, centroids: Floats, bounds: NDArray[np.intp]) -> float:
        counts, sums = np.diff(self._counts[bounds]), np.diff(self._sums[bounds])
        parts = np.diff(self._squares[bounds]) - 2 * centroids * sums + centroids**2 * counts
        return float(np.maximum(parts, 0).sum())


def share(kernel: Kernel, bits: int, init: Init = "linear", seed: int = 0) -> Kernel:
    """Return a copy in which the weights that are not zero have at most 2^bits values, float16's; a zero is one of them.

    Parameters
    ----------
    kernel : array, float32
        A layer's weights, pruned or not.
    bits : int
        Of a code, from 1 to 8.
    init, seed
        As of `Numbers.clusters`.

    Raises
    ------
    ValueError
        If a parameter is wrong.
    """
    if _checks.count("bits", bits) > MOST_BITS:
        raise ValueError(f"bits must be at most {MOST_BITS}, got {bits}")
    shared, left = kernel.copy(), kernel != 0
    if not left.any():
        return shared
    found = codebook(kernel, bits, init, seed)
    shared[left] = half(found)[nearest(found, kernel[left])]
    return shared


def codebook(kernel: Kernel, bits: int, init: Init = "linear", seed: int = 0) -> Floats:
    """Return the centroids of the weights that are not zero, of which there has to be one."""
    left = kernel != 0
    return Numbers(np.sort(kernel[left])).clusters(codes_of(bits, pruned=not left.all()), init, seed).centroids


def codes_of(bits: int, *, pruned: bool) -> int:
    """Return how many values the weights that are left may have: one code is the zero's, if there are zeros."""
    return (1 << bits) - pruned


def nearest(centroids: Floats, values: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the number of the nearest centroid of each value."""
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values.astype(np.float64), side="right")


def half(centroids: Floats) -> NDArray[np.float32]:
    """Return the nearest numbers that float16 has, and are not zero, as centroids are stored."""
    rounded = centroids.astype(np.float16)
    smallest = np.copysign(np.finfo(np.float16).smallest_subnormal, centroids)
    return np.where(rounded == 0, smallest, rounded).astype(np.float32)
