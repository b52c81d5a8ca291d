"""Boxes and labels on a picture."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

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
        In the picture's pixels. The best one is drawn last, on top.
    colours : mapping of str to (int, int, int), optional
        BGR colours for labels. Default, and for labels that are not there: `class_colour`.
    label, confidence : bool
        Whether to write the class, the score, both or neither.

    Returns
    -------
    (H, W, 3) uint8
        BGR.
    """
    canvas = np.array(as_bgr(image), order="C")
    side = min(canvas.shape[:2])
    thickness = max(1, round(side / 200))
    marks = [((colours or {}).get(d.label) or class_colour(d.class_id), d) for d in reversed(list(detections))]
    for colour, d in marks:
        x1, y1, x2, y2 = (round(v) for v in d.xyxy)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness)
    for colour, d in marks:  # over all boxes, so that no line crosses a text
        text = " ".join([d.label] * label + [f"{d.confidence:.2f}"] * confidence)
        if text:
            corner = round(d.xyxy[0]), round(d.xyxy[1])
            _label(canvas, text, corner, colour, thickness, scale=max(0.35, side / 900))
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
    cv2.putText(canvas, text, (x, top + h + below // 2), _FONT, scale, (0, 0, 0), pen, cv2.LINE_AA)
