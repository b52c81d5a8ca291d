"""Small detectors trained on COCO, as teachers: NanoDet and YOLOX, run by ncnn, and PicoDet, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.extras import needs
from opencv_squeezedet.preprocess import Picture
from opencv_squeezedet.training.teacher import SoftDetections

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

_SIDE, _LEAST = 416, 0.01
_BGR_MEAN, _BGR_SCALE = (103.53, 116.28, 123.675), (0.017429, 0.017507, 0.017125)
_RGB_MEAN, _RGB_DEVIATION = (np.array(values, np.float32) for values in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))

Array = NDArray[Any]
Find = Callable[[Picture], tuple[Array, Array]]


class CocoDetector:
    """A detector of COCO's 80 classes; see `Teacher`.

    Parameters
    ----------
    kind : {"nanodet", "nanodet-plus", "yolox", "picodet"}
        The detector.
    path : Path
        Its file: ``.onnx`` for picodet; ``.param`` or ``.bin``, side by side, for the others. The suffix is optional.
    threads : int, optional
        Number of threads. Default: the library's own.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        If a file is missing, the library cannot read it, or the library is not installed.
    """

    labels: Sequence[str] = LABELS

    def __init__(self, kind: str, path: Path, threads: int | None = None) -> None:
        make, suffixes = KINDS[kind]
        self.files = [path.with_suffix(suffix) if path.suffix in suffixes else Path(f"{path}{suffix}") for suffix in suffixes]
        for file in self.files:
            if not file.is_file():
                raise FileNotFoundError(f"{kind} needs {file}, which does not exist")
        self._find = make(self.files, threads)

    def __call__(self, image: Picture) -> SoftDetections:
        """Return every box of the grid with a score above 0.01, in a picture (H, W, 3) uint8, BGR."""
        xyxy, scores = self._find(image)
        return SoftDetections(xyxy.clip(0, np.array([*image.shape[1::-1]] * 2)).astype(np.float32), scores.astype(np.float32))


def _ncnn(files: Sequence[Path], threads: int | None) -> Any:
    with needs("teach"):
        import ncnn
    net = ncnn.Net()
    if threads is not None:
        net.opt.num_threads = threads
    for file, load in zip(files, (net.load_param, net.load_model), strict=True):
        if load(str(file)):
            raise ValueError(f"{file}: ncnn cannot read it")
    return net


def _nanodet(files: Sequence[Path], threads: int | None) -> Find:
    """NanoDet-m: the longest side 320, and both padded on all sides to a multiple of 32."""
    net, side, step = _ncnn(files, threads), 320, 32
    outputs = (("792", "795"), ("814", "817"), ("836", "839"))

    def find(image: Picture) -> tuple[Array, Array]:
        height, width = image.shape[:2]
        scale = side / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pad_x, pad_y = (-size[0] % step, -size[1] % step)
        left, top = pad_x // 2, pad_y // 2
        shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        shrunk = cv2.copyMakeBorder(shrunk, top, pad_y - top, left, pad_x - left, cv2.BORDER_CONSTANT)
        run = _run_bgr(net, "input.1", shrunk, shrunk.shape[1::-1])
        scores, bins = zip(*((np.array(run.extract(name)[1]) for name in pair) for pair in outputs), strict=True)
        xyxy, class_scores = _distances(scores, bins, (8, 16, 32), shrunk.shape[1], 0.5)
        return (xyxy - np.array([left, top] * 2)) / scale, class_scores

    return find


def _nanodet_plus(files: Sequence[Path], threads: int | None) -> Find:
    """NanoDet-Plus-m-1.5x: the picture stretched."""
    net, strides = _ncnn(files, threads), (8, 16, 32, 64)

    def find(image: Picture) -> tuple[Array, Array]:
        run = _run_bgr(net, "data", image, (_SIDE, _SIDE))
        scores = [np.array(run.extract(f"cls{stride}")[1]) for stride in strides]
        scores = [each.reshape(each.shape[0], -1).T for each in scores]
        bins = [np.array(run.extract(f"dis{stride}")[1]).reshape(-1, 32) for stride in strides]
        return _stretched(*_distances(scores, bins, strides, _SIDE, 0.0), image)

    return find


def _picodet(files: Sequence[Path], threads: int | None) -> Find:
    """PicoDet-S: the picture stretched."""
    with needs("onnxruntime"):
        import onnxruntime  # type: ignore[import-untyped]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: the file has unused initializers
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(files[0]), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise ValueError(f"{files[0]}: onnxruntime cannot read it: {error}") from error
    outputs = [f"save_infer_model/scale_{i}.tmp_1" for i in range(8)]

    def find(image: Picture) -> tuple[Array, Array]:
        blob = (cv2.resize(image, (_SIDE, _SIDE))[:, :, ::-1] - _RGB_MEAN) / _RGB_DEVIATION
        given = session.run(outputs, {"image": blob.transpose(2, 0, 1)[None].astype(np.float32)})
        given = [each.reshape(-1, each.shape[-1]) for each in given]
        return _stretched(*_distances(given[:4], given[4:], (8, 16, 32, 64), _SIDE, 0.5), image)

    return find


def _yolox(files: Sequence[Path], threads: int | None) -> Find:
    """YOLOX-Nano without its first layer: the picture at the top left of a square, four pixels as channels."""
    net = _ncnn(files, threads)
    with needs("teach"):
        import ncnn
    grids = [(np.indices((_SIDE // stride,) * 2)[::-1].reshape(2, -1).T, stride) for stride in (8, 16, 32)]
    cells = np.concatenate([cell for cell, _ in grids])
    strides = np.concatenate([np.full((len(cell), 1), stride) for cell, stride in grids])

    def find(image: Picture) -> tuple[Array, Array]:
        scale = _SIDE / max(image.shape[:2])
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        square = np.full((_SIDE, _SIDE, 3), 114, np.uint8)
        square[: size[1], : size[0]] = cv2.resize(image, size)
        planes = ((square[:, :, ::-1] - _RGB_MEAN) / _RGB_DEVIATION).transpose(2, 0, 1).astype(np.float32)
        quarters = [planes[:, ::2, ::2], planes[:, 1::2, ::2], planes[:, ::2, 1::2], planes[:, 1::2, 1::2]]
        blob = np.ascontiguousarray(np.concatenate(quarters))  # ncnn reads its memory during the run
        run = net.create_extractor()
        run.input("683", ncnn.Mat(blob))
        given = np.array(run.extract("output")[1])
        scores = given[:, 5:] * given[:, 4:5]
        seen = scores.max(1) > _LEAST
        middle = (given[:, :2] + cells) * strides
        half = np.exp(given[:, 2:4]) * strides / 2
        xyxy = np.concatenate([middle - half, middle + half], axis=1)[seen]
        return xyxy / (np.array(size * 2) / np.array(image.shape[1::-1] * 2)), scores[seen]

    return find


def _run_bgr(net: Any, blob: str, image: Picture, size: Sequence[int]) -> Any:
    """A run of NanoDet's networks on a picture, stretched to a size."""
    with needs("teach"):
        import ncnn
    height, width = image.shape[:2]
    mat = ncnn.Mat.from_pixels_resize(
        np.ascontiguousarray(image), ncnn.Mat.PixelType.PIXEL_BGR, width, height, size[0], size[1]
    )
    mat.substract_mean_normalize(_BGR_MEAN, _BGR_SCALE)
    run = net.create_extractor()
    run.input(blob, mat)
    return run


