"""The records that the readers of all layouts return, and the checks that all data sets go through."""

from __future__ import annotations

import codecs
import math
import os
import re
import struct
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from opencv_squeezedet.datasets.dataset import Annotated, Dataset
from opencv_squeezedet.datasets.names import class_table
from opencv_squeezedet.datasets.problems import Problems, briefly
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import read_regular
from opencv_squeezedet.preprocess import MOST_SIDE

MOST_TEXT_BYTES = 1 << 28
"""Maximum size of a text file: the annotations of a picture, a list of pictures."""
SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
"""The usual names of splits, by which folders of splits are recognised."""

_MARGIN = 1.0  # pixels by which rounding may move a box over the picture's edge; clipped silently


class RawObject(NamedTuple):
    """An object as in its file."""

    name: str
    xyxy: tuple[float, float, float, float]
    difficult: bool = False
    area: float | None = None


class RawPicture(NamedTuple):
    """A picture as in its file: the size in its annotation is only compared with the picture's own.

    ``ignored`` has regions, xyxy, in which any detection is ignored.
    """

    path: Path
    size: tuple[int, int] | None
    image_id: int | str
    objects: list[RawObject]
    ignored: Sequence[tuple[float, float, float, float]] = ()


@dataclass
class Raw:
    """A data set as in its files: class names in order where the format has them, boxes in pixels or fractions."""

    names: tuple[str, ...] | None
    fractions: bool = False
    pictures: list[RawPicture] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)
    layout: str = ""


def checked(raw: Raw, labels: Sequence[str] | None, splits: Sequence[str]) -> Dataset:
    """Make the data set of everything that can be used, and count the rest among the problems.

    ValueError if no picture is left.
    """
    if labels is None:
        occurring = sorted({obj.name for picture in raw.pictures for obj in picture.objects})
        labels = occurring if raw.names is None else tuple(dict.fromkeys(raw.names))
        for name, count in Counter(raw.names).items():
            if count > 1:
                raw.problems.noted("class names with several numbers, taken as one class", repr(name))
    if not labels:
        raise ValueError("the data set has neither objects nor class names" + _first(raw.problems))
    table = class_table(labels)
    unknown: Counter[str] = Counter()
    pictures = [made for picture in raw.pictures if (made := _picture(picture, raw, table, unknown)) is not None]
    for name, count in unknown.most_common():
        raw.problems.left_out("boxes of classes that are not among the labels", f"{name!r}: {count}", count)
    if not pictures:
        raise ValueError("the data set has no picture that can be used" + _first(raw.problems))
    for path, count in Counter(picture.path for picture in pictures).items():
        if count > 1:
            raw.problems.noted("pictures with several entries, each taken as a picture", str(path))
    difficult = [flag for picture in pictures for flag in picture.difficult.tolist()]
    if difficult and all(difficult):
        raw.problems.noted("objects that are all difficult or crowd, so that none counts", count=len(difficult))
    return Dataset(tuple(labels), tuple(pictures), raw.problems.listed(), raw.layout, tuple(splits))


def _first(problems: Problems) -> str:
    lines = [str(problem) for problem in problems.listed()]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return f": {lines[0]}{more}" if lines else ""


def _picture(picture: RawPicture, raw: Raw, table: Mapping[str, int], unknown: Counter[str]) -> Annotated | None:
    problems, name = raw.problems, picture.path.name
    if not os.path.isfile(picture.path):
        problems.left_out("pictures that are missing", str(picture.path))
        return None
    try:
        size = _size(picture, problems)
        if not 1 <= min(size) <= max(size) <= MOST_SIDE:
            raise ValueError(f"width and height from 1 to {MOST_SIDE} were expected, got {briefly(size)}")
    except (OSError, ValueError) as error:
        problems.left_out("pictures whose size cannot be read", f"{picture.path}: {error}")
        return None
    kept = []
    for obj, count in Counter(picture.objects).items():
        if count > 1:
            problems.noted("objects listed twice, counted once", f"{name}: {obj.name} {_shown(obj.xyxy)}", count - 1)
        class_id = table.get(obj.name)
        if class_id is None:
            unknown[obj.name] += 1
            continue
        box = [v * size[i % 2] for i, v in enumerate(obj.xyxy)] if raw.fractions else obj.xyxy
        where = f"{name}: {obj.name} {_shown(box)}"
        clipped = _clipped(box, size, problems, where)
        if clipped is not None:
            area = _area(clipped) if obj.area is None else obj.area
            if not 0 <= area <= size[0] * size[1]:
                problems.noted("areas that are impossible, replaced by the box's", f"{where}: {area:g}")
                area = _area(clipped)
            kept.append((clipped, class_id, obj.difficult, area))
    return Annotated(
        picture.path,
        size,
        np.array([box for box, _, _, _ in kept], np.float32).reshape(-1, 4),
        np.array([class_id for _, class_id, _, _ in kept], np.int64),
        np.array([difficult for _, _, difficult, _ in kept], np.bool_),
        picture.image_id,
        np.array([area for _, _, _, area in kept], np.float32),
        np.array(picture.ignored, np.float32).reshape(-1, 4).clip(0, [*size, *size]),
    )


