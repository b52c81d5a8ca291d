"""Calibration after training, on the validation set: factors on the logits, thresholds, and a score calibration."""

from __future__ import annotations

import functools
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
from opencv_squeezedet.evaluation import diagnose, evaluate
from opencv_squeezedet.evaluation.matching import ClassMatches, match_classes
from opencv_squeezedet.extras import needs
from opencv_squeezedet.network import Network, Weights
from opencv_squeezedet.postprocess import postprocess_batch
from opencv_squeezedet.training.predictions import logit_channels

MEASURED_FROM = 0.005  # score below which detections hardly change an average precision
_SCALES = tuple(2.0 ** (k / 2) for k in range(-4, 5))
_NMS_THRESHOLDS = tuple(k / 20 for k in range(6, 15))
_FITTED_FROM = 0.05  # lower scores are uninformative but numerous; they are used only if there are few mistakes above
_ENOUGH = 20  # least number of correct and of wrong detections for a score calibration
_POINTS = tuple(k / 10 for k in range(1, 10))
_BATCH = 16


class Logits(NamedTuple):
    """A network's last blobs for some pictures, (N, n0, n1, channels) each, and the pictures' (width, height)."""

    delta_bbox: NDArray[np.float32]
    classes: NDArray[np.float32]
    confidence: NDArray[np.float32]
    sizes: Sequence[tuple[int, int]]


class Calibration(NamedTuple):
    """Factors on the logits, thresholds that suit them, and a score calibration.

    No loss determines the weight of the confidence against that of the class in a score. The two factors set it, and become
    part of the last layer's weights. The score calibration turns scores into probabilities without changing their order.

    Parameters
    ----------
    class_scale, confidence_scale : float
        Factors on the class logits and the confidence logits.
    nms_threshold : float
        The NMS threshold with the highest accuracy.
    score_threshold : float
        The score threshold, for calibrated scores, with the highest F1 of all classes together.
    before, after : float
        VOC2010's mAP without and with the calibration.
    score_calibration : tuple of (float, float)
        As in `HeadConfig`.
    error_before, error_after : float
        Expected calibration error without and with the calibration, see `Diagnosis`; NaN without detections.
    """

    class_scale: float
    confidence_scale: float
    nms_threshold: float
    score_threshold: float
    before: float
    after: float
    score_calibration: tuple[tuple[float, float], ...] = ()
    error_before: float = math.nan
    error_after: float = math.nan

    def weights(self, network: Network, weights: Weights) -> Weights:
        """Return a network's weights with the factors in its last layer."""
        channels = logit_channels(network)
        kernel, bias = weights[channels.layer]
        factors = np.ones(len(bias), np.float32)
        factors[channels.classes], factors[channels.confidence] = self.class_scale, self.confidence_scale
        return {**weights, channels.layer: [kernel * factors[:, None, None, None], bias * factors]}

    def head(self, config: HeadConfig) -> HeadConfig:
        """Return a head with these thresholds and this score calibration."""
        fields = {name: getattr(self, name) for name in ("score_threshold", "nms_threshold", "score_calibration")}
        return replace(config, **fields)


