"""What suits a data set before its training, and what to try after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from opencv_squeezedet.anchor_shapes import box_shapes, find_shapes, judge
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation import Evaluation, diagnose
from opencv_squeezedet.evaluation.matching import match
from opencv_squeezedet.presets import VOC

_EPOCHS = 100
_LEAST_PICTURES, _MOST_PICTURES = 12_000, 240_000
_BETTER_IOU = 0.1  # fitted anchors are used if the mean IoU of boxes with them is higher by so much
_SMALL_SIDE = 32.0  # pixels of the input: two cells
_FEW, _LOW = 10, 0.2  # objects that say something; difference of recalls
_RARE = 50  # objects of a class to train on
_COSTLY = 0.05  # of mAP
_RISING = 0.01


def usual_pictures(pictures: int) -> int:
    """Return how many pictures a training sees by default: each a hundred times, but 12,000 at least and 240,000 at most."""
    return min(max(_EPOCHS * pictures, _LEAST_PICTURES), _MOST_PICTURES)


class FittedAnchors(NamedTuple):
    """Anchor shapes fitted to a data set, and the mean IoU of its boxes with them and with the default shapes."""

    shapes: tuple[tuple[float, float], ...]
    mean_iou: float
    default_mean_iou: float


def fitted_anchors(
    dataset: Dataset, input_size: tuple[int, int], default: Sequence[tuple[float, float]]
) -> FittedAnchors | None:
    """Fit anchor shapes to a data set, as many as the default ones, which are better if None is returned.

    Parameters
    ----------
    dataset : Dataset
        The annotated pictures.
    input_size : (int, int)
        Width and height of the network's input, pixels.
    default : sequence of (float, float)
        Width and height of the default shapes, input pixels. They are kept unless the fitted ones raise the mean IoU by 0.1.

    Raises
    ------
    ValueError
        If the data set has no boxes.
    """
    boxes = box_shapes(dataset, input_size)
    if len(np.unique(boxes, axis=0)) < len(default):
        return None
    before, found = judge(boxes, default).mean_best_iou, find_shapes(boxes, len(default))
    if found.mean_best_iou < before + _BETTER_IOU:
        return None
    shapes = tuple((round(w, 1), round(h, 1)) for w, h in found.shapes.tolist())
    return FittedAnchors(shapes, found.mean_best_iou, before)


def what_next(
    dataset: Dataset,
    validation: Dataset,
    detections: Sequence[Detections],
    evaluation: Evaluation,
    input_size: tuple[int, int],
    curve: Sequence[float],
) -> list[str]:
    """Return what to try for a higher accuracy, the most promising first, a line each.

    Parameters
    ----------
    dataset, validation : Dataset
        What was trained on, and measured on.
    detections : sequence of Detections
        In the pictures that were measured on.
    evaluation : Evaluation
        Of these.
    input_size : (int, int)
        Of the network, pixels.
    curve : sequence of float
        The mAP of each measurement of the training.
    """
    lines = []
    threshold = evaluation.pooled.best.threshold
    small, others = _recalls(validation, detections, threshold, evaluation.iou_threshold, input_size)
    if small is not None and others is not None and small < others - _LOW:
        lines.append(
            f"of objects below {_SMALL_SIDE:g} pixels of the input {100 * small:.0f} % are found, of others "
            f"{100 * others:.0f} %: a larger --size shows them larger"
        )
    if len(curve) > 2 and curve[-1] > max(curve[-2], max(curve[:-2]) + _RISING):
        lines.append("the mAP still rose at the end: try more --pictures or --epochs; the folder's training goes on")
    counts = np.bincount(
        np.concatenate([np.empty(0, np.int64), *(picture.class_id for picture in dataset.pictures)]),
        minlength=len(dataset.labels),
    )
    rare = [f"{label} ({count})" for label, count in zip(dataset.labels, counts.tolist(), strict=True) if count < _RARE]
    if rare:
        lines.append(f"few objects to learn from: {', '.join(rare)}; annotate more pictures of these")
    costs = {error.name: error.cost for error in diagnose(validation, detections, threshold).errors}
    for kind, advice in (
        ("place", "loose boxes cost {:.1f} points of mAP: look whether the annotations are tight, and train longer"),
        ("class", "confused classes cost {:.1f} points of mAP: more pictures of those that look alike, or a --teacher"),
        ("background", "boxes where nothing is cost {:.1f} points of mAP: add pictures without objects"),
    ):
        if costs[kind] > _COSTLY:
            lines.append(advice.format(100 * costs[kind]))
    return lines


def _recalls(
    validation: Dataset,
    detections: Sequence[Detections],
    threshold: float,
    iou_threshold: float,
    input_size: tuple[int, int],
) -> tuple[float | None, float | None]:
    """The recall of objects that are small at the input, and of others; None where there are few."""
    is_small, is_found = [], []
    for picture, seen in zip(validation.pictures, detections, strict=True):
        found = match(seen[seen.confidence > threshold], picture, iou_threshold).found
        hit = np.isin(np.arange(len(picture.class_id)), found[found >= 0])
        sides = (picture.xyxy[:, 2:] - picture.xyxy[:, :2]) * (np.array(input_size) / picture.size)
        certain = ~picture.difficult
        is_small.append((np.sqrt(sides.prod(1)) < _SMALL_SIDE)[certain])
        is_found.append(hit[certain])
    small, found = np.concatenate(is_small), np.concatenate(is_found)
    recalls = [float(found[part].mean()) if part.sum() >= _FEW else None for part in (small, ~small)]
    return recalls[0], recalls[1]
