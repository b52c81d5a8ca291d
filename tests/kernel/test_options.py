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
from opencv_squeezedet.options import NMS_KINDS, Limits, Options


def test_options_take_the_place_of_the_configs() -> None:
    rng = np.random.default_rng(5)
    for seed in range(20):
        blobs = random_blobs(HEAD, np.random.default_rng(seed))
        options = {
            "score_threshold": float(rng.random() / 2),
            "nms_threshold": float(rng.random()),
            "nms_kind": str(rng.choice(NMS_KINDS)),
            "soft_sigma": float(rng.random() + 0.1),
            "vote_threshold": float(rng.random()),
            "cross_class_threshold": float(rng.random()),
            "top_n": int(rng.integers(1, 24)),
            "class_agnostic": bool(rng.integers(2)),
            "multi_label": bool(rng.integers(2)),
        }
        expected = sd.postprocess(*blobs, dataclasses.replace(HEAD, **options))
        assert options.keys() == Options.__annotations__.keys()
        assert sd.postprocess(*blobs, HEAD, **options) == expected
        assert sd.postprocess_batch(*(blob[None] for blob in blobs), HEAD, **options) == [expected]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("score_threshold", 0.6),
        ("nms_threshold", 0.6),
        ("nms_kind", "greedy"),
        ("top_n", 2),
        ("class_agnostic", True),
        ("vote_threshold", 0.3),
        ("cross_class_threshold", 0.3),
        ("multi_label", True),
    ],
)
def test_each_option_matters(option: str, value: Any) -> None:
    assert differ({}, {option: value})


def test_none_is_the_configs_own_value() -> None:
    head = dataclasses.replace(
        HEAD,
        score_threshold=0.1,
        nms_kind=NMS_KINDS[-1],
        soft_sigma=0.1,
        vote_threshold=0.3,
        cross_class_threshold=0.3,
        top_n=9,
        class_agnostic=True,
        multi_label=True,
    )
    blobs = random_blobs(head, np.random.default_rng(0))
    assert sd.postprocess(*blobs, head, **dict.fromkeys(Options.__annotations__)) == sd.postprocess(*blobs, head)
    assert sd.postprocess(*blobs, head) != sd.postprocess(*blobs, HEAD)


def test_limits() -> None:
    assert HEAD.limits == (0.25, 0.4, 0, 0.5, math.inf, math.inf, 64, False, False, True)
    assert HEAD.limits_with({}) is HEAD.limits is HEAD.limits
    for place, kind in enumerate(NMS_KINDS):
        assert HEAD.limits_with({"nms_kind": kind}) == HEAD.limits._replace(nms_kind=place)
    assert HEAD.limits_with({"top_n": 10**30, "vote_threshold": 1}) == HEAD.limits._replace(
        top_n=2**31 - 1, vote_threshold=1.0
    )
    assert dataclasses.replace(HEAD, drop_empty=False, vote_threshold=0).limits[4::5] == (0.0, False)
    assert {type(value) for value in HEAD.limits_with({"top_n": np.int8(3), "soft_sigma": 1})} == {float, int, bool}
    assert {*Options.__annotations__, "drop_empty"} == set(Limits._fields)


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
        for name in ("score_threshold", "nms_threshold", "vote_threshold", "cross_class_threshold")
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
    ({"top_n": 0}, ValueError, "top_n.*got 0"),
    ({"top_n": -1}, ValueError, "top_n.*got -1"),
    ({"top_n": 1.5}, TypeError, "top_n.*got 1.5"),
    ({"top_n": True}, TypeError, "top_n.*got True"),
    ({"top_n": "3"}, TypeError, "top_n.*got '3'"),
    ({"nms_kind": "hard"}, ValueError, f"nms_kind.*{', '.join(map(repr, NMS_KINDS))}.*got 'hard'"),
    ({"nms_kind": ""}, ValueError, f"nms_kind.*{', '.join(map(repr, NMS_KINDS))}.*got ''"),
    ({"soft_sigma": 0}, ValueError, "soft_sigma.*got 0.0"),
    ({"soft_sigma": -0.5}, ValueError, "soft_sigma.*got -0.5"),
    ({"soft_sigma": math.inf}, ValueError, "soft_sigma.*got inf"),
    ({"soft_sigma": "0.5"}, TypeError, "soft_sigma.*got '0.5'"),
    ({"class_agnostic": "yes"}, TypeError, "class_agnostic.*got 'yes'"),
    ({"class_agnostic": 2}, TypeError, "class_agnostic.*got 2"),
    ({"multi_label": "yes"}, TypeError, "multi_label.*got 'yes'"),
    ({"nms_treshold": 0.5}, TypeError, "'nms_treshold'.*score_threshold, nms_threshold, "),
    ({"drop_empty": True}, TypeError, "there is no option 'drop_empty'"),
    ({"greedy": None}, TypeError, "there is no option 'greedy'"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG_OPTIONS)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.postprocess(*GOOD, HEAD, **options)
    with pytest.raises(error, match=message):
        sd.postprocess_batch(*(blob[None] for blob in GOOD), HEAD, **options)


@pytest.mark.parametrize("threshold", [True, np.True_, 0.5 + 1j, np.complex128(0.5), "0.5", None.__class__])
def test_thresholds_that_are_no_real_numbers(threshold: Any) -> None:
    with pytest.raises(TypeError, match="score_threshold"):
        sd.postprocess(*GOOD, HEAD, score_threshold=threshold)


WRONG_SIZES = [
    ((0, 5), ValueError, "image_size.*got 0"),
    ((5, -1), ValueError, "image_size.*got -1"),
    ((1.5, 2), TypeError, "image_size.*got 1.5"),
    ((True, 2), TypeError, "image_size.*got True"),
    ("ab", TypeError, "image_size.*got 'a'"),
]


@pytest.mark.parametrize(("size", "error", "message"), WRONG_SIZES)
def test_wrong_image_sizes(size: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.postprocess(*GOOD, HEAD, image_size=size)
    with pytest.raises(error, match=message):
        sd.postprocess_batch(*(blob[None] for blob in GOOD), HEAD, image_size=size)


@pytest.mark.parametrize("size", [5, (1, 2, 3), (), (4,)])
def test_image_sizes_that_are_no_pair(size: Any) -> None:
    with pytest.raises(ValueError, match=r"image_size.*got"):
        sd.postprocess(*GOOD, HEAD, image_size=size)
