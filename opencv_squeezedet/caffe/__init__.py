"""Caffe networks in OpenCV 5, which has lost its importer: ``cv2.dnn.readNetFromCaffe`` as it was.

A program that worked with OpenCV 4 needs two lines before it reads its network:

    import opencv_squeezedet.caffe
    opencv_squeezedet.caffe.install()

`readNetFromCaffe` of this module is the same function without the patch.
"""

from opencv_squeezedet.caffe.errors import NetError
from opencv_squeezedet.caffe.net import Layer, Net
from opencv_squeezedet.caffe.patch import install, uninstall
from opencv_squeezedet.caffe.read import readNetFromCaffe

__all__ = ["Layer", "Net", "NetError", "install", "readNetFromCaffe", "uninstall"]
