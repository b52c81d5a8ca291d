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
    """A picture file and its objects, annotated by people or detected by a teacher."""

    path: Path
    xyxy: NDArray[np.float32]  # (N, 4), pixels
    classes: NDArray[np.float32]  # (N, C), probability of each class
    quality: NDArray[np.float32]  # (N,), probability of each object; 0: ignored, -1: ignored region
    annotated: bool = True  # by people

    def read(self, mean: tuple[float, float, float]) -> tuple[Picture, Example, list[str]]:
        """Read the picture; if that fails, return a plain picture, no objects, and a line with the reason."""
        image, problems = read_or_blank(self.path, mean)
        empty = {name: getattr(self, name)[:0] for name in ("xyxy", "classes", "quality")}
        return image, replace(self, **empty) if problems else self, problems


def read_or_blank(path: Path, mean: tuple[float, float, float]) -> tuple[Picture, list[str]]:
    """Read a picture; if that fails, return a plain picture, and a line with the reason."""
    try:
        return read_picture(path), []
    except (OSError, ValueError) as error:
        return np.full((8, 8, 3), np.rint(mean), np.uint8), [f"{path}: {reason(error)}"]
