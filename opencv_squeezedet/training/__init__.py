"""Training of SqueezeDet networks with torch (extra ``[train]``); `Training` is the place to start."""

from opencv_squeezedet.training.advice import FittedAnchors, fitted_anchors, usual_pictures
from opencv_squeezedet.training.augment import Augmentation
from opencv_squeezedet.training.calibration import Calibration
from opencv_squeezedet.training.coco_detectors import CocoDetector
from opencv_squeezedet.training.loop import Schedule
from opencv_squeezedet.training.opinion import Ensemble, Opinion, Teacher
from opencv_squeezedet.training.parallel import processes
from opencv_squeezedet.training.recipe import Recipe
from opencv_squeezedet.training.session import Progress, Training, write_model
from opencv_squeezedet.training.start import start_anchors
from opencv_squeezedet.training.teacher import Opinions, ask, load_teacher, write_opinions

__all__ = [
    "Augmentation",
    "Calibration",
    "CocoDetector",
    "Ensemble",
    "FittedAnchors",
    "Opinion",
    "Opinions",
    "Progress",
    "Recipe",
    "Schedule",
    "Teacher",
    "Training",
    "ask",
    "fitted_anchors",
    "load_teacher",
    "processes",
    "start_anchors",
    "usual_pictures",
    "write_model",
    "write_opinions",
]
