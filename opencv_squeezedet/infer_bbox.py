"""`InferBbox`: the counterpart of ``cv::dnn_objdetect::InferBbox``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, SupportsFloat

from numpy.typing import ArrayLike

from opencv_squeezedet import _checks
from opencv_squeezedet.options import Limits
from opencv_squeezedet.postprocess import check_blob
from opencv_squeezedet.presets import VOC

_RULES: Any = VOC.limits._replace(drop_empty=False)[1:]  # all but the score threshold


@dataclass
class InferBboxObject:
    """One detection of `InferBbox`, with the members of the C++ struct ``object``: corners are pixels of a 416x416 input."""

    xmin: int
    xmax: int
    ymin: int
    ymax: int
    class_idx: int
    label_name: str
    class_prob: float


class InferBbox:
    """Turns the three blobs of opencv_contrib's VOC network into boxes, as ``cv::dnn_objdetect::InferBbox`` does.

    Coordinates, classes, probabilities and order are identical to those of the C++ class for any finite blobs and threshold.
    For equal scores its order is undefined; here the lower anchor index comes first.

    Parameters
    ----------
    delta_bbox : array_like of floats, (23, 23, 36)
        Relative coordinates; see `opencv_squeezedet.VOC` for all accepted shapes of the same data (4-D blobs too).
    class_scores : array_like of floats, (4761, 20)
        Probabilities of the classes.
    conf_scores : array_like of floats, (23, 23, 9)
        Confidences. (The 2017 sample names the last two in the other order; swapped blobs are rejected.)

    Attributes
    ----------
    detections : list of InferBboxObject
        The detections of the last `filter`: grouped by class, within a class by descending probability.

    Raises
    ------
    ValueError, TypeError
        If the blobs have other shapes or types.

    Notes
    -----
    Blobs are read when `filter` is called. Contiguous float32 blobs are shared, not copied, as in a ``cv::Mat``.
    An anchor with a NaN or an infinity is left out; in C++ it makes the order undefined.

    Corners are pixels of a 416x416 input. The blobs of a network with another input size and the same grid, whose anchors are
    scaled with it, such as the embedded model's of 384x384, give the same corners: scale them by the picture's size / 416.

    Probabilities are raw, as in C++: the embedded model's cat with 0.96 after calibration in `SqueezeDet` has 0.64 here.
    """

    def __init__(self, delta_bbox: ArrayLike, class_scores: ArrayLike, conf_scores: ArrayLike) -> None:
        shapes = VOC.single_shapes
        self._blobs = (
            check_blob("delta_bbox", delta_bbox, shapes, VOC),
            check_blob("class_scores", class_scores, shapes, VOC, conf_scores),
            check_blob("conf_scores", conf_scores, shapes, VOC),
        )
        self.detections: list[InferBboxObject] = []

    def filter(self, thresh: SupportsFloat = 0.8) -> None:
        """Fill ``detections`` with the boxes whose probability is above ``thresh``, any finite number.

        Each call replaces the list. (The C++ class appends: a second call there repeats the detections of the first.)
        """
        threshold = _checks.finite("thresh", thresh)
        boxes = VOC.kernel.infer(*self._blobs, Limits(threshold, *_RULES))
        boxes.sort(key=lambda box: box[4])  # by class; stable, so by descending probability within a class
        self.detections = [
            InferBboxObject(int(x1), int(x2), int(y1), int(y2), class_idx, VOC.labels[class_idx], probability)
            for x1, y1, x2, y2, class_idx, probability in boxes
        ]
