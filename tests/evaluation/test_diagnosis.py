"""Error types against cases by hand and against TIDE's own program; recall by object size; reliability of scores."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from evaluation_cases import annotated, random_case

from opencv_squeezedet.boxes import iou_xyxy
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation import diagnose
from opencv_squeezedet.evaluation.curves import Curve, interpolated
from opencv_squeezedet.evaluation.diagnosis import ERROR_TYPES, Diagnosis
from opencv_squeezedet.evaluation.evaluate import RECALL_LEVELS
from opencv_squeezedet.evaluation.matching import match

LABELS = ("a", "b")
A, B = (0, 0, 10, 10), (20, 0, 30, 10)
FAR = (80, 80, 90, 90)


def diagnosis_of(
    truth: list[tuple[float, ...]],
    classes: list[int],
    detections: list[tuple[tuple[float, ...], float, int]],
    difficult: list[bool] | None = None,
    threshold: float = 0.5,
) -> Diagnosis:
    """One picture; detections are (box, score, class)."""
    boxes, scores, class_ids = zip(*detections, strict=True) if detections else ((), (), ())
    dataset = Dataset(LABELS, (annotated(truth, classes, difficult),), ())
    return diagnose(dataset, [Detections(list(boxes), list(scores), list(class_ids), LABELS)], threshold)


def counts(diagnosis: Diagnosis) -> dict[str, int]:
    return {error.name: error.mistakes for error in diagnosis.errors if error.mistakes}


def cost(diagnosis: Diagnosis, name: str) -> float:
    return dict(zip(ERROR_TYPES, diagnosis.errors, strict=True))[name].cost


@pytest.mark.parametrize(
    ("found", "error_type", "gain"),
    [
        ([((0, 0, 10, 4), 0.9, 0)], "localization", 1.0),  # IoU 0.4
        ([(A, 0.9, 1)], "class", 1.0),
        ([(A, 0.9, 0), (A, 0.95, 0)], "duplicate", 0.0),  # the second comes after all recall
        ([(A, 0.8, 0), (FAR, 0.9, 0)], "background", 0.5),
        ([(A, 0.8, 0), ((0, 0, 10, 4), 0.9, 1)], "both", 0.0),  # of a class without objects
    ],
)
def test_one_error_of_each_type(found: list[tuple[tuple[float, ...], float, int]], error_type: str, gain: float) -> None:
    diagnosis = diagnosis_of([A], [0], found)
    assert counts(diagnosis) == {error_type: 1}
    assert cost(diagnosis, error_type) == pytest.approx(gain)


def test_missed_objects() -> None:
    """Half of the recall; an object that a corrected error would find is not missed."""
    diagnosis = diagnosis_of([A, B], [0, 0], [(A, 0.9, 0)])
    assert counts(diagnosis) == {"missed": 1}
    assert cost(diagnosis, "missed") == pytest.approx(0.5)
    assert counts(diagnosis_of([A, B], [0, 0], [(A, 0.9, 0), ((20, 0, 30, 4), 0.1, 0)])) == {"localization": 1}


def test_a_class_takes_the_detection_of_another() -> None:
    """The box counts for b, whose object it shows, and no longer against a."""
    diagnosis = diagnosis_of([A, B], [1, 0], [(A, 0.9, 0), (B, 0.5, 0)])
    assert counts(diagnosis) == {"class": 1}
    by_class = diagnosis.errors[ERROR_TYPES.index("class")].costs
    assert by_class == pytest.approx((0.5, 1.0))
    assert cost(diagnosis, "class") == pytest.approx(0.75)


def test_difficult_objects_do_not_count() -> None:
    diagnosis = diagnosis_of([A, B], [0, 0], [(A, 0.9, 0), (B, 0.8, 0)], difficult=[True, False])
    assert counts(diagnosis) == {}
    assert tuple(diagnosis.sizes[0]) == ("small", 1, 1, 1)
    assert counts(diagnosis_of([A], [0], [((0, 0, 10, 4), 0.9, 0)], difficult=[True])) == {"background": 1}


def test_without_objects_and_detections() -> None:
    diagnosis = diagnosis_of([], [], [])
    assert counts(diagnosis) == {}
    assert all(math.isnan(error.cost) for error in diagnosis.errors)
    assert math.isnan(diagnosis.calibration_error)
    assert "NaN" not in json.dumps(diagnosis.to_dict())
    assert cost(diagnosis_of([A], [0], []), "missed") == 0  # nothing is left to be found


def test_objects_by_size() -> None:
    boxes = [(0, 0, 31, 33), (0, 0, 32, 32), (0, 0, 95, 97), (0, 0, 96, 96)]
    diagnosis = diagnosis_of(boxes, [0, 1, 0, 1], [(boxes[0], 0.9, 0), (boxes[1], 0.4, 1), (boxes[3], 0.6, 1)])
    assert [tuple(size) for size in diagnosis.sizes] == [("small", 1, 1, 1), ("medium", 2, 1, 0), ("large", 1, 1, 1)]


def test_reliability() -> None:
    """Of two detections at 0.95 one is right, of one at 0.25 it is; those below 0.1 do not enter the mean."""
    diagnosis = diagnosis_of([A, B], [0, 0], [(A, 0.95, 0), (FAR, 0.95, 0), (B, 0.25, 0), (FAR, 0.01, 1)])
    bins = {round(one.low, 1): one for one in diagnosis.reliability if one.detections}
    assert sorted(bins) == [0.0, 0.2, 0.9]
    assert (bins[0.9].detections, bins[0.9].precision) == (2, 0.5)
    assert bins[0.9].score == pytest.approx(0.95)
    assert (bins[0.2].precision, bins[0.0].precision) == (1, 0)
    assert diagnosis.calibration_error == pytest.approx((2 * 0.45 + 0.75) / 3)


def hundred_points(points: Curve) -> float:
    return float(interpolated(points, RECALL_LEVELS).mean())


@pytest.mark.parametrize("seed", range(40))
def test_as_tide_has_it(seed: int) -> None:
    """Where COCO's rule and VOC's find the same, no IoU is 0.5 and every class has objects: the same error types and costs."""
    tidecv = pytest.importorskip("tidecv", reason="the comparison needs tidecv-light, of the test extra")
    dataset, detections = random_case(seed, ties=False)
    pictures, seen = [], []
    for picture, found in zip(dataset.pictures, detections, strict=True):
        if len(picture.xyxy):
            pictures.append(annotated(picture.xyxy.tolist(), picture.class_id.tolist(), None, picture.image_id))
            seen.append(found)
    known = {int(class_id) for picture in pictures for class_id in picture.class_id}
    seen = [found[np.isin(found.class_id, sorted(known))] for found in seen]
    truth, results = tidecv.Data("truth"), tidecv.Data("results", max_dets=1000)
    for i, (picture, found) in enumerate(zip(pictures, seen, strict=True)):
        for box, class_id in zip(picture.xyxy.tolist(), picture.class_id.tolist(), strict=True):
            truth.add_ground_truth(i, class_id, box)
        for one in found:
            results.add_detection(i, one.class_id, one.confidence, one.xyxy)
    overlaps = [iou_xyxy(found.xyxy, picture.xyxy) for found, picture in zip(seen, pictures, strict=True)]
    if not known or any((overlap == 0.5).any() for overlap in overlaps):
        pytest.skip("no objects, or an IoU of 0.5, which is a hit but TIDE also calls loose")
    theirs = tidecv.TIDE().evaluate(truth, results, pos_threshold=0.5, background_threshold=0.1, mode=tidecv.TIDE.BOX)
    hits = sum(int(match(found, picture).hit.sum()) for picture, found in zip(pictures, seen, strict=True))
    if hits != sum(one[1] for data in theirs.ap_data.objs.values() for one in data.data_points.values()):
        pytest.skip("the two rules match different objects")
    diagnosis = diagnose(Dataset(dataset.labels, tuple(pictures), ()), seen, 0.5, ap=hundred_points)
    names = dict(zip(("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), diagnosis.errors, strict=True))
    assert {kind.short_name: len(errors) for kind, errors in theirs.error_dict.items()} == {
        name: error.mistakes for name, error in names.items()
    }
    for kind, gain in theirs.fix_main_errors().items():
        assert gain == pytest.approx(100 * max(0.0, names[kind.short_name].cost), abs=1e-3), kind.short_name
