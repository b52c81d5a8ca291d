"""What a teacher sees in one picture, alone or with others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.extras import needs
from opencv_squeezedet.postprocess import nms
from opencv_squeezedet.preprocess import Picture

_NMS = 0.6
_MOST = 100  # boxes per picture
_LEAST = 0.01
_HEARD = 0.1  # a member's boxes with lower scores do not count
_SAME_BOX, _SAME_THING = 0.6, 0.7


class Opinion(NamedTuple):
    """What a teacher sees in a picture: boxes (N, 4), pixels, and the score of each class (N, C), each in [0, 1]."""

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]


class Teacher(Protocol):
    """A detector that gives each class of a box its own score.

    Attributes
    ----------
    labels : sequence of str
        The classes, in the order of the scores.
    """

    labels: Sequence[str]

    def __call__(self, image: Picture) -> Opinion:
        """Return what is seen in a picture (H, W, 3) uint8, BGR. Boxes may overlap."""


class Pupil:
    """Asks a teacher about some of its classes; see `Teacher`.

    Parameters
    ----------
    teacher : Teacher
        The detector.
    labels : sequence of str
        The classes, by the teacher's names.

    Raises
    ------
    ValueError
        If the teacher has no class with one of these names.
    """

    def __init__(self, teacher: Teacher, labels: Sequence[str]) -> None:
        if unknown := [label for label in labels if label not in teacher.labels]:
            known = ", ".join(teacher.labels)
            raise ValueError(f"the teacher has no class {', '.join(map(repr, unknown))}; it has {known}")
        self.labels = labels
        self._teacher, self._columns = teacher, [list(teacher.labels).index(label) for label in labels]

    def __call__(self, image: Picture) -> Opinion:
        """Return up to 100 boxes; those whose best class is the same have an IoU of at most 0.6."""
        xyxy, scores = self._teacher(image)
        scores = scores[:, self._columns]
        best = scores.max(1, initial=0)
        seen = np.flatnonzero(best > _LEAST)
        seen = seen[nms(xyxy[seen], best[seen], scores[seen].argmax(1), nms_threshold=_NMS)][:_MOST]
        return Opinion(xyxy[seen], scores[seen])


class Ensemble:
    """Several teachers as one, by weighted boxes fusion (Solovyev et al., arXiv:1910.13302); see `Teacher`.

    Parameters
    ----------
    teachers : sequence of Teacher
        The detectors.
    labels : sequence of str
        The classes, by the teachers' names.
    weights : sequence of float, optional
        How much each teacher counts. Default: all the same.
    mirror : bool
        Whether the first teacher also looks at the mirrored picture, as one more teacher with its weight.

    Raises
    ------
    ValueError
        If a teacher has no class with one of these names, or there is not one weight above 0 for each.
    ImportError
        If ensemble-boxes is not installed.
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
        self._members: list[Teacher] = [Pupil(teacher, labels) for teacher in teachers]
        self._weights = weights
        if mirror:
            self._members.insert(1, Mirrored(self._members[0]))
            self._weights.insert(1, weights[0])
        self._fuse = weighted_boxes_fusion

    def __call__(self, image: Picture) -> Opinion:
        """Return what they see together.

        Each has its say with the best class of its boxes, if its score is above 0.1. Boxes of one class with an IoU above 0.6
        become one by their weighted mean, with the weighted mean of the scores, to which those who do not see it give 0. Boxes
        of different classes with an IoU above 0.7 are one thing, with the best one's box.
        """
        sides = np.array(image.shape[1::-1] * 2, np.float32)
        boxes, scores, labels = [], [], []
        for member in self._members:
            xyxy, found = member(image)
            best = found.max(1, initial=0)
            heard = best > _HEARD
            boxes.append((xyxy[heard] / sides).clip(0, 1))
            scores.append(best[heard])
            labels.append(found[heard].argmax(1))
        xyxy, score, class_id = self._fuse(
            boxes, scores, labels, weights=self._weights, iou_thr=_SAME_BOX, conf_type="absent_model_aware_avg"
        )
        return _things(xyxy.astype(np.float32) * sides, score, class_id.astype(int), len(self.labels))


class Mirrored:
    """A teacher that looks at the picture's mirror image; see `Teacher`."""

    def __init__(self, teacher: Teacher) -> None:
        self.labels = teacher.labels
        self._teacher = teacher

    def __call__(self, image: Picture) -> Opinion:
        """Return what it sees, back in the picture."""
        xyxy, scores = self._teacher(np.ascontiguousarray(image[:, ::-1]))
        width = np.float32(image.shape[1])
        return Opinion(np.stack([width - xyxy[:, 2], xyxy[:, 1], width - xyxy[:, 0], xyxy[:, 3]], axis=1), scores)


def _things(xyxy: NDArray[np.float32], score: NDArray[np.float64], class_id: NDArray[np.int64], classes: int) -> Opinion:
    """Boxes of one class each, highest score first, as boxes of things that may be of several."""
    kept: list[int] = []
    scores: list[NDArray[np.float32]] = []
    for i in np.argsort(-score, kind="stable").tolist():
        same = [k for k, j in enumerate(kept) if not scores[k][class_id[i]] and _iou(xyxy[i], xyxy[j]) > _SAME_THING]
        if same:
            scores[max(same, key=lambda k: _iou(xyxy[i], xyxy[kept[k]]))][class_id[i]] = score[i]
        else:
            kept.append(i)
            scores.append(np.zeros(classes, np.float32))
            scores[-1][class_id[i]] = score[i]
    return Opinion(xyxy[kept], np.array(scores, np.float32).reshape(-1, classes))


def _iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    inside = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
    return float(inside / max((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inside, 1e-9))
