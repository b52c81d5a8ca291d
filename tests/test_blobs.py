"""Shapes, types and memory of the blobs."""

from __future__ import annotations

import dataclasses
import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from head_cases import GOOD, HEAD, NAMES, ONE_CELL, random_blobs, unaligned, with_blob
from numpy.typing import NDArray

import opencv_squeezedet as sd


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


WRONG_SHAPES = [
    (0, (), r"delta_bbox.*\(3, 4, 8\).*\(3, 4, 2, 4\).*\(24, 4\).*got \(\)"),
    (0, (96,), r"delta_bbox .*got \(96,\)"),
    (0, (4, 3, 8), r"delta_bbox .*got \(4, 3, 8\)"),
    (0, (1, 1, 24, 4), r"delta_bbox .*got \(1, 1, 24, 4\)"),
    (1, (24, 2), r"class_scores.*\(24, 3\).*\(3, 4, 6\).*\(3, 4, 2, 3\).*got \(24, 2\)"),
    (1, (72,), r"class_scores .*got \(72,\)"),
    (2, (3, 4), r"conf_scores.*\(3, 4, 2\).*\(24,\).*\(24, 1\).*got \(3, 4\)"),
]


@pytest.mark.parametrize(("at", "shape", "message"), WRONG_SHAPES)
def test_wrong_shapes(at: int, shape: tuple[int, ...], message: str) -> None:
    blobs = with_blob(at, np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=message):
        sd.postprocess(*blobs, HEAD)
    with pytest.raises(ValueError, match=message):
        sd.decode(blobs[0], HEAD) if at == 0 else sd.score(*blobs[1:], HEAD)


def test_several_pictures_are_sent_to_postprocess_batch() -> None:
    blobs = [np.stack([blob] * 2) for blob in GOOD]
    with pytest.raises(ValueError, match=r"delta_bbox.*got \(2, 3, 4, 8\).*postprocess_batch"):
        sd.postprocess(*blobs, HEAD)
    with pytest.raises(ValueError, match=r"class_scores.*postprocess_batch"):
        sd.score(*blobs[1:], HEAD)


def test_class_and_conf_scores_swapped() -> None:
    delta, classes, conf = GOOD
    message = r"class_scores and conf_scores look swapped: class_scores has the shape \(3, 4, 2\) and conf_scores \(24, 3\)"
    with pytest.raises(ValueError, match=message):
        sd.postprocess(delta, conf, classes, HEAD)
    with pytest.raises(ValueError, match=message):
        sd.score(conf, classes, HEAD)


def read_only(blob: NDArray[Any]) -> NDArray[Any]:
    blob = blob.copy()
    blob.flags.writeable = False
    return blob


FORMS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "float16": lambda blob: blob.astype(np.float16),
    "longdouble": lambda blob: blob.astype(np.longdouble),
    "big-endian": lambda blob: blob.astype(">f4"),
    "big-endian double": lambda blob: blob.astype(">f8"),
    "read-only": read_only,
    "transposed": lambda blob: np.ascontiguousarray(blob.T).T,
    "strided": lambda blob: np.stack([blob, blob * np.nan], axis=-1)[..., 0],
    "reversed": lambda blob: np.flip(np.flip(blob).copy()),
    "unaligned": unaligned,
    "nested lists": lambda blob: blob.tolist(),
    "subclass": lambda blob: blob.view(np.recarray),
    "transposed float64": lambda blob: np.ascontiguousarray(blob.astype(np.float64).T).T,
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


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.complex64, bool, object, "S4", "M8[s]"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_blobs_that_hold_no_floats(at: int, dtype: Any) -> None:
    blobs = with_blob(at, np.zeros(GOOD[at].shape, np.int8).astype(dtype))
    message = f"{NAMES[at]} must contain floats, got {np.dtype(dtype)}".replace("[", r"\[")
    with pytest.raises(TypeError, match=message):
        sd.postprocess(*blobs, HEAD)
    with pytest.raises(TypeError, match=message):
        sd.postprocess_batch(*(blob[None] for blob in blobs), HEAD)
    with pytest.raises(TypeError, match=message):
        sd.decode(blobs[0], HEAD) if at == 0 else sd.score(*blobs[1:], HEAD)


def test_blobs_are_neither_changed_nor_kept() -> None:
    blobs = random_blobs(HEAD, np.random.default_rng(4), wild=0.1)
    before = [blob.copy() for blob in blobs]
    found = sd.postprocess(*blobs, HEAD, score_threshold=0)
    again = sd.Detections(found.xyxy, found.confidence, found.class_id, found.label_table)
    for blob, copy in zip(blobs, before, strict=True):
        np.testing.assert_array_equal(blob, copy)
        blob[:] = 7
    assert len(found) > 0
    assert found == again


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
