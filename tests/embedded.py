"""The embedded model as a ``cv2.dnn.Net``, read without this package."""

import importlib.util
from pathlib import Path

import cv2
import pytest

from opencv_squeezedet.model import EMBEDDED
from opencv_squeezedet.model_files import models_folder

STEM = Path(models_folder()) / EMBEDDED
WEIGHTS, DEFINITION, ONNX = f"{STEM}.caffemodel", f"{STEM}.prototxt", f"{STEM}.onnx"
HAS_CAFFE = hasattr(cv2.dnn, "readNetFromCaffe")
HAS_ONNX = all(map(importlib.util.find_spec, ("google", "google.protobuf", "onnx")))
needs_caffe_importer = pytest.mark.skipif(not HAS_CAFFE, reason="this OpenCV does not read Caffe's files")

needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="onnx and protobuf, of the extra [test], are not installed")


def read_net() -> cv2.dnn.Net:
    """From Caffe's files where OpenCV reads them, else from ONNX."""
    return cv2.dnn.readNetFromCaffe(DEFINITION, WEIGHTS) if HAS_CAFFE else cv2.dnn.readNetFromONNX(ONNX)


def output(blob: str) -> str:
    """What `read_net`'s network calls the output that holds this blob."""
    return {"class_scores": "softmax", "conf_scores": "sigmoid"}[blob] if HAS_CAFFE else blob
