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

from opencv_squeezedet.preprocess import Picture

StrPath = str | os.PathLike[str]

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
    return decode_picture(path.read_bytes())  # cv2.imread cannot open every file name everywhere


def decode_picture(content: bytes) -> Picture:
    """Return the picture in the bytes of a file, as `read_picture` does; ValueError if OpenCV cannot decode it."""
    if not content:
        raise ValueError("the file is empty")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
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
    then unchanged. A symbolic link stays one, and what is no regular file (a device, a pipe) is written to as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = path.resolve()
        whole = self._place.is_file() or not self._place.exists()
        self.temporary = temporary_beside(self._place) if whole else self._place

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
                if self.temporary != self._place and (kind is None or kind is KeyboardInterrupt):
                    self.temporary.replace(self._place)
        finally:
            if self.temporary != self._place:
                self.temporary.unlink(missing_ok=True)

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error


_NUMBERS = itertools.count()


def temporary_beside(path: Path) -> Path:
    """Return a short name, of ASCII letters, for a file that is to become ``path``."""
    suffix = path.suffix if path.suffix.isascii() else ""
    return path.with_name(f".{os.getpid()}-{next(_NUMBERS)}{suffix}")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole, or not at all.

    Raises
    ------
    OSError
        If the folder cannot be written to, or the disk is full; a file that was there before is then unchanged.
    """
    with WholeFile(path) as file:
        file.write(content)
