"""The pictures with the best and the worst detections, drawn with hits, errors and missed objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.draw import draw
from opencv_squeezedet.evaluation.matching import match
from opencv_squeezedet.pictures import encode_picture, read_picture

HIT, WRONG, MISSED, TRUTH = (115, 158, 0), (40, 80, 230), (66, 228, 240), (255, 255, 255)  # BGR, colour-blind safe
_HEIGHT, _MOST_WIDTH = 400, 1000  # twice the size in the report


class RankedPicture(NamedTuple):
    """A picture's index in the data set, its numbers of hits, errors and missed objects, and its F1."""

    picture_index: int
    hits: int
    wrong: int
    missed: int
    f1: float


def rank(
    dataset: Dataset, detections: Sequence[Detections], threshold: float, iou_threshold: float, count: int
) -> tuple[list[RankedPicture], list[RankedPicture]]:
    """Return the ``count`` best and the ``count`` worst pictures at a score threshold, by F1, then by their hits or errors.

    Pictures with neither objects that count nor detections are left out.
    """
    pictures = []
    for i, (detected, truth) in enumerate(zip(detections, dataset.pictures, strict=True)):
        shown = detected[detected.confidence > threshold]
        matches = match(shown, truth, iou_threshold)
        hits = int(matches.hit.sum())
        wrong = int((~matches.hit & ~matches.ignored).sum())
        missed = int((~truth.difficult).sum()) - hits
        if hits + wrong + missed:
            pictures.append(RankedPicture(i, hits, wrong, missed, 2 * hits / (2 * hits + wrong + missed)))
    with_hits = sorted((picture for picture in pictures if picture.hits), key=lambda picture: (-picture.f1, -picture.hits))
    best = with_hits[: min(count, len(pictures) // 2)]
    others = [picture for picture in pictures if picture not in best]
    worst = sorted(others, key=lambda picture: (picture.f1, -picture.wrong - picture.missed))[:count]
    return best, worst


def picture_jpeg(truth: Annotated, detections: Detections, threshold: float, iou_threshold: float) -> bytes:
    """Return the picture as a JPEG file: hits, errors and missed objects in different colours, the ground truth in white.

    Of difficult objects only the true box is drawn.

    Raises
    ------
    OSError, ValueError
        If the picture cannot be read.
    """
    image = read_picture(truth.path)
    scale = min(_HEIGHT / image.shape[0], _MOST_WIDTH / image.shape[1])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    for x1, y1, x2, y2 in (truth.xyxy * scale).round().astype(int).tolist():
        cv2.rectangle(image, (x1, y1), (x2, y2), TRUTH, 1)
    shown = detections[detections.confidence > threshold]
    matches = match(shown, truth, iou_threshold)
    marks = []
    for d, hit, ignored in zip(shown, matches.hit, matches.ignored, strict=True):
        if not ignored:
            text = f"{d.label} {d.confidence:.2f}"
            marks.append((d.xyxy, text if hit else f"{d.label}? {d.confidence:.2f}", HIT if hit else WRONG))
    for i in np.flatnonzero(~truth.difficult):
        if i not in matches.object_index:
            marks.append((tuple(truth.xyxy[i].tolist()), detections.label_table[truth.class_id[i]], MISSED))
    texts = [text for _, text, _ in marks]
    boxes = np.array([box for box, _, _ in marks], np.float32).reshape(-1, 4) * scale
    canvas = draw(
        image,
        Detections(boxes, [1.0] * len(marks), range(len(marks)), texts),
        colours={text: colour for _, text, colour in marks},
        confidence=False,
    )
    return encode_picture(canvas, ".jpg")
