"""Drawing of boxes and labels on a picture."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.preprocess import Picture, as_bgr

Colour = tuple[int, int, int]
_Bar = tuple[int, int, int, int]  # x1, y1, x2, y2 of a label
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SAMPLE_TEXT, _SAMPLE_WIDTH = "cat 0.78", 136  # in OpenCV 4, at scale 1
_GOLDEN = 0.618033988749895  # step of the hue, in turns: neighbouring classes get very different hues


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
        Any picture that `SqueezeDet.detect` accepts.
    detections : Detections
        In the picture's pixels. The best box is drawn last, on top, and its label is placed first; boxes that are not finite
        are left out.
    colours : mapping of str to (int, int, int), optional
        BGR colours by label. Default, also for other labels: `class_colour`.
    label, confidence : bool
        Whether to write the class, the score, both or neither. OpenCV draws ASCII; other characters become question marks.

    Returns
    -------
    (H, W, 3) uint8
        BGR.

    Raises
    ------
    TypeError, ValueError
        If the image is not a picture, or an option has the wrong type.
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
    for colour, _, (x1, y1, x2, y2) in reversed(marks):
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness)
    bars: list[_Bar] = []
    for colour, d, box in marks:  # over all boxes, so that no line crosses a text; the best box chooses first
        text = ([d.label] if write_label else []) + ([f"{d.confidence:.2f}"] if write_confidence else [])
        if text:
            _label(canvas, " ".join(text), box, colour, thickness, _letter_scale(height, width), bars)
    return canvas


def class_colour(class_id: int) -> Colour:
    """Return the BGR colour of a class, always the same for a class id, and light enough for black text."""
    hsv = np.array([[[int(180 * (class_id * _GOLDEN % 1)), 150, 255]]], np.uint8)
    blue, green, red = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def _letter_scale(height: int, width: int) -> float:
    """The scale at which text is as wide as in OpenCV 4, for the font of any version."""
    own_width = cv2.getTextSize(_SAMPLE_TEXT, _FONT, 1.0, 1)[0][0]
    return max(0.35, min(height, width) / 900) * _SAMPLE_WIDTH / own_width


def _label(
    canvas: NDArray[np.uint8],
    text: str,
    box: list[int],
    colour: Colour,
    thickness: int,
    scale: float,
    bars: list[_Bar],
) -> None:
    """Draw text on a filled bar at the box, by default above its upper edge; moved if bars overlap, and shrunk to fit."""
    height, width = canvas.shape[:2]
    pen = max(1, thickness // 2)
    (w, h), below = cv2.getTextSize(text, _FONT, scale, pen)
    if w > width:
        scale *= width / w
        (w, h), below = cv2.getTextSize(text, _FONT, scale, pen)
    x = max(0, min(box[0], width - w))
    bar = h + below
    candidates = [(box[1] - bar if box[1] >= bar else box[1]), box[1], box[3] - bar, box[3]]
    tops = [max(0, min(top, height - bar)) for top in candidates]
    top = next((top for top in tops if not any(_overlap((x, top, x + w, top + bar), other) for other in bars)), tops[0])
    bars.append((x, top, x + w, top + bar))
    cv2.rectangle(canvas, (x, top), (x + w, top + bar), colour, cv2.FILLED)
    blue, green, red = colour
    ink = (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 100 else (255, 255, 255)
    cv2.putText(canvas, text, (x, top + h + below // 2), _FONT, scale, ink, pen, cv2.LINE_AA)


def _overlap(a: _Bar, b: _Bar) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
