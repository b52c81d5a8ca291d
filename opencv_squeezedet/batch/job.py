"""A job: its inputs, divided into numbered parts, and the files of detections, one per part, in an output folder.

The folder has a file for each finished part, ``part-000000.parquet`` and so on, written atomically; the inputs of all parts,
``_manifest.arrow``, one record batch per part; and the settings, ``_job.json``, written once the manifest is complete. The
part files are the only record of completion, so a crash loses nothing.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa
from pyarrow import fs

from opencv_squeezedet.batch import storage
from opencv_squeezedet.batch.inputs import NO_ROW_GROUP, InputSlice, column_of, parquet_file, row_counts

Format = Literal["parquet", "jsonl"]

_MANIFEST, _JOB = "_manifest.arrow", "_job.json"
_ENTRIES = pa.schema(
    [
        ("location", pa.binary()),  # a file name may contain any bytes
        ("row_group", pa.int32()),
        ("first", pa.int64()),
        ("pictures", pa.int64()),
        ("size", pa.int64()),
        ("modified", pa.int64()),
    ]
)
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")
_ROWS_AT_A_TIME = 64  # of a Parquet file, in memory at a time
_COUNTED = 200_000  # inputs that are counted before the size of parts is chosen
_MOST_IN_PART = 4096


class JobError(ValueError):
    """A job cannot be started or resumed in this folder."""


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """The settings that determine a job's results, which cannot change until it is finished.

    Parameters
    ----------
    model, options : str, dict
        The model's fingerprint, see `Model`, and the options of detection.
    column, format : str or None, {"parquet", "jsonl"}
        The picture column of Parquet inputs, and the format of the output.
    part : int
        Number of pictures per part; the last part may have fewer.
    """

    model: str
    options: dict[str, Any]
    column: str | None
    format: Format
    part: int


@dataclass(frozen=True)
class Job:
    """A started job, with its output folder. It can be pickled, and used in every process that can access the folder."""

    folder: str
    settings: JobSettings
    parts: int
    pictures: int

    def location(self, part: int) -> str:
        """Return the location of a part's file, whether it exists or not."""
        return storage.join(self.folder, f"part-{part:06}.{self.settings.format}")

    def missing(self) -> list[int]:
        """Return the numbers of the unfinished parts."""
        pattern = re.compile(rf"part-(\d{{6,}})\.{self.settings.format}")
        names = (pattern.fullmatch(str(info.base_name)) for _, info in storage.listing(self.folder))
        done = {int(name[1]) for name in names if name is not None}
        return [part for part in range(self.parts) if part not in done]

    def pictures_in(self, part: int) -> int:
        """Return the number of pictures in a part."""
        return min(self.settings.part, self.pictures - part * self.settings.part)

    @cached_property
    def _manifest(self) -> Any:
        return pa.ipc.open_file(storage.open_input(storage.join(self.folder, _MANIFEST)))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_manifest"}

    def entries(self, part: int) -> list[InputSlice]:
        """Return the inputs of a part."""
        columns = self._manifest.get_batch(part).to_pydict()
        columns["location"] = map(os.fsdecode, columns["location"])
        return [InputSlice(*row) for row in zip(*columns.values(), strict=True)]

    def rows(self, part: int) -> Iterator[dict[str, list[Any]]]:
        """Yield batches of a part's pictures: their names as ``path``, and their bytes or paths as ``content``."""
        for is_picture, entries in itertools.groupby(self.entries(part), lambda entry: entry.row_group == NO_ROW_GROUP):
            if is_picture:
                names = [entry.location for entry in entries]
                yield {"path": names, "content": names}
            else:
                for entry in entries:
                    yield from _parquet_rows(entry, self.settings.column)


def _parquet_rows(entry: InputSlice, wanted: str | None) -> Iterator[dict[str, list[Any]]]:
    with parquet_file(entry.location) as file:
        column = column_of(file.schema_arrow, wanted, entry.location)
        columns = [column] + ["path"] * ("path" in file.schema_arrow.names and column != "path")
        row = sum(row_counts(file)[: entry.row_group])
        for batch in file.iter_batches(_ROWS_AT_A_TIME, row_groups=[entry.row_group], columns=columns):
            begin, end = max(row, entry.first), min(row + batch.num_rows, entry.first + entry.pictures)
            if begin < end:
                rows = batch.slice(begin - row, end - begin).to_pydict()
                contents = [_beside(entry.location, content) for content in rows[column]]
                names = rows["path"] if "path" in rows and column != "path" else contents
                named = (name if isinstance(name, str) else f"{entry.location}#{i}" for i, name in enumerate(names, begin))
                yield {"path": list(named), "content": contents}
            row += batch.num_rows
            if row >= entry.first + entry.pictures:
                return


def _beside(file: str, content: Any) -> Any:
    """A path in a Parquet file, relative to that file's folder; anything else unchanged."""
    if not isinstance(content, str) or storage.is_remote(content) or os.path.isabs(content):
        return content
    return storage.join(file.rpartition("/")[0], content)


