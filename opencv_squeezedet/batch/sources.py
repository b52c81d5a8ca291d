"""What a batch reads: pictures, folders, patterns, lists, and Parquet files with pictures or paths in a column."""

from __future__ import annotations

import fnmatch
import glob
import io
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from opencv_squeezedet.batch import places
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import PICTURE_SUFFIXES, VIDEO_SUFFIXES

with needs("ray", what="opencv_squeezedet.batch"):
    import pyarrow as pa
    from pyarrow import fs
    from pyarrow import parquet as pq

PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
NO_ROW_GROUP = -1
_UNKNOWN = -1
_COLUMNS = ("bytes", "image", "path")  # tried in this order


class SourceError(ValueError):
    """A source names nothing, or nothing that a batch reads."""


class Entry(NamedTuple):
    """One or more pictures of the input.

    Parameters
    ----------
    place : str
        A picture, or a Parquet file.
    row_group : int
        Of the Parquet file; -1 for a picture.
    first, pictures : int
        Which rows of the Parquet file, all in the row group; 0 and 1 for a picture.
    size, modified : int
        Bytes, and nanoseconds since 1970; -1 where that is not known. A file that has changed is known by them.
    """

    place: str
    row_group: int = NO_ROW_GROUP
    first: int = 0
    pictures: int = 1
    size: int = _UNKNOWN
    modified: int = _UNKNOWN


def find_entries(
    sources: Sequence[str], *, recursive: bool = False, column: str | None = None, without: str | None = None
) -> Iterator[Entry]:
    """Yield all pictures that the sources name, in an order that is the same every time.

    Parameters
    ----------
    sources : sequence of str
        Pictures; folders, of which the pictures are taken, or, where there are none, the Parquet files; patterns; Parquet
        files; and lists of these (``.txt``, one a line, ``#`` for a remark).
    recursive : bool
        Folders of folders too.
    column : str, optional
        The Parquet files' column; see `column_of`.
    without : str, optional
        A folder that is left out.

    Raises
    ------
    SourceError
        That names the source. A picture that a list names, and that is not there, is an entry nevertheless.
    OSError
        If a folder, a list or a Parquet file cannot be read.
    """
    finder = _Finder(recursive, column, None if without is None else places.absolute(without))
    for source in sources:
        if source.lower().endswith(".txt"):
            for line in _lines(source):
                yield from finder.named(line, source)
        else:
            yield from finder.named(source)


def _lines(source: str) -> Iterator[str]:
    empty = True
    with places.open_input(places.absolute(source)) as file:
        for line in io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape"):
            name = line.strip()
            if name and not line.startswith("#"):
                empty = False
                yield name
    if empty:
        raise SourceError(f"{source}: this list names no sources")


