"""Teachers by name: a model of this package, a detector trained on COCO, or a Python function."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.postprocess import decode, nms, score
from opencv_squeezedet.preprocess import Picture, placement
from opencv_squeezedet.training.coco_detectors import KINDS, CocoDetector
from opencv_squeezedet.training.pseudo_labels import LEAST_SCORE
from opencv_squeezedet.training.teacher import MOST_BOXES, SoftDetections, Teacher


def load_teacher(name: str) -> Teacher:
    """Load a teacher.

    Parameters
    ----------
    name : str
        ``KIND=PATH`` for a detector trained on COCO, see `CocoDetector`; ``module:function``, where ``function()`` of an
        importable Python module returns a teacher; otherwise a model as for `SqueezeDet`.

    Raises
    ------
    ValueError
        If there is no such function, or the model's head has another layout.
    FileNotFoundError, ModelError
        As for `SqueezeDet`.
    """
    kind, equals, path = name.partition("=")
    if equals and kind in KINDS:
        return CocoDetector(kind, Path(path))
    module, colon, function = name.partition(":")
    if not colon or not function.isidentifier():
        return DetectorTeacher(SqueezeDet(name))
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"teacher {name!r}: {function}() of the module {module} was expected: {error}") from error
    teacher: Teacher = make()
    return teacher


class DetectorTeacher:
    """A SqueezeDet as a teacher, which gives the scores of all classes for each anchor that NMS keeps.

    ValueError if its head has another layout than "hwc", or is not activated.
    """

    def __init__(self, detector: SqueezeDet) -> None:
        if detector.config.layout != "hwc" or not detector.config.activated:
            raise ValueError("a teacher's head must have the layout 'hwc' and be activated")
        self.labels: Sequence[str] = detector.config.labels
        self._detector = detector

    def __call__(self, image: Picture) -> SoftDetections:
        """Return the detections in a picture, each with the scores of all classes."""
        config, preprocess = self._detector.config, self._detector.preprocess
        blobs = self._detector.forward(image)
        best, class_id = score(blobs.class_scores, blobs.conf_scores, config)
        boxes = decode(blobs.delta_bbox, config)
        kept = np.flatnonzero(best > LEAST_SCORE)
        kept = kept[nms(boxes[kept], best[kept], class_id[kept], nms_threshold=0.6, top_n=MOST_BOXES)]
        geometry = placement((image.shape[1], image.shape[0]), config.input_size, preprocess.resize)
        classes = np.reshape(blobs.class_scores, (-1, len(config.labels)))[kept]
        return SoftDetections(geometry.to_picture(boxes[kept]), classes * np.reshape(blobs.conf_scores, (-1, 1))[kept])
