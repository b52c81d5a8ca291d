"""The one way to a data set, whatever its format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from opencv_squeezedet.datasets import coco, voc, yolo
from opencv_squeezedet.datasets.dataset import Dataset
from opencv_squeezedet.datasets.raw import Raw, checked
from opencv_squeezedet.files import StrPath


def load_dataset(
    path: StrPath,
    *,
    images: StrPath | None = None,
    split: str | None = None,
    labels: Sequence[str] | None = None,
) -> Dataset:
    """Load the annotations of a data set: COCO's JSON, a PASCAL VOC folder, or YOLO's text files.

    Bad annotations are not fatal: they are left out or clipped, and counted among the `Dataset`'s problems. Of the pictures
    only the headers are read, for the sizes: those in annotations may be wrong.

    Parameters
    ----------
    path : path
        COCO: the JSON file. VOC: the folder with ``Annotations``, ``ImageSets`` and ``JPEGImages``, or any with XML files and
        the pictures of their names somewhere below it: side by side, in ``images`` and ``annotations``, and so on; the
        `Dataset`'s ``layout`` says where they are. YOLO: the YAML file that describes the data set, or the folder with
        ``images`` and ``labels``.
    images : path, optional
        The folder of the pictures. Default: COCO: ``images`` beside the file, the file's own, or ``../NAME`` for
        ``annotations/instances_NAME.json``; VOC: ``JPEGImages``, or anywhere below the path; YOLO: as described.
    split : str, optional
        VOC: of ``ImageSets/Main``, or the name of a folder of XML files. YOLO: of the description, or the folder's name.
        Default: everything. COCO has a file a split.
    labels : sequence of str, optional
        The class names, in the order of the class ids: objects of others are left out and listed. Where VOC and COCO spell a
        class differently (sofa, couch) both names will do. Default: the data set's own names; VOC has none: those that occur,
        sorted, so that two splits agree for certain only if the second is given the labels of the first.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        If there is nothing at the path, no such split, or none of the pictures.
    ValueError
        If it is not a data set, or nothing in it can be used; says what was expected.
    ImportError
        If a library of the extras [eval] and [train] is missing: Pillow or, for YOLO's descriptions, PyYAML.
    """
    place = Path(path)
    folder = None if images is None else Path(images)
    if not os.path.exists(place):
        raise FileNotFoundError(f"no data set at {str(place)!r}")
    if folder is not None and not os.path.isdir(folder):
        raise FileNotFoundError(f"no folder of pictures at {str(folder)!r}")
    return checked(_read(place, folder, split, labels), labels)


def _read(path: Path, images: Path | None, split: str | None, labels: Sequence[str] | None) -> Raw:
    if path.suffix.lower() == ".json":
        if split is not None:
            raise ValueError(f"a COCO file has no splits, got the split {split!r}: give the file of the split")
        return coco.read(path, images)
    if path.suffix.lower() in (".yaml", ".yml") or (path.is_dir() and yolo.is_yolo(path)):
        return yolo.read(path, images, split, labels)
    if path.is_dir() and voc.is_voc(path):
        return voc.read(path, images, split)
    raise ValueError(
        f"{str(path)!r} is not a data set: COCO's JSON file, a folder with VOC's XML files, YOLO's YAML file, "
        "or a folder with YOLO's images and labels was expected"
    )
