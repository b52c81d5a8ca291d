"""`Detect` on Ray Data: a pool of actors, each with a network of its own on the cores that it has been given."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opencv_squeezedet import _checks
from opencv_squeezedet.batch.columns import Detect, reason
from opencv_squeezedet.batch.job import Job
from opencv_squeezedet.batch.parts import Done, Worker
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model import Model

_ROWS = 64  # that an actor gets at a time
_MOST_TASKS = 10_000  # of a job, above which several parts share one
_MOST_DEATHS = 16  # of actors that have not yet begun, one after the other
_SECONDS_TO_ANSWER = 10
_STORE_BYTES = 256 << 20  # of a cluster of one's own: pictures are read by the workers, and do not go through it


class WorkerError(RuntimeError):
    """A worker cannot go on, and no picture is to blame."""


def detect(
    dataset: Any,
    model: StrPath | Model | None = None,
    weights: StrPath | None = None,
    *,
    workers: int | None = None,
    cpus: int = 1,
    gpus: float = 0.0,
    **how: Any,
) -> Any:
    """Find the objects in the pictures of a Ray dataset.

    Parameters
    ----------
    dataset : ray.data.Dataset
        With a column ``bytes``, ``path`` or ``image``, as `Detect` takes them. With paths or addresses the actors read, side
        by side with detecting. Steps that read (``ray.data.read_binary_files``, ``read_parquet``) take a core from the
        actors, and never end on a cluster that has only one.
    model, weights, **how
        As `Detect` takes them: ``score_threshold``, ``backend``, ``column``, ``keep``, ``batch`` and others.
    workers : int, optional
        Most actors. Default: as many as the cluster has cores (or GPUs) for.
    cpus : int
        Cores, and OpenCV's threads, of an actor.
    gpus : float
        GPUs of an actor; a fraction lets several share one. Give ``target`` and ``backend`` too.

    Returns
    -------
    ray.data.Dataset
        With the columns of `SCHEMA`, lazy as every dataset.

    Raises
    ------
    ImportError
        Without Ray; it names the extra.
    ValueError, TypeError, FileNotFoundError, ModelError
        As `Detect`.
    """
    maker = Detect(model, weights, threads=cpus, **how)
    rows = -(-_ROWS // maker.batch) * maker.batch
    return _mapped(dataset, _Tables, (maker,), rows, _pool(workers, cpus, gpus, least=1))


def _mapped(dataset: Any, kind: type, arguments: tuple[Any, ...], rows: int, pool: dict[str, Any]) -> Any:
    """Return a dataset mapped by a pool of actors, of which some may die before they have begun."""
    mapped = dataset.map_batches(kind, fn_constructor_args=arguments, batch_size=rows, batch_format="numpy", **pool)
    mapped.context.max_consecutive_actor_init_deaths = _MOST_DEATHS  # else one that dies with its node ends everything
    return mapped


class _Tables:
    """What each actor of a pool has."""

    def __init__(self, maker: Detect) -> None:
        self._maker = maker

    def __call__(self, rows: dict[str, Any]) -> Any:
        return self._maker.table(rows)


def _pool(workers: int | None, cpus: int, gpus: float, *, least: int | None = None) -> dict[str, Any]:
    """Return how ``map_batches`` makes the pool; ``least`` of its actors are enough to begin with."""
    with needs("ray", what="opencv_squeezedet.batch"):
        import ray
        import ray.data
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
        Of the cluster, as ``ray.init`` takes it. Default: one of one's own, on all cores.
    verbose : bool
        Whether Ray may log.

    Raises
    ------
    ImportError
        Without Ray; it names the extra.
    ConnectionError
        If there is no cluster at the address.
    """
    if address is not None:
        _check_reachable(address)
    else:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with needs("ray", what="opencv_squeezedet.batch"):
        import ray
        import ray.data
    own = {"num_cpus": _cores(), "include_dashboard": False, "object_store_memory": _STORE_BYTES} if address is None else {}
    level = logging.INFO if verbose else logging.CRITICAL
    ray.init(address or "local", logging_level=level, log_to_driver=verbose, **own)
    logging.getLogger("ray.data").setLevel(level)
    ray.data.DataContext.get_current().enable_progress_bars = verbose
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise a ConnectionError where nobody answers, which Ray would wait for, minutes on end."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
        except (OSError, OverflowError) as error:
            raise ConnectionError(f"no Ray cluster answers at {address}: {error}") from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(job: Job, maker: Detect, *, workers: int | None = None, cpus: int = 1, gpus: float = 0.0) -> Iterator[Done]:
    """Do what is missing of a job on the cluster that Ray is connected to, and yield each part when it is done.

    Parameters
    ----------
    job : Job
        What is to be done, in a folder that all machines see.
    maker : Detect
        How it is done; ``threads`` should be ``cpus``.
    workers, cpus, gpus
        As in `detect`.

    Raises
    ------
    WorkerError
        If a part's file cannot be written, or a worker fails for another reason than a picture.
    """
    with needs("ray", what="opencv_squeezedet.batch"):
        import ray.data
    missing = job.missing()
    if not missing:
        return
    parts = ray.data.from_items([{"part": part} for part in missing], override_num_blocks=min(len(missing), _MOST_TASKS))
    done = _mapped(parts, _Parts, (Worker(job, maker),), 1, _pool(workers, cpus, gpus))
    for batch in done.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
        for error, *row in zip(*(batch[name].tolist() for name in ("error", *Done._fields)), strict=True):
            if error:
                raise WorkerError(error)
            yield Done(*row)


class _Parts:
    """What each actor of a job's pool has."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[Any]]:
        done = [self._try(int(part)) for part in rows["part"]]
        return {name: [row[name] for row in done] for name in ("error", *Done._fields)}

    def _try(self, part: int) -> dict[str, Any]:
        try:
            return {"error": "", **self._worker.do(part)._asdict()}
        except Exception as error:  # Ray would tell it in a page of text
            return {"error": f"part {part}: {reason(error)}", **Done(part, 0, 0, 0, 0.0)._asdict()}
