"""A job: what is read, cut into numbered parts, and where each part's detections go; kept in the output folder.

The folder has a file for each part that is done, ``part-000000.parquet`` and so on, each of which appears whole; what the
parts are made of, ``_manifest.arrow``, a record batch for each; and the settings, ``_job.json``, written when the manifest is
whole. A part is done if its file is there, and nothing else tells so: whoever dies, what is missing is known.
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

from opencv_squeezedet.batch import places
from opencv_squeezedet.batch.sources import NO_ROW_GROUP, Entry, column_of, parquet_file, row_counts
from opencv_squeezedet.extras import needs

with needs("ray", what="opencv_squeezedet.batch"):
    import pyarrow as pa

Format = Literal["parquet", "jsonl"]

_MANIFEST, _JOB = "_manifest.arrow", "_job.json"
_ENTRIES = pa.schema(
    [
        ("place", pa.binary()),  # a file's name may be any bytes
        ("row_group", pa.int32()),
        ("first", pa.int64()),
        ("pictures", pa.int64()),
        ("size", pa.int64()),
        ("modified", pa.int64()),
    ]
)
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")
_ROWS_AT_A_TIME = 64  # of a Parquet file, in memory together
_KNOWN = 200_000  # entries that are counted before the size of parts is chosen
_MOST_IN_PART = 4096


class JobError(ValueError):
    """A job cannot be begun here, or not be resumed."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What decides a job's results, which must not change while it is done.

    Parameters
    ----------
    model : str
        The model's fingerprint, see `Model`.
    options : dict
        How is detected.
    column : str or None
        The Parquet files' column.
    format : {"parquet", "jsonl"}
        What is written.
    part : int
        Pictures in a part; the last one may have fewer.
    """

    model: str
    options: dict[str, Any]
    column: str | None
    format: Format
    part: int


@dataclass(frozen=True)
class Job:
    """A job that has begun; can be pickled, and knows its parts in every process that sees its folder.

    Parameters
    ----------
    folder : str
        Where all of it lies.
    reading : Reading
        What decides the results.
    parts, pictures : int
        How many there are.
    """

    folder: str
    reading: Reading
    parts: int
    pictures: int

    def place(self, part: int) -> str:
        """Return where a part's file is, or will be."""
        return places.join(self.folder, f"part-{part:06}.{self.reading.format}")

    def missing(self) -> list[int]:
        """Return the parts that are not done."""
        pattern = re.compile(rf"part-(\d{{6,}})\.{self.reading.format}")
        names = (pattern.fullmatch(str(found.base_name)) for _, found in places.listing(self.folder))
        done = {int(name[1]) for name in names if name is not None}
        return [part for part in range(self.parts) if part not in done]

    def pictures_in(self, part: int) -> int:
        """Return how many pictures a part has: all the same number, but for the last."""
        return min(self.reading.part, self.pictures - part * self.reading.part)

    @cached_property
    def _manifest(self) -> Any:
        return pa.ipc.open_file(places.open_input(places.join(self.folder, _MANIFEST)))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_manifest"}

    def entries(self, part: int) -> list[Entry]:
        """Return what a part is of."""
        columns = self._manifest.get_batch(part).to_pydict()
        columns["place"] = map(os.fsdecode, columns["place"])
        return [Entry(*row) for row in zip(*columns.values(), strict=True)]

    def rows(self, part: int) -> Iterator[dict[str, list[Any]]]:
        """Yield a part's pictures, some at a time: their names as ``path``, and their bytes or paths as ``content``."""
        for is_picture, entries in itertools.groupby(self.entries(part), lambda entry: entry.row_group == NO_ROW_GROUP):
            if is_picture:
                names = [entry.place for entry in entries]
                yield {"path": names, "content": names}
            else:
                for entry in entries:
                    yield from _parquet_rows(entry, self.reading.column)


def _parquet_rows(entry: Entry, wanted: str | None) -> Iterator[dict[str, list[Any]]]:
    with parquet_file(entry.place) as file:
        column = column_of(file.schema_arrow, wanted, entry.place)
        columns = [column] + ["path"] * ("path" in file.schema_arrow.names and column != "path")
        row = sum(row_counts(file)[: entry.row_group])
        for batch in file.iter_batches(_ROWS_AT_A_TIME, row_groups=[entry.row_group], columns=columns):
            begin, end = max(row, entry.first), min(row + batch.num_rows, entry.first + entry.pictures)
            if begin < end:
                rows = batch.slice(begin - row, end - begin).to_pydict()
                contents = [_beside(entry.place, content) for content in rows[column]]
                names = rows["path"] if "path" in rows and column != "path" else contents
                numbers = range(begin, end)
                yield {
                    "path": [
                        name if isinstance(name, str) else f"{entry.place}#{number}"
                        for name, number in zip(names, numbers, strict=True)
                    ],
                    "content": contents,
                }
            row += batch.num_rows
            if row >= entry.first + entry.pictures:
                return


