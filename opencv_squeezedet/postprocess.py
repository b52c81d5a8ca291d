"""From the network's three blobs to boxes: score, decode, NMS, and all three in one fused pass.

This module checks arguments; the compiled kernel does the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, SupportsIndex, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opencv_squeezedet import _checks, _kernel
from opencv_squeezedet.blobs import BLOBS, BlobName
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.detections import Detections, wrap
from opencv_squeezedet.options import NMS_KINDS, Limits, NmsKind, Options
from opencv_squeezedet.preprocess import Placement, Resize, placement
from opencv_squeezedet.presets import VOC

if TYPE_CHECKING:
    from typing_extensions import Unpack

_FLOAT32 = np.dtype(np.float32)
_NO_PICTURE = Placement(0.0, 0.0, 1.0, 1.0, math.inf, math.inf)
_REQUIRED: tuple[Literal["C", "A"], ...] = ("C", "A")  # contiguous, aligned
_RESIZES = get_args(Resize)


def postprocess(
    delta_bbox: ArrayLike,
    class_scores: ArrayLike,
    conf_scores: ArrayLike,
    config: HeadConfig = VOC,
    *,
    image_size: tuple[int, int] | None = None,
    resize: Resize = "stretch",
    **options: Unpack[Options],
) -> Detections:
    """Convert the three blobs of one picture to boxes, in one pass.

    Each anchor gets its best class by confidence x class score, or with ``multi_label`` every class. The ``top_n`` highest
    scores above the threshold are decoded and filtered by NMS, followed by box voting and demotion across classes if these are
    on. All arithmetic that decides a result is in double precision.

    Parameters
    ----------
    delta_bbox, class_scores, conf_scores : array_like of floats
        In any of the shapes of ``config.blob_shapes``, with or without a leading 1. Contiguous float32 arrays are not copied.
    config : HeadConfig
        The head that computed the blobs. The default, `opencv_squeezedet.VOC`, has opencv_contrib's score threshold, 0.7 for
        raw scores. For another network of the same shape, such as the embedded model, pass its own head, such as
        ``detector.config``: with the default no error is raised, but objects are missing and scores are not calibrated.
    image_size : (int, int), optional
        Width and height of the picture. If given, boxes are in picture pixels, clipped to the picture; otherwise in pixels of
        the network's input.
    resize : {"stretch", "letterbox", "crop"}
        How the picture was resized to the input, if ``image_size`` is given; see `Preprocess`.
    score_threshold, nms_threshold, nms_kind, soft_sigma, vote_threshold, top_n, class_agnostic, multi_label : optional
        Override the config's values; see `HeadConfig`. None keeps the config's value; ``vote_threshold=1`` turns voting off.

    Returns
    -------
    Detections
        By descending score, equal scores by anchor index, then by class.

    Raises
    ------
    ValueError
        If a shape is not the config's, or an option is outside its range.
    TypeError
        If the blobs do not contain floats, or an option has the wrong type or does not exist.

    Notes
    -----
    An anchor with a NaN or an infinity among its confidence, class scores and deltas is removed before the top-n.

    With a ``score_calibration``, all steps use raw scores, and the raw score of ``score_threshold``; the scores of the
    final boxes are calibrated.

    Most anchors are skipped by their confidence alone: if ``|confidence| * bound <= score_threshold``, no score can be above
    the threshold. The bound is computed from the class scores (below 2 for probabilities), so negative scores and scores far
    above 1 only make the pass slower. For logits, the bound is that of a softmax, 1.

    In reference NMS, a box is dropped if any higher box of its class overlaps it, even a dropped box.
    """
    shapes = _checked(config).single_shapes
    arrays = config.kernel.postprocess(
        check_blob("delta_bbox", delta_bbox, shapes, config),
        check_blob("class_scores", class_scores, shapes, config, conf_scores),
        check_blob("conf_scores", conf_scores, shapes, config),
        config.limits_with(options),
        _NO_PICTURE if image_size is None else _placement(image_size, config, resize),
    )
    return wrap(*arrays, config.labels)


def postprocess_batch(
    delta_bbox: ArrayLike,
    class_scores: ArrayLike,
    conf_scores: ArrayLike,
    config: HeadConfig = VOC,
    *,
    image_size: tuple[int, int] | Sequence[tuple[int, int]] | None = None,
    resize: Resize = "stretch",
    **options: Unpack[Options],
) -> list[Detections]:
    """`postprocess` for blobs with a leading axis of N pictures (N may be 1 or 0), in one GIL-free loop.

    Parameters
    ----------
    image_size : (int, int) or sequence of N of them, optional
        One size for all pictures, or a size for each.
    delta_bbox, class_scores, conf_scores, config, resize, options
        As for `postprocess`, as are the errors.
    """
    _checked(config)
    blobs = dict(zip(BLOBS, map(np.asarray, (delta_bbox, class_scores, conf_scores)), strict=True))
    pictures = len(blobs["delta_bbox"]) if blobs["delta_bbox"].ndim else 0
    for name, blob in blobs.items():
        accepted = config.blob_shapes[name]
        if blob.shape not in [(pictures, *shape) for shape in accepted]:
            raise ValueError(f"{name} must have the shape {_alternatives(accepted, f'{pictures}, ')}, got {blob.shape}")
    deltas, classes, confs = (float32_blob(name, blob) for name, blob in blobs.items())
    limits, placements = config.limits_with(options), _placements(image_size, pictures, config, resize)
    results = config.kernel.postprocess_batch(deltas, classes, confs, limits, placements)
    return [wrap(*arrays, config.labels) for arrays in results]


def score(
    class_scores: ArrayLike, conf_scores: ArrayLike, config: HeadConfig = VOC
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return the best confidence x class score of each anchor, and its class (the first among equals).

    Blobs and errors are as for `postprocess`; unless the head is ``activated``, softmax and sigmoid are applied first.

    Returns
    -------
    scores : (A,) float64
    class_ids : (A,) int32
        NaN and -1 for an anchor with a NaN or an infinity among its values.
    """
    shapes = _checked(config).single_shapes
    return config.kernel.score(
        check_blob("class_scores", class_scores, shapes, config, conf_scores),
        check_blob("conf_scores", conf_scores, shapes, config),
    )


