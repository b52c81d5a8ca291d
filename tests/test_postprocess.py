"""Score, decode and the fused pass against the plain NumPy of ``reference``, and what the arguments may be."""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet import HeadConfig
from opencv_squeezedet.postprocess import _floats, check_blob

Blobs = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
NAMES = ("delta_bbox", "class_scores", "conf_scores")

HEAD = HeadConfig(
    input_size=(120, 90),
    grid=(3, 4),
    anchors=((30, 20), (12, 40)),
    labels=("a", "b", "c"),
    score_threshold=0.25,
    nms_threshold=0.4,
)
ONE_CELL = HeadConfig(input_size=(100, 100), grid=(1, 1), anchors=((20, 20),) * 5, labels=("a", "b"), score_threshold=0.1)

# ---- heads and blobs ----------------------------------------------------------------------------------------------------

FRACTIONS = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]) | st.floats(0, 1)
SIDES = st.sampled_from([4.0, 16.0, 31.5, 60.0, 250.0]) | st.floats(1, 300)


@st.composite
def heads(draw: st.DrawFn, **fixed: Any) -> HeadConfig:
    classes = draw(st.integers(1, 5))
    fields: dict[str, Any] = {
        "input_size": draw(st.tuples(st.integers(2, 400), st.integers(2, 400))),
        "grid": draw(st.tuples(st.integers(1, 6), st.integers(1, 6))),
        "anchors": draw(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4)),
        "labels": [f"class {i}" for i in range(classes)],
        "first_axis": draw(st.sampled_from(["x", "y"])),
        "centers": draw(st.sampled_from(["inner", "cell"])),
        "delta_order": draw(st.sampled_from(["xyhw", "xywh"])),
        "exp_threshold": draw(st.sampled_from([None, 1.0, 0.0, -1.5, 2.5])),
        "corners": draw(st.sampled_from(["plain", "plus_one_after_clip", "minus_one_before_clip"])),
        "iou_epsilon": draw(st.sampled_from([0.0, 1e-7, 3.0])),
        "layout": draw(st.sampled_from(["hwc", "chw"])),
        "activated": draw(st.booleans()),
        "drop_empty": draw(st.booleans()),
        "score_threshold": draw(FRACTIONS),
        "nms_threshold": draw(FRACTIONS),
        "nms_kind": draw(st.sampled_from(["reference", "greedy"])),
        "top_n": draw(st.sampled_from([1, 2, 5, 64, 10**9])),
        "class_agnostic": draw(st.booleans()),
    }
    return HeadConfig(**{**fields, **fixed})


BIG_DELTAS = (0, -0.0, 90, 120, -120, 720, -720, 1e38, -1e38, 3.4e38, 1e-45)
BIG_SCORES = (0, -0.0, 1, -1, 1e-45, -1e-45, 1e-38, 1e38, -1e38, 3.4e38)
NOT_FINITE = (np.nan, np.inf, -np.inf)


def sprinkle(rng: np.random.Generator, blob: NDArray[np.float32], values: Sequence[float], share: float) -> None:
    where = rng.random(blob.shape) < share
    blob[where] = rng.choice(np.array(values, np.float32), where.sum())


def shaped(head: HeadConfig, *blobs: NDArray[Any]) -> Blobs:
    """Flat blobs in the usual shape of each."""
    delta, classes, conf = (blob.reshape(head.blob_shapes[name][0]) for name, blob in zip(NAMES, blobs, strict=True))
    return delta, classes, conf


def random_blobs(head: HeadConfig, rng: np.random.Generator, kind: str = "plain", wild: float = 0.0) -> Blobs:
    """Blobs of a kind; ``wild`` is the share of anchors that get some extreme value."""
    anchors = math.prod(head.grid) * len(head.anchors)
    spread = rng.choice([0.1, 0.7, 3.0])
    delta, classes, conf = (
        rng.normal(0, spread, anchors * 4).astype(np.float32),
        rng.random(anchors * len(head.labels), dtype=np.float32),
        rng.random(anchors, dtype=np.float32),
    )
    if not head.activated:
        classes, conf = classes * 12 - 6, conf * 12 - 6
    if kind == "signed":
        classes, conf = classes * 3 - 1.5, conf * 3 - 1.5
    elif kind == "ties":
        classes, conf = np.round(classes * 2) / 2, np.round(conf * 2) / 2
    elif kind == "saturated":
        ends = (0, 1) if head.activated else (-64, 64)
        classes, conf = (rng.choice(np.float32(ends), blob.shape) for blob in (classes, conf))
    elif kind == "zero confidence":
        conf = np.zeros_like(conf)
    elif kind == "quiet":
        conf = np.where(rng.random(anchors) < 0.1, conf, conf / 64)
    if wild:
        sprinkle(rng, delta, BIG_DELTAS, wild)
        sprinkle(rng, classes, BIG_SCORES, wild)
        sprinkle(rng, conf, BIG_SCORES, wild)
        for blob in (delta, classes, conf):
            sprinkle(rng, blob, NOT_FINITE, wild / 4)
    return shaped(head, *(blob.astype(np.float32) for blob in (delta, classes, conf)))


@st.composite
def heads_and_blobs(draw: st.DrawFn, **fixed: Any) -> tuple[HeadConfig, Blobs]:
    head = draw(heads(**fixed))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["plain", "signed", "ties", "saturated", "zero confidence", "quiet"]))
    return head, random_blobs(head, rng, kind, draw(st.sampled_from([0.0, 0.02, 0.2])))


def assert_same(found: sd.Detections, expected: reference.Boxes, exact_scores: bool = True) -> None:
    with np.errstate(over="ignore", under="ignore"):
        confidence = expected.confidence.astype(np.float32)
    np.testing.assert_array_equal(found.class_id, expected.class_id)
    if exact_scores:
        np.testing.assert_array_equal(found.confidence, confidence)
    else:
        np.testing.assert_allclose(found.confidence, confidence, rtol=3e-7, atol=1e-44)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, rtol=3e-7, atol=1e-6)


