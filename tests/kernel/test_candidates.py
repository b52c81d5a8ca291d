"""Which anchors become candidates for NMS: score threshold, top-n, ties."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from head_cases import HEAD, NOT_FINITE, ONE_CELL, anchors_of, line_of_boxes, shaped

import opencv_squeezedet as sd


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


def test_scores_above_one() -> None:
    head, (delta, classes, conf) = line_of_boxes([0.5, 2, 1e38, -3])
    assert anchors_of(sd.postprocess(delta, classes, conf, head, score_threshold=1)) == [2, 1]
    classes[3] = -2
    assert anchors_of(sd.postprocess(delta, classes, conf, head, score_threshold=1)) == [2, 3, 1]
    classes[:] = 3e38  # the product is a double, only its report as float32 overflows
    found = sd.postprocess(delta, classes, conf, head, score_threshold=1)
    assert anchors_of(found) == [2, 1, 0]
    assert found.confidence.tolist() == [math.inf, math.inf, np.float32(3e38) / 2]


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
