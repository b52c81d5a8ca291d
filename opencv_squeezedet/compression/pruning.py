"""Pruning: the smallest weights of a layer become zero."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Weights

Kernel = NDArray[np.float32]
Floats = NDArray[np.float64]


def kernels_of(model: Model) -> dict[str, Kernel]:
    """Return the kernels of trained layers by layer; the slopes of PReLU, a number for each channel, are not a kernel."""
    steps = (step for step in model.network.trained() if len(step.weights[0]) > 1)
    return {step.layer.name: model.weights[step.layer.name][0] for step in steps}


def prune(kernel: Kernel, density: float) -> Kernel:
    """Return a copy in which the largest weights by magnitude are kept, and the others are 0.

    Parameters
    ----------
    kernel : array, float32
        A layer's weights, in any shape.
    density : float
        The fraction of weights to keep, in [0, 1]. Of equal weights the first ones are kept.

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


def prune_layers(weights: Weights, densities: Mapping[str, float]) -> Weights:
    """Return weights with the kernels of some layers pruned, given the density of each."""
    return {**weights, **{name: [prune(weights[name][0], density), *weights[name][1:]] for name, density in densities.items()}}
