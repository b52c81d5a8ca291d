"""Drawing of boxes and labels on a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.preprocess import Picture, as_bgr

Colour = tuple[int, int, int]
_Area = tuple[int, int, int, int]  # x1, y1, x2, y2
_PALETTE: tuple[Colour, ...] = (
    *((108, 144, 255), (108, 255, 216), (180, 108, 216), (144, 255, 180), (255, 180, 36), (255, 255, 36), (255, 108, 0)),
    *((72, 180, 216), (144, 0, 180), (255, 144, 36), (72, 36, 180), (180, 216, 0), (0, 255, 216), (108, 36, 180)),
    *((36, 180, 255), (180, 255, 0), (0, 108, 216), (255, 72, 0), (108, 72, 255), (0, 36, 180)),
)
"""BGR. Any two differ by 21 in CIELAB, and by 15 as seen with deuteranopia or protanopia (Machado et al., 2009). Classes of
PASCAL VOC that are often in one picture differ most."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SAMPLE_TEXT, _SAMPLE_WIDTH = "cat 0.78", 136  # in OpenCV 4, at scale 1
_GOLDEN = 0.618033988749895  # step of the hue, in turns: neighbouring classes get very different hues
_DARK = 100  # luma below which text is white
_COLUMNS = 4  # of a contact sheet


def draw(
    image: Picture,
    detections: Detections,
    *,
    colours: Mapping[str, Colour] | None = None,
    label: bool = True,
    confidence: bool = True,
    line_width: int | None = None,
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
    line_width : int, optional
        Width of the boxes' lines, pixels. Default: 1/200 of the shorter side, at least 2.

    Returns
    -------
    (H, W, 3) uint8
        BGR.

    Raises
    ------
    TypeError, ValueError
        If the image is not a picture, or an option has the wrong type or is out of range.
    """
    if not isinstance(detections, Detections):
        raise TypeError(f"detections must be Detections, got {type(detections).__name__}")
    write_label, write_confidence = _checks.flag("label", label), _checks.flag("confidence", confidence)
    canvas = np.array(as_bgr(image), order="C")
    height, width = canvas.shape[:2]
    thickness = max(2, round(min(height, width) / 200)) if line_width is None else _checks.count("line_width", line_width)
    shown = detections[np.flatnonzero(np.isfinite(detections.xyxy).all(axis=1))]
    corners = shown.xyxy.clip(0, [width, height, width, height]).round().astype(int).tolist()
    marks = [((colours or {}).get(d.label, class_colour(d.class_id)), d, box) for d, box in zip(shown, corners, strict=True)]
    for colour, _, (x1, y1, x2, y2) in reversed(marks):
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness)
    bars: list[_Area] = []
    boxes = [(x1, y1, x2, y2) for _, _, (x1, y1, x2, y2) in marks]
    for (colour, d, _), box in zip(marks, boxes, strict=True):  # over all boxes, so that no line crosses a text
        text = ([d.label] if write_label else []) + ([f"{d.confidence:.2f}"] if write_confidence else [])
        if text:
            _label(canvas, " ".join(text), box, colour, boxes, bars)
    return canvas


def thumbnail(image: Picture, side: int = 320) -> tuple[NDArray[np.uint8], float]:
    """Return a picture whose longer side has this length, and the factor on its coordinates."""
    scale = side / max(image.shape[:2])
    size = tuple(max(1, round(length * scale)) for length in image.shape[1::-1])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8), scale


def contact_sheet(pictures: Sequence[Picture], side: int = 320) -> NDArray[np.uint8]:
    """Return `thumbnail` pictures (H, W, 3) uint8 of any size beside each other, BGR."""
    rows = -(-len(pictures) // _COLUMNS)
    canvas = np.zeros((rows * side, min(_COLUMNS, len(pictures)) * side, 3), np.uint8)
    for i, image in enumerate(pictures):
        small, _ = thumbnail(image, side)
        row, column = i // _COLUMNS * side, i % _COLUMNS * side
        canvas[row : row + small.shape[0], column : column + small.shape[1]] = small
    return canvas


def class_colour(class_id: int) -> Colour:
    """Return the BGR colour of a class, always the same for a class id; the first twenty are hand-picked."""
    if class_id < len(_PALETTE):
        return _PALETTE[class_id]
    hsv = np.array([[[int(180 * (class_id * _GOLDEN % 1)), 150, 255]]], np.uint8)
    blue, green, red = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def _label(canvas: NDArray[np.uint8], text: str, box: _Area, colour: Colour, boxes: list[_Area], bars: list[_Area]) -> None:
    """Write text on a filled bar beside the box, where it covers the least of other labels and of objects."""
    height, width = canvas.shape[:2]
    own_width = cv2.getTextSize(_SAMPLE_TEXT, _FONT, 1.0, 1)[0][0]
    scale = max(0.35, min(height, width) / 900) * _SAMPLE_WIDTH / own_width  # as wide as with the fonts of OpenCV 4
    pen = max(1, round(min(height, width) / 400))
    (w, h), below = cv2.getTextSize(text, _FONT, scale, pen)
    if w > width:
        scale *= width / w
        (w, h), below = cv2.getTextSize(text, _FONT, scale, pen)
    x, y = _position(box, w, h + below, (width, height), boxes, bars)
    bars.append((x, y, x + w, y + h + below))
    cv2.rectangle(canvas, (x, y), (x + w - 1, y + h + below - 1), colour, cv2.FILLED)  # its corners are inside
    blue, green, red = colour
    ink = (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > _DARK else (255, 255, 255)
    cv2.putText(canvas, text, (x, y + h + below // 2), _FONT, scale, ink, pen, cv2.LINE_AA)


def _position(box: _Area, w: int, h: int, size: tuple[int, int], boxes: list[_Area], bars: list[_Area]) -> tuple[int, int]:
    """Return the bar's top left corner: the first of equally good positions, above the box, below, beside, inside."""
    x1, y1, x2, y2 = box
    candidates = [(x1, y1 - h), (x2 - w, y1 - h), (x1, y2), (x2 - w, y2), (x2, y1), (x1 - w, y1), (x1, y1), (x1, y2 - h)]
    inside = [(max(0, min(x, size[0] - w)), max(0, min(y, size[1] - h))) for x, y in candidates]

    def covered(corner: tuple[int, int]) -> tuple[int, int]:
        bar = (*corner, corner[0] + w, corner[1] + h)
        return sum(_overlap(bar, other) for other in bars), sum(_overlap(bar, other) for other in boxes)

    return min(inside, key=covered)


def _overlap(a: _Area, b: _Area) -> int:
    """The area that two rectangles share, square pixels."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
