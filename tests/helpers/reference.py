"""The post-processing of a SqueezeDet head in plain NumPy: one step after the other, in float64, nothing left out early."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opencv_squeezedet import HeadConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Classes = NDArray[Any] | None
"""None: all boxes are of one class."""


class Boxes(NamedTuple):
    """The final boxes, best first, and the anchor of each."""

    xyxy: Floats
    confidence: Floats
    class_id: Ints
    anchor: Ints


class Sides(NamedTuple):
    """All boxes along one picture axis, before they are clipped to [0, last]."""

    center: Floats
    size: Floats
    last: float

    @property
    def ends(self) -> tuple[Floats, Floats]:
        return self.center - self.size / 2, self.center + self.size / 2

    @property
    def clipped(self) -> tuple[Floats, Floats]:
        low, high = self.ends
        return np.clip(low, 0, self.last), np.clip(high, 0, self.last)


def _rows(blob: ArrayLike, config: HeadConfig, items: int) -> Floats:
    """A blob of one picture as (anchors, items), whatever its layout."""
    values = np.asarray(blob, np.float64)
    n0, n1 = config.grid
    if config.layout == "chw":  # channels to the end; they are anchor-major in both layouts
        values = np.moveaxis(values.reshape(-1, n0, n1), 0, -1)
    return values.reshape(-1, items)


# ---- score --------------------------------------------------------------------------------------------------------------


def _sigmoid(logits: Floats) -> Floats:
    with np.errstate(over="ignore"):  # 1 / (1 + inf) is the 0 that is meant
        return 1 / (1 + np.exp(-logits))


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))  # the largest power is 1: nothing overflows
    return powers / powers.sum(axis=1, keepdims=True)


def class_scores_of(class_scores: ArrayLike, conf_scores: ArrayLike, config: HeadConfig) -> Floats:
    """The score of each class of each anchor, (anchors, classes); NaN for all classes where an input is not finite."""
    classes = _rows(class_scores, config, len(config.labels))
    conf = _rows(conf_scores, config, 1)
    usable = np.isfinite(classes).all(axis=1) & np.isfinite(conf).all(axis=1)
    products = np.full(classes.shape, np.nan)
    if config.activated:
        products[usable] = conf[usable] * classes[usable]
    else:
        products[usable] = _sigmoid(conf[usable]) * _softmax(classes[usable])
    return products


def score(class_scores: ArrayLike, conf_scores: ArrayLike, config: HeadConfig) -> tuple[Floats, Ints]:
    """The best score of each anchor and its class; NaN and -1 where an input is not finite."""
    products = class_scores_of(class_scores, conf_scores, config)
    # softmax keeps the order of the logits, but its rounding makes ties
    ordered = products if config.activated else _rows(class_scores, config, len(config.labels))
    class_ids = ordered.argmax(axis=1)
    scores = np.take_along_axis(products, class_ids[:, None], axis=1)[:, 0]
    return scores, np.where(np.isnan(scores), -1, class_ids)


# ---- decode -------------------------------------------------------------------------------------------------------------


def _centers(config: HeadConfig) -> tuple[Floats, Floats]:
    """x and y of each anchor's centre."""
    lengths = config.input_size if config.first_axis == "x" else config.input_size[::-1]
    more, parts = (1, 1) if config.centers == "inner" else (0.5, 0)
    first, second = (
        (index + more) * length / (n + parts)
        for index, length, n in zip(np.indices(config.grid), lengths, config.grid, strict=True)
    )
    x, y = (first, second) if config.first_axis == "x" else (second, first)
    return x.repeat(len(config.anchors)), y.repeat(len(config.anchors))


def _growth(delta: Floats, threshold: float | None) -> Floats:
    """e^d, going on as a straight line above the threshold."""
    with np.errstate(over="ignore"):
        if threshold is None:
            return np.exp(delta)
        line = np.exp(threshold) * (delta - threshold + 1)
        return np.where(delta > threshold, line, np.exp(np.minimum(delta, threshold)))


def sides(delta_bbox: ArrayLike, config: HeadConfig) -> tuple[Sides, Sides]:
    """Every anchor's box along x and along y, before the picture's borders and any +1; NaN where a delta is not finite."""
    deltas = _rows(delta_bbox, config, 4)
    deltas = np.where(np.isfinite(deltas).all(axis=1, keepdims=True), deltas, np.nan)
    less = 1 if config.corners == "minus_one_before_clip" else 0
    both = []
    anchors = np.tile(config.anchors, (np.prod(config.grid), 1)).T
    for names, center, anchor, length in zip(("xw", "yh"), _centers(config), anchors, config.input_size, strict=True):
        shift, growth = (deltas[:, config.delta_order.index(name)] for name in names)
        both.append(Sides(center + anchor * shift, anchor * _growth(growth, config.exp_threshold) - less, length - 1))
    return both[0], both[1]