# ---- against the reference ----------------------------------------------------------------------------------------------


@settings(max_examples=2000)
@given(heads_and_blobs())
def test_postprocess_is_the_reference(case: tuple[HeadConfig, Blobs]) -> None:
    head, blobs = case
    assume(not reference.in_doubt(*blobs, head))
    assert_same(sd.postprocess(*blobs, head), reference.postprocess(*blobs, head), head.activated)


@settings(max_examples=200)
@given(heads_and_blobs(), st.tuples(st.integers(1, 3000), st.integers(1, 3000)))
def test_image_size_scales_and_clips_like_the_reference(case: tuple[HeadConfig, Blobs], size: tuple[int, int]) -> None:
    head, blobs = case
    assume(not reference.in_doubt(*blobs, head))
    found = sd.postprocess(*blobs, head, image_size=size)
    assert_same(found, reference.postprocess(*blobs, head, image_size=size), head.activated)


@settings(max_examples=200)
@given(heads_and_blobs(activated=True))
def test_score_of_probabilities_is_exact(case: tuple[HeadConfig, Blobs]) -> None:
    head, (_, classes, conf) = case
    scores, class_ids = sd.score(classes, conf, head)
    expected, expected_ids = reference.score(classes, conf, head)
    assert (scores.dtype, class_ids.dtype) == (np.float64, np.int32)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(class_ids, expected_ids)


@settings(max_examples=200)
@given(heads_and_blobs(activated=False))
def test_score_of_logits(case: tuple[HeadConfig, Blobs]) -> None:
    head, (_, classes, conf) = case
    scores, class_ids = sd.score(classes, conf, head)
    expected, expected_ids = reference.score(classes, conf, head)
    np.testing.assert_allclose(scores, expected, rtol=1e-13, atol=1e-290)
    np.testing.assert_array_equal(class_ids, expected_ids)


@settings(max_examples=200)
@given(heads_and_blobs())
def test_decode_is_the_reference(case: tuple[HeadConfig, Blobs]) -> None:
    head, (delta, _, _) = case
    boxes = sd.decode(delta, head)
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes, reference.decode(delta, head), rtol=3e-7, atol=1e-6)


CELL = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=200)
@given(
    heads(grid=(1, 2), anchors=((20, 30),), labels=("a", "b")),
    hnp.arrays(np.float32, 8, elements=st.floats(-4, 4, width=32) | CELL),
    hnp.arrays(np.float32, 4, elements=st.floats(0, 1, width=32) | CELL),
    hnp.arrays(np.float32, 2, elements=st.floats(0, 1, width=32) | CELL),
)
def test_any_float_in_a_small_head(head: HeadConfig, delta: NDArray[Any], classes: NDArray[Any], conf: NDArray[Any]) -> None:
    blobs = shaped(head, delta, classes, conf)
    assume(not reference.in_doubt(*blobs, head))
    assert_same(sd.postprocess(*blobs, head), reference.postprocess(*blobs, head), head.activated)


AXES = {
    "layout": ("hwc", "chw"),
    "activated": (True, False),
    "first_axis": ("x", "y"),
    "centers": ("inner", "cell"),
    "delta_order": ("xyhw", "xywh"),
    "exp_threshold": (None, 0.5),
    "corners": ("plain", "plus_one_after_clip", "minus_one_before_clip"),
    "nms_kind": ("reference", "greedy"),
}


@pytest.mark.parametrize("values", list(itertools.product(*AXES.values())), ids=lambda values: "-".join(map(str, values)))
def test_every_convention(values: tuple[Any, ...]) -> None:
    head = dataclasses.replace(HEAD, grid=(5, 6), nms_threshold=0.3, top_n=40, **dict(zip(AXES, values, strict=True)))
    seeds = (random_blobs(head, np.random.default_rng(seed)) for seed in itertools.count())
    blobs = next(blobs for blobs in seeds if not reference.in_doubt(*blobs, head))
    expected = reference.postprocess(*blobs, head)
    assert len(expected.anchor) > 3
    assert_same(sd.postprocess(*blobs, head), expected, head.activated)


def differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether some blobs give other boxes with one set of fields than with the other."""
    base = dataclasses.replace(HEAD, grid=(5, 6), score_threshold=0.1, nms_threshold=0.2)
    every = [random_blobs(base, np.random.default_rng(seed)) for seed in range(20)]
    one_head, other_head = dataclasses.replace(base, **one), dataclasses.replace(base, **other)
    return any(sd.postprocess(*blobs, one_head) != sd.postprocess(*blobs, other_head) for blobs in every)


@pytest.mark.parametrize("name", [name for name in AXES if name != "layout"])
def test_the_conventions_differ(name: str) -> None:
    """Else the reference and the kernel could both have one formula for two names."""
    assert not differ({}, {})
    for one, other in itertools.combinations(AXES[name], 2):
        assert differ({name: one}, {name: other}), (one, other)


# ---- the KITTI head, formulas written out -------------------------------------------------------------------------------


def test_kitti_from_its_formulas() -> None:
    rng = np.random.default_rng(7)
    head = sd.KITTI
    delta = rng.normal(0, 0.6, (24, 78, 9, 4)).astype(np.float32)
    classes = rng.random((24, 78, 9, 3), dtype=np.float32)
    conf = rng.random((24, 78, 9), dtype=np.float32)

    def safe_exp(d: float) -> float:
        return math.exp(d) if d <= 1 else math.e * d  # e^1 * (d - 1 + 1)

    rows = []
    for i, j, k in itertools.product(range(24), range(78), range(9)):
        dx, dy, dw, dh = delta[i, j, k].tolist()
        w, h = ((36, 37), (366, 174), (115, 59), (162, 87), (38, 90), (258, 173), (224, 108), (78, 170), (72, 43))[k]
        x, y = (j + 1) * 1248 / 79 + w * dx, (i + 1) * 384 / 25 + h * dy
        w, h = w * safe_exp(dw), h * safe_exp(dh)
        x1, x2 = (min(max(v, 0), 1247) for v in (x - w / 2, x + w / 2))
        y1, y2 = (min(max(v, 0), 383) for v in (y - h / 2, y + h / 2))
        rows.append((x1, y1, x2 + 1, y2 + 1))
    boxes = np.array(rows)
    np.testing.assert_allclose(sd.decode(delta, head), boxes, rtol=3e-7, atol=1e-5)

    products = (conf[..., None].astype(np.float64) * classes).reshape(-1, 3)
    best, labels = products.max(axis=1), products.argmax(axis=1)
    top = np.argsort(-best, kind="stable")[:64]
    assert best[top[-1]] > 0.4

    def overlap(a: NDArray[Any], b: NDArray[Any]) -> float:
        w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        both = max(w, 0) * max(h, 0)
        return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)

    kept = [
        anchor
        for at, anchor in enumerate(top)
        if not any(labels[other] == labels[anchor] and overlap(boxes[other], boxes[anchor]) > 0.4 for other in top[:at])
    ]
    kept = [a for a in kept if boxes[a, 2] - boxes[a, 0] > 1 and boxes[a, 3] - boxes[a, 1] > 1]
    assert 5 < len(kept) < 64
    found = sd.postprocess(delta, classes, conf, head)
    np.testing.assert_array_equal(found.class_id, labels[kept])
    np.testing.assert_array_equal(found.confidence, best[kept].astype(np.float32))
    np.testing.assert_allclose(found.xyxy, boxes[kept], rtol=3e-7, atol=1e-5)


# ---- scores -------------------------------------------------------------------------------------------------------------


def test_score_takes_the_first_of_equal_classes() -> None:
    classes = np.array([[0.5, 0.5], [0, 0], [0.25, 0.5], [0.5, 0.25], [0, 0]], np.float32)
    conf = np.array([0.5, 1, 0, -1, -1], np.float32)
    scores, class_ids = sd.score(classes, conf, ONE_CELL)
    assert scores.tolist() == [0.25, 0, 0, -0.25, 0]
    assert class_ids.tolist() == [0, 0, 0, 1, 0]  # a negative confidence makes the smallest class score the best


def test_score_is_the_exact_product() -> None:
    """In float32 this product rounds to 0.5, and then 0.5 > 0.49999998 would be another decision."""
    a, b = np.float32(1 - 2**-24), np.float32(0.5 + 2**-24)
    classes, conf = np.full((5, 2), b, np.float32), np.full(5, a, np.float32)
    assert sd.score(classes, conf, ONE_CELL)[0].tolist() == [float(a) * float(b)] * 5
    assert float(a) * float(b) != float(a * b)


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("activated", [True, False])
def test_score_of_what_is_not_finite(value: float, activated: bool) -> None:
    head = dataclasses.replace(ONE_CELL, activated=activated)
    classes, conf = np.full((5, 2), 0.5, np.float32), np.full(5, 0.5, np.float32)
    classes[1, 1] = conf[3] = value
    scores, class_ids = sd.score(classes, conf, head)
    assert np.isnan(scores).tolist() == [False, True, False, True, False]
    assert class_ids.tolist() == [0, -1, 0, -1, 0]


def test_decode_of_what_is_not_finite() -> None:
    delta = np.zeros((5, 4), np.float32)
    for anchor, item in ((0, 0), (1, 1), (2, 2), (3, 3)):
        delta[anchor, item] = NOT_FINITE[anchor % 3]
    boxes = sd.decode(delta, ONE_CELL)
    assert np.isnan(boxes[:4]).all()
    assert boxes[4].tolist() == [40, 40, 60, 60]


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


# ---- thresholds, top-n, order -------------------------------------------------------------------------------------------


def line_of_boxes(scores: Sequence[float]) -> tuple[HeadConfig, Blobs]:
    """One box for each score, side by side; anchor i is the i-th box from the left."""
    count = len(scores)
    head = HeadConfig(input_size=(10 * count, 10), grid=(count, 1), anchors=((4, 4),), labels=("a",), centers="cell")
    conf = np.array(scores, np.float32)
    return head, shaped(head, np.zeros(4 * count, np.float32), np.ones(count, np.float32), conf)


def anchors_of(found: sd.Detections) -> list[int]:
    return [int(x // 10) for x in found.xyxy[:, 0]]


def test_descending_score_then_anchor() -> None:
    head, blobs = line_of_boxes([0.5, 0.75, 0.25, 0.75, 0.5, 1.0, 0.75])
    found = sd.postprocess(*blobs, head, score_threshold=0)
    assert anchors_of(found) == [5, 1, 3, 6, 0, 4, 2]
    assert found.confidence.tolist() == [1, 0.75, 0.75, 0.75, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("top_n", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_ties_at_the_end_of_the_top_n(top_n: int, layout: str) -> None:
    """In chw blobs the confidences do not come in the order of the anchors."""
    head = dataclasses.replace(HEAD, layout=layout, nms_threshold=1.0)
    blobs = shaped(head, np.zeros(96, np.float32), np.full(72, 0.5, np.float32), np.ones(24, np.float32))
    boxes = sd.decode(blobs[0], head)
    assert len(np.unique(boxes, axis=0)) == 24
    np.testing.assert_array_equal(sd.postprocess(*blobs, head, top_n=top_n).xyxy, boxes[:top_n])


@pytest.mark.parametrize(("first", "last", "score"), [(50, 60, 1.0), (35.7, 36.0, 1 - 2**-52)])
@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_ties_of_saturated_logits(layout: str, first: float, last: float, score: float) -> None:
    """Near 1 many logits give the same confidence: equal scores, of which the lower anchors are the top-n."""
    head = dataclasses.replace(HEAD, layout=layout, nms_threshold=1.0, activated=False, labels=("a",))
    conf = np.linspace(first, last, 24, dtype=np.float32)
    blobs = shaped(head, np.zeros(96, np.float32), np.zeros(24, np.float32), conf)
    assert set(sd.score(*blobs[1:], head)[0]) == {score}
    np.testing.assert_array_equal(sd.postprocess(*blobs, head, top_n=5).xyxy, sd.decode(blobs[0], head)[:5])


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.sampled_from(["hwc", "chw"]), st.integers(1, 30))
def test_top_n_is_by_score_then_anchor(seed: int, layout: str, top_n: int) -> None:
    head = dataclasses.replace(HEAD, grid=(5, 6), layout=layout, nms_threshold=1.0, score_threshold=0.0, drop_empty=False)
    blobs = random_blobs(head, np.random.default_rng(seed), "ties")
    scores, class_ids = sd.score(*blobs[1:], head)
    order = np.lexsort((np.arange(60), -scores))
    order = order[scores[order] > 0][:top_n]
    found = sd.postprocess(*blobs, head, top_n=top_n)
    np.testing.assert_array_equal(found.class_id, class_ids[order])
    np.testing.assert_array_equal(found.xyxy, sd.decode(blobs[0], head)[order])


def test_the_score_must_be_above_the_threshold() -> None:
    head, blobs = line_of_boxes([0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.49, 0.75])
    assert anchors_of(sd.postprocess(*blobs, head, score_threshold=0.5)) == [3, 1]
    assert anchors_of(sd.postprocess(*blobs, head, score_threshold=np.nextafter(0.5, 0))) == [3, 1, 0]


def test_threshold_between_two_floats() -> None:
    """Scores are compared as double: a threshold that is no float32 still cuts at its own value."""
    a, b = np.float32(1 - 2**-24), np.float32(0.5 + 2**-24)
    head, (delta, classes, conf) = line_of_boxes([a])
    classes[:] = b
    product = float(a) * float(b)
    for threshold, count in ((product, 0), (np.nextafter(product, 0), 1)):
        assert len(sd.postprocess(delta, classes, conf, head, score_threshold=threshold)) == count


def test_thresholds_zero_and_one() -> None:
    head, blobs = line_of_boxes([0, 1, -1, 1e-45, -0.0, 0.5])
    assert anchors_of(sd.postprocess(*blobs, head, score_threshold=0)) == [1, 5, 3]
    assert anchors_of(sd.postprocess(*blobs, head, score_threshold=1)) == []


def test_scores_above_one() -> None:
    head, (delta, classes, conf) = line_of_boxes([0.5, 2, 1e38, -3])
    assert anchors_of(sd.postprocess(delta, classes, conf, head, score_threshold=1)) == [2, 1]
    classes[3] = -2
    assert anchors_of(sd.postprocess(delta, classes, conf, head, score_threshold=1)) == [2, 3, 1]
    classes[:] = 3e38  # the product is a double, only its report as float32 overflows
    found = sd.postprocess(delta, classes, conf, head, score_threshold=1)
    assert anchors_of(found) == [2, 1, 0]
    assert found.confidence.tolist() == [math.inf, math.inf, np.float32(3e38) / 2]


def test_top_n_comes_before_nms() -> None:
    """Three boxes on one spot and one elsewhere: of the best three, two fall to NMS, and the fourth does not move up."""
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.05], np.float32)
    delta = np.zeros((5, 4), np.float32)
    delta[3, 0] = 2
    classes = np.ones((5, 2), np.float32)
    found = [sd.postprocess(delta, classes, scores, ONE_CELL, top_n=top_n) for top_n in (3, 4)]
    assert [d.confidence.tolist() for d in found] == [[np.float32(0.9)], [np.float32(0.9), np.float32(0.6)]]


def test_top_n_counts_over_all_classes() -> None:
    classes = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    conf = np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32)
    found = sd.postprocess(np.zeros((5, 4), np.float32), classes, conf, ONE_CELL, top_n=2, nms_threshold=1)
    assert found.class_id.tolist() == [0, 0]


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


def test_options_take_the_place_of_the_configs() -> None:
    rng = np.random.default_rng(5)
    for seed in range(20):
        blobs = random_blobs(HEAD, np.random.default_rng(seed))
        options = {
            "score_threshold": float(rng.random() / 2),
            "nms_threshold": float(rng.random()),
            "nms_kind": str(rng.choice(["reference", "greedy"])),
            "top_n": int(rng.integers(1, 24)),
            "class_agnostic": bool(rng.integers(2)),
        }
        expected = sd.postprocess(*blobs, dataclasses.replace(HEAD, **options))
        assert sd.postprocess(*blobs, HEAD, **options) == expected
        assert sd.postprocess_batch(*(blob[None] for blob in blobs), HEAD, **options) == [expected]


@pytest.mark.parametrize(
    ("option", "value"),
    [("score_threshold", 0.6), ("nms_threshold", 0.6), ("nms_kind", "greedy"), ("top_n", 2), ("class_agnostic", True)],
)
def test_each_option_matters(option: str, value: Any) -> None:
    assert differ({}, {option: value})


def test_options_of_numpy_types() -> None:
    blobs = random_blobs(HEAD, np.random.default_rng(0))
    plain = sd.postprocess(*blobs, HEAD, score_threshold=0.5, nms_threshold=0.25, top_n=3, class_agnostic=True)
    numpy = sd.postprocess(
        *blobs,
        HEAD,
        score_threshold=np.float32(0.5),
        nms_threshold=np.array(0.25),
        top_n=np.uint8(3),
        class_agnostic=np.True_,
    )
    assert len(plain) > 0
    assert numpy == plain


@pytest.mark.parametrize(("epsilon", "count"), [(0.0, 1), (99.0, 1), (101.0, 2)])
def test_the_epsilon_is_added_to_the_union(epsilon: float, count: int) -> None:
    """A box of 200 in one of 400: 200 / (400 + 100) is the threshold."""
    head = dataclasses.replace(ONE_CELL, anchors=((20, 20), (20, 10)), iou_epsilon=epsilon, nms_threshold=0.4)
    blobs = (np.zeros((2, 4), np.float32), np.ones((2, 2), np.float32), np.array([0.9, 0.8], np.float32))
    for kind in ("reference", "greedy"):
        assert len(sd.postprocess(*blobs, head, nms_kind=kind)) == count


# ---- empty boxes, picture size ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corners", ["plain", "plus_one_after_clip", "minus_one_before_clip"])
def test_empty_boxes(corners: str) -> None:
    head = dataclasses.replace(ONE_CELL, corners=corners, nms_threshold=1.0)
    delta = np.zeros((5, 4), np.float32)
    delta[1, 0], delta[2, 1], delta[3, 2] = 40, -40, -800  # right of the picture, above it, without height
    blobs = (delta, np.ones((5, 2), np.float32), np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32))
    assert sd.postprocess(*blobs, head).confidence.tolist() == [np.float32(0.9), np.float32(0.5)]
    assert len(sd.postprocess(*blobs, dataclasses.replace(head, drop_empty=False))) == 5


def test_boxes_are_dropped_as_empty_after_nms() -> None:
    """With +1 an empty box of one pixel has an area: it suppresses a lower one, and only then goes."""
    head = dataclasses.replace(ONE_CELL, corners="plus_one_after_clip", grid=(1, 1), anchors=((1, 1), (20, 20)))
    delta = np.zeros((2, 4), np.float32)
    delta[0, 0], delta[0, 2:] = 0.0, -800
    delta[1, 2:] = -4  # 20 * e^-4: 0.37 pixels wide, 1.37 with the 1; it contains the first one
    blobs = (delta, np.ones((2, 2), np.float32), np.array([0.9, 0.5], np.float32))
    assert len(sd.postprocess(*blobs, head, nms_threshold=0.9)) == 1
    assert len(sd.postprocess(*blobs, head, nms_threshold=0.1)) == 0


def test_image_size_stretches_boxes() -> None:
    delta, classes, conf = np.zeros((5, 4), np.float32), np.ones((5, 2), np.float32), np.full(5, 0.5, np.float32)
    assert sd.postprocess(delta, classes, conf, ONE_CELL).xyxy.tolist() == [[40, 40, 60, 60]]
    found = sd.postprocess(delta, classes, conf, ONE_CELL, image_size=(300, 50))
    assert found.xyxy.tolist() == [[120, 20, 180, 30]]


@pytest.mark.parametrize("corners", ["plain", "plus_one_after_clip", "minus_one_before_clip"])
@pytest.mark.parametrize("size", [(1, 1), (3, 1000), (4097, 77)])
def test_no_box_leaves_the_picture(corners: str, size: tuple[int, int]) -> None:
    head = dataclasses.replace(HEAD, corners=corners, nms_threshold=1.0, score_threshold=0.0)
    for seed in range(20):
        delta, classes, conf = random_blobs(head, np.random.default_rng(seed))
        found = sd.postprocess(delta * 9, classes, conf, head, image_size=size)
        assert len(found) > 0
        assert found.xyxy.min() >= 0
        assert (found.xyxy <= np.tile(size, 2)).all()
    if corners == "plus_one_after_clip":  # only there a box can reach the picture's last edge
        assert (found.xyxy[:, 2:].max(axis=0) == size).all()


# ---- shapes, types and memory of the blobs ------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_every_accepted_shape(layout: str) -> None:
    head = dataclasses.replace(HEAD, layout=layout)
    blobs = random_blobs(head, np.random.default_rng(1))
    expected = sd.postprocess(*blobs, head)
    assert len(expected) > 1
    seen = set()
    for shapes in itertools.product(*(sorted(head.single_shapes[name]) for name in NAMES)):
        reshaped = [blob.reshape(shape) for blob, shape in zip(blobs, shapes, strict=True)]
        assert sd.postprocess(*reshaped, head) == expected
        np.testing.assert_array_equal(sd.decode(reshaped[0], head), sd.decode(blobs[0], head))
        for result, usual in zip(sd.score(*reshaped[1:], head), sd.score(*blobs[1:], head), strict=True):
            np.testing.assert_array_equal(result, usual)
        seen.add(shapes)
    assert len(seen) == (6 * 6 * 6 if layout == "hwc" else 4 * 4 * 2)


def test_shapes_of_the_layouts() -> None:
    assert HEAD.blob_shapes == {
        "delta_bbox": ((3, 4, 8), (3, 4, 2, 4), (24, 4)),
        "class_scores": ((24, 3), (3, 4, 6), (3, 4, 2, 3)),
        "conf_scores": ((3, 4, 2), (24,), (24, 1)),
    }
    assert dataclasses.replace(HEAD, layout="chw").blob_shapes == {
        "delta_bbox": ((8, 3, 4), (2, 4, 3, 4)),
        "class_scores": ((6, 3, 4), (2, 3, 3, 4)),
        "conf_scores": ((2, 3, 4),),
    }


def transposed(blob: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(blob.T).T


def strided(blob: NDArray[Any]) -> NDArray[Any]:
    wide = np.full((*blob.shape, 3), np.nan, blob.dtype)
    wide[..., 1] = blob
    return wide[..., 1]


def reversed_(blob: NDArray[Any]) -> NDArray[Any]:
    return np.flip(np.flip(blob).copy())


def unaligned(blob: NDArray[Any]) -> NDArray[Any]:
    memory = np.empty(blob.nbytes + 1, np.uint8)
    memory[1:] = np.frombuffer(blob.tobytes(), np.uint8)
    return memory[1:].view(blob.dtype).reshape(blob.shape)


def read_only(blob: NDArray[Any]) -> NDArray[Any]:
    blob = blob.copy()
    blob.flags.writeable = False
    return blob


FORMS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "float16": lambda blob: blob.astype(np.float16),
    "float64": lambda blob: blob.astype(np.float64),
    "longdouble": lambda blob: blob.astype(np.longdouble),
    "big-endian": lambda blob: blob.astype(">f4"),
    "big-endian double": lambda blob: blob.astype(">f8"),
    "read-only": read_only,
    "transposed": transposed,
    "strided": strided,
    "reversed": reversed_,
    "unaligned": unaligned,
    "nested lists": lambda blob: blob.tolist(),
    "subclass": lambda blob: blob.view(np.recarray),
    "transposed float64": lambda blob: transposed(blob.astype(np.float64)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_every_form_of_the_same_data(form: str, layout: str) -> None:
    head = dataclasses.replace(HEAD, layout=layout)
    blobs = [blob.astype(np.float16).astype(np.float32) for blob in random_blobs(head, np.random.default_rng(2))]
    others = [FORMS[form](blob) for blob in blobs]
    expected = sd.postprocess(*blobs, head)
    assert len(expected) > 1
    assert sd.postprocess(*others, head) == expected
    np.testing.assert_array_equal(sd.decode(others[0], head), sd.decode(blobs[0], head))
    np.testing.assert_array_equal(sd.score(*others[1:], head), sd.score(*blobs[1:], head))
    batch = [FORMS[form](np.stack([blob, blob])) for blob in blobs]
    assert sd.postprocess_batch(*batch, head) == [expected, expected]


def test_a_double_beyond_float32_is_an_infinity() -> None:
    delta, classes, conf = np.zeros((5, 4)), np.ones((5, 2)), np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    delta[0, 0], classes[1, 0], conf[2] = 1e300, -1e300, 1e300
    head = dataclasses.replace(ONE_CELL, nms_threshold=1.0)
    assert sd.postprocess(delta, classes, conf, head).confidence.tolist() == [np.float32(0.6), 0.5]


def test_blobs_are_neither_changed_nor_kept() -> None:
    blobs = random_blobs(HEAD, np.random.default_rng(4), wild=0.1)
    before = [blob.copy() for blob in blobs]
    found = sd.postprocess(*blobs, HEAD, score_threshold=0)
    again = sd.Detections(found.xyxy, found.confidence, found.class_id, found.names)
    for blob, copy in zip(blobs, before, strict=True):
        np.testing.assert_array_equal(blob, copy)
        blob[:] = 7
    assert len(found) > 0
    assert found == again


def test_contiguous_float32_is_taken_as_it_is() -> None:
    blobs = random_blobs(HEAD, np.random.default_rng(0))
    for name, blob in zip(NAMES, blobs, strict=True):
        assert check_blob(name, blob, HEAD.single_shapes, HEAD) is blob
        assert check_blob(name, blob.astype(np.float64), HEAD.single_shapes, HEAD).dtype == np.float32


def test_floats_at_odd_addresses_are_copied() -> None:
    """Some processors cannot load them, and no C program may."""
    for name, blob in zip(NAMES, GOOD, strict=True):
        assert not unaligned(blob).flags.aligned
        assert check_blob(name, unaligned(blob), HEAD.single_shapes, HEAD).flags.aligned
        assert _floats(name, unaligned(blob)).flags.aligned


def peak_of(call: Callable[[], object]) -> int:
    """Bytes that a call allocates at most; NumPy tells tracemalloc of its arrays."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_contiguous_float32_is_not_copied() -> None:
    delta, classes, conf = random_blobs(sd.VOC, np.random.default_rng(0))
    batch = [blob[None] for blob in (delta, classes, conf)]
    assert peak_of(lambda: sd.postprocess(delta, classes, conf)) < conf.nbytes
    assert peak_of(lambda: sd.postprocess_batch(*batch)) < conf.nbytes
    assert peak_of(lambda: sd.postprocess(delta, classes.astype(np.float64), conf)) > classes.nbytes  # the scale can tell


