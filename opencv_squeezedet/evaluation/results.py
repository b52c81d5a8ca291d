"""COCO result files, written by this package or by other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.datasets.names import class_table
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.files import read_whole, write_whole

_MOST_BYTES = 1 << 32
_MOST = float(np.finfo(np.float32).max) / 2  # half, so that the sum of two numbers fits


def write_results(
    path: Path, dataset: Dataset, detections: Sequence[Detections], categories: Mapping[int, str] | None = None
) -> None:
    """Write a COCO list of results.

    Parameters
    ----------
    path : Path
        The file.
    dataset : Dataset
        Gives the ``image_id`` of each picture.
    detections : sequence of Detections
        The detections in each picture.
    categories : mapping, optional
        The class name of each ``category_id``; detections of other classes are left out. Default: ids are the class
        id + 1.
    """
    names = _default_categories(dataset) if categories is None else categories
    table = class_table(dataset.labels)
    ids = {table[name]: category for category, name in names.items() if name in table}
    rows = [
        {"image_id": picture.image_id, "category_id": ids[class_id], "bbox": row["bbox"], "score": row["score"]}
        for picture, detected in zip(dataset.pictures, detections, strict=True)
        for row, class_id in zip(detected.to_coco(0), detected.class_id.tolist(), strict=True)
        if class_id in ids
    ]
    write_whole(path, json.dumps(rows).encode())


def _default_categories(dataset: Dataset) -> dict[int, str]:
    return dict(enumerate(dataset.labels, start=1))


def read_categories(path: Path) -> dict[int, str]:
    """Return the names of the category ids in a COCO file; ValueError if it has no ``categories``."""
    try:
        return {entry["id"]: str(entry["name"]) for entry in json.loads(read_whole(path, _MOST_BYTES))["categories"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: COCO's categories were expected: {error!r}") from error


def read_results(path: Path, dataset: Dataset, categories: Mapping[int, str] | None = None) -> list[Detections]:
    """Read detections written by any program.

    Parameters
    ----------
    path : Path
        A COCO list of results, each with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height) and ``score``; or a
        COCO data set whose annotations have scores, as ``detect --coco`` writes, which identifies classes by its own
        categories and pictures by file name.
    dataset : Dataset
        The pictures and labels; results for other pictures or classes are left out.
    categories : mapping, optional
        The class name of each category id. Default: ids are the class id + 1.

    Returns
    -------
    list of Detections
        The detections in each picture, in the data set's order, highest score first.

    Raises
    ------
    ValueError
        If it is not such a file, or none of its results is for a picture and a class of the data set.
    """
    try:
        content = json.loads(read_whole(path, _MOST_BYTES))
        if isinstance(content, dict):
            rows, categories = content["annotations"], {entry["id"]: str(entry["name"]) for entry in content["categories"]}
            names = {picture.path.name: i for i, picture in enumerate(dataset.pictures)}
            if len(names) < len(dataset.pictures):
                raise ValueError("pictures of the data set have the same file name, so results cannot be assigned to them")
            index_of = {entry["id"]: names.get(Path(entry["file_name"]).name) for entry in content["images"]}
        else:
            rows, index_of = content, {picture.image_id: i for i, picture in enumerate(dataset.pictures)}
        parsed = [_row(row) for row in rows]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: COCO's results were expected: {error!r}") from error
    table = class_table(dataset.labels)
    if categories is None:
        categories = _default_categories(dataset)
    of_picture: list[list[Any]] = [[] for _ in dataset.pictures]
    for image_id, category, box, score in parsed:
        index, class_id = index_of.get(image_id), table.get(categories.get(category, ""))
        if index is not None and class_id is not None:
            of_picture[index].append((-score, class_id, box))
    if parsed and not any(of_picture):
        raise ValueError(f"{path}: none of its {len(parsed)} results is for a picture and a class of the data set")
    return [_detections(results, dataset.labels) for results in of_picture]


def _row(row: Any) -> tuple[int | str, int, tuple[float, ...], float]:
    x, y, width, height = map(float, row["bbox"])
    score = float(row["score"])
    if not all(abs(number) <= _MOST for number in (x, y, width, height, score)):  # false for NaN too
        raise ValueError(f"numbers must be finite, and fit in float32, got {row!r}")
    image_id, category_id = row["image_id"], row["category_id"]
    if not (isinstance(image_id, (int, str)) and isinstance(category_id, int)):
        raise TypeError(f"image_id must be a number or a string, and category_id a number, got {row!r}")
    return image_id, category_id, (x, y, x + width, y + height), score


def _detections(results: list[Any], labels: tuple[str, ...]) -> Detections:
    results.sort(key=lambda row: row[0])
    boxes = np.array([box for _, _, box in results], np.float32).reshape(-1, 4)
    return Detections(boxes, [-score for score, _, _ in results], [class_id for _, class_id, _ in results], labels)
