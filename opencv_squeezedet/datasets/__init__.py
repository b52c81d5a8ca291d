"""Annotated pictures in the layouts of COCO, PASCAL VOC, YOLO, darknet, KITTI and labelme, in one form."""

from opencv_squeezedet.datasets.dataset import Annotated, Dataset
from opencv_squeezedet.datasets.load import load_dataset, usual_splits
from opencv_squeezedet.datasets.problems import Problem

__all__ = ["Annotated", "Dataset", "Problem", "load_dataset", "usual_splits"]
