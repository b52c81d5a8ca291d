"""The detectors that a subcommand works with."""

from __future__ import annotations

import os

import cv2

from opencv_squeezedet.cli.common import CommandError, native_messages_hidden, reason, shown
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.model import find_model
from opencv_squeezedet.preprocess import Resize

MOST_WORKERS = 8  # each has a network of its own


def load_detectors(
    model: str | None, weights: str | None, *, letterbox: bool = False, most: int = MOST_WORKERS
) -> list[SqueezeDet]:
    """Return a detector for each core (networks side by side on one core each do more than one network on all of them).

    Raises
    ------
    CommandError
        If the model's files cannot be read, or do not fit each other.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(cores, most)
    try:
        find_model(model, weights)  # published weights may have to be fetched, which shows its progress
        with native_messages_hidden():
            resize: Resize | None = "letterbox" if letterbox else None
            detectors = [SqueezeDet(model, weights, resize=resize) for _ in range(count)]
    except OSError as error:
        name = f"{shown(error.filename)}: " if error.filename else ""
        raise CommandError(name + reason(error)) from error
    except ModelError as error:
        raise CommandError(reason(error)) from error
    if count > 1:
        cv2.setNumThreads(max(1, cores // count))
    return detectors
