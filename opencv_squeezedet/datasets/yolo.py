"""YOLO's text files: class, centre x, centre y, width and height of each object, as fractions of the picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from opencv_squeezedet.datasets.problems import Problems, briefly
from opencv_squeezedet.datasets.raw import Raw, RawObject, RawPicture, around, find_pictures, read_text, unique_ids
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import read_regular
from opencv_squeezedet.pictures import PICTURE_SUFFIXES

_SPLITS = ("train", "val", "valid", "test")
_NAME_FILES = ("classes.txt", "names.txt", "obj.names")
_MOST_DESCRIPTION_BYTES, _DEEPEST = 1 << 20, 10
_ROUNDING = 0.01  # by which fractions may be outside 0 to 1


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
    raw = Raw(None, fractions=True)
    description = _description(path) if path.is_dir() else path
    points = None
    if description is None:
        names, folders = _names(path, labels), [images] if images else _folders(path, split)
    else:
        names, folders, points = _described(description, split, raw.problems)
        folders = [images] if images else folders or _folders(description.parent, split)
    raw.names = names
    pictures = dict.fromkeys(picture for folder in folders for picture in _pictures(folder, raw.problems))
    labelled = False
    for picture, image_id in zip(pictures, unique_ids([*pictures]), strict=True):
        label_file = _label_file(picture)
        labelled = labelled or os.path.isfile(label_file)
        objects = [*_objects(label_file, names, points, raw.problems)]
        raw.pictures.append(RawPicture(picture, None, image_id, objects))
    if not labelled:
        last = f", as {_label_file(raw.pictures[-1].path)} would be" if raw.pictures else ""
        raise ValueError(f"{path}: none of the {len(raw.pictures)} pictures has a file of labels{last}")
    _list_lost(folders, [*pictures], raw.problems)
    return raw


def _description(folder: Path) -> Path | None:
    found = sorted(path for suffix in ("yaml", "yml") for path in folder.glob(f"*.{suffix}"))
    return found[0] if len(found) == 1 else None


def _described(path: Path, split: str | None, problems: Problems) -> tuple[tuple[str, ...], list[Path], int | None]:
    """Return the class names, the places of the pictures, and the columns of a keypoint, if the description gives them."""
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
    places: list[Path] = []
    absent = []
    for name in wanted:
        try:
            places += [_place(path.parent / root, path, place) for place in _texts(path, fields, name)]
        except FileNotFoundError as error:
            absent.append(error)
            problems.noted("splits of the description that are absent", name)
    if absent and not places:
        raise absent[0]
    if fields.get("nc", str(len(names))) != str(len(names)):
        problems.noted(
            "descriptions whose nc is not the number of names", f"{path.name}: {briefly(fields['nc'])}, {len(names)}"
        )
    shape = fields.get("kpt_shape")
    return tuple(names), places, int(shape[1]) if _is_texts(shape) and shape[1:] in (["2"], ["3"]) else None


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
    forms = dict.fromkeys((place, place.replace("\\", "/")))
    places = [
        path
        for form in forms
        for path in (root / form, description.parent / form, description.parent / form.removeprefix("../"))
    ]
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


def _pictures(place: Path, problems: Problems) -> list[Path]:
    """Return the pictures in a folder, or those that a text file lists."""
    if place.suffix != ".txt":
        return find_pictures(place, PICTURE_SUFFIXES)
    lines = [line.strip() for line in read_text(place).splitlines() if line.strip()]
    found = []
    for line in lines:
        paths = [place.parent / form for form in dict.fromkeys((line, line.replace("\\", "/")))]
        path = next((path for path in paths if os.path.isfile(path)), paths[0])
        if path.name:
            found.append(path)
        else:
            problems.left_out("lines of lists that are not pictures", f"{place.name}: {line!r}")
    return found


def _label_file(picture: Path) -> Path:
    beside = picture.with_suffix(".txt")
    folders = list(picture.parts[:-1])
    if "images" not in folders or os.path.isfile(beside):
        return beside
    folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, beside.name)


def _list_lost(folders: Sequence[Path], pictures: Sequence[Path], problems: Problems) -> None:
    """List the files in folders of labels that no picture has, unless lists chose the pictures."""
    if any(folder.suffix == ".txt" for folder in folders):
        return
    expected = {_label_file(picture) for picture in pictures}
    for folder in sorted({path.parent for path in expected} - {picture.parent for picture in pictures}):
        for path in sorted(set(folder.glob("*.txt")) - expected):
            if path.name not in _NAME_FILES:
                problems.left_out("files of labels without a picture", str(path))


def _objects(path: Path, names: tuple[str, ...], points: int | None, problems: Problems) -> Iterator[RawObject]:
    if not os.path.isfile(path):
        return
    try:
        text = read_text(path, errors="replace")
    except (OSError, ValueError) as error:
        problems.left_out("files of labels that cannot be read", f"{path.name}: {error}")
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            class_id, (x1, y1, x2, y2), kind = _parsed_line(line, points)
        except ValueError:
            problems.left_out(
                "lines other than a class number and four fractions of the picture", f"{where}: {line.strip()!r}"
            )
            continue
        if kind:
            problems.noted(kind, where)
        yield RawObject(names[class_id] if class_id < len(names) else f"number {class_id}", (x1, y1, x2, y2))


def _parsed_line(line: str, points: int | None) -> tuple[int, tuple[float, float, float, float], str]:
    """Return the class id, the box and, for more than a box, the kind of the line; ValueError for other lines.

    A class and four numbers are a box, with a fifth number that and its confidence. More numbers are a box and keypoints if
    their count fits ``points`` columns each or, where that is unknown, three of which the last is 0, 1 or 2; and otherwise
    the corners of a polygon or an oriented box, with a confidence if their count is odd.
    """
    first, *numbers = map(float, line.split())
    if not (first >= 0 and first.is_integer() and len(numbers) >= 4):
        raise ValueError
    if len(numbers) == 5 and 0 <= numbers[4] <= 1:
        return int(first), _box(numbers), "lines of a box and a confidence, which is not used"
    if len(numbers) == 4:
        return int(first), _box(numbers), ""
    if _are_keypoints(numbers, points):
        return int(first), _box(numbers), "lines of a box and keypoints, which are not used"
    if len(numbers) % 2:
        *numbers, confidence = numbers
        if not 0 <= confidence <= 1:
            raise ValueError
    if len(numbers) < 6 or not all(map(_is_fraction, numbers)):
        raise ValueError
    kind = "oriented boxes" if len(numbers) == 8 else "polygons"
    return int(first), around(numbers[::2], numbers[1::2]), f"lines of {kind}, replaced by the boxes around them"


def _box(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = numbers[:4]
    if not all(map(_is_fraction, (x, y, width, height))) or min(width, height) < 0:
        raise ValueError
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _are_keypoints(numbers: Sequence[float], points: int | None) -> bool:
    columns = points or 3
    if (len(numbers) - 4) % columns or (columns == 3 and not set(numbers[6::3]) <= {0, 1, 2}):
        return False
    try:
        x1, y1, x2, y2 = _box(numbers)
    except ValueError:
        return False
    return x1 < x2 and y1 < y2 and all(map(_is_fraction, (x1, y1, x2, y2)))


def _is_fraction(number: float) -> bool:
    return -_ROUNDING <= number <= 1 + _ROUNDING  # false for NaN
