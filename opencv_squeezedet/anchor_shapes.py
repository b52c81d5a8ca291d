"""Anchor shapes for a data set: k-means on the sizes of its boxes, scaled to the network's input."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.extras import needs
from opencv_squeezedet.presets import VOC

Distance = Literal["iou", "euclidean"]
DISTANCES: tuple[str, ...] = get_args(Distance)
_RESTARTS = 10
_MOST_ROUNDS = 300


class AnchorShapes(NamedTuple):
    """Shapes, the largest area first, and how well they represent the boxes.

    ``shapes`` is (K, 2) float64, width and height, input pixels. ``share`` (K,) float64 is the fraction of the boxes that each
    shape is most similar to, and ``mean_iou`` (K,) float64 their mean IoU with it. ``cluster`` (N,) is the shape of each box.
    """

    shapes: NDArray[np.float64]
    share: NDArray[np.float64]
    mean_iou: NDArray[np.float64]
    cluster: NDArray[np.intp]

    @property
    def mean_best_iou(self) -> float:
        """Mean, over all boxes, of the IoU with the most similar shape."""
        return float(self.share @ self.mean_iou)


def box_shapes(dataset: Dataset, input_size: tuple[int, int]) -> NDArray[np.float64]:
    """Return width and height of the boxes, (N, 2), in pixels of an input that the pictures are stretched to.

    Boxes of difficult objects and crowds are left out: metrics do not require them, and a crowd's box is not one object's.

    Raises
    ------
    ValueError
        If there are no boxes, or the input size is not a pair of positive integers.
    """
    size = np.array(_checks.size("input_size", input_size), np.float64)
    parts = [
        (boxes[:, 2:] - boxes[:, :2]) * (size / picture.size)
        for picture in dataset.pictures
        for boxes in [picture.xyxy[~picture.difficult].astype(np.float64)]
    ]
    shapes = np.concatenate([np.empty((0, 2)), *parts])
    if not len(shapes):
        raise ValueError("the data set has no boxes of objects that are not difficult")
    return shapes


def shape_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the (N, M) IoU of shapes (N, 2) and (M, 2), as if their centres were the same."""
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    inter = np.minimum(first[:, None, 0], second[:, 0]) * np.minimum(first[:, None, 1], second[:, 1])
    return np.asarray(inter / (first.prod(axis=1)[:, None] + second.prod(axis=1) - inter), np.float64)


def score_shapes(boxes: NDArray[np.float64], shapes: ArrayLike) -> AnchorShapes:
    """Return how well shapes (K, 2) represent boxes (N, 2), the largest shape first."""
    chosen = np.asarray(shapes, np.float64)
    chosen = chosen[np.argsort(-chosen.prod(axis=1), kind="stable")]
    iou = shape_iou(boxes, chosen)
    cluster = iou.argmax(axis=1)
    count = np.bincount(cluster, minlength=len(chosen))
    total = np.bincount(cluster, iou.max(axis=1), minlength=len(chosen))
    return AnchorShapes(chosen, count / len(boxes), total / np.maximum(count, 1), cluster)


def find_shapes(boxes: NDArray[np.float64], count: int = 9, *, distance: Distance = "iou", seed: int = 0) -> AnchorShapes:
    """Find anchor shapes by k-means.

    Parameters
    ----------
    boxes : (N, 2) array
        Widths and heights, as returned by `box_shapes`.
    count : int
        How many shapes.
    distance : {"iou", "euclidean"}
        ``"euclidean"``, as in 2017: scikit-learn's k-means on width and height. ``"iou"``: 1 - IoU, which no maintained
        k-means supports. The steps are the same: each box goes to its nearest shape, and each shape becomes the mean of its
        boxes. The mean does not minimise 1 - IoU, so the best round of ten starts is returned; the starts are scikit-learn's
        k-means++.
    seed : int
        Seed of the starts; the same seed gives the same shapes.

    Returns
    -------
    AnchorShapes

    Raises
    ------
    ValueError
        If there are fewer different boxes than shapes, or an option is outside its range.
    ImportError
        If scikit-learn is not installed.
    """
    _checks.choice("distance", distance, DISTANCES)
    count = _checks.count("count", count)
    different = len(np.unique(boxes, axis=0))
    if different < count:
        raise ValueError(f"{count} shapes need as many different boxes, the data set has {different}")
    with needs("eval"):
        from sklearn.cluster import KMeans, kmeans_plusplus
    if distance == "euclidean":
        return score_shapes(boxes, KMeans(count, n_init=_RESTARTS, random_state=seed).fit(boxes).cluster_centers_)
    random = np.random.RandomState(seed)  # the only kind that scikit-learn accepts
    starts = (kmeans_plusplus(boxes, count, random_state=random)[0] for _ in range(_RESTARTS))
    return max((_lloyd_iou(boxes, start) for start in starts), key=lambda found: found.mean_best_iou)


