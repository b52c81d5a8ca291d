"""Detections: a frozen table of boxes that can be indexed, compared, stored and walked through."""

from __future__ import annotations

import copy
import json
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
def test_empty(xyxy: Any) -> None:
    made = Detections(xyxy, [], [], NAMES)
    assert_well_formed(made, 0)
    assert made == nothing()
    assert list(made) == made.labels == []
    assert json.loads(made.to_json()) == made.to_dict() == {"detections": []}
    for key in (slice(None), [], np.zeros(0, bool), np.zeros(0, int), "car", ["car", "bus"]):
        assert_well_formed(made[key], 0)
    with pytest.raises(IndexError, match="out of bounds"):
        made[0]


@pytest.mark.parametrize("xyxy", [(1, 4), (4,), (1, 3), (1, 5), (1, 1, 4), (0,), (), (0, 5)])
@pytest.mark.parametrize("scores", [(1,), (), (0,), (2,), (1, 1)])
@pytest.mark.parametrize("classes", [(1,), (), (0,), (1, 1)])
def test_shapes_that_do_not_fit(xyxy: Any, scores: Any, classes: Any) -> None:
    shapes = xyxy, scores, classes
    if shapes in (((1, 4), (1,), (1,)), ((0,), (0,), (0,))):
        return
    with pytest.raises(ValueError, match=r"xyxy \(N, 4\), confidence \(N,\) and class_id \(N,\).*got \("):
        Detections(*(np.zeros(shape, int) for shape in shapes), NAMES)


