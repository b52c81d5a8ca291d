"""A teacher's opinions: boxes and soft classes for pictures, kept in a file, from which a smaller network learns."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.evaluation.matching import match_classes
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import read_whole, real_path, write_whole
from opencv_squeezedet.pictures import read_picture
from opencv_squeezedet.postprocess import decode, nms, score
from opencv_squeezedet.preprocess import MOST_SIDE, Picture, placement
from opencv_squeezedet.training.coco_detectors import KINDS, CocoDetector
from opencv_squeezedet.training.data import Example
from opencv_squeezedet.training.opinion import Opinion, Pupil, Teacher
from opencv_squeezedet.training.predictions import iou_xyxy

with needs("eval"):
    from sklearn.isotonic import IsotonicRegression

_UNSURE = 0.2  # boxes with a lower score are not kept
_LIKELY, _POSSIBLE = 0.4, 0.1  # a box that is right with this probability counts as an object; is ignored
_HINTED = 0.25  # the score for an object whose class is known from elsewhere
_APART = 0.3  # a teacher's box that overlaps no annotated object by more is another thing
_ENOUGH = 100  # boxes of a class from which its own reliability is taken
_MOST = 100  # boxes per picture
_MOST_BYTES = 1 << 32
_MOST_BOX = 2.0 * MOST_SIDE  # the largest distance of a corner from the picture's


def load_teacher(name: str) -> Teacher:
    """Return a teacher.

    Parameters
    ----------
    name : str
        ``KIND=PATH`` for a detector trained on COCO, see `CocoDetector`; ``module:function`` of any Python module that can be
        imported, where ``function()`` returns a teacher; otherwise a model as for `SqueezeDet`.

    Raises
    ------
    ValueError
        If there is no such function, or the model cannot be a teacher.
    FileNotFoundError, ModelError
        As for `SqueezeDet`.
    """
    kind, equals, path = name.partition("=")
    if equals and kind in KINDS:
        return CocoDetector(kind, Path(path))
    module, colon, function = name.partition(":")
    if not colon or not function.isidentifier():
        return DetectorTeacher(SqueezeDet(name))
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"a teacher {name!r} would be made by {function}() of {module}: {error}") from error
    teacher: Teacher = make()
    return teacher


class DetectorTeacher:
    """Makes a SqueezeDet a teacher, with the scores of all classes of each anchor that its NMS keeps.

    Parameters
    ----------
    detector : SqueezeDet
        A detector with the layout "hwc", activated.

    Raises
    ------
    ValueError
        If it is not.
    """

    def __init__(self, detector: SqueezeDet) -> None:
        if detector.config.layout != "hwc" or not detector.config.activated:
            raise ValueError("a teacher's head must have the layout 'hwc' and be activated")
        self.labels: Sequence[str] = detector.config.labels
        self._detector = detector

    def __call__(self, image: Picture) -> Opinion:
        """Return what the detector sees."""
        config, preprocess = self._detector.config, self._detector.preprocess
        blobs = self._detector.forward(image)
        best, class_id = score(blobs.class_scores, blobs.conf_scores, config)
        boxes = decode(blobs.delta_bbox, config)
        shown = np.flatnonzero(best > _UNSURE)
        shown = shown[nms(boxes[shown], best[shown], class_id[shown], nms_threshold=0.6, top_n=_MOST)]
        place = placement((image.shape[1], image.shape[0]), config.input_size, preprocess.resize)
        classes = np.reshape(blobs.class_scores, (-1, len(config.labels)))[shown]
        return Opinion(place.to_picture(boxes[shown]), classes * np.reshape(blobs.conf_scores, (-1, 1))[shown])


def ask(
    teacher: Teacher,
    paths: Iterable[Path],
    labels: Sequence[str],
    hints: Mapping[str, str],
    on_problem: Callable[[str], object] = lambda problem: None,
) -> Iterator[dict[str, Any]]:
    """Yield a teacher's opinion of each picture, in the form that `write_opinions` stores.

    Parameters
    ----------
    teacher : Teacher
        The detector.
    paths : iterable of Path
        Pictures.
    labels : sequence of str
        The classes to keep, by the teacher's names.
    hints : mapping
        What is known about pictures whose file name begins with a prefix: the class of their main object, or "" to leave them
        out.
    on_problem : function
        Called with a line about each picture that cannot be read, which is left out.

    Raises
    ------
    ValueError
        If the teacher has no class with one of these names.
    """
    pupil = Pupil(teacher, labels)
    for path in paths:
        hint = next((hint for start, hint in hints.items() if path.name.startswith(start)), None)
        if hint == "":
            continue
        try:
            image = read_picture(path)
        except (OSError, ValueError) as error:
            on_problem(f"{path}: {getattr(error, 'strerror', None) or error}")
            continue
        xyxy, scores = pupil(image)
        kept = scores.max(1, initial=0) > _UNSURE
        yield {"path": path, "hint": hint, "xyxy": xyxy[kept], "scores": scores[kept]}


def write_opinions(path: Path, labels: Sequence[str], opinions: Iterable[Mapping[str, Any]]) -> None:
    """Write opinions as COCO JSON whose annotations also have ``score`` and ``scores``, one for each category.

    Paths of pictures below the file's folder are relative to it, so that the folder can be moved.
    """
    folder = Path(real_path(path.parent))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for opinion in opinions:
        images.append({"id": len(images) + 1, "file_name": _below(folder, opinion["path"]), "hint": opinion["hint"]})
        for (x1, y1, x2, y2), scores in zip(opinion["xyxy"].tolist(), opinion["scores"].tolist(), strict=True):
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


def _below(folder: Path, path: Path) -> str:
    file = Path(real_path(path))
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)


@dataclass(frozen=True)
class Opinions:
    """A teacher's opinions of many pictures, by their file name."""

    by_name: dict[str, tuple[Path, str | None, Opinion]]

    @classmethod
    def read(cls, path: Path, labels: Sequence[str]) -> Opinions:
        """Read what `write_opinions` wrote; paths of pictures are relative to the file's folder.

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
            found: dict[str, tuple[Path, str | None, Opinion]] = {}
            for image in content["images"]:
                table = np.array(rows[image["id"]], np.float64).reshape(-1, 4 + len(names))
                boxes, scores = table[:, :4], table[:, 4:]
                if not (np.abs(boxes) <= _MOST_BOX).all() or not ((scores >= 0) & (scores <= 1)).all():  # false for NaN too
                    raise ValueError(f"boxes, and scores in [0, 1], were expected of image {image['id']!r}")
                file = path.parent / image["file_name"]
                if file.name in found:
                    raise ValueError(f"two pictures have the name {file.name}, but pictures are identified by their names")
                found[file.name] = (file, image["hint"], Opinion(boxes.astype(np.float32), scores.astype(np.float32)))
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{path}: a teacher's opinions were expected: {error!r}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return cls(found)

    @classmethod
    def joined(cls, parts: Iterable[Opinions]) -> Opinions:
        """Return the opinions of several files as one; ValueError if a file name is in two of them."""
        found: dict[str, tuple[Path, str | None, Opinion]] = {}
        for part in parts:
            if again := sorted(found.keys() & part.by_name.keys()):
                raise ValueError(
                    f"two files have opinions of a picture {again[0]}, but pictures are identified by their names"
                )
            found |= part.by_name
        return cls(found)

    def taught(self, example: Example, share: float = 0.5) -> Example:
        """Return an annotated picture to whose objects' classes the teacher's are mixed with a weight.

        What the teacher sees beside them, and people have not annotated, is ignored: it is not background.
        """
        if example.path.name not in self.by_name:
            return example
        xyxy, scores = self.by_name[example.path.name][2]
        if not len(xyxy):
            return example
        iou = pairwise_iou_xyxy(example.xyxy, xyxy)
        classes = example.classes
        if len(example.xyxy):
            best = iou.argmax(1)
            known = (iou.max(1) >= 0.5) & (scores[best].max(1) > _UNSURE)
            soft = _shares(scores[best])
            classes = np.where(known[:, None], (1 - share) * classes + share * soft, classes).astype(np.float32)
        other = (iou.max(0, initial=0) < _APART) & (scores.max(1) >= 0.5)
        return replace(
            example,
            xyxy=np.concatenate([example.xyxy, xyxy[other]]),
            classes=np.concatenate([classes, _shares(scores[other])]),
            quality=np.concatenate([example.quality, np.zeros(int(other.sum()), np.float32)]),
        )

    def reliability(self, examples: Iterable[Example], labels: Sequence[str]) -> Reliability:
        """Return how often the teacher is right, measured on annotated pictures."""
        pictures, detections = [], []
        for example in examples:
            if example.path.name in self.by_name:
                xyxy, scores = self.by_name[example.path.name][2]
                seen = Detections(xyxy, scores.max(1, initial=0), scores.argmax(1), tuple(labels))
                certain = example.quality > 0
                size = (MOST_SIDE, MOST_SIDE)  # nobody asks for it
                truth = Annotated(example.path, size, example.xyxy, example.classes.argmax(1), ~certain, example.path.name)
                pictures.append(truth)
                detections.append(seen)
        *classes, pooled = match_classes(Dataset(tuple(labels), tuple(pictures), ()), detections)
        every = _isotonic(pooled.score, pooled.hit)
        return Reliability([_isotonic(one.score, one.hit) if len(one.score) >= _ENOUGH else every for one in classes])

    def pictures(self, without: Iterable[str], labels: Sequence[str], reliability: Reliability) -> list[Example]:
        """Return the pictures that are not among the given file names, with the teacher's boxes as objects.

        A box counts as an object, with the probability that it is right as its quality, if that is high, or if the picture's
        hint names its class. It is ignored if it might be right.
        """
        names = self.by_name.keys() - set(without)
        examples = []
        for name in sorted(names):
            path, hint, (xyxy, scores) = self.by_name[name]
            best = scores.max(1, initial=0)
            right = reliability(scores)
            hinted = np.array([labels[i] == hint for i in scores.argmax(1)], bool)
            quality = np.where(right >= _LIKELY, right, 0)
            quality = np.where(hinted & (best > _HINTED), np.minimum(1, 0.5 + best / 2), quality).astype(np.float32)
            kept = (right >= _POSSIBLE) | (quality > 0)
            if hint is not None and not quality.any():
                continue  # its object was not found, but is not background
            examples.append(Example(path, xyxy[kept], _shares(scores[kept]), quality[kept], annotated=False))
        return examples


class Reliability:
    """The probability that a teacher's box is right, by its class and score: monotone in the score."""

    def __init__(self, curves: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> None:
        self._curves = curves

    def __call__(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities (N,) for boxes with scores (N, C)."""
        best, class_id = scores.max(1, initial=0), scores.argmax(1)
        right = [np.interp(score, *self._curves[i]) for score, i in zip(best.tolist(), class_id.tolist(), strict=True)]
        return np.array(right, np.float32)


def _isotonic(score: NDArray[np.float32], hit: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points of the non-decreasing function of the score that fits best; without data, the score itself."""
    if not len(score):
        return np.array([0.0, 1.0]), np.array([0.0, 1.0])
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score.astype(np.float64), hit.astype(np.float64))
    return fitted.X_thresholds_, fitted.y_thresholds_


def _shares(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores (N, C) as distributions over the classes."""
    shares: NDArray[np.float32] = scores / np.maximum(scores.sum(1, keepdims=True), np.float32(1e-6))
    return shares


def pairwise_iou_xyxy(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the IoU of each box (N, 4) with each other (M, 4), as (N, M)."""
    return iou_xyxy(torch.from_numpy(a)[:, None], torch.from_numpy(b)).numpy()
