"""Optimal brain quantization: rounding a layer's weights by the Hessian of its input.

The output of a convolution is the matrix W of its kernel times the columns x of its input. A change D of W changes the output
by D x, whose power is the sum of D H D^T over the rows of D, where H is the sum of x x^T.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.compression.pruning import Floats, Kernel
from opencv_squeezedet.network import Convolution, Network

_MOST_COLUMNS = 2000  # per picture
_DAMPING = 0.01


class InputHessian:
    """The Hessian of a convolution's input, accumulated over pictures; all outputs of the convolution share it.

    `matrix`, (n, n) float64, is the sum of x x^T over all columns, for kernels of n = I * h * w weights per output, in C
    order. In large inputs, positions are sampled with a fixed seed.
    """

    def __init__(self, layer: Convolution) -> None:
        self._layer, self._rng = layer, np.random.default_rng(0)
        self.matrix: Floats = np.zeros((1, 1))

    def add(self, blob: NDArray[np.float32]) -> None:
        """Add the layer's input for one picture, (1, I, H, W)."""
        layer = self._layer
        (top, left), (down, right) = layer.pad, layer.stride
        padded = np.pad(blob[0], ((0, 0), (top, top), (left, left)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, axis=(1, 2))[:, ::down, ::right]
        _, rows, width, _, _ = windows.shape
        positions = self._rng.permutation(rows * width)[:_MOST_COLUMNS]
        chosen = windows[:, positions // width, positions % width]  # (I, positions, h, w)
        columns = np.ascontiguousarray(chosen.transpose(1, 0, 2, 3)).reshape(len(positions), -1)
        self.matrix = self.matrix + (columns.T @ columns).astype(np.float64)


def convolutions_with_hessian(network: Network) -> list[Convolution]:
    """Return the layers whose whole input one matrix describes: convolutions in one group, without dilation."""
    layers = (step.layer for step in network.trained())
    return [layer for layer in layers if isinstance(layer, Convolution) and (layer.groups, layer.dilation) == (1, (1, 1))]


def optimal_brain_quantization(kernel: Kernel, hessian: Floats, rounded: Callable[[Floats], Floats]) -> Kernel:
    """Round a kernel's weights one input after the other; later weights compensate for the rounding errors of earlier weights.

    The error of each rounded weight is spread over the weights not yet rounded so that the outputs change least, as in
    "Optimal Brain Compression" (Frantar and Alistarh, arXiv:2208.11580) and GPTQ (arXiv:2210.17323). The kernel has the
    outputs first; the Hessian is `InputHessian.matrix`; ``rounded`` rounds weights, (outputs,) to (outputs,).
    """
    weights = kernel.reshape(len(kernel), -1).astype(np.float64)
    matrix = hessian + np.eye(len(hessian)) * (_DAMPING * np.diag(hessian).mean() + 1e-12)
    order = np.argsort(-np.diag(matrix), kind="stable")
    weights, matrix = weights[:, order], matrix[np.ix_(order, order)]
    spread = np.linalg.cholesky(np.linalg.inv(matrix)).T
    done = np.empty_like(weights)
    for i in range(weights.shape[1]):
        done[:, i] = rounded(weights[:, i])
        error = (weights[:, i] - done[:, i]) / spread[i, i]
        weights[:, i + 1 :] -= error[:, None] * spread[i, i + 1 :]
    back = np.empty_like(done)
    back[:, order] = done
    return back.reshape(kernel.shape).astype(np.float32)