@pytest.mark.parametrize(
    ("classes", "names", "error", "message"),
    [
        ([0, 3], NAMES, ValueError, r"class ids.*\[0, 3\).*got 0 to 3"),
        ([-1, 2], NAMES, ValueError, r"class ids.*\[0, 3\).*got -1 to 2"),
        ([0, 2**40], NAMES, ValueError, r"class ids.*\[0, 3\).*got 0 to 1099511627776"),
        ([0, 0], (), ValueError, r"class ids.*\[0, 0\).*got 0 to 0"),
        ([0.0, 1.0], NAMES, TypeError, "class_id.*got float64"),
        ([True, False], NAMES, TypeError, "class_id.*got bool"),
        (["car", "cat"], NAMES, TypeError, "class_id.*got <U3"),
        ([None, 1], NAMES, TypeError, "class_id.*got object"),
    ],
)
def test_wrong_class_ids(classes: Any, names: tuple[str, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Detections(np.zeros((2, 4)), [0.5, 0.4], classes, names)


@pytest.mark.parametrize(
    "arguments",
    [
        ([["a"] * 4], [0.5], [0], ["x"]),
        ([[0j] * 4], [0.5], [0], ["x"]),
        ([[0] * 4], ["0.5"], [0], ["x"]),
        ([[0] * 4], [0.5], [0], "x"),
        ([[0] * 4], [0.5], [0], [3]),
    ],
)
def test_wrong_types(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        Detections(*arguments)


@pytest.mark.parametrize("name", ["xyxy", "labels", "something_new"])
def test_attributes_are_frozen(name: str) -> None:
    with pytest.raises(AttributeError, match=f"immutable: '{name}'"):
        setattr(table(), name, 1)
    with pytest.raises(AttributeError, match=f"immutable: '{name}'"):
        delattr(table(), name)


def found_by_postprocess() -> Detections:
    head = sd.HeadConfig(input_size=(9, 9), grid=(1, 1), anchors=((3, 3),), labels=NAMES)
    return sd.postprocess(np.zeros((1, 4), "f4"), np.full((1, 3), 0.9, "f4"), np.ones(1, "f4"), head)


@pytest.mark.parametrize("made", [table(), table()[1:], table()["cat"], nothing(), found_by_postprocess()])
def test_arrays_are_read_only(made: Detections) -> None:
    for again in (made, pickle.loads(pickle.dumps(made))):
        for name in ARRAYS:
            with pytest.raises(ValueError, match="read-only"):
                getattr(again, name)[:] = 1


def test_an_indexed_part_does_not_keep_the_whole_alive() -> None:
    made = table()
    for key in (slice(1, 2), [0], np.array([2]), "bus"):
        for name in ARRAYS:
            assert not np.shares_memory(getattr(made[key], name), getattr(made, name))
            base = getattr(made[key], name).base
            assert base is None or base.size <= 4


def assert_plain(one: Detection) -> None:
    assert (type(one.confidence), type(one.class_id), *map(type, one.xyxy)) == (float, int, *[float] * 4)


def test_iteration() -> None:
    each = list(table())
    assert [d.label for d in each] == ["cat", "car", "cat", "bus"]
    assert each[0] == Detection((0.0, 1.0, 10.0, 20.0), float(np.float32(0.9)), 2, "cat")
    for one in each:
        assert_plain(one)


@pytest.mark.parametrize("index", [0, 3, -1, -4, np.int8(2), np.uint64(1), True, np.array(1)])
def test_one_index(index: Any) -> None:
    one = table()[index]
    assert one == list(table())[int(index)]
    assert_plain(one)


def test_an_index_out_of_range() -> None:
    for index in (4, -5, 10**9):
        with pytest.raises(IndexError, match="out of bounds"):
            table()[index]


@pytest.mark.parametrize(
    ("key", "indices"),
    [
        *((key, range(4)[key]) for key in (slice(None), slice(1, 3), slice(None, None, -1), slice(-2, None), slice(3, 1))),
        *((key, range(4)[key]) for key in (slice(1, 100, 2), slice(9, 10))),
        *((form([True, False, True, False]), [0, 2]) for form in (list, np.array)),
        *((form([value] * 4), range(4 * value)) for form in (list, np.array) for value in (False, True)),
        *((form(indices), indices) for form in (list, np.array) for indices in ([0, 2], [3, 0, 0], [-1], [-4, 1, 2, 3])),
        ([], []),
        (np.zeros(0, np.uint8), []),
        (table().confidence > 0.5, [0, 1]),
        (table().class_id == 2, [0, 2]),
        ("cat", [0, 2]),
        (["car", "cat"], [0, 1, 2]),
        (["cat", "car"], [0, 1, 2]),  # the order of the boxes stays
        ([*NAMES], [0, 1, 2, 3]),
        (np.str_("car"), [1]),
    ],
)
def test_several(key: Any, indices: Any) -> None:
    assert_well_formed(table()[key], len(indices))
    assert table()[key] == rows(*indices)


def test_an_unknown_label() -> None:
    for key in ("dog", "", "Cat", ["cat", "dog"]):
        with pytest.raises(KeyError, match=r"'(dog|Cat|)'.*car, bus, cat"):
            table()[key]


@pytest.mark.parametrize(
    ("error", "key"),
    [
        *((TypeError, key) for key in (1.0, None, (0, 1), (), {"cat"}, np.float64(1), np.True_)),
        *((IndexError, key) for key in ([0.0, 1.0], [True, False], [4], [-5], np.array([0.5]), np.zeros(5, bool))),
        *(((IndexError, TypeError, ValueError), key) for key in (np.array([[0, 1]]), [[0, 1]], np.zeros((1, 0), int))),
    ],
)
def test_keys_of_no_use(error: Any, key: Any) -> None:
    with pytest.raises(error, match=r"ind|integer|ax|dimension|shape"):
        table()[key]


@pytest.mark.parametrize(
    "other",
    [
        table()[:3],
        table()[[1, 0, 2, 3]],
        Detections(np.array(XYXY) + 1, SCORES, CLASSES, NAMES),
        Detections(XYXY, [0.9, 0.8, 0.5, 0.1], CLASSES, NAMES),
        Detections(XYXY, SCORES, [2, 0, 2, 2], NAMES),
        Detections(XYXY, SCORES, CLASSES, ("car", "bus", "dog")),
        *(list(table()), np.zeros(3)),
    ],
)
def test_equality(other: Any) -> None:
    assert table() == table()
    assert (table() == other) is False
    assert (other == table()) is False
    assert table() != other


@pytest.mark.parametrize("remake", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
@pytest.mark.parametrize("made", [table(), nothing(), found_by_postprocess()])
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


def test_to_dict() -> None:
    assert rows(0, 2).to_dict() == {
        "detections": [
            {"label": "cat", "class_id": 2, "confidence": 0.9, "xyxy": [0.0, 1.0, 10.0, 20.0]},
            {"label": "cat", "class_id": 2, "confidence": 0.33333334, "xyxy": [0.1, 0.2, 0.3, 1000000.0]},
        ]
    }


FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.just(5)), elements=FLOAT32))
def test_json_brings_back_the_same_float32(values: Any) -> None:
    made = Detections(values[:, :4], values[:, 4], np.arange(len(values)) % 3, NAMES)
    read = json.loads(made.to_json())["detections"]
    again = Detections(*([d[name] for d in read] for name in ARRAYS), NAMES)
    assert again == made
    assert again.xyxy.tobytes() == made.xyxy.tobytes()
    assert again.confidence.tobytes() == made.confidence.tobytes()


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
