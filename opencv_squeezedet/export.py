"""Conversion of detections to the formats of other tools; these functions are methods of `Detections`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MOST_ROWS = 50


class Boxes(Protocol):
    """The part of `Detections` that this module uses."""

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]
    label_table: tuple[str, ...]

    @property
    def labels(self) -> list[str]:
        """The class name of each detection."""

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return JSON types."""


def to_html(detections: Boxes) -> str:
    """Return an HTML table for a notebook, of at most the 50 best detections; labels are escaped."""
    import html  # keeps import fast

    head = "".join(f"<th>{name}</th>" for name in ("label", "confidence", "x1", "y1", "x2", "y2"))
    rows = [
        f"<tr><td>{html.escape(label)}</td><td>{confidence:.3f}</td>" + "".join(f"<td>{v:.1f}</td>" for v in xyxy) + "</tr>"
        for label, confidence, xyxy in zip(
            detections.labels[:_MOST_ROWS], detections.confidence, detections.xyxy, strict=False
        )
    ]
    count = len(detections.confidence)
    shown = f", of which the first {_MOST_ROWS}" if count > _MOST_ROWS else ""
    return f"<table><caption>Detections: {count}{shown}</caption><tr>{head}</tr>{''.join(rows)}</table>"


def to_coco(detections: Boxes, image_id: int, first_id: int = 1) -> list[dict[str, Any]]:
    """Return COCO annotations with scores: ``bbox`` is x, y, width, height, ``category_id`` the class id + 1.

    ``image_id`` is the picture's; annotation ids start from ``first_id``.
    """
    annotations = []
    for i, d in enumerate(detections.to_dict()["detections"]):
        x1, y1, x2, y2 = d["xyxy"]
        annotations.append(
            {
                "id": first_id + i,
                "image_id": image_id,
                "category_id": d["class_id"] + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": d["confidence"],
            }
        )
    return annotations


def coco_categories(names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return COCO's categories for a label table."""
    return [{"id": i + 1, "name": name, "supercategory": ""} for i, name in enumerate(names)]


def to_yolo(detections: Boxes, image_size: tuple[int, int]) -> str:
    """Return YOLO's label lines: class id, centre x, y, width, height, as fractions of the (width, height) picture."""
    image_size = _checks.size("image_size", image_size)
    x1, y1, x2, y2 = (detections.xyxy.astype(np.float64) / (*image_size, *image_size)).T
    rows = zip(detections.class_id, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, strict=True)
    return "".join(f"{class_id} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n" for class_id, x, y, width, height in rows)


def to_voc_xml(detections: Boxes, file_name: str, image_size: tuple[int, int]) -> str:
    """Return a PASCAL VOC annotation of the (width, height) picture, with a ``confidence`` for each object.

    Boxes have first and last pixels, counted from 1. ValueError if a box is not finite.
    """
    from xml.etree import ElementTree  # keeps import fast

    image_size = _checks.size("image_size", image_size)
    if not np.isfinite(detections.xyxy).all():
        raise ValueError("PASCAL VOC's boxes are whole pixels, but some boxes are not finite")

    root = ElementTree.Element("annotation")
    folder, name = os.path.split(file_name)
    _add(root, "folder", os.path.basename(folder))
    _add(root, "filename", name)
    size = _add(root, "size")
    for side, pixels in (("width", image_size[0]), ("height", image_size[1]), ("depth", 3)):
        _add(size, side, pixels)
    _add(root, "segmented", 0)
    rows = zip(detections.labels, detections.confidence.tolist(), detections.xyxy.tolist(), strict=True)
    for label, confidence, (x1, y1, x2, y2) in rows:
        thing = _add(root, "object")
        for element, value in (("name", label), ("pose", "Unspecified"), ("truncated", 0), ("difficult", 0)):
            _add(thing, element, value)
        _add(thing, "confidence", f"{confidence:.6f}")
        box = _add(thing, "bndbox")
        for side, low, high, last in (("x", x1, x2, image_size[0]), ("y", y1, y2, image_size[1])):
            first_pixel = min(round(low) + 1, last)
            _add(box, f"{side}min", first_pixel)
            _add(box, f"{side}max", max(round(high), first_pixel))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode").replace("\r", "&#13;") + "\n"


def _add(parent: Element, name: str, value: object = "") -> Element:
    child = parent.makeelement(name, {})
    child.text = "".join(c if _is_xml(c) else "\ufffd" for c in str(value)) or None
    parent.append(child)
    return child


def _is_xml(c: str) -> bool:
    """Whether XML 1.0 allows the character."""
    return c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000"


def to_supervision(detections: Boxes) -> Any:
    """Return ``supervision.Detections``, with the label table in its metadata; ImportError without supervision."""
    supervision = _library("supervision")
    return supervision.Detections(
        xyxy=detections.xyxy.copy(),
        confidence=detections.confidence.copy(),
        class_id=detections.class_id.astype(int),
        data={"class_name": np.array(detections.labels, dtype=str)},
        metadata={"names": list(detections.label_table)},
    )


def from_supervision(
    detections: Any, names: tuple[str, ...] | None = None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], tuple[str, ...]]:
    """Return the parts of `Detections`, highest confidence first, from ``supervision.Detections``.

    The label table is ``names``, or that which `to_supervision` stored in the metadata, or built from the data's class names.
    """
    count = len(detections)
    class_id = np.zeros(count, int) if detections.class_id is None else np.asarray(detections.class_id, int)
    confidence = np.ones(count) if detections.confidence is None else np.asarray(detections.confidence)
    order = np.argsort(-confidence, kind="stable")
    if names is None:
        names = tuple(detections.metadata.get("names", ())) or _names_in_use(class_id, detections.data.get("class_name"))
    return np.asarray(detections.xyxy)[order], confidence[order], class_id[order], names


def _names_in_use(class_id: Any, class_names: Any) -> tuple[str, ...]:
    """A label table from the classes that occur; other classes are named by their numbers."""
    table = [str(i) for i in range(max(class_id, default=-1) + 1)]
    for i, name in zip(class_id, () if class_names is None else class_names, strict=class_names is not None):
        table[i] = str(name)
    return tuple(table)


def to_dataframe(detections: Boxes) -> Any:
    """Return a ``pandas.DataFrame``: label, class_id, confidence, x1, y1, x2, y2. ImportError without pandas."""
    pandas = _library("pandas")
    frame = pandas.DataFrame(
        {"label": detections.labels, "class_id": detections.class_id, "confidence": detections.confidence}
    )
    return frame.assign(**dict(zip(("x1", "y1", "x2", "y2"), detections.xyxy.T, strict=True)))


def _library(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is required, but not installed: pip install {name}") from error
