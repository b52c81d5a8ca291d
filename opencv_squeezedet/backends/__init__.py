"""What runs a network: ``cv2.dnn`` with Caffe's files or ONNX, and onnxruntime, each behind one small object.

============  =====================================  ==============================================
backend       model's files                          what runs it
============  =====================================  ==============================================
opencv        prototxt and caffemodel                `CaffeNet`, where cv2 reads them (OpenCV 4)
opencv        onnx, or Caffe's two, converted        `OnnxNet`
onnxruntime   onnx, or Caffe's two, converted        `OnnxSession`
============  =====================================  ==============================================

`NetworkContent` reads and checks the files before; `Trial` opens in a child process what it does not know.
"""

from opencv_squeezedet.backends.base import Backend, BackendName
from opencv_squeezedet.backends.content import NetworkContent
from opencv_squeezedet.backends.onnxruntime import OnnxSession, onnxruntime_targets
from opencv_squeezedet.backends.open import fastest_backend, open_backend
from opencv_squeezedet.backends.opencv import CaffeNet, OnnxNet, opencv_targets

__all__ = [
    "Backend",
    "BackendName",
    "CaffeNet",
    "NetworkContent",
    "OnnxNet",
    "OnnxSession",
    "fastest_backend",
    "onnxruntime_targets",
    "open_backend",
    "opencv_targets",
]
