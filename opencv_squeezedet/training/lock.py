"""One process at a time trains in a folder."""

from __future__ import annotations

import errno
import sys
import weakref
from pathlib import Path

from opencv_squeezedet.files import real_path

_TAKEN = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}


class FolderLock:
    """Keeps other processes from training in a folder, as long as it lives; see `lock_folder`."""

    def __init__(self, folder: Path) -> None:
        file = (folder / "lock").open("ab")
        weakref.finalize(self, file.close)
        try:
            _take(file.fileno())
        except OSError as error:
            if error.errno not in _TAKEN:  # a file system that knows no locks
                return
            raise ValueError(f"another process is training in {folder}: wait for its end, or choose another folder") from error


_held: weakref.WeakValueDictionary[Path, FolderLock] = weakref.WeakValueDictionary()


def lock_folder(folder: Path) -> FolderLock:
    """Return what keeps other processes from training in a folder; this process may ask more than once.

    The lock is the operating system's, and ends with the process, however that ends; the file ``lock`` that stays behind holds
    nobody up. Processes that this one starts do not share it, so that those that read pictures may outlive it for a moment.

    Raises
    ------
    ValueError
        If another process has it.
    OSError
        If the folder cannot be written to.
    """
    place = real_path(folder)
    lock = _held.get(place)  # a file that is closed takes all locks of its process with it, so that there must be one
    if lock is None:
        lock = _held[place] = FolderLock(folder)
    return lock


if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
