"""Timing of the stages of detection: a timer for a block, and the times of many pictures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter

import numpy as np

KEPT = 1 << 16
"""Minimum number of times kept per stage; older times are dropped, as a camera may run for days."""

OnStage = Callable[[str, float, int], object]
"""Called with the name of a stage, its duration in seconds, and the number of pictures it processed."""


@contextmanager
def timed(on_stage: OnStage | None, stage: str, pictures: int = 1) -> Iterator[None]:
    """Report the duration of the block, unless it raises."""
    start = perf_counter()
    yield
    if on_stage is not None:
        on_stage(stage, perf_counter() - start, pictures)


class StageTimes:
    """The times of stages, by their names in the order of display; threads may add to it concurrently.

    ``seconds`` has a list for each stage, with an entry per picture; beyond `KEPT` pictures, of the last ones.
    """

    def __init__(self, *stages: str) -> None:
        self.seconds: dict[str, list[float]] = {stage: [] for stage in stages}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float, pictures: int = 1) -> None:
        """Add the time of a stage that processed several pictures together; each gets an equal share."""
        with self._lock:
            kept = self.seconds[stage]
            kept += [seconds / pictures] * pictures
            if len(kept) > 2 * KEPT:
                del kept[:-KEPT]

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Return a context manager whose duration is added to a stage, for one picture."""
        return timed(self.add, name)

    def milliseconds(self) -> dict[str, dict[str, float]]:
        """Return the median ("p50") and the 95th percentile ("p95") per picture, of each stage that ran."""
        return {
            stage: dict(zip(("p50", "p95"), np.percentile(np.asarray(seconds) * 1e3, [50, 95]).tolist(), strict=True))
            for stage, seconds in self.seconds.items()
            if seconds
        }
