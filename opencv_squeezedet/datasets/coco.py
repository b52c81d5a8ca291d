"""COCO's JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from opencv_squeezedet.datasets.raw import Raw, RawObject, RawPicture, briefly
from opencv_squeezedet.files import read_regular

_MOST_BYTES = 1 << 34


def read(path: Path, images: Path | None) -> Raw:
    """Read a file of images, annotations and categories; an extra ``difficult`` of an annotation counts as ``iscrowd``.

    Raises
    ------
    ValueError
        If it is not such a file.
    FileNotFoundError
        If none of its pictures is found.
    """
    try:
        content = json.loads(read_regular(path, _MOST_BYTES))
        entries, annotations, categories = (content[name] for name in ("images", "annotations", "categories"))
        if not all(isinstance(table, list) for table in (entries, annotations, categories)):
            raise TypeError("images, annotations and categories must be lists")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: COCO's images, annotations and categories were expected: {error!r}") from error
    problems: list[str] = []
    names = _names(categories, problems)
    raw = Raw(tuple(names.values()), problems=problems)
    folder = _folder(path, entries) if images is None else images
    objects: dict[Any, list[RawObject]] = {}
    for entry in entries:
        _add_picture(raw, entry, folder, objects)
    for annotation in annotations:
        _add_object(raw, annotation, names, objects)
    return raw


def _names(categories: list[Any], problems: list[str]) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for entry in categories:
        try:
            category, name = entry["id"], str(entry["name"])
            if category in names:
                raise ValueError
        except (KeyError, TypeError, ValueError, RecursionError):
            problems.append(f"category {briefly(entry)}: a new id and a name were expected: left out")
        else:
            names[category] = name
    return names


def _folder(path: Path, entries: list[Any]) -> Path:
    """Where the pictures are: in ``images`` beside the file, beside it, or as COCO's own archives have them."""
    name = path.stem.removeprefix("instances_")
    folders = [path.parent / "images", path.parent, path.parent.parent / name, path.parent.parent / "images" / name]
    for folder in folders:
        if any(isinstance(entry, dict) and os.path.isfile(folder / str(entry.get("file_name"))) for entry in entries):
            return folder
    raise FileNotFoundError(f"{path}: none of its {len(entries)} pictures is in {folders[0]}: say where they are")


def _add_picture(raw: Raw, entry: Any, folder: Path, objects: dict[Any, list[RawObject]]) -> None:
    try:
        image_id, name = entry["id"], entry["file_name"]
        size = (int(entry["width"]), int(entry["height"])) if "width" in entry and "height" in entry else None
        if image_id in objects or not isinstance(image_id, (int, str)) or (size and min(size) < 1):
            raise ValueError
        path = folder / name
    except (KeyError, TypeError, ValueError, OverflowError):
        raw.problems.append(f"image {briefly(entry)}: a new id, a file_name and a positive size were expected: left out")
        return
    objects[image_id] = []
    raw.pictures.append(RawPicture(path, size, image_id, objects[image_id]))


def _add_object(raw: Raw, annotation: Any, categories: dict[Any, str], objects: dict[Any, list[RawObject]]) -> None:
    try:
        x, y, width, height = map(float, annotation["bbox"])
        of_picture = objects[annotation["image_id"]]
        category = annotation["category_id"]
        name = categories.get(category, f"category {category}")
        difficult = bool(annotation.get("iscrowd") or annotation.get("difficult"))
        area = None if annotation.get("area") is None else float(annotation["area"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raw.problems.append(
            f"annotation {briefly(annotation)}: a bbox of four numbers, a category_id and the image_id of a picture were "
            "expected: left out"
        )
        return
    of_picture.append(RawObject(name, (x, y, x + width, y + height), difficult, area))
