"""Measures small detectors on the same pictures: mAP for PASCAL VOC's classes, milliseconds from picture to boxes on one core.

python benchmarks/zoo.py DATASET --folder WEIGHTS --json docs/measured/zoo.json

The embedded model, with each backend that is installed, beside detectors that were trained on COCO: NanoDet-m,
NanoDet-Plus-m, NanoDet-Plus-m-1.5x and YOLOX-Nano by ncnn, PicoDet-S by onnxruntime (extra ``[teach]``). Their files are in
the folder: ``nanodet_m``, ``nanodet_plus_m_416``, ``teachers/nanodet_plus_m_1.5x_416`` and ``teachers/yolox_nano`` as
``.param`` and ``.bin``, and ``teachers/picodet_s_416.onnx``. What is missing is left out.

All detectors see a picture before the next one is read. The time is processor time, which other programs disturb little: the
median over the pictures, without reading the file.
Scores from 0.01 and up to 100 boxes a picture count. COCO's classes that VOC lacks are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import process_time
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from _timing import machine, pin_to_one_core, table
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.datasets import load_dataset
from opencv_squeezedet.evaluation import evaluate
from opencv_squeezedet.model import EMBEDDED, models_folder
from opencv_squeezedet.pictures import read_picture
from opencv_squeezedet.postprocess import nms

if TYPE_CHECKING:
    from opencv_squeezedet.training import CocoDetector, SoftDetections

Image = NDArray[np.uint8]
LEAST, NMS, MOST = 0.01, 0.6, 100


class Detector(NamedTuple):
    """A detector, what it weighs, and what it was trained on."""

    name: str
    engine: str
    megabytes: float
    trained_on: str
    detect: Callable[[Image], sd.Detections]


def megabytes(*files: Path) -> float:
    """Size of the files together."""
    return sum(file.stat().st_size for file in files) / 1e6


# ---- the embedded model ---------------------------------------------------------------------------------------------------


def embedded() -> Iterator[Detector]:
    """With each backend that is there."""
    weights = Path(models_folder()) / f"{EMBEDDED}.sdz"
    for backend in ("opencv", "onnxruntime"):
        try:
            detector = sd.SqueezeDet(backend=backend)
        except ImportError:
            continue
        engine = f"cv2 {cv2.__version__}" if backend == "opencv" else "onnxruntime"

        def detect(image: Image, detector: sd.SqueezeDet = detector) -> sd.Detections:
            return detector.detect(image, score_threshold=LEAST)

        yield Detector("SqueezeDet, embedded", engine, megabytes(weights), "VOC", detect)


# ---- detectors trained on COCO --------------------------------------------------------------------------------------------


def to_detections(found: SoftDetections, names: tuple[str, ...], columns: list[int]) -> sd.Detections:
    """The best class of each box among ours, and NMS."""
    scores = found.scores[:, columns]
    class_id, best = scores.argmax(1).astype(np.int32), scores.max(1)
    seen = np.flatnonzero(best > LEAST)
    kept = seen[nms(found.xyxy[seen], best[seen], class_id[seen], nms_threshold=NMS)[:MOST]]
    return sd.Detections(found.xyxy[kept], best[kept], class_id[kept], names)


ON_COCO = (
    ("NanoDet-m", "ncnn", "nanodet", "nanodet_m"),
    ("NanoDet-Plus-m", "ncnn", "nanodet-plus", "nanodet_plus_m_416"),
    ("NanoDet-Plus-m-1.5x", "ncnn", "nanodet-plus", "teachers/nanodet_plus_m_1.5x_416"),
    ("YOLOX-Nano", "ncnn", "yolox", "teachers/yolox_nano"),
    ("PicoDet-S", "onnxruntime", "picodet", "teachers/picodet_s_416"),
)


def on_coco(folder: Path, names: tuple[str, ...]) -> Iterator[Detector]:
    """Those whose files and packages are there."""
    for name, engine, kind, file in ON_COCO:
        try:
            from opencv_squeezedet.training import CocoDetector

            teacher = CocoDetector(kind, folder / file, threads=1)
        except (ImportError, FileNotFoundError) as error:
            print(f"without {name}: {error}")
            continue
        columns = [teacher.labels.index(name) for name in names]

        def detect(image: Image, teacher: CocoDetector = teacher, columns: list[int] = columns) -> sd.Detections:
            return to_detections(teacher(image), names, columns)

        yield Detector(name, engine, megabytes(*teacher.files), "COCO", detect)


# ---- the measurement ------------------------------------------------------------------------------------------------------


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="annotated pictures, VOC's classes")
    parser.add_argument("--split", help="of the data set")
    parser.add_argument("--folder", type=Path, default=Path(), help="of the other detectors' files")
    parser.add_argument("--pictures", type=int, help="only so many")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    options = parser.parse_args()
    about = f"{machine()}; {pin_to_one_core()}"
    print(about)
    cv2.setNumThreads(1)
    dataset = load_dataset(options.dataset, labels=sd.VOC.labels, split=options.split)
    if options.pictures:
        dataset = replace(dataset, pictures=dataset.pictures[: options.pictures])
    detectors = [*embedded(), *on_coco(options.folder, sd.VOC.labels)]
    found: list[list[sd.Detections]] = [[] for _ in detectors]
    spent: list[list[float]] = [[] for _ in detectors]
    for picture in dataset.pictures:
        image = read_picture(picture.path)
        for detector, boxes, times in zip(detectors, found, spent, strict=True):
            start = process_time()
            boxes.append(detector.detect(image))
            times.append(process_time() - start)
    rows = []
    for detector, boxes, times in zip(detectors, found, spent, strict=True):
        evaluation = evaluate(dataset, boxes)
        about_it = {key: value for key, value in detector._asdict().items() if key != "detect"}
        numbers = {
            "voc07": 100 * evaluation.map_voc07,
            "voc10": 100 * evaluation.map_voc10,
            "coco": 100 * evaluation.coco["AP"],
        }
        rows.append({**about_it, **numbers, "milliseconds": 1e3 * median(times)})
    header = ("detector", "engine", "trained on", "MB", "VOC07", "VOC10", "COCO AP", "ms")
    keys = ("name", "engine", "trained_on", "megabytes", "voc07", "voc10", "coco", "milliseconds")
    print(f"{len(dataset.pictures)} pictures\n")
    print(table(header, [[f"{row[k]:.1f}" if isinstance(row[k], float) else row[k] for k in keys] for row in rows]))
    if options.json:
        rounded = [{k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
        told = {"machine": about, "pictures": len(dataset.pictures), "detectors": rounded}
        options.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
