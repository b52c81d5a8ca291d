"""PASCAL VOC's XML files.

The standard library's parser is used: expat opens no other files, and since version 2.4.1 it limits the growth of entities.
Annotations with a document type, which no data set has, are refused beforehand.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from opencv_squeezedet.datasets.folders import AnnotationFolders
from opencv_squeezedet.datasets.problems import Problems
from opencv_squeezedet.datasets.raw import RawObject, RawPicture, around, given_size, is_true

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def folders(folder: Path, images: Path | None) -> AnnotationFolders:
    """Return the XML files in ``Annotations`` with the pictures in ``JPEGImages``, or all below a folder without these two.

    Splits are the lists in ``ImageSets/Main``.
    """
    annotations, pictures, lists = folder / "Annotations", images or folder / "JPEGImages", folder / "ImageSets" / "Main"
    if annotations.is_dir() and pictures.is_dir():
        folder, images = annotations, pictures
    return AnnotationFolders("PASCAL VOC's XML files", _picture, folder, ".xml", images, lists)


def _picture(content: bytes, problems: Problems, path: Path) -> RawPicture:
    if b"<!DOCTYPE" in content:
        raise ValueError("a document type, which annotations do not need, is not read")
    root = ElementTree.fromstring(content)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # without its namespace
    objects = []
    for element in root.findall("object"):
        try:
            objects.append(_object(element, problems))
        except ValueError as error:
            problems.left_out("objects without a name and a box", f"{path.name}: {error}")
    name = (root.findtext("filename") or "").strip().replace("\\", "/").rpartition("/")[2]
    return RawPicture(Path(name), given_size(root.findtext("size/width"), root.findtext("size/height")), "", objects)


def _object(element: ElementTree.Element, problems: Problems) -> RawObject:
    name = (element.findtext("name") or "").strip()
    try:
        first_x, first_y, last_x, last_y = (float(element.findtext(f"bndbox/{side}") or "") for side in _SIDES)
    except ValueError:
        first_x, first_y, last_x, last_y = _around_polygon(element, name, problems)
    if not name:
        raise ValueError("an object has no name")
    difficult = is_true(element.findtext("difficult"), "difficult", problems)
    return RawObject(name, (first_x - 1, first_y - 1, last_x, last_y), difficult)  # pixels are counted from 1


def _around_polygon(element: ElementTree.Element, name: str, problems: Problems) -> tuple[float, float, float, float]:
    """Return the box around an object's polygon; its points are ``x1``, ``y1``, ``x2``, ... or ``pt`` with ``x`` and ``y``."""
    try:
        points = [*element.iterfind("polygon//*")]
        xs, ys = ([float(point.text or "") for point in points if point.tag.rstrip("0123456789") == axis] for axis in "xy")
        box = around(xs, ys)
    except ValueError:
        raise ValueError(f"the box of a {name or 'nameless object'} lacks one of {', '.join(_SIDES)}") from None
    problems.noted("boxes that are empty, replaced by those around their polygons", name)
    return box
