"""Network files: Caffe's prototxt and caffemodel, ONNX, Deep Compression's; read and written without any extra."""

from opencv_squeezedet.formats.caffemodel import caffemodel_bytes, read_caffemodel
from opencv_squeezedet.formats.deep_compression import read_compressed
from opencv_squeezedet.formats.load import content_of, load_definition, load_network, read_weights
from opencv_squeezedet.formats.onnx_reader import read_onnx
from opencv_squeezedet.formats.onnx_writer import onnx_bytes
from opencv_squeezedet.formats.prototxt import prototxt_text, read_prototxt

__all__ = [
    "caffemodel_bytes",
    "content_of",
    "load_definition",
    "load_network",
    "onnx_bytes",
    "prototxt_text",
    "read_caffemodel",
    "read_compressed",
    "read_onnx",
    "read_prototxt",
    "read_weights",
]
