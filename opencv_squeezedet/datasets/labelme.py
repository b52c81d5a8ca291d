"""labelme's JSON files, which X-AnyLabeling and others write too."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from opencv_squeezedet.datasets.folders import AnnotationFolders
from opencv_squeezedet.datasets.problems import Problems, briefly
from opencv_squeezedet.datasets.raw import RawObject, RawPicture, around, given_size, is_true

_LEAST_POINTS = {"rectangle": 2, "circle": 2, "mask": 2, "polygon": 3, "rotation": 4}


def is_labelme(path: Path) -> bool:
    """Whether a JSON file has ``shapes`` near its beginning or its end, where labelme writes them before and after pixels."""
    with path.open("rb") as file:
        start = file.read(1 << 12)
        file.seek(max(0, path.stat().st_size - (1 << 12)))
        return b'"shapes"' in start + file.read()


def folders(folder: Path, images: Path | None) -> AnnotationFolders:
    """Return the JSON files and the pictures below a folder; boxes are rectangles, or lie around polygons and circles."""
    return AnnotationFolders("labelme's JSON files", _picture, folder, ".json", images)


def _picture(content: bytes, problems: Problems, path: Path) -> RawPicture:
    fields = json.loads(content)
    if not isinstance(fields, dict) or not isinstance(fields.get("shapes"), list):
        raise ValueError("labelme's shapes were expected")
    objects = []
    for shape in fields["shapes"]:
        try:
            objects.append(_object(shape, problems))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            problems.left_out("shapes without a label and an area", f"{path.name}: {briefly(shape)}")
    name = str(fields.get("imagePath") or "").replace("\\", "/").rpartition("/")[2]
    return RawPicture(Path(name), given_size(fields.get("imageWidth"), fields.get("imageHeight")), "", objects)


def _object(shape: dict[str, Any], problems: Problems) -> RawObject:
    name, kind = str(shape["label"]).strip(), shape.get("shape_type") or "polygon"
    xs, ys = zip(*((float(x), float(y)) for x, y in shape["points"]), strict=True)
    if not name or len(xs) < _LEAST_POINTS[kind]:
        raise ValueError
    if kind == "circle":  # its centre, and a point on it
        radius = math.dist((xs[0], ys[0]), (xs[1], ys[1]))
        xs, ys = (xs[0] - radius, xs[0] + radius), (ys[0] - radius, ys[0] + radius)
    elif kind != "rectangle":
        problems.noted("shapes replaced by the boxes around them", kind)
    return RawObject(name, around(xs, ys), is_true(shape.get("difficult"), "difficult", problems))
