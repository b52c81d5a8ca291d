"""Scores and classes of all anchors."""

from __future__ import annotations

import numpy as np
import reference
from examples import examples
from head_cases import ONE_CELL, Blobs, heads_and_blobs
from hypothesis import given

import opencv_squeezedet as sd
from opencv_squeezedet import HeadConfig


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
