"""Network files: Caffe's prototxt and caffemodel, ONNX, and Deep Compression's; all but the last need the extra ``[onnx]``."""

from opencv_squeezedet.formats.caffemodel import caffemodel_bytes, read_caffemodel
from opencv_squeezedet.formats.onnx_writer import onnx_bytes
from opencv_squeezedet.formats.prototxt import prototxt_text, read_prototxt

__all__ = ["caffemodel_bytes", "onnx_bytes", "prototxt_text", "read_caffemodel", "read_prototxt"]