# ---- start and resume --------------------------------------------------------------------------------------------------


def begin(folder: str, entries: Iterable[InputSlice], settings: JobSettings, *, resume: bool = False) -> Job:
    """Start a job in a folder, or resume the job in it.

    Parameters
    ----------
    folder : str
        A path or an address; created if it does not exist.
    entries : iterable of InputSlice
        The inputs; see `find_inputs`.
    settings : JobSettings
        The settings that determine the results. If ``part`` is 0, the size of parts is that of the resumed job, or chosen by
        the number of pictures.
    resume : bool
        Whether to resume a job that exists in the folder.

    Raises
    ------
    JobError, OSError
        If the folder has other content, or a job that is not resumed or has other inputs or settings; if it is not writable.
    """
    folder = storage.absolute(folder)
    if storage.exists(storage.join(folder, _JOB)):
        if not resume:
            raise JobError(f"{folder} already has a job: resume it, or choose another folder")
        job = _stored(folder)
        _check_settings(job, settings)
        _check_entries(job, entries)
        storage.remove_leftovers(folder)
        return job
    kind = storage.info(folder).type
    leftovers = kind == fs.FileType.Directory and all(str(info.base_name)[0] == "_" for _, info in storage.listing(folder))
    if kind != fs.FileType.NotFound and not leftovers:
        raise JobError(f"{folder} is not an empty folder, and has no job")
    entries = iter(entries)
    first = list(itertools.islice(entries, _COUNTED))  # before the folder is created: a wrong name is often the first
    store, path = storage.locate(folder)
    store.create_dir(path, recursive=True)
    storage.remove_leftovers(folder)
    if not settings.part:
        pictures = sum(entry.pictures for entry in first)
        settings = replace(settings, part=_part_size(pictures if len(first) < _COUNTED else None))
    count = pictures = 0
    with (
        storage.whole_file(storage.join(folder, _MANIFEST)) as stream,
        pa.ipc.new_file(stream, _ENTRIES, options=_COMPRESSED) as file,
    ):
        for part in _split_into_parts(itertools.chain(first, entries), settings.part):
            file.write_batch(_batch(part))
            count, pictures = count + 1, pictures + sum(entry.pictures for entry in part)
    job = Job(folder, settings, count, pictures)
    storage.write_whole(storage.join(folder, _JOB), json.dumps(asdict(job), indent=2).encode())
    return job


def _part_size(pictures: int | None) -> int:
    """A size small compared with the job, so that workers finish together, but without too many files in the folder."""
    return _MOST_IN_PART if pictures is None else min(max(pictures // 200, 16), 1024)


def _split_into_parts(entries: Iterable[InputSlice], size: int) -> Iterator[list[InputSlice]]:
    part: list[InputSlice] = []
    room = size
    for entry in entries:
        rest = entry
        while rest.pictures:
            piece = rest._replace(pictures=min(rest.pictures, room))
            part.append(piece)
            room -= piece.pictures
            rest = rest._replace(first=rest.first + piece.pictures, pictures=rest.pictures - piece.pictures)
            if not room:
                yield part
                part, room = [], size
    if part:
        yield part


def _batch(part: list[InputSlice]) -> Any:
    columns = dict(zip(InputSlice._fields, zip(*part, strict=True), strict=True))
    columns["location"] = tuple(map(os.fsencode, columns["location"]))
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in _ENTRIES], schema=_ENTRIES)


def _stored(folder: str) -> Job:
    try:
        fields = json.loads(storage.read(storage.join(folder, _JOB)))
        return Job(folder, JobSettings(**fields["settings"]), fields["parts"], fields["pictures"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise JobError(f"{storage.join(folder, _JOB)} is damaged: choose another folder") from error


def _check_settings(job: Job, settings: JobSettings) -> None:
    for name, value in json.loads(json.dumps(asdict(settings))).items():
        stored = getattr(job.settings, name)
        if value != stored and (name, value) != ("part", 0):
            difference = "another model" if name == "model" else f"{name} {stored!r}, not {value!r}"
            raise JobError(f"{job.folder} has a job with {difference}: choose another folder")


def _check_entries(job: Job, entries: Iterable[InputSlice]) -> None:
    """Compare the inputs with those of the manifest, one by one."""
    stored = (job.entries(part) for part in range(job.parts))
    current = _split_into_parts(entries, job.settings.part)
    for before, now in itertools.zip_longest(itertools.chain.from_iterable(stored), itertools.chain.from_iterable(current)):
        if before != now:
            if before is None or now is None:
                difference = f"{now.location} is new" if now else f"{before and before.location} is missing now"
            elif before.location == now.location:
                difference = f"{now.location} has been modified"
            else:
                difference = f"{now.location} is in the position of {before.location}"
            raise JobError(f"{job.folder} has a job with other inputs: {difference}")
