"""The worker of a job: it processes parts and writes each once; a picture that crashes it cannot block a part."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from opencv_squeezedet.batch import storage
from opencv_squeezedet.batch.columns import SCHEMA, Detect, failed_row
from opencv_squeezedet.batch.job import Format, Job
from opencv_squeezedet.extras import needs

with needs("ray", what="opencv_squeezedet.batch"):
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import json as arrow_json
    from pyarrow import parquet as pq

_MAX_CRASHES = 2  # of workers on the same picture
_CRASHED = f"the process crashed {_MAX_CRASHES} times on this picture"


class PartResult(NamedTuple):
    """A finished part: its number, and the numbers of pictures, failed pictures, objects and seconds."""

    part: int
    pictures: int
    failed: int
    objects: int
    seconds: float


@dataclass(frozen=True)
class Worker:
    """Processes parts of a job.

    Parameters
    ----------
    job : Job
        The job.
    detect : Detect
        Applied to each picture.
    """

    job: Job
    detect: Detect

    def do(self, part: int) -> PartResult:
        """Detect objects in the pictures of a part, and write its file, unless that exists.

        After a crash of its worker, a part is processed picture by picture, with a record of crashes: a picture that crashes
        its worker twice, in a decoder or by its size, gets an error, and all others their detections.
        """
        start, location = time.monotonic(), self.job.location(part)
        if storage.exists(location):
            return _done(part, _decode(storage.read(location), self.job.settings.format), 0.0)
        record = _CrashRecord.open(storage.join(self.job.folder, f"_begun-{part:06}.json"))
        tables = self._one_at_a_time(part, record) if record.crashes else map(self.detect.table, self.job.rows(part))
        table = pa.concat_tables(tables)
        storage.write_whole(location, _encode(table, self.job.settings.format))
        record.close()
        return _done(part, table, time.monotonic() - start)

    def _one_at_a_time(self, part: int, record: _CrashRecord) -> Iterator[Any]:
        number = 0
        for rows in self.job.rows(part):
            for path, content in zip(rows["path"], rows["content"], strict=True):
                if record.crashes.get(number, 0) >= _MAX_CRASHES:
                    yield failed_row(path, _CRASHED)
                else:
                    record.at(number)
                    yield self.detect.table({"path": [path], "content": [content]})
                number += 1


@dataclass
class _CrashRecord:
    """A file that exists while a part is processed, and tells the next worker on which picture the last one crashed.

    Parameters
    ----------
    location : str
        The file.
    crashes : dict
        Number of crashes for each picture of the part, by its number; -1 stands for an unknown picture.
    """

    location: str
    crashes: dict[int, int] = field(default_factory=dict)

    @classmethod
    def open(cls, location: str) -> _CrashRecord:
        """Read the record of the last worker, if it crashed, and start that of this one."""
        record = cls(location)
        if storage.exists(location):
            stored = json.loads(storage.read(location))
            record.crashes = {int(number): count for number, count in stored["crashes"].items()}
            record.crashes[stored["at"]] = record.crashes.get(stored["at"], 0) + 1
        record.at(-1)
        return record

    def at(self, number: int) -> None:
        """Record the next picture."""
        storage.write_whole(self.location, json.dumps({"at": number, "crashes": self.crashes}).encode())

    def close(self) -> None:
        """Remove the file."""
        storage.remove(self.location)


def _done(part: int, table: Any, seconds: float) -> PartResult:
    objects = pc.sum(pc.list_value_length(table["class_id"])).as_py() or 0
    return PartResult(part, table.num_rows, table.num_rows - table["error"].null_count, objects, seconds)


def _encode(table: Any, kind: Format) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps(_short(row)) + "\n" for row in table.to_pylist()).encode()
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    content: bytes = stream.getvalue().to_pybytes()
    return content


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose numbers have just enough digits to restore the same float32."""
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
