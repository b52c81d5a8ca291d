"""Heads and blobs for the tests of post-processing, and what they are compared by."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import reference
from hypothesis import strategies as st
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet import HeadConfig
from opencv_squeezedet.options import NMS_KINDS

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
        "nms_kind": draw(st.sampled_from(NMS_KINDS)),
        "soft_sigma": draw(st.sampled_from([0.1, 0.5, 2.0])),
        "vote_threshold": draw(st.none() | FRACTIONS),
        "cross_class_threshold": draw(st.none() | FRACTIONS),
        "top_n": draw(st.sampled_from([1, 2, 5, 64, 10**9])),
        "class_agnostic": draw(st.booleans()),
        "multi_label": draw(st.booleans()),
        "score_calibration": draw(st.sampled_from([(), ((0.3, 0.1), (0.7, 0.95))])),
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


GOOD = random_blobs(HEAD, np.random.default_rng(0))


def with_blob(at: int, blob: Any) -> list[Any]:
    return [*GOOD[:at], blob, *GOOD[at + 1 :]]


def line_of_boxes(scores: Sequence[float]) -> tuple[HeadConfig, Blobs]:
    """One box for each score, side by side; anchor i is the i-th box from the left."""
    count = len(scores)
    head = HeadConfig(input_size=(10 * count, 10), grid=(count, 1), anchors=((4, 4),), labels=("a",), centers="cell")
    conf = np.array(scores, np.float32)
    return head, shaped(head, np.zeros(4 * count, np.float32), np.ones(count, np.float32), conf)


def anchors_of(found: sd.Detections) -> list[int]:
    return [int(x // 10) for x in found.xyxy[:, 0]]


def pictures(head: HeadConfig, count: int, seed: int = 0) -> Blobs:
    rng = np.random.default_rng(seed)
    singles = [random_blobs(head, rng, kind) for kind in itertools.islice(itertools.cycle(["plain", "quiet", "ties"]), count)]
    shapes = [head.blob_shapes[name][0] for name in NAMES]
    delta, classes, conf = (
        np.array([single[at] for single in singles], np.float32).reshape(count, *shape) for at, shape in enumerate(shapes)
    )
    return delta, classes, conf


def unaligned(blob: NDArray[Any]) -> NDArray[Any]:
    memory = np.empty(blob.nbytes + 1, np.uint8)
    memory[1:] = np.frombuffer(blob.tobytes(), np.uint8)
    return memory[1:].view(blob.dtype).reshape(blob.shape)


def assert_same(found: sd.Detections, expected: reference.Boxes, exact_scores: bool = True) -> None:
    with np.errstate(over="ignore", under="ignore"):
        confidence = expected.confidence.astype(np.float32)
    np.testing.assert_array_equal(found.class_id, expected.class_id)
    if exact_scores:
        np.testing.assert_array_equal(found.confidence, confidence)
    else:
        np.testing.assert_allclose(found.confidence, confidence, rtol=3e-7, atol=1e-44)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, rtol=3e-7, atol=1e-6)


def differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether some blobs give other boxes with one set of fields than with the other."""
    base = dataclasses.replace(HEAD, grid=(5, 6), score_threshold=0.1, nms_threshold=0.2)
    every = [random_blobs(base, np.random.default_rng(seed)) for seed in range(20)]
    one_head, other_head = dataclasses.replace(base, **one), dataclasses.replace(base, **other)
    return any(sd.postprocess(*blobs, one_head) != sd.postprocess(*blobs, other_head) for blobs in every)


def blobs_of(
    shifts: list[float], scores: list[float], class_ids: list[int] | None = None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Five boxes of `ONE_CELL`, those that are not given below every threshold."""
    delta, conf, classes = np.zeros((5, 4), np.float32), np.zeros(5, np.float32), np.zeros((5, 2), np.float32)
    delta[: len(shifts), 0], conf[: len(scores)] = shifts, scores
    classes[np.arange(5), (class_ids or []) + [0] * (5 - len(class_ids or []))] = 1
    return delta, classes, conf
