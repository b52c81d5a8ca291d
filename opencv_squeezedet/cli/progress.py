"""The progress of a long command: a bar on a terminal, elsewhere a line a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from opencv_squeezedet.cli.terminal import complain
from opencv_squeezedet.progress import OnProgress, progress_bar

SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def step_progress(*, hidden: bool) -> Iterator[OnProgress]:
    """A progress bar for each step, if standard error is a terminal."""
    if hidden or not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    with progress_bar() as bar:

        def report(what: str, done: int, total: int) -> None:
            bar.set_description(what, refresh=False)
            bar.total, bar.n = total, done
            bar.refresh()

        yield report


class ProgressLines:
    """A line a minute on standard error, unless that is a terminal or ``quiet``: number of pictures, rate and time remaining.

    Of all ``pictures``, earlier runs of the command did the first ``before``.
    """

    def __init__(self, program: str, pictures: int, before: int, *, quiet: bool) -> None:
        self._program, self._pictures, self._before = program, pictures, before
        self._shown = not quiet and not sys.stderr.isatty()
        self._start = self._last = time.monotonic()

    def at(self, done: int) -> None:
        """Print a line if a minute has passed since the last line."""
        now = time.monotonic()
        if not self._shown or now - self._last < SECONDS_BETWEEN_LINES or done == self._before:
            return
        self._last = now
        rate = (done - self._before) / (now - self._start)
        left = duration((self._pictures - done) / rate)
        complain(self._program, f"{done} of {self._pictures} pictures, {rate:.1f} per second, {left} left")


def duration(seconds: float) -> str:
    """Return a time in words: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
