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

NEEDED: dict[str, Any] = {
    "input_size": (64, 32),
    "grid": (3, 2),
    "anchors": ((8.0, 6.0), (20.0, 30.0)),
    "labels": ("a", "b"),
}
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


# ---- the presets --------------------------------------------------------------------------------------------------------


def test_voc() -> None:
    assert dataclasses.asdict(sd.VOC) == {
        "input_size": (416, 416),
        "grid": (23, 23),
        "anchors": (
            *((377, 371), (64, 118), (129, 326), (172, 126), (34, 46)),
            *((353, 204), (89, 214), (249, 361), (209, 239)),
        ),
        "labels": (
            *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
            *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
        ),
        "first_axis": "x",
        "centers": "inner",
        "delta_order": "xyhw",
        "exp_threshold": None,
        "corners": "plain",
        "iou_epsilon": 1e-7,
        "layout": "hwc",
        "activated": True,
        "drop_empty": True,
        "score_threshold": 0.7,
        "nms_threshold": 0.1,
        "nms_kind": "reference",
        "soft_sigma": 0.5,
        "vote_threshold": None,
        "cross_class_threshold": None,
        "top_n": 64,
        "class_agnostic": False,
        "multi_label": False,
        "score_calibration": (),
    }
    assert list(sd.VOC.labels) == sorted(sd.VOC.labels)
    assert len(sd.VOC.labels) == 20


def test_kitti() -> None:
    assert dataclasses.asdict(sd.KITTI) == {
        "input_size": (1248, 384),
        "grid": (24, 78),
        "anchors": (
            *((36, 37), (366, 174), (115, 59), (162, 87), (38, 90)),
            *((258, 173), (224, 108), (78, 170), (72, 43)),
        ),
        "labels": ("car", "pedestrian", "cyclist"),
        "first_axis": "y",
        "centers": "inner",
        "delta_order": "xywh",
        "exp_threshold": 1.0,
        "corners": "plus_one_after_clip",
        "iou_epsilon": 0.0,
        "layout": "hwc",
        "activated": True,
        "drop_empty": True,
        "score_threshold": 0.4,
        "nms_threshold": 0.4,
        "nms_kind": "reference",
        "soft_sigma": 0.5,
        "vote_threshold": None,
        "cross_class_threshold": None,
        "top_n": 64,
        "class_agnostic": False,
        "multi_label": False,
        "score_calibration": (),
    }


def test_blob_shapes_of_the_presets() -> None:
    assert sd.VOC.blob_shapes == {
        "delta_bbox": ((23, 23, 36), (23, 23, 9, 4), (4761, 4)),
        "class_scores": ((4761, 20), (23, 23, 180), (23, 23, 9, 20)),
        "conf_scores": ((23, 23, 9), (4761,), (4761, 1)),
    }
    assert sd.KITTI.blob_shapes["delta_bbox"][0] == (24, 78, 36)
    assert dataclasses.replace(sd.KITTI, layout="chw").blob_shapes == {
        "delta_bbox": ((36, 24, 78), (9, 4, 24, 78)),
        "class_scores": ((27, 24, 78), (9, 3, 24, 78)),
        "conf_scores": ((9, 24, 78),),
    }


def test_single_shapes_have_a_leading_one_or_not() -> None:
    for name, shapes in head().blob_shapes.items():
        assert head().single_shapes[name] == {*shapes, *((1, *shape) for shape in shapes)}


def test_defaults_are_those_of_voc() -> None:
    needed = {name: getattr(sd.VOC, name) for name in NEEDED}
    assert HeadConfig(**needed) == sd.VOC


@pytest.mark.parametrize(
    ("header", "enum", "literal"), [("anchors.pxd", "Corners", config.Corners), ("nms.pxd", "NmsRule", options.NmsKind)]
)
def test_choices_are_the_kernels_in_its_order(header: str, enum: str, literal: Any) -> None:
    text = (Path(sd.__file__).parent / header).read_text()
    found = re.search(rf"^cdef enum {enum}:\n((?:    .*\n)+)", text, re.MULTILINE)
    assert found is not None
    assert tuple(line.split()[0].lower() for line in found[1].splitlines()) == get_args(literal)


# ---- the final form of the fields ---------------------------------------------------------------------------------------


