"""Pictures from files, and files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import cv2
import numpy as np

from opencv_squeezedet.preprocess import Picture, as_bgr

StrPath = str | os.PathLike[str]

VIDEO_SUFFIXES = frozenset({".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"})
PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
MOST_PICTURE_BYTES = 1 << 30
"""Of a picture file; OpenCV itself decodes no more than 2^30 pixels."""

_PIECE = 1 << 20
_MOST_LINKS = 40
_DESCRIPTOR = re.compile(r"/(?:dev|proc/([^/]+))/fd/([0-9]+)")
_PNG, _RADIANCE = b"\x89PNG\r\n\x1a\n", b"#?"


# ---- reading -----------------------------------------------------------------------------------------------------------


def real_path(path: Path) -> Path:
    """Return the path without links; OSError, as from any other use of it, where links lead in a circle."""
    try:
        found = path.resolve()
    except RuntimeError as error:  # what Python says of a circle, until 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error
    try:
        found.stat()  # from 3.13 on a circle stays in the path
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, error.strerror, str(path)) from error
    return found


def read_at_most(file: BinaryIO, most: int) -> bytes:
    """Return what is left of an opened file; ValueError, before more than this is in memory, if that is more bytes."""
    content = bytearray()
    while piece := file.read(_PIECE):
        content += piece
        if len(content) > most:
            raise ValueError(f"it has more than the {most:,} bytes that are read of such a file")
    return bytes(content)


def read_regular(path: Path, most: int) -> bytes:
    """Return the content of a regular file: of what may never end, as pipes and devices, nothing is read.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not a regular file, or has more bytes than this.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is a pipe or a device, and not a regular file")
        if status.st_size > most:
            raise ValueError(f"it has {status.st_size:,} bytes, at most {most:,} are read of such a file")
        return read_at_most(file, most)


def has_content(path: Path, content: bytes) -> bool:
    """Whether there is a regular file of exactly this content; OSError if it cannot be read."""
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def read_whole(path: Path, most: int) -> bytes:
    """Return the content of a file or a pipe, for which Ctrl-C ends the waiting; ValueError if it has more bytes than this."""
    with path.open("rb", buffering=0) as file:
        return read_at_most(file, most)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe that nobody writes to would not open


def read_picture(path: Path) -> Picture:
    """Return a picture file as (H, W, 3) uint8 BGR, upright as its EXIF orientation says.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a regular file of at most `MOST_PICTURE_BYTES`, or not a picture that OpenCV can decode.
    """
    return decode_picture(read_regular(path, MOST_PICTURE_BYTES))  # cv2.imread cannot open every file name everywhere


def decode_picture(content: bytes) -> Picture:
    """Return the picture in the bytes of a file, as `read_picture` does; ValueError if OpenCV cannot decode it.

    Floats, which OpenCV would cut to the numbers 0 and 1, are taken as `as_bgr` takes them.
    """
    if not content:
        raise ValueError("the file is empty")
    if content.startswith(_PNG):
        _check_chunks(content)
    data = np.frombuffer(content, np.uint8)
    image = _decoded(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind == "f" and not content.startswith(_RADIANCE):  # whose floats OpenCV knows how to take
        return as_bgr(image)
    return _decoded(data, cv2.IMREAD_COLOR)


def _check_chunks(content: bytes) -> None:
    """ValueError if a part of a PNG file claims more than there is: OpenCV makes room for it, up to 4 GiB, before it looks."""
    place = len(_PNG)
    while place + 8 <= len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        if size > len(content):
            raise ValueError(f"it is damaged: a part of {size:,} bytes in a file of {len(content):,}")
        place += size + 12


def _decoded(data: np.ndarray, flags: int) -> Picture:
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ValueError(f"OpenCV cannot decode it: {' '.join(str(error.err).split())}") from error
    if image is None:
        raise ValueError("it is not a picture that OpenCV can decode")
    return image


# ---- writing -----------------------------------------------------------------------------------------------------------


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


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Give an OSError the name that the user knows, instead of a temporary one or none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def temporary_beside(path: Path) -> Path:
    """Make an empty file, for what is to become ``path``, under a short name of ASCII letters that no other process has.

    Raises
    ------
    OSError
        With the name of ``path``, if its folder cannot be written to.
    """
    temporary, file = _open_beside(path)
    file.close()
    return temporary


def _open_beside(path: Path) -> tuple[Path, BinaryIO]:
    """The same, opened to write: whoever shares the folder cannot put a link to another file in its place before that."""
    suffix = path.suffix if path.suffix.isascii() and len(path.suffix) < 16 else ""
    while True:
        temporary = path.with_name(f".{os.urandom(8).hex()}{suffix}")
        with named_errors(path), suppress(FileExistsError):
            return temporary, temporary.open("xb")


def own_descriptor(path: StrPath) -> int | None:
    """Return the number of the open file that a name such as ``/dev/stdout`` or ``/dev/fd/63`` means; None for other names.

    What is open already, as by ``>>`` or ``|`` of a shell, is written to as it is: its name may be that of a regular file.
    """
    name = os.path.abspath(path)
    for _ in range(_MOST_LINKS):
        found = _DESCRIPTOR.fullmatch(name)
        if found is not None and found[1] in ("self", "thread-self", str(os.getpid()), None):
            number = int(found[2])
            # while a command keeps libraries off standard error, Python's own still leads to where the user sees it
            return sys.stderr.fileno() if number == 2 and sys.stderr is not None else number
        if not os.path.islink(name):
            return None
        name = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(name)))
    return None


