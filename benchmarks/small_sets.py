"""Accuracy after training on small data sets with the defaults of squeezedet train.

python benchmarks/small_sets.py FOLDER [NAME ...] [--pictures 5000 12000]

Two sets are drawn into FOLDER, with COCO's JSON. "cells": blood under a microscope, 292 training and 73 validation pictures,
with three dense classes, one of them about 16 to 32 pixels large in 640x480. "animals": one class, 131 and 33 pictures of an
animal in many poses and colours in front of stones and trunks. Without --pictures the length is train's default.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from _timing import table

Box = tuple[int, list[int]]
"""A label and a box, xywh in pixels."""


def blurred(rng: np.random.Generator, shape: tuple[int, int], cell: int, low: int, high: int) -> np.ndarray:
    """Soft noise: grey levels that change about every ``cell`` pixels."""
    small = rng.integers(low, high, (shape[0] // cell + 2, shape[1] // cell + 2), dtype=np.uint8)
    return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32)


def ellipse(picture: np.ndarray, middle: np.ndarray, axes: np.ndarray, angle: float, colour: np.ndarray) -> None:
    """Fill an ellipse; ``axes`` are its half lengths, ``angle`` is in degrees."""
    at, halves = middle.astype(int).tolist(), axes.astype(int).tolist()
    cv2.ellipse(picture, at, halves, angle, 0, 360, colour.tolist(), -1, cv2.LINE_AA)


def line(picture: np.ndarray, start: np.ndarray, end: np.ndarray, colour: np.ndarray, width: float) -> None:
    """Draw a line of at least two pixels' width."""
    cv2.line(picture, start.astype(int).tolist(), end.astype(int).tolist(), colour.tolist(), max(2, int(width)), cv2.LINE_AA)


def box_of(before: np.ndarray, after: np.ndarray) -> list[int]:
    """Return the bounding box, xywh, of the pixels in which two pictures differ."""
    return list(cv2.boundingRect((before != after).any(2).astype(np.uint8)))


def cells(rng: np.random.Generator) -> tuple[np.ndarray, list[Box]]:
    """Red cells, mostly one white cell, and a few platelets."""
    picture: np.ndarray = np.full((480, 640, 3), rng.uniform((185, 180, 205), (215, 205, 230)), np.float32)
    kinds = [1] * int(rng.choice(3, p=(0.1, 0.8, 0.1))) + [0] * int(rng.integers(6, 19)) + [2] * int(rng.poisson(1.2))
    red, purple = rng.uniform((120, 115, 185), (160, 150, 215)), rng.uniform((120, 50, 90), (160, 90, 130))
    boxes: list[Box] = []
    discs: list[tuple[np.ndarray, float]] = []
    for kind in kinds:
        before = picture.copy()
        middle = rng.uniform((20, 20), (620, 460))
        radius = rng.uniform(*((38, 54), (65, 110), (8, 16))[kind])
        if any(np.hypot(*(other - middle)) < 0.75 * (size + radius) for other, size in discs):
            continue
        discs.append((middle, radius))
        shape = rng.uniform(0.85, 1.15, 2)
        angle = rng.uniform(0, 180)
        if kind == 0:
            ellipse(picture, middle, radius * shape, angle, red + rng.normal(0, 5, 3))
            ellipse(picture, middle + rng.normal(0, 3, 2), radius * 0.45 * shape, angle, red + rng.uniform(15, 45))
        elif kind == 1:
            ellipse(picture, middle, radius * shape, angle, purple + 70)
            for _ in range(rng.integers(2, 5)):
                ellipse(picture, middle + rng.normal(0, radius / 4, 2), radius * rng.uniform(0.3, 0.5, 2), angle, purple)
        else:
            ellipse(picture, middle, radius * shape, angle, purple + rng.uniform(10, 40))
        boxes.append((kind, box_of(before, picture)))
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(1, 2.5))
    return picture + blurred(rng, (480, 640), 80, 0, 40)[..., None] - 20 + rng.normal(0, 4, picture.shape), boxes


def animals(rng: np.random.Generator) -> tuple[np.ndarray, list[Box]]:
    """One or two animals among stones and trunks."""
    height, width = int(rng.integers(300, 480)), int(rng.integers(400, 640))
    ground = np.stack([blurred(rng, (height, width), int(rng.integers(8, 60)), 40, 190) for _ in range(3)], 2)
    picture: np.ndarray = 0.7 * ground + 0.3 * ground.mean(2, keepdims=True)
    for _ in range(rng.integers(2, 9)):
        x, y = rng.uniform((0, 0), (width, height))
        colour = rng.uniform(30, 200) + rng.normal(0, 15, 3)
        if rng.random() < 0.6:
            ellipse(picture, np.array([x, y]), rng.uniform(10, 70, 2), rng.uniform(0, 180), colour)
        else:
            line(picture, np.array([x, 0]), np.array([x + rng.normal(0, 30), height]), colour, rng.uniform(6, 30))
    middles = rng.uniform((0.2 * width, 0.3 * height), (0.8 * width, 0.7 * height), (2, 2))
    both = np.hypot(*(middles[0] - middles[1])) > 0.45 * width
    boxes: list[Box] = []
    for middle in middles if both else middles[:1]:
        before = picture.copy()
        add_animal(picture, middle, height * rng.uniform(0.12, 0.3), rng)
        boxes.append((0, box_of(before, picture)))
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 1.5))
    return picture * rng.uniform(0.7, 1.2) + rng.normal(0, 8, picture.shape), boxes


