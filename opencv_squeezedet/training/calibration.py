"""What is chosen after training, on pictures that were not trained on: the scale of the logits, and thresholds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation import Evaluation, diagnose, evaluate
from opencv_squeezedet.evaluation.matching import ClassMatches, match_classes
from opencv_squeezedet.extras import needs
from opencv_squeezedet.network import Network, Weights
from opencv_squeezedet.postprocess import postprocess_batch
from opencv_squeezedet.training.predictions import logit_channels

MEASURED_FROM = 0.005  # detections below do not change an average precision by much
_SCALES = tuple(2.0 ** (k / 2) for k in range(-4, 5))
_NMS_THRESHOLDS = tuple(k / 20 for k in range(6, 15))
_SHIFTS = tuple(k / 2 for k in range(-4, 9))
_WORTH = 0.002  # of mAP, for scores that say more
_BATCH = 16


class Logits(NamedTuple):
    """A network's last blobs for some pictures, (N, n0, n1, channels) each, and the pictures' (width, height)."""

    delta_bbox: NDArray[np.float32]
    classes: NDArray[np.float32]
    confidence: NDArray[np.float32]
    sizes: Sequence[tuple[int, int]]


class Calibration(NamedTuple):
    """Factors on the logits, and thresholds that suit them.

    No loss determines how a score weighs the confidence against the class, and what it says about the detection being right.
    Two factors and a shift set it, and change only the last layer's weights (Platt scaling and a softmax temperature: Guo et
    al., arXiv:1706.04599).

    Parameters
    ----------
    class_scale, confidence_scale : float
        Factors on the class logits and the confidence logits.
    confidence_shift : float
        What is then added to the confidence logits.
    nms_threshold : float
        The one with the highest accuracy.
    score_threshold : float
        The one with the highest F1 of all classes together.
    before, after : float
        Mean of VOC2010's average precisions, without and with the calibration.
    error_before, error_after : float
        Mean distance of a score from the share of detections with such scores that are right, see `Diagnosis`; NaN without
        detections.
    """

    class_scale: float
    confidence_scale: float
    confidence_shift: float
    nms_threshold: float
    score_threshold: float
    before: float
    after: float
    error_before: float = math.nan
    error_after: float = math.nan

    def weights(self, network: Network, weights: Weights) -> Weights:
        """Return a network's weights with the factors and the shift in its last layer."""
        channels = logit_channels(network)
        kernel, bias = weights[channels.layer]
        factors = np.ones(len(bias), np.float32)
        factors[channels.classes], factors[channels.confidence] = self.class_scale, self.confidence_scale
        shifted = bias * factors
        shifted[channels.confidence] += np.float32(self.confidence_shift)
        return {**weights, channels.layer: [kernel * factors[:, None, None, None], shifted]}

    def head(self, config: HeadConfig) -> HeadConfig:
        """Return a head with these thresholds."""
        return replace(config, score_threshold=self.score_threshold, nms_threshold=self.nms_threshold)


