"""Calibration images for `compress` and `quantize`."""

from __future__ import annotations

from pathlib import Path

from opencv_squeezedet.pictures import PICTURE_SUFFIXES, read_picture
from opencv_squeezedet.preprocess import Picture


def calibration_images(folder: Path, count: int) -> list[Picture]:
    """Read ``count`` pictures of a folder, taken evenly from its sorted names; ValueError if there are none."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise ValueError(f"no pictures in {str(folder)!r}")
    return [read_picture(paths[i * len(paths) // count]) for i in range(min(count, len(paths)))]
