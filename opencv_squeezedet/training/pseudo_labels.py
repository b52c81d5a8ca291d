"""Pseudo-labels: a teacher's boxes and class scores for pictures, kept in a file, that a smaller network learns from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.boxes import iou_xyxy
from opencv_squeezedet.files import read_whole, real_path, write_whole
from opencv_squeezedet.preprocess import MOST_SIDE
from opencv_squeezedet.training.example import Example, read_or_blank
from opencv_squeezedet.training.teacher import SelectedClasses, SoftDetections, Teacher

LEAST_SCORE = 0.2  # boxes with a lower score are not kept
_LIKELY, _POSSIBLE = 0.4, 0.1  # probabilities of being right from which a box counts as an object, or is ignored
_HINTED = 0.25  # the score from which a box of the hinted class counts as an object
_APART = 0.3  # a teacher's box that overlaps no annotated object by more is another object
_MOST_BYTES = 1 << 32
_MOST_BOX = 2.0 * MOST_SIDE  # the largest distance of a corner from the picture's


def predict(
    teacher: Teacher,
    paths: Iterable[Path],
    labels: Sequence[str],
    hints: Mapping[str, str],
    on_problem: Callable[[str], object] = lambda problem: None,
) -> Iterator[dict[str, Any]]:
    """Run a teacher on pictures, and yield the pseudo-labels of each in the form that `write_pseudo_labels` stores.

    ``labels`` are the classes to keep, by the teacher's names; ValueError if it lacks a class. ``hints`` maps a prefix of
    file names to the class of the main object in these pictures, or to "" to leave the pictures out. ``on_problem`` is called
    with a line about each picture that cannot be read; the picture is left out.
    """
    selected = SelectedClasses(teacher, labels)
    for path in paths:
        hint = next((hint for prefix, hint in hints.items() if path.name.startswith(prefix)), None)
        if hint == "":
            continue
        image, problems = read_or_blank(path, (0, 0, 0))
        if problems:
            on_problem(problems[0])
            continue
        xyxy, scores = selected(image)
        kept = scores.max(1, initial=0) > LEAST_SCORE
        yield {"path": path, "hint": hint, "xyxy": xyxy[kept], "scores": scores[kept]}


def write_pseudo_labels(path: Path, labels: Sequence[str], predicted: Iterable[Mapping[str, Any]]) -> None:
    """Write pseudo-labels as COCO JSON whose annotations also have ``score`` and, for each category, ``scores``.

    Paths of pictures below the file's folder are relative to it, so that the folder can be moved.
    """
    folder = Path(real_path(path.parent))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for picture in predicted:
        file = Path(real_path(picture["path"]))
        name = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
        images.append({"id": len(images) + 1, "file_name": name, "hint": picture["hint"]})
        for (x1, y1, x2, y2), scores in zip(picture["xyxy"].tolist(), picture["scores"].tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": scores.index(max(scores)) + 1,
                    "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                    "score": round(max(scores), 4),
                    "scores": [round(value, 4) for value in scores],
                }
            )
    categories = [{"id": i + 1, "name": label} for i, label in enumerate(labels)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_whole(path, json.dumps(content, separators=(",", ":")).encode())


@dataclass(frozen=True)
class PseudoLabels:
    """A teacher's detections in many pictures: path, hint and detections by file name."""

    by_name: dict[str, tuple[Path, str | None, SoftDetections]]

    @classmethod
    def read(cls, path: Path, labels: Sequence[str]) -> PseudoLabels:
        """Read what `write_pseudo_labels` wrote; paths of pictures are relative to the file's folder.

        Raises
        ------
        ValueError
            If it is not such a file, or has other classes.
        """
        try:
            content = json.loads(read_whole(path, _MOST_BYTES))
            names = [category["name"] for category in content["categories"]]
            if names != list(labels):
                raise ValueError(f"its classes are {', '.join(names)}; those of the training are {', '.join(labels)}")
            rows: dict[int, list[Any]] = {image["id"]: [] for image in content["images"]}
            for annotation in content["annotations"]:
                x, y, width, height = annotation["bbox"]
                rows[annotation["image_id"]].append((x, y, x + width, y + height, *annotation["scores"]))
            by_name: dict[str, tuple[Path, str | None, SoftDetections]] = {}
            for image in content["images"]:
                table = np.array(rows[image["id"]], np.float64).reshape(-1, 4 + len(names))
                boxes, scores = table[:, :4], table[:, 4:]
                if not (np.abs(boxes) <= _MOST_BOX).all() or not ((scores >= 0) & (scores <= 1)).all():  # false for NaN too
                    raise ValueError(f"boxes, and scores in [0, 1], were expected of image {image['id']!r}")
                file = path.parent / image["file_name"]
                if file.name in by_name:
                    raise ValueError(f"two pictures have the name {file.name}, but pictures are identified by their names")
                by_name[file.name] = file, image["hint"], SoftDetections(boxes.astype(np.float32), scores.astype(np.float32))
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{path}: pseudo-labels were expected: {error!r}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return cls(by_name)

    @classmethod
    def merged(cls, parts: Iterable[PseudoLabels]) -> PseudoLabels:
        """Merge the pseudo-labels of several files; ValueError if a file name is in two of them."""
        by_name: dict[str, tuple[Path, str | None, SoftDetections]] = {}
        for part in parts:
            if again := sorted(by_name.keys() & part.by_name.keys()):
                raise ValueError(
                    f"two files have pseudo-labels of a picture {again[0]}, but pictures are identified by their names"
                )
            by_name |= part.by_name
        return cls(by_name)

    def distilled(self, example: Example, weight: float = 0.5) -> Example:
        """Return an annotated picture whose objects' classes are mixed with the teacher's, which have the given weight.

        Objects that only the teacher detected are ignored: they do not count as background.
        """
        if example.path.name not in self.by_name:
            return example
        xyxy, scores = self.by_name[example.path.name][2]
        if not len(xyxy):
            return example
        iou = iou_xyxy(example.xyxy, xyxy)
        classes = example.classes
        if len(example.xyxy):
            best = iou.argmax(1)
            known = (iou.max(1) >= 0.5) & (scores[best].max(1) > LEAST_SCORE)
            soft = _normalized(scores[best])
            classes = np.where(known[:, None], (1 - weight) * classes + weight * soft, classes).astype(np.float32)
        other = (iou.max(0, initial=0) < _APART) & (scores.max(1) >= 0.5)
        return replace(
            example,
            xyxy=np.concatenate([example.xyxy, xyxy[other]]),
            classes=np.concatenate([classes, _normalized(scores[other])]),
            quality=np.concatenate([example.quality, np.zeros(int(other.sum()), np.float32)]),
        )

    def examples(
        self, without: Iterable[str], labels: Sequence[str], reliability: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    ) -> list[Example]:
        """Return the pictures whose file names are not among ``without``, with the teacher's boxes as objects.

        A box counts as an object if it is likely to be right, with that probability as its quality, or if the picture's hint
        names its class. A box that is possibly right is ignored. ``reliability`` is a function from the scores (N, C) of boxes
        to the probability (N,) that each is right, such as a `Reliability`.
        """
        examples = []
        for name in sorted(self.by_name.keys() - set(without)):
            path, hint, (xyxy, scores) = self.by_name[name]
            best = scores.max(1, initial=0)
            right = reliability(scores)
            hinted = np.array([labels[i] == hint for i in scores.argmax(1)], bool)
            quality = np.where(right >= _LIKELY, right, 0)
            quality = np.where(hinted & (best > _HINTED), np.minimum(1, 0.5 + best / 2), quality).astype(np.float32)
            kept = (right >= _POSSIBLE) | (quality > 0)
            if hint is not None and not quality.any():
                continue  # the hinted object was not detected, and must not count as background
            examples.append(Example(path, xyxy[kept], _normalized(scores[kept]), quality[kept], annotated=False))
        return examples


def _normalized(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores (N, C) as distributions over the classes."""
    return np.asarray(scores / np.maximum(scores.sum(1, keepdims=True), np.float32(1e-6)), np.float32)