# ---- batches ------------------------------------------------------------------------------------------------------------


def pictures(head: HeadConfig, count: int, seed: int = 0) -> Blobs:
    rng = np.random.default_rng(seed)
    singles = [random_blobs(head, rng, kind) for kind in itertools.islice(itertools.cycle(["plain", "quiet", "ties"]), count)]
    shapes = [head.blob_shapes[name][0] for name in NAMES]
    delta, classes, conf = (
        np.array([single[at] for single in singles], np.float32).reshape(count, *shape) for at, shape in enumerate(shapes)
    )
    return delta, classes, conf


@pytest.mark.parametrize("count", [0, 1, 3, 20])
@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_batch_is_its_pictures(count: int, layout: str) -> None:
    head = dataclasses.replace(HEAD, layout=layout, score_threshold=0.1)
    blobs = pictures(head, count)
    singles = [sd.postprocess(*picture, head) for picture in zip(*blobs, strict=True)]
    assert sd.postprocess_batch(*blobs, head) == singles
    assert sum(map(len, singles)) >= count


@settings(max_examples=100)
@given(heads(), st.integers(0, 2**32), st.integers(0, 4), st.data())
def test_any_batch_is_its_pictures(head: HeadConfig, seed: int, count: int, data: st.DataObject) -> None:
    blobs = pictures(head, count, seed)
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 999), st.integers(1, 999)), min_size=count, max_size=count))
    found = sd.postprocess_batch(*blobs, head, image_size=sizes)
    singles = zip(*blobs, sizes, strict=True)
    assert found == [sd.postprocess(*picture, head, image_size=size) for *picture, size in singles]


