"""Differences between OpenCV's releases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2

read_net_from_caffe: Any = getattr(cv2.dnn, "readNetFromCaffe", None)
"""OpenCV's reader of Caffe's files; None in OpenCV 5, which has none."""

HAS_GRAPH_ENGINE = hasattr(cv2.dnn, "ENGINE_AUTO")
"""Whether networks run in the graph engine, which has outputs but no layers, and no target but the CPU: OpenCV 5."""

_SILENT = 0
_lock = threading.Lock()
_users = 0
_level_before = 0


def _set_level(level: int) -> int:
    """Set OpenCV's log level, which is process-wide, and return the previous level; 4.8 has the function elsewhere."""
    if hasattr(cv2.utils, "logging"):
        return cv2.utils.logging.setLogLevel(level)
    return int(getattr(cv2, "setLogLevel")(level))  # noqa: B009


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Silence OpenCV's log, where an exception has the message; with several threads, until the last of them leaves."""
    global _users, _level_before
    with _lock:
        if _users == 0:
            _level_before = _set_level(_SILENT)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _set_level(_level_before)