def _corners(x: Sides, y: Sides, config: HeadConfig) -> tuple[Floats, NDArray[np.bool_]]:
    """The boxes, and which of them are empty: the latter before any +1."""
    (x1, x2), (y1, y2) = x.clipped, y.clipped
    empty = (x2 <= x1) | (y2 <= y1)
    more = 1 if config.corners == "plus_one_after_clip" else 0
    return np.stack([x1, y1, x2 + more, y2 + more], axis=1), empty


def decode(delta_bbox: ArrayLike, config: HeadConfig) -> Floats:
    """The box of every anchor, (anchors, 4)."""
    return _corners(*sides(delta_bbox, config), config)[0]


# ---- NMS ----------------------------------------------------------------------------------------------------------------


def _overlaps(boxes: Floats) -> tuple[Floats, Floats]:
    """How far each two boxes reach into each other along x and y; negative: the gap."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    width, height = np.moveaxis(high - low, -1, 0)
    return width, height


def iou(boxes: Floats, epsilon: float = 0.0) -> Floats:
    """Intersection over (union + epsilon) of each two boxes, (N, N); 0 / 0 is 0."""
    width, height = _overlaps(boxes)
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    union = area[:, None] + area[None, :] - intersection + epsilon
    return np.divide(intersection, union, out=np.zeros_like(union), where=intersection > 0)


def ranking(scores: Floats, top_n: int | None = None) -> Ints:
    """The indices of the finite scores, best first, equal ones by index; at most ``top_n``."""
    order = np.argsort(-scores, kind="stable")
    return order[np.isfinite(scores[order])][:top_n]


def _overlaps_within(boxes: Floats, class_ids: Classes, epsilon: float) -> Floats:
    """IoU of each two boxes of one class, 0 for others."""
    overlaps = iou(boxes, epsilon)
    return overlaps if class_ids is None else np.where(class_ids[:, None] == class_ids, overlaps, 0.0)


def nms(
    boxes: Floats,
    scores: Floats,
    class_ids: Classes,
    threshold: float,
    kind: str,
    epsilon: float = 0.0,
    top_n: int | None = None,
) -> Ints:
    """The indices of the boxes that are kept, best first."""
    scores = np.where(np.isfinite(boxes).all(axis=1), scores, np.nan)
    order = ranking(scores, top_n)
    together = _overlaps_within(boxes[order], None if class_ids is None else class_ids[order], epsilon) > threshold
    kept: list[int] = []
    for i in range(len(order)):
        higher = kept if kind == "greedy" else list(range(i))
        if not together[i, higher].any():
            kept.append(i)
    return order[kept]


class Soft(NamedTuple):
    """What soft NMS keeps, best first, with the scores it leaves; and how near two scores that it told apart were."""

    kept: Ints
    score: Floats
    margin: float


def soft_nms(
    boxes: Floats,
    scores: Floats,
    class_ids: Classes,
    sigma: float,
    score_threshold: float,
    epsilon: float = 0.0,
    top_n: Any = None,
) -> Soft:
    """Gaussian soft-NMS, as the paper writes it; equal scores by index."""
    index = np.sort(ranking(np.where(np.isfinite(boxes).all(axis=1), scores, np.nan), top_n))
    overlaps = _overlaps_within(boxes[index], None if class_ids is None else class_ids[index], epsilon)
    decay, scores = np.exp(-(overlaps**2) / sigma), scores[index]
    kept: list[int] = []
    left, margin = list(range(len(index))), np.inf
    while left:
        now = scores[left]
        best = now.max()
        compared = np.append(now[now != best], score_threshold)
        margin = min(margin, (np.abs(compared - best) / max(abs(best), 1e-300)).min())
        if not best > score_threshold:
            break
        kept.append(left.pop(int(now.argmax())))
        scores[left] *= decay[kept[-1], left]
    return Soft(index[kept], scores[kept], margin)


# ---- all of it ----------------------------------------------------------------------------------------------------------


class Candidates(NamedTuple):
    """What enters NMS, best first."""

    anchor: Ints
    class_id: Ints
    score: Floats


def candidates(delta_bbox: ArrayLike, class_scores: ArrayLike, conf_scores: ArrayLike, config: HeadConfig) -> Candidates:
    """The best of all anchors, or of all classes of all anchors."""
    if config.multi_label:
        products = class_scores_of(class_scores, conf_scores, config)
        anchors, class_ids = (places.reshape(-1) for places in np.indices(products.shape))
        scores = products.reshape(-1)
    else:
        scores, class_ids = score(class_scores, conf_scores, config)
        anchors = np.arange(len(scores))
    finite = np.isfinite(_rows(delta_bbox, config, 4)).all(axis=1)
    order = ranking(np.where(finite[anchors] & (scores > config.score_threshold), scores, np.nan), config.top_n)
    return Candidates(anchors[order], class_ids[order], scores[order])


def voted(boxes: Floats, which: Ints, scores: Floats, class_ids: Ints, config: HeadConfig) -> Floats:
    """The mean of the boxes that overlap each of some of them, weighted by score x IoU^2; box voting."""
    overlaps = iou(boxes, config.iou_epsilon)[which]
    may_vote = (overlaps > config.vote_threshold) & (class_ids[which][:, None] == class_ids)
    weights = np.where(may_vote, scores * overlaps**2, 0.0)
    total = weights.sum(axis=1, keepdims=True)
    return np.divide(weights @ boxes, total, out=boxes[which].copy(), where=total > 0)


def demote_cross_class(boxes: Floats, scores: Floats, class_ids: Ints, ties: Ints, config: HeadConfig) -> tuple[Ints, Floats]:
    """The boxes that remain when those that overlap a higher one of another class are demoted, best first; and all scores."""
    overlaps = iou(boxes, config.iou_epsilon)
    higher = np.tri(len(scores), k=-1, dtype=bool)
    demoted = higher & (class_ids[:, None] != class_ids) & (overlaps > config.cross_class_threshold)
    factors = np.where(demoted, 1 - scores * overlaps, 1.0).clip(0)
    scores = scores * factors.min(axis=1, initial=1.0)
    order = np.lexsort((class_ids, ties, -scores))
    return order[scores[order] > config.score_threshold], scores


def calibrated(config: HeadConfig, scores: ArrayLike, *, inverse: bool = False) -> Floats:
    """Calibrated scores for raw scores, or the inverse."""
    values = np.asarray(scores, np.float64)
    points = np.array([(0, 0), *config.score_calibration, (1, 1)], np.float64)
    xs, ys = points[:, ::-1].T if inverse else points.T
    return np.where((values > 0) & (values < 1), np.interp(values, xs, ys), values)


def uncalibrated(config: HeadConfig) -> HeadConfig:
    """The head without calibration, its score threshold that of raw scores."""
    threshold = float(calibrated(config, config.score_threshold, inverse=True))
    return dataclasses.replace(config, score_calibration=(), score_threshold=threshold)


def postprocess(
    delta_bbox: ArrayLike,
    class_scores: ArrayLike,
    conf_scores: ArrayLike,
    config: HeadConfig,
    image_size: tuple[int, int] | None = None,
) -> Boxes:
    """From three blobs to boxes; options other than the config's come by ``dataclasses.replace``."""
    if config.score_calibration:
        found = postprocess(delta_bbox, class_scores, conf_scores, uncalibrated(config), image_size)
        return found._replace(confidence=calibrated(config, found.confidence))
    anchors, class_ids, scores = candidates(delta_bbox, class_scores, conf_scores, config)
    boxes, empty = (values[anchors] for values in _corners(*sides(delta_bbox, config), config))
    classes = None if config.class_agnostic else class_ids
    if config.nms_kind == "soft":
        kept, confidence, _ = soft_nms(boxes, scores, classes, config.soft_sigma, config.score_threshold, config.iou_epsilon)
    else:
        kept = nms(boxes, scores, classes, config.nms_threshold, config.nms_kind, config.iou_epsilon)
        confidence = scores[kept]
    xyxy = boxes[kept] if config.vote_threshold is None else voted(boxes, kept, scores, class_ids, config)
    if config.cross_class_threshold is not None:
        stay, confidence = demote_cross_class(xyxy, confidence, class_ids[kept], anchors[kept], config)
        xyxy, confidence, kept = xyxy[stay], confidence[stay], kept[stay]
    if config.drop_empty:
        seen = ~empty[kept]
        xyxy, confidence, kept = xyxy[seen], confidence[seen], kept[seen]
    if image_size is not None:
        picture = np.tile(image_size, 2)
        xyxy = np.clip(xyxy * picture / np.tile(config.input_size, 2), 0, picture)
    return Boxes(xyxy, confidence, class_ids[kept], anchors[kept])