def test_every_field_is_kept() -> None:
    assert dataclasses.asdict(head(**OTHERS)) == {**NEEDED, **OTHERS}
    assert {field.name for field in dataclasses.fields(HeadConfig)} == {*NEEDED, *OTHERS}


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
        ("exp_threshold", 1, 1.0),
        ("exp_threshold", -2, -2.0),
        ("iou_epsilon", np.float64(0.5), 0.5),
        ("iou_epsilon", 0, 0.0),
        ("activated", np.False_, False),
        ("drop_empty", 0, False),
        ("class_agnostic", np.True_, True),
        ("multi_label", 1, True),
        ("soft_sigma", 2, 2.0),
        ("vote_threshold", np.float32(0.5), 0.5),
        ("vote_threshold", None, None),
        ("cross_class_threshold", np.float32(0.5), 0.5),
        ("score_threshold", 0, 0.0),
        ("score_threshold", np.float16(1), 1.0),
        ("nms_threshold", 1, 1.0),
        ("nms_threshold", np.array(0.25), 0.25),
        ("top_n", np.int32(9), 9),
    ],
)
def test_numbers_become_plain(name: str, given: Any, kept: Any) -> None:
    value = getattr(head(**{name: given}), name)
    assert value == kept
    assert type(value) is type(kept)


# ---- what is refused ----------------------------------------------------------------------------------------------------

PAIRS = [
    (name, value, error, message)
    for name in ("input_size", "grid")
    for value, error, message in (
        ((0, 5), ValueError, ".*got 0"),
        ((5, -3), ValueError, ".*got -3"),
        ((5, 1.5), TypeError, ".*got 1.5"),
        ((5, 2.0), TypeError, ".*got 2.0"),
        ((5, math.nan), TypeError, ".*got nan"),
        ((True, 5), TypeError, ".*got True"),
        (("5", 5), TypeError, ".*got '5'"),
        ((5, None), TypeError, ".*got None"),
        ((5,), ValueError, r".*got \(5,\)"),
        ((5, 5, 5), ValueError, r".*got \(5, 5, 5\)"),
        (5, ValueError, ".*got 5"),
        (None, ValueError, ".*got None"),
    )
]
THRESHOLDS = [
    (name, value, error, message)
    for name in ("score_threshold", "nms_threshold", "vote_threshold", "cross_class_threshold")
    for value, error, message in (
        (math.nan, ValueError, ".*got nan"),
        (-math.inf, ValueError, ".*got -inf"),
        (-0.01, ValueError, r".*got -0.01"),
        (np.nextafter(1, 2), ValueError, r".*got 1.0000000000000002"),
        ("0.5", TypeError, ".*got '0.5'"),
        (0.5j, TypeError, ".*got 0.5j"),
    )
]
FLAGS = [
    (name, value, TypeError, message)
    for name in ("activated", "drop_empty", "class_agnostic", "multi_label")
    for value, message in (
        (None, ".*got None"),
        ("False", ".*got 'False'"),
        (2, ".*got 2"),
        ([], r".*got \[\]"),
    )
]
CHOICES = [
    (name, value, ValueError, f".*{allowed}.*got {value!r}".replace("[", r"\[").replace("]", r"\]"))
    for name, allowed in (
        ("first_axis", "'x', 'y'"),
        ("centers", "'inner', 'cell'"),
        ("delta_order", "'xyhw', 'xywh'"),
        ("corners", "'plain', 'plus_one_after_clip', 'minus_one_before_clip'"),
        ("layout", "'hwc', 'chw'"),
        ("nms_kind", ", ".join(map(repr, options.NMS_KINDS))),
    )
    for value in ("z", "", "X", None, 0, ["x"])
]
SINGLES = [
    ("score_threshold", None, TypeError, ".*got None"),
    ("nms_threshold", None, TypeError, ".*got None"),
    ("soft_sigma", 0, ValueError, ".*got 0.0"),
    ("soft_sigma", -1, ValueError, ".*got -1.0"),
    ("soft_sigma", math.nan, ValueError, ".*got nan"),
    ("soft_sigma", None, TypeError, ".*got None"),
    ("top_n", 0, ValueError, ".*got 0"),
    ("top_n", -1, ValueError, ".*got -1"),
    ("top_n", 1.5, TypeError, ".*got 1.5"),
    ("top_n", True, TypeError, ".*got True"),
    ("top_n", None, TypeError, ".*got None"),
    ("iou_epsilon", -1e-9, ValueError, ".*got -1e-09"),
    ("iou_epsilon", math.nan, ValueError, ".*got nan"),
    ("iou_epsilon", math.inf, ValueError, ".*got inf"),
    ("iou_epsilon", None, TypeError, ".*got None"),
    ("exp_threshold", math.nan, ValueError, ".*got nan"),
    ("exp_threshold", math.inf, ValueError, ".*got inf"),
    ("exp_threshold", "1", TypeError, ".*got '1'"),
    ("anchors", (), ValueError, "at least one"),
    ("anchors", None, ValueError, r".*got None"),
    ("anchors", (8, 6), ValueError, r".*got \(8, 6\)"),
    ("anchors", ((8, 6, 4),), ValueError, r".*got"),
    ("anchors", ((8, 0),), ValueError, r".*got \(8.0, 0.0\)"),
    ("anchors", ((8, 6), (-8, 6)), ValueError, r".*got \(-8.0, 6.0\)"),
    ("anchors", ((math.nan, 6),), ValueError, ".*got nan"),
    ("anchors", ((8, math.inf),), ValueError, ".*got inf"),
    ("anchors", (("8", 6),), TypeError, ".*got '8'"),
    ("labels", (), ValueError, r".*at least one.*got \(\)"),
    ("labels", "car", ValueError, ".*at least one.*got 'car'"),
    ("labels", ("a", 1), TypeError, ".*got 1"),
    ("labels", (b"a",), TypeError, ".*got b'a'"),
    ("labels", None, (TypeError, ValueError), ".*got None"),
]


