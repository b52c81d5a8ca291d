"""PASCAL VOC's folders of XML files.

The standard library's parser is used: expat opens no other files, and bounds what entities may grow to since its version
2.4.1; annotations with a document type, which no data set has, are refused beforehand.
"""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

from opencv_squeezedet.datasets.raw import MOST_TEXT_BYTES, Raw, RawObject, RawPicture, read_text
from opencv_squeezedet.files import PICTURE_SUFFIXES, read_regular


def read(folder: Path, images: Path | None, split: str | None) -> Raw:
    """Read ``Annotations/*.xml``, or those that ``ImageSets/Main/SPLIT.txt`` names, with the pictures of ``JPEGImages``.

    Without these folders the XML files lie in ``folder`` itself, and so may the pictures.

    Raises
    ------
    FileNotFoundError
        If there is no such split.
    """
    annotations = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    if images is None:
        images = folder / "JPEGImages" if (folder / "JPEGImages").is_dir() else folder
    raw = Raw(None)
    for name in _names(folder, annotations, split):
        try:
            raw.pictures.append(_picture(annotations / f"{name}.xml", images, name, raw.problems))
        except OSError as error:
            raw.problems.append(f"{name}.xml: {error.strerror}")
        except (ElementTree.ParseError, LookupError, ValueError) as error:  # a LookupError of an unknown encoding
            raw.problems.append(f"{name}.xml: {error}: left out")
    return raw


def _names(folder: Path, annotations: Path, split: str | None) -> list[str]:
    if split is None:
        return sorted(path.stem for path in annotations.glob("*.xml"))
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not path.is_file():
        there = ", ".join(sorted(other.stem for other in path.parent.glob("*.txt") if "_" not in other.stem)) or "none"
        raise FileNotFoundError(f"no split {split!r}: {path} is missing (there: {there})")
    return [line.split()[0] for line in read_text(path).splitlines() if line.strip()]


def _picture(path: Path, images: Path, name: str, problems: list[str]) -> RawPicture:
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
    return RawPicture(_picture_path(root, images, name), _size(root), name, objects)


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


def _picture_path(root: ElementTree.Element, images: Path, name: str) -> Path:
    """The picture of the annotation's own name, or of the name in it."""
    usual = images / f"{name}.jpg"
    if os.path.isfile(usual):
        return usual
    names = [Path(root.findtext("filename") or "").name, *(name + suffix for suffix in sorted(PICTURE_SUFFIXES))]
    return next((images / other for other in names if other and os.path.isfile(images / other)), usual)
