"""Pruning: the smallest weights of a layer become zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks

Kernel = NDArray[np.float32]


def prune(kernel: Kernel, density: float) -> Kernel:
    """Return a copy of which the largest weights by magnitude are left, and the others are 0.

    Parameters
    ----------
    kernel : array, float32
        A layer's weights, in any shape.
    density : float
        The share that is left, in [0, 1]; exactly so many weights, rounded, but for those that were 0 before. Of equal
        weights the first ones stay.

    Raises
    ------
    ValueError
        If the density does not lie in [0, 1].
    """
    kept = round(_checks.fraction("density", density) * kernel.size)
    order = np.argsort(-np.abs(kernel), axis=None, kind="stable")
    pruned = kernel.copy()
    pruned.ravel()[order[kept:]] = 0
    return pruned
