"""Which detections find an object, by PASCAL VOC's rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections


class Matches(NamedTuple):
    """The outcome of each detection in a picture: a mistake is neither a hit nor ignored.

    ``found`` holds the index of the object that a hit found, and -1 for other detections.
    """

    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    found: NDArray[np.intp]


def box_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the (N, M) IoUs of boxes (N, 4) and (M, 4), given as x1, y1, x2, y2; 0 / 0 is 0."""
    first, second = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    inter = np.prod(sides.clip(0), axis=2)
    union = np.prod(first[..., 2:] - first[..., :2], axis=2) + np.prod(second[..., 2:] - second[..., :2], axis=2) - inter
    return np.asarray(np.divide(inter, union, out=np.zeros_like(inter), where=union > 0), np.float64)


def match(detections: Detections, truth: Annotated, iou_threshold: float = 0.5) -> Matches:
    """Match the detections of one picture, highest score first.

    Each detection goes to the object of its class that it overlaps most. If their IoU is at least ``iou_threshold``, it is
    ignored if the object is difficult, and otherwise a hit unless a higher detection has found that object already.
    """
    count = len(detections)
    found = np.full(count, -1)
    if not count or not len(truth.class_id):
        return Matches(np.zeros(count, bool), np.zeros(count, bool), found)
    iou = np.where(detections.class_id[:, None] == truth.class_id, box_iou(detections.xyxy, truth.xyxy), -1.0)
    best = iou.argmax(axis=1)
    near = iou[np.arange(count), best] >= iou_threshold
    ignored = near & truth.difficult[best]
    order = np.argsort(-detections.confidence, kind="stable")
    candidates = order[(near & ~ignored)[order]]
    objects, first = np.unique(best[candidates], return_index=True)
    found[candidates[first]] = objects
    return Matches(found >= 0, ignored, found)


class ClassMatches(NamedTuple):
    """All detections of a class that are not ignored, highest score first, and how many objects there are to find."""

    score: NDArray[np.float32]
    hit: NDArray[np.bool_]
    objects: int
    difficult: int


def check_fit(dataset: Dataset, detections: Sequence[Detections]) -> None:
    """Raise ValueError if there is not one `Detections` per picture, or their label table is not the data set's."""
    if len(detections) != len(dataset.pictures):
        raise ValueError(f"detections for {len(dataset.pictures)} pictures were expected, got {len(detections)}")
    for found in detections:
        if found.label_table != dataset.labels:
            raise ValueError(f"the detections' label table {found.label_table} is not the data set's, {dataset.labels}")


def match_classes(dataset: Dataset, detections: Sequence[Detections], iou_threshold: float = 0.5) -> list[ClassMatches]:
    """Return the results of `match` over all pictures: for each class, and last for all classes together.

    Raises
    ------
    ValueError
        If there is not one `Detections` per picture, or their label table is not the data set's.
    """
    check_fit(dataset, detections)
    rows = [match(found, truth, iou_threshold) for found, truth in zip(detections, dataset.pictures, strict=True)]
    kept = ~_joined([row.ignored for row in rows], np.bool_)
    hit = _joined([row.hit for row in rows], np.bool_)[kept]
    score = _joined([found.confidence for found in detections], np.float32)[kept]
    class_id = _joined([found.class_id for found in detections], np.int64)[kept]
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
