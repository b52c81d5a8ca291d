"""Files on this machine or in a store (``s3://``, ``gs://``, ``hdfs://``), by `pyarrow.fs`: one code for both.

A place is a path, or an address ``SCHEME://BUCKET/KEY`` whose key is taken as it is, without percent signs to be decoded.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import MOST_PICTURE_BYTES, read_regular

with needs("ray", what="opencv_squeezedet.batch"):
    from pyarrow import fs

_TEMPORARY = "_new-"  # what reads folders of Parquet files leaves out names that begin so


def absolute(place: str) -> str:
    """Return a place that means the same in every folder and process."""
    if place.startswith("file://"):
        place = place.removeprefix("file://")
    return place if is_remote(place) else os.path.abspath(place)


def is_remote(place: str) -> bool:
    """Whether a place is in a store."""
    return "://" in place


@cache
def _store(scheme: str, bucket: str) -> tuple[Any, str]:
    """What opens a bucket's files, which is slow to make, and what their paths begin with."""
    store, path = fs.FileSystem.from_uri(f"{scheme}://{bucket}/x")
    return store, path.removesuffix("x")


def locate(place: str) -> tuple[Any, str]:
    """Return the file system of a place, and the path in it."""
    scheme, address, rest = place.partition("://")
    if not address:
        return fs.LocalFileSystem(), place
    bucket, _, key = rest.partition("/")
    store, folder = _store(scheme, bucket)
    return store, folder + key


def read(place: str) -> bytes:
    """Return the content of a file as `files.read_regular` does; OSError or ValueError if it cannot be read."""
    if not is_remote(place):
        return read_regular(Path(place), MOST_PICTURE_BYTES)
    with open_input(place) as stream:
        if stream.size() > MOST_PICTURE_BYTES:
            raise ValueError(f"it has {stream.size():,} bytes, at most {MOST_PICTURE_BYTES:,} are read of such a file")
        content: bytes = stream.read()
    return content


def open_input(place: str) -> Any:
    """Return a file that can be read anywhere in it; OSError for a pipe, where pyarrow would not hear Ctrl-C."""
    if not is_remote(place) and os.path.exists(place) and not os.path.isfile(place):
        raise OSError(errno.EINVAL, "a regular file was expected", place)
    store, path = locate(place)
    return store.open_input_file(path)


def is_folder(place: str) -> bool:
    """Whether there is a folder; in a store also what keys have before a slash."""
    return bool(info(place).type == fs.FileType.Directory)


def exists(place: str) -> bool:
    """Whether there is a file or a folder."""
    return bool(info(place).type != fs.FileType.NotFound)


def info(place: str) -> Any:
    """Return the `pyarrow.fs.FileInfo` of a place."""
    store, path = locate(place)
    return store.get_file_info(path)


def make_folder(place: str) -> None:
    """Make a folder, and those that it lies in; OSError if that cannot be."""
    store, path = locate(place)
    store.create_dir(path, recursive=True)


def listing(folder: str) -> list[tuple[str, Any]]:
    """Return what lies in a folder, by name: places, and their `pyarrow.fs.FileInfo`."""
    store, path = locate(folder)
    found = store.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return [(join(folder, one.base_name), one) for one in sorted(found, key=lambda one: str(one.base_name))]


def join(folder: str, name: str) -> str:
    """Return the place of a file in a folder."""
    return f"{folder.rstrip('/')}/{name}"


@contextmanager
def whole_file(place: str) -> Iterator[Any]:
    """Open a file to write; it has its name when the block has ended well, and is not there otherwise.

    Until then it has a name that no other process on any machine takes.
    """
    store, path = locate(place)
    temporary = locate(join(place.rpartition("/")[0], f"{_TEMPORARY}{uuid.uuid4().hex}"))[1]
    try:
        with store.open_output_stream(temporary) as stream:
            yield stream
        store.move(temporary, path)
    except BaseException:
        if store.get_file_info(temporary).type == fs.FileType.File:
            store.delete_file(temporary)
        raise


def write_whole(place: str, content: bytes) -> None:
    """Write a file that appears whole or not at all, and takes the place of one that is there."""
    with whole_file(place) as stream:
        stream.write(content)


def remove_leftovers(folder: str) -> None:
    """Remove what killed processes have begun to write."""
    for place, found in listing(folder):
        if str(found.base_name).startswith(_TEMPORARY):
            store, path = locate(place)
            store.delete_file(path)


def remove(place: str) -> None:
    """Remove a file."""
    store, path = locate(place)
    store.delete_file(path)