def decode(delta_bbox: ArrayLike, config: HeadConfig = VOC) -> NDArray[np.float32]:
    """Return the box of every anchor, (A, 4) float32 xyxy, in network-input pixels, clipped by the config's corner rule.

    The blob and errors are as for `postprocess`. An anchor with a NaN or an infinity among its deltas has NaN; a size that
    overflows is clipped.
    """
    shapes = _checked(config).single_shapes
    return config.kernel.decode(check_blob("delta_bbox", delta_bbox, shapes, config))


def nms(
    xyxy: ArrayLike,
    scores: ArrayLike,
    class_ids: ArrayLike | None = None,
    *,
    nms_threshold: SupportsFloat,
    nms_kind: NmsKind = "greedy",
    top_n: SupportsIndex | None = None,
) -> NDArray[np.intp]:
    """Return the indices of the boxes kept by non-maximum suppression, by descending score, equal scores by index.

    Parameters
    ----------
    xyxy : array_like, (N, 4)
        Boxes x1, y1, x2, y2; a side is x2 - x1, and an IoU of 0 / 0 is 0.
    scores : array_like, (N,)
    class_ids : array_like of int, (N,), optional
        Boxes of different classes do not affect each other. Default: all boxes have the same class.
    nms_threshold : float
        In [0, 1]. A box is dropped if its IoU with a higher-scoring box is above.
    nms_kind : {"greedy", "reference"}
        Whether only kept boxes drop others, as in ``cv2.dnn.NMSBoxes``, or dropped boxes too, as in InferBbox. For soft NMS,
        which changes scores, see `soft_nms`.
    top_n : int, optional
        Number of highest scores that take part. Default: all.

    Returns
    -------
    (M,) intp
        Boxes and scores that are not finite are never kept.

    Raises
    ------
    ValueError
        If the shapes do not match, or an option is outside its range.
    TypeError
        If class ids are not integers, or boxes or scores are not real numbers.
    """
    boxes, values, classes = _boxes(xyxy, scores, class_ids)
    if nms_kind == "soft":
        raise ValueError("nms_kind 'soft' changes scores: use soft_nms, which returns them too")
    _checks.choice("nms_kind", nms_kind, NMS_KINDS)
    threshold = _checks.fraction("nms_threshold", nms_threshold)
    limits = _limits(
        top_n, len(values), score_threshold=-math.inf, nms_threshold=threshold, nms_kind=NMS_KINDS.index(nms_kind)
    )
    return _kernel.nms(boxes, values, classes, limits)[0]


