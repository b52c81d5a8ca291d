"""Matching of detections to objects, by PASCAL VOC's rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.boxes import iou_xyxy
from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections

_MOSTLY_INSIDE = 0.5


class Matches(NamedTuple):
    """The outcome of each detection in a picture: a hit, ignored, or otherwise an error.

    ``object_index`` is the index of a hit's object, and -1 for other detections.
    """

    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    object_index: NDArray[np.intp]


def match(detections: Detections, truth: Annotated, iou_threshold: float = 0.5) -> Matches:
    """Match the detections of one picture, highest score first.

    Each detection is assigned to the object of its class that it overlaps most. If their IoU is at least ``iou_threshold``, it
    is ignored if the object is difficult, and otherwise a hit, unless a higher detection is a hit of the same object. Other
    detections are ignored if at least half of them lies in one of the picture's ignored regions.
    """
    count = len(detections)
    object_index = np.full(count, -1)
    inside = _share_inside(detections.xyxy, truth.ignored) >= _MOSTLY_INSIDE
    if not count or not len(truth.class_id):
        return Matches(np.zeros(count, bool), inside, object_index)
    iou = np.where(detections.class_id[:, None] == truth.class_id, iou_xyxy(detections.xyxy, truth.xyxy), -1.0)
    best = iou.argmax(axis=1)
    near = iou[np.arange(count), best] >= iou_threshold
    ignored = near & truth.difficult[best]
    order = np.argsort(-detections.confidence, kind="stable")
    candidates = order[(near & ~ignored)[order]]
    objects, first = np.unique(best[candidates], return_index=True)
    object_index[candidates[first]] = objects
    return Matches(object_index >= 0, ignored | (inside & (object_index < 0)), object_index)


def _share_inside(xyxy: NDArray[np.float32], regions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest share of each box that lies in one region."""
    sides = np.minimum(xyxy[:, None, 2:], regions[:, 2:]) - np.maximum(xyxy[:, None, :2], regions[:, :2])
    area = (xyxy[:, 2:] - xyxy[:, :2]).prod(1)
    return np.asarray(sides.clip(0).prod(2).max(1, initial=0) / np.maximum(area, 1e-6), np.float32)


class ClassMatches(NamedTuple):
    """All detections of a class that are not ignored, highest score first, and the number of objects."""

    score: NDArray[np.float32]
    hit: NDArray[np.bool_]
    objects: int
    difficult: int


def check_fit(dataset: Dataset, detections: Sequence[Detections]) -> None:
    """Raise ValueError if there is not one `Detections` per picture, or their label table is not the data set's."""
    if len(detections) != len(dataset.pictures):
        raise ValueError(f"detections for {len(dataset.pictures)} pictures were expected, got {len(detections)}")
    for detected in detections:
        if detected.label_table != dataset.labels:
            raise ValueError(f"the detections' label table {detected.label_table} is not the data set's, {dataset.labels}")


def match_classes(dataset: Dataset, detections: Sequence[Detections], iou_threshold: float = 0.5) -> list[ClassMatches]:
    """Return the results of `match` over all pictures: for each class, then for all together; errors as for `check_fit`."""
    check_fit(dataset, detections)
    rows = [match(detected, truth, iou_threshold) for detected, truth in zip(detections, dataset.pictures, strict=True)]
    kept = ~_joined([row.ignored for row in rows], np.bool_)
    hit = _joined([row.hit for row in rows], np.bool_)[kept]
    score = _joined([detected.confidence for detected in detections], np.float32)[kept]
    class_id = _joined([detected.class_id for detected in detections], np.int64)[kept]
    true_class = _joined([truth.class_id for truth in dataset.pictures], np.int64)
    difficult = _joined([truth.difficult for truth in dataset.pictures], np.bool_)
    order = np.argsort(-score, kind="stable")
    results = []
    for wanted in (*range(len(dataset.labels)), None):
        of_class = order if wanted is None else order[class_id[order] == wanted]
        truths = difficult if wanted is None else difficult[true_class == wanted]
        results.append(ClassMatches(score[of_class], hit[of_class], int((~truths).sum()), int(truths.sum())))
    return results


Scalar = TypeVar("Scalar", bound=np.generic)


def _joined(arrays: Sequence[NDArray[Any]], dtype: type[Scalar]) -> NDArray[Scalar]:
    return np.concatenate([np.empty(0, dtype), *arrays]).astype(dtype)