def add_animal(picture: np.ndarray, middle: np.ndarray, size: float, rng: np.random.Generator) -> None:
    """Draw a tail, two legs, a body, two ears and a head; ``size`` is half the length of the body."""
    fur = rng.uniform((40, 60, 80), (130, 150, 180)) + rng.normal(0, 10)
    lean, side = np.radians(rng.uniform(-50, 20)), rng.choice((-1, 1))
    ahead, up = np.array([side * np.cos(lean), np.sin(lean)]), np.array([side * np.sin(lean), -np.cos(lean)])
    angle = float(np.degrees(np.arctan2(ahead[1], ahead[0])))
    tail = middle - ahead * size * rng.uniform(1.6, 2.2) + np.array([0, size * rng.uniform(0, 0.8)])
    line(picture, middle - ahead * size * 0.8, tail, fur, size / 6)
    for at in (-0.6, 0.5):
        hip = middle + ahead * size * at
        line(picture, hip, hip + np.array([rng.normal(0, 0.25), rng.uniform(0.8, 1.2)]) * size, 0.9 * fur, size / 5)
    ellipse(picture, middle, size * np.array([1, rng.uniform(0.4, 0.6)]), angle, fur)
    head = middle + ahead * size * 1.05 + up * size * rng.uniform(0.2, 0.6)
    for spread in (-0.12, 0.18):
        ellipse(picture, head + up * size * 0.35 + ahead * size * spread, size * np.array([0.28, 0.1]), angle + 90, 0.8 * fur)
    ellipse(picture, head, size * np.array([0.38, 0.24]), angle, 1.05 * fur)


class SmallSet(NamedTuple):
    """A function that draws a picture (H, W, 3), BGR, and its boxes; the labels; the numbers of pictures of both splits."""

    draw: Callable[[np.random.Generator], tuple[np.ndarray, list[Box]]]
    labels: tuple[str, ...]
    train: int
    val: int


SETS = {
    "cells": SmallSet(cells, ("red", "white", "platelet"), train=292, val=73),
    "animals": SmallSet(animals, ("animal",), train=131, val=33),
}


def draw(name: str, folder: Path) -> None:
    """Write the pictures and ``train.json`` and ``val.json``."""
    drawn = SETS[name]
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", drawn.train), ("val", drawn.val)):
        images: list[dict[str, object]] = []
        annotations: list[dict[str, object]] = []
        for number in range(1, count + 1):
            picture, boxes = drawn.draw(rng)
            file = f"{split}{number:03d}.jpg"
            cv2.imwrite(str(folder / file), picture.clip(0, 255).astype(np.uint8))
            images.append({"id": number, "file_name": file, "width": picture.shape[1], "height": picture.shape[0]})
            for label, box in boxes:
                annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "bbox": box}
                annotations.append(annotation | {"area": box[2] * box[3], "iscrowd": 0})
        categories = [{"id": i, "name": label} for i, label in enumerate(drawn.labels, start=1)]
        truth = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(truth))


def trained(folder: Path, pictures: int | None) -> list[str]:
    """Train and evaluate with the commands, and return a row of the table."""
    run = folder / f"run-{pictures or 'default'}"
    command = [sys.executable, "-m", "opencv_squeezedet"]
    length = [] if pictures is None else ["--pictures", str(pictures)]
    train, val = str(folder / "train.json"), str(folder / "val.json")
    subprocess.run([*command, "train", train, "--val", val, "-o", str(run), *length], check=True)
    found = run / "eval.json"
    subprocess.run([*command, "eval", val, "--model", str(run / "model"), "--json", str(found), "--quiet"], check=True)
    evaluation = json.loads(found.read_bytes())
    seen = json.loads((run / "recipe.json").read_bytes())["pictures"]
    worst = min(evaluation["classes"], key=lambda one: one["voc10"])
    values = (evaluation["map_voc07"], evaluation["map_voc10"], evaluation["coco"]["AP"], worst["voc10"])
    return [folder.name, f"{seen:,}", *(f"{100 * value:.1f}" for value in values), worst["label"]]


HEADER = ("set", "pictures seen", "VOC07", "VOC10", "AP", "worst class, VOC10", "which")


def main() -> None:
    """Draw, train and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the pictures and the trainings")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"sets to use (default: all): {', '.join(SETS)}")
    parser.add_argument(
        "--pictures", type=int, nargs="+", default=[None], help="pictures that each training sees (default: train's)"
    )
    options = parser.parse_args()
    names = options.names or list(SETS)
    if unknown := [name for name in names if name not in SETS]:
        parser.error(f"no set {', '.join(unknown)}; there are {', '.join(SETS)}")
    rows = []
    for name in names:
        draw(name, options.folder / name)
        rows += [trained(options.folder / name, pictures) for pictures in options.pictures]
    print(table(HEADER, rows))


if __name__ == "__main__":
    main()