def soft_nms(
    xyxy: ArrayLike,
    scores: ArrayLike,
    class_ids: ArrayLike | None = None,
    *,
    soft_sigma: SupportsFloat = 0.5,
    score_threshold: SupportsFloat = 0.001,
    top_n: SupportsIndex | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the boxes kept by Gaussian soft-NMS, and their scores (Bodla et al. 2017, arXiv:1704.04503).

    The box with the highest score is kept, and the scores of the remaining boxes of its class are multiplied by
    ``exp(-IoU^2 / soft_sigma)``. This repeats while a score is above the score threshold.

    Parameters
    ----------
    xyxy, scores, class_ids
        As for `nms`.
    soft_sigma : float
        Above 0. The smaller, the more an overlap lowers a score.
    score_threshold : float
        At least 0. A box is dropped once its score is not above.
    top_n : int, optional
        Number of highest scores that take part. Default: all.

    Returns
    -------
    indices : (M,) intp
        By descending score, equal scores by index. Boxes and scores that are not finite are never kept.
    scores : (M,) float64
        Their lowered scores.

    Raises
    ------
    ValueError, TypeError
        As for `nms`.
    """
    boxes, values, classes = _boxes(xyxy, scores, class_ids)
    threshold = _checks.finite("score_threshold", score_threshold)
    if threshold < 0:
        raise ValueError(f"score_threshold must be at least 0, got {threshold}")
    sigma = _checks.positive("soft_sigma", soft_sigma)
    limits = _limits(top_n, len(values), score_threshold=threshold, soft_sigma=sigma, nms_kind=NMS_KINDS.index("soft"))
    return _kernel.nms(boxes, values, classes, limits)


def _checked(config: HeadConfig) -> HeadConfig:
    if not isinstance(config, HeadConfig):
        raise TypeError(f"config must be a HeadConfig, got {config!r}")
    return config


def check_blob(
    name: BlobName,
    blob: ArrayLike,
    shapes: dict[str, frozenset[tuple[int, ...]]],
    config: HeadConfig,
    conf_scores: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Return one picture's blob as contiguous float32, shape checked; ``conf_scores`` helps explain wrong class scores."""
    if type(blob) is not np.ndarray:
        blob = np.asarray(blob)
    if blob.shape not in shapes[name]:
        raise ValueError(_wrong_shape(name, blob, config, conf_scores))
    if blob.dtype is _FLOAT32 and blob.flags.carray:  # contiguous, aligned and writeable: the usual case
        return blob
    return float32_blob(name, blob)


def float32_blob(name: str, blob: NDArray[Any]) -> NDArray[np.float32]:
    """Return a blob of floats as float32, contiguous and aligned; without a copy if it already is."""
    if blob.dtype.kind != "f":
        raise TypeError(f"{name} must contain floats, got {blob.dtype}")
    with np.errstate(over="ignore"):  # overflow gives infinities, which are removed later
        return np.require(blob, np.float32, _REQUIRED)


def _reals(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must contain real numbers, got {array.dtype}")
    return np.require(array, np.float64, _REQUIRED)


def _boxes(
    xyxy: ArrayLike, scores: ArrayLike, class_ids: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32] | None]:
    """The arguments of `nms` in the kernel's form."""
    boxes = _reals("xyxy", xyxy)
    values = _reals("scores", scores)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if values.ndim != 1 or boxes.shape != (len(values), 4):
        raise ValueError(f"xyxy (N, 4) and scores (N,) were expected, got {boxes.shape} and {values.shape}")
    classes = None
    if class_ids is not None:
        ids = np.asarray(class_ids)
        if ids.shape != values.shape:
            raise ValueError(f"class_ids must have the shape {values.shape} of the scores, got {ids.shape}")
        if ids.size and ids.dtype.kind not in "iu":
            raise TypeError(f"class_ids must contain integers, got {ids.dtype}")
        _, inverse = np.unique(ids, return_inverse=True)  # any integers, as int32 without overflow
        classes = np.ascontiguousarray(inverse, np.int32)
    return boxes, values, classes


def _limits(top_n: SupportsIndex | None, count: int, **options: Any) -> Limits:
    """Limits for NMS of ``count`` boxes alone."""
    top_n = count if top_n is None else min(_checks.count("top_n", top_n), count)
    return VOC.limits._replace(top_n=top_n, drop_empty=False, **options)


def _alternatives(shapes: tuple[tuple[int, ...], ...], lead: str = "") -> str:
    return " or ".join(
        f"({lead}{', '.join(map(str, shape))}{',' if len(shape) == 1 and not lead else ''})" for shape in shapes
    )


def _wrong_shape(name: BlobName, blob: NDArray[Any], config: HeadConfig, conf_scores: ArrayLike | None) -> str:
    """The message for a blob of the wrong shape."""
    single = config.single_shapes
    if conf_scores is not None and blob.shape in single["conf_scores"] and np.shape(conf_scores) in single["class_scores"]:
        return (
            "class_scores and conf_scores look swapped: class_scores has the shape "
            f"{blob.shape} and conf_scores {np.shape(conf_scores)}"
        )
    accepted = config.blob_shapes[name]
    message = f"{name} must have the shape {_alternatives(accepted)}, got {blob.shape}"
    if blob.ndim and len(blob) > 1 and blob.shape[1:] in accepted:
        message += f": for {len(blob)} pictures, use postprocess_batch"
    return message


def _placement(image_size: Any, config: HeadConfig, resize: Resize) -> Placement:
    _checks.choice("resize", resize, _RESIZES)
    return placement(_checks.size("image_size", image_size), config.input_size, resize)


def _placements(image_size: Any, pictures: int, config: HeadConfig, resize: Resize) -> list[Placement]:
    """The placement of each picture."""
    if image_size is None:
        return [_NO_PICTURE] * pictures
    try:
        sizes = list(image_size)
    except TypeError:
        raise TypeError(f"image_size must be one (width, height) or {pictures} of them, got {image_size!r}") from None
    if len(sizes) == 2 and all(np.ndim(side) == 0 for side in sizes):
        return [_placement(sizes, config, resize)] * pictures
    if len(sizes) != pictures:
        raise ValueError(f"image_size must be one (width, height) or {pictures} of them, got {len(sizes)}")
    return [_placement(size, config, resize) for size in sizes]
