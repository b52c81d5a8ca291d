"""Detections: a frozen table of boxes that can be indexed, compared, stored and walked through."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import opencv_squeezedet as sd
from opencv_squeezedet import Detection, Detections

NAMES = ("car", "bus", "cat")
XYXY = [[0, 1, 10, 20], [5, 5, 6, 6], [0.1, 0.2, 0.3, 1e6], [7, 8, 9, 10]]
SCORES = [0.9, 0.8, 1 / 3, 0.1]
CLASSES = [2, 0, 2, 1]
ARRAYS = ("xyxy", "confidence", "class_id")


def table() -> Detections:
    return Detections(XYXY, SCORES, CLASSES, NAMES)


def nothing() -> Detections:
    return Detections([], [], [], NAMES)


def rows(*indices: int) -> Detections:
    """What indexing should give."""
    picked = [[values[i] for i in indices] for values in (XYXY, SCORES, CLASSES)]
    return Detections(*picked, NAMES)


def assert_well_formed(found: Detections, count: int) -> None:
    assert len(found) == count
    assert (found.xyxy.shape, found.xyxy.dtype) == ((count, 4), np.float32)
    assert (found.confidence.shape, found.confidence.dtype) == ((count,), np.float32)
    assert (found.class_id.shape, found.class_id.dtype) == ((count,), np.int32)
    assert found.label_table == found.names == NAMES
    for name in ARRAYS:
        assert not getattr(found, name).flags.writeable
        assert getattr(found, name).flags.c_contiguous


# ---- construction -------------------------------------------------------------------------------------------------------


def test_from_lists() -> None:
    made = table()
    assert_well_formed(made, 4)
    np.testing.assert_array_equal(made.xyxy, np.array(XYXY, np.float32))
    np.testing.assert_array_equal(made.confidence, np.array(SCORES, np.float32))
    assert made.class_id.tolist() == CLASSES
    assert made.labels == ["cat", "car", "cat", "bus"]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint64, np.int8, ">i2"])
def test_class_ids_of_any_integers(dtype: Any) -> None:
    made = Detections(np.array(XYXY, ">f8"), np.array(SCORES, np.longdouble), np.array(CLASSES, dtype), list(NAMES))
    assert_well_formed(made, 4)
    assert made == table()


def test_arrays_are_copied() -> None:
    arrays = np.array(XYXY, np.float32), np.array(SCORES, np.float32), np.array(CLASSES, np.int32)
    made = Detections(*arrays, NAMES)
    for array in arrays:
        array[:] = 0  # still writeable
    assert made == table()


@pytest.mark.parametrize("xyxy", [[], np.zeros((0, 4)), np.zeros((0, 4), np.int8)])
@pytest.mark.parametrize("names", [NAMES])
def test_empty(xyxy: Any, names: Any) -> None:
    made = Detections(xyxy, [], [], names)
    assert_well_formed(made, 0)
    assert made == nothing()
    assert list(made) == made.labels == []
    assert made.to_dict() == {"detections": []}
    assert json.loads(made.to_json()) == {"detections": []}
    assert repr(made) == "Detections(0: )"
    assert pickle.loads(pickle.dumps(made)) == made
    for key in (slice(None), [], np.zeros(0, bool), np.zeros(0, int), "car", ["car", "bus"]):
        assert_well_formed(made[key], 0)
    with pytest.raises(IndexError, match="out of bounds"):
        made[0]


def test_empty_without_names() -> None:
    assert len(Detections([], [], [], ())) == 0


@pytest.mark.parametrize(
    ("xyxy", "scores", "classes"),
    [
        ([[0, 0, 1, 1]], [], [0]),
        ([[0, 0, 1, 1]], [0.5], []),
        ([[0, 0, 1, 1]], [0.5, 0.4], [0, 0]),
        ([[0, 0, 1, 1]], [[0.5]], [0]),
        ([[0, 0, 1, 1]], [0.5], [[0]]),
        ([[0, 0, 1, 1]], 0.5, 0),
        ([0, 0, 1, 1], [0.5], [0]),
        ([0, 0, 1, 1], [0.5] * 4, [0] * 4),
        ([[0, 0, 1]], [0.5], [0]),
        ([[0, 0, 1, 1, 1]], [0.5], [0]),
        ([[[0, 0, 1, 1]]], [0.5], [0]),
        ([], [0.5], [0]),
        (5.0, [0.5], [0]),
    ],
)
def test_shapes_that_do_not_fit(xyxy: Any, scores: Any, classes: Any) -> None:
    with pytest.raises(ValueError, match=r"xyxy \(N, 4\), confidence \(N,\) and class_id \(N,\).*got \("):
        Detections(xyxy, scores, classes, NAMES)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 3], r"class ids.*\[0, 3\).*got 0 to 3"),
        ([-1, 2], r"class ids.*\[0, 3\).*got -1 to 2"),
        ([0, 2**40], r"class ids.*\[0, 3\).*got 0 to 1099511627776"),
    ],
)
def test_class_ids_outside_the_label_table(classes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Detections(np.zeros((2, 4)), [0.5, 0.4], classes, NAMES)


def test_no_class_id_fits_an_empty_label_table() -> None:
    with pytest.raises(ValueError, match=r"class ids.*\[0, 0\).*got 0 to 0"):
        Detections([[0, 0, 1, 1]], [0.5], [0], ())


@pytest.mark.parametrize(("classes", "kind"), [([0.0], "float64"), ([True], "bool"), (["car"], "<U3"), ([None], "object")])
def test_class_ids_that_are_no_integers(classes: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"class_id.*got {kind}"):
        Detections([[0, 0, 1, 1]], [0.5], classes, NAMES)


# ---- frozen -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ARRAYS, "names", "labels", "something_new"])
def test_attributes_are_frozen(name: str) -> None:
    made = table()
    with pytest.raises(AttributeError, match=f"immutable: '{name}'"):
        setattr(made, name, 1)
    with pytest.raises(AttributeError, match=f"immutable: '{name}'"):
        delattr(made, name)
    assert made == table()


def found_by_postprocess() -> Detections:
    head = sd.HeadConfig(input_size=(9, 9), grid=(1, 1), anchors=((3, 3),), labels=NAMES)
    return sd.postprocess(np.zeros((1, 4), "f4"), np.full((1, 3), 0.9, "f4"), np.ones(1, "f4"), head)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("made", [table(), table()[1:], table()["cat"], nothing(), found_by_postprocess()])
def test_arrays_are_read_only(name: str, made: Detections) -> None:
    array = getattr(made, name)
    with pytest.raises(ValueError, match="read-only"):
        array[:] = 1
    with pytest.raises(ValueError, match="read-only"):
        array += 1
    assert not pickle.loads(pickle.dumps(made)).xyxy.flags.writeable


def test_an_indexed_part_does_not_share_memory() -> None:
    made = table()
    for key in (slice(1, 3), [0, 1], np.array([2]), "cat"):
        assert not np.shares_memory(made[key].xyxy, made.xyxy)


def test_parts_do_not_keep_the_whole_alive() -> None:
    for name in ARRAYS:
        base = getattr(table()[1:2], name).base
        assert base is None or base.size <= 4


# ---- one at a time ------------------------------------------------------------------------------------------------------


def test_iteration() -> None:
    each = list(table())
    assert [d.label for d in each] == ["cat", "car", "cat", "bus"]
    assert each[0] == Detection((0.0, 1.0, 10.0, 20.0), float(np.float32(0.9)), 2, "cat")
    assert all(type(d) is Detection for d in each)
    assert [(type(d.confidence), type(d.class_id), *map(type, d.xyxy)) for d in each] == [(float, int, *[float] * 4)] * 4
    assert list(iter(table())) == each  # a second walk gives the same


@pytest.mark.parametrize("index", [0, 3, -1, -4, np.int8(2), np.uint64(1), True])
def test_one_index(index: Any) -> None:
    one = table()[index]
    assert one == list(table())[int(index)]
    assert type(one) is Detection
    assert (type(one.confidence), type(one.class_id), *map(type, one.xyxy)) == (float, int, *[float] * 4)
    assert one.label == NAMES[one.class_id]


@pytest.mark.parametrize("index", [4, -5, 10**9])
def test_an_index_out_of_range(index: int) -> None:
    with pytest.raises(IndexError, match="out of bounds"):
        table()[index]


# ---- several ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [slice(None), slice(1, 3), slice(None, None, -1), slice(-2, None), slice(3, 1), slice(1, 100, 2), slice(9, 10)]
)
def test_slice(key: slice) -> None:
    expected = range(4)[key]
    assert_well_formed(table()[key], len(expected))
    assert table()[key] == rows(*expected)


@pytest.mark.parametrize("form", [list, np.array])
@pytest.mark.parametrize("mask", [[True, False, True, False], [False] * 4, [True] * 4])
def test_mask(form: Any, mask: list[bool]) -> None:
    found = table()[form(mask)]
    assert_well_formed(found, sum(mask))
    assert found == rows(*np.flatnonzero(mask))


def test_mask_of_a_comparison() -> None:
    made = table()
    assert made[made.confidence > 0.5] == rows(0, 1)
    assert made[made.class_id == 2] == rows(0, 2)


@pytest.mark.parametrize("form", [list, np.array])
@pytest.mark.parametrize("indices", [[0, 2], [3, 0, 0], [-1], [-4, 1, 2, 3]])
def test_indices(form: Any, indices: list[int]) -> None:
    found = table()[form(indices)]
    assert_well_formed(found, len(indices))
    assert found == rows(*indices)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_no_indices(dtype: Any) -> None:
    assert table()[[]] == nothing()
    assert table()[np.zeros(0 if dtype is not bool else 4, dtype)] == nothing()


@pytest.mark.parametrize(
    ("key", "indices"),
    [
        ("cat", [0, 2]),
        ("bus", [3]),
        (["car", "cat"], [0, 1, 2]),
        (["cat", "car"], [0, 1, 2]),
        (["bus", "bus"], [3]),
        ([*NAMES], [0, 1, 2, 3]),
        (np.str_("car"), [1]),
    ],
)
def test_labels(key: Any, indices: list[int]) -> None:
    """Whatever the order of the labels, the order of the boxes stays."""
    assert_well_formed(table()[key], len(indices))
    assert table()[key] == rows(*indices)


def test_a_label_without_boxes() -> None:
    assert table()[1:2]["cat"] == nothing()


def test_a_name_that_stands_twice_in_the_label_table() -> None:
    made = Detections(XYXY, SCORES, CLASSES, ("cat", "bus", "cat"))
    assert made["cat"].class_id.tolist() == [2, 0, 2]


@pytest.mark.parametrize("key", ["dog", "", "Cat", ["cat", "dog"], ["dog"]])
def test_an_unknown_label(key: Any) -> None:
    with pytest.raises(KeyError, match=r"'(dog|Cat|)'.*car, bus, cat"):
        table()[key]


@pytest.mark.parametrize("key", [1.0, None, (0, 1), (), {"cat"}, np.float64(1), np.True_])
def test_keys_of_no_use(key: Any) -> None:
    with pytest.raises(TypeError, match="integer"):
        table()[key]


@pytest.mark.parametrize("key", [[0.0, 1.0], [True, False], [4], [-5], np.array([0.5]), np.zeros(5, bool)])
def test_arrays_of_no_use(key: Any) -> None:
    with pytest.raises(IndexError, match=r"index|indices"):
        table()[key]


def test_an_array_without_axes_is_one_index() -> None:
    assert table()[np.array(1)] == table()[1]


@pytest.mark.parametrize("key", [np.array([[0, 1]]), [[0, 1]], np.zeros((1, 0), int)])
def test_indices_with_two_axes(key: Any) -> None:
    """They would give arrays that are not a table."""
    with pytest.raises((IndexError, TypeError, ValueError), match=r"ind|ax|dimension|shape"):
        table()[key]


def test_indexing_keeps_working_on_parts() -> None:
    assert table()[1:][["cat", "bus"]][::-1][0] == table()[3]


# ---- equality, copies ---------------------------------------------------------------------------------------------------


def test_equality() -> None:
    assert table() == table()
    assert rows(0, 1) != rows(1, 0)
    assert table() != table()[:3]
    assert table() != nothing()
    assert table() != list(table())
    assert nothing() != []


@pytest.mark.parametrize("changed", range(4))
def test_each_part_counts_for_equality(changed: int) -> None:
    parts: list[Any] = [np.array(XYXY), np.array(SCORES), np.array(CLASSES), NAMES]
    if changed == 3:
        parts[3] = ("car", "bus", "dog")
    else:
        parts[changed].flat[1] += 1
    assert Detections(*parts) != table()


def test_unhashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(table())


@pytest.mark.parametrize(
    "remake", [copy.copy, copy.deepcopy, *(lambda d, p=p: pickle.loads(pickle.dumps(d, p)) for p in range(6))]
)
@pytest.mark.parametrize("made", [table(), nothing(), table()["cat"], found_by_postprocess()])
def test_copies(remake: Any, made: Detections) -> None:
    again = remake(made)
    assert_well_formed(again, len(made))
    assert again == made
    with pytest.raises(AttributeError, match="immutable"):
        again.label_table = ()


def test_repr() -> None:
    assert repr(rows(0, 3)) == "Detections(2: cat 0.900 (0, 1, 10, 20), bus 0.100 (7, 8, 9, 10))"
    many = repr(table()[[0] * 9])
    assert many.startswith("Detections(9: cat 0.900")
    assert many.count("cat") == 8
    assert many.endswith(", ...)")


# ---- JSON ---------------------------------------------------------------------------------------------------------------


def test_to_dict() -> None:
    assert rows(0, 2).to_dict() == {
        "detections": [
            {"label": "cat", "class_id": 2, "confidence": 0.9, "xyxy": [0.0, 1.0, 10.0, 20.0]},
            {"label": "cat", "class_id": 2, "confidence": 0.33333334, "xyxy": [0.1, 0.2, 0.3, 1000000.0]},
        ]
    }


def test_to_json() -> None:
    assert json.loads(table().to_json()) == table().to_dict()
    assert "\n" not in table().to_json()
    assert table().to_json(indent=2).startswith('{\n  "detections": [\n    {\n      "label": "cat"')


def from_json(text: str) -> Detections:
    """What a reader of the JSON does."""
    found = json.loads(text)["detections"]
    return Detections([d["xyxy"] for d in found], [d["confidence"] for d in found], [d["class_id"] for d in found], NAMES)


FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.just(5)), elements=FLOAT32))
def test_json_brings_back_the_same_float32(values: Any) -> None:
    made = Detections(values[:, :4], values[:, 4], np.arange(len(values)) % 3, NAMES)
    again = from_json(made.to_json())
    assert again == made
    assert again.xyxy.tobytes() == made.xyxy.tobytes()
    assert again.confidence.tobytes() == made.confidence.tobytes()


def test_types_of_to_dict() -> None:
    (one,) = table()[:1].to_dict()["detections"]
    types = [type(one[name]) for name in ("label", "class_id", "confidence", "xyxy")]
    assert types == [str, int, float, list]
    assert {type(v) for v in one["xyxy"]} == {float}


def test_scores_that_are_not_finite_can_be_held() -> None:
    made = Detections([[0, 0, 1, 1]], [math.inf], [0], NAMES)
    assert made[0].confidence == math.inf


@pytest.mark.parametrize("other", [np.zeros(3), np.float32(1), np.zeros((3, 4)), [1, 2]])
def test_comparison_with_arrays(other: Any) -> None:
    assert (table() == other) is False
    assert (other == table()) is False
    assert table() != other


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (([["a"] * 4], [0.5], [0], ["x"]), TypeError),
        (([[0j] * 4], [0.5], [0], ["x"]), TypeError),
        (([[0] * 4], ["0.5"], [0], ["x"]), TypeError),
        (([[0] * 4], [0.5], [0], "x"), TypeError),
        (([[0] * 4], [0.5], [0], [3]), TypeError),
        ((np.zeros((0, 5)), [], [], ["x"]), ValueError),
    ],
)
def test_what_is_made_of_the_wrong_things(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        Detections(*arguments)


def test_a_table_in_a_notebook() -> None:
    found = sd.Detections(
        [(1.25, 2, 30, 40), (5, 6, 7, 8)], [0.98765, 0.5], [1, 0], ["cat", "<script>alert('1 & 2')</script>"]
    )
    page = found._repr_html_()
    table = ElementTree.fromstring(page)
    cells = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
    assert cells == [
        ["label", "confidence", "x1", "y1", "x2", "y2"],
        ["<script>alert('1 & 2')</script>", "0.988", "1.2", "2.0", "30.0", "40.0"],
        ["cat", "0.500", "5.0", "6.0", "7.0", "8.0"],
    ]
    assert table.findtext("caption") == "Detections: 2"
    assert "<script" not in page
    assert ElementTree.fromstring(found[:0]._repr_html_()).findtext("caption") == "Detections: 0"
    many = sd.Detections(np.zeros((70, 4)), np.linspace(1, 0, 70), np.zeros(70, int), ["cat"])
    table = ElementTree.fromstring(many._repr_html_())
    assert table.findtext("caption") == "Detections: 70, of which the first 50"
    assert len(list(table.iter("tr"))) == 51
