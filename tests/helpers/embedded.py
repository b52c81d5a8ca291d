"""The embedded model's float weights: Caffe's files, the same as ONNX, and as a ``cv2.dnn.Net`` read without this package."""

import atexit
import importlib.util
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from networks import load_network

import opencv_squeezedet as sd
from opencv_squeezedet.formats import onnx_bytes
from opencv_squeezedet.model import EMBEDDED

STEM = Path(__file__).parents[2] / "models" / EMBEDDED
HEAD = replace(sd.VOC, input_size=(384, 384))
"""opencv_contrib's head for the embedded model's input size, with other scores and anchors than the model's own head."""
WEIGHTS, DEFINITION = f"{STEM}.caffemodel", f"{STEM}.prototxt"
HAS_CAFFE = hasattr(cv2.dnn, "readNetFromCaffe")
HAS_ONNX = all(map(importlib.util.find_spec, ("google", "google.protobuf", "onnx")))
HAS_ONNXRUNTIME = importlib.util.find_spec("onnxruntime") is not None
needs_caffe_importer = pytest.mark.skipif(not HAS_CAFFE, reason="this OpenCV does not read Caffe's files")

needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="onnx and protobuf, of the extra [test], are not installed")
needs_onnxruntime = pytest.mark.skipif(not HAS_ONNXRUNTIME, reason="the extra [onnxruntime] is not installed")
BACKENDS = ["opencv", pytest.param("onnxruntime", marks=needs_onnxruntime)]


def _as_onnx() -> str:
    """Convert it, the JSON beside it, in a folder of this process."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder, f"{EMBEDDED}.onnx")
    path.write_bytes(onnx_bytes(*load_network(STEM), half=True))
    shutil.copy(f"{STEM}.json", folder)
    return str(path)


ONNX = _as_onnx()


def read_net() -> cv2.dnn.Net:
    """From Caffe's files where OpenCV reads them, else from ONNX."""
    return cv2.dnn.readNetFromCaffe(DEFINITION, WEIGHTS) if HAS_CAFFE else cv2.dnn.readNetFromONNX(ONNX)


def output(blob: str) -> str:
    """What `read_net`'s network calls the output that holds this blob."""
    return {"class_scores": "softmax", "conf_scores": "sigmoid"}[blob] if HAS_CAFFE else blob
