"""Signals whose handlers raise exceptions, held back while a training step changes its state."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_DEFERRED = [getattr(signal, name) for name in ("SIGINT", "SIGCHLD") if hasattr(signal, name)]


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Call the handlers of Ctrl-C and of a child's death at the end of the block instead of at an arbitrary line in it.

    Python's raises KeyboardInterrupt; torch's raises RuntimeError if a data-loading worker was killed. Outside the main
    thread, which alone handles signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: handler for number in _DEFERRED if callable(handler := signal.getsignal(number))}
    received: list[tuple[int, FrameType | None]] = []
    deferring = True

    def handle(number: int, frame: FrameType | None) -> None:
        if deferring:
            received.append((number, frame))
        else:  # a handler that raised while they were put back
            previous[number](number, frame)

    try:
        for number in previous:
            signal.signal(number, handle)
        yield
    finally:
        deferring = False
        for number, handler in previous.items():
            signal.signal(number, handler)
        for number, frame in received:
            previous[number](number, frame)
