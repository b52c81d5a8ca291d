"""Boxes and labels on a picture."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.preprocess import Picture, as_bgr

Colour = tuple[int, int, int]
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN = 0.618033988749895  # of a turn: hues of neighbouring classes lie far apart


def draw(
    image: Picture,
    detections: Detections,
    *,
    colours: Mapping[str, Colour] | None = None,
    label: bool = True,
    confidence: bool = True,
) -> NDArray[np.uint8]:
    """Return a copy of the picture with a box, the class and the score for each detection.

    Parameters
    ----------
    image : array
        Any picture that `SqueezeDet.detect` takes.
    detections : Detections
        In the picture's pixels. The best one is drawn last, on top; a box that is not finite is left out.
    colours : mapping of str to (int, int, int), optional
        BGR colours for labels. Default, and for labels that are not there: `class_colour`.
    label, confidence : bool
        Whether to write the class, the score, both or neither. OpenCV's letters are ASCII; others become question marks.

    Returns
    -------
    (H, W, 3) uint8
        BGR.

    Raises
    ------
    TypeError, ValueError
        For what is no picture, or an option of the wrong type.
    """
    if not isinstance(detections, Detections):
        raise TypeError(f"detections must be Detections, got {type(detections).__name__}")
    write_label, write_confidence = _checks.flag("label", label), _checks.flag("confidence", confidence)
    canvas = np.array(as_bgr(image), order="C")
    height, width = canvas.shape[:2]
    thickness = max(1, round(min(height, width) / 200))
    shown = detections[np.flatnonzero(np.isfinite(detections.xyxy).all(axis=1))]
    corners = shown.xyxy.clip(0, [width, height, width, height]).round().astype(int).tolist()
    marks = [((colours or {}).get(d.label, class_colour(d.class_id)), d, box) for d, box in zip(shown, corners, strict=True)]
    marks.reverse()
    for colour, _, (x1, y1, x2, y2) in marks:
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness)
    for colour, d, (x1, y1, _, _) in marks:  # over all boxes, so that no line crosses a text
        words = ([d.label] if write_label else []) + ([f"{d.confidence:.2f}"] if write_confidence else [])
        if words:
            _label(canvas, " ".join(words), (x1, y1), colour, thickness, scale=max(0.35, min(height, width) / 900))
    return canvas


def class_colour(class_id: int) -> Colour:
    """Return the BGR colour of a class: the same for an index everywhere, light enough for black text."""
    hsv = np.array([[[int(180 * (class_id * _GOLDEN % 1)), 150, 255]]], np.uint8)
    blue, green, red = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def _label(
    canvas: NDArray[np.uint8], text: str, corner: tuple[int, int], colour: Colour, thickness: int, scale: float
) -> None:
    """Text on a filled bar over the box's upper edge, or under it where there is no room; moved and shrunk to fit."""
    height, width = canvas.shape[:2]
    pen = max(1, thickness // 2)
    (w, h), below = cv2.getTextSize(text, _FONT, scale, pen)
    if w > width:
        scale *= width / w
        (w, h), below = cv2.getTextSize(text, _FONT, scale, pen)
    x = max(0, min(corner[0], width - w))
    bar = h + below
    top = corner[1] - bar if corner[1] >= bar else corner[1]
    top = max(0, min(top, height - bar))
    cv2.rectangle(canvas, (x, top), (x + w, top + bar), colour, cv2.FILLED)
    blue, green, red = colour
    ink = (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 100 else (255, 255, 255)
    cv2.putText(canvas, text, (x, top + h + below // 2), _FONT, scale, ink, pen, cv2.LINE_AA)
