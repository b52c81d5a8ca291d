"""Defaults that depend on the data set, and suggestions after the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from opencv_squeezedet.anchor_shapes import box_shapes, find_shapes, score_shapes
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation import Evaluation, diagnose
from opencv_squeezedet.evaluation.matching import match

_EPOCHS = 100
_LEAST_PICTURES, _MOST_PICTURES = 12_000, 240_000
_BETTER_IOU = 0.1  # gain in mean IoU from which fitted anchors are used
_SMALL_SIDE = 32.0  # pixels of the input: two cells
_FEW, _LOW = 10, 0.2  # least number of objects; least difference of recalls
_RARE = 50  # a class with fewer objects is reported
_COSTLY = 0.05  # of mAP
_RISING = 0.01


def default_pictures(pictures: int) -> int:
    """Return the default length of a training: each picture 100 times, but at least 12,000 and at most 240,000 pictures."""
    return min(max(_EPOCHS * pictures, _LEAST_PICTURES), _MOST_PICTURES)


class FittedAnchors(NamedTuple):
    """Anchor shapes fitted to a data set, and the mean IoU of its boxes with them and with the default shapes."""

    shapes: tuple[tuple[float, float], ...]
    mean_iou: float
    default_mean_iou: float


def fitted_anchors(
    dataset: Dataset, input_size: tuple[int, int], default: Sequence[tuple[float, float]]
) -> FittedAnchors | None:
    """Fit as many anchor shapes to a data set as there are default ones; None unless they raise the mean IoU by 0.1.

    Shapes are (width, height) in pixels of the network's input, whose (width, height) is ``input_size``. ValueError if the
    data set has no boxes.
    """
    boxes = box_shapes(dataset, input_size)
    if len(np.unique(boxes, axis=0)) < len(default):
        return None
    before, fitted = score_shapes(boxes, default).mean_best_iou, find_shapes(boxes, len(default))
    if fitted.mean_best_iou < before + _BETTER_IOU:
        return None
    shapes = tuple((round(w, 1), round(h, 1)) for w, h in fitted.shapes.tolist())
    return FittedAnchors(shapes, fitted.mean_best_iou, before)


def what_next(
    dataset: Dataset,
    validation: Dataset,
    detections: Sequence[Detections],
    evaluation: Evaluation,
    input_size: tuple[int, int],
    curve: Sequence[float],
) -> list[str]:
    """Return suggestions for a higher accuracy, the most promising first, a line each.

    The detections and their evaluation are those in the validation set; ``curve`` has the mAP of each measurement.
    """
    lines = []
    threshold = evaluation.pooled.best.threshold
    small, others = _recalls(validation, detections, threshold, evaluation.iou_threshold, input_size)
    if small is not None and others is not None and small < others - _LOW:
        lines.append(
            f"the recall of objects smaller than {_SMALL_SIDE:g} pixels of the input is {100 * small:.0f} %, that of others "
            f"{100 * others:.0f} %: try a larger --size"
        )
    if len(curve) > 2 and curve[-1] > max(curve[-2], max(curve[:-2]) + _RISING):
        lines.append("the mAP was still rising at the end: continue with more --pictures or --epochs and this folder as -o")
    counts = np.bincount(
        np.concatenate([np.empty(0, np.int64), *(picture.class_id for picture in dataset.pictures)]),
        minlength=len(dataset.labels),
    )
    rare = [f"{label} ({count})" for label, count in zip(dataset.labels, counts.tolist(), strict=True) if count < _RARE]
    if rare:
        lines.append(f"classes with few objects: {', '.join(rare)}; annotate more of them")
    costs = {error.name: error.cost for error in diagnose(validation, detections, threshold).errors}
    for error, errors, advice in (
        ("localization", "inaccurate boxes", "check that annotated boxes are tight, and train longer"),
        ("class", "confused classes", "add pictures of similar classes, or use a --teacher"),
        ("background", "false detections", "add pictures without objects"),
    ):
        if costs[error] > _COSTLY:
            lines.append(f"{errors} cost {100 * costs[error]:.1f} points of mAP: {advice}")
    return lines


def _recalls(
    validation: Dataset, detections: Sequence[Detections], threshold: float, iou_threshold: float, input_size: tuple[int, int]
) -> list[float | None]:
    """The recall of objects that are small in the input, and of others; None if there are too few objects."""
    is_small, is_hit = [], []
    for picture, detected in zip(validation.pictures, detections, strict=True):
        matched = match(detected[detected.confidence > threshold], picture, iou_threshold).object_index
        hit = np.isin(np.arange(len(picture.class_id)), matched)
        sides = (picture.xyxy[:, 2:] - picture.xyxy[:, :2]) * (np.array(input_size) / picture.size)
        is_small.append((np.sqrt(sides.prod(1)) < _SMALL_SIDE)[~picture.difficult])
        is_hit.append(hit[~picture.difficult])
    small, hits = np.concatenate(is_small), np.concatenate(is_hit)
    return [float(hits[part].mean()) if part.sum() >= _FEW else None for part in (small, ~small)]
