"""NanoDet-m as a teacher: COCO's 80 classes in 1.9 MB, run by the ncnn package (extra ``[teach]``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.extras import needs
from opencv_squeezedet.postprocess import nms
from opencv_squeezedet.preprocess import Picture
from opencv_squeezedet.training.teacher import Opinion

with needs("teach"):
    import ncnn

FOLDER = "OPENCV_SQUEEZEDET_NANODET"
"""Environment variable: the folder of ``nanodet_m.param`` and ``nanodet_m.bin``."""

LABELS = (
    *("person", "bicycle", "car", "motorbike", "aeroplane", "bus", "train", "truck", "boat", "traffic light", "fire hydrant"),
    *("stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra"),
    *("giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite"),
    *("baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork"),
    *("knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut"),
    *("cake", "chair", "sofa", "pottedplant", "bed", "diningtable", "toilet", "tvmonitor", "laptop", "mouse", "remote"),
    *("keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors"),
    *("teddy bear", "hair drier", "toothbrush"),
)
"""COCO's classes in the order of the outputs; those that are also in PASCAL VOC have its names."""

_SIDE, _STEP = 320, 32
_MEAN, _SCALE = (103.53, 116.28, 123.675), (0.017429, 0.017507, 0.017125)
_OUTPUTS = {8: ("792", "795"), 16: ("814", "817"), 32: ("836", "839")}  # stride: class scores, distances to the four edges
_BINS = np.arange(8)
_LEAST = 0.05


def teacher() -> NanoDet:
    """Return the teacher whose files are in the folder that the environment variable names."""
    return NanoDet(Path(os.environ.get(FOLDER, ".")))


class NanoDet:
    """The network in a folder; see `Teacher`."""

    labels: Sequence[str] = LABELS

    def __init__(self, folder: Path) -> None:
        self._net = ncnn.Net()
        files = folder / "nanodet_m.param", folder / "nanodet_m.bin"
        for file, load in zip(files, (self._net.load_param, self._net.load_model), strict=True):
            if not file.is_file():
                raise FileNotFoundError(f"no {file}: {FOLDER} must name the folder of nanodet_m.param and nanodet_m.bin")
            load(str(file))

    def __call__(self, image: Picture) -> Opinion:
        """Return what it sees in a picture (H, W, 3) uint8, BGR; boxes of one class have an IoU of at most 0.6."""
        height, width = image.shape[:2]
        scale = _SIDE / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pad_x, pad_y = (-size[0] % _STEP, -size[1] % _STEP)
        left, top = pad_x // 2, pad_y // 2
        shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        shrunk = cv2.copyMakeBorder(shrunk, top, pad_y - top, left, pad_x - left, cv2.BORDER_CONSTANT)
        xyxy, scores = self._forward(shrunk)
        xyxy = (xyxy - np.array([left, top] * 2, np.float32)) / np.float32(scale)
        xyxy = xyxy.clip(0, np.array([width, height] * 2, np.float32))
        kept = nms(xyxy, scores.max(1), scores.argmax(1), nms_threshold=0.6)
        return Opinion(xyxy[kept], scores[kept])

    def _forward(self, image: Picture) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes (N, 4) in pixels of the padded picture, and their scores (N, 80)."""
        blob = ncnn.Mat.from_pixels(image, ncnn.Mat.PixelType.PIXEL_BGR, image.shape[1], image.shape[0])
        blob.substract_mean_normalize(_MEAN, _SCALE)
        run = self._net.create_extractor()
        run.input("input.1", blob)
        boxes, all_scores = [], []
        for stride, (classes, distances) in _OUTPUTS.items():
            scores = np.array(run.extract(classes)[1])
            seen = np.flatnonzero(scores.max(1) > _LEAST)
            bins = np.array(run.extract(distances)[1])[seen].reshape(-1, 4, len(_BINS))
            bins = np.exp(bins - bins.max(-1, keepdims=True))
            edges = (bins * _BINS).sum(-1) / bins.sum(-1) * stride
            row, column = np.divmod(seen, image.shape[1] // stride)
            middle = np.stack([column + 0.5, row + 0.5], axis=1) * stride
            boxes.append(np.concatenate([middle - edges[:, :2], middle + edges[:, 2:]], axis=1))
            all_scores.append(scores[seen])
        return np.concatenate(boxes).astype(np.float32), np.concatenate(all_scores).astype(np.float32)
