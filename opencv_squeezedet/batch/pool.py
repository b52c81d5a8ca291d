"""`Detect` on Ray Data: a pool of actors, each with its own network and cores."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opencv_squeezedet import _checks
from opencv_squeezedet.batch.columns import Detect
from opencv_squeezedet.batch.job import Job
from opencv_squeezedet.batch.parts import PartResult, Worker
from opencv_squeezedet.errors import reason
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model import Model
from opencv_squeezedet.pipeline import available_cores

_ROWS = 64  # per call of an actor
_MOST_TASKS = 10_000  # per job; with more parts, several share a task
_MAX_INIT_DEATHS = 16  # consecutive actors that die before they start
_SECONDS_TO_ANSWER = 10
_STORE_BYTES = 256 << 20  # of a local cluster: workers read the pictures, which do not pass through it


class WorkerError(RuntimeError):
    """A worker failed for a reason other than a picture."""


def detect(
    dataset: Any,
    model: StrPath | Model | None = None,
    weights: StrPath | None = None,
    *,
    workers: int | None = None,
    cpus: int = 1,
    gpus: float = 0.0,
    **options: Any,
) -> Any:
    """Detect objects in the pictures of a Ray dataset.

    Parameters
    ----------
    dataset : ray.data.Dataset
        With a column ``bytes``, ``path`` or ``image``, as for `Detect`. From paths, the actors read pictures in parallel with
        detection. Steps that read (``ray.data.read_binary_files``, ``read_parquet``) take a core from the actors; on a cluster
        with a single core they never finish.
    model, weights, **options
        As for `Detect`.
    workers : int, optional
        Maximum number of actors. Default: as many as the cluster's cores (or GPUs) allow.
    cpus : int
        Cores, and OpenCV's threads, per actor.
    gpus : float
        GPUs per actor; with a fraction, several share one. Requires ``target`` and ``backend`` too.

    Returns
    -------
    ray.data.Dataset
        With the columns of `SCHEMA`; evaluated lazily.

    Raises
    ------
    ImportError, ValueError, TypeError, FileNotFoundError, ModelError
        Without Ray, and as `Detect`.
    """
    detect = Detect(model, weights, threads=cpus, **options)
    rows = -(-_ROWS // detect.batch) * detect.batch
    return _mapped(dataset, _Tables, detect, rows, _pool(workers, cpus, gpus, least=1))


def _mapped(dataset: Any, kind: type, argument: Detect | Worker, rows: int, pool: dict[str, Any]) -> Any:
    """A dataset mapped by a pool of actors, some of which may die before they start."""
    mapped = dataset.map_batches(kind, fn_constructor_args=(argument,), batch_size=rows, batch_format="numpy", **pool)
    mapped.context.max_consecutive_actor_init_deaths = _MAX_INIT_DEATHS  # else an actor that dies with its node ends the job
    return mapped


class _Tables:
    """An actor of `detect`."""

    def __init__(self, detect: Detect) -> None:
        self._detect = detect

    def __call__(self, rows: dict[str, Any]) -> Any:
        return self._detect.table(rows)


def _ray() -> Any:
    with needs("ray", what="opencv_squeezedet.batch"):
        import ray.data
    return ray


def _pool(workers: int | None, cpus: int, gpus: float, *, least: int | None = None) -> dict[str, Any]:
    """The options of ``map_batches`` for a pool that starts with ``least`` actors."""
    ray = _ray()
    _checks.count("cpus", cpus)
    if workers is None:
        has = ray.cluster_resources()
        fit = has.get("CPU", 1) // cpus
        workers = int(max(1, min(fit, has.get("GPU", 0) // gpus) if gpus else fit))
    _checks.count("workers", workers)
    strategy = ray.data.ActorPoolStrategy(min_size=least or workers, max_size=workers, max_tasks_in_flight_per_actor=2)
    return {"compute": strategy, "num_cpus": cpus, "num_gpus": gpus}


@contextmanager
def cluster(address: str | None = None, *, verbose: bool = False) -> Iterator[None]:
    """Connect to a Ray cluster, or start one on this machine, for as long as the block lasts.

    Parameters
    ----------
    address : str, optional
        The cluster's address, as for ``ray.init``. Default: a local cluster on all cores.
    verbose : bool
        Whether to show Ray's log.

    Raises
    ------
    ImportError, ConnectionError
        Without Ray; if no cluster answers at the address.
    """
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()  # Ray would wait for minutes
        except (OSError, OverflowError) as error:
            raise ConnectionError(f"no Ray cluster answers at {address}: {error}") from error
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = _ray()
    local = {"num_cpus": available_cores(), "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    level = logging.INFO if verbose else logging.CRITICAL
    ray.init(address or "local", logging_level=level, log_to_driver=verbose, **(local if address is None else {}))
    logging.getLogger("ray.data").setLevel(level)
    ray.data.DataContext.get_current().enable_progress_bars = verbose
    try:
        yield
    finally:
        ray.shutdown()


def run(job: Job, detect: Detect, *, workers: int | None = None, cpus: int = 1, gpus: float = 0.0) -> Iterator[PartResult]:
    """Process the unfinished parts of a job on the connected Ray cluster, and yield the result of each.

    Parameters
    ----------
    job : Job
        The job, in a folder that all machines can access.
    detect : Detect
        Applied to each picture; its ``threads`` should be ``cpus``.
    workers, cpus, gpus
        As for `detect`.

    Raises
    ------
    WorkerError
        If a part's file cannot be written, or a worker fails for a reason other than a picture.
    """
    missing = job.missing()
    if not missing:
        return
    parts = _ray().data.from_items([{"part": part} for part in missing], override_num_blocks=min(len(missing), _MOST_TASKS))
    done = _mapped(parts, _Parts, Worker(job, detect), 1, _pool(workers, cpus, gpus))
    for batch in done.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
        for error, *row in zip(*(batch[name].tolist() for name in ("error", *PartResult._fields)), strict=True):
            if error:
                raise WorkerError(error)
            yield PartResult(*row)


class _Parts:
    """An actor of `run`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[Any]]:
        done = [self._try(int(part)) for part in rows["part"]]
        return {name: [row[name] for row in done] for name in ("error", *PartResult._fields)}

    def _try(self, part: int) -> dict[str, Any]:
        try:
            return {"error": "", **self._worker.do(part)._asdict()}
        except Exception as error:  # Ray's own message is a page long
            return {"error": f"part {part}: {reason(error)}", **PartResult(part, 0, 0, 0, 0.0)._asdict()}
