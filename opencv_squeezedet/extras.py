"""Libraries that only some commands need, and what to say if one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(*extras: str, what: str = "this") -> Iterator[None]:
    """Make an ImportError in the block say what needs the library, and which extras of this package install it."""
    try:
        yield
    except ImportError as error:
        commands = " or ".join(f"pip install 'opencv-squeezedet[{extra}]'" for extra in extras)
        raise ImportError(f"{what} needs {error.name or 'a library'}, which cannot be imported: {commands}") from error
