"""YOLO's text files: class, centre x, centre y, width and height of each object, as fractions of the picture."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from opencv_squeezedet.datasets.folders import files_below
from opencv_squeezedet.datasets.problems import Problems, briefly
from opencv_squeezedet.datasets.raw import SPLITS, Raw, RawObject, RawPicture, around, located, read_text, unique_ids
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import read_regular
from opencv_squeezedet.pictures import PICTURE_SUFFIXES

_NAME_FILES = ("classes.txt", "names.txt", "obj.names", "_darknet.labels")
_MOST_DESCRIPTION_BYTES, _DEEPEST = 1 << 20, 10
_ROUNDING = 0.01  # by which fractions may be outside 0 to 1


class _Files(NamedTuple):
    """Where the pictures are, as folders or text files that list them, by split, and what describes their labels."""

    splits: dict[str, list[Path]]
    all_pictures: list[Path]
    names: tuple[str, ...]
    layout: str
    points: int | None = None
    """Columns of a keypoint."""


def is_yolo(folder: Path) -> bool:
    """Whether a folder looks like such a data set."""
    if _description(folder) is not None or any(folder.glob("*.names")):
        return True
    labels = [folder / name for name in ("labels", "train/labels") if (folder / name).is_dir()]
    if labels:
        return any(next(path.rglob("*.txt"), None) or not next(path.rglob("*.xml"), None) for path in labels)
    lists = {parent / name for parent in (folder, folder / "train") for name in _NAME_FILES}
    return any(path.is_file() and set(path.parent.glob("*.txt")) - lists for path in lists)


def splits(path: Path) -> tuple[str, ...]:
    """Return the splits that a description, darknet's lists or folders of a usual name declare."""
    return tuple(_files(path, ("",), Problems()).splits)


def read(path: Path, images: Path | None, split: str | None, labels: Sequence[str] | None) -> Raw:
    """Read a data set that a YAML file describes, or a folder.

    A folder has ``images`` and ``labels``, with a folder for each split above or below them; or pictures and labels together,
    in a folder for each split or not; or darknet's ``obj.names`` and lists of pictures. The labels of a picture lie beside it,
    or in the file of its name under ``labels`` instead of the last ``images`` in its path; if ``images`` is given, anywhere
    below the data set. A picture without such a file has no objects. Class names are in the YAML file, in ``classes.txt``
    beside the pictures' folder, or are the ``labels``. ValueError if the file is no description of a data set, there are no
    class names, or no picture has labels. FileNotFoundError if there is no such split.
    """
    raw = Raw(None, fractions=True)
    files = _files(path, labels, raw.problems)
    raw.names, raw.layout = files.names, files.layout
    if split is not None and split not in files.splits:
        raise FileNotFoundError(f"no split {split!r} (there: {', '.join(files.splits) or 'none'})")
    folders = files.all_pictures if split is None else files.splits[split]
    root = path if path.is_dir() else path.parent
    moved: dict[str, Path] = {}
    if images is not None:
        folders, moved = [images], {file.stem: file for file in files_below(root) if file.suffix == ".txt"}
    pictures = dict.fromkeys(picture for folder in folders for picture in _pictures(folder, raw.problems))
    labelled = False
    for picture, image_id in zip(pictures, unique_ids([*pictures]), strict=True):
        label_file = _label_file(picture)
        if images is not None and not os.path.isfile(label_file):
            label_file = moved.get(picture.stem, label_file)
        labelled = labelled or os.path.isfile(label_file)
        objects = [*_objects(label_file, files.names, files.points, raw.problems)]
        raw.pictures.append(RawPicture(picture, None, image_id, objects))
    if not labelled:
        last = f", as {_label_file(raw.pictures[-1].path)} would be" if raw.pictures else ""
        raise ValueError(f"{path}: none of the {len(raw.pictures)} pictures has a file of labels{last}")
    if images is None:
        _list_lost(folders, [*pictures], files.points, raw.problems)
    return raw


def _files(path: Path, labels: Sequence[str] | None, problems: Problems) -> _Files:
    if path.is_file():
        return _described(path, problems)
    if (description := _description(path)) is not None:
        return _described(description, problems)
    names = _names(path, labels)
    if lists := _darknet_lists(path):
        return _Files(
            lists, [path for paths in lists.values() for path in paths], names, "YOLO's text files, listed as in darknet"
        )
    declared, everything = _folders(path)
    return _Files(declared, everything, names, "YOLO's text files")


def _description(folder: Path) -> Path | None:
    """Return the only YAML file of a folder, or the only YAML file with class names; ValueError if several have them."""
    paths = sorted(path for suffix in ("yaml", "yml") for path in folder.glob(f"*.{suffix}"))
    if len(paths) > 1:
        paths = [path for path in paths if isinstance(content := _parsed(path), dict) and "names" in content]
    if len(paths) > 1:
        raise ValueError(f"{folder} has {len(paths)} descriptions: pass one of {', '.join(map(str, paths))}")
    return paths[0] if paths else None


