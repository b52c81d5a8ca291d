"""Scales of the logits and thresholds, chosen on pictures that were not trained on."""

from __future__ import annotations

import dataclasses
import math
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from evaluation_cases import annotated

import opencv_squeezedet as sd
from opencv_squeezedet.datasets import Dataset

torch = pytest.importorskip("torch", reason="the extra [train] brings torch")

from training_cases import PYRAMID, recipe, squares  # noqa: E402

from opencv_squeezedet.evaluation.matching import ClassMatches  # noqa: E402
from opencv_squeezedet.training import Training  # noqa: E402
from opencv_squeezedet.training.calibration import Calibration, Logits, calibrate, climb, fit_score_calibration  # noqa: E402

HEAD = sd.HeadConfig(
    input_size=(90, 90), grid=(2, 2), anchors=((20, 20),), labels=("a", "b"), score_threshold=0.3, nms_kind="greedy"
)
HALF = math.sqrt(0.5)


def frames(first: tuple[float, float], last: tuple[float, float], count: int = 3) -> tuple[Logits, Dataset]:
    """Pictures with an object of the class a in the first cell; the logits of confidence and a there and in the last cell."""
    confidence = np.full((count, 2, 2, 1), -9, np.float32)
    classes = np.zeros((count, 2, 2, 2), np.float32)
    for cell, (sure, logit) in enumerate((first, last)):
        confidence[:, cell, cell, 0], classes[:, cell, cell, 0] = sure, logit
    pictures = tuple(annotated([(20, 20, 40, 40)], [0], image_id=i) for i in range(count))
    logits = Logits(np.zeros((count, 2, 2, 4), np.float32), classes, confidence, [(90, 90)] * count)
    return logits, Dataset(HEAD.labels, pictures, ())


def test_the_way_up() -> None:
    for peak in product((0, 3, 7), repeat=3):
        assert climb(lambda *point: -math.dist(point, peak), (3, 3, 3), [range(8)] * 3) == peak  # noqa: B023
    for value in (0.0, math.nan):
        assert climb(lambda *point: value, (1.0, 1.0, 0.5), [(0.5, 1.0, 2.0)] * 3) == (1.0, 1.0, 0.5)  # noqa: B023


def test_mistakes_that_are_confident_fall_behind() -> None:
    """The hits' score is 0.476, the mistakes' 0.478, until the confidence counts for less."""
    logits, dataset = frames((0.0, 3.0), (1.2, 0.5))
    found = calibrate(logits, dataset, HEAD)
    assert (found.before, found.after) == (0.5, 1.0)
    head = found.head(HEAD)
    assert (head.nms_threshold, head.score_threshold) == (found.nms_threshold, found.score_threshold)
    scaled = sd.postprocess_batch(
        logits.delta_bbox,
        logits.classes * np.float32(found.class_scale),
        logits.confidence * np.float32(found.confidence_scale),
        sd.HeadConfig.from_dict({**head.to_dict(), "activated": False}),
    )
    assert [detections.xyxy.tolist() for detections in scaled] == [[[20, 20, 40, 40]]] * 3  # the threshold parts them


def test_what_is_right_stays() -> None:
    found = calibrate(*frames((3.0, 3.0), (-2.0, 0.5)), HEAD)
    assert found.nms_threshold == HEAD.nms_threshold
    assert (found.before, found.after) == (1.0, 1.0)
    assert found.score_calibration == ()  # too few to tell


def test_nothing_found() -> None:
    logits, dataset = frames((-9.0, 0.0), (-9.0, 0.0))
    found = calibrate(logits, dataset, HEAD)
    assert found[:-2] == (1.0, 1.0, HEAD.nms_threshold, HEAD.score_threshold, 0.0, 0.0, ())
    assert np.isnan(found[-2:]).all()


