"""`nms` against OpenCV's own, against the reference, and next to the threshold; soft NMS in the fused pass."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
import reference
from examples import examples
from head_cases import unaligned
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.options import NMS_KINDS

KINDS = [kind for kind in NMS_KINDS if kind != "soft"]  # those that drop boxes by the NMS threshold
CHAIN = [[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]  # each overlaps the next: 6 / 14; the first and the last: 2 / 18
FAR = [50, 50, 60, 60]


def random_boxes(seed: int, count: int, whole: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes of positive area in clusters, and their scores; whole numbers make ties and equal boxes."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.hstack([corner, corner + rng.uniform(2, 40, (count, 2))])
    scores = rng.random(count)
    return (np.round(boxes / 4) * 4 + [0, 0, 1, 1], np.round(scores * 4) / 4 + 1) if whole else (boxes, scores)


CASES = st.tuples(st.integers(0, 2**32), st.integers(0, 40), st.booleans(), st.integers(1, 4), st.floats(0, 1))


def opencv(boxes: NDArray[np.float64], scores: NDArray[np.float64], threshold: float) -> list[int]:
    """cv2.dnn.NMSBoxes of all boxes; it takes x, y, width, height, and float32 scores above 0."""
    xywh = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    return np.ravel(cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), 0.0, threshold)).astype(int).tolist()


@examples(300)
@given(CASES)
def test_greedy_is_opencv_class_by_class(case: tuple[int, int, bool, int, float]) -> None:
    seed, count, whole, classes, threshold = case
    boxes, scores = random_boxes(seed, count, whole)
    scores = scores.astype(np.float32).astype(np.float64)  # what OpenCV keeps of a score
    class_ids = np.random.default_rng(seed + 1).integers(-1, classes - 1, count)
    assume(count and not (np.abs(reference.iou(boxes) - threshold) < 1e-5).any())  # OpenCV's IoU is a float32
    kept = sd.nms(boxes, scores, None if classes == 1 else class_ids, nms_threshold=threshold)
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        expected = members[opencv(boxes[members], scores[members], threshold)]
        assert kept[class_ids[kept] == class_id].tolist() == expected.tolist()


@examples(300)
@given(CASES, st.sampled_from(KINDS), st.sampled_from([None, 1, 7, 1000]), st.booleans())
def test_both_kinds_are_the_reference(
    case: tuple[int, int, bool, int, float], kind: Any, top_n: int | None, spoil: bool
) -> None:
    seed, count, whole, classes, threshold = case
    boxes, scores = random_boxes(seed, count, whole)
    rng = np.random.default_rng(seed + 1)
    class_ids = rng.integers(0, classes, count) if classes > 1 else None
    if spoil and count:
        boxes[rng.integers(count), rng.integers(4)] = rng.choice([np.nan, np.inf, -np.inf])
        scores[rng.integers(count)] = rng.choice([np.nan, np.inf, -np.inf])
        boxes[rng.integers(count), 2:] = -5  # an inverted box
    whole_boxes = np.isfinite(boxes).all(axis=1)
    assume(not reference.iou_in_doubt(boxes[whole_boxes], None if class_ids is None else class_ids[whole_boxes], threshold))
    kept = sd.nms(boxes, scores, class_ids, nms_threshold=threshold, nms_kind=kind, top_n=top_n)
    expected = reference.nms(boxes, scores, class_ids, threshold, kind, top_n=top_n)
    assert kept.dtype == np.intp
    assert kept.tolist() == expected.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("other", "threshold"),
    [
        ([0, 0, 16, 8], 0.5),  # 128 / 256
        ([0, 0, 4, 16], 0.25),
        ([12, 0, 28, 16], 1 / 7),  # 64 / 448
        ([8, 8, 24, 24], 64 / 448),
        ([0, 0, 16, 16], 1.0),
        ([16, 0, 32, 16], 0.0),  # they touch
        ([17, 17, 32, 32], 0.0),
    ],
)
def test_an_iou_equal_to_the_threshold_is_not_above_it(kind: Any, other: list[float], threshold: float) -> None:
    boxes = [[0, 0, 16, 16], other]
    assert sd.nms(boxes, [0.9, 0.8], nms_threshold=threshold, nms_kind=kind).tolist() == [0, 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("beside", [1e-6, 1e-9, 1e-12])
def test_boxes_beside_the_threshold(kind: Any, threshold: float, beside: float) -> None:
    """A box inside another, whose share of the other's area is its IoU."""
    for iou, kept in ((threshold - beside, [0, 1]), (threshold + beside, [0])):
        boxes = [[0, 0, 8, 8], [0, 0, 8, 8 * iou]]
        assert sd.nms(boxes, [0.9, 0.8], nms_threshold=threshold, nms_kind=kind).tolist() == kept


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_overlap_is_above_zero(kind: Any) -> None:
    boxes = [[0, 0, 16, 16], [np.nextafter(16, 0), 0, 32, 16]]
    assert sd.nms(boxes, [0.9, 0.8], nms_threshold=0, nms_kind=kind).tolist() == [0]


