"""Errors that programs written for OpenCV catch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2

from opencv_squeezedet.errors import ModelError, reason

FAILED, BAD_ARGUMENT, NOT_FOUND, NOT_IMPLEMENTED = -2, -5, -204, -213
"""OpenCV's codes: StsError, StsBadArg, StsObjectNotFound, StsNotImplemented."""


class NetError(cv2.error, ModelError):
    """A network cannot be read or run, or an argument is wrong: both a ``cv2.error`` and a ModelError."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.msg = self.err = message  # else those of OpenCV's last error
        self.code = code
        self.func = ""


@contextmanager
def as_net_error() -> Iterator[None]:
    """Report what is wrong with a network as a `NetError`."""
    try:
        yield
    except NetError:
        raise
    except (ModelError, OSError) as error:
        raise NetError(
            reason(error) if not isinstance(error, OSError) else f"Can't open {error.filename!r}: {reason(error)}"
        ) from error
