"""sd.soft_nms against OpenCV's own, against the reference, and next to the threshold."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
import reference
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import opencv_squeezedet as sd

FAR = [50, 50, 60, 60]
SIGMAS = st.sampled_from([0.05, 0.5, 3.0])


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
    told = np.ravel(their_scores) > 1e-30  # below, float32 has no digits left
    kept = left > 1e-30
    assert indices[kept].tolist() == np.ravel(their_indices)[told].tolist()
    np.testing.assert_allclose(left[kept], np.ravel(their_scores)[told], rtol=1e-4)


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


def test_the_formula() -> None:
    """IoUs with the first box: 1, 1/3 and 0; the second one, lowered, comes last."""
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [5, 0, 15, 10], FAR]
    indices, left = sd.soft_nms(boxes, [0.9, 0.8, 0.6, 0.5])
    third = 0.6 * math.exp(-1 / 9 / 0.5)
    assert third < 0.5
    assert indices.tolist() == [0, 3, 2, 1]
    assert left.tolist() == pytest.approx([0.9, 0.5, third, 0.8 * math.exp(-2) * math.exp(-1 / 9 / 0.5)], rel=1e-15)


@pytest.mark.parametrize("beside", [1e-6, 1e-9, 1e-12])
def test_the_score_threshold(beside: float) -> None:
    """0.8 x e^-2 of a box on the same place."""
    lowered = 0.8 * math.exp(-2)
    for threshold, count in ((lowered * (1 + beside), 1), (lowered * (1 - beside), 2)):
        assert len(sd.soft_nms([FAR, FAR], [0.9, 0.8], score_threshold=threshold)[0]) == count


def test_what_is_at_the_threshold_from_the_start_is_dropped() -> None:
    boxes = [[100 * i, 0, 100 * i + 10, 10] for i in range(4)]
    assert sd.soft_nms(boxes, [0.5, 0.25, 0, -1], score_threshold=0.25)[0].tolist() == [0]
    assert sd.soft_nms(boxes, [0.5, 0.25, 0, -1], score_threshold=0)[0].tolist() == [0, 1]
    assert sd.soft_nms(boxes, [500, 1e-3, 1e-3 + 1e-9, 7])[0].tolist() == [
        0,
        3,
        2,
    ]  # the default is 0.001; scores may be large


def test_classes_and_ties() -> None:
    boxes = [FAR] * 4
    indices, left = sd.soft_nms(boxes, [0.5] * 4, [1, 0, 1, 2])
    assert indices.tolist() == [0, 1, 3, 2]
    assert left.tolist() == [0.5, 0.5, 0.5, 0.5 * math.exp(-2)]
    assert sd.soft_nms(boxes, [0.5] * 4, top_n=2, score_threshold=0)[0].tolist() == [0, 1]


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4)), np.zeros((0, 4), np.float32)])
@pytest.mark.parametrize("class_ids", [None, []])
def test_nothing(empty: Any, class_ids: Any) -> None:
    indices, left = sd.soft_nms(empty, [], class_ids)
    assert (indices.shape, indices.dtype, left.shape, left.dtype) == ((0,), np.intp, (0,), np.float64)


def test_views_and_other_types() -> None:
    boxes, scores = np.array([[0, 0, 10, 10], [5, 0, 15, 10], FAR], np.float32), np.array([4, 3, 2], np.uint8)
    indices, left = sd.soft_nms(boxes, scores)
    for other in (boxes[::-1].copy()[::-1], np.asfortranarray(boxes), boxes.tolist()):
        again = sd.soft_nms(other, scores.tolist())
        assert again[0].tolist() == indices.tolist() == [0, 1, 2]
        assert again[1].tolist() == left.tolist()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"soft_sigma": 0}, ValueError, "soft_sigma.*got 0.0"),
        ({"soft_sigma": math.nan}, ValueError, "soft_sigma.*got nan"),
        ({"soft_sigma": None}, TypeError, "soft_sigma.*got None"),
        ({"score_threshold": -0.1}, ValueError, "score_threshold.*got -0.1"),
        ({"score_threshold": "0.5"}, TypeError, "score_threshold.*got '0.5'"),
        ({"top_n": 0}, ValueError, "top_n.*got 0"),
        ({"class_ids": [0]}, ValueError, r"class_ids.*\(2,\).*got \(1,\)"),
        ({"class_ids": [0.0, 1.0]}, TypeError, "class_ids.*got float64"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.soft_nms([FAR] * 2, [0.5] * 2, **options)


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"xyxy \(N, 4\) and scores \(N,\).*got \("):
        sd.soft_nms([FAR], [0.5, 0.4])
