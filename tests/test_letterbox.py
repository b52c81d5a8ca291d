"""Letterbox and crop: the picture keeps its shape, and boxes find their way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from head_cases import GOOD, HEAD

import opencv_squeezedet as sd
from opencv_squeezedet.preprocess import Resize, placement

SIZES = [(416, 416), (451, 300), (300, 451), (1, 1), (1, 5000), (5000, 1), (2, 3), (417, 416), (1248, 384), (37, 4001)]


def blob_of(image: np.ndarray, resize: Resize, size: tuple[int, int] = (416, 416)) -> np.ndarray:
    return sd.Preprocess(size, resize=resize).blob(image)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_blobs_of_any_size(size: tuple[int, int], resize: Resize) -> None:
    blob = blob_of(np.full((size[1], size[0], 3), 200, np.uint8), resize)
    assert blob.shape == (1, 3, 416, 416)
    assert blob.dtype == np.float32
    assert blob.flags.c_contiguous
    assert set(np.unique(blob)) <= {0.0, 200.0 - 104, 200.0 - 117, 200.0 - 123}


def test_crop_is_the_middle(photo: np.ndarray) -> None:
    image = photo[:, :450]
    assert np.array_equal(blob_of(image, "crop"), blob_of(image[:, 75:375], "stretch"))
    assert np.array_equal(blob_of(image, "crop", (416, 208)), blob_of(image[37:262], "stretch", (416, 208)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("input_size", [(416, 416), (1248, 384)])
def test_the_picture_lies_where_its_placement_says(size: tuple[int, int], resize: Resize, input_size: tuple[int, int]) -> None:
    """The input's corners, taken back, are the corners of the part of the picture that the input shows."""
    p = placement(size, input_size, resize)
    assert (p.width, p.height) == size
    corners = np.array([[0, 0], input_size], float)
    back = (corners - [p.left, p.top]) * [p.x_factor, p.y_factor]
    for axis in (0, 1):
        low, high = back[:, axis]
        if resize == "stretch":
            assert (low, high) == pytest.approx((0, size[axis]))
        elif resize == "letterbox":
            assert low <= 1e-9
            assert high >= size[axis] - 1e-9
        else:
            assert low >= -1e-9
            assert high <= size[axis] + 1e-9
    if resize != "stretch" and min(*size, size[0] / p.x_factor, size[1] / p.y_factor) > 30:  # else a pixel is much
        assert p.x_factor == pytest.approx(p.y_factor, rel=0.05)


@pytest.mark.parametrize("size", [(451, 300), (300, 451), (800, 100), (1, 900), (900, 1)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_boxes_are_mapped_back(size: tuple[int, int], resize: Resize) -> None:
    """A box on a patch of the input comes out as that patch of the picture, clipped to it."""
    head = sd.HeadConfig(input_size=(416, 416), grid=(1, 1), anchors=[(100, 60)], labels=["it"], drop_empty=False)
    blobs = [np.zeros((1, 1, 4), np.float32), np.ones((1, 1), np.float32), np.ones((1, 1, 1), np.float32)]
    found = sd.postprocess(*blobs, head, image_size=size, resize=resize)
    p = placement(size, (416, 416), resize)
    x1, y1, x2, y2 = 208 - 50, 208 - 30, 208 + 50, 208 + 30
    expected = [(x1 - p.left) * p.x_factor, (y1 - p.top) * p.y_factor, (x2 - p.left) * p.x_factor, (y2 - p.top) * p.y_factor]
    assert found.xyxy[0] == pytest.approx(np.clip(expected, 0, (*size, *size)), rel=1e-6)
    np.testing.assert_allclose(p.to_picture(np.array([[x1, y1, x2, y2]], np.float32)), found.xyxy, rtol=1e-5)
    assert sd.postprocess_batch(*(blob[None] for blob in blobs), head, image_size=size, resize=resize) == [found]


def test_the_detector_letterboxes(photo: np.ndarray) -> None:
    detector = sd.SqueezeDet(resize="letterbox")
    assert detector.preprocess == sd.Preprocess((384, 384), resize="letterbox")
    found = detector.detect(photo)
    assert found.labels[0] == "cat"
    assert found != sd.SqueezeDet().detect(photo)
    assert detector.detect_batch([photo, photo[:100]])[0] == found


@pytest.mark.parametrize("resize", ["pad", None, 3])
def test_other_ways_are_refused(resize: Any) -> None:
    with pytest.raises(ValueError, match=r"resize.*'stretch', 'letterbox', 'crop'"):
        sd.Preprocess((416, 416), resize=resize)
    with pytest.raises(ValueError, match="resize must be one of"):
        sd.postprocess(*GOOD, HEAD, image_size=(4, 4), resize=resize)