class _Finder:
    def __init__(self, recursive: bool, column: str | None, without: str | None) -> None:
        self._recursive, self._column, self._without = recursive, column, without

    def named(self, name: str, source: str | None = None) -> Iterator[Entry]:
        """Yield what one argument, or one line of a list, names."""
        title = name if source is None else f"{source}: {name}"
        place, suffix = places.absolute(name), _suffix(name)
        if source is not None and suffix in PICTURE_SUFFIXES and not glob.has_magic(name):
            yield _listed(place)  # is not looked for in a store, which would take longer than to detect in it
            return
        if suffix in VIDEO_SUFFIXES:
            raise SourceError(f"{title}: is a video, which squeezedet detect takes")
        if source is not None and suffix == ".txt":
            raise SourceError(f"{title}: a list cannot name another list")
        found = places.info(place)
        if found.type == fs.FileType.Directory:
            entries = self._in_folder(place)
        elif found.type == fs.FileType.File:
            entries = self._file(place, found)
        elif glob.has_magic(name):
            matches = _matches(place)
            entries = (entry for match, one in matches for entry in self._matched(match, one))
        else:
            missing = found.type == fs.FileType.NotFound
            raise SourceError(f"{title}: {'no such' if missing else 'not a regular'} file or folder")
        first = next(entries, None)
        if first is None:
            what = "nothing matches this pattern" if glob.has_magic(name) else "no pictures and no Parquet files in it"
            raise SourceError(f"{title}: {what}")
        yield first
        yield from entries

    def _matched(self, place: str, found: Any) -> Iterator[Entry]:
        if found.type == fs.FileType.Directory:
            yield from self._in_folder(place)
        elif _suffix(place) in PICTURE_SUFFIXES | PARQUET_SUFFIXES:
            yield from self._file(place, found)

    def _in_folder(self, folder: str) -> Iterator[Entry]:
        entries = self._of_suffix(folder, PICTURE_SUFFIXES)
        first = next(entries, None)
        if first is None:
            entries = self._of_suffix(folder, PARQUET_SUFFIXES)
        else:
            yield first
        yield from entries

    def _of_suffix(self, folder: str, suffixes: frozenset[str]) -> Iterator[Entry]:
        for place, found in places.listing(folder):
            hidden = str(found.base_name).startswith(("_", ".")) and suffixes is PARQUET_SUFFIXES
            if found.type == fs.FileType.Directory:
                if self._recursive and place != self._without and not hidden:
                    yield from self._of_suffix(place, suffixes)
            elif _suffix(place) in suffixes and not hidden:
                yield from self._file(place, found)

    def _file(self, place: str, found: Any) -> Iterator[Entry]:
        size, modified = _known(found)
        if _suffix(place) not in PARQUET_SUFFIXES:
            yield Entry(place, size=size, modified=modified)
            return
        with parquet_file(place) as file:
            column_of(file.schema_arrow, self._column, place)
            counts = row_counts(file)
        first = 0
        for group, count in enumerate(counts):
            if count:
                yield Entry(place, group, first, count, size, modified)
            first += count


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _known(found: Any) -> tuple[int, int]:
    size, modified = found.size, found.mtime_ns
    return _UNKNOWN if size is None else int(size), _UNKNOWN if modified is None else int(modified)


def _listed(place: str) -> Entry:
    if places.is_remote(place):
        return Entry(place)
    try:
        status = os.stat(place)
    except (OSError, ValueError):
        return Entry(place)
    return Entry(place, size=status.st_size, modified=status.st_mtime_ns)


def _matches(pattern: str) -> Iterator[tuple[str, Any]]:
    """Yield what a pattern matches, as `glob.glob` does with ``recursive``, here and in stores."""
    parts = pattern.split("/")
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    yield from _below("/".join(parts[:fixed]) or "/", parts[fixed:])


def _below(folder: str, parts: list[str]) -> Iterator[tuple[str, Any]]:
    part, *rest = parts
    if part == "**" and rest:
        yield from _below(folder, rest)
    for place, found in places.listing(folder):
        name, is_folder = str(found.base_name), found.type == fs.FileType.Directory
        if name.startswith(".") and not part.startswith("."):
            continue
        if part == "**":
            if is_folder:
                yield from _below(place, parts)
            elif not rest:
                yield place, found
        elif fnmatch.fnmatchcase(name, part):
            if not rest:
                yield place, found
            elif is_folder:
                yield from _below(place, rest)


def parquet_file(place: str) -> Any:
    """Open a Parquet file to read parts of it; ValueError or OSError if it is not one."""
    try:
        return pq.ParquetFile(places.open_input(place), buffer_size=1 << 20, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{place}: {' '.join(str(error).split())}") from error


def row_counts(file: Any) -> list[int]:
    """Return how many rows each row group of a Parquet file has."""
    return [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]


def column_of(schema: Any, wanted: str | None, place: str) -> str:
    """Return the column that has the pictures: the bytes of files, their paths, or structs with a field ``bytes``.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the Parquet file.
    wanted : str, optional
        Its name. Default: ``bytes``, ``image`` or ``path``, the first that is there, or else the only column of bytes.
    place : str
        What the error names.

    Raises
    ------
    SourceError
        If there is none.
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
    what = "which column has the pictures is not clear" if wanted is None else f"no column {wanted!r} of bytes or paths"
    raise SourceError(f"{place}: {what}; there are {columns}")


def _holds_pictures(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or _is_text(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
