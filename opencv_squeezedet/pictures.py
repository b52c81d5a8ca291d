"""Picture files: reading, decoding and encoding."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from opencv_squeezedet.files import read_regular
from opencv_squeezedet.preprocess import Picture, as_bgr

VIDEO_SUFFIXES = frozenset({".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"})
PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
MOST_PICTURE_BYTES = 1 << 30
"""The maximum size of a picture file; OpenCV decodes at most 2^30 pixels."""

_PNG, _RADIANCE = b"\x89PNG\r\n\x1a\n", b"#?"


def read_picture(path: Path) -> Picture:
    """Return a picture file as (H, W, 3) uint8 BGR, rotated by its EXIF orientation; OSError if it cannot be read.

    ValueError if it is not a regular file of at most `MOST_PICTURE_BYTES`, or not a picture that OpenCV can decode.
    """
    return decode_picture(read_regular(path, MOST_PICTURE_BYTES))  # cv2.imread does not support every file name


def decode_picture(content: bytes) -> Picture:
    """Decode the bytes of a picture file, as `read_picture`; ValueError if OpenCV cannot decode them.

    Float pictures, which OpenCV would round to 0 and 1, are converted by `as_bgr`.
    """
    if not content:
        raise ValueError("the file is empty")
    if content.startswith(_PNG):
        _check_chunks(content)
    data = np.frombuffer(content, np.uint8)
    image = _decoded(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind == "f" and not content.startswith(_RADIANCE):  # OpenCV converts Radiance's floats itself
        return as_bgr(image)
    return _decoded(data, cv2.IMREAD_COLOR)


def _check_chunks(content: bytes) -> None:
    """ValueError if a PNG chunk claims to be larger than the file: OpenCV allocates its size, up to 4 GiB, before reading."""
    offset = len(_PNG)
    while offset + 8 <= len(content):
        size = int.from_bytes(content[offset : offset + 4], "big")
        if size > len(content):
            raise ValueError(f"the file is damaged: a chunk of {size:,} bytes in a file of {len(content):,}")
        offset += size + 12


def _decoded(data: np.ndarray, flags: int) -> Picture:
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ValueError(f"OpenCV cannot decode the picture: {' '.join(str(error.err).split())}") from error
    if image is None:
        raise ValueError("it is not a picture that OpenCV can decode")
    return image


def encode_picture(image: Picture, suffix: str) -> bytes:
    """Return a picture file of the suffix's type; ValueError if OpenCV cannot write that type, or this picture."""
    try:
        done, content = cv2.imencode(suffix, image)
    except cv2.error as error:
        raise ValueError(f"OpenCV cannot write the picture as {suffix!r}: {' '.join(str(error.err).split())}") from error
    if not done:
        raise ValueError(f"OpenCV cannot write the picture as {suffix!r}")
    return content.tobytes()