def test_batch_image_sizes() -> None:
    blobs = pictures(HEAD, 2)
    one, two = (
        sd.postprocess(*(blob[at] for blob in blobs), HEAD, image_size=size) for at, size in enumerate([(640, 480), (99, 7)])
    )
    assert sd.postprocess_batch(*blobs, HEAD, image_size=[(640, 480), (99, 7)]) == [one, two]
    assert sd.postprocess_batch(*blobs, HEAD, image_size=np.array([(640, 480), (99, 7)])) == [one, two]
    same = sd.postprocess_batch(*blobs, HEAD, image_size=(640, 480))
    assert same[0] == one
    assert same[1] == sd.postprocess(*(blob[1] for blob in blobs), HEAD, image_size=(640, 480)) != two
    assert sd.postprocess_batch(*pictures(HEAD, 0), HEAD, image_size=(640, 480)) == []
    assert sd.postprocess_batch(*pictures(HEAD, 0), HEAD, image_size=[]) == []


@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_batch_takes_every_shape(layout: str) -> None:
    head = dataclasses.replace(HEAD, layout=layout)
    blobs = pictures(head, 3)
    expected = sd.postprocess_batch(*blobs, head)
    for shapes in itertools.product(*(head.blob_shapes[name] for name in NAMES)):
        reshaped = [blob.reshape(3, *shape) for blob, shape in zip(blobs, shapes, strict=True)]
        assert sd.postprocess_batch(*reshaped, head) == expected


