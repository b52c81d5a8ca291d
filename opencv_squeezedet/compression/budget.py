"""The budget of bytes: the density and the bits of each layer that minimize the error for a size.

Each choice of a layer has a size and an error. The combination with the least error for some size consists of the choices that
minimize error plus lambda times size, layer by layer, for some lambda (Everett 1963): the larger it is, the smaller the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.compression.hessian import optimal_brain_quantization
from opencv_squeezedet.compression.pruning import Floats, Kernel, prune
from opencv_squeezedet.compression.sharing import SortedWeights, codebook, half, most_values, nearest, share
from opencv_squeezedet.formats.shared_weights import MOST_CENTROIDS, REACH, estimated_bytes, values_bytes

DENSITIES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.32, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05)
BITS = (2, 3, 4, 5, 6, 7, 8)
_ROUNDS = 60


class Choice(NamedTuple):
    """One way to store a kernel."""

    density: float  # the fraction of weights that is kept
    bits: int  # of a code; 0: the weights are stored as plain float16
    size: float  # estimated bytes
    error: float  # sum of squared differences, relative to the sum of squared weights


def choices_of(kernel: Kernel, densities: Sequence[float] = DENSITIES, bits_of_codes: Sequence[int] = BITS) -> list[Choice]:
    """Return the ways to store a kernel, plain float16 among them, with the size and the error of each."""
    rounded = kernel.astype(np.float16).astype(np.float32)
    power = float((kernel.astype(np.float64) ** 2).sum()) or 1.0
    plain = Choice(1.0, 0, len(values_bytes(rounded)), float(((rounded - kernel).astype(np.float64) ** 2).sum()) / power)
    choices = [plain]
    order = np.argsort(-np.abs(kernel), axis=None, kind="stable")
    ascending = np.argsort(kernel, axis=None, kind="stable")
    flat = kernel.ravel()
    for density in densities:
        count = min(round(density * kernel.size), int(np.count_nonzero(kernel)))
        if count == 0:
            continue
        kept = np.zeros(kernel.size, np.bool_)
        kept[order[:count]] = True
        lost = float((flat[~kept].astype(np.float64) ** 2).sum())
        weights, gaps = SortedWeights(flat[ascending[kept[ascending]]]), _Gaps(kept)
        for bits in bits_of_codes:
            if 1 << bits > 2 * count:
                continue
            clusters = weights.clusters(most_values(bits, pruned=count < kernel.size))
            choices.append(Choice(density, bits, gaps.size(clusters.counts), (lost + clusters.inertia) / power))
    return choices


def apply(kernel: Kernel, choice: Choice, hessian: Floats | None = None) -> Kernel:
    """Return the kernel as a choice stores it, by optimal brain quantization if the Hessian of its input is given."""
    if choice.bits == 0:
        return kernel.astype(np.float16).astype(np.float32)
    pruned = prune(kernel, choice.density)
    if hessian is None or not pruned.any():
        return share(pruned, choice.bits)
    centroids = codebook(pruned, choice.bits)
    stored = half(centroids).astype(np.float64)
    smallest = np.abs(pruned[pruned != 0]).min() if choice.density < 1 else 0.0

    def rounded(weights: Floats) -> Floats:
        return np.where(np.abs(weights) < smallest, 0.0, stored[nearest(centroids, weights)])

    return optimal_brain_quantization(kernel, hessian, rounded)


class _Gaps:
    """The zeros between the kept weights, which a file stores as values or as gaps."""

    def __init__(self, kept: NDArray[np.bool_]) -> None:
        runs = np.diff(np.flatnonzero(kept), prepend=-1, append=len(kept)) - 1
        self._zeros = int(len(kept) - kept.sum())
        self._fillers = int((runs // REACH).sum())
        self._counts = np.bincount(runs[:-1] % REACH, minlength=REACH)
        self._counts[-1] += self._fillers

    def size(self, counts: NDArray[np.intp]) -> float:
        """Return the estimated bytes, given how often each code occurs."""
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
    """Return the choice of each layer that together minimize the weighted error within a budget.

    ``weights`` are those of the layers' errors, ``measure`` is the cost of a choice, in bytes or weights, and ``most`` the
    budget. If even the cheapest choices exceed it, those are returned.
    """

    def chosen(trade: float) -> dict[str, Choice]:
        return {
            name: min(options, key=lambda choice: weights[name] * choice.error + trade * measure(choice))
            for name, options in choices.items()
        }

    low, high = 1e-20, 1e3
    best = chosen(high)
    for _ in range(_ROUNDS):
        middle = (low * high) ** 0.5
        candidate = chosen(middle)
        if sum(map(measure, candidate.values())) <= most:
            best, high = candidate, middle
        else:
            low = middle
    left = most - sum(map(measure, best.values()))
    while True:  # spend the rest: no lambda gives the combinations between two steps of a large layer
        gains = [
            (weights[name] * (best[name].error - choice.error) / (measure(choice) - measure(best[name])), name, choice)
            for name, options in choices.items()
            for choice in options
            if choice.error < best[name].error and 0 < measure(choice) - measure(best[name]) <= left
        ]
        if not gains:
            return best
        _, name, choice = max(gains, key=lambda gain: gain[0])
        left -= measure(choice) - measure(best[name])
        best[name] = choice
