"""Files on this machine or in a store (``s3://``, ``gs://``, ``hdfs://``), by `pyarrow.fs`.

A location is a path, or an address ``SCHEME://BUCKET/KEY``, whose key is not percent-encoded.
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

from pyarrow import fs

from opencv_squeezedet.files import read_regular
from opencv_squeezedet.pictures import MOST_PICTURE_BYTES

_TEMPORARY = "_new-"  # readers of Parquet folders ignore names that start with an underscore


def absolute(location: str) -> str:
    """Return a location that does not depend on the working folder."""
    if location.startswith("file://"):
        location = location.removeprefix("file://")
    return location if is_remote(location) else os.path.abspath(location)


def is_remote(location: str) -> bool:
    """Whether a location is in a store."""
    return "://" in location


@cache  # slow to create
def _store(scheme: str, bucket: str) -> tuple[Any, str]:
    store, path = fs.FileSystem.from_uri(f"{scheme}://{bucket}/x")
    return store, path.removesuffix("x")


def locate(location: str) -> tuple[Any, str]:
    """Return the file system of a location, and its path there."""
    scheme, address, rest = location.partition("://")
    if not address:
        return fs.LocalFileSystem(), location
    bucket, _, key = rest.partition("/")
    store, folder = _store(scheme, bucket)
    return store, folder + key


def read(location: str) -> bytes:
    """Return the content of a file as `files.read_regular` does; OSError or ValueError if it cannot be read."""
    if not is_remote(location):
        return read_regular(Path(location), MOST_PICTURE_BYTES)
    with open_input(location) as stream:
        if stream.size() > MOST_PICTURE_BYTES:
            raise ValueError(f"the file has {stream.size():,} bytes, more than the maximum of {MOST_PICTURE_BYTES:,}")
        content: bytes = stream.read()
    return content


def open_input(location: str) -> Any:
    """Open a file for random access; OSError for a pipe, on which Ctrl-C would not interrupt pyarrow."""
    if not is_remote(location) and os.path.exists(location) and not os.path.isfile(location):
        raise OSError(errno.EINVAL, "a regular file was expected", location)
    store, path = locate(location)
    return store.open_input_file(path)


def exists(location: str) -> bool:
    """Whether the location is a file or a folder."""
    return bool(info(location).type != fs.FileType.NotFound)


def info(location: str) -> Any:
    """Return the `pyarrow.fs.FileInfo` of a location."""
    store, path = locate(location)
    return store.get_file_info(path)


def listing(folder: str) -> list[tuple[str, Any]]:
    """Return what lies in a folder, sorted by name: locations, and their `pyarrow.fs.FileInfo`."""
    store, path = locate(folder)
    infos = store.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return [(join(folder, info.base_name), info) for info in sorted(infos, key=lambda info: str(info.base_name))]


def join(folder: str, name: str) -> str:
    """Return the location of a file in a folder."""
    return f"{folder.rstrip('/')}/{name}"


@contextmanager
def whole_file(location: str) -> Iterator[Any]:
    """Open a file for writing that appears, complete, only if the block succeeds.

    Until then it has a temporary name that is unique across machines.
    """
    store, path = locate(location)
    temporary = locate(join(location.rpartition("/")[0], f"{_TEMPORARY}{uuid.uuid4().hex}"))[1]
    try:
        with store.open_output_stream(temporary) as stream:
            yield stream
        store.move(temporary, path)
    except BaseException:
        if store.get_file_info(temporary).type == fs.FileType.File:
            store.delete_file(temporary)
        raise


def write_whole(location: str, content: bytes) -> None:
    """Write a file atomically, replacing an existing file."""
    with whole_file(location) as stream:
        stream.write(content)


def remove_leftovers(folder: str) -> None:
    """Remove incomplete files of killed processes."""
    for location, info in listing(folder):
        if str(info.base_name).startswith(_TEMPORARY):
            store, path = locate(location)
            store.delete_file(path)
