"""Optimal brain quantization: rounding a layer's weights by the Hessian of its input.

The output of a convolution is the matrix W of its kernel times the columns x of its input. A change D of W changes the output
by D x, whose power is the sum of D H D^T over the rows of D, where H is the sum of x x^T.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.network import Convolution, Layer

_MOST_COLUMNS = 2000  # per picture
_DAMPING = 0.01

Kernel = NDArray[np.float32]
Floats = NDArray[np.float64]


class InputHessian:
    """The Hessian of a convolution's input, accumulated over pictures; all outputs of the convolution share it.

    Parameters
    ----------
    layer : Convolution
        A layer for which `has_hessian` is true.
    seed : int
        Of the random choice of positions in large inputs.

    Attributes
    ----------
    matrix : (n, n) float64
        For kernels of n = I * h * w weights per output, in C order; the sum of x x^T over all columns.
    """

    def __init__(self, layer: Layer, seed: int = 0) -> None:
        if not (isinstance(layer, Convolution) and has_hessian(layer)):
            raise layer.error("a convolution in one group, without dilation, was expected")
        self._layer, self._rng = layer, np.random.default_rng(seed)
        self.matrix: Floats = np.zeros((0, 0))

    def add(self, blob: NDArray[np.float32]) -> None:
        """Add the layer's input for one picture, (1, I, H, W)."""
        columns = self._columns(blob)
        part = (columns.T @ columns).astype(np.float64)
        self.matrix = self.matrix + part if self.matrix.size else part

    def _columns(self, blob: NDArray[np.float32]) -> NDArray[np.float32]:
        """The kernel's windows at some positions: (positions, I * h * w)."""
        layer = self._layer
        (top, left), (down, right) = layer.pad, layer.stride
        padded = np.pad(blob[0], ((0, 0), (top, top), (left, left)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, axis=(1, 2))[:, ::down, ::right]
        _, rows, columns, _, _ = windows.shape
        positions = self._rng.permutation(rows * columns)[:_MOST_COLUMNS]
        chosen = windows[:, positions // columns, positions % columns]  # (I, positions, h, w)
        return np.ascontiguousarray(chosen.transpose(1, 0, 2, 3)).reshape(len(positions), -1)


def has_hessian(layer: Layer) -> bool:
    """Whether one matrix describes the whole input of the layer: a convolution in one group, without dilation."""
    return isinstance(layer, Convolution) and layer.groups == 1 and layer.dilation == (1, 1)


def optimal_brain_quantization(kernel: Kernel, hessian: Floats, rounded: Callable[[Floats], Floats]) -> Kernel:
    """Round a kernel's weights one input after the other; later weights compensate for the rounding errors of earlier ones.

    The error of each rounded weight is spread over the weights not yet rounded so that the outputs change least, as in
    "Optimal Brain Compression" (Frantar and Alistarh, arXiv:2208.11580) and GPTQ (arXiv:2210.17323).

    Parameters
    ----------
    kernel : array, float32
        The weights, outputs first.
    hessian : (n, n) float64
        `InputHessian.matrix` of the layer.
    rounded : function
        Rounds weights: (outputs,) to (outputs,).
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
