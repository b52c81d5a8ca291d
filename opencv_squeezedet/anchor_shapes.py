"""Anchor shapes for a data set: k-means on the sizes of its boxes, scaled to the network's input."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet.boxes import iou_xyxy
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.extras import needs
from opencv_squeezedet.presets import VOC

Distance = Literal["iou", "euclidean"]
DISTANCES: tuple[str, ...] = get_args(Distance)
_RESTARTS = 10
_MAX_ITERATIONS = 300


class AnchorShapes(NamedTuple):
    """Shapes, the largest area first, and their similarity to the boxes.

    ``shapes`` is (K, 2) float64, width and height, input pixels. ``share`` (K,) float64 is the fraction of the boxes that are
    most similar to each shape, and ``mean_iou`` (K,) float64 their mean IoU with it. ``cluster`` (N,) is each box's shape.
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
    """Return width and height of the boxes, (N, 2), in pixels of an input to which the pictures are stretched.

    Boxes of difficult objects and crowds are left out: metrics ignore them, and a crowd's box is not that of a single object.
    ValueError if there are no boxes, or the input size is not a pair of positive integers.
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
    """Return the (N, M) IoU of shapes (N, 2) and (M, 2) with a common corner."""
    return iou_xyxy(*(np.pad(np.asarray(shapes, np.float64), ((0, 0), (2, 0))) for shapes in (a, b)))


def score_shapes(boxes: NDArray[np.float64], shapes: ArrayLike) -> AnchorShapes:
    """Assign boxes (N, 2) to the most similar of the shapes (K, 2), sorted by area, the largest first."""
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
        Number of shapes.
    distance : {"iou", "euclidean"}
        ``"euclidean"``, as in 2017: scikit-learn's k-means on width and height. ``"iou"``: 1 - IoU, which no maintained
        k-means supports. Its steps are those of k-means: each box is assigned to its nearest shape, and each shape becomes the
        mean of its boxes. As the mean does not minimise 1 - IoU, the best iteration of ten starts is returned; the starts are
        scikit-learn's k-means++.
    seed : int
        Random seed of the starts; the same seed gives the same shapes.

    Raises
    ------
    ValueError
        If there are fewer distinct boxes than shapes, or an option is outside its range.
    ImportError
        If scikit-learn is not installed.
    """
    _checks.choice("distance", distance, DISTANCES)
    count = _checks.count("count", count)
    distinct = len(np.unique(boxes, axis=0))
    if distinct < count:
        raise ValueError(f"{count} shapes need at least {count} distinct boxes, the data set has {distinct}")
    with needs("eval"):
        from sklearn.cluster import KMeans, kmeans_plusplus
    if distance == "euclidean":
        return score_shapes(boxes, KMeans(count, n_init=_RESTARTS, random_state=seed).fit(boxes).cluster_centers_)
    random = np.random.RandomState(seed)  # scikit-learn does not accept a Generator
    starts = (kmeans_plusplus(boxes, count, random_state=random)[0] for _ in range(_RESTARTS))
    return max((_lloyd_iou(boxes, start) for start in starts), key=lambda shapes: shapes.mean_best_iou)


def _lloyd_iou(boxes: NDArray[np.float64], start: NDArray[np.float64]) -> AnchorShapes:
    """The best iteration of Lloyd's algorithm with the distance 1 - IoU."""
    best = current = score_shapes(boxes, start)
    for _ in range(_MAX_ITERATIONS):
        used = np.flatnonzero(current.share)
        means = [boxes[current.cluster == k].mean(axis=0) for k in used]
        moved = score_shapes(boxes, [*means, *np.delete(current.shapes, used, axis=0)])
        if np.array_equal(moved.shapes, current.shapes):
            break
        current = moved
        best = max(best, current, key=lambda shapes: shapes.mean_best_iou)
    return best


def anchor_config(shapes: ArrayLike, labels: Sequence[str], input_size: tuple[int, int]) -> HeadConfig:
    """Return a head like `VOC`, on SqueezeNet's trunk, with these anchor shapes, labels and input size."""
    anchors = tuple((round(w, 1), round(h, 1)) for w, h in np.asarray(shapes, np.float64).tolist())
    return dataclasses.replace(VOC.scaled(input_size), anchors=anchors, labels=tuple(labels))


def plot(boxes: NDArray[np.float64], anchors: AnchorShapes, input_size: tuple[int, int], suffix: str) -> bytes:
    """Return a picture file with a scatter plot of the box sizes, coloured by shape, and an overlay of the shapes.

    ImportError without matplotlib, ValueError if it cannot write files of this suffix.
    """
    with needs("eval"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    clouds, outlines = figure.subplots(1, 2)
    count = len(anchors.shapes)
    colours = mpl.colormaps["tab10" if count <= 10 else "turbo"](np.arange(count) / max(9, count - 1))
    sample = np.random.default_rng(0).permutation(len(boxes))[:8000]  # more points would overlap
    clouds.scatter(*boxes[sample].T, s=4, c=colours[anchors.cluster[sample]], alpha=0.35, linewidths=0)
    for (w, h), colour, share in zip(anchors.shapes.tolist(), colours, anchors.share, strict=True):
        clouds.plot(w, h, "o", color=colour, markeredgecolor="black", markersize=9)
        clouds.annotate(f"{w:.0f}x{h:.0f}", (w, h), (7, 5), textcoords="offset points", fontsize=9, fontweight="bold")
        corner = (input_size[0] - w) / 2, (input_size[1] - h) / 2
        label = f"{w:.0f}x{h:.0f}  {100 * share:.0f} %"
        outlines.add_patch(Rectangle(corner, w, h, fill=False, edgecolor=colour, linewidth=2.5, label=label))
    clouds.set(xlim=(0, input_size[0]), ylim=(0, input_size[1]), xlabel="width, pixels", ylabel="height, pixels")
    clouds.set_title(f"{len(boxes)} boxes, {count} shapes, mean best IoU {anchors.mean_best_iou:.3f}", loc="left")
    outlines.set(
        xlim=(0, input_size[0]), ylim=(0, input_size[1]), aspect="equal", title="The shapes, and their share of boxes"
    )
    outlines.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format=suffix.lstrip(".").lower() or "png", dpi=110)
    return file.getvalue()
