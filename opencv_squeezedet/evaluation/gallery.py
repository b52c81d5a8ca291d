"""The pictures with the best and the worst detections, drawn with hits, errors and missed objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.draw import draw
from opencv_squeezedet.evaluation.matching import match
from opencv_squeezedet.preprocess import Picture

HIT, WRONG, MISSED, TRUTH = (115, 158, 0), (40, 80, 230), (66, 228, 240), (255, 255, 255)  # BGR, colour-blind safe
_IGNORED = (150, 150, 150)


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


def draw_matches(
    image: Picture, scale: float, truth: Annotated, detections: Detections, threshold: float, iou_threshold: float
) -> NDArray[np.uint8]:
    """Draw hits, errors and missed objects in different colours, and all true boxes in white, on a copy of a scaled picture.

    Of difficult objects only the true box is drawn, and ignored regions are grey.
    """
    image = image.copy()
    for boxes, colour in ((truth.ignored, _IGNORED), (truth.xyxy, TRUTH)):
        for x1, y1, x2, y2 in (boxes * scale).round().astype(int).tolist():
            cv2.rectangle(image, (x1, y1), (x2, y2), colour, 1)
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
    return draw(
        image,
        Detections(boxes, [1.0] * len(marks), range(len(marks)), texts),
        colours={text: colour for _, text, colour in marks},
        confidence=False,
    )
