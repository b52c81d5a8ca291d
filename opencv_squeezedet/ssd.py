"""Post-processing of SSD networks: Caffe's layer DetectionOutput without its network.

This module checks arguments; the compiled kernel does the arithmetic, which ``ssd.pxd`` offers to Cython programs.
"""

from __future__ import annotations

from typing import Any, Literal, SupportsFloat, SupportsIndex, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opencv_squeezedet import _checks, _kernel
from opencv_squeezedet.postprocess import float32_blob

CodeType = Literal["CORNER", "CENTER_SIZE"]

_CODE_TYPES = get_args(CodeType)


def ssd_postprocess(
    loc: ArrayLike,
    conf: ArrayLike,
    prior: ArrayLike,
    *,
    code_type: CodeType = "CENTER_SIZE",
    share_location: bool = True,
    variance_encoded_in_target: bool = False,
    background_label_id: SupportsIndex = 0,
    confidence_threshold: SupportsFloat = 0.01,
    nms_threshold: SupportsFloat = 0.45,
    top_k: SupportsIndex = 400,
    keep_top_k: SupportsIndex = 200,
    clip: bool = False,
    normalized_bbox: bool = True,
) -> NDArray[np.float32]:
    """Convert the three blobs of an SSD network to rows of detections, in one GIL-free pass.

    The rows are those of OpenCV 4's layer DetectionOutput, whose three bottoms and options have the same names here.

    Parameters
    ----------
    loc : array_like of floats, (N, ...)
        The locations of N pictures, P priors each: P x 4 values, or P x C x 4 without ``share_location``. Contiguous float32
        arrays are not copied.
    conf : array_like of floats, (N, ...)
        P x C class scores for each picture, after the softmax or sigmoid. The number of classes C includes the background.
    prior : array_like of floats, (1, 2, 4 * P) or (2, 4 * P)
        The priors' boxes x1, y1, x2, y2, then their variances. With ``variance_encoded_in_target`` the variances may be left
        out: (1, 1, 4 * P) or (1, 4 * P).
    code_type : {"CENTER_SIZE", "CORNER"}
        Whether a location moves the prior's centre and scales its size by an exponential, or moves its corners.
    share_location : bool
        Whether all classes of a prior share one box.
    variance_encoded_in_target : bool
        Whether the locations already contain the variances, which are then not used.
    background_label_id : int
        The class without boxes; -1 if there is none.
    confidence_threshold : float
        A box takes part if its score is above.
    nms_threshold : float
        In [0, 1]. A box is dropped if its IoU with a kept box of its class is above.
    top_k : int
        Number of highest scores of each class that take part; -1: all.
    keep_top_k : int
        Number of boxes kept of each picture, over all classes; -1: all.
    clip : bool
        Whether boxes are clipped to [0, 1] before NMS.
    normalized_bbox : bool
        Whether coordinates are fractions of the picture; else they are pixels, and a side is x2 - x1 + 1.

    Returns
    -------
    (R, 7) float32
        Rows picture, class, score, x1, y1, x2, y2: by picture, then by descending score, equal scores by class and prior. Only
        rows of detections; OpenCV's layer appends rows of zeros up to N * ``keep_top_k``, and returns (1, 1, R, 7).

    Raises
    ------
    ValueError
        If the sizes do not match, or an option is outside its range.
    TypeError
        If an array does not contain floats, or an option has the wrong type.

    Notes
    -----
    A box is left out if its score is not finite, or if a corner is not a finite float32.
    """
    _checks.choice("code_type", code_type, _CODE_TYPES)
    shared = _checks.flag("share_location", share_location)
    encoded = _checks.flag("variance_encoded_in_target", variance_encoded_in_target)
    clipped, normalized = _checks.flag("clip", clip), _checks.flag("normalized_bbox", normalized_bbox)
    if clipped and not normalized:
        raise ValueError("clip needs normalized_bbox: boxes are clipped to [0, 1]")
    background = _checks.count("background_label_id", background_label_id, -1)
    score_threshold = _checks.finite("confidence_threshold", confidence_threshold)
    iou_threshold = _checks.fraction("nms_threshold", nms_threshold)
    boxes, variances = _priors(np.asarray(prior), encoded)
    locations, scores = np.asarray(loc), np.asarray(conf)
    pictures, priors = len(locations) if locations.ndim else 0, boxes.size // 4
    classes = scores.size // max(pictures * priors, 1)
    if scores.ndim == 0 or len(scores) != pictures or scores.size != pictures * priors * classes:
        raise ValueError(f"conf must be ({pictures}, {priors} x classes) for the priors and loc, got {scores.shape}")
    values = priors * 4 * (1 if shared else classes)
    if locations.size != pictures * values:
        boxes_of = "one box for each prior" if shared else "a box for each prior and class"
        raise ValueError(f"loc must be ({pictures}, {values}), {boxes_of}, got {locations.shape}")
    rows = _kernel.ssd(
        float32_blob("loc", locations),
        float32_blob("conf", scores),
        boxes,
        variances,
        pictures,
        priors,
        classes,
        min(background, classes),
        shared,
        code_type == "CENTER_SIZE",
        clipped,
        not normalized,
        score_threshold,
        iou_threshold,
        _limit("top_k", top_k, priors),
        _limit("keep_top_k", keep_top_k, priors * classes),
    )
    return np.concatenate([np.empty((0, 7), np.float32), *rows])


def _priors(prior: NDArray[Any], encoded: bool) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """The boxes and their variances, None if the locations contain them."""
    shape = prior.shape[1:] if prior.ndim == 3 and len(prior) == 1 else prior.shape
    if len(shape) != 2 or shape[0] not in ((1, 2) if encoded else (2,)) or shape[1] % 4:
        raise ValueError(f"prior must be (1, 2, 4 x priors), boxes and variances, got {prior.shape}")
    values = float32_blob("prior", prior).reshape(shape)
    return values[0], None if encoded else values[1]


def _limit(name: str, value: SupportsIndex, most: int) -> int:
    """A number of boxes: at least 1, or -1 for all; at most as many as there are."""
    number = _checks.count(name, value, -1)
    if number == 0:
        raise ValueError(f"{name} must be at least 1, or -1 for all, got 0")
    return max(most if number == -1 else min(number, most), 1)
