"""The inputs of a job: pictures, folders, patterns, lists, and Parquet files with pictures or paths in a column."""

from __future__ import annotations

import fnmatch
import glob
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import fs
from pyarrow import parquet as pq

from opencv_squeezedet.batch import storage
from opencv_squeezedet.pictures import PICTURE_SUFFIXES, VIDEO_SUFFIXES

PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
NO_ROW_GROUP = -1
_UNKNOWN = -1
_COLUMNS = ("bytes", "image", "path")  # tried in this order


class InputError(ValueError):
    """A source does not exist, or has no pictures that a job can read."""


class InputSlice(NamedTuple):
    """A picture, or consecutive pictures in one row group of a Parquet file.

    Parameters
    ----------
    location : str
        A picture, or a Parquet file.
    row_group : int
        Index of the Parquet file's row group; -1 for a picture.
    first, pictures : int
        First row in the Parquet file, and number of rows; 0 and 1 for a picture.
    size, modified : int
        Bytes, and nanoseconds since 1970; -1 if unknown. Used to detect modified files.
    """

    location: str
    row_group: int = NO_ROW_GROUP
    first: int = 0
    pictures: int = 1
    size: int = _UNKNOWN
    modified: int = _UNKNOWN


def find_inputs(
    sources: Sequence[str], *, recursive: bool = False, column: str | None = None, without: str | None = None
) -> Iterator[InputSlice]:
    """Yield all pictures of the sources, in a reproducible order.

    Parameters
    ----------
    sources : sequence of str
        Pictures; folders, for their pictures, or their Parquet files if they have no pictures; patterns; Parquet files; and
        lists of sources (``.txt``, one per line, ``#`` starts a comment).
    recursive : bool
        Whether to search folders recursively.
    column : str, optional
        The Parquet files' column; see `column_of`.
    without : str, optional
        A folder to leave out.

    Raises
    ------
    InputError, OSError
        If a source has no pictures or cannot be read. A missing picture in a list is yielded all the same.
    """
    finder = _Finder(recursive, column, None if without is None else storage.absolute(without))
    for source in sources:
        if source.lower().endswith(".txt"):
            for line in _lines(source):
                yield from finder.named(line, source)
        else:
            yield from finder.named(source)


def _lines(source: str) -> Iterator[str]:
    empty = True
    with storage.open_input(storage.absolute(source)) as file:
        for line in io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape"):
            name = line.strip()
            if name and not line.startswith("#"):
                empty = False
                yield name
    if empty:
        raise InputError(f"{source}: the list is empty")


