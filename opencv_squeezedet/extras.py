"""Optional libraries: the error if a library is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(*extras: str, what: str = "this") -> Iterator[None]:
    """Add to an ImportError of the block the feature that needs the library, and the extras that install it."""
    try:
        yield
    except ImportError as error:
        commands = " or ".join(f"pip install 'opencv-squeezedet[{extra}]'" for extra in extras)
        raise ImportError(f"{what} needs {error.name or 'a library'}, which cannot be imported: {commands}") from error
