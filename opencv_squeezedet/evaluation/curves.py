"""Precision-recall curves and PASCAL VOC's two average precisions, which no maintained library implements."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.evaluation.matching import ClassMatches


class Curve(NamedTuple):
    """Precision and recall of the detections at or above each score, highest score first; all (N,) float64."""

    score: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


class OperatingPoint(NamedTuple):
    """A score threshold, and the precision, recall and F1 of the detections above it."""

    threshold: float
    precision: float
    recall: float
    f1: float


def curve(matches: ClassMatches) -> Curve:
    """Return the curve; recall is NaN if there are no objects."""
    hits = np.cumsum(matches.hit, dtype=np.float64)
    recall = hits / matches.objects if matches.objects else np.full_like(hits, np.nan)
    return Curve(matches.score.astype(np.float64), hits / np.arange(1, len(hits) + 1), recall)


def voc07_ap(points: Curve) -> float:
    """Return VOC2007's average precision: the mean, over recalls 0, 0.1, ..., 1, of the best precision at or above each."""
    levels = np.arange(11) / 10
    best = [points.precision[points.recall >= level].max(initial=0.0) for level in levels]
    return float(np.mean(best))


def voc10_ap(points: Curve) -> float:
    """Return the average precision of VOC2010 and later: the area under the curve made non-increasing."""
    steps = np.diff(points.recall, prepend=0.0)
    return float(np.sum(steps * _non_increasing(points.precision)))


def interpolated(points: Curve, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the best precision at each recall of ``levels`` or above; 0 beyond the last recall."""
    indices = np.searchsorted(points.recall, levels)
    return np.append(_non_increasing(points.precision), 0.0)[indices]


def _non_increasing(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum.accumulate(precision[::-1])[::-1]


def best_f1(points: Curve) -> OperatingPoint:
    """Return the score threshold with the highest F1, midway between two neighbouring scores.

    Without detections or objects, the threshold is 1 and everything else 0.
    """
    if not len(points.score) or np.isnan(points.recall[-1]):
        return OperatingPoint(1.0, 0.0, 0.0, 0.0)
    next_score = np.append(points.score[1:], 0.0)
    total = points.precision + points.recall
    f1 = np.divide(2 * points.precision * points.recall, total, out=np.zeros_like(total), where=total > 0)
    best = int(np.argmax(np.where(next_score < points.score, f1, -1.0)))  # a threshold cannot separate equal scores
    threshold = float(points.score[best] + next_score[best]) / 2
    return OperatingPoint(threshold, float(points.precision[best]), float(points.recall[best]), float(f1[best]))