class WholeFile:
    """A file that is written under a temporary name beside its own, and appears, whole, when it is kept.

    As a context it is kept where the block ends well, or by Ctrl-C, and otherwise removed; a file that was there before is
    then unchanged. A symbolic link stays one, and what is not a regular file (a device, a pipe, ``/dev/stdout``) is written
    to directly.
    """

    _temporary: Path | None
    _file: BinaryIO

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> WholeFile:
        with named_errors(self.path):
            descriptor = own_descriptor(self.path)
            if descriptor is not None:
                self._temporary = None
                self._file = open(os.dup(descriptor), "wb")
                return self
            self._place = real_path(self.path)
            if self._place.is_file() or not self._place.exists():
                self._temporary, self._file = _open_beside(self._place)
            else:
                self._temporary, self._file = None, self._place.open("wb")
        return self

    def write(self, content: bytes) -> None:
        """Add to the file; OSError, with the file's own name, if the disk is full."""
        with named_errors(self.path):
            self._file.write(content)

    def close(self) -> None:
        """Write the last of it to the disk; OSError as from `write`."""
        with named_errors(self.path):
            self._file.close()

    def keep(self) -> None:
        """Let it appear; OSError if the place is taken by a folder, or not the user's."""
        self.close()
        if self._temporary is not None:
            with named_errors(self.path):
                self._temporary.replace(self._place)

    def discard(self) -> None:
        """Remove it, unless it was kept."""
        with suppress(OSError):
            self._file.close()
        _remove(self._temporary)

    def copy_of_before(self) -> Path | None:
        """Return a copy, under a temporary name, of what is there before it is kept; None where there is nothing."""
        if self._temporary is None or not self._place.exists():
            return None
        copy, file = _open_beside(self._place)
        try:
            with named_errors(self.path), file, self._place.open("rb") as before:
                shutil.copyfileobj(before, file)
                shutil.copystat(self._place, copy)
        except BaseException:
            _remove(copy)
            raise
        return copy

    def put_back(self, before: Path | None) -> None:
        """Undo `keep`, if that was done, with what `copy_of_before` gave."""
        if before is not None:
            before.replace(self._place)
        elif self._temporary is not None and not self._temporary.exists():
            self._place.unlink(missing_ok=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None or kind is KeyboardInterrupt:
                self.keep()
        finally:
            self.discard()


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write several files, of which either all appear, whole, or none.

    Each is whole even if the process is killed; but those that had appeared by then stay.

    Raises
    ------
    OSError
        If a folder cannot be written to, or the disk is full; files that were there before are then unchanged.
    """
    with ExitStack() as stack:
        files = []
        for path, content in contents.items():
            file = WholeFile(path).__enter__()
            stack.callback(file.discard)
            file.write(content)
            file.close()
            files.append(file)
        if len(files) == 1:
            files[0].keep()
            return
        before = []
        for file in files:
            before.append(file.copy_of_before())
            stack.callback(_remove, before[-1])
        try:
            for file in files:
                file.keep()
        except BaseException:
            for file, copy in zip(files, before, strict=True):
                file.put_back(copy)
            raise


def _remove(temporary: Path | None) -> None:
    """Remove a file, if it is still there; what was wrong before is what the user should know, not that this fails too."""
    if temporary is not None:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole, or not at all.

    Raises
    ------
    OSError
        If the folder cannot be written to, or the disk is full; a file that was there before is then unchanged.
    """
    write_together({path: content})
