"""Metrics against hand-computed cases, the VOC devkit's formulas in plain Python, and pycocotools."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from evaluation_cases import annotated, devkit_ap07, devkit_ap10, devkit_curve, random_case
from hypothesis import given
from hypothesis import strategies as st

from opencv_squeezedet.boxes import iou_xyxy
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation import Evaluation, evaluate
from opencv_squeezedet.evaluation.confusion import confusion_matrix
from opencv_squeezedet.evaluation.curves import interpolated
from opencv_squeezedet.evaluation.evaluate import RECALL_LEVELS
from opencv_squeezedet.evaluation.matching import match

pytest.importorskip("faster_coco_eval", reason="COCO's metrics need faster-coco-eval, of the eval extra")
CLOSE = 1e-6


def one_class(
    truth: list[tuple[float, ...]], found: list[tuple[float, ...]], scores: list[float], **options: object
) -> Evaluation:
    """Evaluate one picture with one class."""
    dataset = Dataset(("a",), (annotated(truth, [0] * len(truth), **options),), ())  # type: ignore[arg-type]
    return evaluate(dataset, [Detections(found, scores, [0] * len(found), ("a",))], coco=False)


A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)
FAR = (80, 80, 90, 90)


def test_half_of_the_objects_then_a_mistake() -> None:
    """Hits at 0.9 and 0.7, a mistake between; two of four objects: recall 0.25, 0.25, 0.5, precision 1, 1/2, 2/3."""
    result = one_class([A, B, C, (60, 0, 70, 10)], [A, FAR, B], [0.9, 0.8, 0.7]).classes[0]
    assert result.curve.recall.tolist() == [0.25, 0.25, 0.5]
    assert result.curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert result.voc10 == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
    assert result.voc07 == pytest.approx((3 * 1 + 3 * 2 / 3) / 11)  # recall 0, 0.1, 0.2; then 0.3, 0.4, 0.5
    assert result.recall == 0.5
    assert (result.objects, result.difficult, result.detections) == (4, 0, 3)


def test_recall_that_meets_a_tenth_counts_for_it() -> None:
    """3 of 10 objects: 0.3 is reached, though 3 * 0.1 is more in floating point."""
    boxes = [(10.0 * i, 0.0, 10.0 * i + 9, 9.0) for i in range(10)]
    assert one_class(boxes, boxes[:3], [0.9, 0.8, 0.7]).map_voc07 == pytest.approx(4 / 11)


def test_a_detection_goes_to_the_object_it_overlaps_most_even_if_that_is_taken() -> None:
    """The second has IoU 0.6 with the object that is taken, and 0.5 with the free one: VOC calls it a mistake."""
    truth = annotated([(0, 0, 10, 10), (4, 0, 14, 10)], [0, 0])
    found = Detections([(0, 0, 10, 10), (1.5, 0, 11.5, 10)], [0.9, 0.8], [0, 0], ("a",))
    assert (iou_xyxy(found.xyxy, truth.xyxy) >= 0.5).tolist() == [[True, False], [True, True]]
    assert match(found, truth).hit.tolist() == [True, False]


def test_an_overlap_of_the_threshold_is_a_hit() -> None:
    assert one_class([(0, 0, 10, 10)], [(0, 0, 10, 5)], [0.9]).map_voc10 == 1
    assert one_class([(0, 0, 10, 10)], [(0, 0, 10, 4.9)], [0.9]).map_voc10 == 0


def test_a_class_without_objects_is_not_in_the_mean() -> None:
    labels = ("a", "b")
    dataset = Dataset(labels, (annotated([A, B], [0, 1], [False, True]),), ())
    evaluation = evaluate(dataset, [Detections([A, FAR], [0.9, 0.8], [0, 1], labels)])
    assert (evaluation.map_voc07, evaluation.map_voc10) == (1, 1)
    assert evaluation.coco["AP"] == pytest.approx(1)
    assert all(math.isnan(getattr(evaluation.classes[1], name)) for name in ("voc07", "voc10", "coco", "coco50", "recall"))
    assert evaluation.to_dict()["classes"][1]["voc07"] is None


def test_no_detections_and_no_objects() -> None:
    nothing = one_class([A], [], []).classes[0]
    assert (nothing.voc07, nothing.voc10, nothing.recall, nothing.best) == (0, 0, 0, (1, 0, 0, 0))
    evaluation = evaluate(Dataset(("a",), (annotated([A], [0]),), ()), [Detections([], [], [], ("a",))])
    assert evaluation.coco["AP"] == evaluation.classes[0].coco == 0
    empty = evaluate(Dataset(("a",), (annotated([], []),), ()), [Detections([A], [0.5], [0], ("a",))])
    assert math.isnan(empty.map_voc07)
    assert math.isnan(empty.coco["AP"])


def test_the_best_f1_and_its_threshold() -> None:
    """F1 2/3 after the first, 1/2 after the second, 0.8 after the third, 2/3 after the fourth."""
    best = one_class([A, B], [A, FAR, B, FAR], [0.9, 0.8, 0.6, 0.2]).classes[0].best
    assert best == pytest.approx((0.4, 2 / 3, 1.0, 0.8))


def test_equal_scores_cannot_be_parted() -> None:
    """Alone the first would have F1 1, but a threshold lets both pass."""
    assert one_class([A], [A, FAR], [0.5, 0.5]).classes[0].best == pytest.approx((0.25, 0.5, 1.0, 2 / 3))


@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.5, 0.75]), st.booleans())
def test_voc_as_the_devkit_has_it(seed: int, threshold: float, ties: bool) -> None:
    dataset, detections = random_case(seed, ties=ties)
    ranked = [found[np.argsort(-found.confidence, kind="stable")] for found in detections]
    evaluation = evaluate(dataset, detections, iou_threshold=threshold, coco=False)
    for class_id, result in enumerate(evaluation.classes):
        recall, precision, positives = devkit_curve(dataset, ranked, class_id, threshold)
        assert result.objects == positives
        if not positives:
            assert math.isnan(result.voc07)
            continue
        np.testing.assert_allclose(result.curve.recall, recall, atol=CLOSE)
        np.testing.assert_allclose(result.curve.precision, precision, atol=CLOSE)
        assert result.voc07 == pytest.approx(devkit_ap07(recall, precision), abs=CLOSE)
        assert result.voc10 == pytest.approx(devkit_ap10(recall, precision), abs=CLOSE)
        levels = [max((p for r, p in zip(recall, precision, strict=True) if r >= level), default=0) for level in RECALL_LEVELS]
        np.testing.assert_allclose(interpolated(result.curve, RECALL_LEVELS), levels, atol=CLOSE)


@pytest.mark.parametrize("seed", range(12))
def test_coco_as_pycocotools_has_it(seed: int) -> None:
    pycocotools = pytest.importorskip("pycocotools.cocoeval", reason="the comparison needs pycocotools, of the test extra")
    from pycocotools.coco import COCO

    dataset, detections = random_case(seed, ties=False)
    evaluation = evaluate(dataset, detections)
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i} for i in range(len(dataset.pictures))],
        "categories": [{"id": i, "name": label} for i, label in enumerate(dataset.labels)],
        "annotations": [
            {"id": 100 * i + k + 1, "image_id": i, "category_id": c, "bbox": [*box[:2], *(box[2:] - box[:2])]}
            | {"area": float(np.prod(box[2:] - box[:2])), "iscrowd": int(hard)}
            for i, picture in enumerate(dataset.pictures)
            for k, (box, c, hard) in enumerate(
                zip(picture.xyxy.astype(float), picture.class_id.tolist(), picture.difficult, strict=True)
            )
        ],
    }
    truth.createIndex()
    rows = [
        [i, *d.xyxy[:2], d.xyxy[2] - d.xyxy[0], d.xyxy[3] - d.xyxy[1], d.confidence, d.class_id]
        for i, found in enumerate(detections)
        for d in found
    ]
    run = pycocotools.COCOeval(truth, truth.loadRes(np.array(rows, float)), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    ours = [value if not math.isnan(value) else -1 for value in evaluation.coco.values()]
    np.testing.assert_allclose(ours, run.stats, atol=CLOSE)
    precision = run.eval["precision"][:, :, :, 0, 2]
    for class_id, result in enumerate(evaluation.classes):
        wanted = precision[:, :, class_id]
        if wanted.max() < 0:
            assert math.isnan(result.coco)
        else:
            numbers = (result.coco, result.coco50, result.coco75)
            assert numbers == pytest.approx((wanted.mean(), wanted[0].mean(), wanted[5].mean()), abs=CLOSE)


def test_what_does_not_fit() -> None:
    dataset = Dataset(("a",), (annotated([A], [0]),), ())
    with pytest.raises(ValueError, match=r"\b1 pictures.*got 0"):
        evaluate(dataset, [])
    with pytest.raises(ValueError, match="label table"):
        evaluate(dataset, [Detections([], [], [], ("b",))])


def test_detections_in_an_ignored_region_count_neither_way() -> None:
    truth = replace(annotated([(0, 0, 10, 10)], [0]), ignored=np.array([(50, 50, 90, 90)], np.float32))
    dataset = Dataset(("a", "b"), (truth,), ())
    boxes = [(0, 0, 10, 10), (60, 60, 70, 70), (45, 50, 56, 60), (44, 50, 54, 60), (20, 20, 30, 30)]
    found = Detections(boxes, [0.9, 0.8, 0.7, 0.6, 0.5], [0, 1, 0, 0, 1], ("a", "b"))
    assert match(found, truth).ignored.tolist() == [False, True, True, False, False]
    a, b = evaluate(dataset, [found[:3]]).classes
    assert (a.detections, b.detections, a.coco) == (1, 0, pytest.approx(1))
    assert match(found, replace(truth, xyxy=truth.xyxy[:0], class_id=truth.class_id[:0])).ignored.sum() == 2


def test_the_confusion_matrix() -> None:
    """A second box of an object has none, a difficult object and its detection do not count, nor does a low score."""
    boxes = [(0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (60, 0, 70, 10)]
    dataset = Dataset(("a", "b"), (annotated(boxes, [0, 0, 1, 1], [False, False, False, True]),), ())
    rows = [(boxes[0], 0.9, 0), (boxes[0], 0.8, 1), (boxes[1], 0.7, 1), (boxes[3], 0.7, 1), (boxes[2], 0.2, 1)]
    found = Detections([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], ("a", "b"))
    assert confusion_matrix(dataset, [found], 0.3).tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
