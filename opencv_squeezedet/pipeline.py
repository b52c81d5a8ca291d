"""Concurrent processing of frames, with results in order and bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

Worker = TypeVar("Worker")
Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(work: Callable[[Worker, Item], Result], items: Iterable[Item], workers: list[Worker]) -> Iterator[Result]:
    """Yield ``work(worker, item)`` for each item, in the items' order, each worker with an item at a time in its own thread.

    At most two items per worker are taken from ``items`` in advance: workers do not wait, and memory is bounded. If the
    caller stops early or an exception is raised, pending work is cancelled, and running work finishes.
    """
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def task(item: Item) -> Result:
        worker = idle.get()
        try:
            return work(worker, item)
        finally:
            idle.put(worker)

    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(len(workers))
    try:
        for item in items:
            pending.append(pool.submit(task, item))
            if len(pending) == 2 * len(workers):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of ``size``, the last list shorter."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
