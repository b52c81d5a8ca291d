"""What a training does for small data sets of its own accord, and what it says at its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra [train] brings torch")

from evaluation_cases import annotated  # noqa: E402
from training_cases import squares  # noqa: E402

import opencv_squeezedet as sd  # noqa: E402
from opencv_squeezedet import cli  # noqa: E402
from opencv_squeezedet.anchor_shapes import box_shapes, score_shapes  # noqa: E402
from opencv_squeezedet.datasets import Annotated, Dataset  # noqa: E402
from opencv_squeezedet.detections import Detections  # noqa: E402
from opencv_squeezedet.evaluation import evaluate  # noqa: E402
from opencv_squeezedet.training import Recipe, default_pictures, fitted_anchors  # noqa: E402
from opencv_squeezedet.training.advice import what_next  # noqa: E402

LABELS = ("a", "b")


def test_the_default_length() -> None:
    assert [default_pictures(count) for count in (1, 120, 131, 292, 8333)] == [12_000, 12_000, 13_100, 29_200, 240_000]


def boxes_of(sides: list[tuple[float, float]], size: tuple[int, int] = (400, 200)) -> Dataset:
    xyxy = np.array([(0, 0, w, h) for w, h in sides], np.float32)
    zeros = np.zeros(len(sides), np.int64)
    return Dataset(LABELS, (Annotated(Path("x.png"), size, xyxy, zeros, zeros.astype(bool), 0),), ())


def test_anchors_that_fit_better() -> None:
    """Thin upright boxes; at the input, which the picture is stretched to, they are half as wide and as high."""
    rng = np.random.default_rng(0)
    dataset = boxes_of([(w, 8 * w) for w in rng.uniform(6, 24, 200)])
    fitted = fitted_anchors(dataset, (200, 100), sd.VOC.anchors)
    assert fitted is not None
    boxes = box_shapes(dataset, (200, 100))
    assert fitted.mean_iou > fitted.default_mean_iou + 0.1
    assert score_shapes(boxes, fitted.shapes).mean_best_iou == pytest.approx(fitted.mean_iou, abs=0.01)
    assert all(h / w == pytest.approx(8, rel=0.1) for w, h in fitted.shapes)
    assert len(fitted.shapes) == 9


def test_anchors_that_fit_anyway() -> None:
    usual = [(w * (1 + 0.01 * i), h) for w, h in sd.VOC.anchors for i in range(3)]
    assert fitted_anchors(boxes_of(usual, (416, 416)), (416, 416), sd.VOC.anchors) is None
    assert fitted_anchors(boxes_of([(5, 60)] * 20), (416, 416), sd.VOC.anchors) is None  # too few different ones to say


def advice(
    truth: list[tuple[list[tuple[float, ...]], list[int]]],
    found: list[list[tuple[tuple[float, ...], float, int]]],
    train: int = 100,
    input_size: tuple[int, int] = (100, 100),
    curve: tuple[float, ...] = (),
) -> list[str]:
    """Pictures are 100x100; the data set that was trained on has as many objects of each class as ``train`` says."""
    validation = Dataset(LABELS, tuple(annotated(boxes, classes) for boxes, classes in truth), ())
    detections = [Detections(*map(list, zip(*rows, strict=True)) if rows else ([], [], []), LABELS) for rows in found]
    many = Dataset(LABELS, tuple(annotated([(0, 0, 9, 9)] * 2, [0, 1]) for _ in range(train)), ())
    return what_next(many, validation, detections, evaluate(validation, detections, coco=False), input_size, curve)


BIG, SMALL = (10, 10, 90, 90), (0, 0, 9, 9)


def test_nothing_to_say() -> None:
    assert advice([([BIG, (0, 0, 50, 50)], [0, 1])], [[(BIG, 0.9, 0), ((0, 0, 50, 50), 0.9, 1)]]) == []


def test_small_objects_are_missed() -> None:
    truth = [([BIG, SMALL], [0, 1])] * 12
    found = [[(BIG, 0.9, 0)]] * 12
    lines = advice(truth, found)
    assert "smaller than 32 pixels of the input is 0 %, that of others 100 %: try a larger --size" in lines[0]
    assert not any("--size" in line for line in advice(truth, found, input_size=(400, 400)))  # there they are not small
    assert not any("--size" in line for line in advice(truth[:9], found[:9]))  # too few to say


def test_a_curve_that_rises() -> None:
    good = ([([BIG], [0]), ([BIG], [1])], [[(BIG, 0.9, 0)], [(BIG, 0.9, 1)]])
    assert "still rising" in advice(*good, curve=(0.3, 0.5, 0.6))[0]
    assert advice(*good, curve=(0.3, 0.6, 0.6)) == []
    assert advice(*good, curve=(0.3, 0.6)) == []


def test_few_objects() -> None:
    (line,) = advice([([BIG], [0])], [[(BIG, 0.9, 0)]], train=7)
    assert "a (7), b (7)" in line


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ([((10, 10, 90, 45), 0.9, 0)], "inaccurate boxes cost 50.0 points"),
        ([(BIG, 0.9, 1)], "confused classes cost"),
        ([(BIG, 0.5, 0), ((0, 0, 5, 5), 0.9, 0)], "false detections cost"),
    ],
)
def test_what_costs_most(found: list[tuple[tuple[float, ...], float, int]], word: str) -> None:
    lines = advice([([BIG], [0]), ([BIG], [1])], [found, [(BIG, 0.9, 1)]])
    assert any(word in line for line in lines)


def test_epochs_and_fitted_anchors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    squares(tmp_path, 6)
    monkeypatch.chdir(tmp_path)
    short = ["--split", "train", "--size", "128", "--batch", "4", "--workers", "0"]
    assert cli.main(["train", "data.yaml", *short, "--epochs", "2", "--val-split", "val", "-o", "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    recipe = Recipe.from_json((tmp_path / "run" / "recipe.json").read_text())
    assert recipe.pictures == 12
    assert any(line.startswith("anchors fitted to the data set: ") for line in lines)
    assert recipe.anchors is not None
    assert all(26 < side < 60 for shape in recipe.anchors for side in shape)
    assert any(line.startswith("next: ") for line in lines[:-1])
    assert cli.main(["train", "data.yaml", *short, "--epochs", "2", "--pictures", "3", "-o", "x"]) == 2
    assert "not allowed with argument" in capsys.readouterr().err
