"""What keeps a detector from a higher precision: kinds of mistakes, objects by size, and whether scores are probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation.curves import Curve, curve, voc10_ap
from opencv_squeezedet.evaluation.matching import ClassMatches, box_iou, check_fit, match

KINDS = ("class", "place", "both", "double", "background", "missed")
_MISSED = KINDS.index("missed")
_BACKGROUND_IOU = 0.1
_SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, math.inf)}
_BINS = 10


class ErrorKind(NamedTuple):
    """One kind of mistakes.

    Parameters
    ----------
    name : str
        One of `KINDS`.
    mistakes : int
        How many there are.
    cost : float
        How much higher the mean average precision were without them.
    costs : tuple of float
        The same for each class; NaN without objects.
    """

    name: str
    mistakes: int
    cost: float
    costs: tuple[float, ...]


class SizeRecall(NamedTuple):
    """How many objects of one size there are, and how many of them were found: by any detection, and above the best score.

    Sizes are COCO's: small below 32x32 pixels of the picture, large from 96x96 on.
    """

    name: str
    objects: int
    found: int
    found_at_best: int


class ScoreBin(NamedTuple):
    """The detections whose scores lie in one tenth of [0, 1]: how many, their mean score, and the share that is right."""

    low: float
    high: float
    detections: int
    score: float
    right: float


@dataclass(frozen=True)
class Diagnosis:
    """What keeps a detector from a higher precision.

    Parameters
    ----------
    errors : tuple of ErrorKind
        Every kind of mistakes.
    sizes : tuple of SizeRecall
        Objects by size.
    threshold : float
        The score threshold with the best F1 of all classes together.
    reliability : tuple of ScoreBin
        Ten bins of scores; NaN where there are no detections.
    calibration_error : float
        Mean distance of score and share that is right, over all detections from a score of 0.1 on: the few that are shown,
        not the many that only make up the end of the curves. NaN if there are none.
    """

    errors: tuple[ErrorKind, ...]
    sizes: tuple[SizeRecall, ...]
    threshold: float
    reliability: tuple[ScoreBin, ...]
    calibration_error: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types: None for NaN."""

        def plain(value: Any) -> Any:
            if isinstance(value, float):
                return None if math.isnan(value) else value
            return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value

        def rows(parts: Sequence[Any]) -> list[dict[str, Any]]:
            return [{name: plain(value) for name, value in part._asdict().items()} for part in parts]

        tables = {name: rows(getattr(self, name)) for name in ("errors", "sizes", "reliability")}
        numbers = {name: plain(asdict(self)[name]) for name in ("threshold", "calibration_error")}
        return {**tables, **numbers}


@dataclass(frozen=True)
class _Found:
    """All detections that are not ignored, and all objects that count, of all pictures; a row each."""

    score: NDArray[np.float64]
    class_id: NDArray[np.int64]
    hit: NDArray[np.bool_]
    kind: NDArray[np.int64]  # -1 for hits
    cure: NDArray[np.int64]  # the object that a mistake would find if it were mended, or -1
    object_class: NDArray[np.int64]
    area: NDArray[np.float64]
    finder: NDArray[np.int64]  # the detection that found an object, or -1


def diagnose(
    dataset: Dataset,
    detections: Sequence[Detections],
    threshold: float,
    *,
    iou_threshold: float = 0.5,
    ap: Callable[[Curve], float] = voc10_ap,
) -> Diagnosis:
    """Say what keeps a detector from a higher precision.

    Parameters
    ----------
    dataset, detections, iou_threshold
        As for `evaluate`.
    threshold : float
        The score from which detections are shown, for the recall by size.
    ap : function
        The average precision whose mean the mistakes cost. Default: VOC2010's.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError
        If the detections do not fit the data set.

    Notes
    -----
    The kinds are those of TIDE (Bolya et al., arXiv:2008.08115), after VOC's rule of what a hit is. A mistake is, in this
    order: of ``place`` if its IoU with an object of its class is at least 0.1, but too low; of ``class`` if it would be a hit
    with another class; ``double`` if its object has been found already; ``background`` if it overlaps no object by more than
    0.1; and otherwise ``both``. Objects that neither a hit nor a mended mistake finds are ``missed``. The cost is what is
    gained if a kind's mistakes are mended: of those that concern the same object, the one with the highest score becomes a hit
    and the others vanish; mistakes without an object vanish, and so do objects that were missed. Difficult objects do not
    count.
    """
    check_fit(dataset, detections)
    found = _collected(dataset, detections, iou_threshold)
    classes = len(dataset.labels)
    before = _precisions(found, classes, ap, None)
    errors = []
    for kind, name in enumerate(KINDS):
        gain = _precisions(found, classes, ap, kind) - before
        missed = kind == _MISSED
        count = len(_missed(found)) if missed else int((found.kind == kind).sum())
        cost = float(np.nanmean(gain)) if (~np.isnan(gain)).any() else math.nan
        errors.append(ErrorKind(name, count, cost, tuple(gain.tolist())))
    bins = _reliability(found)
    shown = [one for one in bins[1:] if one.detections]
    total = sum(one.detections for one in shown)
    error = sum(one.detections * abs(one.score - one.right) for one in shown) / total if total else math.nan
    return Diagnosis(tuple(errors), _sizes(found, threshold), threshold, bins, error)


