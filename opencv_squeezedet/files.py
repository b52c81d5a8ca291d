"""Bounded reads, and atomic writes: a file appears complete or not at all."""

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

StrPath = str | os.PathLike[str]

_PIECE = 1 << 20
_MOST_LINKS = 40
_DESCRIPTOR = re.compile(r"/(?:dev|proc/([^/]+))/fd/([0-9]+)")


# ---- reading -----------------------------------------------------------------------------------------------------------


def real_path(path: Path) -> Path:
    """Return the path with all links resolved; OSError for a circular link."""
    try:
        resolved = path.resolve()
    except RuntimeError as error:  # for a circular link, before Python 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error
    try:
        resolved.stat()  # from Python 3.13 on, resolve leaves a circular link in the path
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, error.strerror, str(path)) from error
    return resolved


def read_at_most(file: BinaryIO, most: int) -> bytes:
    """Return the rest of an open file; ValueError, before they are all in memory, if it has more than ``most`` bytes."""
    content = bytearray()
    while piece := file.read(_PIECE):
        content += piece
        if len(content) > most:
            raise ValueError(f"the file has more than the maximum of {most:,} bytes")
    return bytes(content)


def read_regular(path: Path, most: int) -> bytes:
    """Return the content of a regular file; OSError if it cannot be read.

    ValueError for a pipe or a device, which may never end, or for more than ``most`` bytes.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("a regular file was expected, got a pipe or a device")
        if status.st_size > most:
            raise ValueError(f"the file has {status.st_size:,} bytes, more than the maximum of {most:,}")
        return read_at_most(file, most)


def has_content(path: Path, content: bytes) -> bool:
    """Whether the path is a regular file with exactly this content; OSError if it cannot be read."""
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def read_whole(path: Path, most: int) -> bytes:
    """Return the content of a file or a pipe, which Ctrl-C interrupts; ValueError if it has more than ``most`` bytes."""
    with path.open("rb", buffering=0) as file:
        return read_at_most(file, most)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a pipe without a writer would block


# ---- writing -----------------------------------------------------------------------------------------------------------


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Give an OSError the file name that the user knows, instead of a temporary name or none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def temporary_beside(path: Path) -> Path:
    """Create the empty temporary file for ``path``, with a short and unique ASCII name; OSError names ``path``."""
    temporary, file = _open_beside(path)
    file.close()
    return temporary


def _open_beside(path: Path) -> tuple[Path, BinaryIO]:
    """The same, opened for writing at once, so that other users of the folder cannot replace it by a link before."""
    suffix = path.suffix if path.suffix.isascii() and len(path.suffix) < 16 else ""
    while True:
        temporary = path.with_name(f".{os.urandom(8).hex()}{suffix}")
        with named_errors(path), suppress(FileExistsError):
            return temporary, temporary.open("xb")


def own_descriptor(path: StrPath) -> int | None:
    """Return the file descriptor for names such as ``/dev/stdout`` or ``/dev/fd/63``; None for other names.

    An open descriptor, as after a shell's ``>>`` or ``|``, is written to as it is, even if it is that of a regular file.
    """
    name = os.path.abspath(path)
    for _ in range(_MOST_LINKS):
        match = _DESCRIPTOR.fullmatch(name)
        if match is not None and match[1] in ("self", "thread-self", str(os.getpid()), None):
            number = int(match[2])
            # while a command hides libraries' messages, only Python's own standard error leads to the terminal
            return sys.stderr.fileno() if number == 2 and sys.stderr is not None else number
        if not os.path.islink(name):
            return None
        name = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(name)))
    return None


class WholeFile:
    """A file written under a temporary name in the same folder, which appears, complete, when it is kept.

    As a context manager it is kept if the block succeeds or is interrupted by Ctrl-C, and removed otherwise; an existing file
    is then unchanged. A symbolic link remains a link; devices and pipes, such as ``/dev/stdout``, are written to directly.
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
            self._target = real_path(self.path)
            if self._target.is_file() or not self._target.exists():
                self._temporary, self._file = _open_beside(self._target)
            else:
                self._temporary, self._file = None, self._target.open("wb")
        return self

    def write(self, content: bytes) -> None:
        """Append to the file; OSError, with the final name, if the disk is full."""
        with named_errors(self.path):
            self._file.write(content)

    def close(self) -> None:
        """Flush and close the file; OSError as for `write`."""
        with named_errors(self.path):
            self._file.close()

    def keep(self) -> None:
        """Give it its final name; OSError if that is a folder's, or not permitted."""
        self.close()
        if self._temporary is not None:
            with named_errors(self.path):
                self._temporary.replace(self._target)

    def discard(self) -> None:
        """Remove it, unless it was kept."""
        with suppress(OSError):
            self._file.close()
        _remove(self._temporary)

    def copy_of_existing(self) -> Path | None:
        """Return a copy, under a temporary name, of the existing file; None if there is none."""
        if self._temporary is None or not self._target.exists():
            return None
        copy, file = _open_beside(self._target)
        try:
            with named_errors(self.path), file, self._target.open("rb") as before:
                shutil.copyfileobj(before, file)
                shutil.copystat(self._target, copy)
        except BaseException:
            _remove(copy)
            raise
        return copy

    def put_back(self, before: Path | None) -> None:
        """Undo `keep`, if it was called, with the result of `copy_of_existing`."""
        if before is not None:
            before.replace(self._target)
        elif self._temporary is not None and not self._temporary.exists():
            self._target.unlink(missing_ok=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None or kind is KeyboardInterrupt:
                self.keep()
        finally:
            self.discard()


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write several files, either all of them or none: after an OSError existing files are unchanged.

    Each is complete even if the process is killed, but then some may have appeared and others not.
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
            before.append(file.copy_of_existing())
            stack.callback(_remove, before[-1])
        try:
            for file in files:
                file.keep()
        except BaseException:
            for file, copy in zip(files, before, strict=True):
                file.put_back(copy)
            raise


def _remove(temporary: Path | None) -> None:
    """Remove a file if it exists; a failure here must not hide an earlier error."""
    if temporary is not None:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically: after an OSError an existing file is unchanged."""
    write_together({path: content})
