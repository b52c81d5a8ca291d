"""A lock, so that only one process at a time trains in a folder."""

from __future__ import annotations

import errno
import sys
import weakref
from pathlib import Path

from opencv_squeezedet.files import real_path

_TAKEN = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}


class FolderLock:
    """A lock on a folder, held for the lifetime of the object; see `lock_folder`."""

    def __init__(self, folder: Path) -> None:
        file = (folder / "lock").open("ab")
        weakref.finalize(self, file.close)
        try:
            _take(file.fileno())
        except OSError as error:
            if error.errno in _TAKEN:  # otherwise a file system without locks
                raise ValueError(
                    f"another process is training in {folder}: wait until it ends, or choose another folder"
                ) from error


_held: weakref.WeakValueDictionary[Path, FolderLock] = weakref.WeakValueDictionary()


def lock_folder(folder: Path) -> FolderLock:
    """Lock a folder against training by other processes; this process may lock it more than once.

    The operating system releases the lock when the process ends, even if it is killed; the file ``lock`` remains, without
    effect. Child processes do not inherit the lock, so data-loading workers may outlive their parent for a moment. ValueError
    if another process holds the lock.
    """
    path = real_path(folder)
    lock = _held.get(path)  # closing any file handle releases all locks of the process, so there must be a single handle
    if lock is None:
        lock = _held[path] = FolderLock(folder)
    return lock


if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
