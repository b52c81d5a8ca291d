"""Pictures per second of an evaluation, files and metrics included, beside the bare forward pass.

python benchmarks/evaluation.py DATASET [--pictures N] [--blocks N]

The bare pass is one network on all cores, as an application runs it, again and again on the same blob. Both are measured in
turn; the figure is the median of the blocks' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time

import cv2
from _timing import machine, table
from throughput import bare_rate

import opencv_squeezedet as sd
from opencv_squeezedet.cli.detectors import load_detectors
from opencv_squeezedet.datasets import Dataset, load_dataset
from opencv_squeezedet.evaluation import detect_dataset, evaluate
from opencv_squeezedet.pictures import read_picture


def evaluation_rate(dataset: Dataset, detectors: list[sd.SqueezeDet], threads: int) -> float:
    """Pictures per second from the first file to the last metric, each detector with this number of threads."""
    cv2.setNumThreads(threads)
    start = time.perf_counter()
    evaluate(dataset, detect_dataset(dataset, detectors).detections)
    return len(dataset.pictures) / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--blocks", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    all_threads = cv2.getNumThreads()
    detectors = load_detectors(argparse.Namespace(model=None, weights=None, backend="opencv", target=None, letterbox=False))
    threads = cv2.getNumThreads()
    whole = load_dataset(options.dataset, labels=detectors[0].config.labels)
    dataset = Dataset(whole.labels, whole.pictures[: options.pictures], whole.problems)
    blob = detectors[0].preprocess.blob(read_picture(dataset.pictures[0].path))
    evaluation_rate(Dataset(whole.labels, dataset.pictures[:10], ()), detectors, threads)
    rates = []
    for _ in range(options.blocks):
        ours = evaluation_rate(dataset, detectors, threads)
        cv2.setNumThreads(all_threads)
        bare_rate(detectors[0], blob, 5)
        rates.append((ours, bare_rate(detectors[0], blob, len(dataset.pictures) // 2)))
    ours, bare = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(a / b for a, b in rates)
    header = [f"{len(dataset.pictures)} pictures", "evaluation, pictures/s", "bare forward, passes/s", "ratio"]
    print(table(header, [["embedded model", f"{ours:.1f}", f"{bare:.1f}", f"{ratio:.2f}"]]))


if __name__ == "__main__":
    main()
