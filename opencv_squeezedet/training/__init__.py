"""Training of SqueezeDet networks with torch (extra ``[train]``); `Training` is the entry point."""

from opencv_squeezedet.training.advice import FittedAnchors, default_pictures, fitted_anchors
from opencv_squeezedet.training.augment import Augmentation
from opencv_squeezedet.training.calibration import Calibration
from opencv_squeezedet.training.coco_detectors import CocoDetector
from opencv_squeezedet.training.load_teacher import load_teacher
from opencv_squeezedet.training.logs import Progress
from opencv_squeezedet.training.loop import Schedule
from opencv_squeezedet.training.parallel import processes
from opencv_squeezedet.training.pseudo_labels import PseudoLabels, predict, write_pseudo_labels
from opencv_squeezedet.training.recipe import Recipe
from opencv_squeezedet.training.session import Training
from opencv_squeezedet.training.start import start_anchors
from opencv_squeezedet.training.teacher import Ensemble, SoftDetections, Teacher

__all__ = [
    "Augmentation",
    "Calibration",
    "CocoDetector",
    "Ensemble",
    "FittedAnchors",
    "Progress",
    "PseudoLabels",
    "Recipe",
    "Schedule",
    "SoftDetections",
    "Teacher",
    "Training",
    "default_pictures",
    "fitted_anchors",
    "load_teacher",
    "predict",
    "processes",
    "start_anchors",
    "write_pseudo_labels",
]
