"""Teachers: detectors whose detections a smaller network learns from, alone or fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.boxes import iou_xyxy
from opencv_squeezedet.extras import needs
from opencv_squeezedet.postprocess import nms
from opencv_squeezedet.preprocess import Picture

MOST_BOXES = 100  # per picture
_NMS_THRESHOLD = 0.6
_LEAST_SCORE, _LEAST_FUSED_SCORE = 0.01, 0.1
_FUSED_IOU, _MERGED_IOU = 0.6, 0.7  # of boxes of the same class, and of different classes


class SoftDetections(NamedTuple):
    """A teacher's detections in a picture: boxes (N, 4), pixels, and the score of each class (N, C), each in [0, 1]."""

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]


class Teacher(Protocol):
    """A detector that gives each box a score for every class.

    Attributes
    ----------
    labels : sequence of str
        The classes, in the order of the scores.
    """

    labels: Sequence[str]

    def __call__(self, image: Picture) -> SoftDetections:
        """Return the detections in a picture (H, W, 3) uint8, BGR. Boxes may overlap."""


class SelectedClasses:
    """A teacher with some of its classes, by its names, and with NMS; ValueError if it lacks a class."""

    def __init__(self, teacher: Teacher, labels: Sequence[str]) -> None:
        if unknown := [label for label in labels if label not in teacher.labels]:
            known = ", ".join(teacher.labels)
            raise ValueError(f"the teacher has no class {', '.join(map(repr, unknown))}; it has {known}")
        self.labels = labels
        self._teacher, self._columns = teacher, [list(teacher.labels).index(label) for label in labels]

    def __call__(self, image: Picture) -> SoftDetections:
        """Return at most 100 boxes; two whose best class is the same have an IoU of at most 0.6."""
        xyxy, scores = self._teacher(image)
        scores = scores[:, self._columns]
        best = scores.max(1, initial=0)
        kept = np.flatnonzero(best > _LEAST_SCORE)
        kept = kept[nms(xyxy[kept], best[kept], scores[kept].argmax(1), nms_threshold=_NMS_THRESHOLD)][:MOST_BOXES]
        return SoftDetections(xyxy[kept], scores[kept])


class Ensemble:
    """Several teachers whose boxes are fused by weighted boxes fusion (Solovyev et al., arXiv:1910.13302); see `Teacher`.

    Parameters
    ----------
    teachers : sequence of Teacher
        The detectors.
    labels : sequence of str
        The classes, by the teachers' names.
    weights : sequence of float, optional
        Weight of each teacher. Default: equal weights.
    mirror : bool
        Whether the first teacher also runs on the mirrored picture, as one more teacher with the same weight.

    Raises
    ------
    ValueError, ImportError
        If a teacher lacks one of these classes, a weight is missing or not above 0, or ensemble-boxes is not installed.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        labels: Sequence[str],
        weights: Sequence[float] | None = None,
        *,
        mirror: bool = False,
    ) -> None:
        weights = [1.0] * len(teachers) if weights is None else list(weights)
        if len(weights) != len(teachers) or not all(0 < weight < np.inf for weight in weights):
            raise ValueError(f"{len(teachers)} weights above 0 were expected, one for each teacher, got {weights}")
        with needs("teach"):
            from ensemble_boxes import weighted_boxes_fusion
        self.labels = labels
        self._members: list[Teacher] = [SelectedClasses(teacher, labels) for teacher in teachers]
        self._weights = weights
        if mirror:
            self._members.insert(1, Mirrored(self._members[0]))
            self._weights.insert(1, weights[0])
        self._fuse = weighted_boxes_fusion

    def __call__(self, image: Picture) -> SoftDetections:
        """Return the fused detections.

        Each teacher contributes the best class of its boxes with a score above 0.1. Boxes of one class with an IoU above 0.6
        are replaced by the weighted mean of the boxes and of the scores; a teacher without such a box counts with a score of
        0. Boxes of different classes with an IoU above 0.7 are one object, with the box of the highest score.
        """
        sides = np.array(image.shape[1::-1] * 2, np.float32)
        boxes, scores, labels = [], [], []
        for member in self._members:
            xyxy, class_scores = member(image)
            best = class_scores.max(1, initial=0)
            counts = best > _LEAST_FUSED_SCORE
            boxes.append((xyxy[counts] / sides).clip(0, 1))
            scores.append(best[counts])
            labels.append(class_scores[counts].argmax(1))
        xyxy, score, class_id = self._fuse(
            boxes, scores, labels, weights=self._weights, iou_thr=_FUSED_IOU, conf_type="absent_model_aware_avg"
        )
        return _merge_classes(xyxy.astype(np.float32) * sides, score, class_id.astype(int), len(self.labels))


class Mirrored:
    """A teacher that runs on the mirrored picture; see `Teacher`."""

    def __init__(self, teacher: Teacher) -> None:
        self.labels = teacher.labels
        self._teacher = teacher

    def __call__(self, image: Picture) -> SoftDetections:
        """Return the detections, mirrored back."""
        xyxy, scores = self._teacher(np.ascontiguousarray(image[:, ::-1]))
        width = np.float32(image.shape[1])
        return SoftDetections(np.stack([width - xyxy[:, 2], xyxy[:, 1], width - xyxy[:, 0], xyxy[:, 3]], axis=1), scores)


def _merge_classes(
    xyxy: NDArray[np.float32], score: NDArray[np.float64], class_id: NDArray[np.int64], classes: int
) -> SoftDetections:
    """Merge boxes of different classes that are one object, the highest score first."""
    iou = iou_xyxy(xyxy, xyxy)
    kept: list[int] = []
    scores: list[NDArray[np.float32]] = []
    for i in np.argsort(-score, kind="stable").tolist():
        same = [k for k, j in enumerate(kept) if not scores[k][class_id[i]] and iou[i, j] > _MERGED_IOU]
        if same:
            scores[max(same, key=lambda k: float(iou[i, kept[k]]))][class_id[i]] = score[i]
        else:
            kept.append(i)
            scores.append(np.zeros(classes, np.float32))
            scores[-1][class_id[i]] = score[i]
    return SoftDetections(xyxy[kept], np.array(scores, np.float32).reshape(-1, classes))
