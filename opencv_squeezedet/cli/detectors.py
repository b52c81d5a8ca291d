"""The detectors of a subcommand, one per core."""

from __future__ import annotations

import argparse

import cv2

from opencv_squeezedet.cli.errors import usage_errors
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.model import Model
from opencv_squeezedet.pipeline import available_cores
from opencv_squeezedet.preprocess import Resize

MOST_WORKERS = 8  # each holds a copy of the network


def load_detectors(
    args: argparse.Namespace, *, size: tuple[int, int] | None = None, most: int = MOST_WORKERS
) -> list[SqueezeDet]:
    """Return a detector per core: several networks on one core each are faster than one network on all cores.

    ``args`` has the options of model, backend and letterbox. CommandError if the model cannot be read or is inconsistent, or
    if the backend or the target is not available.
    """
    cores = available_cores()
    count = min(cores, most)
    if count > 1:
        cv2.setNumThreads(max(1, cores // count))  # before the networks are created, when onnxruntime reads it
    resize: Resize | None = "letterbox" if args.letterbox else None
    with usage_errors():
        loaded = Model.load(args.model, args.weights, task="detector")
        if size is not None:
            loaded = loaded.as_detector().resized(size)
        return [SqueezeDet(loaded, resize=resize, backend=args.backend, target=args.target) for _ in range(count)]