# ---- where rounding may decide ------------------------------------------------------------------------------------------


def _close(a: Floats, b: Floats | float) -> NDArray[np.bool_]:
    return np.abs(a - b) <= 1e-12 * np.abs(a)


def exact_scores(config: HeadConfig) -> bool:
    """Whether scores are products of two floats, which double does not round: no exponential and no IoU is in them."""
    changed = config.nms_kind == "soft" or config.cross_class_threshold is not None or config.score_calibration
    return config.activated and not changed


def _scores_in_doubt(class_scores: ArrayLike, conf_scores: ArrayLike, config: HeadConfig) -> bool:
    """Whether a last bit of an exponential may change the ranking or who is above the threshold."""
    if config.activated:
        return False
    conf, logits = _rows(conf_scores, config, 1), _rows(class_scores, config, len(config.labels))
    inputs = np.hstack([conf, logits])  # what is the same gives the same
    if config.multi_label:
        scores = class_scores_of(class_scores, conf_scores, config).reshape(-1)
        inputs = np.hstack([inputs.repeat(logits.shape[1], axis=0), logits.reshape(-1, 1)])
    else:
        scores = score(class_scores, conf_scores, config)[0]
    order = ranking(scores)
    ranked, inputs = scores[order], inputs[order]
    threshold = config.score_threshold
    if (threshold < 1 and _close(ranked, threshold).any()) or (threshold == 0 and (np.abs(ranked) < 1e-290).any()):
        return True
    same = (inputs[1:] == inputs[:-1]).all(axis=1)
    near = _close(ranked[1:], ranked[:-1]) & (ranked[1:] > threshold)
    return bool((near & ~same).any())


