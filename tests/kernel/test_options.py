"""The options of post-processing: what they change, and what they may be."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from head_cases import GOOD, HEAD, differ, random_blobs

import opencv_squeezedet as sd
from opencv_squeezedet.options import NMS_KINDS, Options


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


OTHER_VALUES: dict[str, Any] = {
    "score_threshold": 0.6,
    "nms_threshold": 0.6,
    "nms_kind": "greedy",
    "top_n": 2,
    "class_agnostic": True,
    "vote_threshold": 0.3,
    "cross_class_threshold": 0.3,
    "multi_label": True,
}


@pytest.mark.parametrize("option", OTHER_VALUES)
def test_each_option_matters(option: str) -> None:
    assert differ({}, {option: OTHER_VALUES[option]})


def test_none_is_the_configs_own_value() -> None:
    head = dataclasses.replace(HEAD, **OTHER_VALUES | {"soft_sigma": 0.1, "score_threshold": 0.1, "nms_kind": "soft"})
    blobs = random_blobs(head, np.random.default_rng(0))
    assert sd.postprocess(*blobs, head, **dict.fromkeys(Options.__annotations__)) == sd.postprocess(*blobs, head)
    assert sd.postprocess(*blobs, head) != sd.postprocess(*blobs, HEAD)


WRONG_OPTIONS = [  # the checks of values are those of HeadConfig
    ({"score_threshold": np.array([0.5])}, TypeError, "score_threshold must"),
    ({"nms_threshold": 1.5}, ValueError, r"nms_threshold must lie in \[0, 1\], got 1.5"),
    ({"nms_kind": "hard"}, ValueError, f"nms_kind.*{', '.join(map(repr, NMS_KINDS))}.*got 'hard'"),
    ({"soft_sigma": 0}, ValueError, "soft_sigma.*got 0.0"),
    ({"class_agnostic": "yes"}, TypeError, "class_agnostic.*got 'yes'"),
    ({"nms_treshold": 0.5}, TypeError, "'nms_treshold'.*score_threshold, nms_threshold, "),
    ({"drop_empty": True}, TypeError, "there is no option 'drop_empty'"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG_OPTIONS)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.postprocess(*GOOD, HEAD, **options)
    with pytest.raises(error, match=message):
        sd.postprocess_batch(*(blob[None] for blob in GOOD), HEAD, **options)


WRONG_SIZES = [
    ((0, 5), ValueError, "image_size.*got 0"),
    ((1.5, 2), TypeError, "image_size.*got 1.5"),
    ((True, 2), TypeError, "image_size.*got True"),
    ("ab", TypeError, "image_size.*got 'a'"),
    ((1, 2, 3), ValueError, "image_size.*got"),
]


@pytest.mark.parametrize(("size", "error", "message"), WRONG_SIZES)
def test_wrong_image_sizes(size: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.postprocess(*GOOD, HEAD, image_size=size)
    with pytest.raises(error, match=message):
        sd.postprocess_batch(*(blob[None] for blob in GOOD), HEAD, image_size=size)
