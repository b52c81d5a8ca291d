"""How far a long command is, where no terminal shows its progress bar."""

from __future__ import annotations

import sys
import time

from opencv_squeezedet.cli.common import complain

SECONDS_BETWEEN_LINES = 60.0


class Lines:
    """A line a minute on standard error, unless that is a terminal: how many pictures, how fast, how long still.

    Parameters
    ----------
    program : str
        The command's name.
    pictures : int
        How many there are.
    before : int
        How many of them were done before this command.
    quiet : bool
        Whether to print nothing.
    """

    def __init__(self, program: str, pictures: int, before: int, *, quiet: bool) -> None:
        self._program, self._pictures, self._before = program, pictures, before
        self._shown = not quiet and not sys.stderr.isatty()
        self._start = self._told = time.monotonic()

    def at(self, done: int) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        if not self._shown or now - self._told < SECONDS_BETWEEN_LINES or done == self._before:
            return
        self._told = now
        rate = (done - self._before) / (now - self._start)
        left = duration((self._pictures - done) / rate)
        complain(self._program, f"{done} of {self._pictures} pictures, {rate:.1f} per second, {left} left")


def duration(seconds: float) -> str:
    """Return a time as people say it: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
