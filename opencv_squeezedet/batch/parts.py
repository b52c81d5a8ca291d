"""What a worker does: one part after the other, each written once, and no picture that can keep a part from ending."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from opencv_squeezedet.batch import places
from opencv_squeezedet.batch.columns import SCHEMA, Detect, failed
from opencv_squeezedet.batch.job import Format, Job
from opencv_squeezedet.extras import needs

with needs("ray", what="opencv_squeezedet.batch"):
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import json as arrow_json
    from pyarrow import parquet as pq

_DEATHS = 2  # of its worker, that a picture is given
_DIED = f"the process ended while it worked on this picture, {_DEATHS} times"


class Done(NamedTuple):
    """A part that is done: its number, its pictures, how many of them failed, the objects in the others, and the seconds."""

    part: int
    pictures: int
    failed: int
    objects: int
    seconds: float


@dataclass(frozen=True)
class Worker:
    """Does parts of a job.

    Parameters
    ----------
    job : Job
        Whose parts.
    detect : Detect
        What is done with each picture.
    """

    job: Job
    detect: Detect

    def do(self, part: int) -> Done:
        """Detect in the pictures of a part, and write its file, unless it is there.

        A part whose worker died before is done picture by picture, with notes: one that ends its worker twice, by a crash of a
        decoder or by its size, gets an error, and the others theirs.
        """
        start, place = time.monotonic(), self.job.place(part)
        if places.exists(place):
            return _done(part, _decode(places.read(place), self.job.reading.format), 0.0)
        notes = _Notes.open(places.join(self.job.folder, f"_begun-{part:06}.json"))
        tables = self._one_by_one(part, notes) if notes.deaths else map(self.detect.table, self.job.rows(part))
        table = pa.concat_tables(tables)
        places.write_whole(place, _encode(table, self.job.reading.format))
        notes.close()
        return _done(part, table, time.monotonic() - start)

    def _one_by_one(self, part: int, notes: _Notes) -> Iterator[Any]:
        number = 0
        for rows in self.job.rows(part):
            for path, content in zip(rows["path"], rows["content"], strict=True):
                if notes.deaths.get(number, 0) >= _DEATHS:
                    yield failed(path, _DIED)
                else:
                    notes.at(number)
                    yield self.detect.table({"path": [path], "content": [content]})
                number += 1


@dataclass
class _Notes:
    """A file that is there while a part is worked on, and tells who takes the part over what it was that died.

    Parameters
    ----------
    place : str
        The file.
    deaths : dict
        For each picture of the part, by number, how many workers died on it; -1 stands for one whose picture is not known.
    """

    place: str
    deaths: dict[int, int] = field(default_factory=dict)

    @classmethod
    def open(cls, place: str) -> _Notes:
        """Read the notes of the worker before, if there was one, and begin those of this one."""
        notes = cls(place)
        if places.exists(place):
            stored = json.loads(places.read(place))
            notes.deaths = {int(number): count for number, count in stored["deaths"].items()}
            notes.deaths[stored["at"]] = notes.deaths.get(stored["at"], 0) + 1
        notes.at(-1)
        return notes

    def at(self, number: int) -> None:
        """Note which picture comes next."""
        places.write_whole(self.place, json.dumps({"at": number, "deaths": self.deaths}).encode())

    def close(self) -> None:
        """Remove the file."""
        places.remove(self.place)


def _done(part: int, table: Any, seconds: float) -> Done:
    objects = pc.sum(pc.list_value_length(table["class_id"])).as_py() or 0
    return Done(part, table.num_rows, table.num_rows - table["error"].null_count, objects, seconds)


def _encode(table: Any, kind: Format) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps(_short(row)) + "\n" for row in table.to_pylist()).encode()
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    content: bytes = stream.getvalue().to_pybytes()
    return content


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose numbers have as many digits as bring back the same float32."""
    return row | {
        "confidence": [_digits(score) for score in row["confidence"]],
        "xyxy": [[_digits(edge) for edge in box] for box in row["xyxy"]],
        "milliseconds": round(row["milliseconds"], 3),
    }


def _digits(value: float) -> float:
    return float(str(np.float32(value)))


def _decode(content: bytes, kind: Format) -> Any:
    source = pa.BufferReader(content)
    if kind == "parquet":
        return pq.read_table(source)
    return arrow_json.read_json(source, parse_options=arrow_json.ParseOptions(explicit_schema=SCHEMA))
