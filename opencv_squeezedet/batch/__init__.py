"""Detection on many pictures, on one machine or on many (extra ``[ray]``).

`Detect` works on a batch of rows in any engine that maps batches: Ray Data, Dask, Spark, Daft. `detect` puts it on Ray Data
with one network a core. ``squeezedet batch`` is the command: a `Job` whose parts are done by `run`, each of them exactly once.
"""

from opencv_squeezedet.batch.columns import SCHEMA, Detect
from opencv_squeezedet.batch.job import Job, JobError, Reading, begin
from opencv_squeezedet.batch.parts import Done, Worker
from opencv_squeezedet.batch.pool import WorkerError, cluster, detect, run
from opencv_squeezedet.batch.sources import Entry, SourceError, find_entries

__all__ = [
    "SCHEMA",
    "Detect",
    "Done",
    "Entry",
    "Job",
    "JobError",
    "Reading",
    "SourceError",
    "Worker",
    "WorkerError",
    "begin",
    "cluster",
    "detect",
    "find_entries",
    "run",
]
