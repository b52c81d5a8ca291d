"""Anchor shapes: the clusters that are there are found, and VOC's boxes lead near the published ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import error_line
from evaluation_cases import annotated
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.anchor_shapes import box_shapes, find_shapes, shape_iou
from opencv_squeezedet.cli import main
from opencv_squeezedet.datasets import Dataset

for library in ("sklearn", "matplotlib", "PIL"):
    pytest.importorskip(library, reason=f"the command needs {library}, of the eval extra")
SHAPES = np.array([(300.0, 280.0), (60.0, 200.0), (150.0, 50.0), (20.0, 25.0)])


def boxes_about(shapes: NDArray[np.float64], count: int = 200, spread: float = 0.05) -> NDArray[np.float64]:
    random = np.random.default_rng(5)
    return np.repeat(shapes, count, axis=0) * random.uniform(1 - spread, 1 + spread, (count * len(shapes), 2))


def test_shape_iou() -> None:
    assert shape_iou([(10, 10)], [(10, 10), (5, 10), (20, 5), (5, 5)]).tolist() == [[1, 0.5, pytest.approx(1 / 3), 0.25]]


def test_boxes_are_stretched_to_the_input() -> None:
    boxes = [(0, 0, 50, 10), (10, 10, 20, 30), (0, 0, 90, 90)]
    picture = annotated(boxes, [0, 0, 0], [False, False, True])  # of a picture of 100x100
    dataset = Dataset(("a",), (picture, annotated([], [])), ())
    assert box_shapes(dataset, (200, 400)).tolist() == [[100, 40], [20, 80]]
    with pytest.raises(ValueError, match="no boxes"):
        box_shapes(Dataset(("a",), (annotated([], []),), ()), (416, 416))
    with pytest.raises(ValueError, match="input_size"):
        box_shapes(dataset, (0, 416))


@pytest.mark.parametrize("distance", ["iou", "euclidean"])
def test_clusters_that_are_there_are_found(distance: str) -> None:
    found = find_shapes(boxes_about(SHAPES), len(SHAPES), distance=distance)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.shapes, SHAPES[[0, 1, 2, 3]], rtol=0.02)  # the largest first
    np.testing.assert_allclose(found.share, 0.25)
    assert 0.93 < found.mean_best_iou < 1


@pytest.mark.parametrize("distance", ["iou", "euclidean"])
def test_the_numbers_are_those_of_the_shapes(distance: str) -> None:
    boxes = np.random.default_rng(1).uniform(5, 400, (500, 2))
    found = find_shapes(boxes, 5, distance=distance)  # type: ignore[arg-type]
    iou = shape_iou(boxes, found.shapes)
    assert found.cluster.tolist() == iou.argmax(axis=1).tolist()
    assert found.mean_best_iou == pytest.approx(iou.max(axis=1).mean())
    assert found.share.sum() == pytest.approx(1)
    assert found.shapes.prod(axis=1).tolist() == sorted(found.shapes.prod(axis=1), reverse=True)
    again = find_shapes(boxes, 5, distance=distance)  # type: ignore[arg-type]
    assert np.array_equal(found.shapes, again.shapes)


def test_iou_is_what_the_distance_1_minus_iou_raises() -> None:
    """Boxes of very different sizes, where Euclidean distance looks at the large ones only."""
    boxes = np.exp(np.random.default_rng(2).uniform(np.log(5), np.log(400), (500, 2)))
    by_iou, euclidean = (find_shapes(boxes, 6, distance=d).mean_best_iou for d in ("iou", "euclidean"))
    assert by_iou > euclidean + 0.02


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A YOLO data set with boxes about the shapes."""
    folder = tmp_path / "yolo"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "a.png"), np.zeros((416, 416, 3), np.uint8))
    lines = [f"0 0.5 0.5 {w / 416} {h / 416}\n" for w, h in boxes_about(SHAPES, 20)]
    (folder / "labels" / "a.txt").write_text("".join(lines))
    (folder / "classes.txt").write_text("thing\n")
    return folder


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_command(data: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    config, picture = data.parent / "head.json", data.parent / f"anchors.{suffix}"
    options = ["--count", "4", "--size", "208", "--json", str(config), "--plot", str(picture)]
    assert main(["anchors", str(data), *options]) == 0
    out, errors = capsys.readouterr()
    assert errors == ""
    head = sd.HeadConfig.from_json(config.read_text())
    np.testing.assert_allclose(head.anchors, SHAPES / 2, rtol=0.04)
    assert (head.input_size, head.labels) == ((208, 208), ("thing",))
    assert "mean best IoU of 80 boxes: 0.9" in out
    assert picture.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml"}[suffix])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "500"], "500 shapes"),
        (["--plot", "a.xyz"], "xyz"),
        (["--size", "0"], "input_size must be at least 1"),
    ],
)
def test_usage(
    data: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    line = error_line(main, ["anchors", data, *options], capsys)
    assert line.startswith("squeezedet anchors: ")
    assert message in line