def _side_in_doubt(side: Sides, which: Ints) -> NDArray[np.bool_]:
    """Which boxes may be empty in one program and not in another, or have an area that is not exact to 9 digits."""
    near = 1e-3
    low, high = (ends[which] for ends in side.ends)
    seen_low, seen_high = (ends[which] for ends in side.clipped)
    size, center = side.size[which], side.center[which]
    surely_seen = seen_high - seen_low > near
    outside = (high < -near) | (low > side.last + near)
    no_size = (size < -near) | ((size >= 0) & (size < 1e-25) & (np.abs(center) > near))
    return ~(surely_seen | outside | no_size)


def iou_in_doubt(boxes: Floats, class_ids: Classes, threshold: float, epsilon: float = 0.0) -> bool:
    """Whether the IoU of two boxes that NMS may compare is next to the threshold."""
    width, height = _overlaps(boxes)
    may_meet = (width > -1e-9) & (height > -1e-9)
    if class_ids is not None:
        may_meet &= class_ids[:, None] == class_ids[None, :]
    near = np.abs(iou(boxes, epsilon) - threshold) < 1e-9
    return bool(np.triu(may_meet & near, 1).any())


def _demotion_in_doubt(found: Boxes, config: HeadConfig) -> bool:
    """Whether a last bit of an IoU may change the ranking, or which scores are above the threshold, in demotion."""
    if iou_in_doubt(found.xyxy, None, config.cross_class_threshold, config.iou_epsilon):
        return True
    _, scores = demote_cross_class(found.xyxy, found.confidence, found.class_id, found.anchor, config)
    lowered = scores != found.confidence
    apart = np.abs(scores[:, None] - scores) > 1e-7 * scores.max(initial=0.0)
    apart |= ~lowered[:, None] & ~lowered
    np.fill_diagonal(apart, True)
    return not apart.all() or bool((lowered & (np.abs(scores - config.score_threshold) < 1e-7)).any())


def in_doubt(delta_bbox: ArrayLike, class_scores: ArrayLike, conf_scores: ArrayLike, config: HeadConfig) -> bool:
    """Whether two correct programs may differ in which boxes they report, or where."""
    if config.score_calibration:
        config = uncalibrated(config)
        if _close(class_scores_of(class_scores, conf_scores, config), config.score_threshold).any():
            return True
    if _scores_in_doubt(class_scores, conf_scores, config):
        return True
    x, y = sides(delta_bbox, config)
    anchors, class_ids, scores = candidates(delta_bbox, class_scores, conf_scores, config)
    if (_side_in_doubt(x, anchors) | _side_in_doubt(y, anchors)).any():
        return True
    boxes = _corners(x, y, config)[0][anchors]
    if config.vote_threshold is not None and iou_in_doubt(boxes, class_ids, config.vote_threshold, config.iou_epsilon):
        return True
    if config.cross_class_threshold is not None:
        before = dataclasses.replace(config, cross_class_threshold=None, drop_empty=False)
        if _demotion_in_doubt(postprocess(delta_bbox, class_scores, conf_scores, before), config):
            return True
    classes = None if config.class_agnostic else class_ids
    if config.nms_kind == "soft":
        soft = soft_nms(boxes, scores, classes, config.soft_sigma, config.score_threshold, config.iou_epsilon)
        return soft.margin < 1e-7 or bool((soft.score < 1e-290).any())
    return iou_in_doubt(boxes, classes, config.nms_threshold, config.iou_epsilon)
