"""sd.ssd_postprocess against the same steps in NumPy, and against OpenCV 4's DetectionOutput."""

from __future__ import annotations

import importlib
import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from shared import DATA, needs

import opencv_squeezedet as sd

Floats = NDArray[Any]
CAFFE = DATA / "caffe"


class Blobs(NamedTuple):
    """The three bottoms of a DetectionOutput."""

    loc: Floats
    conf: Floats
    prior: Floats


def random_blobs(seed: int, pictures: int, priors: int, classes: int, *, shared: bool = True, whole: bool = False) -> Blobs:
    """Priors all over the picture, moved boxes, and scores that are a softmax; ``whole``: many equal scores and boxes."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 0.7, (priors, 2)), rng.uniform(0.1, 0.4, (priors, 2))
    if whole:
        corner, size = np.round(corner * 4) / 4, np.full_like(size, 0.25)
    loc = rng.normal(size=(pictures, priors * (1 if shared else classes) * 4)) * (0 if whole else 1)
    scores = np.exp(rng.normal(size=(pictures, priors, classes)))
    scores /= scores.sum(2, keepdims=True)
    if whole:
        scores = np.round(scores * 4) / 4
    prior = np.stack([np.hstack([corner, corner + size]).ravel(), np.tile([0.1, 0.1, 0.2, 0.2], priors)])[None]
    return Blobs(*(blob.astype(np.float32) for blob in (loc, scores, prior)))


def decoded(blobs: Blobs, picture: int, classes: int, options: dict[str, Any]) -> Floats:
    """The boxes of one picture, (priors, classes, 4)."""
    prior = blobs.prior[0].astype(np.float64)
    boxes, one = prior[0].reshape(-1, 1, 4), 0.0 if options.get("normalized_bbox", True) else 1.0
    loc = blobs.loc[picture].astype(np.float64).reshape(len(boxes), 1 if options.get("share_location", True) else classes, 4)
    if not options.get("variance_encoded_in_target"):
        loc = loc * prior[1].reshape(-1, 1, 4)
    if options.get("code_type") == "CORNER":
        moved = boxes + loc
    else:
        size = boxes[..., 2:] - boxes[..., :2] + one
        centre = boxes[..., :2] + size / 2 + loc[..., :2] * size
        half = size * np.exp(loc[..., 2:]) / 2
        moved = np.concatenate([centre - half, centre + half], 2)
    moved = moved.clip(0, 1) if options.get("clip") else moved
    return np.broadcast_to(moved, (len(boxes), classes, 4))


def iou(a: Floats, b: Floats, one: float) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + one
    if (sides <= 0).any():
        return 0.0
    areas = sum(float(np.prod(box[2:] - box[:2] + one)) for box in (a, b))
    return float(sides.prod() / (areas - sides.prod()))


def in_numpy(blobs: Blobs, **options: Any) -> tuple[list[list[float]], float]:
    """The rows, and how near the closest IoU was to the NMS threshold."""
    one = 0.0 if options.get("normalized_bbox", True) else 1.0
    threshold, nms_threshold = np.float32(options.get("confidence_threshold", 0.01)), options.get("nms_threshold", 0.45)
    top_k, keep_top_k = options.get("top_k", 400), options.get("keep_top_k", 200)
    rows, margin = [], math.inf
    for picture, scores in enumerate(blobs.conf):
        boxes = decoded(blobs, picture, scores.shape[1], options)
        found = []
        for label in range(scores.shape[1]):
            ranked = np.argsort(-scores[:, label], kind="stable")
            ranked = ranked[scores[ranked, label] > threshold][: None if top_k == -1 else top_k]
            kept: list[int] = []
            for prior in () if label == options.get("background_label_id", 0) else ranked:
                overlaps = [iou(boxes[prior, label], boxes[other, label], one) for other in kept]
                margin = min([margin, *(abs(overlap - nms_threshold) for overlap in overlaps)])
                if all(overlap <= nms_threshold for overlap in overlaps):
                    kept.append(prior)
            found += [[picture, label, scores[prior, label], *boxes[prior, label]] for prior in kept]
        found.sort(key=lambda row: -row[2])  # stable: equal scores by class and prior
        rows += found[: None if keep_top_k == -1 else keep_top_k]
    return rows, margin


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "code_type": st.sampled_from(["CORNER", "CENTER_SIZE"]),
        "share_location": st.booleans(),
        "variance_encoded_in_target": st.booleans(),
        "background_label_id": st.integers(-1, 4),
        "confidence_threshold": st.sampled_from([-1, 0, 0.01, 0.25, 0.3, 0.9]),
        "nms_threshold": st.sampled_from([0, 0.1, 0.45, 0.9, 1]),
        "top_k": st.sampled_from([-1, 1, 3, 10, 400]),
        "keep_top_k": st.sampled_from([-1, 1, 4, 20, 2**70]),
        "clip": st.booleans(),
    },
)


@examples(200)
@given(st.integers(0, 2**32), st.integers(0, 2), st.integers(0, 25), st.integers(1, 5), st.booleans(), st.booleans(), OPTIONS)
def test_same_rows_as_numpy(
    seed: int, pictures: int, priors: int, classes: int, whole: bool, pixels: bool, options: dict[str, Any]
) -> None:
    blobs = random_blobs(seed, pictures, priors, classes, shared=options.get("share_location", True), whole=whole)
    if pixels and not options.get("clip"):
        options["normalized_bbox"] = False
        blobs = Blobs(blobs.loc, blobs.conf, blobs.prior * np.float32([[100], [1]]))
    expected, margin = in_numpy(blobs, **options)
    rows = sd.ssd_postprocess(*blobs, **options)
    assert rows.dtype == np.float32
    assert rows.shape[1:] == (7,)
    if margin > 1e-9:
        np.testing.assert_allclose(rows, np.reshape(expected, (-1, 7)), rtol=1e-6, atol=1e-6)


CASES: dict[str, dict[str, Any]] = {
    "center": {},
    "corner": {"code_type": "CORNER"},
    "batch2": {},
    "noshare": {"share_location": False},
    "background_2": {"background_label_id": 2},
    "two_classes": {},
    "keep5": {"keep_top_k": 5},
    "keep5_two_classes": {"keep_top_k": 5},
    "topk3": {"top_k": 3},
    "keep200": {"keep_top_k": 200},
    "none_found": {"confidence_threshold": 0.9999},
    "no_threshold": {"confidence_threshold": 0},
    "nms9": {"nms_threshold": 0.9},
    "eta": {"nms_threshold": 0.9},
    "clip": {"clip": True},
    "ties": {},
    "unnormalized": {"normalized_bbox": False},
    "save_output": {},
    "visualize_unknown": {},
}


@needs("caffe/cases_ref.npz")
@pytest.mark.parametrize("case", CASES)
def test_opencv_4(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CAFFE)
    blobs = importlib.import_module("cases").DATA[f"det_{case}"]
    options = {"confidence_threshold": 0.1, "keep_top_k": 20} | CASES[case]
    rows = sd.ssd_postprocess(blobs["data"], blobs["data2"], blobs["data3"], **options)
    with np.load(CAFFE / "cases_ref.npz", allow_pickle=False) as reference:
        expected = reference[f"det_{case}/0"][0, 0]
    assert len(expected) == options["keep_top_k"] * len(blobs["data"])
    assert (expected[len(rows) :] == 0).all()
    expected = expected[: len(rows)]
    np.testing.assert_allclose(rows[:, 2], expected[:, 2], atol=1e-5)
    for _, group in itertools.groupby(range(len(rows)), key=lambda i: (rows[i, 0], rows[i, 2])):  # equal scores may swap
        group = list(group)
        if group[-1] == len(rows) - 1 and len(rows) == options["keep_top_k"] and len(group) > 1:
            break  # which of the equal scores are kept is up to the order too
        for row in rows[group]:
            np.testing.assert_allclose(np.abs(expected[group] - row).max(1).min(), 0, atol=1e-4)


def test_equal_scores_rank_by_class_then_prior() -> None:
    prior = np.float32([[0, 0, 0.1, 0.1, 0.5, 0.5, 0.6, 0.6], [1] * 8])
    rows = sd.ssd_postprocess(np.zeros((1, 8), np.float32), np.full((1, 2, 3), 0.5, np.float32), prior)
    assert rows[:, [1, 3]].round(3).tolist() == [[1, 0], [1, 0.5], [2, 0], [2, 0.5]]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("blob", range(3))
def test_values_that_are_not_finite_are_left_out(blob: int, value: float) -> None:
    blobs = random_blobs(1, 2, 30, 3)
    everything = sd.ssd_postprocess(*blobs, confidence_threshold=-1, nms_threshold=1, keep_top_k=-1)
    blobs[blob].reshape(-1)[::7] = value
    rows = sd.ssd_postprocess(*blobs, confidence_threshold=-1, nms_threshold=1, keep_top_k=-1)
    assert np.isfinite(rows).all()
    assert 0 < len(rows) < len(everything)


def test_sizes_beyond_float32_are_left_out() -> None:
    blobs = random_blobs(2, 1, 10, 2)
    blobs.loc.reshape(-1, 4)[:5, 2] = 1000
    assert len(sd.ssd_postprocess(*blobs, nms_threshold=1)) == 5


def test_contiguity_type_and_protection_do_not_matter() -> None:
    blobs = random_blobs(3, 2, 25, 4)
    expected = sd.ssd_postprocess(*blobs)
    assert len(expected)
    strided = (np.repeat(blob, 2, axis=-1)[..., ::2] for blob in blobs)
    assert np.array_equal(sd.ssd_postprocess(*strided), expected)
    assert np.array_equal(sd.ssd_postprocess(*(blob.astype(">f8") for blob in blobs)), expected)
    for blob in blobs:
        blob.flags.writeable = False
    assert np.array_equal(sd.ssd_postprocess(*blobs), expected)
    loc, conf, prior = blobs
    assert np.array_equal(sd.ssd_postprocess(loc.reshape(2, 25, 4), conf.reshape(2, 25, 4), prior[0]), expected)


def test_variances_may_be_left_out_of_priors_that_do_not_need_them() -> None:
    blobs = random_blobs(4, 1, 25, 3)
    expected = sd.ssd_postprocess(*blobs, variance_encoded_in_target=True)
    boxes_alone = sd.ssd_postprocess(blobs.loc, blobs.conf, blobs.prior[:, :1], variance_encoded_in_target=True)
    assert len(expected)
    assert np.array_equal(boxes_alone, expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("loc", np.zeros((2, 99), np.float32), r"loc .*\(2, 100\).*got \(2, 99\)"),
        ("loc", np.float32(1), r"conf .*\(0, 25"),
        ("loc", np.zeros((1, 100), np.float32), r"conf .*\(1, 25.*got \(2, 25, 3\)"),
        ("conf", np.zeros((2, 74), np.float32), r"conf .*\(2, 25.*got \(2, 74\)"),
        ("prior", np.zeros((1, 2, 98), np.float32), r"prior .*got \(1, 2, 98\)"),
        ("prior", np.zeros((1, 1, 100), np.float32), r"prior .*got \(1, 1, 100\)"),
        ("prior", np.zeros(200, np.float32), r"prior .*got \(200,\)"),
        ("code_type", "CORNER_SIZE", r"code_type .*'CENTER_SIZE', got 'CORNER_SIZE'"),
        ("nms_threshold", 1.5, r"nms_threshold .*\[0, 1\], got 1.5"),
        ("confidence_threshold", math.nan, "confidence_threshold .*finite, got nan"),
        ("top_k", 0, "top_k .*got 0"),
        ("keep_top_k", 0, "keep_top_k .*got 0"),
        ("background_label_id", -2, "background_label_id .*got -2"),
        ("clip", True, "clip"),
    ],
)
def test_wrong_values(name: str, value: Any, message: str) -> None:
    arguments = random_blobs(6, 2, 25, 3)._asdict() | {"normalized_bbox": name != "clip"} | {name: value}
    with pytest.raises(ValueError, match=message):
        sd.ssd_postprocess(**arguments)


WRONG_TYPES: dict[str, Any] = {"loc": np.zeros((2, 100), np.int32), "conf": np.zeros((2, 75), np.complex64)}
WRONG_TYPES |= {"prior": np.full((1, 2, 100), "x"), "top_k": 3.0, "keep_top_k": None, "share_location": "yes"}
WRONG_TYPES |= {"confidence_threshold": "0.1", "background_label_id": True}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_wrong_types(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        sd.ssd_postprocess(**random_blobs(6, 2, 25, 3)._asdict() | {name: WRONG_TYPES[name]})