# ---- results of nothing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [HEAD, sd.VOC, sd.KITTI], ids=["small", "VOC", "KITTI"])
@pytest.mark.parametrize("size", [None, (640, 480)])
def test_nothing_found(head: HeadConfig, size: tuple[int, int] | None) -> None:
    blobs = [np.zeros(head.blob_shapes[name][0], np.float32) for name in NAMES]
    found = sd.postprocess(*blobs, head, score_threshold=0, image_size=size)
    for each in (found, *sd.postprocess_batch(*(blob[None] for blob in blobs), head, image_size=size)):
        assert (each.xyxy.shape, each.xyxy.dtype) == ((0, 4), np.float32)
        assert (each.confidence.shape, each.confidence.dtype) == ((0,), np.float32)
        assert (each.class_id.shape, each.class_id.dtype) == ((0,), np.int32)
        assert each.names == head.labels
        assert len(each) == 0


def test_dtypes_of_what_is_found() -> None:
    found = sd.postprocess(*random_blobs(HEAD, np.random.default_rng(0)), HEAD)
    count = len(found)
    assert count > 1
    assert (found.xyxy.shape, found.xyxy.dtype) == ((count, 4), np.float32)
    assert (found.confidence.shape, found.confidence.dtype) == ((count,), np.float32)
    assert (found.class_id.shape, found.class_id.dtype) == ((count,), np.int32)


