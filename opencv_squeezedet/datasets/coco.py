"""COCO's JSON."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from opencv_squeezedet.datasets.problems import Problems, briefly
from opencv_squeezedet.datasets.raw import Raw, RawObject, RawPicture, around, as_id, given_size, is_true
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
    problems = Problems()
    names = _names(categories, annotations, problems)
    raw = Raw(tuple(names.values()), problems=problems)
    files = Counter(_parts(entry)[-1] for entry in entries)
    folder = _folder(path, entries, files) if images is None else images
    objects: dict[str, list[RawObject]] = {}
    for entry in entries:
        _add_picture(raw, entry, folder, files, objects)
    for annotation in annotations:
        _add_object(raw, annotation, names, objects)
    return raw


def _key(identifier: Any) -> str:
    """Return an id as a text: 7, 7.0 and "7" are the same."""
    return str(as_id(identifier))


def _names(categories: list[Any], annotations: list[Any], problems: Problems) -> dict[str, str]:
    """Return the name of each category id, without the root category that some tools write above the others."""
    names: dict[str, str] = {}
    above: dict[str, str] = {}
    for entry in categories:
        try:
            category, name = _key(entry["id"]), str(entry["name"]).strip()
            if category in names:
                raise ValueError
        except (KeyError, TypeError, ValueError, RecursionError):
            problems.left_out("categories without a name or an id of their own", briefly(entry))
        else:
            names[category] = name
            above[category] = str(entry.get("supercategory") or "none")
    used = {str(entry.get("category_id")).removesuffix(".0") for entry in annotations if isinstance(entry, dict)}
    for category, name in list(names.items()):
        if category not in used and above[category] in ("none", name) and name in {above[c] for c in names if c != category}:
            problems.noted("root categories without objects, not taken as a class", repr(name))
            del names[category]
    return names


def _parts(entry: Any) -> list[str]:
    """Return the parts of an entry's file name, which may have backslashes."""
    return re.split(r"[\\/]", str(entry.get("file_name") if isinstance(entry, dict) else ""))


def _located(folder: Path, entry: Any, files: Counter[str]) -> Path:
    """Return the path of a picture: its file name may be a path on another machine, of which only the end counts.

    KeyError or TypeError if it has no name.
    """
    path: Path = folder / entry["file_name"]
    if os.path.isfile(path):
        return path
    parts = _parts(entry)
    ends = [folder.joinpath(*parts[i:]) for i in range(len(parts) if files[parts[-1]] == 1 else 1)]
    return next((end for end in ends if os.path.isfile(end)), path)


def _folder(path: Path, entries: list[Any], files: Counter[str]) -> Path:
    """Where the pictures are: in ``images`` beside the file, beside it, or as COCO's own archives have them."""
    name = path.stem.removeprefix("instances_")
    folders = [path.parent / "images", path.parent, path.parent.parent / name, path.parent.parent / "images" / name]
    named = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("file_name"), str)]
    for folder in folders:
        if any(os.path.isfile(_located(folder, entry, files)) for entry in named):
            return folder
    raise FileNotFoundError(f"{path}: none of its {len(entries)} pictures is in {folders[0]}: say where they are")


def _add_picture(raw: Raw, entry: Any, folder: Path, files: Counter[str], objects: dict[str, list[RawObject]]) -> None:
    try:
        image_id, key = as_id(entry["id"]), _key(entry["id"])
        size = given_size(entry.get("width"), entry.get("height"))
        if key in objects:
            raise ValueError
        path = _located(folder, entry, files)
    except (KeyError, TypeError, ValueError):
        raw.problems.left_out("images without a file_name or an id of their own", briefly(entry))
        return
    objects[key] = []
    raw.pictures.append(RawPicture(path, size, image_id, objects[key]))


def _add_object(raw: Raw, annotation: Any, categories: dict[str, str], objects: dict[str, list[RawObject]]) -> None:
    try:
        of_picture = objects[_key(annotation["image_id"])]
        category = _key(annotation["category_id"])
        name = categories.get(category, f"category {category}")
        box = _box(annotation, raw.problems)
        area = None if annotation.get("area") is None else float(annotation["area"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raw.problems.left_out(
            "annotations without a bbox of four numbers, a category_id and the image_id of a picture", briefly(annotation)
        )
        return
    crowd, difficult = (is_true(annotation.get(flag), flag, raw.problems) for flag in ("iscrowd", "difficult"))
    of_picture.append(RawObject(name, box, crowd or difficult, area))


def _box(annotation: dict[str, Any], problems: Problems) -> tuple[float, float, float, float]:
    """Return an annotation's box; if it is empty, the one around the polygons."""
    box, polygons = annotation.get("bbox"), annotation.get("segmentation")
    if (not box or not all(box[2:])) and polygons and isinstance(polygons, list):
        rings = polygons if isinstance(polygons[0], list) else [polygons]
        xs, ys = ([float(value) for ring in rings for value in ring[first::2]] for first in (0, 1))
        around_them = around(xs, ys)
        problems.noted("boxes that are empty, replaced by those around their polygons", briefly(annotation))
        return around_them
    x, y, width, height = map(float, annotation["bbox"])
    return x, y, x + width, y + height
