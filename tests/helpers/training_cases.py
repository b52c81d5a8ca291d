"""A data set of coloured squares, a tiny network, recipes whose training takes a second, and the death of a worker."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from networks import MODELS

from opencv_squeezedet.datasets import Dataset, load_dataset
from opencv_squeezedet.network import Network, PReLU
from opencv_squeezedet.network.architectures import TRAINABLE, Architecture, squeezedet_pyramid
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


def tiny(*parameters: Any) -> Network:
    """The first layers and the last ones of the pyramid; its first activation is PReLU."""
    whole = squeezedet_pyramid(*parameters)
    layers = {layer.name: layer for layer in whole.layers}
    names = list(layers)
    layers["relu_conv1"] = PReLU(name="relu_conv1", bottoms=("conv1",), tops=("conv1",))
    layers["pool3"] = replace(layers["pool3"], bottoms=("fire2",))
    layers["pool5"] = replace(layers["pool5"], bottoms=("pool3",))
    layers["conv15"] = replace(layers["conv15"], bottoms=("pool5",), outputs=32)  # type: ignore[call-arg]
    chosen = [*names[: names.index("fire2") + 1], "pool3", "pool5", *names[names.index("conv15") :]]
    return Network("Tiny", "data", whole.input_shape, tuple(layers[name] for name in chosen))


TRAINABLE["tiny"] = Architecture(name="tiny", build=tiny, task="detector", trained_as="tiny")


def recipe(**options: Any) -> Recipe:
    """One whose steps take milliseconds, float32, so that a run can be repeated to the bit."""
    defaults: dict[str, Any] = {
        "network": "tiny",
        "frozen": ("conv1",),
        "normalized": "all",
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


@contextmanager
def locked_elsewhere(folder: Path) -> Iterator[None]:
    """Lock a folder in another process, which is killed at the end of the block."""
    code = "import sys; from pathlib import Path; from opencv_squeezedet.training.lock import lock_folder\n"
    code += "lock = lock_folder(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield
        process.kill()
