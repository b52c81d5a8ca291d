"""Pictures from files, and files that appear whole or not at all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.preprocess import Picture

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"})
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
    return decode_picture(np.fromfile(path, np.uint8))  # cv2.imread cannot open every file name everywhere


def decode_picture(content: NDArray[np.uint8]) -> Picture:
    """Return the picture in the bytes of a file, as `read_picture` does; ValueError if OpenCV cannot decode it."""
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


class WholeFile:
    """A file that is written under a temporary name beside its own, and appears, whole, when it is kept.

    As a context it is kept where the block ends well, or by Ctrl-C, and otherwise removed; a file that was there before is
    then unchanged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{os.getpid()}-{next(_NUMBERS)}{path.suffix}")

    def __enter__(self) -> WholeFile:
        with self._errors_named():
            self._file = self.temporary.open("wb")
        return self

    def write(self, content: bytes) -> None:
        """Add to the file; OSError, with the file's own name, if the disk is full."""
        with self._errors_named():
            self._file.write(content)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            with self._errors_named():
                self._file.close()
                if kind is None or kind is KeyboardInterrupt:
                    self.temporary.replace(self.path)
        finally:
            self.temporary.unlink(missing_ok=True)

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error


_NUMBERS = itertools.count()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole, or not at all.

    Raises
    ------
    OSError
        If the folder cannot be written to, or the disk is full; a file that was there before is then unchanged.
    """
    with WholeFile(path) as file:
        file.write(content)
