"""Libraries that only some commands need, and what to say where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(*extras: str) -> Iterator[None]:
    """Name the extra of this package that brings the library, in the ImportError of an import in the block."""
    try:
        yield
    except ImportError as error:
        commands = " or ".join(f"pip install 'opencv-squeezedet[{extra}]'" for extra in extras)
        raise ImportError(f"this needs {error.name or 'a library'}, which cannot be imported: {commands}") from error
