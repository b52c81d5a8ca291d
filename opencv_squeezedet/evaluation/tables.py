"""An evaluation as text: for the terminal, as CSV, as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence

from opencv_squeezedet.evaluation.evaluate import ClassResult, Evaluation
from opencv_squeezedet.evaluation.run import Run

_COLUMNS = (
    *("label", "objects", "difficult", "detections", "voc07", "voc10", "coco", "coco50", "coco75", "recall"),
    *("threshold", "precision", "recall_at_threshold", "f1"),
)


def percent(value: float, digits: int = 1) -> str:
    """Return a fraction in percent, and a dash for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.{digits}f}"


def to_json(evaluation: Evaluation, run: Run | None = None) -> str:
    """Return all numbers as JSON; ``speed`` where a detector has run."""
    speed = {} if run is None else {"speed": run.to_dict()}
    return json.dumps({**evaluation.to_dict(), **speed}, indent=1) + "\n"


def to_csv(evaluation: Evaluation) -> str:
    """Return a line a class, and the mean average precisions, as fractions; empty where there is no number."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for result in evaluation.classes:
        rows.writerow([*(_cell(getattr(result, name)) for name in _COLUMNS[:10]), *result.best])
    rows.writerow(["mean", "", "", "", *map(_cell, _means(evaluation))] + [""] * 5)
    return text.getvalue()


def _cell(value: str | float) -> str | float:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _means(evaluation: Evaluation) -> list[float]:
    by_coco = [evaluation.coco.get(name, math.nan) for name in ("AP", "AP50", "AP75")]
    return [evaluation.map_voc07, evaluation.map_voc10, *by_coco]


def to_text(evaluation: Evaluation, run: Run | None = None) -> str:
    """Return the table for the terminal, numbers in percent."""
    header = ["", "objects", "VOC07", "VOC10", "AP", "AP50", "AP75", "recall", "best F1", "at score"]
    rows = [_row(result) for result in evaluation.classes]
    coco = evaluation.coco
    last = ["mean", "", *map(percent, _means(evaluation)), "", "", ""]
    lines = [_table(header, rows, last)]
    if coco:
        sizes = ", ".join(f"{size} {percent(coco[f'AP_{size}'])}" for size in ("small", "medium", "large"))
        lines.append(f"COCO AP by size: {sizes}; AR with 100 boxes {percent(coco['AR_100'])}")
    best = evaluation.pooled.best
    lines.append(
        f"all classes with one score threshold, {best.threshold:.3f}: precision {percent(best.precision)}, "
        f"recall {percent(best.recall)}, F1 {percent(best.f1)}"
    )
    if run is not None:
        stages = ", ".join(f"{stage} {times['p50']:.1f}" for stage, times in run.to_dict()["milliseconds"].items())
        lines.append(f"{run.pictures_per_second:.1f} pictures/s, {run.workers} at a time; median ms: {stages}")
    return "\n".join(lines)


def _row(result: ClassResult) -> list[str]:
    numbers = (result.voc07, result.voc10, result.coco, result.coco50, result.coco75, result.recall)
    best = [percent(result.best.f1), f"{result.best.threshold:.2f}"] if result.objects else ["-", "-"]
    return [result.label, str(result.objects), *map(percent, numbers), *best]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], last: Sequence[str]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, last, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = ["  ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]))) for row in (header, *rows, last)]
    return "\n".join((lines[0], rule, *lines[1:-1], rule, lines[-1]))
