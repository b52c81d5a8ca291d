"""The worker of a job: it processes parts and writes each once; a picture that crashes it cannot block a part."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json
from pyarrow import parquet as pq

from opencv_squeezedet.batch import storage
from opencv_squeezedet.batch.columns import SCHEMA, Detect, failed_row
from opencv_squeezedet.batch.job import Format, Job

_MAX_CRASHES = 2  # of workers on the same picture
_UNKNOWN = "-1"  # no picture's number


class PartResult(NamedTuple):
    """A finished part: its number, and the numbers of pictures, failed pictures, objects and seconds."""

    part: int
    pictures: int
    failed: int
    objects: int
    seconds: float


@dataclass(frozen=True)
class Worker:
    """Processes parts of a job: applies ``detect`` to each picture."""

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
        record = storage.join(self.job.folder, f"_begun-{part:06}.json")
        crashes: dict[str, int] = {}
        if storage.exists(record):  # the last worker crashed
            last = json.loads(storage.read(record))
            crashes = {**last["crashes"], last["at"]: last["crashes"].get(last["at"], 0) + 1}
        _record(record, _UNKNOWN, crashes)
        tables = self._one_at_a_time(part, record, crashes) if crashes else map(self.detect.table, self.job.rows(part))
        table = pa.concat_tables(tables)
        storage.write_whole(location, _encode(table, self.job.settings.format))
        store, path = storage.locate(record)
        store.delete_file(path)
        return _done(part, table, time.monotonic() - start)

    def _one_at_a_time(self, part: int, record: str, crashes: dict[str, int]) -> Iterator[Any]:
        pairs = (zip(rows["path"], rows["content"], strict=True) for rows in self.job.rows(part))
        for number, (path, content) in enumerate(itertools.chain.from_iterable(pairs)):
            if crashes.get(str(number), 0) >= _MAX_CRASHES:
                yield failed_row(path, f"the process crashed {_MAX_CRASHES} times on this picture")
            else:
                _record(record, str(number), crashes)
                yield self.detect.table({"path": [path], "content": [content]})


def _record(location: str, number: str, crashes: dict[str, int]) -> None:
    """Record the current picture for the next worker, should this worker crash, and the crashes on each picture so far."""
    storage.write_whole(location, json.dumps({"at": number, "crashes": crashes}).encode())


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

    def digits(values: list[float]) -> list[float]:
        return [float(str(np.float32(value))) for value in values]

    return row | {
        "confidence": digits(row["confidence"]),
        "xyxy": [digits(box) for box in row["xyxy"]],
        "milliseconds": round(row["milliseconds"], 3),
    }


def _decode(content: bytes, kind: Format) -> Any:
    source = pa.BufferReader(content)
    if kind == "parquet":
        return pq.read_table(source)
    return arrow_json.read_json(source, parse_options=arrow_json.ParseOptions(explicit_schema=SCHEMA))
