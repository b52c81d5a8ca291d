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
    """Handle Ctrl-C and the death of a child process at the end of the block instead of at an arbitrary line in it.

    The handlers in place before the block are called after it: Python's for Ctrl-C raises KeyboardInterrupt, torch's for a
    data-loading worker that was killed raises RuntimeError. Outside the main thread, which alone handles signals, nothing
    changes.
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