def test_sides_have_no_plus_one() -> None:
    """100 / 200 without it, 121 / 231 with it."""
    assert sd.nms([[0, 0, 10, 10], [0, 0, 10, 20]], [0.9, 0.8], nms_threshold=0.51).tolist() == [0, 1]


def test_a_chain() -> None:
    assert sd.nms(CHAIN, [0.9, 0.8, 0.7], nms_threshold=0.4, nms_kind="reference").tolist() == [0]
    assert sd.nms(CHAIN, [0.9, 0.8, 0.7], nms_threshold=0.4, nms_kind="greedy").tolist() == [0, 2]
    assert sd.nms(CHAIN, [0.9, 0.8, 0.7], nms_threshold=0.4).tolist() == [0, 2]  # greedy is the default
    assert sd.nms(CHAIN, [0.7, 0.9, 0.8], nms_threshold=0.4, nms_kind="reference").tolist() == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_classes_leave_each_other_alone(kind: Any) -> None:
    def kept(class_ids: Any) -> list[int]:
        return sd.nms([FAR] * 4, [0.6, 0.7, 0.8, 0.9], class_ids, nms_threshold=0.5, nms_kind=kind).tolist()

    assert kept(None) == kept([3, 3, 3, 3]) == [3]
    assert kept([0, 1, 0, 1]) == [3, 2]
    assert kept([5, -7, 2**40, 2**40 + 2**32]) == [3, 2, 1, 0]  # no int32 could hold these
    assert kept(np.array([0, 1, 0, 0], np.uint64)) == kept(np.array([0, 1, 0, 0], np.int8)) == [3, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_ties_by_index(kind: Any) -> None:
    boxes = [[100 * i, 0, 100 * i + 10, 10] for i in range(6)]
    assert sd.nms(boxes, [0.5, 0.9, 0.5, 0.9, 0.1, 0.5], nms_threshold=0.5, nms_kind=kind).tolist() == [1, 3, 0, 2, 5, 4]
    assert sd.nms([FAR] * 4, [0.5] * 4, nms_threshold=0.5, nms_kind=kind).tolist() == [0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_boxes_without_area_overlap_nothing(kind: Any, threshold: float) -> None:
    """0 / 0 counts as 0, and so does an inverted box."""
    boxes = [[5, 5, 5, 5], [5, 5, 5, 5], [5, 0, 5, 9], [5, 0, 5, 9], [9, 9, 1, 1], [9, 9, 1, 1]]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert sd.nms(boxes, scores, nms_threshold=threshold, nms_kind=kind).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4)), np.zeros((0, 4), np.float32), np.array([], object)])
@pytest.mark.parametrize("class_ids", [None, [], np.zeros(0, np.int64)])
def test_nothing(empty: Any, class_ids: Any) -> None:
    for kept in (sd.nms(empty, [], class_ids, nms_threshold=0.5, top_n=5), *sd.soft_nms(empty, [], class_ids)):
        assert kept.shape == (0,)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int16, np.uint8, ">f8"])
def test_any_real_type(dtype: Any) -> None:
    boxes = np.array([*CHAIN, FAR], dtype)
    scores = np.array([4, 3, 2, 9], dtype)
    assert sd.nms(boxes, scores, nms_threshold=0.4).tolist() == [3, 0, 2]
    assert sd.nms(boxes[::-1], scores[::-1], nms_threshold=0.4).tolist() == [0, 3, 1]
    assert sd.nms(np.asfortranarray(boxes), scores.tolist(), nms_threshold=0.4).tolist() == [3, 0, 2]


def test_arrays_at_odd_addresses() -> None:
    """Loading these as they are is an error that a sanitizer reports, and that some processors cannot do."""
    arrays = map(unaligned, (np.array(CHAIN, np.float64), np.array([0.9, 0.8, 0.7]), np.array([1, 1, 1])))
    assert sd.nms(*arrays, nms_threshold=0.4).tolist() == [0, 2]


