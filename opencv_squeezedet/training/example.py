"""A picture to train on, and its objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.errors import reason
from opencv_squeezedet.pictures import read_picture
from opencv_squeezedet.preprocess import Picture


@dataclass(frozen=True)
class Example:
    """A picture file and its objects, annotated by people or found by a teacher.

    Parameters
    ----------
    path : Path
        The picture.
    xyxy : (N, 4) float32
        Boxes, pixels.
    classes : (N, C) float32
        Probability of each class.
    quality : (N,) float32
        Probability of each object; 0 for ignored objects, -1 for ignored regions.
    annotated : bool
        Whether people annotated the picture.
    """

    path: Path
    xyxy: NDArray[np.float32]
    classes: NDArray[np.float32]
    quality: NDArray[np.float32]
    annotated: bool = True

    def read(self, mean: tuple[float, float, float]) -> tuple[Picture, Example, list[str]]:
        """Read the picture; if that fails, return one of one colour, no objects, and a line that says why."""
        image, problems = read_or_blank(self.path, mean)
        return image, self.without_objects() if problems else self, problems

    def without_objects(self) -> Example:
        """Return the example with no objects."""
        return replace(self, xyxy=self.xyxy[:0], classes=self.classes[:0], quality=self.quality[:0])


def read_or_blank(path: Path, mean: tuple[float, float, float]) -> tuple[Picture, list[str]]:
    """Read a picture; if that fails, return one of one colour, and a line that says why."""
    try:
        return read_picture(path), []
    except (OSError, ValueError) as error:
        return np.full((8, 8, 3), np.rint(mean), np.uint8), [f"{path}: {reason(error)}"]
