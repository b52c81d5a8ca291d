"""The fused pass, its steps alone, and batches: against the plain NumPy of ``reference``, and in their order."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import reference
from examples import examples
from head_cases import (
    GOOD,
    HEAD,
    NOT_FINITE,
    ONE_CELL,
    Blobs,
    anchors_of,
    assert_same,
    differ,
    heads,
    heads_and_blobs,
    line_of_boxes,
    pictures,
    random_blobs,
    shaped,
)
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet import HeadConfig
from opencv_squeezedet.options import NMS_KINDS


@examples(400)
@given(heads_and_blobs())
def test_score_is_the_reference(case: tuple[HeadConfig, Blobs]) -> None:
    """Exactly so for probabilities."""
    head, (_, classes, conf) = case
    scores, class_ids = sd.score(classes, conf, head)
    expected, expected_ids = reference.score(classes, conf, head)
    assert (scores.dtype, class_ids.dtype) == (np.float64, np.int32)
    np.testing.assert_allclose(scores, expected, rtol=0 if head.activated else 1e-13, atol=0 if head.activated else 1e-290)
    np.testing.assert_array_equal(class_ids, expected_ids)


def test_score_takes_the_first_of_equal_classes() -> None:
    classes = np.array([[0.5, 0.5], [0, 0], [0.25, 0.5], [0.5, 0.25], [0, 0]], np.float32)
    conf = np.array([0.5, 1, 0, -1, -1], np.float32)
    scores, class_ids = sd.score(classes, conf, ONE_CELL)
    assert scores.tolist() == [0.25, 0, 0, -0.25, 0]
    assert class_ids.tolist() == [0, 0, 0, 1, 0]  # a negative confidence makes the smallest class score the best


@examples(200)
@given(heads_and_blobs())
def test_decode_is_the_reference(case: tuple[HeadConfig, Blobs]) -> None:
    head, (delta, _, _) = case
    boxes = sd.decode(delta, head)
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes, reference.decode(delta, head), rtol=3e-7, atol=1e-6)


def test_sizes_that_overflow_fill_the_picture() -> None:
    delta = np.zeros((5, 4), np.float32)
    delta[:, 2:] = [[800, 800], [3e38, 0], [0, 3e38], [-800, 0], [0, -3e38]]
    assert sd.decode(delta, ONE_CELL).tolist() == [
        [0, 0, 99, 99],
        [40, 0, 60, 99],  # the default order: height first
        [0, 40, 99, 60],
        [40, 50, 60, 50],
        [50, 40, 50, 60],
    ]


def check_with_the_reference(head: HeadConfig, blobs: Blobs, size: tuple[int, int] | None = None) -> None:
    assume(not reference.in_doubt(*blobs, head))
    found = sd.postprocess(*blobs, head, image_size=size)
    assert_same(found, reference.postprocess(*blobs, head, image_size=size), reference.exact_scores(head))


@examples(500)
@given(heads_and_blobs(), st.none() | st.tuples(st.integers(1, 3000), st.integers(1, 3000)))
def test_postprocess_is_the_reference(case: tuple[HeadConfig, Blobs], size: tuple[int, int] | None) -> None:
    check_with_the_reference(*case, size)


CELL = st.floats(width=32, allow_nan=True, allow_infinity=True)


@examples(200)
@given(
    heads(grid=(1, 2), anchors=((20, 30),), labels=("a", "b")),
    hnp.arrays(np.float32, 8, elements=st.floats(-4, 4, width=32) | CELL),
    hnp.arrays(np.float32, 4, elements=st.floats(0, 1, width=32) | CELL),
    hnp.arrays(np.float32, 2, elements=st.floats(0, 1, width=32) | CELL),
)
def test_any_float_in_a_small_head(head: HeadConfig, delta: NDArray[Any], classes: NDArray[Any], conf: NDArray[Any]) -> None:
    check_with_the_reference(head, shaped(head, delta, classes, conf))


AXES = {
    "layout": ("hwc", "chw"),
    "activated": (True, False),
    "first_axis": ("x", "y"),
    "centers": ("inner", "cell"),
    "delta_order": ("xyhw", "xywh"),
    "exp_threshold": (None, 0.5),
    "corners": ("plain", "plus_one_after_clip", "minus_one_before_clip"),
    "nms_kind": NMS_KINDS,
}


@pytest.mark.parametrize("values", list(itertools.product(*AXES.values())), ids=lambda values: "-".join(map(str, values)))
def test_every_convention(values: tuple[Any, ...]) -> None:
    head = dataclasses.replace(HEAD, grid=(5, 6), nms_threshold=0.3, top_n=40, **dict(zip(AXES, values, strict=True)))
    seeds = (random_blobs(head, np.random.default_rng(seed)) for seed in itertools.count())
    blobs = next(blobs for blobs in seeds if not reference.in_doubt(*blobs, head))
    expected = reference.postprocess(*blobs, head)
    assert len(expected.anchor) > 3
    assert_same(sd.postprocess(*blobs, head), expected, reference.exact_scores(head))


@pytest.mark.parametrize("name", [name for name in AXES if name != "layout"])
def test_the_conventions_differ(name: str) -> None:
    """Else the reference and the kernel could both have one formula for two names."""
    assert not differ({}, {})
    for one, other in itertools.combinations(AXES[name], 2):
        assert differ({name: one}, {name: other}), (one, other)


def test_kitti() -> None:
    blobs = random_blobs(sd.KITTI, np.random.default_rng(7), "quiet")
    found = sd.postprocess(*blobs, sd.KITTI)
    assert len(found) > 5
    assert_same(found, reference.postprocess(*blobs, sd.KITTI))


@pytest.mark.parametrize("top_n", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_ties_at_the_end_of_the_top_n(top_n: int, layout: str) -> None:
    """In chw blobs the confidences do not come in the order of the anchors."""
    head = dataclasses.replace(HEAD, layout=layout, nms_threshold=1.0)
    blobs = shaped(head, np.zeros(96, np.float32), np.full(72, 0.5, np.float32), np.ones(24, np.float32))
    boxes = sd.decode(blobs[0], head)
    assert len(np.unique(boxes, axis=0)) == 24
    np.testing.assert_array_equal(sd.postprocess(*blobs, head, top_n=top_n).xyxy, boxes[:top_n])


def test_the_score_must_be_above_the_threshold() -> None:
    head, blobs = line_of_boxes([0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.49, 0.75])
    assert anchors_of(sd.postprocess(*blobs, head, score_threshold=0.5)) == [3, 1]
    assert anchors_of(sd.postprocess(*blobs, head, score_threshold=np.nextafter(0.5, 0))) == [3, 1, 0]


def test_threshold_between_two_floats() -> None:
    """Scores are compared as double: a threshold that is not a float32 still cuts at its own value."""
    a, b = np.float32(1 - 2**-24), np.float32(0.5 + 2**-24)
    head, (delta, classes, conf) = line_of_boxes([a])
    classes[:] = b
    product = float(a) * float(b)
    for threshold, count in ((product, 0), (np.nextafter(product, 0), 1)):
        assert len(sd.postprocess(delta, classes, conf, head, score_threshold=threshold)) == count


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("blob", [0, 1, 2])
@pytest.mark.parametrize("activated", [True, False])
def test_anchors_that_are_not_finite_go_before_the_top_n(value: float, blob: int, activated: bool) -> None:
    head = dataclasses.replace(ONE_CELL, nms_threshold=1.0, activated=activated)
    conf = np.array([0.2, 0.9, 0.5, 0.3, 0.8], np.float32)
    blobs = (np.zeros((5, 4), np.float32), np.ones((5, 2), np.float32), conf)
    blobs[blob].reshape(5, -1)[[1, 4], -1] = value  # the two best ones
    scores = sd.score(np.ones((5, 2), np.float32), np.array([0.5, 0.3], np.float32).repeat([1, 4]), head)[0]
    found = sd.postprocess(*blobs, head, top_n=2)
    np.testing.assert_array_equal(found.confidence, scores[:2].astype(np.float32))


@pytest.mark.parametrize(("epsilon", "count"), [(0.0, 1), (99.0, 1), (101.0, 2)])
def test_the_epsilon_is_added_to_the_union(epsilon: float, count: int) -> None:
    """A box of 200 in one of 400: 200 / (400 + 100) is the threshold."""
    head = dataclasses.replace(ONE_CELL, anchors=((20, 20), (20, 10)), iou_epsilon=epsilon, nms_threshold=0.4)
    blobs = (np.zeros((2, 4), np.float32), np.ones((2, 2), np.float32), np.array([0.9, 0.8], np.float32))
    assert len(sd.postprocess(*blobs, head)) == count


def test_boxes_are_dropped_as_empty_after_nms() -> None:
    """With +1 an empty box of one pixel has an area: it suppresses a lower one, and only then goes."""
    head = dataclasses.replace(ONE_CELL, corners="plus_one_after_clip", grid=(1, 1), anchors=((1, 1), (20, 20)))
    delta = np.zeros((2, 4), np.float32)
    delta[0, 0], delta[0, 2:] = 0.0, -800
    delta[1, 2:] = -4  # 20 * e^-4: 0.37 pixels wide, 1.37 with the 1; it contains the first one
    blobs = (delta, np.ones((2, 2), np.float32), np.array([0.9, 0.5], np.float32))
    assert len(sd.postprocess(*blobs, head, nms_threshold=0.9)) == 1
    assert len(sd.postprocess(*blobs, head, nms_threshold=0.1)) == 0


@pytest.mark.parametrize("found", [False, True])
@pytest.mark.parametrize("size", [None, (640, 480)])
def test_types_of_results(size: tuple[int, int] | None, found: bool) -> None:
    blobs = [blob * np.float32(found) for blob in GOOD]
    result = sd.postprocess(*blobs, HEAD, image_size=size)
    for each in (result, *sd.postprocess_batch(*(blob[None] for blob in blobs), HEAD, image_size=size)):
        count = len(each)
        assert (count > 1) == found
        assert (each.xyxy.shape, each.xyxy.dtype) == ((count, 4), np.float32)
        assert (each.confidence.shape, each.confidence.dtype) == ((count,), np.float32)
        assert (each.class_id.shape, each.class_id.dtype) == ((count,), np.int32)
        assert each.label_table == HEAD.labels


def test_eight_threads_on_the_same_arrays() -> None:
    head = dataclasses.replace(sd.VOC, score_threshold=0.3, nms_threshold=0.5)  # new: the threads make its kernel, too
    blobs = random_blobs(head, np.random.default_rng(0))
    batch = [np.stack([blob, blob[::-1]]) for blob in blobs]
    start = threading.Barrier(8)

    def work(_: int) -> list[Any]:
        start.wait()
        results: list[Any] = []
        for _ in range(20):
            results.append(sd.postprocess(*blobs, head))
            results.extend(sd.postprocess_batch(*batch, head))
        return [*results, sd.decode(blobs[0], head).tobytes(), sd.score(*blobs[1:], head)[0].tobytes()]

    with ThreadPoolExecutor(8) as pool:
        everything = list(pool.map(work, range(8)))
    one = dataclasses.replace(head)
    singles = [sd.postprocess(*blobs, one), *(sd.postprocess(*(blob[at] for blob in batch), one) for at in (0, 1))]
    assert len(singles[0]) > 10
    expected = [*singles * 20, sd.decode(blobs[0], one).tobytes(), sd.score(*blobs[1:], one)[0].tobytes()]
    assert all(found == expected for found in everything)


@pytest.mark.parametrize("config", ["VOC", None, {}])
def test_a_config_of_another_type(config: Any) -> None:
    for call in (
        lambda: sd.postprocess(*GOOD, config),
        lambda: sd.postprocess_batch(*(blob[None] for blob in GOOD), config),
        lambda: sd.score(*GOOD[1:], config),
        lambda: sd.decode(GOOD[0], config),
    ):
        with pytest.raises(TypeError, match="config must be a HeadConfig"):
            call()


@examples(100)
@given(heads(), st.integers(0, 2**32), st.integers(0, 4), st.data())
def test_any_batch_is_its_pictures(head: HeadConfig, seed: int, count: int, data: st.DataObject) -> None:
    blobs = pictures(head, count, seed)
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 999), st.integers(1, 999)), min_size=count, max_size=count))
    found = sd.postprocess_batch(*blobs, head, image_size=sizes)
    singles = zip(*blobs, sizes, strict=True)
    assert found == [sd.postprocess(*picture, head, image_size=size) for *picture, size in singles]


def test_batch_image_sizes() -> None:
    blobs, sizes = pictures(HEAD, 2), [(640, 480), (99, 7)]
    singles = [sd.postprocess(*(blob[i] for blob in blobs), HEAD, image_size=size) for i, size in enumerate(sizes)]
    assert sd.postprocess_batch(*blobs, HEAD, image_size=np.array(sizes)) == singles
    both = sd.postprocess_batch(*blobs, HEAD, image_size=(640, 480))
    assert both == sd.postprocess_batch(*blobs, HEAD, image_size=[(640, 480)] * 2) != singles
    for size in ((640, 480), []):
        assert sd.postprocess_batch(*pictures(HEAD, 0), HEAD, image_size=size) == []


BATCH_SHAPES = [
    (0, (3, 4, 8), r"delta_bbox.*\(3, 3, 4, 8\).*got \(3, 4, 8\)"),
    (0, (3, 3, 4, 8), r"class_scores.*\(3, 24, 3\).*\(3, 3, 4, 2, 3\).*got \(2, 24, 3\)"),
    (0, (), r"delta_bbox.*\(0, 3, 4, 8\).*got \(\)"),
    (0, (2, 3, 4, 9), r"delta_bbox.*\(2, 3, 4, 8\).*got \(2, 3, 4, 9\)"),
    (1, (3, 24, 3), r"class_scores.*\(2, 24, 3\).*got \(3, 24, 3\)"),
    (1, (24, 3), r"class_scores.*\(2, 24, 3\).*got \(24, 3\)"),
    (2, (1, 3, 4, 2), r"conf_scores.*\(2, 3, 4, 2\).*\(2, 24\).*\(2, 24, 1\).*got \(1, 3, 4, 2\)"),
]


@pytest.mark.parametrize(("at", "shape", "message"), BATCH_SHAPES)
def test_wrong_batch_shapes(at: int, shape: tuple[int, ...], message: str) -> None:
    blobs: list[Any] = [np.stack([blob] * 2) for blob in GOOD]
    blobs[at] = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=message):
        sd.postprocess_batch(*blobs, HEAD)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ([(4, 5)], r"image_size.*\b2\b.*got 1"),
        ([], r"image_size.*\b2\b.*got 0"),
        ([(4, 5), (4, 0)], "image_size.*got 0"),
        ([(4, 5), (4, 5, 6)], r"image_size.*got \(4, 5, 6\)"),
        ([(4, 5), 4], "image_size.*got 4"),
        (5, "image_size must be"),
    ],
)
def test_wrong_batch_image_sizes(size: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        sd.postprocess_batch(*(np.stack([blob] * 2) for blob in GOOD), HEAD, image_size=size)
