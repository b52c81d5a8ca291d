"""COCO result files, written by this package or by other programs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from opencv_squeezedet.datasets import Dataset, Problem
from opencv_squeezedet.datasets.folders import shared_parts
from opencv_squeezedet.datasets.names import class_table
from opencv_squeezedet.datasets.problems import Problems
from opencv_squeezedet.datasets.raw import as_id
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.files import read_whole, write_whole

_MOST_BYTES = 1 << 32
_MOST = float(np.finfo(np.float32).max) / 2  # half, so that the sum of two numbers fits


def write_results(
    path: Path, dataset: Dataset, detections: Sequence[Detections], categories: Mapping[int | str, str] | None = None
) -> None:
    """Write the detections in each picture of a data set as a COCO list of results.

    ``categories`` gives the class name of each ``category_id``; detections of other classes are left out. By default ids are
    the class id + 1.
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


def _default_categories(dataset: Dataset) -> dict[int | str, str]:
    return dict(enumerate(dataset.labels, start=1))


def read_categories(path: Path) -> dict[int | str, str]:
    """Return the names of the category ids in a COCO file; ValueError if it has no ``categories``."""
    try:
        return _names(json.loads(read_whole(path, _MOST_BYTES)))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: COCO's categories were expected: {error!r}") from error


def _names(content: dict[str, Any]) -> dict[int | str, str]:
    return {as_id(entry["id"]): str(entry["name"]).strip() for entry in content["categories"]}


def read_results(
    path: Path, dataset: Dataset, categories: Mapping[int | str, str] | None = None
) -> tuple[list[Detections], tuple[Problem, ...]]:
    """Read detections written by any program.

    Parameters
    ----------
    path : Path
        A COCO list of results, each with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height) and ``score``; or a
        COCO data set whose annotations have scores, as ``detect --coco`` writes, which identifies classes by its own
        categories and pictures by file name.
    dataset : Dataset
        The pictures and labels. An ``image_id`` is that of the data set; otherwise, or for a file name, the picture with
        this path, with or without suffix, or with the only path that ends so, or with the only file name that is this
        number.
    categories : mapping, optional
        The class name of each category id. Default: ids are the class id + 1. A ``category_id`` may also be a class name.

    Returns
    -------
    detections : list of Detections
        The detections in each picture, in the data set's order, highest score first.
    problems : tuple of Problem
        The results for other pictures and classes, which are left out.

    Raises
    ------
    ValueError
        If it is not such a file, or none of its results is for a picture and a class of the data set.
    """
    try:
        content = json.loads(read_whole(path, _MOST_BYTES))
        find = _PictureIndex(dataset)
        if isinstance(content, dict):
            rows, categories = content["annotations"], _names(content)
            names = {str(as_id(entry["id"])): str(entry["file_name"]) for entry in content["images"]}
        else:
            rows, names = content, {}
            find.add_ids()
        parsed = [_row(row) for row in rows]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: COCO's results were expected: {error!r}") from error
    table = class_table(dataset.labels)
    if categories is None:
        categories = _default_categories(dataset)
    labels = {str(category): name for category, name in categories.items()}  # 7 and "7" are the same
    of_picture: list[list[Any]] = [[] for _ in dataset.pictures]
    pictures, classes = Counter[str](), Counter[str]()
    for image_id, category, box, score in parsed:
        name = names.get(image_id, image_id)
        index, label = find(name), labels.get(category, category)
        class_id = table.get(label)
        if index is None:
            pictures[name] += 1
        elif class_id is None:
            classes[label] += 1
        else:
            of_picture[index].append((-score, class_id, box))
    if parsed and not any(of_picture):
        raise ValueError(f"{path}: none of its {len(parsed)} results is for a picture and a class of the data set")
    problems = Problems()
    for kind, counts in (
        ("results for pictures that are not in the data set, or that several may be", pictures),
        ("results of classes that are not in the data set", classes),
    ):
        for name, count in counts.most_common():
            problems.left_out(kind, f"{name!r}: {count}", count)
    return [_detections(results, dataset.labels) for results in of_picture], problems.listed()


class _PictureIndex:
    """Finds the index of a picture by its path, by the end of its path if that is unique, or by its number."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._known: dict[str, int | None] = {}
        self._ends: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        self._numbers: dict[int, list[int]] = {}
        for index, picture in enumerate(dataset.pictures):
            for path in (picture.path, picture.path.with_suffix("")):
                self._ends.setdefault(path.name, []).append((path.parts[::-1], index))
            if re.fullmatch("[0-9]{1,18}", picture.path.stem):
                self._numbers.setdefault(int(picture.path.stem), []).append(index)

    def add_ids(self) -> None:
        """Find pictures by their ids too, before all else."""
        self._known.update((str(picture.image_id), index) for index, picture in enumerate(self._dataset.pictures))

    def __call__(self, name: str) -> int | None:
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> int | None:
        parts = PurePosixPath(name.replace("\\", "/")).parts[::-1]
        ends = [(shared_parts(parts, path), index) for path, index in self._ends.get(parts[0], [])] if parts else []
        most = max((shared for shared, _ in ends), default=0)
        indices = {index for shared, index in ends if shared == most}
        if not indices and re.fullmatch("[0-9]{1,18}", name):
            indices = set(self._numbers.get(int(name), []))
        return indices.pop() if len(indices) == 1 else None


def _row(row: Any) -> tuple[str, str, tuple[float, ...], float]:
    x, y, width, height = map(float, row["bbox"])
    score = float(row["score"])
    if not all(abs(number) <= _MOST for number in (x, y, width, height, score)):  # false for NaN too
        raise ValueError(f"numbers must be finite, and fit in float32, got {row!r}")
    return str(as_id(row["image_id"])), str(as_id(row["category_id"])), (x, y, x + width, y + height), score


def _detections(results: list[Any], labels: tuple[str, ...]) -> Detections:
    results.sort(key=lambda row: row[0])
    boxes = np.array([box for _, _, box in results], np.float32).reshape(-1, 4)
    return Detections(boxes, [-score for score, _, _ in results], [class_id for _, class_id, _ in results], labels)
