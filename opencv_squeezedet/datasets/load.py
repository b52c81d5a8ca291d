"""Loading a data set: its layout is recognised, and its reader called."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from opencv_squeezedet.datasets import coco, kitti, labelme, voc, yolo
from opencv_squeezedet.datasets.dataset import Dataset
from opencv_squeezedet.datasets.folders import AnnotationFolders, files_below
from opencv_squeezedet.datasets.raw import Raw, checked
from opencv_squeezedet.files import StrPath

_TRAIN, _VAL = ("train", "training"), ("val", "valid", "validation", "dev")


class _Layout(NamedTuple):
    """The splits that a data set declares, and its reader: from the folder of pictures, the split and the labels."""

    splits: Sequence[str]
    read: Callable[[Path | None, str | None, Sequence[str] | None], Raw]


def load_dataset(
    path: StrPath, *, images: StrPath | None = None, split: str | None = None, labels: Sequence[str] | None = None
) -> Dataset:
    """Load the annotations of a data set in the layout of COCO, PASCAL VOC, YOLO, darknet, KITTI or labelme.

    Wrong annotations are left out or corrected, and counted among the `Dataset`'s problems. Only the headers of the pictures
    are read, for the sizes: those in annotations may be wrong.

    Parameters
    ----------
    path : path
        COCO: the JSON file, or a folder with ``SPLIT/_annotations.coco.json``, ``annotations/instances_SPLIT.json`` or
        ``SPLIT.json``. VOC: the folder with ``Annotations`` and ``JPEGImages``, or any with XML files and the pictures of
        their names below it. YOLO: the YAML file that describes the data set, or a folder with ``images`` and ``labels``,
        with ``classes.txt`` beside pictures and labels, or with darknet's ``obj.names``. KITTI: the folder with
        ``training/label_2`` and ``training/image_2``. labelme: a folder with JSON files and pictures below it.
    images : path, optional
        The folder of the pictures. Default: COCO: ``images`` beside the file, the file's own, or ``../NAME`` for
        ``annotations/instances_NAME.json``; VOC: ``JPEGImages``, or anywhere below the path; YOLO: as described.
    split : str, optional
        One of the `Dataset`'s splits: a list of ``ImageSets``, a field of the description, a file, or the name of a folder.
        Default: all pictures.
    labels : sequence of str, optional
        The class names, in the order of the class ids: objects of others are left out and listed. Where VOC and COCO spell a
        class differently (sofa, couch) both names are accepted. Default: the data set's own names; without them, those that
        occur, sorted. Two splits then agree for certain only if the second is loaded with the labels of the first.

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
    folder = None if images is None else Path(images)
    layout = _layout(Path(path), folder)
    if folder is not None and not os.path.isdir(folder):
        raise FileNotFoundError(f"no folder of pictures at {str(folder)!r}")
    return checked(layout.read(folder, split, labels), labels, layout.splits)


def usual_splits(path: StrPath) -> tuple[str | None, str | None]:
    """Return the names of the declared splits to train on and to validate on; None for one that is not declared.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        As for `load_dataset`.
    """
    declared = _layout(Path(path)).splits
    train, val = (next((name for name in names if name in declared), None) for names in (_TRAIN, _VAL))
    return train, val


def _in_folders(folders: AnnotationFolders) -> _Layout:
    return _Layout(folders.splits, lambda _, split, __: folders.read(split))


def _layout(path: Path, images: Path | None = None) -> _Layout:
    """Recognise a layout."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"no data set at {str(path)!r}")
    suffix = path.suffix.lower()
    if not path.is_dir():
        if suffix == ".json":
            return _Layout((), lambda images, split, _: coco.read(path, images, split))
        if suffix in (".yaml", ".yml"):
            return _Layout(yolo.splits(path), lambda *options: yolo.read(path, *options))
    elif splits := coco.files(path):
        return _Layout(tuple(splits), lambda images, split, _: coco.read(path, images, split))
    elif kitti.labels_folder(path) is not None:
        return _in_folders(kitti.folders(path, images))
    elif yolo.is_yolo(path):
        return _Layout(yolo.splits(path), lambda *options: yolo.read(path, *options))
    else:
        files = list(files_below(path))
        if any(file.suffix.lower() == ".xml" for file in files):
            return _in_folders(voc.folders(path, images))
        if any(file.suffix.lower() == ".json" and labelme.is_labelme(file) for file in files):
            return _in_folders(labelme.folders(path, images))
    raise ValueError(
        f"{str(path)!r} is not a data set: COCO's JSON file or folder, a folder with VOC's XML files, YOLO's YAML file or "
        "folder, a folder with KITTI's label_2 or with labelme's JSON files was expected"
    )
