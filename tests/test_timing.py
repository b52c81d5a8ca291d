"""The times of stages: what is counted for which picture."""

from __future__ import annotations

import numpy as np
import pytest

import opencv_squeezedet as sd
from opencv_squeezedet.timing import KEPT, StageTimes


def test_a_pass_is_shared_by_its_pictures() -> None:
    times = StageTimes("read", "network", "write")
    times.add("network", 0.8, 4)
    times.add("network", 0.3)
    assert times.seconds["network"] == [0.2, 0.2, 0.2, 0.2, 0.3]
    assert times.milliseconds() == {"network": {"p50": pytest.approx(200), "p95": pytest.approx(280)}}


def test_a_camera_that_runs_for_days() -> None:
    times = StageTimes("network")
    for i in range(300_000):
        times.add("network", float(i))
    kept = times.seconds["network"]
    assert KEPT <= len(kept) <= 2 * KEPT
    assert kept == [float(i) for i in range(300_000 - len(kept), 300_000)]


def test_a_detector_reports_how_many_pictures_were_in_a_pass(photo: np.ndarray) -> None:
    seen: list[tuple[str, int]] = []
    detector = sd.SqueezeDet()
    detector.on_stage = lambda stage, seconds, pictures: seen.append((stage, pictures))
    detector.detect(photo)
    detector.detect_batch([photo] * 3)
    stages = ("preprocess", "network", "post-process")
    assert seen == [(stage, 1) for stage in stages] + [(stage, 3) for stage in stages]
