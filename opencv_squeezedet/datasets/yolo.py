"""YOLO's text files: class, centre x, centre y, width and height of each object, as fractions of the picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from opencv_squeezedet.datasets.raw import MOST_TEXT_BYTES, Raw, RawObject, RawPicture, briefly, find_pictures, read_text
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import read_regular
from opencv_squeezedet.pictures import PICTURE_SUFFIXES

_SPLITS = ("train", "val", "valid", "test")
_NAME_FILES = ("classes.txt", "names.txt", "obj.names")
_MOST_DESCRIPTION_BYTES, _DEEPEST = 1 << 20, 10


def is_yolo(folder: Path) -> bool:
    """Whether a folder looks like such a data set."""
    if _description(folder) is not None:
        return True
    places = [folder / place for place in ("labels", "train/labels") if (folder / place).is_dir()]
    return any(next(place.rglob("*.txt"), None) or not next(place.rglob("*.xml"), None) for place in places)


def read(path: Path, images: Path | None, split: str | None, labels: Sequence[str] | None) -> Raw:
    """Read a data set described by a YAML file, or a folder of ``images`` and ``labels``, each with a folder for the split.

    The labels of a picture lie beside it, or in the file of its name under ``labels`` instead of the last ``images`` in its
    path; a picture without such a file has no objects. Class names are in the YAML file, in ``classes.txt`` beside the
    pictures' folder, or are the ``labels``.

    Raises
    ------
    ValueError
        If the file is no description of a data set, there are no class names, or no picture has labels.
    FileNotFoundError
        If there is no such split.
    """
    description = _description(path) if path.is_dir() else path
    if description is None:
        names, folders = _names(path, labels), [images] if images else _folders(path, split)
    else:
        names, folders = _described(description, split)
        folders = [images] if images else folders or _folders(description.parent, split)
    raw = Raw(names, fractions=True)
    labelled = False
    for folder in folders:
        for picture in _listed(folder, raw.problems) if folder.suffix == ".txt" else find_pictures(folder, PICTURE_SUFFIXES):
            label_file = _label_file(picture)
            labelled = labelled or os.path.isfile(label_file)
            raw.pictures.append(RawPicture(picture, None, picture.stem, _objects(label_file, names, raw.problems)))
    if not labelled:
        last = f", as {_label_file(raw.pictures[-1].path)} would be" if raw.pictures else ""
        raise ValueError(f"{path}: none of the {len(raw.pictures)} pictures has a file of labels{last}")
    return raw


def _description(folder: Path) -> Path | None:
    found = sorted(path for suffix in ("yaml", "yml") for path in folder.glob(f"*.{suffix}"))
    return found[0] if len(found) == 1 else None


def _described(path: Path, split: str | None) -> tuple[tuple[str, ...], list[Path]]:
    content = _parsed(path)
    fields = {name: value for name, value in content.items() if value not in _NOTHING} if isinstance(content, dict) else {}
    names = fields.get("names")
    if isinstance(names, dict):
        names = [names.get(str(i)) for i in range(len(names))]
    if not _is_texts(names):
        raise ValueError(f"{path}: 'names' must list the class names, or give one for each number from 0 on")
    there = [name for name in _SPLITS if name in fields]
    wanted = there if split is None else [split]
    if there and not set(wanted) <= set(there):
        raise FileNotFoundError(f"{path}: no split {split!r} (there: {', '.join(there)})")
    (root,) = _texts(path, fields, "path") or [""]
    places = [_place(path.parent / root, path, place) for name in wanted for place in _texts(path, fields, name)]
    return tuple(names), places


_NOTHING = ("", "~", "null", "Null", "NULL")


def _parsed(path: Path) -> Any:
    """Return what a YAML file has, every scalar as the text that it is: a class may have the name ``no``, or ``1e3``."""
    with needs("eval", "train"):
        import yaml
    try:
        content = read_regular(path, _MOST_DESCRIPTION_BYTES)
        depth = 0
        for event in yaml.parse(content, Loader=yaml.BaseLoader):  # before anything is built of them
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"aliases (*{event.anchor}), which descriptions do not need, are not read")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise ValueError(f"lists in lists are read to a depth of {_DEEPEST}")
        return yaml.load(content, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def _is_texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _texts(path: Path, fields: dict[str, Any], name: str) -> list[str]:
    """The one text or the list of them that a field has."""
    value = fields.get(name, [])
    if not (isinstance(value, str) or value == [] or (_is_texts(value) and name != "path")):
        raise ValueError(f"{path}: {name!r} must be a path, got {briefly(value)}")
    return [value] if isinstance(value, str) else value


def _place(root: Path, description: Path, place: str) -> Path:
    """A folder or list of pictures, from the description's ``path``, or, as is common, from the description itself."""
    places = [root / place, description.parent / place, description.parent / place.removeprefix("../")]
    found = next((path for path in places if os.path.exists(path)), None)
    if found is None:
        raise FileNotFoundError(f"{description}: no pictures at {places[0]}")
    return found


def _names(folder: Path, labels: Sequence[str] | None) -> tuple[str, ...]:
    for place in (folder, folder / "labels", folder.parent):
        for name in _NAME_FILES:
            if (place / name).is_file():
                return tuple(line.strip() for line in read_text(place / name).splitlines() if line.strip())
    if labels is None:
        raise ValueError(f"{folder}: neither a YAML file nor {' or '.join(_NAME_FILES)} tells the class names: give labels")
    return tuple(labels)


def _folders(folder: Path, split: str | None) -> list[Path]:
    """Where the pictures are: ``images/SPLIT`` or ``SPLIT/images``; without a split, in all of these."""
    if split is None:
        found = [path for path in (folder / "images", *sorted(folder.glob("*/images"))) if path.is_dir()]
        return found or [folder]  # labels beside the pictures
    places = [folder / "images" / split, folder / split / "images"]
    for place in places:
        if place.is_dir():
            return [place]
    raise FileNotFoundError(f"no split {split!r}: neither {places[0]} nor {places[1]} is there")


def _listed(path: Path, problems: list[str]) -> list[Path]:
    places = [path.parent / line.strip() for line in read_text(path).splitlines() if line.strip()]
    problems += [f"{path.name}: {str(place)!r} is not a picture" for place in places if not place.name]
    return [place for place in places if place.name]


def _label_file(picture: Path) -> Path:
    beside = picture.with_suffix(".txt")
    folders = list(picture.parts[:-1])
    if "images" not in folders or os.path.isfile(beside):
        return beside
    folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, beside.name)


def _objects(path: Path, names: tuple[str, ...], problems: list[str]) -> list[RawObject]:
    if not os.path.isfile(path):
        return []
    try:
        text = read_regular(path, MOST_TEXT_BYTES).decode("utf-8", errors="replace")
    except (OSError, ValueError) as error:
        problems.append(f"{path.name}: {error}")
        return []
    objects = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            first, *rest = line.split()
            class_id = int(first)
            x, y, width, height = map(float, rest)
        except ValueError:
            problems.append(f"{path.name}, line {number}: a class number and four fractions were expected: left out")
            continue
        name = names[class_id] if 0 <= class_id < len(names) else f"number {class_id}"
        objects.append(RawObject(name, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)))
    return objects
