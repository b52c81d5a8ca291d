"""The confusion matrix of a detector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.boxes import iou_xyxy
from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation.matching import check_fit, match


def confusion_matrix(
    dataset: Dataset, detections: Sequence[Detections], threshold: float, iou_threshold: float = 0.5
) -> NDArray[np.int64]:
    """Count objects by their class and that of the detection of any class that overlaps them most.

    Parameters
    ----------
    dataset, detections, iou_threshold
        As for `evaluate`.
    threshold : float
        Detections with lower or equal scores are left out.

    Returns
    -------
    (C + 1, C + 1) int64
        Rows are the objects' classes, and last the detections without an object; columns are the detections' classes, and last
        the missed objects. Each object has at most one detection, the pairs with the highest IoU first. Difficult objects and
        ignored detections do not count.

    Raises
    ------
    ValueError
        If the detections do not fit the data set.
    """
    check_fit(dataset, detections)
    classes = len(dataset.labels)
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for detected, truth in zip(detections, dataset.pictures, strict=True):
        above = detected[detected.confidence > threshold]
        counted = above[~match(above, truth, iou_threshold).ignored]
        objects = truth.class_id[~truth.difficult]
        pairs = _pairs(counted, truth, iou_threshold)
        missed, wrong = np.ones(len(objects), bool), np.ones(len(counted), bool)
        for i, j in pairs:
            matrix[objects[j], counted.class_id[i]] += 1
            wrong[i], missed[j] = False, False
        matrix[:classes, classes] += np.bincount(objects[missed], minlength=classes)
        matrix[classes, :classes] += np.bincount(counted.class_id[wrong], minlength=classes)
    return matrix


def _pairs(detections: Detections, truth: Annotated, iou_threshold: float) -> list[tuple[int, int]]:
    """Pair each detection with at most one object that counts, the highest IoU first."""
    iou = iou_xyxy(detections.xyxy, truth.xyxy[~truth.difficult])
    rows, columns = np.nonzero(iou >= iou_threshold)
    pairs: dict[int, int] = {}
    for k in np.argsort(-iou[rows, columns], kind="stable").tolist():
        i, j = int(rows[k]), int(columns[k])
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    return list(pairs.items())
