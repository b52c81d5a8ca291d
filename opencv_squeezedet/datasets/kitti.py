"""KITTI's text files: ``training/label_2`` beside ``training/image_2``.

Class names are read in lower case, as in `opencv_squeezedet.KITTI`. ``DontCare`` is a region to ignore. Objects beyond KITTI's
level "hard" (lower than 25 pixels, more than half truncated, or of unknown occlusion) are difficult: its metrics ignore them
too.
"""

from __future__ import annotations

from pathlib import Path

from opencv_squeezedet.datasets.folders import AnnotationFolders
from opencv_squeezedet.datasets.problems import Problems
from opencv_squeezedet.datasets.raw import RawObject, RawPicture

_COLUMNS = (15, 16)  # the last column is a score, which only results have
_LEAST_HEIGHT, _MOST_OCCLUDED, _MOST_TRUNCATED = 25, 2, 0.5  # of KITTI's level "hard"


def labels_folder(folder: Path) -> Path | None:
    """Return the folder of the labels, if any."""
    return next((path for path in (folder / "label_2", folder / "training" / "label_2") if path.is_dir()), None)


def folders(folder: Path, images: Path | None) -> AnnotationFolders:
    """Return the files in ``label_2`` and ``image_2``, with the lists of splits in ``ImageSets`` beside or above them."""
    labels = labels_folder(folder) or folder
    lists = next((path for path in (folder / "ImageSets", labels.parent / "ImageSets") if path.is_dir()), None)
    return AnnotationFolders("KITTI's label files", _picture, labels, ".txt", images or labels.parent / "image_2", lists)


def _picture(content: bytes, problems: Problems, path: Path) -> RawPicture:
    objects: list[RawObject] = []
    ignored = []
    for number, line in enumerate(content.decode().splitlines(), start=1):
        if not (words := line.split()):
            continue
        try:
            name, (truncated, occluded, _, x1, y1, x2, y2) = words[0].lower(), map(float, words[1:8])
            if len(words) not in _COLUMNS:
                raise ValueError
        except ValueError:
            problems.left_out("lines other than KITTI's fifteen columns", f"{path.name}, line {number}: {line.strip()!r}")
            continue
        if name == "dontcare":
            ignored.append((x1, y1, x2, y2))
        else:
            hidden = y2 - y1 < _LEAST_HEIGHT or occluded > _MOST_OCCLUDED or truncated > _MOST_TRUNCATED
            objects.append(RawObject(name, (x1, y1, x2, y2), hidden))
    return RawPicture(Path(f"{path.stem}.png"), None, "", objects, ignored)
