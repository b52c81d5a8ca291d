"""The libraries that run a network: ``cv2.dnn`` with Caffe's files or ONNX, and onnxruntime, behind small objects.

============  ========================================  =============
backend       network                                   session
============  ========================================  =============
opencv        Caffe's, where cv2 reads it (OpenCV 4)    `CaffeNet`
opencv        ONNX, or Caffe's, converted               `OnnxNet`
onnxruntime   ONNX, or Caffe's, converted               `OnnxSession`
============  ========================================  =============

`prepare` checks a network and converts it if necessary; `Probe` opens in a child process what this package does not describe.
"""

from opencv_squeezedet.backends.base import Backend, BackendName, check_size
from opencv_squeezedet.backends.onnxruntime import OnnxSession, onnxruntime_targets
from opencv_squeezedet.backends.open import choose_backend, open_net, open_prepared
from opencv_squeezedet.backends.opencv import CaffeNet, OnnxNet, opencv_targets
from opencv_squeezedet.backends.prepare import Prepared, prepare, prepare_tops

__all__ = [
    "Backend",
    "BackendName",
    "CaffeNet",
    "OnnxNet",
    "OnnxSession",
    "Prepared",
    "check_size",
    "choose_backend",
    "onnxruntime_targets",
    "open_net",
    "open_prepared",
    "opencv_targets",
    "prepare",
    "prepare_tops",
]
