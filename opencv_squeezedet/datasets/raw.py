"""What the readers of the formats hand on, and the checks that all data sets go through."""

from __future__ import annotations

import math
import os
import reprlib
import struct
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from opencv_squeezedet.datasets.dataset import Annotated, Dataset
from opencv_squeezedet.datasets.names import class_table
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import read_regular
from opencv_squeezedet.preprocess import MOST_SIDE

MOST_TEXT_BYTES = 1 << 28
"""Of a file of text: the annotations of a picture, a list of pictures."""

_LONGEST_LINE = 500  # of a problem; a name or an annotation may have any length
_MARGIN = 1.0  # pixels by which rounding may carry a box over the picture's edge; clipped without a word


class RawObject(NamedTuple):
    """An object as a file has it."""

    name: str
    xyxy: tuple[float, float, float, float]
    difficult: bool = False
    area: float | None = None


class RawPicture(NamedTuple):
    """A picture as a file has it; without a size it is read from the picture."""

    path: Path
    size: tuple[int, int] | None
    image_id: int | str
    objects: list[RawObject]


@dataclass
class Raw:
    """A data set as its files have it: class names in order where the format has them, boxes in pixels or fractions."""

    names: tuple[str, ...] | None
    fractions: bool = False
    pictures: list[RawPicture] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    layout: str = ""


def checked(raw: Raw, labels: Sequence[str] | None) -> Dataset:
    """Make the data set of what can be used, and a line of each thing that cannot.

    Raises
    ------
    ValueError
        If no picture is left.
    """
    if labels is None:
        found = sorted({thing.name for picture in raw.pictures for thing in picture.objects})
        labels = found if raw.names is None else raw.names
    if not labels:
        raise ValueError("the data set has neither objects nor class names" + _first(raw.problems))
    table = class_table(labels)
    unknown: Counter[str] = Counter()
    pictures = [made for picture in raw.pictures if (made := _picture(picture, raw, table, unknown)) is not None]
    raw.problems.extend(
        f"class {name!r} is not among the labels: {count} box{'es' if count > 1 else ''} left out"
        for name, count in unknown.most_common()
    )
    if not pictures:
        raise ValueError("the data set has no picture that can be used" + _first(raw.problems))
    return Dataset(tuple(labels), tuple(pictures), tuple(map(_of_bounded_length, raw.problems)), raw.layout)


def _of_bounded_length(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"


def _first(problems: Sequence[str]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f": {_of_bounded_length(problems[0])}{more}" if problems else ""


def _picture(picture: RawPicture, raw: Raw, table: Mapping[str, int], unknown: Counter[str]) -> Annotated | None:
    if not os.path.isfile(picture.path):
        raw.problems.append(f"{picture.path}: no such picture")
        return None
    try:
        size = picture.size or picture_size(picture.path)
        if not 1 <= min(size) <= max(size) <= MOST_SIDE:
            raise ValueError(f"width and height from 1 to {MOST_SIDE} were expected, got {briefly(size)}: left out")
    except (OSError, ValueError) as error:
        raw.problems.append(f"{picture.path}: {error}")
        return None
    kept = []
    for thing in picture.objects:
        class_id = table.get(thing.name)
        if class_id is None:
            unknown[thing.name] += 1
            continue
        box = [v * size[i % 2] for i, v in enumerate(thing.xyxy)] if raw.fractions else thing.xyxy
        clipped, problem = _clipped(box, size)
        if problem:
            raw.problems.append(f"{picture.path.name}: the box of a {thing.name} {problem}")
        if clipped is not None:
            area = _area(clipped) if thing.area is None else thing.area
            if not 0 <= area <= size[0] * size[1]:
                raw.problems.append(f"{picture.path.name}: the area of a {thing.name} is {area:g}: that of its box is taken")
                area = _area(clipped)
            kept.append((clipped, class_id, thing.difficult, area))
    return Annotated(
        picture.path,
        size,
        np.array([box for box, _, _, _ in kept], np.float32).reshape(-1, 4),
        np.array([class_id for _, class_id, _, _ in kept], np.int64),
        np.array([difficult for _, _, difficult, _ in kept], np.bool_),
        picture.image_id,
        np.array([area for _, _, _, area in kept], np.float32),
    )


def _clipped(box: Sequence[float], size: tuple[int, int]) -> tuple[list[float] | None, str]:
    """Return the part of a box that lies in the picture, or None, and what was wrong with it, or nothing."""
    x1, y1, x2, y2 = box
    shown = f"({x1:g}, {y1:g}, {x2:g}, {y2:g})"
    if not all(map(math.isfinite, box)):
        return None, f"{shown} is not finite: left out"
    if x2 <= x1 or y2 <= y1:
        return None, f"{shown} has no area: left out"
    width, height = size
    inside = [min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)]
    if _area(inside) <= 0:
        return None, f"{shown} lies outside the {width}x{height} picture: left out"
    if max(abs(a - b) for a, b in zip(inside, box, strict=True)) > _MARGIN:
        return inside, f"{shown} reaches beyond the {width}x{height} picture: clipped"
    return inside, ""


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def picture_size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture that is upright, as `opencv_squeezedet.pictures.read_picture` gives it.

    No pixels are read.

    Raises
    ------
    ImportError
        Without Pillow.
    OSError, ValueError
        If the file cannot be read, is not a picture, or has too many pixels for Pillow.
    """
    with needs("eval", "train"):
        from PIL import Image
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels, and of damage that OpenCV, which is to read it, may not mind
            with Image.open(path) as image:
                width, height = image.size
                if image.format == "PNG" and "exif" not in image.info:
                    image.info["exif"] = _exif_of_png(path)
                exif = Image.Image.getexif(image)  # for PNG Pillow's own would decode the whole picture
                on_its_side = exif.get(0x0112, 1) >= 5  # the orientation
    except OSError:
        raise
    except Exception as error:  # readers of damaged headers raise whatever they stumble over
        raise ValueError(f"Pillow cannot read its size: {error}") from error
    return (height, width) if on_its_side else (width, height)


def _exif_of_png(path: Path) -> bytes:
    """What a PNG file has of EXIF, which OpenCV finds behind the pixels too; empty if it has none."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return b"Exif\0\0" + file.read(length)
            file.seek(length + 4, os.SEEK_CUR)
    return b""


def read_text(path: Path) -> str:
    """Return the text of a file; OSError or ValueError, with its name, where it cannot be read as UTF-8."""
    try:
        return read_regular(path, MOST_TEXT_BYTES).decode("utf-8-sig")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


_BRIEF = reprlib.Repr()
_BRIEF.maxdict, _BRIEF.maxstring, _BRIEF.maxother = 12, 80, 80
briefly = _BRIEF.repr
"""How a problem shows a value of any size and depth."""


def find_pictures(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return the pictures in a folder and those below, in the order of their names."""
    wanted = frozenset(suffixes)
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in wanted)