def _size(picture: RawPicture, problems: Problems) -> tuple[int, int]:
    """Return the picture's own size, and compare it with that in the annotation, which is used only if the file has none."""
    given = picture.size
    try:
        size, rotated = read_header(picture.path)
    except (OSError, ValueError):
        if given is None:
            raise
        return given
    if given is not None and given != size:
        kind = "sizes in annotations that differ from the picture's, which is used"
        if rotated and given == size[::-1]:
            kind = "sizes in annotations from before the picture's rotation by EXIF; the size after it is used"
        shown = "the picture is {}x{}, its annotation says {}x{}".format(*size, *given)
        problems.noted(kind, f"{picture.path.name}: {shown}")
    return size


def _clipped(box: Sequence[float], size: tuple[int, int], problems: Problems, where: str) -> list[float] | None:
    """Return the part of a box that lies in the picture, or None."""
    x1, y1, x2, y2 = box
    width, height = size
    if not all(map(math.isfinite, box)):
        problems.left_out("boxes that are not finite", where)
        return None
    if x2 <= x1 or y2 <= y1:
        problems.left_out("boxes without area", where)
        return None
    inside = [min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)]
    if _area(inside) <= 0:
        problems.left_out("boxes outside their picture", f"{where} in {width}x{height}")
        return None
    if max(abs(a - b) for a, b in zip(inside, box, strict=True)) > _MARGIN:
        problems.noted("boxes beyond the edge of their picture, clipped", f"{where} in {width}x{height}")
    return inside


def _shown(box: Sequence[float]) -> str:
    return "({:g}, {:g}, {:g}, {:g})".format(*box)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def read_header(path: Path) -> tuple[tuple[int, int], bool]:
    """Return the size of the upright picture, as `read_picture` gives it, and whether EXIF turns the stored picture.

    No pixels are read. OSError or ValueError if the file cannot be read, is not a picture, or has too many pixels for Pillow.
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
                rotated = exif.get(0x0112, 1) >= 5  # the orientation
    except OSError:
        raise
    except Exception as error:  # readers of damaged headers raise whatever they stumble over
        raise ValueError(f"Pillow cannot read its size: {error}") from error
    return ((height, width) if rotated else (width, height)), rotated


def _exif_of_png(path: Path) -> bytes:
    """The EXIF of a PNG file, which OpenCV reads even behind the pixels; empty if there is none."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return b"Exif\0\0" + file.read(length)
            file.seek(length + 4, os.SEEK_CUR)
    return b""


def read_text(path: Path, errors: str = "strict") -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte-order mark, without the mark.

    OSError or ValueError, with the file's name, if it cannot be read or, unless ``errors`` is "replace", decoded.
    """
    try:
        content = read_regular(path, MOST_TEXT_BYTES)
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        return content.decode(encoding, errors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def as_id(value: object) -> int | str:
    """Return an id as JSON may have it, an integral float as an int; TypeError for anything else than a number or a text."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, (int, str)):
        raise TypeError(f"an integer or a text was expected for an id, got {briefly(value)}")
    return value


def given_size(width: Any, height: Any) -> tuple[int, int] | None:
    """Return the size that an annotation gives; None if it gives none, or not two positive numbers."""
    try:
        size = int(float(width)), int(float(height))
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def around(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float, float, float]:
    """Return the box around points; ValueError if there are none."""
    return min(xs), min(ys), max(xs), max(ys)


_YES, _NO = ("1", "true", "yes"), ("", "0", "false", "no")


def is_true(value: object, name: str, problems: Problems) -> bool:
    """Whether a flag is set; values other than a yes or a no count as no, and are listed."""
    text = "" if value is None else str(value).strip().lower()
    text = text.removesuffix(".0")
    if text not in _YES + _NO:
        problems.noted(f"values of {name} that are neither 1 nor 0, taken as 0", briefly(value))
    return text in _YES


def unique_ids(paths: Sequence[Path]) -> list[str]:
    """Return each picture's name without suffix; with folders, and the suffix if necessary, if several have that name."""
    stems = Counter(path.stem for path in paths)
    root = os.path.commonpath([path.parent for path in paths]) if paths else ""
    below = [Path(os.path.relpath(path, root)) if stems[path.stem] > 1 else Path(path.name) for path in paths]
    counts = Counter(path.with_suffix("") for path in below)
    return [(path if counts[path.with_suffix("")] > 1 else path.with_suffix("")).as_posix() for path in below]


def located(folder: Path, name: str, *, unique: bool) -> Path:
    """Return the path of a file that may be named as on another machine: with backslashes, or in folders that are not here.

    Without ``unique``, because several files have this name, only the whole path counts. If there is no such file, the path as
    it is written is returned.
    """
    parts = re.split(r"[\\/]", name)
    ends = [folder / name, *(folder.joinpath(*parts[i:]) for i in range(len(parts) if unique else 1))]
    return next((end for end in ends if os.path.isfile(end)), ends[0])
