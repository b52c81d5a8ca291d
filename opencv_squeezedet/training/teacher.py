"""A teacher's opinions: boxes and soft classes for pictures, kept in a file, from which a smaller network learns."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.files import read_picture, read_whole, real_path, write_whole
from opencv_squeezedet.postprocess import decode, nms, score
from opencv_squeezedet.preprocess import MOST_SIDE, Picture, placement
from opencv_squeezedet.training.data import Example
from opencv_squeezedet.training.predictions import iou_xyxy

_SURE, _UNSURE = 0.45, 0.2  # a box with a teacher's score above these counts as an object; is ignored
_HINTED = 0.25  # the score for an object whose class is known from elsewhere
_SHARE = 0.35  # weight of the teacher's classes in those of an annotated object
_MOST = 100  # boxes per picture
_MOST_BYTES = 1 << 32
_MOST_BOX = 2.0 * MOST_SIDE  # the largest distance of a corner from the picture's


class Opinion(NamedTuple):
    """What a teacher sees in a picture: boxes (N, 4), pixels, and the score of each class (N, C), each in [0, 1]."""

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]


class Teacher(Protocol):
    """A detector that gives each class of a box its own score.

    Attributes
    ----------
    labels : sequence of str
        The classes, in the order of the scores.
    """

    labels: Sequence[str]

    def __call__(self, image: Picture) -> Opinion:
        """Return what is seen in a picture (H, W, 3) uint8, BGR."""


def load_teacher(name: str) -> Teacher:
    """Return a teacher.

    Parameters
    ----------
    name : str
        ``module:function`` of any Python module that can be imported, where ``function()`` returns a teacher; otherwise a
        model as for `SqueezeDet`.

    Raises
    ------
    ValueError
        If there is no such function, or the model cannot be a teacher.
    FileNotFoundError, ModelError
        As for `SqueezeDet`.
    """
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
    if unknown := [label for label in labels if label not in teacher.labels]:
        raise ValueError(f"the teacher has no class {', '.join(map(repr, unknown))}; it has {', '.join(teacher.labels)}")
    columns = [list(teacher.labels).index(label) for label in labels]
    for path in paths:
        hint = next((hint for start, hint in hints.items() if path.name.startswith(start)), None)
        if hint == "":
            continue
        try:
            image = read_picture(path)
        except (OSError, ValueError) as error:
            on_problem(f"{path}: {getattr(error, 'strerror', None) or error}")
            continue
        xyxy, scores = teacher(image)
        scores = scores[:, columns]
        kept = scores.max(1, initial=0) > _UNSURE
        yield {"path": path, "hint": hint, "xyxy": xyxy[kept], "scores": scores[kept]}


def write_opinions(path: Path, labels: Sequence[str], opinions: Iterable[Mapping[str, Any]]) -> None:
    """Write opinions as COCO JSON whose annotations also have ``score`` and ``scores``, one for each category."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for opinion in opinions:
        images.append({"id": len(images) + 1, "file_name": str(real_path(opinion["path"])), "hint": opinion["hint"]})
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


@dataclass(frozen=True)
class Opinions:
    """A teacher's opinions of many pictures, by their file name."""

    by_name: dict[str, tuple[Path, str | None, Opinion]]

    @classmethod
    def read(cls, path: Path, labels: Sequence[str]) -> Opinions:
        """Read what `write_opinions` wrote; ValueError if it is not such a file, or has other classes."""
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
                file = Path(image["file_name"])
                if file.name in found:
                    raise ValueError(f"two pictures have the name {file.name}, but pictures are identified by their names")
                found[file.name] = (file, image["hint"], Opinion(boxes.astype(np.float32), scores.astype(np.float32)))
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{path}: a teacher's opinions were expected: {error!r}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return cls(found)

    def taught(self, example: Example) -> Example:
        """Return an annotated picture whose objects' classes are mixed with those that the teacher gives them."""
        if example.path.name not in self.by_name or not len(example.xyxy):
            return example
        opinion = self.by_name[example.path.name][2]
        if not len(opinion.xyxy):
            return example
        iou = pairwise_iou_xyxy(example.xyxy, opinion.xyxy)
        best = iou.argmax(1)
        scores = opinion.scores[best]
        known = (iou.max(1) >= 0.5) & (scores.max(1) > _UNSURE)
        soft = scores / scores.sum(1, keepdims=True)
        classes = np.where(known[:, None], (1 - _SHARE) * example.classes + _SHARE * soft, example.classes)
        return replace(example, classes=classes.astype(np.float32))

    def pictures(self, without: Iterable[str], labels: Sequence[str]) -> list[Example]:
        """Return the pictures that are not among the given file names, with the teacher's boxes as objects.

        A box counts as an object if its score is high, or somewhat lower if the picture's hint names its class. It is ignored
        if the teacher is not sure.
        """
        names = self.by_name.keys() - set(without)
        examples = []
        for name in sorted(names):
            path, hint, (xyxy, scores) = self.by_name[name]
            best = scores.max(1, initial=0)
            hinted = np.array([labels[i] == hint for i in scores.argmax(1)], bool)
            quality = np.where(best > _SURE, best, 0)
            quality = np.where(hinted & (best > _HINTED), np.minimum(1, 0.5 + best / 2), quality).astype(np.float32)
            kept = (best > _UNSURE) | (quality > 0)
            if hint is not None and not quality.any():
                continue  # its object was not found, but is not background
            classes = scores[kept] / scores[kept].sum(1, keepdims=True)
            examples.append(Example(path, xyxy[kept], classes, quality[kept]))
        return examples


def pairwise_iou_xyxy(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the IoU of each box (N, 4) with each other (M, 4), as (N, M)."""
    return iou_xyxy(torch.from_numpy(a)[:, None], torch.from_numpy(b)).numpy()
