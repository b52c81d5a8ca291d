"""Weight sharing: k-means on the nonzero weights of a layer, after section 3 of "Deep Compression" (arXiv:1510.00149)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet.compression.pruning import Floats, Kernel

MOST_BITS = 8
_MOST_ROUNDS = 200


class Clusters(NamedTuple):
    """Clusters of weights."""

    centroids: Floats  # (clusters,), in ascending order
    counts: NDArray[np.intp]  # (clusters,), the number of weights in each
    inertia: float  # sum of the squared distances of all weights from their centroids


class SortedWeights:
    """Weights (n,) in ascending order and their running sums: a round of k-means costs the same for any number of them."""

    def __init__(self, ascending: NDArray[np.floating]) -> None:
        self.values = ascending.astype(np.float64)
        self._sums = np.concatenate(([0.0], np.cumsum(self.values)))
        self._squares = np.concatenate(([0.0], np.cumsum(self.values**2)))

    def clusters(self, count: int) -> Clusters:
        """Return at most so many clusters by Lloyd's algorithm.

        The initial centroids lie at equal distances between the smallest and the largest weight: the linear initialization of
        the paper, which keeps the large weights best. The centroid of a cluster that loses all its weights stays in place.
        """
        centroids = np.linspace(self.values[0], self.values[-1], min(count, len(self.values)))
        bounds = self._bounds(centroids)
        for _ in range(_MOST_ROUNDS):
            counts, sums = np.diff(bounds), np.diff(self._sums[bounds])
            centroids = np.sort(np.divide(sums, counts, out=centroids.copy(), where=counts > 0))
            before, bounds = bounds, self._bounds(centroids)
            if np.array_equal(before, bounds):
                break
        counts = np.diff(bounds)
        inertias = np.diff(self._squares[bounds]) - 2 * centroids * np.diff(self._sums[bounds]) + centroids**2 * counts
        return Clusters(centroids, counts, float(np.maximum(inertias, 0).sum()))

    def _bounds(self, centroids: Floats) -> NDArray[np.intp]:
        inner = np.searchsorted(self.values, (centroids[1:] + centroids[:-1]) / 2)
        return np.concatenate(([0], inner, [len(self.values)])).astype(np.intp)


def share(kernel: Kernel, bits: int) -> Kernel:
    """Return a copy whose nonzero weights have at most 2^bits values, those of float16; zero is one of them if it occurs.

    Parameters
    ----------
    kernel : array, float32
        A layer's weights, pruned or not.
    bits : int
        Bits of a code, from 1 to 8.

    Raises
    ------
    ValueError
        If the number of bits is out of range.
    """
    if _checks.count("bits", bits) > MOST_BITS:
        raise ValueError(f"bits must be at most {MOST_BITS}, got {bits}")
    shared, kept = kernel.copy(), kernel != 0
    if not kept.any():
        return shared
    centroids = codebook(kernel, bits)
    shared[kept] = half(centroids)[nearest(centroids, kernel[kept])]
    return shared


def codebook(kernel: Kernel, bits: int) -> Floats:
    """Return the centroids of the nonzero weights; there must be a nonzero weight."""
    kept = kernel != 0
    return SortedWeights(np.sort(kernel[kept])).clusters(most_values(bits, pruned=not kept.all())).centroids


def most_values(bits: int, *, pruned: bool) -> int:
    """Return the number of values that nonzero weights may have: if there are zeros, they have a code."""
    return (1 << bits) - pruned


def nearest(centroids: Floats, values: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the index of the centroid nearest to each value."""
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values.astype(np.float64), side="right")


def half(centroids: Floats) -> NDArray[np.float32]:
    """Return the centroids rounded to float16, as they are stored; none becomes zero."""
    rounded = centroids.astype(np.float16)
    smallest = np.copysign(np.finfo(np.float16).smallest_subnormal, centroids)
    return np.where(rounded == 0, smallest, rounded).astype(np.float32)
