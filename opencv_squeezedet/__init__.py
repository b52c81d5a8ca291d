"""SqueezeDet for OpenCV: post-processing at C speed, and a small detector that needs nothing but cv2."""

from opencv_squeezedet import _environment  # noqa: F401  (first: it explains what is missing)
from opencv_squeezedet._version import __version__
from opencv_squeezedet.classifier import Class, Classes, SqueezeNet
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.detection_model import DetectionModel
from opencv_squeezedet.detections import Detection, Detections
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.draw import draw
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.infer_bbox import InferBbox, InferBboxObject
from opencv_squeezedet.postprocess import decode, nms, postprocess, postprocess_batch, score, soft_nms
from opencv_squeezedet.preprocess import Preprocess
from opencv_squeezedet.presets import KITTI, VOC
from opencv_squeezedet.show import show
from opencv_squeezedet.ssd import ssd_postprocess

__all__ = [
    "KITTI",
    "VOC",
    "Class",
    "Classes",
    "Detection",
    "DetectionModel",
    "Detections",
    "HeadConfig",
    "InferBbox",
    "InferBboxObject",
    "ModelError",
    "Preprocess",
    "SqueezeDet",
    "SqueezeNet",
    "__version__",
    "decode",
    "draw",
    "nms",
    "postprocess",
    "postprocess_batch",
    "score",
    "show",
    "soft_nms",
    "ssd_postprocess",
]
