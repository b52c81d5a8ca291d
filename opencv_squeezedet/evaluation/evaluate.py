"""All metrics of detections on a data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation.coco_metrics import CocoResult, coco_metrics
from opencv_squeezedet.evaluation.curves import Curve, OperatingPoint, best_f1, curve, interpolated, voc07_ap, voc10_ap
from opencv_squeezedet.evaluation.matching import ClassMatches, match_classes

RECALL_LEVELS: NDArray[np.float64] = np.arange(101) / 100
"""The recall levels at which the reports give the curves."""


@dataclass(frozen=True, eq=False)
class ClassResult:
    """The metrics of one class, by PASCAL VOC's rules: difficult objects count neither as missed nor as errors.

    Parameters
    ----------
    label : str
        The class.
    objects, difficult, detections : int
        Numbers of objects that count, of difficult objects, and of detections that are hits or errors.
    voc07, voc10, recall : float
        Average precision at the IoU threshold, of VOC2007 (11 points) and of VOC2010 and later (area under the curve), and
        the recall of all detections, at any score. NaN without objects.
    best : OperatingPoint
        The score threshold with the highest F1.
    curve : Curve
        Precision and recall at each score.
    coco, coco50, coco75 : float
        COCO's average precision, over IoU 0.50 to 0.95, at 0.50 and at 0.75. NaN without objects, or if not computed.
    """

    label: str
    objects: int
    difficult: int
    detections: int
    voc07: float
    voc10: float
    recall: float
    best: OperatingPoint
    curve: Curve
    coco: float
    coco50: float
    coco75: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types: None for NaN, and the curve as the interpolated precision at recall 0, 0.01, ..., 1."""
        numbers = {name: getattr(self, name) for name in ("voc07", "voc10", "coco", "coco50", "coco75", "recall")}
        counts = {name: getattr(self, name) for name in ("objects", "difficult", "detections")}
        precision = interpolated(self.curve, RECALL_LEVELS).tolist() if self.objects else None
        return {"label": self.label, **counts, **_finite(numbers), "best_f1": self.best._asdict(), "precision": precision}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The metrics of detections on a data set.

    Parameters
    ----------
    pictures : int
        Number of pictures.
    iou_threshold : float
        The IoU from which a detection is a hit, in all metrics but COCO's.
    classes : tuple of ClassResult
        In the order of the labels.
    pooled : ClassResult
        All classes pooled, with one score threshold and one curve; not their mean.
    coco : dict
        COCO's metrics by name: AP, AP50, AP75, AP_small, AP_medium, AP_large, and AR likewise. Empty if not computed.
    """

    pictures: int
    iou_threshold: float
    classes: tuple[ClassResult, ...]
    pooled: ClassResult
    coco: dict[str, float]

    @property
    def map_voc07(self) -> float:
        """Mean of the classes' VOC2007 average precisions; NaN without objects."""
        return _mean([result.voc07 for result in self.classes])

    @property
    def map_voc10(self) -> float:
        """Mean of the classes' VOC2010 average precisions; NaN without objects."""
        return _mean([result.voc10 for result in self.classes])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types: None for NaN."""
        return {
            "pictures": self.pictures,
            "iou_threshold": self.iou_threshold,
            **_finite({"map_voc07": self.map_voc07, "map_voc10": self.map_voc10}),
            "coco": _finite(self.coco),
            "pooled": self.pooled.to_dict(),
            "classes": [result.to_dict() for result in self.classes],
        }


def evaluate(
    dataset: Dataset, detections: Sequence[Detections], *, iou_threshold: float = 0.5, coco: bool = True
) -> Evaluation:
    """Compare detections with the ground truth.

    Parameters
    ----------
    dataset : Dataset
        The ground truth.
    detections : sequence of Detections
        The detections in each picture, in the data set's order, with the data set's labels as their label table. They
        should include low scores, for complete curves.
    iou_threshold : float
        The IoU from which a detection is a hit. COCO's metrics have their own thresholds.
    coco : bool
        Whether to compute COCO's metrics too, by faster-coco-eval.

    Raises
    ------
    ValueError
        If the detections do not fit the data set.
    ImportError
        If COCO's metrics are requested and faster-coco-eval is not installed.
    """
    *classes, pooled = match_classes(dataset, detections, iou_threshold)
    metrics, rows = coco_metrics(dataset, detections) if coco else CocoResult({}, np.full((len(classes), 3), np.nan))
    results = [_result(*row) for row in zip(dataset.labels, classes, rows.tolist(), strict=True)]
    return Evaluation(len(dataset.pictures), iou_threshold, tuple(results), _result("all", pooled), metrics)


def _result(label: str, matches: ClassMatches, coco: Sequence[float] = (math.nan,) * 3) -> ClassResult:
    points = curve(matches)
    has = matches.objects > 0
    return ClassResult(
        label=label,
        objects=matches.objects,
        difficult=matches.difficult,
        detections=len(matches.score),
        voc07=voc07_ap(points) if has else math.nan,
        voc10=voc10_ap(points) if has else math.nan,
        recall=float(points.recall.max(initial=0.0)) if has else math.nan,
        best=best_f1(points),
        curve=points,
        coco=coco[0],
        coco50=coco[1],
        coco75=coco[2],
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}