def _distances(
    scores: Sequence[Array], bins: Sequence[Array], strides: Sequence[int], width: int, shift: float
) -> tuple[Array, Array]:
    """Boxes in input pixels, and scores, from the distributions (N, 32) of the distances to the four edges, of each stride."""
    boxes, class_scores = [], []
    for of_class, distribution, stride in zip(scores, bins, strides, strict=True):
        seen = np.flatnonzero(of_class.max(1) > _LEAST)
        weights = distribution[seen].reshape(-1, 4, 8)
        weights = np.exp(weights - weights.max(-1, keepdims=True))
        edges = (weights * np.arange(8)).sum(-1) / weights.sum(-1)
        row, column = np.divmod(seen, -(-width // stride))
        middle = np.stack([column, row], axis=1) + shift
        boxes.append(np.concatenate([middle - edges[:, :2], middle + edges[:, 2:]], axis=1) * stride)
        class_scores.append(of_class[seen])
    return np.concatenate(boxes), np.concatenate(class_scores)


def _stretched(xyxy: Array, scores: Array, image: Picture) -> tuple[Array, Array]:
    """Boxes of a square input back in the picture."""
    return xyxy * (np.array(image.shape[1::-1] * 2) / _SIDE), scores


_PAIR = (".param", ".bin")

KINDS: dict[str, tuple[Callable[[Sequence[Path], int | None], Find], Sequence[str]]] = {
    "nanodet": (_nanodet, _PAIR),
    "nanodet-plus": (_nanodet_plus, _PAIR),
    "yolox": (_yolox, _PAIR),
    "picodet": (_picodet, (".onnx",)),
}
"""The detectors, by the name before the path, and the suffixes of their files."""
