"""Detection on many pictures, on one machine or on many (extra ``[ray]``).

`Detect` works on a batch of rows in any engine that maps batches: Ray Data, Dask, Spark, Daft. `detect` runs it on Ray Data
with one network per core. ``squeezedet batch`` is the command: `run` processes each part of a `Job` exactly once.
"""

from opencv_squeezedet.extras import needs

with needs("ray", what="opencv_squeezedet.batch"):
    import pyarrow  # noqa: F401

from opencv_squeezedet.batch.columns import SCHEMA, Detect
from opencv_squeezedet.batch.inputs import InputError, InputSlice, find_inputs
from opencv_squeezedet.batch.job import Job, JobError, JobSettings, begin
from opencv_squeezedet.batch.parts import PartResult, Worker
from opencv_squeezedet.batch.pool import WorkerError, cluster, detect, run

__all__ = [
    "SCHEMA",
    "Detect",
    "InputError",
    "InputSlice",
    "Job",
    "JobError",
    "JobSettings",
    "PartResult",
    "Worker",
    "WorkerError",
    "begin",
    "cluster",
    "detect",
    "find_inputs",
    "run",
]
