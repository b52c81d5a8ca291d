"""Evaluation of detectors: PASCAL VOC and COCO metrics, curves, error analysis, and a report (extra ``[eval]``)."""

from opencv_squeezedet.evaluation.diagnosis import Diagnosis, diagnose
from opencv_squeezedet.evaluation.evaluate import ClassResult, Evaluation, evaluate
from opencv_squeezedet.evaluation.run import Run, detect_dataset

__all__ = ["ClassResult", "Diagnosis", "Evaluation", "Run", "detect_dataset", "diagnose", "evaluate"]
