"""InferBbox against the C++ class, where it is installed, and against what it once found, where it is not."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator

import numpy as np
import pytest
from blobs import KINDS, has_ties, make
from compare_with_cpp import GOLDEN, compare, ours
from cpp_oracle import MISSING, CppInferBbox

import opencv_squeezedet as sd

needs_cpp = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture(scope="module")
def cpp() -> Iterator[CppInferBbox]:
    with CppInferBbox() as oracle:
        yield oracle


@needs_cpp
def test_thousands_of_blobs_give_what_the_cpp_class_gives() -> None:
    results = compare((0, 2700))
    assert len(results) == 2700
    assert [case for case, tied, wrong in results if wrong and not tied] == []
    assert sum(tied for _, tied, _ in results) == 300, "only the all-zero blobs have equal scores"


@pytest.mark.parametrize("entry", json.loads(GOLDEN.read_text()), ids=lambda e: f"{e['kind']}-{e['seed']}-{e['threshold']}")
def test_golden(entry: dict) -> None:
    expected = [(*row[:6], float.fromhex(row[6])) for row in entry["detections"]]
    assert ours(make(entry["kind"], entry["seed"]), entry["threshold"]) == expected


def test_golden_covers_every_kind_but_the_one_of_equal_scores() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert {entry["kind"] for entry in golden} == set(KINDS) - {"zero"}
    assert sum(len(entry["detections"]) for entry in golden) > 500


@needs_cpp
def test_a_second_filter_starts_afresh_where_the_cpp_class_appends(cpp: CppInferBbox) -> None:
    blobs = make("quiet", 3)
    cpp.load(blobs)
    first, second = cpp.filter(0.5), cpp.filter(0.6)
    assert first != second
    assert cpp.filter_twice(0.5, 0.6) == first + second
    boxes = sd.InferBbox(*blobs)
    boxes.filter(0.5)
    boxes.filter(0.6)
    assert [d.class_prob for d in boxes.detections] == [row[6] for row in second]


@needs_cpp
def test_deltas_that_overflow_the_exponential(cpp: CppInferBbox) -> None:
    blobs = make("crowded", 8)
    blobs.delta_bbox[...] = np.where(blobs.delta_bbox > 0, np.float32(3e38), np.float32(-3e38))
    cpp.load(blobs)
    assert not has_ties(blobs)
    assert ours(blobs, 0.3) == cpp.filter(0.3) != []


def test_defaults_and_names_are_those_of_the_header() -> None:
    assert inspect.signature(sd.InferBbox.filter).parameters["thresh"].default == 0.8
    assert list(inspect.signature(sd.InferBbox).parameters) == ["delta_bbox", "class_scores", "conf_scores"]
    boxes = sd.InferBbox(*make("quiet", 0))
    assert boxes.detections == []
    boxes.filter()
    found = boxes.detections[0]
    assert {type(getattr(found, name)) for name in ("xmin", "ymin", "xmax", "ymax", "class_idx")} == {int}
    assert sd.VOC.labels[found.class_idx] == found.label_name
    assert found.class_prob > 0.8


def test_blobs_are_shared_until_filter_and_may_have_a_leading_axis() -> None:
    blobs = make("quiet", 1)
    plain, leading = sd.InferBbox(*blobs), sd.InferBbox(*(blob[None] for blob in blobs))
    for boxes in (plain, leading):
        boxes.filter(0.5)
    assert plain.detections == leading.detections != []
    blobs.conf_scores[...] = 0
    plain.filter(0.1)
    assert plain.detections == []


def test_not_finite_anchors_are_left_out() -> None:
    blobs = make("quiet", 1)
    boxes = sd.InferBbox(*blobs)
    boxes.filter(0.5)
    best = max(boxes.detections, key=lambda d: d.class_prob)
    anchor = int(np.argmax(blobs.conf_scores.reshape(-1) * blobs.class_scores.max(axis=1)))
    blobs.delta_bbox.reshape(-1, 4)[anchor, 2] = np.nan
    boxes.filter(0.5)
    assert best not in boxes.detections
    assert boxes.detections


@pytest.mark.parametrize("thresh", [np.nan, np.inf, -np.inf])
def test_threshold_must_be_finite(thresh: float) -> None:
    boxes = sd.InferBbox(*make("quiet", 0))
    with pytest.raises(ValueError, match="thresh must be finite"):
        boxes.filter(thresh)