def test_scores_become_probabilities() -> None:
    """Detections at 0.6 of which four in five are right, at 0.3 of which one in five is, and at 0.1 of which none is."""
    count = 40
    confidence = np.full((count, 2, 2, 1), -9, np.float32)
    classes = np.full((count, 2, 2, 2), [9, -9], np.float32)
    pictures = []
    for i in range(count):
        confidence[i, 0, 0], confidence[i, 0, 1], confidence[i, 1, 1] = (math.log(p / (1 - p)) for p in (0.6, 0.3, 0.1))
        truth = [box for box, right in (((20, 20, 40, 40), i % 5), ((20, 50, 40, 70), not i % 5)) if right]
        pictures.append(annotated(truth, [0] * len(truth), image_id=i))
    logits = Logits(np.zeros((count, 2, 2, 4), np.float32), classes, confidence, [(90, 90)] * count)
    dataset = Dataset(HEAD.labels, tuple(pictures), ())
    found = calibrate(logits, dataset, HEAD)
    assert found.after >= found.before
    assert found.error_after < 0.05 < found.error_before
    reported = dict(found.score_calibration)
    assert [reported[score] for score in (0.6, 0.3, 0.1)] == pytest.approx([0.8, 0.2, 0.0], abs=0.06)
    assert reported[0.3] < found.score_threshold < reported[0.6]


def matches(right: Any) -> ClassMatches:
    """A hundred detections at each of many scores, of which a share is right."""
    scores = np.linspace(0.06, 0.96, 31)
    hits = np.concatenate([np.arange(100) < round(100 * right(score)) for score in scores])
    return ClassMatches(np.repeat(scores, 100).astype(np.float32), hits, 1, 0)


@pytest.mark.parametrize(
    "right",
    [
        lambda s: 1 / (1 + np.exp(1.4 - 0.8 * np.log(s) + 5 * np.log(1 - s))),
        lambda s: s,
        lambda s: s**2,
        lambda s: 1 - (1 - s) ** 2,
        lambda s: 0.2 + 0.5 * s,
    ],
)
def test_the_share_that_is_right(right: Any) -> None:
    points = fit_score_calibration(matches(right))
    assert len(points) >= 8
    for score, reported in points:
        assert reported == pytest.approx(right(score), abs=0.05)
    dataclasses.replace(HEAD, score_calibration=points)  # a map that a head takes


def test_scores_that_say_nothing_stay() -> None:
    assert fit_score_calibration(matches(lambda s: 1 - s)) == ()
    assert fit_score_calibration(matches(lambda s: 1.0)) == fit_score_calibration(matches(lambda s: 0.0)) == ()
    few = matches(lambda s: s)
    assert fit_score_calibration(few._replace(score=few.score[::100], hit=few.hit[::100])) == ()


def test_mistakes_with_low_scores_alone_tell_enough() -> None:
    """A detector of easy things: all that it is at least half sure of is right, and what it is hardly sure of is not."""
    score = np.concatenate([np.linspace(0.8, 0.5, 40), np.linspace(0.04, 0.006, 40)]).astype(np.float32)
    points = dict(fit_score_calibration(ClassMatches(score, score > 0.1, 40, 0)))
    assert points[0.7] > 0.9
    assert points[0.5] > 0.85


def test_scores_near_one_leave_the_map_rising() -> None:
    points = fit_score_calibration(matches(lambda s: min(1.0, 3 * s)))
    assert points[-1][1] < 1
    dataclasses.replace(HEAD, score_calibration=points)


@pytest.mark.parametrize("network", ["shuffle", "gsoc"])
def test_the_written_model_has_it(network: str, tmp_path: Path) -> None:
    """Its logits are those of the torch network, scaled, and its head has the thresholds and the map."""
    train, val = squares(tmp_path)
    made = recipe(network=network, input_size=(128, 64), start="embedded" if network == "shuffle" else PYRAMID)
    training = Training(made, train, tmp_path / "run", validation=val, workers=0)
    training.write(tmp_path / "plain", half=False)
    training.write(tmp_path / "scaled", half=False, calibration=Calibration(2.0, HALF, 0.6, 0.17, 0.0, 0.0, ((0.5, 0.75),)))
    plain, scaled = (sd.SqueezeDet(tmp_path / name) for name in ("plain", "scaled"))
    assert (scaled.config.nms_threshold, scaled.config.score_threshold) == (0.6, 0.17)
    assert scaled.config.score_calibration == ((0.5, 0.75),)
    image = cv2.imread(str(val.pictures[0].path))
    before, after = plain.forward(image), scaled.forward(image)
    np.testing.assert_allclose(after.delta_bbox, before.delta_bbox, atol=1e-5)
    squared = before.class_scores.astype(float) ** 2
    np.testing.assert_allclose(after.class_scores, squared / squared.sum(-1, keepdims=True), atol=1e-5)
    odds = (before.conf_scores.astype(float) / (1 - before.conf_scores)) ** HALF
    np.testing.assert_allclose(after.conf_scores, odds / (1 + odds), atol=1e-5)
