"""Data sets and detections for the tests of evaluation, and the devkit's arithmetic in plain Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections

SIDE = 100


def annotated(
    boxes: list[tuple[float, ...]], classes: list[int], difficult: list[bool] | None = None, image_id: int | str = 0
) -> Annotated:
    return Annotated(
        Path(f"{image_id}.png"),
        (SIDE, SIDE),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array([False] * len(classes) if difficult is None else difficult, bool),
        image_id,
    )


def random_case(seed: int, *, ties: bool = True) -> tuple[Dataset, list[Detections]]:
    """Small pictures full of boxes that overlap, some difficult, and detections near and far from them."""
    random = np.random.default_rng(seed)
    labels = tuple("abcd"[: random.integers(1, 5)])
    pictures, detections = [], []
    for i in range(random.integers(1, 8)):
        count = int(random.integers(0, 6))
        corner = random.integers(0, SIDE // 2, (count, 2))
        boxes = np.concatenate([corner, corner + random.integers(5, SIDE // 2, (count, 2))], axis=1)
        classes = random.integers(0, len(labels), count)
        pictures.append(annotated(boxes.tolist(), classes.tolist(), (random.random(count) < 0.25).tolist(), i + 1))
        near = np.repeat(boxes, 3, axis=0) + random.integers(-8, 9, (3 * count, 4))
        far = random.integers(0, SIDE // 2, (2, 2))
        found = np.concatenate([near, np.concatenate([far, far + random.integers(1, SIDE // 2, (2, 2))], axis=1)])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        of_class = np.concatenate([np.repeat(classes, 3), random.integers(0, len(labels), 2)])
        scores = random.random(len(found)) if not ties else random.integers(1, 20, len(found)) / 20
        detections.append(Detections(found, scores, of_class, labels))
    return Dataset(labels, tuple(pictures), ()), detections


def devkit_curve(
    dataset: Dataset, detections: list[Detections], class_id: int, threshold: float
) -> tuple[list[float], list[float], int]:
    """Recall and precision after each detection, in the devkit's way: pixels counted from 1, corners inclusive, ``+ 1``."""
    objects = [
        [(box[0] + 1, box[1] + 1, box[2], box[3], bool(hard)) for box, c, hard in rows if c == class_id]
        for truth in dataset.pictures
        for rows in [zip(truth.xyxy.tolist(), truth.class_id, truth.difficult, strict=True)]
    ]
    positives = sum(not row[4] for rows in objects for row in rows)
    found = sorted(
        (-d.confidence, i, k, (d.xyxy[0] + 1, d.xyxy[1] + 1, d.xyxy[2], d.xyxy[3]))
        for i, of_picture in enumerate(detections)
        for k, d in enumerate(of_picture)
        if d.class_id == class_id
    )
    taken = set()
    hits = mistakes = 0
    recall, precision = [], []
    for _, i, _, box in found:
        best, best_k = -1.0, -1
        for k, other in enumerate(objects[i]):
            width = min(box[2], other[2]) - max(box[0], other[0]) + 1
            height = min(box[3], other[3]) - max(box[1], other[1]) + 1
            if width > 0 and height > 0:
                areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)]
                overlap = width * height / (sum(areas) - width * height)
                if overlap > best:
                    best, best_k = overlap, k
        if best >= threshold:
            if objects[i][best_k][4]:
                continue  # the devkit counts it neither way
            if (i, best_k) in taken:
                mistakes += 1
            else:
                hits += 1
                taken.add((i, best_k))
        else:
            mistakes += 1
        recall.append(hits / positives if positives else float("nan"))
        precision.append(hits / (hits + mistakes))
    return recall, precision, positives


def devkit_ap07(recall: list[float], precision: list[float]) -> float:
    pairs = list(zip(precision, recall, strict=True))
    return sum(max((p for p, r in pairs if 10 * r >= tenth - 1e-9), default=0.0) / 11 for tenth in range(11))


def devkit_ap10(recall: list[float], precision: list[float]) -> float:
    levels, heights = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in range(len(heights) - 2, -1, -1):
        heights[i] = max(heights[i], heights[i + 1])
    return sum((levels[i] - levels[i - 1]) * heights[i] for i in range(1, len(levels)) if levels[i] != levels[i - 1])
