"""The examples of a training: a data set's pictures, pseudo-labels, and the statistics and the fingerprint of both."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.training.example import Example
from opencv_squeezedet.training.pseudo_labels import PseudoLabels
from opencv_squeezedet.training.reliability import measure_reliability


def examples_of(
    dataset: Dataset, teacher: PseudoLabels | None = None, validation: Dataset | None = None, distillation: float = 0.5
) -> list[Example]:
    """Return a data set's pictures with soft classes, and the pseudo-labelled pictures that are not among them.

    Pictures of the validation set are left out, even if the teacher has labelled them; ``distillation`` is the weight of the
    teacher's classes in those of annotated objects.
    """
    eye = np.eye(len(dataset.labels), dtype=np.float32)
    examples = [_example(picture, eye) for picture in dataset.pictures]
    if teacher is None:
        return examples
    held_out = () if validation is None else validation.pictures
    names = (picture.path.name for picture in (*dataset.pictures, *held_out))
    others = teacher.examples(names, dataset.labels, measure_reliability(teacher, examples, dataset.labels))
    return [teacher.distilled(example, distillation) for example in examples] + others


def _example(picture: Annotated, eye: NDArray[np.float32]) -> Example:
    regions = len(picture.ignored)
    return Example(
        picture.path,
        np.concatenate([picture.xyxy, picture.ignored]),
        np.concatenate([eye[picture.class_id], np.zeros((regions, len(eye)), np.float32)]),
        np.concatenate([~picture.difficult, np.full(regions, -1)]).astype(np.float32),
    )


def fingerprint(examples: Sequence[Example], validation: Dataset | None) -> str:
    """Return a checksum of the file names, without folders, and of the objects that identifies a data set."""
    rows: list[tuple[Path, tuple[NDArray[Any], ...]]] = [
        (each.path, (each.xyxy, each.classes, each.quality)) for each in examples
    ]
    if validation is not None:
        rows += [(each.path, (each.xyxy, each.class_id, each.difficult)) for each in validation.pictures]
    digest = hashlib.sha256()
    for path, arrays in rows:
        digest.update(os.fsencode(path.name))
        for array in arrays:
            digest.update(str(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


def class_weights(examples: Sequence[Example], rare: float) -> torch.Tensor:
    """Return the weight of each class's objects: (mean count / count) ** rare, scaled so that objects weigh 1 on average."""
    counts = sum((example.classes * example.quality[:, None].clip(0)).sum(0) for example in examples)
    counts = np.maximum(counts, 1.0)
    weights = (counts.mean() / counts) ** rare
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)
