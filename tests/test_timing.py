"""The times of stages: what is counted for which picture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

import opencv_squeezedet as sd
from opencv_squeezedet.timing import KEPT, StageTimes

PHOTO = Path(__file__).parents[1] / "samples" / "chelsea.jpg"


def test_a_pass_is_shared_by_its_pictures() -> None:
    times = StageTimes("read", "network", "write")
    times.add("network", 0.8, 4)
    times.add("network", 0.3)
    assert times.seconds["network"] == [0.2, 0.2, 0.2, 0.2, 0.3]
    assert times.milliseconds() == {"network": {"p50": pytest.approx(200), "p95": pytest.approx(280)}}


def test_a_block_that_raises_is_not_timed() -> None:
    times = StageTimes("read")
    with pytest.raises(KeyError), times.stage("read"):
        raise KeyError
    with times.stage("read"):
        pass
    assert len(times.seconds["read"]) == 1


def test_a_camera_that_runs_for_days() -> None:
    times = StageTimes("network")
    for i in range(300_000):
        times.add("network", float(i))
    kept = times.seconds["network"]
    assert KEPT <= len(kept) <= 2 * KEPT
    assert kept == [float(i) for i in range(300_000 - len(kept), 300_000)]


def test_threads() -> None:
    times = StageTimes("network")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: times.add("network", 1.0, 2), range(500)))
    assert times.seconds == {"network": [0.5] * 1000}


def test_a_detector_reports_how_many_pictures_were_in_a_pass() -> None:
    seen: list[tuple[str, int]] = []
    detector = sd.SqueezeDet()
    detector.on_stage = lambda stage, seconds, pictures: seen.append((stage, pictures))
    image: np.ndarray = cv2.imread(str(PHOTO))
    detector.detect(image)
    detector.detect_batch([image] * 3)
    stages = ("preprocess", "network", "post-process")
    assert seen == [(stage, 1) for stage in stages] + [(stage, 3) for stage in stages]
