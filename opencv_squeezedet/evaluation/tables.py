"""An evaluation as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import math

from opencv_squeezedet.evaluation.diagnosis import Diagnosis
from opencv_squeezedet.evaluation.evaluate import Evaluation
from opencv_squeezedet.evaluation.run import Run

_COLUMNS = (
    *("label", "objects", "difficult", "detections", "voc07", "voc10", "coco", "coco50", "coco75", "recall"),
    *("threshold", "precision", "recall_at_threshold", "f1"),
)


def percent(value: float) -> str:
    """Return a fraction as a percentage, and a dash for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def share(part: int, whole: int) -> float:
    """Return a ratio; NaN for 0 / 0."""
    return part / whole if whole else math.nan


def to_json(evaluation: Evaluation, run: Run | None = None, diagnosis: Diagnosis | None = None) -> str:
    """Return all numbers as JSON, with ``diagnosis`` and ``speed`` if they are given."""
    more = {name: part.to_dict() for name, part in (("diagnosis", diagnosis), ("speed", run)) if part is not None}
    return json.dumps({**evaluation.to_dict(), **more}, indent=1) + "\n"


def to_csv(evaluation: Evaluation) -> str:
    """Return a line per class and a line of mean average precisions, as fractions; missing numbers are empty cells."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for result in evaluation.classes:
        rows.writerow([*(_cell(getattr(result, name)) for name in _COLUMNS[:10]), *result.best])
    rows.writerow(["mean", "", "", "", *map(_cell, means(evaluation))] + [""] * 5)
    return text.getvalue()


def _cell(value: str | float) -> str | float:
    return "" if isinstance(value, float) and math.isnan(value) else value


def means(evaluation: Evaluation) -> list[float]:
    """Return the means over classes: VOC07, VOC10, and COCO's AP, AP50 and AP75, NaN if not computed."""
    by_coco = [evaluation.coco.get(name, math.nan) for name in ("AP", "AP50", "AP75")]
    return [evaluation.map_voc07, evaluation.map_voc10, *by_coco]
