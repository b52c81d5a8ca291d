"""The options of NMS and around it, each by its formula, at its thresholds, and turned off; soft NMS also against OpenCV."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import cv2
import numpy as np
import pytest
import reference
from examples import examples
from head_cases import ONE_CELL, blobs_of
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.options import NMS_KINDS

SHIFTS = [0.0, 0.25, 0.5, 3.0]  # of boxes of 20x20 around (50, 50), in widths
SCORES = [0.9, 0.8, 0.7, 0.6]
SHIFT = 1 / 9  # an IoU of 0.8
MANY = dataclasses.replace(ONE_CELL, anchors=((20, 20),), labels=("a", "b", "c", "d"), multi_label=True)
NOWHERE = np.zeros((1, 4), np.float32)
FAR = [50, 50, 60, 60]
SIGMAS = st.sampled_from([0.05, 0.5, 3.0])


@pytest.mark.parametrize("option", ["vote_threshold", "cross_class_threshold"])
def test_an_iou_equal_to_the_threshold_is_not_above_it(option: str) -> None:
    """A box of 128 pixels in one of 256."""
    head = dataclasses.replace(ONE_CELL, anchors=((16, 16), (16, 8)), iou_epsilon=0.0, score_threshold=0.0)
    classes = np.eye(2, dtype=np.float32)[[0, int(option == "cross_class_threshold")]]
    blobs = np.zeros((2, 4), np.float32), classes, np.array([0.9, 0.8], np.float32)
    plain = sd.postprocess(*blobs, head)
    assert plain.xyxy[0].tolist() == [42, 42, 58, 58]
    for threshold in (0.5, 0.5 + 1e-9):
        assert sd.postprocess(*blobs, head, **{option: threshold}) == plain
    for threshold in (np.nextafter(0.5, 0), 0.5 - 1e-9):
        assert sd.postprocess(*blobs, head, **{option: threshold}) != plain


def mean_left(shifts: list[float], scores: list[float]) -> float:
    """x1 of the first box once it is the mean of all of them, by the formula."""
    ious = [(1 - shift) / (1 + shift) for shift in shifts]
    weights = [float(np.float32(score)) * iou**2 for score, iou in zip(scores, ious, strict=True)]
    return sum(w * (40 + 20 * shift) for w, shift in zip(weights, shifts, strict=True)) / sum(weights)


@pytest.mark.parametrize("kind", NMS_KINDS)
def test_voting_by_its_formula(kind: Any) -> None:
    """IoUs with the first box: 1, 0.6, 1/3 and 0. Those it drops vote as well; its score stays, as do height and size."""
    found = sd.postprocess(*blobs_of(SHIFTS, SCORES), ONE_CELL, nms_kind=kind, vote_threshold=0.25)
    left = mean_left(SHIFTS[:3], SCORES[:3])
    np.testing.assert_allclose(found.xyxy[0], [left, 40, left + 20, 60], rtol=1e-6)
    assert found.confidence[0] == np.float32(0.9)


@pytest.mark.parametrize(
    ("options", "voters"),
    [
        ({"vote_threshold": 0.3}, 3),
        ({"vote_threshold": 0.34}, 2),
        ({"vote_threshold": 0.61}, 1),
        ({"vote_threshold": 0.0, "top_n": 1}, 1),  # only candidates vote
        ({"vote_threshold": 0.0, "top_n": 2}, 2),
        ({"vote_threshold": 0.0, "score_threshold": 0.75}, 2),
    ],
)
def test_who_votes(options: dict[str, Any], voters: int) -> None:
    found = sd.postprocess(*blobs_of(SHIFTS, SCORES), ONE_CELL, **options)
    assert found.xyxy[0, 0] == pytest.approx(mean_left(SHIFTS[:voters], SCORES[:voters]), rel=1e-6)


def found_of(scores: list[float], class_ids: list[int], shifts: list[float], **options: Any) -> sd.Detections:
    return sd.postprocess(*blobs_of(shifts, scores, class_ids), ONE_CELL, **options)


def test_demotion_by_its_formula() -> None:
    found = found_of([0.75, 0.5], [0, 1], [0.0, SHIFT], cross_class_threshold=0.7, score_threshold=0.0)
    assert found.class_id.tolist() == [0, 1]
    assert found.confidence == pytest.approx([0.75, 0.5 * (1 - 0.75 * 0.8)], rel=1e-5)
    assert found.confidence[0] == 0.75


def test_classes_above_the_threshold() -> None:
    """Products of 0.8 with 0.5, 1, 0.25 and 0.75."""
    blobs = NOWHERE, np.array([[0.5, 1, 0.25, 0.75]], np.float32), np.array([0.8], np.float32)
    found = sd.postprocess(*blobs, MANY, score_threshold=0.39)
    assert found.class_id.tolist() == [1, 3, 0]
    np.testing.assert_array_equal(found.confidence, np.float32(0.8) * np.float32([1, 0.75, 0.5]))
    assert found.xyxy.tolist() == [[40, 40, 60, 60]] * 3
    exact = float(np.float32(0.8)) * 0.5
    assert len(sd.postprocess(*blobs, MANY, score_threshold=exact)) == 2  # it must be above
    assert len(sd.postprocess(*blobs, MANY, score_threshold=np.nextafter(exact, 0))) == 3
    assert sd.postprocess(*blobs, MANY, score_threshold=0.39, multi_label=False).class_id.tolist() == [1]
    assert sd.postprocess(*blobs, MANY, class_agnostic=True).class_id.tolist() == [1]


def random_boxes(seed: int, count: int, whole: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes of whole numbers, and their scores; coarse scores make ties."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 40, (count, 2))
    boxes = np.hstack([corner, corner + rng.integers(2, 30, (count, 2))]).astype(np.float64)
    scores = rng.random(count)
    return boxes, np.round(scores * 4) / 4 if whole else scores


@examples(300)
@given(st.integers(0, 2**32), st.integers(1, 30), SIGMAS, st.sampled_from([0.0, 0.001, 0.1, 0.5]))
def test_soft_nms_is_opencv(seed: int, count: int, sigma: float, threshold: float) -> None:
    """Away from ties: OpenCV's scores are float32, its equal scores by another order, and it keeps those at the threshold."""
    boxes, scores = random_boxes(seed, count, whole=False)
    expected = reference.soft_nms(boxes, scores, None, sigma, threshold)
    assume(expected.margin > 1e-4)
    xywh = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).astype(int)
    method = cv2.dnn.SoftNMSMethod_SOFTNMS_GAUSSIAN
    their_scores, their_indices = cv2.dnn.softNMSBoxes(xywh.tolist(), scores.tolist(), threshold, 0.3, 0, sigma, method)
    indices, left = sd.soft_nms(boxes, scores, soft_sigma=sigma, score_threshold=threshold)
    theirs = np.ravel(their_scores) > 1e-30  # below, float32 has no digits left
    kept = left > 1e-30
    assert indices[kept].tolist() == np.ravel(their_indices)[theirs].tolist()
    np.testing.assert_allclose(left[kept], np.ravel(their_scores)[theirs], rtol=1e-4)


