"""YOLO's text files: class, centre x, centre y, width and height of each object, as fractions of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opencv_squeezedet.datasets.raw import Raw, RawObject, RawPicture, find_pictures
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import PICTURE_SUFFIXES

_SPLITS = ("train", "val", "valid", "test")
_NAME_FILES = ("classes.txt", "names.txt", "obj.names")


def is_yolo(folder: Path) -> bool:
    """Whether a folder looks like such a data set."""
    return _description(folder) is not None or any((folder / place).is_dir() for place in ("labels", "train/labels"))


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
        for picture in _listed(folder) if folder.suffix == ".txt" else find_pictures(folder, PICTURE_SUFFIXES):
            label_file = _label_file(picture)
            labelled = labelled or label_file.is_file()
            raw.pictures.append(RawPicture(picture, None, picture.stem, _objects(label_file, names, raw.problems)))
    if not labelled:
        last = f", as {_label_file(raw.pictures[-1].path)} would be" if raw.pictures else ""
        raise ValueError(f"{path}: none of the {len(raw.pictures)} pictures has a file of labels{last}")
    return raw


def _description(folder: Path) -> Path | None:
    found = sorted(path for suffix in ("yaml", "yml") for path in folder.glob(f"*.{suffix}"))
    return found[0] if len(found) == 1 else None


def _described(path: Path, split: str | None) -> tuple[tuple[str, ...], list[Path]]:
    with needs("eval", "train"):
        import yaml
    try:
        content = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise ValueError(f"{path}: 'names' must list the class names, or give one for each number from 0 on")
    there = [name for name in _SPLITS if content.get(name)]
    wanted = there if split is None else [split]
    if there and not set(wanted) <= set(there):
        raise FileNotFoundError(f"{path}: no split {split!r} (there: {', '.join(there)})")
    root = path.parent / str(content.get("path") or "")
    places = [_place(root, path, place) for name in wanted for place in _as_list(content.get(name, []))]
    return tuple(map(str, names)), places


def _as_list(value: Any) -> list[str]:
    return list(map(str, value)) if isinstance(value, list) else [str(value)]


def _place(root: Path, description: Path, place: str) -> Path:
    """A folder or list of pictures, from the description's ``path``, or, as is common, from the description itself."""
    places = [root / place, description.parent / place, description.parent / place.removeprefix("../")]
    found = next((path for path in places if path.exists()), None)
    if found is None:
        raise FileNotFoundError(f"{description}: no pictures at {places[0]}")
    return found


def _names(folder: Path, labels: Sequence[str] | None) -> tuple[str, ...]:
    for place in (folder, folder / "labels", folder.parent):
        for name in _NAME_FILES:
            if (place / name).is_file():
                return tuple(line.strip() for line in (place / name).read_text("utf-8").splitlines() if line.strip())
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


def _listed(path: Path) -> list[Path]:
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    return [path.parent / line for line in lines if line]


def _label_file(picture: Path) -> Path:
    beside = picture.with_suffix(".txt")
    folders = list(picture.parts[:-1])
    if "images" not in folders or beside.is_file():
        return beside
    folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, beside.name)


def _objects(path: Path, names: tuple[str, ...], problems: list[str]) -> list[RawObject]:
    if not path.is_file():
        return []
    objects = []
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), start=1):
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
