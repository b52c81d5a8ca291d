"""Annotated pictures from COCO JSON, PASCAL VOC folders and YOLO text, in one form."""

from opencv_squeezedet.datasets.dataset import Annotated, Dataset
from opencv_squeezedet.datasets.load import load_dataset
from opencv_squeezedet.datasets.problems import Problem

__all__ = ["Annotated", "Dataset", "Problem", "load_dataset"]
