"""What a layer reads, as the second moments of its inputs: they say what an error of its weights does to its outputs.

The output of a convolution is its kernel's matrix W times the columns x of its input; a change of W by D changes its output by
D x, whose power is the sum of the rows of D H D^T, where H is the sum of x x^T.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.network import Convolution, Layer

_MOST_COLUMNS = 2000  # of a picture
_DAMPING = 0.01

Kernel = NDArray[np.float32]
Floats = NDArray[np.float64]


class Moments:
    """The second moments of a convolution's inputs, one matrix for all of its outputs, from any number of pictures.

    Parameters
    ----------
    layer : Convolution
        For which `has_moments` is true.
    seed : int
        For the places that are drawn where a picture has many.

    Attributes
    ----------
    matrix : (n, n) float64
        For kernels of n = I * h * w weights an output, in C order; sum over all columns.
    """

    def __init__(self, layer: Layer, seed: int = 0) -> None:
        if not (isinstance(layer, Convolution) and has_moments(layer)):
            raise layer.error("a convolution in one group, without dilation, was expected")
        self._layer, self._rng = layer, np.random.default_rng(seed)
        self.matrix: Floats = np.zeros((0, 0))

    def add(self, blob: NDArray[np.float32]) -> None:
        """Add what the layer reads of one picture, (1, I, H, W)."""
        columns = self._columns(blob)
        part = (columns.T @ columns).astype(np.float64)
        self.matrix = self.matrix + part if self.matrix.size else part

    def _columns(self, blob: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the kernel lies over, at some of its places: (places, I * h * w)."""
        layer = self._layer
        (top, left), (down, right) = layer.pad, layer.stride
        padded = np.pad(blob[0], ((0, 0), (top, top), (left, left)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, axis=(1, 2))[:, ::down, ::right]
        _, rows, columns, _, _ = windows.shape
        places = self._rng.permutation(rows * columns)[:_MOST_COLUMNS]
        chosen = windows[:, places // columns, places % columns]  # (I, places, h, w)
        return np.ascontiguousarray(chosen.transpose(1, 0, 2, 3)).reshape(len(places), -1)


def has_moments(layer: Layer) -> bool:
    """Whether one matrix describes all that the layer reads: a convolution in one group, without dilation."""
    return isinstance(layer, Convolution) and layer.groups == 1 and layer.dilation == (1, 1)


def compensated(kernel: Kernel, matrix: Floats, rounded: Callable[[Floats], Floats]) -> Kernel:
    """Return a kernel of rounded weights, in which those that are rounded later make up for the error of those before.

    One input after the other, as in "Optimal Brain Compression" (Frantar and Alistarh, arXiv:2208.11580) and GPTQ
    (arXiv:2210.17323): the error of its weights is spread over the inputs to come so that the outputs change least.

    Parameters
    ----------
    kernel : array, float32
        The weights, outputs first.
    matrix : (n, n) float64
        The moments of the layer's inputs, as of `Moments`.
    rounded : function
        Returns what weights become: (outputs,) to (outputs,).
    """
    weights = kernel.reshape(len(kernel), -1).astype(np.float64)
    matrix = matrix + np.eye(len(matrix)) * (_DAMPING * np.diag(matrix).mean() + 1e-12)
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