def _collected(dataset: Dataset, detections: Sequence[Detections], iou_threshold: float) -> _Found:
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _Found.__dataclass_fields__}
    rows = objects = 0
    for seen, truth in zip(detections, dataset.pictures, strict=True):
        matches = match(seen, truth, iou_threshold)
        kept = np.flatnonzero(~matches.ignored)
        certain = np.flatnonzero(~truth.difficult)
        place_of = np.full(len(truth.difficult), -1)
        place_of[certain] = np.arange(len(certain))
        hit = matches.hit[kept]
        kind, cure = _kinds(seen, truth, kept, certain, hit, iou_threshold)
        finder = np.full(len(certain), -1)
        finder[place_of[matches.found[kept[hit]]]] = rows + np.flatnonzero(hit)
        values: dict[str, NDArray[Any]] = {
            "score": seen.confidence[kept].astype(np.float64),
            "class_id": seen.class_id[kept],
            "hit": hit,
            "kind": kind,
            "cure": np.where(cure >= 0, cure + objects, -1),
            "object_class": truth.class_id[certain],
            "area": truth.area[certain].astype(np.float64),
            "finder": finder,
        }
        for name, value in values.items():
            columns[name].append(value)
        rows, objects = rows + len(kept), objects + len(certain)
    types = {"hit": np.bool_, "score": np.float64, "area": np.float64}
    return _Found(**{name: np.concatenate([*parts, []]).astype(types.get(name, np.int64)) for name, parts in columns.items()})


def _kinds(
    seen: Detections,
    truth: Annotated,
    kept: NDArray[np.intp],
    certain: NDArray[np.intp],
    hit: NDArray[np.bool_],
    iou_threshold: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The kind of each detection's mistake, and the object of the picture that it would find if it were mended."""
    background = KINDS.index("background")
    if not len(certain):
        return np.where(hit, -1, background), np.full(len(kept), -1)
    iou = box_iou(seen.xyxy[kept], truth.xyxy[certain])
    same = seen.class_id[kept][:, None] == truth.class_id[certain]
    of_class, of_other = np.where(same, iou, 0), np.where(same, 0, iou)
    near, other = of_class.max(1), of_other.max(1)
    kinds = np.select(
        [hit, (near >= _BACKGROUND_IOU) & (near < iou_threshold), other >= iou_threshold, near >= iou_threshold],
        [-1, KINDS.index("place"), KINDS.index("class"), KINDS.index("double")],
        np.where(iou.max(1) <= _BACKGROUND_IOU, background, KINDS.index("both")),
    )
    cure = np.select(
        [kinds == KINDS.index("place"), kinds == KINDS.index("class")], [of_class.argmax(1), of_other.argmax(1)], -1
    )
    return kinds, cure


def _missed(found: _Found) -> NDArray[np.intp]:
    """Objects that no detection finds, not even if it were mended."""
    free = found.finder < 0
    free[found.cure[found.cure >= 0]] = False
    return np.flatnonzero(free)


def _precisions(found: _Found, classes: int, ap: Callable[[Curve], float], kind: int | None) -> NDArray[np.float64]:
    """The average precision of each class if the mistakes of a kind were mended; NaN without objects."""
    score, class_id, hit = found.score, found.class_id.copy(), found.hit.copy()
    objects = np.bincount(found.object_class, minlength=classes)
    counted = objects.copy()
    keep = np.ones(len(score), bool)
    if kind == _MISSED:
        objects = objects - np.bincount(found.object_class[_missed(found)], minlength=classes)
    elif kind is not None:
        wrong = np.flatnonzero(found.kind == kind)
        keep[wrong] = False
        curable = wrong[found.cure[wrong] >= 0]
        curable = curable[found.finder[found.cure[curable]] < 0]
        curable = curable[np.argsort(-score[curable], kind="stable")]
        cured, first = np.unique(found.cure[curable], return_index=True)
        best = curable[first]
        keep[best], hit[best], class_id[best] = True, True, found.object_class[cured]
    order = np.argsort(-score, kind="stable")
    order = order[keep[order]]
    values = np.full(classes, np.nan)
    for one in np.flatnonzero(counted):
        mine = order[class_id[order] == one]
        matches = ClassMatches(score[mine].astype(np.float32), hit[mine], int(objects[one]), 0)
        values[one] = ap(curve(matches)) if objects[one] else 0.0
    return values


def _sizes(found: _Found, threshold: float) -> tuple[SizeRecall, ...]:
    seen = found.finder >= 0
    shown = np.zeros(len(seen), bool)
    shown[seen] = found.score[found.finder[seen]] > threshold
    rows = []
    for name, (low, high) in _SIZES.items():
        mine = (found.area >= low) & (found.area < high)
        rows.append(SizeRecall(name, int(mine.sum()), int((seen & mine).sum()), int((shown & mine).sum())))
    return tuple(rows)


def _reliability(found: _Found) -> tuple[ScoreBin, ...]:
    place = np.clip((found.score * _BINS).astype(int), 0, _BINS - 1)
    count = np.bincount(place, minlength=_BINS)
    with np.errstate(invalid="ignore"):
        score = np.bincount(place, found.score, _BINS) / count
        right = np.bincount(place, found.hit, _BINS) / count
    return tuple(ScoreBin(i / _BINS, (i + 1) / _BINS, int(count[i]), float(score[i]), float(right[i])) for i in range(_BINS))
