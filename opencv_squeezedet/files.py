"""Pictures from files, and files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import cv2
import numpy as np

from opencv_squeezedet.preprocess import Picture

PICTURE_SUFFIXES = frozenset(
    {".bmp", ".dib", ".jpeg", ".jpg", ".jpe", ".jp2", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)


def read_picture(path: Path) -> Picture:
    """Return a picture file as (H, W, 3) uint8 BGR, upright as its EXIF orientation says.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a picture that OpenCV can decode.
    """
    content = np.fromfile(path, np.uint8)  # cv2.imread cannot open every file name everywhere
    if not content.size:
        raise ValueError("the file is empty")
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f"OpenCV cannot decode it: {' '.join(str(error.err).split())}") from error
    if image is None:
        raise ValueError("it is not a picture that OpenCV can decode")
    return image


def encode_picture(image: Picture, suffix: str) -> bytes:
    """Return the bytes of a picture file of the type that the suffix names.

    Raises
    ------
    ValueError
        If OpenCV cannot write such files, or not this picture.
    """
    try:
        done, content = cv2.imencode(suffix, image)
    except cv2.error as error:
        raise ValueError(f"OpenCV cannot write it as {suffix!r}: {' '.join(str(error.err).split())}") from error
    if not done:
        raise ValueError(f"OpenCV cannot write it as {suffix!r}")
    return content.tobytes()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside it, then rename it: it appears whole, or not at all.

    Raises
    ------
    OSError
        If the folder cannot be written to, or the disk is full; a file that was there before is then unchanged.
    """
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