# ---- threads ------------------------------------------------------------------------------------------------------------


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


# ---- what is refused ----------------------------------------------------------------------------------------------------

GOOD = random_blobs(HEAD, np.random.default_rng(0))


def with_blob(at: int, blob: Any) -> list[Any]:
    return [*GOOD[:at], blob, *GOOD[at + 1 :]]


WRONG_SHAPES = [
    (0, (), r"delta_bbox must have the shape \(3, 4, 8\) or \(3, 4, 2, 4\) or \(24, 4\), got \(\)"),
    (0, (96,), r"delta_bbox must have the shape .*, got \(96,\)"),
    (0, (4, 3, 8), r"delta_bbox must have the shape .*, got \(4, 3, 8\)"),
    (0, (8, 3, 4), r"delta_bbox must have the shape .*, got \(8, 3, 4\)"),
    (0, (1, 1, 24, 4), r"delta_bbox must have the shape .*, got \(1, 1, 24, 4\)"),
    (0, (0, 3, 4, 8), r"delta_bbox must have the shape .*, got \(0, 3, 4, 8\)"),
    (1, (24, 2), r"class_scores must have the shape \(24, 3\) or \(3, 4, 6\) or \(3, 4, 2, 3\), got \(24, 2\)"),
    (1, (72,), r"class_scores must have the shape .*, got \(72,\)"),
    (2, (3, 4), r"conf_scores must have the shape \(3, 4, 2\) or \(24,\) or \(24, 1\), got \(3, 4\)"),
    (2, (25,), r"conf_scores must have the shape .*, got \(25,\)"),
]


@pytest.mark.parametrize(("at", "shape", "message"), WRONG_SHAPES)
def test_wrong_shapes(at: int, shape: tuple[int, ...], message: str) -> None:
    blobs = with_blob(at, np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=message):
        sd.postprocess(*blobs, HEAD)
    with pytest.raises(ValueError, match=message):
        sd.decode(blobs[0], HEAD) if at == 0 else sd.score(*blobs[1:], HEAD)


@pytest.mark.parametrize("count", [2, 5])
def test_several_pictures_are_sent_to_postprocess_batch(count: int) -> None:
    blobs = [np.stack([blob] * count) for blob in GOOD]
    message = rf"delta_bbox must have .*, got \({count}, 3, 4, 8\): these are {count} pictures, for postprocess_batch"
    with pytest.raises(ValueError, match=message):
        sd.postprocess(*blobs, HEAD)
    with pytest.raises(ValueError, match=rf"class_scores .*: these are {count} pictures, for postprocess_batch"):
        sd.score(*blobs[1:], HEAD)


def test_class_and_conf_scores_swapped() -> None:
    delta, classes, conf = GOOD
    message = r"class_scores and conf_scores look swapped: class_scores has the shape \(3, 4, 2\) and conf_scores \(24, 3\)"
    with pytest.raises(ValueError, match=message):
        sd.postprocess(delta, conf, classes, HEAD)
    with pytest.raises(ValueError, match=message):
        sd.score(conf, classes, HEAD)


