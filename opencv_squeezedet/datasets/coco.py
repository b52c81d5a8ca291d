"""COCO's JSON files."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from opencv_squeezedet.datasets.problems import Problems, briefly
from opencv_squeezedet.datasets.raw import SPLITS, Raw, RawObject, RawPicture, around, as_id, given_size, is_true, located
from opencv_squeezedet.files import read_regular

_MOST_BYTES = 1 << 34


def files(folder: Path) -> dict[str, Path]:
    """Return the COCO files of a folder by split.

    These are ``SPLIT/_annotations.coco.json`` and, in the folder or in ``annotations``, ``instances_SPLIT.json`` and
    ``SPLIT.json``. The number at the end of a name such as ``instances_val2017.json`` is not part of the split.
    """
    splits = {path.parent.name: path for path in sorted(folder.glob("*/_annotations.coco.json"))}
    for path in sorted((*folder.glob("*.json"), *folder.glob("annotations/*.json"))):
        name = path.stem.removeprefix("instances_").rstrip("0123456789")
        if path.stem in ("_annotations.coco", *SPLITS) or path.stem.startswith("instances_"):
            splits.setdefault(name.removeprefix("_annotations.coco") or "all", path)
    return splits


def read(path: Path, images: Path | None, split: str | None) -> Raw:
    """Read a COCO file, or those of a folder; an extra ``difficult`` of an annotation counts as ``iscrowd``.

    ValueError if a file is not COCO's, or a split of a file is requested. FileNotFoundError if there is no such split, or none
    of a file's pictures.
    """
    if path.is_file():
        if split is not None:
            raise ValueError(f"a COCO file has no splits, got the split {split!r}: pass the file of the split")
        paths = {"": path}
    else:
        paths = files(path)
        if split is not None and split not in paths:
            raise FileNotFoundError(f"no split {split!r} (there: {', '.join(paths)})")
        paths = paths if split is None else {split: paths[split]}
    raw = Raw((), layout=f"COCO's JSON, {', '.join(str(file.relative_to(path.parent)) for file in paths.values())}")
    for name, file in paths.items():
        _read_file(raw, file, images, f"{name}/" if len(paths) > 1 else "")
    return raw


def _read_file(raw: Raw, path: Path, images: Path | None, prefix: str) -> None:
    """Add a file's classes and pictures; ``prefix`` makes the ids of several files different."""
    try:
        content = json.loads(read_regular(path, _MOST_BYTES))
        entries, annotations, categories = (content[name] for name in ("images", "annotations", "categories"))
        if not all(isinstance(table, list) for table in (entries, annotations, categories)):
            raise TypeError("images, annotations and categories must be lists")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: COCO's images, annotations and categories were expected: {error!r}") from error
    names = _names(categories, annotations, raw.problems)
    raw.names = (*(raw.names or ()), *(name for name in names.values() if not prefix or name not in (raw.names or ())))
    counts = Counter(_parts(entry)[-1] for entry in entries)
    folder = _folder(path, entries, counts) if images is None else images
    objects: dict[str, list[RawObject]] = {}
    for entry in entries:
        _add_picture(raw, entry, folder, counts, objects, prefix)
    for annotation in annotations:
        _add_object(raw, annotation, names, objects)


def _key(identifier: Any) -> str:
    """Return an id as a text: 7, 7.0 and "7" are the same."""
    return str(as_id(identifier))


def _names(categories: list[Any], annotations: list[Any], problems: Problems) -> dict[str, str]:
    """Return the name of each category id, without the root category that some tools write as the parent of the others."""
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


def _located(folder: Path, entry: Any, counts: Counter[str]) -> Path:
    """Return the path of a picture; KeyError or TypeError if it has no name."""
    return located(folder, entry["file_name"], unique=counts[_parts(entry)[-1]] == 1)


def _folder(path: Path, entries: list[Any], counts: Counter[str]) -> Path:
    """Return the folder of the pictures: ``images`` beside the file, its own, or as in COCO's and CVAT's archives."""
    name, parent = path.stem.removeprefix("instances_"), path.parent
    above = parent.parent
    folders = [parent / "images", parent, parent / name, above / name, above / "images" / name, above / "images"]
    named = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("file_name"), str)]
    for folder in folders:
        if any(os.path.isfile(_located(folder, entry, counts)) for entry in named):
            return folder
    raise FileNotFoundError(f"{path}: none of its {len(entries)} pictures is in {folders[0]}: pass --images DIR")


def _add_picture(
    raw: Raw, entry: Any, folder: Path, counts: Counter[str], objects: dict[str, list[RawObject]], prefix: str
) -> None:
    try:
        image_id, key = as_id(entry["id"]), _key(entry["id"])
        size = given_size(entry.get("width"), entry.get("height"))
        if key in objects:
            raise ValueError
        path = _located(folder, entry, counts)
    except (KeyError, TypeError, ValueError):
        raw.problems.left_out("images without a file_name or an id of their own", briefly(entry))
        return
    objects[key] = []
    raw.pictures.append(RawPicture(path, size, f"{prefix}{image_id}" if prefix else image_id, objects[key]))


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
    """Return an annotation's box; if it is empty, the box around the polygons."""
    box, polygons = annotation.get("bbox"), annotation.get("segmentation")
    if (not box or not all(box[2:])) and polygons and isinstance(polygons, list):
        rings = polygons if isinstance(polygons[0], list) else [polygons]
        xs, ys = ([float(value) for ring in rings for value in ring[first::2]] for first in (0, 1))
        around_them = around(xs, ys)
        problems.noted("boxes that are empty, replaced by those around their polygons", briefly(annotation))
        return around_them
    x, y, width, height = map(float, annotation["bbox"])
    return x, y, x + width, y + height
