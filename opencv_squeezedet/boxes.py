"""Box arithmetic in NumPy; ``boxes.pxd`` is its counterpart for Cython programs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def iou_xyxy(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the (N, M) IoU of boxes (N, 4) and (M, 4), each x1, y1, x2, y2; 0 / 0 is 0."""
    first, second = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    intersection = np.prod(sides.clip(0), axis=2)
    areas = np.prod(first[..., 2:] - first[..., :2], axis=2) + np.prod(second[..., 2:] - second[..., :2], axis=2)
    union = areas - intersection
    return np.asarray(np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0), np.float64)
