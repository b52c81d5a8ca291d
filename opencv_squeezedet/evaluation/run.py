"""Run a detector on all pictures of a data set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2

from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.options import Options
from opencv_squeezedet.pictures import read_picture
from opencv_squeezedet.pipeline import available_cores, ordered_map
from opencv_squeezedet.timing import StageTimes

if TYPE_CHECKING:
    from typing_extensions import Unpack

LOWEST_SCORE = 0.01
STAGES = ("read", "preprocess", "network", "post-process")


@dataclass(frozen=True, eq=False)
class Run:
    """The detections in the pictures of a data set, and the times they took.

    Parameters
    ----------
    detections : tuple of Detections
        The detections in each picture, in the data set's order; empty for a picture that cannot be read.
    seconds : float
        Total time, from the first file to the last detection.
    workers : int
        Number of pictures processed at a time.
    stages : StageTimes
        The stage times of each picture; those of pictures processed at the same time overlap.
    problems : tuple of str
        Pictures that cannot be read.
    """

    detections: tuple[Detections, ...]
    seconds: float
    workers: int
    stages: StageTimes
    problems: tuple[str, ...] = ()

    @property
    def pictures_per_second(self) -> float:
        """Throughput, reading files included."""
        return len(self.detections) / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """Return throughput and, for each stage, the median and the 95th percentile of its milliseconds per picture."""
        return {
            "pictures_per_second": self.pictures_per_second,
            "workers": self.workers,
            "cores": available_cores(),
            "opencv": cv2.__version__,
            "milliseconds": self.stages.milliseconds(),
        }


def detect_dataset(
    dataset: Dataset,
    detectors: list[SqueezeDet],
    *,
    on_picture: Callable[[], object] = lambda: None,
    **options: Unpack[Options],
) -> Run:
    """Run detectors of one model on the pictures of a data set, each on one picture at a time.

    Parameters
    ----------
    dataset : Dataset
        The pictures; its labels must be the detectors'.
    detectors : list of SqueezeDet
        One per core, sharing OpenCV's threads, is faster than one on all cores.
    on_picture : function
        Called after each picture.
    score_threshold : float
        Default: 0.01, low enough to show the whole precision-recall curve.
    nms_threshold, nms_kind, soft_sigma, vote_threshold, top_n, class_agnostic, multi_label : optional
        Override the model's own; see `HeadConfig`.

    Raises
    ------
    ValueError
        If the detectors' labels are not the data set's, or an option is outside its range.
    """
    if detectors[0].config.labels != dataset.labels:
        raise ValueError(f"the detector's labels {detectors[0].config.labels} are not the data set's, {dataset.labels}")
    stages = StageTimes(*STAGES)
    problems: list[str] = []

    def process(detector: SqueezeDet, picture: Annotated) -> Detections | str:
        try:
            with stages.stage("read"):
                image = read_picture(picture.path)
        except (OSError, ValueError) as error:
            return f"{picture.path}: {error}"
        return detect(detector, image)

    low: Options = {"score_threshold": LOWEST_SCORE, **options}
    detect = partial(SqueezeDet.detect, **low)
    before = [detector.on_stage for detector in detectors]
    for detector in detectors:
        detector.on_stage = stages.add
    results: list[Detections] = []
    start = time.perf_counter()
    try:
        for outcome in ordered_map(process, dataset.pictures, detectors):
            if isinstance(outcome, str):
                problems.append(outcome)
            results.append(Detections([], [], [], dataset.labels) if isinstance(outcome, str) else outcome)
            on_picture()
    finally:
        for detector, on_stage in zip(detectors, before, strict=True):
            detector.on_stage = on_stage
    return Run(tuple(results), time.perf_counter() - start, len(detectors), stages, tuple(problems))