def _described(path: Path, problems: Problems) -> _Files:
    """Return the files of a description; its absent splits are listed."""
    content = _parsed(path)
    fields = {name: value for name, value in content.items() if value not in _NOTHING} if isinstance(content, dict) else {}
    names = fields.get("names")
    if isinstance(names, dict):
        names = [names.get(str(i)) for i in range(len(names))]
    if not _is_texts(names):
        raise ValueError(f"{path}: 'names' must list the class names, or give one for each number from 0 on")
    (root,) = _texts(path, fields, "path") or [""]
    splits: dict[str, list[Path]] = {}
    absent = []
    for name in SPLITS:
        try:
            if name in fields:
                splits[name] = [_existing(path.parent / root, path, text) for text in _texts(path, fields, name)]
        except FileNotFoundError as error:
            absent.append(error)
            problems.noted("splits of the description that are absent", name)
    if absent and not splits:
        raise absent[0]
    if fields.get("nc", str(len(names))) != str(len(names)):
        problems.noted(
            "descriptions whose nc is not the number of names", f"{path.name}: {briefly(fields['nc'])}, {len(names)}"
        )
    shape = fields.get("kpt_shape")
    points = int(shape[1]) if _is_texts(shape) and shape[1:] in (["2"], ["3"]) else None
    everything = [folder for folders in splits.values() for folder in folders]
    if not splits:
        splits, everything = _folders(path.parent)
    return _Files(splits, everything, tuple(names), f"YOLO's text files, described by {path.name}", points)


def _darknet_lists(folder: Path) -> dict[str, list[Path]]:
    """Return the lists of pictures that ``obj.data`` names, or ``train.txt`` and others beside ``obj.names``, by split."""
    if not any(folder.glob("*.names")):
        return {}
    lists = {name: [folder / f"{name}.txt"] for name in SPLITS if (folder / f"{name}.txt").is_file()}
    for path in sorted(folder.glob("*.data")):
        fields = dict(line.split("=", 1) for line in read_text(path).splitlines() if "=" in line)
        named = {key.strip(): located(folder, value.strip(), unique=True) for key, value in fields.items()}
        lists |= {name: [file] for name, file in named.items() if name in SPLITS and file.is_file()}
    return lists


_NOTHING = ("", "~", "null", "Null", "NULL")


def _parsed(path: Path) -> Any:
    """Return the content of a YAML file, every scalar as text: a class may have the name ``no``, or ``1e3``."""
    with needs("eval", "train"):
        import yaml
    try:
        content = read_regular(path, _MOST_DESCRIPTION_BYTES)
        depth = 0
        for event in yaml.parse(content, Loader=yaml.BaseLoader):  # before any object is built
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
    """Return the text of a field, or its list of texts."""
    value = fields.get(name, [])
    if not (isinstance(value, str) or value == [] or (_is_texts(value) and name != "path")):
        raise ValueError(f"{path}: {name!r} must be a path, got {briefly(value)}")
    return [value] if isinstance(value, str) else value


def _existing(root: Path, description: Path, name: str) -> Path:
    """A folder or list of pictures, from the description's ``path`` or, as is common, from the description's folder."""
    candidates = [
        path
        for form in dict.fromkeys((name, name.replace("\\", "/")))
        for path in (root / form, description.parent / form, description.parent / form.removeprefix("../"))
    ]
    path = next((path for path in candidates if os.path.exists(path)), None)
    if path is None:
        raise FileNotFoundError(f"{description}: no pictures at {candidates[0]}")
    return path


def _names(folder: Path, labels: Sequence[str] | None) -> tuple[str, ...]:
    for parent in (folder, folder / "labels", folder / "train", folder.parent):
        for name in _NAME_FILES:
            if (parent / name).is_file():
                return tuple(line.strip() for line in read_text(parent / name).splitlines() if line.strip())
    if labels is None:
        raise ValueError(f"{folder}: neither a YAML file nor {' or '.join(_NAME_FILES)} has the class names: pass labels")
    return tuple(labels)


def _folders(folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return the folders of pictures by split, ``images/SPLIT``, ``SPLIT/images`` or ``SPLIT``, and those of all pictures."""
    splits: dict[str, list[Path]] = {}
    for path in (*folder.glob("images/*"), *folder.glob("*/images"), *(folder / name for name in SPLITS)):
        name = path.parent.name if path.name == "images" else path.name
        if path.is_dir() and name not in splits and (path.parent != folder or not (path / "labels").is_dir()):
            splits[name] = [path]
    order = [name for name in SPLITS if name in splits]
    everything = [path for path in (folder / "images", *sorted(folder.glob("*/images"))) if path.is_dir()]
    return {name: splits[name] for name in (*order, *sorted(set(splits) - set(order)))}, everything or [folder]


def _pictures(source: Path, problems: Problems) -> list[Path]:
    """Return the pictures in a folder, or those that a text file lists."""
    if source.suffix != ".txt":
        return sorted(path for path in source.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    lines = [line.strip() for line in read_text(source).splitlines() if line.strip()]
    counts = Counter(re.split(r"[\\/]", line)[-1] for line in lines)
    pictures = []
    for line in lines:
        path = located(source.parent, line, unique=counts[re.split(r"[\\/]", line)[-1]] == 1)
        if path.name:
            pictures.append(path)
        else:
            problems.left_out("lines of lists that are not pictures", f"{source.name}: {line!r}")
    return pictures


def _label_file(picture: Path) -> Path:
    beside = picture.with_suffix(".txt")
    folders = list(picture.parts[:-1])
    if "images" not in folders or os.path.isfile(beside):
        return beside
    folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, beside.name)


def _list_lost(folders: Sequence[Path], pictures: Sequence[Path], points: int | None, problems: Problems) -> None:
    """List the files of labels that no picture has, unless lists chose the pictures."""
    if any(folder.suffix == ".txt" for folder in folders):
        return
    expected = {_label_file(picture) for picture in pictures}
    for folder in sorted({path.parent for path in expected}):
        for path in sorted(set(folder.glob("*.txt")) - expected):
            if path.name not in _NAME_FILES and next(_objects(path, (), points, Problems()), None) is not None:
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