def calibrate(logits: Logits, dataset: Dataset, config: HeadConfig) -> Calibration:
    """Find the factors and the NMS threshold with the highest accuracy, then the score calibration.

    The two factors and the NMS threshold are changed in turn, in steps, as long as VOC2010's mAP rises; unlike that of 2007 it
    reflects every change. This takes about thirty measurements. The score calibration is fitted to the detections of all
    classes together. If no object is detected, nothing changes. The logits are those for the data set's pictures, and the head
    is without a score calibration.
    """
    raw = replace(config, activated=False)

    @functools.cache
    def measured(class_scale: float, confidence_scale: float, nms_threshold: float) -> tuple[float, list[Detections]]:
        detections = _detections(logits, raw, class_scale, confidence_scale, nms_threshold)
        return evaluate(dataset, detections, coco=False).map_voc10, detections

    start = (1.0, 1.0, config.nms_threshold)
    chosen = climb(lambda *point: measured(*point)[0], start, (_SCALES, _SCALES, _NMS_THRESHOLDS))
    (before, first), (after, last) = measured(*start), measured(*chosen)
    *_, pooled = match_classes(dataset, last)
    score_calibration = fit_score_calibration(pooled)
    calibrated = _detections(logits, replace(raw, score_calibration=score_calibration), *chosen)
    best = evaluate(dataset, calibrated, coco=False).pooled.best
    threshold = round(best.threshold, 2) if best.f1 > 0 else config.score_threshold
    errors = [diagnose(dataset, detections, threshold).calibration_error for detections in (first, calibrated)]
    class_scale, confidence_scale, nms_threshold = chosen
    return Calibration(class_scale, confidence_scale, nms_threshold, threshold, before, after, score_calibration, *errors)


def fit_score_calibration(matches: ClassMatches) -> tuple[tuple[float, float], ...]:
    """Return the score calibration of these detections: at most nine pairs, as in `HeadConfig`.

    It is a beta calibration, whose logit is ``a ln(s) - b ln(1 - s) + c`` with a and b not negative (Kull, Silva Filho and
    Flach, AISTATS 2017), at nine scores. It is empty if there are too few detections, or if high scores are not more
    often correct.
    """
    mistakes = matches.score[~matches.hit]  # highest first
    if len(mistakes) < _ENOUGH:
        return ()
    fitted_on = matches.score >= min(_FITTED_FROM, mistakes[_ENOUGH - 1])
    score, hit = matches.score[fitted_on].astype(np.float64).clip(1e-6, 1 - 1e-6), matches.hit[fitted_on]
    if hit.sum() < _ENOUGH:
        return ()
    with needs("eval"):
        from sklearn.linear_model import LogisticRegression
    x, columns = _beta_features(score), [0, 1]
    fitted = LogisticRegression().fit(x, hit)
    if fitted.coef_.min() < 0:
        columns = [int(fitted.coef_.argmax())]
        fitted = LogisticRegression().fit(x[:, columns], hit)
    if fitted.coef_.min() <= 0:
        return ()
    right = fitted.predict_proba(_beta_features(np.array(_POINTS))[:, columns])[:, 1].round(4)
    points = [(0.0, 0.0)]
    points += [(x, y) for x, y in zip(_POINTS, right.tolist(), strict=True) if y < 1]
    return tuple(point for below, point in itertools.pairwise(points) if point[1] > below[1])


def _beta_features(score: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.log(score), -np.log1p(-score)], axis=1)


def climb(value: Callable[..., float], start: tuple[float, ...], choices: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return a point from which no step along a single axis, among the choices, leads to a higher value."""
    best, highest, improved = start, value(*start), True
    while improved:
        improved = False
        for axis, up in itertools.product(range(len(start)), (True, False)):
            while True:
                further = [x for x in choices[axis] if (x > best[axis] if up else x < best[axis])]
                if not further:
                    break
                point = (*best[:axis], (min if up else max)(further), *best[axis + 1 :])
                height = value(*point)
                if not height > highest:
                    break
                best, highest, improved = point, height, True
    return best


def _detections(
    logits: Logits, config: HeadConfig, class_scale: float, confidence_scale: float, nms_threshold: float
) -> list[Detections]:
    detections: list[Detections] = []
    for begin in range(0, len(logits.sizes), _BATCH):
        part = slice(begin, begin + _BATCH)
        detections += postprocess_batch(
            logits.delta_bbox[part],
            logits.classes[part] * np.float32(class_scale),
            logits.confidence[part] * np.float32(confidence_scale),
            config,
            score_threshold=MEASURED_FROM,
            nms_threshold=nms_threshold,
            image_size=logits.sizes[part],
        )
    return detections