@pytest.mark.parametrize(("name", "value", "error", "message"), [*PAIRS, *THRESHOLDS, *FLAGS, *CHOICES, *SINGLES])
def test_refused(name: str, value: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=f"^{name}.*{message}"):
        head(**{name: value})


def test_a_head_whose_blobs_would_be_too_large() -> None:
    assert head(grid=(2**14, 2**13), anchors=((1, 1),)).grid == (2**14, 2**13)  # 2^29 values of deltas
    for fields in ({"grid": (2**15, 2**14)}, {"grid": (10**30, 1)}, {"grid": (2**14, 2**13), "labels": "abcdefghijklmnop"}):
        fields = {"anchors": ((1, 1),), **fields, "labels": list(fields.get("labels", "ab"))}
        with pytest.raises(ValueError, match="at most 2147483647"):
            head(**fields)


def test_fields_go_by_name() -> None:
    with pytest.raises(TypeError, match="positional"):
        HeadConfig((64, 32), (3, 2), ((8, 6),), ("a",))  # type: ignore[misc]
    with pytest.raises(TypeError, match="labels"):
        HeadConfig(input_size=(64, 32), grid=(3, 2), anchors=((8, 6),))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="stride"):
        head(stride=16)


@pytest.mark.parametrize("name", [*NEEDED, *OTHERS, "something new"])
def test_frozen(name: str) -> None:
    made = head()
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"'{name}'"):
        setattr(made, name, 1)
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"'{name}'"):
        delattr(made, name)
    assert made == head()


# ---- JSON ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [sd.VOC, sd.KITTI, head(**OTHERS)], ids=["VOC", "KITTI", "other"])
def test_json_round_trip(made: HeadConfig) -> None:
    again = HeadConfig.from_json(made.to_json())
    assert again == made
    assert again.to_json() == made.to_json()
    assert HeadConfig.from_dict(made.to_dict()) == made
    assert list(json.loads(made.to_json())) == [field.name for field in dataclasses.fields(HeadConfig)]


def test_json_is_one_field_a_line() -> None:
    lines = head().to_json().splitlines()
    assert (lines[0], lines[-1]) == ("{", "}")
    assert lines[1:4] == ['  "input_size": [64, 32],', '  "grid": [3, 2],', '  "anchors": [[8.0, 6.0], [20.0, 30.0]],']
    assert len(lines) == 2 + len(NEEDED) + len(OTHERS)


def test_json_of_numpy_values() -> None:
    made = HeadConfig(
        input_size=np.array([64, 32]),  # type: ignore[arg-type]
        grid=(np.int16(3), np.int64(2)),
        anchors=np.array([[8.1, 6.2]], np.float32),  # type: ignore[arg-type]
        labels=np.array(["a", "b"]),  # type: ignore[arg-type]
        first_axis=np.str_("y"),  # type: ignore[arg-type]
        exp_threshold=np.float32(1.1),
        score_threshold=np.float64(1 / 3),
        top_n=np.uint8(5),
        activated=np.False_,  # type: ignore[arg-type]
    )
    again = HeadConfig.from_json(made.to_json())
    assert again == made
    assert again.anchors == ((float(np.float32(8.1)), float(np.float32(6.2))),)
    assert pickle.loads(pickle.dumps(made)) == again


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


def test_json_with_only_the_needed_fields() -> None:
    assert HeadConfig.from_json(json.dumps(NEEDED)) == head()


