"""COCO metrics, computed by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.export import coco_categories
from opencv_squeezedet.extras import needs

_METRICS = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
)


class CocoResult(NamedTuple):
    """COCO metrics over all classes by name, and AP, AP50 and AP75 of each class, (classes, 3); NaN if it has no objects."""

    metrics: dict[str, float]
    classes: NDArray[np.float64]


def coco_metrics(dataset: Dataset, detections: Sequence[Detections]) -> CocoResult:
    """Return the COCO metrics. Difficult objects, and ignored regions for every class, are crowds: no errors overlap them.

    ImportError if faster-coco-eval is not installed.
    """
    with needs("eval"):
        from faster_coco_eval import COCO, COCOeval_faster
    truth = COCO(_truth(dataset))
    run = COCOeval_faster(truth, truth.loadRes(_results(detections)), "bbox", print_function=lambda *_: None)
    run.evaluate()
    run.accumulate()
    run.summarize()
    metrics = {name: float(value) if value >= 0 else np.nan for name, value in zip(_METRICS, run.stats[:12], strict=True)}
    precision = np.asarray(run.eval["precision"])[..., 0, -1]  # (10 IoUs, 101 recalls, classes): all sizes, most boxes
    known = np.where(precision < 0, np.nan, precision)
    classes = np.stack([known.mean(axis=(0, 1)), known[0].mean(axis=0), known[5].mean(axis=0)], axis=1)
    return CocoResult(metrics, classes)


def _truth(dataset: Dataset) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image_id, picture in enumerate(dataset.pictures, start=1):
        columns = (picture.xyxy.tolist(), picture.class_id.tolist(), picture.difficult.tolist(), picture.area.tolist())
        rows = [*zip(*columns, strict=True)]
        rows += [(box, label, True, 1.0) for box in picture.ignored.tolist() for label in range(len(dataset.labels))]
        for (x1, y1, x2, y2), class_id, difficult, area in rows:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": class_id + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": area,
                    "iscrowd": int(difficult),
                }
            )
    images = [{"id": i, "width": p.size[0], "height": p.size[1]} for i, p in enumerate(dataset.pictures, start=1)]
    return {"images": images, "annotations": annotations, "categories": coco_categories(dataset.labels)}


def _results(detections: Sequence[Detections]) -> list[dict[str, Any]]:
    rows = [row for image_id, of_picture in enumerate(detections, start=1) for row in of_picture.to_coco(image_id)]
    return rows or [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 0, 0], "score": 0.0}]  # the library rejects an empty list
