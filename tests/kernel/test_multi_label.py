"""Every class of an anchor as a candidate of its own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from examples import examples
from head_cases import HEAD, NOT_FINITE, ONE_CELL, random_blobs
from hypothesis import given
from hypothesis import strategies as st

import opencv_squeezedet as sd

MANY = dataclasses.replace(ONE_CELL, anchors=((20, 20),), labels=("a", "b", "c", "d"), multi_label=True)
NOWHERE = np.zeros((1, 4), np.float32)


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


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (3, 3), (4, 4), (10**9, 4)])
def test_top_n_counts_classes(top_n: int, count: int) -> None:
    """Of one anchor there are as many candidates as classes."""
    blobs = NOWHERE, np.array([[0.5, 1, 0.25, 0.75]], np.float32), np.array([0.8], np.float32)
    found = sd.postprocess(*blobs, MANY, top_n=top_n, score_threshold=0)
    assert found.class_id.tolist() == [1, 3, 0, 2][:count]


@pytest.mark.parametrize("top_n", [1, 2, 3, 5, 9, 100])
@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_ties_by_anchor_then_by_class(layout: str, top_n: int) -> None:
    head = dataclasses.replace(HEAD, grid=(2, 1), layout=layout, nms_threshold=1.0, multi_label=True, top_n=top_n)
    shapes = [head.blob_shapes[name][0] for name in ("delta_bbox", "class_scores", "conf_scores")]
    found = sd.postprocess(
        *(np.full(shape, value, np.float32) for shape, value in zip(shapes, (0, 1, 0.5), strict=True)), head
    )
    assert found.class_id.tolist() == ([0, 1, 2] * 4)[:top_n]
    np.testing.assert_array_equal(found.xyxy, sd.decode(np.zeros(shapes[0], np.float32), head).repeat(3, axis=0)[:top_n])


@examples(100)
@given(st.integers(0, 2**32), st.booleans(), st.sampled_from(["hwc", "chw"]))
def test_the_best_class_has_its_score(seed: int, activated: bool, layout: str) -> None:
    """To the last bit, with logits as well: the highest candidates of all anchors are those without ``multi_label``."""
    head = dataclasses.replace(HEAD, activated=activated, layout=layout, nms_threshold=1.0, score_threshold=0.0, top_n=10**9)
    delta, *blobs = random_blobs(head, np.random.default_rng(seed))
    delta[:] = 0  # no two anchors have the same box
    one, every = sd.postprocess(delta, *blobs, head), sd.postprocess(delta, *blobs, head, multi_label=True)
    boxes = every.xyxy.tolist()
    best = [at for at, box in enumerate(boxes) if boxes.index(box) == at]
    assert every[best] == one
    assert (len(one), len(every)) == (24, 72)


def test_logits_are_turned_into_probabilities() -> None:
    logits, confidence = np.array([[1.0, 0.0, -1.0, 3.0]], np.float32), np.array([0.5], np.float32)
    head = dataclasses.replace(MANY, activated=False, score_threshold=0.0)
    found = sd.postprocess(NOWHERE, logits, confidence, head)
    assert found.class_id.tolist() == [3, 0, 1, 2]
    softmax = np.exp([3.0, 1.0, 0.0, -1.0]) / np.exp([3.0, 1.0, 0.0, -1.0]).sum()
    np.testing.assert_allclose(found.confidence, softmax / (1 + np.exp(-0.5)), rtol=1e-6)


@pytest.mark.parametrize("value", NOT_FINITE)
def test_an_anchor_that_is_not_finite_goes_with_all_its_classes(value: float) -> None:
    for at in range(3):
        blobs = [NOWHERE.copy(), np.ones((1, 4), np.float32), np.ones(1, np.float32)]
        blobs[at].reshape(-1)[0] = value
        assert len(sd.postprocess(*blobs, MANY)) == 0


def test_all_classes_of_all_anchors_of_a_large_head() -> None:
    rng = np.random.default_rng(0)
    blobs = random_blobs(sd.VOC, rng)
    options = {"score_threshold": 0.5, "nms_threshold": 1.0, "top_n": 10**6, "multi_label": True}
    products = blobs[2].reshape(-1, 1).astype(np.float64) * blobs[1]
    found = sd.postprocess(*blobs, dataclasses.replace(sd.VOC, drop_empty=False), **options)
    assert len(found) == (products > 0.5).sum() > 5000
    assert found.confidence.tolist() == sorted(products[products > 0.5].astype(np.float32).tolist(), reverse=True)