@pytest.mark.parametrize("name", NEEDED)
def test_json_without_a_needed_field(name: str) -> None:
    fields = head().to_dict()
    del fields[name]
    with pytest.raises(ValueError, match=f"HeadConfig.*'{name}'$"):
        HeadConfig.from_json(json.dumps(fields))


def test_json_without_several_needed_fields() -> None:
    with pytest.raises(ValueError, match=r"HeadConfig.*'anchors', 'grid', 'input_size', 'labels'$"):
        HeadConfig.from_json("{}")


def test_json_with_unknown_fields() -> None:
    with pytest.raises(ValueError, match=r"HeadConfig.*'kernel', 'stride'$"):
        HeadConfig.from_dict({**head().to_dict(), "stride": 16, "kernel": None})


@pytest.mark.parametrize(("text", "kind"), [("[]", "list"), ("null", "NoneType"), ("3", "int"), ('"grid"', "str")])
def test_json_that_is_no_object(text: str, kind: str) -> None:
    with pytest.raises(ValueError, match=f"HeadConfig.*got {kind}"):
        HeadConfig.from_json(text)


@pytest.mark.parametrize("text", ["", "{", "{'grid': 3}", "grid"])
def test_json_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1 column \d"):
        HeadConfig.from_json(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"grid": [3, 0]}, "grid"),
        ({"score_threshold": math.nan}, "score_threshold"),
        ({"layout": "nchw"}, "layout"),
    ],
)
def test_json_with_bad_values(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeadConfig.from_json(json.dumps({**NEEDED, **fields}))


@pytest.mark.parametrize("fields", [{"grid": [3, "2"]}, {"top_n": 1.5}, {"labels": ["a", 1]}, {"activated": "no"}])
def test_json_with_values_of_the_wrong_type(fields: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{next(iter(fields))}"):
        HeadConfig.from_json(json.dumps({**NEEDED, **fields}))


# ---- copies, pickles, equality ------------------------------------------------------------------------------------------


def used() -> HeadConfig:
    """A head that has made all that it caches."""
    made = head(**OTHERS)
    assert made.kernel is made.kernel
    assert made.kernel.anchors == 12
    assert made.blob_shapes is made.blob_shapes
    assert made.single_shapes is made.single_shapes
    return made


@pytest.mark.parametrize(
    "remake",
    [
        copy.copy,
        copy.deepcopy,
        dataclasses.replace,
        *(lambda made, protocol=protocol: pickle.loads(pickle.dumps(made, protocol)) for protocol in range(6)),
    ],
)
def test_copies_of_a_used_head(remake: Any) -> None:
    made = used()
    again = remake(made)
    assert again == made
    assert hash(again) == hash(made)
    assert again is not made
    assert again.blob_shapes == made.blob_shapes
    blobs = [np.full(again.blob_shapes[name][0], 0.5, np.float32) for name in ("delta_bbox", "class_scores", "conf_scores")]
    assert len(sd.postprocess(*blobs, again)) > 0
    assert sd.postprocess(*blobs, again) == sd.postprocess(*blobs, made)
    with pytest.raises(dataclasses.FrozenInstanceError, match="'top_n'"):
        again.top_n = 3


def test_use_changes_neither_equality_nor_hash_nor_repr() -> None:
    fresh = head(**OTHERS)
    assert used() == fresh
    assert hash(used()) == hash(fresh)
    assert repr(used()) == repr(fresh)
    assert used().to_json() == fresh.to_json()
    assert {fresh: 1}[used()] == 1
    assert pickle.dumps(used()) == pickle.dumps(fresh)


def test_repr_makes_the_same_head() -> None:
    assert eval(repr(head(**OTHERS)), {"HeadConfig": HeadConfig}) == head(**OTHERS)


@pytest.mark.parametrize(
    ("name", "value"), [*OTHERS.items(), ("input_size", (64, 33)), ("grid", (2, 3)), ("anchors", ((8, 6),)), ("labels", "ba")]
)
def test_heads_that_differ_in_one_field(name: str, value: Any) -> None:
    assert head(**{name: list(value) if name == "labels" else value}) != head()


def test_replace_checks_and_makes_a_new_kernel() -> None:
    made = used()
    other = dataclasses.replace(made, grid=(1, 1))
    assert other.kernel.anchors == 2
    assert other.blob_shapes["conf_scores"] == ((2, 1, 1),)
    with pytest.raises(ValueError, match="top_n must be at least 1"):
        dataclasses.replace(made, top_n=0)


# ---- scaled -------------------------------------------------------------------------------------------------------------


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
    """Its first grid axis is the height."""
    made = sd.KITTI.scaled((624, 192))
    assert (made.input_size, made.grid) == ((624, 192), (12, 39))
    assert made.anchors == tuple((w / 2, h / 2) for w, h in sd.KITTI.anchors)
    assert sd.KITTI.scaled((1248, 192)).grid == (12, 78)
    assert sd.KITTI.scaled((624, 384)).grid == (24, 39)
    assert sd.KITTI.scaled((1264, 384)).grid == (24, 79)


def test_scaled_to_itself() -> None:
    for made in (sd.VOC, sd.KITTI):
        assert made.scaled(made.input_size) == made


def test_scaled_with_a_grid_of_its_own() -> None:
    made = sd.VOC.scaled((10, 1000), grid=(2, 70))
    assert (made.input_size, made.grid) == ((10, 1000), (2, 70))
    assert made.kernel.anchors == 2 * 70 * 9


@pytest.mark.parametrize("size", [(48, 48), (320, 48), (48, 320), (1, 1)])
def test_scaled_until_no_cell_is_left(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"input_size \({size[0]}, {size[1]}\).*\(23, 23\)"):
        sd.VOC.scaled(size)
    assert sd.VOC.scaled(size, grid=(1, 1)).grid == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((0, 5),), ValueError, "input_size.*got 0"),
        ((320,), ValueError, "input_size.*got 320"),
        (((320, 320.5),), TypeError, "input_size.*got 320.5"),
        (((320, 320), (0, 3)), ValueError, "grid.*got 0"),
        (((320, 320), 17), ValueError, "grid.*got 17"),
    ],
)
def test_scaled_refuses(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sd.VOC.scaled(*arguments)


# ---- Preprocess ---------------------------------------------------------------------------------------------------------


def test_preprocess_final_form() -> None:
    made = Preprocess([8, np.int64(4)], np.array([1, 2, 3]), np.float32(0.5), np.True_)  # type: ignore[arg-type]
    assert made == Preprocess((8, 4), (1.0, 2.0, 3.0), 0.5, True)
    assert hash(made) == hash(Preprocess((8, 4), (1.0, 2.0, 3.0), 0.5, True))
    assert dataclasses.asdict(made) == {
        "size": (8, 4),
        "mean": (1.0, 2.0, 3.0),
        "scale": 0.5,
        "swap_rb": True,
        "resize": "stretch",
    }
    assert plain_types(made.size) == (int, int)
    assert plain_types(made.mean) == (float, float, float)
    assert (type(made.scale), type(made.swap_rb)) == (float, bool)


def test_preprocess_defaults_are_those_of_the_voc_network() -> None:
    made = Preprocess((416, 416))
    assert (made.mean, made.scale, made.swap_rb, made.resize) == ((104, 117, 123), 1, False, "stretch")


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"size": (0, 4)}, ValueError, "size.*got 0"),
        ({"size": (8.5, 4)}, TypeError, "size.*got 8.5"),
        ({"size": 8}, ValueError, "size.*got 8"),
        ({"size": (100_000, 50_000)}, ValueError, r"size \(100000, 50000\).*15000000000"),
        ({"scale": 1e39}, ValueError, r"mean.*scale 1e\+39.*float32"),
        ({"mean": (1, 2, -1e39)}, ValueError, r"mean.*scale 1 .*1e\+39.*float32"),
        ({"scale": np.ones(2)}, TypeError, r"scale.*got.*\(2,\)"),
        ({"mean": (1, 2)}, ValueError, r"mean.*got \(1, 2\)"),
        ({"mean": (1, 2, 3, 4)}, ValueError, r"mean.*got \(1, 2, 3, 4\)"),
        ({"mean": (1, 2, math.nan)}, ValueError, "mean.*got nan"),
        ({"mean": (1, 2, "3")}, TypeError, "mean.*got '3'"),
        ({"mean": 100}, (TypeError, ValueError), "mean.*got 100"),
        ({"scale": math.inf}, ValueError, "scale.*got inf"),
        ({"scale": "1"}, TypeError, "scale.*got '1'"),
        ({"scale": None}, TypeError, "scale.*got None"),
        ({"swap_rb": "BGR"}, TypeError, "swap_rb.*got 'BGR'"),
        ({"resize": "pad"}, ValueError, "resize.*got 'pad'"),
    ],
)
def test_preprocess_refuses(fields: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        Preprocess(**{"size": (8, 4), **fields})


def test_preprocess_is_frozen() -> None:
    made = Preprocess((8, 4))
    with pytest.raises(dataclasses.FrozenInstanceError, match="'scale'"):
        made.scale = 2.0  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