def soft(boxes: list[tuple[float, float]], **options: Any) -> list[tuple[float, float]]:
    """What soft NMS leaves of boxes of 20x20 of one class, each given and returned as (shift in widths, score)."""
    fields = {"score_threshold": 0.01, "nms_kind": "soft", "iou_epsilon": 0.0, "drop_empty": False}
    head = sd.HeadConfig(
        input_size=(2000, 100), grid=(1, 1), anchors=((20, 20),) * len(boxes), labels=("a", "b"), **{**fields, **options}
    )
    delta, conf = np.zeros((len(boxes), 4), np.float32), np.array([score for _, score in boxes], np.float32)
    delta[:, 0] = [shift for shift, _ in boxes]
    classes = np.tile(np.float32([1, 0]), (len(boxes), 1))
    found = sd.postprocess(delta, classes, conf, head)
    shifts = np.round((found.xyxy[:, 0] - 990) / 20, 3)
    return list(zip(shifts.tolist(), found.confidence.tolist(), strict=True))


def test_soft_nms_by_its_formula() -> None:
    """IoUs of 20x20 boxes that are 5 and 10 apart: 0.6 and 1/3. The third is passed by the fourth, which nothing overlaps."""
    found = soft([(0, 0.9), (0.25, 0.8), (0.5, 0.7), (9, 0.5)])
    second, third = 0.8 * math.exp(-(0.6**2) / 0.5), 0.7 * math.exp(-((1 / 3) ** 2) / 0.5)
    third_again = third * math.exp(-(0.6**2) / 0.5)
    assert third > second > third_again  # the third is taken before the second
    second_again = second * math.exp(-(0.6**2) / 0.5)
    assert [shift for shift, _ in found] == [0, 0.5, 9, 0.25]
    assert [score for _, score in found] == pytest.approx([0.9, third, 0.5, second_again], rel=1e-6)


SHAPES = [((4,), 1), ((1, 3), 1), ((1, 4), 2), ((1, 4), (1, 1)), ((1, 4), ()), ((1, 4), 0), (0, 1), ((1, 1, 4), 1)]
ARGUMENTS: list[tuple[str, Any, type[Exception], str]] = [
    ("class_ids", [0], ValueError, r".*\(2,\).*got \(1,\)"),
    ("class_ids", 0, ValueError, r".*\(2,\).*got \(\)"),
    ("class_ids", [0.0, 1.0], TypeError, ".*got float64"),
    ("class_ids", ["a", "b"], TypeError, ".*got <U1"),
    *(
        (name, np.zeros(shape, np.int8).astype(dtype), TypeError, ".*got ")
        for name, shape in (("xyxy", (2, 4)), ("scores", 2))
        for dtype in (bool, complex, object, "S1")
    ),
    ("top_n", 0, ValueError, ".*got 0"),
    ("top_n", 1.5, TypeError, ".*got 1.5"),
]
OPTIONS: list[tuple[str, Any, type[Exception], str]] = [
    ("nms_threshold", math.nan, ValueError, ".*got nan"),
    ("nms_threshold", -0.1, ValueError, ".*got -0.1"),
    ("nms_threshold", "0.5", TypeError, ".*got '0.5'"),
    ("nms_kind", "hard", ValueError, f".*{', '.join(map(repr, NMS_KINDS))}.*got 'hard'"),
    ("nms_kind", "soft", ValueError, " 'soft'.*soft_nms"),
]
SOFT_OPTIONS: list[tuple[str, Any, type[Exception], str]] = [
    ("soft_sigma", 0, ValueError, ".*got 0.0"),
    ("soft_sigma", math.nan, ValueError, ".*got nan"),
    ("score_threshold", -0.1, ValueError, ".*got -0.1"),
    ("score_threshold", "0.5", TypeError, ".*got '0.5'"),
]
CALLS = [(partial(sd.nms, nms_threshold=0.5), [*ARGUMENTS, *OPTIONS]), (sd.soft_nms, [*ARGUMENTS, *SOFT_OPTIONS])]


@pytest.mark.parametrize(("boxes", "scores"), SHAPES)
def test_wrong_shapes(boxes: Any, scores: Any) -> None:
    for call, _ in CALLS:
        with pytest.raises(ValueError, match=r"xyxy \(N, 4\) and scores \(N,\).*got \("):
            call(np.zeros(boxes), np.zeros(scores))


@pytest.mark.parametrize(
    ("call", "name", "value", "error", "message"), [(call, *row) for call, table in CALLS for row in table]
)
def test_wrong_arguments(call: Any, name: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{name}{message}"):
        call(**{"xyxy": [FAR, FAR], "scores": [0.5, 0.4], name: value})


def test_areas_that_vanish_divide_by_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """The union underflows to 0; nothing is raised, nor written to standard error below Python."""
    tiny = [[0, 0, 1e-170, 1e-170]] * 2
    assert sd.nms(tiny, [1, 0.9], nms_threshold=0.5).tolist() == [0, 1]
    assert capfd.readouterr() == ("", "")
