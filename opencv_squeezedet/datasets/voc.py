"""PASCAL VOC's folders of XML files.

The standard library's parser is used: expat opens no other files, and bounds what entities may grow to since its version
2.4.1; annotations with a document type, which no data set has, are refused beforehand.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from opencv_squeezedet.datasets.problems import Problems
from opencv_squeezedet.datasets.raw import MOST_TEXT_BYTES, Raw, RawObject, RawPicture, around, given_size, is_true, read_text
from opencv_squeezedet.datasets.xml_layout import Layout, files_below
from opencv_squeezedet.files import read_regular


def is_voc(folder: Path) -> bool:
    """Whether there are XML files below a folder."""
    return any(path.suffix.lower() == ".xml" for path in files_below(folder))


def read(folder: Path, images: Path | None, split: str | None) -> Raw:
    """Read ``Annotations/*.xml``, with the pictures of ``JPEGImages``, or those that ``ImageSets/Main/SPLIT.txt`` names.

    Both folders may have subfolders. Without these folders, the XML files anywhere below ``folder``, or below a folder SPLIT,
    and the pictures of their names.

    Raises
    ------
    FileNotFoundError
        If there is no such split.
    """
    raw = Raw(None)
    annotations, pictures = folder / "Annotations", images or folder / "JPEGImages"
    names = None if split is None else _names(folder / "ImageSets" / "Main" / f"{split}.txt")
    usual = annotations.is_dir() and pictures.is_dir()
    layout = Layout(annotations, pictures) if usual else Layout(folder, images)
    paths = layout.annotations if split is None else layout.of_split(split, names)
    if not paths and (split is not None or not usual):
        raise FileNotFoundError(_no_split(folder, str(split)))
    for path in paths:
        _add(path, layout, raw)
    if not usual:
        raw.layout = layout.told(paths, (picture.path for picture in raw.pictures))
    return raw


def _names(path: Path) -> list[str] | None:
    return [line.split()[0] for line in read_text(path).splitlines() if line.strip()] if path.is_file() else None


def _no_split(folder: Path, split: str) -> str:
    lists = folder / "ImageSets" / "Main"
    there = ", ".join(sorted(path.stem for path in lists.glob("*.txt") if "_" not in path.stem)) or "none"
    return f"no split {split!r}: {lists / f'{split}.txt'} is missing (there: {there}), and so is a folder {split} of XML files"


def _add(path: Path, layout: Layout, raw: Raw) -> None:
    try:
        raw.pictures.append(_picture(path, layout, raw.problems))
    except OSError as error:
        raw.problems.left_out("annotation files that cannot be read", f"{path.name}: {error.strerror}")
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # a LookupError of an unknown encoding
        raw.problems.left_out("annotation files that cannot be read", f"{path.name}: {error}")


def _picture(path: Path, layout: Layout, problems: Problems) -> RawPicture:
    content = read_regular(path, MOST_TEXT_BYTES)
    if b"<!DOCTYPE" in content:
        raise ValueError("a document type, which annotations do not need, is not read")
    root = ElementTree.fromstring(content)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # without its namespace
    objects = []
    for thing in root.findall("object"):
        try:
            objects.append(_object(thing, problems))
        except ValueError as error:
            problems.left_out("objects without a name and a box", f"{path.name}: {error}")
    named = (root.findtext("filename") or "").strip().replace("\\", "/").rpartition("/")[2]
    size = given_size(root.findtext("size/width"), root.findtext("size/height"))
    return RawPicture(layout.picture(path, named), size, layout.identifier(path), objects)


def _object(thing: ElementTree.Element, problems: Problems) -> RawObject:
    name = (thing.findtext("name") or "").strip()
    try:
        first_x, first_y, last_x, last_y = (float(thing.findtext(f"bndbox/{side}") or "") for side in _SIDES)
    except ValueError:
        first_x, first_y, last_x, last_y = _around_polygon(thing, name, problems)
    if not name:
        raise ValueError("an object has no name")
    difficult = is_true(thing.findtext("difficult"), "difficult", problems)
    return RawObject(name, (first_x - 1, first_y - 1, last_x, last_y), difficult)  # pixels are counted from 1


def _around_polygon(thing: ElementTree.Element, name: str, problems: Problems) -> tuple[float, float, float, float]:
    """Return the box around an object's polygon; its points are ``x1``, ``y1``, ``x2``, ... or ``pt`` with ``x`` and ``y``."""
    try:
        points = [*thing.iterfind("polygon//*")]
        xs, ys = ([float(point.text or "") for point in points if point.tag.rstrip("0123456789") == axis] for axis in "xy")
        box = around(xs, ys)
    except ValueError:
        raise ValueError(f"the box of a {name or 'nameless object'} lacks one of {', '.join(_SIDES)}") from None
    problems.noted("boxes that are empty, replaced by those around their polygons", name)
    return box


_SIDES = ("xmin", "ymin", "xmax", "ymax")
