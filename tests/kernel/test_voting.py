"""Box voting: a kept box becomes the mean of the candidates that overlap it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from head_cases import HEAD, ONE_CELL, random_blobs
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.options import NMS_KINDS

SHIFTS = [0.0, 0.25, 0.5, 3.0]  # of boxes of 20x20 around (50, 50), in widths
SCORES = [0.9, 0.8, 0.7, 0.6]


def blobs_of(
    shifts: list[float], scores: list[float], class_ids: list[int] | None = None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Five boxes of `ONE_CELL`, those that are not given below every threshold."""
    delta, conf, classes = np.zeros((5, 4), np.float32), np.zeros(5, np.float32), np.zeros((5, 2), np.float32)
    delta[: len(shifts), 0], conf[: len(scores)] = shifts, scores
    classes[np.arange(5), (class_ids or []) + [0] * (5 - len(class_ids or []))] = 1
    return delta, classes, conf


def mean_left(shifts: list[float], scores: list[float]) -> float:
    """x1 of the first box once it is the mean of all of them, by the formula."""
    ious = [(1 - shift) / (1 + shift) for shift in shifts]
    weights = [float(np.float32(score)) * iou**2 for score, iou in zip(scores, ious, strict=True)]
    return sum(w * (40 + 20 * shift) for w, shift in zip(weights, shifts, strict=True)) / sum(weights)


@pytest.mark.parametrize("kind", NMS_KINDS)
def test_the_formula(kind: Any) -> None:
    """IoUs with the first box: 1, 0.6, 1/3 and 0. Those it drops vote as well; its score stays, as do height and size."""
    found = sd.postprocess(*blobs_of(SHIFTS, SCORES), ONE_CELL, nms_kind=kind, vote_threshold=0.25)
    left = mean_left(SHIFTS[:3], SCORES[:3])
    np.testing.assert_allclose(found.xyxy[0], [left, 40, left + 20, 60], rtol=1e-6)
    assert found.confidence[0] == np.float32(0.9)


@pytest.mark.parametrize(("threshold", "voters"), [(0.0, 3), (0.3, 3), (0.34, 2), (0.59, 2), (0.61, 1), (0.99, 1)])
def test_who_votes(threshold: float, voters: int) -> None:
    found = sd.postprocess(*blobs_of(SHIFTS, SCORES), ONE_CELL, vote_threshold=threshold)
    assert found.xyxy[0, 0] == pytest.approx(mean_left(SHIFTS[:voters], SCORES[:voters]), rel=1e-6)


def test_an_iou_equal_to_the_threshold_does_not_vote() -> None:
    """A box of 128 in one of 256."""
    head = dataclasses.replace(ONE_CELL, anchors=((16, 16), (16, 8)), iou_epsilon=0.0)
    blobs = np.zeros((2, 4), np.float32), np.ones((2, 2), np.float32), np.array([0.9, 0.8], np.float32)
    alone = sd.postprocess(*blobs, head)
    assert alone.xyxy.tolist() == [[42, 42, 58, 58]]
    assert sd.postprocess(*blobs, head, vote_threshold=0.5) == alone
    for beside in (np.nextafter(0.5, 0), 0.5 - 1e-9):
        assert sd.postprocess(*blobs, head, vote_threshold=beside).xyxy[0, 1] > 42
    assert sd.postprocess(*blobs, head, vote_threshold=0.5 + 1e-9) == alone


def test_only_candidates_vote() -> None:
    """Neither what is below the score threshold, nor what is beyond the top-n."""
    blobs, one = blobs_of(SHIFTS, SCORES), mean_left(SHIFTS[:1], SCORES[:1])
    two = mean_left(SHIFTS[:2], SCORES[:2])
    for options, left in (
        ({"top_n": 1}, one),
        ({"top_n": 2}, two),
        ({"score_threshold": 0.85}, one),
        ({"score_threshold": 0.75}, two),
    ):
        found = sd.postprocess(*blobs, ONE_CELL, vote_threshold=0.0, **options)
        assert found.xyxy[0, 0] == pytest.approx(left, rel=1e-6)


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_classes_do_not_vote_for_each_other(class_agnostic: bool) -> None:
    blobs = blobs_of(SHIFTS, SCORES, [0, 1, 0])
    found = sd.postprocess(*blobs, ONE_CELL, vote_threshold=0.0, class_agnostic=class_agnostic)
    assert found.xyxy[0, 0] == pytest.approx(mean_left([SHIFTS[0], SHIFTS[2]], [SCORES[0], SCORES[2]]), rel=1e-6)


def test_kept_boxes_vote_with_where_they_were() -> None:
    """Two boxes that NMS keeps both: each is moved towards the place where the other was decoded."""
    blobs = blobs_of([0.0, 0.25], [0.8, 0.8])
    found = sd.postprocess(*blobs, ONE_CELL, vote_threshold=0.0, nms_threshold=1.0)
    middle = 2 * 50 + 20 * 0.25
    assert found.xyxy[:, ::2].sum() == pytest.approx(2 * middle)
    assert 40 < found.xyxy[0, 0] < found.xyxy[1, 0] < 45


def test_voting_is_turned_off_by_none_and_one() -> None:
    blobs = blobs_of(SHIFTS, SCORES)
    voting = dataclasses.replace(ONE_CELL, vote_threshold=0.25)
    assert sd.postprocess(*blobs, ONE_CELL, vote_threshold=1) == sd.postprocess(*blobs, ONE_CELL)
    assert sd.postprocess(*blobs, voting, vote_threshold=1) == sd.postprocess(*blobs, ONE_CELL)
    assert sd.postprocess(*blobs, voting, vote_threshold=None) == sd.postprocess(*blobs, voting)
    assert sd.postprocess(*blobs, voting) == sd.postprocess(*blobs, ONE_CELL, vote_threshold=0.25)
    assert sd.postprocess(*blobs, voting) != sd.postprocess(*blobs, ONE_CELL)


def test_a_box_without_area_stays_where_it_is() -> None:
    delta, classes, conf = blobs_of([0.0, 0.0], [0.9, 0.8])
    delta[0, 2] = -800  # no height
    head = dataclasses.replace(ONE_CELL, drop_empty=False)
    assert sd.postprocess(delta, classes, conf, head, vote_threshold=0.0).xyxy[0].tolist() == [40, 50, 60, 50]
    assert sd.postprocess(delta, classes, conf, ONE_CELL, vote_threshold=0.0).xyxy.tolist() == [[40, 40, 60, 60]]


def test_what_votes_decides_neither_which_boxes_nor_their_scores() -> None:
    for seed in range(20):
        blobs = random_blobs(HEAD, np.random.default_rng(seed))
        for kind in NMS_KINDS:
            plain, moved = (sd.postprocess(*blobs, HEAD, nms_kind=kind, vote_threshold=t) for t in (None, 0.2))
            np.testing.assert_array_equal(plain.confidence, moved.confidence)
            np.testing.assert_array_equal(plain.class_id, moved.class_id)
