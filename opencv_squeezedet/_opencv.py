"""What differs between OpenCV's releases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2

_SILENT = 0


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Keep OpenCV from logging what an exception tells as well."""
    # OpenCV 4.8 has it at the top, later releases in a module of its own; both return the level that was set before
    set_level: Callable[[int], int] = (
        cv2.utils.logging.setLogLevel if hasattr(cv2.utils, "logging") else getattr(cv2, "setLogLevel")  # noqa: B009
    )
    level = set_level(_SILENT)
    try:
        yield
    finally:
        set_level(level)
