"""What to spend the bytes on: for each layer its density and its bits, so that the error is least for a size.

Each layer's choices have a size and an error. Those that are best together, for some size, are each layer's best of error plus
lambda times size, for some lambda (Everett 1963): the larger it is, the smaller the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.compression.layer_inputs import Floats, compensated
from opencv_squeezedet.compression.pruning import Kernel, prune
from opencv_squeezedet.compression.sharing import Init, Numbers, codebook, codes_of, half, nearest, share
from opencv_squeezedet.formats.shared_weights import MOST_CENTROIDS, REACH, estimated_bytes, values_bytes

DENSITIES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.32, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05)
BITS = (2, 3, 4, 5, 6, 7, 8)
_ROUNDS = 60


class Choice(NamedTuple):
    """One way to store a kernel.

    Parameters
    ----------
    density : float
        The share of weights that is left.
    bits : int
        Of a code; 0: the weights are stored as they are, rounded to float16.
    size : float
        Bytes, estimated.
    error : float
        Sum of squared differences, relative to that of the weights.
    """

    density: float
    bits: int
    size: float
    error: float


@dataclass(frozen=True)
class Limits:
    """What the choices are limited to.

    Parameters
    ----------
    densities : tuple of float
        Of a layer.
    bits : tuple of int
        Of a code.
    init : {"linear", "density", "random"}
        How k-means starts.
    """

    densities: tuple[float, ...] = DENSITIES
    bits: tuple[int, ...] = BITS
    init: Init = "linear"


def choices_of(kernel: Kernel, limits: Limits) -> list[Choice]:
    """Return the ways to store a kernel, and what each takes and costs; always one that stores it as float16."""
    rounded = kernel.astype(np.float16).astype(np.float32)
    power = float((kernel.astype(np.float64) ** 2).sum()) or 1.0
    whole = Choice(1.0, 0, len(values_bytes(rounded)), float(((rounded - kernel).astype(np.float64) ** 2).sum()) / power)
    found = [whole]
    order = np.argsort(-np.abs(kernel), axis=None, kind="stable")
    ascending = np.argsort(kernel, axis=None, kind="stable")
    flat = kernel.ravel()
    for density in limits.densities:
        kept = min(round(density * kernel.size), int(np.count_nonzero(kernel)))
        if kept == 0:
            continue
        left = np.zeros(kernel.size, np.bool_)
        left[order[:kept]] = True
        lost = float((flat[~left].astype(np.float64) ** 2).sum())
        numbers, gaps = Numbers(flat[ascending[left[ascending]]]), _Gaps(left)
        for bits in limits.bits:
            if 1 << bits > 2 * kept:
                continue
            clusters = numbers.clusters(codes_of(bits, pruned=kept < kernel.size), limits.init)
            error = (lost + clusters.inertia) / power
            found.append(Choice(density, bits, gaps.size(clusters.counts), error))
    return found


def apply(kernel: Kernel, choice: Choice, init: Init = "linear", moments: Floats | None = None) -> Kernel:
    """Return the kernel as a choice stores it; with the moments of its inputs, its weights make up for each other's errors."""
    if choice.bits == 0:
        return kernel.astype(np.float16).astype(np.float32)
    pruned = prune(kernel, choice.density)
    if moments is None or not pruned.any():
        return share(pruned, choice.bits, init)
    centroids = codebook(pruned, choice.bits, init)
    stored = half(centroids).astype(np.float64)
    smallest = np.abs(pruned[pruned != 0]).min() if choice.density < 1 else 0.0

    def rounded(weights: Floats) -> Floats:
        return np.where(np.abs(weights) < smallest, 0.0, stored[nearest(centroids, weights)])

    return compensated(kernel, moments, rounded)


class _Gaps:
    """The zeros between the weights that are left, which a file stores as values or as gaps."""

    def __init__(self, left: NDArray[np.bool_]) -> None:
        runs = np.diff(np.flatnonzero(left), prepend=-1, append=len(left)) - 1
        self._zeros = int(len(left) - left.sum())
        self._fillers = int((runs // REACH).sum())
        self._counts = np.bincount(runs[:-1] % REACH, minlength=REACH)
        self._counts[-1] += self._fillers

    def size(self, counts: NDArray[np.intp]) -> float:
        """Return the bytes, estimated, of codes that occur so often each."""
        used = counts[counts > 0]
        sizes = []
        for zeros, gaps in ((self._zeros, None), (self._fillers, self._counts)):
            codes = np.append(used, zeros) if zeros else used
            if len(codes) <= MOST_CENTROIDS and (gaps is None or self._zeros):
                sizes.append(estimated_bytes(len(codes), codes, gaps))
        return min(sizes, default=np.inf)


def best_choices(
    choices: Mapping[str, Sequence[Choice]], weights: Mapping[str, float], measure: Callable[[Choice], float], most: float
) -> dict[str, Choice]:
    """Return each layer's choice, so that the error of all is least, and what they take is not more than allowed.

    Parameters
    ----------
    choices : dict
        For each layer.
    weights : dict
        What a layer's error counts.
    measure : function
        What a choice takes: bytes, or weights.
    most : float
        How much all may take together. The choices that take least are returned if even those take more.
    """

    def chosen(trade: float) -> dict[str, Choice]:
        return {
            name: min(some, key=lambda choice: weights[name] * choice.error + trade * measure(choice))
            for name, some in choices.items()
        }

    def taken(some: Mapping[str, Choice]) -> float:
        return sum(map(measure, some.values()))

    low, high = 1e-20, 1e3
    best = chosen(high)
    for _ in range(_ROUNDS):
        middle = (low * high) ** 0.5
        found = chosen(middle)
        if taken(found) <= most:
            best, high = found, middle
        else:
            low = middle
    return _filled(best, choices, weights, measure, most)


def _filled(
    best: dict[str, Choice],
    choices: Mapping[str, Sequence[Choice]],
    weights: Mapping[str, float],
    measure: Callable[[Choice], float],
    most: float,
) -> dict[str, Choice]:
    """Spend what is left: no lambda gives what lies between two steps of a large layer."""
    best = dict(best)
    left = most - sum(map(measure, best.values()))
    while True:
        gains = [
            (weights[name] * (best[name].error - choice.error) / (measure(choice) - measure(best[name])), name, choice)
            for name, some in choices.items()
            for choice in some
            if choice.error < best[name].error and 0 < measure(choice) - measure(best[name]) <= left
        ]
        if not gains:
            return best
        _, name, choice = max(gains, key=lambda gain: gain[0])
        left -= measure(choice) - measure(best[name])
        best[name] = choice