def _lloyd_iou(boxes: NDArray[np.float64], start: NDArray[np.float64]) -> AnchorShapes:
    """The best round of Lloyd's iteration with the distance 1 - IoU."""
    best = found = score_shapes(boxes, start)
    for _ in range(_MOST_ROUNDS):
        taken = np.flatnonzero(found.share)
        means = [boxes[found.cluster == k].mean(axis=0) for k in taken]
        moved = score_shapes(boxes, [*means, *np.delete(found.shapes, taken, axis=0)])
        if np.array_equal(moved.shapes, found.shapes):
            break
        found = moved
        best = max(best, found, key=lambda shapes: shapes.mean_best_iou)
    return best


def matched_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the IoU of each shape of ``a`` with its partner in ``b``, paired so that the sum is highest."""
    with needs("eval"):
        from scipy.optimize import linear_sum_assignment
    iou = shape_iou(a, b)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    return np.asarray(iou[rows, columns], np.float64)


def anchor_config(shapes: ArrayLike, labels: Sequence[str], input_size: tuple[int, int]) -> HeadConfig:
    """Return a head like `VOC`, on SqueezeNet's trunk, with these anchor shapes, labels and input size."""
    anchors = tuple((round(w, 1), round(h, 1)) for w, h in np.asarray(shapes, np.float64).tolist())
    return dataclasses.replace(VOC.scaled(input_size), anchors=anchors, labels=tuple(labels))


def plot(boxes: NDArray[np.float64], found: AnchorShapes, input_size: tuple[int, int], suffix: str) -> bytes:
    """Return a picture file that plots the boxes' sizes, coloured by shape, and the shapes drawn over each other.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If matplotlib cannot write files of this suffix.
    """
    with needs("eval"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    clouds, outlines = figure.subplots(1, 2)
    count = len(found.shapes)
    colours = mpl.colormaps["tab10" if count <= 10 else "turbo"](np.arange(count) / max(9, count - 1))
    some = np.random.default_rng(0).permutation(len(boxes))[:8000]  # more dots would only hide each other
    clouds.scatter(*boxes[some].T, s=4, c=colours[found.cluster[some]], alpha=0.35, linewidths=0)
    for (w, h), colour, share in zip(found.shapes.tolist(), colours, found.share, strict=True):
        clouds.plot(w, h, "o", color=colour, markeredgecolor="black", markersize=9)
        clouds.annotate(f"{w:.0f}x{h:.0f}", (w, h), (7, 5), textcoords="offset points", fontsize=9, fontweight="bold")
        corner = (input_size[0] - w) / 2, (input_size[1] - h) / 2
        label = f"{w:.0f}x{h:.0f}  {100 * share:.0f} %"
        outlines.add_patch(Rectangle(corner, w, h, fill=False, edgecolor=colour, linewidth=2.5, label=label))
    clouds.set(xlim=(0, input_size[0]), ylim=(0, input_size[1]), xlabel="width, pixels", ylabel="height, pixels")
    clouds.set_title(f"{len(boxes)} boxes, {count} shapes, mean best IoU {found.mean_best_iou:.3f}", loc="left")
    outlines.set(
        xlim=(0, input_size[0]), ylim=(0, input_size[1]), aspect="equal", title="The shapes, and their share of boxes"
    )
    outlines.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format=suffix.lstrip(".").lower() or "png", dpi=110)
    return file.getvalue()
