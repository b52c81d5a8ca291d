"""How often a teacher is right, measured on annotated pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation.matching import match_classes
from opencv_squeezedet.extras import needs
from opencv_squeezedet.training.example import Example
from opencv_squeezedet.training.pseudo_labels import PseudoLabels

with needs("eval"):
    from sklearn.isotonic import IsotonicRegression

_ENOUGH = 100  # boxes of a class from which it has a curve of its own


class Reliability:
    """The probability that a teacher's box is right, by class, non-decreasing in the score."""

    def __init__(self, curves: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> None:
        self._curves = curves

    def __call__(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities (N,) for boxes with scores (N, C)."""
        best, class_id = scores.max(1, initial=0), scores.argmax(1)
        right = [np.interp(score, *self._curves[i]) for score, i in zip(best.tolist(), class_id.tolist(), strict=True)]
        return np.array(right, np.float32)


def _isotonic(score: NDArray[np.float32], hit: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points of the isotonic regression of hits on scores; without data, the identity."""
    if not len(score):
        return np.arange(2.0), np.arange(2.0)
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score.astype(np.float64), hit.astype(np.float64))
    return fitted.X_thresholds_, fitted.y_thresholds_


def measure_reliability(teacher: PseudoLabels, examples: Iterable[Example], labels: Sequence[str]) -> Reliability:
    """Return how often a teacher is right, measured on the annotated pictures that it has labelled."""
    pictures, detections = [], []
    for example in examples:
        if example.path.name in teacher.by_name:
            xyxy, scores = teacher.by_name[example.path.name][2]
            detections.append(Detections(xyxy, scores.max(1, initial=0), scores.argmax(1), tuple(labels)))
            class_id, difficult, size = example.classes.argmax(1), example.quality <= 0, (0, 0)  # the size is not used
            pictures.append(Annotated(example.path, size, example.xyxy, class_id, difficult, example.path.name))
    *classes, pooled = match_classes(Dataset(tuple(labels), tuple(pictures), ()), detections)
    shared = _isotonic(pooled.score, pooled.hit)
    return Reliability([_isotonic(each.score, each.hit) if len(each.score) >= _ENOUGH else shared for each in classes])
