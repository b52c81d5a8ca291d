"""Measures small detectors on the same pictures: mAP for PASCAL VOC's classes, milliseconds from picture to boxes on one core.

python benchmarks/zoo.py DATASET --folder WEIGHTS --json docs/measured/zoo.json

The embedded model, with each backend that is installed, beside detectors that were trained on COCO: NanoDet-m,
NanoDet-Plus-m-1.5x and YOLOX-Nano by ncnn (extra ``[teach]``), PicoDet-S by onnxruntime. Their files are in the folder:
``nanodet_m``, ``teachers/nanodet_plus_m_1.5x_416`` and ``teachers/yolox_nano`` as ``.param`` and ``.bin``, and
``teachers/picodet_s_416.onnx``. What is missing is left out.

All detectors see a picture before the next one is read. The time is processor time, which other programs disturb little: the
median over the pictures, without reading the file.
Scores from 0.01 (NanoDet-m: from 0.05) and up to 100 boxes a picture count. COCO's classes that VOC lacks are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any, NamedTuple

import cv2
import numpy as np
from _timing import machine, pin_to_one_core, table
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.datasets import load_dataset
from opencv_squeezedet.evaluation import evaluate
from opencv_squeezedet.files import read_picture
from opencv_squeezedet.model import EMBEDDED, models_folder
from opencv_squeezedet.postprocess import nms

Image = NDArray[np.uint8]
Found = tuple[NDArray[Any], NDArray[Any]]  # boxes (N, 4) in fractions of the picture, scores of all classes (N, 80)
SIDE = 416
LEAST, NMS, MOST = 0.01, 0.6, 100
IMAGENET = np.float32([0.485, 0.456, 0.406]) * 255, np.float32([0.229, 0.224, 0.225]) * 255  # RGB


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
    weights = Path(models_folder()) / f"{EMBEDDED}.caffemodel"
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


def to_detections(found: Found, image: Image, names: tuple[str, ...], columns: list[int]) -> sd.Detections:
    """The best class of each box among ours, and NMS."""
    xyxy, scores = found
    scores = scores[:, columns]
    class_id, best = scores.argmax(1).astype(np.int32), scores.max(1)
    seen = np.flatnonzero(best > LEAST)
    xyxy = xyxy[seen].clip(0, 1) * np.float32(image.shape[1::-1] * 2)
    kept = nms(xyxy, best[seen], class_id[seen], nms_threshold=NMS)[:MOST]
    return sd.Detections(xyxy[kept], best[seen][kept], class_id[seen][kept], names)


def distances(scores: list[NDArray[Any]], bins: list[NDArray[Any]], shift: float) -> Found:
    """Boxes of the strides 8, 16, 32 and 64 from the distributions of the distances to their four edges."""
    boxes = []
    likely = [np.flatnonzero(each.max(1) > LEAST) for each in scores]
    for stride, distribution, seen in zip((8, 16, 32, 64), bins, likely, strict=True):
        weights = np.exp(distribution[seen].reshape(-1, 4, 8))
        edges = (weights * np.arange(8)).sum(-1) / weights.sum(-1)
        row, column = np.divmod(seen, -(-SIDE // stride))
        middle = np.stack([column, row], axis=1) + shift
        boxes.append(np.concatenate([middle - edges[:, :2], middle + edges[:, 2:]], axis=1) * stride / SIDE)
    return np.concatenate(boxes), np.concatenate([each[seen] for each, seen in zip(scores, likely, strict=True)])


def load_ncnn(stem: Path) -> Any:
    """A network of ncnn on one thread."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.load_param(f"{stem}.param")
    net.load_model(f"{stem}.bin")
    return net


def nanodet_plus(stem: Path) -> Callable[[Image], Found]:
    """NanoDet-Plus-m-1.5x: the picture stretched, BGR."""
    import ncnn

    net = load_ncnn(stem)

    def detect(image: Image) -> Found:
        blob = ncnn.Mat.from_pixels_resize(image, ncnn.Mat.PixelType.PIXEL_BGR, *image.shape[1::-1], SIDE, SIDE)
        blob.substract_mean_normalize((103.53, 116.28, 123.675), (0.017429, 0.017507, 0.017125))
        run = net.create_extractor()
        run.input("data", blob)
        scores = [np.array(run.extract(f"cls{stride}")[1]) for stride in (8, 16, 32, 64)]
        scores = [each.reshape(each.shape[0], -1).T for each in scores]
        bins = [np.array(run.extract(f"dis{stride}")[1]).reshape(-1, 32) for stride in (8, 16, 32, 64)]
        return distances(scores, bins, 0.0)

    return detect


