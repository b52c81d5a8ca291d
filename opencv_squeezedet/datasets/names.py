"""Names of classes that two data sets spell differently."""

from __future__ import annotations

from collections.abc import Sequence

VOC_NAMES_OF_COCO = {
    "airplane": "aeroplane",
    "couch": "sofa",
    "dining table": "diningtable",
    "motorcycle": "motorbike",
    "potted plant": "pottedplant",
    "tv": "tvmonitor",
}
"""COCO's names for PASCAL VOC's classes, where they differ."""

_OTHER_NAME = {**VOC_NAMES_OF_COCO, **{voc: coco for coco, voc in VOC_NAMES_OF_COCO.items()}}


def class_table(labels: Sequence[str]) -> dict[str, int]:
    """Return the class id of each label, and of the other name of those that COCO and VOC spell differently.

    ValueError if a label comes twice.
    """
    table: dict[str, int] = {}
    for class_id, label in enumerate(labels):
        if table.setdefault(label, class_id) != class_id:
            raise ValueError(f"labels must be different, got {label!r} twice")
    for label, class_id in list(table.items()):
        if label in _OTHER_NAME:
            table.setdefault(_OTHER_NAME[label], class_id)
    return table
