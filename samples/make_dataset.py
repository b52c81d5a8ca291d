"""Draws a small data set for trying out training: screws and rings on a cluttered table, with YOLO's label files.

python samples/make_dataset.py bolts
squeezedet train bolts/data.yaml --size 192 --batch 8 --pictures 4000 -o runs/bolts
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

LABELS = ("screw", "ring")
SIZE = 240


def table(rng: np.random.Generator) -> np.ndarray:
    """A background with soft stains and scratches."""
    stains = rng.integers(60, 190, (6, 6, 3), dtype=np.uint8)
    picture = cv2.resize(stains, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        start, end = rng.integers(0, SIZE, (2, 2)).tolist()
        cv2.line(picture, start, end, rng.integers(40, 210, 3).tolist(), 1, cv2.LINE_AA)
    return picture


def add_screw(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a screw, and return the corners of its box."""
    length, angle = rng.uniform(45, 110), rng.uniform(0, np.pi)
    middle = rng.uniform(50, SIZE - 50, 2)
    along = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    tip, head = (middle - along).astype(int), (middle + along).astype(int)
    steel = rng.integers(150, 230)
    cv2.line(picture, tip.tolist(), head.tolist(), [int(steel)] * 3, 7, cv2.LINE_AA)
    cv2.circle(picture, head.tolist(), 9, [int(steel - 60)] * 3, -1, cv2.LINE_AA)
    return np.array([tip - 4, tip + 4, head - 9, head + 9])


def add_ring(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a ring, and return the corners of its box."""
    radius = int(rng.uniform(14, 40))
    middle = rng.integers(radius + 5, SIZE - radius - 5, 2)
    brass = (int(rng.integers(30, 70)), int(rng.integers(140, 180)), int(rng.integers(180, 230)))
    cv2.circle(picture, middle.tolist(), radius, brass, max(4, radius // 3), cv2.LINE_AA)
    return np.array([middle - radius - radius // 6, middle + radius + radius // 6])


def apart(one: np.ndarray, others: list[np.ndarray]) -> bool:
    """Whether a box, given by its lowest and highest corner, overlaps none of the others."""
    return all((np.maximum(one[0], other[0]) >= np.minimum(one[1], other[1])).any() for other in others)


def add_sample(folder: Path, split: str, name: str, rng: np.random.Generator) -> None:
    """Write a picture and its label file."""
    picture = table(rng)
    boxes: list[np.ndarray] = []
    lines = []
    for _ in range(rng.integers(1, 5)):
        label, drawn = int(rng.integers(len(LABELS))), picture.copy()
        corners = (add_screw, add_ring)[label](drawn, rng)
        box = np.stack([corners.min(0), corners.max(0)]).clip(0, SIZE)
        if not apart(box, boxes):
            continue
        picture = drawn
        boxes.append(box)
        (x, y), (width, height) = box.mean(0) / SIZE, (box[1] - box[0]) / SIZE
        lines.append(f"{label} {x:.5f} {y:.5f} {width:.5f} {height:.5f}\n")
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "images" / split / f"{name}.jpg"), picture)
    (folder / "labels" / split / f"{name}.txt").write_text("".join(lines))


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=120, help="pictures to train on; a fifth as many more are for validation")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    for split, count in (("train", args.count), ("val", args.count // 5)):
        for i in range(count):
            add_sample(args.folder, split, f"{i:04d}", rng)
    names = "".join(f"  {i}: {label}\n" for i, label in enumerate(LABELS))
    (args.folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\nnames:\n{names}")


if __name__ == "__main__":
    main()
