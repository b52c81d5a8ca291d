"""Score calibration: the curve, its inverse for the threshold, and invalid ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import reference
from head_cases import HEAD, ONE_CELL, blobs_of, random_blobs
from hypothesis import given
from hypothesis import strategies as st

import opencv_squeezedet as sd
from opencv_squeezedet.options import NMS_KINDS

CALIBRATION = ((0.25, 0.125), (0.5, 0.75))
SCORES = [0.9, 0.5, 0.4, 0.25, 0.1]


def found_of(score_calibration: Any = CALIBRATION, **options: Any) -> sd.Detections:
    head = dataclasses.replace(ONE_CELL, score_calibration=score_calibration)
    return sd.postprocess(*blobs_of([0.0] * 5, SCORES, [0] * 5), head, **{"nms_threshold": 1.0, **options})


def test_the_formula() -> None:
    found = found_of(score_threshold=0.0)
    assert found.confidence == pytest.approx([0.75 + 0.4 * 0.5, 0.75, 0.125 + 0.6 * 0.625, 0.125, 0.05], abs=1e-7)


@pytest.mark.parametrize(("threshold", "kept"), [(0.0, 5), (0.049, 5), (0.051, 4), (0.12, 4), (0.126, 3), (0.8, 1), (1, 0)])
def test_the_threshold_is_a_calibrated_score(threshold: float, kept: int) -> None:
    assert len(found_of(score_threshold=threshold)) == kept
    assert len(found_of(score_threshold=None)) == len(found_of(score_threshold=ONE_CELL.score_threshold)) == 4


RISING = st.lists(st.integers(1, 999), min_size=1, max_size=8, unique=True).map(sorted)


@given(RISING, st.randoms(use_true_random=False), st.integers(0, 2**32), st.sampled_from(NMS_KINDS), st.booleans())
def test_the_same_boxes_with_other_scores(xs: list[int], chance: Any, seed: int, kind: Any, multi_label: bool) -> None:
    """All other rules work with the scores as they were."""
    ys = sorted(chance.sample(range(1, 1000), len(xs)))
    score_calibration = tuple((x / 1000, y / 1000) for x, y in zip(xs, ys, strict=True))
    fields: dict[str, Any] = {
        "vote_threshold": 0.4,
        "cross_class_threshold": 0.5,
        "multi_label": multi_label,
        "nms_kind": kind,
    }
    plain = dataclasses.replace(HEAD, score_threshold=0.3, **fields)
    calibrated = dataclasses.replace(plain, score_calibration=score_calibration)
    calibrated = dataclasses.replace(calibrated, score_threshold=float(reference.calibrated(calibrated, 0.3)))
    blobs = random_blobs(plain, np.random.default_rng(seed))
    expected, found = sd.postprocess(*blobs, plain), sd.postprocess(*blobs, calibrated)
    np.testing.assert_array_equal(found.xyxy, expected.xyxy)
    np.testing.assert_array_equal(found.class_id, expected.class_id)
    np.testing.assert_allclose(found.confidence, reference.calibrated(calibrated, expected.confidence), rtol=1e-5, atol=1e-6)
    assert (np.diff(found.confidence) <= 0).all()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, ValueError, r"score_calibration.*got None"),
        (0.5, ValueError, r"score_calibration.*got 0.5"),
        ([0.5, 0.6], ValueError, r"score_calibration.*got \[0.5, 0.6\]"),
        ([(0.5, "1")], TypeError, "score_calibration.*got '1'"),
        ([(0.5, float("nan"))], ValueError, "score_calibration.*got nan"),
        ([(0, 0)], ValueError, r"\(0, 0\).*\(1, 1\).*got \(0.0, 0.0\) after \(0.0, 0.0\)"),
        ([(0.5, 1)], ValueError, r"\(0, 0\).*\(1, 1\).*got \(1.0, 1.0\) after \(0.5, 1.0\)"),
        ([(0.5, 0.4), (0.6, 0.4)], ValueError, r"got \(0.6, 0.4\) after \(0.5, 0.4\)"),
        ([(0.5, 0.4), (0.5, 0.6)], ValueError, r"got \(0.5, 0.6\) after \(0.5, 0.4\)"),
        ([(i / 200, i / 200) for i in range(1, 102)], ValueError, "at most 100.*got 101"),
    ],
)
def test_invalid_calibrations(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dataclasses.replace(HEAD, score_calibration=value)
