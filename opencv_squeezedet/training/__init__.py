"""Training of SqueezeDet networks with torch (extra ``[train]``); `Training` is the place to start."""

from opencv_squeezedet.training.augment import Augmentation
from opencv_squeezedet.training.calibration import Calibration
from opencv_squeezedet.training.loop import Schedule
from opencv_squeezedet.training.parallel import processes
from opencv_squeezedet.training.recipe import Recipe
from opencv_squeezedet.training.session import Progress, Training, write_model
from opencv_squeezedet.training.teacher import Opinion, Opinions, Teacher, ask, load_teacher, write_opinions

__all__ = [
    "Augmentation",
    "Calibration",
    "Opinion",
    "Opinions",
    "Progress",
    "Recipe",
    "Schedule",
    "Teacher",
    "Training",
    "ask",
    "load_teacher",
    "processes",
    "write_model",
    "write_opinions",
]
