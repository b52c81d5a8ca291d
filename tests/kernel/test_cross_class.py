"""One object under two classes: the lower box of another class loses score."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import reference
from head_cases import HEAD, ONE_CELL, random_blobs
from test_voting import blobs_of

import opencv_squeezedet as sd
from opencv_squeezedet.options import NMS_KINDS

SHIFT = 1 / 9  # of boxes of 20x20, in widths: an IoU of 0.8


def found_of(scores: list[float], class_ids: list[int], shifts: list[float], **options: Any) -> sd.Detections:
    return sd.postprocess(*blobs_of(shifts, scores, class_ids), ONE_CELL, **options)


def test_the_formula() -> None:
    found = found_of([0.75, 0.5], [0, 1], [0.0, SHIFT], cross_class_threshold=0.7, score_threshold=0.0)
    assert found.class_id.tolist() == [0, 1]
    assert found.confidence == pytest.approx([0.75, 0.5 * (1 - 0.75 * 0.8)], rel=1e-5)
    assert found.confidence[0] == 0.75


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, 2),
        ({"cross_class_threshold": None}, 2),
        ({"cross_class_threshold": 0.7}, 1),
        ({"cross_class_threshold": 0.81}, 2),
        ({"cross_class_threshold": 1}, 2),
        ({"cross_class_threshold": 0.7, "score_threshold": 0.15}, 2),
    ],
)
def test_what_falls_to_the_score_threshold_goes(options: dict[str, Any], kept: int) -> None:
    assert len(found_of([0.75, 0.5], [0, 1], [0.0, SHIFT], **{"score_threshold": 0.25, **options})) == kept


def test_boxes_of_one_class_are_left_to_nms() -> None:
    plain = found_of([0.75, 0.5], [1, 1], [0.0, SHIFT], nms_threshold=1.0, score_threshold=0.1)
    assert len(plain) == 2
    assert (
        found_of([0.75, 0.5], [1, 1], [0.0, SHIFT], nms_threshold=1.0, score_threshold=0.1, cross_class_threshold=0) == plain
    )


def test_the_one_that_lowers_it_most_counts_and_with_the_score_it_had() -> None:
    """The second is lowered by the first, and lowers the third as if it had not been."""
    options = {"cross_class_threshold": 0.5, "score_threshold": 0.01, "nms_threshold": 1.0}
    found = found_of([0.5, 0.45, 0.4], [0, 1, 0], [0.0, SHIFT, 2 * SHIFT], **options)
    lowered = {0.5: 0.5, 0.45: 0.45 * (1 - 0.5 * 0.8), 0.4: 0.4 * (1 - 0.45 * 0.8)}
    assert found.confidence == pytest.approx(sorted(lowered.values(), reverse=True), rel=1e-5)


def test_the_best_is_still_first() -> None:
    """What is lowered falls behind what was below it."""
    found = found_of([0.8, 0.7, 0.6], [0, 1, 1], [0.0, 0.0, 1.5], cross_class_threshold=0.7, score_threshold=0.0)
    assert found.class_id.tolist() == [0, 1, 1]
    assert found.confidence.tolist() == sorted(found.confidence.tolist(), reverse=True)
    assert found.xyxy[1, 0] > found.xyxy[0, 0], "the far one comes second"
    assert found.confidence[2] == pytest.approx(0.7 * 0.2, rel=1e-5)


def test_an_iou_equal_to_the_threshold_is_not_above_it() -> None:
    head = dataclasses.replace(ONE_CELL, iou_epsilon=0.0)
    blobs = blobs_of([0.0, 0.0], [0.75, 0.5], [0, 1])
    blobs[0][1, 3 if head.delta_order == "xywh" else 2] = np.log(0.5)  # half as high: an IoU of 1 / 2
    for threshold, expected in ((0.5, 0.5), (0.5 - 1e-9, 0.5 * (1 - 0.75 * 0.5))):
        found = sd.postprocess(*blobs, head, cross_class_threshold=threshold, score_threshold=0.0)
        assert found.confidence[1] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", NMS_KINDS)
def test_with_all_that_else_there_is(kind: Any) -> None:
    changed = 0
    for seed, voting, multi_label in itertools.product(range(10), (None, 0.3), (False, True)):
        head = dataclasses.replace(HEAD, nms_kind=kind, vote_threshold=voting, multi_label=multi_label, score_threshold=0.05)
        blobs = random_blobs(head, np.random.default_rng(seed))
        head = dataclasses.replace(head, cross_class_threshold=0.2)
        if reference.in_doubt(*blobs, head):
            continue
        found, expected = sd.postprocess(*blobs, head), reference.postprocess(*blobs, head)
        assert found.class_id.tolist() == expected.class_id.tolist()
        assert found.confidence == pytest.approx(expected.confidence, rel=1e-6)
        changed += found != sd.postprocess(*blobs, head, cross_class_threshold=1)
    assert changed > 5
