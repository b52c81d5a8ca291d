"""The options of post-processing: what they change, and what they may be."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from head_cases import (
    GOOD,
    HEAD,
    differ,
    random_blobs,
)

import opencv_squeezedet as sd


def test_options_take_the_place_of_the_configs() -> None:
    rng = np.random.default_rng(5)
    for seed in range(20):
        blobs = random_blobs(HEAD, np.random.default_rng(seed))
        options = {
            "score_threshold": float(rng.random() / 2),
            "nms_threshold": float(rng.random()),
            "nms_kind": str(rng.choice(["reference", "greedy"])),
            "top_n": int(rng.integers(1, 24)),
            "class_agnostic": bool(rng.integers(2)),
        }
        expected = sd.postprocess(*blobs, dataclasses.replace(HEAD, **options))
        assert sd.postprocess(*blobs, HEAD, **options) == expected
        assert sd.postprocess_batch(*(blob[None] for blob in blobs), HEAD, **options) == [expected]


@pytest.mark.parametrize(
    ("option", "value"),
    [("score_threshold", 0.6), ("nms_threshold", 0.6), ("nms_kind", "greedy"), ("top_n", 2), ("class_agnostic", True)],
)
def test_each_option_matters(option: str, value: Any) -> None:
    assert differ({}, {option: value})


def test_options_of_numpy_types() -> None:
    blobs = random_blobs(HEAD, np.random.default_rng(0))
    plain = sd.postprocess(*blobs, HEAD, score_threshold=0.5, nms_threshold=0.25, top_n=3, class_agnostic=True)
    numpy = sd.postprocess(
        *blobs,
        HEAD,
        score_threshold=np.float32(0.5),
        nms_threshold=np.array(0.25),
        top_n=np.uint8(3),
        class_agnostic=np.True_,
    )
    assert len(plain) > 0
    assert numpy == plain


# ---- what is refused ----------------------------------------------------------------------------------------------------

WRONG_OPTIONS = [
    *(
        ({name: value}, error, f"{name} must {message}")
        for name in ("score_threshold", "nms_threshold")
        for value, error, message in (
            (math.nan, ValueError, "be finite, got nan"),
            (math.inf, ValueError, "be finite, got inf"),
            (-1e-9, ValueError, r"lie in \[0, 1\], got -1e-09"),
            (1.5, ValueError, r"lie in \[0, 1\], got 1.5"),
            ("0.5", TypeError, "be a number, got '0.5'"),
            ([0.5], TypeError, r"be a number, got \[0.5\]"),
            (1j, TypeError, "be a number, got 1j"),
        )
    ),
    ({"top_n": 0}, ValueError, "top_n must be at least 1, got 0"),
    ({"top_n": -1}, ValueError, "top_n must be at least 1, got -1"),
    ({"top_n": 1.5}, TypeError, "top_n must be an integer, got 1.5"),
    ({"top_n": True}, TypeError, "top_n must be an integer, got True"),
    ({"top_n": "3"}, TypeError, "top_n must be an integer, got '3'"),
    ({"nms_kind": "soft"}, ValueError, "nms_kind must be one of 'reference', 'greedy', got 'soft'"),
    ({"nms_kind": ""}, ValueError, "nms_kind must be one of 'reference', 'greedy', got ''"),
    ({"class_agnostic": "yes"}, TypeError, "class_agnostic must be True or False, got 'yes'"),
    ({"class_agnostic": 2}, TypeError, "class_agnostic must be True or False, got 2"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG_OPTIONS)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.postprocess(*GOOD, HEAD, **options)
    with pytest.raises(error, match=message):
        sd.postprocess_batch(*(blob[None] for blob in GOOD), HEAD, **options)


@pytest.mark.parametrize("threshold", [True, np.True_, 0.5 + 1j, np.complex128(0.5), "0.5", None.__class__])
def test_thresholds_that_are_no_real_numbers(threshold: Any) -> None:
    with pytest.raises(TypeError, match="score_threshold must be a number"):
        sd.postprocess(*GOOD, HEAD, score_threshold=threshold)


WRONG_SIZES = [
    ((0, 5), ValueError, "image_size must be at least 1, got 0"),
    ((5, -1), ValueError, "image_size must be at least 1, got -1"),
    ((1.5, 2), TypeError, "image_size must be an integer, got 1.5"),
    ((True, 2), TypeError, "image_size must be an integer, got True"),
    ("ab", TypeError, "image_size must be an integer, got 'a'"),
]


@pytest.mark.parametrize(("size", "error", "message"), WRONG_SIZES)
def test_wrong_image_sizes(size: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.postprocess(*GOOD, HEAD, image_size=size)
    with pytest.raises(error, match=message):
        sd.postprocess_batch(*(blob[None] for blob in GOOD), HEAD, image_size=size)


@pytest.mark.parametrize("size", [5, (1, 2, 3), (), (4,)])
def test_image_sizes_that_are_no_pair(size: Any) -> None:
    with pytest.raises(ValueError, match="image_size must be two integers, got"):
        sd.postprocess(*GOOD, HEAD, image_size=size)
