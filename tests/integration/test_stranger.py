"""Another project's Cython module, really compiled, that takes the arithmetic and the fused pass by cimport."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from blobs import make

import opencv_squeezedet as sd

PACKAGE = Path(sd.__file__).parent

PYX = """
# cython: language_level=3
from opencv_squeezedet._kernel cimport HeadKernel, postprocess_blobs
from opencv_squeezedet.anchors cimport anchor_box, anchor_center, anchor_score, class_score, safe_exp
from opencv_squeezedet.boxes cimport Box, clip, comes_before
from opencv_squeezedet.candidates cimport boxes_needed, sort_boxes
from opencv_squeezedet.nms cimport GREEDY, Limits, default_limits, suppress


def arithmetic():
    return anchor_center(0, 23, 416.0, True), anchor_center(0, 24, 384.0, False), safe_exp(3.0, 1.0), clip(7.0, 0.0, 5.0)


def anchor(HeadKernel kernel, const float[::1] delta, const float[::1] classes, const float[::1] conf, Py_ssize_t cell,
           Py_ssize_t k):
    cdef Box box
    cdef int class_id
    cdef double score = anchor_score(&kernel.head, &classes[0], &conf[0], cell, k, &class_id)
    anchor_box(&kernel.head, &delta[0], cell, k, &box)
    assert class_score(&kernel.head, &classes[0], &conf[0], cell, k, class_id, score, class_id) == score
    return score, class_id, (box.x1, box.y1, box.x2, box.y2)


def fused(HeadKernel kernel, const float[::1] delta, const float[::1] classes, const float[::1] conf, double threshold,
          double vote_threshold=1.0):
    cdef Box[128] boxes
    cdef Limits limits = default_limits()
    cdef Py_ssize_t found, i
    limits.score_threshold = threshold
    assert boxes_needed(&kernel.head, &limits) == 64
    limits.vote_threshold = vote_threshold
    assert boxes_needed(&kernel.head, &limits) == (128 if vote_threshold < 1.0 else 64)
    with nogil:
        found = postprocess_blobs(&kernel.head, &delta[0], &classes[0], &conf[0], &limits, 0.0, boxes)
    return [(boxes[i].x1, boxes[i].y1, boxes[i].x2, boxes[i].y2, boxes[i].score, boxes[i].class_id) for i in range(found)]


def greedy(rows, double threshold):
    cdef Box[16] boxes
    cdef Limits limits = default_limits()
    cdef Py_ssize_t count = len(rows)
    cdef Py_ssize_t i
    for i in range(count):
        boxes[i].x1, boxes[i].y1, boxes[i].x2, boxes[i].y2, boxes[i].score = rows[i]
        boxes[i].anchor = i
    sort_boxes(boxes, count)
    assert count < 2 or comes_before(&boxes[0], &boxes[1])
    limits.nms_kind, limits.nms_threshold, limits.class_agnostic = GREEDY, threshold, True
    count = suppress(boxes, count, &limits, 0.0)
    return [boxes[i].anchor for i in range(count)]
"""

SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup

setup(name="stranger", ext_modules=cythonize([Extension("stranger", ["stranger.pyx"])], include_path=[{include!r}]))
"""


pytestmark = pytest.mark.slow  # it compiles an extension


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    pytest.importorskip("Cython", reason="the test extra brings Cython, with which a stranger compiles")
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "stranger.pyx").write_text(PYX)
    (folder / "setup.py").write_text(SETUP.format(include=str(PACKAGE.parent)))
    build = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, capture_output=True, text=True
    )
    assert build.returncode == 0, build.stdout + build.stderr
    (library,) = (path for path in folder.glob("stranger.*") if path.suffix in {".so", ".pyd"})
    spec = importlib.util.spec_from_file_location("stranger", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_anchor(stranger: ModuleType) -> None:
    blobs = make("crowded", 2)
    flat = [blob.reshape(-1) for blob in blobs]
    scores, class_ids = sd.score(blobs.class_scores, blobs.conf_scores)
    boxes = sd.decode(blobs.delta_bbox)
    for anchor in (0, 8, 1234, 4760):
        score, class_id, box = stranger.anchor(sd.VOC.kernel, *flat, *divmod(anchor, 9))
        assert (score, class_id) == (scores[anchor], class_ids[anchor])
        assert np.array_equal(np.float32(box), boxes[anchor])


def test_the_fused_pass(stranger: ModuleType) -> None:
    blobs = make("crowded", 2)
    for options in ({}, {"vote_threshold": 0.25}):
        found = stranger.fused(sd.VOC.kernel, *(blob.reshape(-1) for blob in blobs), 0.3, **options)
        expected = sd.postprocess(*blobs, score_threshold=0.3, **options)
        assert len(found) == len(expected) > 10
        assert np.array_equal(np.float32([row[:4] for row in found]), expected.xyxy)
        assert np.array_equal(np.float32([row[4] for row in found]), expected.confidence)
        assert [row[5] for row in found] == expected.class_id.tolist()


def test_arithmetic_and_nms_alone(stranger: ModuleType) -> None:
    assert stranger.arithmetic() == pytest.approx((416 / 24, 0.5 * 384 / 24, 3 * np.e, 5))
    rows = [(0, 0, 10, 10, 0.5), (1, 0, 11, 10, 0.9), (30, 30, 40, 40, 0.1)]
    assert stranger.greedy(rows, 0.5) == [1, 2]