BATCH_SHAPES = [
    (0, (3, 4, 8), r"delta_bbox must have the shape \(3, 3, 4, 8\) or .*, got \(3, 4, 8\)"),
    (0, (3, 3, 4, 8), r"class_scores must have the shape \(3, 24, 3\) or .* or \(3, 3, 4, 2, 3\), got \(2, 24, 3\)"),
    (0, (), r"delta_bbox must have the shape \(0, 3, 4, 8\) or .*, got \(\)"),
    (0, (2, 3, 4, 9), r"delta_bbox must have the shape \(2, 3, 4, 8\) or .*, got \(2, 3, 4, 9\)"),
    (1, (3, 24, 3), r"class_scores must have the shape \(2, 24, 3\) or .*, got \(3, 24, 3\)"),
    (1, (24, 3), r"class_scores must have the shape \(2, 24, 3\) or .*, got \(24, 3\)"),
    (2, (1, 3, 4, 2), r"conf_scores must have the shape \(2, 3, 4, 2\) or \(2, 24\) or \(2, 24, 1\), got \(1, 3, 4, 2\)"),
]


@pytest.mark.parametrize(("at", "shape", "message"), BATCH_SHAPES)
def test_wrong_batch_shapes(at: int, shape: tuple[int, ...], message: str) -> None:
    blobs: list[Any] = [np.stack([blob] * 2) for blob in GOOD]
    blobs[at] = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=message):
        sd.postprocess_batch(*blobs, HEAD)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.complex64, bool, object, "S4", "M8[s]"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_blobs_that_hold_no_floats(at: int, dtype: Any) -> None:
    blobs = with_blob(at, np.zeros(GOOD[at].shape, np.int8).astype(dtype))
    message = f"{NAMES[at]} must hold floats, got {np.dtype(dtype)}".replace("[", r"\[")
    with pytest.raises(TypeError, match=message):
        sd.postprocess(*blobs, HEAD)
    with pytest.raises(TypeError, match=message):
        sd.postprocess_batch(*(blob[None] for blob in blobs), HEAD)
    with pytest.raises(TypeError, match=message):
        sd.decode(blobs[0], HEAD) if at == 0 else sd.score(*blobs[1:], HEAD)


WRONG_OPTIONS = [
    *(
        ({name: value}, error, f"{name} must {message}")
        for name in ("score_threshold", "nms_threshold")
        for value, error, message in (
            (math.nan, ValueError, "be finite, got nan"),
            (math.inf, ValueError, "be finite, got inf"),
            (-1e-9, ValueError, r"lie in \[0, 1\], got -1e-09"),
            (1.5, ValueError, r"lie in \[0, 1\], got 1.5"),
            ("0.5", TypeError, "be a number, got '0.5'"),
            ([0.5], TypeError, r"be a number, got \[0.5\]"),
            (1j, TypeError, "be a number, got 1j"),
        )
    ),
    ({"top_n": 0}, ValueError, "top_n must be at least 1, got 0"),
    ({"top_n": -1}, ValueError, "top_n must be at least 1, got -1"),
    ({"top_n": 1.5}, TypeError, "top_n must be an integer, got 1.5"),
    ({"top_n": True}, TypeError, "top_n must be an integer, got True"),
    ({"top_n": "3"}, TypeError, "top_n must be an integer, got '3'"),
    ({"nms_kind": "soft"}, ValueError, "nms_kind must be one of 'reference', 'greedy', got 'soft'"),
    ({"nms_kind": ""}, ValueError, "nms_kind must be one of 'reference', 'greedy', got ''"),
    ({"class_agnostic": "yes"}, TypeError, "class_agnostic must be True or False, got 'yes'"),
    ({"class_agnostic": 2}, TypeError, "class_agnostic must be True or False, got 2"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG_OPTIONS)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.postprocess(*GOOD, HEAD, **options)
    with pytest.raises(error, match=message):
        sd.postprocess_batch(*(blob[None] for blob in GOOD), HEAD, **options)


WRONG_SIZES = [
    ((0, 5), ValueError, "image_size must be at least 1, got 0"),
    ((5, -1), ValueError, "image_size must be at least 1, got -1"),
    ((1.5, 2), TypeError, "image_size must be an integer, got 1.5"),
    ((True, 2), TypeError, "image_size must be an integer, got True"),
    ("ab", TypeError, "image_size must be an integer, got 'a'"),
]


@pytest.mark.parametrize(("size", "error", "message"), WRONG_SIZES)
def test_wrong_image_sizes(size: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.postprocess(*GOOD, HEAD, image_size=size)
    with pytest.raises(error, match=message):
        sd.postprocess_batch(*(blob[None] for blob in GOOD), HEAD, image_size=size)


@pytest.mark.parametrize("size", [5, (1, 2, 3), (), (4,)])
def test_image_sizes_that_are_no_pair(size: Any) -> None:
    with pytest.raises(ValueError, match="image_size must be two integers, got"):
        sd.postprocess(*GOOD, HEAD, image_size=size)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ([(4, 5)], r"image_size must be one \(width, height\) or 2 of them, got 1"),
        ([(4, 5)] * 3, r"image_size must be one \(width, height\) or 2 of them, got 3"),
        ([], r"image_size must be one \(width, height\) or 2 of them, got 0"),
        ([(4, 5), (4, 0)], "image_size must be at least 1, got 0"),
        ([(4, 5), (4, 5, 6)], r"image_size must be two integers, got \(4, 5, 6\)"),
        ([(4, 5), 4], "image_size must be two integers, got 4"),
    ],
)
def test_wrong_batch_image_sizes(size: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sd.postprocess_batch(*(np.stack([blob] * 2) for blob in GOOD), HEAD, image_size=size)


def test_batch_image_size_that_is_no_sequence() -> None:
    with pytest.raises((TypeError, ValueError), match="image_size must be"):
        sd.postprocess_batch(*(np.stack([blob] * 2) for blob in GOOD), HEAD, image_size=5)


@pytest.mark.parametrize("threshold", [True, np.True_, 0.5 + 1j, np.complex128(0.5), "0.5", None.__class__])
def test_thresholds_that_are_no_real_numbers(threshold: Any) -> None:
    with pytest.raises(TypeError, match="score_threshold must be a number"):
        sd.postprocess(*GOOD, HEAD, score_threshold=threshold)


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