def picodet(file: Path) -> Callable[[Image], Found]:
    """PicoDet-S: the picture stretched, RGB."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    outputs = [f"save_infer_model/scale_{i}.tmp_1" for i in range(8)]
    mean, deviation = IMAGENET

    def detect(image: Image) -> Found:
        blob = (cv2.resize(image, (SIDE, SIDE))[:, :, ::-1] - mean) / deviation
        given = session.run(outputs, {"image": blob.transpose(2, 0, 1)[None].astype(np.float32)})
        given = [each.reshape(-1, each.shape[-1]) for each in given]
        return distances(given[:4], given[4:], 0.5)

    return detect


def yolox(stem: Path) -> Callable[[Image], Found]:
    """YOLOX-Nano without its first layer: the picture at the top left of a square, RGB, four pixels as channels."""
    import ncnn

    net = load_ncnn(stem)
    mean, deviation = IMAGENET
    strides = np.concatenate([np.full((SIDE // stride) ** 2, stride) for stride in (8, 16, 32)])
    cells = np.concatenate([np.indices((SIDE // s, SIDE // s))[::-1].reshape(2, -1).T for s in (8, 16, 32)])

    def detect(image: Image) -> Found:
        scale = SIDE / max(image.shape[:2])
        width, height = round(image.shape[1] * scale), round(image.shape[0] * scale)
        square = np.full((SIDE, SIDE, 3), 114, np.uint8)
        square[:height, :width] = cv2.resize(image, (width, height))
        planes = ((square[:, :, ::-1] - mean) / deviation).transpose(2, 0, 1).astype(np.float32)
        quarters = [planes[:, ::2, ::2], planes[:, 1::2, ::2], planes[:, ::2, 1::2], planes[:, 1::2, 1::2]]
        blob = np.ascontiguousarray(np.concatenate(quarters))  # outlives the run: ncnn looks at its memory
        run = net.create_extractor()
        run.input("683", ncnn.Mat(blob))
        given = np.array(run.extract("output")[1])
        middle = (given[:, :2] + cells) * strides[:, None]
        half = np.exp(given[:, 2:4]) * strides[:, None] / 2
        return np.concatenate([middle - half, middle + half], axis=1) / np.float32([width, height] * 2), given[:, 5:] * given[
            :, 4:5
        ]

    return detect


def on_coco(folder: Path, names: tuple[str, ...]) -> Iterator[Detector]:
    """Those whose files and packages are there."""
    try:
        from opencv_squeezedet.training import nanodet
    except ImportError as error:
        print(f"without the detectors trained on COCO: {error}")
        return
    columns = [nanodet.LABELS.index(name) for name in names]

    def ours(find: Callable[[Image], Found]) -> Callable[[Image], sd.Detections]:
        return lambda image: to_detections(find(image), image, names, columns)

    def first_nanodet(image: Image) -> Found:
        opinion = teacher(image)
        return opinion.xyxy / np.float32(image.shape[1::-1] * 2), opinion.scores

    def there(*files: Path) -> bool:
        missing = [str(file) for file in files if not file.is_file()]
        if missing:
            print(f"without {' and '.join(missing)}")
        return not missing

    files = [folder / "nanodet_m.param", folder / "nanodet_m.bin"]
    if there(*files):
        teacher = nanodet.NanoDet(folder)
        yield Detector("NanoDet-m", "ncnn", megabytes(*files), "COCO", ours(first_nanodet))
    for name, make, file in (
        ("NanoDet-Plus-m-1.5x", nanodet_plus, "nanodet_plus_m_1.5x_416"),
        ("YOLOX-Nano", yolox, "yolox_nano"),
    ):
        files = [folder / "teachers" / f"{file}{suffix}" for suffix in (".param", ".bin")]
        if there(*files):
            yield Detector(name, "ncnn", megabytes(*files), "COCO", ours(make(files[0].with_suffix(""))))
    file = folder / "teachers" / "picodet_s_416.onnx"
    if there(file):
        yield Detector("PicoDet-S", "onnxruntime", megabytes(file), "COCO", ours(picodet(file)))


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
