"""One form for the data sets of all formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Annotated:
    """One picture of a data set, and the objects in it.

    Parameters
    ----------
    path : Path
        The picture.
    size : (int, int)
        Its width and height, pixels.
    xyxy : (N, 4) float32
        Boxes x1, y1, x2, y2, pixels, inside the picture; x2 - x1 is the width.
    class_id : (N,) int64
        Indices into the data set's labels.
    difficult : (N,) bool
        VOC's ``difficult`` or COCO's ``iscrowd``: metrics neither ask for these objects nor count them as mistakes.
    image_id : int or str
        The picture's name in the data set: COCO's id, otherwise the file name without suffix.
    area : (N,) float32, optional
        Pixels of each object, by which COCO's metrics tell small from large. Default: the box's.
    """

    path: Path
    size: tuple[int, int]
    xyxy: NDArray[np.float32]
    class_id: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    image_id: int | str
    area: NDArray[np.float32] = None  # type: ignore[assignment]  # never after __post_init__

    def __post_init__(self) -> None:
        """Fill in the area."""
        if self.area is None:
            width, height = (self.xyxy[:, 2:] - self.xyxy[:, :2]).T
            object.__setattr__(self, "area", width * height)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Annotated pictures.

    Parameters
    ----------
    labels : tuple of str
        Class names, in the order of the class ids.
    pictures : tuple of Annotated
        Those that can be used, in the order of the data set.
    problems : tuple of str
        What was wrong with the annotations, a line each: what was left out, and what was clipped.
    """

    labels: tuple[str, ...]
    pictures: tuple[Annotated, ...]
    problems: tuple[str, ...]

    @property
    def box_count(self) -> int:
        """How many boxes the pictures have together."""
        return sum(len(picture.class_id) for picture in self.pictures)