def calibrate(logits: Logits, dataset: Dataset, config: HeadConfig) -> Calibration:
    """Find the factors and the NMS threshold with the highest accuracy, then those, with a shift, whose scores say most.

    Parameters
    ----------
    logits : Logits
        The network's logits for the data set's pictures.
    dataset : Dataset
        Pictures that were not trained on.
    config : HeadConfig
        The network's head.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If the logits do not fit the head, or there are not as many as pictures in the data set.

    Notes
    -----
    The two factors and the NMS threshold in turn move up or down in steps as long as that raises VOC2010's precision, which,
    unlike that of 2007, reflects every change. Then the factors and the shift move as long as that lowers the log-loss of the
    scores as probabilities of being right, and costs no more than 0.2 points of precision. They begin where the logits of the
    scores would have to be scaled and shifted if the confidence were all that counts (Platt scaling). Together some fifty
    measurements.
    If no object is found, nothing changes.
    """
    raw = replace(config, activated=False)
    known: dict[tuple[float, ...], tuple[Evaluation, float, list[Detections]]] = {}

    def measured(class_scale: float, confidence_scale: float, shift: float, nms_threshold: float) -> tuple[Evaluation, float]:
        point = (class_scale, confidence_scale, shift, nms_threshold)
        if point not in known:
            found = _detections(logits, raw, *point)
            *_, pooled = match_classes(dataset, found)
            known[point] = evaluate(dataset, found, coco=False), log_loss(pooled), found
        return known[point][:2]

    def precision(class_scale: float, confidence_scale: float, nms_threshold: float) -> float:
        return measured(class_scale, confidence_scale, 0.0, nms_threshold)[0].map_voc10

    class_scale, confidence_scale, nms_threshold = climb(
        precision, (1.0, 1.0, config.nms_threshold), (_SCALES, _SCALES, _NMS_THRESHOLDS)
    )
    least = precision(class_scale, confidence_scale, nms_threshold) - _WORTH

    def honesty(class_scale: float, confidence_scale: float, shift: float) -> float:
        evaluation, loss = measured(class_scale, confidence_scale, shift, nms_threshold)
        return -loss if evaluation.map_voc10 >= least else -math.inf

    *_, pooled = match_classes(dataset, known[class_scale, confidence_scale, 0.0, nms_threshold][2])
    slope, offset = platt(pooled)
    starts = [(class_scale * a, confidence_scale * slope, offset) for a in (1.0, slope)] if slope > 0 else []
    start = max([(class_scale, confidence_scale, 0.0), *starts], key=lambda point: honesty(*point))
    class_scale, confidence_scale, shift = climb(honesty, start, (_SCALES, _SCALES, _SHIFTS))
    first = known[1.0, 1.0, 0.0, config.nms_threshold]
    last = known[class_scale, confidence_scale, shift, nms_threshold]
    best_f1 = last[0].pooled.best
    threshold = round(best_f1.threshold, 2) if best_f1.f1 > 0 else config.score_threshold
    before, after = (diagnose(dataset, found, threshold).calibration_error for _, _, found in (first, last))
    precisions = first[0].map_voc10, last[0].map_voc10
    return Calibration(class_scale, confidence_scale, shift, nms_threshold, threshold, *precisions, before, after)


def platt(matches: ClassMatches) -> tuple[float, float]:
    """Return slope and offset that make the scores' logits those of being right; 1 and 0 if nothing tells."""
    if matches.hit.all() or not matches.hit.any():
        return 1.0, 0.0
    with needs("eval"):
        from sklearn.linear_model import LogisticRegression
    score = matches.score.astype(np.float64).clip(1e-6, 1 - 1e-6)
    fitted = LogisticRegression(C=1e6).fit(np.log(score / (1 - score))[:, None], matches.hit)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def log_loss(matches: ClassMatches) -> float:
    """Return the sum of the detections' log-losses, for each object; 0 without objects.

    It is the sum, not the mean, so that leaving out detections with the lowest scores changes little.
    """
    score = matches.score.astype(np.float64).clip(1e-6, 1 - 1e-6)
    return float(-np.log(np.where(matches.hit, score, 1 - score)).sum()) / matches.objects if matches.objects else 0.0


def climb(value: Callable[..., float], start: tuple[float, ...], choices: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return a point from which no step along a single axis, among its choices, leads to a higher value."""
    best, highest, improved = start, value(*start), True
    while improved:
        improved = False
        for axis, up in itertools.product(range(len(start)), (True, False)):
            while True:
                further = [x for x in choices[axis] if (x > best[axis] if up else x < best[axis])]
                if not further:
                    break
                place = (*best[:axis], (min if up else max)(further), *best[axis + 1 :])
                found = value(*place)
                if not found > highest:
                    break
                best, highest, improved = place, found, True
    return best


def _detections(
    logits: Logits, config: HeadConfig, class_scale: float, confidence_scale: float, shift: float, nms_threshold: float
) -> list[Detections]:
    found: list[Detections] = []
    for begin in range(0, len(logits.sizes), _BATCH):
        part = slice(begin, begin + _BATCH)
        found += postprocess_batch(
            logits.delta_bbox[part],
            logits.classes[part] * np.float32(class_scale),
            logits.confidence[part] * np.float32(confidence_scale) + np.float32(shift),
            config,
            score_threshold=MEASURED_FROM,
            nms_threshold=nms_threshold,
            image_size=logits.sizes[part],
        )
    return found
