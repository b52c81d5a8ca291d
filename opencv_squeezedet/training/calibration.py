"""What is chosen after training, on pictures that were not trained on: the scale of the logits, and thresholds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation import Evaluation, evaluate
from opencv_squeezedet.network import Network, Weights
from opencv_squeezedet.postprocess import postprocess_batch
from opencv_squeezedet.training.predictions import logit_channels

MEASURED_FROM = 0.005  # detections below do not change an average precision by much
_SCALES = tuple(2.0 ** (k / 2) for k in range(-4, 5))
_NMS_THRESHOLDS = tuple(k / 20 for k in range(6, 15))
_BATCH = 16


class Logits(NamedTuple):
    """A network's last blobs for some pictures, (N, n0, n1, channels) each, and the pictures' (width, height)."""

    delta_bbox: NDArray[np.float32]
    classes: NDArray[np.float32]
    confidence: NDArray[np.float32]
    sizes: Sequence[tuple[int, int]]


class Calibration(NamedTuple):
    """Factors on the logits, and thresholds that suit them.

    No loss determines how a score weighs the confidence against the class. Two factors set it, and change only the last
    layer's weights (a softmax temperature: Guo et al., arXiv:1706.04599).

    Parameters
    ----------
    class_scale, confidence_scale : float
        Factors on the class logits and the confidence logits.
    nms_threshold : float
        The one with the highest accuracy.
    score_threshold : float
        The one with the highest F1 of all classes together.
    before, after : float
        Mean of VOC2010's average precisions, without and with the calibration.
    """

    class_scale: float
    confidence_scale: float
    nms_threshold: float
    score_threshold: float
    before: float
    after: float

    def weights(self, network: Network, weights: Weights) -> Weights:
        """Return a network's weights with the factors in its last layer."""
        channels = logit_channels(network)
        kernel, bias = weights[channels.layer]
        factors = np.ones(len(bias), np.float32)
        factors[channels.classes], factors[channels.confidence] = self.class_scale, self.confidence_scale
        return {**weights, channels.layer: [kernel * factors[:, None, None, None], bias * factors]}

    def head(self, config: HeadConfig) -> HeadConfig:
        """Return a head with these thresholds."""
        return replace(config, score_threshold=self.score_threshold, nms_threshold=self.nms_threshold)


def calibrate(logits: Logits, dataset: Dataset, config: HeadConfig) -> Calibration:
    """Find the factors and the NMS threshold with the highest accuracy, and the score threshold that goes with them.

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
    Each of the three in turn moves up or down in steps as long as that helps, until no step does: about twenty measurements.
    The precision is VOC2010's, which, unlike that of 2007, reflects every change. If no object is found, nothing changes.
    """
    raw = replace(config, activated=False)
    known: dict[tuple[float, ...], Evaluation] = {}

    def measured(class_scale: float, confidence_scale: float, nms_threshold: float) -> float:
        point = (class_scale, confidence_scale, nms_threshold)
        if point not in known:
            known[point] = evaluate(dataset, _detections(logits, raw, *point), coco=False)
        return known[point].map_voc10

    start = (1.0, 1.0, config.nms_threshold)
    best = climb(measured, start, (_SCALES, _SCALES, _NMS_THRESHOLDS))
    before, after = measured(*start), measured(*best)
    best_f1 = known[best].pooled.best
    threshold = round(best_f1.threshold, 2) if best_f1.f1 > 0 else config.score_threshold
    class_scale, confidence_scale, nms_threshold = best
    return Calibration(class_scale, confidence_scale, nms_threshold, threshold, before, after)


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
    logits: Logits, config: HeadConfig, class_scale: float, confidence_scale: float, nms_threshold: float
) -> list[Detections]:
    found: list[Detections] = []
    for begin in range(0, len(logits.sizes), _BATCH):
        part = slice(begin, begin + _BATCH)
        found += postprocess_batch(
            logits.delta_bbox[part],
            logits.classes[part] * np.float32(class_scale),
            logits.confidence[part] * np.float32(confidence_scale),
            config,
            score_threshold=MEASURED_FROM,
            nms_threshold=nms_threshold,
            image_size=logits.sizes[part],
        )
    return found
