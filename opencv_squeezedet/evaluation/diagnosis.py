"""Error analysis of a detector: types of errors and their cost, recall by object size, and the calibration of scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.boxes import iou_xyxy
from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation.curves import Curve, curve, voc10_ap
from opencv_squeezedet.evaluation.matching import ClassMatches, check_fit, match

ERROR_TYPES = ("class", "localization", "both", "duplicate", "background", "missed")
_MISSED = ERROR_TYPES.index("missed")
_BACKGROUND_IOU = 0.1
_SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, math.inf)}
_BINS = 10


class ErrorType(NamedTuple):
    """A type of errors: its name from `ERROR_TYPES`, and its number of errors.

    ``cost`` is the gain in mean average precision if all of them were corrected (TIDE's dAP), ``costs`` that of each class;
    NaN without objects.
    """

    name: str
    mistakes: int
    cost: float
    costs: tuple[float, ...]


class SizeRecall(NamedTuple):
    """Numbers of objects of a size: all, those detected at any score, and those detected above the best score threshold.

    Sizes are COCO's: small is below 32x32 pixels of the picture, large from 96x96.
    """

    name: str
    objects: int
    found: int
    found_at_best: int


class ScoreBin(NamedTuple):
    """The detections with scores in one tenth of [0, 1]: their number, mean score and precision."""

    low: float
    high: float
    detections: int
    score: float
    precision: float


@dataclass(frozen=True)
class Diagnosis:
    """The error analysis of a detector.

    Parameters
    ----------
    errors : tuple of ErrorType
        All error types.
    sizes : tuple of SizeRecall
        Objects by size.
    threshold : float
        The score threshold with the best F1 of all classes together.
    reliability : tuple of ScoreBin
        Ten bins of scores; NaN in empty bins.
    calibration_error : float
        Expected calibration error: the mean distance of score and precision, over all detections with a score of at least
        0.1. Lower scores, which only complete the curves, are left out. NaN without detections.
    """

    errors: tuple[ErrorType, ...]
    sizes: tuple[SizeRecall, ...]
    threshold: float
    reliability: tuple[ScoreBin, ...]
    calibration_error: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types: None for NaN."""

        def plain(value: Any) -> Any:
            if isinstance(value, float):
                return None if math.isnan(value) else value
            if hasattr(value, "_asdict"):
                return {name: plain(item) for name, item in value._asdict().items()}
            return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

        names = ("errors", "sizes", "reliability", "threshold", "calibration_error")
        return {name: plain(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class _Outcomes:
    """All detections that are not ignored, and all objects that count, in all pictures, an array element each."""

    score: NDArray[np.float64]
    class_id: NDArray[np.int64]
    hit: NDArray[np.bool_]
    error_type: NDArray[np.int64]  # -1 for hits
    fix: NDArray[np.int64]  # the object that an error would detect if it were corrected, or -1
    object_class: NDArray[np.int64]
    area: NDArray[np.float64]
    found_by: NDArray[np.int64]  # the object's detection, or -1


def diagnose(
    dataset: Dataset,
    detections: Sequence[Detections],
    threshold: float,
    *,
    iou_threshold: float = 0.5,
    ap: Callable[[Curve], float] = voc10_ap,
) -> Diagnosis:
    """Analyse the errors of a detector.

    Parameters
    ----------
    dataset, detections, iou_threshold
        As for `evaluate`.
    threshold : float
        The score threshold for the recall by size.
    ap : function
        The average precision by which costs are measured. Default: VOC2010's.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError
        If the detections do not fit the data set.

    Notes
    -----
    The types are those of TIDE (Bolya et al., arXiv:2008.08115), with hits by VOC's rule. An error is, in this order:
    ``localization`` if its IoU with an object of its class is at least 0.1 but too low; ``class`` if it would be a hit with
    another class; ``duplicate`` if a higher detection is a hit of its object; ``background`` if no IoU with an object is
    above 0.1; and ``both`` otherwise. Objects that neither a hit nor a corrected error detects are ``missed``. The cost of a
    type is the gain in average precision if its errors are corrected: of the errors on one object, that with the highest
    score becomes a hit and the others are removed; errors without an object and missed objects are removed. Difficult objects
    do not count.
    """
    check_fit(dataset, detections)
    outcomes = _collected(dataset, detections, iou_threshold)
    classes = len(dataset.labels)
    before = _precisions(outcomes, classes, ap, None)
    errors = []
    for error_type, name in enumerate(ERROR_TYPES):
        gain = _precisions(outcomes, classes, ap, error_type) - before
        missed = error_type == _MISSED
        count = len(_missed(outcomes)) if missed else int((outcomes.error_type == error_type).sum())
        cost = float(np.nanmean(gain)) if (~np.isnan(gain)).any() else math.nan
        errors.append(ErrorType(name, count, cost, tuple(gain.tolist())))
    bins = _reliability(outcomes)
    used = [score_bin for score_bin in bins[1:] if score_bin.detections]
    total = sum(each.detections for each in used)
    error = sum(each.detections * abs(each.score - each.precision) for each in used) / total if total else math.nan
    return Diagnosis(tuple(errors), _sizes(outcomes, threshold), threshold, bins, error)


def _collected(dataset: Dataset, detections: Sequence[Detections], iou_threshold: float) -> _Outcomes:
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _Outcomes.__dataclass_fields__}
    rows = objects = 0
    for detected, truth in zip(detections, dataset.pictures, strict=True):
        matches = match(detected, truth, iou_threshold)
        kept = np.flatnonzero(~matches.ignored)
        certain = np.flatnonzero(~truth.difficult)
        index_of = np.full(len(truth.difficult), -1)
        index_of[certain] = np.arange(len(certain))
        hit = matches.hit[kept]
        error_type, fix = _error_types(detected, truth, kept, certain, hit, iou_threshold)
        found_by = np.full(len(certain), -1)
        found_by[index_of[matches.object_index[kept[hit]]]] = rows + np.flatnonzero(hit)
        values: dict[str, NDArray[Any]] = {
            "score": detected.confidence[kept].astype(np.float64),
            "class_id": detected.class_id[kept],
            "hit": hit,
            "error_type": error_type,
            "fix": np.where(fix >= 0, fix + objects, -1),
            "object_class": truth.class_id[certain],
            "area": truth.area[certain].astype(np.float64),
            "found_by": found_by,
        }
        for name, value in values.items():
            columns[name].append(value)
        rows, objects = rows + len(kept), objects + len(certain)
    dtypes = {"hit": np.bool_, "score": np.float64, "area": np.float64}
    arrays: dict[str, NDArray[Any]] = {
        name: np.concatenate([*parts, []]).astype(dtypes.get(name, np.int64)) for name, parts in columns.items()
    }
    return _Outcomes(**arrays)


def _error_types(
    detected: Detections,
    truth: Annotated,
    kept: NDArray[np.intp],
    certain: NDArray[np.intp],
    hit: NDArray[np.bool_],
    iou_threshold: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The error type of each detection, and the object of the picture that it would detect if corrected."""
    background = ERROR_TYPES.index("background")
    if not len(certain):
        return np.where(hit, -1, background), np.full(len(kept), -1)
    iou = iou_xyxy(detected.xyxy[kept], truth.xyxy[certain])
    same = detected.class_id[kept][:, None] == truth.class_id[certain]
    of_class, of_other = np.where(same, iou, 0), np.where(same, 0, iou)
    near, other = of_class.max(1), of_other.max(1)
    types = np.select(
        [hit, (near >= _BACKGROUND_IOU) & (near < iou_threshold), other >= iou_threshold, near >= iou_threshold],
        [-1, ERROR_TYPES.index("localization"), ERROR_TYPES.index("class"), ERROR_TYPES.index("duplicate")],
        np.where(iou.max(1) <= _BACKGROUND_IOU, background, ERROR_TYPES.index("both")),
    )
    fix = np.select(
        [types == ERROR_TYPES.index("localization"), types == ERROR_TYPES.index("class")],
        [of_class.argmax(1), of_other.argmax(1)],
        -1,
    )
    return types, fix


def _missed(outcomes: _Outcomes) -> NDArray[np.intp]:
    """Objects without a detection, even if all errors were corrected."""
    free = outcomes.found_by < 0
    free[outcomes.fix[outcomes.fix >= 0]] = False
    return np.flatnonzero(free)


def _precisions(
    outcomes: _Outcomes, classes: int, ap: Callable[[Curve], float], error_type: int | None
) -> NDArray[np.float64]:
    """The average precision of each class if the errors of a type were corrected; NaN without objects."""
    score, class_id, hit = outcomes.score, outcomes.class_id.copy(), outcomes.hit.copy()
    objects = np.bincount(outcomes.object_class, minlength=classes)
    counted = objects.copy()
    keep = np.ones(len(score), bool)
    if error_type == _MISSED:
        objects = objects - np.bincount(outcomes.object_class[_missed(outcomes)], minlength=classes)
    elif error_type is not None:
        wrong = np.flatnonzero(outcomes.error_type == error_type)
        keep[wrong] = False
        fixable = wrong[outcomes.fix[wrong] >= 0]
        fixable = fixable[outcomes.found_by[outcomes.fix[fixable]] < 0]
        fixable = fixable[np.argsort(-score[fixable], kind="stable")]
        fixed, first = np.unique(outcomes.fix[fixable], return_index=True)
        best = fixable[first]
        keep[best], hit[best], class_id[best] = True, True, outcomes.object_class[fixed]
    order = np.argsort(-score, kind="stable")
    order = order[keep[order]]
    values = np.full(classes, np.nan)
    for label in np.flatnonzero(counted):
        of_class = order[class_id[order] == label]
        matches = ClassMatches(score[of_class].astype(np.float32), hit[of_class], int(objects[label]), 0)
        values[label] = ap(curve(matches)) if objects[label] else 0.0
    return values


def _sizes(outcomes: _Outcomes, threshold: float) -> tuple[SizeRecall, ...]:
    detected = outcomes.found_by >= 0
    above = np.zeros(len(detected), bool)
    above[detected] = outcomes.score[outcomes.found_by[detected]] > threshold
    rows = []
    for name, (low, high) in _SIZES.items():
        of_size = (outcomes.area >= low) & (outcomes.area < high)
        rows.append(SizeRecall(name, int(of_size.sum()), int((detected & of_size).sum()), int((above & of_size).sum())))
    return tuple(rows)


def _reliability(outcomes: _Outcomes) -> tuple[ScoreBin, ...]:
    index = np.clip((outcomes.score * _BINS).astype(int), 0, _BINS - 1)
    count = np.bincount(index, minlength=_BINS)
    with np.errstate(invalid="ignore"):
        score = np.bincount(index, outcomes.score, _BINS) / count
        precision = np.bincount(index, outcomes.hit, _BINS) / count
    rows = zip(count.tolist(), score.tolist(), precision.tolist(), strict=True)
    return tuple(ScoreBin(i / _BINS, (i + 1) / _BINS, *row) for i, row in enumerate(rows))
