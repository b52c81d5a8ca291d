"""`postprocess_batch`: what `postprocess` gives, for each picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from examples import examples
from head_cases import GOOD, HEAD, heads, pictures
from hypothesis import given
from hypothesis import strategies as st

import opencv_squeezedet as sd
from opencv_squeezedet import HeadConfig


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
