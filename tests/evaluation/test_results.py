"""Results of other programs are matched with the pictures and classes of the data set, and the others are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from opencv_squeezedet.datasets import Annotated, Dataset, load_dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation import evaluate
from opencv_squeezedet.evaluation.results import read_results, write_results

EMPTY = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))


def data_of(*paths: str, ids: tuple[Any, ...] | None = None) -> Dataset:
    pictures = [
        Annotated(Path(path), (60, 40), *EMPTY, image_id=Path(path).stem if ids is None else ids[i])
        for i, path in enumerate(paths)
    ]
    return Dataset(("cat", "dog"), tuple(pictures), ())


def row(image_id: Any, category: Any = 1, score: float = 0.5) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": category, "bbox": [1, 2, 3, 4], "score": score}


def places(path: Path, dataset: Dataset, content: Any) -> tuple[list[int], list[tuple[int, bool]]]:
    """How many results each picture gets, and the count of each kind of problem."""
    path.write_text(json.dumps(content))
    found, problems = read_results(path, dataset)
    return [len(one) for one in found], [(problem.count, problem.left_out) for problem in problems]


@pytest.mark.parametrize(
    ("image_id", "picture"),
    [
        *((name, 0) for name in ("000001", "000001.jpg", 1, "1", 1.0, "images/000001.jpg", r"C:\images\000001.jpg")),
        *((name, 1) for name in ("a/0002", "a/0002.jpg", r"images\a\0002", "/data/images/a/0002.jpg")),
        *((name, 2) for name in ("b/0002", "b/0002.jpg", "./b/0002.jpg")),
        *((name, 3) for name in ("photo", "photo.jpg", "elsewhere/photo.jpg", "elsewhere/photo")),
        *((name, None) for name in (2, "0002", "c/0002.jpg", 3, "", "/", "images", -1, 10**30)),
    ],
)
def test_pictures_by_path_by_name_and_by_number(tmp_path: Path, image_id: Any, picture: int | None) -> None:
    """As an image id or, in a file with images, as a file name; the last picture has a result in any case."""
    data = data_of("images/000001.jpg", "images/a/0002.jpg", "images/b/0002.jpg", "images/photo.jpg", "images/z.jpg")
    expected = [int(i == picture) for i in range(4)] + [1], [(1, True)] * (picture is None)
    rows = [row(image_id), row("z")]
    assert places(tmp_path / "rows.json", data_of_ids(data), rows) == expected
    images = [{"id": 5, "file_name": str(image_id).removesuffix(".0")}, {"id": 6.0, "file_name": "z.jpg"}]
    content = {"images": images, "annotations": [row(5), row(6)], "categories": [{"id": 1, "name": "cat"}]}
    assert places(tmp_path / "images.json", data, content) == expected


def data_of_ids(dataset: Dataset) -> Dataset:
    return data_of(*(str(one.path) for one in dataset.pictures), ids=("000001", "a/0002", "b/0002", "photo", "z"))


def test_ids_of_the_data_set_come_first(tmp_path: Path) -> None:
    dataset = data_of("images/000002.jpg", "images/000001.jpg", "images/x.jpg", ids=(1, 2, "7"))
    assert places(tmp_path / "a.json", dataset, [row(1), row(1.0), row("1"), row(2), row(7), row("x")]) == ([3, 1, 2], [])


def test_ids_of_the_data_set_do_not_count_for_file_names(tmp_path: Path) -> None:
    dataset = data_of("images/000002.jpg", "images/000001.jpg", ids=(1, 2))
    images = [{"id": 1, "file_name": "000001.jpg"}, {"id": 2, "file_name": "2"}]
    content = {"images": images, "annotations": [row(1), row(2), row(2)], "categories": [{"id": 1, "name": "cat"}]}
    assert places(tmp_path / "a.json", dataset, content) == ([2, 1], [])


def test_other_pictures_and_classes_are_counted_by_name(tmp_path: Path) -> None:
    rows = [row(image_id) for image_id in "axxy"] + [row("a", category) for category in (9, "bird", "bird", "dog", 2.0, "1")]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found, problems = read_results(tmp_path / "a.json", data_of("a.jpg"))
    assert sorted(found[0].class_id.tolist()) == [0, 0, 1, 1]
    assert [(problem.count, problem.examples) for problem in problems] == [
        (3, ("'x': 2", "'y': 1")),
        (3, ("'bird': 2", "'9': 1")),
    ]


def test_saved_results_of_pictures_with_the_same_name(tmp_path: Path) -> None:
    """They measure 100, not half."""
    pytest.importorskip("PIL", reason="the sizes of pictures are read with Pillow, of the eval extra")
    for name, suffix in (("a/0001", "jpg"), ("b/0001", "jpg"), ("b/0002", "jpg"), ("b/0002", "png"), ("c", "jpg")):
        place = tmp_path / "images" / f"{name}.{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place), np.zeros((40, 60, 3), np.uint8))
        (tmp_path / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "labels" / f"{name}.txt").write_text(f"0 0.{'abc'.index(name[0]) + 3} 0.5 0.2 0.2\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    dataset = load_dataset(tmp_path)
    assert dataset.problems == ()
    assert [one.image_id for one in dataset.pictures] == ["a/0001", "b/0001", "b/0002.jpg", "b/0002.png", "c"]
    exact = [Detections(one.xyxy, [0.9] * len(one.xyxy), one.class_id, dataset.labels) for one in dataset.pictures]
    write_results(tmp_path / "results.json", dataset, exact)
    found, problems = read_results(tmp_path / "results.json", dataset)
    assert problems == ()
    assert evaluate(dataset, found, coco=False).classes[0].voc10 == 1
