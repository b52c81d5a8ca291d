"""Measures all the steps from a picture's file to its boxes with the embedded model, stage by stage.

Each repeat goes through all stages once, like a program that handles one picture after the other. Beside it: how much
preprocessing costs over a bare ``cv2.dnn.blobFromImage``, and the method of OpenCV's C++ sample of 2017, which runs the
network once for each of its three outputs.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from _timing import Call, alternate, machine, ratio, sampler, table, typical
from backends import three_passes
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.timing import StageTimes

PICTURE = Path(__file__).resolve().parents[1] / "samples" / "chelsea.jpg"
Image = NDArray[Any]


def read(path: Path) -> Image:
    """Read and decode a picture; FileNotFoundError or ValueError if that fails."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{str(path)!r} is not a picture that OpenCV can read")
    return image


# ---- the stages -----------------------------------------------------------------------------------------------------------

STAGES = ("read and decode", "preprocess", "network", "post-process", "detect()")


def measure_stages(detector: sd.SqueezeDet, path: Path, repeats: int) -> dict[str, float]:
    """Go from the file to the boxes this many times; return the median seconds of each stage."""
    for _ in range(3):
        detector.detect(read(path))
    times = StageTimes(*STAGES)
    detector.on_stage = times.add
    for _ in range(repeats):
        with times.stage("read and decode"):
            image = read(path)
        with times.stage("detect()"):
            detector.detect(image)
    detector.on_stage = None
    return {name: median(seconds) for name, seconds in times.seconds.items()}


# ---- comparisons ----------------------------------------------------------------------------------------------------------


def bare_blob(detector: sd.SqueezeDet, image: Image) -> Image:
    """``cv2.dnn.blobFromImage`` as the detector's preprocessing calls it, without its checks."""
    p = detector.preprocess
    return cv2.dnn.blobFromImage(image, p.scale, p.size, p.mean, p.swap_rb, crop=False)


def compare_preprocessing(detector: sd.SqueezeDet, image: Image, blocks: int) -> str:
    """One line: the detector's preprocessing beside the bare function."""
    calls = {"ours": partial(detector.preprocess.blob, image), "bare": partial(bare_blob, detector, image)}
    measured = alternate({name: sampler(call) for name, call in calls.items()}, blocks)
    return (
        f"preprocess / bare blobFromImage: {ratio(measured, 'ours', 'bare'):.3f} "
        f"({typical(measured, 'ours') * 1e3:.3f} ms and {typical(measured, 'bare') * 1e3:.3f} ms)"
    )


def compare_passes(detector: sd.SqueezeDet, image: Image, blocks: int) -> str:
    """One line: ``detect()`` beside three passes, each with its own network, which is set up for its outputs once."""
    calls: dict[str, Call] = {"one": partial(detector.detect, image), "three": partial(three_passes, sd.SqueezeDet(), image)}
    measured = alternate({name: sampler(call) for name, call in calls.items()}, blocks, samples=3)
    return (
        f"three passes and InferBbox / detect(): {ratio(measured, 'three', 'one'):.2f} "
        f"({typical(measured, 'three') * 1e3:.1f} ms and {typical(measured, 'one') * 1e3:.1f} ms)"
    )


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", type=Path, default=PICTURE, help="a picture (default: samples/chelsea.jpg)")
    parser.add_argument("--repeats", type=int, default=60, help="times that the stages are measured (default 60)")
    parser.add_argument("--blocks", type=int, default=21, help="alternating blocks of each comparison (default 21)")
    parser.add_argument("--threads", type=int, help="OpenCV's threads (default: its own choice)")
    options = parser.parse_args()
    if options.threads is not None:
        cv2.setNumThreads(options.threads)
    detector, image = sd.SqueezeDet(), read(options.image)
    found = detector.detect(image)
    print(f"{machine()}; {cv2.getNumThreads()} OpenCV threads")
    print(f"{options.image.name}, {image.shape[1]}x{image.shape[0]}: {found}\n")
    p50 = measure_stages(detector, options.image, options.repeats)
    shares = [(name, f"{spent * 1e3:.3f}", f"{100 * spent / p50['detect()']:.2f}") for name, spent in p50.items()]
    print(table([f"stage, median of {options.repeats}", "ms", "% of detect()"], shares), end="\n\n")
    print(compare_preprocessing(detector, image, options.blocks))
    print(compare_passes(detector, image, options.blocks))


if __name__ == "__main__":
    main()
