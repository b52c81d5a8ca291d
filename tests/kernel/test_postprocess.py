"""The fused pass against the plain NumPy of ``reference``, and its steps in their order."""

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
from head_cases import GOOD, HEAD, ONE_CELL, Blobs, assert_same, differ, heads, heads_and_blobs, random_blobs, shaped
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet import HeadConfig
from opencv_squeezedet.options import NMS_KINDS


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
    assert len(sd.postprocess(*blobs, sd.KITTI)) > 5
    check_with_the_reference(sd.KITTI, blobs)


@pytest.mark.parametrize(("epsilon", "count"), [(0.0, 1), (99.0, 1), (101.0, 2)])
def test_the_epsilon_is_added_to_the_union(epsilon: float, count: int) -> None:
    """A box of 200 in one of 400: 200 / (400 + 100) is the threshold."""
    head = dataclasses.replace(ONE_CELL, anchors=((20, 20), (20, 10)), iou_epsilon=epsilon, nms_threshold=0.4)
    blobs = (np.zeros((2, 4), np.float32), np.ones((2, 2), np.float32), np.array([0.9, 0.8], np.float32))
    assert len(sd.postprocess(*blobs, head)) == count


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
