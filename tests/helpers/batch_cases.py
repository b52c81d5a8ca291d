"""A detector of a few milliseconds, and pictures for it: what the tests and the benchmark of many pictures share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from commands import PHOTO
from embedded import ONNX
from networks import load_network

from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.model import Model
from opencv_squeezedet.network.architectures import TRAINABLE
from opencv_squeezedet.network.head import derive_config
from opencv_squeezedet.pictures import read_picture
from opencv_squeezedet.preprocess import Preprocess
from opencv_squeezedet.presets import VOC

SIDE = 128


def small_model(stem: Path) -> str:
    """Write the embedded model for an input of 128x128, where it finds little but is quick."""
    weights, own = load_network(ONNX)[1], Model.load().head
    assert own is not None
    anchors = [(w * SIDE / VOC.input_size[0], h * SIDE / VOC.input_size[1]) for w, h in VOC.anchors]
    network = next(iter(TRAINABLE.values())).build(len(own.labels), len(anchors), (SIDE, SIDE))
    head = derive_config(network, anchors=anchors, labels=own.labels, score_threshold=0.05, nms_threshold=0.45)
    Model(network, weights, head, Preprocess((SIDE, SIDE))).save(stem.with_suffix(".onnx"))
    return str(stem)


def make_pictures(folder: Path, count: int, *, broken: int = 0) -> list[str]:
    """Write small JPEG files, no two alike, every so many-th of them broken in one of three ways; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    photo = cv2.resize(cv2.imread(str(PHOTO)), (120, 96))
    paths = []
    for i in range(count):
        path = folder / f"{i:05}.jpg"
        image = np.roll(photo, (3 * i, 7 * i), axis=(0, 1))[: 60 + i % 30]
        content = cv2.imencode(".jpg", image)[1].tobytes()
        if broken and i % broken == 0:
            content = (b"", b"this is not a picture", content[:100])[i // broken % 3]
        path.write_bytes(content)
        paths.append(str(path))
    return paths


def expected_row(detector: SqueezeDet, path: str, **options: Any) -> dict[str, Any]:
    """The row of a picture, from `SqueezeDet.detect`, without its milliseconds."""
    try:
        image = read_picture(Path(path))
    except (OSError, ValueError) as error:
        nothing: dict[str, Any] = {name: [] for name in ("class_id", "label", "confidence", "xyxy")}
        return {"path": path, "width": 0, "height": 0, **nothing, "error": getattr(error, "strerror", None) or str(error)}
    found = detector.detect(image, **options)
    return {
        "path": path,
        "width": image.shape[1],
        "height": image.shape[0],
        "class_id": found.class_id.tolist(),
        "label": found.labels,
        "confidence": found.confidence.tolist(),
        "xyxy": found.xyxy.tolist(),
        "error": None,
    }