class _Finder:
    def __init__(self, recursive: bool, column: str | None, without: str | None) -> None:
        self._recursive, self._column, self._without = recursive, column, without

    def named(self, name: str, source: str | None = None) -> Iterator[InputSlice]:
        """Yield the inputs of an argument, or of a line of a list."""
        title = name if source is None else f"{source}: {name}"
        location, suffix = storage.absolute(name), _suffix(name)
        if source is not None and suffix in PICTURE_SUFFIXES and not glob.has_magic(name):
            yield _listed(location)  # existence is not checked, which in a store takes longer than detection
            return
        if suffix in VIDEO_SUFFIXES:
            raise InputError(f"{title}: videos are not supported; use squeezedet detect")
        if source is not None and suffix == ".txt":
            raise InputError(f"{title}: a list cannot name another list")
        info = storage.info(location)
        if info.type == fs.FileType.Directory:
            entries = self._in_folder(location)
        elif info.type == fs.FileType.File:
            entries = self._file(location, info)
        elif glob.has_magic(name):
            parts = location.split("/")
            fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
            matches = _below("/".join(parts[:fixed]) or "/", parts[fixed:])
            entries = (entry for match, info in matches for entry in self._matched(match, info))
        else:
            missing = info.type == fs.FileType.NotFound
            raise InputError(f"{title}: {'no such' if missing else 'not a regular'} file or folder")
        first = next(entries, None)
        if first is None:
            what = "no file matches this pattern" if glob.has_magic(name) else "the folder has no pictures or Parquet files"
            raise InputError(f"{title}: {what}")
        yield first
        yield from entries

    def _matched(self, location: str, info: Any) -> Iterator[InputSlice]:
        if info.type == fs.FileType.Directory:
            yield from self._in_folder(location)
        elif _suffix(location) in PICTURE_SUFFIXES | PARQUET_SUFFIXES:
            yield from self._file(location, info)

    def _in_folder(self, folder: str) -> Iterator[InputSlice]:
        pictures = self._of_suffix(folder, PICTURE_SUFFIXES)
        first = next(pictures, None)
        yield from self._of_suffix(folder, PARQUET_SUFFIXES) if first is None else chain([first], pictures)

    def _of_suffix(self, folder: str, suffixes: frozenset[str]) -> Iterator[InputSlice]:
        for location, info in storage.listing(folder):
            hidden = str(info.base_name).startswith(("_", ".")) and suffixes is PARQUET_SUFFIXES
            if info.type == fs.FileType.Directory:
                if self._recursive and location != self._without and not hidden:
                    yield from self._of_suffix(location, suffixes)
            elif _suffix(location) in suffixes and not hidden:
                yield from self._file(location, info)

    def _file(self, location: str, info: Any) -> Iterator[InputSlice]:
        size = _UNKNOWN if info.size is None else int(info.size)
        modified = _UNKNOWN if info.mtime_ns is None else int(info.mtime_ns)
        if _suffix(location) not in PARQUET_SUFFIXES:
            yield InputSlice(location, size=size, modified=modified)
            return
        with parquet_file(location) as file:
            column_of(file.schema_arrow, self._column, location)
            counts = row_counts(file)
        first = 0
        for group, count in enumerate(counts):
            if count:
                yield InputSlice(location, group, first, count, size, modified)
            first += count


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _listed(location: str) -> InputSlice:
    with suppress(OSError, ValueError):
        if not storage.is_remote(location):
            status = os.stat(location)
            return InputSlice(location, size=status.st_size, modified=status.st_mtime_ns)
    return InputSlice(location)


def _below(folder: str, parts: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the matches of the parts of a pattern, as `glob.glob` does with ``recursive``, here and in stores."""
    part, *rest = parts
    if part == "**" and rest:
        yield from _below(folder, rest)
    for location, info in storage.listing(folder):
        name, is_folder = str(info.base_name), info.type == fs.FileType.Directory
        if name.startswith(".") and not part.startswith("."):
            continue
        if part == "**":
            if is_folder:
                yield from _below(location, parts)
            elif not rest:
                yield location, info
        elif fnmatch.fnmatchcase(name, part):
            if not rest:
                yield location, info
            elif is_folder:
                yield from _below(location, rest)


def parquet_file(location: str) -> Any:
    """Open a Parquet file to read parts of it; ValueError or OSError if it cannot be read."""
    try:
        return pq.ParquetFile(storage.open_input(location), buffer_size=1 << 20, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise InputError(f"{location}: {' '.join(str(error).split())}") from error


def row_counts(file: Any) -> list[int]:
    """Return the number of rows in each row group of a Parquet file."""
    return [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]


def column_of(schema: Any, wanted: str | None, location: str) -> str:
    """Return the name of the picture column: bytes of files, their paths, or structs with a field ``bytes``.

    Without a ``wanted`` name: the first of ``bytes``, ``image`` and ``path``, or else the only column of bytes. InputError,
    with the file's ``location``, if there is no such column.
    """
    fitting = [field.name for field in schema if _holds_pictures(field.type)]
    if wanted is not None:
        if wanted in fitting:
            return wanted
    else:
        known = [name for name in _COLUMNS if name in fitting]
        only = [name for name in fitting if not _is_text(schema.field(name).type)]
        if known or len(only) == 1:
            return (known or only)[0]
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    what = "ambiguous picture column; use --column" if wanted is None else f"no column {wanted!r} of bytes or paths"
    raise InputError(f"{location}: {what}; its columns are {columns}")


def _holds_pictures(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or _is_text(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
