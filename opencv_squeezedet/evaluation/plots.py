"""The curves and bars of an evaluation, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.evaluation.curves import interpolated
from opencv_squeezedet.evaluation.diagnosis import Diagnosis
from opencv_squeezedet.evaluation.evaluate import RECALL_LEVELS, ClassResult, Evaluation
from opencv_squeezedet.report_page import BLUE, GREY, ORANGE, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_NUMBERED = 25  # classes of a confusion matrix with numbers


def pooled_curves(evaluation: Evaluation) -> str:
    """Precision against recall, and precision, recall and F1 against the score threshold, for all classes together."""
    points, best = evaluation.pooled.curve, evaluation.pooled.best

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        left.plot(RECALL_LEVELS, _precision_at_levels(evaluation.pooled), color=BLUE, linewidth=2)
        left.plot(best.recall, best.precision, "o", color=ORANGE)
        left.set(xlabel="recall", ylabel="precision", title="All objects together", xlim=(0, 1), ylim=(0, 1.02))
        total = points.precision + points.recall
        f1 = np.divide(2 * points.precision * points.recall, total, out=np.zeros_like(total), where=total > 0)
        curves = {"precision": (points.precision, GREY), "recall": (points.recall, BLUE), "F1": (f1, ORANGE)}
        for name, (values, colour) in curves.items():
            right.plot(points.score, values, label=name, color=colour, linewidth=2)
        right.axvline(best.threshold, color=ORANGE, linestyle=":", linewidth=1)
        right.set(xlabel="score threshold", title=f"Best F1 at {best.threshold:.3f}", xlim=(0, 1), ylim=(0, 1.02))
        right.legend(frameon=False)

    return svg((9.5, 3.4), draw)


def class_bars(evaluation: Evaluation) -> str:
    """The classes' average precisions, the best on top."""
    results = sorted((result for result in evaluation.classes if result.objects), key=lambda result: result.voc10)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        rows = np.arange(len(results))
        values = [100 * result.voc10 for result in results]
        axes.barh(rows, values, color=BLUE, height=0.66, label="VOC10 AP")
        if evaluation.coco:
            axes.barh(rows, [100 * result.coco for result in results], color="#8fc1e8", height=0.66, label="COCO AP")
        for row, value in enumerate(values):
            axes.text(value + 0.8, row, f"{value:.1f}", va="center", fontsize=8.5, color="#3a444e")
        axes.set_yticks(rows, [f"{result.label}  ({result.objects})" for result in results])
        axes.set(xlim=(0, 100), xlabel="average precision, % (objects in brackets)", ylim=(-0.6, len(results) - 0.4))
        axes.grid(axis="y", visible=False)
        axes.legend(frameon=False, loc="lower right")

    return svg((9.5, 0.9 + 0.26 * len(results)), draw)


def error_bars(diagnosis: Diagnosis) -> str:
    """The cost of each error type, and a reliability diagram of the scores."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        errors = diagnosis.errors[::-1]
        values = [100 * error.cost for error in errors]
        left.barh(range(len(errors)), values, color=BLUE, height=0.66)
        for row, value in enumerate(values):
            left.text(value + 0.1, row, f"{value:.1f}", va="center", fontsize=8.5, color="#3a444e")
        left.set_yticks(range(len(errors)), [f"{error.name}  ({error.mistakes})" for error in errors])
        left.set(xlabel="cost in mAP, points (errors in brackets)", xlim=(0, max(*values, 1) * 1.15))
        left.grid(axis="y", visible=False)
        bins = [score_bin for score_bin in diagnosis.reliability if score_bin.detections]
        right.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        right.plot([each.score for each in bins], [each.precision for each in bins], "o-", color=BLUE, linewidth=2)
        right.set(xlabel="score", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))

    return svg((9.5, 3.2), draw)


def confusion(matrix: NDArray[np.int64], labels: Sequence[str]) -> str:
    """A confusion matrix, coloured by the share of each row; with many classes without numbers."""
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    size = max(4.5, min(9.5, 1.5 + 0.42 * len(matrix)))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        ticks = range(len(matrix))
        axes.set_xticks(ticks, [*labels, "missed"], rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, [*labels, "no object"])
        axes.set(xlabel="detected as", ylabel="annotated as")
        axes.grid(visible=False)
        if len(matrix) <= _MOST_NUMBERED:
            for row, column in np.argwhere(matrix).tolist():
                colour = "white" if share[row, column] > 0.6 else "#1f2933"
                text = str(matrix[row, column])
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)

    return svg((size, size), draw)


def class_curves(evaluation: Evaluation) -> str:
    """Precision against recall, one small plot per class."""
    results = [result for result in evaluation.classes if result.objects]
    columns = min(5, len(results))
    rows = math.ceil(len(results) / columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, result in zip(grid, results, strict=False):
            _class_curve(axes, result)
        for axes in grid[len(results) :]:
            axes.set_visible(False)
        figure.supxlabel("recall", fontsize=9)
        figure.supylabel("precision", fontsize=9)

    return svg((9.5, 0.4 + 1.75 * rows), draw)


def _class_curve(axes: Axes, result: ClassResult) -> None:
    precision = _precision_at_levels(result)
    axes.fill_between(RECALL_LEVELS, precision, color=BLUE, alpha=0.12, linewidth=0)
    axes.plot(RECALL_LEVELS, precision, color=BLUE, linewidth=1.5)
    axes.plot(result.best.recall, result.best.precision, "o", color=ORANGE, markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.set_title(f"{result.label}  {100 * result.voc10:.1f}", fontsize=9)


def _precision_at_levels(result: ClassResult) -> NDArray[np.float64]:
    """The precision at each recall level; NaN, which is not drawn, above the highest recall."""
    precision = interpolated(result.curve, RECALL_LEVELS)
    return np.where(precision > 0, precision, np.nan)
