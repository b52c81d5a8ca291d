"""Pictures and video frames per second of the command ``detect``, files and drawing included, beside the bare forward pass.

python benchmarks/throughput.py [--frames N] [--blocks N]

The bare pass is one network on all cores, as an application runs it, again and again on the same blob. Both are measured in
turn; the figure is the median of the blocks' ratios. Then the command's peak memory for few and for many pictures.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from _timing import machine

import opencv_squeezedet as sd

PHOTO = Path(__file__).parents[1] / "samples" / "chelsea.jpg"
COMMAND = [sys.executable, "-c", "import sys; from opencv_squeezedet.cli import detect_main; sys.exit(detect_main())"]


def make_pictures(folder: Path, count: int) -> Path:
    """Write this many JPEG files of 500x375, with the photo shifted."""
    folder.mkdir()
    image = cv2.resize(cv2.imread(str(PHOTO)), (500, 375))
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:04}.jpg"), np.roll(image, 7 * i, axis=1))
    return folder


def make_video(path: Path, frames: int) -> Path:
    """Write a video of 640x480 with this many frames."""
    image = cv2.resize(cv2.imread(str(PHOTO)), (640, 480))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (640, 480))
    for i in range(frames):
        writer.write(np.roll(image, 7 * i, axis=1))
    writer.release()
    return path


def detect_rate(source: Path, output: Path, frames: int) -> float:
    """Frames per second of the command, without the time that Python and OpenCV take to start."""
    start = time.perf_counter()
    subprocess.run([*COMMAND, str(source), "-o", str(output), "--quiet"], check=True)
    return frames / (time.perf_counter() - start - start_up())


def start_up() -> float:
    """Seconds that the command takes just to start."""
    if not _start_up:
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([*COMMAND, "--version"], check=True, capture_output=True)
            _start_up.append(time.perf_counter() - start)
    return statistics.median(_start_up)


_start_up: list[float] = []


def bare_rate(detector: sd.SqueezeDet, blob: np.ndarray, passes: int) -> float:
    """Forward passes per second, with their outputs retrieved."""
    start = time.perf_counter()
    for _ in range(passes):
        detector.backend.forward(blob)
    return passes / (time.perf_counter() - start)


def peak_mebibytes(source: Path, output: Path) -> float:
    """Peak resident memory of the command."""
    code = COMMAND[-1].replace(
        "sys.exit(main())", "main(); import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    arguments = [sys.executable, "-c", code, str(source), "-o", str(output), "--quiet"]
    return int(subprocess.run(arguments, check=True, capture_output=True).stdout) / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--blocks", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    detector = sd.SqueezeDet()
    blob = detector.preprocess.blob(cv2.imread(str(PHOTO)))
    bare_rate(detector, blob, 10)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = {
            "pictures, 500x375": make_pictures(folder / "pictures", options.frames),
            "video, 640x480": make_video(folder / "film.mp4", options.frames),
        }
        print(f"\n| {options.frames} frames | detect, frames/s | bare forward, passes/s | ratio |")
        print("| --- | ---: | ---: | ---: |")
        for what, source in sources.items():
            rates = [
                (detect_rate(source, folder / "out", options.frames), bare_rate(detector, blob, options.frames // 2))
                for _ in range(options.blocks)
            ]
            ours, bare = (statistics.median(column) for column in zip(*rates, strict=True))
            ratio = statistics.median(a / b for a, b in rates)
            print(f"| {what} | {ours:.1f} | {bare:.1f} | {ratio:.2f} |")
        print()
        many = make_pictures(folder / "many", 4 * options.frames)
        for what, source in (("", sources["pictures, 500x375"]), ("4 x ", many)):
            print(f"peak memory for {what}{options.frames} pictures: {peak_mebibytes(source, folder / 'out'):.0f} MiB")


if __name__ == "__main__":
    main()
