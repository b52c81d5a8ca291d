"""PASCAL VOC's folders of XML files.

The standard library's parser is used: expat opens no other files, and bounds what entities may grow to since its version
2.4.1; annotations with a document type, which no data set has, are refused beforehand.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from opencv_squeezedet.datasets.raw import MOST_TEXT_BYTES, Raw, RawObject, RawPicture, read_text
from opencv_squeezedet.datasets.xml_layout import Layout, files_below
from opencv_squeezedet.files import read_regular
from opencv_squeezedet.pictures import PICTURE_SUFFIXES


def is_voc(folder: Path) -> bool:
    """Whether there are XML files below a folder."""
    return any(path.suffix.lower() == ".xml" for path in files_below(folder))


def read(folder: Path, images: Path | None, split: str | None) -> Raw:
    """Read ``Annotations/*.xml``, with the pictures of ``JPEGImages``, or those that ``ImageSets/Main/SPLIT.txt`` names.

    Without these folders, the XML files anywhere below ``folder``, or below a folder SPLIT, and the pictures of their names.

    Raises
    ------
    FileNotFoundError
        If there is no such split.
    """
    raw = Raw(None)
    annotations, pictures = folder / "Annotations", images or folder / "JPEGImages"
    names = None if split is None else _names(folder / "ImageSets" / "Main" / f"{split}.txt")
    if annotations.is_dir() and pictures.is_dir():
        if split is not None and names is None:
            raise FileNotFoundError(_no_split(folder, split))
        found = sorted(path.stem for path in annotations.glob("*.xml")) if names is None else names
        for name in found:
            _add(annotations / f"{name}.xml", name, partial(_beside, pictures), raw)
        return raw
    layout = Layout(folder, images)
    paths = layout.annotations if split is None else layout.of_split(split, names)
    if not paths:
        raise FileNotFoundError(_no_split(folder, str(split)))
    for path in paths:
        _add(path, layout.identifier(path), layout.picture, raw)
    raw.layout = layout.told(paths, (picture.path for picture in raw.pictures))
    return raw


def _names(path: Path) -> list[str] | None:
    return [line.split()[0] for line in read_text(path).splitlines() if line.strip()] if path.is_file() else None


def _no_split(folder: Path, split: str) -> str:
    lists = folder / "ImageSets" / "Main"
    there = ", ".join(sorted(path.stem for path in lists.glob("*.txt") if "_" not in path.stem)) or "none"
    return f"no split {split!r}: {lists / f'{split}.txt'} is missing (there: {there}), and so is a folder {split} of XML files"


def _add(path: Path, name: str, find: Callable[[Path, str], Path], raw: Raw) -> None:
    try:
        raw.pictures.append(_picture(path, name, find, raw.problems))
    except OSError as error:
        raw.problems.append(f"{path.name}: {error.strerror}")
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # a LookupError of an unknown encoding
        raw.problems.append(f"{path.name}: {error}: left out")


def _picture(path: Path, name: str, find: Callable[[Path, str], Path], problems: list[str]) -> RawPicture:
    content = read_regular(path, MOST_TEXT_BYTES)
    if b"<!DOCTYPE" in content:
        raise ValueError("a document type, which annotations do not need, is not read")
    root = ElementTree.fromstring(content)
    objects = []
    for thing in root.findall("object"):
        try:
            objects.append(_object(thing))
        except ValueError as error:
            problems.append(f"{path.name}: {error}: left out")
    named = (root.findtext("filename") or "").strip().replace("\\", "/").rpartition("/")[2]
    return RawPicture(find(path, named), _size(root), name, objects)


def _beside(images: Path, path: Path, named: str) -> Path:
    """The picture of the annotation's own name, or of the name in it, in the folder of all pictures."""
    usual = images / f"{path.stem}.jpg"
    if os.path.isfile(usual):
        return usual
    names = [named, *(path.stem + suffix for suffix in sorted(PICTURE_SUFFIXES))]
    return next((images / name for name in names if name and os.path.isfile(images / name)), usual)


def _object(thing: ElementTree.Element) -> RawObject:
    name = (thing.findtext("name") or "").strip()
    try:
        first_x, first_y, last_x, last_y = (float(thing.findtext(f"bndbox/{side}") or "") for side in _SIDES)
    except ValueError:
        raise ValueError(f"the box of a {name or 'nameless object'} lacks one of {', '.join(_SIDES)}") from None
    if not name:
        raise ValueError("an object has no name")
    difficult = (thing.findtext("difficult") or "0").strip() not in ("0", "")
    return RawObject(name, (first_x - 1, first_y - 1, last_x, last_y), difficult)  # pixels are counted from 1


_SIDES = ("xmin", "ymin", "xmax", "ymax")


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        width, height = (int(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if min(width, height) > 0 else None
