"""What the tests of commands share: the photo, ``detect`` in a process of its own, a video, and the files that came."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

PHOTO = Path(__file__).parents[2] / "samples" / "chelsea.jpg"
DETECT = [sys.executable, "-c", "import sys; from opencv_squeezedet.cli import detect_main; sys.exit(detect_main())"]
SQUEEZEDET = [sys.executable, "-c", "import sys; from opencv_squeezedet.cli import main; sys.exit(main())"]
FRAMES = 12


def copy_photo(*names: str) -> None:
    """Copy the photo; skip the test where the file system does not accept a name."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy(PHOTO, name)
        except OSError:
            pytest.skip("this file system does not accept the name")


def make_video(path: str = "film.avi", frames: int = FRAMES, fps: float = 10) -> None:
    """The photo, moving to the left."""
    image = cv2.imread(str(PHOTO))[:, :320]
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), fps, (320, 300))
    assert writer.isOpened()
    for i in range(frames):
        writer.write(np.roll(image, -5 * i, axis=1))
    writer.release()


def write_cats(folder: Path, pictures: int = 1, sides: tuple[int, ...] = (290,)) -> Path:
    """A COCO data set: the photo, so many times, and on the first of them square boxes of these sides."""
    for i in range(1, pictures + 1):
        shutil.copy(PHOTO, folder / f"{i}.jpg")
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 451, "height": 300} for i in range(1, pictures + 1)]
    boxes = [{"id": i, "image_id": 1, "category_id": 1, "bbox": [10, 3, side, side]} for i, side in enumerate(sides, 1)]
    path = folder / "data.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}))
    return path


def written(folder: Path | str) -> list[str]:
    """All files in a folder and its subfolders."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def error_line(
    main: Callable[[list[str]], int], arguments: list[object], capsys: pytest.CaptureFixture[str], *, status: int = 2
) -> str:
    """Run a command that fails with one line on standard error, and return the line."""
    assert main([*map(str, arguments)]) == status
    out, error = capsys.readouterr()
    assert error.count("\n") == 1, error
    assert status == 1 or not out
    return error.rstrip("\n")
