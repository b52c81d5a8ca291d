"""A data set of coloured squares, recipes whose training takes seconds, and the death of a data-loading worker."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from networks import MODELS

from opencv_squeezedet.datasets import Dataset, load_dataset
from opencv_squeezedet.training import Recipe, Schedule
from opencv_squeezedet.training.augment import NONE

torch.set_num_threads(1)  # sums in one order, and no threads that wait for each other where a machine has other things to do

FRAME = 96
PYRAMID = str(MODELS / "squeezedet_pyramid_voc.sdz")
COLOURS = ((40, 40, 220), (220, 60, 40))


def draw_squares(folder: Path, split: str, count: int, *, labels: int = 2, seed: int = 0) -> None:
    """Pictures of one or two squares each, with YOLO's label files."""
    rng = np.random.default_rng(seed)
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image, lines = rng.integers(90, 130, (FRAME, FRAME, 3), dtype=np.uint8), []
        for place in range(rng.integers(1, 3)):
            label, side = int(rng.integers(labels)), int(rng.integers(24, 40))
            x, y = rng.integers([48 * place, 0], [48 * place + 48 - side + 8, FRAME - side]).tolist()
            cv2.rectangle(image, (x, y), (x + side - 1, y + side - 1), COLOURS[label], -1)
            side_x = min(side, FRAME - x)
            values = ((x + side_x / 2) / FRAME, (y + side / 2) / FRAME, side_x / FRAME, side / FRAME)
            lines.append(f"{label} {' '.join(f'{value:.6f}' for value in values)}\n")
        cv2.imwrite(str(folder / "images" / split / f"{split}{i}.png"), image)
        (folder / "labels" / split / f"{split}{i}.txt").write_text("".join(lines))
    names = ["red", "blue"][:labels]
    (folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\nnames: [{', '.join(names)}]\n")


def squares(folder: Path, count: int = 12, **options: int) -> tuple[Dataset, Dataset]:
    """The data set to train on, and the one to measure on."""
    draw_squares(folder, "train", count, **options)
    draw_squares(folder, "val", 5, **{**options, "seed": 1})
    train = load_dataset(folder / "data.yaml", split="train")
    return train, load_dataset(folder / "data.yaml", split="val", labels=train.labels)


def recipe(**options: Any) -> Recipe:
    """One whose steps take milliseconds, float32, so that a run can be repeated to the bit."""
    defaults: dict[str, Any] = {
        "network": "pyramid",
        "input_size": (96, 96),
        "start": PYRAMID,
        "pictures": 48,
        "batch": 4,
        "small": 0.5,
        "schedule": Schedule(bfloat16=False),
        "augmentation": NONE,
    }
    return Recipe(**{**defaults, **options})


def kill_worker() -> None:
    """Kill the only data-loading worker, and wait for its signal, whose handler may raise."""
    (worker,) = multiprocessing.active_children()
    worker.kill()
    time.sleep(5)
