"""HeadConfig and Preprocess: what they take, what they refuse, and how they travel."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import opencv_squeezedet as sd
from opencv_squeezedet import HeadConfig, Preprocess, config, options

NEEDED: dict[str, Any] = {"input_size": (64, 32), "grid": (3, 2), "anchors": ((8.0, 6.0), (20.0, 30.0)), "labels": ("a", "b")}
OTHERS: dict[str, Any] = {
    "first_axis": "y",
    "centers": "cell",
    "delta_order": "xywh",
    "exp_threshold": 1.5,
    "corners": "minus_one_before_clip",
    "iou_epsilon": 0.25,
    "layout": "chw",
    "activated": False,
    "drop_empty": False,
    "score_threshold": 0.25,
    "nms_threshold": 0.75,
    "nms_kind": "greedy",
    "soft_sigma": 0.125,
    "vote_threshold": 0.5,
    "cross_class_threshold": 0.75,
    "top_n": 7,
    "class_agnostic": True,
    "multi_label": True,
    "score_calibration": ((0.25, 0.125), (0.5, 0.75)),
}


def head(**fields: Any) -> HeadConfig:
    return HeadConfig(**{**NEEDED, **fields})


def test_kitti() -> None:
    assert dataclasses.asdict(sd.KITTI) == dataclasses.asdict(sd.VOC) | {
        "input_size": (1248, 384),
        "grid": (24, 78),
        "anchors": (*((36, 37), (366, 174), (115, 59), (162, 87), (38, 90)), *((258, 173), (224, 108), (78, 170), (72, 43))),
        "labels": ("car", "pedestrian", "cyclist"),
        "first_axis": "y",
        "delta_order": "xywh",
        "exp_threshold": 1.0,
        "corners": "plus_one_after_clip",
        "iou_epsilon": 0.0,
        "score_threshold": 0.4,
        "nms_threshold": 0.4,
    }


@pytest.mark.parametrize(
    ("header", "enum", "literal"), [("anchors.pxd", "Corners", config.Corners), ("nms.pxd", "NmsRule", options.NmsKind)]
)
def test_choices_are_the_kernels_in_its_order(header: str, enum: str, literal: Any) -> None:
    text = (Path(sd.__file__).parent / header).read_text()
    members = re.search(rf"^cdef enum {enum}:\n((?:    .*\n)+)", text, re.MULTILINE)
    assert members is not None
    assert tuple(line.split()[0].lower() for line in members[1].splitlines()) == get_args(literal)


def plain_types(value: Any) -> Any:
    return tuple(map(plain_types, value)) if type(value) is tuple else type(value)


@pytest.mark.parametrize(
    "fields",
    [
        {"input_size": [64, 32], "grid": [3, 2], "anchors": [[8, 6], [20, 30]], "labels": ["a", "b"]},
        {"input_size": np.array([64, 32]), "grid": np.array([3, 2], np.uint8), "anchors": np.array([[8, 6], [20, 30]], "f2")},
        {"input_size": (np.int64(64), np.uint16(32)), "anchors": ((np.float32(8), np.int8(6)), (20, np.array(30)))},
        {"input_size": iter((64, 32)), "grid": iter((3, 2)), "anchors": iter([(8, 6), (20, 30)]), "labels": iter("ab")},
    ],
)
def test_sequences_become_tuples_of_plain_numbers(fields: dict[str, Any]) -> None:
    made = head(**fields)
    assert made == head()
    assert hash(made) == hash(head())
    assert plain_types(made.input_size) == plain_types(made.grid) == (int, int)
    assert plain_types(made.anchors) == ((float, float), (float, float))
    assert type(made.labels) is tuple


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("exp_threshold", np.float32(0.5), 0.5),
        ("iou_epsilon", 0, 0.0),
        ("activated", np.False_, False),
        ("nms_threshold", np.array(0.25), 0.25),
        ("top_n", np.int32(9), 9),
    ],
)
def test_numbers_become_plain(name: str, given: Any, kept: Any) -> None:
    value = getattr(head(**{name: given}), name)
    assert value == kept
    assert type(value) is type(kept)


THRESHOLDS = "score_threshold nms_threshold vote_threshold cross_class_threshold"
CHOICES = {
    "first_axis": config.FirstAxis,
    "centers": config.Centers,
    "delta_order": config.DeltaOrder,
    "corners": config.Corners,
    "layout": config.BlobLayout,
    "nms_kind": options.NmsKind,
}
REFUSED: list[tuple[str, Any, dict[str, Any]]] = [  # fields, error, and values by the part of them that the message shows
    ("input_size grid", ValueError, {"0": (0, 5), "-3": (5, -3), "(5,)": (5,), "(5, 5, 5)": (5, 5, 5), "5": 5, "None": None}),
    (
        "input_size grid",
        TypeError,
        {"1.5": (5, 1.5), "2.0": (5, 2.0), "nan": (5, math.nan), "True": (True, 5), "'5'": ("5", 5), "None": (5, None)},
    ),
    (THRESHOLDS, ValueError, {"nan": math.nan, "-inf": -math.inf, "-0.01": -0.01, "1.0000000000000002": np.nextafter(1, 2)}),
    (THRESHOLDS, TypeError, {"'0.5'": "0.5", "0.5j": 0.5j, "True": True}),
    ("score_threshold nms_threshold soft_sigma top_n iou_epsilon", TypeError, {"None": None}),
    ("activated drop_empty class_agnostic multi_label", TypeError, {"None": None, "'False'": "False", "2": 2, "[]": []}),
    ("soft_sigma", ValueError, {"0.0": 0, "-1.0": -1, "nan": math.nan}),
    ("top_n", ValueError, {"0": 0, "-1": -1}),
    ("top_n", TypeError, {"1.5": 1.5, "True": True}),
    ("iou_epsilon", ValueError, {"-1e-09": -1e-9, "nan": math.nan, "inf": math.inf}),
    ("exp_threshold", ValueError, {"nan": math.nan, "inf": math.inf}),
    ("exp_threshold", TypeError, {"'1'": "1"}),
    (
        "anchors",
        ValueError,
        {
            "none": (),
            "None": None,
            "(8, 6)": (8, 6),
            "((8, 6, 4),)": ((8, 6, 4),),
            "(8.0, 0.0)": ((8, 0),),
            "(-8.0, 6.0)": ((8, 6), (-8, 6)),
            "nan": ((math.nan, 6),),
            "inf": ((8, math.inf),),
        },
    ),
    ("anchors", TypeError, {"'8'": (("8", 6),)}),
    ("labels", ValueError, {"()": (), "'car'": "car", "None": None}),
    ("labels", TypeError, {"1": ("a", 1), "b'a'": (b"a",)}),
    (" ".join(CHOICES), ValueError, {repr(value): value for value in ("z", "", "X", None, 0, ["x"])}),
]


@pytest.mark.parametrize(
    ("name", "value", "error", "got"),
    [(name, value, error, got) for names, error, values in REFUSED for name in names.split() for got, value in values.items()],
)
def test_refused(name: str, value: Any, error: type[Exception], got: str) -> None:
    with pytest.raises(error, match=rf"^{name} .*got {re.escape(got)}") as caught:
        head(**{name: value})
    assert all(repr(choice) in str(caught.value) for choice in get_args(CHOICES.get(name)))


def test_a_head_whose_blobs_would_be_too_large() -> None:
    assert head(grid=(2**14, 2**13), anchors=((1, 1),)).grid == (2**14, 2**13)  # 2^29 values of deltas
    for fields in ({"grid": (2**15, 2**14)}, {"grid": (10**30, 1)}, {"grid": (2**14, 2**13), "labels": "abcdefghijklmnop"}):
        fields = {"anchors": ((1, 1),), **fields, "labels": list(fields.get("labels", "ab"))}
        with pytest.raises(ValueError, match="at most 2147483647"):
            head(**fields)


@pytest.mark.parametrize("made", [sd.VOC, sd.KITTI, head(**OTHERS)], ids=["VOC", "KITTI", "other"])
def test_json_round_trip(made: HeadConfig) -> None:
    again = HeadConfig.from_json(made.to_json())
    assert again == made
    assert again.to_json() == made.to_json()
    assert HeadConfig.from_dict(made.to_dict()) == made
    assert list(json.loads(made.to_json())) == [field.name for field in dataclasses.fields(HeadConfig)]


SIDE = st.floats(1e-300, 1e300)


@examples(100)
@given(
    st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=3),
    st.lists(st.text(), min_size=1, max_size=3),
    st.floats(0, 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_json_brings_back_every_bit(anchors: Any, labels: Any, threshold: float, exp_threshold: float | None) -> None:
    made = head(anchors=anchors, labels=labels, score_threshold=threshold, exp_threshold=exp_threshold)
    assert HeadConfig.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "HeadConfig.*'anchors', 'grid', 'input_size', 'labels'$"),
        (json.dumps({**NEEDED, "stride": 16, "kernel": None}), "HeadConfig.*'kernel', 'stride'$"),
        ("[]", "HeadConfig.*got list"),
        ("", r"line 1 column \d"),
        ("[" * 50_000, "JSON.*recursion"),
        (json.dumps({**NEEDED, "grid": [3, 0]}), "^grid"),
        (json.dumps({**NEEDED, "score_threshold": math.nan}), "^score_threshold"),
    ],
)
def test_json_of_no_head(text: str, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        HeadConfig.from_json(text)


@pytest.mark.parametrize(
    "remake", [copy.copy, copy.deepcopy, dataclasses.replace, lambda made: pickle.loads(pickle.dumps(made))]
)
def test_copies_of_a_head_with_filled_caches(remake: Any) -> None:
    made = head(**OTHERS)
    before = pickle.dumps(made), hash(made), repr(made)
    blobs = [np.full(made.blob_shapes[name][0], 0.5, np.float32) for name in ("delta_bbox", "class_scores", "conf_scores")]
    expected = sd.postprocess(*blobs, made)
    assert len(expected) > 0
    assert (pickle.dumps(made), hash(made), repr(made)) == before
    again = remake(made)
    assert again == made
    assert sd.postprocess(*blobs, again) == expected
    with pytest.raises(dataclasses.FrozenInstanceError, match="'top_n'"):
        again.top_n = 3


@pytest.mark.parametrize(
    ("size", "grid"),
    [((320, 320), (17, 17)), ((416, 416), (23, 23)), ((64, 64), (1, 1)), ((624, 400), (36, 22)), ((423, 425), (23, 24))],
)
def test_voc_scaled(size: tuple[int, int], grid: tuple[int, int]) -> None:
    made = sd.VOC.scaled(size)
    assert (made.input_size, made.grid) == (size, grid)
    for (w, h), (old_w, old_h) in zip(made.anchors, sd.VOC.anchors, strict=True):
        assert w == pytest.approx(old_w * size[0] / 416, rel=1e-15)
        assert h == pytest.approx(old_h * size[1] / 416, rel=1e-15)
    assert dataclasses.replace(made, input_size=(416, 416), grid=(23, 23), anchors=sd.VOC.anchors) == sd.VOC


def test_kitti_scaled() -> None:
    made = sd.KITTI.scaled((624, 192))
    assert (made.input_size, made.grid) == ((624, 192), (12, 39))
    assert made.anchors == tuple((w / 2, h / 2) for w, h in sd.KITTI.anchors)
    assert sd.KITTI.scaled((1248, 192)).grid == (12, 78)
    assert sd.KITTI.scaled((624, 384)).grid == (24, 39)
    assert sd.KITTI.scaled((1264, 384)).grid == (24, 79)


@pytest.mark.parametrize("size", [(48, 48), (320, 48), (48, 320), (1, 1)])
def test_scaled_until_no_cell_is_left(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"input_size \({size[0]}, {size[1]}\).*\(23, 23\)"):
        sd.VOC.scaled(size)
    assert sd.VOC.scaled(size, grid=(1, 1)).grid == (1, 1)


def test_preprocess_final_form() -> None:
    made = Preprocess([8, np.int64(4)], np.array([1, 2, 3]), np.float32(0.5), np.True_)  # type: ignore[arg-type]
    assert made == Preprocess((8, 4), (1.0, 2.0, 3.0), 0.5, True)
    assert plain_types(made.size) == (int, int)
    assert plain_types(made.mean) == (float, float, float)
    assert (type(made.scale), type(made.swap_rb)) == (float, bool)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"size": (0, 4)}, ValueError, "size.*got 0"),
        ({"size": (8.5, 4)}, TypeError, "size.*got 8.5"),
        ({"size": (100_000, 50_000)}, ValueError, r"size \(100000, 50000\).*15000000000"),
        ({"scale": 1e39}, ValueError, r"mean.*scale 1e\+39.*float32"),
        ({"mean": (1, 2, -1e39)}, ValueError, r"mean.*scale 1 .*1e\+39.*float32"),
        ({"scale": np.ones(2)}, TypeError, r"scale.*got.*\(2,\)"),
        ({"mean": (1, 2)}, ValueError, r"mean.*got \(1, 2\)"),
        ({"mean": (1, 2, math.nan)}, ValueError, "mean.*got nan"),
        ({"mean": (1, 2, "3")}, TypeError, "mean.*got '3'"),
        ({"scale": math.inf}, ValueError, "scale.*got inf"),
        ({"scale": None}, TypeError, "scale.*got None"),
        ({"swap_rb": "BGR"}, TypeError, "swap_rb.*got 'BGR'"),
    ],
)
def test_preprocess_refuses(fields: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        Preprocess(**{"size": (8, 4), **fields})