@examples(300)
@given(
    st.integers(0, 2**32),
    st.integers(0, 40),
    st.booleans(),
    st.integers(1, 4),
    SIGMAS,
    st.sampled_from([0.0, 0.01, 0.5]),
    st.sampled_from([None, 1, 7, 1000]),
)
def test_soft_nms_is_the_reference(
    seed: int, count: int, whole: bool, classes: int, sigma: float, threshold: float, top_n: int | None
) -> None:
    boxes, scores = random_boxes(seed, count, whole)
    rng = np.random.default_rng(seed + 1)
    class_ids = rng.integers(-1, classes, count) if classes > 1 else None
    if count > 5:
        boxes[rng.integers(count), rng.integers(4)] = rng.choice([np.nan, np.inf, -np.inf])
        scores[rng.integers(count)] = rng.choice([np.nan, np.inf, -np.inf])
        boxes[rng.integers(count), 2:] = -5  # an inverted box
    expected = reference.soft_nms(boxes, scores, class_ids, sigma, threshold, top_n=top_n)
    assume(expected.margin > 1e-9 and not (expected.score < 1e-290).any())
    before = boxes.copy(), scores.copy()
    boxes.flags.writeable = scores.flags.writeable = False
    indices, left = sd.soft_nms(boxes, scores, class_ids, soft_sigma=sigma, score_threshold=threshold, top_n=top_n)
    assert (indices.dtype, left.dtype) == (np.intp, np.float64)
    assert indices.tolist() == expected.kept.tolist()
    np.testing.assert_allclose(left, expected.score, rtol=1e-12)
    np.testing.assert_array_equal(boxes, before[0])
    np.testing.assert_array_equal(scores, before[1])


def test_scores_at_the_threshold_are_dropped() -> None:
    boxes = [[100 * i, 0, 100 * i + 10, 10] for i in range(4)]
    assert sd.soft_nms(boxes, [0.5, 0.25, 0, -1], score_threshold=0.25)[0].tolist() == [0]
    assert sd.soft_nms(boxes, [0.5, 0.25, 0, -1], score_threshold=0)[0].tolist() == [0, 1]
    large = sd.soft_nms(boxes, [500, 1e-3, 1e-3 + 1e-9, 7])  # the default threshold is 0.001; scores may be large
    assert large[0].tolist() == [0, 3, 2]


def test_soft_nms_of_classes_and_ties() -> None:
    boxes = [FAR] * 4
    indices, left = sd.soft_nms(boxes, [0.5] * 4, [1, 0, 1, 2])
    assert indices.tolist() == [0, 1, 3, 2]
    assert left.tolist() == [0.5, 0.5, 0.5, 0.5 * math.exp(-2)]
    assert sd.soft_nms(boxes, [0.5] * 4, top_n=2, score_threshold=0)[0].tolist() == [0, 1]
