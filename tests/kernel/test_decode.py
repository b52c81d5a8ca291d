"""Boxes of all anchors."""

from __future__ import annotations

import numpy as np
import reference
from examples import examples
from head_cases import ONE_CELL, Blobs, heads_and_blobs
from hypothesis import given

import opencv_squeezedet as sd
from opencv_squeezedet import HeadConfig


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