def _beside(file: str, content: Any) -> Any:
    """A path in a Parquet file, which counts from that file's folder; anything else as it is."""
    if not isinstance(content, str) or places.is_remote(content) or os.path.isabs(content):
        return content
    return places.join(file.rpartition("/")[0], content)


# ---- begin and resume --------------------------------------------------------------------------------------------------


def begin(folder: str, entries: Iterable[Entry], reading: Reading, *, resume: bool = False) -> Job:
    """Begin a job in a folder, or resume the one that is there.

    Parameters
    ----------
    folder : str
        A path or an address; it is made if need be.
    entries : iterable of Entry
        What is read; see `find_entries`.
    reading : Reading
        What decides the results. Where its ``part`` is 0, a size that suits the number of pictures is chosen, or that of the
        job that is resumed.
    resume : bool
        Whether there may be a job in the folder.

    Raises
    ------
    JobError
        If the folder holds something else, or a job that is not to be resumed, or that has other inputs or another reading.
    OSError
        If the folder cannot be written to.
    """
    folder = places.absolute(folder)
    if places.exists(places.join(folder, _JOB)):
        if not resume:
            raise JobError(f"{folder} holds a job: resume it, or choose another folder")
        job = _stored(folder)
        _check_reading(job, reading)
        _check_entries(job, entries)
        places.remove_leftovers(folder)
        return job
    if places.exists(folder) and (not places.is_folder(folder) or not _only_begun(folder)):
        raise JobError(f"{folder} is not an empty folder, and holds no job")
    entries = iter(entries)
    known = list(itertools.islice(entries, _KNOWN))  # before there is a folder: a wrong name is often the first
    places.make_folder(folder)
    places.remove_leftovers(folder)
    if not reading.part:
        pictures = sum(entry.pictures for entry in known)
        reading = replace(reading, part=_part_size(pictures if len(known) < _KNOWN else None))
    count = pictures = 0
    with (
        places.whole_file(places.join(folder, _MANIFEST)) as stream,
        pa.ipc.new_file(stream, _ENTRIES, options=_COMPRESSED) as file,
    ):
        for part in _parts(itertools.chain(known, entries), reading.part):
            file.write_batch(_batch(part))
            count, pictures = count + 1, pictures + sum(entry.pictures for entry in part)
    job = Job(folder, reading, count, pictures)
    places.write_whole(places.join(folder, _JOB), json.dumps(asdict(job), indent=2).encode())
    return job


def _only_begun(folder: str) -> bool:
    return all(str(found.base_name).startswith("_") for _, found in places.listing(folder))


def _part_size(pictures: int | None) -> int:
    """Parts that are small beside the job, so that workers end together, and not too many files for a folder."""
    return _MOST_IN_PART if pictures is None else min(max(pictures // 200, 16), 1024)


def _parts(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    part: list[Entry] = []
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


def _batch(part: list[Entry]) -> Any:
    columns = dict(zip(Entry._fields, zip(*part, strict=True), strict=True))
    columns["place"] = tuple(map(os.fsencode, columns["place"]))
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in _ENTRIES], schema=_ENTRIES)


def _stored(folder: str) -> Job:
    try:
        fields = json.loads(places.read(places.join(folder, _JOB)))
        return Job(folder, Reading(**fields["reading"]), fields["parts"], fields["pictures"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise JobError(f"{places.join(folder, _JOB)} is damaged: choose another folder") from error


def _check_reading(job: Job, reading: Reading) -> None:
    old, new = asdict(job.reading), asdict(reading)
    if not new["part"]:
        del new["part"]
    for name, value in new.items():
        if json.loads(json.dumps(value)) != old[name]:
            difference = "another model" if name == "model" else f"{name} {old[name]!r}, not {value!r}"
            raise JobError(f"{job.folder} holds a job with {difference}: choose another folder")


def _check_entries(job: Job, entries: Iterable[Entry]) -> None:
    """Compare what is named now with the manifest, piece by piece."""
    stored = (job.entries(part) for part in range(job.parts))
    found = _parts(entries, job.reading.part)
    for before, now in itertools.zip_longest(itertools.chain.from_iterable(stored), itertools.chain.from_iterable(found)):
        if before != now:
            raise JobError(f"{job.folder} holds a job with other inputs: {_difference(before, now)}")


def _difference(before: Entry | None, now: Entry | None) -> str:
    if before is None:
        return f"{now.place if now else ''} was not among them"
    if now is None:
        return f"{before.place} is no longer among them"
    if before.place == now.place:
        return f"{now.place} has changed since"
    return f"{now.place} is where {before.place} was"
