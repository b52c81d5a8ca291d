"""One form for the data sets of all formats."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.datasets.problems import Problem

_SIZES = np.array([32.0**2, 96.0**2])  # from which an object is medium, large


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
        VOC's ``difficult``, COCO's ``iscrowd``: in metrics, missing such an object or detecting it is not an error.
    image_id : int or str
        The picture's unique name in the data set: COCO's id, otherwise the file name without suffix, with its folders if
        several have that name.
    area : (N,) float32, optional
        Pixels of each object, from which COCO's metrics derive its size. Default: the box's.
    ignored : (M, 4) float32, optional
        Regions x1, y1, x2, y2, pixels, such as KITTI's ``DontCare``: detections in them are ignored, whatever their class.
    """

    path: Path
    size: tuple[int, int]
    xyxy: NDArray[np.float32]
    class_id: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    image_id: int | str
    area: NDArray[np.float32] = None  # type: ignore[assignment]  # never after __post_init__
    ignored: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 4), np.float32))

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
        The usable pictures, in the order of the data set.
    problems : tuple of Problem
        Everything that is wrong with the annotations, one `Problem` for each kind; ``str`` makes a line of it.
    layout : str
        The format of the files, and the folders in which they are.
    splits : tuple of str
        The splits that the data set declares: arguments of `load_dataset`.
    """

    labels: tuple[str, ...]
    pictures: tuple[Annotated, ...]
    problems: tuple[Problem, ...]
    layout: str = ""
    splits: tuple[str, ...] = ()

    @property
    def box_count(self) -> int:
        """Number of boxes in all pictures."""
        return sum(len(picture.class_id) for picture in self.pictures)

    def objects(self) -> NDArray[np.int64]:
        """Count the objects of each class (C, 5): all that count, difficult objects, and small, medium and large objects.

        Sizes are COCO's: small is below 32x32 pixels, large from 96x96; difficult objects are in no size.
        """
        counts = np.zeros((len(self.labels), 5), np.int64)
        for picture in self.pictures:
            size = 2 + (picture.area[:, None] >= _SIZES).sum(1)
            np.add.at(counts, (picture.class_id, np.where(picture.difficult, 1, size)), 1)
        counts[:, 0] = counts[:, 2:].sum(1)
        return counts

    def random_split(self, share: float) -> tuple[Dataset, Dataset]:
        """Divide the pictures at random, in the same way each time.

        Parameters
        ----------
        share : float
            The share to hold out, between 0 and 1.

        Returns
        -------
        (Dataset, Dataset)
            The rest and the held-out pictures, both in the order of the data set.

        Raises
        ------
        ValueError
            If the share is not between 0 and 1, or there is one picture only.
        """
        if not 0 < share < 1:
            raise ValueError(f"a share between 0 and 1 was expected, got {share}")
        if len(self.pictures) < 2:
            raise ValueError(f"{len(self.pictures)} picture cannot be divided")
        count = min(max(1, round(share * len(self.pictures))), len(self.pictures) - 1)
        held_out = set(np.random.default_rng(0).permutation(len(self.pictures))[:count].tolist())
        parts = ([picture for i, picture in enumerate(self.pictures) if (i in held_out) == held] for held in (False, True))
        rest, part = (replace(self, pictures=tuple(pictures)) for pictures in parts)
        return rest, part
